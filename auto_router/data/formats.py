"""Where evaluation records lie: one file, or a folder or glob of shards; and parquet shards written for data of any size.

Shards count as one list in the order of their names. Parquet shards are those of Hugging Face ``datasets``: images are
bytes in an ``Image`` feature, and ``datasets.load_dataset`` reads the folder as it is.
"""

from __future__ import annotations

import base64
import glob
import gzip
import hashlib
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from auto_router.data.images import image_bytes
from auto_router.data.json_files import json_list, json_table
from auto_router.errors import DataError
from auto_router.files import sha256_of

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
                f"evaluation file {file} cannot be parsed ({error}); expected a JSON list, JSON lines or parquet"
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
    with gzip.open(file, "rt", encoding="utf-8-sig") if file.suffix == ".gz" else file.open(encoding="utf-8-sig") as text:
        yield from enumerate(json_table(text))


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
