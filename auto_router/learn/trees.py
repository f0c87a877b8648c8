"""The trees part of a stack: flat tables over all nodes, run by onnxruntime.

The tables are what an artifact holds. They are checked before they are used: a path that leads out of the table or never
ends would read foreign memory or hang. onnxruntime follows two dozen paths of ten steps in a few microseconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from auto_router.arrays import Ints
from auto_router.errors import ConfigError
from auto_router.learn.graph import TREES, Graph, Layout, served

MOST_DEPTH = 64


class TreesHead(nn.Module):
    """Decision trees ``[B, K]`` → ``[B, M]``: the sum of the values of the leaves that a point comes to."""

    feature: Tensor
    cut: Tensor
    onward: Tensor
    values: Tensor
    roots: Tensor

    def __init__(self, dim: int, n_trees: int, n_nodes: int, depth: int, n_models: int) -> None:
        super().__init__()
        self.dim, self.depth = dim, depth
        self.register_buffer("feature", torch.zeros(n_nodes, dtype=torch.int64))
        self.register_buffer("cut", torch.full((n_nodes,), torch.inf))
        # Node n goes to onward[2n] where its feature is above the cut, else to onward[2n + 1]; a leaf is its own child.
        self.register_buffer("onward", torch.zeros(2 * n_nodes, dtype=torch.int64))
        self.register_buffer("values", torch.zeros(n_nodes, n_models))
        self.register_buffer("roots", torch.zeros(n_trees, dtype=torch.int64))

    def check(self) -> None:
        """Raise ConfigError unless the tables are trees: every node has one parent or is a root, and every path ends."""
        feature, onward, roots = (tensor.cpu().numpy() for tensor in (self.feature, self.onward, self.roots))
        nodes, tree = np.arange(len(feature)), self._tree_of_node()
        if not len(nodes) or not len(roots) or not 0 <= self.depth <= MOST_DEPTH:
            raise ConfigError(f"{len(roots)} trees of {len(nodes)} nodes and depth {self.depth} are not possible")
        if not ((feature >= 0) & (feature < max(self.dim, 1))).all() or not ((onward >= 0) & (onward < len(nodes))).all():
            raise ConfigError(f"trees lead out of their {len(nodes)} nodes or {self.dim} features")
        above, below = onward[0::2], onward[1::2]
        inner = ~self._leaf()
        children = np.concatenate([above[inner], below[inner]])
        one_way_each = np.array_equal(np.sort(np.concatenate([roots, children])), nodes)
        if not one_way_each or not np.array_equal(tree[children], np.concatenate([tree[inner], tree[inner]])):
            raise ConfigError("trees are damaged: some node has not exactly one way to it, or it is of another tree")
        level, found = roots, len(roots)
        for _ in range(self.depth):
            level = level[inner[level]]
            level = np.concatenate([above[level], below[level]])
            found += len(level)
        # With one way to each node, those that are not found by now are deeper than they may be, or form a ring.
        if found != len(nodes):
            raise ConfigError(f"trees are damaged: a path is longer than {self.depth} steps or leads in a ring")
        if not np.isfinite(self.cut.cpu().numpy()[inner]).all() or not torch.isfinite(self.values).all():
            raise ConfigError("trees hold cuts or values that are not finite")

    def forward(self, points: Tensor) -> Tensor:
        base = torch.zeros(self.values.shape[1])
        rule = served(lambda graph: [self.add_to(graph, next(iter(graph.inputs)), base)], Layout(self.dim))
        return torch.from_numpy(rule(points.detach().cpu().numpy())[0]).to(points.device)

    def add_to(self, graph: Graph, points: str, base: Tensor) -> str:
        """Add ``base`` [M] + the sum of the leaves that the points come to. Raises ConfigError as :meth:`check` does."""
        self.check()
        return graph.node("TreeEnsembleRegressor", points, domain=TREES, ready=self._attributes(), base_values=base.tolist())

    def _leaf(self) -> npt.NDArray[np.bool_]:
        onward = self.onward.cpu().numpy().reshape(-1, 2)
        return np.asarray((onward == np.arange(len(onward))[:, None]).all(axis=1))

    def _tree_of_node(self) -> Ints:
        return np.searchsorted(self.roots.cpu().numpy(), np.arange(len(self.feature)), side="right") - 1

    def _attributes(self) -> list[Any]:
        """Return the tables as the operator's attributes; nodes are numbered within their tree."""
        from onnx import AttributeProto

        onward, leaf, tree = self.onward.cpu().numpy().reshape(-1, 2), self._leaf(), self._tree_of_node()
        starts, leaves = self.roots.cpu().numpy()[tree], np.flatnonzero(leaf)
        models = self.values.shape[1]
        number = np.arange(len(leaf)) - starts
        whole: dict[str, Ints] = {
            "nodes_treeids": tree,
            "nodes_nodeids": number,
            "nodes_featureids": self.feature.cpu().numpy(),
            "nodes_truenodeids": np.where(leaf, 0, onward[:, 1] - starts),
            "nodes_falsenodeids": np.where(leaf, 0, onward[:, 0] - starts),
            "target_treeids": np.repeat(tree[leaves], models),
            "target_nodeids": np.repeat(number[leaves], models),
            "target_ids": np.tile(np.arange(models), len(leaves)),
        }
        real = {
            "nodes_values": np.where(leaf, 0.0, self.cut.cpu().numpy()),
            "target_weights": self.values.cpu().numpy()[leaves].ravel(),
        }
        modes = np.where(leaf, b"LEAF", b"BRANCH_LEQ").tolist()
        # Filled directly: the library's helper looks at every number on its own, which takes longer than the rest of opening.
        found = [AttributeProto(name="nodes_modes", type=AttributeProto.STRINGS, strings=modes)]
        found += [AttributeProto(name=name, type=AttributeProto.INTS, ints=values.tolist()) for name, values in whole.items()]
        found += [AttributeProto(name=name, type=AttributeProto.FLOATS, floats=some.tolist()) for name, some in real.items()]
        return [*found, AttributeProto(name="n_targets", type=AttributeProto.INT, i=models)]
