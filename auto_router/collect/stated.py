r"""What a response states as its answer: the part of it that is compared, and the choices it names.

The *final answer* is the content of the last ``\boxed{}``, what follows the last "answer is" or "answer:", the ``answer`` field
of a JSON reply, or the reply itself where nothing marks one.
"""

from __future__ import annotations

import json
import re

LETTERS = "ABCDEFGHIJKLMNOPQR"  # the longest lists of options in common test sets end here

_JSON_ANSWER = re.compile(r'"answer"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|(-?[\d.]+|true|false))')
_MARKER = re.compile(
    r"(?:(?:correct )?(?:answer|option|choice)|result|output)(?: to [^.\n]{0,80}?)?\s*(?:is|:|=|would be)\s*:?\s*",
    re.IGNORECASE,
)
_START = re.compile(rf"(?:option |choice )?(?:[(\[]([{LETTERS}])[)\]]|([{LETTERS}])(?:[)\].:,]|$|\s+-))", re.IGNORECASE)
_JOINT = rf"(?:\s*(?:,|;|/|&|and|or)\s*)+[(\[]?[{LETTERS}](?!\w)"
_LIST = re.compile(rf"[(\[]?[{LETTERS}][)\]]?(?:(?:\s*(?:,|;|&|and)\s*)+[(\[]?[{LETTERS}][)\]]?)*", re.IGNORECASE)


def final_answer(response: str) -> str:
    """Return the part of a response that states its answer; the whole response where nothing marks one."""
    text = response.strip()
    stated = _json_answer(text)
    if stated is not None:
        return stated
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed
    for marker in reversed(list(_MARKER.finditer(text))):
        tail = text[marker.end() :].strip()
        if tail:
            return tail.split("\n", 1)[0].strip()
    return text


def chosen_letter(final: str, response: str = "") -> str | None:
    """Return the one choice letter that an answer states, upper case; None where it states none, or several."""
    for text in (final, response):
        text = text.strip().lstrip("*`\"' ")
        found = _START.match(text)
        letter = (found.group(1) or found.group(2)).upper() if found else ""
        if found and not (letter == "I" and found.group(2) and len(text) > 2):  # "I, as a model, …"
            joined = re.match(_JOINT, text[found.end() - (text[found.end() - 1] == ",") :], re.IGNORECASE)
            bracketed = set(re.findall(rf"\(([{LETTERS}])\)", text.split("\n", 1)[0]))
            return None if joined or (found.group(1) and len(bracketed) > 1) else letter
    bracketed = {a or b for a, b in re.findall(rf"\(([{LETTERS}])\)|\b([{LETTERS}])\)", final)}
    letters = bracketed or set(re.findall(r"(?<![A-Za-z'])([B-H]|A(?=[.,:)]|$))(?![A-Za-z'])", final))
    return letters.pop() if len(letters) == 1 else None


def chosen_letters(text: str) -> frozenset[str] | None:
    """Return the letters of a text that is a list of them ("b,c,d", "(A) and (C)", "ACD"); None for any other."""
    text = text.strip().strip("*`\"'.[]{} ")
    if re.fullmatch(rf"[{LETTERS}]{{2,6}}", text):
        return frozenset(text) if sorted(set(text)) == list(text) else None
    if not _LIST.fullmatch(text):
        return None
    return frozenset(re.findall(rf"(?<![A-Za-z])([{LETTERS}])(?![A-Za-z])", text.upper()))


def _json_answer(text: str) -> str | None:
    """Return the ``answer`` field of a JSON reply, whether or not it stands in a code fence."""
    document = text[text.find("{") : text.rfind("}") + 1] if "{" in text else ""
    if '"answer"' not in document:
        return None
    try:
        answer = json.loads(document, strict=False).get("answer")
    except (ValueError, RecursionError):  # LaTeX inside JSON is seldom escaped as it should be
        found = _JSON_ANSWER.findall(document)
        return (found[-1][0] or found[-1][1]).replace("\\\\", "\\") if found else None
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
