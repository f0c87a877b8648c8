"""What a shell needs to complete ``auto-router``, by shtab from the parsers: ``auto-router completion bash|zsh|fish``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from unittest.mock import patch

from auto_router import cli
from auto_router.errors import needs_extra, run
from auto_router.terminal import Parser

SHELLS = ("bash", "zsh", "fish")
EXAMPLES = """examples:
  auto-router completion bash > ~/.local/share/bash-completion/completions/auto-router
  auto-router completion zsh > ~/.zfunc/_auto-router
  auto-router completion fish > ~/.config/fish/completions/auto-router.fish"""


class _ParserFound(BaseException):
    """Carries a command's parser out of its ``main``; no handler of errors is to stop it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def find_parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command of ``auto-router``, as its ``main`` makes it; nothing else of the command is run.

    Raises:
        ConfigError: the command's script is not installed here.
    """

    def give(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _ParserFound(parser)

    module = cli.open_command(command)
    try:
        with patch.object(argparse.ArgumentParser, "parse_args", give):
            module.main([])
    except _ParserFound as carrier:
        carrier.parser.prog = f"auto-router {command}"
        return carrier.parser
    raise AssertionError(f"the main of {module.__name__} parses no arguments")


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command with its parser."""
    for command in cli.COMMANDS:
        yield command, find_parser(command)


def make_parser() -> argparse.ArgumentParser:
    """Return one parser of the whole command, with a subcommand a command."""
    whole = argparse.ArgumentParser(prog="auto-router", description="Learn which of your models to ask, and ask it.")
    commands = whole.add_subparsers(dest="command")
    for command, parser in parsers():
        commands.add_parser(command, help=cli.COMMANDS[command][1])
        commands.choices[command] = parser  # a dict: the parser as it is, with its own subcommands
    return whole


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(description="Print what a shell needs to complete auto-router.", epilog=EXAMPLES)
    parser.add_argument("shell", choices=SHELLS)
    arguments = parser.parse_args(argv)
    with needs_extra("completion"):
        import shtab
    print(shtab.complete(make_parser(), arguments.shell))


if __name__ == "__main__":
    sys.exit(run(main))
