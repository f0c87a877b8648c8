r"""Quantities as people and models write them: ``1,234.5``, ``1.234,56 €``, ``1 1/2``, ``\frac{3}{4}``, ``5k``, ``3 × 10⁸``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from auto_router.collect.matching.arithmetic import evaluate
from auto_router.collect.matching.numerals import plain_numbers, words_to_digits
from auto_router.collect.matching.units import MONEY, NO_UNIT, Unit, read_unit, same_money

MAX_DIGITS = 400  # of a number; nobody answers with more
MAX_NUMBERS = 120  # of one text
MAX_EXACT = 300  # characters of a text that is one quantity and nothing else
MAX_POWER = 100  # of a power in words
MAX_PREFIX = 10  # characters of a number before its first digit: "- USD -."

# Groups of three (or Indian ones), then a European decimal comma, then plain. A plain space groups only in a text that is
# one quantity.
_DIGITS = (
    r"(?P<grouped>[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)(?:\.\d+)?|[1-9]\d?(?:,\d\d)+,\d{3}(?![\d,])(?:\.\d+)?"
    r"|[1-9]\d{0,2}(?:['’]\d{3})+(?!\d)(?:[.,]\d+)?|[1-9]\d{0,2}(?:[\u00a0SPACE]\d{3})+(?!\d)(?:[.,]\d+)?)"
    r"|(?P<european>[1-9]\d{0,2}(?:\.\d{3})+,\d+(?!\d)|[1-9]\d{0,2}(?:\.\d{3}){2,}(?![\d.,]\d)|(?<![\d,.])\d+,\d+(?!\d|,\d|\.\d))"
    r"|(?P<plain>\d+(?:\.\d+)?|(?<!\d)\.\d+)"
)
_NUMBER = (
    rf"(?P<sign>(?<![\w)\]}}.%])[-+]\s?)?(?:(?P<money>{MONEY})\s?)?(?P<sign2>(?<=[$€£¥₹])-)?"
    rf"(?:(?:{_DIGITS})(?P<exponent>[eE][-+]?\d{{1,4}}(?![\w.]))?)"
)
_DIGIT = re.compile(r"\d")
_PROSE_NUMBER = re.compile(_NUMBER.replace("SPACE", ""))
_EXACT_NUMBER = re.compile(_NUMBER.replace("SPACE", " "))
_MIXED = re.compile(r"\s+(?P<above>\d{1,6})\s?/\s?(?P<below>\d{1,6})(?![\d./])")
_OVER = re.compile(r"\s?/\s?(?P<below>\d{1,9})(?![\d./])(?!,\d)")
_TIMES_TEN = re.compile(r"\s*(?:×|x|\*|·|⋅)\s*10\s*(?:\^\s*[{(]?\s*([-+]?\d{1,4})\s*[)}]?|E([-+]?\d{1,4}))(?![\d.])")
_SCALES = {
    "hundred": 2, "thousand": 3, "thousands": 3, "million": 6, "millions": 6, "mio": 6, "mn": 6, "mln": 6, "millionen": 6,
    "millones": 6,
    "milhões": 6, "milioni": 6, "billion": 9, "billions": 9, "bn": 9, "milliarden": 9, "milliarde": 9, "milliards": 9,
    "milliard": 9,
    "trillion": 12, "trillions": 12, "quadrillion": 15, "quintillion": 18, "sextillion": 21,
    "septillion": 24, "lakh": 5, "lakhs": 5, "crore": 7, "crores": 7, "tausend": 3, "mille": 3, "mil": 3,
    "万": 4, "萬": 4, "億": 8, "亿": 8, "millón": 6, "miliardi": 9, "mille millones": 9, "тысяч": 3, "миллионов": 6,
}  # fmt: skip
_SCALE = re.compile(
    rf"[ \u00a0-]?(?P<word>{'|'.join(sorted(_SCALES, key=len, reverse=True))})(?![A-Za-zà-ÿ])|(?P<letter>[kKMBT])(?![\w/^²³])",
    re.I,
)
_PACKS = {"dozen": 12, "dozens": 12, "pair": 2, "pairs": 2}  # "2 dozen" may be 2 (dozens) or 24; so may "2 pairs"
_PACKED = re.compile(r"\s+(dozens?|pairs?)\b", re.IGNORECASE)
_SHARE = re.compile(r"\s+(?:out of|in)\s+([1-9]\d{0,8})(?![\d.,]*\d)")  # "1 in 5" may be 1 or 20 %
_BEFORE_CHRIST = re.compile(r"\s?(?:BCE?\b|B\.C\.)")  # "500 BC" is -500, or 500 where the question says "BC"
_COINED = re.compile(r"\s?(?:GBP|USD|EUR|CHF|dollars|pounds|euros?)\b")
_LETTERS = {"k": 3, "K": 3, "M": 6, "B": 9, "T": 12}
# What stands at a number and makes it a part of something else: a root, a power, a variable, an operator, an ordinal.
_PARTIAL_AFTER = re.compile(
    r"\s*(?:[\^√!πΠ×·*÷]|\\(?:sqrt|pi|frac|cdot|times|div|d?binom)|[-+]\s*[\d(a-z\\]|\((?=\d)|\(?(?:sqrt|pi)\b|/\s*(?:[\d(\\]|[a-z]\b))"
    r"|(?:st|nd|rd|th)\b|[a-zA-Z]\b(?!-)(?<![mgslhkKCFVAWJNBMT%])|:\d\d|[\d.,]*\d|[A-Za-z]*\d"
)
_PARTIAL_BEFORE = re.compile(
    r"(?:[a-z]\(|[\^√×·*÷/_]|sqrt|\\pi|\d\s?[-+]|[a-z)]\s?[-+]|\d:)\s*[({]?\s*$|[A-Za-z]-$|[\w]\.$|第$"
    r"|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]$"
)
_RAISED = re.compile(
    r"(?P<base>\d{1,6}(?:\.\d{1,6})?)(?: (?P<word>squared|cubed)"
    r"|(?: raised)? to the (?:power (?:of )?(?P<power>\d{1,3})|(?P<nth>\d{1,3})(?:st|nd|rd|th) power))",
    re.IGNORECASE,
)
_NOUN = re.compile(
    r"[ \u00a0]+(?:(?:more|other|different|full|whole|whopping|total)\s+)?[A-Za-zÀ-ÿ][\w'’-]+(?:\s+[A-Za-zÀ-ÿ][\w'’-]+){0,3}"
)
_NO_NOUN = re.compile(
    r"\b(?:and\s(?:a|an|one|two|three|four|five|six|seven|eight|nine|ten)|is|are|was|were|cannot|would|right|or|to|not|at|wrong|incorrect|less|than|fewer|minus|plus|times|out|of|over|under|squared|cubed|factorial|doubled|tripled|halved|off|tops|up|upwards|fold|ish|"
    r"above|below|maximum|minimum|max|min|points?|half|quarter|third|halves|thirds|quarters|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|hundredths|thousandths|by|power|modulo|mod|r\d+|percentage|though|but|if|unless|o|oder|ou|und|bis)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with its unit; ``step`` is what one unit of its last written digit is worth, 0 for what is written exactly.

    ``other``: the second value that the same writing may mean ("1.234" in Europe, "5 K"); None where there is one reading.
    """

    value: Fraction
    unit: Unit = NO_UNIT
    step: Fraction = Fraction(0)
    other: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A quantity in a text, where it stands, and whether it is only a part of an expression there."""

    quantity: Quantity
    start: int
    end: int
    partial: bool


def parse_quantity(text: str) -> Quantity | None:
    """Return the quantity that a text is, with its sign, unit or what is counted, and nothing beside it; None for any other."""
    cleaned = plain_numbers(text[: MAX_EXACT + 1]).strip().strip("*_`\"'“”").rstrip(".。,;").strip()
    cleaned = re.sub(r"(?<!\d)(?<!\))!+$", "", cleaned)
    if not cleaned or len(cleaned) > MAX_EXACT:
        return None
    if cleaned.lower() == "once":
        return Quantity(Fraction(1), other=Fraction(11))  # one time; in Spanish eleven
    cleaned = words_to_digits(cleaned) or cleaned
    raised = _RAISED.fullmatch(cleaned)
    if raised:  # "3 squared": who reads no words may take the 3
        power = {"squared": 2, "cubed": 3}.get((raised["word"] or "").lower()) or int(raised["power"] or raised["nth"])
        base = Fraction(raised["base"])
        return Quantity(base**power, other=base) if power <= MAX_POWER else None
    cleaned = re.sub(r"^(\d{1,3})\s?h\s?([0-5]\d)(?:\s?m(?:in)?)?$", r"\1 hours \2 minutes", cleaned)  # "1h30"
    if cleaned[0] == "(" and cleaned[-1] == ")" and re.fullmatch(r"\(\s*[-+]?[\d./ ]+\)", cleaned):
        cleaned = cleaned[1:-1].strip()
    total: Quantity | None = None
    position = 0
    while position < len(cleaned):
        occurrence = _read(_EXACT_NUMBER, cleaned, position)
        if occurrence is None or occurrence.start != position:
            return None if total is not None else _reckon_text(cleaned)
        if re.match(r"!(?!\w)|\s*[\^*×·÷/]", cleaned[occurrence.end :]):
            return _reckon_text(cleaned)
        quantity, position = occurrence.quantity, occurrence.end
        if total is None:
            listed = cleaned.startswith("- ")  # a negative number, or an item of a list
            total = replace(quantity, other=-quantity.value) if listed else quantity
        elif total.unit.dimension and total.unit.dimension == quantity.unit.dimension and total.unit != quantity.unit:
            value = total.value * total.unit.size + quantity.value * quantity.unit.size  # "1 hour 30 minutes"
            total = Quantity(value / quantity.unit.size, quantity.unit, quantity.step)
        else:
            return None
        rest = cleaned[position:]
        if not rest.strip():
            return total
        noun = _NOUN.fullmatch(rest.rstrip())
        if noun and not _NO_NOUN.search(rest):
            return total
        joint = re.match(r"\s*(?:,|and|,\s*and)?\s*(?=\d)", rest)
        if joint is None or not total.unit.dimension:
            return _reckon_text(cleaned)
        position += joint.end()
    return total


def find_quantities(text: str) -> Iterator[Occurrence]:
    """Return the quantities of a text whose numbers are written plainly (:func:`plain_numbers`), at most ``MAX_NUMBERS``."""
    return iter(read_quantities(text))


@lru_cache(maxsize=128)  # a sentence is read by several rules, and an option beside each answer
def read_quantities(text: str) -> tuple[Occurrence, ...]:
    """Return what :func:`find_quantities` does, at once."""
    position, found = 0, list[Occurrence]()
    while len(found) < MAX_NUMBERS and (occurrence := _read(_PROSE_NUMBER, text, position)) is not None:
        found.append(occurrence)
        position = max(occurrence.end, occurrence.start + 1)
    return tuple(found)


def is_none_of(text: str, choices: Sequence[str]) -> bool:
    """Whether a reply is a number that none of the options is, nor counts them."""
    said, options = parse_quantity(text), [parse_quantity(choice) for choice in choices]
    return (
        said is not None
        and not 0 <= said.value <= len(options)
        and all(option is not None and same_quantity(said, option) is False for option in options)
    )


@lru_cache(maxsize=1024)
def same_quantity(found: Quantity, expected: Quantity) -> bool | None:
    """Are two quantities the same? None where the writing leaves it open: a rounding, a missing unit, a second reading."""
    if found.unit.dimension == "percent" or expected.unit.dimension == "percent":
        return _same_percent(found, expected)
    one, other = _settle_pounds(found.unit, expected.unit), _settle_pounds(expected.unit, found.unit)
    if one.dimension.startswith("temperature") and other.dimension.startswith("temperature") and one != other:
        difference = abs(_kelvin(found) - _kelvin(expected))
        return True if not difference else None if difference < 1 else False  # a conversion is often rounded
    if one.dimension.startswith("currency") and other.dimension.startswith("currency"):
        same = _same_value(_scale(found, one.size), _scale(expected, other.size))
        if same and one.size != other.size and same_money(one, other) is False:
            return None  # other money has cents too
        return same if same is False or same_money(one, other) else same_money(one, other)
    if one.dimension and other.dimension:
        ratio = found.value * one.size / (expected.value * other.size or 1)
        if one.dimension == "data" and one.size != other.size and ratio != 1 and Fraction(4, 5) < ratio < Fraction(5, 4):
            return None  # a thousand, or 1024
        if one.dimension == other.dimension:
            return _same_value(_scale(found, one.size), _scale(expected, other.size))
        dimensions = {one.dimension, other.dimension}
        loose = "angle" in dimensions or dimensions in ({"time", "year"}, {"mass", "tons"})
        return None if loose or (dimensions == {"length", "time"} and found.value != expected.value) else False
    same = _same_value(found, expected)
    coins = other.dimension.startswith("currency") and (other.size < 1 or expected.value.denominator > 1)
    if coins and not one.dimension and _in_other_unit(expected, found.value):
        return None  # "0.50" for 50 cents, "50" for $0.50
    if same or not (one.dimension or other.dimension):
        return same
    if other.converts and not one.dimension:
        return None  # a bare number where a unit was expected may be in another one
    if (one.converts or one.dimension.startswith("currency")) and _in_other_unit(found, expected.value):
        return None
    return same


def _kelvin(quantity: Quantity) -> Fraction:
    celsius, fahrenheit = Fraction("273.15"), Fraction("459.67")
    unit = quantity.unit.dimension[-1]
    return {"C": quantity.value + celsius, "F": (quantity.value + fahrenheit) * 5 / 9, "K": quantity.value}[unit]


def _settle_pounds(unit: Unit, partner: Unit) -> Unit:
    """Read "pounds" as money or as weight, whichever the other quantity is."""
    sizes = {"currency £": Fraction(1), "mass": Fraction("453.59237")}
    return (
        Unit(partner.dimension, sizes[partner.dimension]) if unit.dimension == "pounds" and partner.dimension in sizes else unit
    )


def _in_other_unit(found: Quantity, value: Fraction) -> bool:
    """Whether a value is the found quantity in another unit of its kind (90 for 1.5 hours)."""
    sizes = {"time": (1, 60, 3600, 86400, 604800), "year": (1, 12)}.get(found.unit.dimension, ())
    if found.unit.dimension.startswith("currency"):
        return value in (found.value * 100, found.value / 100)
    ratios = [Fraction(a, b) for a in sizes for b in sizes] or [
        Fraction(10) ** power for power in (-9, -6, -3, -2, -1, 1, 2, 3, 6, 9)
    ]
    return any(found.value * ratio == value for ratio in ratios)


def _same_percent(found: Quantity, expected: Quantity) -> bool | None:
    if found.unit.dimension == expected.unit.dimension:
        return _same_value(_scale(found, found.unit.size), _scale(expected, expected.unit.size))
    if found.unit.dimension and expected.unit.dimension:
        return None if "percentage points" in (found.unit.dimension, expected.unit.dimension) else False
    percent, bare = (found, expected) if found.unit.dimension else (expected, found)
    whole = _same_value(bare, replace(percent, unit=NO_UNIT))
    if bare.other is not None and 0 < bare.other < 1:
        return None  # "1 in 5" for 20 %
    share = _scale(replace(percent, step=percent.step or Fraction(1)), Fraction(1, 100))
    part = _same_value(bare, share) if expected is percent else _same_value(share, bare)
    if whole and abs(bare.value) <= 1 and bare.value:
        return None  # "0.5" for 0.5 %: a share of one half, or the number without its sign
    if part and abs(bare.value) == 1 and expected is percent:
        return None  # "1" for 100 %
    if whole or part:
        return True
    return False if whole is False and part is False else None


def _scale(quantity: Quantity, factor: Fraction) -> Quantity:
    other = None if quantity.other is None else quantity.other * factor
    return Quantity(quantity.value * factor, NO_UNIT, quantity.step * factor, other)


def _same_value(found: Quantity, expected: Quantity) -> bool | None:
    if found.value == expected.value or (
        found.other == expected.value and 0 < expected.value < 1 < found.value and not found.unit.dimension
    ):
        return True  # "3 in 8" is 3/8; where 3 is expected it is that too
    if (found.other is not None and found.other == expected.value) or (
        expected.other is not None and expected.other == found.value
    ):
        return None
    difference = abs(found.value - expected.value)
    if (0 < expected.step < Fraction(1, 10) and expected.step > found.step) or (
        0 < expected.step < Fraction(1, 10) and not found.step
    ):
        rounded = round(found.value / expected.step) * expected.step
        if rounded == expected.value:
            return True
    step = max(found.step, expected.step)
    if found.step == expected.step or not step:
        return False
    return None if difference < step else False  # the coarser one may be the other, rounded or cut off


def _search(pattern: re.Pattern[str], text: str, position: int) -> re.Match[str] | None:
    """Search a number from a position on; where no digit is near, none can begin, and the pattern takes its time to say so."""
    digit = _DIGIT.search(text, position)
    return pattern.search(text, max(position, digit.start() - MAX_PREFIX)) if digit else None


def _read(pattern: re.Pattern[str], text: str, position: int) -> Occurrence | None:
    """Read the next quantity from a position on."""
    found = _search(pattern, text, position)
    while found and len(found.group()) > MAX_DIGITS:
        found = _search(pattern, text, found.end())
    if found is None:
        return None
    value, step, other = _value(found)
    negative = "-" in (found.group("sign") or "") + (found.group("sign2") or "")
    end = found.end()
    whole = not step and found.group("plain") is not None
    mixed = _MIXED.match(text, end) if whole else None
    over = _OVER.match(text, end) if whole and not mixed else None
    if mixed and int(mixed.group("below")):
        value, end, whole = value + Fraction(int(mixed.group("above")), int(mixed.group("below"))), mixed.end(), False
    elif over and int(over.group("below")):
        value, end, whole = value / int(over.group("below")), over.end(), False
    power = _TIMES_TEN.match(text, end)
    scale = None if power else _SCALE.match(text, end)
    if power:
        factor = Fraction(10) ** max(-400, min(400, int(power.group(1) or power.group(2))))
        value, step, other, end = value * factor, (step or Fraction(1)) * factor, None, power.end()
        step = step if step > 1 or factor < 1 else Fraction(0)
    elif scale:
        letter = scale.group("letter")
        word = (scale.group("word") or "").lower()
        exponent = _SCALES[word] if word else _LETTERS.get(str(letter), 0)
        if letter in ("m", "b") and (found.group("money") or _COINED.match(text, scale.end())):
            letter, exponent = "", {"m": 6, "b": 9}[letter]  # "£2.5m", "3b USD"
        if exponent:
            other = value if letter and value >= 1 else None  # "5K"; "0.5M" is never 0.5
            value, step, end = value * 10**exponent, (step or Fraction(1)) * 10**exponent, scale.end()
    money = (found.group("money") or "").lstrip("\\")
    unit, length = read_unit(text[end : end + 60])
    if length and text[end : end + length].strip().lower() == "in" and re.match(r"\s*\w", text[end + length :]):
        unit, length = NO_UNIT, 0
    if money:
        unit, length = read_unit(money)[0], length if unit.dimension.startswith("currency") else 0
    decade = bool(re.fullmatch(r"[12]\d\d0", found.group())) and text[end : end + 1] == "s" and length == 1
    unit, length = (NO_UNIT, 0) if decade else (unit, length)  # "1990s" are no seconds
    counted = None if scale or power else _counted_value(text, end, value)
    other = other if counted is None else counted
    if whole and _BEFORE_CHRIST.match(text, end):
        negative, other = not negative, -value
    spaced = None if unit.dimension or scale or power else re.match(r"\s([kMB])(?![\w/^])", text[end:])
    if spaced:
        other, end = value * 10 ** _LETTERS[spaced.group(1)], end + spaced.end()
    if unit.dimension == "temperature K" and text[end : end + length].strip() == "K":
        other = value * 1000
    partial = bool(_PARTIAL_AFTER.match(text, end + length)) or bool(
        _PARTIAL_BEFORE.search(text[max(0, found.start() - 8) : found.start()])
    )
    partial = partial or decade
    partial = partial or (
        bool(found.group("european"))
        and text[found.start() - 1 : found.start()] in ("(", "[", "{")
        and text[end : end + 1] in (")", "]", "}")
    )
    quantity = Quantity(-value if negative else value, unit, step, None if other is None else -other if negative else other)
    return Occurrence(quantity, found.start(), end + length, partial)


def _counted_value(text: str, end: int, value: Fraction) -> Fraction | None:
    """Return what a number may mean by the words behind it: 24 for "2 dozen", one fifth for "1 in 5"; None without such."""
    packed, share = _PACKED.match(text, end), _SHARE.match(text, end)
    if packed:
        return value * _PACKS[packed.group(1).lower()]
    return value / int(share.group(1)) if share else None


def _value(found: re.Match[str]) -> tuple[Fraction, Fraction, Fraction | None]:
    """Return the value of a number's digits, the worth of its last one, and the other value that they may mean."""
    digits = found.group("grouped") or found.group("european") or found.group("plain")
    other = None
    if found.group("european"):
        plain = digits.replace(".", "").replace(",", ".")
    elif found.group("grouped"):
        plain = re.sub(r"[\u00a0 '’]", "", digits)
        plain = plain.replace(",", ".") if plain != digits else plain.replace(",", "")
        if re.fullmatch(r"\d{1,3},\d{3}", digits):
            other = Fraction(digits.replace(",", "."))
    else:
        plain = digits
        if re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", digits):
            other = Fraction(digits.replace(".", ""))
    decimals = len(plain.partition(".")[2])
    value, step = Fraction(plain if plain[0] != "." else "0" + plain), Fraction(1, 10**decimals) if decimals else Fraction(0)
    exponent = found.group("exponent")
    if exponent:
        factor = Fraction(10) ** max(-400, min(400, int(exponent[1:])))
        value, step = value * factor, (step or Fraction(1)) * factor
        step = step if step > 1 or factor < 1 else Fraction(0)
    return value, step, other


def _reckon_text(text: str) -> Quantity | None:
    """Return the value of a text that is arithmetic: ``2^{10}``, ``3!``, ``12/2``; a difference may be a range, and is none."""
    if re.fullmatch(r"\s*[\d.,]+\s*-\s*[\d.,]+\s*", text) or re.search(
        r"[A-Za-z]{3,}|π|\bpi\b|\d\s*\(", text.replace("sqrt", "")
    ):
        return None
    value = evaluate(text)
    shouted = re.fullmatch(r"(\d{1,9})!", text.strip())
    return Quantity(value, other=Fraction(shouted.group(1)) if shouted else None) if isinstance(value, Fraction) else None
