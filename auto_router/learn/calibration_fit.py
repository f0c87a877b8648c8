"""Choose a calibration by validation: none, a sigmoid (Platt 1999), or isotonic steps.

A map is fitted on honest predictions and judged by cross-validated log loss over groups. It must be better than none by more
than one standard error: a map that is not needed only adds noise, and moves decisions.
"""

from __future__ import annotations

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from auto_router.arrays import Floats, Ints
from auto_router.learn.calibration import METHODS, Calibration
from auto_router.splits import group_folds

FEWEST = 200  # known labels of a model below which nothing is fitted for it
FOLDS = 5
_EDGE = 1e-3


def fit_calibration(probabilities: Floats, labels: Floats, groups: Ints, seed: int) -> Calibration:
    """Choose and fit a calibration on predictions ``[N, M]`` made without their own group; ``labels`` [N, M], NaN = unknown."""
    fold = group_folds(groups, FOLDS, seed)
    losses = {method: _out_of_fold_loss(method, probabilities, labels, fold) for method in METHODS}
    mean = {method: float(np.nanmean(loss)) for method, loss in losses.items()}
    best = min(METHODS, key=lambda method: mean[method])
    gained = losses["none"] - losses[best]
    gain = np.nanmean(gained[~np.isnan(gained).all(axis=1)], axis=1)
    if best == "none" or len(gain) < FEWEST or gain.mean() <= gain.std(ddof=1) / len(gain) ** 0.5:
        return Calibration(log_loss=mean)
    return Calibration(best, _fit(best, probabilities, labels), mean)


def _out_of_fold_loss(method: str, probabilities: Floats, labels: Floats, fold: Ints) -> Floats:
    """Return the log loss ``[N, M]`` of each row under the map fitted on the other folds."""
    found = np.empty(probabilities.shape)
    for number in np.unique(fold):
        inside, outside = fold != number, fold == number
        found[outside] = Calibration(method, _fit(method, probabilities[inside], labels[inside]))(probabilities[outside])
    p = found.clip(_EDGE, 1 - _EDGE)
    return np.asarray(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)))


def _fit(method: str, probabilities: Floats, labels: Floats) -> list[tuple[list[float], list[float]]]:
    if method == "none":
        return []
    return [_one(method, p, y) for p, y in zip(probabilities.T, labels.T, strict=True)]


def _one(method: str, p: Floats, y: Floats) -> tuple[list[float], list[float]]:
    """Return one model's knots; none where it has too few labels or only one kind."""
    known = ~np.isnan(y)
    p, y = p[known].astype(np.float64), y[known].astype(np.float64)
    if len(y) < FEWEST or len(np.unique(y >= 0.5)) < 2:
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
