"""Do probabilities mean what they say? Reliability curves and the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auto_router.arrays import Floats, Ints

BINS = 15


@dataclass(frozen=True, slots=True)
class Reliability:
    """Rows of similar P, in rising order of P: what was predicted, and what was observed. Empty bins are left out."""

    predicted: Floats
    """``[B]`` mean P of each bin."""
    observed: Floats
    """``[B]`` mean label of each bin."""
    counts: Ints
    """``[B]`` rows in each bin."""
    bins: Ints
    """``[N]`` the bin of each row."""

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over rows of |mean P - mean label| of the row's bin (Guo et al. 2017,
        arXiv 1706.04599; with bins of equal mass, Nixon et al. 2019, arXiv 1904.01685). NaN without rows."""
        if not len(self.counts):
            return float("nan")
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.counts))


def reliability(probabilities: Floats, labels: Floats, bins: int = BINS) -> Reliability:
    """Sort rows into ``bins`` bins of equal mass by P; rows of equal P share a bin, so there may be fewer.

    Args:
        probabilities: ``[N]``.
        labels: ``[N]``, 0…1, all known.
    """
    if not len(labels):
        return Reliability(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    edges = np.quantile(probabilities, np.arange(1, bins) / bins, method="inverted_cdf")
    _, number = np.unique(np.searchsorted(edges, probabilities, side="left"), return_inverse=True)
    counts = np.bincount(number)
    sums = [np.bincount(number, weights=values) for values in (probabilities, labels)]
    return Reliability(sums[0] / counts, sums[1] / counts, counts, number)
