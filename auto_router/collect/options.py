"""The options of a multiple-choice row, in whatever form a data set holds them, and which of them its answer means."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from auto_router.collect.matching.verdict import MAX_LETTERS
from auto_router.collect.matching.wordings import fold
from auto_router.collect.references import is_missing, read_printed, read_references

_TEXT_KEYS = ("text", "texts", "choices", "options", "option_text", "content", "value", "values", "answer", "option", "choice")
_NAME_KEYS = ("label", "labels", "key", "keys", "id", "ids", "letter", "index", "idx", "name", "option_id")
_RIGHT_KEYS = ("is_correct", "correct", "iscorrect", "is_right", "is_answer", "right")
# A column, or a key, that is one option: "A", "option_a", "Option B", "opa", "choice1", "sol2", "ending0", "answerC".
_PREFIXES = "option|options|opt|op|choice|choices|answer|ans|sol|solution|ending|alternative|alt|candidate|mcanswer|mcoption"
_OPTION_NAME = re.compile(rf"(?P<prefix>{_PREFIXES}|)(?P<name>[a-z]|\d{{1,2}})")
_SENTENCE = re.compile(  # "The answer is (B)."
    r"(?:the )?(?:correct |right |best )?(?P<prefix>answer|option|choice)(?: is)?:? *(?:option |choice )?"
    r"[(\[]?(?P<name>[A-Z])[)\]]?\.?",
    re.IGNORECASE,
)
# "Correct Answer" beside "Incorrect Answer 1", "distractor1" or "incorrect_answers".
_RIGHT_NAMES = ("correctanswer", "rightanswer", "correctoption", "correctchoice", "answer", "correct")
_WRONG_NAME = re.compile(r"(?:incorrect|wrong|false)(?:answer|option|choice)s?\d*|distractors?\d*")
RIGHT_OPTION, _WRONG = "right", "wrong"
_LED = re.compile(r"\s*[(\[]?(?P<letter>[A-Za-z])\s*[).:\]]\s*(?P<text>\S.*)", re.DOTALL)
_MARK = re.compile(r"(?:^|(?<=[\s,;|]))[(\[]?([A-Za-z])\s*[).:\]]\s*")
_JOINT = re.compile(r"\s*(?:,|;|/|\||&|\band\b)\s*|\s+")
MAX_OPTIONS_TEXT = 20_000  # characters of a text that is split into options


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one row: ``texts`` in order, the ``names`` that the data set gives them (folded), those marked right."""

    texts: tuple[str, ...]
    names: tuple[str, ...] = ()
    marked: tuple[int, ...] = ()

    @property
    def letters(self) -> str:
        """The letters they are shown under; "" where there are more than letters."""
        return MAX_LETTERS[: len(self.texts)] if len(self.texts) <= len(MAX_LETTERS) else ""


def squeeze(name: object) -> str:
    """Return a column's or option's name without case, spaces and signs: ``Answer Key`` and ``answer_key`` are one."""
    return re.sub(r"[\W_]+", "", str(name).lower())


def find_option_columns(columns: Iterable[str]) -> dict[str, str]:
    """Return ``{column: name of its option}`` where a data set has one column for each option, in order; else {}.

    Names are letters from a, or numbers from 0 or 1, all after one prefix; else "right" and "wrong", of a column with the right
    answer beside some with wrong ones.
    """
    columns = list(columns)
    groups: dict[str, dict[str, str]] = {}
    for column in columns:
        found = _OPTION_NAME.fullmatch(squeeze(column))
        if found:
            groups.setdefault(found["prefix"], {}).setdefault(found["name"], column)
    sequences = [[chr(97 + i) for i in range(26)], [str(i) for i in range(99)], [str(i) for i in range(1, 99)]]
    best: dict[str, str] = {}
    for group in groups.values():
        for sequence in sequences:
            length = next((i for i, name in enumerate(sequence) if name not in group), len(sequence))
            if length >= 2 and length > len(best):
                best = {group[name]: name for name in sequence[:length]}
    wrong = [column for column in columns if _WRONG_NAME.fullmatch(squeeze(column))]
    right = next((column for name in _RIGHT_NAMES for column in columns if squeeze(column) == name), None)
    return best if best or not wrong or right is None else {right: RIGHT_OPTION} | dict.fromkeys(wrong, _WRONG)


def read_options(value: Any) -> Options | None:
    """Read a cell that holds the options of a row; None where it holds no two texts.

    Known are lists of texts, of printed pairs ("A) root") and of structs, ``{"text": […], "label": […]}``,
    ``{"A": …, "B": …}``, all of these printed as JSON or Python, and texts with an option a line or after each letter.
    """
    value = read_printed(value)
    if isinstance(value, str):
        value = _split(value)
    if isinstance(value, Mapping):
        return _read_struct(value)
    if not isinstance(value, list | tuple):
        return None
    value = _without_padding(value)
    if len(value) < 2:
        return None
    if all(isinstance(item, Mapping) for item in value):
        single = [next(iter(item)) for item in value if len(item) == 1]  # {"A": "root"}, {"B": "stem"}
        return (
            _read_items(value)
            if len(set(single)) < len(value)
            else _read_struct({k: v for item in value for k, v in item.items()})
        )
    if any(isinstance(item, Mapping | list | tuple | bytes) or is_missing(item) for item in value):
        return None
    return Options(_without_letters([str(item) for item in value]))


def _without_padding(items: Sequence[Any]) -> list[Any]:
    """Return a list without what makes it as long as the longest of the data set."""
    kept = list(items)
    while kept and is_missing(kept[-1]):
        kept.pop()
    return kept


def read_option_columns(row: Mapping[str, Any], columns: Mapping[str, str]) -> Options | None:
    """Read options that have a column each; those that a row lacks are left out ("nan" is what pandas writes for nothing)."""
    cells = [(name, row.get(column)) for column, name in columns.items()]
    if RIGHT_OPTION in columns.values():
        return _mix_options(cells)
    structs = [cell for _, cell in cells if isinstance(cell, Mapping)]
    if structs and len(structs) == len(cells):  # {"A": {"text": "root"}, …}
        read = _read_items(structs)
        return None if read is None else replace(read, names=tuple(name for name, _ in cells))
    kept = [(name, str(cell)) for name, cell in cells if not is_missing(cell) and cell != "nan"]
    return Options(tuple(text for _, text in kept), tuple(name for name, _ in kept)) if len(kept) >= 2 else None


def _mix_options(cells: Iterable[tuple[str, Any]]) -> Options | None:
    """Return a right answer among the wrong ones, in an order that tells nothing and is the same in every run."""
    texts: dict[str, str] = {}
    for name, cell in cells:
        found = [text.strip() for text in read_references(read_printed(cell))]
        texts |= {text: name for text in found if name == RIGHT_OPTION or text not in texts}
    if list(texts.values()).count(RIGHT_OPTION) != 1 or len(texts) < 2:
        return None
    mixed = sorted(texts, key=lambda text: hashlib.sha256("\n".join([*sorted(texts), text]).encode()).digest())
    return Options(tuple(mixed), marked=tuple(place for place, text in enumerate(mixed) if texts[text] == RIGHT_OPTION))


def _read_struct(value: Mapping[str, Any]) -> Options | None:
    keys = {squeeze(key): key for key in value}

    def column(names: Sequence[str], length: int = 0) -> list[Any]:
        found = (value[keys[squeeze(name)]] for name in names if squeeze(name) in keys)
        return next((list(cell) for cell in found if isinstance(cell, list | tuple) and length in (0, len(cell))), [])

    padded = column(_TEXT_KEYS)
    texts = _without_padding(padded)
    if len(texts) >= 2 and not any(isinstance(text, Mapping | list) or is_missing(text) for text in texts):
        names = column(_NAME_KEYS, len(padded))[: len(texts)]
        marked = places_marked(names) or places_marked(column(_RIGHT_KEYS, len(padded))[: len(texts)])
        own = () if places_marked(names) else tuple(map(squeeze, names))
        return Options(_without_letters([str(text) for text in texts]), own, marked)
    marked = places_marked(list(value.values()))
    if len(value) >= 2 and marked:  # {"root": 0, "stem": 1}, as BIG-bench writes it
        return Options(tuple(map(str, value)), (), marked)
    columns = find_option_columns(value)
    return read_option_columns(value, columns) if columns else None


def _read_items(items: Sequence[Mapping[str, Any]]) -> Options | None:
    keys = {squeeze(key): key for key in items[0]}
    text, name, right = (
        next((keys[squeeze(one)] for one in names if squeeze(one) in keys), None)
        for names in (_TEXT_KEYS, _NAME_KEYS, _RIGHT_KEYS)
    )
    if text is None or any(is_missing(item.get(text)) or isinstance(item.get(text), Mapping | list) for item in items):
        return None
    names = tuple(squeeze(item.get(name)) for item in items) if name is not None else ()
    marked = places_marked([item.get(right) for item in items]) if right is not None else ()
    return Options(_without_letters([str(item[text]) for item in items]), names, marked)


def places_marked(flags: Sequence[Any]) -> tuple[int, ...]:
    """Return the places of the 1s in a list of 0s and 1s; () for any other list, and for one without a 1."""
    plain = [flag in (0, 1) and not isinstance(flag, str) for flag in flags]
    return tuple(place for place, flag in enumerate(flags) if flag) if flags and all(plain) else ()


def _split(text: str) -> list[str]:
    """Return the options of a text: behind letters in their order, else a line each, else between bars, semicolons, commas."""
    text = text.strip()[:MAX_OPTIONS_TEXT]
    cuts: list[tuple[int, int]] = []
    for found in _MARK.finditer(text):
        if found.group(1).lower() == chr(97 + len(cuts)):
            cuts.append((found.start(), found.end()))
    if len(cuts) >= 2 and cuts[0][0] == 0:
        ends = [start for start, _ in cuts[1:]] + [len(text)]
        return [text[begin:end].strip(" \n\t,;|") for (_, begin), end in zip(cuts, ends, strict=True)]
    for separator in ("\n", "|", ";", ","):
        parts = [part.strip() for part in text.split(separator) if part.strip()]
        if len(parts) >= 2:
            return parts
    return []


def _without_letters(texts: Sequence[str]) -> tuple[str, ...]:
    """Drop "A) ", "B) ", … where every option begins with its own letter."""
    led = [_LED.fullmatch(text) for text in texts]
    if all(found and found["letter"].lower() == chr(97 + place) for place, found in enumerate(led)):
        return tuple(found["text"].strip() for found in led if found)
    return tuple(text.strip() for text in texts)


def find_right(value: Any, options: Options, numbers: str = "0") -> tuple[int, ...]:
    """Return the places of the options that an answer means; () where it means none.

    Args:
        value: a letter, a name, an option's text, a number, several of these, or a flag for each option.
        numbers: what a number is: "0" or "1" = a place counted from there, "name" = the name that the data set gives an
            option, "text" = its text.
    """
    if len(options.marked) == 1 and str(value).strip() == options.texts[options.marked[0]]:
        return options.marked
    value = read_printed(value)
    if isinstance(value, list | tuple):
        marked = places_marked(value) if len(value) == len(options.texts) else ()
        if marked:
            return marked
        found = [find_right(item, options, numbers) for item in value]
        return tuple(sorted({place for places in found for place in places})) if all(found) else ()
    if isinstance(value, Mapping):
        places = [_find_one(text, options, numbers) for text in read_references(value)]
        return tuple(sorted({place for place in places if place is not None})) if None not in places else ()
    if is_missing(value):
        return options.marked
    single = _find_one(value, options, numbers)
    return (single,) if single is not None else _find_several(str(value), options, numbers)


def _find_one(value: Any, options: Options, numbers: str) -> int | None:
    text = str(value).strip()
    readers: list[Callable[[], int | None]] = [
        lambda: _find_name(text, options),
        lambda: _find_letter(text, options),
        lambda: _find_text(text, options),
        lambda: _find_prefixed(text, options),
    ]
    if is_number(value) and numbers in ("0", "1"):  # "option1" and "option2" may well be counted from 0 in the answers
        readers[0] = lambda: _find_place(value, options, int(numbers))
    elif is_number(value) and numbers == "text":
        readers.reverse()
    return next((place for reader in readers if (place := reader()) is not None), None)


def is_hidden(value: Any) -> bool:
    """Whether a cell is the number that data sets write for an answer which they keep to themselves, such as -1."""
    return re.fullmatch(r"\s*-\d{1,3}(?:\.0)?\s*", str(value)) is not None


def is_number(value: Any) -> bool:
    """Whether a cell is a whole number, or the text of one."""
    if isinstance(value, bool):
        return False
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) or (isinstance(value, str) and re.fullmatch(r"\s*\d{1,3}(?:\.0)?\s*", value) is not None)


def _find_place(value: Any, options: Options, first: int) -> int | None:
    place = int(float(value)) - first
    return place if 0 <= place < len(options.texts) else None


def _find_name(text: str, options: Options) -> int | None:
    name = squeeze(str(int(float(text))) if is_number(text) else text)
    if is_hidden(text):
        return None
    return _only(place for place, own in enumerate(options.names) if own == name)


def _find_letter(text: str, options: Options) -> int | None:
    letter = text.strip("()[]. :").upper()
    return options.letters.index(letter) if len(letter) == 1 and letter in options.letters else None


def _find_text(text: str, options: Options) -> int | None:
    """The option whose text it is: to the letter, else in other case and punctuation."""
    exact = _only(place for place, option in enumerate(options.texts) if option.strip() == text)
    folded = fold(text)
    return exact if exact is not None or not folded else _only(p for p, o in enumerate(options.texts) if fold(o) == folded)


def _find_prefixed(text: str, options: Options) -> int | None:
    """The option of "option_b", "Choice 2" or "B) carbon dioxide"."""
    led = _LED.fullmatch(text)
    if led:
        place = _find_letter(led["letter"], options)
        return place if place is not None and fold(options.texts[place]) == fold(led["text"]) else None
    named = _OPTION_NAME.fullmatch(squeeze(text)) or _SENTENCE.fullmatch(text)
    if named and named["prefix"]:
        own = _only(place for place, name in enumerate(options.names) if name == named["name"])
        return own if own is not None else _find_letter(named["name"], options)
    return None


def _find_several(text: str, options: Options, numbers: str) -> tuple[int, ...]:
    """The options of "A,C", "b and d", "ACD" or "1;3"."""
    text = text.strip().strip("()[]. ")
    parts = [part for part in _JOINT.split(text) if part] if len(text) < 200 else []
    if len(parts) == 1 and re.fullmatch(r"[A-Z]{2,10}", text) and list(text) == sorted(set(text)):
        parts = list(text)
    if len(parts) < 2 or any(len(part.strip("()[].")) > 2 for part in parts):
        return ()
    found = [_find_one(part, options, numbers) for part in parts]
    return tuple(sorted({place for place in found if place is not None})) if None not in found else ()


def _only(places: Iterator[int]) -> int | None:
    found = list(places)
    return found[0] if len(found) == 1 else None


def choose_numbers(answers: Sequence[tuple[Any, Options]]) -> tuple[str, bool]:
    """Return what the numbers among the answers of a data set are (see :func:`find_right`), and whether that is certain.

    They are what fits most often. Of what fits equally often, it is the options' names, then (of numbers that are written as
    texts) the options' texts, then places counted from 0, then from 1.
    """
    numbers = [
        (value, options) for value, options in answers if is_number(value) and not is_hidden(value) and not options.marked
    ]
    if not numbers:
        return "0", True
    fits = {
        "name": sum(_find_name(str(value).strip(), options) is not None for value, options in numbers),
        "text": sum(_find_text(str(value).strip(), options) is not None for value, options in numbers),
        "0": sum(_find_place(value, options, 0) is not None for value, options in numbers),
        "1": sum(_find_place(value, options, 1) is not None for value, options in numbers),
    }
    if not any(fits.values()):
        return "0", True
    written = all(isinstance(value, str) for value, _ in numbers)
    order = ("name", "text", "0", "1") if written else ("name", "0", "1", "text")
    chosen = max(order, key=lambda kind: fits[kind])  # the first of those that fit equally often
    return chosen, chosen in ("name", "text") or fits["0"] != fits["1"]
