"""One assessment of one router on held-out rows: every measure, as the plain values that ``metrics.json`` holds.

A measure's 95 % interval (percentile bootstrap over groups, the same draws for all) stands beside it as
``<measure>_interval``. A measure that is undefined or unknown is None. Differences are paired: they are taken on the rows
where both labels are known.

What each model's probabilities are worth, with intervals, and what the model is worth to the pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from auto_router.arrays import Floats, Ints, finite
from auto_router.assess import metrics
from auto_router.assess.cost_quality import cost_quality, pool_aiq
from auto_router.assess.test_set import TestSet
from auto_router.data.label_stats import NAN, mean_of, oracle_gains, oracle_labels
from auto_router.decide.rule import choose
from auto_router.errors import DataError


def measure_models(
    test: TestSet, measured: Sequence[metrics.ModelMetrics], bootstrap: metrics.GroupBootstrap
) -> dict[str, dict[str, Any]]:
    """Return what was ``measured`` of every model, by name, and its 95 % interval over groups as ``<measure>_interval``."""
    thresholds, gains = metrics.cuts(test.thresholds, len(test.names)), oracle_gains(test.outcomes)
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


def auc_draws(p: Floats, labels: Floats, bootstrap: metrics.GroupBootstrap) -> Floats:
    """Return the AUC of every draw, to first order: a draw moves the AUC by what it moves the mean placements of the two
    classes by (DeLong et al. 1988; for rows in groups Obuchowski 1997). So rows are sorted once, not once a draw.

    Args:
        p: ``[N]``.
        labels: ``[N]``, right from 0.5, NaN = unknown.
    """
    placed = metrics.placements(p, labels)
    draws: Floats = bootstrap.means(placed).sum(axis=1) - mean_of(placed[:, 0])
    return np.clip(draws, 0.0, 1.0)


def _intervals(p: Floats, y: Floats, threshold: float, bootstrap: metrics.GroupBootstrap) -> dict[str, metrics.Interval]:
    unknown = np.isnan(y)
    right, predicted = y >= 0.5, p >= threshold
    hits, claims = 2.0 * (right & predicted), 1.0 * right + predicted  # F1 = 2 TP / (2 TP + FP + FN)
    columns = np.stack([(p - y) ** 2, 1.0 * (right == predicted), hits, claims, y], axis=1)
    columns[unknown] = NAN
    brier, accuracy, hit, claimed, rate = bootstrap.means(columns).T
    f1 = np.divide(hit, claimed, out=np.full(len(hit), NAN), where=claimed > 0)
    draws = {"auc": auc_draws(p, y, bootstrap), "brier": brier, "accuracy": accuracy, "f1": f1, "positive_rate": rate}
    return {f"{name}_interval": metrics.percentiles(values) for name, values in draws.items()}


def _calibration(p: Floats, y: Floats, bootstrap: metrics.GroupBootstrap) -> dict[str, Any]:
    """The reliability curve and the interval of its ECE.

    Resampling adds noise to every bin, which raises the ECE of the draws: they are moved back by the mean of that.
    """
    known = ~np.isnan(y)
    curve = metrics.reliability(p[known], y[known])
    inside = np.zeros((len(y), len(curve.counts)), dtype=bool)
    inside[np.flatnonzero(known), curve.bins] = True
    gaps = np.where(inside, (p - y)[:, None], 0.0)
    gaps[~known] = NAN
    ece = np.abs(bootstrap.means(gaps)).sum(axis=1)
    observed = bootstrap.means(np.where(inside, y[:, None], NAN))
    low, high = metrics.percentiles(ece - (mean_of(ece) - curve.ece))
    return {
        "ece_interval": (max(low, 0.0), high),
        "reliability": {
            "predicted": curve.predicted.tolist(),
            "observed": curve.observed.tolist(),
            "observed_interval": [metrics.percentiles(draws) for draws in observed.T],
            "count": curve.counts.tolist(),
        },
    }


NO_SOURCE = "(none)"
MAX_UNLABELLED = 0.05  # of the test rows may have no label of the chosen model, else there is no headline
NEED_LABELS = ("router", "gap_closed", "router_minus_best_single", "quality_kept", "rank_score")


def assess(
    test: TestSet,
    best_single: int,
    seed: int,
    operating_points: Mapping[str, Ints] | None = None,
    baselines: Mapping[str, Floats] | None = None,
) -> dict[str, Any]:
    """Return every measure of the served decisions, of other operating points and of other methods.

    Args:
        test: the rows, what was predicted and what was decided.
        best_single: index of the model with the highest mean label on the *training* rows.
        seed: of the bootstrap.
        operating_points: ``{name: [N] decisions}`` under each point.
        baselines: ``{name: [N, M] probabilities}``; each decides by the highest P of the eligible models.

    Raises:
        DataError: an operating point or a baseline has another shape than the test set.
    """
    bootstrap = metrics.GroupBootstrap(test.groups, seed)
    measured = metrics.model_metrics(test.probabilities, test.labels, test.thresholds)
    return dict(
        _plain(
            {
                "rows": len(test.labels),
                "groups": len(np.unique(test.groups)),
                "models": list(test.names),
                "bootstrap": {"resamples": metrics.RESAMPLES, "level": metrics.LEVEL, "seed": seed},
                "per_model": measure_models(test, measured, bootstrap),
                "system": _system(test, best_single, bootstrap) | _averages(measured),
                "cost_quality": cost_quality(test, best_single, bootstrap),
                "pair": _pair(test, best_single),
                "operating_points": {
                    name: measure_decisions(test, _check_shape(name, chosen, test.chosen), best_single, bootstrap)
                    for name, chosen in (operating_points or {}).items()
                },
                "baselines": {
                    name: _baseline(test, _check_shape(name, p, test.probabilities), best_single, bootstrap)
                    for name, p in (baselines or {}).items()
                },
                "latency": measure_latencies(test, operating_points or {}),
                "breakdown": {
                    "source": {} if test.sources is None else _parts(test, test.sources, best_single),
                    "modality": {} if test.modalities is None else _parts(test, test.modalities, best_single),
                },
            }
        )
    )


def measure_decisions(test: TestSet, chosen: Ints, best_single: int, bootstrap: metrics.GroupBootstrap) -> dict[str, Any]:
    """Return what the decisions ``chosen`` [N] are worth beside always asking the best single model."""
    labels, single = test.label(chosen), test.outcomes[:, best_single]
    kept, kept_interval = _ratio(labels, single, bootstrap)
    share, share_interval = _ratio(test.cost(chosen), test.cost(test.always(best_single)), bootstrap)
    return {
        "quality_kept": kept,
        "quality_kept_interval": kept_interval,
        "cost_saved": None if share is None else 1.0 - share,
        "cost_saved_interval": None if share_interval is None else (1.0 - share_interval[1], 1.0 - share_interval[0]),
        "accuracy": mean_of(labels),
        "accuracy_interval": bootstrap.interval(labels),
        "minus_best_single": mean_of(labels - single),
        "minus_best_single_interval": bootstrap.interval(labels - single),
        "cost": mean_of(test.cost(chosen)),
        "cost_share": share,
        "cost_share_interval": share_interval,
        "selection": _selection(test, chosen),
    }


def _ratio(above: Floats, below: Floats, bootstrap: metrics.GroupBootstrap) -> tuple[float | None, metrics.Interval | None]:
    """Return mean ``above`` / mean ``below`` on the rows [N] where both are known, and its interval over groups.

    None where there are no such rows, or ``below`` is 0 on them.
    """
    known = ~np.isnan(above) & ~np.isnan(below)
    if not below[known].sum() > 0:
        return None, None
    both = np.where(known[:, None], np.stack([above, below], axis=1), NAN)
    top, bottom = bootstrap.means(both).T
    draws = np.divide(top, bottom, out=np.full(len(top), NAN), where=bottom > 0)
    return mean_of(both[:, 0]) / mean_of(both[:, 1]), metrics.percentiles(draws)


def _system(test: TestSet, best_single: int, bootstrap: metrics.GroupBootstrap) -> dict[str, Any]:
    """The served decisions, and what any router must be compared with."""
    router, single, oracle = test.label(test.chosen), test.outcomes[:, best_single], oracle_labels(test.outcomes)
    rows = {"router": router, "best_single": single, "random": metrics.row_means(test.outcomes), "oracle": oracle}
    draws = dict(zip(rows, bootstrap.means(np.stack(list(rows.values()), axis=1)).T, strict=True))
    gained, gap = bootstrap.means(np.stack(metrics.gap_parts(router, single, oracle), axis=1)).T
    closed = np.divide(gained, gap, out=np.full(len(gap), NAN), where=gap > 0)
    served = measure_decisions(test, test.chosen, best_single, bootstrap)
    found = asdict(metrics.system_metrics(test.chosen, test.outcomes, best_single, test.names))
    found |= {f"{name}_interval": metrics.percentiles(values) for name, values in draws.items()}
    found["gap_closed_interval"] = None if found["gap_closed"] is None else metrics.percentiles(closed)
    found["router_minus_best_single"] = served["minus_best_single"]
    found["router_minus_best_single_interval"] = served["minus_best_single_interval"]
    unknown = int((np.isnan(router) & ~np.isnan(oracle)).sum())
    found |= {name: served[name] for name in served if name.startswith(("quality_kept", "cost_saved", "cost_share"))}
    found |= _costs(test, best_single, found["router"]) | {"unlabelled": unknown}
    if unknown > MAX_UNLABELLED * found["rows"]:
        # What is left is no sample of the test rows: a model that is rarely labelled would be judged by its easy rows.
        found |= dict.fromkeys((name for name in found if name.removesuffix("_interval") in NEED_LABELS), None)
    return found


def _costs(test: TestSet, best_single: int, accuracy: float) -> dict[str, Any]:
    """What an answer costs, USD; the oracle asks the cheapest of the models that are right."""
    costs, known = test.mean_costs, ~np.isnan(test.mean_costs)
    if test.costs is None or not known.any():
        return dict.fromkeys(("cheapest", "cheapest_model", "costs", "rank_score"))
    cheapest = int(np.nanargmin(costs))
    router = mean_of(test.cost(test.chosen))
    return {
        "cheapest": mean_of(test.outcomes[:, cheapest]),
        "cheapest_model": test.names[cheapest],
        "costs": {
            "router": router,
            "best_single": costs[best_single],
            "cheapest": costs[cheapest],
            "random": mean_of(metrics.row_means(test.costs)),
            "oracle": mean_of(metrics.oracle_costs(test.outcomes, test.costs)),
        },
        "rank_score": metrics.rank_score(accuracy, router, float(costs[cheapest]), float(np.nanmax(costs))),
    }


def measure_latencies(test: TestSet, operating_points: Mapping[str, Ints]) -> dict[str, Any] | None:
    """Return what the recorded answers took: of each model, the served decisions and each point; None where none is known.

    ``median`` and ``p95`` in seconds, of ``known`` answers; a model's ``accuracy`` counts what it may not take as wrong. What a
    router takes to decide is not in them.
    """
    if test.latencies is None or np.isnan(test.latencies).all():
        return None
    models = {
        name: _seconds(test.latencies[:, j]) | {"accuracy": mean_of(test.outcomes[:, j])} for j, name in enumerate(test.names)
    }
    points = {name: _seconds(test.latency(chosen)) for name, chosen in operating_points.items()}
    return {"router": _seconds(test.latency(test.chosen)), "models": models, "operating_points": points}


def _seconds(latencies: Floats) -> dict[str, float | int | None]:
    known = latencies[~np.isnan(latencies)]
    median, p95 = np.quantile(known, [0.5, 0.95]).tolist() if len(known) else (None, None)
    return {"median": median, "p95": p95, "known": len(known)}


def _baseline(test: TestSet, probabilities: Floats, best_single: int, bootstrap: metrics.GroupBootstrap) -> dict[str, Any]:
    """Another method's probabilities on the same rows, beside the router's served decisions."""
    chosen = choose(probabilities, eligible=test.eligible).chosen
    labels = test.label(chosen)
    difference = labels - test.label(test.chosen)
    return {
        "accuracy": mean_of(labels),
        "accuracy_interval": bootstrap.interval(labels),
        "gap_closed": metrics.system_metrics(chosen, test.outcomes, best_single, test.names).gap_closed,
        "minus_router": mean_of(difference),
        "minus_router_interval": bootstrap.interval(difference),
        **_averages(metrics.model_metrics(probabilities, test.labels)),
        "aiq": pool_aiq(probabilities, test),
        "cost": mean_of(test.cost(chosen)),
    }


def _averages(measured: Sequence[metrics.ModelMetrics]) -> dict[str, float]:
    """Means over the models where the measure is defined."""
    columns = {"mean_auc": [m.auc for m in measured], "mean_ece": [m.ece for m in measured]}
    return {name: mean_of(np.array(values, dtype=np.float64)) for name, values in columns.items()}


def _pair(test: TestSet, best_single: int) -> dict[str, Any] | None:
    """APGR and CPT, for a pool of two models; the strong one is the best single model."""
    if len(test.names) != 2:
        return None
    strong, weak = best_single, 1 - best_single
    advantages = test.probabilities[:, strong] - test.probabilities[:, weak]
    found = metrics.recover_gap(advantages, test.outcomes[:, strong], test.outcomes[:, weak])
    values: dict[str, float | None] = dict.fromkeys(("apgr", "cpt_50", "cpt_80"))
    if found is not None:
        values = {"apgr": found.apgr, "cpt_50": found.cpt(0.5), "cpt_80": found.cpt(0.8)}
    return {"strong": test.names[strong], "weak": test.names[weak], **values}


def _parts(test: TestSet, keys: Sequence[str | None], best_single: int) -> dict[str, dict[str, Any]]:
    """The headline on the rows of each key, most rows first; {} where no row has one."""
    if all(key is None for key in keys):
        return {}
    named = np.array([NO_SOURCE if key is None else key for key in keys])
    values, counts = np.unique(named, return_counts=True)
    rows = {"router": test.label(test.chosen), "best_single": test.outcomes[:, best_single]}
    rows |= {"random": metrics.row_means(test.outcomes), "oracle": oracle_labels(test.outcomes)}
    parts = {}
    for key in values[np.argsort(-counts, kind="stable")].tolist():
        inside = named == key
        parts[key] = {
            "rows": int(inside.sum()),
            **{name: mean_of(labels[inside]) for name, labels in rows.items()},
            "selection": _selection(test, test.chosen[inside]),
        }
    return parts


def _selection(test: TestSet, chosen: Ints) -> dict[str, float]:
    shares = np.bincount(chosen, minlength=len(test.names)) / len(chosen)
    return dict(zip(test.names, shares.tolist(), strict=True))


def _check_shape(name: str, values: Any, like: Any) -> Any:
    if np.shape(values) != like.shape:
        raise DataError(f"{name!r} has shape {np.shape(values)}, expected {like.shape}: one entry a row of the test set")
    return np.asarray(values)


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON takes it: lists, plain numbers, and None for NaN or an interval without bounds."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        items = [_plain(item) for item in value]
        return None if isinstance(value, tuple) and None in items else items
    if isinstance(value, np.generic):
        value = value.item()
    return finite(value)
