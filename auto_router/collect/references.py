r"""The right answers of a row, from whatever a data set holds them in: a word, a list, a struct, a worked solution."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from auto_router.collect.matching.final_answer import read_worked_answer
from auto_router.collect.matching.wordings import read_literal

# Where a struct keeps its right answers, the first that is there: SQuAD's and TriviaQA's columns, VQA's list of answers …
_ANSWER_KEYS = ("text", "texts", "answer", "answers", "value", "spans", "span", "short_answers", "input_text", "reference")
_MORE_KEYS = ("aliases", "answer_aliases", "synonyms")  # further right answers beside it
MAX_PRINTED = 100_000  # characters of a cell that is read as a printed list


def read_references(value: Any, printed: bool = False) -> tuple[str, ...]:
    r"""Return the right answers that a cell holds, each once: the most frequent first, else in their order.

    A list holds several right answers; a struct names them in ``text``, ``answer``, ``value`` or the like; a text that is a
    worked solution (``#### 15``, ``\boxed{7}``) stands for its final value.

    Args:
        printed: read a printed list as the list it prints; else it is itself the answer, as to "what does this code return".
    """
    value = read_printed(value) if printed else value
    counted = Counter(text for text in map(final_value, _texts(value)) if text.strip())
    return tuple(text for text, _ in counted.most_common())


def final_value(text: str) -> str:
    r"""Return the final value of a worked solution that marks it with ``####`` or ``\boxed{}``; any other text as it is."""
    marked = "####" in text or "\\boxed" in text or "\\fbox" in text
    return (read_worked_answer(text) if marked else "") or text


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: null, NaN, an empty text or an empty list."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, list | tuple) and not value)


def read_printed(value: Any) -> Any:
    """Return the list or dict that a text prints, as JSON or as Python does; any other value as it is."""
    text = value.strip() if isinstance(value, str) and len(value) <= MAX_PRINTED else ""
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return value
    try:
        printed = json.loads(text)
    except (ValueError, RecursionError):
        printed = read_literal(text)
    return printed if isinstance(printed, list | dict) and printed else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        names = {str(name).lower(): name for name in value}
        known = [names[name] for name in (*_ANSWER_KEYS, *_MORE_KEYS) if name in names]
        held = [name for name in known if not is_missing(value[name])]
        if not known:
            yield str(value)  # a struct that is itself the answer
        for name in [*held[:1], *(name for name in held[1:] if str(name).lower() in _MORE_KEYS)]:
            yield from _texts(value[name])
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _texts(item)
    elif not is_missing(value):
        yield str(value)
