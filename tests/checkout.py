"""Copies of the project as a user has it, and its commands run in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def copy_of_the_project(folder: Path) -> Path:
    """Copy what a clone would hold (files that git tracks or would) into ``folder``."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def bash(commands: str, cwd: Path) -> str:
    """Run commands as a user of this environment would and return what they printed; fail the test where they fail."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def readme_blocks(language: str, marker: str | None = None) -> list[str]:
    """Return README's code blocks of a language; with ``marker``, those under ``<!-- run: marker -->``, else unmarked."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pattern = re.compile(r"(?:<!-- run: ([^\n]+) -->\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [body for mark, kind, body in pattern.findall(text) if kind == language and mark == (marker or "")]
