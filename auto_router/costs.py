"""What an answer of each model costs: as recorded, else as the pool's prices say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auto_router.arrays import Floats
from auto_router.records import Record, cost_matrix

# Without a record of tokens, an answer is taken to read and to write this many: only the ratios of the prices matter.
NOMINAL_TOKENS = 500


def answer_costs(records: Sequence[Record], names: Sequence[str], pool: Mapping[str, Mapping[str, Any]]) -> Floats | None:
    """Return USD of each answer ``[N, M]``, NaN where unknown; None where nothing is known of any.

    They are the records' ``model_costs``; where no record has one, the pool's prices for ``NOMINAL_TOKENS`` read and as
    many written, the same for every prompt.
    """
    costs = cost_matrix(records, names).astype(np.float64)
    if np.isnan(costs).all():
        costs[:] = [_nominal(pool.get(name, {})) for name in names]
    return None if np.isnan(costs).all() else costs


def _nominal(facts: Mapping[str, Any]) -> float:
    prices = facts.get("input_usd_per_mtok"), facts.get("output_usd_per_mtok")
    return float("nan") if prices[0] is None or prices[1] is None else (prices[0] + prices[1]) * NOMINAL_TOKENS / 1e6
