"""Fit the trees head: extremely randomised trees (Geurts, Ernst & Wehenkel 2006), kept as tensors.

The targets are the differences between the models and, as one column of its own, the row mean: with the labels themselves
most splits would go to how hard a prompt is and few to which model is better at it.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesRegressor

from auto_router.arrays import Floats, Ints
from auto_router.learn.trees import TreesHead
from auto_router.splits import group_folds

TREES = 24  # each split is the best of one random cut in every feature; as good as 100 that see 0.4 of the features
DEPTH = 10  # deeper ones measured no better, and each level costs a decision time
LEAF = 10
FOLDS = 4


def fit_trees(points: Floats, y: Floats, groups: Ints, seed: int) -> tuple[TreesHead, Floats]:
    """Fit to ``points`` [N, K] and deviations ``y`` [N, M]; return the head and its out-of-fold prediction of the rows."""
    level = y.mean(axis=1, keepdims=True)
    target = np.concatenate([y - level, level], axis=1)
    fold = group_folds(groups, FOLDS, seed)
    found = np.zeros_like(target)
    for number in np.unique(fold):
        inside, outside = fold != number, fold == number
        found[outside] = _grow(points[inside], target[inside], seed).predict(points[outside]).reshape(-1, target.shape[1])
    return _as_tables(_grow(points, target, seed)), _joined(found)


def _grow(points: Floats, target: Floats, seed: int) -> ExtraTreesRegressor:
    leaf = min(LEAF, max(len(points) // 8, 1))
    trees = ExtraTreesRegressor(TREES, max_depth=DEPTH, min_samples_leaf=leaf, n_jobs=os.cpu_count(), random_state=seed)
    return trees.fit(points, target)


def _as_tables(forest: ExtraTreesRegressor) -> TreesHead:
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
    depth = max(tree.max_depth for tree in trees)
    head = TreesHead(forest.n_features_in_, len(trees), len(own), depth, values.shape[1] - 1)
    head.feature = torch.from_numpy(np.where(leaf, 0, np.concatenate([tree.feature for tree in trees])))
    head.cut = torch.from_numpy(np.where(leaf, np.inf, np.concatenate([tree.threshold for tree in trees]))).float()
    head.onward = torch.from_numpy(np.stack([above, below], axis=1).reshape(-1))
    head.values = torch.from_numpy(_joined(values)).float()
    head.roots = torch.from_numpy(starts[:-1])
    return head


def _joined(target: Floats) -> Floats:
    """Return deviations ``[N, M]`` from differences and row means ``[N, M + 1]``."""
    differences = target[:, :-1]
    return np.asarray(differences - differences.mean(axis=1, keepdims=True) + target[:, -1:])
