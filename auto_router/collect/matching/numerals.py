r"""Numbers in one way of writing: digits of other scripts, superscripts, LaTeX and number words become ``12``, ``2^{3}``.

Number words are read by text2num; what it does not know (a dozen, halves, "point", Chinese numerals) is read here.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from types import ModuleType

from auto_router.errors import ConfigError, advise_install

NUMERAL_LANGUAGES = ("en", "fr", "de", "es", "pt", "it", "nl")
MAX_WORDS = 120  # characters of a number in words
MAX_PIECE = 150  # characters of a text whose number words are read at once

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_VULGAR = {ord(sign): " " + unicodedata.normalize("NFKC", sign).replace("⁄", "/") for sign in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞↉"}
_CHINESE = re.compile("负?[零〇一二两兩三四五六七八九十百千万萬億亿]{1,20}")
_SIGN_WORDS = re.compile(r"^(?:minus|negative|moins|menos|meno|min|负|マイナス|минус)[\s-]*(?=\S)", re.IGNORECASE)
_SPELLED = re.compile(
    r"\b(?=[^\W\d_])(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million|billion)",
    re.IGNORECASE,
)
_ONE_IN = re.compile(rf"\bone (?=(?:in|out of|of) (?:\d|{_SPELLED.pattern}))", re.IGNORECASE)
_SCALED = re.compile(r"(\d[ \u00a0-]?(?:hundred|thousand|million|billion|trillion)s?\b)", re.IGNORECASE)  # "331 million" stays
# Years in words: "nineteen eighty-four", "twenty oh five", "eighteen hundred".
_UNITS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
_TEENS = {
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19,
}  # fmt: skip
TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_YEAR = re.compile(
    rf"\b(?P<century>sixteen|seventeen|eighteen|nineteen|twenty)[ -](?:oh?[ -](?P<early>{'|'.join(_UNITS)})"
    rf"|(?P<teen>{'|'.join(_TEENS)})"
    rf"|(?P<ten>{'|'.join(TENS)})(?:[ -](?P<unit>{'|'.join(_UNITS)}))?)\b"
    r"(?![ -][a-z]*(?:-|hundred|thousand|million))(?!-[a-z])",
    re.IGNORECASE,
)
_ANY_YEAR = re.compile(_YEAR.pattern.replace("sixteen|", f"{'|'.join(list(_TEENS)[:6])}|sixteen|", 1), re.IGNORECASE)
# Amounts of time that have a word of their own: "half an hour", "a week", "an hour and a half".
_PERIOD = r"second|minute|hour|day|week|month|year|decade|century"
_PERIODS = (
    (re.compile(rf"(?:an?|one|1) ({_PERIOD}) and a half"), r"1.5 \1"),
    (re.compile(rf"(?:a )?half (?:an? )?({_PERIOD}|dozen)"), r"0.5 \1"),
    (re.compile(rf"(?:a )?quarter of an? ({_PERIOD})|a quarter ({_PERIOD})"), r"0.25 \1\2"),
    (re.compile(rf"three[ -]quarters of an? ({_PERIOD})"), r"0.75 \1"),
    (re.compile(rf"an? ({_PERIOD})"), r"1 \1"),
    (re.compile(r"a fortnight"), "14 days"),
)
_CHOOSE = re.compile(r"\\[dt]?binom\s*\{\s*(\d{1,3})\s*\}\s*\{\s*(\d{1,3})\s*\}")
_TWO_UNITS = tuple(
    (re.compile(rf"(?<![\d.,])(\d{{1,6}}) {one}s?,?(?: and)? (\d{{1,3}}) {other}s?\b", re.IGNORECASE), size, f"{name}s")
    for one, other, size, name in (
        ("(?:hour|hr)", "min(?:ute)?", 60, "minute"),
        ("min(?:ute)?", "sec(?:ond)?", 60, "second"),
        ("(?:feet|foot|ft)", "inche?", 12, "inche"),
        ("dollar", "cent", 100, "cent"),
        ("year", "month", 12, "month"),
        ("week", "day", 7, "day"),
    )
)
_REPEATING = re.compile(r"(?<![\d.,])(\d{1,9})\.(\d{0,20}?)(?:\\(?:overline|bar|dot)\s*\{(\d{1,20})\}|(\d)\4{2,20}(?:\.{3}|…))")
# Dollar signs around LaTeX, which are none of money.
_WITH_COMMAND = re.compile(r"(?<![\\\w])\$([^$\n]{0,99}?(?<!\\)\\(?:[a-z]{2,12}|[,;! ])[^$\n]{0,99}?)\$(?!\d)")
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9,
    "tenth": 10, "twentieth": 20, "hundredth": 100, "thousandth": 1000,
}  # fmt: skip
_PART = rf"(?P<part>{'|'.join(_PARTS)})s?"
_FRACTION = re.compile(rf"^(?:(?P<above>[a-z][a-z-]*(?: [a-z]+)?)[ -])?{_PART}$")
_AND_PART = re.compile(rf"^(?P<whole>.+?) and (?P<above>a|an|one|two|three|[\d]+)[ -]{_PART}(?P<rest>\b.*)$")


def plain_numbers(text: str) -> str:
    r"""Write digits, signs, powers, fractions and LaTeX numbers plainly; what is not known stays as it is."""
    if "\\" in text:
        text = _without_latex(text)
    if not text.isascii():
        text = re.sub("[−–‑‒﹣－]", "-", text)
        text = re.sub(r"(?<=[\w)\]}])([⁻⁺]?[⁰¹²³⁴-⁹ⁿ]+)", lambda found: f"^{{{found.group().translate(_SUPERSCRIPTS)}}}", text)
        text = text.translate(_VULGAR)
        text = re.sub("[\u00a0\u202f\u2009\u2007]", "\u00a0", text).replace("⁄", "/").replace("٫", ".").replace("٬", ",")
        text = text.translate({ord(one): str(unicodedata.decimal(one)) for one in set(re.findall(r"(?![0-9])\d", text))})
    if "\\" in text or "..." in text or "…" in text:
        text = _REPEATING.sub(_write_repeating, text)
    if "_" in text:
        text = re.sub(r"(?<!\w)\d{1,3}(?:_\d{3}){1,9}(?!\w)", lambda found: found.group().replace("_", ""), text)
    text = re.sub(r"\$([^$\n]{1,200}?)\$(?!\d)", _unwrap, text)
    return text.replace("{,}", ",").replace("**", "^")


def _unwrap(found: re.Match[str]) -> str:
    """Take dollar signs off mathematics, and leave those of money: "$5 for 3, or $6"."""
    inner = found.group(1)
    money = re.match(r"\s*[\d.,]+\s+[a-z]{2,}", inner) or inner[-1:].isspace()
    return found.group() if money else inner


def _write_repeating(found: re.Match[str]) -> str:
    """Write a repeating decimal as a fraction: 0.1666… is 15/90."""
    whole, start, cycle = found.group(1), found.group(2), found.group(3) or found.group(4)
    below = int("9" * len(cycle) + "0" * len(start))
    return f"{int(whole + start + cycle) - int(whole + start)}/{below}"


def _write_year(found: re.Match[str]) -> str:
    century = {**_TEENS, **TENS}[found.group("century").lower()]
    early, teen, ten, unit = ((found.group(name) or "").lower() for name in ("early", "teen", "ten", "unit"))
    return str(century * 100 + _UNITS.get(early, 0) + _TEENS.get(teen, 0) + TENS.get(ten, 0) + _UNITS.get(unit, 0))


def _without_latex(text: str) -> str:
    text = _WITH_COMMAND.sub(r"\1", text)
    text = re.sub(r"\\(?:left|right|displaystyle|mathrm(?!\s*\{)|bigl|bigr|big|!|,|;|:|quad|qquad)(?![A-Za-z])", "", text)
    text = re.sub(r"\\[()\[\]]", " ", text).replace("\\ ", " ").replace("~", " ")
    text = re.sub(r"\\(?:text|textbf|textit|mathbf|mathrm|mbox|operatorname|textrm)\s*\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"(\d)\s*\\[dtc]?frac(?![A-Za-z])", r"\1 \\frac", text)
    text = re.sub(r"\\([dtc]?frac)\s*\{\s*(\d+)\s*\}\s*\{\s*-\s*(\d+)\s*\}", r"-\\\1{\2}{\3}", text)
    text = re.sub(r"\\[dtc]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}", r"\1/\2", text)
    text = re.sub(r"\\[dtc]?frac\s*(\d)\s*(\d)(?!\d)", r"\1/\2", text)
    text = re.sub(r"\^?\s{0,9}\{?\\(?:circ|degree)\b\}?", "°", text)
    text = _CHOOSE.sub(lambda found: f"({math.comb(int(found.group(1)), int(found.group(2)))})", text)
    text = text.replace("\\times", "×").replace("\\cdot", "·").replace("\\approx", "≈").replace("\\infty", "∞")
    return text.replace("\\$", "$").replace("\\%", "%").replace("\\pm", "±").replace("\\{", "{").replace("\\}", "}")


def digits_in_prose(text: str) -> str:
    """Write English number words of a sentence in digits; a lone "one" may be no number and stays."""
    if not _SPELLED.search(text):
        return text
    text = _YEAR.sub(_write_year, text)
    text = re.sub(r"\b(?:a|an) (?=(?:hundred|thousand|million|billion|dozen)\b)", "one ", text, flags=re.IGNORECASE)
    text = _ONE_IN.sub("1 ", text)
    alpha2digit = _load_text2num().alpha2digit
    pieces = (text[begin : begin + MAX_PIECE] for begin in range(0, len(text), MAX_PIECE))  # its time grows faster than a text
    parts = (part for piece in pieces for part in _SCALED.split(piece))
    return "".join(
        str(alpha2digit(part, "en", threshold=2.0)) if _SPELLED.search(part) and not _SCALED.fullmatch(part) else part
        for part in parts
    )


def join_amounts(text: str) -> str:
    """Write amounts in two units in the smaller one: "2 hours and 30 minutes" is "150 minutes"."""
    for form, size, unit in _TWO_UNITS:
        for found in reversed(list(form.finditer(text))):
            amount = int(found.group(1)) * size + int(found.group(2))
            text = f"{text[: found.start()]}{amount} {unit}{text[found.end() :]}"
    return text


def words_to_digits(text: str) -> str | None:
    """Return a text that is a number in words, in digits ("minus two and a half" gives "-2.5"); None for any other text.

    An English number may be followed by what is counted ("twelve apples"), which is kept.
    """
    text = text.strip().lower()
    if not text or len(text) > MAX_WORDS:
        return None
    for form, amount in _PERIODS:
        period = form.fullmatch(text)
        if period:
            return "6" if "dozen" in text else period.expand(amount)
    if re.fullmatch(r"seconde?s?", text):  # in French a place, in English a time
        return None
    found = _SIGN_WORDS.match(text)
    rest = text[found.end() :] if found else text
    number = _drop_sign(rest)
    if number is None and found and rest[0].isdigit():
        number = rest
    return None if number is None else ("-" + number if found else number)


def _drop_sign(text: str) -> str | None:
    text = re.sub(r"^an? (?=hundred|thousand|million|billion|trillion|dozen)", "one ", text)
    if _CHINESE.fullmatch(text):
        return _chinese(text)
    if not re.search(r"[^\W\d_]", text):
        return None
    halved = _AND_PART.match(text)
    if halved:
        whole = halved.group("whole") if halved.group("whole").isdigit() else _integer(halved.group("whole"), ("en",))
        above = (
            {"a": 1, "an": 1}.get(halved.group("above")) or _integer(halved.group("above"), ("en",)) or halved.group("above")
        )
        if whole is not None:
            below = _PARTS[halved.group("part")]
            return f"{int(whole) * below + int(above)}/{below}{halved.group('rest')}"
    fraction = _FRACTION.match(text)
    if fraction:
        above = fraction.group("above")
        if above is None and fraction.group("part") not in ("half", "halves", "quarter"):
            return None  # "third" alone counts places
        over = 1 if above in (None, "a", "an") else _integer(str(above), ("en",))
        return None if over is None else f"{over}/{_PARTS[fraction.group('part')]}"
    whole, point, decimals = text.partition(" point ")
    if point:
        before = _integer(whole, ("en",)) if whole else 0
        after = [_integer(word, ("en",)) for word in decimals.split()]
        if before is not None and after and all(digit is not None and digit < 10 for digit in after):
            return f"{before}.{''.join(map(str, after))}"
        return None
    value = _integer(text, NUMERAL_LANGUAGES)
    if value is not None:
        return str(value)
    words = text.split()
    for length in range(min(8, len(words) - 1), 0, -1):
        value = _integer(" ".join(words[:length]), ("en",))
        if value is not None:
            rest = words[length:]
            whole = _integer(" ".join(rest[1:]), ("en",)) if rest[0] == "in" else None  # "one in four"
            return f"{value} {' '.join(rest) if whole is None else f'in {whole}'}"
    return None


def _load_text2num() -> ModuleType:
    """Import text2num when a number in words is met, not with this module; ConfigError where it is missing."""
    try:
        import text_to_num
    except ImportError as error:
        raise ConfigError(f"reading numbers in words needs text2num ({error}): {advise_install('collect')}") from error
    module: ModuleType = text_to_num
    return module


@functools.lru_cache(maxsize=4096)
def _integer(text: str, languages: tuple[str, ...]) -> int | None:
    text = text.strip()
    year = _ANY_YEAR.fullmatch(text)
    if year:
        return int(_write_year(year))
    dozens = re.fullmatch(r"(?:(.+) )?dozen", text)
    if dozens:
        count = 1 if dozens.group(1) is None else _integer(dozens.group(1), ("en",))
        return None if count is None else 12 * count
    text2num = _load_text2num().text2num
    for language in languages:
        try:
            return int(text2num(text, language))
        except ValueError:
            continue
    return None


def _chinese(text: str) -> str | None:
    """Return a Chinese or Japanese numeral in digits: 一万二千 is 12000, 二〇二四 is 2024."""
    sign, text = ("-", text[1:]) if text.startswith("负") else ("", text)
    values = [2 if char in "两兩" else int(unicodedata.numeric(char, -1)) for char in text]
    if len(values) > 1 and all(value < 10 for value in values):
        return sign + "".join(map(str, values))
    total = section = digit = 0
    for value in values:
        if value < 10:
            digit = value
        elif value < 10_000:
            section += (digit or 1) * value
            digit = 0
        else:
            total += (section + digit or 1) * value
            section = digit = 0
    return sign + str(total + section + digit)
