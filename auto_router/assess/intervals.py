"""Bootstrap intervals that resample whole groups: rows of one group are not independent evidence.

The groups are drawn once; every measure that is a mean of something per row is then one matrix product over the same
draws, so that differences between measures are paired.
"""

from __future__ import annotations

import numpy as np

from auto_router.arrays import Floats, Ints

Interval = tuple[float, float]

RESAMPLES = 1000
LEVEL = 0.95
MOST_UNITS = 4_000  # groups beyond this are pooled at random: as valid, and the draws stay at 32 MB


class GroupBootstrap:
    """``RESAMPLES`` draws of the groups with replacement, kept as counts ``[resamples, groups]``."""

    def __init__(self, groups: Ints, seed: int, resamples: int = RESAMPLES) -> None:
        """``groups``: ``[N]``, equal for rows that stay together."""
        rng = np.random.default_rng(seed)
        _, unit = np.unique(groups, return_inverse=True)
        count = int(unit.max()) + 1 if len(unit) else 0
        if count > MOST_UNITS:
            unit, count = (rng.permutation(count) % MOST_UNITS)[unit], MOST_UNITS
        self._order = np.argsort(unit, kind="stable")
        self._starts = np.searchsorted(unit[self._order], np.arange(count))
        drawn = rng.integers(count, size=(resamples, count)) if count else np.zeros((resamples, 0), dtype=np.int64)
        numbered = (drawn + count * np.arange(resamples)[:, None]).ravel()
        self._draws = np.bincount(numbered, minlength=resamples * count).reshape(resamples, count).astype(np.float64)

    def means(self, values: Floats) -> Floats:
        """Return the means ``[resamples]`` of ``values`` [N], or ``[resamples, K]`` of ``[N, K]``.

        NaN values are left out; a draw without any known value gives NaN.
        """
        if not len(self._starts):
            return np.full((len(self._draws), *values.shape[1:]), np.nan)
        known = ~np.isnan(values)
        sums = self._draws @ self._by_unit(np.where(known, values, 0.0).astype(np.float64))
        # Tables with every value known, the usual case, share one column of counts.
        counts = self._draws @ self._by_unit(known.astype(np.float64) if not known.all() else np.ones(len(values)))
        counts = counts if counts.ndim == sums.ndim else counts[:, None]
        means: Floats = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        return means

    def interval(self, values: Floats) -> Interval:
        """Return the percentile interval of the mean of ``values`` [N]; for a paired comparison give differences."""
        return percentiles(self.means(values))

    def _by_unit(self, values: Floats) -> Floats:
        return np.asarray(np.add.reduceat(values[self._order], self._starts, axis=0))


def percentiles(draws: Floats, level: float = LEVEL) -> Interval:
    """Return the middle ``level`` of the known ``draws`` [resamples]; NaN where none is known."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def interval(values: Floats, groups: Ints, seed: int) -> Interval:
    """Return the interval of one mean; several over the same rows share a :class:`GroupBootstrap`."""
    return GroupBootstrap(groups, seed).interval(values)
