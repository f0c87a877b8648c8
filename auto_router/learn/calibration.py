"""Calibration: a map of each model's probability, so that a threshold means what it says.

Choose a calibration by validation: none, a sigmoid (Platt 1999), or isotonic steps.

A map is fitted on out-of-fold predictions and judged by cross-validated log loss over groups. It must be better than none
by more than one standard error: a map that is not needed only adds noise, and moves decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from auto_router.arrays import Floats, Ints
from auto_router.data.splits import group_folds
from auto_router.errors import ConfigError

METHODS = ("none", "sigmoid", "isotonic")


@dataclass(frozen=True, slots=True)
class Calibration:
    """One piecewise linear map 0…1 → 0…1 for each model: the values at its knots; no knots: unchanged."""

    method: str = "none"
    knots: list[tuple[list[float], list[float]]] = field(default_factory=list)
    log_loss: dict[str, float] = field(default_factory=dict)
    """Cross-validated mean log loss of every method that was tried."""

    _line: tuple[Floats, Floats, Floats] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # All maps on one line, model j's on 2j … 2j + 1, so that a decision interpolates once.
        starts = 2.0 * np.arange(len(self.knots))
        maps = [_from_end_to_end(*knots) for knots in self.knots]
        x = [start + x for start, (x, _) in zip(starts, maps, strict=True)]
        line = (starts, np.concatenate([[], *x]), np.concatenate([[], *(y for _, y in maps)]))
        object.__setattr__(self, "_line", line)

    def __call__(self, probabilities: Floats) -> Floats:
        """Return calibrated ``[N, M]``."""
        if not self.knots:
            return probabilities
        starts, x, y = self._line
        return np.interp(probabilities + starts, x, y).astype(probabilities.dtype)

    def to_plain(self) -> dict[str, Any]:
        return {"method": self.method, "knots": [[list(x), list(y)] for x, y in self.knots], "log_loss": dict(self.log_loss)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], n_models: int) -> Calibration:
        """Build from :meth:`to_plain`; an empty mapping is no calibration. Raises ConfigError where it is no such map."""
        try:
            knots = [([float(v) for v in x], [float(v) for v in y]) for x, y in values.get("knots", [])]
            found = cls(str(values.get("method", "none")), knots, dict(values.get("log_loss", {})))
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"calibration is not valid ({error})") from error
        rising = all(len(x) == len(y) and np.isfinite(x + y).all() and (np.diff(x) >= 0).all() for x, y in knots)
        inside = all(0.0 <= value <= 1.0 for _, y in knots for value in y)
        if found.method not in METHODS or len(knots) not in (0, n_models) or not rising or not inside:
            raise ConfigError(f"calibration {found.method!r} with {len(knots)} maps does not fit {n_models} models")
        return found


def _from_end_to_end(x: list[float], y: list[float]) -> tuple[Floats, Floats]:
    """Return the knots from 0 to 1: constant beyond the first and the last one; no knots, no change."""
    if not x:
        return np.array([0.0, 1.0]), np.array([0.0, 1.0])
    return np.clip([0.0, *x, 1.0], 0.0, 1.0), np.array([y[0], *y, y[-1]])


MIN_CALIBRATION_LABELS = 200  # known labels of a model below which nothing is fitted for it
CALIBRATION_FOLDS = 5
_EDGE = 1e-3


def fit_calibration(probabilities: Floats, labels: Floats, groups: Ints, seed: int) -> Calibration:
    """Choose and fit a calibration on predictions ``[N, M]`` made without their own group; ``labels`` [N, M], NaN = unknown."""
    fold = group_folds(groups, CALIBRATION_FOLDS, seed)
    losses = {method: _out_of_fold_loss(method, probabilities, labels, fold) for method in METHODS}
    mean = {method: float(np.nanmean(loss)) for method, loss in losses.items()}
    best = min(METHODS, key=lambda method: mean[method])
    gained = losses["none"] - losses[best]
    gain = np.nanmean(gained[~np.isnan(gained).all(axis=1)], axis=1)
    if best == "none" or len(gain) < MIN_CALIBRATION_LABELS or gain.mean() <= gain.std(ddof=1) / len(gain) ** 0.5:
        return Calibration(log_loss=mean)
    return Calibration(best, _fit(best, probabilities, labels), mean)


def _out_of_fold_loss(method: str, probabilities: Floats, labels: Floats, fold: Ints) -> Floats:
    """Return the log loss ``[N, M]`` of each row under the map fitted on the other folds."""
    found = np.empty(probabilities.shape)
    for number in np.unique(fold):
        inside, outside = fold != number, fold == number
        found[outside] = Calibration(method, _fit(method, probabilities[inside], labels[inside]))(probabilities[outside])
    return log_losses(found, labels)


def log_losses(probabilities: Floats, labels: Floats) -> Floats:
    """Return the log loss of each; no label is thought less likely than ``_EDGE``."""
    p = probabilities.clip(_EDGE, 1 - _EDGE)
    return np.asarray(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)))


def _fit(method: str, probabilities: Floats, labels: Floats) -> list[tuple[list[float], list[float]]]:
    if method == "none":
        return []
    return [_fit_model(method, p, y) for p, y in zip(probabilities.T, labels.T, strict=True)]


def _fit_model(method: str, p: Floats, y: Floats) -> tuple[list[float], list[float]]:
    """Return one model's knots; none where it has too few labels or only one kind."""
    from sklearn.isotonic import IsotonicRegression  # for training only; routing must not import it
    from sklearn.linear_model import LogisticRegression

    known = ~np.isnan(y)
    p, y = p[known].astype(np.float64), y[known].astype(np.float64)
    if len(y) < MIN_CALIBRATION_LABELS or len(np.unique(y >= 0.5)) < 2:
        return [], []
    if method == "isotonic":
        steps = IsotonicRegression(y_min=0.0, y_max=1.0).fit(p, y)
        return steps.X_thresholds_.tolist(), steps.y_thresholds_.tolist()
    grid = np.linspace(0.0, 1.0, 101)
    line = LogisticRegression(C=1e6).fit(_logit(p), y >= 0.5)
    return grid.tolist(), line.predict_proba(_logit(grid))[:, 1].tolist()


def _logit(p: Floats) -> Floats:
    p = p.clip(_EDGE, 1 - _EDGE)
    return np.log(p / (1 - p))[:, None]
