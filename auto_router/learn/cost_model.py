"""What an answer of each model to a prompt is expected to cost: linear in the network's input, within what training saw.

Most of a cost is in the prompt: how long it is, and what kind of answer its kind asks for. :mod:`auto_router.learn.cost_model`
fits it to recorded costs.

Fitting :class:`CostModel` to recorded costs: ridge regression, kept for the models that it tells something of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from auto_router.arrays import Floats, Ints
from auto_router.data.label_stats import column_means
from auto_router.data.splits import group_folds
from auto_router.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CostModel:
    """``[N, D]`` input rows → expected cost ``[N, M]`` in the unit of the recorded costs; NaN for a model of unknown cost."""

    weights: Floats
    """``[D, M]``."""
    offset: Floats
    """``[M]``: the mean cost of a model whose prompts tell nothing of its cost."""
    low: Floats
    high: Floats
    """``[M]``: the least and the highest cost seen in training."""

    def __call__(self, rows: Floats) -> Floats:
        found = rows @ self.weights
        found += self.offset
        return np.asarray(np.minimum(np.maximum(found, self.low, out=found), self.high, out=found))

    def without_column(self, column: int) -> CostModel:
        """Return the same without one model."""
        return CostModel(*(np.delete(getattr(self, part.name), column, axis=-1) for part in fields(self)))

    def with_column(self, cost: float | None) -> CostModel:
        """Return the same with one model more, which costs the same whatever the prompt; None: unknown."""
        value = np.array([np.nan if cost is None else cost], dtype=self.offset.dtype)
        weights = np.concatenate([self.weights, np.zeros((len(self.weights), 1), dtype=self.weights.dtype)], axis=1)
        return CostModel(weights, *(np.concatenate([part, value]) for part in (self.offset, self.low, self.high)))

    def to_plain(self) -> dict[str, Floats]:
        return {part.name: getattr(self, part.name) for part in fields(self)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], dim: int, n_models: int) -> CostModel | None:
        """Build from :meth:`to_plain`; None from an empty mapping. Raises ConfigError where the values do not fit."""
        if not values:
            return None
        expected = {part.name: [n_models] for part in fields(cls)} | {"weights": [dim, n_models]}
        for name, shape in expected.items():
            found = values.get(name)
            if not isinstance(found, np.ndarray) or list(found.shape) != shape or found.dtype != np.float32:
                raise ConfigError(f"expected costs are damaged: {name} must be float32 {shape}")
            if np.isinf(found).any() or (name == "weights" and np.isnan(found).any()):
                raise ConfigError(f"expected costs are damaged: {name} holds values that are no costs")
        return cls(**{name: values[name] for name in expected})


COST_FOLDS = 5
PENALTY = 0.3  # of rows scaled to a mean squared length of 1; 0.03 to 3 differ by under 0.03 of R² on recorded data
WORTH = 0.1  # R² out of fold from which the prompt is taken to tell something
MIN_COSTS = 100
_PART = 8192  # rows of which a copy in double precision is held


def fit_costs(rows: Floats, costs: Floats, groups: Ints) -> tuple[CostModel, Floats] | None:
    """Return the model and its expected costs ``[N, M]``, each row's made without its own group.

    None where no model's cost can be informed from the prompt: its mean then says as much.

    Args:
        rows: ``[N, D]`` network input.
        costs: ``[N, M]``, NaN = unknown.
        groups: ``[N]``.
    """
    known = ~np.isnan(costs)
    means = column_means(costs)
    expected = np.broadcast_to(means, costs.shape).copy()
    weights, offset = np.zeros((rows.shape[1], len(means))), means.copy()
    low, high = means.copy(), means.copy()
    scaled, centre, factor = _scale(rows)
    fold = group_folds(groups, COST_FOLDS, 0)
    # Models that are known on the same rows share their regressions.
    for mask in np.unique(known.T, axis=0):
        columns = np.flatnonzero((mask == known.T).all(axis=1) & (means > 0))
        if mask.sum() < MIN_COSTS or not len(columns):
            continue
        ratios = costs[:, columns] / means[columns]
        out_of_fold = np.ones((len(rows), len(columns)))
        for number in np.unique(fold):
            inside, outside = mask & (fold != number), fold == number
            if inside.any():
                out_of_fold[outside] = _apply(*_fit(scaled[inside], ratios[inside]), scaled[outside])
        out_of_fold = np.clip(out_of_fold, ratios[mask].min(axis=0), ratios[mask].max(axis=0))
        lost = np.square(out_of_fold[mask] - ratios[mask]).mean(axis=0)
        kept = lost < (1.0 - WORTH) * ratios[mask].var(axis=0)
        if kept.any():
            slopes, intercept = _fit(scaled[mask], ratios[mask])
            informed = columns[kept]
            weights[:, informed] = factor[:, None] * slopes[:, kept] * means[informed]
            offset[informed] = intercept[kept] * means[informed] - centre @ weights[:, informed]
            low[informed], high[informed] = costs[mask][:, informed].min(axis=0), costs[mask][:, informed].max(axis=0)
            expected[:, informed] = out_of_fold[:, kept] * means[informed]
    if not weights.any():
        return None
    return CostModel(*(part.astype(np.float32) for part in (weights, offset, low, high))), expected


def explained_variance(costs: Floats, expected: Floats) -> float:
    """Return R²: how much of the variance of ``costs`` [N, M] ``expected`` tells, within models and scaled to their means."""
    means = column_means(costs)
    scale = np.where(means > 0, means, np.nan)  # a model that is free tells nothing
    return float(1.0 - np.nanmean(np.square((costs - expected) / scale)) / np.nanmean(np.square(costs / scale - 1.0)))


def _fit(rows: Floats, ratios: Floats) -> tuple[Floats, Floats]:
    """Return slopes ``[D, K]`` and intercepts ``[K]``; ``rows`` are not what they were afterwards."""
    from sklearn.linear_model import Ridge  # for training only; routing must not import it

    found = Ridge(alpha=PENALTY, copy_X=False).fit(rows, ratios)
    return np.atleast_2d(found.coef_).T, np.atleast_1d(found.intercept_)


def _apply(slopes: Floats, intercept: Floats, rows: Floats) -> Floats:
    return np.asarray(rows @ slopes + intercept)


def _scale(rows: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the rows standardised and scaled to a mean squared length of 1, with the centre and factor that do it."""
    centre = rows.mean(axis=0, dtype=np.float64)
    parts = (rows[start : start + _PART] for start in range(0, len(rows), _PART))
    spread = np.sqrt(sum(np.square(part - centre).sum(axis=0) for part in parts) / len(rows))
    factor = np.where(spread > 1e-4, 1.0 / np.maximum(spread, 1e-4), 0.0) / rows.shape[1] ** 0.5
    return ((rows - centre.astype(np.float32)) * factor.astype(np.float32)), centre, factor
