"""Run the notebooks from top to bottom and keep their outputs: ``python notebooks/execute.py`` (or ``make notebooks``).

The second notebook trains ``router_artifacts/``, which the third one uses.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
TIMEOUT = 300  # seconds for one cell


def run_notebook(path: Path) -> nbformat.NotebookNode:
    """Return the notebook as it comes out of a run; a cell that fails raises, with its traceback."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    return client.execute()


def main(paths: Sequence[str]) -> None:
    for path in map(Path, paths or sorted(map(str, HERE.glob("*.ipynb")))):
        notebook = run_notebook(path)
        for cell in notebook.cells:
            # Progress bars and the time of each cell say nothing to a reader, and differ in every run.
            cell.metadata.pop("execution", None)
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
                for output in cell.outputs:
                    if "text" in output:  # no folder of this machine
                        output.text = output.text.replace(str(HERE.parent), "auto-router")
        nbformat.write(notebook, path)
        print(f"ran {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
