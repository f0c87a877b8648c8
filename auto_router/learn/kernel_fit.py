"""Fit the kernel network: one ridge solve a head, exact leave-one-group-out predictions, stacking weights from those.

With A = (K + λI)⁻¹ and α = A·y, the prediction for a group g by a fit on all other groups is y_g − A_gg⁻¹·α_g (block form of
the leave-one-out identity, Rasmussen & Williams 2006, eq. 5.12): out-of-fold predictions for every row at the price of one
inverse, and no row is ever predicted from its own group.

The heads are weighted by non-negative least squares on these predictions, once for what decides (deviations from the row
mean: which model is better here) and once for the row mean (how hard this prompt is). A head's ridge shrinks it towards
each model's mean, so where nothing can be told the router keeps to the best single model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import nnls
from torch import Tensor

from auto_router.errors import DataError
from auto_router.learn.kernel import KernelConfig, KernelNetwork, View, similarity, squared_distances
from auto_router.learn.projection import Layout, Projection

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# Kernel lengths, in units of the distance of two random prompts, each with the ridges it is solved for.
HEADS: dict[float, tuple[float, ...]] = {0.5: (3.0,), 0.7: (10.0, 30.0)}
VIEWS: tuple[dict[str, float], ...] = (
    {"text": 1.0, "image": 1.0, "surface": 0.0},
    {"text": 0.5, "image": 0.5, "surface": 2.0},
    {"text": 0.0, "image": 0.05, "surface": 1.0},
)
COMPONENTS = 256
MOST_ROWS = 8_000  # a solve costs N³: beyond this a random part of the rows stands for all of them
STACK_RIDGE = 0.1


@dataclass(frozen=True, slots=True)
class Fitted:
    """The network, and its honest predictions of the rows it was fitted on (each made without its own group)."""

    network: KernelNetwork
    rows: Ints
    """Numbers of the training rows that were used: all of them up to ``MOST_ROWS``."""
    out_of_fold: Floats
    heads: list[dict[str, Any]]
    """What the heads are and the weights that the stack gave them, in plain values."""


@dataclass(slots=True)
class _Head:
    """One kernel length and ridge on one view: its coefficients and out-of-fold predictions (deviations from the mean)."""

    view: int
    length: int
    ridge: float
    alpha: Tensor
    out_of_fold: Tensor


def fit_kernel_network(rows: Floats, labels: Floats, groups: Ints, layout: Layout, seed: int = 0) -> Fitted:
    """Fit to ``rows`` [N, D] and ``labels`` [N, M] (0…1, NaN = unknown); of more than ``MOST_ROWS``, ``seed`` draws a part.

    Raises:
        DataError: fewer than two rows or groups, or a model without any known label.
    """
    used = np.sort(np.random.default_rng(seed).permutation(len(rows))[:MOST_ROWS])
    rows, labels, groups = rows[used], labels[used], groups[used]
    x, known = torch.from_numpy(rows), ~torch.from_numpy(np.isnan(labels))
    if len(x) < 2 or len(np.unique(groups)) < 2:
        raise DataError(f"{len(x)} training rows in {len(np.unique(groups))} group(s); at least 2 of each are needed")
    if not known.any(dim=0).all():
        empty = np.flatnonzero(~known.any(dim=0).numpy()).tolist()
        raise DataError(f"models at positions {empty} have no known label; collect some or leave them out")
    mean, y = _filled(torch.from_numpy(np.nan_to_num(labels)), known)
    projections = [Projection.fit(x, layout, weights, COMPONENTS) for weights in VIEWS]
    anchors = [projection(x) for projection in projections]
    heads = list(_heads(anchors, y, groups))
    deciding, level = _stack([head.out_of_fold for head in heads], y, known, mean)
    network = _network(projections, anchors, heads, deciding, level, mean, layout.dim)
    combined = _combine([head.out_of_fold for head in heads], deciding, level, mean).clamp(0, 1).numpy()
    return Fitted(network, used, combined, [_named(*part) for part in zip(heads, deciding, level, strict=True)])


def _heads(anchors: list[Tensor], y: Tensor, groups: Ints) -> Iterator[_Head]:
    """Solve every head; ``y`` [N, M] are deviations from the models' means."""
    together = _shared_groups(groups)
    for number, points in enumerate(anchors):
        distances = squared_distances(points, points)
        for place, (length, ridges) in enumerate(HEADS.items()):
            kernel = similarity(distances, length)
            for ridge in ridges:
                system = kernel.clone()
                system.diagonal().add_(ridge)
                inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
                alpha = inverse @ y
                yield _Head(number, place, ridge, alpha, _leave_group_out(inverse, alpha, y, together))


def _leave_group_out(inverse: Tensor, alpha: Tensor, y: Tensor, together: list[Tensor]) -> Tensor:
    """Return the prediction of every row by the fit on all other groups."""
    found = y - alpha / inverse.diagonal()[:, None]
    for rows in together:
        found[rows] = y[rows] - torch.linalg.solve(inverse[rows][:, rows], alpha[rows])
    return found


def _shared_groups(groups: Ints) -> list[Tensor]:
    """Return the row numbers of every group of more than one row."""
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    return [torch.from_numpy(rows) for rows in np.split(order, starts[1:]) if len(rows) > 1]


def _stack(predictions: list[Tensor], y: Tensor, known: Tensor, mean: Tensor) -> tuple[Floats, Floats]:
    """Return the heads' weights for the deciding part and for the row mean, from out-of-fold predictions."""
    rows = known.all(dim=1) if known.all(dim=1).sum() >= 50 else known.any(dim=1)
    deciding = _non_negative(torch.stack([_centred(p)[rows].flatten() for p in predictions]), _centred(y)[rows].flatten())
    level = _non_negative(torch.stack([p[rows].mean(dim=1) for p in predictions]), y[rows].mean(dim=1))
    return deciding, level


def _non_negative(columns: Tensor, target: Tensor) -> Floats:
    """Non-negative least squares, with a ridge that spreads the weight over heads that say the same."""
    a, b = columns.double().numpy(), target.double().numpy()
    gram = a @ a.T
    strength = np.trace(gram) / len(gram)
    if strength <= 1e-12:
        return np.zeros(len(a), dtype=np.float32)
    root = np.linalg.cholesky(gram + STACK_RIDGE * strength / len(gram) * np.eye(len(gram)))
    return np.asarray(nnls(root.T, np.linalg.solve(root, a @ b))[0], dtype=np.float32)


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=1, keepdim=True)


def _combine(predictions: list[Tensor], deciding: Floats, level: Floats, mean: Tensor) -> Tensor:
    """Return the stacked prediction ``[N, M]``: model means + weighted deviations + weighted row means."""
    total = mean.expand_as(predictions[0]).clone()
    for p, which, hard in zip(predictions, deciding.tolist(), level.tolist(), strict=True):
        total += which * _centred(p) + hard * p.mean(dim=1, keepdim=True)
    return total


def _network(
    projections: list[Projection],
    anchors: list[Tensor],
    heads: list[_Head],
    deciding: Floats,
    level: Floats,
    mean: Tensor,
    input_dim: int,
) -> KernelNetwork:
    """Fold every head, with its two weights, into one coefficient matrix per view and kernel: all of it is linear in α."""
    dims = tuple(points.shape[1] for points in anchors)
    network = KernelNetwork(KernelConfig(input_dim, len(mean), len(anchors[0]), dims, tuple(HEADS)))
    network.mean = mean
    views = [view for view in network.views if isinstance(view, View)]
    for view, projection, points in zip(views, projections, anchors, strict=True):
        view.projection, view.anchors, view.anchor_norms = projection, points, points.square().sum(dim=1)
    for head, which, hard in zip(heads, deciding.tolist(), level.tolist(), strict=True):
        share = which * _centred(head.alpha) + hard * head.alpha.mean(dim=1, keepdim=True)
        views[head.view].coefficients[head.length] += share
    return network.eval()


def _named(head: _Head, deciding: float, level: float) -> dict[str, Any]:
    """Return one head in plain values."""
    return VIEWS[head.view] | {
        "length": list(HEADS)[head.length],
        "ridge": head.ridge,
        "weight for deciding": round(float(deciding), 3),
        "weight for difficulty": round(float(level), 3),
    }


def _filled(labels: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the models' means and the labels' deviations from them.

    An unknown label is filled with its model's mean moved by how the row's known models did: it tells which prompts are
    hard, and nothing of which model is better here.
    """
    mean = torch.where(known, labels, 0.0).sum(dim=0) / known.sum(dim=0)
    deviation = torch.where(known, labels - mean, 0.0)
    row = deviation.sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True).clamp(min=1)
    return mean, torch.where(known, deviation, row)
