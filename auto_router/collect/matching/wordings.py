"""Wordings compared as people would: without case, accents, articles and marks; Python literals by value; lists by items."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from auto_router.collect.matching.final_answer import Statement
from auto_router.collect.matching.numerals import TENS
from auto_router.collect.matching.vocabulary import HEDGE, NEGATION, list_words

MAX_LITERAL = 4000  # characters; more is no answer, and ast takes its time for it
MAX_FOLDED = 1000  # characters of a wording that is folded; longer ones are compared as they are
SHORT_WORDS = 40

OPTION = re.compile(r"^\s*(?:option\s+)?(?:\(?(?P<letter>[A-Z])[).:]|\((?P<inner>[A-Za-z])\))\s*(?P<text>\S.*)?$", re.DOTALL)
_ACCENTS = re.compile("[\u0300-\u036f]+")
_EQUALS = re.compile(r"=|\b(?:is|equals|equal to)\b")
_LEAD_TO = re.compile(r"[A-Za-z]{2,}|[,;:.!?\n]")
_VARIABLE = re.compile(r"(?<![A-Za-z])[A-Za-zα-ω](?:_\{?\w\}?)?(?![A-Za-z])")
# "It must be Paris", "it turns out to be Paris"; not "it used to be Paris".
_IS_SURELY = re.compile(
    r"\b(?:must|should|will|would|can only|(?:ha(?:s|ve)|needs?|has got) to"
    r"|(?:turns? out|proves?|known|found|determined|appears|happens|believed|considered|said|announced|revealed) to)$",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"^(?:(?:it|that|this|he|she)['’]s\s+|(?=[^\s,]))(?!.*[,;].*[,;])([^.;\n]{1,100}?)"
    r"(?:[.!]*$|,\s+(?:not|rather than|and not)\s[^.;\n]{1,80}[.!]*$)",
    re.IGNORECASE,
)
_OPEN_FORM = re.compile(r"(?:^|\s)[a-z]\s*[-+]\s*[\w.]+$")  # of "y - 3 = 2x" the right side is no value of y
# What is said not to be the answer, before what is: "It isn't Lagos; it's Abuja", "Although many think it is Lagos, …".
_SET_ASIDE = re.compile(
    r"^(?:(?:[^.;,\n]{0,60}\s)?(?:not|no longer|isn['’]t|wasn['’]t)\s[^.;,\n]{1,60}[;,.—–-]\s*(?:but\s+|rather\s+)?"
    r"(?=(?:it|that|this)(?:['’]s| is| was)\s)"
    r"|not\s[^.;,\n]{1,40}?,?\s+but\s+(?:rather\s+|instead\s+)?"
    r"|[^.;,\n]{0,60}\bused to be\s[^.;,\n]{1,40}[;,]\s*(?:but|and)\s+(?=it\s|the\s|now\s)"
    r"|(?:although|while|though)\s[^.;,\n]{1,60},\s+(?=(?:the|it|its)\b)|contrary to [^.;,\n]{1,40},\s+)+",
    re.IGNORECASE,
)
# What may stand behind a name: "(Italian painter)", "around 1600", ", which replaced Lagos".
_BEHIND = re.compile(
    r"\s*\([^()]{1,80}\)$|,?\s+(?:(?:in|around|circa|since|c\.)\s+(?:[A-Z][a-z]+ )?\d{3,4}|between \d{3,4} and \d{3,4})$"
    r"|,\s+(?:which|who|covering|located|an?|the)\s[^,;.]{1,80}$"
)
# What an answer in a sentence stands behind.
_MARKS = (
    *(
        f" {word} "
        for word in list_words("is be are was ist est es é è shows reads says been called raises throws returns prints")
    ),
    *(f" {word} " for word in list_words("outputs equals becomes")),
    *(f" {verb} to " for verb in list_words("evaluates simplifies reduces converges")),
    *(" stands for ", " intersect at ", " meet at ", " the point ", " known as ", ": ", " = ", " == ", "=> ", "是"),
)
_ROUNDED = re.compile(
    r"\\approx|≈|,?\s\(?(?:or |which is )?(?:approximately|approx\.|about|roughly) [$\\(]{0,3}[-$€£]?\d[\d.,]*\W*$"
)
_AGAIN = re.compile(
    r",?\s+\(?(?:i\.e\.,?|that is,|or equivalently,?|in other words,)\s+(?:the (?:interval|set|point) )?"
    r"|,\s+(?:since|because)\s[^\n]*$"
)
_WHICH = re.compile(r",\s+(?:which|where) (?:is|was|are|were|has|have|lies|became) (?=[a-z])[^.;\n]{1,120}[.!]?$")
_NOT_THAT = re.compile(r",\s+(?:and )?(?:not|rather than)\s[^,;.]{1,60}$", re.IGNORECASE)
_TURNS = re.compile(r"\b(?:but|formerly|until|replaced by|or|then|later|although|however|while)\b", re.IGNORECASE)
_SUBJECT = re.compile(r"^([^,;.\n]{1,60}?)\s+(?:is|was|are|were)\s+((?:the|[A-Z]\w+['’]s|his|her|their|its)\s[^,;.\n]{1,80})$")
_BY = re.compile(r"^[^,;.\n]{1,80}\b\w+(?:ed|en|wn|lt|nt|ght|ung|ade|ded|out) by\s+")
_LOCATED = re.compile(r"^(?:on|to|in|at)\s+(?=\w)", re.IGNORECASE)
_INITIALS = re.compile(r"\b(?:[^\W\d_]\.\s?){2,4}(?=[^\W\d_]{2})|(?<=\w )[^\W\d_]\. (?=[^\W\d_]{2})")  # "J. K. Rowling"
_REMAINDER = re.compile(r"(?<=\d),?\s+(?:(?:with )?(?:a )?remainder(?: of)?|rem\.?|r)\s?(?=\d)")
_FORMULA = re.compile(r"\$?(?:[A-Z][a-z]?|[()_{}\d])+\$?")
_TWO_SENTENCES = re.compile(r"[^\W\d]{2}[.!?]\s+\S")
_ORDINALS = {word: place for place, word in enumerate(list_words("""
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth
    seventeenth eighteenth nineteenth twentieth
"""), start=1)}  # fmt: skip
_ORDINAL = re.compile(rf"\b(?:({'|'.join(TENS)})[ -])?({'|'.join(_ORDINALS)})\b")
_BESIDE = re.compile(r"\s*\([^()]{1,60}\)$")  # "16:9 (widescreen)"
_NO_THING = (
    r"(?:long|wide|tall|high|deep|thick|old|heavy|away|each|per|and|for|but|which|that|more|less|when|with|after|before|because"
    r"|since|at|from|hundred|thousand|million|billion|trillion)\b"
)
_SUPERSCRIPTS = {ord(char): f"^{digit}" for char, digit in zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True)}


def list_alternatives(reference: str) -> list[str]:
    """Return the references that one text stands for: the items of a printed list of equal answers, or of a SQuAD struct."""
    value = read_literal(reference) if reference.strip()[:1] in ("[", "{") else None
    if isinstance(value, dict) and isinstance(value.get("text"), list) and value["text"]:
        return [str(item) for item in value["text"]]
    if (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(item, str) for item in value)
        and len({fold(item) for item in value}) == 1
    ):
        return list(value)
    return [reference]


def denies(text: str, wanted: str) -> bool:
    """Whether a statement says that its answer is not these words, or not these alone ("not red", "red or blue")."""
    said, name = fold(text), re.escape(wanted)
    said = (
        re.sub(r"^(?:(?:it|that|this|the answer)(?:'s| is) )?(?:either )?(?:(?:the|a|an) )?", "", said)
        if len(said) < 200
        else ""
    )
    patterns = (
        rf"(?:.* )?(?:not|no longer|isn't|wasn't|anything but|never|nicht|不是)\s*(?:(?:the|a|an) )?{name}"
        rf"(?:(?:[;,.] ?(?:but )?(?:it|that|this)(?:'s| is| was)|,? but) (?!.*{name}).{{1,60}})?",
        rf"{name} is (?:wrong|incorrect|false|not (?:correct|right|the answer|true))",
        rf"{name},? or [^,]{{1,60}}|[^,]{{1,60}},? or (?:(?:the|a|an) )?{name}",
    )
    return (
        bool(wanted)
        and " or " not in wanted
        and not HEDGE.search(said)
        and any(re.fullmatch(pattern, said) for pattern in patterns)
    )


def list_wordings(statement: Statement) -> list[str]:
    """Return what a statement may state in words: itself, without an option's letter, what follows its last "is" or colon."""
    text = _SET_ASIDE.sub("", statement.text.strip())
    option = OPTION.match(text)
    rounded = _ROUNDED.search(text)
    exact = text[: rounded.start()].strip(" $,(") if rounded else ""  # "2√5 ≈ 4.47"
    parts = [exact] if exact else []
    parts += [text, option.group("text")] if option and option.group("text") else [text]
    again = _AGAIN.search(text)
    if again and not any(sign.search(text) for sign in (NEGATION, HEDGE)) and not _AGAIN.search(text, again.end()):
        ends = (text[: again.start()], text[again.end() :])
        return [*(part for end in ends if end for part in list_wordings(replace(statement, text=end))), text]
    clause = _WHICH.search(text)
    if clause and not NEGATION.search(clause.group()) and not HEDGE.search(clause.group()):
        return [*list_wordings(replace(statement, text=text[: clause.start()])), text]
    named = _NAMED.match(text)  # "It's a cat", "Lyon, not Paris"
    parts += [named.group(1)] if named else []
    if len(text.split()) <= SHORT_WORDS and statement.source != "first" and not _TWO_SENTENCES.search(text):
        for mark in _MARKS:
            before, found, after = text.rpartition(mark)
            if (mark == " be " and not _IS_SURELY.search(before)) or (mark == " = " and _OPEN_FORM.search(before)):
                continue
            if found and not NEGATION.search(before) and not HEDGE.search(before):
                parts.append(after)
    return [part.strip().rstrip(".") for part in parts if part]


def list_names(statement: Statement) -> list[str]:
    """Return what :func:`list_wordings` does, and names that a sentence gives in more words ("by X in 1603", "X is the …")."""
    found = []
    for part in list_wordings(statement):
        part = _NOT_THAT.sub("", re.sub(r"^now ", "", part))
        subject, agent, behind = _SUBJECT.match(part), _BY.match(part), _BEHIND.search(part)
        name = part[: behind.start()] if behind else part
        rest = part[len(name) :] if behind else part
        found.append(part)
        if any(sign.search(rest) for sign in (NEGATION, HEDGE, _TURNS)):
            continue
        found += [name, *([_BEHIND.sub("", name[agent.end() :])] if agent else []), *([subject.group(1)] if subject else [])]
        found += [_LOCATED.sub("", name)] if len(name.split()) <= 4 else []
    return found


def keep_same_name(statements: Sequence[Statement], reference: str) -> Sequence[Statement]:
    """Return the statements that give values to no variable that the reference does not: not "y = 5" where it is "x = 5"."""
    names = frozenset[str]().union(*_read_names(reference))
    if not names:
        return statements
    if not any("_" in name for name in names):  # "x_1 = 2, x_2 = -5" gives values to x
        statements = [one for one in statements if not re.search(r"[A-Za-z](?:_\{?\d|[₀-₉])", one.text)] or list(statements)
        if all(re.search(r"[A-Za-z](?:_\{?\d|[₀-₉])", one.text) for one in statements):
            return statements
    return [one for one in statements if next((said for said in reversed(_read_names(one.text)) if said), names) <= names]


def _read_names(text: str) -> list[frozenset[str]]:
    """Return the variables before each sign or word of equality: x of "so x = 5", x and y of "x + y = 5". f(x) counts as y."""
    text = re.sub(r"\bf\s?\([a-z]\)", "y", text[:MAX_FOLDED])
    sides = [_LEAD_TO.split(side)[-1] for side in _EQUALS.split(text)[:-1]]
    return [frozenset(re.sub(r"[{}]", "", name).lower() for name in _VARIABLE.findall(side)) for side in sides]


def is_range(text: str) -> bool:
    return len(read_range(text)) == 2


def read_range(text: str) -> tuple[str, ...]:
    found = re.fullmatch(
        r"(?:(?:pages?|pp\.|years?|ages?|chapters?) )?(?:between |from )?([$€£]?\d(?:[\d.,]*\d)?)\s*"
        r"(?:-|–|—|~|～|to|and|until|till|bis|à|至|到)\s*([$€£]?\d[\d.,]*\s*\S*?)",
        text.strip().rstrip(".").lower(),
    )
    if not found or (" and " in text and not text.lower().startswith("between")):
        return ()
    first, last = found.groups()
    if re.fullmatch(r"[12]\d{3}-\d\d", f"{first}-{last}"):  # "1939-45", "1999-05"
        last = f"{int(first[:2]) + (last <= first[2:])}{last}"
    return first, last


def list_items(text: str) -> list[str]:
    """Return the items of a list of words, sorted."""
    if len(text) > MAX_LITERAL:
        return []
    return sorted(fold(part) for part in re.split(r"\s*(?:[,;\n]|\band\b|&)\s*", text) if part.strip())


def read_bullets(text: str) -> list[str]:
    """Return the items of a reply that is a list with a mark before every item, under a line of introduction or none."""
    lines = [line.strip() for line in text[:MAX_LITERAL].splitlines() if line.strip()]
    lines = lines[1:] if lines and lines[0].endswith(":") and not NEGATION.search(lines[0]) else lines
    found = [re.fullmatch(r"(?:[-*•]|\d{1,2}[.)])\s+(.+)", line) for line in lines]
    return [one.group(1).strip("*") for one in found if one] if len(found) > 1 and all(found) else []


_ORDERED = re.compile(
    r"\border(?:ed)?\b|\brank|\bsort|\bsequence\b|\b(?:as|des)cending|\bchronolog|\balphabetic|\brevers"
    r"|\west to (?:the )?\w{2,20}est\b",
    re.IGNORECASE,
)


def asks_order(question: str) -> bool:
    return _ORDERED.search(question) is not None


def read_ratio(text: str) -> tuple[Fraction, ...]:
    """Return the terms of a ratio ("3:4", "3 to 4", "2 : 3 : 5"); empty for any other text."""
    text = _BESIDE.sub("", text.strip().strip("$*`. "))
    found = re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?(?:\s*(?::|\\colon|\bto\b)\s*\d{1,9}(?:\.\d{1,9})?){1,5}", text)
    return tuple(Fraction(term) for term in re.findall(r"[\d.]+", text)) if found else ()


def same_ratio(one: tuple[Fraction, ...], other: tuple[Fraction, ...]) -> bool | None:
    """Are two ratios the same? None where they are equal but written in other terms, or one is none."""
    if not one or not other or len(one) != len(other) or 0 in one + other:
        return None
    return True if one == other else None if len({a / b for a, b in zip(one, other, strict=True)}) == 1 else False


def differs_in_case(text: str, reference: str) -> bool:
    """Whether two signs of two letters differ beyond a capital at their beginning, or m and M do behind a number.

    Co and CO, mg and Mg, 2 m and 2 M are not the same.
    """
    text, reference = text.strip(" .*`"), reference.strip(" .*`")
    if text != reference and re.fullmatch(r"\S*\d ?[mM]", reference) and text.lower() == reference.lower():
        return True
    return len(reference) == 2 == len(text) and text[1] != reference[1] and text.lower() == reference.lower() != "no"


def counts_other(text: str, reference: str) -> bool:
    """Whether two texts count different things: "3 oranges" and "3 apples"."""
    found = [
        re.fullmatch(r"\D{0,3}[\d.,]+ ([a-z][a-z/^\d]{0,19})", part.strip().rstrip(".").lower()) for part in (text, reference)
    ]
    nouns = [one.group(1).removesuffix("s") for one in found if one is not None]
    return len(nouns) == 2 and not nouns[0].startswith(nouns[1][:4]) and not nouns[1].startswith(nouns[0][:4])


def counts_thing(text: str, value: Fraction) -> bool:
    """Whether a text counts something of which a value is the number, where a unit was expected: "3 stone", "5 cubits"."""
    return re.search(rf"(?<![\d.,]){float(value):.12g} (?!{_NO_THING})[a-z]{{3,}}", text) is not None


def unquote(text: str) -> str | None:
    """Return what stands between the quotes of a text that is one quoted string; None for any other."""
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"`"
    return text[1:-1] if quoted and text[0] not in text[1:-1] else None


def fold(text: str) -> str:
    """Fold case, accents, width, white space, LaTeX spacing, surrounding punctuation and a leading article; [] is not {}."""
    if len(text) > MAX_FOLDED:
        return text.strip()
    formula = "_" in text and _FORMULA.fullmatch(re.sub(r"\\(?:text|mathrm)\s*\{([^{}]*)\}", r"\1", text.strip())) is not None
    text = unicodedata.normalize("NFKC", text.translate(_SUPERSCRIPTS)).casefold().strip()
    text = _ACCENTS.sub("", unicodedata.normalize("NFD", text))
    if "\\" in text:
        text = re.sub(r"\\(?:left|right|!|,|;|:)(?![a-z])", "", text).replace("\\dfrac", "\\frac")
        text = re.sub(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mbox)\s*\{([^{}]*)\}", r"\1", text)
        text = re.sub(r"\s*(\\\\|[{}()^_+*/=&-])\s*", r"\1", text)
    text = re.sub(r"([_^])\{(\w)\}", r"\1\2", text)
    text = re.sub(r"^([\s$*`\"'-]*)\.(?=\d)", r"\g<1>0.", text)  # ".5" is not 5
    text = _INITIALS.sub(lambda found: found.group().replace(".", "").replace(" ", "") + " ", text)
    text = _REMAINDER.sub(" r", text)
    text = re.sub(r"_(?=\d)", "", text) if formula else text
    text = re.sub(r"(?<=[^\W\d_])-(?=[^\W\d_])", " ", re.sub(r"\b([^\W\d_])\.(?=[^\W\d_]\b)", r"\1", text))
    text = re.sub(r"\b(dr|mr|mrs|ms|st|jr|sr|prof)\.(?=\s|$)", r"\1", text)
    text = re.sub(r"[’‘]", "'", text).replace("&", " and ")
    text = re.sub(r"\s+", " ", text).strip(" .,:;?\"'`*“”„«»$。！，")
    text = re.sub(r"(?<![\d)])[!. ]+$", "", text).lstrip("!")
    text = re.sub(r"\s*,\s*", ", ", text)
    text = _ORDINAL.sub(_write_ordinal, text) if _ORDINAL.search(text) else text
    return re.sub(r"^(?:the|a|an) ", "", text)


def _write_ordinal(found: re.Match[str]) -> str:
    number = TENS.get(found.group(1) or "", 0) + _ORDINALS[found.group(2)]
    ending = {1: "st", 2: "nd", 3: "rd"}.get(0 if 10 < number < 14 else number % 10, "th")
    return f"{number}{ending}"


def is_close(one: Any, other: Any) -> bool:
    """Whether two values differ only in what printing may change: the last digits of floats, 1 and True."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return all(is_close(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return bool(abs(one - other) <= 1e-6 * max(abs(one), abs(other)))
    return bool(one == other)


def read_literal(text: str) -> Any:
    """Return the Python value that a text prints; None for any other text, and for a dict that has a key twice."""
    text = text.strip().strip("`").rstrip(".").strip()
    if not text or text[0] not in "[({'\"" or len(text) > MAX_LITERAL:
        return None
    try:
        tree = ast.parse(text, mode="eval")
        if isinstance(tree.body, ast.Tuple) and tree.body.elts and tree.body.elts[0].col_offset == 0:
            return None  # "(1, 2), (3, 4)": points, in any order
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict) and len({ast.dump(key) for key in node.keys if key}) < len(node.keys):
                return None  # no Python prints a key twice
        return ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
