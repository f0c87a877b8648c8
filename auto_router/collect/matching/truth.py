"""Yes or no, true or false: what a stated answer says, in the languages models answer in."""

from __future__ import annotations

import re

from auto_router.collect.matching.choices import MAX_RUN, UNCLEAR, Rejected, Unclear
from auto_router.collect.matching.vocabulary import (
    AFFIRMED,
    AFFIRMS_THAT,
    DENIED,
    DENIES_THAT,
    HEDGE,
    LEAD,
    NEGATION,
    NO,
    NO_ANSWER,
    REFERENCES,
    YES,
    one_of,
)

_POLARITY = dict.fromkeys(YES, True) | dict.fromkeys(NO, False)
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u0900-\u097f\u0300-\u036f])*")
# What follows a "yes" or "no" that is the answer, and no word of a sentence ("no one", "yes-men").
_AFTER_WORD = re.compile(
    r"\s*"
    + one_of(r"""
    $|[.,;:!*`\"'”)。，！、\n]|[-–—]|\(|\b(?:because|since|as|although|though|it|they|he|she|we|you|this|that|i)\b
""")
)
_ELLIPSIS = re.compile(
    r"(?:it|they|he|she|this|that|there|we|you|i)\s*"
    r"(?:is|are|does|do|did|was|were|can|will|has|have|had|would|could|should)(?P<not>n['’]t| not)?\W*|(?P<never>never)\W*"
)
_THINK_SO = re.compile(r"\bI (?P<not>do not |don['’]t )?(?:think|believe) so\b", re.IGNORECASE)
_CONCLUDED = re.compile(r"[,;—–-]\s*(?:(?:but )?in short|so|thus|therefore|hence)[,:]?\s+(?:the answer is\s+)?(yes|no)\W*$")
_SAID_BY_CODE = re.compile(
    r"^(?:(?:the )?(?:(?:final|printed) )?(?:output|return value|returned value|result)(?: is| will be| would be)?"
    r"|(?:it|(?:this|the) (?:code|expression|function|condition|program|call)) "
    r"(?:returns|prints|outputs|evaluates to))\s*:?\s*[`'\"]?(?=(?:true|false)\b)",
    re.IGNORECASE,
)
# "Definitely yes", "Based on the passage, yes."
_WITH_WEIGHT = re.compile(
    r"^(?:(?:definitely|absolutely|certainly|clearly)|(?:based on|according to|given|judging by|from) [a-z ]{3,60}),? "
    r"(?=(?:yes|no)\W*$)"
)
_WORD_AT_START = re.compile(r"\W*(yes|no|true|false)\b")
# "Das ist falsch.", "这是错误的。"
_CALLED = re.compile(
    r"(?:(?:das|dies|es|die aussage) ist|(?:c['’]|cela |l['’]affirmation )est|(?:(?:eso|esto|la afirmación) )?es"
    r"|(?:isso )?é|(?:questo )?è"
    r"|这(?:个|一)?(?:说法|陈述|句子)?是|该说法是)\s*"
    r"(?P<word>wahr|richtig|korrekt|falsch|vrai|correct|exact|faux|verdad|verdadero|cierto|correcto|falso|incorrecto|verdade"
    r"|verdadeiro|vero|corretto|正确|错误|对|错|真|假)的?\W*"
)
_SUBJECT = one_of("""
    statement|claim|assertion|sentence|proposition|hypothesis|conclusion|premise|this|that|it|answer|equation|inequality|which
    aussage|affirmation|afirmación|afirmação|affermazione
""")
PREDICATE = re.compile(
    rf"\b{_SUBJECT}(?: (?:above|below|given|here))?(?:\s*[\"“'«][^\"”'»]{{1,200}}[\"”'»])?\s*"
    r"(?:is|was|are|’s|'s|must be|has to be|ist|est|es|é|è)\s*"
    r"(?:therefore |thus |indeed |definitely |certainly |hence |also |clearly |actually |simply |considered )?"
    r"(?P<not>not |n['’]t |nicht )?(?:a )?(?:definitely |entirely |necessarily )?['\"“*]?"
    r"(?P<word>true|false|correct|incorrect|wrong|right|untrue|yes|no|wahr|falsch|vrai|faux)\b"
    r"(?! (?:to|that|if|when|only|or|one))"
    rf"|(?:\b{_SUBJECT}\s*(?:isn|wasn)|^isn)['’]t (?P<denied>true|false|correct|right|wrong)\b",
    re.IGNORECASE,
)
_WOULD_BE_WRONG = re.compile(
    r"(?:is|was|would be|seems) (?:\w+ly )?"
    r"(?:(?:the |a )?(?:wrong|incorrect|false)|a mistake|not (?:the )?(?:right|correct|answer))\b"
)
_QUOTED = re.compile(r"(yes|no|true|false)[\"'”’*`]+,?\s+")  # "'Yes' would be the wrong answer."
_TRUTH_WORD = re.compile(r"\b(?:true|false|correct|incorrect|wrong|untrue)\b")
_OF_FALSE = re.compile(r"\b(?:false|wrong|incorrect|untrue|mistaken|a (?:lie|myth))\b", re.IGNORECASE)
_OF_TRUE = re.compile(r"\b(?:true|correct|right)\b", re.IGNORECASE)
_OF_SAYING = re.compile(
    r"\b(?:would be|wrong|mistake|incorrect) (?:\w+ ){0,2}to (?:say|call|claim|think)\b|\bit is (?:not )?(?:true|false) that\b",
    re.IGNORECASE,
)


# "It would be wrong to say that this is true."
_DENIES_SAYING = re.compile(
    r"\W*(?:(?:so|thus|hence|therefore),? )?(?:it|this|that)(?:['’]s| is| was| would be) (?:\w+ly )?"
    r"(?:(?:a )?(?:wrong|incorrect|mistake|false|untrue)|not (?:the case|true|right|correct))"
    r"(?: to (?:say|call|claim|think|state)\b| that\b)(?P<said>[^.,;:!?]{1,200})\W*",
    re.IGNORECASE,
)


def asks_false(question: str) -> bool:
    """Whether a question asks if something is false, so that "it is false" says yes."""
    return _OF_FALSE.search(question) is not None and _OF_TRUE.search(question) is None


def truth_value(reference: str) -> bool | None:
    """Return what a reference that is "yes", "false", "oui" or the like means; None for any other."""
    word = reference.strip().strip(".!。*`\"'").lower()
    return _POLARITY[word] if word in REFERENCES else None


def read_truth(text: str) -> bool | Rejected | Unclear | None:
    """Return whether a statement says yes or no; None where it says neither, both rejected where it says that it does not."""
    text = text[:MAX_RUN].strip().lstrip("*`\"'>#-“•¡¿✔✅☑✓❌✗✘🚫👍👎\ufe0f ").rstrip("✔✅☑✓👍\ufe0f ")
    text = text.rstrip("❌✗✘🚫👎\ufe0f ") if text[:2].lower() == "no" else text
    text = _SAID_BY_CODE.sub("", text)
    lowered = _WITH_WEIGHT.sub("", text.lower())
    if re.fullmatch(r"[ytnf]\W{0,3}", lowered):  # for a reader that expects yes or no
        return lowered[0] in "yt"
    concluded = _CONCLUDED.search(lowered)
    if concluded:  # "he is heavier than that, so no"; "No, wait, …, so yes" is unclear
        opened = _WORD_AT_START.match(lowered)
        said = _POLARITY[concluded.group(1)]
        return said if opened is None or _POLARITY[opened.group(1)] is said else UNCLEAR
    lowered = re.sub(r"^(yes|no|true|false)(?:\W{1,3}\1\b)+(?=\W*$)", r"\1", lowered)
    abroad = _CALLED.fullmatch(lowered)
    if abroad:
        return _POLARITY[abroad.group("word")]
    if NO_ANSWER.fullmatch(lowered):
        return Rejected((True, False))
    quoted = _QUOTED.match(lowered)
    if quoted and _WOULD_BE_WRONG.match(lowered, quoted.end()):
        return Rejected((_POLARITY[quoted.group(1)],))
    short, thought = _ELLIPSIS.fullmatch(lowered), _THINK_SO.search(text)
    if thought and thought.group("not") and re.match(r"(?:yes|yeah|yep|true|correct)\b", lowered):
        return UNCLEAR
    if short or thought:
        return not ((short and (short.group("not") or short.group("never"))) or (thought and thought.group("not")))
    if re.match(r"^(?:yes|true|no|false)\W+(?:and|or|/)\W*(?:yes|true|no|false)\b", lowered):
        return UNCLEAR
    bare = LEAD.sub("", lowered).lstrip("*`\"'“ ")
    if DENIED.match(bare) or re.match(r"not\s+yes\b\W*$", bare):
        return False
    affirmed = AFFIRMED.match(bare)
    if affirmed:
        return _unless_turned(bare, affirmed.end(), True)
    if re.match(r"not\s+(?:false|untrue|incorrect|wrong)\b\W*$", bare):
        return True
    first = _WORD.match(bare)
    if first and first.group() in _POLARITY and first.group() not in ("not", "never", "nicht"):
        after = bare[first.end() :]
        if re.match(r"\.\s*(?:\d|of\b)|\W{0,2}\?|\s*or\b", after):
            return UNCLEAR  # "No. 5", "yes?"
        if _AFTER_WORD.match(after):
            return _unless_turned(bare, first.end(), _POLARITY[first.group()])
    for length in (4, 3, 2, 1):  # scripts without spaces
        if bare[:length] in _POLARITY and not bare[0].isascii() and not bare[length : length + 1].isalpha():
            return _unless_turned(bare, length, _POLARITY[bare[:length]])
    return _read_predicate(text)


def _unless_turned(text: str, end: int, polarity: bool) -> bool | Unclear:
    """Return a polarity unless what follows turns it round ("Yes, but actually no") or denies it ("Yes, that is wrong")."""
    after = re.sub(r"^[\s.,;:!*`\"'”)。，！、،؛।—–-]+", "", text[end:])
    if (DENIES_THAT if polarity else AFFIRMS_THAT).match(after) or _WOULD_BE_WRONG.match(after):
        return UNCLEAR
    turned = re.search(r"\b(?:but|however|actually|although)\b[^.!?]{0,30}\b(yes|no|true|false)\b(?=\s*(?:[.,;!]|$))", text)
    return UNCLEAR if turned and _POLARITY[turned.group(1)] is not polarity else polarity


def _read_predicate(text: str) -> bool | Unclear | None:
    """Return what a sentence says of a statement: "the claim is not true"."""
    denial = _DENIES_SAYING.fullmatch(text)
    called = {_POLARITY[word] for word in _TRUTH_WORD.findall(denial["said"].lower())} if denial else set()
    if denial and len(called) == 1 and not re.search(r"\b(?:not?|never)\b|n['’]t\b", denial["said"]):
        return not called.pop()
    if _OF_SAYING.search(text):
        return UNCLEAR
    verdicts = set()
    for found in PREDICATE.finditer(text):
        clause = re.split(r"[.,;:—]", text[: found.start()])[-1]
        if NEGATION.search(clause) or re.search(r"\bno\b", clause, re.IGNORECASE):
            return UNCLEAR  # "There is no way that it is true."
        word = (found.group("word") or found.group("denied")).lower()
        verdicts.add(_POLARITY[word] is not (bool(found.group("not")) or found.group("word") is None))
    if not verdicts:
        return None
    words = {_POLARITY[word] for word in _TRUTH_WORD.findall(text.lower())}
    doubted = HEDGE.search(text) or re.search(r"\b(?:neither|nor|doubt|unlikely)\b", text, re.IGNORECASE)
    return UNCLEAR if len(verdicts) > 1 or len(words) > 1 or doubted else verdicts.pop()
