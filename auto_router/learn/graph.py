"""What a decision computes, as a graph of operators that onnxruntime runs in one call.

One prompt is two dozen small operations, and NumPy and torch take longer to dispatch each than to compute it. The parts of a
router add themselves to a :class:`Graph`; :func:`served` makes it a function of input rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from auto_router.errors import ConfigError

Floats = npt.NDArray[np.floating[Any]]
Rule = Callable[[Floats], list[Floats]]
_Places = npt.NDArray[np.intp] | slice
_Part = Callable[..., list[Floats]]

TREES = "ai.onnx.ml"
_OPSETS = {"": 18, TREES: 3}
_MOST = 512  # rows at once: what is computed on the way stays in the processor's cache


@dataclass(frozen=True, slots=True)
class Layout:
    """Widths of the three blocks of an input row. A row without a picture has zeros in all columns of ``image``."""

    text_dim: int
    image_dim: int = 0
    surface_dim: int = 0

    def __post_init__(self) -> None:
        widths = (self.text_dim, self.image_dim, self.surface_dim)
        if any(not isinstance(width, int) or width < 0 for width in widths):
            raise ConfigError(f"an input row has blocks of 0 columns or more, got {widths}")

    @property
    def dim(self) -> int:
        return self.text_dim + self.image_dim + self.surface_dim

    @property
    def blocks(self) -> dict[str, slice]:
        """Columns of ``text``, ``image`` and ``surface``."""
        image, surface = self.text_dim, self.text_dim + self.image_dim
        return {"text": slice(0, image), "image": slice(image, surface), "surface": slice(surface, self.dim)}


@dataclass(slots=True)
class Graph:
    """Operators in the order in which they run. A method that adds some returns the name of what they give."""

    inputs: dict[str, slice]
    """Blocks of the input row that it is fed: name and columns."""
    _nodes: list[Any] = field(default_factory=list)
    _constants: list[Any] = field(default_factory=list)

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        from onnx import numpy_helper

        name = f"constant {len(self._constants)}"
        with np.errstate(over="ignore"):  # damaged numbers; who opens an artifact sees what comes of them
            self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=dtype), name))
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", ready: Sequence[Any] = (), **attributes: Any) -> str:
        """Add one operator. ``ready``: attributes beside ``attributes`` that are protocol buffers already."""
        from onnx import helper

        name = f"value {len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        self._nodes[-1].attribute.extend(ready)
        return name

    def squared_length(self, name: str) -> str:
        """Add Σ x² of each row, ``[N, 1]``."""
        return self.node("ReduceSumSquare", name, self.constant([1], np.int64))

    def rule(self, outputs: Sequence[str]) -> _Part:
        """Return the function from rows ``[N, D]``, or some of them, to one array ``[N, .]`` for each of ``outputs``."""
        import onnxruntime  # only when a router is opened or trained: importing the package must stay light
        from onnx import TensorProto, helper

        given, found = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None]) for name in names]
            for names in (self.inputs, outputs)
        )
        whole = helper.make_graph(self._nodes, "router", given, found, self._constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()]
        model = helper.make_model(whole, opset_imports=opsets, ir_version=8).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # so that a batch adds up as single prompts do
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_prepacking", "1")  # packed, a matrix is slower for one row
        session, names = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]), list(outputs)
        blocks = list(self.inputs.items())

        def run(rows: Floats, some: _Places = slice(None)) -> list[Floats]:
            given = {name: np.ascontiguousarray(rows[some, columns], dtype=np.float32) for name, columns in blocks}
            found: list[Floats] = session.run(names, given)
            return found

        return run


@dataclass(frozen=True, slots=True)
class Affine:
    """Σ source · factors + offset: a linear map of named values of a graph, before it is added to it."""

    sources: list[tuple[str, Floats]]
    """Names of values ``[N, W]``, and float64 factors ``[W, K]``."""
    offset: Floats
    """``[K]``."""

    def __getitem__(self, columns: slice) -> Affine:
        """Return some columns of it, without the sources that do not lead to them."""
        some = [(name, factors[:, columns]) for name, factors in self.sources]
        return Affine([both for both in some if both[1].any()] or some[:1], self.offset[columns])

    def add_to(self, graph: Graph) -> str:
        """Add it; each run of columns is made of those sources only that lead there."""
        led_to = [tuple(bool(factors[:, column].any()) for _, factors in self.sources) for column in range(len(self.offset))]
        starts = [i for i in range(len(led_to)) if i == 0 or led_to[i] != led_to[i - 1]]
        parts = []
        for start, stop in zip(starts, [*starts[1:], len(led_to)], strict=True):
            part = self[start:stop]
            found = graph.constant(part.offset)
            for name, factors in part.sources:
                found = graph.node("Gemm", name, graph.constant(factors), found)
            parts.append(found)
        return parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)

    def then(self, graph: Graph, value: str, factors: Floats, offset: Floats) -> str:
        """Add its ``value`` · factors + offset; where the sources are narrower than the value, directly from them."""
        narrow = sum(len(own) for _, own in self.sources) < len(factors)
        direct = Affine([(name, own @ factors) for name, own in self.sources], self.offset @ factors + offset)
        return (direct if narrow else Affine([(value, factors)], offset)).add_to(graph)


def served(build: Callable[[Graph], Sequence[str]], layout: Layout) -> Rule:
    """Return the rule of the graph that ``build`` fills, and whose outputs it names.

    It is called with an empty graph; where rows may have pictures, with a second one that lacks the block ``image``: rows
    without a picture run that one, and pay nothing for zeros.
    """
    blocks = {name: columns for name, columns in layout.blocks.items() if columns.stop > columns.start}

    def made(inputs: dict[str, slice]) -> _Part:
        graph = Graph(inputs)
        return graph.rule(build(graph))

    whole = made(blocks)
    if "image" not in blocks or len(blocks) == 1:
        return lambda rows: _in_chunks(whole, rows)
    image = blocks["image"]
    plain = made({name: columns for name, columns in blocks.items() if name != "image"})

    def either(rows: Floats) -> list[Floats]:
        lengths = np.vecdot(rows[:, image], rows[:, image])
        count = np.count_nonzero(lengths)
        if count in (0, len(rows)):
            return whole(rows) if count else plain(rows)
        pictured, others = np.flatnonzero(lengths), np.flatnonzero(lengths == 0)
        back = np.argsort(np.concatenate([pictured, others]))
        return [np.concatenate(both)[back] for both in zip(whole(rows, pictured), plain(rows, others), strict=True)]

    return lambda rows: _in_chunks(either, rows)


def _in_chunks(rule: Rule, rows: Floats) -> list[Floats]:
    if len(rows) <= _MOST:
        return rule(rows)
    parts = [rule(rows[start : start + _MOST]) for start in range(0, len(rows), _MOST)]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
