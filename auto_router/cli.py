"""The one command, ``auto-router`` (also ``python -m auto_router``): every stage and tool by one name.

The stage scripts stay the user's own faces, with the user's recipes in them: this is the one module of the package that opens
them, by name, where their command is given.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from auto_router import __version__
from auto_router.errors import ConfigError, end_on_signals, ending_at_once, run, suggest

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("examples.quickstart.demo", "see all of it work on recorded answers, in two minutes, without a key"),
    "init": ("auto_router.init_pool", "write a pool file from five answers: your models, keys by name, prices, a judge"),
    "collect": ("prepare_hf_data", "ask every model of the pool your prompts, judge the answers"),
    "import": ("auto_router.collect.importer", "turn results or logs that you have into labels or prompts"),
    "select": ("auto_router.select_prompts", "take some of a file's prompts, to ask only those"),
    "encode": ("generate_embeddings", "turn prompts and images into numbers"),
    "train": ("nn_router", "learn which model answers what, and measure what the router is worth"),
    "retrain": ("auto_router.retrain", "learn from outcomes of served answers; replace the router only where that is better"),
    "report": ("auto_router.assess.report", "write the report of a trained router again"),
    "edit": ("auto_router.edit", "add, remove or rename a model of a trained router"),
    "route": ("model_router", "decide one prompt"),
    "serve": ("auto_router.serve.__main__", "put the router before your apps: an OpenAI-compatible endpoint"),
    "doctor": ("auto_router.doctor", "check environment, keys, artifact and encoder, and say what to do"),
    "completion": ("auto_router.completion", "print what bash, zsh or fish needs to complete this command"),
}
"""The module that each command runs, and what it does."""

STAGES = "auto_router.stages"
"""The checkout's scripts, as the wheel and an editable install have them."""

EXAMPLES = """examples:
  auto-router demo
  auto-router init --output my_pool.yaml
  auto-router collect --dataset questions.jsonl --pool pool.yaml --dry-run
  auto-router train --labels labels.json --test-fraction 0.2
  auto-router route "What is the capital of Portugal?"

auto-router COMMAND --help shows the flags of a command. In a checkout write python -m auto_router for auto-router."""


def usage() -> str:
    """Return what ``auto-router --help`` prints."""
    lines = [f"  {name:<10} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: auto-router COMMAND [flags]", "", "commands:", *lines, "", EXAMPLES])


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command.

    Raises:
        ConfigError: there is no such command, or the script that it runs is not installed here.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return
    name, *rest = arguments
    if name in ("--version", "-V"):
        print(f"auto-router {__version__}")
        return
    if name not in COMMANDS:
        raise ConfigError(f"there is no command {name!r}{suggest(name, COMMANDS)}; commands are {', '.join(COMMANDS)}")
    sys.argv[0] = f"auto-router {name}"  # what its --help and its errors call it
    open_command(name).main(rest)


def open_command(name: str) -> ModuleType:
    """Return the module that a command runs; a stage's script is ``auto_router.stages.NAME`` where it is installed.

    Raises:
        ConfigError: it is not installed here.
    """
    module = COMMANDS[name][0]
    places = [module] if module.startswith("auto_router.") else [f"{STAGES}.{module}", module]
    for place in places:
        try:
            with ending_at_once():
                return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name not in (place, STAGES):
                raise ConfigError(
                    f"{error}: it is not installed for this Python, {sys.executable}; activate the environment that holds it "
                    "(source .venv/bin/activate), or install what is missing: docs/platforms.md"
                ) from error
    raise ConfigError(f"auto-router {name} runs {module}.py, which is not installed here; run it in a checkout")


def main_and_exit() -> None:
    """Run the command that the shell gave, and end with its exit code."""
    end_on_signals()
    sys.exit(run(main))


if __name__ == "__main__":
    main_and_exit()
