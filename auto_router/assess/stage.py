"""What Stage 3 reports: the test set decided as ``ModelRouter`` would, under the policy in force and every operating point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auto_router.arrays import Bools, Floats
from auto_router.assess.assessment import assess
from auto_router.assess.held_out import HeldOut
from auto_router.costs import answer_costs
from auto_router.decide.limits import allowed_for
from auto_router.decide.operating_points import OperatingPoint
from auto_router.decide.served import ServedPolicy, serve
from auto_router.records import Record


def assess_served(
    records: Sequence[Record],
    names: Sequence[str],
    probabilities: Floats,
    best_single: int,
    *,
    pool: Mapping[str, Mapping[str, Any]],
    points: Mapping[str, OperatingPoint],
    expected_costs: Floats | None = None,
    unfamiliar: Bools | None = None,
    model_thresholds: Mapping[str, float] | None = None,
    model_costs: Mapping[str, float] | None = None,
    baselines: Mapping[str, Floats] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the metrics of :func:`assess` for calibrated ``probabilities`` [N, M] of test ``records``.

    ``expected_costs`` and ``unfamiliar`` are those of :func:`held_out`.
    """
    test = held_out(
        records, names, probabilities, pool, serve(names, points, model_thresholds, model_costs), expected_costs, unfamiliar
    )
    fitted = {name: serve(names, points, operating_point=name).priced(expected_costs) for name in points}
    under = {name: point.choose(probabilities, test.allowed, unfamiliar).chosen for name, point in fitted.items()}
    return assess(test, best_single, seed, under, baselines)


def held_out(
    records: Sequence[Record],
    names: Sequence[str],
    probabilities: Floats,
    pool: Mapping[str, Mapping[str, Any]],
    policy: ServedPolicy,
    expected_costs: Floats | None,
    unfamiliar: Bools | None,
) -> HeldOut:
    """Return the test rows as the router decides them under ``policy``.

    ``expected_costs`` [N, M] are what the artifact expects of each answer, in USD; None: it does not say. ``unfamiliar`` [N]
    rows go to the guarded default; None: novelty is not measured.
    """
    allowed = allowed_for(names, pool, records)
    return HeldOut.of(
        records,
        names,
        probabilities,
        policy.priced(expected_costs).choose(probabilities, allowed, unfamiliar).chosen,
        thresholds=policy.thresholds,
        allowed=allowed,
        costs=answer_costs(records, names, pool),
        expected_costs=expected_costs,
        unfamiliar=unfamiliar,
    )
