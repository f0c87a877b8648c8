"""A name read by what the question asks: "Ann won the race" says who won it, "gold is heavier" which of two metals is.

A sentence names what is asked for where it holds the question's words in their order, and the name in the place that is asked
for, and no other word: "Ann beat Bo" says who beat Bo, and not whom Bo beat. Prepositions are such words, and both must be
active or both passive. English only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from auto_router.collect.matching.doubts import is_doubted
from auto_router.collect.matching.final_answer import Statement
from auto_router.collect.matching.other_matters import find_ask
from auto_router.collect.matching.reading import Reading
from auto_router.collect.matching.stems import FILLERS, MODALS, NEGATIONS, OPPOSITES, PRONOUNS, split_words, stem
from auto_router.collect.matching.vocabulary import HEDGE, NEGATION, list_words
from auto_router.collect.matching.wordings import fold

MAX_ASKED_NAME = 300  # characters of a sentence, and of a question, that are read
MAX_SHORT_REPLY = 3  # sentences
MAX_NOUNS = 3  # words of "what" and "which", as "metal" of "Which metal rusts?", and one
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
_PARTS = frozenset(
    list_words("""
    of and or by to in on at with without for from than not son daughter wife husband mother father who whom whose that which
    after before against near under over like beside behind opposite about
    """)
)
_TO_BE = frozenset(list_words("is are was were am be been being"))
_TO_DO = frozenset(list_words("did does do"))
_ECHOES = _TO_BE | _TO_DO | frozenset(list_words("has have had will can"))
_AT = frozenset(list_words("to in on at"))  # before a place
_LIGHT = FILLERS - _AT - frozenset(list_words("of by for with from into onto during within"))
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
    if not NEGATIONS.isdisjoint(split_words(asked)):
        return None  # "Ann has." to "Who has no car?"
    if is_doubted(text, Statement(first, "line", len(first))):
        return None
    pair = _PAIR.search(asked)
    if pair:
        clauses = _CLAUSES.split(first if len(sentences) == 1 else sentences[0])
        picks = [_picks_of_pair(part, pair, reference) for part in clauses]
        if any(pick is None and fold(pair["what"]) in fold(part) for pick, part in zip(picks, clauses, strict=True)):
            return None  # "Ann was older, but Bo is older now"
        return said.pop() if len(said := set(picks) - {None}) == 1 else None
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


def swaps_places(response: Reading, reference: str) -> bool:
    """Whether a reply has the reference suffer what is asked who did it, or do it: "Ann called Bo" to "Who called Ann?"."""
    asked = _ASK.search(find_ask(response.question)[-MAX_ASKED_NAME:])
    if asked is None or len(response.text) > MAX_ASKED_NAME:
        return False
    sentence = response.text.strip(" .!*")
    said, content, passive = _mask(sentence, asked, reference), _stems(asked["rest"]), _is_passive(asked["rest"])
    if said is None:
        return False
    if _AUXILIARY.search(asked["rest"]):  # "Ann was called by Bo" to "Whom did Ann call?"
        return said[-2:] == ["by", _NAME] and _is_passive(sentence) and "by" not in content
    if passive != _is_passive(sentence) or passive != (said[-2:] == ["by", _NAME]):
        return False
    for cut in range(min(MAX_NOUNS, len(content) - 1)):
        verb, *others = (word for word in content[cut:] if not passive or word != "by")
        if others and said == [*others, verb, *said[-1 - passive :]]:
            return True
    return False


def _stands_in_place(sentence: str, asked: re.Match[str], reference: str) -> bool:
    """Whether a sentence holds the words of what is asked, and the reference in the place of what is asked for."""
    if not any(map(str.isdigit, asked.group())):  # of another year it may tell where one is asked for
        sentence = _WHEN.sub("", sentence)
    said = _mask(sentence, asked, reference)
    if said is None:
        return False
    words, rest = split_words(sentence), split_words(asked["rest"])
    if len(said) == 1 and words[-1] in _ECHOES:  # "Bell did."
        verbs = [word for word in rest if word in _ECHOES]
        return words[-1] not in _TO_DO and words[-1] == verbs[0] if verbs else words[-1] in _TO_DO
    by = said[-2:] == ["by", _NAME]
    other_voice = not by and _is_passive(sentence) != _is_passive(asked["rest"])
    if other_voice or MODALS.intersection(words) != MODALS.intersection(rest):
        return False  # who should have won did not; who was beaten did not beat
    if asked["wh"].lower() == "where" and not _AT.isdisjoint(said[-2:-1]):
        said = [*said[:-2], _NAME]
    pronouns = len([word for word in words if word in PRONOUNS])
    return pronouns < 2 and any(said == wanted for wanted in _list_forms(asked, by, bool(pronouns)))


def _mask(sentence: str, asked: re.Match[str], reference: str) -> list[str] | None:
    """Return the stems of a sentence, with one word for the reference; None where it is not there, or is in the question."""
    place = re.search(rf"(?<![\w'’-]){re.escape(reference.strip(' .'))}(?![\w'’-])", sentence, re.IGNORECASE)
    if place is None or reference.lower() in asked.group().lower():
        return None
    lead = _BEFORE.search(sentence[: place.start()])
    words = split_words(lead.group()) if lead else []
    is_own = _PARTS.isdisjoint(words) and not any(word.endswith("ing") and word != "king" for word in words)
    begin = lead.start() if lead and is_own else place.start()
    return _stems(f"{sentence[:begin]} {_NAME} {sentence[place.end() :]}")


def _stems(text: str) -> list[str]:
    words = (word for word in split_words(text) if word == _NAME or word not in _LIGHT | MODALS)
    return [word if word == _NAME else stem(word) for word in words]


def _is_passive(text: str) -> bool:
    """Whether a text may be passive: it holds a form of "to be"."""
    return not _TO_BE.isdisjoint(split_words(text))


def _list_forms(asked: re.Match[str], by: bool, pronoun: bool) -> Iterator[list[str]]:
    """Yield the words that a sentence may hold, in their order, with the name in its place."""
    rest = asked["rest"]
    auxiliary = (_WAS if asked["wh"].lower() == "where" else _AUXILIARY).search(rest)
    content = _stems(rest)
    if auxiliary:  # "What did Ann buy?", "Which book does Ann like?"
        noun = _stems(rest[: auxiliary.start()])
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
    nouns = range(1, min(MAX_NOUNS, len(content))) if asked["wh"].lower() in ("what", "which") else range(1)
    for cut in nouns:
        noun, told = content[:cut], content[cut:]
        if by:
            yield [*told[1:], told[0], "by", _NAME]
            if pronoun:
                yield [told[0], "by", _NAME]
        elif not by:
            yield [_NAME, *told]
            yield [_NAME, *noun, *told]
            if pronoun or (not cut and split_words(rest)[0] not in FILLERS):  # "Ann won." to "Who won the race?"
                yield [_NAME, told[0]]
