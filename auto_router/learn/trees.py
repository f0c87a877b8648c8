"""The trees part of a stack: flat tables over all nodes, run by onnxruntime.

The tables are what an artifact holds. They are checked before they are used: a path that leads out of the table or never
ends would read foreign memory or hang. onnxruntime follows a hundred paths of ten steps in ten microseconds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from auto_router.errors import ConfigError
from auto_router.learn.heads import ArrayModule, Floats, Rule

Ints = npt.NDArray[np.int64]

MOST_DEPTH = 64


class TreesHead(ArrayModule):
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

    def compiled(self) -> Rule:
        import onnxruntime  # only when a router is opened or trained: importing the package must stay light

        self.check()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # so that a batch adds up as single prompts do
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(self._onnx(), options, providers=["CPUExecutionProvider"])

        def share(points: Floats) -> Floats:
            found: Floats = session.run(None, {"points": np.ascontiguousarray(points, dtype=np.float32)})[0]
            return found

        return share

    def _leaf(self) -> npt.NDArray[np.bool_]:
        onward = self.onward.cpu().numpy().reshape(-1, 2)
        return np.asarray((onward == np.arange(len(onward))[:, None]).all(axis=1))

    def _tree_of_node(self) -> Ints:
        return np.searchsorted(self.roots.cpu().numpy(), np.arange(len(self.feature)), side="right") - 1

    def _onnx(self) -> bytes:
        """Return the tables as a model of one operator; nodes are numbered within their tree."""
        from onnx import AttributeProto, ModelProto, TensorProto, helper

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
            "n_targets": np.array(models),
        }
        real = {
            "nodes_values": np.where(leaf, 0.0, self.cut.cpu().numpy()),
            "target_weights": self.values.cpu().numpy()[leaves].ravel(),
        }
        node = helper.make_node("TreeEnsembleRegressor", ["points"], ["share"], domain="ai.onnx.ml")
        modes = np.where(leaf, b"LEAF", b"BRANCH_LEQ").tolist()
        # Filled directly: the helper looks at every number on its own, which takes longer than all the rest of opening.
        node.attribute.append(AttributeProto(name="nodes_modes", type=AttributeProto.STRINGS, strings=modes))
        for name, ints in whole.items():
            single = (
                {"i": int(ints), "type": AttributeProto.INT}
                if not ints.ndim
                else {"ints": ints.tolist(), "type": AttributeProto.INTS}
            )
            node.attribute.append(AttributeProto(name=name, **single))
        for name, floats in real.items():
            node.attribute.append(AttributeProto(name=name, type=AttributeProto.FLOATS, floats=floats.tolist()))
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])
            for name, width in (("points", self.dim), ("share", models))
        ]
        graph = helper.make_graph([node], "trees", ends[:1], ends[1:])
        opsets = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 17)]
        model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return bytes(model.SerializeToString())
