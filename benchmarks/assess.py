"""How long does a whole assessment take? 915 rows × 5 models within 2 s, 1,200 × 14 within 5 s.

    python benchmarks/assess.py [--rounds 5] [--json FILE] [--check]

Rows are drawn at random, every row a group of its own (the most work), with costs a row, three operating points and eight
baselines. Every measure and every interval of ``metrics.json`` is computed. ``--check`` exits 1 where a median is too long.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from auto_router.assess.assessment import assess
from auto_router.assess.test_set import TestSet
from auto_router.data.dataset import Prediction
from auto_router.errors import run
from auto_router.files import write_json

TARGETS = {(915, 5): 2.0, (1200, 14): 5.0}  # seconds by (rows, models)


def seconds(rows: int, models: int, rounds: int) -> list[float]:
    """Return the seconds of each assessment."""
    rng = np.random.default_rng(0)
    p = rng.random((rows, models))
    labels = (rng.random((rows, models)) < p).astype(np.float32)
    costs = rng.random((rows, models)) * np.geomspace(1e-4, 1e-2, models)
    names, chosen = [f"model {j}" for j in range(models)], p.argmax(axis=1)
    sources = [f"source {i % 9}" for i in range(rows)]
    test = TestSet(names, Prediction(p), chosen, labels, np.arange(rows), costs, sources=sources)
    points = dict.fromkeys(("quality", "balanced", "economy"), chosen)
    baselines = {f"baseline {k}": rng.random((rows, models)) for k in range(8)}
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        assess(test, models - 1, 0, points, baselines)
        taken.append(time.perf_counter() - start)
    return taken


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time a whole assessment.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target falls short")
    arguments = parser.parse_args(argv)
    found = {f"{n} × {m}": seconds(n, m, arguments.rounds) for n, m in TARGETS}
    medians = [float(np.median(taken)) for taken in found.values()]
    targets = list(TARGETS.values())
    rows = list(zip(found, medians, targets, strict=True))
    print(tabulate(rows, headers=["rows × models", "median s", "target s"], floatfmt=".2f"))
    if arguments.json:
        write_json(arguments.json, found)
    if arguments.check and any(median > target for median, target in zip(medians, targets, strict=True)):
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(run(main))
