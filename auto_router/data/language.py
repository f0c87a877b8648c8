"""In which language a prompt is, as far as its letters tell: for the guard of what is unfamiliar.

The languages are ISO 639-1 codes of py3langid's model (naive Bayes over byte n-grams), whose probabilities are spread over
many of them where a text tells little: a name, a formula, one word. Code and numbers are in none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

NO_LANGUAGE = "zxx"
"""What the model calls code, numbers and the like (ISO 639-3)."""

_READ = 200  # characters at each end of a prompt that are looked at
_SURE = 0.5
_MARGIN = 0.2  # of probability: English names and commands come to .13 of some language, one short foreign question to .25


def language_probabilities(text: str) -> dict[str, float]:
    """Return the probability of each language. Of a long prompt the beginning and the end are read."""
    return dict(_identifier().rank(_ends(text)))


def foreignness_of(text: str, known: Collection[str]) -> float:
    """Return the :func:`foreignness` of a prompt; 0 where its likeliest language is known, which is sooner told."""
    likeliest, _ = _identifier().classify(_ends(text))
    return 0.0 if likeliest in (*known, NO_LANGUAGE) else foreignness(language_probabilities(text), known)


def _ends(text: str) -> str:
    return text if len(text) <= 2 * _READ else f"{text[:_READ]}\n{text[-_READ:]}"


def main_language(probabilities: Mapping[str, float]) -> str | None:
    """Return the language that a prompt is in more probably than not; None for none."""
    best = max(probabilities, key=probabilities.__getitem__)
    return best if probabilities[best] >= _SURE and best != NO_LANGUAGE else None


def foreignness(probabilities: Mapping[str, float], known: Collection[str]) -> float:
    """Return the probability of the likeliest language that is not ``known`` beside that of the likeliest that is, plus a
    margin. Above 1 a prompt is in a language that is not known; what is in none is at home everywhere.
    """
    at_home = max(probabilities.get(name, 0.0) for name in (*known, NO_LANGUAGE))
    return max((p for name, p in probabilities.items() if name not in known and name != NO_LANGUAGE), default=0.0) / (
        at_home + _MARGIN
    )


@cache
def _identifier() -> LanguageIdentifier:
    """Return the model, which is read in part of a second: when it is first needed."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    found = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    # Without the dialects and creoles that have no two-letter code, which English and Chinese would be taken for.
    found.set_languages([name for name in found.labels if len(name) == 2 or name == NO_LANGUAGE])
    # That lays the table out by language. A prompt reads some hundred rows of it, each then in a hundred places.
    found.nb_ptc = np.ascontiguousarray(found.nb_ptc)
    return found
