"""JSON objects among other text: the ones that carry a given id, read as models write them.

The work is bounded: only the braces around each place where the id stands are looked at, and only so many of them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_PLACES = 8  # where the id may stand
MAX_BRACES = 12  # looked at on either side of such a place
MAX_OBJECT = 8_000  # characters
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
_BARE_NAME = re.compile(r"([{,]\s*)([A-Za-z_]{1,20})(\s*:)")
_CURLY = str.maketrans({"\u201c": '"', "\u201d": '"', "\u201e": '"'})


def find_objects(text: str, expected_id: str) -> list[Mapping[str, Any]]:
    """Return the objects in ``text`` whose ``id`` is ``expected_id``, in their order, each once.

    Objects inside others and in lists are found; trailing commas, Python's literals, curly quotes and bare names are read as what
    they mean. An object in which a name occurs twice is none.
    """
    found: list[Mapping[str, Any]] = []
    end = 0
    for place in list(re.finditer(re.escape(expected_id), text))[:MAX_PLACES] if expected_id else []:
        if place.start() < end:
            continue  # inside an object that was read
        for begin, stop in _spans(text, place.start(), place.end()):
            value = _load(text[begin:stop])
            objects = [item for item in _walk(value, 4) if item.get("id") == expected_id]
            if objects:
                found += objects
                end = stop
                break
    return found


def _spans(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of what may be the object around a place, the smallest first."""
    low, high = max(0, start - MAX_OBJECT), stop + MAX_OBJECT
    opens = [low + m.start() for m in re.finditer(r"\{", text[low:start])][::-1][:MAX_BRACES]
    closes = [stop + m.end() for m in re.finditer(r"\}", text[stop:high])][:MAX_BRACES]
    for begin in opens:
        for end in closes:
            yield begin, end


def _load(text: str) -> Any:
    """A JSON or Python object; None where the text is neither, or a name occurs twice in it."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise KeyError("a name occurs twice")
        return dict(pairs)

    for form in (text, _TRAILING_COMMA.sub(r"\1", text.translate(_CURLY))):
        for mended in (form, _BARE_NAME.sub(r'\1"\2"\3', form)):
            try:
                return json.loads(mended, object_pairs_hook=unique, strict=False)
            except KeyError:
                return None
            except (ValueError, RecursionError):
                continue
    return _literal(text)


def _literal(text: str) -> Any:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        names = [key.value for key in getattr(tree, "keys", []) if isinstance(key, ast.Constant)]
        return ast.literal_eval(tree) if len(set(names)) == len(names) else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _walk(value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield an object and the objects inside it."""
    if isinstance(value, Mapping):
        yield value
    if depth:
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        for item in inner:
            yield from _walk(item, depth - 1)
