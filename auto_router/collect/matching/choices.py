"""Which option: what a statement says of a choice. UNCLEAR where it doubts, or calls several right."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Any

from auto_router.collect.matching.vocabulary import (
    HEDGE,
    NEGATION,
    OPTION_LINK,
    OPTION_NAME,
    one_of,
)

MAX_RUN = 600  # characters of a statement that are read


class Unclear(enum.Enum):
    """A statement that answers, but not with one thing: doubted, several, contradictory."""

    UNCLEAR = "unclear"


UNCLEAR = Unclear.UNCLEAR


@dataclass(frozen=True, slots=True)
class Rejected:
    """A statement that the answer is none of these values alone: "not 5", "A or B", "5 to 10"."""

    values: tuple[Any, ...]


_BREAK = r"(?![A-Za-z0-9_'’]|\+(?!\s*[(\[]?[A-Za-z]))"  # after a letter; letters of other scripts may follow without a space
_START = r"(?<![A-Za-z0-9_'’])"
_AND_OR = r"(?:,|;|/|&|\+|\b(?:and|or|or else|und|oder|et|ou|y|o)\b|和|或|と|か|、)"
_RIGHT = one_of(r"""
    correct|right|true|best|the answer|(?:the )?better|the (?:correct|right|best)|fits|richtig|korrekt|correct[ae]|正确|正しい
""")
_LEADS_TO = one_of(r"""
    only|go (?:with|for)|going (?:with|for)|choosing|opt for|correct(?=:)
    say|it is|it['’]s|it must be|it should be|must be|should be|has to be|leaving|leaves
    that leaves|richtig ist|definitely|clearly|obviously|so|thus|therefore|hence
""")
_GOES_ON = one_of(r"""
    because|since|as|while|although|but|(?:and )?not
    rather than|instead of|over (?=[A-H]\b)|for|due|given|is|porque|weil|car|और|है|です|입니다|。
""")
_CALLED_WRONG = re.compile(
    one_of(r"""
    (?:is|are)\s+(?:a |an |the )?(?:\w+ )?(?:trap|distractor|decoy|red herring|mistake)\b
    (?:is|are)\s+(?:\w+ ){0,2}(?:not|incorrect|wrong|false|impossible|too)\b|isn['’]t|is (?:un|out)|\?
    is (?:the )?(?:worst|less)|is (?:very |quite )?(?:close|tempting|plausible|possible|almost|nearly)\b
"""),
    re.IGNORECASE,
)
# "A is a planet, but C is the best answer": not what calls the letter right, where something else follows.
_IS_SOMETHING = re.compile(
    r"is\b(?!\s+(?:(?:the|a|an|clearly|definitely|therefore|thus|obviously|indeed|also|most|only) )*"
    r"(?:correct|right|true|best|better|answer|option|choice|one|only|most|likely|it\b|my\b|what\b))"
)
# "Plan B is the best plan": a letter that is part of a name.
_OF_THING = re.compile(
    r"\b(?:plan|vitamin|hepatitis|type|group|class|grade|point|section|part|team|schedule|factor|protein|site|event|set|line|train"
    r"|car|box|city|town|person|student|company|substance|chemical|compound|gas|solution|sample|block|bag|node|vertex|angle|side"
    r"|phase|step|level|drug|product|machine|country|firm|island|star|planet|room|route|method|model)s?\s+$",
    re.IGNORECASE,
)
# "All options except C are wrong."
_SPARED = re.compile(
    r"(?i:(?:all|every) (?:(?:other )?(?:options?|choices?|answers?) )?(?:except(?: for)?|but)) "
    r"(?:[Oo]ption )?\(?(?P<letter>[A-Z])\)? (?:is|are) (?:wrong|incorrect|false|not correct)\W*"
)
_ALL_BUT = re.compile(
    r"\b(?:everything|anything|nothing|all|none|every (?:option|choice)|any) (?:but|except(?: for)?|other than)\s+",
    re.IGNORECASE,
)
# "A is not incorrect" denies nothing.
_TWICE_DENIED = re.compile(
    r"(?:\bnot|n['’]t|\bnever|\bcannot)\b.{0,60}\b(?:incorrect|wrong|false|untrue|implausible|unlikely|impossible|bad|ruled out"
    r"|eliminated|excluded)\b",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|cannot|incorrect(?:ly)?|wrong|neither)|n['’]t)\s+(?:\w+\s+)?$|[不别非]\s*$|排除\s*$", re.IGNORECASE
)


def read_letter(text: str, letters: str, stands_alone: bool = False) -> str | Rejected | Unclear | None:
    """Return the one option letter that a statement names, upper case; None where it names none.

    Args:
        letters: the letters that can be options, as "ABCD".
        stands_alone: take a letter only where it is all, or leads its option's text ("B) Paris"); a line of prose is none.
    """
    text = re.sub(r"^-\s+", "", text[:MAX_RUN].strip().lstrip("*`\"'>#•👉✅☑✓✔→➡\ufe0f ")).strip()
    text = re.sub(r"[\s✅☑✓✔\ufe0f]+$", "", text)
    if re.fullmatch(rf"\(?[{letters}]\)?\s*[✗✘❌]\ufe0f?", text):
        return Rejected((text.strip("( ")[0],))
    text = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", text).replace("$", "").strip()
    text = re.sub(r"^\\\(\s*(.{1,9}?)\s*\\\)", r"\1", text)  # "\(C\)"
    spared = _SPARED.fullmatch(text)
    if spared and spared["letter"] in letters:
        return spared["letter"]
    rejected = _find_rejected_letters(text, letters)
    if rejected:
        return Rejected(tuple(rejected))
    one = f"[{letters}{letters.lower()}]"
    found = _find_leading_letter(text, letters, stands_alone)
    if found is None:
        return None if stands_alone else _read_prose(text, letters)
    letter, end = next((found.group(name), found.end()) for name in ("inner", "outer") if found.group(name))
    after = text[end:].lstrip("*`)]}.:\"' ")
    if re.match(rf"{_AND_OR}\s*(?:(?:option|choice)\s*)?[(\[]?{one}{_BREAK}", text[end:].lstrip(" )]*"), re.IGNORECASE):
        return UNCLEAR
    if len(re.findall(rf"(?:^|[.;,]\s+)\(?[{letters}][):]\s", text)) > 1:  # a remark on each option
        return _read_prose(text, letters)
    if re.search(rf"\b[Ss]o (?:is|are) (?:(?:option|choice) )?[(\[]?{one}{_BREAK}", after):
        return UNCLEAR
    if letter == "I" and found.group("outer") and len(text) > 2 and not text.startswith(("I)", "I.", "I:")):
        return None  # "I, as a model, …"
    goes_on = re.match(r",(?!\s*(?:not|because|since|as|which|rather|due|given)\b)| ", text[end:]) is not None
    closed = found.group(0).rstrip()[-1:] in (")", "]", ".")
    others = re.search(rf"\b(?:but|however|though|although|while)\b|{_START}[{letters}]{_BREAK}", after)
    if (
        _CALLED_WRONG.match(after)
        or (others and _IS_SOMETHING.match(after))
        or text[end : end + 1] == "?"
        or re.search(rf"\b(?:so|thus|hence|therefore)\b.{{0,80}}{_START}[{letters}]{_BREAK}", after)
        or (stands_alone and after and not closed and goes_on)
    ):
        return _read_prose(text, letters)
    return letter.upper()


def _find_leading_letter(text: str, letters: str, stands_alone: bool) -> re.Match[str] | None:
    """Return the letter that a statement begins with as an option's, if it does."""
    one = f"[{letters}{letters.lower()}]"
    ends = r"(?=[).:,;!。，、：\]]|\s*$|\s+[-–—(]|\s*[–—])"
    marked = re.match(
        rf"(?:{OPTION_NAME}\s*[:：]?\s*)?(?:[(\[（{{<]\s*(?P<inner>{one})\s*[)\]）}}>]|(?P<outer>{one}){ends})",
        text,
        re.IGNORECASE,
    )
    named = marked or re.match(rf"(?P<inner>(?!))|{OPTION_NAME}\s*[:：]?\s*(?P<outer>{one}){_BREAK}", text, re.IGNORECASE)
    if named or stands_alone:
        return named
    other_script = r"[\u0600-\u06ff\u3040-\u30ff\uac00-\ud7a3]"
    return re.match(rf"(?P<inner>(?!))|(?P<outer>[{letters}])(?=\s*{_GOES_ON}|{other_script})", text)


def _find_rejected_letters(text: str, letters: str) -> list[str]:
    """Return the letters of a reply that denies them ("Not C.") or offers several for one ("A or B")."""
    bare = re.sub(r"[()\[\]*`\"'.!]", "", text).strip()
    one = rf"(?:option |choice |answer )?([{letters}])"
    joint = r"(?:\s*,\s*|\s*[/&+]\s*|,?\s+(?:and also|as well as|plus|and|or|und|oder|et|ou|y|o)\s+)"
    listed = rf"(?:options? |choices? )?[{letters}](?:{joint}(?:option )?[{letters}])+"
    denial = one_of("""
        (?:is |s )?(?:definitely |certainly )?(?:not|isnt|cannot be|cant be|anything but|nicht|不是|pas)
        all except|everything except|everything but|all but
    """)
    wrong = (
        r"is (?:definitely )?(?:not (?:the )?(?:correct|right|best|answer|true|it)(?: answer| choice| option)?"
        r"|wrong|incorrect|false)"
    )
    denied = re.fullmatch(
        rf"(?:(?:the )?(?:correct |right )?(?:answer|option|choice) |it |that )?{denial} {one}|{one} {wrong}"
        rf"|(?:id |i would |i |we can |let us )?(?:rule out|eliminate|exclude) ({listed}|[{letters}])",
        bare,
        re.IGNORECASE,
    )
    several = re.fullmatch(
        rf"(?:(?:the )?(?:answer|it|they) (?:is|are) )?(?:probably |maybe )?"
        rf"(?:(?:either |both |between |all of |all )?({listed})"
        rf"|neither ({listed.replace('and|or', 'nor|and|or')}))"
        r"(?: are (?:both )?(?:correct|right|true)| (?:seem|look) plausible)?",
        bare,
        re.IGNORECASE,
    )
    run = re.fullmatch(rf"([{letters}]{{2,6}})", bare) if len(set(bare)) == len(bare) else None
    match = denied or several or run
    found = next((group for group in match.groups() if group), "") if match else ""
    return re.findall(rf"(?<![a-z])[{letters}](?![a-z])", found.upper() if len(found) == 1 else found)


def _read_prose(text: str, letters: str) -> str | Rejected | Unclear | None:
    """Return the one letter that running text calls right; UNCLEAR where it names letters but calls none, or several, right."""
    one = rf"(?:[(\[](?P<inner>[{letters}{letters.lower()}])[)\]]|(?P<outer>[{letters}])){_BREAK}"
    right: set[str] = set()
    denied: set[str] = set()
    called = (
        rf"(?:\b(?:option|choice|answer|statement)\s+)?{_START}{one}\s+(?:is|fits|must be|seems|should be)\s*"
        rf"(?P<not>not |n['’]t |incorrect|wrong|false)?\s*(?:clearly |definitely |also |thus )?(?P<call>{_RIGHT})?"
    )
    for found in re.finditer(called, text, re.IGNORECASE):
        letter = _named_letter(found)
        if _OF_THING.search(text[: found.start()]):
            continue
        turned = found.group("not") or _ALL_BUT.search(text[: found.start()])
        denied.update([letter] if letter and turned else [])
        if letter is None or turned or not (found.group("call") or "fits" in found.group()):
            continue
        right.add(letter)
        joined = re.search(rf"([{letters}])\W*(?:&|\band\b|\bor\b)\s*$", text[: found.start()])
        right.update(joined.groups() if joined else ())
    chosen = rf"(?:{OPTION_NAME}{OPTION_LINK}|\b{_LEADS_TO}\b\s*[,:]?\s*(?:option |choice )?){one}"
    for found in re.finditer(chosen, text, re.IGNORECASE):
        letter = _named_letter(found)
        before, after = text[max(0, found.start() - 40) : found.start()], text[found.end() : found.end() + 30]
        fits = re.match(r"\s*is (?:consistent|correct|right|true|possible|valid|supported|plausible|compatible)\b", after)
        if fits and found.group().lower().startswith("only"):  # "Only D is consistent with the data."
            right.update(letter or "")
            continue
        if letter is None or re.match(r"\s*(?:is|are|isn|was)\b|\s*(?:est|es|é|è|ist)\s+(?:fals|incorr)", after):
            continue
        if _DENIED_BEFORE.search(before):
            denied.add(letter)
            continue
        right.add(letter)
        also = re.match(rf"\s*[)\]]?\s*{_AND_OR}\s*(?:option |choice )?[(\[]?([{letters}]){_BREAK}", after)
        right.update(also.groups() if also else ())
    right.update(re.findall(rf"{_START}([{letters}])\s?(?:项|选项)?\s?是?\s?正确", text))
    if len(right) == 1 and not re.search(r"\b(?:either|both|probably|maybe)\b", text, re.IGNORECASE):
        return right.pop()
    if denied and not right and not _ALL_BUT.search(text) and not _TWICE_DENIED.search(text):
        return Rejected(tuple(denied))
    mentioned = re.search(rf"{_START}(?:[(\[][{letters}][)\]]|[B-H]){_BREAK}", text)
    return UNCLEAR if right or denied or (mentioned and (NEGATION.search(text) or HEDGE.search(text))) else None


def _named_letter(found: re.Match[str]) -> str | None:
    """Return the letter of a match: in brackets in either case, bare as a capital only."""
    letter = str(found.group("inner") or found.group("outer"))
    return letter.upper() if found.group("inner") or letter.isupper() else None


def read_letters(text: str, letters: str) -> frozenset[str] | None:
    """Return the letters of a text that is a list of them ("b,c,d", "(A) and (C)", "ACD"); None for any other."""
    text = text[:MAX_RUN].strip()
    text = re.sub(r"(?:^|\n)[-*•]\s+", ", ", text).strip(", ") if text[:2] in ("- ", "* ", "• ") else text
    text = text.strip("*`\"'.[]{} ")
    text = re.sub(r"^all of ", "", re.sub(r",? (?:are|is) (?:all |both )?(?:correct|right|true)$", "", text))
    if re.fullmatch(rf"[{letters}]{{2,8}}", text):
        return frozenset(text) if len(set(text)) == len(text) and (sorted(text) == list(text)) else None
    one = rf"(?:option |choice )?[(\[]?[{letters}{letters.lower()}][)\]]?"
    joint = r"(?:\s*(?:,|;|&|and|und|et|y)\s*)+"
    if not re.fullmatch(rf"(?:both |options? |choices? |statements? |answers? )?{one}(?:{joint}{one})*", text, re.IGNORECASE):
        return None
    return frozenset(re.findall(rf"(?<![A-Za-z])([{letters}])(?![A-Za-z])", text.upper()))
