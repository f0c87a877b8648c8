"""Files that are whole or absent, their digests, and JSON lists read one item at a time."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

_SPACE = re.compile(r"[ \t\n\r]*")
_BLOCK = 2**20  # characters read at a time
_LONGEST_ITEM = 2**29  # a damaged file must not be taken for one endless item


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it onto ``path`` when the block ends without an error.

    A reader therefore sees the old file, the new file or none, never a part. On an error the temporary file is
    removed and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    temporary.touch(exist_ok=False)  # not by mkstemp, which lets nobody but the owner read: the user's umask decides
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable UTF-8 JSON, whole or not at all. NaN is refused: JSON has no such number."""
    # A lone surrogate, which model output can hold, has no UTF-8 form; the replacement is its JSON escape.
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(value, file, ensure_ascii=False, indent=2, allow_nan=False)
        file.write("\n")


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


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's content, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_items(file: TextIO) -> Iterator[Any]:
    """Yield the objects of a JSON list one by one; memory holds one block or object of the file, never all of it.

    The parser is the standard library's, as for every other file here. ijson (yajl) was measured no faster, and reads the
    same text otherwise: a lone surrogate, which model output can hold, becomes ``?``, large integers are refused, and an
    object passes for an empty list.

    Raises:
        ValueError: the text is not one whole JSON list; names the item.
    """
    text, count = _Text(file), 0
    if text.take() != "[":
        raise ValueError("expected a list of records")
    separator = text.take() if text.peek() == "]" else ","
    while separator == ",":
        try:
            item = text.item()
        except json.JSONDecodeError as error:
            raise ValueError(f"item {count}: {error.msg}") from error
        yield item
        count += 1
        separator = text.take()
    if separator != "]":
        raise ValueError(f"after item {count - 1}: expected ',' or ']', got {separator or 'the end of the file'!r}")
    if text.peek():
        raise ValueError(f"after the list: expected the end of the file, got {text.peek()!r}")


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

    def _more(self) -> bool:
        rest = len(self._text) - self._at
        block = self._file.read(max(_BLOCK, rest)) if rest < _LONGEST_ITEM else ""
        self._text, self._at = self._text[self._at :] + block, 0
        return bool(block)


def release(table: npt.NDArray[Any]) -> None:
    """Give the pages of a read-only memory map back to the system; of another array, do nothing.

    Pages that were read count as this process's memory until then. The system may keep them, and hand them out again at once.
    """
    if isinstance(table, np.memmap) and table.mode == "r" and isinstance(table.base, mmap.mmap):
        table.base.madvise(mmap.MADV_DONTNEED)
