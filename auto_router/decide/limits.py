"""Which models may take an input at all: its modality, its length, and the caller's own subset."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from auto_router.errors import ConfigError
from auto_router.records import Record

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]

BYTES_PER_TOKEN = 3  # on the safe side: English has about 4 UTF-8 bytes a token, code and CJK about 3
TOKENS_PER_IMAGE = 1000


def allowed_models(
    names: Sequence[str],
    pool: Mapping[str, Mapping[str, Any]],
    texts: Sequence[str],
    image_counts: Sequence[int],
    subsets: Sequence[Collection[str] | None] = (None,),
) -> Bools:
    """Return bool ``[N, M]``: may model j take prompt i?

    A model that the pool says nothing about may take everything. ``subsets`` limit the choice to these names, one for each
    prompt or one for all.

    Raises:
        ConfigError: a subset names an unknown model.
    """
    allowed = np.ones((len(texts), len(names)), dtype=bool)
    for i, subset in enumerate(subsets):
        if subset is not None:
            index_of(names, subset, "models=")
            allowed[i if len(subsets) > 1 else slice(None)] &= np.array([name in subset for name in names])
    pictures = np.asarray(image_counts)
    tokens = np.array([len(text.encode("utf-8", "replace")) for text in texts]) / BYTES_PER_TOKEN
    for j, name in enumerate(names):
        facts = pool.get(name, {})
        if "image" not in facts.get("modalities", ("text", "image")):
            allowed[:, j] &= pictures == 0
        window = facts.get("context_window")
        if window is not None:
            allowed[:, j] &= tokens + pictures * TOKENS_PER_IMAGE <= window
    return allowed


def allowed_for(names: Sequence[str], pool: Mapping[str, Mapping[str, Any]], records: Sequence[Record]) -> Bools:
    """Return bool ``[N, M]``: may model j take record i?"""
    return allowed_models(names, pool, [r.prompt for r in records], [len(r.images) for r in records])


def outcomes(labels: Floats, allowed: Bools) -> Floats:
    """Return ``labels`` [N, M] with 0 instead of unknown where a model may not take the row: asked all the same, it fails.

    So "always the best single model" is judged on all rows, pictures that it cannot see included.
    """
    return np.where(np.isnan(labels) & ~allowed, np.float32(0.0), labels)


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
