"""The default head: kernel ridge regression on several views of a prompt, stacked.

A *view* is one weighting of the input's blocks, projected to a compact space where the training prompts are *anchors*. A
Gaussian kernel turns the distance to every anchor into a similarity, and P(correct) is a weighted sum of similarities: prompts
that look alike in meaning or in surface are right or wrong alike. Training (:mod:`auto_router.learn.kernel_fit`) folds
all heads and their stacking weights into one coefficient matrix a kernel, so that routing is a handful of matrix products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auto_router.errors import ConfigError
from auto_router.learn.projection import Projection

_MOST = 10_000_000  # a size beyond this is damage, not a router


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """Sizes of a :class:`KernelNetwork`: all that is needed to build it before loading its numbers."""

    input_dim: int
    n_models: int
    n_anchors: int
    view_dims: tuple[int, ...]
    lengths: tuple[float, ...]

    def __post_init__(self) -> None:
        sizes = (self.input_dim, self.n_models, self.n_anchors, *self.view_dims)
        if any(not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MOST for size in sizes):
            raise ConfigError(f"kernel network sizes must be whole numbers from 0 to {_MOST:,}, got {sizes}")
        if not all(isinstance(length, float) and length > 0 for length in self.lengths):
            raise ConfigError(f"kernel lengths must be numbers above 0, got {self.lengths}")

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> KernelConfig:
        """Build from the plain values of :meth:`to_plain`. Raises ConfigError where they are no such values."""
        try:
            return cls(**{**values, "view_dims": tuple(values["view_dims"]), "lengths": tuple(values["lengths"])})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ConfigError(f"kernel network configuration is not valid ({error})") from error

    def to_plain(self) -> dict[str, Any]:
        return asdict(self) | {"view_dims": list(self.view_dims), "lengths": list(self.lengths)}


class View(nn.Module):
    """One projected space with its anchors and, for every kernel length, the coefficients ``[N, M]`` of the models."""

    anchors: Tensor
    anchor_norms: Tensor
    coefficients: Tensor

    def __init__(self, input_dim: int, dim: int, n_anchors: int, n_models: int, lengths: Sequence[float]) -> None:
        super().__init__()
        self.projection = Projection(input_dim, dim)
        self.lengths = tuple(lengths)
        self.register_buffer("anchors", torch.zeros(n_anchors, dim))
        # Squared lengths: to sum them for every prompt would read all anchors twice.
        self.register_buffer("anchor_norms", torch.zeros(n_anchors))
        self.register_buffer("coefficients", torch.zeros(len(self.lengths), n_anchors, n_models))

    def forward(self, rows: Tensor) -> Tensor:
        """Return this view's share of the prediction, ``[B, M]``."""
        distances = squared_distances(self.projection(rows), self.anchors, self.anchor_norms)
        total = torch.zeros(len(rows), self.coefficients.shape[2], device=rows.device)
        for length, coefficients in zip(self.lengths, self.coefficients, strict=True):
            total = torch.addmm(total, similarity(distances, length), coefficients)
        return total


class KernelNetwork(nn.Module):
    """``[B, input_dim]`` → P(correct) ``[B, n_models]`` in 0…1: the mean of each model plus the views' shares."""

    mean: Tensor

    def __init__(self, config: KernelConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.n_anchors, config.n_models, config.lengths
        self.views = nn.ModuleList(View(config.input_dim, dim, *sizes) for dim in config.view_dims)
        self.register_buffer("mean", torch.zeros(config.n_models))

    def forward(self, rows: Tensor) -> Tensor:
        total = self.mean.expand(len(rows), -1)
        for view in self.views:
            total = total + view(rows)
        return total.clamp(0.0, 1.0)


def similarity(distances: Tensor, length: float) -> Tensor:
    """Gaussian kernel exp(-d² / 2l²) of squared distances."""
    return torch.exp(distances * (-0.5 / length**2))


def squared_distances(a: Tensor, b: Tensor, b_norms: Tensor | None = None) -> Tensor:
    """Return ``[A, B]`` squared Euclidean distances of the rows; ``b_norms``: the squared lengths of ``b``, if known."""
    norms = b.square().sum(dim=1) if b_norms is None else b_norms
    return torch.addmm(norms, a, b.T, alpha=-2.0).add_(a.square().sum(dim=1, keepdim=True)).clamp_(min=0.0)
