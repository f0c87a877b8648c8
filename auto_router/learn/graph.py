"""What a decision computes, as a graph of operators that onnxruntime runs in one call.

One prompt is two dozen small operations, and NumPy and torch take longer to dispatch each than to compute it. The parts of a
router add themselves to a :class:`Graph`; :func:`served` makes it a function of input rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from auto_router.arrays import Floats
from auto_router.errors import ConfigError

_Places = npt.NDArray[np.intp] | slice
_Bound = tuple[Any, list[tuple[Floats, slice]], list[tuple[Floats, list[Floats]]], list[Floats]]

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
    _squared: dict[str, list[str]] = field(default_factory=dict)
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

    def split(self, name: str, widths: Sequence[int]) -> list[str]:
        """Take the columns of ``[N, .]`` apart; return the parts' names."""
        from onnx import helper

        if len(widths) == 1:
            return [name]
        names = [f"value {len(self._nodes)} part {number}" for number in range(len(widths))]
        self._nodes.append(helper.make_node("Split", [name, self.constant(widths, np.int64)], names, axis=1))
        return names

    def joined(self, names: Sequence[str]) -> str:
        """Put columns side by side."""
        return names[0] if len(names) == 1 else self.node("Concat", *names, axis=1)

    def clip(self, name: str, limit: Floats) -> str:
        """Keep each column of ``[N, W]`` between -limit and limit, ``[W]``."""
        if (limit == limit[0]).all():
            return self.node("Clip", name, self.constant(-limit[0]), self.constant(limit[0]))
        return self.node("Min", self.node("Max", name, self.constant(-limit)), self.constant(limit))

    def squared_length(self, names: Sequence[str]) -> str:
        """Return the name of Σ x² over some of the inputs, ``[N, 1]``. NumPy finds it on the way in, in less time."""
        name = f"squared length of {' and '.join(names)}"
        self._squared[name] = list(names)
        return name

    def rule(self, outputs: Sequence[str]) -> _Served:
        """Compile to a function from rows ``[N, D]``, or some of them, to one array ``[N, .]`` for each of ``outputs``."""
        import onnxruntime  # only when a router is opened or trained: importing the package must stay light
        from onnx import TensorProto, helper

        given, found = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None]) for name in names]
            for names in ([*self.inputs, *self._squared], outputs)
        )
        whole = helper.make_graph(self._nodes, "router", given, found, self._constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()]
        model = helper.make_model(whole, opset_imports=opsets, ir_version=8).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # so that a batch adds up as single prompts do
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return _Served(session, self.inputs, self._squared, list(outputs))


class _Served:
    """A graph as a function of input rows. Threads may call it at once."""

    def __init__(self, session: Any, blocks: dict[str, slice], squared: dict[str, list[str]], outputs: list[str]) -> None:
        self._session, self._blocks, self._squared, self._outputs = session, blocks, squared, outputs
        self._of_this_thread = threading.local()

    def __call__(self, rows: Floats, some: _Places = slice(None)) -> list[Floats]:
        if len(rows) == 1:
            return self._one(rows)
        given = {name: np.ascontiguousarray(rows[some, columns], dtype=np.float32) for name, columns in self._blocks.items()}
        for name, parts in self._squared.items():
            given[name] = _squared_length([given[part] for part in parts])
        found: list[Floats] = self._session.run(self._outputs, given)
        return found

    def _one(self, row: Floats) -> list[Floats]:
        """Run one row ``[1, D]`` in memory that the session knows: it takes a fifth to a third less time than new arrays."""
        binding, blocks, squared, found = self._bound()
        for values, columns in blocks:
            values[:] = row[:, columns]
        for length, parts in squared:
            length[:] = _squared_length(parts)
        self._session.run_with_iobinding(binding)
        return [values.copy() for values in found]

    def _bound(self) -> _Bound:
        bound: _Bound | None = getattr(self._of_this_thread, "bound", None)
        if bound is None:
            widths = {name: columns.stop - columns.start for name, columns in self._blocks.items()}
            widths |= dict.fromkeys(self._squared, 1)
            given = {name: np.zeros((1, width), dtype=np.float32) for name, width in widths.items()}
            found = [np.empty_like(values) for values in self._session.run(self._outputs, given)]
            binding = self._session.io_binding()
            for name, values in given.items():
                binding.bind_input(name, "cpu", 0, values.dtype, values.shape, values.ctypes.data)
            for name, values in zip(self._outputs, found, strict=True):
                binding.bind_output(name, "cpu", 0, values.dtype, values.shape, values.ctypes.data)
            blocks = [(given[name], columns) for name, columns in self._blocks.items()]
            squared = [(given[name], [given[part] for part in parts]) for name, parts in self._squared.items()]
            self._of_this_thread.bound = bound = binding, blocks, squared, found
        return bound


def _squared_length(parts: Sequence[Floats]) -> Floats:
    first, *others = [np.vecdot(part, part) for part in parts]
    whole: Floats = sum(others, first)
    return whole[:, None]


class Rule(Protocol):
    """A compiled graph."""

    def __call__(self, rows: Floats, image_counts: Sequence[int] | None = None) -> list[Floats]:
        """Return the graph's outputs, ``[N, .]`` each, for input rows ``[N, D]``.

        ``image_counts``: how many pictures each row has, where the caller knows; else the rows are looked at.
        """


def served(build: Callable[[Graph], Sequence[str]], layout: Layout) -> Rule:
    """Return the rule of the graph that ``build`` fills, and whose outputs it names.

    It is called with an empty graph; where rows may have pictures, with a second one that lacks the block ``image``: rows
    without a picture run that one, and pay nothing for zeros.
    """
    blocks = {name: columns for name, columns in layout.blocks.items() if columns.stop > columns.start}

    def made(inputs: dict[str, slice]) -> _Served:
        graph = Graph(inputs)
        return graph.rule(build(graph))

    whole = made(blocks)
    image = blocks.get("image", slice(0, 0))
    plain = made({name: columns for name, columns in blocks.items() if name != "image"}) if image.start > 0 else whole

    def rule(rows: Floats, image_counts: Sequence[int] | None = None) -> list[Floats]:
        pictured = np.vecdot(rows[:, image], rows[:, image]).tolist() if image_counts is None else image_counts
        some = any(pictured)
        if len(rows) <= _MOST and (not some or all(pictured)):
            return whole(rows) if some else plain(rows)
        has = np.array(pictured, dtype=bool)
        pieces = [
            (part, places[start : start + _MOST])
            for part, places in ((whole, np.flatnonzero(has)), (plain, np.flatnonzero(~has)))
            for start in range(0, len(places), _MOST)
        ]
        outputs: list[Floats] = []
        for part, places in pieces:
            found = part(rows, places)
            outputs = outputs or [np.empty((len(rows), *values.shape[1:]), values.dtype) for values in found]
            for output, values in zip(outputs, found, strict=True):
                output[places] = values
        return outputs

    return rule
