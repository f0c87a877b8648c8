"""What an answer of each model costs: as recorded, else as the pool's prices say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auto_router.records import Array, Record, cost_matrix

# Without a record of tokens, an answer is taken to read and to write this many: only the ratios of the prices matter.
NOMINAL_TOKENS = 500


def answer_costs(records: Sequence[Record], names: Sequence[str], pool: Mapping[str, Mapping[str, Any]]) -> Array | None:
    """Return USD of each answer ``[N, M]``, NaN where unknown; None where nothing is known of any.

    They are the records' ``model_costs``; where no record has one, the pool's prices for ``NOMINAL_TOKENS`` read and as
    many written, the same for every prompt.
    """
    costs = cost_matrix(records, names).astype(np.float64)
    if np.isnan(costs).all():
        prices = [[pool.get(name, {}).get(f"{side}_usd_per_mtok") for side in ("input", "output")] for name in names]
        costs[:] = [np.nan if None in both else sum(both) * NOMINAL_TOKENS / 1e6 for both in prices]
    return None if np.isnan(costs).all() else costs
