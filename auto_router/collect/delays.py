"""How long an endpoint asks to be left alone: in a header, in the body, or in words."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT = r"(milliseconds?|millis|msecs?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)\b"
_TERM = rf"(\d{{1,9}}(?:\.\d{{1,9}})?) ?{_UNIT}"
_TERMS = re.compile(_TERM + r"|(\d{1,9}(?:\.\d{1,9})?) ?(ms|[smhd])(?=\d)", re.IGNORECASE)
_WORDS = re.compile(
    r"\b(?:(?:re)?try(?:ing)?(?: again| your request| the request)?|wait|available(?: again)?|resets?)"
    r"(?: (?:in|after|for|at least|about))* ?:? ?"
    r"((?:\d[\d.]{0,18} ?[a-z]{1,12}(?:,? (?:and )?)?){1,4})",
    re.IGNORECASE,
)
_DEPTH = 6


def read_delay(headers: Mapping[str, str], body: Any, message: str) -> float | None:
    """Return the seconds to wait; None where nothing says so.

    ``retry-after-ms`` and ``Retry-After`` (a number or an HTTP date) come first, then Gemini's ``retryDelay`` or a
    ``retry_after`` in the body, then words such as "try again in 20s" or "retry after 1 minute".
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    for found in (_header(headers.get("Retry-After")), _in_body(body), _in_words(message)):
        if found is not None:
            return found
    return None


def _header(value: str | None) -> float | None:
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None or _is_number(value):
        return seconds
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return _duration(value)


def _in_body(value: Any) -> float | None:
    """The first field that says when to try again, however deep."""
    for name, item in _fields(value, _DEPTH):
        plain = re.sub(r"[^a-z]", "", name.lower())
        if plain in ("retrydelay", "retryafter", "retryafterseconds", "retryafterms", "retryaftermilliseconds"):
            number = _number(item)
            found = number if number is not None else _duration(item) if isinstance(item, str) else None
            if found is not None:
                return found / 1000 if plain.endswith(("ms", "milliseconds")) else found
    return None


def _fields(value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth and isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name), item
            yield from _fields(item, depth - 1)
    elif depth and isinstance(value, list):
        for item in value[:20]:
            yield from _fields(item, depth - 1)


def _in_words(message: str) -> float | None:
    found = _WORDS.search(message[:2000])
    return _duration(found.group(1)) if found else None


def _duration(text: str) -> float | None:
    """Seconds of "34.07s", "1m12s", "2 hours and 5 minutes"; None where no unit stands by a number."""
    terms = [(number or joined, unit or short) for number, unit, joined, short in _TERMS.findall(text[:60])]
    if not terms:
        return None
    return sum(float(number) * _SECONDS["ms" if unit.lower().startswith(("ms", "milli")) else unit[0].lower()] for number, unit in terms)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _number(value: Any) -> float | None:
    """A finite number of seconds, not below 0; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return max(number, 0.0) if number < float("inf") else None
