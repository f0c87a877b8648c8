"""One assessment of one router on held-out rows: every measure, as the plain values that ``metrics.json`` holds.

A measure's 95 % interval (percentile bootstrap over groups, the same draws for all) stands beside it as
``<measure>_interval``. A measure that is undefined or unknown is None. Differences are paired: they are taken on the rows
where both labels are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auto_router.arrays import Floats, Ints
from auto_router.assess.cost_quality import cost_quality, pool_aiq
from auto_router.assess.held_out import HeldOut
from auto_router.assess.intervals import LEVEL, RESAMPLES, GroupBootstrap, percentiles
from auto_router.assess.metrics import (
    NAN,
    ModelMetrics,
    gap_parts,
    mean_of,
    model_metrics,
    oracle_costs,
    oracle_labels,
    rank_score,
    row_means,
    system_metrics,
)
from auto_router.assess.pair import recovered
from auto_router.assess.per_model import per_model
from auto_router.decide.policy import choose
from auto_router.errors import DataError

NO_SOURCE = "(none)"


def assess(
    test: HeldOut,
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
        baselines: ``{name: [N, M] probabilities}``; each decides by the highest P of the allowed models.

    Raises:
        DataError: an operating point or a baseline has another shape than the test set.
    """
    bootstrap = GroupBootstrap(test.groups, seed)
    measured = model_metrics(test.probabilities, test.labels, test.thresholds)
    return dict(
        _plain(
            {
                "rows": len(test.labels),
                "groups": len(np.unique(test.groups)),
                "models": list(test.names),
                "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "seed": seed},
                "per_model": per_model(test, measured, bootstrap),
                "system": _system(test, best_single, bootstrap) | _averages(measured),
                "cost_quality": cost_quality(test, best_single, bootstrap),
                "pair": _pair(test, best_single),
                "operating_points": {
                    name: decided(test, _shaped(name, chosen, test.chosen), best_single, bootstrap)
                    for name, chosen in (operating_points or {}).items()
                },
                "baselines": {
                    name: _baseline(test, _shaped(name, p, test.probabilities), best_single, bootstrap)
                    for name, p in (baselines or {}).items()
                },
                "breakdown": {
                    "source": {} if test.sources is None else _parts(test, test.sources, best_single),
                    "modality": {} if test.modalities is None else _parts(test, test.modalities, best_single),
                },
            }
        )
    )


def decided(test: HeldOut, chosen: Ints, best_single: int, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """Return what the decisions ``chosen`` [N] are worth beside always asking the best single model."""
    labels, single = test.label(chosen), test.outcomes[:, best_single]
    return {
        "accuracy": mean_of(labels),
        "accuracy_interval": bootstrap.interval(labels),
        "minus_best_single": mean_of(labels - single),
        "minus_best_single_interval": bootstrap.interval(labels - single),
        "cost": mean_of(test.cost(chosen)),
        "cost_share": _cost_share(test, chosen, best_single),
        "selection": _selection(test, chosen),
    }


def _system(test: HeldOut, best_single: int, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """The served decisions, and what any router must be compared with."""
    router, single, oracle = test.label(test.chosen), test.outcomes[:, best_single], oracle_labels(test.outcomes)
    rows = {"router": router, "best_single": single, "random": row_means(test.outcomes), "oracle": oracle}
    draws = dict(zip(rows, bootstrap.means(np.stack(list(rows.values()), axis=1)).T, strict=True))
    gained, gap = bootstrap.means(np.stack(gap_parts(router, single, oracle), axis=1)).T
    closed = np.divide(gained, gap, out=np.full(len(gap), NAN), where=gap > 0)
    served = decided(test, test.chosen, best_single, bootstrap)
    found = system_metrics(test.chosen, test.outcomes, best_single, test.names).to_plain()
    found |= {f"{name}_interval": percentiles(values) for name, values in draws.items()}
    found["gap_closed_interval"] = None if found["gap_closed"] is None else percentiles(closed)
    found["router_minus_best_single"] = served["minus_best_single"]
    found["router_minus_best_single_interval"] = served["minus_best_single_interval"]
    return found | _costs(test, best_single, found["router"])


def _costs(test: HeldOut, best_single: int, accuracy: float) -> dict[str, Any]:
    """What an answer costs, USD; the oracle asks the cheapest of the models that are right."""
    costs, known = test.mean_costs, ~np.isnan(test.mean_costs)
    if test.costs is None or not known.any():
        return dict.fromkeys(("cheapest", "cheapest_model", "costs", "cost_share", "rank_score"))
    cheapest = int(np.nanargmin(costs))
    router = mean_of(test.cost(test.chosen))
    return {
        "cheapest": mean_of(test.outcomes[:, cheapest]),
        "cheapest_model": test.names[cheapest],
        "costs": {
            "router": router,
            "best_single": costs[best_single],
            "cheapest": costs[cheapest],
            "random": mean_of(row_means(test.costs)),
            "oracle": mean_of(oracle_costs(test.outcomes, test.costs)),
        },
        "cost_share": _cost_share(test, test.chosen, best_single),
        "rank_score": rank_score(accuracy, router, float(costs[cheapest]), float(np.nanmax(costs))),
    }


def _baseline(test: HeldOut, probabilities: Floats, best_single: int, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """Another method's probabilities on the same rows, beside the router's served decisions."""
    chosen = choose(probabilities, allowed=test.allowed).chosen
    labels = test.label(chosen)
    difference = labels - test.label(test.chosen)
    return {
        "accuracy": mean_of(labels),
        "accuracy_interval": bootstrap.interval(labels),
        "gap_closed": system_metrics(chosen, test.outcomes, best_single, test.names).gap_closed,
        "minus_router": mean_of(difference),
        "minus_router_interval": bootstrap.interval(difference),
        **_averages(model_metrics(probabilities, test.labels)),
        "aiq": pool_aiq(probabilities, test),
        "cost": mean_of(test.cost(chosen)),
    }


def _averages(measured: Sequence[ModelMetrics]) -> dict[str, float]:
    """Means over the models where the measure is defined."""
    columns = {"mean_auc": [m.auc for m in measured], "mean_ece": [m.ece for m in measured]}
    return {name: mean_of(np.array(values, dtype=np.float64)) for name, values in columns.items()}


def _pair(test: HeldOut, best_single: int) -> dict[str, Any] | None:
    """APGR and CPT, for a pool of two models; the strong one is the best single model."""
    if len(test.names) != 2:
        return None
    strong, weak = best_single, 1 - best_single
    advantages = test.probabilities[:, strong] - test.probabilities[:, weak]
    found = recovered(advantages, test.outcomes[:, strong], test.outcomes[:, weak])
    values: dict[str, float | None] = dict.fromkeys(("apgr", "cpt_50", "cpt_80"))
    if found is not None:
        values = {"apgr": found.apgr, "cpt_50": found.cpt(0.5), "cpt_80": found.cpt(0.8)}
    return {"strong": test.names[strong], "weak": test.names[weak], **values}


def _parts(test: HeldOut, keys: Sequence[str | None], best_single: int) -> dict[str, dict[str, Any]]:
    """The headline on the rows of each key, most rows first; {} where no row has one."""
    if all(key is None for key in keys):
        return {}
    named = np.array([NO_SOURCE if key is None else key for key in keys])
    values, counts = np.unique(named, return_counts=True)
    rows = {"router": test.label(test.chosen), "best_single": test.outcomes[:, best_single]}
    rows |= {"random": row_means(test.outcomes), "oracle": oracle_labels(test.outcomes)}
    parts = {}
    for key in values[np.argsort(-counts, kind="stable")].tolist():
        inside = named == key
        parts[key] = {
            "rows": int(inside.sum()),
            **{name: mean_of(labels[inside]) for name, labels in rows.items()},
            "selection": _selection(test, test.chosen[inside]),
        }
    return parts


def _selection(test: HeldOut, chosen: Ints) -> dict[str, float]:
    shares = np.bincount(chosen, minlength=len(test.names)) / len(chosen)
    return dict(zip(test.names, shares.tolist(), strict=True))


def _cost_share(test: HeldOut, chosen: Ints, best_single: int) -> float | None:
    """Cost ÷ the best single model's, on the rows where both are known; None where there are none or that is free."""
    cost, single = test.cost(chosen), test.cost(test.always(best_single))
    known = ~np.isnan(cost) & ~np.isnan(single)
    return mean_of(cost[known]) / mean_of(single[known]) if single[known].sum() > 0 else None


def _shaped(name: str, values: Any, like: Any) -> Any:
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
    return None if isinstance(value, float) and not np.isfinite(value) else value
