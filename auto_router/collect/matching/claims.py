"""What a yes/no question asks about: a claim, by its words, of which some may be left out where it is denied. English only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from auto_router.collect.matching.final_answer import split_sentences
from auto_router.collect.matching.stems import (
    DENIALS,
    FILLERS,
    MODALS,
    NEGATIONS,
    POSSIBLY,
    PRONOUNS,
    SURELY,
    split_words,
    stem,
)
from auto_router.collect.matching.vocabulary import list_words, one_of

MAX_QUESTION = 4_000  # characters; the question stands at the end of a long prompt
MAX_CLAIM_WORDS = 40  # of a claim

_QUESTION = re.compile(
    r"\W*(?:(?:q(?:uestion)?|claim)\s*:\s*)?(?P<lead>[^?]{1,120}?,\s+)?"
    r"(?P<verb>is|are|was|were|do|does|did|can|could|will|would|has|have|had|should|may|might|must)\s+(?P<claim>[^?]{2,400})\?\W*",
    re.IGNORECASE,
)
_PARENTHESES = re.compile(r"\s*\([^()]*\)")
FORMULA = re.compile(r"[<>=+*/^\\|≤≥≠]|(?<!\w)[-−]\d")  # signs that no word of a claim holds
_OPEN_CLAIM = re.compile(r"\b(?:or|nor|only)\b", re.IGNORECASE)
# What makes another claim of the restated one, unless the question has it too.
_TURNS = re.compile(
    one_of(r"""
    \b(?:if|unless|except|until|neither|nor|without|whereas|hard to say|not sure|rather than|instead|evidence)\b|^while\b
    \bnot (?:only|all|always|every\w*|necessarily|entirely|just|both|directly|exactly|quite|really|many|much|often|usually)\b
    \bnot (?:yet|as|so|very|too|that)\b
    \b(?:it|that|this) depends\b
"""),
    re.IGNORECASE,
)
# A claim of which each word counts: who is not the first is not no president, who did not kill may have tried to.
_WHOLE = re.compile(
    r"\b(?:first|second|third|fourth|fifth|last|next|most|least|best|worst|[a-z]{2,}est|that|whether|how|why|because|if|when|while)\b"
    r"|\b[a-z]+ to (?!(?:the|a|an|his|her|their|its|this|that|my|your|our)\b)[a-z]"
)
_DOING = re.compile(r"(?<!\bof)(?<!\ba)(?<!\ban)(?<!\bthe)(?<!\bin)\s[a-z]{2,}ing\b")  # "deny stealing it"
_WHAT_IT_IS = re.compile(r".*\b(?:a|an|the)\s+(.+)", re.IGNORECASE)  # a vice president is no president
# Behind these words stands where, when or how something is so.
_PLACE = frozenset(list_words("in on at for during from since to into inside near within among"))
_HOLDS = re.compile(
    r"[^\W_]+'s\s+(?:[^\W_]+\s+)?[^\W_]+|[^\W_]+(?=\s+(?:of|that|who|which|whose)\b)|\b(?:un|dis)[a-z]{4,}", re.IGNORECASE
)
# What may be added to a claim that is affirmed: "he swam the Channel in 1934".
_ADDED = re.compile(r"[,;]?\s+(?:in|on|at|for|during|from|since|into|within|among|through|after|before|until)\s+(?=\S)")
_CIRCUMSTANCE = re.compile(r"\W*(?:in|at|on|during|within|among|for|by|since)\b", re.IGNORECASE)
_DATED = re.compile(r"[,;]?\s+in\s+(?=\d{4}\b)")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a yes/no question asks about: its words in their order, and those of names.

    ``modals`` are the words for what can or would be that affirm it: none where it asks what is. ``turns`` are its conditions.
    """

    words: tuple[str, ...]
    names: frozenset[str]
    modals: frozenset[str]
    turns: tuple[str, ...] = ()
    denied: str = ""  # the word by which the question asks whether something is not so: "Is he unable to swim?"
    cuts: frozenset[int] = frozenset()  # before which words it says where, when or how: "in water" of "sink in water"
    held: frozenset[str] = frozenset()  # words without which it is another claim
    whole: bool = False  # each word counts, also where it is denied
    of_pronoun: bool = False  # "Did he win?"
    added: re.Pattern[str] | None = None  # before what more of a time or place may be told
    by: bool = False  # "Was he hired by Ann?"
    lead: int = 0  # how many words tell of a place or time before the question: "In Rome, did people eat rice?"


def read_claim(question: str) -> Claim | None:
    """Return the claim of the one yes/no question in a prompt; None where there is none, or several, or it asks "A or B?"."""
    asked = [sentence for sentence in split_sentences(question[-MAX_QUESTION:]) if "?" in sentence]
    found = [match for sentence in asked if (match := _QUESTION.fullmatch(sentence))]
    if len(found) != 1 or len(asked) > 3:
        return None
    claim = _PARENTHESES.sub("", (found[0].group("lead") or "") + found[0].group("claim"))
    raw = split_words(claim)
    if _OPEN_CLAIM.search(claim) or FORMULA.search(claim):
        return None
    denials = [word for word in raw if word in NEGATIONS]
    if len(denials) > 1 or not DENIALS.issuperset(denials):
        return None
    kept = [word not in FILLERS | MODALS | DENIALS for word in raw]
    words = [stem(word) for word, is_kept in zip(raw, kept, strict=True) if is_kept]
    names = {stem(word.lower()) for word in re.findall(r"\b[A-Z][\w'’]+", claim)}
    asks = MODALS.intersection([found[0].group("verb").lower(), *raw])
    verb = found[0].group("verb").lower()
    is_now = verb in ("is", "are")  # "Is it safe?": "it would be safe"
    modals = MODALS if asks & POSSIBLY else SURELY if asks else frozenset(("would",) if is_now else ())
    added = {"did": _ADDED, "has": _ADDED, "have": _ADDED, "had": _ADDED, "was": _DATED, "were": _DATED}.get(verb)
    if not 1 < len(words) <= MAX_CLAIM_WORDS:
        return None
    cuts = frozenset(sum(kept[:place]) for place, word in enumerate(raw) if word in _PLACE)
    is_thing = verb in ("is", "are", "was", "were") and raw[0] != "there"
    parts = [*_HOLDS.findall(claim.replace("’", "'")), *(_WHAT_IT_IS.findall(claim) if is_thing else ())]
    held = frozenset(stem(word) for part in parts for word in split_words(part))
    whole = _WHOLE.search(claim) is not None or (not is_thing and _DOING.search(claim) is not None)
    turns, of_pronoun = find_turns(claim), raw[0] in PRONOUNS
    lead = (
        sum(kept[: len(split_words(found[0].group("lead") or ""))]) if _CIRCUMSTANCE.match(found[0].group("lead") or "") else 0
    )
    denied, by = "".join(denials), "by" in raw
    return Claim(tuple(words), frozenset(names), modals, turns, denied, cuts, held, whole, of_pronoun, added, by, lead)


def find_turns(text: str) -> tuple[str, ...]:
    return tuple(found.group().lower() for found in _TURNS.finditer(text))
