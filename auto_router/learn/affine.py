"""Linear maps of a graph's inputs, which the parts of a router are computed on, and how they share their products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from auto_router.arrays import Floats
from auto_router.learn.graph import Graph


@dataclass(frozen=True, slots=True)
class Affine:
    """Σ source · factors + offset: a linear map of named values of a graph, before it is added to it."""

    sources: dict[str, Floats]
    """Names of values ``[N, W]``, and float64 factors ``[W, K]``."""
    offset: Floats
    """``[K]``."""

    def __getitem__(self, columns: slice) -> Affine:
        return Affine({name: factors[:, columns] for name, factors in self.sources.items()}, self.offset[columns])

    def with_one(self) -> Affine:
        """Return it with one more column, which is 1 in every row: the next product's offset can then be its last factor."""
        wider = {name: np.pad(factors, ((0, 0), (0, 1))) for name, factors in self.sources.items()}
        return Affine(wider, np.append(self.offset, 1.0))

    def runs(self) -> list[tuple[tuple[str, ...], Affine]]:
        """Take it apart into runs of columns to which the same sources lead, with these; a constant column joins a run."""
        leads = {name: np.any(factors, axis=0).tolist() for name, factors in self.sources.items()}
        keys: list[tuple[str, ...]] = []
        for i in range(len(self.offset)):
            keys.append(tuple(name for name in leads if leads[name][i]) or (keys[-1] if keys else tuple(leads)))
        starts = [i for i in range(len(keys)) if i == 0 or keys[i] != keys[i - 1]]
        ends = [*starts[1:], len(keys)]
        return [(keys[start], self[start:end]) for start, end in zip(starts, ends, strict=True)]

    def unchanged(self, name: str) -> bool:
        """Is it what ``name`` holds, and nothing else?"""
        width = len(self.offset)
        return not self.offset.any() and np.array_equal(self.sources[name], np.eye(width))


class Part(Protocol):
    """What is computed on linear maps of a graph's inputs."""

    def maps(self, graph: Graph) -> list[Affine]:
        """Return these maps."""

    def add_to(self, graph: Graph, values: Sequence[str]) -> str:
        """Add the part; ``values`` are the names of what its maps give."""


def add_parts(graph: Graph, parts: Sequence[Part]) -> list[str]:
    """Add parts, with their maps; return the name of what each gives."""
    maps = [part.maps(graph) for part in parts]
    values = iter(add_maps(graph, [one for some in maps for one in some]))
    return [part.add_to(graph, [next(values) for _ in some]) for part, some in zip(parts, maps, strict=True)]


def add_maps(graph: Graph, maps: Sequence[Affine]) -> list[str]:
    """Add maps; return the names of what they give.

    All columns to which the same sources lead, of whichever map, are one product: for few rows each step of a graph costs as
    much as a small product, and for many a narrow product costs as much as a wide one.
    """
    runs = [one.runs() for one in maps]
    parts: dict[tuple[int, int], str] = {}
    together: dict[tuple[str, ...], dict[tuple[int, int], Affine]] = {}
    for i, own in enumerate(runs):
        for j, (names, run) in enumerate(own):
            if len(names) == 1 and run.unchanged(*names):
                parts[i, j] = names[0]
            else:
                together.setdefault(names, {})[i, j] = run
    for names, some in together.items():
        value = graph.constant(np.concatenate([run.offset for run in some.values()]))
        for name in names:
            factors = np.concatenate([run.sources[name] for run in some.values()], axis=1)
            value = graph.node("Gemm", name, graph.constant(factors), value)
        parts |= zip(some, graph.split(value, [len(run.offset) for run in some.values()]), strict=True)
    return [graph.joined([parts[i, j] for j in range(len(own))]) for i, own in enumerate(runs)]
