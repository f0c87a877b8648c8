"""Is the default router better than simple ones? Accuracy, AUC and cost–quality on recorded data, over group-split seeds.

    python benchmarks/quality.py [--sets combined5 llmrouter14] [--seeds 20 21 22 23 24] [--methods ...] [--json FILE] [--check]

Every method sees the same training rows and is scored on the same test rows (20 % of the groups). *Gap* is the share of the
best-single → oracle gap that is closed, best single being chosen on the training rows; *default −* is the paired difference
in accuracy points with a 95 % t-interval over seeds (splits overlap, so it is somewhat narrow); AIQ is printed where
costs per prompt are recorded. Embeddings are cached outside the project. ``--check`` exits 1 where the default router is,
on a set, more than 0.2 points below best single, or clearly (by its interval) below any baseline.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from auto_router.assess.baselines import BASELINES, Floats, Ints, Predict  # noqa: E402
from auto_router.assess.curves import single_models, sweep  # noqa: E402
from auto_router.assess.metrics import best_single_model, model_metrics, system_metrics  # noqa: E402
from auto_router.decide.policy import choose  # noqa: E402
from auto_router.encode.efficientnet import cache_folder  # noqa: E402
from auto_router.encode.factory import open_encoder  # noqa: E402
from auto_router.encode.local import LocalEncoder  # noqa: E402
from auto_router.encode.store import save_array  # noqa: E402
from auto_router.encode.surface import NAMES, with_surface  # noqa: E402
from auto_router.errors import run  # noqa: E402
from auto_router.files import sha256_of, write_json  # noqa: E402
from auto_router.learn.projection import Layout  # noqa: E402
from auto_router.learn.stack_fit import fit_stack  # noqa: E402
from auto_router.records import (  # noqa: E402
    Record,
    cost_matrix,
    group_ids,
    label_matrix,
    load_records,
    model_names,
)
from auto_router.splits import split_by_group  # noqa: E402
from generate_embeddings import generate_embeddings_for_dataset  # noqa: E402

SETS = ("combined5", "llmrouter14", "routerbench_sub", "mmlu_pro")
MOST_ROWS = 8000
LAYOUT = Layout(LocalEncoder.text_dim, LocalEncoder.image_dim, len(NAMES))
EXTRA = "XGBoost"  # a package of its own, and slow: only where it is named
DEFAULT = "default router"


def embedded(path: Path, records: list[Record]) -> Floats:
    """Return the local encoder's rows of the records, from the cache where they are."""
    cached = cache_folder() / "benchmarks" / f"{path.parent.name}-{sha256_of(path)[:16]}-{len(records)}.npy"
    if not cached.exists():
        save_array(cached, generate_embeddings_for_dataset(open_encoder("local"), records, description=path.parent.name))
    rows: Floats = np.load(cached, allow_pickle=False)
    return rows


def default_router(x: Floats, y: Floats, groups: Ints, seed: int) -> Predict:
    """The default head of nn_router.py; ``x`` has surface features behind the embedding."""
    network = fit_stack(x.astype(np.float32), y.astype(np.float32), groups, LAYOUT).network

    def predict(new: Floats) -> Floats:
        with torch.inference_mode():
            found: Floats = network(torch.from_numpy(new.astype(np.float32))).numpy()
        return found

    return predict


def measured(p: Floats, y: Floats, best: int, names: list[str], costs: Floats) -> dict[str, float]:
    """Return one method's figures on the test rows."""
    system = system_metrics(choose(p).chosen, y, best, names)
    aucs = [m.auc for m in model_metrics(p, y) if m.auc is not None]
    found = {"accuracy": system.router, "gap": system.gap_closed or 0.0, "auc": float(np.mean(aucs))}
    if not np.isnan(costs).all():
        zero = single_models(y, costs)
        found["aiq"] = sweep(p, y, costs).aiq(float(zero.costs.min()), float(zero.costs.max()))
    return found | {"best single": system.best_single, "oracle": system.oracle}


def compare(name: str, folder: Path, seeds: Sequence[int], methods: Sequence[str]) -> dict[str, list[dict[str, float]]]:
    """Return ``{method: [figures of each seed]}`` on one data set."""
    path = folder / name / "data.json.gz"
    records = load_records(path)[:MOST_ROWS]
    names, groups = model_names(records), group_ids(records)
    y, costs, plain = label_matrix(records, names), cost_matrix(records, names), embedded(path, records)
    rows = with_surface(plain, [record.prompt for record in records])
    found: dict[str, list[dict[str, float]]] = {DEFAULT: [], **{method: [] for method in methods}}
    for seed in seeds:
        train, test = split_by_group(groups, 0.2, seed)
        best = best_single_model(y[train])
        for method, results in found.items():
            start = time.perf_counter()
            x, fit = (rows, default_router) if method == DEFAULT else (plain, BASELINES[method])
            predict = fit(x[train], y[train], np.unique(groups[train], return_inverse=True)[1], seed)
            seconds = time.perf_counter() - start
            results.append(measured(predict(x[test]), y[test], best, names, costs[test]) | {"fit s": seconds})
    return found


def difference(default: list[dict[str, float]], other: list[dict[str, float]]) -> tuple[float, float]:
    """Return the mean paired difference in accuracy points and the half width of its 95 % t-interval."""
    points = np.array([100 * (a["accuracy"] - b["accuracy"]) for a, b in zip(default, other, strict=True)])
    if len(points) < 2:
        return float(points.mean()), float("inf")
    return float(points.mean()), float(student.ppf(0.975, len(points) - 1) * points.std(ddof=1) / len(points) ** 0.5)


def show(name: str, found: dict[str, list[dict[str, float]]]) -> list[str]:
    """Print one set's table and return what falls short."""
    default = found[DEFAULT]
    mean = {method: {key: float(np.mean([r[key] for r in results])) for key in results[0]} for method, results in found.items()}
    rows: list[list[Any]] = [["best single", mean[DEFAULT]["best single"], 0.0], ["oracle", mean[DEFAULT]["oracle"], 100.0]]
    short = []
    for method, results in found.items():
        m, (points, half) = mean[method], difference(default, results)
        gap = "" if method == DEFAULT else f"{points:+.2f} ± {half:.2f}"
        rows.append([method, m["accuracy"], 100 * m["gap"], m["auc"], m.get("aiq"), m["fit s"], gap])
        if points + half < 0:
            short.append(f"{name}: default router is below {method} by {-points:.2f} ± {half:.2f} points")
    headers = [f"{name} ({len(default)} seeds)", "accuracy", "gap %", "AUC", "AIQ", "fit s", "default −, points"]
    print("\n" + tabulate(rows, headers=headers, floatfmt=("", ".4f", ".1f", ".4f", ".4f", ".1f")), flush=True)
    if mean[DEFAULT]["accuracy"] < mean[DEFAULT]["best single"] - 0.002:
        short.append(f"{name}: default router is more than 0.2 points below the best single model")
    return short


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare the default router with simple ones on recorded data.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--methods", nargs="*", choices=BASELINES, default=[m for m in BASELINES if m != EXTRA])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every seed")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target falls short")
    arguments = parser.parse_args(argv)
    every, short = {}, []
    for name in arguments.sets:
        every[name] = compare(name, arguments.data, arguments.seeds, arguments.methods)
        short += show(name, every[name])
    if arguments.json:
        write_json(arguments.json, every)
    for line in short:
        print(f"short of target: {line}")
    if arguments.check and short:
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(run(main))
