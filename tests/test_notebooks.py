"""The notebooks run from top to bottom, and their committed outputs are what they print."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from execute import run_notebook

from tests.checkout import ROOT

pytestmark = pytest.mark.slow

NOTEBOOKS = ("2_Embedding_NN_Training.ipynb", "3_Embedding_NN_Usage.ipynb")
# What differs from run to run, or from machine to machine: numbers, folders, and the widths that follow from them.
VARYING = [
    (r"\S+-(?:135m|0\.5b|1\.5b)", "MODEL"),
    (r"auto-router/\S+", "PATH"),
    (r"\x1b\[[\d;]*m", ""),
    (r"/\S+", "PATH"),
    (r"[-+−]?\d[\d.,:e]*(?:e[-+]\d+)?", "0"),
    (r"[-=─]{3,}", "-"),
    (r"\s+", " "),
]


def told(notebook: Any) -> list[list[str]]:
    """Return for each code cell what it shows: its words, normalised, and the kinds of its media; bars are left out."""
    return [shown(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]


def shown(outputs: list[Any]) -> list[str]:
    assert not [output for output in outputs if output.output_type == "error"]
    # A bar between two lines cuts the stream in two, now here, now there: the words of a cell are taken together.
    words = " ".join(str(output.text) for output in outputs if output.get("name") == "stdout")
    for pattern, stand_in in VARYING:
        words = re.sub(pattern, stand_in, words)
    return [words.strip(), *(", ".join(sorted(output.data)) for output in outputs if "data" in output)]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_committed_outputs_are_whole(name: str) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image/png" in kind for outputs in told(notebook) for kind in outputs) >= 2
    text = (ROOT / "notebooks" / name).read_text(encoding="utf-8")
    assert len(text) < 2_000_000
    assert str(Path.home()) not in text


def test_the_notebooks_run_and_print_what_is_committed(demo: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(demo[0], folder, symlinks=True, ignore=shutil.ignore_patterns("notebook"))
    for name in NOTEBOOKS:
        committed = nbformat.read(ROOT / "notebooks" / name, as_version=4)
        assert told(run_notebook(folder / "notebooks" / name)) == told(committed), name
