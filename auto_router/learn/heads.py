"""The parts of a stack: each maps its slice of the projected prompt to a share of the prediction, ``[B, K]`` → ``[B, M]``.

All numbers are buffers, set by :mod:`auto_router.learn.stack_fit` or by loading, with the stack's weights folded in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KernelHead(nn.Module):
    """Prompts that look alike are right or wrong alike: a weighted sum of similarities to stored prompts (*anchors*)."""

    anchors: Tensor
    anchor_norms: Tensor
    coefficients: Tensor

    def __init__(self, dim: int, n_anchors: int, n_models: int) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.zeros(n_anchors, dim))
        # Squared lengths: to sum them for every prompt would read all anchors twice.
        self.register_buffer("anchor_norms", torch.zeros(n_anchors))
        self.register_buffer("coefficients", torch.zeros(n_anchors, n_models))

    def forward(self, points: Tensor) -> Tensor:
        return similarity(squared_distances(points, self.anchors, self.anchor_norms)) @ self.coefficients


class TreesHead(nn.Module):
    """Decision trees as flat tables over all nodes. A leaf is its own child, so that every path may take ``depth`` steps."""

    feature: Tensor
    cut: Tensor
    onward: Tensor
    values: Tensor
    roots: Tensor

    def __init__(self, n_trees: int, n_nodes: int, depth: int, n_models: int) -> None:
        super().__init__()
        self.depth = depth
        self.register_buffer("feature", torch.zeros(n_nodes, dtype=torch.int64))
        self.register_buffer("cut", torch.full((n_nodes,), torch.inf))
        # Node n goes to onward[2n] where its feature is above the cut, else to onward[2n + 1].
        self.register_buffer("onward", torch.zeros(2 * n_nodes, dtype=torch.int64))
        self.register_buffer("values", torch.zeros(n_nodes, n_models))
        self.register_buffer("roots", torch.zeros(n_trees, dtype=torch.int64))

    def forward(self, points: Tensor) -> Tensor:
        node = self.roots.expand(len(points), -1)
        for _ in range(self.depth):
            below = points.gather(1, self.feature[node]) <= self.cut[node]
            node = self.onward[2 * node + below]
        return nn.functional.embedding_bag(node, self.values, mode="sum")


def similarity(distances: Tensor) -> Tensor:
    """Exponential kernel exp(-d) of squared distances; 1 is the distance of two random prompts."""
    return torch.exp(-distances.sqrt())


def squared_distances(a: Tensor, b: Tensor, b_norms: Tensor | None = None) -> Tensor:
    """Return ``[A, B]`` squared Euclidean distances of the rows; ``b_norms``: the squared lengths of ``b``, if known."""
    norms = b.square().sum(dim=1) if b_norms is None else b_norms
    return torch.addmm(norms, a, b.T, alpha=-2.0).add_(a.square().sum(dim=1, keepdim=True)).clamp_(min=0.0)
