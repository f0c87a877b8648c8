"""Match a number: right by its value; wrong where that is nowhere in the answer, or only in a step to another conclusion."""

from __future__ import annotations

import re

from auto_router.collect.matching.asked_number import (
    answers_asked,
    counts_the_rest,
    drop_given,
    is_in_other_unit,
    is_of_the_whole,
    leaves_open,
    may_be_coins,
    misses_number,
    read_asked,
    read_named,
)
from auto_router.collect.matching.choices import UNCLEAR, Rejected, Unclear
from auto_router.collect.matching.dates import names_year, read_dates
from auto_router.collect.matching.expressions import same_expression
from auto_router.collect.matching.final_answer import Statement
from auto_router.collect.matching.other_matters import compares_otherwise, is_before_last_step, is_loss, is_possible_only
from auto_router.collect.matching.quantities import Quantity, parse_quantity, same_quantity
from auto_router.collect.matching.reading import MEGA, Reading
from auto_router.collect.matching.stated import closes, compare_value, match_part, read_stated
from auto_router.collect.matching.stated_number import names_value, read_equivalents, read_number, read_sentence
from auto_router.collect.matching.units import Unit
from auto_router.collect.matching.vocabulary import list_words
from auto_router.collect.matching.wordings import counts_other, counts_thing, differs_in_case, list_wordings, read_bullets

_UNANSWERABLE = re.compile(
    r"none|unanswerable|unknown|undefined|n/a|no (?:solution|answer)|(?:not enough|insufficient) information"
    r"|(?:it )?can(?:not|['’]t| not) be (?:determined|known|answered)",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"\W*[a-z]\s*=\s*[-+]?[\d.,/]+\W*")  # "x = 3" is not -3
_DAY_AND_MONTH = re.compile(r"(?:0?[1-9]|[12]\d|3[01])/(?:0?[1-9]|[12]\d|3[01])")
# "There are none left.", "So she has no apples left."
_NONE_LEFT = re.compile(
    r"(?:(?:so|therefore|thus|hence),? )?[^.;,\d]{0,60}\b(?:has|have|had|with|there (?:are|is|were|was|will be|would be))"
    r" (?:none|nothing|no (?:more )?[a-z]{2,20}(?: [a-z]{2,20})?) (?:left|remaining|over)(?: over)?[.!]?",
    re.IGNORECASE,
)
_PI = re.compile(r"π|\\?\bpi\b")
_RADIANS = re.compile(rf"{_PI.pattern}|\brad(?:ian)?s?\b")
_SURD = re.compile(rf"{_PI.pattern}|√|\bsqrt(?![a-z])")
_NOT_THAT = re.compile(r"[,(]\s*(?:and )?not\s+[$€£]?\d[\d.,]*\d?\)?", re.IGNORECASE)  # "45, not 54"
_SHORT_YEAR = re.compile(r"\W*(?:in )?['’]\d\d\W*", re.IGNORECASE)
_CHECKS = (
    is_possible_only,
    is_loss,
    compares_otherwise,
    is_before_last_step,
)  # of what is said, by the question, whether it is of something else
OTHER_WORDS = frozenset(list_words("once elf dos due cent null sept mil dix uno"))  # in English no numbers


def misses_that_none_is(response: Reading, reference: str) -> bool:
    """Whether a field or box gives a number, and not zero, where the reference says that a question has no answer."""
    first = next(iter(response.statements), None)
    if first is None or not first.formal or _UNANSWERABLE.fullmatch(reference.strip(" .'\"")) is None:
        return False
    said = parse_quantity(first.text)
    return said is not None and said.value != 0


def match_number(response: Reading, reference: str) -> bool | None:
    """Match a number; "wrong" where its value is nowhere, or another is stated formally or as what is asked."""
    expected = parse_quantity(reference)
    items = read_bullets(response.text)
    if _DAY_AND_MONTH.fullmatch(reference) and read_dates(response.text):
        return None  # "12/25" may be a date
    if expected is None or _SHORT_YEAR.fullmatch(response.text) or (items and all(parse_quantity(item) for item in items)):
        return None

    def read(statement: Statement) -> Quantity | Rejected | Unclear | None:
        if statement.text.strip(" .\"'`*").lower() in OTHER_WORDS:
            return UNCLEAR
        if statement.source in ("line", "first", "bold") and (statement.text != response.text or len(response.sentences) > 1):
            return parse_quantity(statement.text)
        return read_number(statement.text, leading=statement.source == "hash")

    if expected.unit.dimension == "angle" and _RADIANS.search(response.text):
        return match_part(response, lambda part: (_PI.search(part) and same_expression(part, reference)) or None)
    count, named = read_named(response.sentences, response.question)
    if named is not None or count > 1:
        if named is not None and same_quantity(named, expected):
            return True
        if named is None or names_value(response.text, expected):
            return None
    value = read_stated(response, read, [read_sentence(sentence) for sentence in response.sentences[:1]])
    same = compare_value(value, lambda found: same_quantity(found, expected))
    said = next((one.text for one in response.statements), next(iter(response.sentences), ""))
    formal = bool(response.statements) and response.statements[0].formal
    if same and any(check(said, response.question) for check in (_CHECKS if formal else (*_CHECKS, counts_the_rest))):
        return None
    if same and isinstance(value, Quantity) and _may_be_other(value, expected, response, reference):
        return None
    if same and not formal and is_of_the_whole(said, response.question, expected):
        return None
    if same is False and expected.value < 0 and is_loss(said, ""):
        return None  # "20% decrease" is -20%
    if same is False and not isinstance(value, Rejected):
        said = response.statements[0].text if formal or closes(response, expected) else ""
        text = said or drop_given(_NOT_THAT.sub("", response.text), response.question)
        if parse_quantity(text) is not None or _VARIABLE.fullmatch(text) or not names_value(text, expected):
            given = next((one.text for one in response.statements if read(one) is not None), None)
            return None if not formal and leaves_open(given, response.sentences, expected, response.question) else False
    if same or isinstance(value, Rejected):
        return same
    if len(response.sentences) == 1 and _SURD.search(response.text) and not read_equivalents(response.text):
        surd = match_part(response, lambda part: same_expression(part, reference))
        if surd is not None:
            return surd
    if not expected.value and response.sentences and _NONE_LEFT.fullmatch(response.sentences[0]):
        return True if not any(check(said, response.question) for check in _CHECKS) else None
    if re.fullmatch(r"[12]\d{3}", reference) and names_year(response.text, len(response.sentences), reference):
        return True
    return _match_closing(response, expected, value)


def _match_closing(response: Reading, expected: Quantity, value: object) -> bool | None:
    """Match what the sentences conclude on, where no rule for a stated number decides; ``value`` is what was stated."""
    marked = any(statement.source not in ("line", "first") for statement in response.statements)
    repeats = answers_asked(response.sentences, response.question, expected) if not marked else None
    if repeats is not None:
        return repeats
    if marked or isinstance(value, Quantity):
        return None
    counted = read_asked(response.sentences[0], response.question) if response.sentences else None
    if counted is not None and same_quantity(counted, expected):
        return None if is_of_the_whole(response.sentences[0], response.question, expected) else True
    return False if misses_number(response.text, response.sentences, expected, response.question) else None


def _may_be_other(value: Quantity, expected: Quantity, response: Reading, reference: str) -> bool:
    """Whether a number equals the reference's and may still be of another thing, unit or version."""
    text, question = response.text, response.question
    if any(differs_in_case(one.text, reference) for one in response.statements[:1]):
        return True  # "2 M" for 2 m
    if expected.unit == Unit("length") and MEGA.search(text):
        return True
    if re.search(rf"\b{expected.value} dozen [a-z]", text) and "dozen" not in f"{reference} {question}":
        return True  # "3 dozen eggs" are 36
    if not value.unit.dimension and not expected.unit.dimension:
        other = bool(response.statements) and counts_other(response.statements[0].text, reference)
        return other or ("version" in question.lower() and "." in reference and reference not in text)  # 3.1 is not 3.10
    if not value.unit.dimension:  # a bare number beside percentages
        parts = [text, *(part for one in response.statements[:1] for part in list_wordings(one))]
        other = bool(response.statements) and counts_other(response.statements[0].text, reference)  # "2 oxen" for 2 kg
        other = other or (expected.unit.converts and counts_thing(text, expected.value))  # "It weighs 3 stone." for 3 kg
        return other or (expected.unit.dimension == "percent" and "%" in text and not any(map(read_equivalents, parts)))
    if not expected.unit.dimension and response.statements and counts_other(response.statements[0].text, reference):
        return True  # "30 degrees" for 30 radians
    return may_be_coins(value, expected, question) or is_in_other_unit(value, expected, question)
