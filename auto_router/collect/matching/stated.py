"""What the strongest statement of a response says, and whether it is a reference by its words or as a Python value."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from auto_router.collect.matching.asked_number import repeats_condition
from auto_router.collect.matching.choices import UNCLEAR, Rejected, Unclear
from auto_router.collect.matching.dates import Date, Time, names_moment
from auto_router.collect.matching.doubts import is_doubted
from auto_router.collect.matching.final_answer import MAX_SENTENCE, Statement, is_corrected
from auto_router.collect.matching.names import same_country, shorten_name
from auto_router.collect.matching.quantities import Quantity, parse_quantity, same_quantity
from auto_router.collect.matching.reading import Reading
from auto_router.collect.matching.wordings import (
    asks_order,
    denies,
    differs_in_case,
    fold,
    is_close,
    list_items,
    list_names,
    list_wordings,
    read_bullets,
    read_literal,
    unquote,
)

Parsed = TypeVar("Parsed")


def read_stated(
    response: Reading,
    reader: Callable[[Statement], Parsed | Rejected | Unclear | None],
    prose: Sequence[Parsed | Rejected | Unclear | None] = (),
) -> Parsed | Rejected | Unclear | None:
    """Return what the strongest statement that says anything says; UNCLEAR where it is denied, taken back or contradicted."""
    for place, statement in enumerate(response.statements):
        value = reader(statement)
        if value is None:
            continue
        if value is UNCLEAR or is_corrected(response.text, statement):
            return UNCLEAR
        if isinstance(value, Rejected):
            return value
        conditions = not repeats_condition(statement.text, response.question)
        if not response.conditional and is_doubted(response.text, statement, conditions):
            return UNCLEAR
        if not statement.formal:
            others = [
                reader(other)
                for other in response.statements[place + 1 :]
                if other.source in ("answer", "line", "first", statement.source)
            ]
            if any(
                other not in (None, UNCLEAR) and not isinstance(other, Rejected) and not _agree(value, other)
                for other in others
            ):
                return UNCLEAR
        return value
    closing = Statement(next(iter(response.sentences), "") if prose else "", "answer", 0)
    if is_doubted("", closing, conditions=len(response.sentences) == 1):
        return UNCLEAR
    return next((value for value in prose if value is not None), None)


def _agree(one: Any, other: Any) -> bool:
    if isinstance(one, Quantity) and isinstance(other, Quantity):
        return same_quantity(one, other) is not False
    return bool(one == other)


def compare_value(value: Parsed | Rejected | Unclear | None, equal: Callable[[Parsed], bool | None]) -> bool | None:
    if isinstance(value, Rejected):
        return False if any(equal(one) for one in value.values) else None
    return None if value is None or isinstance(value, Unclear) else equal(value)


def match_part(response: Reading, compare: Callable[[str], bool | None]) -> bool | None:
    """Compare the wordings of each statement, the strongest first; the first that tells anything decides."""

    def read(statement: Statement) -> bool | None:
        verdicts = [verdict for part in list_wordings(statement) if (verdict := compare(part)) is not None]
        return True if True in verdicts else verdicts[0] if verdicts else None

    value = read_stated(response, read)
    return value if isinstance(value, bool) else None


def tells_moment(response: Reading, dates: tuple[Date, ...], time: Time | None) -> bool | None:
    """Whether a reply of one sentence that states nothing else tells the date or time that is expected; None where not."""
    if (
        len(response.sentences) != 1
        or len(response.text) > MAX_SENTENCE
        or any(s.source not in ("line", "bold") for s in response.statements)
    ):
        return None
    if is_doubted(response.text, Statement(response.text, "line", len(response.text))):
        return None
    return names_moment(response.text, dates, time) or None


def closes(response: Reading, expected: Quantity) -> bool:
    """Whether the strongest statement is another number, behind a marker that ends the reply: "**Final answer: 34**"."""
    first = next(iter(response.statements), None)
    said = parse_quantity(first.text) if first is not None and first.source in ("final", "answer") else None
    if first is None or said is None or said.value == expected.value or "%" in response.text:
        return False
    return response.text.rstrip(" .*$`").endswith(first.text.rstrip(" .*$`"))


def match_literal(response: Reading, reference: str) -> bool | None:
    """Compare Python values; another value of the same type is wrong, anything else proves nothing."""
    wanted = read_literal(reference)
    if wanted is None:
        return None

    def compare(part: str) -> bool | None:
        stated = read_literal(part)
        if type(stated) is not type(wanted):  # a dict is no list; a tuple may stand for one
            other = part == response.text and isinstance(stated, dict | list) and isinstance(wanted, dict | list)
            return False if other else None
        return (
            True
            if repr(stated) == repr(wanted) or (isinstance(wanted, set | dict) and stated == wanted)
            else None
            if is_close(stated, wanted)
            else False
        )

    return match_part(response, compare)


def same_sequence(answer: str, reference: str) -> bool | None:
    """Compare two lists of numbers: True in the same order, None in another one or where either is no such list.

    Where no order is asked for they are compared as sets, by :func:`same_expression`.
    """
    lists = [
        [parse_quantity(item) for item in re.split(r"\s*(?:,|\band\b)\s*", text.strip(" []()$.")) if item]
        for text in (answer, reference)
    ]
    one, other = ([item.value for item in items if item is not None] for items in lists)
    if min(map(len, lists)) < 2 or [len(one), len(other)] != list(map(len, lists)):
        return None
    return one == other or (None if sorted(one) == sorted(other) else False)


def has_same_words(response: Reading, reference: str) -> bool:
    """Whether the strongest statement, or the whole reply, is the reference to the word."""
    quoted = unquote(reference)
    strongest = response.statements[0] if response.statements else None
    first = strongest.text if strongest and not is_corrected(response.text, strongest) else ""
    texts = [response.text, first]
    if quoted is not None:
        return response.text[:1] != "[" and any(quoted in (text, unquote(text.strip("`. "))) for text in texts)
    wanted, number, said = fold(reference), parse_quantity(reference), parse_quantity(response.text)
    if (
        not wanted
        or (number and said and not same_quantity(said, number))  # "2 M" is not 2 m
        or (reference.isdigit() and (first or response.text).startswith("$"))  # of money it is a matter of the question
        or differs_in_case(first or response.text, reference)
        or (response.text.endswith(("?", "？")) and not reference.endswith(("?", "？")))
    ):
        return False  # "42?" asks
    if fold(response.text) == wanted:
        return True
    return fold(first) == wanted and not is_doubted(response.text, response.statements[0])


def match_words(response: Reading, reference: str) -> bool | None:
    """Match words; another wording proves nothing."""
    wanted = fold(reference)
    items, ordered = list_items(reference), asks_order(response.question)
    if response.statements and differs_in_case(response.statements[0].text, reference):
        return None

    bullets = ", ".join(read_bullets(response.text))
    if bullets and len(items) > 1:
        return True if fold(bullets) == wanted or (not ordered and list_items(bullets) == items) else None
    others: list[str] = []  # that stronger markers give

    def is_same(part: str) -> bool:
        said = [fold(name) for name in (part, *shorten_name(part, response.question))]
        return wanted in said or same_country(said[0], wanted) or (len(items) > 1 and not ordered and list_items(part) == items)

    def read(statement: Statement) -> bool | Unclear | None:
        same = any(is_same(part) for part in list_names(statement))
        marked = statement.source in ("final", "answer")
        if wanted and same:
            return UNCLEAR if others and marked else True
        others.extend([statement.text] if marked and wanted not in fold(statement.text) else [])
        return False if denies(statement.text, wanted) else None

    value = read_stated(response, read)
    return value if isinstance(value, bool) else None
