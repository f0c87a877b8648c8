"""Measures of RouteLLM (arXiv 2406.18665), which exist for a pool of two models: one strong, one weak.

Rows are sent to the strong model in the order of what it promises to gain, P(strong) − P(weak). At every share of calls to
it, PGR, the performance gap recovered, is (quality − weak) / (strong − weak).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auto_router.arrays import Floats


@dataclass(frozen=True, slots=True)
class Recovered:
    """PGR at growing shares of calls to the strong model; both ``[K]``, from (0, 0) to (1, 1)."""

    shares: Floats
    gaps: Floats

    @property
    def apgr(self) -> float:
        """Average PGR over all shares (the source averages ten of them); a random router has 0.5."""
        return float(np.trapezoid(self.gaps, self.shares))

    def cpt(self, gap: float) -> float:
        """Call-performance threshold: the least share of calls to the strong model that recovers ``gap`` (0…1)."""
        first = int(np.argmax(self.gaps >= gap))
        if first == 0:
            return float(self.shares[0])
        (x0, x1), (y0, y1) = self.shares[first - 1 : first + 1], self.gaps[first - 1 : first + 1]
        return float(x0 + (gap - y0) / (y1 - y0) * (x1 - x0))


def recovered(advantages: Floats, strong: Floats, weak: Floats) -> Recovered | None:
    """Return PGR by share of calls, or None where the strong model is not better on these rows.

    Args:
        advantages: ``[N]`` P(strong) − P(weak); rows of equal advantage are sent together.
        strong, weak: ``[N]`` labels; rows where either is unknown (NaN) are left out.
    """
    known = ~np.isnan(strong) & ~np.isnan(weak)
    gains = (strong - weak)[known].astype(np.float64)
    if not len(gains) or gains.sum() <= 0:
        return None
    _, level = np.unique(-advantages[known], return_inverse=True)
    rows, gained = np.bincount(level), np.bincount(level, weights=gains)
    shares, gaps = (np.concatenate([[0.0], np.cumsum(step) / step.sum()]) for step in (rows, gained))
    return Recovered(shares, gaps)
