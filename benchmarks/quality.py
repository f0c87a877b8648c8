"""Is the default router better than simple ones? Accuracy, AUC and cost–quality on recorded data, over group-split seeds.

    python benchmarks/quality.py [--sets combined5 llmrouter14] [--seeds 20 21 22 23 24] [--methods ...] [--json FILE] [--check]

Every method sees the same training rows and is scored on the same test rows (20 % of the groups). The default router decides
under its operating point ``accuracy``, the others by their highest P. *Gap* is the share of the best-single → oracle gap that
is closed, best single being chosen on the training rows; *default −* is the paired difference in accuracy points with a 95 %
t-interval over seeds (splits overlap, so it is somewhat narrow). Where costs per prompt or prices are known: AIQ, and QNC,
the least share of best single's cost that buys its accuracy on the test curve (1 where none does), for all methods alike;
for the default router also what its operating points, fitted on training rows, come to on the test rows. Embeddings are
cached outside the project.

    python benchmarks/quality.py --methods --seeds $(seq 0 39)    # how often the operating points keep their promise
    python benchmarks/quality.py --methods "plain MLP" --flip 0.2  # a fifth of the training labels turned round

``--check`` exits 1 where the default router is, on a set, more than 0.2 points below best single, or clearly (by its
interval) below any baseline, where a baseline's mean AUC is higher, or where ``quality`` ends below best single in more than
5 % of the seeds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from recorded import DATA, LAYOUT, ROOT, SETS, DataSet
from scipy.stats import t as student
from tabulate import tabulate

sys.path.insert(0, str(ROOT))

from auto_router.arrays import Floats, Ints
from auto_router.assess.baselines import BASELINES, Predict
from auto_router.assess.cost_quality import single_models, sweep
from auto_router.assess.metrics import best_single_model, model_metrics, system_metrics
from auto_router.data.splits import split_by_group
from auto_router.decide.operating_points import OperatingPoint, fit_operating_points
from auto_router.decide.rule import choose
from auto_router.errors import run
from auto_router.files import write_json
from auto_router.learn.calibration import fit_calibration
from auto_router.learn.cost_model import fit_costs
from auto_router.learn.stack_fit import fit_stack

EXTRA = "XGBoost"  # a package of its own, and slow: only where it is named
DEFAULT = "default router"


def mean_ece(p: Floats, y: Floats) -> float:
    return float(np.mean([m.ece for m in model_metrics(p, y)]))


def ece_floor(p: Floats, seed: int) -> float:
    """Return the mean ECE that ``p`` would have if it were perfectly calibrated: what the number of rows alone does."""
    rng = np.random.default_rng(seed)
    return float(np.mean([mean_ece(p, (rng.random(p.shape) < p).astype(np.float64)) for _ in range(5)]))


def default_router(
    data: DataSet, train: Ints, labels: Floats, seed: int
) -> tuple[Predict, dict[str, OperatingPoint], dict[str, float]]:
    """Fit what nn_router.py fits by default: the stack, its calibration and its operating points; the last are figures."""
    x, y, groups = data.rows[train].astype(np.float32), labels.astype(np.float32), data.groups[train]
    fitted = fit_stack(x, y, groups, LAYOUT, seed)
    calibration = fit_calibration(fitted.out_of_fold, y, groups, seed)
    costs = None if data.costs is None else data.costs[train]
    honest = calibration(fitted.out_of_fold)
    fitted_costs = None if costs is None else fit_costs(x, costs, groups)
    expected = None if fitted_costs is None else fitted_costs[1]
    points = fit_operating_points(honest, y, costs, groups, data.names, expected=expected)

    def predict(new: Floats) -> Floats:
        return calibration(fitted.network.predict(new.astype(np.float32)))

    return predict, points, {"ece out of fold": mean_ece(honest, y), "its floor": ece_floor(honest, seed)}


def foreseen(data: DataSet, train: Ints, test: Ints) -> Floats | None:
    """Return what the test rows' answers are expected to cost, from training rows: ``[N, M]``, or each model's mean ``[M]``."""
    if data.costs is None:
        return None
    fitted = fit_costs(data.rows[train].astype(np.float32), data.costs[train], data.groups[train])
    return np.nanmean(data.costs[train], axis=0) if fitted is None else fitted[0](data.rows[test].astype(np.float32))


def measured(
    p: Floats, chosen: Ints, y: Floats, best: int, names: list[str], costs: Floats | None, expected: Floats | None
) -> dict[str, float]:
    """Return one method's figures on the test rows. Every method is given the same ``expected`` costs."""
    system, models = system_metrics(chosen, y, best, names), model_metrics(p, y)
    found = {"accuracy": system.router, "gap": system.gap_closed or 0.0}
    found["auc"] = float(np.mean([m.auc for m in models if m.auc is not None]))
    found["ece"] = mean_ece(p, y)
    if costs is not None and expected is not None:
        zero, curve = single_models(y, costs), sweep(p, y, costs, expected)
        found["aiq"] = curve.aiq(float(zero.costs.min()), float(zero.costs.max()))
        least = curve.cost_of(system.best_single)
        found["qnc"] = 1.0 if least is None else least / float(zero.costs[best])
    return found | {"best single": system.best_single, "oracle": system.oracle}


def served(p: Floats, point: OperatingPoint, data: DataSet, test: Ints, best: int, expected: Floats | None) -> dict[str, float]:
    """Return accuracy points over best single, and the share of its cost, under a fitted operating point."""
    chosen = choose(p, penalties=point.penalties(data.names, expected=expected)).chosen[:, None]
    gain = np.take_along_axis(data.y[test], chosen, 1)[:, 0] - data.y[test][:, best]
    found = {"gain": 100 * float(np.nanmean(gain))}
    if data.costs is not None:
        paid = np.take_along_axis(data.costs[test], chosen, 1)
        found["cost"] = float(np.nanmean(paid) / np.nanmean(data.costs[test][:, best]))
    return found


def flipped(y: Floats, share: float, seed: int) -> Floats:
    """Return labels with this share of them turned round, drawn by seed."""
    return np.where(np.random.default_rng(seed).random(y.shape) < share, 1 - y, y)


def compare(folder: Path, seeds: Sequence[int], methods: Sequence[str], flip: float = 0.0) -> dict[str, list[dict[str, Any]]]:
    """Return ``{method: [figures of each seed]}`` on one data set; ``flip`` is the share of wrong training labels."""
    data = DataSet.load(folder)
    found: dict[str, list[dict[str, Any]]] = {method: [] for method in (DEFAULT, *methods)}
    for seed in seeds:
        train, test = split_by_group(data.groups, 0.2, seed)
        best, y, labels = best_single_model(data.y[train]), data.y[test], flipped(data.y[train], flip, seed)
        costs, expected = None if data.costs is None else data.costs[test], foreseen(data, train, test)
        for method, results in found.items():
            start = time.perf_counter()
            figures: dict[str, Any] = {}
            points: dict[str, OperatingPoint] = {}
            if method == DEFAULT:
                predict, points, figures = default_router(data, train, labels, seed)
                p = predict(data.rows[test])
                figures["floor"] = ece_floor(p, seed)
                chosen = choose(p, penalties=points["accuracy"].penalties(data.names)).chosen
            else:
                groups = np.unique(data.groups[train], return_inverse=True)[1]
                p = BASELINES[method](data.plain[train], labels, groups, seed)(data.plain[test])
                chosen = choose(p).chosen
            figures |= measured(p, chosen, y, best, data.names, costs, expected)
            figures["fit s"] = time.perf_counter() - start
            figures["points"] = {name: served(p, point, data, test, best, expected) for name, point in points.items()}
            results.append(figures)
    return found


def difference(default: list[dict[str, float]], other: list[dict[str, float]]) -> tuple[float, float]:
    """Return the mean paired difference in accuracy points and the half width of its 95 % t-interval."""
    points = np.array([100 * (a["accuracy"] - b["accuracy"]) for a, b in zip(default, other, strict=True)])
    if len(points) < 2:
        return float(points.mean()), float("inf")
    return float(points.mean()), float(student.ppf(0.975, len(points) - 1) * points.std(ddof=1) / len(points) ** 0.5)


def show(name: str, found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Print one set's tables and return what falls short."""
    default = found[DEFAULT]
    keys = [key for key in default[0] if key != "points"]
    mean = {
        m: {key: float(np.nanmean([r[key] for r in results])) for key in keys if key in results[0]}
        for m, results in found.items()
    }
    rows: list[list[Any]] = [["best single", mean[DEFAULT]["best single"], 0.0], ["oracle", mean[DEFAULT]["oracle"], 100.0]]
    short = []
    for method, results in found.items():
        m, (points, half) = mean[method], difference(default, results)
        gap = "" if method == DEFAULT else f"{points:+.2f} ± {half:.2f}"
        rows.append([method, m["accuracy"], 100 * m["gap"], m["auc"], m["ece"], m.get("aiq"), m.get("qnc"), m["fit s"], gap])
        if points + half < 0:
            short.append(f"{name}: default router is below {method} by {-points:.2f} ± {half:.2f} points")
        if m["auc"] > mean[DEFAULT]["auc"]:
            short.append(f"{name}: {method} has the higher mean AUC, {m['auc']:.4f}")
    headers = [f"{name} ({len(default)} seeds)", "accuracy", "gap %", "AUC", "ECE", "AIQ", "QNC", "fit s", "default −, points"]
    print("\n" + tabulate(rows, headers=headers, floatfmt=("", ".4f", ".1f", ".4f", ".3f", ".4f", ".2f", ".1f")), flush=True)
    m = mean[DEFAULT]
    print(f"default router's ECE: {m['ece']:.3f}, if perfectly calibrated {m['floor']:.3f}; out of fold on the training rows: "
          f"{m['ece out of fold']:.3f}, if perfectly calibrated {m['its floor']:.3f}")  # fmt: skip
    table = []
    for point in default[0]["points"]:
        gains = np.array([r["points"][point]["gain"] for r in default])
        costs = [r["points"][point].get("cost", float("nan")) for r in default]
        kept = float((gains >= -1e-9).mean())
        if point == "quality" and kept < 0.95:
            short.append(f"{name}: quality ends below best single in {1 - kept:.0%} of the seeds")
        table.append([point, gains.mean(), f"{(gains >= -1e-9).sum()} of {len(gains)}", float(np.mean(costs))])
    headers = ["operating point", "points over best single", "not below it in", "share of its cost"]
    print("\n" + tabulate(table, headers=headers, floatfmt=("", "+.2f", "", ".2f")), flush=True)
    if mean[DEFAULT]["accuracy"] < mean[DEFAULT]["best single"] - 0.002:
        short.append(f"{name}: default router is more than 0.2 points below the best single model")
    return short


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare the default router with simple ones on recorded data.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--methods", nargs="*", choices=BASELINES, default=[m for m in BASELINES if m != EXTRA])
    parser.add_argument("--flip", type=float, default=0.0, help="share of the training labels that are turned round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every seed")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target falls short")
    arguments = parser.parse_args(argv)
    every, short = {}, []
    for name in arguments.sets:
        every[name] = compare(arguments.data / name, arguments.seeds, arguments.methods, arguments.flip)
        short += show(name, every[name])
    if arguments.json:
        write_json(arguments.json, every)
    for line in short:
        print(f"short of target: {line}")
    if arguments.check and short:
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(run(main))
