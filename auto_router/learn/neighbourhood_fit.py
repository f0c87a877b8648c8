"""Fit the local guard: how much the heads' differences between models are worth in each neighbourhood of prompts.

A router learns fast which model is best at a kind of prompt, and slowly which one inside it. The heads are weighted by what
they say of all rows, so inside a kind they may count too much. For each neighbourhood (k-means of the kernels' points) the
labels' differences D from the neighbourhood's are regressed on the predicted ones R, both with the row's level taken out:
trust = (ΣR·D + κ·g) / (ΣR² + κ), where g is the slope over all neighbourhoods and κ the mean ΣR² times ``PRIOR`` (a slope with
a normal prior; Efron & Morris 1975). What is not trusted :class:`~auto_router.learn.stack.Neighbourhoods` takes back.

A row is predicted without its own label, and compared with a mean prediction of its neighbourhood that its label took part in.
So R falls short where D is high, by D over the number of the other rows. That is put back; without it most neighbourhoods
would look as if nothing could be told inside them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans

from auto_router.arrays import Array, Floats, Ints
from auto_router.learn.stack import Neighbourhoods

MAX_NEIGHBOURHOODS = 8  # of 8, 16 and 24 on 32 splits of five sets these gained most and lost nowhere more than 0.03 points
ROWS_EACH = 256  # on average, at least
PRIOR = 3.0  # neighbourhoods that a slope over all of them counts as; 1 says much the same
LEAST = 0.01  # of distrust: below it in all neighbourhoods nothing is worth taking back
_ROUNDS = 50


def fit_neighbourhoods(
    points: Array, predicted: Array, y: Array, groups: Ints, seed: int = 0
) -> tuple[Neighbourhoods | None, Array]:
    """Fit to the kernels' ``points`` [N, K], out-of-fold deviations ``predicted`` [N, M] and true ones ``y`` [N, M].

    Returns the neighbourhoods, None where rows are too few for two of them or none is to be distrusted, and the out-of-fold
    deviations as they become.
    """
    count = min(MAX_NEIGHBOURHOODS, len(points) // ROWS_EACH)
    if count < 2:
        return None, predicted
    fitted = KMeans(count, n_init=1, max_iter=_ROUNDS, random_state=seed).fit(points)
    models = y.shape[1]
    found = Neighbourhoods(
        centres=np.asarray(fitted.cluster_centers_, dtype=np.float32),
        distrust=np.zeros(count, dtype=np.float32),
        means=np.zeros((count, models), dtype=np.float32),
        share=np.full(models, 1.0 / models, dtype=np.float32),
    )
    place = found.place(points)
    means = mean_by_place(place, predicted, count)
    true = _without_level(y - mean_by_place(place, y, count)[place])
    apart = _without_level(predicted - means[place]) + _of_own_group(true, place, groups)
    together = np.bincount(place, weights=(apart * true).sum(axis=1), minlength=count)
    alone = np.bincount(place, weights=np.square(apart).sum(axis=1), minlength=count)
    if alone.sum() <= 1e-9:
        return None, predicted
    slope, prior = float(np.clip(together.sum() / alone.sum(), 0.0, 1.0)), PRIOR * alone.mean()
    distrust = 1.0 - np.clip((together + slope * prior) / (alone + prior), 0.0, 1.0)
    if distrust.max() < LEAST:
        return None, predicted
    found = Neighbourhoods(found.centres, distrust.astype(np.float32), means.astype(np.float32), found.share)
    return found, (predicted - distrust[place][:, None] * apart).astype(np.float32)


def mean_by_place(place: Ints, values: npt.NDArray[np.floating], count: int) -> Floats:
    """Return the mean of ``values`` [N, M] in each of ``count`` places, ``[count, M]``; where no row is, the mean of all."""
    sums, rows = np.zeros((count, values.shape[1])), np.bincount(place, minlength=count)
    np.add.at(sums, place, values)
    return np.where(rows[:, None] > 0, sums / np.maximum(rows, 1)[:, None], values.mean(axis=0))


def _without_level(values: Floats) -> Floats:
    return np.asarray(values - values.mean(axis=1, keepdims=True))


def _of_own_group(true: Floats, place: Ints, groups: Ints) -> Floats:
    """Return what a row's own group adds to its place's mean, ``[N, M]``: its sum there over the number of the other rows."""
    _, own = np.unique(np.stack([groups, place]), axis=1, return_inverse=True)
    sums = np.zeros((own.max() + 1, true.shape[1]))
    np.add.at(sums, own, true)
    others = np.bincount(place)[place] - np.bincount(own)[own]
    return np.asarray(sums[own] / np.maximum(others, 1)[:, None])
