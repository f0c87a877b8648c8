"""Questions from any data set: a hub id, a ``save_to_disk`` folder, or a local parquet, json, jsonl, csv or arrow file.

Local files are streamed: a data set of any size takes the memory of a few rows. A hub data set is downloaded once and mapped
from disk. Rows are read in their order, as often as they are needed, and are the same every time.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auto_router.collect.pictures import PictureSource
from auto_router.collect.rows import Question, Shape, find_shape
from auto_router.errors import DataError

_BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}
READ_BYTES, ROWS_AT_ONCE = 2**20, 64
TEST_NAMES = ("test", "validation", "valid", "val", "dev", "eval")


@dataclass(frozen=True)
class Source:
    """A data set and how to read it.

    Args:
        dataset: a path that exists, else a hub id (``owner/name``).
        config: the configuration of a hub data set that has several.
        split: which split of a data set that has several.
        columns: names for ``prompt``, ``answer``, ``images``, ``source``, ``group``, ``messages``; common ones are found.
        test_split: a further split, whose rows become the test set.
        split_column: a column that says ``train`` or ``test`` (or validation, dev, …) for each row.
    """

    dataset: str
    config: str | None = None
    split: str = "train"
    columns: Mapping[str, str | None] = field(default_factory=dict)
    pictures: PictureSource = field(default_factory=PictureSource)
    test_split: str | None = None
    split_column: str | None = None

    def questions(self) -> Iterator[Question]:
        """Yield every row as a question.

        Raises:
            DataError: the data set cannot be loaded, is empty, lacks a column, or a row is not usable.
        """
        parts = [(self.split, False)] + ([(self.test_split, True)] if self.test_split else [])
        number = 0
        for name, is_test in parts:
            rows = _load(self.dataset, self.config, name)
            first = next(self._guarded(rows), None)
            if first is None:
                raise DataError(f"data set {self.dataset} is empty; at least one row is needed")
            shape = find_shape(list(first), first, self.columns, self.dataset, self.split_column)
            for row in self._guarded(rows.select_columns(shape.used)):
                yield self._question(number, row, shape, is_test)
                number += 1

    def count(self) -> int:
        """Return how many rows there are, reading as little as possible of them."""
        names = [self.split] + ([self.test_split] if self.test_split else [])
        return sum(self._count(_load(self.dataset, self.config, name)) for name in names)

    def _count(self, rows: Any) -> int:
        try:
            return len(rows)
        except TypeError:  # a stream
            first = next(self._guarded(rows), {})
            cheap = next((name for name, value in first.items() if isinstance(value, int | float | str)), None)
            return sum(1 for _ in self._guarded(rows.select_columns([cheap]) if cheap else rows))

    def _question(self, number: int, row: Mapping[str, Any], shape: Shape, is_test: bool) -> Question:
        try:
            question = shape.question(number, row, self.pictures)
        except DataError as error:
            raise DataError(f"data set {self.dataset}, row {number}{error}") from error
        if self.split_column is not None:
            is_test = str(row[self.split_column]).lower() in TEST_NAMES
        fixed = self.split_column is not None or self.test_split is not None
        return question.on_side(is_test) if fixed else question

    def _guarded(self, rows: Any) -> Iterator[Mapping[str, Any]]:
        with _explained(self.dataset):
            yield from rows


class _explained:
    """Turns what a data set library raises into one :class:`DataError`."""

    def __init__(self, dataset: str) -> None:
        self._dataset = dataset

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, Exception):
            return
        import datasets

        expected = OSError, ValueError, LookupError, TypeError, EOFError, zlib.error, datasets.exceptions.DatasetsError
        if isinstance(error, StopIteration | RuntimeError) and isinstance(error.__cause__ or error, StopIteration):
            raise DataError(f"data set {self._dataset} is empty; at least one row is needed") from error
        if isinstance(error, expected) and not isinstance(error, DataError):
            reason = " ".join(str(error.__cause__ or error).split())[:300]
            raise DataError(
                f"data set {self._dataset!r} cannot be loaded ({reason}); give a hub id, a save_to_disk folder or a local file"
            ) from error


class ParquetRows:
    """The rows of a local parquet file, a few at a time.

    pyarrow's own reader, because a scan of a data set (what ``datasets`` streams through) reads ahead by whole row groups and
    keeps what it has read: its memory was seen to grow with the file.
    """

    features: Mapping[str, Any] = {}

    def __init__(self, path: Path, columns: list[str] | None = None) -> None:
        import pyarrow.parquet

        self._path, self._columns = path, columns
        self._file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES)

    def select_columns(self, columns: list[str]) -> ParquetRows:
        return ParquetRows(self._path, columns)

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for batch in self._file.iter_batches(batch_size=ROWS_AT_ONCE, columns=self._columns, use_threads=False):
            yield from batch.to_pylist()


def _load(dataset: str, config: str | None, split: str) -> Any:
    """Return the rows of one split: streamed from files, mapped from disk else; pictures stay bytes of their files."""
    import datasets  # a heavy import that only this function needs

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what fails is told once
    logging.getLogger("datasets").setLevel(logging.CRITICAL + 1)
    path = Path(dataset)
    if not path.exists() and (path.suffix in {*_BUILDERS, ".gz"} or path.is_absolute() or dataset.count("/") > 1):
        raise DataError(
            f"data set {dataset} does not exist here, and is no hub id (owner/name); give the path of one that does"
        )
    with _explained(dataset):
        if path.is_dir() and any((path / name).exists() for name in ("dataset_info.json", "dataset_dict.json", "state.json")):
            loaded = datasets.load_from_disk(dataset)
        elif path.is_file():
            if path.suffix == ".parquet":
                return ParquetRows(path)
            suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
            if suffix not in _BUILDERS:
                raise DataError(f"data set file {path} has an unknown format; allowed are {', '.join(_BUILDERS)} (or .gz)")
            loaded = datasets.load_dataset(_BUILDERS[suffix], data_files=str(path), split="train", streaming=True)
        else:
            loaded = datasets.load_dataset(dataset, config, streaming=path.is_dir())
    if isinstance(loaded, Mapping):
        if split not in loaded:
            raise DataError(f"data set {dataset!r} has no split {split!r}; it has {', '.join(loaded)}: choose with --split")
        loaded = loaded[split]
    return _undecoded(loaded)


def _undecoded(rows: Any) -> Any:
    """Keep pictures as the bytes of their files: decoding them only to encode them again costs time and quality."""
    import datasets

    for name, feature in (rows.features or {}).items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
        elif isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.Image):
            rows = rows.cast_column(name, datasets.List(datasets.Image(decode=False)))
    return rows
