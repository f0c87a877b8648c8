"""Surface features of a prompt: what an embedding of its meaning forgets, such as length, digits, code and options.

They are computed from the text alone, in microseconds, and are not part of the embedding files: Stage 3 and the router
append them to the rows they read or encode.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import log1p, sqrt

import numpy as np

from auto_router.encode.spec import Array

_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")
_CODE = re.compile(r"\b(?:def|return|import|assert|for|while|class|print|lambda|function)\b|==|[{};]")
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


def _features(text: str) -> list[float]:
    full, text = len(text), text[:_READ]
    size = max(len(text), 1)
    tokens = _TOKEN.findall(text)
    words = [token for token in tokens if token[0].isalpha()]
    numbers = [token for token in tokens if token[0].isdigit()]
    capitals = sum(map(str.isupper, text))
    return [
        log1p(full),
        log1p(len(words)),
        min(sum(map(len, words)) / max(len(words), 1), 20.0),
        len({word.lower() for word in words}) / max(len(words), 1),
        sqrt(sum(map(len, numbers)) / size),
        sqrt(capitals / size),
        sqrt((len(tokens) - len(words) - len(numbers)) / size),
        sqrt((len(text) - len(text.encode("ascii", "ignore"))) / size),
        log1p(text.count("\n")),
        min(len(_OPTION.findall(text)), 12) / 4,
        log1p(text.count("?")),
        log1p(len(_LATEX.findall(text))),
        sqrt(sum(map(text.count, "+-*/=<>^")) / size),
        log1p(len(_CODE.findall(text))),
        log1p(len(numbers)),
        float(min(max(map(len, numbers), default=0), 12)),
        log1p(text.count('"') + text.count("'")),
        log1p(text.count("_")),
        float(text.rstrip().endswith("?")),
        log1p(text.count("(")),
        log1p(text.count(". ")),
    ]
