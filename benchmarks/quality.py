"""Is the default router better than simple ones, and does each operating point keep its promise? On recorded data.

    python benchmarks/quality.py [--sets combined5 llmrouter14] [--seeds 20 21 22 23 24] [--sizes 100 300 1000 0]
                                 [--methods ...] [--json FILE] [--cache FOLDER] [--check]

Every method sees the same training rows and is scored on the same test rows: 20 % of the groups, of ``routerdc_split`` its own
test rows in and out of distribution. Of the training rows ``--sizes`` are drawn by the seed (0: all). Measured is what is
served: predictions, expected costs, operating points and the rule that unfamiliar rows go to the best single model, all fitted
on the training rows. The default router decides under its operating point ``accuracy``, the others by their highest P.

*Gap* is the share of the best-single → oracle gap that is closed, best single being chosen on the training rows; *default −* is
the paired difference in accuracy points with a 95 % t-interval over seeds (splits overlap, so it is somewhat narrow). Where
costs per prompt or prices are known: AIQ, and QNC, the least share of best single's cost that buys its accuracy on the test
curve (1 where none does), for all methods alike. Of each operating point: in how many draws its promise held on the test
rows (``quality``, ``balanced``: best single's accuracy; ``economy``: 97 % of it), and the worst draw, in points from what is
promised. Embeddings are cached outside the project. With ``--cache`` a run that was stopped goes on where it was, and one can
be made in parts (``--sets``, ``--seeds``, ``--sizes``, ``--methods``); give other code another folder.

    python benchmarks/quality.py --methods --seeds $(seq 20 31)    # promises only, over more draws
    python benchmarks/quality.py --methods "plain MLP" --flip 0.2   # a fifth of the training labels turned round

``--check`` exits 1 where, over all sets, a promise is kept in less than 95 % (``quality``) or 80 % of the draws of a size, or
is ever missed by more than 1.5 points; where ``accuracy`` is on the mean more than 0.2 points below the highest P, or in a draw
of the full size more than 0.5 below best single; where on a set the router is not above best single (100 and 300 rows) or below
a baseline, or closes less of the gap than it did; or where less than 0.5 % or more than 2.5 % of the test rows are unfamiliar.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from recorded import DATA, ROOT, SETS, SPLIT_SETS, DataSet
from scipy.stats import t as student
from tabulate import tabulate

sys.path.insert(0, str(ROOT))

from auto_router.arrays import Floats, Ints
from auto_router.assess.baselines import BASELINES, Predict
from auto_router.assess.cost_quality import curve_of, settings, single_models
from auto_router.assess.metrics import model_metrics, system_metrics, take_chosen
from auto_router.data.dataset import Prediction
from auto_router.data.label_stats import best_single_model, mean_of
from auto_router.data.splits import split_by_group
from auto_router.decide.operating_points import PROMISES, OperatingPoint, default_point, fit_operating_points
from auto_router.decide.policy import RouterSettings, resolve_policy
from auto_router.decide.rule import choose
from auto_router.errors import run
from auto_router.files import write_json
from auto_router.learn.cost_model import fit_costs
from auto_router.learn.novelty import NoveltyDetector, fit_novelty
from auto_router.learn.stack_fit import fit_stack

EXTRA = "XGBoost"  # a package of its own, and slow: only where it is named
FAST = ("kNN (k tuned)", "ridge", "k-means table")  # at all sizes; the others at the full one
DEFAULT = "default router"
SIZES = (100, 300, 1000, 0)
KEPT = {"quality": 0.95, "balanced": 0.80, "economy": 0.80}
WORST, LOST, BELOW = -1.5, 0.2, -0.5  # points
GAP = {"combined5": 0.12, "llmrouter14": 0.29, "routerbench_sub": 0.0}
UNFAMILIAR = (0.005, 0.025)
_EXACT = 1e-9


def mean_ece(p: Floats, y: Floats) -> float:
    return float(np.mean([m.ece for m in model_metrics(p, y)]))


def ece_floor(p: Floats, seed: int) -> float:
    """Return the mean ECE that ``p`` would have if it were perfectly calibrated: what the number of rows alone does."""
    rng = np.random.default_rng(seed)
    return float(np.mean([mean_ece(p, (rng.random(p.shape) < p).astype(np.float64)) for _ in range(5)]))


@dataclass(frozen=True, slots=True)
class Router:
    """What nn_router.py fits by default."""

    names: list[str]
    predict: Predict
    """Input rows ``[N, D]`` → calibrated P."""
    points: dict[str, OperatingPoint]
    novelty: NoveltyDetector
    figures: dict[str, float]

    def decide(self, point: str, p: Floats, rows: Floats, expected: Floats | None) -> Ints:
        """Return the decisions ``[N]`` under a point, as ``ModelRouter`` takes them; ``rows`` [N, D] are the input rows."""
        policy = resolve_policy(self.names, self.points, RouterSettings(operating_point=point))
        return policy.choose(Prediction(p, self.novelty.novelty(rows), expected)).chosen


def default_router(data: DataSet, train: Ints, labels: Floats, seed: int) -> Router:
    """Fit the stack, novelty and operating points to the rows ``train``."""
    x, y, groups = data.rows[train].astype(np.float32), labels.astype(np.float32), data.groups[train]
    fitted = fit_stack(x, y, groups, data.layout, seed)
    detector, novelty = fit_novelty(x, y, groups, train.tolist(), seed=seed, prompt_dim=data.layout.prompt_dim)
    costs = None if data.costs is None else data.costs[train]
    out_of_fold = fitted.out_of_fold
    fitted_costs = None if costs is None else fit_costs(x, costs, groups)
    expected = None if fitted_costs is None else fitted_costs[1]
    points = fit_operating_points(Prediction(out_of_fold, novelty, expected), y, costs, groups, data.names)

    def predict(new: Floats) -> Floats:
        return fitted.network.predict(new.astype(np.float32))

    figures = {"ece out of fold": mean_ece(out_of_fold, y), "its floor": ece_floor(out_of_fold, seed)}
    return Router(data.names, predict, points, detector, figures)


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
        zero, curve = single_models(y, costs), curve_of(settings(p, expected), y, costs)
        found["aiq"] = curve.aiq(float(zero.costs.min()), float(zero.costs.max()))
        least = curve.cost_of(system.best_single)
        found["qnc"] = 1.0 if least is None else least / float(zero.costs[best])
    return found | {"best single": system.best_single, "random": system.random, "oracle": system.oracle}


def promised(name: str, chosen: Ints, y: Floats, costs: Floats | None, best: int) -> dict[str, float]:
    """Return accuracy points over best single, points from what the point promises, and the share of best single's cost."""
    single = mean_of(y[:, best])
    gain = mean_of(take_chosen(y, chosen) - y[:, best])
    share = PROMISES[name].share if name in PROMISES else 1.0
    found = {"gain": 100 * gain, "beyond": 100 * (gain + (1.0 - share) * single)}
    if costs is not None:
        found["cost"] = float(np.nanmean(take_chosen(costs, chosen)) / np.nanmean(costs[:, best]))
    return found


def flipped(y: Floats, share: float, seed: int) -> Floats:
    """Return labels with this share of them turned round, drawn by seed."""
    return np.where(np.random.default_rng(seed).random(y.shape) < share, 1 - y, y)


def draw(data: DataSet, seed: int, size: int) -> tuple[Ints, Ints]:
    """Return training rows, ``size`` of them (0: all), and test rows."""
    if data.test is None:
        train, test = split_by_group(data.groups, 0.2, seed)
    else:  # of the rows that are not for testing, as many as elsewhere
        train = np.flatnonzero(~data.test)
        train, test = train[split_by_group(data.groups[train], 0.2, seed)[0]], np.flatnonzero(data.test)
    order = np.random.default_rng(1000 + seed).permutation(train)
    return np.sort(order[:size]) if size else train, test


@dataclass(frozen=True)
class Split:
    """One draw of a data set: what every method learns from and is scored on."""

    data: DataSet
    seed: int
    train: Ints
    test: Ints
    labels: Floats
    """Of the training rows, a share of them turned round where that was asked for."""

    @cached_property
    def expected(self) -> Floats | None:
        """What the test rows' answers are expected to cost: every method is given the same."""
        return foreseen(self.data, self.train, self.test)

    def measure(self, method: str) -> dict[str, Any]:
        """Return one method's figures."""
        data, test, expected, start = self.data, self.test, self.expected, time.perf_counter()
        y, best, costs = data.y[test], best_single_model(self.labels), None if data.costs is None else data.costs[test]
        figures: dict[str, Any] = {}
        if method == DEFAULT:
            router = default_router(data, self.train, self.labels, self.seed)
            rows = data.rows[test].astype(np.float32)
            p = router.predict(rows)
            decided = {name: router.decide(name, p, rows, expected) for name in router.points}
            chosen = decided["accuracy"]
            figures |= router.figures
            figures["floor"] = ece_floor(p, self.seed)
            figures["unfamiliar"] = float((router.novelty.novelty(rows) > 1).mean())
            figures["highest P"] = mean_of(take_chosen(y, p.argmax(axis=1)))
            figures["points"] = {name: promised(name, rows, y, costs, best) for name, rows in decided.items()}
            figures["served"] = default_point(router.points)
        else:
            groups = np.unique(data.groups[self.train], return_inverse=True)[1]
            p = BASELINES[method](data.plain[self.train], self.labels, groups, self.seed)(data.plain[test])
            chosen = choose(p).chosen
        figures |= measured(p, chosen, y, best, data.names, costs, expected)
        return figures | {"fit s": time.perf_counter() - start}


def compare(
    data: DataSet, seeds: Sequence[int], methods: Sequence[str], size: int = 0, flip: float = 0.0, cache: Path | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return ``{method: [figures of each seed]}`` on one data set; ``flip`` is the share of wrong training labels.

    What ``cache`` holds already is read, and what is measured is kept there.
    """
    found: dict[str, list[dict[str, Any]]] = {method: [] for method in (DEFAULT, *methods)}
    for seed in seeds:
        train, test = draw(data, seed, size)
        split = Split(data, seed, train, test, flipped(data.y[train], flip, seed))
        for method, results in found.items():
            stored = None if cache is None else cache / f"{method.replace(' ', '-')}-{size}-{flip:g}-{seed}.json"
            if stored is not None and stored.exists():
                results.append(json.loads(stored.read_text(encoding="utf-8")))
                continue
            results.append(split.measure(method))
            if stored is not None:
                write_json(stored, results[-1])
    return found


def difference(default: list[dict[str, Any]], other: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the mean paired difference in accuracy points and the half width of its 95 % t-interval."""
    points = np.array([100 * (a["accuracy"] - b["accuracy"]) for a, b in zip(default, other, strict=True)])
    if len(points) < 2:
        return float(points.mean()), float("inf")
    return float(points.mean()), float(student.ppf(0.975, len(points) - 1) * points.std(ddof=1) / len(points) ** 0.5)


def means(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the mean over seeds of every figure that is a number."""
    return {key: float(np.nanmean([r[key] for r in results])) for key, v in results[0].items() if isinstance(v, float)}


def show(name: str, size: int, found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Print the tables of one set and size, and return what falls short on it."""
    default, title = found[DEFAULT], f"{name}, {size or 'all'} rows"
    m = means(default)
    rows: list[list[Any]] = [["best single", m["best single"], 0.0], ["random", m["random"]], ["oracle", m["oracle"], 100.0]]
    short = []
    for method, results in found.items():
        its, (points, half) = means(results), difference(default, results)
        gap = "" if method == DEFAULT else f"{points:+.2f} ± {half:.2f}"
        columns = [its.get(key) for key in ("auc", "ece", "aiq", "qnc", "fit s")]
        rows.append([method, its["accuracy"], 100 * its["gap"], *columns, gap])
        if (points < 0 and size in (100, 300)) or points + half < 0:
            short.append(f"{title}: the default router is below {method} by {-points:.2f} ± {half:.2f} points")
        if its["auc"] > m["auc"] and not size:
            short.append(f"{title}: {method} has the higher mean AUC, {its['auc']:.4f}")
    headers = [f"{title} ({len(default)} seeds)", "accuracy", "gap %", "AUC", "ECE", "AIQ", "QNC", "fit s", "default −, points"]
    print("\n" + tabulate(rows, headers=headers, floatfmt=("", ".4f", ".1f", ".4f", ".3f", ".4f", ".2f", ".1f")), flush=True)
    print(f"ECE {m['ece']:.3f}, if perfectly calibrated {m['floor']:.3f}; out of fold on the training rows "
          f"{m['ece out of fold']:.3f}, {m['its floor']:.3f}; unfamiliar {m['unfamiliar']:.1%}; by the highest P "
          f"{m['highest P']:.4f}; served without settings: {', '.join(sorted({r['served'] for r in default}))}")  # fmt: skip
    table: list[list[Any]] = []
    for point in default[0]["points"]:
        draws = [r["points"][point] for r in default]
        kept = sum(r["beyond"] >= -_EXACT for r in draws)
        gain, cost = (float(np.mean([r.get(key, np.nan) for r in draws])) for key in ("gain", "cost"))
        table.append([point, gain, f"{kept} of {len(draws)}", min(r["beyond"] for r in draws), cost])
    headers = ["operating point", "points over best single", "promise kept in", "worst, from it", "share of its cost"]
    print("\n" + tabulate(table, headers=headers, floatfmt=("", "+.2f", "", "+.2f", ".2f")), flush=True)
    if size in (100, 300) and m["accuracy"] <= m["best single"]:
        short.append(f"{title}: the default router is not above best single ({100 * (m['accuracy'] - m['best single']):+.2f})")
    if not size and m["gap"] < GAP.get(name, -np.inf):
        short.append(f"{title}: {m['gap']:.1%} of the gap is closed, {GAP[name]:.0%} is the target")
    if not UNFAMILIAR[0] <= m["unfamiliar"] <= UNFAMILIAR[1] and not name.endswith("/out"):
        short.append(f"{title}: {m['unfamiliar']:.2%} of the test rows are unfamiliar")
    return short


def keep_promises(every: dict[str, dict[int, dict[str, list[dict[str, Any]]]]]) -> list[str]:
    """Print how often each promise was kept over all sets that have the point, by size; return what falls short."""
    table: list[list[Any]] = []
    short = []
    for size in next(iter(every.values())):
        default = [r for name, sizes in every.items() if not name.endswith("/out") for r in sizes[size][DEFAULT]]
        rows = f"{size or 'all'} rows"
        for point, least in KEPT.items():
            beyond_it = np.array([r["points"][point]["beyond"] for r in default if point in r["points"]])
            if not len(beyond_it):
                continue
            kept, worst = float((beyond_it >= -_EXACT).mean()), float(beyond_it.min())
            table.append([rows, point, len(beyond_it), f"{kept:.0%}", worst])
            if kept < least or worst < WORST:
                short.append(f"{rows}: {point} was kept in {kept:.0%} of {len(beyond_it)} draws, at worst {worst:+.2f} points")
        gain = np.array([r["points"]["accuracy"]["gain"] for r in default])
        lost = 100 * float(np.mean([r["highest P"] - r["accuracy"] for r in default]))
        table.append([rows, "accuracy", len(gain), f"{(gain >= -_EXACT).mean():.0%}", float(gain.min())])
        if lost > LOST:
            short.append(f"{rows}: accuracy loses {lost:.2f} points against the highest P")
        if not size and gain.min() < BELOW:
            short.append(f"{rows}: accuracy ends {-gain.min():.2f} points below best single in a draw")
    print("\n" + tabulate(table, headers=["all sets", "point", "draws", "kept in", "worst, points"], floatfmt="+.2f"))
    return short


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare the default router with simple ones on recorded data.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", choices=[*SETS, *SPLIT_SETS], default=[*SETS, *SPLIT_SETS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="training rows; 0: all")
    parser.add_argument("--methods", nargs="*", choices=BASELINES, default=[m for m in BASELINES if m != EXTRA])
    parser.add_argument("--flip", type=float, default=0.0, help="share of the training labels that are turned round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every seed")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keep each draw's figures, to go on after a stop")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target falls short")
    arguments = parser.parse_args(argv)
    every: dict[str, dict[int, dict[str, list[dict[str, Any]]]]] = {}
    short = []
    for name in arguments.sets:
        data, every[name] = DataSet.load(arguments.data / name), {}
        folder = None if arguments.cache is None else arguments.cache / name
        for size in arguments.sizes:
            methods = [method for method in arguments.methods if not size or method in FAST]
            every[name][size] = compare(data, arguments.seeds, methods, size, arguments.flip, folder)
            short += show(name, size, every[name][size])
    short += keep_promises(every)
    if arguments.json:
        write_json(arguments.json, every)
    for line in short:
        print(f"short of target: {line}")
    if arguments.check and short:
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(run(main))
