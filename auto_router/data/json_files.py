"""JSON files, one item at a time: lists as they are written and read, and documents that are a table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from auto_router.files import atomic_path

_SPACE = re.compile(r"[ \t\n\r]*")
_BLOCK = 2**20  # characters read at a time
_LONGEST_ITEM = 2**29  # a damaged file must not be taken for one endless item
_LONGEST_LINE = 2**24  # characters of a first line that is looked at
TABLE_KEYS = ("data", "rows", "examples", "records", "items", "instances", "questions", "train")


@contextmanager
def json_list(path: Path) -> Iterator[Callable[[Any], None]]:
    """Yield a function that appends one value to a JSON list at ``path``; the file is whole or not there, as ever.

    The bytes are those of :func:`write_json` for the whole list, but only one value is held in memory.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        written = 0

        def append(value: Any) -> None:
            nonlocal written
            text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False).replace("\n", "\n  ")
            file.write(f"{',' if written else '['}\n  {text}")
            written += 1

        yield append
        file.write("\n]\n" if written else "[]\n")


def json_items(file: TextIO) -> Iterator[Any]:
    """Yield the objects of a JSON list one by one; memory holds one block or object of the file, never all of it.

    The parser is the standard library's, as for every other file here. ijson (yajl) was measured no faster, and reads the
    same text otherwise: a lone surrogate, which model output can hold, becomes ``?``, large integers are refused, and an
    object passes for an empty list.

    Raises:
        ValueError: the text is not one whole JSON list; names the item.
    """
    text = _Text(file)
    yield from text.items()
    if text.peek():
        raise ValueError(f"after the list: expected the end of the file, got {text.peek()!r}")


def json_table(file: TextIO) -> Iterator[Any]:
    """Yield the rows of a JSON file: of a list, of JSON lines, or of the list that an object holds (``{"data": […]}``).

    An empty file has none.

    Raises:
        ValueError: the text is none of these; names the item or the line.
    """
    sign = next(filter(str.strip, iter(lambda: file.read(1), "")), "")
    file.seek(0)
    if sign in ("", "["):  # nothing, or a list, whose line may be as long as the file
        yield from json_items(file) if sign else ()
        return
    lines = filter(str.strip, iter(lambda: file.readline(_LONGEST_LINE), ""))
    first, more = next(lines, ""), next(lines, "")
    file.seek(0)
    if more and read_json(first) is not None:
        yield from _json_lines(file)
    else:
        yield from _listed_rows(_Text(file), may_be_lines=len(first) == _LONGEST_LINE)


def read_json(text: str | bytes, otherwise: Any = None) -> Any:
    """Return what a JSON text says; ``otherwise`` where it is none, or nested too deeply to be read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise


def _json_lines(file: TextIO) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        try:
            if line.strip():
                yield json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}: {error.msg}") from error


def _listed_rows(text: _Text, may_be_lines: bool) -> Iterator[Any]:
    """Yield the items of the list of objects that an object holds under one of ``TABLE_KEYS``; without one, the object.

    ``may_be_lines``: others may follow it, for nobody has seen where its line ends.
    """
    whole: dict[str, Any] | None = {}
    separator = text.take()
    while separator in ("{", ","):
        key = text.item() if text.peek() == '"' else None
        if key is None or text.take() != ":":
            raise ValueError("expected a list of rows, JSON lines, or an object that holds a list of rows")
        if whole is None:
            text.item()  # beside the rows; read to see that the file is whole
        elif key in TABLE_KEYS and text.peek() == "[":
            items = text.items()
            first = next(items, None)
            if isinstance(first, dict):
                whole = None
                yield first
                yield from items
            else:
                whole[key] = [first, *items]
        else:
            whole[key] = text.item()
        separator = text.take()
    if separator == "}" and may_be_lines and whole is not None and text.peek() == "{":
        yield whole
        while text.peek():
            yield text.item()
        return
    if separator != "}" or text.peek():
        raise ValueError("the object does not end as JSON does")
    if whole is not None:
        yield from table_rows(whole)


def table_rows(document: dict[str, Any]) -> Iterator[Any]:
    """Yield the rows of an object that is a table: a list for each column, an object for each row or column; else itself.

    These are the forms that pandas writes (``orient``: list, split, index, columns).
    """
    values = list(document.values())
    head, body = document.get("columns"), document.get("data")
    inner = [value.keys() for value in values if isinstance(value, dict)]
    even = all(isinstance(value, list) and len(value) == len(values[0]) > 1 for value in values)
    if (
        isinstance(head, list)
        and isinstance(body, list)
        and all(isinstance(row, list) and len(row) == len(head) for row in body)
    ):
        yield from (dict(zip(map(str, head), row, strict=True)) for row in body)
    elif len(values) > 1 and even and not all(isinstance(value[0], dict) for value in values):  # several lists of rows are none
        yield from (dict(zip(document, row, strict=True)) for row in zip(*values, strict=True))
    elif len(inner) == len(values) > 1 and inner[0] and all(keys == inner[0] for keys in inner):
        by_column = all(key.isdigit() for key in inner[0])
        yield from ({name: document[name][key] for name in document} for key in inner[0]) if by_column else values
    else:
        yield document


class _Text:
    """A text file seen through a window that moves on and grows where one item needs more."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._at = file, "", 0

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self) -> str:
        character = self.peek()
        self._at += len(character)
        return character

    def item(self) -> Any:
        self.peek()
        while True:
            try:
                value, self._at = json.JSONDecoder().raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if not self._more():
                    raise
            else:
                return value

    def items(self) -> Iterator[Any]:
        """Yield the values of the list that begins here. Raises ValueError, naming the item, where it is none."""
        if self.take() != "[":
            raise ValueError("expected a list of records")
        count = 0
        separator = self.take() if self.peek() == "]" else ","
        while separator == ",":
            try:
                item = self.item()
            except json.JSONDecodeError as error:
                raise ValueError(f"item {count}: {error.msg}") from error
            yield item
            count += 1
            separator = self.take()
        if separator != "]":
            raise ValueError(f"after item {count - 1}: expected ',' or ']', got {separator or 'the end of the file'!r}")

    def _more(self) -> bool:
        rest = len(self._text) - self._at
        block = self._file.read(max(_BLOCK, rest)) if rest < _LONGEST_ITEM else ""
        self._text, self._at = self._text[self._at :] + block, 0
        return bool(block)
