"""The test rows as the report's explorer takes them: packed small, for ``page/explorer.js`` to compute on."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from auto_router.arrays import Floats
from auto_router.assess.test_set import TestSet
from auto_router.decide.operating_points import COST, OperatingPoint, default_point
from auto_router.decide.policy import RouterSettings, resolve_policy

Packed = dict[str, Any]

MAX_PACKED_BYTES = 400_000  # of the packed tables in the page, base64 included
UNKNOWN_BYTE = 255


def pack(test: TestSet, best_single: int, points: Mapping[str, OperatingPoint], seed: int) -> Packed:
    """Return the test rows, the operating points and the prices as plain JSON values.

    Probabilities are float32 as the router computes them, so the page decides on the same numbers. Where the rows would
    take more than ``MAX_BYTES``, ``seed`` draws as many as fit; ``rows`` and ``of`` say so.
    """
    models = len(test.names)
    costs, by_row = test.costs, _differ_by_row(test.costs)
    graded = bool((~np.isin(test.outcomes[~np.isnan(test.outcomes)], (0.0, 1.0))).any())
    cell = 4 + (4 if graded else 1) + (4 if by_row else 0) + (0 if test.prediction.expected_costs is None else 4) + 1 / 8
    most = int(MAX_PACKED_BYTES * 3 / 4 / (cell * models + 4))
    kept = np.arange(len(test.labels))
    if len(kept) > most:
        kept = np.sort(np.random.default_rng(seed).permutation(len(kept))[:most])
    eligible = np.ones(test.labels.shape, dtype=bool) if test.eligible is None else test.eligible
    outcomes, default = test.outcomes[kept], resolve_policy(test.names, points, RouterSettings()).default
    novel = test.prediction.novel
    guarded = None if novel is None or default is None else {"model": default, "rows": novel[kept].tolist()}
    return {
        "models": list(test.names),
        "rows": len(kept),
        "of": len(test.labels),
        "best_single": best_single,
        "probabilities": _text(test.probabilities[kept].astype("<f4")),
        "graded": graded,
        "outcomes": _text(outcomes.astype("<f4") if graded else np.nan_to_num(outcomes, nan=UNKNOWN_BYTE).astype(np.uint8)),
        "eligible": _text(np.packbits(eligible[kept].ravel())),
        "guarded": guarded,
        "expected": None
        if test.prediction.expected_costs is None
        else _text(test.prediction.expected_costs[kept].astype("<f4")),
        "groups": _text(test.groups[kept].astype("<u4")),
        "row_costs": _text(costs[kept].astype("<f4")) if by_row and costs is not None else None,
        "prices": [_or_none(price) for price in test.mean_costs.tolist()],
        "points": {name: _point(point, test.names) for name, point in points.items()},
        "default_point": default_point(points),
    }


def _point(point: OperatingPoint, names: Sequence[str]) -> Packed:
    settings: Packed = {"aim": point.aim, "default": point.default, "margin": point.margin, "cost_weight": point.cost_weight}
    costs = [point.costs[name] for name in names if name in point.costs]
    mean = max(float(np.mean(costs)), 1e-30) if costs else None
    return settings | {"penalties": point.penalties(names).tolist(), "mean_cost": mean, "by_cost": point.weighs == COST}


def _differ_by_row(costs: Floats | None) -> bool:
    """Are these costs of single answers, rather than one price a model?"""
    return costs is not None and not np.array_equal(costs, np.broadcast_to(costs[:1], costs.shape), equal_nan=True)


def _text(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
