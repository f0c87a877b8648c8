"""Which models may take a request at all: what it needs, its length, and the caller's own subset.

A row always keeps a model. Where some can read the request, but none has room for it, the widest of them are left
(``too_long``); where none has all that it needs, those that lack least of it (``no_model_fits``): their providers then say what
is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from auto_router.arrays import Bools, Floats
from auto_router.data.dataset import Dataset
from auto_router.data.pool import ModelFacts
from auto_router.data.request import Request
from auto_router.data.tokens import image_rule
from auto_router.errors import ConfigError

TOO_LONG = "too_long"
NO_MODEL_FITS = "no_model_fits"


class Eligible(NamedTuple):
    """Which models may take each of ``N`` requests."""

    models: Bools
    """``[N, M]``: at least one of every row."""
    reasons: list[str | None]
    """``[N]``: ``too_long`` or ``no_model_fits`` where no model fits as it should, else None."""


@dataclass(frozen=True, slots=True)
class Eligibility:
    """What each model of a router may take. A model that the pool says nothing about may take everything."""

    names: tuple[str, ...]
    facts: tuple[ModelFacts, ...]

    @classmethod
    def of(cls, names: Sequence[str], facts: Mapping[str, ModelFacts]) -> Eligibility:
        return cls(tuple(names), tuple(facts.get(name, ModelFacts()) for name in names))

    def eligible(self, requests: Sequence[Request]) -> Eligible:
        """Return which models may take each request; ``Request.models`` limits the choice to these.

        Raises:
            ConfigError: a subset names an unknown model, or none.
        """
        kinds = [(request.demands, request.models) for request in requests]
        able = {kind: self._able(*kind) for kind in set(kinds)}  # of many rows, few differ
        found = [able[kind] for kind in kinds]
        if any(facts.context_window is not None for facts in self.facts):
            found = [self._with_room(*row, request) for row, request in zip(found, requests, strict=True)]
        models = np.array([row for row, _ in found], dtype=bool).reshape(len(requests), len(self.names))
        return Eligible(models, [reason for _, reason in found])

    def _able(self, needs: frozenset[str], subset: tuple[str, ...] | None) -> tuple[list[bool], str | None]:
        """Return which models of the subset lack the least of what is needed, and the reason where that is not nothing."""
        allowed = [True] * len(self.names)
        if subset is not None:
            index_of(self.names, subset, "models=")
            if not subset:
                raise ConfigError(f"models= names no model; give some of {', '.join(self.names)}")
            allowed = [name in subset for name in self.names]
        lacking = [facts.count_missing(needs) for facts in self.facts]
        least = min(count for may, count in zip(allowed, lacking, strict=True) if may)
        return [may and count == least for may, count in zip(allowed, lacking, strict=True)], NO_MODEL_FITS if least else None

    def _with_room(self, able: list[bool], reason: str | None, request: Request) -> tuple[list[bool], str | None]:
        """Return which of the models that are able have room for a request; where none has, the widest."""
        if reason is not None:
            return able, reason
        room = [self._room(column, request) for column in range(len(self.names))]
        fitting = [may and left >= 0 for may, left in zip(able, room, strict=True)]
        if any(fitting):
            return fitting, None
        most = max(left for may, left in zip(able, room, strict=True) if may)
        return [may and left == most for may, left in zip(able, room, strict=True)], TOO_LONG

    def _room(self, column: int, request: Request) -> float:
        """Return how many tokens of a model's window a request leaves free, below 0 where it does not fit."""
        window = self.facts[column].context_window
        if window is None:
            return float("inf")
        images = request.image_tokens(image_rule(self.names[column])) if request.images or request.unseen_images else 0.0
        return window - request.tokens - images


def eligible_rows(data: Dataset) -> Bools:
    """Return bool ``[N, M]``: may model j take row i?"""
    requests = [Request(record.prompt, tuple(record.images), context=record.context) for record in data.records]
    return Eligibility.of(data.names, data.facts).eligible(requests).models


def outcomes_of(labels: Floats, eligible: Bools) -> Floats:
    """Return ``labels`` [N, M] with 0 instead of unknown where a model may not take the row: asked all the same, it fails.

    So "always the best single model" is judged on all rows, images that it cannot see included.
    """
    return np.where(np.isnan(labels) & ~eligible, np.float32(0.0), labels)


def index_of(names: Sequence[str], wanted: Collection[str], what: str) -> list[int]:
    """Return the positions of ``wanted`` in ``names``. Raises ConfigError, naming ``what`` and the valid names."""
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ConfigError(f"{what} names unknown model {', '.join(map(repr, unknown))}; this router knows {', '.join(names)}")
    return [names.index(name) for name in wanted]


def per_model(names: Sequence[str], values: Mapping[str, float] | None, what: str) -> npt.NDArray[np.float64] | None:
    """Return ``[M]`` numbers by model, NaN where none is given; None for None or an empty mapping.

    Raises:
        ConfigError: a name is unknown, or a value is not a finite number from 0 (thresholds: to 1).
    """
    if not values:
        return None
    vector = np.full(len(names), np.nan)
    vector[index_of(names, values, what)] = list(values.values())
    given = vector[index_of(names, values, what)]
    highest = 1.0 if "threshold" in what else np.inf
    if not (np.isfinite(given) & (given >= 0) & (given <= highest)).all():
        raise ConfigError(f"{what} must be numbers from 0{' to 1' if highest == 1.0 else ''}, got {dict(values)}")
    return vector
