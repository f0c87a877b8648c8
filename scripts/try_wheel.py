"""Is the wheel fit for other people's machines? Built, installed in clean environments, and used there as they would.

    python scripts/try_wheel.py --artifacts router_artifacts                   # python3.11, 3.12 and 3.13, where they are here
    python scripts/try_wheel.py --python ~/.pyenv/versions/3.13.0/bin/python   # this one

Each environment holds the wheel and what it needs, no more. From an empty folder it is asked for the command's help and a
decision of the artifact (make demo makes one), for pip's own check, and for the time to import. Exit 1 where a check fails, or
no Python is here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("python3.11", "python3.12", "python3.13")
PROMPT = "What is the capital of Portugal? Answer with one word."
MAX_MB = 300
MAX_IMPORT_SECONDS = 1.0  # 0.4 where nothing else runs
IMPORTS = 5  # the fastest counts: it is the machine's other work that makes the others slower

OWN_SETTINGS = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")  # of the caller's environment

TIME_IMPORT = """
import time
start = time.perf_counter()
from auto_router import ModelRouter
print(time.perf_counter() - start)
"""
TOP_NAMES = """
from importlib.metadata import files
tops = {file.parts[0] for file in files("auto-router")}
print(*sorted(top for top in tops if top != ".." and not top.endswith(".dist-info")))
"""
IS_TYPED = "import auto_router, pathlib; print(pathlib.Path(auto_router.__file__).with_name('py.typed').is_file())"
MODEL_NAMES = "from auto_router import ModelRouter; print(*ModelRouter('nn_router.pth').model_names, sep='\\n')"
HAS_TORCH = "import importlib.util; print(importlib.util.find_spec('torch') is not None)"


def build_wheel(folder: Path) -> Path:
    """Return the wheel of this checkout, built from its source archive, so that a file the archive lacks is missed here."""
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)], folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def run(command: Sequence[str], cwd: Path) -> str:
    """Return what a command prints; raises SystemExit with its errors where it fails."""
    clean = {name: value for name, value in os.environ.items() if name not in OWN_SETTINGS}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout.strip()


def version_of(python: str) -> str | None:
    """Return a Python's version; None where there is none of that name."""
    code = "import platform; print(platform.python_version())"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def megabytes(folder: Path) -> float:
    """Return what an environment takes on disk, its pip included: as ``du -sm`` and docs/peers.md count it."""
    return sum(path.lstat().st_blocks * 512 for path in [folder, *folder.rglob("*")]) / 2**20


def try_wheel(wheel: Path, python: str, artifacts: Path, folder: Path) -> dict[str, tuple[str, bool]]:
    """Return for each check what was seen in a clean environment of this Python, and whether it is as it should be."""
    environment, used = folder / "environment", folder / "used"
    used.mkdir(parents=True)
    run([python, "-m", "venv", str(environment)], used)
    inside = str(environment / "bin" / "python")
    run([inside, "-m", "pip", "install", "--quiet", str(wheel)], used)
    for file in sorted(artifacts.glob("nn_router.*")):
        shutil.copy(file, used / file.name)
    command = str(environment / "bin" / "auto-router")
    help_text, checked = run([command, "--help"], used), run([inside, "-m", "pip", "check"], used)
    demo_help = run([command, "demo", "--help"], used)  # its files lie outside the package in a checkout
    decided = run([command, "route", PROMPT, "--router", "nn_router.pth", "--quiet"], used)
    codes = (TOP_NAMES, IS_TYPED, HAS_TORCH, MODEL_NAMES)
    tops, typed, torch, known = (run([inside, "-c", code], used) for code in codes)
    size = megabytes(environment)
    seconds = min(float(run([inside, "-c", TIME_IMPORT], used)) for _ in range(IMPORTS))
    return {
        "auto-router --help": (help_text.splitlines()[0], help_text.startswith("usage: auto-router")),
        "auto-router demo --help": (demo_help.splitlines()[0], demo_help.startswith("usage: auto-router demo")),
        "auto-router route": (decided or "nothing", decided in known.splitlines()),
        "pip check": (checked, checked.startswith("No broken requirements")),
        "top-level names": (tops, tops == "auto_router"),
        "py.typed": (typed, typed == "True"),
        "torch installed": (torch, torch == "False"),
        f"size, at most {MAX_MB} MB": (f"{size:.0f} MB", size <= MAX_MB),
        f"import of ModelRouter, at most {MAX_IMPORT_SECONDS} s": (f"{seconds:.2f} s", seconds <= MAX_IMPORT_SECONDS),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=PYTHONS, metavar="PROGRAM", help="interpreters (default: 3.11 to 3.13)")
    parser.add_argument("--artifacts", type=Path, default=Path("router_artifacts"), help="folder of nn_router.pth")
    arguments = parser.parse_args(argv)
    if not (arguments.artifacts / "nn_router.pth").is_file():
        raise SystemExit(f"error: there is no nn_router.pth in {arguments.artifacts}; make demo makes one")
    failed, tried = 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        print(f"{wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB")
        for place, python in enumerate(arguments.python):
            version = version_of(python)
            print(f"\nPython {version or python}{'' if version else ' is not here: not tried'}", flush=True)
            if version is None:
                continue
            tried += 1
            for check, (seen, is_right) in try_wheel(wheel, python, arguments.artifacts.resolve(), folder / str(place)).items():
                print(f"  {'ok' if is_right else 'WRONG':<6} {check}: {seen}", flush=True)
                failed += not is_right
    if failed or not tried:
        raise SystemExit(f"error: {failed} checks failed" if failed else "error: none of these Pythons is here")


if __name__ == "__main__":
    main()
