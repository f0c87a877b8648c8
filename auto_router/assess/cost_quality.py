"""Cost against quality: what a router is worth at every price, and the measures that sum it up.

- AIQ (RouterBench, arXiv 2403.12031): sweep the weight of quality in argmax(λ·P − cost), take the non-decreasing convex
  hull of the points, extend it over the pool's common cost range, and divide the area under it by that range.
- Zero router (same source): the hull of the single models; a router is worth having only above it.
- nAUC, Ps, QNC (MMR-Bench, arXiv 2601.17814): area under the Pareto points over the curve's own range, the peak, and the
  least cost that reaches the best single model's quality ÷ that model's cost. Own-range nAUC cannot be compared between
  routers, so the same area over the pool's range is given too. QNC is read off the hull: between two settings it mixes
  them at random, where the source takes the next dearer setting.
- PerfGain, CostSave (LLMRouterBench, arXiv 2601.07206): the most quality gained over the best single model, and the most
  cost saved at no less than its quality, both relative to it and by one setting, without mixing.

All settings are judged on the rows they are chosen from, so peak, PerfGain and CostSave flatter a router a little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from auto_router.arrays import Bools, Floats, Ints
from auto_router.assess.metrics import GroupBootstrap, percentiles
from auto_router.assess.test_set import TestSet
from auto_router.data.label_stats import column_means, mean_of

# From "only the price counts" to "only P counts"; costs are scaled to a mean of 1, P lies in 0…1.
LAMBDAS = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 120)])
MAX_POINTS = 100  # of a curve that is kept
SAME = 1e-12  # qualities closer than this are equal: they are the same mean, summed in another order


@dataclass(frozen=True, slots=True)
class Curve:
    """Mean cost and mean label at each setting of a sweep; settings of unknown cost or label (NaN) are left out."""

    costs: Floats
    qualities: Floats

    def points(self, most: int | None = None) -> tuple[Floats, Floats]:
        """Return the distinct known points, cheapest first; ``most`` of them, evenly picked, where there are more."""
        table = np.stack([self.costs, self.qualities], axis=1)
        table = np.unique(table[~np.isnan(table).any(axis=1)], axis=0)
        if most is not None and len(table) > most:
            table = table[np.linspace(0, len(table) - 1, most).round().astype(np.int64)]
        return table[:, 0], table[:, 1]

    def pareto(self) -> tuple[Floats, Floats]:
        """Return the points that no cheaper or equally dear one reaches in quality, cheapest first."""
        known = ~np.isnan(self.costs + self.qualities)
        costs, qualities = self.costs[known], self.qualities[known]
        order = np.lexsort((-qualities, costs))
        costs, qualities = costs[order], qualities[order]
        before = np.maximum.accumulate(np.concatenate([[-np.inf], qualities]))[:-1]
        return costs[qualities > before], qualities[qualities > before]

    def hull(self) -> tuple[Floats, Floats]:
        """Return the corners of the non-decreasing convex hull, cheapest first."""
        corners: list[tuple[float, float]] = []
        for corner in zip(*(values.tolist() for values in self.pareto()), strict=True):
            while len(corners) > 1 and _below(corners[-2], corners[-1], corner):
                corners.pop()
            corners.append(corner)
        return np.array([cost for cost, _ in corners]), np.array([quality for _, quality in corners])

    def aiq(self, low: float, high: float) -> float:
        """Average improvement in quality over the cost range ``low…high``: the area under the hull ÷ the range.

        Below the hull's first corner nothing can be bought: quality is 0 there, as in the source. NaN without points.
        """
        return _average_height(*self.hull(), low, high)

    def nauc(self, low: float, high: float) -> float:
        """Average height of the line through the Pareto points over ``low…high``, 0 before the first. NaN without points."""
        return _average_height(*self.pareto(), low, high)

    def own_nauc(self) -> float:
        """:meth:`nauc` over the curve's own cost range. Not comparable between routers."""
        costs, qualities = self.pareto()
        return _average_height(costs, qualities, costs[0], costs[-1]) if len(costs) else float("nan")

    def peak(self) -> float:
        """Highest quality of any setting (Ps). NaN without points."""
        _, qualities = self.pareto()
        return float(qualities[-1]) if len(qualities) else float("nan")

    def cost_of(self, quality: float) -> float | None:
        """Return the least cost at which the hull reaches ``quality``, mixing two settings; None where it does not."""
        costs, qualities = self.hull()
        if not len(costs) or not quality <= qualities[-1] + SAME:
            return None
        return float(np.interp(min(quality, qualities[-1]), qualities, costs))

    def setting_cost(self, quality: float) -> float | None:
        """Return the cost of the cheapest single setting of at least ``quality``; None where there is none."""
        costs, qualities = self.pareto()
        enough = costs[qualities >= quality - SAME]
        return float(enough.min()) if len(enough) else None


def settings(probabilities: Floats, costs: Floats, eligible: Bools | None = None) -> Ints:
    """Return ``[N, L]``: the model that argmax(λ·P − cost) chooses for every row and every λ.

    A model that is not eligible, or whose P or cost is unknown (NaN), is chosen only where there is no other.

    Args:
        probabilities: ``[N, M]``.
        costs: ``[N, M]`` or ``[M]``, any unit: as expected before an answer is paid for.
        eligible: ``[N, M]``; None: all are.
    """
    table = np.broadcast_to(costs, probabilities.shape).astype(np.float64)
    unknown = np.isnan(probabilities) | np.isnan(table)
    scaled = np.where(unknown, 0.0, table) / max(mean_of(np.asarray(costs, dtype=np.float64)), 1e-30)
    p, penalty = np.where(unknown, 0.0, probabilities), np.where(unknown, -1e300, 0.0)
    if eligible is not None:
        penalty[~eligible] = -np.inf
    return np.stack([(weight * p - scaled + penalty).argmax(axis=1) for weight in LAMBDAS], axis=1)


def curve_of(chosen: Ints, labels: Floats, costs: Floats) -> Curve:
    """Return the curve of the settings ``chosen`` [N, L]; a chosen model's unknown label or cost is left out of its mean."""
    table = np.broadcast_to(costs, labels.shape)
    return Curve(*(column_means(np.take_along_axis(values, chosen, axis=1)) for values in (table, labels)))


def single_models(labels: Floats, costs: Floats) -> Curve:
    """Return one point a model: the zero router's curve."""
    return Curve(column_means(np.broadcast_to(costs, labels.shape)), column_means(labels))


def _average_height(costs: Floats, qualities: Floats, low: float, high: float) -> float:
    if not len(costs):
        return float("nan")
    if high <= low:
        return float(qualities[-1])
    start = max(low, costs[0])  # nothing can be bought for less: a step, not a slope from 0
    grid = np.unique(np.concatenate([[start, high], costs[(costs > start) & (costs < high)]]))
    return float(np.trapezoid(np.interp(grid, costs, qualities), grid) / (high - low)) if start < high else 0.0


def _below(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Does ``b`` lie on or below the line from ``a`` to ``c``?"""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def pool_range(zero: Curve) -> tuple[float, float] | None:
    """Return the mean cost of the cheapest and of the dearest model; None where no model's cost and quality are known."""
    costs, _ = zero.points()
    return (float(costs[0]), float(costs[-1])) if len(costs) else None


def pool_aiq(probabilities: Floats, test: TestSet) -> float | None:
    """Return the AIQ of these probabilities ``[N, M]`` over the pool's cost range; None where no cost is known."""
    bounds = None if test.costs is None else pool_range(single_models(test.outcomes, test.costs))
    if bounds is None or test.costs is None:
        return None
    return curve_of(settings(probabilities, test.foreseen_costs, test.eligible), test.outcomes, test.costs).aiq(*bounds)


def cost_quality(test: TestSet, best_single: int, bootstrap: GroupBootstrap) -> dict[str, Any] | None:
    """Return the router's curve beside the zero router's; None where no cost is known.

    Costs are USD an answer; the measures are defined in :mod:`auto_router.assess.cost_quality`.
    """
    if test.costs is None:
        return None
    zero = single_models(test.outcomes, test.costs)
    bounds = pool_range(zero)
    if bounds is None:
        return None
    chosen = settings(test.probabilities, test.foreseen_costs, test.eligible)
    curve = curve_of(chosen, test.outcomes, test.costs)
    quality, cost = float(zero.qualities[best_single]), float(zero.costs[best_single])
    costs, labels = (np.take_along_axis(table, chosen, axis=1) for table in (test.costs, test.outcomes))
    drawn = _aiq_draws(costs, labels, bounds, bootstrap)
    zero_drawn = _aiq_draws(test.costs, test.outcomes, bounds, bootstrap)
    cheapest_setting = _share(curve.setting_cost(quality), cost)
    return {
        "range": bounds,
        "aiq": curve.aiq(*bounds),
        "aiq_interval": percentiles(drawn),
        "zero_router_aiq": zero.aiq(*bounds),
        "aiq_minus_zero_router": curve.aiq(*bounds) - zero.aiq(*bounds),
        "aiq_minus_zero_router_interval": percentiles(drawn - zero_drawn),
        "pool_nauc": curve.nauc(*bounds),
        "own_nauc": curve.own_nauc(),
        "peak": curve.peak(),
        "qnc": _share(curve.cost_of(quality), cost),
        "perf_gain": curve.peak() / quality - 1.0 if quality > 0 else None,
        "cost_save": None if cheapest_setting is None else 1.0 - cheapest_setting,
        "curve": _points(*curve.points(MAX_POINTS)),
        "hull": _points(*curve.hull()),
        "zero_router_hull": _points(*zero.hull()),
        "single_models": {name: [zero.costs[j], zero.qualities[j]] for j, name in enumerate(test.names)},
    }


def _aiq_draws(costs: Floats, labels: Floats, bounds: tuple[float, float], bootstrap: GroupBootstrap) -> Floats:
    """Return the AIQ of every draw over a fixed range, from the settings' ``[N, L]`` costs and labels."""
    drawn = zip(bootstrap.means(costs), bootstrap.means(labels), strict=True)
    return np.array([Curve(cost, quality).aiq(*bounds) for cost, quality in drawn])


def _share(cost: float | None, of: float) -> float | None:
    """``cost`` as a share of the best single model's; None where either is unknown or that is free."""
    return cost / of if cost is not None and of > 0 else None


def _points(costs: Floats, qualities: Floats) -> list[list[float]]:
    return [[float(cost), float(quality)] for cost, quality in zip(costs, qualities, strict=True)]
