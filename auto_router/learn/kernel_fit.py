"""Fit the kernel head: ridge regression in the space that the anchors span, with exact leave-one-group-out predictions.

With anchors Z, the features Φ = K(X, Z)·L⁻ᵀ (K(Z, Z) = L·Lᵀ) turn kernel ridge into ordinary ridge with as many columns as
anchors (Nyström; Williams & Seeger 2001): time grows with the rows, not with their cube. With H = Φ(ΦᵀΦ + λI)⁻¹Φᵀ the fit on
all other groups misses group g by (I - H_gg)⁻¹ · (y_g - ŷ_g): every row is predicted honestly at the price of one fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from auto_router.arrays import Ints
from auto_router.learn.heads import KernelHead, similarity

ANCHORS = 512
RIDGE = 3.0
_JITTER = 1e-3  # anchors that are alike would make K(Z, Z) singular; far below the ridge
_CHUNK = 4096  # rows whose features are held at once


def draw_anchors(points: Tensor, rng: np.random.Generator) -> Tensor:
    """Return up to ``ANCHORS`` of the rows."""
    return points[torch.from_numpy(np.sort(rng.permutation(len(points))[:ANCHORS]))]


def fit_kernel(points: Tensor, y: Tensor, groups: Ints, anchors: Tensor) -> tuple[KernelHead, Tensor]:
    """Fit to ``points`` [N, K] and deviations ``y`` [N, M]; return the head and its out-of-fold prediction of the rows."""
    features = _Features.of(anchors)
    count, target = len(features.anchors), y.double()
    gram, moment = torch.eye(count, dtype=torch.float64) * RIDGE, torch.zeros(count, y.shape[1], dtype=torch.float64)
    for start in range(0, len(points), _CHUNK):
        phi = features(points[start : start + _CHUNK])
        gram.addmm_(phi.T, phi)
        moment.addmm_(phi.T, target[start : start + _CHUNK])
    solver = torch.linalg.cholesky(gram)
    weights = torch.cholesky_solve(moment, solver)
    out_of_fold = torch.empty_like(target)
    for rows, sizes in _whole_groups(groups):
        phi = features(points[rows])
        out_of_fold[rows] = leave_group_out(phi, solver, phi @ weights, target[rows], sizes)
    head = KernelHead(points.shape[1], count, y.shape[1])
    head.anchors = features.anchors
    head.coefficients = torch.linalg.solve_triangular(features.root.T, weights, upper=True).float()
    return head, out_of_fold.float()


def leave_group_out(phi: Tensor, solver: Tensor, fit: Tensor, y: Tensor, sizes: Ints) -> Tensor:
    """Return the prediction of every row by the fit on all other groups.

    Args:
        phi: features ``[N, A]`` of whole groups, one group after the other.
        solver: the Cholesky factor of ΦᵀΦ + λI over all rows.
        fit: predictions ``[N, M]`` by the fit on all rows.
        y: what was fitted, ``[N, M]``.
        sizes: rows of each group.
    """
    half = torch.linalg.solve_triangular(solver, phi.T, upper=False)
    missed = y - fit
    found: Tensor = y - missed / (1.0 - half.square().sum(dim=0))[:, None]
    ends = np.cumsum(sizes)
    for end, size in zip(ends[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        rows = slice(end - size, end)
        kept = torch.eye(size, dtype=y.dtype) - half[:, rows].T @ half[:, rows]
        found[rows] = y[rows] - torch.linalg.solve(kept, missed[rows])
    return found


@dataclass(frozen=True, slots=True)
class _Features:
    """The anchors' features Φ of any points."""

    anchors: Tensor
    root: Tensor

    @classmethod
    def of(cls, anchors: Tensor) -> _Features:
        kernel = similarity(anchors.double(), anchors.double())
        kernel.diagonal().add_(_JITTER)
        return cls(anchors, torch.linalg.cholesky((kernel + kernel.T) / 2))

    def __call__(self, points: Tensor) -> Tensor:
        kernel = similarity(points.double(), self.anchors.double())
        phi: Tensor = torch.linalg.solve_triangular(self.root, kernel.T, upper=False).T
        return phi


def _whole_groups(groups: Ints) -> Iterator[tuple[Tensor, Ints]]:
    """Yield row numbers, whole groups at a time and about ``_CHUNK`` rows, with the groups' sizes."""
    order = np.argsort(groups, kind="stable")
    _, sizes = np.unique(groups, return_counts=True)
    chunk = (np.cumsum(sizes) - 1) // _CHUNK
    for number in np.unique(chunk):
        inside = chunk == number
        start = int(sizes[chunk < number].sum())
        yield torch.from_numpy(order[start : start + int(sizes[inside].sum())]), sizes[inside]
