"""Bootstrap intervals that resample whole groups: rows of one group are not independent evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

RESAMPLES = 1000


def bootstrap_means(values: Floats, groups: Ints, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Return ``[resamples]`` means of ``values`` [N] over groups drawn with replacement. NaN values are left out."""
    known = ~np.isnan(values)
    _, group = np.unique(groups[known], return_inverse=True)
    count = int(group.max()) + 1 if len(group) else 0
    if count == 0:
        return np.full(resamples, np.nan)
    sums = np.bincount(group, weights=values[known], minlength=count)
    sizes = np.bincount(group, minlength=count)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=resamples)
    return np.asarray((draws @ sums) / np.maximum(draws @ sizes, 1))


def interval(values: Floats, groups: Ints, seed: int, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of ``values``; for a paired comparison give differences."""
    means = bootstrap_means(values, groups, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
