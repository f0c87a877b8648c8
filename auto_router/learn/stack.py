"""The default network: unlike heads on one projection of the prompt, stacked.

``[B, input_dim]`` → projection ``[B, K]`` → kernel heads and a trees head, each on its own columns → their sum, added to the
mean of each model → P(correct) ``[B, M]``. Unlike heads err differently, which is what makes their sum better than each;
:mod:`auto_router.learn.stack_fit` fits them and how much each counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auto_router.errors import ConfigError
from auto_router.learn.affine import Affine, add_parts
from auto_router.learn.graph import Graph, Layout, Rule, served
from auto_router.learn.heads import KernelHead
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
        whole = all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= _MOST for size in numbers)
        if not whole or not self.kernel_dims:
            raise ConfigError(
                f"stack sizes must be whole numbers from 0 to {_MOST:,}, with one kernel or more; got {asdict(self)}"
            )

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> StackConfig:
        """Build from the plain values of :meth:`to_plain`. Raises ConfigError where they are no such values."""
        try:
            return cls(**{**values, "kernel_dims": tuple(values["kernel_dims"])})
        except (TypeError, KeyError) as error:
            raise ConfigError(f"stack configuration is not valid ({error})") from error

    def to_plain(self) -> dict[str, Any]:
        return asdict(self) | {"kernel_dims": list(self.kernel_dims)}


class StackNetwork(nn.Module):
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

    @property
    def kernels(self) -> list[KernelHead]:
        return [head for head in self.heads if isinstance(head, KernelHead)]

    @property
    def trees(self) -> TreesHead:
        return next(head for head in self.heads if isinstance(head, TreesHead))

    def forward(self, rows: Tensor) -> Tensor:
        """Compiles what :meth:`compiled` serves, and runs it: for fits and tests."""
        rule = self.compiled(Layout(self.config.input_dim))
        return torch.from_numpy(rule(rows.detach().cpu().numpy())[0]).to(rows.device)

    def compiled(self, layout: Layout) -> Rule:
        """Return the network as a rule with one output. Raises ConfigError where its tables are damaged."""
        return served(lambda graph: add_parts(graph, [self]), layout)

    def maps(self, graph: Graph) -> list[Affine]:
        """Return what each head sees of the graph's inputs."""
        projected, ends = self.projection.map(graph), np.cumsum(self.columns).tolist()
        *views, grown = (projected[end - width : end] for end, width in zip(ends, self.columns, strict=True))
        return [*(view.with_one() for view in views), grown]

    def add_to(self, graph: Graph, values: Sequence[str]) -> str:
        """Add the network on its :meth:`maps`. Raises ConfigError where its tables are damaged."""
        limits = graph.constant(0.0), graph.constant(1.0)
        return graph.node("Clip", self._total(graph, values, self.mean), *limits)

    def deviations(self, graph: Graph, values: Sequence[str]) -> str:
        """Add what the heads together add to the models' means."""
        return self._total(graph, values, torch.zeros_like(self.mean))

    def _total(self, graph: Graph, values: Sequence[str], mean: Tensor) -> str:
        *views, grown = values
        total = self.trees.add_to(graph, grown, mean)
        for kernel, view in zip(self.kernels, views, strict=True):
            total = kernel.add_to(graph, view, total)
        return total
