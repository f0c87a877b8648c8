"""Copies of the project as a user has it, and its commands run in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BARE_PATH = "/usr/local/bin:/usr/bin:/bin"


def copy_of_the_project(folder: Path) -> Path:
    """Copy what a clone would hold (files that git tracks or would) into ``folder``, and lend it this environment."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)  # what "make setup" makes
    return folder


def bash(commands: str, cwd: Path) -> str:
    """Run commands as README's reader would, and return what they printed; fail the test where they fail.

    The shell knows the system's commands alone, as a new one does, and first runs the line by which README says to activate
    the environment.
    """
    (activation,) = blocks("run: first")
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | {"PATH": BARE_PATH}
    whole = f"{activation.body}\n{commands}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", whole], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page, with the comment above it: ``run: …``, ``run``, ``check: …`` or ``not run: reason``."""

    page: Path
    line: int
    language: str
    marker: str
    body: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"(?:^<!-- ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(marker: str | None = None, language: str | None = None) -> list[Block]:
    """Return the code blocks of README and docs; with ``marker`` or ``language``, those that have it."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            mark, kind, body = match.groups()
            found.append(Block(page, text.count("\n", 0, match.start()) + 1, kind, mark or "", body))
    return [b for b in found if marker in (None, b.marker) and language in (None, b.language)]
