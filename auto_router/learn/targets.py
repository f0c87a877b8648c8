"""Cost-aware soft targets: what a network learns when a right answer is worth less the more it costs.

    target = 1{right} · exp(−λ · (cost − cost of the cheapest right model))

(SCOPE-Router, arXiv 2608.12127.) The cheapest right model keeps its 1, a wrong answer its 0; λ = 0 gives the labels back.
Costs are scaled so that the model that is dearest on average costs 1, whatever their unit: with λ = 1, right answers of
that model are worth e⁻¹ ≈ 0.37 where a free one is right too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auto_router.arrays import Array, Floats
from auto_router.errors import ConfigError

RIGHT = 0.5  # a graded label counts as right from here


def cost_aware(labels: Array, costs: Array, weight: float) -> Array:
    """Return soft targets ``[N, M]`` for ``labels`` (0…1, NaN = unknown, which stays) and ``costs`` of :func:`scale_costs`.

    A graded label is scaled like a right one. It is never raised, and a row where no model is right keeps its labels.
    """
    right = np.nan_to_num(labels) >= RIGHT
    cheapest = np.where(right, costs, np.inf).min(axis=1, keepdims=True)
    extra = np.where(np.isfinite(cheapest), np.maximum(costs - cheapest, 0.0), 0.0)
    return np.asarray(labels * np.exp(-weight * extra), dtype=np.float32)


def scale_costs(costs: Floats | None, names: Sequence[str], rows: int) -> Array:
    """Return ``[rows, M]`` costs, 1 being the mean of the model that is dearest on average.

    A missing one is its model's mean.

    Raises:
        ConfigError: a model has neither, or every model is free.
    """
    costs = np.full((rows, len(names)), np.nan) if costs is None else costs
    known = ~np.isnan(costs)
    missing = [names[j] for j in np.flatnonzero(~known.any(axis=0)).tolist()]
    if missing:
        raise ConfigError(
            f"--cost-weight needs the cost of every model; none is known of {', '.join(missing)}: give 'model_costs' in the "
            "records of all models, or their prices with --pool"
        )
    mean = np.where(known, costs, 0.0).sum(axis=0) / known.sum(axis=0)
    if not mean.max() > 0:
        raise ConfigError("--cost-weight has nothing to weigh: every model costs 0")
    return np.asarray(np.where(known, costs, mean) / mean.max(), dtype=np.float32)
