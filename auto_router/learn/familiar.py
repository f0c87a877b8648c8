"""What a router was trained on, kept small: how far a prompt is from it, and which training prompts are nearest.

Up to ``LANDMARKS`` training rows stand for all. A row is described by its ``COMPONENTS`` main directions and by the length of
the rest; the squared distance of two rows is taken to be that of their components plus that of their rests, which is what
it is on average where the rests point anywhere. A prompt with a picture, for a router that never saw one, is all rest.

*Novelty* is the distance to the nearest landmark over the limit: the ``QUANTILE`` of that distance over the training rows
themselves, each without its own group.
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
from auto_router.learn.heads import BlockProduct
from auto_router.learn.subset import Subset

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

LANDMARKS = 1024
COMPONENTS = 64
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

    text_dim: int | None = None
    """Columns of the row in front of those that are all zeros without a picture; None: not known."""

    _product: BlockProduct = field(init=False, repr=False)
    _start: Floats = field(init=False, repr=False)
    _factors: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # With z the components of a row x, |x - a|² = |x|² - 2z·a - 2x·m + |m|² + |a|²: (z, x·m, 1) times a matrix, plus |x|².
        # Frozen, so set as the dataclass itself would: what every decision would otherwise compute again.
        mean = self.mean.astype(np.float64)
        norms = np.vecdot(self.points, self.points) + mean @ mean
        twice = np.full((1, len(norms)), -2.0)
        factors = np.concatenate([-2.0 * self.points[:, :-1].T, twice, norms[None]], dtype=np.float32)
        product = np.concatenate([self.basis, self.mean[:, None], np.zeros_like(self.mean)[:, None]], axis=1)
        object.__setattr__(self, "_product", BlockProduct(product, self.text_dim))
        object.__setattr__(self, "_start", np.concatenate([-mean @ self.basis, [0.0, 1.0]], dtype=np.float32))
        object.__setattr__(self, "_factors", factors)

    def novelty(self, rows: Floats) -> Floats:
        """Return ``[N]`` for embeddings ``[N, D]``: above 1 is unlike everything seen."""
        starts = range(0, len(rows), _CHUNK)
        squared = [self._products(rows[start : start + _CHUNK]).min(axis=1) for start in starts]
        squared = np.concatenate(squared) + np.vecdot(rows, rows)
        return np.asarray(np.sqrt(np.maximum(squared, 0.0)) / self.limit)

    def nearest(self, row: Floats, count: int) -> list[tuple[int, float]]:
        """Return the positions and distances of the nearest landmarks of one embedding ``[D]``, the nearest first."""
        distances = np.sqrt(self._squared(row[None])[0])
        order = np.argsort(distances, kind="stable")[:count]
        return [(int(place), float(distances[place])) for place in order]

    def _squared(self, rows: Floats) -> Floats:
        """Return the squared distances ``[N, A]``."""
        return np.asarray(np.maximum(self._products(rows) + np.vecdot(rows, rows)[:, None], 0.0))

    def _products(self, rows: Floats) -> Floats:
        """Return the squared distances without the squared lengths of the rows, which are the same for all landmarks."""
        points = np.empty((len(rows), len(self._start)), dtype=np.float32)
        points[:] = self._start
        return np.asarray(self._product.add_to(points, rows) @ self._factors)

    def without_column(self, column: int) -> Familiar:
        """Return the same landmarks without the outcomes of one model."""
        return replace(self, outcomes=np.delete(self.outcomes, column, axis=1))

    def with_column(self, values: Floats) -> Familiar:
        """Return the same landmarks with the outcomes ``[A]`` of one more model."""
        return replace(self, outcomes=np.concatenate([self.outcomes, values[:, None]], axis=1))

    def to_plain(self) -> dict[str, Any]:
        """Return tensors and plain values; the points as float16, which is finer than they are meaningful."""
        plain = {name: getattr(self, name) for name in ("limit", "prompts")}
        for name in ("mean", "basis", "points", "outcomes"):
            plain[name] = torch.from_numpy(np.asarray(getattr(self, name), dtype=np.float16))
        return plain | {"idx": torch.from_numpy(self.idx)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], dim: int, n_models: int, text_dim: int | None = None) -> Familiar | None:
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
                text_dim=text_dim,
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
        if wrong or not count or not finite or not 0 < found.limit < np.inf:
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
    nearest = []
    for start in range(0, len(rows), _CHUNK):
        places = slice(start, start + _CHUNK)
        squared = found._squared(rows[places])
        squared[groups[places][:, None] == theirs] = np.inf
        nearest.append(squared.min(axis=1))
    squared = np.concatenate(nearest)
    return np.asarray(np.sqrt(squared[np.isfinite(squared)]))
