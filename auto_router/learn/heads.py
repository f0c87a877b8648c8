"""The kernel part of a stack: prompts that look alike are right or wrong alike."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from auto_router.learn.graph import Graph

BLUNT = 1e-3  # at an anchor exp(-d) has an edge, where a rounding error of the squared distance would count a thousandfold


class KernelHead(nn.Module):
    """A weighted sum of similarities to stored prompts (*anchors*): points ``[B, K]`` → ``[B, M]``."""

    anchors: Tensor
    coefficients: Tensor

    def __init__(self, dim: int, n_anchors: int, n_models: int) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.zeros(n_anchors, dim))
        self.register_buffer("coefficients", torch.zeros(n_anchors, n_models))

    def forward(self, points: Tensor) -> Tensor:
        return similarity(points.double(), self.anchors.double()).to(points.dtype) @ self.coefficients

    def add_to(self, graph: Graph, points: str, others: str) -> str:
        """Add the head's share to that of ``others``, ``[B, M]``; ``points`` have a last column of ones."""
        anchors = self.anchors.double().cpu().numpy()
        # |z - a|² = |z|² - 2z·a + |a|², which rounding may leave below zero; the length of the points counts their one.
        lengths = (anchors * anchors).sum(axis=1) + BLUNT - 1.0
        onto = graph.constant(np.concatenate([-2.0 * anchors.T, lengths[None]]))
        own = graph.node("ReduceSumSquare", points, graph.constant([1], np.int64))
        squared = graph.node("Relu", graph.node("Gemm", points, onto, own))
        similar = graph.node("Exp", graph.node("Neg", graph.node("Sqrt", squared)))
        return graph.node("Gemm", similar, graph.constant(self.coefficients.cpu().numpy()), others)


def similarity(points: Tensor, anchors: Tensor) -> Tensor:
    """Return the exponential kernel exp(-√(d² + ``BLUNT``)), ``[N, A]``; d = 1 is the distance of two random prompts."""
    return torch.exp(-(torch.cdist(points, anchors).square() + BLUNT).sqrt())
