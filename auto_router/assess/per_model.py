"""What each model's probabilities are worth, with intervals, and what the model is worth to the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from auto_router.arrays import Floats
from auto_router.assess.held_out import HeldOut
from auto_router.assess.intervals import GroupBootstrap, Interval, percentiles
from auto_router.assess.metrics import NAN, ModelMetrics, cuts, mean_of, oracle_gains, placements
from auto_router.assess.reliability import reliability


def per_model(test: HeldOut, measured: Sequence[ModelMetrics], bootstrap: GroupBootstrap) -> dict[str, dict[str, Any]]:
    """Return what was ``measured`` of every model, by name, and its 95 % interval over groups as ``<measure>_interval``."""
    thresholds, gains = cuts(test.thresholds, len(test.names)), oracle_gains(test.labels)
    found = {}
    for j, name in enumerate(test.names):
        p = test.probabilities[:, j].astype(np.float64)
        y = np.where(np.isnan(p), NAN, test.labels[:, j])  # what was not predicted cannot be judged
        costs = np.full(len(y), NAN) if test.costs is None else test.costs[:, j]
        values = asdict(measured[j]) | {"mean_cost": mean_of(costs), "oracle_gain": mean_of(gains[:, j])}
        values |= {"threshold": None if test.thresholds is None else float(test.thresholds[j])}
        values |= _intervals(p, y, float(thresholds[j]), bootstrap)
        values |= {"mean_cost_interval": bootstrap.interval(costs), "oracle_gain_interval": bootstrap.interval(gains[:, j])}
        found[name] = values | _calibration(p, y, bootstrap)
    return found


def auc_draws(p: Floats, labels: Floats, bootstrap: GroupBootstrap) -> Floats:
    """Return the AUC of every draw, to first order: a draw moves the AUC by what it moves the mean placements of the two
    classes by (DeLong et al. 1988; for rows in groups Obuchowski 1997). So rows are sorted once, not once a draw.

    Args:
        p: ``[N]``.
        labels: ``[N]``, right from 0.5, NaN = unknown.
    """
    placed = placements(p, labels)
    draws: Floats = bootstrap.means(placed).sum(axis=1) - mean_of(placed[:, 0])
    return np.clip(draws, 0.0, 1.0)


def _intervals(p: Floats, y: Floats, threshold: float, bootstrap: GroupBootstrap) -> dict[str, Interval]:
    unknown = np.isnan(y)
    right, predicted = y >= 0.5, p >= threshold
    hits, claims = 2.0 * (right & predicted), 1.0 * right + predicted  # F1 = 2 TP / (2 TP + FP + FN)
    columns = np.stack([(p - y) ** 2, 1.0 * (right == predicted), hits, claims, y], axis=1)
    columns[unknown] = NAN
    brier, accuracy, hit, claimed, rate = bootstrap.means(columns).T
    f1 = np.divide(hit, claimed, out=np.full(len(hit), NAN), where=claimed > 0)
    draws = {"auc": auc_draws(p, y, bootstrap), "brier": brier, "accuracy": accuracy, "f1": f1, "positive_rate": rate}
    return {f"{name}_interval": percentiles(values) for name, values in draws.items()}


def _calibration(p: Floats, y: Floats, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """The reliability curve and the interval of its ECE.

    Resampling adds noise to every bin, which raises the ECE of the draws: they are moved back by the mean of that.
    """
    known = ~np.isnan(y)
    curve = reliability(p[known], y[known])
    inside = np.zeros((len(y), len(curve.counts)), dtype=bool)
    inside[np.flatnonzero(known), curve.bins] = True
    gaps = np.where(inside, (p - y)[:, None], 0.0)
    gaps[~known] = NAN
    ece = np.abs(bootstrap.means(gaps)).sum(axis=1)
    observed = bootstrap.means(np.where(inside, y[:, None], NAN))
    low, high = percentiles(ece - (mean_of(ece) - curve.ece))
    return {
        "ece_interval": (max(low, 0.0), high),
        "reliability": {
            "predicted": curve.predicted.tolist(),
            "observed": curve.observed.tolist(),
            "observed_interval": [percentiles(draws) for draws in observed.T],
            "count": curve.counts.tolist(),
        },
    }
