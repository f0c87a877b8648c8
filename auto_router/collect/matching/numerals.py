r"""Numbers in one way of writing: digits of other scripts, superscripts, LaTeX and number words become ``12``, ``2^{3}``.

Number words are read by text2num; what it does not know (a dozen, halves, "point", Chinese numerals) is read here.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from types import ModuleType

from auto_router.errors import ConfigError

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
_SCALED = re.compile(r"(\d[ \u00a0-]?(?:hundred|thousand|million|billion|trillion)s?\b)", re.IGNORECASE)  # "331 million" stays
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
        text = re.sub(r"(?![0-9])\d", lambda found: str(unicodedata.decimal(found.group())), text)
    text = re.sub(r"\$([^$\n]{1,200}?)\$(?!\d)", _unwrap, text)
    return text.replace("{,}", ",").replace("**", "^")


def _unwrap(found: re.Match[str]) -> str:
    """Take dollar signs off mathematics, and leave those of money: "$5 for 3, or $6"."""
    inner = found.group(1)
    money = re.match(r"\s*[\d.,]+\s+[a-z]{2,}", inner) or inner[-1:].isspace()
    return found.group() if money else inner


def _without_latex(text: str) -> str:
    text = re.sub(r"\\(?:left|right|displaystyle|mathrm|bigl|bigr|big|!|,|;|:|quad|qquad)(?![A-Za-z])", "", text)
    text = re.sub(r"\\[()\[\]]", " ", text).replace("\\ ", " ").replace("~", " ")
    text = re.sub(r"\\(?:text|textbf|textit|mathbf|mathrm|mbox|operatorname|textrm)\s*\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"(\d)\s*\\[dtc]?frac\b", r"\1 \\frac", text)
    text = re.sub(r"\\[dtc]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}", r"\1/\2", text)
    text = re.sub(r"\\[dtc]?frac\s*(\d)\s*(\d)(?!\d)", r"\1/\2", text)
    text = re.sub(r"\^?\s*\{?\\(?:circ|degree)\b\}?", "°", text)
    text = text.replace("\\times", "×").replace("\\cdot", "·").replace("\\approx", "≈").replace("\\infty", "∞")
    return text.replace("\\$", "$").replace("\\%", "%").replace("\\pm", "±").replace("\\{", "{").replace("\\}", "}")


def digits_in_prose(text: str) -> str:
    """Write English number words of a sentence in digits; a lone "one" may be no number and stays."""
    if not _SPELLED.search(text):
        return text
    text = re.sub(r"\b(?:a|an) (?=(?:hundred|thousand|million|billion|dozen)\b)", "one ", text, flags=re.IGNORECASE)
    alpha2digit = _load_text2num().alpha2digit
    pieces = (text[begin : begin + MAX_PIECE] for begin in range(0, len(text), MAX_PIECE))  # its time grows faster than a text
    parts = (part for piece in pieces for part in _SCALED.split(piece))
    return "".join(
        str(alpha2digit(part, "en", threshold=2.0)) if _SPELLED.search(part) and not _SCALED.fullmatch(part) else part
        for part in parts
    )


def words_to_digits(text: str) -> str | None:
    """Return a text that is a number in words, in digits ("minus two and a half" gives "-2.5"); None for any other text.

    An English number may be followed by what is counted ("twelve apples"), which is kept.
    """
    text = text.strip().lower()
    if not text or len(text) > MAX_WORDS:
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
            return f"{value} {' '.join(words[length:])}"
    return None


def _load_text2num() -> ModuleType:
    """Import text2num when a number in words is met, not with this module; ConfigError where it is missing."""
    try:
        import text_to_num
    except ImportError as error:
        raise ConfigError(f"reading numbers in words needs text2num ({error}): pip install 'auto-router[collect]'") from error
    module: ModuleType = text_to_num
    return module


@functools.lru_cache(maxsize=4096)
def _integer(text: str, languages: tuple[str, ...]) -> int | None:
    text = text.strip()
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
