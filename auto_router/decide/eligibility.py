"""Which models may take an input at all: its modality, its length, and the caller's own subset."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auto_router.arrays import Bools, Floats
from auto_router.data.dataset import Dataset
from auto_router.data.pool import ModelFacts
from auto_router.errors import ConfigError

BYTES_PER_TOKEN = 3  # on the safe side: English has about 4 UTF-8 bytes a token, code and CJK about 3
TOKENS_PER_IMAGE = 1000


@dataclass(frozen=True, slots=True)
class Eligibility:
    """What each model of a router may take. A model that the pool says nothing about may take everything."""

    names: tuple[str, ...]
    facts: tuple[ModelFacts, ...]

    @classmethod
    def of(cls, names: Sequence[str], facts: Mapping[str, ModelFacts]) -> Eligibility:
        return cls(tuple(names), tuple(facts.get(name, ModelFacts()) for name in names))

    def eligible(
        self, texts: Sequence[str], image_counts: Sequence[int], subsets: Sequence[Collection[str] | None] = (None,)
    ) -> Bools:
        """Return bool ``[N, M]``: may model j take prompt i?

        ``subsets`` limit the choice to these names, one for each prompt or one for all.

        Raises:
            ConfigError: a subset names an unknown model, or is one name instead of a list.
        """
        needs = [(estimate_tokens(text, count), count) for text, count in zip(texts, image_counts, strict=True)]
        may = np.array([[one.accepts(*need) for one in self.facts] for need in needs], dtype=bool)
        may = may.reshape(len(texts), len(self.names))
        for i, subset in enumerate(subsets):
            if subset is not None:
                if isinstance(subset, str):
                    raise ConfigError(f"models= takes a list of names, got one string; give [{subset!r}]")
                index_of(self.names, subset, "models=")
                may[i if len(subsets) > 1 else slice(None)] &= np.array([name in subset for name in self.names])
        return may


def estimate_tokens(text: str, images: int) -> float:
    """Return about how many tokens a prompt has, on the safe side."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return size / BYTES_PER_TOKEN + images * TOKENS_PER_IMAGE


def eligible_rows(data: Dataset) -> Bools:
    """Return bool ``[N, M]``: may model j take row i?"""
    return Eligibility.of(data.names, data.facts).eligible(data.prompts, data.image_counts)


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
