"""Lists of options in a response: marked as right or wrong, remarked upon below the answer, or counted ("the second one")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from auto_router.collect.matching.choices import MAX_RUN, UNCLEAR, Unclear, read_letter
from auto_router.collect.matching.final_answer import Statement
from auto_router.collect.matching.other_matters import find_ask
from auto_router.collect.matching.reading import Reading
from auto_router.collect.matching.vocabulary import NEGATION

_MARKED = re.compile(
    r"(?:^|(?<=\n)|(?<=[.;,✅❌✓✗✔✘])\s{1,3})[\s*#>|-]{0,6}(?:option |choice )?\(?(?P<letter>[A-Z])"
    r"(?:[).:][\s*]{0,3}|\s(?:→|->|=>|=|[–—-])\s|(?<![✅✓✔❌✗✘]\s[A-Z])[ \t]?(?=[✅✓✔❌✗✘]))"
    r"(?:(?P<right>yes|true|correct|right|[✅✓✔])|no|false|incorrect|wrong|[❌✗✘])\ufe0f?(?![^\W_])",
    re.IGNORECASE,
)


# "- B) Paris ✅"
_MARKED_LINE = re.compile(
    r"^[\s*#>|-]{0,6}(?:option |choice )?\(?(?P<letter>[A-Z])[).:]"
    r"[^\n✅✓✔❌✗✘]{1,120}?[\s*:–—-](?:(?P<right>[✅✓✔])|[❌✗✘])\ufe0f?[\s*.]*$",
    re.MULTILINE,
)


# Asked for what is wrong, one marks the option that is asked for, and another those that are true.
_ASKS_WRONG = re.compile(r"\b(?i:not|except|false|untrue|incorrect|wrong|least)\b|n['’]t\b")
_ALL = re.compile(
    r"(?:the answer is )?(?P<which>all|none) of (?:the above|the options|these|them)(?P<told> (?:is|are) [^.,;]{1,60})?\W*",
    re.IGNORECASE,
)
# "Hence, both statements I and II are true." of the option "Both I and II"
_STATEMENTS = re.compile(
    r"^(?:(?:so|hence|thus|therefore),? )|\b(?:statements?|assertions?|options?) (?=[IVX\d]+\b)", re.IGNORECASE
)
_CALLED_TRUE = re.compile(r"\s+(?:(?:is|are) (?:both )?(?:true|correct|right)|holds?(?: true)?)\W*$", re.IGNORECASE)


def read_marked_options(text: str, letters: str, question: str = "") -> str | Unclear | None:
    """Return the one option that a list of them marks as right: "A: ❌ B: ✅", "(A) No (B) Yes"; None for no such list."""
    found_all = [found for pattern in (_MARKED, _MARKED_LINE) for found in pattern.finditer(text[: 3 * MAX_RUN])]
    marked = [found for found in found_all if found.group("letter").upper() in letters]
    right = {found.group("letter").upper() for found in marked if found.group("right")}
    if len(marked) < 2:
        return None
    return right.pop() if len(right) == 1 and not _ASKS_WRONG.search(question) else UNCLEAR


_WHICH_IS_WRONG = re.compile(
    r"\b(?:which|what|all|each|one|select|choose|identify|find|pick)\b[^.?!\n]{0,120}?"
    r"\b(?:except|false|untrue|incorrect|wrong|invalid|(?:not|n['’]t) (?:\w+ ){0,2}(?:true|correct|right|accurate|valid))\b",
    re.IGNORECASE,
)
_CALLED = re.compile(
    r"^(?!.*\banswer\b).*\b(?:is|are|was|were)(?:n['’]t)?\s+(?:\w+ly\s+)?(?:not\s+)?(?:true|false|correct|incorrect|wrong|right|untrue|accurate|valid)\b"
    r"(?!\s+(?:option|choice))",
    re.IGNORECASE | re.DOTALL,
)


def drop_called(response: Reading) -> Reading:
    """Return a response to "Which is false?" without what only calls an option true or false: "B is false" is for B there."""
    if not _WHICH_IS_WRONG.search(response.question):
        return response
    statements = [one for one in response.statements if one.formal or not _CALLED.search(one.text)]
    return replace(response, statements=statements, sentences=[one for one in response.sentences if not _CALLED.search(one)])


_REMARK = re.compile(r"[\s*#>•-]{0,6}(?:option |choice )?\(?(?P<letter>[A-Z])[).:*]", re.IGNORECASE)
_CALLED_RIGHT = re.compile(r"(?<!in)\bcorrect|\b(?:right|true|best|answer)\b|[✅✓✔]", re.IGNORECASE)


def drop_remarks(text: str, statements: Sequence[Statement], letters: str) -> Sequence[Statement]:
    """Return the statements without a last line that is one of several remarks on options ("(A) is too small")."""
    first = next(iter(statements), None)
    if first is None or first.source not in ("final", "answer"):
        return statements
    stated = read_letter(first.text, letters)
    lines = [(found["letter"].upper(), line) for line in text[first.end :].splitlines() if (found := _REMARK.match(line))]
    turned = any(_CALLED_RIGHT.search(line) and not NEGATION.search(line) and letter != stated for letter, line in lines)
    return statements if len(lines) < 2 or turned else [one for one in statements if one.source != "line"]


_NTH = ("first", "second", "third", "fourth", "fifth", "last")
_PLACE = re.compile(
    rf"(?:(?:it is|it's|the answer is) )?(?:(?:the )?({'|'.join(_NTH)}) (?:option|choice|one)"
    r"|(?:option|choice) (\d|one|two|three|four|five))\W*",
    re.IGNORECASE,
)


def read_nth(text: str, count: int) -> int | None:
    """Return the place of the option that a reply names by its number: "the second option", "Option 2"; None for any other."""
    found = _PLACE.fullmatch(text)
    if found is None:
        return None
    counted = ("", "one", "two", "three", "four", "five")
    sign = (found.group(2) or "").lower()
    place = (
        _NTH.index(found.group(1).lower()) if found.group(1) else (counted.index(sign) if sign in counted else int(sign)) - 1
    )
    return count - 1 if found.group(1) and place == len(_NTH) - 1 else place


def read_all_or_none(text: str, question: str = "") -> str:
    """Return "all" or "none" of a text that says so of the options: "None of these is a gas."; else ""."""
    found = _ALL.fullmatch(text)
    if found is None or (found["told"] and NEGATION.search(find_ask(question) + found["told"])):
        return ""  # "All of these are gases" to "Which is not a gas?"
    return found["which"].lower()


def shorten_statements(text: str) -> str:
    """Return "Both I and II" of "Hence, both statements I and II are true."."""
    return _CALLED_TRUE.sub("", _STATEMENTS.sub("", text))
