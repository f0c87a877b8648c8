r"""What a response states as its answer, and where: a JSON field, a box, a marker ("the answer is"), a line that stands alone.

A *statement* is a place where a writer says "this is my answer". Running prose states nothing by itself: what may be read
from its last sentences is for the readers of numbers, letters and truth values to say, each by its own care.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from auto_router.collect.matching.vocabulary import HEDGE, NEGATION

HEAD, TAIL = 3_000, 9_000  # characters read of a long response: answers stand at its ends
MAX_STATEMENT = 400  # characters; what is longer is an essay
MAX_SENTENCE = 800  # characters
MAX_FORMAL = 4_000  # characters of a field or box
MAX_MARKERS = 4  # the last so many markers of a kind are read

_KEYS = (
    "answer", "final_answer", "finalanswer", "final answer", "correct_answer", "choice", "option", "result", "output", "label",
)  # fmt: skip
_FIELD = re.compile(
    rf"""["'](?:{"|".join(_KEYS[:7])})["']\s*:\s*(?:"((?:[^"\\]|\\.)*)"|(-?[\d.]+(?:[eE][-+]?\d+)?|true|false)|'([^'\\\n]*)')""",
    re.IGNORECASE,
)
_NO_ANSWER_KEY = re.compile(
    r"^not(?:_|$)|wrong|incorrect|reject|reason|expl|confiden|certain|score|grade|rating|page|error|status|thought|step|id$|prob|question",
    re.IGNORECASE,
)
_TAGGED = re.compile(
    r"<(answer|final_answer|finalanswer|final|result|response|solution|choice|output)>\s*"
    r"(?:(?P<closed>(?:(?!<\1>).){1,4000}?)\s*</\1>|(?P<open>[^<>\n]{1,60})\Z)",
    re.IGNORECASE | re.DOTALL,
)
_BEFORE_NOT = (
    r"(?<!incorrect )(?<!wrong )(?<!common )(?<!possible )(?<!false )(?<!other )(?<!another )(?<!an )(?<!any )(?<!no )"
)
_LINK = r"(?:['’]s|\s*(?:\b(?:is|are|was|would be|must be|should be|will be|equals)\b|=|:|→|⇒|->))\s*:?\s*"
_FINAL = re.compile(rf"(?:\b(?:final|correct|right|best) answers?{_LINK}|answer{_LINK}(?=\$?\\boxed))", re.IGNORECASE)
_ANSWER = re.compile(
    rf"\b{_BEFORE_NOT}(?:answers?|(?:correct|right|best) (?:answer |option |choice )?(?:option|choice|statement"
    rf"|response)|solution|only (?:option|choice|answer) [a-z ]{{1,60}}?(?= is))"
    rf"(?: (?:to|for|of|in) [^.\n:]{{0,80}}?)?[*_]{{0,2}}{_LINK}"
    r"|\bantwort\s*(?:ist|lautet|:)\s*:?\s*|r[ée]ponse(?: correcte| finale)?\s*(?:est|:)\s*:?\s*"
    r"|(?:respuesta|resposta)(?: correcta| correta| final)?\s*(?:es|é|:)\s*:?\s*"
    r"|risposta(?: corretta| finale)?\s*(?:è|:)\s*:?\s*"
    r"|ответ\s*(?:—|–|-|:|это)\s*|答案\s*(?:应该|應該)?\s*(?:是|为|為|：|:)\s*:?\s*|(?:结果|合计|合計)\s*(?:是|为|為|は|：|:)\s*|(?:答え|正解|回答)\s*(?:は|：|:)\s*"
    r"|\b(?:svar|odpowied[źz]|cevap|jawaban|đáp án|odpověď|răspuns|vastaus|απάντηση)\s*:\s*"
    r"|정답\s*(?:은|:)\s*|(?:الإجابة|الجواب)(?: الصحيحة)?\s*(?:هي|هو|:)\s*|उत्तर\s*(?:है|:)\s*",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^[\W_]*(?:(?:my |the )?(?:final |correct )?answer)[\W_]*$", re.IGNORECASE)
# A program's output below its announcement: "The output will be:", a fence.
_SHOWN = re.compile(
    r"\b(?:output|result|answer|prints?|returns?|displayed)\b[^\n`]{0,40}:[*_]{0,2}\s*\n+```\w*\n(?P<block>[^`]{1,400})\n```\s*$",
    re.I,
)
_NO_CLAIM = re.compile(
    r"\b(?:if|suppose|supposing|assum\w+|whether|unless|says?|thinks?|thought|claims?|believes?|expects?|incorrectly"
    r"|unlikely that)\b"
    r"(?:(?!, but )[^.!?\n]){0,60}$",
    re.IGNORECASE,
)
_I_SAY = re.compile(
    r"\b(?:I|we|I'd|I'll)(?: would| also| still| now| first)? (?:say|think|thought|claim|believe|assume)\b", re.IGNORECASE
)
_CORRECTION = re.compile(
    r"\b(?=[^\W\d_])(?:wait|oops|scratch that|on second thought|correction|let me (?:re\w+|correct|double)|"
    r"i (?:made|forgot|miscounted|mis\w+)|actually|my mistake|apologi[sz]e|i was wrong|no, that)\b|\b(?:edit|update):|"
    r"\bshould (?:instead )?(?:be|read|have been) (?=(?-i:[-*\"'$(\dA-Z]))",
    re.IGNORECASE,
)
_CHECKED = re.compile(r"(?:[✓✔✅☑]\ufe0f?|\b(?:checks out|is (?:indeed )?correct|confirmed|as expected))\W{0,5}$")
_WORDED = re.compile(r"^\\text(?:bf)?\s*\{\s*([^{}]*?)\s*\}$")
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!i\.e\.)(?<!e\.g\.)(?<!\bvs\.)(?<!approx\.)(?<!\bmin\.)(?<![ap]\.m\.(?=\s+[a-z]))(?<!\bmax\.)(?<!\b[A-Z]\.)(?<!\bDr\.)(?<!\bMr\.)(?<!\bMrs\.)(?<!\bv\.)(?<!\b(?:Inc|Ltd)\.)(?<!\bCorp\.)(?<!\b(?:St|Jr|Sr)\.)[\"')\]]*\s+(?=\S)|(?<=[。！？])|\n+"
)
_CLOSING = re.compile(
    r"\b(?:hope (?:this|that|it)|let me know|feel free|good luck|is there anything|happy to help|"
    r"any (?:other|further|more) questions)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A stated answer.

    ``source``: ``field`` (JSON or XML), ``box``, ``hash`` (``#### 5``), ``final`` and ``answer`` (markers), ``line``
    (the whole reply, or its last line), ``first`` (a first line above an explanation), ``bold`` (the one bold span).
    ``before``: what stands before it in its sentence.
    """

    text: str
    source: str
    end: int
    before: str = ""

    @property
    def formal(self) -> bool:
        """Whether it is written for a reader that takes exactly this: a field, a box, a GSM8K line."""
        return self.source in ("field", "box", "hash")


_LONE_SURROGATE = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")


def well_formed(text: str) -> str:
    """Return ``text`` with ``\ufffd`` for every lone surrogate, which JSON can hold and readers of numbers and dates cannot."""
    try:
        text.encode()  # looks for surrogates, ten times as fast as a pattern does
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("\ufffd", text).encode("utf-16", "surrogatepass").decode("utf-16")
    return text


def clip(text: str) -> str:
    """Return a response, or the two ends of a very long one: reading takes no longer, however long an answer is."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n\n{text[-TAIL:]}"


def find_statements(text: str) -> list[Statement]:
    """Return what a response states as its answer, the strongest statement first, later ones before earlier ones of a kind."""
    text = text.strip()
    formal = [replace(s, text=_WORDED.sub(r"\1", s.text[:MAX_FORMAL])) for s in (*_fields(text), *_boxes(text), *_hashes(text))]
    plain = _BOLD.sub(lambda found: f"{found.group(1)}", text).strip()
    if any(one.source == "field" for one in formal) and plain.startswith("{") and 'answer"' in plain.lower():
        return [*formal, *_markers(plain)]  # no line of JSON is an answer
    if "\n" in plain and plain[0] + plain[-1] in ("{}", "[]"):  # one value, printed over several lines
        return [*formal, Statement(re.sub(r"\s*\n\s*", " ", plain)[:MAX_FORMAL], "line", len(plain))]
    return [*formal, *_markers(plain), *_lines(plain, text)]


def is_corrected(text: str, statement: Statement) -> bool:
    """Whether the writer takes back a statement after it; a check that ends well ("Let me recheck: … ✓") takes nothing back."""
    begin = min(statement.end, len(text))
    found = _CORRECTION.search(text, begin) if statement.source != "field" else None
    if found is None:
        return False
    checks = found.group().lower().startswith("let me") and _CORRECTION.search(text, found.end()) is None
    return not (checks and _CHECKED.search(text, begin) and not NEGATION.search(text, begin))


def last_sentences(text: str) -> list[str]:
    """Return the sentences of a response from the last one back, without polite closings; at most six."""
    sentences = split_sentences(_BOLD.sub(r"\1", text)[-3000:])
    while len(sentences) > 1 and _CLOSING.search(sentences[-1]):
        sentences.pop()
    return [sentence for sentence in sentences[:-7:-1] if len(sentence) <= MAX_SENTENCE]


def split_sentences(text: str) -> list[str]:
    return [part.strip() for part in _SENTENCE_END.split(text) if re.search(r"\w", part)]


def read_worked_answer(reference: str) -> str:
    r"""Return the final value of a reference that is a worked solution (``#### 15``, ``\boxed{7}``, "The answer is: 7")."""
    if "####" in reference:
        lines = reference.rpartition("####")[2].strip().splitlines()
        return lines[0].strip() if lines else reference
    boxes = list(_boxes(reference))
    if boxes:
        return boxes[0].text
    found = list(re.finditer(r"\bthe (?:final )?answer is:?\s*", reference, re.IGNORECASE))
    worked = found and reference[found[-1].end() :].strip()
    return reference[found[-1].end() :].strip().removesuffix(".") if worked else reference


def _fields(text: str) -> Iterator[Statement]:
    """Yield the answer field of a JSON reply, fenced or not, or of an XML-like one."""
    for tagged in list(_TAGGED.finditer(text))[-1:]:
        yield Statement((tagged["closed"] or tagged["open"]).strip(), "field", tagged.end())
    if text[:2] in ('["', "['") and text[-2:] in ('"]', "']") and text.count(text[1]) == 2:  # a list of one
        yield Statement(text[2:-2], "field", len(text))
    opened, closed = text.find("{"), text.rfind("}")
    document = text[opened : closed + 1] if 0 <= opened < closed else ""
    if '"' not in document and '"answer"' not in text and _FIELD.search(document) is None:
        return
    try:
        value = json.loads(document, strict=False)
    except (ValueError, RecursionError):  # LaTeX inside JSON is seldom escaped as it should be
        found = list(_FIELD.finditer(text))
        if found:
            stated = next(group for group in found[-1].groups() if group is not None)
            yield Statement(stated.replace("\\\\", "\\").strip(), "field", found[-1].end())
        return
    stated = _read_field(value)
    if stated is not None:
        yield Statement(stated, "field", closed)


def _read_field(value: Any) -> str | None:
    """Return what the answer's field of a JSON object says, also one inside another, or its only field; None without such."""
    fields = {str(key).lower(): field for key, field in value.items()} if isinstance(value, dict) else {}
    alone = next(iter(fields), "")
    named = [fields[key] for key in _KEYS if key in fields]
    if alone == "name" and isinstance(fields.get("arguments"), dict) and str(fields["name"]).lower() in _KEYS:
        return _read_field(fields["arguments"])  # a call of a tool that takes the answer
    for said in named or ([fields[alone]] if len(fields) == 1 and not _NO_ANSWER_KEY.search(alone) else []):
        said = said[0] if isinstance(said, list) and len(said) == 1 else said
        if isinstance(said, dict):
            unit = f" {said.get('unit') or ''}".rstrip()
            return f"{said['value']}{unit}" if isinstance(said.get("value"), str | int | float) else _read_field(said)
        if isinstance(said, list) and said and all(isinstance(item, int | float) for item in said):
            return json.dumps(said)
        if isinstance(said, list) and said and all(isinstance(item, str) for item in said):
            return ", ".join(said)
        if said is not None and not isinstance(said, list):
            return f"{said} {(fields.get('unit') or '') if re.fullmatch(r'-?[0-9][0-9.,]*', str(said)) else ''}".strip()
    return None


def _boxes(text: str) -> Iterator[Statement]:
    r"""Yield the last ``\boxed{}``, joined with those that stand right beside it."""
    boxes: list[tuple[int, str, int]] = []
    for found in list(re.finditer(r"\\f?boxed\s*|\\fbox\s*", text))[-MAX_MARKERS:]:
        begin = found.end()
        if text[begin : begin + 1] != "{":
            single = re.match(r"-?\w+", text[begin:])
            if single:
                boxes.append((found.start(), single.group(), begin + single.end()))
            continue
        depth = 0
        for position in range(begin, min(len(text), begin + 2000)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                boxes.append((found.start(), text[begin + 1 : position], position + 1))
                break
    if not boxes:
        return
    stated, end = [boxes[-1][1]], boxes[-1][2]
    for earlier, later in zip(reversed(boxes[:-1]), reversed(boxes), strict=False):
        if not re.fullmatch(r"[\s$,;\\()\[\]]*(?:and|or)?[\s$,;\\()\[\]]*", text[earlier[2] : later[0]]):
            break
        stated.insert(0, earlier[1])
    yield Statement(", ".join(dict.fromkeys(stated)).strip(), "box", end)


def _hashes(text: str) -> Iterator[Statement]:
    """Yield what follows the last ``####`` that is no heading."""
    for found in reversed(list(re.finditer(r"####[ \t]*([^\n#]{1,200})", text))[-MAX_MARKERS:]):
        stated = found.group(1).strip()
        number = re.match(r"[-−–+]?\s*[$€£¥]?\s*[-−–]?\.?\d", stated) and not re.match(r"\d+(?:[):]|\.\s)\s*[A-Za-z]", stated)
        if number or (found.end() == len(text) and len(stated) < 40 and not stated.endswith(":")):
            yield Statement(stated, "hash", found.end())
            return


def _markers(text: str) -> Iterator[Statement]:
    for source, pattern in (("final", _FINAL), ("answer", _ANSWER)):
        for found in reversed(list(pattern.finditer(text))[-MAX_MARKERS:]):
            before = text[max(0, found.start() - 80) : found.start()]
            claim = _I_SAY.sub("", before)
            if _NO_CLAIM.search(claim) or (
                re.search(r"\b(?:in)?correct(?:ly)? $|\bwrong $", before, re.IGNORECASE) and source != "final"
            ):
                continue
            tail = text[found.end() : found.end() + MAX_STATEMENT].lstrip(" *_:\t\n>\"'“")
            stated = tail.split("\n", 1)[0].strip()
            if stated:
                first = re.split(r"(?<=[\w)%])[.!?]\s", stated, maxsplit=1)[0]
                end = text.find(stated[:20], found.end()) + len(first)
                yield Statement(stated, source, end, _SENTENCE_END.split(before + "_")[-1][:-1])


def _lines(plain: str, text: str) -> Iterator[Statement]:
    """Yield the whole reply if it is one line, a first line and a last line that stand alone, a line below a heading."""
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    if not lines:
        return
    below_headings = [below for above, below in pairwise(lines) if _HEADING.match(above) and len(below) <= MAX_STATEMENT]
    yield from (Statement(below, "answer", len(plain)) for below in below_headings[-MAX_MARKERS:])
    shown = _SHOWN.search(text)
    if shown is not None:
        yield Statement(shown.group("block").strip(), "answer", len(plain))
    if len(lines[-1]) <= MAX_STATEMENT:
        yield Statement(lines[-1], "line", len(plain))
    alone = re.match(r"[^\n]*\n\s*\n", plain) is not None or len(lines[0].split()) <= 5
    if len(lines) > 1 and alone and len(lines[0]) <= MAX_STATEMENT and not lines[0].endswith((":", ",")):
        yield Statement(lines[0], "first", plain.find(lines[0]) + len(lines[0]))
    bold = {found.group(1).strip(" .:*"): found for found in _BOLD.finditer(text)}
    if len(bold) == 1:
        span, found = next(iter(bold.items()))
        before = _SENTENCE_END.split(text[max(0, found.start() - 200) : found.start()])[-1]
        if not NEGATION.search(before) and not HEDGE.search(before):
            yield Statement(span, "bold", len(plain), before)
