"""Decide an answer against its reference without a model: True, False, or None where no rule can tell.

A rule decides only on an answer that is *stated* (:mod:`final_answer`). None is a matter for a judge and never counts as wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from auto_router.collect.matching.asked_number import leaves_open, misses_number, read_asked, repeats_condition
from auto_router.collect.matching.bounds import read_bound, same_bound
from auto_router.collect.matching.choices import (
    UNCLEAR,
    Rejected,
    Unclear,
    read_letter,
    read_letters,
    read_truth,
    truth_value,
)
from auto_router.collect.matching.dates import is_moment, read_dates, read_time, same_date, same_time
from auto_router.collect.matching.doubts import is_doubted
from auto_router.collect.matching.expressions import same_expression
from auto_router.collect.matching.final_answer import (
    MAX_STATEMENT,
    Statement,
    clip,
    find_statements,
    is_corrected,
    last_sentences,
    read_worked_answer,
    strip_reasoning,
    well_formed,
)
from auto_router.collect.matching.quantities import Quantity, parse_quantity, same_quantity
from auto_router.collect.matching.restated import MAX_QUESTION, Claim, read_claim, read_conclusion
from auto_router.collect.matching.stated_number import names_value, read_number, read_sentence
from auto_router.collect.matching.wordings import (
    OPTION,
    denies,
    fold,
    is_close,
    is_range,
    keep_same_name,
    list_alternatives,
    list_items,
    list_wordings,
    read_literal,
    read_range,
    unquote,
)

LETTERS = "ABCDEFGH"  # options of which a reference says nothing further
MAX_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_REFERENCE = 20_000  # characters

Parsed = TypeVar("Parsed")
_MATHS = re.compile(
    r"[\\^√∛π∞∪±]|\d\s*[-+*/]\s*[\w(]|[a-z]\s*[-+=*/^]|[a-z]\s*\(|\d[a-z]\b|[-+]\s*\d|^[(\[{].*[)\]}]$|^-?[\d.]+\s*,\s*-?[\d.]+|_\d"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A response as the rules read it: its text, what it states (the strongest first), its sentences from the last one back."""

    text: str
    statements: Sequence[Statement]
    sentences: Sequence[str]
    conditional: bool = False  # the reference itself is tied to a condition
    question: str = ""
    claim: Claim | None = None  # what the question asks whether it is so


def read_response(text: str) -> Reading:
    """Read a response that is free of reasoning; of a very long one only the two ends."""
    text = clip(text).strip()
    fenced = re.fullmatch(r"```\w*\n([^`]*)\n```", text)
    text = fenced.group(1).strip() if fenced else text
    return Reading(text, find_statements(text), last_sentences(text))


def match(response: str, references: str | Sequence[str], choices: Sequence[str] = (), question: str = "") -> bool | None:
    """Is ``response`` right by its reference? None where no rule can tell.

    Args:
        references: one right answer, or several: right if any matches, wrong only if every one is decidedly missed. A reference
            that is a worked solution is read to its final value, one that is a printed list or SQuAD struct to its items.
        choices: the texts of the options in their order (A, B, …), so that an option's text stands for its letter and back.
        question: the prompt. Where it asks whether something is so, an answer may say yes or no in the question's own words.
    """
    answer = strip_reasoning(well_formed(response))
    if not answer:
        return None
    question = well_formed(question)[-MAX_QUESTION:]
    read = replace(read_response(answer), question=question, claim=read_claim(question))
    choices = [well_formed(choice) for choice in choices]
    given = [references] if isinstance(references, str) else references
    wanted = [item for reference in given for item in list_alternatives(well_formed(reference))]
    verdicts = [_match(read, reference[:MAX_REFERENCE], choices) for reference in wanted if reference.strip()]
    if True in verdicts:
        return True
    return False if verdicts and None not in verdicts else None


def _match(response: Reading, reference: str, choices: Sequence[str]) -> bool | None:
    reference = read_worked_answer(reference.strip()).strip()
    if not reference:
        return None
    place = _option_place(reference, choices)
    if place is not None:
        verdict = _match_option(response, place, choices)
        if verdict is None and all(is_moment(choice) for choice in choices):
            verdict = _match_value(response, choices[place].strip())  # another moment than all of the options' is wrong
        if verdict is not None:
            return verdict if isinstance(verdict, bool) else None
    if _has_same_words(response, reference):
        return True
    response = replace(response, conditional=is_doubted("", Statement(reference, "line", 0)))
    quoted = unquote(reference)
    if quoted is not None:  # a quoted reference is a string literal: every character counts
        return _match_literal(response, reference)
    bare = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", reference).replace("$", "").strip()
    option = OPTION.match(bare)
    named = option if option and option.group("text") else None
    if named or re.fullmatch(r"\(?[A-Za-z][).]?", bare):
        letter = str(named.group("letter") or named.group("inner")) if named else bare.strip("().")
        by_letter = _match_letter(response, letter.upper())
        return _match(response, named.group("text"), ()) or None if by_letter is None and named else by_letter
    letters = read_letters(bare, LETTERS)
    if letters is not None and len(letters) > 1:
        return _match_letters(response, letters)
    truth = truth_value(reference)
    if truth is not None:
        return _compare(_read_truth_of(response), lambda value: value is truth)
    return _match_value(response, reference)


def _read_truth_of(response: Reading) -> bool | Rejected | Unclear | None:
    """Read what a response states of a yes/no question; where it states nothing, what it says in the question's own words."""
    stated = _read(response, lambda s: read_truth(s.text))
    if response.claim is not None:
        said = read_conclusion(response.sentences, response.claim)
        if said is not None and stated is None:
            return said
        if isinstance(said, bool) and said is (not stated):  # "the answer is yes: the coin is tails up"
            return UNCLEAR
    return stated if stated is not None else _read(response, lambda s: None, [read_truth(s) for s in response.sentences[:1]])


def _match_value(response: Reading, reference: str) -> bool | None:
    """Match a date, a time, a number, mathematics, a Python literal or words."""
    dates = read_dates(reference)
    if dates:
        verdict = _match_part(response, lambda part: same_date(found, dates) if (found := read_dates(part)) else None)
        return verdict if verdict is not None or not reference.isdigit() else _match_number(response, reference)
    time = read_time(reference, reference=True)
    if time is not None:
        return _match_part(response, lambda part: same_time(found, time) if (found := read_time(part)) else None)
    if is_range(reference):
        parts = [part for statement in response.statements for part in list_wordings(statement)]
        return True if any(read_range(part) == read_range(reference) for part in parts) else None
    bound = read_bound(reference)
    if bound is not None and _match_part(response, lambda part: bool((b := read_bound(part)) and same_bound(b, bound)) or None):
        return True
    if re.fullmatch(r"-?\d+,-?\d+", reference) and parse_quantity(reference) is not None:  # a decimal comma, or two numbers
        verdicts = [
            _match_number(response, reference),
            _match_part(response, lambda part: same_expression(part, reference + ",")),
        ]
        return True if True in verdicts else False if verdicts == [False, False] else None
    if parse_quantity(reference) is not None:
        return _match_number(response, reference)
    response = replace(response, statements=keep_same_name(response.statements, reference))
    if reference[0] in "[({":
        verdict = _match_literal(response, reference)
        if verdict is not None:
            return verdict
    if _MATHS.search(reference):
        verdict = _match_part(
            response, lambda part: same_expression(part, reference) if _MATHS.search(part) or parse_quantity(part) else None
        )
        if verdict is not None:
            return verdict
    return _match_words(response, reference)


def _read(
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
    closing = Statement(response.sentences[0] if prose else "", "answer", 0)
    if is_doubted("", closing, conditions=len(response.sentences) == 1):
        return UNCLEAR
    return next((value for value in prose if value is not None), None)


def _agree(one: Any, other: Any) -> bool:
    if isinstance(one, Quantity) and isinstance(other, Quantity):
        return same_quantity(one, other) is not False
    return bool(one == other)


def _compare(value: Parsed | Rejected | Unclear | None, equal: Callable[[Parsed], bool | None]) -> bool | None:
    if isinstance(value, Rejected):
        return False if any(equal(one) for one in value.values) else None
    return None if value is None or isinstance(value, Unclear) else equal(value)


def _match_letter(response: Reading, letter: str) -> bool | None:
    letters = LETTERS if letter in LETTERS else MAX_LETTERS[: MAX_LETTERS.index(letter) + 1]
    prose = [
        read_letter(sentence, letters)
        for sentence in (response.sentences[:1] if len(response.sentences) < 3 else response.sentences[:2])
    ]
    value = _read(response, lambda s: read_letter(s.text, letters, stands_alone=s.source in ("line", "first", "bold")), prose)
    return _compare(value, lambda found: found == letter)


def _match_letters(response: Reading, letters: frozenset[str]) -> bool | None:
    value = _read(response, lambda s: read_letters(s.text, LETTERS))
    return _compare(value, lambda found: found == letters)


def _match_number(response: Reading, reference: str) -> bool | None:
    """Match a number; "wrong" only where the reference's value occurs nowhere in the answer, or the statement is formal."""
    expected = parse_quantity(reference)
    if expected is None:
        return None

    def read(statement: Statement) -> Quantity | Rejected | Unclear | None:
        if statement.source in ("line", "first", "bold") and (statement.text != response.text or len(response.sentences) > 1):
            return parse_quantity(statement.text)
        return read_number(statement.text, leading=statement.source == "hash")

    value = _read(response, read, [read_sentence(sentence) for sentence in response.sentences[:1]])
    same = _compare(value, lambda found: same_quantity(found, expected))
    if (
        same
        and expected.unit.dimension == "percent"
        and isinstance(value, Quantity)
        and not value.unit.dimension
        and "%" in response.text
    ):
        return None  # a bare number beside percentages may be something else
    if same is False and not isinstance(value, Rejected):
        formal = bool(response.statements) and response.statements[0].formal
        text = response.statements[0].text if formal else response.text
        if parse_quantity(text) is not None or not names_value(text, expected):
            given = next((one.text for one in response.statements if read(one) is not None), None)
            return None if not formal and leaves_open(given, response.sentences, expected) else False
    if same or isinstance(value, Rejected):
        return same
    marked = any(statement.source not in ("line", "first") for statement in response.statements)
    if marked or isinstance(value, Quantity):
        return None
    counted = read_asked(response.sentences[0], response.question) if response.sentences else None
    if counted is not None and same_quantity(counted, expected):
        return True
    return False if misses_number(response.text, response.sentences, expected) else None


def _option_place(reference: str, choices: Sequence[str]) -> int | None:
    """Return which option a reference is, by its text or its letter; None where it is none."""
    bare = reference.strip("(). ").upper()
    named = [place for place, choice in enumerate(choices) if fold(choice) == fold(reference)]
    letters = MAX_LETTERS[: len(choices)]
    return named[0] if len(named) == 1 else letters.index(bare) if len(bare) == 1 and bare in letters else None


def _match_option(response: Reading, wanted: int, choices: Sequence[str]) -> bool | Unclear | None:
    """Match by which option is meant: its letter, its text, or both; UNCLEAR where they contradict."""
    letters = MAX_LETTERS[: len(choices)]

    def read(statement: Statement) -> int | Rejected | Unclear | None:
        letter = read_letter(statement.text, letters, stands_alone=statement.source in ("line", "first", "bold"))
        option = OPTION.match(statement.text)
        inside = re.search(r"\b([A-Z])\)?\s*\(([^()]{1,200})\)[.\s]*$", statement.text)  # "B (12)"
        part = option.group("text") if option and option.group("text") else inside.group(2) if inside else statement.text
        text = _which(replace(statement, text=part), choices)
        if isinstance(letter, Rejected):
            return Rejected(tuple(letters.index(one) for one in letter.values))
        if letter is None and inside and text is not None and text != letters.find(inside.group(1)):
            return UNCLEAR
        if letter is None or isinstance(letter, Unclear):
            return text if text is not None else letter
        place = letters.index(letter)
        return place if not isinstance(text, int) or text == place else UNCLEAR

    prose = [read(Statement(sentence, "answer", 0)) for sentence in response.sentences[:1]]
    value = _read(response, read, prose)
    return value if isinstance(value, Unclear) else _compare(value, lambda place: place == wanted)


def _which(statement: Statement, choices: Sequence[str]) -> int | None:
    """Return the place of the one option whose text a statement is."""
    if len(statement.text) > MAX_STATEMENT:
        return None
    whole = Reading(statement.text, [statement], [])
    found = [place for place, choice in enumerate(choices) if choice.strip() and _match(whole, choice, ()) is True]
    return found[0] if len(found) == 1 else None


def _match_part(response: Reading, compare: Callable[[str], bool | None]) -> bool | None:
    """Compare the wordings of each statement, the strongest first; the first that tells anything decides."""

    def read(statement: Statement) -> bool | None:
        verdicts = [verdict for part in list_wordings(statement) if (verdict := compare(part)) is not None]
        return True if True in verdicts else verdicts[0] if verdicts else None

    value = _read(response, read)
    return value if isinstance(value, bool) else None


def _match_literal(response: Reading, reference: str) -> bool | None:
    """Compare Python values; another value of the same type is wrong, anything else proves nothing."""
    wanted = read_literal(reference)
    if wanted is None:
        return None

    def compare(part: str) -> bool | None:
        stated = read_literal(part)
        if type(stated) is not type(wanted):
            return None
        return (
            True
            if repr(stated) == repr(wanted) or (isinstance(wanted, set | dict) and stated == wanted)
            else None
            if is_close(stated, wanted)
            else False
        )

    return _match_part(response, compare)


def _has_same_words(response: Reading, reference: str) -> bool:
    """Whether the strongest statement, or the whole reply, is the reference to the word."""
    quoted = unquote(reference)
    strongest = response.statements[0] if response.statements else None
    first = strongest.text if strongest and not is_corrected(response.text, strongest) else ""
    texts = [response.text, first]
    if quoted is not None:
        return any(quoted in (text, unquote(text.strip("`. "))) for text in texts)
    wanted = fold(reference)
    if not wanted or (response.text.endswith(("?", "？")) and not reference.endswith(("?", "？"))):
        return False  # "42?" asks
    if fold(response.text) == wanted:
        return True
    return fold(first) == wanted and not is_doubted(response.text, response.statements[0])


def _match_words(response: Reading, reference: str) -> bool | None:
    """Match words; another wording proves nothing."""
    wanted = fold(reference)
    items = list_items(reference)

    others: list[str] = []  # that stronger markers give

    def read(statement: Statement) -> bool | Unclear | None:
        same = any(fold(part) == wanted or (len(items) > 1 and list_items(part) == items) for part in list_wordings(statement))
        marked = statement.source in ("final", "answer")
        if wanted and same:
            return UNCLEAR if others and marked else True
        others.extend([statement.text] if marked and wanted not in fold(statement.text) else [])
        return False if denies(statement.text, wanted) else None

    value = _read(response, read)
    return value if isinstance(value, bool) else None
