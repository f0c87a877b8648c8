"""The kernel part of a stack, and what all parts share: buffers that are fitted or loaded, and one NumPy rule over them.

A part maps its slice of the projected prompt to a share of the prediction, ``[B, K]`` → ``[B, M]``. The numbers are torch
buffers, so that a network saves, loads and checks them like any other; the computing is done by NumPy on the CPU, whatever
the device: one prompt is a handful of small operations, and torch takes longer to dispatch each than NumPy to do it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Floats = npt.NDArray[np.floating[Any]]
Rule = Callable[[Floats], Floats]

_CHUNK = 128  # rows at once: their similarities to all anchors stay in the processor's cache


class ArrayModule(nn.Module):
    """A module whose rule is :meth:`compiled`. Called on a tensor it compiles and runs it, which is for fits and tests."""

    @abstractmethod
    def compiled(self) -> Rule:
        """Return the rule over the buffers' present values, float32 ``[B, ...]`` → ``[B, ...]``, ready to be called often."""

    def forward(self, points: Tensor) -> Tensor:
        return torch.from_numpy(self.compiled()(points.detach().cpu().numpy())).to(points.device)


class KernelHead(ArrayModule):
    """Prompts that look alike are right or wrong alike: a weighted sum of similarities to stored prompts (*anchors*)."""

    anchors: Tensor
    coefficients: Tensor

    def __init__(self, dim: int, n_anchors: int, n_models: int) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.zeros(n_anchors, dim))
        self.register_buffer("coefficients", torch.zeros(n_anchors, n_models))

    def compiled(self) -> Rule:
        similarity = Similarity.to(self.anchors.cpu().numpy())
        coefficients = np.ascontiguousarray(self.coefficients.cpu().numpy())

        def share(points: Floats) -> Floats:
            if len(points) <= _CHUNK:
                return np.asarray(similarity(points) @ coefficients)
            starts = range(0, len(points), _CHUNK)
            return np.concatenate([similarity(points[start : start + _CHUNK]) @ coefficients for start in starts])

        return share


@dataclass(frozen=True, slots=True)
class Similarity:
    """Exponential kernel exp(-d) of the Euclidean distances to fixed points; 1 is the distance of two random prompts."""

    factors: Floats
    """``[K + 2, A]``: (z, |z|², 1) times this is |z|² + |a|² - 2z·a, the squared distance, in one product."""

    @classmethod
    def to(cls, anchors: Floats) -> Similarity:
        norms = np.einsum("ak,ak->a", anchors, anchors)
        return cls(np.concatenate([-2.0 * anchors.T, np.ones((1, len(anchors))), norms[None]], dtype=np.float32))

    def __call__(self, points: Floats) -> Floats:
        """Return float32 ``[B, A]`` for points ``[B, K]``."""
        count, width = points.shape
        extended = np.ones((count, width + 2), dtype=np.float32)
        extended[:, :width] = points
        np.einsum("bk,bk->b", points, points, out=extended[:, width])
        found = extended @ self.factors
        np.maximum(found, 0.0, out=found)
        np.sqrt(found, out=found)
        np.negative(found, out=found)
        return np.exp(found, out=found)
