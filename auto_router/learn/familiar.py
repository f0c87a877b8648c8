"""What a router was trained on, kept small: how far a prompt is from it, and which training prompts are nearest.

Up to ``LANDMARKS`` training rows stand for all. A row is described by its ``COMPONENTS`` main directions and by the length of
the rest; the squared distance of two rows is taken to be that of their components plus that of their rests, which is what
it is on average where the rests point anywhere. A prompt with a picture, for a router that never saw one, is all rest.

*Novelty* is the distance to the nearest landmark over the limit: the ``QUANTILE`` of that distance over the training rows
themselves, each without its own group. It looks at the first ``COARSE`` directions only: they tell the unlike as well as all
of them, in half the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from auto_router.errors import ConfigError
from auto_router.learn.graph import Affine, Graph, Layout, served
from auto_router.learn.subset import Subset

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

LANDMARKS = 1024
COMPONENTS = 64
COARSE = 32
QUANTILE = 0.99
NEAR = 0.05  # of the distance of two random rows: nearer than this nothing is unlike
_CHUNK = 1024


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
        return served(lambda graph: [self.add_to(graph)], Layout(len(self.mean)))(rows)[0][:, 0]

    def add_to(self, graph: Graph) -> str:
        """Add the novelty ``[N, 1]`` of the graph's text and image."""
        products, *lengths = self.squared_distances(graph)
        nearest = graph.node("Sum", graph.node("ReduceMin", products, graph.constant([1], np.int64)), *lengths)
        return graph.node("Div", graph.node("Sqrt", graph.node("Relu", nearest)), graph.constant(self.limit))

    def squared_distances(self, graph: Graph) -> list[str]:
        """Add the squared distances ``[N, A]`` to the landmarks as the terms of a sum, of which only the first tells landmarks
        apart; rounding may leave it below zero.
        """
        # With z the components of a row x, |x - a|² = |x|² - 2z·a - 2x·m + |m|² + |a|²: (z, x·m) times a matrix, plus |x|².
        mean, basis, points = (part.astype(np.float64) for part in (self.mean, self.basis, self.points))
        basis = np.concatenate([basis[:, : self.coarse], mean[:, None]], axis=1)
        onto = np.concatenate([-2.0 * points[:, :-1][:, : self.coarse].T, np.full((1, len(points)), -2.0)])
        inputs = {name: columns for name, columns in graph.inputs.items() if columns.stop <= len(mean)}
        offset = np.append(-mean @ basis[:, :-1], 0.0)
        components = Affine([(name, basis[columns]) for name, columns in inputs.items()], offset)
        products = components.then(graph, components.add_to(graph), onto, np.vecdot(points, points) + mean @ mean)
        return [products, *(graph.squared_length(name) for name in inputs)]

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
    nearest, distances = [], served(found.squared_distances, Layout(len(found.mean)))
    for start in range(0, len(rows), _CHUNK):
        places = slice(start, start + _CHUNK)
        squared = np.add(*distances(rows[places]))
        squared[groups[places][:, None] == theirs] = np.inf
        nearest.append(squared.min(axis=1))
    squared = np.concatenate(nearest)
    return np.asarray(np.sqrt(np.maximum(squared[np.isfinite(squared)], 0.0)))
