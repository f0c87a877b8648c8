"""What a router was trained on, kept small: how far a prompt is from it, and which training prompts are nearest.

Up to ``LANDMARKS`` training rows stand for all. A row is described by its ``COMPONENTS`` main directions and by the length of
the rest; the squared distance of two rows is taken to be that of their components plus that of their rests, which is what
it is on average where the rests point anywhere. A prompt with a picture, for a router that never saw one, is all rest.

*Novelty* is the distance to the nearest landmark over the limit: the ``QUANTILE`` of that distance over the training rows
themselves, each without its own group. It looks at the first ``COARSE`` directions only: they tell the unlike as well as all
of them, and are sooner read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from auto_router.arrays import Floats, Ints
from auto_router.errors import ConfigError
from auto_router.learn.affine import Affine, add_maps, add_parts
from auto_router.learn.graph import Graph, Layout, served
from auto_router.learn.subset import Subset

LANDMARKS = 1024
COMPONENTS = 64
COARSE = 16
QUANTILE = 0.99
NEAR = 0.05  # of the distance of two random rows: nearer than this nothing is unlike
_CHUNK = 1024


def beyond(novelty: Floats | None) -> npt.NDArray[np.bool_] | None:
    """Return ``[N]``: the rows that are unlike all of training; None where none is, or where novelty was not measured."""
    # For one prompt a list is looked through in a fraction of the time that an operation on arrays takes.
    if novelty is None or not any(distance > 1 for distance in novelty.tolist()):
        return None
    return novelty > 1


@dataclass(frozen=True, slots=True)
class Familiar:
    """Landmarks of the training rows. Prompts themselves are kept only where that was asked for."""

    mean: Floats
    basis: Floats
    """``[D, K]``."""
    points: Floats
    """``[A, K + 1]``: components, and the length of the rest."""
    limit: float
    idx: Ints
    """``[A]``: ``idx`` of the training records."""
    outcomes: Floats
    """``[A, M]``: their labels, NaN = unknown."""
    prompts: list[str] = field(default_factory=list)
    """Their prompts; empty where they are not kept."""

    coarse: int = COARSE
    """How many of the components novelty looks at."""

    def novelty(self, rows: Floats) -> Floats:
        """Return ``[N]`` for embeddings ``[N, D]``: above 1 is unlike everything seen. For many calls, see :meth:`add_to`."""
        return served(lambda graph: add_parts(graph, [self]), Layout(len(self.mean)))(rows)[0][:, 0]

    def maps(self, graph: Graph) -> list[Affine]:
        """Return, of rows x, the components z, x·mean and 1."""
        mean, basis = self.mean.astype(np.float64), self.basis[:, : self.coarse].astype(np.float64)
        both = np.concatenate([basis, mean[:, None]], axis=1)
        sources = {name: both[columns] for name, columns in self._inputs(graph)}
        return [Affine(sources, np.append(-mean @ basis, 0.0)).with_one()]

    def add_to(self, graph: Graph, values: Sequence[str]) -> str:
        """Add the novelty ``[N, 1]`` of the graph's text and image."""
        nearest = graph.node("ReduceMin", self.squared_distances(graph, values), graph.constant([1], np.int64))
        return graph.node("Div", graph.node("Sqrt", graph.node("Relu", nearest)), graph.constant(self.limit))

    def squared_distances(self, graph: Graph, values: Sequence[str]) -> str:
        """Add the squared distances ``[N, A]`` to the landmarks; rounding may leave them below zero."""
        # |x - a|² = |x|² - 2z·a - 2x·m + |m|² + |a|², with m the mean.
        mean, points = self.mean.astype(np.float64), self.points.astype(np.float64)
        ends = np.stack([np.full(len(points), -2.0), np.vecdot(points, points) + mean @ mean])
        onto = np.concatenate([-2.0 * points[:, :-1][:, : self.coarse].T, ends])
        length = graph.squared_length([name for name, _ in self._inputs(graph)])
        return graph.node("Gemm", *values, graph.constant(onto), length)

    def _inputs(self, graph: Graph) -> list[tuple[str, slice]]:
        """Return the graph's inputs that are embeddings, with their columns."""
        return [(name, columns) for name, columns in graph.inputs.items() if columns.stop <= len(self.mean)]

    def nearest(self, row: Floats, count: int) -> list[tuple[int, float]]:
        """Return the positions and distances of the nearest landmarks of one embedding ``[D]``, the nearest first."""
        centred = row - self.mean
        point = centred @ self.basis
        rest = max(float(centred @ centred - point @ point), 0.0)
        distances = np.sqrt(np.square(self.points[:, :-1] - point).sum(axis=1) + np.square(self.points[:, -1]) + rest)
        order = np.argsort(distances, kind="stable")[:count]
        return [(int(place), float(distances[place])) for place in order]

    def without_column(self, column: int) -> Familiar:
        """Return the same landmarks without the outcomes of one model."""
        return replace(self, outcomes=np.delete(self.outcomes, column, axis=1))

    def with_column(self, values: Floats) -> Familiar:
        """Return the same landmarks with the outcomes ``[A]`` of one more model."""
        return replace(self, outcomes=np.concatenate([self.outcomes, values[:, None]], axis=1))

    def to_plain(self) -> dict[str, Any]:
        """Return tensors and plain values; the points as float16, which is finer than they are meaningful."""
        plain = {name: getattr(self, name) for name in ("limit", "prompts", "coarse")}
        for name in ("mean", "basis", "points", "outcomes"):
            plain[name] = torch.from_numpy(np.asarray(getattr(self, name), dtype=np.float16))
        return plain | {"idx": torch.from_numpy(self.idx)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], dim: int, n_models: int) -> Familiar | None:
        """Build from :meth:`to_plain`; None from an empty mapping. Raises ConfigError where the values do not fit."""
        if not values:
            return None
        tensors = {name: values.get(name) for name in ("mean", "basis", "points", "outcomes", "idx")}
        bad = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
        if bad or not isinstance(values.get("prompts"), list):
            raise ConfigError(f"landmarks are damaged ({', '.join(bad)})")
        try:
            arrays = {name: values[name].float().numpy() for name in ("mean", "basis", "points", "outcomes")}
            found = cls(
                limit=float(values["limit"]),
                idx=values["idx"].numpy(),
                prompts=list(values["prompts"]),
                # An artifact that does not say was made when novelty looked at all of them.
                coarse=int(values.get("coarse", arrays["basis"].shape[-1])),
                **arrays,
            )
        except (TypeError, KeyError, AttributeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"landmarks are not valid ({error})") from error
        count, components = len(found.points), found.basis.shape[-1]
        shapes = {"mean": (dim,), "basis": (dim, components), "points": (count, components + 1), "outcomes": (count, n_models)}
        wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape]
        if found.idx.dtype != np.int64 or found.idx.shape != (count,):
            wrong.append("idx")
        if found.prompts and (len(found.prompts) != count or not all(isinstance(p, str) for p in found.prompts)):
            wrong.append("prompts")
        finite = all(np.isfinite(arrays[name]).all() for name in ("mean", "basis", "points"))
        if wrong or not count or not finite or not 0 < found.limit < np.inf or found.coarse < 0:
            raise ConfigError(f"landmarks are damaged ({', '.join(wrong) or 'impossible numbers'})")
        return found


def fit_familiar(
    rows: Floats, labels: Floats, groups: Ints, idx: Sequence[int], prompts: Sequence[str] = (), seed: int = 0
) -> Familiar:
    """Fit to embeddings ``[N, D]`` of the training records, their ``labels`` [N, M], groups and ``idx``.

    ``prompts`` are stored in clear where they are given.
    """
    from sklearn.utils.extmath import randomized_svd  # for training only; routing must not import it

    rng = np.random.default_rng(seed)
    part = rng.permutation(len(rows))[: 4 * LANDMARKS]
    drawn = Subset(rows, part)[:]
    mean = drawn.mean(axis=0)
    _, _, directions = randomized_svd(drawn - mean, min(COMPONENTS, *drawn.shape), random_state=seed)
    chosen = np.sort(part[:LANDMARKS])
    basis = np.ascontiguousarray(directions.T, dtype=np.float32)
    kept = [prompts[i] for i in chosen.tolist()] if prompts else []
    numbers = np.array([idx[i] for i in chosen.tolist()], dtype=np.int64)
    centred = Subset(rows, chosen)[:] - mean
    components, lengths = centred @ basis, np.vecdot(centred, centred)
    rest = np.sqrt(np.maximum(lengths - np.vecdot(components, components), 0.0))
    points = np.concatenate([components, rest[:, None]], axis=1, dtype=np.float32)
    found = Familiar(mean.astype(np.float32), basis, points, 1.0, numbers, labels[chosen], kept)
    known = _distances_to_other_groups(found, drawn, groups[part], groups[chosen])
    # Training rows that all have a twin say nothing of how far the familiar reaches, and distances are not exact.
    least = max(NEAR * float(2.0 * lengths.mean()) ** 0.5, NEAR)
    limit = float(np.quantile(known, QUANTILE)) if len(known) else 1.0
    return replace(found, limit=max(limit, least))


def _distances_to_other_groups(found: Familiar, rows: Floats, groups: Ints, theirs: Ints) -> Floats:
    """Return how far each row is from the nearest landmark of another group; rows without one are left out."""

    def terms(graph: Graph) -> list[str]:
        return [found.squared_distances(graph, add_maps(graph, found.maps(graph)))]

    nearest, distances = [], served(terms, Layout(len(found.mean)))
    for start in range(0, len(rows), _CHUNK):
        places = slice(start, start + _CHUNK)
        squared = distances(rows[places])[0]
        squared[groups[places][:, None] == theirs] = np.inf
        nearest.append(squared.min(axis=1))
    squared = np.concatenate(nearest)
    return np.asarray(np.sqrt(np.maximum(squared[np.isfinite(squared)], 0.0)))
