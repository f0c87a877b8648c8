"""Dates and times of day, compared by what they mean: words read by dateparser, digits here, in every order they allow."""

from __future__ import annotations

import functools
import re
import threading
from dataclasses import dataclass

from auto_router.collect.matching.final_answer import MAX_SENTENCE
from auto_router.collect.matching.vocabulary import HEDGE, MONTHS, NEGATION, list_words
from auto_router.errors import ConfigError, advise_install

MAX_DATE = 40  # characters
DATE_LANGUAGES = ["en", "de", "fr", "es", "pt", "it", "nl", "ru", "zh", "ja", "ko", "ar", "hi", "pl", "tr"]

_YEAR_FIRST = re.compile(r"(?P<y>\d{4})(?:[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})|[-/](?P<month>\d\d))(?:[T ]00:00(?::00)?Z?)?")
_YEAR_LAST = re.compile(r"(?P<a>\d{1,2})\s?[-/.]\s?(?P<b>\d{1,2})\s?[-/.]\s?(?P<y>\d{4})")
_MONTH_FIRST = re.compile(r"(?P<m>0[1-9]|1[0-2])/(?P<y>[12]\d{3})")
_WORDS = re.compile(rf"(?=.*(?:\b{MONTHS}|\d\s?[月월]))(?=.*\d)[\w\s.,/'’º\u0900-\u097f-]+", re.IGNORECASE)
_TIME = re.compile(
    r"(?:at )?(?P<hour>\d{1,2})(?:\s?[:.h]\s?(?P<minute>[0-5]\d)(?:[:.](?P<second>[0-5]\d))?)?"
    r"\s?(?P<half>[ap]\.?\s?m\b\.?)?(?:\s?(?:uhr|o'clock|h|hrs?))?",
    re.IGNORECASE,
)
_PART_OF_DAY = re.compile(r"\s+in the (?:(morning)|afternoon|evening)$")
_IN_SENTENCE = re.compile(
    rf"\b\d{{4}}-\d\d-\d\d\b|\b\d{{1,2}}[./]\d{{1,2}}[./]\d{{4}}\b|\b\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {MONTHS}[a-zé]*\.?,?"
    r" \d{4}\b"
    rf"|\b{MONTHS}[a-zé]*\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b",
    re.IGNORECASE,
)
_TIME_IN_SENTENCE = re.compile(r"\b\d{1,2}[:.]\d\d(?:\s?[ap]\.?m\b\.?)?(?![\d%])|\b\d{1,2}\s?[ap]\.?m\b\.?", re.IGNORECASE)
_RELATIVE = re.compile(
    r"\b(?:before|after|until|till|since|by|from|between|later|earlier|ago|around|about|almost|nearly)\b", re.IGNORECASE
)
_SPOKEN = re.compile(
    r"(?:(?:a )?(?P<much>half|quarter|[1-9]|[1-5]\d)(?: minutes?)? (?P<way>past|after|to|till|before) )?(?P<hour>1[0-2]|[1-9])"
    r"(?(much)|(?= o))(?: o['’]clock)?"
)
_HOURS = list_words("one two three four five six seven eight nine ten eleven twelve")
_NAMED_TIMES = {"noon": (12, 0), "midday": (12, 0), "midnight": (0, 0)}
_YEAR = re.compile(r"(?:in|In)(?: the year| [A-Z][a-z]+)? ([12]\d{3})\b")
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Date:
    """A date; what is not said of it is None."""

    year: int | None
    month: int | None
    day: int | None


@dataclass(frozen=True, slots=True)
class Time:
    """A time of day. ``half``: "am", "pm", "24" where the hour can only be one of 24, "" where it may be either half."""

    hour: int
    minute: int
    second: int
    half: str


def read_dates(text: str) -> tuple[Date, ...]:
    """Return the dates that a text may be (two where day and month may be swapped); empty for what is no date."""
    text = text.strip().strip("*_`\"'“”.,").strip()
    if not 4 <= len(text) <= MAX_DATE or not any(char.isdigit() for char in text):
        return ()
    found = _YEAR_FIRST.fullmatch(text)
    if found:
        day = int(found["d"]) if found["d"] else None
        return _valid(Date(int(found["y"]), int(found["m"] or found["month"]), day))
    found = _YEAR_LAST.fullmatch(text)
    if found:
        year, a, b = int(found["y"]), int(found["a"]), int(found["b"])
        return tuple(dict.fromkeys(_valid(Date(year, a, b)) + _valid(Date(year, b, a))))
    found = _MONTH_FIRST.fullmatch(text)
    if found:
        return _valid(Date(int(found["y"]), int(found["m"]), None))
    return _read_words(text) if _WORDS.fullmatch(text) else ()


def same_date(found: tuple[Date, ...], expected: tuple[Date, ...]) -> bool | None:
    """Are two dates the same? None where day and month may be swapped, or one says less than the other."""
    if len(found) == 1 and len(expected) == 1:
        one, other = found[0], expected[0]
        pairs = [(one.year, other.year), (one.month, other.month), (one.day, other.day)]
        if any(a is not None and b is not None and a != b for a, b in pairs):
            return False
        return True if all((a is None) == (b is None) for a, b in pairs) else None
    if found == expected:
        return True
    if set(found) & set(expected):
        return True if 1 in (len(found), len(expected)) and found[0] == expected[0] else None
    return False


def read_time(text: str, reference: bool = False) -> Time | None:
    """Return the time of day that a text is; None for any other. ``reference``: "3.30" may be a number, and is no time."""
    text = text.strip().strip("*_`\"'“”").rstrip("., ").strip().lower()
    part = _PART_OF_DAY.search(text)
    if part:
        text = re.sub(r"\s*o['’]clock", "", text[: part.start()]) + (" am" if part.group(1) else " pm")
    in_digits, text = text[:1].isdigit(), _write_hours(text) if len(text) <= MAX_DATE else text
    spoken = _SPOKEN.fullmatch(text)
    if spoken and spoken["way"] in ("to", "till") and spoken["much"].isdigit() and (reference or in_digits):
        spoken = None  # "5 to 10" is a range, or a ratio
    if spoken:
        minutes = {"half": 30, "quarter": 15}.get(spoken["much"] or "") or int(spoken["much"] or 0)
        minutes = 60 - minutes if spoken["way"] in ("to", "till", "before") else minutes
        hour = int(spoken["hour"]) - (spoken["way"] in ("to", "till", "before"))
        return Time(hour or 12, minutes, 0, "") if minutes < 60 and 1 <= int(spoken["hour"]) <= 12 else None
    if text in _NAMED_TIMES:
        return Time(*_NAMED_TIMES[text], 0, "24")
    found = _TIME.fullmatch(text) if len(text) <= 20 else None
    if found is None or not (found["minute"] or found["half"]) or (reference and re.fullmatch(r"\d+\.\d+", text)):
        return None
    hour, minute, second = int(found["hour"]), int(found["minute"] or 0), int(found["second"] or 0)
    half = (found["half"] or "").replace(".", "").replace(" ", "")
    if hour > 23 or (half and not 1 <= hour <= 12):
        return None
    if half:
        return Time(hour % 12 + (12 if half == "pm" else 0), minute, second, half)
    certain = hour > 12 or hour == 0 or text.startswith("0")
    return Time(hour, minute, second, "24" if certain else "")


def _write_hours(text: str) -> str:
    """Write the words of an hour or of minutes in digits: "ten past two" is "10 past 2"."""
    text = re.sub(r"\btwenty(?:[ -]five)?\b", lambda found: "25" if "five" in found.group() else "20", text)
    return re.sub(rf"\b(?:{'|'.join(_HOURS)})\b", lambda found: str(_HOURS.index(found.group()) + 1), text)


def same_time(found: Time, expected: Time) -> bool | None:
    """Are two times the same? A reference without half of the day takes either, but for 12."""
    if (found.minute, found.second) != (expected.minute, expected.second) or found.hour % 12 != expected.hour % 12:
        return False
    if found.half and not expected.half and expected.hour == 12 and found.hour == 0:
        return None  # "12:30" is half past noon on a clock of 24 hours, and either on one of 12
    if found.hour == expected.hour or (not expected.half and found.half in ("am", "pm", "24")):
        return True
    return None if not found.half or not expected.half else False


def _valid(date: Date) -> tuple[Date, ...]:
    possible = date.month is not None and 1 <= date.month <= 12 and (date.day is None or 1 <= date.day <= 31)
    return (date,) if possible else ()


@functools.lru_cache(maxsize=4096)
def _read_words(text: str) -> tuple[Date, ...]:
    try:
        from dateparser.date import DateDataParser  # costs a tenth of a second; few data sets have dates
    except ImportError as error:
        raise ConfigError(f"reading dates in words needs dateparser ({error}): {advise_install('collect')}") from error

    text = re.sub(r"^(?:on|am|le|el|il|em|on the|the)\s+|\s*(?:года|г\.)$", "", text, flags=re.IGNORECASE)
    for parts in (["year", "month", "day"], ["month", "day"], ["year", "month"]):
        settings = {"REQUIRE_PARTS": parts, "PARSERS": ["absolute-time"], "RETURN_AS_TIMEZONE_AWARE": False}
        with _LOCK:  # its caches of languages are shared
            found = DateDataParser(languages=DATE_LANGUAGES, settings=settings).get_date_data(text).date_obj
        if found is not None:
            return (Date(*(getattr(found, part) if part in parts else None for part in ("year", "month", "day"))),)
    return ()


def names_moment(sentence: str, dates: tuple[Date, ...], time: Time | None) -> bool:
    """Whether the one date, or time of day, of a sentence is the expected one; what stands in relation to it is not."""
    if _RELATIVE.search(sentence) or NEGATION.search(sentence) or HEDGE.search(sentence):
        return False
    if time is not None:
        times = [read for text in _TIME_IN_SENTENCE.findall(sentence) if (read := read_time(text)) is not None]
        return len(times) == 1 and same_time(times[0], time) is True
    found = [found.group() for found in _IN_SENTENCE.finditer(sentence[:MAX_SENTENCE])]
    return len(found) == 1 and bool(dates) and same_date(read_dates(found[0]), dates) is True


def is_moment(text: str) -> bool:
    """Whether a text is a date or a time of day, and nothing else."""
    return bool(read_dates(text)) or read_time(text, reference=True) is not None


def names_year(text: str, sentences: int, year: str) -> bool:
    """Whether a reply of one sentence tells one year, and it is the expected one: "founded in 2019 by two brothers"."""
    plain = sentences == 1 and len(text) <= MAX_SENTENCE and not NEGATION.search(text) and not HEDGE.search(text)
    return plain and _YEAR.findall(text) == [year] == re.findall(r"\d+", text)
