"""Numbers of prose read by what the question asks for: the number that counts it, and whether a response misses the right one.

"Wrong" by a number that prose gives needs more care than "right": the last sentence may be about something else. It counts
where that sentence repeats what is asked with another number, or where the reference occurs nowhere beside what the question
gives, and the response ends before it gives any answer or with numbers from which the reference does not follow. English only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import combinations

from auto_router.collect.matching.bounds import BOUND, read_bound
from auto_router.collect.matching.doubts import is_doubted
from auto_router.collect.matching.final_answer import Statement, split_sentences
from auto_router.collect.matching.numerals import digits_in_prose, plain_numbers
from auto_router.collect.matching.other_matters import CONCLUDES, asks_derived, compares_otherwise, find_ask
from auto_router.collect.matching.quantities import Quantity, find_quantities, parse_quantity, same_quantity
from auto_router.collect.matching.stated_number import has_circumstances_only, names_value
from auto_router.collect.matching.stems import content_stems, digit_words, split_words, stem
from auto_router.collect.matching.units import Unit, read_unit
from auto_router.collect.matching.vocabulary import ABOUT, CHANGES, HEDGE, NEGATION, one_of

MAX_VALUES = 12  # numbers at the end of a response from which the reference may follow
MAX_PAIRS = 300  # characters of a sentence that gives numbers to names
MAX_SENTENCES = 80  # of a response in which what the question gives is looked for
_CONDITION = re.compile(r"\b(?:if|when|assuming|provided)\b(?P<clause>[^.!?;]*)", re.IGNORECASE)
_TURNED = re.compile(r"\b(?:unless|only|except|otherwise|else|not|never|no|without|as long as)\b|n['’]t\b", re.IGNORECASE)
_COUNTED = re.compile(r"\bhow many (?:(?:more|fewer|other|extra|total|additional|different) )?([\w-]+)", re.IGNORECASE)
_OTHER_BASE = re.compile(
    r"\b0[xbo][0-9a-f]+\b|\b(?:binary|hexadecimal|hex|octal|base[- ]?\d+)\b|\d(?:_\{?\d|[₀-₉])", re.IGNORECASE
)
_IN_UNIT = re.compile(r"\b(?:how many|(?:what|the) (?:number|amount) of|in)(?= [a-z°$€£])", re.IGNORECASE)
_PACKS = {"pair": 2, "couple": 2, "dozen": 12}
_PACKED = re.compile(rf"\bhow many ({'|'.join(_PACKS)})", re.IGNORECASE)
_JOINED = re.compile(r",?\s+(?:and|or)\b", re.IGNORECASE)
_NOUN = re.compile(r"[$€£]?[\d.,]*\d\s+([A-Za-z-]+)")
_EACH = re.compile(r"\b(?:each|every|per|another|first|if)\b", re.IGNORECASE)
_PRONOUN = re.compile(r"\b(?:s?he|it|they|we|I|you)\b", re.IGNORECASE)
_SHARED = re.compile(
    r"\b(?:each|every|per|apiece|a(?=\s(?:day|week|month|year|hour|minute|person|piece))|total|altogether)\b", re.I
)
_ASKS = re.compile(r"\b(?:how|what)\b", re.IGNORECASE)
# What asks for a number, and the rest of it.
_FOR_NUMBER = re.compile(
    r"\b(?:how (?:many|much|(?P<size>old|long|far|deep|tall|wide|high|fast|big|heavy))(?: (?:money|time))?"
    r"|what (?:is|was|are|were|would be|will be)(?: the)?(?: (?:total|minimum|maximum|average))?(?: (?:number|amount|cost))?"
    r"|what (?:percentage|percent|fraction))\b(?P<rest>[^?]*?)(?:\b(?:if|when|given|assuming)\b[^?]*)?\?",
    re.IGNORECASE,
)
_TOTAL = {"total", "altogether"}
_NEUTRAL = content_stems("total altogether overall all in conclude information means calculate find therefore each")
_WHO = re.compile(r"\b(?:is|are|was|were|do|does|did|will|would|can|could|has|have|had|must|should) (?:the |a |each )?(\w+)")
_IF_FIRST = re.compile(
    r"^\W*(?:(?:so|therefore|thus|and|then),? )?(?:if|since|because|when|as|given)\b[^,]{1,150},\s+(?:then |so )?(?=.*\d)", re.I
)
_SO = re.compile(r",?\s+(?:so|therefore|thus|hence|(?:which|this|that) (?:would )?means?(?: that)?)\s+(?=.*\d)", re.IGNORECASE)
_COMPARED = re.compile(r"how (?:many|much) (?:more|fewer|less)\b", re.IGNORECASE)
_COMPARED_BY = re.compile(r"\s*(?:[a-z]+\s+)?(?:more|fewer|less)\b", re.IGNORECASE)
_VERB = re.compile(r"\b(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|must)\b", re.IGNORECASE)
_DOER = re.compile(r"\b(?:(?:do|does|did) (?:the |a |each )?\w+|[A-Z]\w+)")
_THING_THAT_DOES = re.compile(r"\b(?:do|does|did) (?:the |an? |each )?([a-z]+)\b")
_BEHIND = re.compile(r"\d\s*(?:(?P<of>(?:is|are|was|were|have|had|of)\b)|(?P<word>[A-Za-z]+)|\W*$)")
_RESULT = re.compile(r"^which\b|\btotal\b|^(?:leaving|giving|making)\b|[=*×+]", re.IGNORECASE)
_COUNTS = re.compile(r"\d (?!(?:is|are|was|were|have|has|had|will|would|can|could|did|do|does|of)\b)([A-Za-z]+)")
_CAPITAL = re.compile(r"\b[A-Z][a-z]+\b")
_PARTS = re.compile(r"[,;:]\s+|\s+(?:and|but|while|whereas|of which|of whom)\s+", re.IGNORECASE)
# "hens = 12, goats = 23"
_NAMED = re.compile(
    r"(?:^|[,;.]\s*|\b(?:and|so|thus|therefore|have|get|while|but)\b:?\s+)(?:the )?"
    r"(?P<name>(?!(?:but|or|so|and|thus|then|therefore|it|the)\b)[A-Za-z]+(?: [A-Za-z]+)?)"
    r"(?:\s*(?P<sign>[=:])|\s+(?:is|was|are|were))\s*"
    r"(?P<value>[-+]?[$€£]?\d[\d.,/]*?(?:%| (?!and\b|or\b)[a-z°/²³^]+(?: units?)?)?)"
    r"(?=\s*(?:[,;.]?\s|\band\b|[.]?$))",
    re.IGNORECASE,
)
_PREPOSITION = re.compile(r"\b(?:of|in|on|at|for|to|with|from|by|than)\b", re.IGNORECASE)
_UNSURE = re.compile(
    rf"(?<!\w)(?!not\b)(?:{BOUND}|{ABOUT})(?!\w)\s*(?:\w+\s+)?[$€£]?\d|[~≈<>≤≥±:?]|\d\s*(?:or|to|-|–)\s*\d(?!.*=)",
    re.IGNORECASE,
)
_RECKON = one_of("""
    find|calculate|compute|determine|figure|work out|solve|subtract|multiply|divide|add up|set up|consider|count|convert|check
""")
# What announces a step and gives no result: "First, we need to find …", "To do this, we multiply …", "Now, let's solve for x."
_STEP = re.compile(
    r"\W*(?:(?:first(?:ly)?|second(?:ly)?|next|now|then|finally|lastly|so|therefore|thus|to [a-z]+ (?:this|that|it)),?\s+){0,3}"
    r"(?:(?:if|since|because|after|once|given|knowing) [^,.]{1,120},\s+)?"
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


def drop_given(text: str, question: str) -> str:
    """Return a text without the sentences before its last one that only repeat what the question gives, and no answer to it."""
    sentences = split_sentences(text)
    if not question or len(sentences) > MAX_SENTENCES:
        return text
    words, values, asked = content_stems(question), _numbers(question), _find_asked(question)
    wanted = _wanted_words(asked, content_stems(text)) if asked else frozenset()

    def is_given(one: str) -> bool:
        said = content_stems(one)
        who = _who(asked) if asked and _PRONOUN.search(one) else frozenset()
        concludes = "=" in one or CONCLUDES.match(one) or said >= wanted - who
        return not concludes and set(_numbers(one)) <= set(values) and said - digit_words(one) <= words

    return "\n".join([*(one for one in sentences[:-1] if not is_given(one)), *sentences[-1:]])


@lru_cache(maxsize=8)
def _find_asked(question: str) -> re.Match[str] | None:
    """Return what the end of a question asks for a number, if it does."""
    text = digits_in_prose(plain_numbers(find_ask(question)))
    begins = [found.start() for found in _ASKS.finditer(text)]
    return next((found for begin in reversed(begins) if (found := _FOR_NUMBER.match(text, begin))), None)


def _wanted_words(asked: re.Match[str], said: frozenset[str]) -> frozenset[str]:
    """Return the words that what is asked needs: those of its size where they are said, and the rest."""
    return (content_stems(asked["rest"]) - _NEUTRAL) | (content_stems(asked["size"] or "") & said)


def _who(asked: re.Match[str]) -> frozenset[str]:
    """Return the words of what is asked for which a pronoun may stand."""
    return content_stems(" ".join([*re.findall(r"\b[A-Z]\w+", asked["rest"]), *_WHO.findall(asked["rest"])]))


def misses_number(text: str, sentences: Sequence[str], expected: Quantity, question: str = "") -> bool:
    """Whether a response that states no number is wrong.

    Args:
        text: the whole response.
        sentences: its sentences from the last one back.
        expected: the number that is right.
        question: what it asks; sentences that only repeat what it gives do not count.
    """
    if not sentences or names_value(drop_given(text, question), expected):
        return False
    last = sentences[0]
    if _STEP.match(last) and "=" not in last:
        return not any(CONCLUDES.match(sentence) for sentence in sentences[1:])
    if is_doubted("", Statement(" ".join(sentences[1::-1]), "answer", 0), conditions=False):
        return False
    return len(sentences) > 1 and _gives_others(last, sentences[1], expected)


def read_asked(sentence: str, question: str) -> Quantity | None:
    """Return the one number by which a sentence counts what "how many …" asks for: 7 in "of 56 roses she makes 7 bouquets"."""
    asked = find_ask(question)
    counted = _COUNTED.search(asked)
    if counted is None or _JOINED.match(asked, counted.end()) or compares_otherwise(sentence, question):
        return None
    if NEGATION.search(sentence) or HEDGE.search(sentence):
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


def answers_asked(sentences: Sequence[str], question: str, expected: Quantity) -> bool | None:
    """Whether the last sentence of a response repeats what is asked with the expected number; None where it may, or does not.

    Args:
        sentences: those of the response, from the last one back.
    """
    said = _read_restating(sentences[0], question) if sentences and question else None
    same = same_quantity(said, expected) if said is not None else None
    if said is None or same is not False:
        return same
    named = [one.quantity for one in find_quantities(digits_in_prose(plain_numbers(sentences[0])))]
    named += [one for sentence in sentences[1:] if (one := _read_restating(sentence, question)) is not None]
    return None if any(abs(one.value) == abs(expected.value) or same_quantity(one, expected) for one in named) else False


def _read_restating(sentence: str, question: str) -> Quantity | None:
    """Return the number of a sentence that repeats what a question for a number asks: "So she had 9 pens left at the end."

    It must hold each word of what is asked, but for who is meant by a pronoun, and none that the question does not have.
    """
    if compares_otherwise(sentence, question):
        return None
    asked = _find_asked(question)
    text = digits_in_prose(plain_numbers(sentence))
    text = _SO.split(_IF_FIRST.sub("", text))[-1]
    if asked is None or bool(NEGATION.search(text)) is not bool(NEGATION.search(asked.group())):
        return None
    if HEDGE.search(text) or _UNSURE.search(text) or not _share_words(text) | _TOTAL >= _share_words(asked.group()):
        return None
    said = content_stems(text)
    wanted = _wanted_words(asked, said)
    missing = wanted - said - digit_words(question) - (_who(asked) if _PRONOUN.search(text) else frozenset())
    if (
        missing
        or len(wanted) + bool(NEGATION.search(text) or CONCLUDES.match(sentence)) < 2
        or not said <= content_stems(question) | _NEUTRAL | digit_words(text)
    ):
        return None
    return _find_new(text, asked.group())


def _find_new(text: str, asked: str) -> Quantity | None:
    """Return the one number of a text that what is asked does not give, if it counts what is asked for."""
    begin = text.rfind("=") + 1
    found = list(find_quantities(text[begin:]))[: 1 if begin else None]
    given = _numbers(asked)
    found = [one for one in found if one.quantity.value not in given]
    if len({one.quantity.value for one in found}) != 1 or found[-1].partial:
        return None
    counted, one = _COUNTED.search(asked), found[-1].quantity
    if _COMPARED.match(asked) and not _COMPARED_BY.match(text[begin + found[-1].end :]):
        return None  # "9 trees survived, which is more than …"
    if counted is None:
        return one if one.unit.dimension.startswith("currency") or "how much" not in asked.lower() else None
    behind = _PREPOSITION.split(" ".join(text[begin + found[-1].start :].split()[1:5]))[0]
    return one if not behind or content_stems(counted.group(1)) <= content_stems(behind) else None


def repeats_condition(text: str, question: str) -> bool:
    """Whether every condition in a text is one that the question sets: "$7 in all if he works 5 days"."""
    if not question or _TURNED.search(text):
        return False
    clauses = [content_stems(found.group("clause")) for found in _CONDITION.finditer(text)]
    return bool(clauses) and all(clauses) and frozenset().union(*clauses) <= content_stems(question)


def counts_the_rest(text: str, question: str) -> bool:
    """Whether a text counts what is so where the question asks what is not: "she ate 5" for "how many did she not eat"."""
    asked = _find_asked(question)
    if asked is None or NEGATION.search(asked["rest"]) is None or NEGATION.search(text):
        return False
    said = content_stems(text) - digit_words(text) - _NEUTRAL
    return len(said) > 1 and said <= content_stems(asked.group())


def read_named(sentences: Sequence[str], question: str) -> tuple[int, Quantity | None]:
    """Return how many names a sentence sets equal to numbers, and the number of the asked one: "hens = 12, goats = 23"."""
    if len(sentences) != 1 and not all(":" in one and _NAMED.match(one) for one in sentences):
        return 0, None
    pairs = list(_NAMED.finditer("; ".join(sentences)[:MAX_PAIRS]))
    found = {one["name"].lower(): one["value"] for one in pairs}
    asked = set(split_words("" if asks_derived(question) else find_ask(question)))
    named = [value for name, value in found.items() if set(split_words(name)) <= asked] or [
        value for name, value in found.items() if name in _TOTAL and len(sentences) > 1
    ]
    equal = {one["name"].lower() for one in pairs if one["sign"]}
    return len(equal), parse_quantity(named[0]) if len(named) == 1 and len(found) > 1 else None


def is_of_the_whole(text: str, question: str, expected: Quantity) -> bool:
    """Whether a number counts all, or another's, and one beside it what is asked: 12 in "she had 12 eggs, and 3 are broken"."""
    asked, value = _find_asked(question), expected.value
    text = next((one for one in reversed(split_sentences(text)) if value in _numbers(one)), "")
    if asked is None or not text or "=" in text:
        return False
    nouns = _VERB.split(asked["rest"])[0].split()
    head = content_stems(" ".join(nouns[-1:] if 0 < len(nouns) <= 4 and _VERB.search(asked["rest"]) else nouns[:1]))
    wanted = content_stems(_DOER.sub("", asked["rest"])) - head - _NEUTRAL
    given = _numbers(question)
    parts = _PARTS.split(digits_in_prose(plain_numbers(text)))
    here = next((place for place, part in enumerate(parts) if value in _numbers(part)), 0)
    rest = [part for part in parts[here + 1 :] if (numbers := _numbers(part)) and value not in numbers]
    own = frozenset().union(*(content_stems(found.group(1)) for found in _COUNTS.finditer(parts[here])))
    if _COUNTED.search(asked.group()) and own and own.isdisjoint(head) and any(head <= content_stems(part) for part in rest):
        return True  # "in 5 days; she has 3 chapters left" of chapters
    told, names = wanted & content_stems(parts[here]), set(_CAPITAL.findall(asked["rest"]))
    other = set(_CAPITAL.findall(parts[here]))
    if other and names and other.isdisjoint(names) and any(names <= set(_CAPITAL.findall(part)) for part in rest):
        return True  # "Ann scored 3 goals and Bo scored 2" of Bo
    doer, subject = _THING_THAT_DOES.search(asked["rest"]), content_stems(parts[here]) - head - digit_words(parts[here])
    if doer and subject and stem(doer[1]) not in subject and any(stem(doer[1]) in content_stems(part) for part in rest):
        return True  # "A tricycle has 3 wheels, a car has 4" of a car
    whole, of, part = text.partition(" of whom ") if " of whom " in text else text.partition(" of which ")
    if of and value not in _numbers(part) and head <= content_stems(part) - content_stems(whole):
        return True  # "30 children, of whom 14 are boys"
    if CONCLUDES.match(parts[here]):
        return False
    return any(
        wanted & content_stems(part) > told and any(one != value and one not in given for one in _numbers(part))
        for place, part in enumerate(parts)
        if place > here or (place < here and not _RESULT.search(parts[here]))
        if (behind := _BEHIND.search(part)) and (behind["of"] or content_stems(behind["word"] or "") <= wanted)
    )


def may_be_coins(value: object, expected: Quantity, question: str) -> bool:
    """Whether "18 cents" stands for a bare 18 that a question does not ask for in coins."""
    return (
        isinstance(value, Quantity)
        and value.unit.dimension.startswith("currency")
        and value.unit.size < 1
        and not expected.unit.dimension
        and re.search(r"\bcents?\b|¢|\bpenn|\bpence", question, re.IGNORECASE) is None
    )


def is_in_other_unit(value: object, expected: Quantity, question: str) -> bool:
    """Whether "5 miles" stands for a bare 5 of which a question says that it counts kilometres."""
    if not isinstance(value, Quantity) or not value.unit.dimension or expected.unit.dimension:
        return False
    asked = find_ask(question)
    named = [(found.group(), read_unit(asked[found.end() :])[0]) for found in _IN_UNIT.finditer(asked)]
    # "How many pounds?" asks for no weeks; "in 5 seconds" may tell of something else.
    units = [unit for word, unit in named if unit.dimension and (word.lower() != "in" or _kind(unit) == _kind(value.unit))]
    return bool(units) and all(same_quantity(value, replace(value, unit=unit)) is not True for unit in units)


def _kind(unit: Unit) -> str:
    kind = unit.dimension.split()[0].rstrip("23") if unit.dimension else ""
    return {"year": "time", "pounds": "mass", "radians": "angle"}.get(kind, kind)


def _share_words(text: str) -> set[str]:
    """The words by which a count or an amount is of one thing, or of a part of all."""
    return {found.lower() for found in _SHARED.findall(text)}


def _gives_others(last: str, before: str, expected: Quantity) -> bool:
    """Whether a response ends with plain numbers, none of which is the expected one, nor makes it with another."""
    if any(sign.search(last) for sign in (_LOOSE, NEGATION, HEDGE, _IN_WORDS)) or read_bound(last) is not None:
        return False
    found, near = _numbers(last), [*_numbers(last), *_numbers(before)]
    return bool(found) and len(near) <= MAX_VALUES and expected.value not in _make_values(near) | {sum(found)}


def leaves_open(stated: str | None, sentences: Sequence[str], expected: Quantity, question: str = "") -> bool:
    """Whether a text that gives another number than ``expected`` may mean it: 7 days by "a week for all 3 steps".

    Words such as "a week" or "half" are seen by no reader of numbers; they count where the number read is a circumstance. The
    last sentence of prose may leave its last step to the reader: 1/2 from "3 of the 6 sides", 6 from "2 rows with 3 in each".

    Args:
        stated: the statement that gives the other number; None where the last sentence does.
    """
    text = sentences[0] if stated is None else stated
    if (_IN_WORDS.search(text) and has_circumstances_only(text)) or _OTHER_BASE.search(text):
        return True
    packed = _PACKED.search(find_ask(question))
    if packed and expected.value * _PACKS[packed.group(1).lower()] in _numbers(text):
        return True  # "40 shoes" for 20 pairs
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
