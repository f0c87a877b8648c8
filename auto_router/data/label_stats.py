"""The few statistics of Stage 1, each from its formula."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from auto_router.arrays import Floats

NAN = float("nan")
UNDECIDED = "undecided by matching"
"""Begins the reason of a null label whose answer no rule could decide, where there was no judge."""
MAX_UNDECIDED = 0.05
"""Part of a model's answers that may stay undecided before the labels of the others mislead."""
FEW_UNDECIDED = 2
"""Undecided answers that prove nothing, whatever part they are."""


def oracle_labels(labels: Floats) -> Floats:
    """Return ``[N]``: each row's best known label; NaN where none is known."""
    best = np.where(np.isnan(labels), -np.inf, labels).max(axis=1)
    return np.where(np.isinf(best), NAN, best)


def oracle_gains(labels: Floats) -> Floats:
    """Return ``[N, M]``: each row's best label minus the best without model j, whose mean is j's marginal oracle gain.

    NaN where no other model's label is known.
    """
    if labels.shape[1] < 2:
        return np.full(labels.shape, NAN)
    filled = np.where(np.isnan(labels), -np.inf, labels)
    ordered = np.sort(filled, axis=1)
    best, second = ordered[:, -1:], ordered[:, -2:-1]
    only = np.arange(labels.shape[1]) == filled.argmax(axis=1)[:, None]
    others = np.where(only, second, best)
    gains: Floats = np.subtract(best, others, out=np.full(labels.shape, NAN), where=~np.isinf(others))
    return gains


Z95 = 1.959964


def wilson_interval(mean: float, count: int, z: float = Z95) -> tuple[float, float]:
    """Return the score interval of a proportion (E. B. Wilson, JASA 22, 1927); grades from 0 to 1: on the safe side."""
    if count == 0:
        return 0.0, 1.0
    middle = (mean + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(mean * (1 - mean) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def cohens_kappa(one: Floats, other: Floats) -> float:
    """Agreement of two judges beyond chance, (p_o − p_e) / (1 − p_e) (J. Cohen, 1960); grades count as right from 0.5.

    Both are [K] without NaN. NaN where nothing can be said: no cases, or both give everything the same verdict.
    """
    if len(one) == 0:
        return math.nan
    first, second = one >= 0.5, other >= 0.5
    expected = first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean())
    return math.nan if expected >= 1 else float(((first == second).mean() - expected) / (1 - expected))


def oracle(scores: Floats) -> float:
    """Mean of the best label of each row [N, M]; rows without any are left out. NaN where there are none."""
    return float(_best(scores).mean()) if _has_label(scores).any() else math.nan


def marginal_gain(scores: Floats, column: int) -> float:
    """Return what the oracle loses without one model, on the rows where another one's label is known (:func:`oracle_gains`)."""
    gains = oracle_gains(scores)[:, column]
    return float(np.nanmean(gains)) if not np.isnan(gains).all() else math.nan


def _has_label(scores: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray((~np.isnan(scores)).any(axis=1))


def _best(scores: Floats) -> Floats:
    best: Floats = np.nanmax(scores[_has_label(scores)], axis=1)
    return best
