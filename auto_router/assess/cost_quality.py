"""The cost–quality measures of one router on one test set, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from auto_router.arrays import Floats
from auto_router.assess.curves import Curve, curve_of, settings, single_models
from auto_router.assess.held_out import HeldOut
from auto_router.assess.intervals import GroupBootstrap, percentiles

MOST_POINTS = 100


def pool_range(zero: Curve) -> tuple[float, float] | None:
    """Return the mean cost of the cheapest and of the dearest model; None where no model's cost and quality are known."""
    costs, _ = zero.points()
    return (float(costs[0]), float(costs[-1])) if len(costs) else None


def pool_aiq(probabilities: Floats, test: HeldOut) -> float | None:
    """Return the AIQ of these probabilities ``[N, M]`` over the pool's cost range; None where no cost is known."""
    bounds = None if test.costs is None else pool_range(single_models(test.outcomes, test.costs))
    if bounds is None or test.costs is None:
        return None
    return curve_of(settings(probabilities, test.foreseen_costs, test.allowed), test.outcomes, test.costs).aiq(*bounds)


def cost_quality(test: HeldOut, best_single: int, bootstrap: GroupBootstrap) -> dict[str, Any] | None:
    """Return the router's curve beside the zero router's; None where no cost is known.

    Costs are USD an answer; the measures are defined in :mod:`auto_router.assess.curves`.
    """
    if test.costs is None:
        return None
    zero = single_models(test.outcomes, test.costs)
    bounds = pool_range(zero)
    if bounds is None:
        return None
    chosen = settings(test.probabilities, test.foreseen_costs, test.allowed)
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
        "curve": _points(*curve.points(MOST_POINTS)),
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
