"""Decide an answer against its reference without a model: choices, numbers, yes/no, lists, literals, exact wording.

:func:`match` says True, False or None. None means that these rules cannot tell, which is a matter for a judge and never
counts as wrong.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections import Counter
from typing import Any

from auto_router.collect.numbers import last_quantity, plain_math, quantity, same_quantity
from auto_router.collect.stated import LETTERS, chosen_letter, chosen_letters, final_answer

SHORT_REPLY_WORDS = 12
MAX_LITERAL = 4000  # characters; more is no answer, and ast takes its time for it

_CHOICE_REFERENCE = re.compile(rf"\(?([{LETTERS}])[).]?", re.IGNORECASE)
_SPAN = re.compile(r"`([^`\n]+)`|\*\*([^*\n]+)\*\*|\"([^\"\n]+)\"|'([^'\n]+)'|“([^”\n]+)”")
_YES_NO = {"yes": True, "true": True, "no": False, "false": False}


def match(response: str, reference: str) -> bool | None:
    """Is ``response`` right by its ``reference``? None where no rule can tell.

    Letters A–R are taken as a choice, several as a set; numbers are compared by value, with their units; yes/no/true/false
    by word; lists of numbers or words as sets; Python literals by value; any other reference only by equal wording, where a
    difference proves nothing (None).
    """
    reference = reference.strip()
    if not reference:
        return None
    final = final_answer(response)
    quoted = _unquote(reference)
    if quoted is not None:  # a quoted reference is a string literal: every character counts
        return True if quoted in {final, *map(_unquote, _wordings(final))} else None
    if _normal(reference) and _normal(reference) in (_normal(final), _normal(response)):
        return True
    if _CHOICE_REFERENCE.fullmatch(reference):
        letter = chosen_letter(final, response)
        return None if letter is None else letter == reference.strip("().").upper()
    if reference.lower() in _YES_NO:
        words = [word for word in re.findall(r"[a-z]+", final.lower()) if word in _YES_NO]
        return None if len(set(words)) != 1 else _YES_NO[words[0]] == _YES_NO[reference.lower()]
    letters = chosen_letters(reference)
    if letters is not None and len(letters) > 1:
        stated = chosen_letters(final)
        return None if stated is None else stated == letters
    expected = quantity(reference)
    if expected is not None:
        found = None if len(_numbers(final)) > 1 else last_quantity(final)
        return None if found is None else same_quantity(found, expected)
    if reference[0] in "[({":
        return _same_literal(final, reference)
    if _same_list(final, reference):
        return True
    return True if _normal(reference) in {_normal(span) for span in _wordings(final)} - {""} else None


def _same_literal(final: str, reference: str) -> bool | None:
    """Compare Python values; another value of the same type is wrong, anything else proves nothing."""
    wanted = _literal(reference)
    for wording in _wordings(final):
        stated = _literal(wording)
        if wanted is not None and type(stated) is type(wanted):
            return bool(stated == wanted)
        if _normal(wording) == _normal(reference):
            return True
    return None


def _literal(text: str) -> Any:
    text = text.strip().strip("`").rstrip(".").strip()
    if not text or text[0] not in "[({" or len(text) > MAX_LITERAL:
        return None
    try:
        tree = ast.parse(text, mode="eval")
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict) and len({ast.dump(key) for key in node.keys if key}) < len(node.keys):
                return None  # no Python prints a key twice
        return ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _same_list(final: str, reference: str) -> bool:
    """Whether both list the same items, in whatever order; numbers by value. What differs proves nothing."""
    wanted = _items(reference)
    return len(wanted) > 1 and any(_items(wording) == wanted for wording in _wordings(final))


def _numbers(text: str) -> Counter[object]:
    """Return the numbers of a text that is a list of them; empty for any other text."""
    items = _items(text)
    return items if all(isinstance(item, tuple) for item in items) else Counter()


def _items(text: str) -> Counter[object]:
    if len(text) > MAX_LITERAL:
        return Counter()
    parts = [part for part in re.split(r"\s*(?:,(?!\d{3}(?!\d))|[;\n]|\band\b|&)\s*", plain_math(text)) if part.strip()]
    numbers = [quantity(re.sub(r"^[A-Za-z]\w?\s*=\s*", "", part)) for part in parts]
    return Counter((n.value, n.unit) if n else _normal(part.lstrip("-*• ")) for n, part in zip(numbers, parts, strict=True))


def _wordings(final: str) -> list[str]:
    """Return what a reply may state in words: itself, its one marked span, or what follows its last "is" or colon."""
    spans = {next(group for group in found.groups() if group) for found in _SPAN.finditer(final)}
    stated = [final, *(spans if len(spans) == 1 else ())]
    if len(final.split()) <= SHORT_REPLY_WORDS * 3:
        stated += [part for mark in (" is ", ": ", " = ", " are ") if mark in final for part in [final.rsplit(mark, 1)[1]]]
    return stated


def _unquote(text: str) -> str | None:
    """Return what stands between the quotes of a text that is one quoted string; None for any other."""
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"`"
    return text[1:-1] if quoted and text[0] not in text[1:-1] else None


def _normal(text: str) -> str:
    """Fold case, width, white space, LaTeX spacing, surrounding punctuation and a leading article; [] is not {}."""
    text = unicodedata.normalize("NFKC", text).casefold().strip()
    if "\\" in text:
        text = re.sub(r"\\(?:left|right|!|,|;|:)|\\text(?:bf)?\s*(?=\{)", "", text).replace("\\dfrac", "\\frac")
        text = re.sub(r"\s*([{}()^_+*/=-])\s*", r"\1", text)
    text = re.sub(r"\s+", " ", text).strip(" .,:;!?\"'`*“”‘’$")
    text = re.sub(r"\s*,\s*", ", ", text)
    return re.sub(r"^(?:the|a|an) ", "", text)
