"""Fit the default network: its heads, and from their out-of-fold predictions how much each counts.

A label is taken apart as mean of its model + s · *level* of its row + *difference*: the level says how hard the prompt is for
all models, s how strongly this model feels it (0 for one that is always right), the difference which model is better here.
The heads are weighted by non-negative least squares, once for the differences and once for the level, on predictions that
no row's own group took part in. Each head shrinks towards the models' means, so where nothing can be told the router keeps
to the best single model.

*Views.* Each block of an input row is centred and scaled so that two random training rows lie one apart in it (mean squared
distance 1); prompt features are standardised and clipped first. A view weighs the blocks and keeps its principal components.

*Kernels* are ridge regressions in the space that the anchors span. With anchors Z, the features Φ = K(X, Z)·L⁻ᵀ
(K(Z, Z) = L·Lᵀ) turn kernel ridge into ordinary ridge with as many columns as anchors (Nyström; Williams & Seeger 2001): time
grows with the rows, not with their cube. With H = Φ(ΦᵀΦ + λI)⁻¹Φᵀ the fit on all other groups misses group g by
(I - H_gg)⁻¹ · (y_g - ŷ_g): every row is predicted without its own group at the price of one fit.

*Trees* are extremely randomised (Geurts, Ernst & Wehenkel 2006). Their targets are the differences between the models and, as
one column of its own, the row mean: with the labels themselves most splits would go to how hard a prompt is and few to which
model is better at it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import nnls
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.utils.extmath import randomized_svd

from auto_router.arrays import Array, Floats, Ints
from auto_router.data.dataset import draw_rows
from auto_router.data.label_stats import model_means
from auto_router.data.splits import group_folds
from auto_router.errors import DataError
from auto_router.learn.neighbourhood_fit import fit_neighbourhoods
from auto_router.learn.stack import FeatureLayout, Kernel, Projection, StackNetwork, Trees, similarity

CLIP = 4.0  # standard deviations that a prompt feature may lie from its mean
ANCHORS = 512
RIDGE = 3.0
_JITTER = 1e-3  # anchors that are alike would make K(Z, Z) singular; far below the ridge
_CHUNK = 4096  # rows whose features are held at once


@dataclass(frozen=True, slots=True)
class View:
    """What one head sees: how much each block counts, and how many principal components are kept."""

    weights: Mapping[str, float]
    components: int
    with_prompt: bool = False
    """Are the standardised prompt features put behind the components, one column each?"""


def fit_projection(rows: Array, layout: FeatureLayout, views: Sequence[View]) -> tuple[Projection, list[int]]:
    """Fit to training rows; return the projection and the number of columns of each view, in their order.

    Directions without variance are dropped, so a view may have fewer columns than ``components``.
    """
    prompt, table = layout.blocks["prompt"], torch.from_numpy(rows)
    spread = table[:, prompt].std(dim=0, correction=0).numpy()
    scale, limit = np.ones(layout.dim, dtype=np.float32), np.full(layout.dim, np.inf, dtype=np.float32)
    scale[prompt] = np.where(spread > 1e-4, 1.0 / np.maximum(spread, 1e-4), 0.0)
    limit[prompt] = CLIP
    projection = Projection(table.mean(dim=0).numpy(), scale, limit, np.empty((layout.dim, 0), dtype=np.float32))
    standardized = projection.standardize(rows)
    bases = [_basis(standardized, layout, view) for view in views]
    return replace(projection, basis=np.concatenate(bases, axis=1)), [basis.shape[1] for basis in bases]


def _basis(standardized: Array, layout: FeatureLayout, view: View) -> Array:
    """Return ``[D, K]``: the weighted blocks' principal directions, and the prompt features' columns where they belong."""
    weight = np.zeros(layout.dim, dtype=np.float32)
    for name, block in layout.blocks.items():
        distance = _mean_squared_distance(standardized[:, block])
        weight[block] = (view.weights[name] / distance) ** 0.5 if distance > 1e-9 else 0.0
    weight /= max(_mean_squared_distance(standardized * weight), 1e-9) ** 0.5
    weighted = standardized * weight
    _, values, directions = randomized_svd(weighted, min(view.components, *weighted.shape), random_state=0)
    count = max(int((values > 1e-3 * values[0]).sum()), 1)
    basis = np.asarray(weight[:, None] * directions[:count].T, dtype=np.float32)
    if not view.with_prompt:
        return basis
    return np.concatenate([basis, np.eye(layout.dim, dtype=np.float32)[:, layout.blocks["prompt"]]], axis=1)


def _mean_squared_distance(centred: Array) -> float:
    """Return the mean squared distance of two random rows of centred values."""
    return 2.0 * torch.from_numpy(centred).square().sum(dim=1).mean().item() if centred.shape[1] else 0.0


def draw_anchors(points: Array, rng: np.random.Generator) -> Array:
    """Return up to ``ANCHORS`` of the rows."""
    return points[np.sort(rng.permutation(len(points))[:ANCHORS])]


def fit_kernel(points: Array, y: Floats, groups: Ints, anchors: Array) -> tuple[Kernel, Array]:
    """Fit to ``points`` [N, K] and deviations ``y`` [N, M]; return the kernel and its out-of-fold prediction of the rows."""
    features, target = _Features.of(anchors), y.astype(np.float64)
    count = len(anchors)
    gram, moment = np.eye(count) * RIDGE, np.zeros((count, y.shape[1]))
    for start in range(0, len(points), _CHUNK):
        phi = features(points[start : start + _CHUNK])
        gram += phi.T @ phi
        moment += phi.T @ target[start : start + _CHUNK]
    solver = np.linalg.cholesky(gram)
    weights = cho_solve((solver, True), moment)
    out_of_fold = np.empty_like(target)
    for rows, sizes in _whole_groups(groups):
        phi = features(points[rows])
        out_of_fold[rows] = leave_group_out(phi, solver, phi @ weights, target[rows], sizes)
    coefficients = solve_triangular(features.root.T, weights, lower=False)
    return Kernel(anchors, coefficients.astype(np.float32)), out_of_fold.astype(np.float32)


def leave_group_out(phi: Floats, solver: Floats, fit: Floats, y: Floats, sizes: Ints) -> Floats:
    """Return the prediction of every row by the fit on all other groups.

    Args:
        phi: features ``[N, A]`` of whole groups, one group after the other.
        solver: the Cholesky factor of ΦᵀΦ + λI over all rows.
        fit: predictions ``[N, M]`` by the fit on all rows.
        y: what was fitted, ``[N, M]``.
        sizes: rows of each group.
    """
    half = solve_triangular(solver, phi.T, lower=True)
    missed = y - fit
    found: Floats = y - missed / (1.0 - np.square(half).sum(axis=0))[:, None]
    ends = np.cumsum(sizes)
    for end, size in zip(ends[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        rows = slice(end - size, end)
        found[rows] = y[rows] - np.linalg.solve(np.eye(size) - half[:, rows].T @ half[:, rows], missed[rows])
    return found


@dataclass(frozen=True, slots=True)
class _Features:
    """The anchors' features Φ of any points, float64."""

    anchors: npt.NDArray[np.float64]
    root: Floats

    @classmethod
    def of(cls, anchors: Array) -> _Features:
        exact = anchors.astype(np.float64)
        kernel = similarity(exact, exact)
        return cls(exact, np.linalg.cholesky((kernel + kernel.T) / 2 + _JITTER * np.eye(len(exact))))

    def __call__(self, points: Array) -> Floats:
        kernel = similarity(points.astype(np.float64), self.anchors)
        return np.asarray(solve_triangular(self.root, kernel.T, lower=True).T)


def _whole_groups(groups: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield row numbers, whole groups at a time and about ``_CHUNK`` rows, with the groups' sizes."""
    order = np.argsort(groups, kind="stable")
    _, sizes = np.unique(groups, return_counts=True)
    chunk = (np.cumsum(sizes) - 1) // _CHUNK
    for number in np.unique(chunk):
        inside = chunk == number
        start = int(sizes[chunk < number].sum())
        yield order[start : start + int(sizes[inside].sum())], sizes[inside]


N_TREES = 24  # each split is the best of one random cut in every feature; as good as 100 that see 0.4 of the features
DEPTH = 10  # deeper ones measured no better, and each level costs a decision time
LEAF = 10
TREE_FOLDS = 4


def fit_trees(points: Floats, y: Floats, groups: Ints, seed: int) -> tuple[Trees, Floats]:
    """Fit to ``points`` [N, K] and deviations ``y`` [N, M]; return the trees and its out-of-fold prediction of the rows."""
    level = y.mean(axis=1, keepdims=True)
    target = np.concatenate([y - level, level], axis=1)
    fold = group_folds(groups, TREE_FOLDS, seed)
    found = np.zeros_like(target)
    for number in np.unique(fold):
        inside, outside = fold != number, fold == number
        found[outside] = _grow(points[inside], target[inside], seed).predict(points[outside]).reshape(-1, target.shape[1])
    return _as_tables(_grow(points, target, seed)), _as_deviations(found)


def _grow(points: Floats, target: Floats, seed: int) -> ExtraTreesRegressor:
    leaf = min(LEAF, max(len(points) // 8, 1))
    trees = ExtraTreesRegressor(N_TREES, max_depth=DEPTH, min_samples_leaf=leaf, n_jobs=os.cpu_count(), random_state=seed)
    return trees.fit(points, target)


def _as_tables(forest: ExtraTreesRegressor) -> Trees:
    """Put all trees' nodes into one table; a leaf becomes its own child."""
    trees = [tree.tree_ for tree in forest.estimators_]
    starts = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])])
    leaf = np.concatenate([tree.children_left < 0 for tree in trees])
    own = np.arange(starts[-1])
    above, below = (
        np.where(leaf, own, np.concatenate([getattr(tree, side) + start for tree, start in zip(trees, starts, strict=False)]))
        for side in ("children_right", "children_left")
    )
    values = np.concatenate([tree.value[:, :, 0] for tree in trees]) / len(trees)
    return Trees(
        feature=np.where(leaf, 0, np.concatenate([tree.feature for tree in trees])),
        cut=np.where(leaf, np.inf, np.concatenate([tree.threshold for tree in trees])).astype(np.float32),
        onward=np.stack([above, below], axis=1).reshape(-1),
        values=_as_deviations(values).astype(np.float32),
        roots=starts[:-1],
        dim=forest.n_features_in_,
        depth=max(tree.max_depth for tree in trees),
    )


def _as_deviations(target: Floats) -> Floats:
    """Return deviations ``[N, M]`` from differences and row means ``[N, M + 1]``."""
    differences = target[:, :-1]
    return np.asarray(differences - differences.mean(axis=1, keepdims=True) + target[:, -1:])


KERNEL_VIEWS = {
    "kernel of surface": View({"text": 0.0, "image": 0.0, "prompt": 1.0}, components=32),
    "kernel of meaning": View({"text": 1.0, "image": 1.0, "prompt": 0.0}, components=64),
}
TREES_VIEW = View({"text": 1.0, "image": 1.0, "prompt": 0.0}, components=24, with_prompt=True)
HEAD_NAMES = (*KERNEL_VIEWS, "trees")
MAX_ROWS = 50_000  # beyond this a random part of the rows stands for all of them
STACK_RIDGE = 0.1
PRIOR_ROWS = 300  # the plain average of the heads counts as much: measured best of 0 to 600 at 100 and 300 rows


@dataclass(frozen=True, slots=True)
class FittedStack:
    """The network, and its out-of-fold predictions of the rows it was fitted on (each made without its own group)."""

    network: StackNetwork
    rows: Ints
    """Numbers of the training rows that were used: all of them up to ``MAX_ROWS``."""
    out_of_fold: Array
    heads: list[dict[str, Any]]
    """Each head's name and the weights that the stack gave it, in plain values."""


def fit_stack(rows: Array, labels: Array, groups: Ints, layout: FeatureLayout, seed: int = 0) -> FittedStack:
    """Fit to ``rows`` [N, D] and ``labels`` [N, M] (0…1, NaN = unknown); of more than ``MAX_ROWS``, ``seed`` draws a part.

    Raises:
        DataError: fewer than two rows or groups, a row with a value that is not finite, or a model without any known label.
    """
    rng = np.random.default_rng(seed)
    used = draw_rows(len(rows), MAX_ROWS, rng)
    if len(used) < len(rows):
        rows, labels, groups = rows[used], labels[used], groups[used]
    groups = np.unique(groups, return_inverse=True)[1]
    _check(rows, labels, groups)
    mean, y = _deviations(labels)
    projection, widths = fit_projection(rows, layout, [*KERNEL_VIEWS.values(), TREES_VIEW])
    projected = projection(rows)
    *views, trees_view = np.split(projected, np.cumsum(widths)[:-1], axis=1)
    fits = [fit_kernel(np.ascontiguousarray(points), y, groups, draw_anchors(points, rng)) for points in views]
    trees, trees_out = fit_trees(trees_view, y, groups, seed)
    out_of_fold, shares = [*(out for _, out in fits), trees_out], _Shares.of(y)
    weights = shares.weigh(out_of_fold, y)
    # The heads are linear in these numbers, so their weights can be folded in.
    kernels = tuple(
        replace(kernel, coefficients=shares.apply(kernel.coefficients, *weight))
        for (kernel, _), weight in zip(fits, weights, strict=False)
    )
    trees = replace(trees, values=shares.apply(trees.values, *weights[-1]))
    total = np.sum([shares.apply(out, *weight) for out, weight in zip(out_of_fold, weights, strict=True)], axis=0)
    neighbourhoods, pulled = fit_neighbourhoods(projected[:, : -widths[-1]], total, y, groups, seed)
    heads = [_describe(*both) for both in zip(HEAD_NAMES, weights, strict=True)]
    network = StackNetwork(mean, projection, kernels, trees, neighbourhoods)
    return FittedStack(network, used, (mean + pulled).clip(0, 1).astype(np.float32), heads)


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
        prior = PRIOR_ROWS / len(y)
        difference = non_negative([self.apply(p, 1, 0).ravel() for p in predictions], self.apply(y, 1, 0).ravel(), prior)
        level = non_negative([p.mean(axis=1) for p in predictions], y.mean(axis=1), prior)
        return list(zip(difference, level, strict=True))


def non_negative(columns: list[Array], target: Array, prior: float = 0.0) -> list[float]:
    """Return a weight from 0 for each column: least squares, with a ridge that spreads it over columns that say the same.

    ``prior``: how much the columns' plain average counts, as a share of the rows; few rows alone would weigh by chance.
    """
    a, b = np.stack(columns).astype(np.float64), target.astype(np.float64)
    gram = a @ a.T
    strength = np.trace(gram) / len(gram)
    if strength <= 1e-12:
        return [0.0] * len(columns)
    own = prior * np.diag(gram)
    root = np.linalg.cholesky(gram + np.diag(STACK_RIDGE * strength / len(gram) + own))
    return [float(weight) for weight in nnls(root.T, np.linalg.solve(root, a @ b + own / len(gram)))[0]]


def _deviations(labels: Array) -> tuple[Array, Array]:
    """Return the models' shrunk means, and the labels' deviations from their means on common rows.

    An unknown label is filled with how hard the row was for its known models, as strongly as this model feels that: it
    tells nothing of which model is better here.
    """
    known = ~np.isnan(labels)
    means = model_means(labels)
    deviation = np.where(known, labels - means.adjusted, 0)
    level = deviation.sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    slope = (deviation * level).sum(axis=0) / np.maximum((known * np.square(level)).sum(axis=0), 1e-9)
    return means.shrunk.astype(np.float32), np.where(known, deviation, slope * level).astype(np.float32)


def _check(rows: Array, labels: Array, groups: Ints) -> None:
    count = len(np.unique(groups))
    if count < 2:
        raise DataError(
            f"{len(rows)} training rows form {count} group(s); at least 2 are needed: add records or check their 'group' field"
        )
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(broken):
        raise DataError(f"training row {broken[0]} (and {len(broken) - 1} more) is not finite; encode the records again")
    empty = np.flatnonzero(np.isnan(labels).all(axis=0)).tolist()
    if empty:
        raise DataError(f"models at positions {empty} have no known label; collect some or leave them out")


def _describe(head: str, weights: tuple[float, float]) -> dict[str, Any]:
    return {"head": head, "weight for differences": round(weights[0], 3), "weight for difficulty": round(weights[1], 3)}
