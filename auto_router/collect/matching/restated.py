"""What a conclusion says of the claim that a yes/no question asks about: "so a swan would not fit in the shoebox".

Nobody needs the word "no" to answer no: who repeats the question's own words, affirmed or denied, has answered it. A clause
restates a claim only where it holds each of the claim's words, in their order, and nothing else that could change its meaning:
"can sometimes", "could have" for "did", or a condition make another claim, which decides nothing. A denial may hold fewer: who
denies less denies it all, but not where what is left out makes another claim ("vice", "first", "tried to"). English only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from auto_router.collect.matching.choices import UNCLEAR, Unclear
from auto_router.collect.matching.claims import FORMULA, Claim, find_turns
from auto_router.collect.matching.doubts import is_doubted
from auto_router.collect.matching.final_answer import Statement, is_corrected
from auto_router.collect.matching.stems import (
    CHANCES,
    ESSENTIAL,
    FILLERS,
    MODALS,
    NEGATIONS,
    OPPOSITES,
    POSSIBLY,
    PRONOUNS,
    SURELY,
    content_stems,
    split_words,
    stem,
)
from auto_router.collect.matching.truth import read_truth
from auto_router.collect.matching.vocabulary import one_of

MAX_CLAUSE = 400  # characters
MAX_CLAUSES = 4  # of a sentence, from its last one back

_LEADS = one_of(r"""
    therefore|thus|hence|so|then|overall|finally|ultimately|consequently|accordingly|however|additionally|clearly|obviously
    technically|hypothetically|theoretically|similarly|likewise|essentially|basically|and|but|\d{1,2}[.):]
    as such|as a result|for (?:this|that|these|those) reasons?|in answer to (?:the|your|this) question
    in (?:conclusion|short|summary|fact|other words|the end|this case|that sense|general)
    to (?:conclude|summari[sz]e|sum up|answer (?:the|your|this) question)
    all things considered|at this point|(?:given|from) (?:this|that)|with (?:all (?:of )?)?(?:this|that) in mind
    (?:now )?(?:given|considering|putting) (?:all|both|the|this|that|these|those)\b[^,]{1,120}(?=,)
    from (?:this|that|these|those)(?: \w+){0,3}(?=,)|from what (?:we|i|you) (?:can )?(?:tell|know|see)
    (?:based|going) (?:up)?on [^,]{1,120}(?=,)|(?:since|because|after) [^,]{1,150}(?=,)
    (?:yes|no)(?=\s*[,:;—–-])|(?:although|though|even though) [^,]{1,150}(?=,)|while [^,]{0,80}\b(?:may|might)\b[^,]{1,80}(?=,)
""")
_LEAD = re.compile(rf"^\W*(?:{_LEADS}(?:\s*[,:.;)—–-]\s*|\s+))+(?=\S)", re.IGNORECASE)
_KNOW = r"(?:conclude|say|see|assume|infer|know|believe|think)"
_PAIR = re.compile(
    r"\bthe (?:two|pair|duo)(?: of them)?(?= (?:would|will|could|can|are|were|have|had|has|did|do)\b)", re.IGNORECASE
)
_MUCH = re.compile(
    r"(?<!\bnot )(?<!n['’]t )\b(?:(?:very )?much|far|significantly|considerably|substantially|slightly|a (?:lot|little|bit)) "
    r"(?=(?:more|less|fewer|better|worse|(?:long|old|young|small|larg|bigg|tall|short|high|low|heavi|light|fast|slow|earli|lat|great|deep|hott|cold|warm)er)\b)",
    re.IGNORECASE,
)
_THAT = re.compile(
    "^"
    + one_of(rf"""
    (?:we|i) (?:(?:can|may|must|would) )?(?:(?:also|safely|reasonably|then|therefore|thus) )?{_KNOW}
    (?:you|one) can (?:(?:also|safely|reasonably|then) )?(?:conclude|say|see|infer)
    (?:it is|it['’]s) (?:safe|fair|reasonable) to {_KNOW}|(?:it is|it['’]s) (?:clear|true|certain)
    it (?:can|could|may) (?:therefore |safely )?be (?:concluded|said|seen|assumed|inferred)|it (?:seems|appears)
    (?:this|that|which|(?:a|the) (?:quick )?(?:google )?search) (?:means|implies|shows|tells us|indicates|suggests|reveals)
    the (?:(?:final|correct|short) )?(?:answer|conclusion)(?: to (?:the|your|this) question)? is|the final state of
""")
    + r"(?:,? then)?,?\s+(?:that\s+)?",
    re.IGNORECASE,
)
_LIKELY = re.compile(
    r"^it(?: is|['’]s| seems| appears)\s+(?:(?:very|highly|extremely|quite|pretty|rather|most|more|also|therefore)\s+)*"
    r"(?:(?P<yes>likely|probable)|unlikely|doubtful|improbable|not likely|false|not true|not the case)\s+that\s+",
    re.IGNORECASE,
)
_NO_SIGN = re.compile(
    r"\bthere(?:['’]s| is| was) (?:absolutely )?no (?:(?:credible|reliable|scientific|historical|known) )?"
    r"(?:evidence|indication|record|mention|sign)\b[^,;]{0,30}?"
    r" (?:that|to suggest that|of|(?P<yes>(?!)))\s+",
    re.IGNORECASE,
)
_POSSIBLE = re.compile(r"^it(?:['’]s| is| would be)\s+(?:not |im|(?P<yes>))possible\s+(?:for|to|that)\s+", re.IGNORECASE)
_CLAUSE_END = re.compile(
    r"(?<!\bno one)(?<!\bnobody)(?<!\bnone)(?<!\ball)(?<!\bnothing)"
    r"(?:[,;]\s*|\.\s+|\s+)(?:(?:but|although|though)\s+|(?:so|therefore|thus|hence|meaning|which means)(?: that)?,?\s+)"
    r"|[,;]\s*and\s+(?:so\s+)?",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"\W*(?:but|although|though)\b", re.IGNORECASE)
# Reasons and remarks behind a claim.
_TAIL = re.compile(
    r"[,;]?\s+(?:because|since|due to|given (?:that|the|how)|considering)\b.*$|[,;]\s*(?:with|such as|as|who|which|where)\b.*$"
    r"|[,;]\s*(?:it|they|he|she)\s.*$|\s+as (?:it|they|he|she|there|we|you|this|these|that|those|the)\b.*$"
    r"|\s*\([^()]*\)|\s+(?:at|in) the end$",
    re.IGNORECASE,
)
# What is so of some need not be so of others: "some birds do not fly".
_SOME = re.compile(
    r"\b(?:some|sometimes|several|certain|any|many|half)\b.*\b(?:not|never|cannot)\b|\b(?:some|any).*n['’]t\b", re.IGNORECASE
)
_NO_LONGER = re.compile(r"\b(?:no longer|anymore|any more)\b", re.IGNORECASE)  # of what was so once
# Where something is so only in part, or not in the real world.
_IN_PART = re.compile(
    r"\b(?:theory|principle|part|some|certain|few|most|many|way|sense|cases?|dreams?|best|paper|first|least|example|exceptions?"
    r"|moderation|except|only|order|not|no|never|help|luck|fiction|novel|book|story|movie|film|series|show|game|legend|myth|bible)\b"
)
_GIVEN = re.compile(r"\W*(?:since|because|given)\b", re.IGNORECASE)
_IS_NAME = re.compile(
    r"(?P<what>(?i:the|a|an|his|her|their)\s[^,;]{2,120}?)\s(?:is|was|are|were)\s"
    r"(?P<name>[A-Z][\w.'’-]*(?: [A-Z][\w.'’-]*){0,4})$"
)
_SUBJECT_NAME = re.compile(
    r"(?P<name>(?!(?i:the|a|an|it|this|that|there|they|he|she|we|you|these|those|some|all|most|in|on|at|if|since|because|when)\b)"
    r"[A-Z][\w.'’-]*(?: [A-Z][\w.'’-]*){0,4}) (?:is|was|has|had|did|does|came|left|\w+ed)\b"
)
_NAME = re.compile(r"(?<=[a-z,] )(?<!\bin )(?<!\bat )(?<!\bof )(?<!\bthe )[A-Z][a-z]+\b")
_WORD = re.compile(r"[^\W_]+")
_LIKELIHOOD = re.compile(r"\b(?:un)?likely\b|\bprobabl[ey]\b", re.IGNORECASE)  # takes a side
_CONCLUDES = re.compile(
    r"\W*(?:therefore|thus|hence|so|in (?:conclusion|short|summary)|overall|to answer|yes|no)\b", re.IGNORECASE
)


def read_conclusion(sentences: Sequence[str], claim: Claim) -> bool | Unclear | None:
    """Return what the sentences of a response, from the last one back, conclude on a claim; UNCLEAR where they disagree.

    The last sentence that restates the claim counts, if it closes the response or is marked as a conclusion.
    """
    claims = [claim, *_rename(claim, sentences)]
    for place, sentence in enumerate(sentences):
        earlier = next(iter(sentences[place + 1 : place + 2]), "")
        verdict = next((said for one in claims if (said := read_restated(sentence, one, earlier)) is not None), None)
        if verdict is not None and (place == 0 or _CONCLUDES.match(sentence)):
            after = sentences[:place]
            rest = " ".join(after[::-1])
            doubted = all(
                is_corrected(rest, said) or is_doubted(rest, said, conditions=not claim.turns)
                for said in (
                    Statement(text, "answer", 0) for text in (_LIKELIHOOD.sub("", sentence), _drop_words(sentence, claim))
                )
            )
            return UNCLEAR if doubted or (not verdict) in [read_truth(other) for other in after] else verdict
    return None


def _names_other(sentence: str, claim: Claim) -> bool:
    """Whether a sentence is about a name that a claim does not have: "Washington was the first"."""
    found = _SUBJECT_NAME.match(_LEAD.sub("", sentence))
    return found is not None and {stem(word) for word in split_words(found.group("name"))}.isdisjoint(claim.words)


def _drop_words(sentence: str, claim: Claim) -> str:
    """Return a sentence without the words of its claim, and those that take a side: neither doubts what it says."""
    return _WORD.sub(
        lambda found: "" if stem(found.group().lower()) in claim.words else found.group(), _LIKELIHOOD.sub("", sentence)
    )


def _rename(claim: Claim, sentences: Sequence[str]) -> Iterator[Claim]:
    """Yield a claim with a name in place of what a sentence says it is the name of: "The first president was Washington."."""
    for sentence in sentences[1:]:
        found = _IS_NAME.match(_LEAD.sub("", sentence))
        described = content_stems(found.group("what")) if found else frozenset()
        runs = [
            (begin, end)
            for begin in range(len(claim.words))
            for end in range(begin + 2, len(claim.words))
            if described.issuperset(claim.words[begin:end])
        ]
        if found and runs:
            begin, end = max(runs, key=lambda run: run[1] - run[0])
            name = [stem(word) for word in split_words(found.group("name")) if word not in FILLERS]
            words = (*claim.words[:begin], *name, *claim.words[end:])
            yield replace(claim, words=words, names=claim.names.union(name), cuts=frozenset())


def read_restated(sentence: str, claim: Claim, earlier: str = "") -> bool | None:
    """Return what a sentence answers to the question of a claim: yes (True), no (False); None where it says something else.

    ``earlier`` is the sentence before it, of which a pronoun may take up the subject.
    Its last clause decides, or one before it; not one that is affirmed and then limited ("it could fit, but …").
    """
    if "?" in sentence:
        return None
    text = _MUCH.sub("", _PAIR.sub("they", sentence.strip().rstrip(" .!*\"'”)")))
    if _names_other(earlier, claim) and next(iter(split_words(_LEAD.sub("", text))), "") in ("he", "she"):
        return None
    cuts = [found.span() for found in _CLAUSE_END.finditer(text)][-MAX_CLAUSES:]
    ends, begins = [*(start for start, _ in cuts), len(text)], [0, *(end for _, end in cuts)]
    for begin, end in zip(reversed(begins), reversed(ends), strict=True):
        verdict = _read_clause(text[begin:end], claim, text[:begin])
        if verdict is not None:
            limited = _LIMIT.match(text[end:]) and (verdict or _NO_SIGN.search(text[begin:end]))
            return None if limited else verdict is not bool(claim.denied)
    return None


def _read_clause(clause: str, claim: Claim, before: str) -> bool | None:
    """Return what a clause says of a claim; ``before``: what stands before it in its sentence, and tells who "it" is there."""
    said, affirmed = _strip_leads(clause[:MAX_CLAUSE], claim)
    subject = next(iter(split_words(said)), "")
    if subject in ("he", "she", "it") and _tells_of_others(before, claim, of_thing=subject == "it"):
        return None
    text = _TAIL.sub("", said)
    is_cut = not (content_stems(said) - content_stems(text)).isdisjoint(claim.words)
    denies = affirmed is any(word in NEGATIONS for word in split_words(text))
    if denies and (_SOME.search(text) or (claim.added and _NO_LONGER.search(text))):
        return None
    if claim.denied in CHANCES and not CHANCES.union(POSSIBLY, SURELY).intersection(split_words(clause)):
        return None  # who did not come may have been able to
    concludes = bool(before) or _CONCLUDES.match(clause) is not None or _GIVEN.match(clause) is not None
    stands, lacks = not is_cut and (denies or concludes), not is_cut and denies and not claim.whole
    verdict = _read_words(text, affirmed, claim, before if stands else None, lacks)
    if verdict is not None or claim.added is None or claim.denied or not affirmed:
        return verdict
    for found in islice(claim.added.finditer(text), MAX_CLAUSES):  # what is so at one time or place is so
        shorter = text[: found.start()]
        if not _IN_PART.search(text[found.start() :]) and _read_words(shorter, affirmed, claim):
            return True
    return None


def _tells_of_others(before: str, claim: Claim, of_thing: bool) -> bool:
    """Whether "she" behind a clause may be somebody else than a claim is about: "Ann met Mia, and she won"."""
    words = split_words(_LEAD.sub("", before))
    first = next((word for word in words if word not in FILLERS | MODALS), "")
    named = {stem(name.lower()) for name in _NAME.findall(before)}
    if not words or words[0] in PRONOUNS or (of_thing and words[0] not in ("the", "a", "an")):
        return False  # who flips a coin is not "it"
    return stem(first) not in claim.words or (not of_thing and not named <= claim.names)


def _read_words(text: str, affirmed: bool, claim: Claim, before: str | None = None, lacks: bool = False) -> bool | None:
    """Return what the words of a clause say of a claim.

    Args:
        before: what stands before it in its sentence; None where a pronoun may not stand for who the claim is about.
        lacks: whether it may lack words of the claim: "a pear would not sink" of "Would a pear sink in water?".
    """
    words = split_words(text)
    turns = tuple(turn for turn in find_turns(text) if not (turn[:4] == "not " and stem(turn[4:]) in claim.words))
    if not words or turns != claim.turns or FORMULA.search(text):
        return None
    earlier = split_words(_LEAD.sub("", before or ""))
    same_subject = not earlier or earlier[0] in PRONOUNS or not {*map(stem, earlier)}.isdisjoint(claim.words)
    with_pronoun = before is not None and words[0] in PRONOUNS and same_subject and not claim.of_pronoun
    negations = sum(word in NEGATIONS for word in words)
    turned = _count_opposites(words, claim, with_pronoun, lacks)
    if turned is None or turned + negations > 1 or (negations and not affirmed):
        return None
    verdict = affirmed is not bool(turned + negations)
    # What cannot be is not so; what can be need not be so.
    return None if verdict and not MODALS.intersection(words) <= claim.modals else verdict


def _strip_leads(text: str, claim: Claim) -> tuple[str, bool]:
    """Return what a clause claims, and whether what leads to it affirms that: "therefore it is unlikely that …" does not."""
    affirmed = True
    for _ in range(4):
        before = text
        text = _THAT.sub("", _LEAD.sub("", text))
        patterns = [_LIKELY]
        patterns += [] if "evidence" in claim.turns or claim.modals >= POSSIBLY else [_NO_SIGN]
        patterns += [_POSSIBLE] if claim.modals >= POSSIBLY else []
        found = next((match for pattern in patterns if (match := pattern.match(text))), None)
        if found:
            affirmed, text = (found.group("yes") is not None) is affirmed, text[found.end() :]
        if text == before:
            break
    return text, affirmed


def _count_opposites(words: Sequence[str], claim: Claim, with_pronoun: bool, lacks: bool) -> int | None:
    """Return how many times a clause turns the claim round; None where its words are not the claim's."""
    content = list(_content(words, claim))
    for wanted, swapped in _forms(claim):
        turned, missing = _align(content, wanted)
        if turned is None:
            continue
        subject = 0
        while missing[subject : subject + 1] == [subject] and (with_pronoun or wanted[subject] in claim.names):
            subject += 1
        rest = missing[subject:]
        if ("by" in words) is not claim.by and not (claim.by and missing):
            continue  # "Ann was hired by Max" of "Did Ann hire Max?"
        if ESSENTIAL.isdisjoint(wanted[:subject]) and (
            not rest or (lacks and wanted is claim.words and not turned and _may_lack(rest, subject + len(content), claim))
        ):
            return 0 if turned == swapped == 1 else turned + swapped  # "A is less than B" is "B is more than A"
    return None


def _may_lack(missing: Sequence[int], count: int, claim: Claim) -> bool:
    """Whether a denial still answers to a claim, of which it has ``count`` words, or a pronoun for them."""
    first, words = missing[0], claim.words
    if len(missing) == len(words) - first and first in claim.cuts and first > 1 and not claim.names.issuperset(words[:first]):
        return True  # the last ones, of where or when: "a pear would not sink"
    return 5 * count >= 3 * len(words) and (claim.held | ESSENTIAL).isdisjoint(words[place] for place in missing)


def _forms(claim: Claim) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the words of a claim, and those of a comparison without its "than …" or with its sides swapped, which denies it."""
    words = claim.words
    yield words, 0
    if len(words) > claim.lead + 1 and claim.lead:
        yield words[claim.lead :], 0
    sign = next((word for word in ("than", "before", "after") if word in words[1:-1]), "")
    if not sign:
        return
    place = words.index(sign)
    left, right, alone = (
        words[:place],
        words[place + 1 :],
        () if sign == "than" else (sign,),
    )  # "Ann was older", "Ann came before"
    yield (*left, *alone), 0
    for cut in range(1, place):
        yield (*right, *left[cut:], sign, *left[:cut]), 1
        yield (*right, *left[cut:], *alone), 1
        yield (*left[:cut], *right, sign, *left[cut:]), 1


def _align(content: Sequence[str], wanted: Sequence[str]) -> tuple[int | None, list[int]]:
    """Return how many wanted words stand as their opposites, None where others stand; and the places of those that do not."""
    turned, place, missing = 0, 0, []
    for index, word in enumerate(wanted):
        said = content[place] if place < len(content) else ""
        if said == word or {said, word} in OPPOSITES:
            place, turned = place + 1, turned + (said != word)
        else:
            missing.append(index)
    return None if place < len(content) or not content else turned, missing


def _content(words: Iterable[str], claim: Claim) -> Iterator[str]:
    for word in words:
        short = stem(word)
        if short in claim.words or word not in FILLERS | MODALS | NEGATIONS:
            yield short
