"""Surface features of a prompt: what an embedding of its meaning forgets, such as length, digits, code and options.

They are computed from the text alone, in microseconds, and are not part of the embedding files: Stage 3 and the router
append them to the rows they read or encode.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import log1p, sqrt
from typing import NamedTuple

import numpy as np

from auto_router.encode.spec import Array

_WORD, _NUMBER, _RUN, _OTHER = (re.compile(p) for p in (r"[^\W\d_]+", r"\d+", r"\w+", r"[^\w\s]|_"))
_KEYWORDS = frozenset(["def", "return", "import", "assert", "for", "while", "class", "print", "lambda", "function"])
_LATEX = re.compile(r"\\[a-zA-Z]+|\$")
_OPTION = re.compile(r"(?:^|\s)\(?[A-Ja-j][).]\s")
_READ = 20_000  # characters looked at: a prompt of megabytes must not take seconds

NAMES = (
    "characters", "words", "word_length", "distinct_words", "digits", "capitals", "punctuation", "non_ascii", "lines",
    "options", "questions", "latex", "arithmetic", "code", "numbers", "longest_number", "quotes", "underscores",
    "ends_with_question", "parentheses", "sentences",
)  # fmt: skip


def surface_features(texts: Sequence[str]) -> Array:
    """Return ``[N, len(NAMES)]``: counts as log(1 + n), shares of the characters as square roots, both roughly 0…10."""
    return np.array([_features(text) for text in texts], dtype=np.float32).reshape(len(texts), len(NAMES))


def with_surface(rows: Array, texts: Sequence[str]) -> Array:
    """Return embedding rows ``[N, D]`` with the surface features of their prompts behind them."""
    return np.concatenate([rows, surface_features(texts)], axis=1)


class _Parts(NamedTuple):
    """A text taken apart: runs of letters (in lower case), of digits, of either and underscores; and how many of each."""

    words: Sequence[str | bytes]
    numbers: Sequence[str | bytes]
    keywords: int
    others: int
    capitals: int


def _table(keep: re.Pattern[str], lower: bool = False) -> bytes:
    """Return the table for ``bytes.translate`` that keeps what a pattern finds in ASCII and blanks all else."""
    kept = (chr(i) if keep.fullmatch(chr(i)) else " " for i in range(128))
    return "".join(c.lower() if lower else c for c in kept).encode() + bytes(128)


def _all_but(wanted: Callable[[str], object]) -> bytes:
    return bytes(i for i in range(128) if not wanted(chr(i)))


_WORDS, _NUMBERS, _RUNS = _table(_WORD, lower=True), _table(_NUMBER), _table(_RUN)
_NO_OTHER, _NO_CAPITAL = _all_but(_OTHER.fullmatch), _all_but(str.isupper)
_KEYWORD_BYTES = frozenset(word.encode() for word in _KEYWORDS)


def _parts_of_ascii(text: str) -> _Parts:
    """Return what :func:`_parts` does, several times as fast."""
    data = text.encode()
    return _Parts(
        data.translate(_WORDS).split(),
        data.translate(_NUMBERS).split(),
        sum(map(_KEYWORD_BYTES.__contains__, data.translate(_RUNS).split())),
        len(data.translate(None, _NO_OTHER)),
        len(data.translate(None, _NO_CAPITAL)),
    )


def _parts(text: str) -> _Parts:
    return _Parts(
        [word.lower() for word in _WORD.findall(text)],
        _NUMBER.findall(text),
        sum(map(_KEYWORDS.__contains__, _RUN.findall(text))),
        len(_OTHER.findall(text)),
        sum(map(str.isupper, text)),
    )


def _features(text: str) -> list[float]:
    full, text = len(text), text[:_READ]
    size = max(len(text), 1)
    words, numbers, keywords, others, capitals = _parts_of_ascii(text) if text.isascii() else _parts(text)
    digits = [len(number) for number in numbers]
    return [
        log1p(full),
        log1p(len(words)),
        min(sum(map(len, words)) / max(len(words), 1), 20.0),
        len(set(words)) / max(len(words), 1),
        sqrt(sum(digits) / size),
        sqrt(capitals / size),
        sqrt(others / size),
        sqrt((len(text) - len(text.encode("ascii", "ignore"))) / size),
        log1p(text.count("\n")),
        min(len(_OPTION.findall(text)), 12) / 4,
        log1p(text.count("?")),
        log1p(len(_LATEX.findall(text))),
        sqrt(sum(map(text.count, "+-*/=<>^")) / size),
        log1p(keywords + sum(map(text.count, ("==", "{", "}", ";")))),
        log1p(len(numbers)),
        float(min(max(digits, default=0), 12)),
        log1p(text.count('"') + text.count("'")),
        log1p(text.count("_")),
        float(text.rstrip().endswith("?")),
        log1p(text.count("(")),
        log1p(text.count(". ")),
    ]
