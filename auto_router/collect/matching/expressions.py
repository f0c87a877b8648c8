"""Mathematics by value: constants exactly, formulas at a few points, intervals, tuples, sets and equations part by part."""

from __future__ import annotations

import cmath
import re
from fractions import Fraction
from itertools import accumulate

from auto_router.collect.matching.arithmetic import MAX_LENGTH, Value, evaluate, read_variables
from auto_router.collect.matching.numerals import plain_numbers
from auto_router.collect.matching.units import NO_UNIT, Unit, read_unit

_MATRIX = re.compile(r"\\begin\{[pbB]?matrix\}(.{1,400}?)\\end\{[pbB]?matrix\}", re.DOTALL)
_UNIT_TAIL = re.compile(r"(?<=[\w)}])\s+(?P<unit>[A-Za-z][A-Za-z²³./ ^{}23-]{0,25})$")
_VALUE = r"\s*([^<>≤≥]{1,80}?)\s*"
_BETWEEN = re.compile(
    _VALUE.replace("(", "(?P<low>", 1)
    + r"(?P<one>[<>≤≥])\s*(?P<name>[a-zA-Z])\s*(?P<other>[<>≤≥])"
    + _VALUE.replace("(", "(?P<high>", 1)
)
_BEYOND = re.compile(
    r"(?P<name>[a-zA-Z])\s*(?P<after>[<>≤≥])"
    + _VALUE.replace("(", "(?P<right>", 1)
    + "|"
    + _VALUE.replace("(", "(?P<left>", 1)
    + r"(?P<before>[<>≤≥])\s*(?P<named>[a-zA-Z])"
)
_SUBSCRIPTS = {ord(char): f"_{digit}" for char, digit in zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)}
_ABSOLUTE = re.compile(r"^\s*\|\s*([a-z])\s*\|\s*([<≤])\s*(\d[\d.]*)\s*$")
_TURNED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}
_ASSIGNED = re.compile(r"\s*([A-Za-zα-ω](?:_\{?\w{1,3}\}?)?)\s*=\s*([^=]+)")
_OF_DEGREES = re.compile(  # "sin 30°"
    r"((?<!arc)(?:sin|cos|tan|sec|csc|cot)(?:\^\{?\d\}?)?\s*[({]?\s*)(\d+(?:\.\d+)?)(?:°|\s*\^?\s*\{?\s*\\circ(?![a-z])\s*\}?)"
)
_OF_NUMBER = re.compile(r"(?<!arc)(?:sin|cos|tan|sec|csc|cot)(?:\^\{?\d\}?)?[\s({]{0,4}\d[\d.]*(?![\d.]|\s*\*?\s*\\?(?:pi|π))")
_OPEN = re.compile(  # "cos 45" may be of degrees; a function of which nothing is known; "1/2x"
    rf"{_OF_NUMBER.pattern}|(?<![A-Za-z\\])[fghFGH](?:\^\{{?\d\}}?)?\([a-z]\)"
)
TEST_POINTS = (0.7390851, 1.6180340, 2.2360680)  # where formulas are compared: the first variable takes these values


def same_expression(answer: str, reference: str) -> bool | None:
    """Do two mathematical texts mean the same? None where one of them is not read, or the difference proves nothing."""
    tables = _read_matrix(answer), _read_matrix(reference)
    if tables[0] and tables[1]:
        return _same_table(tables[0], tables[1])
    one, other = _prepare(answer), _prepare(reference)
    if not one or not other or max(len(one), len(other)) > MAX_LENGTH:
        return None
    degrees = [bool(re.search(r"°|\\circ|\bdegrees?\b", _OF_DEGREES.sub("", text))) for text in (answer, reference)]
    if degrees[0] is not degrees[1] and re.search(r"π|\bpi\b|\\pi", f"{one} {other}"):
        one, other = (re.sub(r"\s*\bdegrees?\b", "", text) for text in (one, other))
        one, other = (f"({text})*pi/180" if turned else text for text, turned in zip((one, other), degrees, strict=True))
        return _same(one, other, 0) or None
    if re.search("[<>≤≥]", one) and re.search("[<>≤≥]", other) and _letters(one) != _letters(other):
        return None  # "y < 3" is of another variable
    if re.search("[<>≤≥]", one + other):
        one, other = write_intervals(one), write_intervals(other)
        if re.search("[<>≤≥]", one + other):
            return True if _squeeze(one) == _squeeze(other) else None
    verdict = _same(one, other, 0)
    if verdict is False and (_OPEN.search(f"{one} {other}") or re.search(r"/\s?\d+\s?[a-z(]", f"{answer} {reference}")):
        return None
    if verdict is None:
        one, unit = _drop_unit(one)
        other, wanted = _drop_unit(other)
        if (unit or wanted) and (unit == wanted or NO_UNIT in (unit, wanted) or None in (unit, wanted)):
            return _same(one, other, 0)
    return verdict


def _letters(text: str) -> set[str]:
    return set(re.findall(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", text))


def _read_matrix(text: str) -> list[list[str]] | None:
    found = _MATRIX.fullmatch(text.strip(" $.\n")) if "matrix}" in text else None
    nested = len(text) <= MAX_LENGTH and re.fullmatch(r"\[(?:\[[^\[\]]{1,200}\],?)+\]", re.sub(r"\s", "", text))
    rows = re.findall(r"\[([^\[\]]+)\]", text) if nested else []
    if rows:
        return [row.split(",") for row in rows]
    return None if found is None else [row.split("&") for row in re.split(r"\\\\", found.group(1)) if row.strip()]


def _same_table(one: list[list[str]], other: list[list[str]]) -> bool | None:
    if [len(row) for row in one] != [len(row) for row in other]:
        return False
    cells = [(a, b) for row, wanted in zip(one, other, strict=True) for a, b in zip(row, wanted, strict=True)][:100]
    verdicts = [_same(_prepare(a), _prepare(b), 1) for a, b in cells]
    return False if False in verdicts else None if None in verdicts else True


def _drop_unit(text: str) -> tuple[str, Unit | None]:
    """Return a text without the unit that it ends with, and that unit: :data:`NO_UNIT` for "units", None for none."""
    tail = _UNIT_TAIL.search(text)
    if tail is None:
        return text, None
    unit, length = read_unit(tail.group("unit"))
    if re.fullmatch(r"(?:(?:square|cubic|sq\.?) )?(?:units?|radians?|rad)", tail.group("unit")):
        unit = NO_UNIT
    elif length < len(tail.group("unit")):
        return text, None
    return text[: tail.start()], unit


def write_intervals(text: str) -> str:
    """Write inequalities of one variable as intervals: "x < 2 or x > 3" is "(-∞,2)∪(3,∞)"; another text stays as it is."""
    intervals, names = [], set()
    text = _ABSOLUTE.sub(r"-\3\2\1\2\3", text)
    for part in re.split(r",?\s+or\s+|∪", text):
        between, beyond = _BETWEEN.fullmatch(part.strip()), _BEYOND.fullmatch(part.strip())
        if between and (between["one"] in "<≤") is (between["other"] in "<≤"):
            low, high = (between["low"], between["one"]), (between["high"], between["other"])
            low, high = (low, high) if between["one"] in "<≤" else (high, low)
            names.add(between["name"])
            intervals.append(f"{'[' if low[1] in '≤≥' else '('}{low[0]},{high[0]}{']' if high[1] in '≤≥' else ')'}")
        elif beyond:
            sign, value = beyond["after"] or _TURNED[beyond["before"]], beyond["right"] or beyond["left"]
            names.add(beyond["name"] or beyond["named"])
            closed = ("[", "]") if sign in "≤≥" else ("(", ")")
            intervals.append(f"{closed[0]}{value},∞)" if sign in ">≥" else f"(-∞,{value}{closed[1]}")
        else:
            return text
    return "∪".join(intervals) if len(names) == 1 else text


def _same(one: str, other: str, depth: int) -> bool | None:
    if depth > 4:
        return None
    if _squeeze(one) == _squeeze(other):
        return True
    if "∪" in one + other:
        return _same_parts(one.split("∪"), other.split("∪"), True, depth)
    inside, within = _open_brackets(one), _open_brackets(other)
    named, sought = _read_assignments(_parts(one)), _read_assignments(_parts(other))
    if named or sought:
        return _same_assignments(
            named, sought, inside[1] if inside else _parts(one), within[1] if within else _parts(other), depth
        )
    if within and (len(within[1]) > 1 or within[0][0] == "{"):
        if inside is None:
            return _same_parts(_parts(one), within[1], True, depth) if within[0] == "{}" else None
        if inside[0] != within[0]:
            return False if len(inside[1]) == len(within[1]) == 2 and "{}" not in (inside[0], within[0]) else None
        return _same_parts(inside[1], within[1], within[0] == "{}", depth)
    listed, wanted = inside[1] if inside and inside[0] == "{}" else _parts(one), _parts(other)
    if len(wanted) > 1 or len(listed) > 1:
        return _same_parts(listed, wanted, True, depth)
    if "=" in other or "=" in one:
        return _same_equation(one, other)
    return _same_formula(one, other)


def _read_assignments(parts: list[str]) -> dict[str, str]:
    """Return the values of the variables that each have one, in the order of their names; none for "x = 1 or x = 2"."""
    found = [_ASSIGNED.fullmatch(part) for part in parts]
    values = {one.group(1): one.group(2).strip() for one in found if one is not None}
    return dict(sorted(values.items())) if len(values) == len(parts) > 1 else {}


def _same_assignments(
    named: dict[str, str], sought: dict[str, str], listed: list[str], wanted: list[str], depth: int
) -> bool | None:
    """Compare values by their variables; where one text has none, in the order of the names, in which they must agree."""
    if named and sought:
        if named.keys() != sought.keys():
            return None
        return _same_parts(list(named.values()), [sought[name] for name in named], False, depth)
    one, other = list(named.values()) or listed, list(sought.values()) or wanted
    ordered = _same_parts(one, other, False, depth)
    return ordered if ordered is not False or not _same_parts(one, other, True, depth) else None


def _same_parts(one: list[str], other: list[str], unordered: bool, depth: int) -> bool | None:
    one, other = _spread(one), _spread(other)
    if len(one) != len(other):
        known = all(evaluate(part) is not None for part in one + other)
        return False if known else None
    if not unordered:
        verdicts = [_same(a, b, depth + 1) for a, b in zip(one, other, strict=True)]
        return False if False in verdicts else None if None in verdicts else True
    left, undecided = list(other), False
    for part in one:
        verdicts = [_same(part, wanted, depth + 1) for wanted in left]
        if True in verdicts:
            left.pop(verdicts.index(True))
        elif None in verdicts:
            undecided = True
        else:
            return False
    return None if undecided else True


def _spread(parts: list[str]) -> list[str]:
    """Write "x = 5" as "5" and "±3" as 3 and -3."""
    spread = []
    for part in parts[:50]:
        value = re.sub(r"^\s*[A-Za-zα-ω](?:_\{?\w{1,3}\}?)?\s*=\s*", "", part).strip()
        spread += [value[1:], "-" + value[1:]] if value.startswith("±") else [value]
    return spread


def _same_equation(one: str, other: str) -> bool | None:
    sides, wanted = [part.strip() for part in one.split("=")], [part.strip() for part in other.split("=")]
    if 1 in (len(sides), len(wanted)):  # "y = 2x" for "2x"
        named = (sides + wanted)[0 if len(wanted) == 1 else 1]
        return _same_formula(sides[-1], wanted[-1]) if re.fullmatch(r"[A-Za-zα-ω](?:_\w)?(?:\([a-z]\))?", named) else None
    if len(sides) > 2 or len(wanted) > 2:
        return None
    verdicts = [_same_formula(sides[0], wanted[0]), _same_formula(sides[1], wanted[1])]
    return True if verdicts == [True, True] else False if verdicts[0] and verdicts[1] is False else None


def _same_formula(one: str, other: str) -> bool | None:
    """Compare two formulas: constants by value, others at a few points; another formula of the same variables is wrong."""
    letters, wanted = read_variables(one), read_variables(other)
    if letters is None or wanted is None or letters != wanted or len(wanted) > 6:
        return None
    names = sorted(wanted)
    for point in TEST_POINTS[: 1 if not names else None]:
        values = {name: complex(point + 0.3183099 * place) for place, name in enumerate(names)}
        a, b = evaluate(one, values), evaluate(other, values)
        if a is None or b is None:
            return None
        if not _equal(a, b):
            return None if (not names and _may_be_rounded(one, a, b)) or (not names and _may_be_rounded(other, b, a)) else False
    return True


def _equal(one: Value, other: Value) -> bool:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    try:
        return cmath.isclose(complex(one), complex(other), rel_tol=1e-9, abs_tol=1e-12)
    except OverflowError:
        return False


def _may_be_rounded(text: str, value: Value, other: Value) -> bool:
    """Whether a decimal number may be the other value, rounded."""
    decimals = re.search(r"\.(\d+)", text)
    try:
        return decimals is not None and abs(complex(value) - complex(other)) <= 10.0 ** -min(len(decimals.group(1)), 300)
    except OverflowError:
        return False


def _prepare(text: str) -> str:
    """Write sets, infinity and inequalities with signs, and drop "x ∈", degrees and thousands separators."""
    text = plain_numbers(text[: 2 * MAX_LENGTH]).translate(_SUBSCRIPTS)
    built = re.fullmatch(r"\s*\\?\{\s*[a-z]\s*(?:\||:|\\mid)\s*([^{}]{1,80})\\?\}\s*", text)
    text = built.group(1) if built else text  # "{x | 0 ≤ x < 5}"
    if re.fullmatch(r"\s*(?:\{\s*\}|(?:the )?empty set|no (?:real )?solutions?)\W*", text, re.IGNORECASE):
        return "∅"
    if re.fullmatch(r"\W*(?:\\mathbb\s*\{?\s*R\s*\}?|ℝ|R|all real(?:s| numbers))\W*", text):
        return "(-∞,∞)"
    text = re.sub(r"^\s*\(\s*[a-z](?:\s*,\s*[a-z]){1,4}\s*\)\s*=\s*(?=\()", "", text)  # "(x, y) = (4, 7)"
    for sign, names in (("≤", r"\\leq?(?:slant)?|<="), ("≥", r"\\geq?(?:slant)?|>="), ("<", r"\\lt"), (">", r"\\gt")):
        text = re.sub(rf"(?:{names})(?![A-Za-z])", sign, text)
    for command, sign in (("\\cup", "∪"), ("∈", "\\in"), ("\\emptyset", "∅"), ("\\varnothing", "∅")):
        text = text.replace(command, sign)
    text = re.sub(r"^\s*[A-Za-z]\s*\\in(?![A-Za-z])\s*", "", text.strip().strip("*`").rstrip(".;,").strip())
    text = _OF_DEGREES.sub(r"\1(\2*pi/180)", text)
    text = re.sub(r"\+?(?:∞|\\?\b(?:infty|infinity|inf)\b)", "∞", re.sub(r"(\d)°", r"\1", text))
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))(?=(?:\d{3},?)+(?!\d))", "", text) if re.fullmatch(r"[-+]?\d[\d,.]*", text) else text


def _squeeze(text: str) -> str:
    return re.sub(r"([_^])\{(\w)\}", r"\1\2", re.sub(r"\s+|\\(?:quad|,)", "", text))


def _open_brackets(text: str) -> tuple[str, list[str]] | None:
    """Return the kind of brackets around a text, as "(]", and the parts inside; None where they do not go together."""
    text = text.strip()
    if len(text) < 2 or text[0] not in "([{" or text[-1] not in ")]}" or (text[0] == "{") != (text[-1] == "}"):
        return None
    if 0 in accumulate((char in "([{") - (char in ")]}") for char in text[:-1]):
        return None
    return text[0] + text[-1], _parts(text[1:-1])


def _parts(text: str) -> list[str]:
    """Split at commas, "and" and "or" outside brackets."""
    parts, depth, begin = [], 0, 0
    text = re.sub(r",?\s+(?:and|or|und|oder|et|ou|y(?!\s*=)|o)\s+|;", ",", text)
    for position, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append(text[begin:position])
            begin = position + 1
    return [part.strip() for part in [*parts, text[begin:]] if part.strip()]
