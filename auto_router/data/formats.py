"""Where evaluation records lie: one file, or a folder or glob of shards; and parquet shards written for data of any size.

Shards count as one list in the order of their names. Parquet shards are those of Hugging Face ``datasets``: images are
bytes in an ``Image`` feature, and ``datasets.load_dataset`` reads the folder as it is.
"""

from __future__ import annotations

import base64
import glob
import gzip
import hashlib
import json
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TextIO

from auto_router.data.images import image_bytes
from auto_router.data.json_tables import table_rows
from auto_router.errors import DataError
from auto_router.files import atomic_path, sha256_of

_SPACE = re.compile(r"[ \t\n\r]*")
_BLOCK = 2**20  # characters read at a time
_LONGEST_ITEM = 2**29  # a damaged file must not be taken for one endless item


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


TABLE_KEYS = ("data", "rows", "examples", "records", "items", "instances", "questions", "train")
_LONGEST_LINE = 2**24  # characters of a first line that is looked at


def json_table(file: TextIO) -> Iterator[Any]:
    """Yield the rows of a JSON file: of a list, of JSON lines, or of the list that an object holds (``{"data": […]}``).

    Raises:
        ValueError: the text is none of these; names the item or the line.
    """
    first = file.readline(_LONGEST_LINE)
    more = next((line for line in iter(lambda: file.readline(_LONGEST_LINE), "") if line.strip()), "")
    file.seek(0)
    if first.lstrip()[:1] == "[" or not (first + more).strip():
        yield from json_items(file)
    elif more and _is_json(first):
        yield from _json_lines(file)
    else:
        yield from _listed_rows(_Text(file))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _json_lines(file: TextIO) -> Iterator[Any]:
    for number, line in enumerate(file):
        try:
            if line.strip():
                yield json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}: {error.msg}") from error


def _listed_rows(text: _Text) -> Iterator[Any]:
    """Yield the items of the list of objects that an object holds under one of ``TABLE_KEYS``; without one, the object."""
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
    if separator != "}" or text.peek():
        raise ValueError("the object does not end as JSON does")
    if whole is not None:
        yield from table_rows(whole)


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


FORMATS = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet")
ALLOWED = ", ".join(FORMATS)
OUTPUTS = ("json", "parquet")
CHECKS = ("reference", "second judge", "audit")
"""What labels can be held against, where they rest on something else."""
SHARD_ROWS = 10_000
SHARD_BYTES = 256 * 2**20  # of prompts and images
GROUP_ROWS, GROUP_BYTES = 500, 16 * 2**20  # a row group is what a writer holds, and the least a reader can skip
_READ_ROWS = 64


def files_of(path: Path) -> list[Path]:
    """Return the files that ``path`` names, in order: itself, the shards of a folder, or what a glob finds.

    Raises:
        DataError: there is none, or a folder holds several formats.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.name.endswith(FORMATS) and not file.name.startswith("."))
        formats = sorted({_format(file) for file in found})
        if len(formats) > 1:
            raise DataError(f"evaluation folder {path} holds {' and '.join(formats)} files; give a glob: '*{formats[0]}'")
        if not found:
            raise DataError(f"evaluation folder {path} holds no shards; allowed are {ALLOWED}")
        return found
    found = sorted(map(Path, glob.glob(str(path), recursive=True)))
    if not found:
        raise DataError(f"evaluation file {path} does not exist; make it with prepare_hf_data.py or give another path")
    return found


def records_sha256(path: Path) -> str:
    """Hex sha256 of a file's content; of shards, that of their digests in order, whatever they are called."""
    digests = [sha256_of(file) for file in files_of(path)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def parquet_count(file: Path) -> int:
    """Return how many rows a parquet file says it has."""
    import pyarrow.parquet  # only parquet needs it, and it takes a while to import

    return int(pyarrow.parquet.read_metadata(file).num_rows)


def located_rows(path: Path, start: int = 0) -> Iterator[tuple[str, int, Any]]:
    """Yield ``(file, number in the file, row)`` from row ``start`` on; parquet that lies before it is not read.

    Raises:
        DataError: a file is missing, of an unknown format or not parsable, or there is no row at all.
    """
    before = 0
    for file in files_of(path):
        number = count = -1
        try:
            count = parquet_count(file) if file.suffix == ".parquet" else -1
            if before + count <= start and count >= 0:
                before += count
                continue
            for number, row in _number(file, max(start - before, 0)):
                if before + number >= start:
                    yield str(file), number, row
        except (ValueError, OSError, EOFError, zlib.error, RecursionError) as error:
            raise DataError(
                f"evaluation file {file} cannot be parsed ({error}); expected one of {', '.join(FORMATS)}"
            ) from error
        before += count if count >= 0 else number + 1
    if not before:
        raise DataError(f"{path} holds no records; at least one is needed")


def record_list(path: Path, models: Sequence[str]) -> AbstractContextManager[Callable[[Any], None]]:
    """Yield a function that appends a plain record to ``path``: a ``.json`` file, else a folder of parquet shards."""
    return json_list(path) if path.suffix == ".json" else parquet_shards(path, models)


@contextmanager
def parquet_shards(folder: Path, models: Sequence[str]) -> Iterator[Callable[[Any], None]]:
    """Yield a function that appends a plain record of ``models``; the folder appears when the block ends without an error.

    Memory holds one row group. Text that has no UTF-8 form (a lone surrogate) is written with ``?`` in its place.

    Raises:
        DataError: the folder is there and holds anything but shards.
    """
    others = [file.name for file in folder.iterdir() if file.suffix != ".parquet"] if folder.is_dir() else []
    if others:
        raise DataError(f"{folder} holds {others[0]}, which is no shard; move it away, or write to another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True) as name:
        made = Path(name) / folder.name
        made.mkdir()
        writer = _Shards(made, models)
        yield writer.append
        writer.finish()
        if folder.exists():
            folder.rename(Path(name) / "old")  # goes with the temporary folder
        made.rename(folder)


_BY_MODEL = ("model_scores", "model_costs", "model_latencies")


class _Shards:
    """Appends rows to numbered parquet files, a row group at a time."""

    def __init__(self, folder: Path, models: Sequence[str]) -> None:
        import datasets  # heavy, and only writers of shards need it

        numbers, texts = ({model: datasets.Value(kind) for model in models} for kind in ("float64", "string"))
        text, images = datasets.Value("string"), datasets.List(datasets.Image())
        plain = {"idx": datasets.Value("int64"), "prompt": text, "answer": text, "answers": datasets.List(text)}
        plain |= {"images": images, **dict.fromkeys(("group", "source", "context", "label_source"), text)}
        scored = {**dict.fromkeys(_BY_MODEL, numbers), "label_checks": dict.fromkeys(CHECKS, numbers)}
        features = datasets.Features({**plain, **scored, "model_errors": texts})
        self._folder, self._schema, self._models = folder, features.arrow_schema, set(models)
        self._rows: list[dict[str, Any]] = []
        self._bytes = self._shard_rows = self._shard_bytes = self._number = 0
        self._writer: Any = None

    def append(self, row: Mapping[str, Any]) -> None:
        strange = {name for field in _BY_MODEL for name in row.get(field, ())} - self._models
        if strange:  # a shard has a column a model, so they would be lost
            raise DataError(
                f"record {row['idx']} scores {', '.join(sorted(strange))}; the shards are for {sorted(self._models)}"
            )
        images = [image_bytes(image) for image in row["images"]]
        self._rows.append({**_utf8(row), "images": [{"bytes": image, "path": None} for image in images]})
        self._bytes += len(row["prompt"]) + sum(map(len, images))
        if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._write()

    def finish(self) -> None:
        """Write what is held, and name the files as ``datasets`` does."""
        self._write()
        self._end_shard()
        for number in range(self._number):
            self._path(number).rename(self._folder / f"{self._folder.name}-{number:05d}-of-{self._number:05d}.parquet")

    def _write(self) -> None:
        import pyarrow
        import pyarrow.parquet

        if not self._rows:
            return
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._path(self._number), self._schema)
            self._number += 1
        self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
        self._shard_rows += len(self._rows)
        self._shard_bytes += self._bytes
        self._rows, self._bytes = [], 0
        if self._shard_rows >= SHARD_ROWS or self._shard_bytes >= SHARD_BYTES:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._shard_rows, self._shard_bytes = None, 0, 0

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.parquet"


def _utf8(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _utf8(each) for key, each in value.items()}
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


def _format(file: Path) -> str:
    return max((ending for ending in FORMATS if file.name.endswith(ending)), key=len)


def _number(file: Path, start: int) -> Iterator[tuple[int, Any]]:
    """Yield the rows of one file with their numbers; some of those before ``start`` are left out."""
    if file.suffix == ".parquet":
        yield from _parquet_rows(file, start)
        return
    if not file.name.endswith(FORMATS):
        raise DataError(f"evaluation file {file} has an unknown format; allowed are {ALLOWED}")
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as text:
        rows = (json.loads(line) for line in text if line.strip()) if ".jsonl" in file.suffixes else json_items(text)
        yield from enumerate(rows)


def _parquet_rows(file: Path, start: int) -> Iterator[tuple[int, Any]]:
    import pyarrow.parquet

    pool = pyarrow.default_memory_pool()
    with pyarrow.parquet.ParquetFile(file, buffer_size=2**20, pre_buffer=False) as table:
        first, number = 0, 0
        while first < table.num_row_groups and number + table.metadata.row_group(first).num_rows <= start:
            number += table.metadata.row_group(first).num_rows
            first += 1
        for batch in table.iter_batches(batch_size=_READ_ROWS, row_groups=range(first, table.num_row_groups)):
            for row in batch.to_pylist():
                yield number, _inline_images(row)
                number += 1
            pool.release_unused()  # it would keep what row groups before took, in pieces of every size


def _inline_images(row: dict[str, Any]) -> dict[str, Any]:
    """Parquet keeps images as bytes or as ``{"bytes", "path"}``, and an absent map entry as None."""

    def text(image: Any) -> Any:
        data = image.get("bytes") if isinstance(image, dict) else image
        return base64.b64encode(data).decode("ascii") if isinstance(data, bytes) else data

    return row | {"images": [text(image) for image in row.get("images") or []]}
