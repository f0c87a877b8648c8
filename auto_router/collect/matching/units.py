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
    "length2": {"10000": "ha hectare", "4046.8564224": "acre"},
    "length3": {
        "1/1000000": "ml mL milliliter millilitre cc", "1/1000": "l L liter litre litro", "0.003785411784": "gallon gal",
    },
    "year": {"1/12": "month", "1": "yr year jahr año", "10": "decade", "100": "century centuries"},
    "data": {
        "1": "byte bytes", "1/8": "bit", "125000": "Mb megabit", "125000000": "Gb gigabit",
        "1000": "kB KB kilobyte", "1000000": "MB megabyte", "1000000000": "GB gigabyte",
        "1000000000000": "TB terabyte",
    },
    "currency $": {"1/100": "cent ¢", "1": "$ US$ usd dollar us-dollar dólar"},
    "currency €": {"1": "€ eur euro"}, "currency £": {"1": "£ gbp", "1/100": "pence"},
    "currency ¥": {"1": "¥"}, "currency ¥ JPY": {"1": "yen jpy 円"},
    "currency ¥ CNY": {"1": "yuan cny rmb renminbi 元 人民币 人民幣"},
    "currency ₹": {"1": "₹ rupee inr Rs"},
    "tons": {"1": "ton"},  # of 907, 1000 or 1016 kg
    "radians": {"1": "rad radian"},
    "percent": {"1": "% percent pct prozent", "1/10": "‰"},
    "percentage points": {"1": "percentage-point percentage-points", "1/100": "basis-point basis-points"},
    "angle": {"1": "° deg degree grad grados"},
    "temperature C": {"1": "°C ℃ celsius"}, "temperature F": {"1": "°F ℉ fahrenheit"}, "temperature K": {"1": "K kelvin"},
    "force": {"1": "N newton", "1000": "kN"}, "energy": {
        "1/1000": "mJ millijoule", "1": "J joule", "1000": "kJ kilojoule", "1000000": "MJ megajoule",
        "3600": "Wh", "3600000": "kWh", "4184": "kcal",
    },
    "power": {
        "1/1000": "mW milliwatt", "1": "W watt", "1000": "kW kilowatt", "1000000": "MW megawatt", "1000000000": "GW gigawatt",
    },
    "voltage": {"1/1000": "mV millivolt", "1": "V volt", "1000": "kV kilovolt", "1000000": "MV megavolt"},
    "current": {"1/1000": "mA milliamp milliampere", "1": "A amp ampere", "1000": "kA"},
    "resistance": {"1/1000": "mΩ", "1": "Ω ohm", "1000": "kΩ kiloohm", "1000000": "MΩ megaohm"},
    "frequency": {"1/1000": "mHz millihertz", "1": "Hz hertz", "1000": "kHz", "1000000": "MHz", "1000000000": "GHz"},
    "pressure": {
        "1/1000": "mPa millipascal", "1": "Pa pascal", "1000": "kPa kilopascal", "1000000": "MPa megapascal", "101325": "atm",
    },
    "amount": {"1": "mol mole"},
    "pounds": {"1": "pound"},  # of money or of weight
}  # fmt: skip
# Other money: its sign, where others share it, and code -> names. Coins are not converted.
_MONEY = {
    "$ CAD": "C$ CA$ CAN$ Can$", "$ AUD": "A$ AU$", "$ NZD": "NZ$", "$ HKD": "HK$", "$ SGD": "S$ SG$", "$ TWD": "NT$ TW$",
    "$ JMD": "J$", "$ BRL": "R$ real reais", "$ MXN": "MX$", "$ ARS": "AR$", "$ CLP": "CL$", "$ COP": "CO$", "$ UYU": "UY$",
    "$ DOP": "RD$", "$ PHP": "₱", "$ peso": "", "$ BSD": "", "$ BBD": "", "$ BZD": "", "$ FJD": "", "$ TTD": "TT$",
    "$ XCD": "EC$",
    "£ EGP": "E£", "£ LBP": "", "£ SYP": "", "£ SDG": "", "₹ PKR": "", "₹ LKR": "", "₹ NPR": "", "₹ MUR": "",
    "kr": "krona kronor krone kroner krónur crown", "kr SEK": "", "kr NOK": "", "kr DKK": "", "kr ISK": "",
    "kr CZK": "Kč koruna koruny korun",
    "franc": "franken franco", "franc CHF": "Fr SFr sfr", "franc XOF": "CFA", "franc XAF": "FCFA", "franc RWF": "",
    "franc CDF": "",
    "dinar": "", "dinar RSD": "", "dinar TND": "", "dinar DZD": "", "dinar KWD": "", "dinar BHD": "", "dinar JOD": "",
    "dinar IQD": "",
    "rial": "riyal", "rial SAR": "", "rial QAR": "", "rial OMR": "", "rial IRR": "", "dirham": "", "dirham AED": "",
    "dirham MAD": "",
    "shilling": "", "shilling KES": "KSh Ksh", "shilling TZS": "", "shilling UGX": "", "lira": "lire", "lira TRY": "₺ TL",
    "lira ITL": "",
    "KRW": "₩ won 원", "RUB": "₽ ruble rouble rubel rublo рубль рублей руб", "VND": "₫ dong", "THB": "฿ baht",
    "IDR": "rupiah Rp",
    "ILS": "₪ shekel sheqel NIS", "NGN": "₦ naira", "UAH": "₴ hryvnia", "PLN": "zł zloty złoty złotych zlotych",
    "HUF": "forint",
    "RON": "leu lei", "BGN": "leva", "ZAR": "rand", "MYR": "ringgit RM", "BDT": "৳ taka", "GHS": "₵ cedi", "KZT": "₸ tenge",
    "GEL": "₾ lari",
    "PEN": "soles", "CRC": "₡ colón colones", "PYG": "₲ guaraní guaraníes", "MNT": "₮ tugrik", "BTC": "₿ bitcoin",
    "ETH": "ether ethereum",
    "DEM": "DM deutschmark", "ESP": "₧ peseta", "NLG": "guilder gulden", "GTQ": "quetzal", "HNL": "lempira", "ETB": "birr",
    "MMK": "kyat",
    "KHR": "riel", "BOB": "boliviano", "UZS": "", "AZN": "manat", "BYN": "",
}  # fmt: skip
_TABLE |= {f"currency {sign}": {"1": f"{sign.split()[-1]} {names}"} for sign, names in _MONEY.items()}
_SHARED = ("¥", "kr", "franc", "dinar", "rial", "dirham", "shilling", "lira")  # signs that no one currency has for its own
# What stands before an amount: a sign, a code.
MONEY = (
    r"(?:(?<![A-Za-z])[A-Z][A-Za-z]{0,2}\$|[$€£¥₹₩₽₺₫฿₪₦₴৳₵₸₾₡₲₮₿₱₧]|\\\$|(?<![A-Za-z])(?:USD|EUR|GBP|JPY|CNY|RMB|INR|"
    + "|".join(sorted({sign.split()[-1] for sign in _MONEY if sign.isupper() or sign[-3:].isupper()}))
    + r"|(?:Rs|Fr|SFr|kr|Rp|RM|Kč|DM|TL|CFA|FCFA|KSh|Ksh)\.?(?=\s?\d)|zł))"
)
_NAMES = {
    name: (dimension, Fraction(size))
    for dimension, sizes in _TABLE.items()
    for size, names in sizes.items()
    for name in names.split()
}
_NAMES |= {"mph": ("length/time", Fraction("0.44704")), "kmh": ("length/time", Fraction(1000, 3600))}
_NAMES |= {"knot": ("length/time", Fraction(1852, 3600))}
_NAMES |= {"km/hr": ("length/time", Fraction(1000, 3600)), "kph": ("length/time", Fraction(1000, 3600))}
_NATIONS = {
    "CAD": "canadian dollar", "AUD": "australian dollar", "NZD": "new zealand dollar", "HKD": "hong kong dollar",
    "SGD": "singapore dollar, singaporean dollar", "TWD": "taiwan dollar, new taiwan dollar, taiwanese dollar",
    "JMD": "jamaican dollar", "BSD": "bahamian dollar", "FJD": "fiji dollar, fijian dollar", "BBD": "barbadian dollar",
    "TTD": "trinidad dollar", "BZD": "belize dollar", "CHF": "swiss franc, schweizer franken", "XOF": "cfa franc",
    "MXN": "mexican peso", "ARS": "argentine peso, argentinian peso", "CLP": "chilean peso", "COP": "colombian peso",
    "PHP": "philippine peso, filipino peso", "UYU": "uruguayan peso", "DOP": "dominican peso", "EGP": "egyptian pound",
    "LBP": "lebanese pound", "SYP": "syrian pound", "SDG": "sudanese pound",
    "GBP": "british pound, pounds sterling, pound sterling",
    "INR": "indian rupee", "PKR": "pakistani rupee", "LKR": "sri lankan rupee", "NPR": "nepalese rupee, nepali rupee",
    "SEK": "swedish krona, swedish kronor, swedish crown", "NOK": "norwegian krone, norwegian kroner, norwegian crown",
    "DKK": "danish krone, danish kroner, danish crown", "CZK": "czech koruna, czech crown",
    "BRL": "brazilian real, brazilian reais",
    "CNY": "chinese yuan", "JPY": "japanese yen", "KRW": "korean won, south korean won", "RUB": "russian ruble, russian rouble",
    "TRY": "turkish lira", "ITL": "italian lira, italian lire", "KES": "kenyan shilling", "TZS": "tanzanian shilling",
    "UGX": "ugandan shilling", "SAR": "saudi riyal", "QAR": "qatari riyal", "AED": "uae dirham", "MAD": "moroccan dirham",
    "RSD": "serbian dinar", "KWD": "kuwaiti dinar", "TND": "tunisian dinar", "JOD": "jordanian dinar",
}  # fmt: skip
_NATIONAL = {phrase: code for code, phrases in _NATIONS.items() for phrase in phrases.split(", ")}
_NATION = re.compile(r"(?=[A-Za-z])((?:new |hong |sri |south )?[A-Za-z]+)[ \u00a0-]+([A-Za-z]+)", re.IGNORECASE)
_PHRASES = (
    (re.compile(r"degrees?\s+(?=celsius|fahrenheit)|deg\s+(?=[CF]\b)", re.IGNORECASE), "°"),
    (re.compile(r"°\s*(?=[CF]\b)"), "°"),
    (re.compile(r"°\s*celsius", re.IGNORECASE), "°C"),
    (re.compile(r"°\s*fahrenheit", re.IGNORECASE), "°F"),
    (
        re.compile(r"per\s*cent\b|(?:por|pour|per)\s+cien(?:to)?\b|pour cent\b|por cento\b|per cento\b", re.IGNORECASE),
        "percent",
    ),
    (re.compile(r"per ?mill?e?\b|promille\b", re.IGNORECASE), "‰"),
    (re.compile(r"(?:meters?|metres?) per second squared", re.IGNORECASE), "m/s^2"),
    (re.compile(r"percentage points?", re.IGNORECASE), "percentage-point"),
    (re.compile(r"basis points?", re.IGNORECASE), "basis-point"),
    (re.compile(r"(?:u\.?s\.?|american)\s+dollars?", re.IGNORECASE), "dollar"),
)
_WORD = re.compile(r"[A-Za-zÀ-ÿČčłŁа-яА-ЯµμΩ°%‰$€£¥₹₩₽₺₫฿₪₦₴৳₵₸₾₡₲₮₿₱₧¢℃℉円元人民币幣원]+(?:-points?)?\$?")
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


def same_money(one: Unit, other: Unit) -> bool | None:
    """Are two currencies the same? None where one is named and the other is a sign that it shares: "$20" may be Canadian."""
    a, b = one.dimension.split()[1:], other.dimension.split()[1:]
    if a == b or (a[0] == b[0] in _SHARED and 1 in (len(a), len(b))):
        return True
    return None if a[0] == b[0] and (1 in (len(a), len(b)) or "peso" in (a[1], b[1])) else False


def read_unit(text: str) -> tuple[Unit, int]:
    """Return the unit that a text begins with (:data:`NO_UNIT` for none) and how many characters it takes."""
    window = text[:60]
    if _WORD.match(window.lstrip(" \u00a0-")) is None:
        return NO_UNIT, 0
    for pattern, plain in _PHRASES:
        window = pattern.sub(plain, window, count=1)
    shortened = len(text[:60]) - len(window)
    begin = len(window) - len(window.lstrip(" \u00a0-"))
    raised = re.match(r"(square|sq\.?|cubic|cu\.?)\s+", window[begin:], re.IGNORECASE)
    position = begin + (raised.end() if raised else 0)
    nation = _NATION.match(window, begin)
    if nation:
        phrase = f"{nation.group(1)} {nation.group(2)}".lower()
        code = _NATIONAL.get(phrase) or _NATIONAL.get(phrase.removesuffix("s"))
        if code:
            return Unit(*_NAMES.get(code) or _NAMES[code.lower()]), nation.end() + shortened
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
    if len(word) <= 2 and re.match(r"-[A-Za-z]", text[found.end() : found.end() + 2]):
        return None, position  # "5 t-shirts" are no tonnes
    lower = word.lower()
    names = (
        [word] if len(word) <= 2 else [word, lower, lower.removesuffix("s"), lower.removesuffix("n"), lower.removesuffix("en")]
    )
    for name in names:
        if name in _NAMES:
            return Unit(*_NAMES[name]), found.end()
    if word[0] in "°%‰$€£¥₹₩₽₺₫฿₪₦₴৳₵₸₾₡₲₮₿₱₧¢Ω":  # a sign needs no space after it
        return Unit(*_NAMES[word[0]]), found.start() + 1
    return None, position
