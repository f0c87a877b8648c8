"""Numbers of prose read by what the question asks for: the number that counts it, and whether a response misses the right one.

"Wrong" by a number that prose gives needs more care than "right": the last sentence may be about something else. It counts
where the reference occurs nowhere, and the response ends before it gives any answer, or the reference does not follow from the
numbers that the end gives. English only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

from auto_router.collect.matching.bounds import read_bound
from auto_router.collect.matching.doubts import is_doubted
from auto_router.collect.matching.final_answer import Statement, split_sentences
from auto_router.collect.matching.numerals import digits_in_prose, plain_numbers
from auto_router.collect.matching.phrases import ABOUT, BOUND, CHANGES, HEDGE, NEGATION, one_of
from auto_router.collect.matching.quantities import Quantity, find_quantities
from auto_router.collect.matching.restated import content_stems
from auto_router.collect.matching.stated_number import has_circumstances_only, names_value, read_sentence

MAX_VALUES = 12  # numbers at the end of a response from which the reference may follow
MAX_ASKED = 400  # characters of the sentence that asks
_CONCLUDES = re.compile(
    r"\W*(?:so|therefore|thus|hence|altogether|overall|in (?:total|all|conclusion|the end)|(?:that|this) means)\b",
    re.IGNORECASE,
)
_CONCLUDING = content_stems("therefore means")
_CONDITION = re.compile(r"\b(?:if|when|assuming|provided)\b(?P<clause>[^.!?;]*)", re.IGNORECASE)
_TURNED = re.compile(r"\b(?:unless|only|except|otherwise|else|not|never|no|without|as long as)\b|n['’]t\b", re.IGNORECASE)
_COULD = re.compile(r"\b(?:could|might|may) (?:also )?[a-z]+ (?:only |exactly |about )?[$€£]?\d", re.IGNORECASE)
_POSSIBLE = re.compile(r"\b(?:can|could|may|might|would|able|possible|max\w*|most)\b", re.IGNORECASE)
_COUNTED = re.compile(r"\bhow many (?:(?:more|fewer|other|extra|total|additional|different) )?([\w-]+)", re.IGNORECASE)
_JOINED = re.compile(r",?\s+(?:and|or)\b", re.IGNORECASE)
_NOUN = re.compile(r"[$€£]?[\d.,]*\d\s+([A-Za-z-]+)")
_EACH = re.compile(r"\b(?:each|every|per|another|first|if)\b", re.IGNORECASE)
_TWO_ASKED = re.compile(r"\bor\b|\bhow (?:many|much)\b.*\bhow\b", re.IGNORECASE)
_PRONOUN = re.compile(r"\b(?:s?he|it|they|we|I|you)\b", re.IGNORECASE)
_SHARED = re.compile(
    r"\b(?:each|every|per|apiece|a(?=\s(?:day|week|month|year|hour|minute|person|piece))|total|altogether)\b", re.I
)
_RECKON = one_of("""
    find|calculate|compute|determine|figure|work out|solve|subtract|multiply|divide|add up|set up|consider|count|convert|check
""")
# What announces a step and gives no result: "First, we need to find …", "To do this, we multiply …", "Now, let's solve for x."
_STEP = re.compile(
    r"\W*(?:(?:first(?:ly)?|second(?:ly)?|next|now|then|finally|lastly|to [a-z]+ (?:this|that|it)),?\s+){0,3}"
    r"(?:(?:we|you|i)(?:['’]ll)?|let(?:['’]s| us| me))"
    rf"(?:\s+(?:first|then|now|also|still|just|simply|try|start|need|have|to|can|must|will|should|do|this|that|by)){{0,8}}\s+{_RECKON}"
    r"(?:e?s|ing)?\b",
    re.IGNORECASE,
)
# Numbers that no reader of numbers sees.
_IN_WORDS = re.compile(
    rf"\b(?:{CHANGES}|doubled?|half|halves|thirds?|quarters?|both|couple|none|no|single|once|dozens?|pairs?|score|gross|fortnight|decade|century"
    r"|an? (?:second|minute|hour|day|week|month|year|foot|yard|mile|pound|gallon|ton|kilo\w*))\b",
    re.IGNORECASE,
)
_LOOSE = re.compile(
    rf"(?<!\w)(?:{BOUND}|{ABOUT})(?!\w)|\b(?:per ?cent|approximate\w*|round\w*|ratio|times|range\w*)\b|[%~≈<>≤≥±:?]"
    r"|\d\s*(?:-|–|to|or)\s*\d|\b(?:more|less|fewer|extra|other)\b",
    re.IGNORECASE,
)


_LOSSES, _GAINS = "loss|decrease|decline|drop|reduction|deficit|shortfall|debt", "gain|profit|increase|rise|growth"
_LOSS = re.compile(rf"\b(?:{_LOSSES}|losses) of\W{{0,4}}\d|\d%? (?:{_LOSSES})\b", re.IGNORECASE)
_GAIN = re.compile(rf"\b(?:{_GAINS}) of\W{{0,4}}\d|\d%? (?:{_GAINS})\b", re.IGNORECASE)
_OF_GAIN = re.compile(r"\b(?:gain|profit|increas|ris|rose|grow|grew|more|higher|chang)", re.IGNORECASE)
_OF_LOSS = re.compile(
    r"\b(?:los[est]|decreas|declin|drop|reduc|deficit|shortfall|fall|fell|debt|ow(?:e|ing)|less|lower|cheap|discount|sav)",
    re.IGNORECASE,
)


def misses_number(text: str, sentences: Sequence[str], expected: Quantity) -> bool:
    """Whether a response that states no number is wrong.

    Args:
        text: the whole response.
        sentences: its sentences from the last one back.
        expected: the number that is right.
    """
    if not sentences or names_value(text, expected):
        return False
    last = sentences[0]
    if _STEP.match(last) and "=" not in last:
        return not any(_CONCLUDES.match(sentence) for sentence in sentences[1:])
    if is_doubted("", Statement(" ".join(sentences[1::-1]), "answer", 0), conditions=False):
        return False
    return len(sentences) > 1 and _gives_others(last, sentences[1], expected)


def read_asked(sentence: str, question: str) -> Quantity | None:
    """Return the one number by which a sentence counts what "how many …" asks for: 7 in "of 56 roses she makes 7 bouquets"."""
    asked = _ask(question)
    counted = _COUNTED.search(asked)
    if counted is None or _JOINED.match(asked, counted.end()) or NEGATION.search(sentence) or HEDGE.search(sentence):
        return None
    noun = content_stems(counted.group(1))
    text = digits_in_prose(plain_numbers(sentence))
    found = []
    for one in find_quantities(text):
        after = _NOUN.match(text, one.start)
        if after and noun and noun == content_stems(after.group(1)):
            found.append(one)
    if len(found) != 1 or found[0].partial:
        return None
    around = text[max(0, found[0].start - 30) : found[0].start + 40]
    doubted = _LOOSE.search(around) or _EACH.search(text) or is_doubted("", Statement(sentence, "answer", 0))
    return None if doubted else found[0].quantity


def repeats_condition(text: str, question: str) -> bool:
    """Whether every condition in a text is one that the question sets: "$7 in all if he works 5 days"."""
    if not question or _TURNED.search(text):
        return False
    clauses = [content_stems(found.group("clause")) for found in _CONDITION.finditer(text)]
    return bool(clauses) and all(clauses) and frozenset().union(*clauses) <= content_stems(question)


def is_possible_only(text: str, question: str) -> bool:
    """Whether a text says what could be and the question does not ask that: "it could hold 16" for "how many does it hold"."""
    concluded = "=" in text or _CONCLUDES.match(text)  # "So she could buy 16 apples."
    return not concluded and _COULD.search(text) is not None and not _POSSIBLE.search(question)


def is_loss(text: str, question: str) -> bool:
    """Whether a text gives a number as a loss ("a decrease of 25%") that is not asked for, or the other way round."""
    if _OF_LOSS.search(question):
        return _GAIN.search(text) is not None and not _OF_GAIN.search(question)
    return _LOSS.search(text) is not None


def may_be_coins(value: object, expected: Quantity, question: str) -> bool:
    """Whether "18 cents" stands for a bare 18 that a question does not ask for in coins."""
    return (
        isinstance(value, Quantity)
        and value.unit.dimension.startswith("currency")
        and value.unit.size < 1
        and not expected.unit.dimension
        and re.search(r"\bcents?\b|¢|\bpenn|\bpence", question, re.IGNORECASE) is None
    )


def concludes_otherwise(sentence: str, question: str, expected: Quantity) -> bool:
    """Whether a last sentence concludes, in the question's words alone, with another number of just what it asks for.

    The expected one may stand further up, as a step. A number that the question gives is no conclusion, and other words may
    tell of something else: "12 apples are left. So she gave away 8 apples."
    """
    said = read_sentence(sentence)
    if not isinstance(said, Quantity) or not (_CONCLUDES.match(sentence) or "=" in sentence):
        return False
    words = frozenset(word for word in content_stems(sentence) - _CONCLUDING if not any(char.isdigit() for char in word))
    asked = _ask(question)
    known = content_stems(asked)  # "So Ann has 24" where Bob's are asked for
    if _PRONOUN.search(asked):
        known |= content_stems(" ".join(re.findall(r"\b[A-Z]\w+", question)))
    if names_value(sentence, expected) or names_value(question, said) or not words <= known:
        return False
    if _TWO_ASKED.search(asked) or (said.unit != expected.unit and expected.unit.dimension):  # the same in another unit
        return False
    if "=" not in sentence and (len(list(find_quantities(sentence))) > 1 or not _share_words(sentence) >= _share_words(asked)):
        return False  # "4 legs. So 3 rabbits have 12", "$5 a ticket. So he pays $20": of more than what is asked for
    counted = _COUNTED.search(asked)
    if counted is None:
        return said.unit.dimension.startswith("currency") and re.search(r"\bhow much\b", asked, re.IGNORECASE) is not None
    noun, text = content_stems(counted.group(1)), digits_in_prose(plain_numbers(sentence))
    behind = [_NOUN.match(text, one.start) for one in find_quantities(text) if one.quantity.value == said.value]
    return any(found is not None and content_stems(found.group(1)) == noun for found in behind)


def _share_words(text: str) -> set[str]:
    """The words by which a count or an amount is of one thing, or of a part of all."""
    return {found.lower() for found in _SHARED.findall(text)}


def _ask(question: str) -> str:
    """Return the end of the last sentence that asks."""
    return next((part[-MAX_ASKED:] for part in reversed(split_sentences(question)) if "?" in part), "")


def _gives_others(last: str, before: str, expected: Quantity) -> bool:
    """Whether a response ends with plain numbers, none of which is the expected one, nor makes it with another."""
    if any(sign.search(last) for sign in (_LOOSE, NEGATION, HEDGE, _IN_WORDS)) or read_bound(last) is not None:
        return False
    found, near = _numbers(last), [*_numbers(last), *_numbers(before)]
    return bool(found) and len(near) <= MAX_VALUES and expected.value not in _make_values(near) | {sum(found)}


def leaves_open(stated: str | None, sentences: Sequence[str], expected: Quantity) -> bool:
    """Whether a text that gives another number than ``expected`` may mean it: 7 days by "a week for all 3 steps".

    Words such as "a week" or "half" are seen by no reader of numbers; they count where the number read is a circumstance. The
    last sentence of prose may leave its last step to the reader: 1/2 from "3 of the 6 sides", 6 from "2 rows with 3 in each".

    Args:
        stated: the statement that gives the other number; None where the last sentence does.
    """
    text = sentences[0] if stated is None else stated
    if _IN_WORDS.search(text) and has_circumstances_only(text):
        return True
    values = [] if "=" in text or stated is not None else _numbers(text)
    return len(values) > MAX_VALUES or any(
        expected.value in (one * other, one / (other or 1), other / (one or 1)) for one, other in combinations(values, 2)
    )


def _numbers(text: str) -> list[Fraction]:
    return [one.quantity.value for one in find_quantities(digits_in_prose(plain_numbers(text)))]


def _make_values(values: Sequence[Fraction]) -> set[Fraction]:
    """Return what adding all the values gives, and reckoning with two of them."""
    made = {sum(values, Fraction(0))}
    for one, other in combinations(values, 2):
        made |= {one + other, one - other, other - one, one * other}
        made |= {a / b for a, b in ((one, other), (other, one)) if b}
    return made
