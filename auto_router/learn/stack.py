"""The default network: unlike heads on one projection of the prompt, stacked.

``[B, input_dim]`` → projection ``[B, K]`` → kernel heads and a trees head, each on its own columns → their sum, added to the
mean of each model → P(correct) ``[B, M]``. Unlike heads err differently, which is what makes their sum better than each;
:mod:`auto_router.learn.stack_fit` fits them and how much each counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auto_router.errors import ConfigError
from auto_router.learn.heads import ArrayModule, Floats, KernelHead, Rule
from auto_router.learn.projection import Projection
from auto_router.learn.trees import TreesHead

_MOST = 100_000_000  # a size beyond this is damage, not a router


@dataclass(frozen=True, slots=True)
class StackConfig:
    """Sizes of a :class:`StackNetwork`: all that is needed to build it before loading its numbers."""

    input_dim: int
    n_models: int
    kernel_dims: tuple[int, ...]
    n_anchors: int
    trees_dim: int
    n_trees: int
    n_nodes: int
    depth: int

    def __post_init__(self) -> None:
        sizes = asdict(self)
        numbers = [*sizes.pop("kernel_dims"), *sizes.values()]
        if any(not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MOST for size in numbers):
            raise ConfigError(f"stack sizes must be whole numbers from 0 to {_MOST:,}, got {asdict(self)}")

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> StackConfig:
        """Build from the plain values of :meth:`to_plain`. Raises ConfigError where they are no such values."""
        try:
            return cls(**{**values, "kernel_dims": tuple(values["kernel_dims"])})
        except (TypeError, KeyError) as error:
            raise ConfigError(f"stack configuration is not valid ({error})") from error

    def to_plain(self) -> dict[str, Any]:
        return asdict(self) | {"kernel_dims": list(self.kernel_dims)}


class StackNetwork(ArrayModule):
    """``[B, input_dim]`` → P(correct) ``[B, n_models]`` in 0…1."""

    mean: Tensor

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        self.columns = [*config.kernel_dims, config.trees_dim]
        self.projection = Projection(config.input_dim, sum(self.columns))
        kernels = [KernelHead(dim, config.n_anchors, config.n_models) for dim in config.kernel_dims]
        trees = TreesHead(config.trees_dim, config.n_trees, config.n_nodes, config.depth, config.n_models)
        self.heads = nn.ModuleList([*kernels, trees])
        self.register_buffer("mean", torch.zeros(config.n_models))

    def compiled(self, always: int | None = None) -> Rule:
        """Return the network as one rule. ``always``: columns of the input in front of those that many rows have all zero.

        Raises:
            ConfigError: its tables are damaged.
        """
        deviations, mean = self.deviations(always), self.mean.cpu().numpy()
        return lambda rows: np.asarray(np.minimum(np.maximum(mean + deviations(rows), 0.0), 1.0))

    def deviations(self, always: int | None = None) -> Rule:
        """Return what the heads add to the models' means, as one rule; see :meth:`compiled`."""
        projection = self.projection.compiled(always)
        ends = np.cumsum(self.columns).tolist()
        views = [slice(end - width, end) for end, width in zip(ends, self.columns, strict=True)]
        heads = [(view, head.compiled()) for view, head in zip(views, self.heads, strict=True) if isinstance(head, ArrayModule)]

        def rule(rows: Floats) -> Floats:
            projected = projection(rows)
            return np.asarray(sum(head(projected[:, view]) for view, head in heads))

        return rule
