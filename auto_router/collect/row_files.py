"""Rows of files that other tools wrote: JSON, JSON lines, CSV, parquet, and inspect's zipped logs, read in a stream.

What a file holds is found by looking into it, not by its name: a JSON list, one JSON document, or a document a line. Only a
single large document (an inspect log as ``.json``) is read whole.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from auto_router.data.json_files import json_items, read_json
from auto_router.errors import DataError

FileRow = dict[str, Any]
ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".eval", ".json.gz", ".jsonl.gz", ".csv.gz")
MAX_MEMBER = 2**30  # bytes of one file inside a zip: more is a damaged file, or one made to fill the memory
MAX_CELL = 2**28  # characters of a CSV cell, which may hold an image
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
READ_BYTES, ROWS_AT_ONCE = 2**20, 64
# Lists that a document may be only the wrapper of: OpenAI's and Langfuse's API answers, Langfuse's traces and sessions.
_LISTS = ("data", "traces", "observations")


def find_files(path: Path) -> list[Path]:
    """Return the file, or every readable file below a folder, in the order of their names.

    Raises:
        DataError: there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist; give a file, or a folder of files that end in {', '.join(ENDINGS)}")
    found = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name.endswith(ENDINGS)]
    # What lm-evaluation-harness and inspect put beside their results tells of them, and is no result.
    found = [file for file in found if not re.fullmatch(r"results_.*\.json|eval-set\.json|logs\.json", file.name)]
    if not found:
        raise DataError(f"the folder {path} holds no file that ends in {', '.join(ENDINGS)}")
    return found


def read_rows(path: Path) -> Iterator[FileRow]:
    """Yield the objects of a file, one by one.

    Raises:
        DataError: the file cannot be read, or holds something other than objects.
    """
    number = -1
    try:
        for number, row in enumerate(_reader(path)(path)):
            if not isinstance(row, Mapping):
                raise DataError(f"{path}, row {number}: expected an object, got {type(row).__name__}")
            if None in row:
                raise DataError(
                    f"{path}, row {number}: it has more cells than the header has columns ({row[None]!r:.60}); put quotes "
                    "around a cell that holds the separator"
                )
            yield dict(row)
    except (ValueError, OSError, EOFError, zlib.error, csv.Error, RecursionError, zipfile.BadZipFile) as error:
        where = f"{path}, after row {number}" if number >= 0 else str(path)
        raise DataError(f"{where}: cannot be read ({error}); read are {', '.join(ENDINGS)}") from error


def parse_json(value: Any) -> Any:
    """Return what a JSON text says, and anything else as it is: tables and exports keep objects as text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        return read_json(value, otherwise=value)
    return value


def _reader(path: Path) -> Callable[[Path], Iterator[Any]]:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".pkl", ".pickle")):
        raise DataError(
            f"{path} is a pickle, which can run code when it is opened; save the table anew as parquet, CSV or JSON lines "
            "(pandas: DataFrame.to_parquet)"
        )
    kinds = {".csv": partial(csv_rows, separator=","), ".tsv": partial(csv_rows, separator="\t")}
    return (kinds | {".parquet": parquet_rows, ".eval": _zip_rows}).get(Path(name).suffix, _json_rows)


def open_text(path: Path) -> Any:
    """Open a file of text, packed by gzip or not: of a fetched file the name does not say which."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig", newline="")


def _json_rows(path: Path) -> Iterator[Any]:
    with open_text(path) as file:
        first = next((line for line in file if line.strip()), "")
        rest = next((line for line in file if line.strip()), "") if first.lstrip().startswith("{") else ""
        file.seek(0)
        if first.lstrip().startswith("["):
            yield from json_items(file)
        elif not first.lstrip().startswith("{"):
            raise DataError(f"{path} is no JSON, and its name names no other format; read are {', '.join(ENDINGS)}")
        elif rest and read_json(first) is not None:
            yield from (json.loads(line) for line in file if line.strip())
        else:
            yield from _unwrap(json.load(file))


def _unwrap(document: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the rows of a document that is a list in a wrapper, else the document itself."""
    for name in _LISTS:
        value = document.get(name)
        if isinstance(value, list) and not ({"input", "samples"} & document.keys()):
            yield from value
            return
    yield document


def csv_rows(path: Path, separator: str) -> Iterator[dict[Any, Any]]:
    """Read every cell as text; None where a row is too short. One too long keeps what has no column under the name None.

    Raises:
        DataError: the header's cells are set apart otherwise, or two columns have one name.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    with open_text(path) as text:
        rows = read_cells(path, text, separator)
        header = next(rows, [])
        other = next((mark for mark in SEPARATORS if mark != separator and len(header) == 1 and mark in header[0]), None)
        if other is not None:
            raise DataError(
                f"file {path} has one column, {header[0][:80]!r}: its cells seem to be set apart by "
                f"{SEPARATORS[other]}; save it as .csv with commas (UTF-8), or as .tsv with tabs"
            )
        doubled = next((name for place, name in enumerate(header) if name and name in header[:place]), None)
        if doubled is not None:
            raise DataError(f"file {path} has two columns named {doubled!r}; rename one of them")
        for cells in rows:
            if any(map(str.strip, cells)):  # spreadsheets save the empty rows below a table, too
                row: dict[Any, Any] = dict(zip_longest(header, cells[: len(header)]))
                more = cells[len(header) :]
                yield row | ({None: more} if any(more) else {})  # some tools end each line with a separator


def read_cells(path: Path, text: Iterable[str], separator: str) -> Iterator[list[str]]:
    """Yield the cells of every row. A quote that is left open takes no other rows with it.

    Raises DataError, which names the line, where no reading of it has as many cells as the header has.
    """
    taken: list[str] = []
    again: list[str] = []
    lines = iter(text)

    def take() -> str | None:
        line = again.pop() if again else next(lines, None)
        if line is not None:
            taken.append(line)
        return line

    def open_reader() -> Iterator[list[str]]:
        return csv.reader(iter(take, None), delimiter=separator, strict=True)

    reader, width, first = open_reader(), 0, 1
    while True:
        taken.clear()
        try:
            cells = next(reader, None)
        except csv.Error:
            if len(taken) > 1:  # at the last line the open quote met another one, which may begin a cell of several lines
                again.append(taken.pop())
            reader = open_reader()
            for line in filter(str.strip, taken):
                yield _read_line(path, first, line, separator, width)
        else:
            if cells is None:
                return
            width = width or len(cells)
            yield cells
        first += len(taken)


def _read_line(path: Path, first: int, line: str, separator: str, width: int) -> list[str]:
    """Return the ``width`` cells of a line that is one row, whatever its quotes are. An open quote was in line ``first``."""
    plain = line.rstrip("\r\n").split(separator)
    bare = [held[1:-1] if len(held := cell.rstrip()) > 1 and held[0] == held[-1] == '"' else cell for cell in plain]
    quoted = next(csv.reader([line], delimiter=separator), [])
    for cells in (quoted, bare) if '""' in line else (bare, quoted):
        if len(cells) == width:
            return cells
    raise DataError(
        f"file {path}: in line {first} a cell begins with a quote that does not end it; write quotes inside a cell twice, as "
        'in "the word ""yes"""'
    )


def parquet_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield the rows, with the named columns only where there are names; a few are read at a time.

    By pyarrow's own reader: a scan (what ``datasets`` streams through) reads ahead by whole row groups and keeps what it has
    read, so that its memory was seen to grow with the file.
    """
    import pyarrow.parquet  # only parquet needs it, and it takes a while to import

    with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES) as table:
        kept = None if columns is None else [name for name in table.schema_arrow.names if name in columns]
        for batch in table.iter_batches(batch_size=ROWS_AT_ONCE, columns=kept, use_threads=False):
            yield from batch.to_pylist()


def _zip_rows(path: Path) -> Iterator[Any]:
    """Yield each sample of an inspect log as a log of that sample alone: its header beside it."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(archive.namelist())
        start = next((name for name in ("header.json", "_journal/start.json") if name in names), None)
        if start is None:
            raise DataError(f"{path} is a zip without header.json, so no inspect log")
        header = _member(path, archive, start)
        for name in names:
            if name.startswith("samples/") and name.endswith(".json"):
                yield {"eval": header.get("eval"), "samples": [_member(path, archive, name)]}


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > MAX_MEMBER:
        raise DataError(f"{path}: {name} is over {MAX_MEMBER} bytes; dump the log with: inspect log dump")
    try:
        return json.loads(archive.read(name))
    except NotImplementedError as error:  # zstd, which zipfile knows from Python 3.14 on
        raise DataError(
            f"{path} is compressed in a way this Python cannot read ({error}); convert it with: "
            "inspect log convert --to json --output-dir DIR"
        ) from error
