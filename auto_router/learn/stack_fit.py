"""Fit the default network: its heads, and from their out-of-fold predictions how much each counts.

A label is taken apart as mean of its model + s · *level* of its row + *difference*: the level says how hard the prompt is for
all models, s how strongly this model feels it (0 for one that is always right), the difference which model is better here.
The heads are weighted by non-negative least squares, once for the differences and once for the level, on predictions that
no row's own group took part in. Each head shrinks towards the models' means, so where nothing can be told the router keeps
to the best single model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn

from auto_router.arrays import Array, Ints
from auto_router.errors import DataError
from auto_router.learn.graph import Layout
from auto_router.learn.kernel_fit import draw_anchors, fit_kernel
from auto_router.learn.projection import View, fit_projection
from auto_router.learn.stack import StackConfig, StackNetwork
from auto_router.learn.tree_fit import fit_trees

KERNEL_VIEWS = {
    "kernel of surface": View({"text": 0.0, "image": 0.0, "surface": 1.0}, components=32),
    "kernel of meaning": View({"text": 1.0, "image": 1.0, "surface": 0.0}, components=64),
}
TREES_VIEW = View({"text": 1.0, "image": 1.0, "surface": 0.0}, components=24, with_surface=True)
HEADS = (*KERNEL_VIEWS, "trees")
MOST_ROWS = 50_000  # beyond this a random part of the rows stands for all of them
STACK_RIDGE = 0.1


@dataclass(frozen=True, slots=True)
class Fitted:
    """The network, and its honest predictions of the rows it was fitted on (each made without its own group)."""

    network: StackNetwork
    rows: Ints
    """Numbers of the training rows that were used: all of them up to ``MOST_ROWS``."""
    out_of_fold: Array
    heads: list[dict[str, Any]]
    """Each head's name and the weights that the stack gave it, in plain values."""


def fit_stack(rows: Array, labels: Array, groups: Ints, layout: Layout, seed: int = 0) -> Fitted:
    """Fit to ``rows`` [N, D] and ``labels`` [N, M] (0…1, NaN = unknown); of more than ``MOST_ROWS``, ``seed`` draws a part.

    Raises:
        DataError: fewer than two rows or groups, a row with a value that is not finite, or a model without any known label.
    """
    rng = np.random.default_rng(seed)
    used = drawn(len(rows), rng)
    if len(used) < len(rows):
        rows, labels, groups = rows[used], labels[used], groups[used]
    groups = np.unique(groups, return_inverse=True)[1]
    _check(rows, labels, groups)
    mean, y = _deviations(labels)
    x = torch.from_numpy(rows)
    projection, columns = fit_projection(x, layout, [*KERNEL_VIEWS.values(), TREES_VIEW])
    *views, grown = projection(x).split(columns, dim=1)
    kernels, kernels_out = zip(
        *(fit_kernel(points, torch.from_numpy(y), groups, draw_anchors(points, rng)) for points in views), strict=True
    )
    trees, trees_out = fit_trees(grown.numpy(), y, groups, seed)
    honest, shares = [*(out.numpy() for out in kernels_out), trees_out], _Shares.of(y)
    weights = shares.weigh(honest, y)
    # The heads are linear in these numbers, so their weights can be folded in.
    for kernel, weight in zip(kernels, weights, strict=False):
        kernel.coefficients = torch.from_numpy(shares.apply(kernel.coefficients.numpy(), *weight))
    trees.values = torch.from_numpy(shares.apply(trees.values.numpy(), *weights[-1]))
    config = StackConfig(layout.dim, len(mean), tuple(columns[:-1]), len(kernels[0].anchors), columns[-1],
                         len(trees.roots), len(trees.feature), trees.depth)  # fmt: skip
    network = StackNetwork(config)
    network.projection, network.heads = projection, nn.ModuleList([*kernels, trees])
    network.mean = torch.from_numpy(mean)
    total = mean + sum(shares.apply(out, *weight) for out, weight in zip(honest, weights, strict=True))
    named = [_named(*both) for both in zip(HEADS, weights, strict=True)]
    return Fitted(network.eval(), used, total.clip(0, 1).astype(np.float32), named)


def drawn(count: int, rng: np.random.Generator) -> Ints:
    """Return the numbers, in order, of the rows that stand for all ``count``: at most ``MOST_ROWS``."""
    return np.sort(rng.permutation(count)[:MOST_ROWS])


@dataclass(frozen=True, slots=True)
class _Shares:
    """How deviations ``[N, M]`` are taken apart: ``slope`` [M] says how strongly each model feels a row's level."""

    slope: Array

    @classmethod
    def of(cls, y: Array) -> _Shares:
        level = y.mean(axis=1)
        spread = float(level @ level)
        slope = level @ y / spread if spread > 1e-9 else np.ones(y.shape[1])
        return cls(np.asarray(slope, dtype=np.float32))

    def apply(self, values: Array, difference: float, level: float) -> Array:
        """Return deviations with the two parts weighted."""
        shared = self.slope * values.mean(axis=1, keepdims=True)
        return np.asarray(difference * (values - shared) + level * shared, dtype=np.float32)

    def weigh(self, predictions: list[Array], y: Array) -> list[tuple[float, float]]:
        """Return the weight of each head for the differences and for the level, from out-of-fold predictions."""
        difference = non_negative([self.apply(p, 1, 0).ravel() for p in predictions], self.apply(y, 1, 0).ravel())
        level = non_negative([p.mean(axis=1) for p in predictions], y.mean(axis=1))
        return list(zip(difference, level, strict=True))


def non_negative(columns: list[Array], target: Array) -> list[float]:
    """Return a weight from 0 for each column: least squares, with a ridge that spreads it over columns that say the same."""
    a, b = np.stack(columns).astype(np.float64), target.astype(np.float64)
    gram = a @ a.T
    strength = np.trace(gram) / len(gram)
    if strength <= 1e-12:
        return [0.0] * len(columns)
    root = np.linalg.cholesky(gram + STACK_RIDGE * strength / len(gram) * np.eye(len(gram)))
    return [float(weight) for weight in nnls(root.T, np.linalg.solve(root, a @ b))[0]]


def _deviations(labels: Array) -> tuple[Array, Array]:
    """Return the models' means and the labels' deviations from them.

    An unknown label is filled with how hard the row was for its known models, as strongly as this model feels that: it
    tells nothing of which model is better here.
    """
    known = ~np.isnan(labels)
    mean = np.where(known, labels, 0).sum(axis=0) / known.sum(axis=0)
    deviation = np.where(known, labels - mean, 0)
    level = deviation.sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    slope = (deviation * level).sum(axis=0) / np.maximum((known * np.square(level)).sum(axis=0), 1e-9)
    return mean.astype(np.float32), np.where(known, deviation, slope * level).astype(np.float32)


def _check(rows: Array, labels: Array, groups: Ints) -> None:
    if len(rows) < 2 or len(np.unique(groups)) < 2:
        raise DataError(f"{len(rows)} training rows in {len(np.unique(groups))} group(s); at least 2 of each are needed")
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(broken):
        raise DataError(f"training row {broken[0]} (and {len(broken) - 1} more) is not finite; encode the records again")
    empty = np.flatnonzero(np.isnan(labels).all(axis=0)).tolist()
    if empty:
        raise DataError(f"models at positions {empty} have no known label; collect some or leave them out")


def _named(head: str, weights: tuple[float, float]) -> dict[str, Any]:
    return {"head": head, "weight for differences": round(weights[0], 3), "weight for difficulty": round(weights[1], 3)}
