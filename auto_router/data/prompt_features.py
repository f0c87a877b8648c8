"""What a prompt's letters tell: features that an embedding of its meaning forgets, and its language.

The languages are ISO 639-1 codes of py3langid's model (naive Bayes over byte n-grams), whose probabilities are spread over
many of them where a text tells little: a name, a formula, one word. Code and numbers are in none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from math import log1p, sqrt
from typing import TYPE_CHECKING

import numpy as np

from auto_router.arrays import Array

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_WORD, _NUMBER, _RUN, _OTHER = (re.compile(p) for p in (r"[^\W\d_]+", r"\d+", r"\w+", r"[^\w\s]|_"))
_KEYWORDS = frozenset(["def", "return", "import", "assert", "for", "while", "class", "print", "lambda", "function"])
_LATEX = re.compile(r"\\[a-zA-Z]+|\$")
_OPTION = re.compile(r"(?:^|\s)\(?[A-Ja-j][).]\s")
_ARITHMETIC = "+-*/=<>^"
_READ = 20_000  # characters looked at: a prompt of megabytes must not take seconds

FEATURE_NAMES = (
    "characters", "words", "word_length", "distinct_words", "digits", "capitals", "punctuation", "non_ascii", "lines",
    "options", "questions", "latex", "arithmetic", "code", "numbers", "longest_number", "quotes", "underscores",
    "ends_with_question", "parentheses", "sentences",
)  # fmt: skip
LANGUAGE_FEATURES = frozenset(["words", "word_length", "distinct_words", "non_ascii"])
"""Those that the language of a prompt, and how it is written, decides more than what is asked."""
NO_LANGUAGE = "zxx"
"""What the model calls code, numbers and the like (ISO 639-3)."""

_LANGUAGE_CHARACTERS = 200  # characters at each end of a prompt that are looked at
_SURE = 0.5
_MARGIN = 0.2  # of probability: English names and commands come to .13 of some language, one short foreign question to .25


def prompt_features(texts: Sequence[str]) -> Array:
    """Return ``[N, len(FEATURE_NAMES)]``: counts as log(1 + n), shares of the characters as square roots, both roughly 0…10."""
    return np.array([_features(text) for text in texts], dtype=np.float32).reshape(len(texts), len(FEATURE_NAMES))


def append_prompt_features(rows: Array, texts: Sequence[str]) -> Array:
    """Return embedding rows ``[N, D]`` with the features of their prompts behind them."""
    return np.concatenate([rows, prompt_features(texts)], axis=1)


def _features(text: str) -> list[float]:
    full, text = len(text), text[:_READ]
    size = max(len(text), 1)
    words, digits = [word.lower() for word in _WORD.findall(text)], list(map(len, _NUMBER.findall(text)))
    keywords = sum(map(_KEYWORDS.__contains__, _RUN.findall(text)))
    return [
        log1p(full),
        log1p(len(words)),
        min(sum(map(len, words)) / max(len(words), 1), 20.0),
        len(set(words)) / max(len(words), 1),
        sqrt(sum(digits) / size),
        sqrt(sum(map(str.isupper, text)) / size),
        sqrt(len(_OTHER.findall(text)) / size),
        sqrt((len(text) - len(text.encode("ascii", "ignore"))) / size),
        log1p(text.count("\n")),
        min(len(_OPTION.findall(text)), 12) / 4,
        log1p(text.count("?")),
        log1p(len(_LATEX.findall(text))),
        sqrt(sum(map(text.count, _ARITHMETIC)) / size),
        log1p(keywords + sum(map(text.count, ("==", "{", "}", ";")))),
        log1p(len(digits)),
        float(min(max(digits, default=0), 12)),
        log1p(text.count('"') + text.count("'")),
        log1p(text.count("_")),
        float(text.rstrip().endswith("?")),
        log1p(text.count("(")),
        log1p(text.count(". ")),
    ]


def language_probabilities(text: str) -> dict[str, float]:
    """Return the probability of each language. Of a long prompt the beginning and the end are read."""
    return dict(_identifier().rank(_ends(text)))


def foreignness_of(text: str, known: Collection[str]) -> float:
    """Return the :func:`foreignness` of a prompt; 0 where its likeliest language is known, which is sooner told."""
    likeliest, _ = _identifier().classify(_ends(text))
    return 0.0 if likeliest in (*known, NO_LANGUAGE) else foreignness(language_probabilities(text), known)


def _ends(text: str) -> str:
    return text if len(text) <= 2 * _LANGUAGE_CHARACTERS else f"{text[:_LANGUAGE_CHARACTERS]}\n{text[-_LANGUAGE_CHARACTERS:]}"


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
