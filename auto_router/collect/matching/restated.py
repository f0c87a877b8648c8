"""What a conclusion says of the claim that a yes/no question asks about: "so a swan would not fit in the shoebox".

Nobody needs the word "no" to answer no: who repeats the question's own words, affirmed or denied, has answered it. A clause
restates a claim only where it holds each of the claim's words, in their order, and nothing else that could change its meaning:
"can sometimes", "could have" for "did", or a condition make another claim, which decides nothing. English only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from auto_router.collect.matching.choices import UNCLEAR, Unclear, read_truth
from auto_router.collect.matching.doubts import is_doubted
from auto_router.collect.matching.final_answer import Statement, is_corrected, split_sentences
from auto_router.collect.matching.phrases import list_words, one_of

MAX_QUESTION = 4_000  # characters; the question stands at the end of a long prompt
MAX_CLAUSE = 400  # characters
MAX_CLAUSES = 4  # of a sentence, from its last one back
MAX_CLAIM_WORDS = 40  # of a claim


def _lines(text: str) -> Iterator[list[str]]:
    return (line.split() for line in text.replace("\n", ",").split(",") if line.strip())


_POSSIBLY = frozenset(list_words("can could may might"))
_SURELY = frozenset(list_words("will would should shall must"))
_MODALS = _POSSIBLY | _SURELY
_PRONOUNS = frozenset(list_words("it they he she this that these those we you i one"))
# What changes nothing of a claim: articles, particles, and words such as "still", of what one sees when one looks.
_FILLERS = _PRONOUNS | frozenset(
    list_words("""
    is are was were am be been being do does did done has have had having who what which
    a an the to of in on at by for with from into onto during within as there its their his her our your my
    any ever still now again then also too indeed actually really definitely certainly clearly obviously so anymore considered
    able hypothetically theoretically technically likely probably remain remains final current currently number
    """)
)
_NEGATIONS = frozenset(list_words("not never no cannot nobody none unable impossible unlikely doubtful false untrue incorrect"))
# Those that a question may hold. Of "Can you not swim?" nobody knows what a yes means.
_DENIALS = frozenset(list_words("impossible unable unlikely never nobody untrue incorrect"))
_OPPOSITES = {
    frozenset(pair)
    for pair in _lines("""
    heads tails, head tail, more less, more fewer, bigger smaller, larger smaller, greater smaller, higher lower, better worse
    older younger, longer shorter, taller shorter, heavier lighter, faster slower, warmer colder, hotter colder, earlier later
    before after, even odd, alive dead, open closed, inside outside, legal illegal, necessary unnecessary, safe unsafe
    same different
    """)
}
_UNCHANGED = frozenset().union(*_OPPOSITES)  # words that have no ending to drop
_IRREGULAR = {
    form: base
    for base, *forms in _lines("""
    go went gone, win won, write wrote written, eat ate eaten, see saw seen, take took taken, give gave given, know knew known
    make made, find found, fight fought, buy bought, think thought, bring brought, teach taught, catch caught, sell sold
    tell told, hold held, lead led, lose lost, leave left, meet met, run ran, sing sang sung, swim swam swum, drink drank drunk
    speak spoke spoken, break broke broken, wear wore worn, bear bore born, grow grew grown, fly flew flown, drive drove driven
    ride rode ridden, fall fell fallen, feel felt, keep kept, build built, send sent, spend spent, sit sat, stand stood
    understand understood, die died dead death, begin began begun, become became, come came, get got gotten
    """)
    for form in forms
}
_QUESTION = re.compile(
    r"\W*(?:(?:q(?:uestion)?|claim)\s*:\s*)?(?P<lead>[^?]{1,120}?,\s+)?"
    r"(?P<verb>is|are|was|were|do|does|did|can|could|will|would|has|have|had|should|may|might|must)\s+(?P<claim>[^?]{2,400})\?\W*",
    re.IGNORECASE,
)
_FORMULA = re.compile(r"[<>=+*/^\\|≤≥≠]|(?<!\w)[-−]\d")  # signs that no word of a claim holds
_OPEN_CLAIM = re.compile(r"\b(?:or|nor|only)\b", re.IGNORECASE)
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
    (?:yes|no)(?=\s*[,:;—–-])
""")
_LEAD = re.compile(rf"^\W*(?:{_LEADS}(?:\s*[,:.;)—–-]\s*|\s+))+(?=\S)", re.IGNORECASE)
_KNOW = r"(?:conclude|say|see|assume|infer|know|believe|think)"
_THAT = re.compile(
    "^"
    + one_of(rf"""
    (?:we|i) (?:(?:can|may|must|would) )?(?:(?:also|safely|reasonably|then|therefore|thus) )?{_KNOW}
    (?:you|one) can (?:(?:also|safely|reasonably|then) )?(?:conclude|say|see|infer)
    (?:it is|it['’]s) (?:safe|fair|reasonable) to {_KNOW}|(?:it is|it['’]s) (?:clear|true|certain)
    it (?:can|could|may) (?:therefore |safely )?be (?:concluded|said|seen|assumed|inferred)|it (?:seems|appears)
    (?:this|that|which) (?:means|implies|shows|tells us|indicates|suggests)
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
_POSSIBLE = re.compile(r"^it(?:['’]s| is| would be)\s+(?P<not>not |im)?possible\s+(?:for|to|that)\s+", re.IGNORECASE)
_CLAUSE_END = re.compile(
    r"(?:[,;]\s*|\.\s+|\s+)(?:(?:but|although|though)\s+|(?:so|therefore|thus|hence|meaning|which means)(?: that)?,?\s+)"
    r"|[,;]\s*and\s+(?:so\s+)?",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"\W*(?:but|although|though)\b", re.IGNORECASE)
# Reasons and remarks behind a claim.
_TAIL = re.compile(
    r"[,;]?\s+(?:because|since|due to|given (?:that|the|how)|considering)\b.*$|[,;]\s*(?:with|such as|as|who|which|where)\b.*$"
    r"|[,;]\s*(?:it|they|he|she)\s.*$|\s+as (?:it|they|he|she|there|we|you|this|these|that|those|the)\b.*$|\s*\([^()]*\)",
    re.IGNORECASE,
)
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
_LIKELIHOOD = re.compile(r"\b(?:un)?likely\b|\bprobabl[ey]\b", re.IGNORECASE)  # takes a side
_CONCLUDES = re.compile(
    r"\W*(?:therefore|thus|hence|so|in (?:conclusion|short|summary)|overall|to answer|yes|no)\b", re.IGNORECASE
)
_IS = re.compile(r"\b(it|that|there|he|she|what|who)'s\b")
_WORD = re.compile(r"[^\W_]+(?:'s\b)?")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a yes/no question asks about: its words in their order, and those of names.

    ``modals`` are the words for what can or would be that affirm it: none where it asks what is. ``turns`` are its conditions.
    """

    words: tuple[str, ...]
    names: frozenset[str]
    modals: frozenset[str]
    turns: tuple[str, ...] = ()
    denied: bool = False  # the question asks whether something is not so: "Is he unable to swim?"


def read_claim(question: str) -> Claim | None:
    """Return the claim of the one yes/no question in a prompt; None where there is none, or several, or it asks "A or B?"."""
    asked = [sentence for sentence in split_sentences(question[-MAX_QUESTION:]) if "?" in sentence]
    found = [match for sentence in asked if (match := _QUESTION.fullmatch(sentence))]
    if len(found) != 1 or len(asked) > 3:
        return None
    claim = (found[0].group("lead") or "") + found[0].group("claim")
    raw = _split(claim)
    if _OPEN_CLAIM.search(claim) or _FORMULA.search(claim):
        return None
    denials = [word for word in raw if word in _NEGATIONS]
    if len(denials) > 1 or not _DENIALS.issuperset(denials):
        return None
    words = [_stem(word) for word in raw if word not in _FILLERS | _MODALS | _DENIALS]
    names = {_stem(word.lower()) for word in re.findall(r"\b[A-Z][\w'’]+", claim)}
    asks = _MODALS.intersection([found[0].group("verb").lower(), *raw])
    modals = _MODALS if asks & _POSSIBLY else _SURELY if asks else frozenset()
    turns = _find_turns(claim)
    return Claim(tuple(words), frozenset(names), modals, turns, bool(denials)) if 1 < len(words) <= MAX_CLAIM_WORDS else None


def read_conclusion(sentences: Sequence[str], claim: Claim) -> bool | Unclear | None:
    """Return what the sentences of a response, from the last one back, conclude on a claim; UNCLEAR where they disagree.

    The last sentence that restates the claim counts, if it closes the response or is marked as a conclusion.
    """
    for place, sentence in enumerate(sentences):
        verdict = read_restated(sentence, claim)
        if verdict is not None and (place == 0 or _CONCLUDES.match(sentence)):
            after = sentences[:place]
            said = Statement(_LIKELIHOOD.sub("", sentence), "answer", 0)
            rest = " ".join(after[::-1])
            doubted = is_corrected(rest, said) or is_doubted(rest, said, conditions=not claim.turns)
            return UNCLEAR if doubted or (not verdict) in [read_truth(other) for other in after] else verdict
    return None


def read_restated(sentence: str, claim: Claim) -> bool | None:
    """Return what a sentence answers to the question of a claim: yes (True), no (False); None where it says something else.

    Its last clause decides, or one before it; not one that is affirmed and then limited ("it could fit, but …").
    """
    if "?" in sentence:
        return None
    text = sentence.strip().rstrip(" .!*\"'”)")
    cuts = [found.span() for found in _CLAUSE_END.finditer(text)][-MAX_CLAUSES:]
    ends, begins = [*(start for start, _ in cuts), len(text)], [0, *(end for _, end in cuts)]
    for begin, end in zip(reversed(begins), reversed(ends), strict=True):
        verdict = _read_clause(text[begin:end], claim, text[:begin])
        if verdict is not None:
            return None if verdict and _LIMIT.match(text[end:]) else verdict is not claim.denied
    return None


def _read_clause(clause: str, claim: Claim, before: str) -> bool | None:
    """Return what a clause says of a claim; ``before``: what stands before it in its sentence, and tells who "it" is there."""
    text, affirmed = _strip_leads(clause[:MAX_CLAUSE], claim)
    words = _split(text)
    turns = tuple(turn for turn in _find_turns(text) if not (turn[:4] == "not " and _stem(turn[4:]) in claim.words))
    if not words or turns != claim.turns or _FORMULA.search(text):
        return None
    earlier = _split(_LEAD.sub("", before))
    same_subject = not earlier or earlier[0] in _PRONOUNS or not {*map(_stem, earlier)}.isdisjoint(claim.words)
    turned = _count_opposites(words, claim, words[0] in _PRONOUNS and same_subject)
    if turned is None:
        return None
    turned += sum(word in _NEGATIONS for word in words)
    if turned > 1:
        return None
    verdict = affirmed is not bool(turned)
    # What cannot be is not so; what can be need not be so.
    return None if verdict and not _MODALS.intersection(words) <= claim.modals else verdict


def _strip_leads(text: str, claim: Claim) -> tuple[str, bool]:
    """Return what a clause claims, and whether what leads to it affirms that: "therefore it is unlikely that …" does not."""
    affirmed = True
    for _ in range(4):
        before = text
        text = _THAT.sub("", _LEAD.sub("", text))
        found = _LIKELY.match(text) or (_POSSIBLE.match(text) if claim.modals >= _POSSIBLY else None)
        if found:
            says_so = found.group("yes") is not None if found.re is _LIKELY else found.group("not") is None
            affirmed, text = says_so is affirmed, text[found.end() :]
        if text == before:
            break
    return _TAIL.sub("", text), affirmed


def _count_opposites(words: Sequence[str], claim: Claim, with_pronoun: bool) -> int | None:
    """Return how many times a clause turns the claim round; None where its words are not the claim's."""
    content = list(_content(words, claim))
    for wanted, swapped in _forms(claim.words):
        turned = _count_turned(content, wanted, claim.names, with_pronoun)
        if turned is not None:
            return turned + swapped
    return None


def _forms(words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the words of a claim, and those of a comparison without its "than …" or with its sides swapped, which denies it."""
    yield words, 0
    if "than" not in words[1:-1]:
        return
    than = words.index("than")
    left, right = words[:than], words[than + 1 :]
    yield left, 0
    for cut in range(1, than):
        yield (*right, *left[cut:], "than", *left[:cut]), 1
        yield (*right, *left[cut:]), 1
        yield (*left[:cut], *right, "than", *left[cut:]), 1


def _count_turned(content: Sequence[str], wanted: Sequence[str], names: frozenset[str], with_pronoun: bool) -> int | None:
    """Return how many wanted words stand as their opposites; None where others stand.

    Of the subject a part of its name is enough, or a pronoun.
    """
    turned, place, missing = 0, 0, []
    for word in wanted:
        said = content[place] if place < len(content) else ""
        if said == word or {said, word} in _OPPOSITES:
            place, turned = place + 1, turned + (said != word)
        else:
            missing.append(word)
    if place < len(content) or not content:
        return None
    is_subject = missing == list(wanted[: len(missing)]) and (with_pronoun or names.issuperset(missing))
    return turned if not missing or is_subject else None


def _find_turns(text: str) -> tuple[str, ...]:
    return tuple(found.group().lower() for found in _TURNS.finditer(text))


def _content(words: Iterable[str], claim: Claim) -> Iterator[str]:
    for word in words:
        stem = _stem(word)
        if stem in claim.words or word not in _FILLERS | _MODALS | _NEGATIONS:
            yield stem


def content_stems(text: str) -> frozenset[str]:
    """Return the stems of the words of a text that carry its meaning."""
    return frozenset(_stem(word) for word in _split(text) if word not in _FILLERS | _MODALS | _NEGATIONS)


def _split(text: str) -> list[str]:
    text = _IS.sub(r"\1 is", text.lower().replace("’", "'"))
    text = text.replace("can't", "cannot").replace("won't", "will not").replace("n't", " not")
    return _WORD.findall(text.replace("no longer", "not"))


def _stem(word: str) -> str:
    """Return a word without its ending, so that "fights", "fighting" and "fought" are one."""
    word = word.removesuffix("'s")
    word = _IRREGULAR.get(word, word)
    if word in _UNCHANGED:
        return word
    short = re.sub(r"(?:ing|(?<!e)ed|es|s|e|ly)$", "", word)
    short = short[:-1] if len(short) > 3 and short[-1:] == short[-2:-1] else short
    return short if len(short) >= 2 else word
