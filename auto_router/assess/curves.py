"""Cost against quality: what a router is worth at every price, and the measures that sum it up.

- AIQ (RouterBench, arXiv 2403.12031): sweep the weight of quality in argmax(λ·P − cost), take the non-decreasing convex
  hull of the points, extend it over the pool's common cost range, and divide the area under it by that range.
- Zero router (same source): the hull of the single models; a router is worth having only above it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from auto_router.decide.policy import choose

Floats = npt.NDArray[np.floating[Any]]

# From "only the price counts" to "only P counts"; costs are scaled to a mean of 1, P lies in 0…1.
LAMBDAS = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 120)])


@dataclass(frozen=True, slots=True)
class Curve:
    """Mean cost and mean label at each setting of a sweep."""

    costs: Floats
    qualities: Floats

    def hull(self) -> tuple[Floats, Floats]:
        """Return the corners of the non-decreasing convex hull, cheapest first."""
        corners: list[tuple[float, float]] = []
        for cost, quality in sorted(zip(self.costs.tolist(), self.qualities.tolist(), strict=True)):
            if corners and quality <= corners[-1][1]:
                continue
            if corners and cost == corners[-1][0]:
                corners.pop()
            while len(corners) > 1 and _left_of(corners[-2], corners[-1], (cost, quality)):
                corners.pop()
            corners.append((cost, quality))
        costs, qualities = zip(*corners, strict=True)
        return np.array(costs), np.array(qualities)

    def aiq(self, low: float, high: float) -> float:
        """Average improvement in quality over the cost range ``low…high``: the area under the hull ÷ the range.

        Below the hull's first corner nothing can be bought: quality is 0 there, as in the source.
        """
        costs, qualities = self.hull()
        if high <= low:
            return float(qualities[-1])
        grid = np.unique(np.concatenate([[low, high], costs[(costs > low) & (costs < high)]]))
        heights = np.interp(grid, costs, qualities, left=0.0)
        return float(np.trapezoid(heights, grid) / (high - low))


def sweep(probabilities: Floats, labels: Floats, costs: Floats, lambdas: Floats = LAMBDAS) -> Curve:
    """Return the curve of argmax(λ·P − cost) for every λ.

    Args:
        probabilities: ``[N, M]``.
        labels: ``[N, M]``; a chosen model's unknown label (NaN) is left out of the mean.
        costs: ``[N, M]`` or ``[M]``, any unit.
    """
    table = np.broadcast_to(costs, probabilities.shape).astype(np.float64)
    scaled = table / max(float(np.nanmean(table)), 1e-30)
    points = []
    for weight in lambdas:
        chosen = choose(weight * probabilities - scaled).chosen[:, None]
        points.append((_mean(np.take_along_axis(table, chosen, 1)), _mean(np.take_along_axis(labels, chosen, 1))))
    found = np.array(points)
    return Curve(found[:, 0], found[:, 1])


def single_models(labels: Floats, costs: Floats) -> Curve:
    """Return one point a model: the zero router's curve."""
    table = np.broadcast_to(costs, labels.shape)
    return Curve(np.nanmean(table, axis=0), np.nanmean(labels, axis=0))


def _left_of(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Does ``b`` lie on or below the line from ``a`` to ``c``?"""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
