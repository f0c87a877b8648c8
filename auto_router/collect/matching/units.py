"""Units of measurement and money: what they are called, what they measure, and how they convert."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

# dimension -> size in the dimension's own base unit: names. One and two letters are read in the case they have here.
_TABLE: dict[str, dict[str, str]] = {
    "length": {
        "1/1000000000": "nm nanometer nanometre", "1/1000000": "µm μm micrometer micrometre micron",
        "1/1000": "mm millimeter millimetre",
        "1/100": "cm centimeter centimetre", "1": "m meter metre metro mètre",
        "1000": "km kilometer kilometre kilómetro kilomètre",
        "0.0254": "in inch inches", "0.3048": "ft foot feet", "0.9144": "yd yard", "1609.344": "mi mile",
    },
    "mass": {
        "1/1000": "mg milligram", "1": "g gram gramm gramme gramo", "1000": "kg kilo kilogram kilogramm kilogramme kilogramo",
        "1000000": "t tonne", "453.59237": "lb lbs", "28.349523125": "oz ounce",
    },
    "time": {
        "1/1000000": "µs μs microsecond", "1/1000": "ms millisecond", "1": "s sec second sekunde segundo seconde",
        "60": "min minute minuto", "3600": "h hr hour stunde hora heure", "86400": "day tag día jour",
        "604800": "wk week woche semana semaine",
    },
    "length3": {
        "1/1000000": "ml mL milliliter millilitre cc", "1/1000": "l L liter litre litro", "0.003785411784": "gallon gal",
    },
    "year": {"1/12": "month", "1": "yr year jahr año", "10": "decade", "100": "century centuries"},
    "data": {
        "1": "byte bytes", "1000": "kB KB kilobyte", "1000000": "MB megabyte", "1000000000": "GB gigabyte",
        "1000000000000": "TB terabyte",
    },
    "currency $": {"1/100": "cent ¢", "1": "$ US$ usd dollar us-dollar dólar"},
    "currency €": {"1": "€ eur euro"}, "currency £": {"1": "£ gbp", "1/100": "pence"},
    "currency ¥": {"1": "¥ yen jpy yuan cny rmb 円 元"},
    "currency ₹": {"1": "₹ rupee inr"},
    "percent": {"1": "% percent pct prozent", "1/10": "‰"},
    "percentage points": {"1": "percentage-point percentage-points", "1/100": "basis-point basis-points"},
    "angle": {"1": "° deg degree grad grados"},
    "temperature C": {"1": "°C ℃ celsius"}, "temperature F": {"1": "°F ℉ fahrenheit"}, "temperature K": {"1": "K kelvin"},
    "force": {"1": "N newton", "1000": "kN"}, "energy": {"1": "J joule", "1000": "kJ kilojoule", "4184": "kcal"},
    "power": {"1": "W watt", "1000": "kW kilowatt"}, "voltage": {"1": "V volt"}, "current": {"1": "A amp ampere"},
    "resistance": {"1": "Ω ohm"}, "frequency": {"1": "Hz hertz", "1000": "kHz", "1000000": "MHz", "1000000000": "GHz"},
    "pressure": {"1": "Pa pascal", "1000": "kPa", "101325": "atm"}, "amount": {"1": "mol mole"},
    "pounds": {"1": "pound"},  # of money or of weight
}  # fmt: skip
_NAMES = {
    name: (dimension, Fraction(size))
    for dimension, sizes in _TABLE.items()
    for size, names in sizes.items()
    for name in names.split()
}
_NAMES |= {"mph": ("length/time", Fraction("0.44704")), "kmh": ("length/time", Fraction(1000, 3600))}
_NAMES |= {"km/hr": ("length/time", Fraction(1000, 3600)), "kph": ("length/time", Fraction(1000, 3600))}
_PHRASES = (
    (re.compile(r"degrees?\s+(?=celsius|fahrenheit)|deg\s+(?=[CF]\b)", re.IGNORECASE), "°"),
    (re.compile(r"°\s*(?=[CF]\b)"), "°"),
    (re.compile(r"°\s*celsius", re.IGNORECASE), "°C"),
    (re.compile(r"°\s*fahrenheit", re.IGNORECASE), "°F"),
    (
        re.compile(r"per\s*cent\b|(?:por|pour|per)\s+cien(?:to)?\b|pour cent\b|por cento\b|per cento\b", re.IGNORECASE),
        "percent",
    ),
    (re.compile(r"percentage points?", re.IGNORECASE), "percentage-point"),
    (re.compile(r"basis points?", re.IGNORECASE), "basis-point"),
    (re.compile(r"(?:u\.?s\.?|american)\s+dollars?", re.IGNORECASE), "dollar"),
)
_WORD = re.compile(r"[A-Za-zÀ-ÿµμΩ°%‰$€£¥₹¢℃℉円元]+(?:-points?)?\$?")
_POWER = re.compile(r"\s?(?:\^\s*\{?\s*(-?[23])\s*\}?|(-?[23])(?![\d.,]|\s?(?:in|inch|inches|cm|mm)\b))")


@dataclass(frozen=True, slots=True)
class Unit:
    """What a unit measures ("" for none) and its size in that dimension's base unit."""

    dimension: str = ""
    size: Fraction = Fraction(1)

    @property
    def converts(self) -> bool:
        """Whether other units of the same dimension are in use."""
        return bool(self.dimension) and not self.dimension.startswith(("currency", "percent", "angle", "temperature", "pounds"))


NO_UNIT = Unit()


def read_unit(text: str) -> tuple[Unit, int]:
    """Return the unit that a text begins with (:data:`NO_UNIT` for none) and how many characters it takes."""
    window = text[:60]
    for pattern, plain in _PHRASES:
        window = pattern.sub(plain, window, count=1)
    shortened = len(text[:60]) - len(window)
    begin = len(window) - len(window.lstrip(" \u00a0-"))
    raised = re.match(r"(square|sq\.?|cubic|cu\.?)\s+", window[begin:], re.IGNORECASE)
    position = begin + (raised.end() if raised else 0)
    unit, position = _one(window, position)
    if unit is None:
        return NO_UNIT, 0
    power = (2 if raised.group(1).lower().startswith("s") else 3) if raised else 1
    if unit.dimension == "length" and not raised:
        found = _POWER.match(window, position)
        if found:
            power, position = int(found.group(1) or found.group(2)), found.end()
    if power > 1:
        unit = Unit(f"{unit.dimension}{power}", unit.size**power)
    below = re.compile(r"\s*(?:/|\bper\b|\bpro\b|\bpor\b|\bpar\b)\s*").match(window, position)
    if below and unit.dimension.startswith(("length", "mass", "data", "energy")):
        other, end = _one(window, below.end())
        if other is not None:
            squared = _POWER.match(window, end)
            exponent = int(squared.group(1) or squared.group(2)) if squared else 1
            position = squared.end() if squared else end
            if exponent > 0:
                unit = Unit(
                    f"{unit.dimension}/{other.dimension}{exponent if exponent > 1 else ''}", unit.size / other.size**exponent
                )
    return unit, position + shortened


def _one(text: str, position: int) -> tuple[Unit | None, int]:
    found = _WORD.match(text, position)
    if found is None:
        return None, position
    word = found.group()
    lower = word.lower()
    names = (
        [word] if len(word) <= 2 else [word, lower, lower.removesuffix("s"), lower.removesuffix("n"), lower.removesuffix("en")]
    )
    for name in names:
        if name in _NAMES:
            return Unit(*_NAMES[name]), found.end()
    if word[0] in "°%‰$€£¥₹¢Ω":  # a sign needs no space after it
        return Unit(*_NAMES[word[0]]), found.start() + 1
    return None, position
