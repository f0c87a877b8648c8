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
        distances = SquaredDistances.to(self.anchors.cpu().numpy())
        coefficients = np.ascontiguousarray(self.coefficients.cpu().numpy())

        def share(points: Floats) -> Floats:
            if len(points) <= _CHUNK:
                return np.asarray(similarity(distances(points)) @ coefficients)
            starts = range(0, len(points), _CHUNK)
            return np.concatenate([similarity(distances(points[start : start + _CHUNK])) @ coefficients for start in starts])

        return share


@dataclass(frozen=True, slots=True)
class SquaredDistances:
    """Squared Euclidean distances to fixed points, in one matrix product."""

    factors: Floats
    """``[K + 2, A]``: (z, |z|², 1) times this is |z|² + |a|² - 2z·a."""

    @classmethod
    def to(cls, points: Floats, norms: Floats | None = None) -> SquaredDistances:
        """Prepare for fixed ``points`` [A, K]; ``norms`` [A] replace their squared lengths."""
        if norms is None:
            norms = np.vecdot(points, points)
        return cls(np.concatenate([-2.0 * points.T, np.ones((1, len(points))), norms[None]], dtype=np.float32))

    def __call__(self, points: Floats, norms: Floats | None = None) -> Floats:
        """Return float32 ``[B, A]`` for ``points`` [B, K]; ``norms`` [B] replace their squared lengths."""
        count, width = points.shape
        extended = np.ones((count, width + 2), dtype=np.float32)
        extended[:, :width] = points
        extended[:, width] = np.vecdot(points, points) if norms is None else norms
        found = np.asarray(extended @ self.factors)
        return np.maximum(found, 0.0, out=found)


def similarity(squared: Floats) -> Floats:
    """Turn squared distances into the exponential kernel exp(-d), in place; 1 is the distance of two random prompts."""
    np.sqrt(squared, out=squared)
    np.negative(squared, out=squared)
    return np.asarray(np.exp(squared, out=squared))
