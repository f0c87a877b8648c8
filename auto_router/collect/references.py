r"""The right answers of a row, from whatever a data set holds them in: a word, a list, a struct, a worked solution."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from auto_router.collect.matching.final_answer import read_worked_answer
from auto_router.collect.matching.reasoning import strip_reasoning
from auto_router.collect.matching.wordings import MAX_LITERAL, read_literal

# Where a struct keeps its right answers, the first that is there: SQuAD's and TriviaQA's columns, VQA's list of answers …
_ANSWER_KEYS = (
    *("text", "texts", "answer", "answers", "value", "spans", "span", "short_answers", "input_text", "reference"),
    *("number", "date"),
)
_MORE_KEYS = ("aliases", "answer_aliases", "synonyms")  # further right answers beside it
MAX_PRINTED = 100_000  # characters of a cell that is read as a printed list
_QUOTED = r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\""""
_NEXT = re.compile(rf"({_QUOTED})(\s+(?=['\"]))?|\}}(?=\s+\{{)")  # a text, or a struct, with another behind it
_ARRAY = re.compile(rf"({_QUOTED})|\barray\(|(?:,\s*dtype=(?:\w+|{_QUOTED})\s*)?\)")


def read_references(value: Any, printed: bool = False) -> tuple[str, ...]:
    r"""Return the right answers that a cell holds, each once: the most frequent first, else in their order.

    A list holds several right answers; a struct names them in ``text``, ``answer``, ``value`` or the like; a text that is a
    worked solution (``#### 15``, ``\boxed{7}``) stands for its final value.

    Args:
        printed: read a printed list as the list it prints; else it is itself the answer, as to "what does this code return".
    """
    value = read_printed(value) if printed or (isinstance(value, str) and "array([" in value) else value
    counted = Counter(text for text in map(final_value, _texts(value)) if text.strip())
    return tuple(text for text, _ in counted.most_common())


def final_value(text: str) -> str:
    r"""Return the final value of a worked solution that marks it with ``####`` or ``\boxed{}``; any other text as it is.

    What stands in ``<think>`` before it is the way to the answer, and no part of it.
    """
    stated = strip_reasoning(text)
    text = stated if stated and stated != text.strip() else text  # only that: code needs its indents
    marked = "####" in text or "\\boxed" in text or "\\fbox" in text
    return (read_worked_answer(text) if marked else "") or text


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: null, NaN, an empty text, list or struct."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (
        not value.strip() if isinstance(value, str) else isinstance(value, list | tuple | dict) and not value
    )


def read_printed(value: Any) -> Any:
    """Return the list or dict that a text prints, as JSON, Python or numpy does; any other value as it is."""
    text = value.strip() if isinstance(value, str) and len(value) <= MAX_PRINTED else ""
    text = _as_python(text) if text.startswith("array([") else text
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return value
    try:
        printed = json.loads(text)
    except (ValueError, RecursionError):
        printed = read_literal(_as_python(text))
    return printed if isinstance(printed, list | dict) else value


def _as_python(text: str) -> str:
    """Return a text without the ways of numpy, which pandas writes into a CSV:

    ``['a' 'b']``, ``[{…} {…}]``, ``array(['a'], dtype=object)``.
    """
    if len(text) > MAX_LITERAL:  # read_literal takes no more, and quotes that never end would take long
        return text
    if "array(" in text:
        text = _ARRAY.sub(lambda found: found[1] or "", text)
    return _NEXT.sub(lambda found: f"{found[1]}, " if found[2] else found[1] or "},", text)  # Python would join two texts


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        names = {str(name).lower(): name for name in value}
        known = [names[name] for name in (*_ANSWER_KEYS, *_MORE_KEYS) if name in names]
        held = [name for name in known if not is_missing(value[name])]
        if {"day", "month", "year"} == names.keys():  # as in DROP
            yield " ".join(str(value[names[name]]) for name in ("day", "month", "year") if not is_missing(value[names[name]]))
        elif not known and value:
            yield str(value)  # a struct that is itself the answer
        for name in [*held[:1], *(name for name in held[1:] if str(name).lower() in _MORE_KEYS)]:
            yield from _texts(value[name])
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _texts(item)
    elif not is_missing(value):
        yield str(value)
