"""Whether an answer tells of something else than is asked: the opposite, another one's, another rate, the other way round.

Such an answer may hold the reference by chance, or lead to it by one more step ("30 % failed" for "What percent passed?"):
whether it is right is for a judge to say. English only.
"""

from __future__ import annotations

import re

from auto_router.collect.matching.final_answer import split_sentences
from auto_router.collect.matching.stems import OPPOSITES, content_stems, digit_words, split_words, stem

MAX_ASKED = 400  # characters of the sentence that asks
CONCLUDES = re.compile(
    r"\W*(?:so|therefore|thus|hence|altogether|overall|in (?:total|all|conclusion|the end)|(?:that|this) means)\b",
    re.IGNORECASE,
)
_COULD = re.compile(r"\b(?:could|might|may) (?:also )?[a-z]+ (?:only |exactly |about )?[$€£]?\d", re.IGNORECASE)
_POSSIBLE = re.compile(r"\b(?:can|could|may|might|would|able|possible|max\w*|most)\b", re.IGNORECASE)
_LOSSES, _GAINS = "loss|decrease|decline|drop|reduction|deficit|shortfall|debt", "gain|profit|increase|rise|growth"
_LOSS = re.compile(rf"\b(?:{_LOSSES}|losses) of\W{{0,4}}\d|\d%? (?:{_LOSSES})\b", re.IGNORECASE)
_GAIN = re.compile(rf"\b(?:{_GAINS}) of\W{{0,4}}\d|\d%? (?:{_GAINS})\b", re.IGNORECASE)
_OF_GAIN = re.compile(r"\b(?:gain|profit|increas|ris|rose|grow|grew|more|higher|chang)", re.IGNORECASE)
_OF_LOSS = re.compile(
    r"\b(?:los[est]|decreas|declin|drop|reduc|deficit|shortfall|fall|fell|debt|ow(?:e|ing)|less|lower|cheap|discount|sav)",
    re.IGNORECASE,
)

# What is said of one side and asked of the other.
_SIDES = tuple(
    tuple(frozenset(map(stem, side.split())) for side in line.split("/"))
    for line in """
    begin start open opened birth born found founded launch launched / end finish close closed death die dies dying stop abolish
    arrive arrival / depart departure
    maximum max highest largest biggest greatest most / minimum min lowest smallest least fewest
    longest tallest heaviest fastest / shortest lightest slowest
    oldest eldest / youngest newest
    first earliest / last latest
    rise increase gain grow growth / fall fell drop dropped decrease decline loss shrink shrank
    pass passed / fail failed failure
    buy / sell
    import / export
    boy boys male men man / girl girls female women woman
    radius / diameter
    area / perimeter circumference
    length long / width wide
    sum / difference product quotient
    mean average / median mode
    numerator / denominator
    profit / loss
    win winner won / lose loser lost
    yes / no
    present / absent
    father mother / son daughter
    husband / wife
    paint write wrote compose build design direct invent / own commission inspire steal restore edit translate illustrate
""".strip().splitlines()
)
_DERIVED = re.compile(
    r"\b(?:twice|thrice|half|double|triple|quarter|difference|sum|product|ratio|squared?|cubed?|root|reciprocal|inverse)\b",
    re.I,
)
_STEP_FROM = re.compile(
    r"what(?:['’]s| is| was)? (?:the )?(twice|thrice|half|double|triple|quarter|square|cube|square root|reciprocal)\b", re.I
)
_LEFT = re.compile(r"\b(?:left|remain\w*)\b", re.IGNORECASE)
_GONE = re.compile(
    r"\b(?:g[ai]ven?|eat|ate|eaten|sell|sold|spen[dt]|used?|los[et]|removed?|took|taken?|broken?|break|away|threw)\b",
    re.IGNORECASE,
)
_STAYS = re.compile(r"\b(?:left|remain\w*|ha[sd]|have|still|leav\w+|rest|now|so)\b|=", re.IGNORECASE)
_SHARE = re.compile(r"\b(?:percent(?:age)?|fraction|proportion)\b", re.IGNORECASE)
_SHARE_WORDS = content_stems("what percent percentage fraction proportion per cent share make up")
_CLAUSES = re.compile(r",?\s+(?:and|but|while|whereas)\s+|[,;]\s+")
_ON, _OFF = re.compile(r"\bon\s*\?"), re.compile(r"\boff\b")
_RATE = re.compile(r"\b(?:per|an?|each|every) (second|minute|hour|day|week|month|year)\b", re.IGNORECASE)
_SUMS_UP = re.compile(r"=|\b(?:so|total|altogether|therefore|thus)\b", re.IGNORECASE)
_RATIO = re.compile(r"\bratio of (?:the )?(\w+) to (?:the )?(\w+)", re.IGNORECASE)
_IN_TIME = re.compile(
    r"\b(?:in|after) (?:another )?\w+ (?:more )?(?:year|month|week|day|hour)s?\b.{0,40}\bwill be\b", re.IGNORECASE
)
_LATER = re.compile(r"\b(?:will|would|after|later|from now|in \w+ (?:year|month|week|day|hour)s?|by)\b", re.IGNORECASE)
_SUBJECT_NAME = re.compile(
    r"\W*(?:(?:so|therefore|thus|hence|then|and|but),?\s+)?"
    r"(?P<name>(?!(?i:the|a|an|it|this|that|there|they|he|she|we|you|i|these|those|some|all|most|each|both|in|on|at|for|if|total)\b)"
    r"[A-Z][a-z]{1,20}) (?:has|had|is|was|gets|got|makes|made|earns|pays|paid|needs|will|\w+ed)\b"
)
_NAME = re.compile(r"(?<=\w )(?!How|What|When|Where|Which|Who|Why|The|If)[A-Z][a-z]{1,20}\b")
_KIN = r"(?:brother|sister|father|mother|son|daughter|wife|husband|cousin|uncle|aunt|friend|teacher|boss)s?\b"
_KIN_OF = re.compile(rf"\b([A-Z]\w{{1,20}})['’]s (?:\w+ )?{_KIN}")
_NTH = re.compile(
    r"\bthe (\d{1,3}(?:st|nd|rd|th)|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last) (\w+)", re.IGNORECASE
)
_WH = re.compile(r"\b(?:how|what|when|which|who|where)\b", re.IGNORECASE)
_IF = re.compile(r",?\s(?:if|assuming|given that)\s", re.IGNORECASE)
_VERB_BEHIND = re.compile(r"\b(?:do|does|did|is|are|was|were|has|have|had|will|would|can|could)\b")


def _sides_of(text: str) -> list[list[bool]]:
    words = {stem(word) for word in split_words(text)}
    return [[not side.isdisjoint(words) for side in sides] for sides in _SIDES]


def _compare_sides(text: str, question: str) -> list[tuple[list[bool], list[bool]]]:
    return list(zip(_sides_of(text), _sides_of(_find_core(question)), strict=True))


def tells_asked_side(text: str, question: str) -> bool:
    """Whether a text tells of the one side of two that a question asks for."""
    return any(sum(told) == 1 and told == wanted for told, wanted in _compare_sides(text, question))


def tells_other_side(text: str, question: str) -> bool:
    """Whether a text tells only of the side of two that a question does not ask for."""
    return any(sum(told) == sum(wanted) == 1 and told != wanted for told, wanted in _compare_sides(text, question))


def is_before_last_step(text: str, question: str) -> bool:
    """Whether a text gives the value of which the question asks for the half, the double, … and not that."""
    found = _STEP_FROM.search(_find_core(question))
    if found is None or "=" in text or CONCLUDES.match(text) or found.group(1).lower() in text.lower():
        return False
    return not content_stems(_find_core(question)).isdisjoint(content_stems(text) - digit_words(text))


def asks_derived(question: str) -> bool:
    """Whether a question asks for what is reckoned from a value, which is then not the answer: "twice the width"."""
    return _DERIVED.search(_find_core(question)) is not None


def pick_clauses(text: str, question: str) -> tuple[str, list[str]]:
    """Return the clause of the asked side where a sentence tells of both, and those of the other; else "" and none.

    Of "It opened in 1901 and closed in 1988." it is "closed in 1988." where the question is when it closed.
    """
    asked = _sides_of("" if asks_derived(question) else _find_core(question))
    for place, (told, wanted) in enumerate(zip(_sides_of(text), asked, strict=True)):
        if sum(told) == 2 and sum(wanted) == 1:
            parts = [(part, _sides_of(part)[place]) for part in _CLAUSES.split(text)]
            kept = [part for part, sides in parts if sides == wanted]
            return (kept[0], [part for part, sides in parts if sides == wanted[::-1]]) if len(kept) == 1 else ("", [])
    return "", []


def is_of_another(text: str, question: str) -> bool:
    """Whether a sentence tells of something else than a question asks, in one of the ways that are known here."""
    asked = _find_core(question)
    if not asked or len(text.split()) < 2:
        return False
    if tells_other_side(text, question) or _counts_otherwise(text, asked):
        return True
    if _LEFT.search(asked) and not _GONE.search(asked) and _GONE.search(text) and not _STAYS.search(text):
        return True
    if _GONE.search(asked) and not _LEFT.search(asked) and _LEFT.search(text) and not _GONE.search(text):
        return True
    if _SHARE.search(asked):  # "80 % were present" of the share that was absent
        said, wanted = content_stems(text) - digit_words(text), content_stems(asked) - _SHARE_WORDS
        if said & wanted and wanted - said and said - _SHARE_WORDS - wanted and not CONCLUDES.match(text):
            return True
    if (_ON.search(asked) and _OFF.search(text) and not _OFF.search(asked)) or (
        _IN_TIME.search(text) and not _LATER.search(asked)
    ):
        return True
    rates = [{found.lower() for found in _RATE.findall(one)} for one in (text, asked)]
    if all(rates) and rates[0].isdisjoint(rates[1]) and not _SUMS_UP.search(text):
        return True
    ratios = [found.groups() if (found := _RATIO.search(one.lower())) else () for one in (text, asked)]
    if ratios[0] and ratios[0] == ratios[1][::-1]:
        return True
    subject, names = _SUBJECT_NAME.match(text), set(_NAME.findall(asked))
    if subject is None or not names:
        return False
    if subject["name"] in _KIN_OF.findall(asked) and not re.search(_KIN, text):
        return True  # "Ann is 14." of Ann's brother
    return names.isdisjoint(re.findall(r"\w+", text)) and subject["name"] not in asked


def _counts_otherwise(text: str, asked: str) -> bool:
    """Whether a text tells of the second of what a question asks the first of."""
    said, wanted = ({noun.lower(): place.lower() for place, noun in _NTH.findall(one)} for one in (text, asked))
    return any(said.get(noun, place) != place for noun, place in wanted.items())


def is_possible_only(text: str, question: str) -> bool:
    """Whether a text says what could be and the question does not ask that: "it could hold 16" for "how many does it hold"."""
    concluded = "=" in text or CONCLUDES.match(text)  # "So she could buy 16 apples."
    return not concluded and _COULD.search(text) is not None and not _POSSIBLE.search(question)


def is_loss(text: str, question: str) -> bool:
    """Whether a text gives a number as a loss ("a decrease of 25%") that is not asked for, or the other way round."""
    if _OF_LOSS.search(question):
        return _GAIN.search(text) is not None and not _OF_GAIN.search(question)
    return _LOSS.search(text) is not None


def compares_otherwise(text: str, question: str) -> bool:
    """Whether a text compares the other way round than a question: "4 more pears than apples" for more apples than pears."""
    if " than " not in text:
        return False
    asked = find_ask(question)
    behind = (
        text.partition(" than ")[2],
        _VERB_BEHIND.split(_find_core(question).partition(" than ")[2])[0],
    )  # "than Bob does Ann have?"
    sides = [content_stems(part) - digit_words(one) for part, one in zip(behind, (text, asked), strict=True)]
    if not all(sides) or not sides[0] <= content_stems(asked):
        return False
    said, wanted = ({stem(word) for word in split_words(one)} for one in (text, asked))
    opposite = any({one, other} in OPPOSITES for one in said - wanted for other in wanted - said)
    return sides[0].isdisjoint(sides[1]) is not opposite


def _find_core(question: str) -> str:
    """Return what a question asks without its conditions: from its last word that asks on, up to an "if"."""
    asked = find_ask(question)
    return _IF.split(asked[max((found.start() for found in _WH.finditer(asked)), default=0) :])[0]


def find_ask(question: str) -> str:
    """Return the end of the last sentence that asks."""
    return next((part[-MAX_ASKED:] for part in reversed(split_sentences(question)) if "?" in part), "")
