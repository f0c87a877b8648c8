"""Write the pages of the docs site to ``build/docs``, for ``mkdocs build``; ``make docs`` does both.

    python scripts/build_docs.py [--output build/docs]

They are ``docs/`` and the pages of the top folder, README as the first one, with links turned to where the pages lie. Two
pages are made: every command's flags, from the parsers themselves, and the API, from the docstrings.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from auto_router import cli
from auto_router.completion import parsers

TOP_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-reports.md",
}
WIDTH = "100"  # columns of what --help prints
API = {
    "ModelRouter": ("auto_router.route.router.ModelRouter", "Decides prompts."),
    "Decision": ("auto_router.decide.rule.Decision", "What was decided, and why."),
    "RouterSettings": ("auto_router.decide.policy.RouterSettings", "Every setting of a router."),
    "Client": ("auto_router.client.Client", "The router as openai's client, in your process."),
    "AsyncClient": ("auto_router.client.AsyncClient", "The same as coroutines."),
    "EmbeddingGenerator": ("auto_router.encode.encoder.EmbeddingGenerator", "Turns prompts and images into rows of numbers."),
    "Encoder": ("auto_router.encode.encoder.Encoder", "What an encoder of your own is a subclass of."),
    "PoolModel": ("auto_router.data.pool.PoolModel", "One entry of pool.yaml."),
    "Errors": ("auto_router.errors", "One small tree of errors."),
}
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def turn_links(text: str, from_top: bool) -> str:
    """Return a page with its links turned to where ``build/docs`` has the pages."""

    def turn(match: re.Match[str]) -> str:
        path, hash_, anchor = match[1].partition("#")
        name = path.removeprefix("docs/") if from_top else path.removeprefix("../")
        return f"]({TOP_PAGES.get(name, name)}{hash_}{anchor})"

    return _LINK.sub(turn, text)


def commands_page() -> str:
    """Return the page of all commands and their flags, as their ``--help`` says it."""
    os.environ["COLUMNS"] = WIDTH
    parts = ["# Commands and flags\n\nWhat `auto-router COMMAND --help` prints. `python -m auto_router COMMAND` is the same.\n"]
    for name, parser in parsers():
        parts.append(f"## {name}\n\nIt will {cli.COMMANDS[name][1]}.\n\n```text\n{parser.format_help().strip()}\n```\n")
    return "\n".join(parts)


def api_page() -> str:
    """Return the page of the public names; mkdocstrings fills it from their docstrings."""
    parts = ["# API\n\nThe public names, from their docstrings. `from auto_router import ModelRouter` is all that most need.\n"]
    parts += [f"## {title}\n\n{what}\n\n::: {path}\n" for title, (path, what) in API.items()]
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "docs")
    arguments = parser.parse_args(argv)
    output: Path = arguments.output
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    for name, place in TOP_PAGES.items():
        (output / place).write_text(turn_links((ROOT / name).read_text(encoding="utf-8"), True), encoding="utf-8")
    for page in sorted((ROOT / "docs").iterdir()):
        if page.suffix == ".md":
            (output / page.name).write_text(turn_links(page.read_text(encoding="utf-8"), False), encoding="utf-8")
        else:
            shutil.copy(page, output / page.name)
    for extra in (ROOT / "scripts" / "site").iterdir():
        shutil.copy(extra, output / extra.name)
    (output / "commands.md").write_text(commands_page(), encoding="utf-8")
    (output / "api.md").write_text(api_page(), encoding="utf-8")
    print(f"wrote {len(list(output.glob('*.md')))} pages to {output}")


if __name__ == "__main__":
    main()
