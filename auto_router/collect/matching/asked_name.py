"""A name read by what the question asks: "Ann won the race" says who won it, "gold is heavier" which of two metals is.

A sentence names what is asked for where it holds the question's words in their order, and the name in the place that is asked
for, and no other word: "Ann beat Bo" says who beat Bo, and not whom Bo beat. English only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from auto_router.collect.matching.doubts import is_doubted
from auto_router.collect.matching.final_answer import Statement
from auto_router.collect.matching.other_matters import find_ask
from auto_router.collect.matching.phrases import HEDGE, NEGATION, list_words
from auto_router.collect.matching.reading import Reading
from auto_router.collect.matching.stems import FILLERS, MODALS, OPPOSITES, PRONOUNS, split_words, stem
from auto_router.collect.matching.wordings import fold

MAX_ASKED_NAME = 300  # characters of a sentence, and of a question, that are read
MAX_SHORT_REPLY = 3  # sentences
_NOT_THAT = re.compile(r",\s+(?:and )?not\s[^,;.]{1,60}$", re.IGNORECASE)  # "Ann won, not Bo"
_NAME = "zzname"  # stands for the reference in a sentence
_ASK = re.compile(r"\b(?P<wh>who|whom|what|which|where)\b\s+(?P<rest>[^?]{2,300})\?", re.IGNORECASE)
_WH = re.compile(r"\b(?:who|whom|whose|what|which|where|when|why|how)\b", re.IGNORECASE)
_AUXILIARY = re.compile(r"\b(?:did|does|do|can|could|will|would|should)\b", re.IGNORECASE)
_WAS = re.compile(rf"{_AUXILIARY.pattern}|\b(?:is|are|was|were)\b", re.IGNORECASE)
_WHEN = re.compile(
    r",?\s+(?:in|on|since|around|circa|during)\s(?:[A-Za-z]+\s)?(?:\d{1,2},?\s)?[1-9]\d{2,3}$|^in [12]\d{3},?\s", re.I
)
# What leads to a name and belongs to it: "the Spanish artist", "Sir"; no part of another's name.
_BEFORE = re.compile(
    r"(?:(?:\b(?:the|a|an)\s+(?:[A-Z]?[a-z-]+\s+){0,3}[a-z-]+\s+)|(?:\b(?:Sir|Dr\.?|Prof\.?|Professor|President|Captain|Mr\.?"
    r"|Mrs\.?|Ms\.?|King|Queen|Pope|Saint|the)\s+){1,2})$"
)
_PARTS = frozenset(list_words("of and or by to with without for from than not son daughter wife husband mother father"))
_PAIR = re.compile(
    r"(?:which|who|what)(?: (?:one|of the two|of them|[a-z]+))? (?:is|was|are|were) (?:the )?(?P<what>[a-z]+(?: [a-z]+)?)"
    r"\s?[,:–—-]?\s+(?P<one>[^,?]{1,60}?),? or (?P<other>[^,?]{1,60})\?",
    re.IGNORECASE,
)
_ADVERB = r"(?:(?:the|much|far|slightly|a bit|a little|clearly|also|still|thus|therefore|indeed) ){0,2}"
_CLAUSES = re.compile(r",?\s+(?:but|and|while|whereas)\s+|;\s+", re.IGNORECASE)
_LEAD = re.compile(r"^(?:(?:so|therefore|thus|hence|then)\b,? |(?:since|because|as) [^.;]{1,120}, )", re.IGNORECASE)


def names_asked(response: Reading, reference: str) -> bool | None:
    """Whether a short reply names what its question asks for, and it is the reference; None where it may name another."""
    asked, sentences, text = find_ask(response.question), response.sentences, response.text
    if any(one.source not in ("line", "first", "bold") for one in response.statements):
        return None
    if not sentences or len(sentences) > MAX_SHORT_REPLY or len(asked) > MAX_ASKED_NAME or not fold(reference):
        return None
    text = _NOT_THAT.sub("", text.strip(" .!*"))
    first = _NOT_THAT.sub("", sentences[-1].strip(" .!*\"'"))
    if len(first) > MAX_ASKED_NAME or any(sign.search(text) for sign in (NEGATION, HEDGE)) or "?" in text:
        return None
    if is_doubted(text, Statement(first, "line", len(first))):
        return None
    pair = _PAIR.search(asked)
    if pair:
        said = {
            _picks_of_pair(part, pair, reference) for part in _CLAUSES.split(first if len(sentences) == 1 else sentences[0])
        }
        return said.pop() if len(said := said - {None}) == 1 else None
    found = _ASK.search(asked)
    if found is None or len(_WH.findall(asked)) != 1:
        return None
    return True if _stands_in_place(first, found, reference) else None


def _picks_of_pair(sentence: str, pair: re.Match[str], reference: str) -> bool | None:
    """Whether "gold is heavier than silver" gives the reference; None where it says something else."""
    what, names = fold(pair["what"]), [fold(pair["one"]), fold(pair["other"])]
    if fold(reference) not in names or names[0] == names[1]:
        return None
    said = fold(_LEAD.sub("", sentence.strip(" .!")))
    for place, name in enumerate(names):
        other = names[1 - place]
        found = re.fullmatch(
            rf"{re.escape(name)} (?:is|was|are|were) {_ADVERB}(?:\d[\d.,]* [a-z]+ )?(?P<what>[a-z]+(?: [a-z]+)??)"
            rf"(?: (?:one|of the two)| than (?:the |a |an )?{re.escape(other)}(?: (?:is|was|are|were))?)?",
            said,
        )
        turned = found is not None and _is_opposite(found["what"].split(), what.split())
        if found is not None and (found["what"] == what or turned):
            return names.index(fold(reference)) == (1 - place if turned else place)
    return None


def _is_opposite(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two comparatives are opposites: "older" and "younger", "more dense" and "less dense"."""
    return frozenset((one[0], other[0])) in OPPOSITES and one[1:] == other[1:]


def _stands_in_place(sentence: str, asked: re.Match[str], reference: str) -> bool:
    """Whether a sentence holds the words of what is asked, and the reference in the place of what is asked for."""
    sentence = _WHEN.sub("", sentence)
    place = re.search(rf"(?<![\w'’-]){re.escape(reference.strip(' .'))}(?![\w'’-])", sentence, re.IGNORECASE)
    if place is None or reference.lower() in asked.group().lower():
        return False
    lead = _BEFORE.search(sentence[: place.start()])
    begin = lead.start() if lead and _PARTS.isdisjoint(split_words(lead.group())) else place.start()
    masked = " ".join(f"{sentence[:begin]} {_NAME} {sentence[place.end() :]}".split())
    by = masked.endswith(f" by {_NAME}")
    words = split_words(masked)
    said = [word if word == _NAME else stem(word) for word in words if word == _NAME or word not in FILLERS | MODALS]
    pronoun = [word for word in words if word in PRONOUNS]
    if re.fullmatch(rf"\W*{_NAME} (?:did|does|do|is|was|are|were|has|have|will|can)\W*", masked):
        return True  # "Bell did."
    if not MODALS.intersection(words) <= set(split_words(asked.group())):
        return False  # who should have won did not
    return len(pronoun) < 2 and any(said == wanted for wanted in _list_forms(asked, by, bool(pronoun)))


def _list_forms(asked: re.Match[str], by: bool, pronoun: bool) -> Iterator[list[str]]:
    """Yield the words that a sentence may hold, in their order, with the name in its place."""
    rest = asked["rest"]
    auxiliary = (_WAS if asked["wh"].lower() == "where" else _AUXILIARY).search(rest)
    content = [stem(word) for word in split_words(rest) if word not in FILLERS | MODALS]
    if auxiliary:  # "What did Ann buy?", "Which book does Ann like?"
        noun = [stem(word) for word in split_words(rest[: auxiliary.start()]) if word not in FILLERS]
        told = content[len(noun) :]
        if asked["wh"].lower() in ("who", "whom", "what", "which", "where") and len(noun) <= 2:
            behind = split_words(rest[auxiliary.end() :])[:1]
            first = 1 if PRONOUNS.issuperset(behind) else 2  # behind who does it, and the verb
            yield from ([*told[:place], _NAME, *told[place:]] for place in range(first, len(told) + 1))
            if pronoun and len(told) > 1:
                yield from ([*told[cut:], _NAME] for cut in range(1, len(told)))
        if MODALS.issuperset(split_words(rest)[:1]):  # "Who can swim?"
            yield [_NAME, *content]
        return
    nouns = range(1, min(3, len(content))) if asked["wh"].lower() in ("what", "which") else range(1)
    for cut in nouns:
        noun, told = content[:cut], content[cut:]
        if by:
            yield [*told[1:], told[0], _NAME] if len(told) > 1 else [_NAME]
            if pronoun:
                yield [told[0], _NAME]
        elif not by:
            yield [_NAME, *told]
            yield [_NAME, *noun, *told]
            if pronoun or (not cut and split_words(rest)[0] not in FILLERS):  # "Ann won." to "Who won the race?"
                yield [_NAME, told[0]]
