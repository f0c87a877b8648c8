r"""Numbers as people and models write them: ``1,234.5``, ``1 1/2``, ``\frac{3}{4}``, ``50 %``, ``5 cm``, ``3 \times 10^5``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?(?:\s*/\s*\d+)?|[-+]?\.\d+"
_MIXED = r"([-+]?)(\d+)\s+(\d+)\s*/\s*(\d+)"
_QUANTITY = re.compile(rf"(?P<mixed>{_MIXED})|(?P<number>{_NUMBER})")
_UNIT = re.compile(r"\s*(%|°?\s?[A-Za-z°]+(?:/[A-Za-z]+)?)")
# What stands at a number and makes it a part of something else: a root, a multiple of pi, a variable, an imaginary part.
_SYMBOLIC = re.compile(r"\s*\*?\s*(?:\\?sqrt|√|\\?pi\b|π|\\[a-z]+|[abdeijknopqrtuvwxyz](?![A-Za-z])|\^)", re.IGNORECASE)
_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅛": "1/8", "⁄": "/"}
_SPELLED = {
    "percent": "%", "pct": "%", "centimeter": "cm", "centimetre": "cm", "millimeter": "mm", "millimetre": "mm", "meter": "m",
    "metre": "m", "kilometer": "km", "kilometre": "km", "inch": "in", "inche": "in", "foot": "ft", "feet": "ft", "yard": "yd",
    "mile": "mi", "gram": "g", "kilogram": "kg", "liter": "l", "litre": "l", "second": "s", "sec": "s", "minute": "min",
    "hour": "h", "hr": "h", "degree": "°", "dollar": "$", "usd": "$", "euro": "€", "eur": "€", "pound": "lb", "mph": "mi/h",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value, its unit ("" = none), how many decimals it was written with, and whether it is a fraction."""

    value: float
    unit: str = ""
    decimals: int = 0
    fraction: bool = False


def quantity(text: str) -> Quantity | None:
    """Return the quantity that a text is, and nothing beside it (currency signs and units allowed); None for any other."""
    cleaned = plain_math(text).strip().rstrip(".").strip()
    currency = cleaned[:1] if cleaned[:1] in ("$", "€", "£") else ""
    cleaned = cleaned.removeprefix(currency).strip()
    found = _QUANTITY.match(cleaned)
    if found is None:
        return None
    rest = cleaned[found.end() :]
    unit = _UNIT.fullmatch(rest.rstrip()) if rest.strip() else None
    if (rest.strip() and unit is None) or _SYMBOLIC.match(rest):
        return None
    return _quantity(found, unit.group(1) if unit else currency)


def last_quantity(text: str) -> Quantity | None:
    """Return the last quantity in a text; None where there is none, or where it is only a part of an expression."""
    cleaned = plain_math(text)
    found = None
    for match in _QUANTITY.finditer(cleaned):
        found = match
    if found is None:
        return None
    before, after = cleaned[: found.start()], cleaned[found.end() :]
    if _SYMBOLIC.match(after) or re.search(r"(?:sqrt|√|\bpi|π)\s*[({]?$", before):
        return None
    # An expression that nobody worked out, and two answers, are no number.
    if re.search(r"[/*^]\s*[({]?\s*$|\d\s*,?\s*\bor\b[^.\d]{0,12}$", before):
        return None
    unit = _UNIT.match(after)
    currency = before.rstrip()[-1:] if before.rstrip()[-1:] in ("$", "€", "£") else ""
    return _quantity(found, unit.group(1) if unit else currency)


def same_quantity(found: Quantity, expected: Quantity) -> bool | None:
    """Are two quantities the same? None where units differ, or where one may be a rounding of the other."""
    values = [found.value, found.value / 100] if found.unit == "%" else [found.value]
    wanted = [expected.value, expected.value / 100] if expected.unit == "%" else [expected.value]
    known_units = bool(found.unit) and bool(expected.unit) and found.unit != expected.unit
    if known_units and "%" not in (found.unit, expected.unit):
        return None
    if any(_equal(value, other) for value in values for other in wanted):
        return True
    if expected.decimals >= 2 and any(_equal(round(value, expected.decimals), expected.value) for value in values):
        return True
    if found.decimals >= 2 and any(_equal(round(other, found.decimals), found.value) for other in wanted):
        return None
    # A bare number where a unit was expected may be in another one.
    return None if expected.unit not in ("", "%", found.unit) else False


def plain_math(text: str) -> str:
    """Write LaTeX and typographic numbers plainly; what is not known stays as it is."""
    if "\\" in text:
        text = _without_latex(text)
    text = re.sub(r"(\d)\s*(?:\\times|\\cdot|×|\*)\s*10\s*\^\s*\{?\s*([-+−]?\d+)\s*\}?", r"\1e\2", text.replace("−", "-"))
    text = re.sub(r"(?<=[A-Za-z])(?:\^\{?-?\d+\}?|[²³])", "", text)  # the power of a unit or a variable is no number
    for sign, plain in _VULGAR.items():
        text = re.sub(rf"(\d)(?={sign})", r"\1 ", text).replace(sign, plain) if sign in text else text
    return text.replace("{,}", ",").replace("\\$", "$").replace("\\%", "%")


def _without_latex(text: str) -> str:
    text = re.sub(r"\\(?:left|right|displaystyle|!|,|;|:| )", "", text)
    text = re.sub(r"\\(?:text|mathrm|textbf|mbox|operatorname)\s*\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"(\d)\s*\\[dtc]?frac", r"\1 \\frac", text)
    text = re.sub(r"\\[dtc]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}", r"\1/\2", text)
    text = re.sub(r"\\[dtc]?frac\s*(\d)\s*(\d)", r"\1/\2", text)
    text = re.sub(r"\^?\s*\{?\\circ\}?", " ° ", text)
    return text


def _quantity(found: re.Match[str], unit: str) -> Quantity | None:
    value: float | None
    if found.group("mixed"):
        sign, whole, part, below = found.group(2, 3, 4, 5)
        value = _value(f"{part}/{below}")
        value = None if value is None else (int(whole[:20]) + value) * (-1 if sign == "-" else 1)
        return None if value is None else Quantity(value, _unit(unit), fraction=True)
    text = found.group("number")
    value = _value(text)
    decimals = len(text.rpartition(".")[2]) if "." in text and text.rpartition(".")[2].isdigit() else 0
    return None if value is None else Quantity(value, _unit(unit), decimals, "/" in text)


def _value(text: str) -> float | None:
    text = text.replace(",", "").replace(" ", "")
    try:
        return float(Fraction(text)) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def _unit(text: str) -> str:
    text = text.replace(" ", "")
    lower = text.lower()
    singular = lower[:-1] if len(lower) > 3 and lower.endswith("s") else lower
    return _SPELLED.get(lower, _SPELLED.get(singular, singular))


def _equal(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
