"""Fitting :class:`CostModel` to recorded costs: ridge regression, kept for the models that it tells something of."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from auto_router.arrays import Floats, Ints
from auto_router.learn.cost_model import CostModel
from auto_router.splits import group_folds

FOLDS = 5
PENALTY = 0.3  # of rows scaled to a mean squared length of 1; 0.03 to 3 differ by under 0.03 of R² on recorded data
WORTH = 0.1  # R² out of fold from which the prompt is taken to tell something
FEWEST = 100
_PART = 8192  # rows of which a copy in double precision is held


def fit_costs(rows: Floats, costs: Floats, groups: Ints) -> tuple[CostModel, Floats] | None:
    """Return the model and its expected costs ``[N, M]``, each row's made without its own group.

    None where no model's cost can be told from the prompt: its mean then says as much.

    Args:
        rows: ``[N, D]`` network input.
        costs: ``[N, M]``, NaN = unknown.
        groups: ``[N]``.
    """
    known = ~np.isnan(costs)
    means = _means(costs)
    expected = np.broadcast_to(means, costs.shape).copy()
    weights, offset = np.zeros((rows.shape[1], len(means))), means.copy()
    low, high = means.copy(), means.copy()
    scaled, centre, factor = _scaled(rows)
    fold = group_folds(groups, FOLDS, 0)
    # Models that are known on the same rows share their regressions.
    for mask in np.unique(known.T, axis=0):
        columns = np.flatnonzero((mask == known.T).all(axis=1) & (means > 0))
        if mask.sum() < FEWEST or not len(columns):
            continue
        ratios = costs[:, columns] / means[columns]
        honest = np.ones((len(rows), len(columns)))
        for number in np.unique(fold):
            inside, outside = mask & (fold != number), fold == number
            if inside.any():
                honest[outside] = _apply(*_fit(scaled[inside], ratios[inside]), scaled[outside])
        honest = np.clip(honest, ratios[mask].min(axis=0), ratios[mask].max(axis=0))
        lost = np.square(honest[mask] - ratios[mask]).mean(axis=0)
        kept = lost < (1.0 - WORTH) * ratios[mask].var(axis=0)
        if kept.any():
            slopes, intercept = _fit(scaled[mask], ratios[mask])
            told = columns[kept]
            weights[:, told] = factor[:, None] * slopes[:, kept] * means[told]
            offset[told] = intercept[kept] * means[told] - centre @ weights[:, told]
            low[told], high[told] = costs[mask][:, told].min(axis=0), costs[mask][:, told].max(axis=0)
            expected[:, told] = honest[:, kept] * means[told]
    if not weights.any():
        return None
    return CostModel(*(part.astype(np.float32) for part in (weights, offset, low, high))), expected


def explained(costs: Floats, expected: Floats) -> float:
    """Return R²: how much of the variance of ``costs`` [N, M] ``expected`` tells, within models and scaled to their means."""
    means = _means(costs)
    scale = np.where(means > 0, means, np.nan)  # a model that is free tells nothing
    return float(1.0 - np.nanmean(np.square((costs - expected) / scale)) / np.nanmean(np.square(costs / scale - 1.0)))


def _means(costs: Floats) -> Floats:
    """Return the mean known cost ``[M]``; NaN where there is none."""
    known = ~np.isnan(costs)
    return np.where(known.any(axis=0), np.where(known, costs, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)


def _fit(rows: Floats, ratios: Floats) -> tuple[Floats, Floats]:
    """Return slopes ``[D, K]`` and intercepts ``[K]``; ``rows`` are not what they were afterwards."""
    found = Ridge(alpha=PENALTY, copy_X=False).fit(rows, ratios)
    return np.atleast_2d(found.coef_).T, np.atleast_1d(found.intercept_)


def _apply(slopes: Floats, intercept: Floats, rows: Floats) -> Floats:
    return np.asarray(rows @ slopes + intercept)


def _scaled(rows: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the rows standardised and scaled to a mean squared length of 1, with the centre and factor that do it."""
    centre = rows.mean(axis=0, dtype=np.float64)
    parts = (rows[start : start + _PART] for start in range(0, len(rows), _PART))
    spread = np.sqrt(sum(np.square(part - centre).sum(axis=0) for part in parts) / len(rows))
    factor = np.where(spread > 1e-4, 1.0 / np.maximum(spread, 1e-4), 0.0) / rows.shape[1] ** 0.5
    return ((rows - centre.astype(np.float32)) * factor.astype(np.float32)), centre, factor
