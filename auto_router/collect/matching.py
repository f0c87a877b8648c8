r"""Decide an answer against its reference without a model: multiple choice, numbers, yes/no, exact wording.

:func:`match` says True, False or None. None means that these rules cannot tell, which is a matter for a judge and never
counts as wrong. What is compared is the *final answer*: the content of the last ``\boxed{}``, what follows the last
"answer is" or "answer:", the ``answer`` field of a JSON reply, or the reply itself where it is short.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from fractions import Fraction

CHOICE_LETTERS = "ABCDEFGHIJ"
SHORT_REPLY_WORDS = 12

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?(?:\s*/\s*\d+)?|[-+]?\.\d+")
_CHOICE_REFERENCE = re.compile(rf"\(?([{CHOICE_LETTERS}])[).]?", re.IGNORECASE)
_CHOICE_START = re.compile(rf"(?:option |choice )?[(\[]?([{CHOICE_LETTERS}])(?:[)\].:,]|$|\s+-)", re.IGNORECASE)
_MARKER = re.compile(
    r"(?:(?:correct )?(?:answer|option|choice)|result|output)(?: to [^.\n]{0,80}?)?\s*(?:is|:|=|would be)\s*:?\s*",
    re.IGNORECASE,
)
_SPAN = re.compile(r"`([^`\n]+)`|\*\*([^*\n]+)\*\*|\"([^\"\n]+)\"|'([^'\n]+)'|“([^”\n]+)”")
_YES_NO = {"yes": True, "true": True, "no": False, "false": False}


def match(response: str, reference: str) -> bool | None:
    """Is ``response`` right by its ``reference``? None where no rule can tell.

    Letters A–J are taken as a choice, numbers are compared by value, yes/no/true/false by word; any other reference
    only by equal wording, where a difference proves nothing (None).
    """
    reference = reference.strip()
    if not reference:
        return None
    final = final_answer(response)
    literal = _unquoted(reference)
    if literal is not None:  # a quoted reference is a string literal: every character counts
        return True if literal in {final, *map(_unquoted, _wordings(final))} else None
    if _normal(reference) and _normal(final) == _normal(reference):
        return True
    if _CHOICE_REFERENCE.fullmatch(reference):
        letter = chosen_letter(final, response)
        return None if letter is None else letter == reference.strip("().").upper()
    if reference.lower() in _YES_NO:
        words = [word for word in re.findall(r"[a-z]+", final.lower()) if word in _YES_NO]
        return None if len(set(words)) != 1 else _YES_NO[words[0]] == _YES_NO[reference.lower()]
    expected = number(reference)
    if expected is not None:
        found = last_number(final)
        return None if found is None else math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-9)
    return True if _normal(reference) in {_normal(span) for span in _wordings(final)} - {""} else None


def final_answer(response: str) -> str:
    """Return the part of a response that states its answer; the whole response where nothing marks one."""
    text = response.strip()
    stated = _json_answer(text)
    if stated is not None:
        return stated
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed
    markers = list(_MARKER.finditer(text))
    for marker in reversed(markers):
        tail = text[marker.end() :].strip()
        if tail:
            return tail.split("\n", 1)[0].strip()
    return text


def chosen_letter(final: str, response: str = "") -> str | None:
    """Return the choice letter that an answer states first, upper case; None where it states none."""
    for text in (final, response):
        found = _CHOICE_START.match(text.strip().lstrip("*`\"' "))
        if found:
            return found.group(1).upper()
    bracketed = set(re.findall(rf"\(([{CHOICE_LETTERS}])\)|\b([{CHOICE_LETTERS}])\)", final))
    letters = {a or b for a, b in bracketed} or set(re.findall(r"(?<![A-Za-z'])([B-H]|A(?=[.,:)]|$))(?![A-Za-z'])", final))
    return letters.pop() if len(letters) == 1 else None


def number(text: str) -> float | None:
    """Return the value of a text that is a number and nothing else (currency, percent and commas allowed)."""
    cleaned = _plain_math(text).strip().strip("$€£%").strip()
    found = _NUMBER.fullmatch(cleaned)
    return None if found is None else _value(cleaned)


def last_number(text: str) -> float | None:
    """Return the last number in a text; None where there is none."""
    found = _NUMBER.findall(_plain_math(text))
    return _value(found[-1]) if found else None


def _value(text: str) -> float | None:
    text = text.replace(",", "").replace(" ", "")
    try:
        return float(Fraction(text)) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def _plain_math(text: str) -> str:
    text = re.sub(r"\\d?frac\{(\d+)\}\{(\d+)\}", r"\1/\2", text)
    text = re.sub(r"(?<=[A-Za-z])(?:\^\{?-?\d+\}?|[²³])", "", text)  # the power of a unit or a variable is no number
    return (
        text.replace("{,}", ",").replace("−", "-").replace("\\!", "").replace("\\,", "").replace("\\$", "$").replace("\\%", "%")
    )


def _json_answer(text: str) -> str | None:
    """Return the ``answer`` field of a JSON reply, whether or not it stands in a code fence."""
    document = text[text.find("{") : text.rfind("}") + 1] if "{" in text else ""
    if '"answer"' not in document:
        return None
    try:
        answer = json.loads(document, strict=False).get("answer")
    except (ValueError, RecursionError):
        return None
    return None if answer is None or isinstance(answer, dict | list) else str(answer)


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 1, start + len("\\boxed{")
    for position in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[begin:position]
    return None


def _wordings(final: str) -> list[str]:
    """Return what a reply may state in words: itself, its one marked span, or what follows its last "is" or colon."""
    spans = {next(group for group in found.groups() if group) for found in _SPAN.finditer(final)}
    stated = [final, *(spans if len(spans) == 1 else ())]
    if len(final.split()) <= SHORT_REPLY_WORDS * 3:
        stated += [part for mark in (" is ", ": ", " = ", " are ") if mark in final for part in [final.rsplit(mark, 1)[1]]]
    return stated


def _unquoted(text: str) -> str | None:
    """Return what stands between the quotes of a text that is one quoted string; None for any other."""
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"`"
    return text[1:-1] if quoted and text[0] not in text[1:-1] else None


def _normal(text: str) -> str:
    """Fold case, width, white space, surrounding punctuation and a leading article; brackets count: [] is not {}."""
    text = unicodedata.normalize("NFKC", text).casefold().strip()
    text = re.sub(r"\s+", " ", text).strip(" .,:;!?\"'`*“”‘’$")
    text = re.sub(r"\s*,\s*", ", ", text)
    return re.sub(r"^(?:the|a|an) ", "", text)
