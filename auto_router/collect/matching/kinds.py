"""Kinds of references whose members all differ, so that another member is wrong: Roman numerals, weekdays, errors, O(n)."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable

from auto_router.collect.matching.dates import read_dates
from auto_router.collect.matching.vocabulary import list_words

_ROMAN = re.compile(r"(?=[MDCLXVI]{1,15}$)M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_DAYS = frozenset(list_words("monday tuesday wednesday thursday friday saturday sunday"))
_SHORT_DAYS = {short: day for day in _DAYS for short in (day[:3], day[:4], day[:5], day) if short not in ("sun", "sat")}
_ERROR = re.compile(r"(?:[A-Z][a-z]+){1,4}(?:Error|Exception)(?=:|$)")
_ORDER = re.compile(r"\\?(?:mathcal\s*\{\s*)?O\s*\}?\s*\((.{1,40})\)")
_ANY_ORDER = re.compile(r"\bO\((?:[^()]|\([^()]{1,20}\)){1,30}\)")
_ORDERS = frozenset(list_words("1 n n^2 n^3 n^4 2^n n! logn nlogn n^2logn sqrtn"))


def _read_roman(text: str) -> str | None:
    return text if _ROMAN.fullmatch(text) else None


def _read_day(text: str) -> str | None:
    dated = re.fullmatch(r"([A-Z][a-z]+day),? (.{4,30})", text)
    text = dated.group(1) if dated and read_dates(dated.group(2)) else text  # "Monday, April 13, 2020"
    return _SHORT_DAYS.get(text.lower()) if len(text) > 5 or text[:1].isupper() else None  # "wed" is a word


def _read_error(text: str) -> str | None:
    found = _ERROR.match(re.sub(r"^(?:an? |the )", "", text))
    return found.group() if found else None


def _read_order(text: str) -> str | None:
    """Return the usual order of growth that a text is, as "nlogn"; None for one of another form or in other letters."""
    found = _ORDER.fullmatch(text.replace("²", "^2").replace("³", "^3").replace("√", "sqrt"))
    inner = re.sub(r"\\(?:left|right|cdot)|[\\\s*{}]", "", found.group(1)).replace("log_2", "log") if found else ""
    inner = re.sub(r"(log|sqrt)\((\w)\)", r"\1\2", inner)
    return inner if inner in _ORDERS else None


_READERS: tuple[Callable[[str], str | None], ...] = (_read_roman, _read_day, _read_error, _read_order)


def read_kind(reference: str) -> Callable[[str], bool | None] | None:
    """Return what compares a wording with a reference of one of the kinds; None for any other reference, and for one letter.

    True for the same member, False for another one, None for a wording that is none, or may mean the same: an error's base.
    """
    bare = _strip_marks(reference)
    reader = next((read for read in _READERS if len(bare) > 1 and read(bare) is not None), None)
    if reader is None:
        return None
    wanted = reader(bare)

    def compare(part: str) -> bool | None:
        said = reader(_strip_marks(part))
        if said is None or wanted is None or said == wanted:
            return None if said is None else True
        return None if reader is _read_error and _is_related(said, wanted) else False

    return compare


def _is_related(one: str, other: str) -> bool:
    """Whether one error is a kind of the other; of errors that Python does not have, nobody knows."""
    known = [vars(builtins).get(name, Exception) for name in (one, other)]
    return issubclass(known[0], known[1]) or issubclass(known[1], known[0])


def names_several(text: str) -> bool:
    """Whether a text gives several orders of growth: of time and of space, on average and at worst."""
    return len({_read_order(found.group()) for found in _ANY_ORDER.finditer(text)}) > 1


def _strip_marks(text: str) -> str:
    """Return a wording without what is set around it."""
    return re.sub(r"\\(?:text|mathrm)\s*\{([^{}]*)\}", r"\1", text).strip(" $*`_\"'.,;!")
