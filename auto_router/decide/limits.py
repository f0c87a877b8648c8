"""Which models may take an input at all: its modality, its length, and the caller's own subset."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from auto_router.arrays import Bools, Floats
from auto_router.errors import ConfigError
from auto_router.records import Record

BYTES_PER_TOKEN = 3  # on the safe side: English has about 4 UTF-8 bytes a token, code and CJK about 3
TOKENS_PER_IMAGE = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """What each model of a pool may take."""

    names: tuple[str, ...]
    takes_pictures: Bools
    """``[M]``."""
    window: Floats
    """``[M]`` tokens; infinite where the pool names none."""

    _least: float = field(init=False, repr=False)
    _all_take_pictures: bool = field(init=False, repr=False)
    _everything: Bools = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Most prompts are below every limit, which these tell at once.
        object.__setattr__(self, "_least", float(self.window.min(initial=np.inf)))
        object.__setattr__(self, "_all_take_pictures", bool(self.takes_pictures.all()))
        everything = np.ones((1, len(self.names)), dtype=bool)
        everything.flags.writeable = False
        object.__setattr__(self, "_everything", everything)

    @classmethod
    def of(cls, names: Sequence[str], pool: Mapping[str, Mapping[str, Any]]) -> Limits:
        """Read them from a pool. A model that the pool says nothing about may take everything."""
        facts = [pool.get(name, {}) for name in names]
        pictures = ["image" in fact.get("modalities", ("text", "image")) for fact in facts]
        windows = [np.inf if (window := fact.get("context_window")) is None else window for fact in facts]
        return cls(tuple(names), np.array(pictures, dtype=bool), np.array(windows, dtype=np.float64))

    def allowed(
        self, texts: Sequence[str], image_counts: Sequence[int], subsets: Sequence[Collection[str] | None] = (None,)
    ) -> Bools:
        """Return bool ``[N, M]``: may model j take prompt i?

        ``subsets`` limit the choice to these names, one for each prompt or one for all.

        Raises:
            ConfigError: a subset names an unknown model, or is one name instead of a list.
        """
        needed = [
            (len(text) if text.isascii() else len(text.encode("utf-8", "replace"))) / BYTES_PER_TOKEN + count * TOKENS_PER_IMAGE
            for text, count in zip(texts, image_counts, strict=True)
        ]
        some = any(image_counts)
        allowed: Bools
        if max(needed, default=0.0) <= self._least and (self._all_take_pictures or not some):
            if len(needed) == 1 and subsets[0] is None:
                return self._everything  # most calls; a new array would take longer than all of the above
            allowed = np.ones((len(needed), len(self.names)), dtype=bool)
        else:
            allowed = np.array(needed).reshape(-1, 1) <= self.window
            if some:
                allowed &= self.takes_pictures | (np.array(image_counts).reshape(-1, 1) == 0)
        for i, subset in enumerate(subsets):
            if subset is not None:
                if isinstance(subset, str):
                    raise ConfigError(f"models= takes a list of names, got one string; give [{subset!r}]")
                index_of(self.names, subset, "models=")
                allowed[i if len(subsets) > 1 else slice(None)] &= np.array([name in subset for name in self.names])
        return allowed


def allowed_for(names: Sequence[str], pool: Mapping[str, Mapping[str, Any]], records: Sequence[Record]) -> Bools:
    """Return bool ``[N, M]``: may model j take record i?"""
    return Limits.of(names, pool).allowed([r.prompt for r in records], [len(r.images) for r in records])


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
