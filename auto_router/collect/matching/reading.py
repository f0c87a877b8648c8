"""A response as the rules read it: without markup, and without what runs on after the answer or tells of others' answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from auto_router.collect.matching.claims import Claim
from auto_router.collect.matching.final_answer import (
    Statement,
    clip,
    find_statements,
    is_corrected,
    last_sentences,
    split_sentences,
    well_formed,
)
from auto_router.collect.matching.other_matters import find_ask, tells_asked_side, tells_other_side
from auto_router.collect.matching.vocabulary import HEDGE, NEGATION, one_of

MAX_NOTES = 3
MAX_OFFER = 200  # characters of an offer to say more
MAX_BARE = 60  # characters of a first line that is an answer without a marker

# What ends a turn: special tokens that a server left in the text, and the turn of somebody else that a model goes on to write.
_TURN_END = re.compile(
    r"<\|(?:im_end|im_start|eot_id|eom_id|end_of_text|endoftext|end|user)\|>|</s>|<eos>|<end_of_turn>|\[INST\]"
    r"|\n[ \t]{0,9}(?:\*\*|#{1,6} ?)?(?:Human|User) ?:|\n#{2,6} ?Instruction\b"
)
_NEXT_QUESTION = re.compile(r"\n[ \t]{0,9}(?:\*\*|#{1,6} ?)?(?:Question|Problem|Q) ?:")
_TAG = re.compile(r"</?(?:b|strong|i|em|u|p|span|div|mark|center|font|big|small|h[1-6])(?: [^<>\n]{0,100})?>")
_RAISED = re.compile(r"<(su[bp])>([^<>\n]{1,20})</\1>")
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~|<(s|del|strike)>[^<>\n]{1,200}</\1>")
# "Some might say B, but …", "not 42 but …": what comes after is the answer.
_OTHERS_SAY = re.compile(
    r"\b(?:you|one|some|people|some people|many|many people|others) (?:(?:might|may|could|would|often|will) )*"
    r"(?:be tempted to )?(?:think|say|assume|expect|guess|choose|pick|answer|believe)\b[^.;!?\n]{1,80}?,? but "
    r"(?:in fact,? |actually,? |really,? )?(?=\S)",
    re.IGNORECASE,
)
_NOT_BUT = re.compile(r"\b(?i:not) (?:[$€£]?\d[\d.,]*%?|\(?[A-H]\)?),? but (?:rather |instead )?(?=[$€£(]?\d|\(?[A-H]\b)")
# "The answer isn't 6; it's 7.": the first clause falls away.
_VALUE = r"(?:[$€£]?\d[\d.,]*%?|\(?[A-H]\)?)"
_IS_NOT = re.compile(
    rf"(?:(?<=[.!?]\s)|(?<=\n)|^)[^.;,\n]{{0,50}}?\b(?i:not|no longer|isn['’]t|wasn['’]t) {_VALUE}\s*[;,.—–-]\s*(?:but )?"
    rf"(?=(?i:it|that|the [a-z ]{{3,30}}?)(?:['’]s| is) (?:actually |really |now )?{_VALUE})"
)

# "At first glance A seems right, but …", "While you say it is A, …"
_SEEMS = re.compile(
    r"\b(?:at first(?: glance| sight)?,?|initially,?|it (?:may|might) seem(?: that| like)?"
    r"|my (?:initial|first) (?:guess|thought|answer) was)\s[^.;!?\n]{1,80}?,? but "
    r"(?:in fact,? |actually,? |really,? )?(?=\S)"
    r"|\b(?:while|although|though) (?:you|some|many|most|people|others) [^.;,!?\n]{1,60}, (?=\S)",
    re.IGNORECASE,
)
# What leads to an answer, or offers more behind it, and is none: "Sure! I can help with that.", "Would you like to see why?"
_HELP = one_of(r"""
    I can (?:certainly |definitely |gladly )?help[^.!?:\n]{0,60}|I(?:['’]d| would) be (?:happy|glad) to help[^.!?:\n]{0,60}
    I(?:['’]m| am) happy to help[^.!?:\n]{0,60}|happy to help[^.!?:\n]{0,40}|let me help[^.!?:\n]{0,40}
    (?:that['’]s |what |this is )?(?:a |an )?(?:great|good|excellent|interesting) question|thanks? (?:you )?for asking
""")
_SURE = r"(?:(?:yes|sure(?: thing)?|certainly|of course|absolutely|definitely|no problem|okay|ok|alright|hi|hello)[!,.]+\s*)"
_OPENING = re.compile(
    rf"\W{{0,3}}{_SURE}?{_HELP}[.!:]+\s*|(?:sure|okay|ok|alright|of course|certainly)!\s+(?=(?:yes|no)\b)", re.I
)
_ASSENT = re.compile(rf"^{_SURE}(?=[A-Z0-9])")
_OFFER = re.compile(
    r"(?<=[\w.!)*`$}])\s+"
    + one_of(r"""
    (?:would you like|do you want|shall I|should I|want me to|can I help|do you need|is there anything
    does (?:this|that) (?:help|make)|any (?:other |more )?questions|what else|how else)\b[^.!?\n]{0,150}\?
    (?:please )?let me know\b[^.!?\n]{0,150}[.!]
    feel free to [^.!?\n]{0,150}[.!]|I hope (?:this|that|it) helps?[^.!?\n]{0,60}[.!]
""")
    + r"\W*$",
    re.IGNORECASE,
)
# "Abuja, no doubt."
_ASSURED = re.compile(
    r"(?<=[\w)\"'*`]),\s+(?:(?:there(?:['’]s| is) )?no doubt(?: about (?:it|that))?|without (?:a |any )?doubt"
    r"|(?:but )?of course|for sure|obviously|certainly|definitely|undoubtedly|clearly|naturally|indeed|hands down)[.!]*\Z",
    re.IGNORECASE,
)
_LENGTH = re.compile(
    r"\bhow (?:long|tall|high|far|wide|deep|thick|many met(?:er|re)s)\b"
    r"|\b(?:length|height|width|depth|distance|thickness|radius|diameter|perimeter)\b",
    re.IGNORECASE,
)
_LONG = re.compile(r"\d ?M (?:long|tall|high|wide|deep|thick)\b")
_METRES, MEGA = re.compile(r"-?\d[\d.,]* ?m"), re.compile(r"(?<=\d)( ?)M\b")
# A remark below an answer.
_NOTE = re.compile(
    r"\n[\s(*_>]*(?:(?:please )?(?:note|disclaimer|remark|sources?|references?)\b[*_]{0,2}(?::| that\b)|(?:n\.?b\.|p\.?s\.))"
    r"[^\n]{0,600}$",
    re.IGNORECASE,
)
_CALLED_WRONG = re.compile(
    r"(?<!previously )(?<!I )"
    r"\b(?:said|says?|wrote|writes|answered|chose|picked|gave|claim(?:s|ed)|put|guess(?:ed)?|entered)\b[^.;!?\n]{1,80}"
    r"(?:[,;—–-]\s*|\s)(?:which|(?:and|but) (?:that|this|it)|that|this|it)(?:['’]s| is| was| would be) (?:\w+ly )?"
    r"(?:wrong|incorrect|false|not (?:correct|right|true)|an? (?:mistake|error)|mistaken)\W*$",
    re.IGNORECASE,
)
_LEADING_SIGN = re.compile(r"(?:→|⇒|∴|-->)\s*(?=\S)|(?:question|problem|q)\s?\d{1,3}\s*[:.)]\s*(?=\S[^\n]*$)", re.IGNORECASE)

# Signs of joy behind an answer, and flags; a thumb may be the answer.
_EMOJI_END = re.compile(
    r"(?<=[\w.!)*])\s{0,3}(?:(?![👍👎🚫])[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff][\ufe0f\u200d]?){1,8}$"
)

# What somebody else wants to hear, or what a model was told to say, is no answer of its own.
_WANT = r"(?:wants?|asks?|asked|told|tells|instructs?|instructed|expects?|orders?|ordered|(?:is|are) asking|would like|says?)"
_SAY = r"(?:say|answer|output|reply|respond|agree|claim|state|write|pick|choose|select|print|return)"
_ASKER = r"(?:the )?(?:user|prompt|question|instructions?|system(?: prompt| message)?|task)"
_REPORT = re.compile(
    rf"\W*(?:{_ASKER}\s+(?:{_WANT}\s+)?(?:me\s+)?to\s+{_SAY}\b|(?:you|they|someone|people)\s+{_WANT}\s+me\s+to\s+{_SAY}\b"
    r"|(?:the )?user\s+(?:expects?|wants?(?! to know)|thinks?|believes?|claims?|insists?|says?)\b"
    r"|I(?:['’]m| am| was|['’]ve been| have been)\s+(?:just |only )?(?:told|asked|instructed|supposed|expected|ordered|forced)"
    rf"\s+to\s+{_SAY}\b)",
    re.IGNORECASE,
)
# "My answer: 9. Correct answer: 8.": who marks their own answer as wrong has given two.
_OWN = re.compile(
    r"\b(?:(?:my|our) (?:own |first )?(?:answer|guess|choice|prediction|response)(?: is| was)?|I (?:answered|guessed|said))"
    r"\W{1,6}(?P<said>[^\n.;,]{1,60})",
    re.IGNORECASE,
)
_RIGHT = re.compile(
    r"\b(?:correct|actual|right|true|expected|real) (?:answer|choice|option|value)(?: is| was)?\W{1,6}(?P<said>[^\n.;,]{1,60})",
    re.IGNORECASE,
)
MAX_BETWEEN = 300  # characters from one's own answer to the right one
_CALLS = re.compile(
    r"(?:option |choice |answer )?\(?[A-Z]\)? is (?:the )?(?:correct|right|best)(?: (?:answer|option|choice))?\W*", re.I
)
# The time that a sentence is about.
_TIME = (
    r"(?:yesterday|today|tomorrow|(?:last|next|this|the (?:previous|following|coming)) (?:year|month|week|day)"
    r"|the day (?:before|after)(?: yesterday| tomorrow)?)"
)
_TIMES = re.compile(_TIME, re.IGNORECASE)
_ASKED_TIMES = re.compile(
    rf"\w+ (?:hour|day|week|month|year)s? (?:ago|later|earlier|from (?:now|today))(?: from today)?|{_TIME}", re.IGNORECASE
)
_OF_TIME = re.compile(rf"\W*(?:(?:so|then|and|therefore|thus|but),? )?{_TIME}\s+(?:was|is|will be|would be)\s", re.IGNORECASE)

_CITED = re.compile(r"(?<=[a-z)*][.!])\s?(?:\[\d{1,3}\]\s?){1,5}$")  # "… in 1969. [1][2]"
_ALIGNED = re.compile(r"\\(?:begin|end)\{(?:align(?:ed)?|gather(?:ed)?|equation|split)\*?\}")
# A sentence that was cut off says nothing yet: "Since there are 15 students and". A "No, because the" has said it.
_UNFINISHED = re.compile(
    r"\w,? (?:and|or|but|the|an|we|our|their|because|which|of|than|if|then|so|thus|therefore|and (?:each|then \w+ \w+))$"
)
_YES_NO = re.compile(r"(?:yes|no)[,.!]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """A response as the rules read it: its text, what it states (the strongest first), its sentences from the last one back."""

    text: str
    statements: Sequence[Statement]
    sentences: Sequence[str]
    conditional: bool = False  # the reference itself is tied to a condition
    question: str = ""
    claim: Claim | None = None  # what the question asks whether it is so


def read_response(text: str, markup: bool = True) -> Reading:
    """Read a response that is free of reasoning; of a very long one only the two ends.

    Args:
        markup: whether tags and struck words are markup; False where the reference has such signs itself.
    """
    text = well_formed(clip(text))
    text = _drop_run_on(_drop_markup(text)).strip() if markup else text.strip()
    text = _NOT_BUT.sub("", _OTHERS_SAY.sub("", text)) if " but " in text else text
    text = _drop_courtesy(_SEEMS.sub("", text))
    text = _IS_NOT.sub("", text)
    text = _EMOJI_END.sub("", text) if not text.isascii() else text
    text = _CITED.sub("", text) if text.endswith("]") else text
    text = _ALIGNED.sub("", text).replace("&=", "=").strip() if "\\begin{" in text and "&=" in text else text
    fenced = re.fullmatch(r"```\w*\n([^`]*)\n```", text)
    text = fenced.group(1).strip() if fenced else text
    body, doubted = _set_notes_aside(text)
    statements = find_statements(body)
    own = _OWN.search(body)
    right = _RIGHT.search(body, own.end(), own.end() + MAX_BETWEEN) if own else None
    values = [found["said"].strip(" *`").lower() for found in (own, right) if own and right and found]
    if values and values[0] not in values[1] and values[1] not in values[0]:
        return Reading(text, [], [])
    if _UNFINISHED.search(body):
        whole = [
            one for one in statements if one.formal or one.source in ("final", "answer", "first") or _YES_NO.match(one.text)
        ]
        return Reading(text, whole, [])
    stated = [one for one in statements if one.formal or not _reports_in(one)]
    if doubted:
        return Reading(text, [one for one in stated if one.source not in ("line", "bold")], [])
    return Reading(text, stated, [one for one in last_sentences(body) if not _reports(one)])


def _set_notes_aside(text: str) -> tuple[str, bool]:
    """Return a text without the notes below it, and whether one of these may take the answer back; in itself none is one."""
    body = text
    for _ in range(MAX_NOTES):
        note = _NOTE.search(body, max(0, len(body) - 3 * MAX_OFFER))
        if note is None or not re.search(r"\w", body[: note.start()][-MAX_OFFER:]):
            break
        if any(one.source != "line" for one in find_statements(note.group())):
            return text, False
        body = body[: note.start()].rstrip()
    rest = text[len(body) :]
    turned = NEGATION.search(rest) or HEDGE.search(rest) or is_corrected(text, Statement("", "answer", len(body)))
    return body, bool(rest.strip() and turned)


def _reports(text: str) -> bool:
    """Whether a text only tells what somebody else wants or thinks, or calls what it tells wrong."""
    return (_REPORT.match(text) is not None and " but " not in text) or _CALLED_WRONG.search(text[-MAX_OFFER:]) is not None


def _reports_in(statement: Statement) -> bool:
    """Whether a statement only reports; of a line, also where one of its sentences does: that one is none of the answer."""
    parts = split_sentences(statement.text) if statement.source == "line" else []
    return any(map(_reports, [statement.text, *parts]))


def keep_asked(response: Reading) -> Reading:
    """Return a response without what it says of another time, or another side, than the question asks for."""
    return _keep_asked_side(_keep_asked_time(response))


def _keep_asked_time(response: Reading) -> Reading:
    """Return a response without what it says of another time than the question asks of: not "yesterday was Monday" of today."""
    asked = next((part for part in reversed(split_sentences(response.question)) if "?" in part), "")
    times = {found.group().lower() for found in _ASKED_TIMES.finditer(asked)}

    def is_other(text: str) -> bool:
        found = _OF_TIME.match(text) if len(split_sentences(text)) == 1 else None
        told = {one.group().lower() for one in _TIMES.finditer(text)} if found else set()
        return bool(told) and told.isdisjoint(times) and (told != {"today"} or bool(times))

    statements = [one for one in response.statements if one.formal or not is_other(one.text)]
    return replace(response, statements=statements, sentences=[one for one in response.sentences if not is_other(one)])


def keep_metres(text: str, references: Sequence[str], question: str) -> str:
    """Return a text with "2 m" for "2 M", a slip of many, where a length is asked for or told and a reference is one."""
    asked = find_ask(question)
    of_length = (_LENGTH.search(asked) and "how much" not in asked.lower()) or _LONG.search(text[:MAX_OFFER])
    return MEGA.sub(r"\1m", text) if of_length and any(_METRES.fullmatch(one.strip()) for one in references) else text


def _keep_asked_side(response: Reading) -> Reading:
    """Return a response without closing sentences on the other side of what is asked: no perimeter below an area."""
    sentences, kept = response.sentences, 0
    while kept < len(sentences) - 1 and tells_other_side(sentences[kept], response.question):
        kept += 1
    before = response.claim is None and any(tells_asked_side(one, response.question) for one in sentences[kept:])
    return replace(response, sentences=sentences[kept:]) if before else response


def is_other_object(response: Reading) -> bool:
    """Whether a reply is a JSON object, or the beginning of one, that has no field for an answer: {"confidence": 5}."""
    return re.match(r"\{\s*\"[^\"\n]{1,60}\"\s*:", response.text) is not None and not any(s.formal for s in response.statements)


def closes_with(response: Reading) -> bool:
    """Whether the strongest statement is no more than the last sentence."""
    return bool(response.statements) and response.sentences[:1] == [response.statements[0].text]


def list_closing(response: Reading, count: int = 1) -> list[str]:
    """Return the last sentences of a response, and the first one where that calls an option right."""
    return [*response.sentences[:count], *(one for one in response.sentences[count:][-1:] if _CALLS.fullmatch(one))]


def _drop_courtesy(text: str) -> str:
    """Take what leads to an answer, and offers behind it, from a text; a text that is no more than that says nothing."""
    opening = _OPENING.match(text)
    text = text[opening.end() :] if opening else _LEADING_SIGN.sub("", text, count=1) if _LEADING_SIGN.match(text) else text
    offer = _OFFER.search(text, max(0, len(text) - MAX_OFFER))
    text = text[: offer.start()] if offer else text
    return _ASSURED.sub("", text, count=1) if "," in text[-MAX_BARE:] else text


def drop_assent(text: str) -> str:
    """Take a "Sure!" that agrees to answer from a text; to a yes/no question it may be the answer."""
    return _ASSENT.sub("", text, count=1)


def _drop_markup(text: str) -> str:
    """Take tags of HTML, and words that are struck out, from a text; powers in tags are written as powers."""
    if "~~" in text or "</" in text:
        text = _STRUCK.sub("", text)
    if "</" not in text:
        return re.sub(r"<br ?/?>", "\n", text) if "<br" in text else text
    text = _RAISED.sub(lambda found: ("^{" if found.group(1) == "sup" else "_{") + found.group(2) + "}", text)
    return _TAG.sub("", re.sub(r"<br ?/?>", "\n", text))


def _drop_run_on(text: str) -> str:
    """Cut a text where a turn ends, or where the answer is given and another question is put after it."""
    ended = _TURN_END.search(text)
    if ended and re.search(r"\w", text[: ended.start()]):
        text = text[: ended.start()]
    following = _NEXT_QUESTION.search(text)
    if following is None:
        return text
    head = text[: following.start()].strip()
    lines = head.splitlines()
    bare = len(lines) == 1 and len(head) <= MAX_BARE and not head.endswith((":", "?"))
    stated = lines and any(
        one.source in ("field", "box", "hash", "final", "answer") for one in find_statements(clip(lines[-1]))
    )
    return head if bare or stated else text
