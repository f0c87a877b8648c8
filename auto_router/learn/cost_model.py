"""What an answer of each model to a prompt is expected to cost: linear in the network's input, within what training saw.

Most of a cost is in the prompt: how long it is, and what kind of answer its kind asks for. :mod:`auto_router.learn.cost_fit`
fits it to recorded costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auto_router.arrays import Floats
from auto_router.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CostModel:
    """``[N, D]`` input rows → expected cost ``[N, M]`` in the unit of the recorded costs; NaN for a model of unknown cost."""

    weights: Floats
    """``[D, M]``."""
    offset: Floats
    """``[M]``: the mean cost of a model whose prompts tell nothing of its cost."""
    low: Floats
    high: Floats
    """``[M]``: the least and the highest cost seen in training."""

    def __call__(self, rows: Floats) -> Floats:
        found = rows @ self.weights
        found += self.offset
        return np.asarray(np.minimum(np.maximum(found, self.low, out=found), self.high, out=found))

    def without_column(self, column: int) -> CostModel:
        """Return the same without one model."""
        return CostModel(*(np.delete(getattr(self, part.name), column, axis=-1) for part in fields(self)))

    def with_column(self, cost: float | None) -> CostModel:
        """Return the same with one model more, which costs the same whatever the prompt; None: unknown."""
        value = np.array([np.nan if cost is None else cost], dtype=self.offset.dtype)
        weights = np.concatenate([self.weights, np.zeros((len(self.weights), 1), dtype=self.weights.dtype)], axis=1)
        return CostModel(weights, *(np.concatenate([part, value]) for part in (self.offset, self.low, self.high)))

    def to_plain(self) -> dict[str, Tensor]:
        return {part.name: torch.from_numpy(np.ascontiguousarray(getattr(self, part.name))) for part in fields(self)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], dim: int, n_models: int) -> CostModel | None:
        """Build from :meth:`to_plain`; None from an empty mapping. Raises ConfigError where the values do not fit."""
        if not values:
            return None
        expected = {part.name: [n_models] for part in fields(cls)} | {"weights": [dim, n_models]}
        for name, shape in expected.items():
            found = values.get(name)
            if not isinstance(found, Tensor) or list(found.shape) != shape or found.dtype != torch.float32:
                raise ConfigError(f"expected costs are damaged: {name} must be float32 {shape}")
            if found.isinf().any() or (name == "weights" and found.isnan().any()):
                raise ConfigError(f"expected costs are damaged: {name} holds values that are no costs")
        return cls(**{name: values[name].numpy() for name in expected})
