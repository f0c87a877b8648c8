"""What a prompt's letters tell: features that an embedding of its meaning forgets, and its language.

The languages are ISO 639-1 codes of py3langid's model (naive Bayes over byte n-grams), whose probabilities are spread over
many of them where a text tells little: a name, a formula, one word. Code and numbers are in none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from math import log1p, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from auto_router.arrays import Array

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_WORD, _NUMBER, _RUN, _OTHER = (re.compile(p) for p in (r"[^\W\d_]+", r"\d+", r"\w+", r"[^\w\s]|_"))
_KEYWORDS = frozenset(["def", "return", "import", "assert", "for", "while", "class", "print", "lambda", "function"])
_LATEX = re.compile(r"\\[a-zA-Z]+|\$")
_LETTERS = "ABCDEFGHIJabcdefghij"
_OPTION = re.compile(rf"(?:^|\s)\(?[{_LETTERS}][).]\s")
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


class _Parts(NamedTuple):
    """A text taken apart: runs of letters (in lower case) and of digits; how many of everything else that has a rule."""

    words: Sequence[str | bytes]
    numbers: Sequence[str | bytes]
    keywords: int
    options: int
    latex: int
    others: int
    capitals: int
    arithmetic: int


def _table(put: Callable[[str], str]) -> bytes:
    """Return the table for ``bytes.translate`` that puts another character in place of each of ASCII's."""
    return "".join(map(put, map(chr, range(128)))).encode() + bytes(128)


def _all_but(wanted: Callable[[str], object]) -> bytes:
    return bytes(i for i in range(128) if not wanted(chr(i)))


_WORDS = _table(lambda c: c.lower() if _WORD.fullmatch(c) else " ")
_NUMBERS = _table(lambda c: c if _NUMBER.fullmatch(c) else " ")
_RUNS = _table(lambda c: c if _RUN.fullmatch(c) else " ")
_MARKS = _table(lambda c: "A" if c in _LETTERS else ")" if c == "." else " " if c.isspace() else c)
_NO_OTHER, _NO_CAPITAL = _all_but(_OTHER.fullmatch), _all_but(str.isupper)
_NO_ARITHMETIC = _all_but(_ARITHMETIC.__contains__)
_KEYWORD_BYTES = frozenset(word.encode() for word in _KEYWORDS)


def _parts_of_ascii(text: str) -> _Parts:
    """Return what :func:`_parts` does, several times as fast."""
    data = text.encode()
    words, marks = data.translate(_WORDS).split(), b" " + data.translate(_MARKS)
    # Many prompts have none of these, which is quicker to see than to count.
    some_keywords, some_latex = not _KEYWORD_BYTES.isdisjoint(words), "\\" in text or "$" in text
    return _Parts(
        words,
        data.translate(_NUMBERS).split(),
        sum(map(_KEYWORD_BYTES.__contains__, data.translate(_RUNS).split())) if some_keywords else 0,
        marks.replace(b" (A)", b" A)").count(b" A) "),
        len(_LATEX.findall(text)) if some_latex else 0,
        len(data.translate(None, _NO_OTHER)),
        len(data.translate(None, _NO_CAPITAL)),
        len(data.translate(None, _NO_ARITHMETIC)),
    )


def _parts(text: str) -> _Parts:
    return _Parts(
        [word.lower() for word in _WORD.findall(text)],
        _NUMBER.findall(text),
        sum(map(_KEYWORDS.__contains__, _RUN.findall(text))),
        len(_OPTION.findall(text)),
        len(_LATEX.findall(text)),
        len(_OTHER.findall(text)),
        sum(map(str.isupper, text)),
        sum(map(text.count, _ARITHMETIC)),
    )


def _features(text: str) -> list[float]:
    full, text = len(text), text[:_READ]
    size = max(len(text), 1)
    ascii_ = text.isascii()
    words, numbers, keywords, options, latex, others, capitals, arithmetic = (_parts_of_ascii if ascii_ else _parts)(text)
    digits = list(map(len, numbers))
    return [
        log1p(full),
        log1p(len(words)),
        min(sum(map(len, words)) / max(len(words), 1), 20.0),
        len(set(words)) / max(len(words), 1),
        sqrt(sum(digits) / size),
        sqrt(capitals / size),
        sqrt(others / size),
        0.0 if ascii_ else sqrt((len(text) - len(text.encode("ascii", "ignore"))) / size),
        log1p(text.count("\n")),
        min(options, 12) / 4,
        log1p(text.count("?")),
        log1p(latex),
        sqrt(arithmetic / size),
        log1p(keywords + sum(map(text.count, ("==", "{", "}", ";")))),
        log1p(len(numbers)),
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
