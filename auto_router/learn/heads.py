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


class BlockProduct:
    """Rows times fixed ``factors`` [D, K], at the price of what is not zero on either side.

    Columns of the rows from ``always`` on (the picture's) are only multiplied in rows where they are not all zeros, and
    of the factors only the columns that each of the two blocks leads to.
    """

    def __init__(self, factors: Floats, always: int | None = None) -> None:
        end = len(factors) if always is None else min(always, len(factors))
        self._blocks = [(slice(0, end), *_led_to(factors[:end])), (slice(end, len(factors)), *_led_to(factors[end:]))]

    def add_to(self, found: Floats, rows: Floats) -> Floats:
        """Add ``rows`` [B, D] times the factors to ``found`` [B, K], in place."""
        (columns, to, factors), (rare, rare_to, rare_factors) = self._blocks
        found[:, to] += rows[:, columns] @ factors
        others = rows[:, rare]
        used = np.vecdot(others, others)
        count = np.count_nonzero(used)
        if count == len(rows):
            found[:, rare_to] += others @ rare_factors
        elif count:
            part = used != 0
            found[part, rare_to] += others[part] @ rare_factors
        return found


def _led_to(factors: Floats) -> tuple[slice, Floats]:
    """Return the columns from the first to the last that is not all zeros, and the factors there."""
    found = np.flatnonzero(factors.any(axis=0))
    to = slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)
    return to, np.ascontiguousarray(factors[:, to], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class SquaredDistances:
    """Squared Euclidean distances to fixed points, in one matrix product."""

    factors: Floats
    """``[K + 2, A]``: (z, |z|², 1) times this is |z|² + |a|² - 2z·a."""

    @classmethod
    def to(cls, points: Floats) -> SquaredDistances:
        """Prepare for fixed ``points`` [A, K]."""
        norms = np.vecdot(points, points)[None]
        return cls(np.concatenate([-2.0 * points.T, np.ones_like(norms), norms], dtype=np.float32))

    def __call__(self, points: Floats) -> Floats:
        """Return float32 ``[B, A]`` for ``points`` [B, K]."""
        count, width = points.shape
        extended = np.ones((count, width + 2), dtype=np.float32)
        extended[:, :width] = points
        extended[:, width] = np.vecdot(points, points)
        found = np.asarray(extended @ self.factors)
        return np.maximum(found, 0.0, out=found)


def similarity(squared: Floats) -> Floats:
    """Turn squared distances into the exponential kernel exp(-d), in place; 1 is the distance of two random prompts."""
    np.sqrt(squared, out=squared)
    np.negative(squared, out=squared)
    return np.asarray(np.exp(squared, out=squared))
