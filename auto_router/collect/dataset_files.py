"""The rows of a data set, wherever it lies: local files, a folder, a glob, ``save_to_disk``, or the hub.

Files are read by their own readers, row by row: memory does not grow with them, and every word of a CSV stays a word. Of a hub
data set only the files of the wanted split are fetched, and then read like any others. What is left to the data set library
is Arrow, image folders and streaming.
"""

from __future__ import annotations

import csv
import glob
import json
import logging
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from auto_router.collect.row_files import ROWS_AT_ONCE, csv_rows, open_text, parquet_rows
from auto_router.data.json_files import json_table
from auto_router.errors import DataError, needs_extra

KINDS = {".parquet": "parquet", ".json": "json", ".jsonl": "jsonl", ".csv": "csv", ".tsv": "tsv", ".arrow": "arrow"}
KINDS |= {".ndjson": "jsonl"}
Row = Mapping[Any, Any]


@dataclass(frozen=True)
class DataTable:
    """The rows of one split, readable again and again.

    ``read`` yields them, with the named columns only where that saves reading; ``features`` is what the data set says of its
    columns, as ``datasets.Features.to_dict`` writes it; ``count`` is known where no row has to be read for it.
    """

    read: Callable[[Sequence[str] | None], Iterable[Row]]
    features: Mapping[str, Any]
    count: int | None = None

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield the rows, class numbers as the names that the data set gives them."""
        named = {name: feature for name, feature in self.features.items() if "ClassLabel" in json.dumps(feature, default=str)}
        for row in self.read(columns):
            if named and isinstance(row, Mapping):
                row = {name: _name_classes(value, named[name]) if name in named else value for name, value in row.items()}
            yield row

    def class_names(self, column: str) -> tuple[str, ...]:
        """Return the names of a column's classes, also of one that holds lists of them; () where it has none."""
        feature = self._held_feature(column)
        return tuple(feature["names"]) if feature.get("_type") == "ClassLabel" else ()

    def holds_images(self, column: str) -> bool:
        """Whether the data set says that a column holds images, or lists of them."""
        return self._held_feature(column).get("_type") == "Image"

    def _held_feature(self, column: str) -> Mapping[str, Any]:
        """What the data set says of the values in a column, also in one of lists; {} where it says nothing."""
        feature = self.features.get(column)
        inner = feature.get("feature", feature) if isinstance(feature, Mapping) else feature
        inner = inner[0] if isinstance(inner, list) and inner else inner
        return inner if isinstance(inner, Mapping) else {}


def open_table(
    dataset: str, config: str | None = None, split: str = "train", revision: str | None = None, streaming: bool = False
) -> DataTable:
    """Open one split of a data set: a path, a glob, or a hub id.

    Args:
        revision: branch, tag or commit of a hub data set.
        streaming: read a hub data set over the network, row by row, instead of fetching its files first.

    Raises:
        DataError: there is no such data set, or it cannot be read.
    """
    path = Path(dataset)
    if not path.exists() and glob.has_magic(dataset):
        files = sorted(file for file in map(Path, glob.glob(dataset, recursive=True)) if file.is_file())
        if not files:
            raise DataError(_advice(dataset, "no file matches this pattern"))
        return _file_table([(file, _kind_of(file)) for file in files])
    if path.is_file():
        return _file_table([(path, _kind_of(path))])
    if not path.exists() and (_suffix(path) in {*KINDS, ".gz"} or path.is_absolute() or dataset.count("/") > 1):
        raise DataError(
            f"data set {dataset} does not exist here, and is no hub id (owner/name); give the path of one that does"
        )
    datasets = _library()
    with explain_errors(dataset), _offline(datasets.config, path.exists()):
        if path.is_dir() and any((path / name).exists() for name in ("dataset_info.json", "dataset_dict.json", "state.json")):
            loaded = datasets.load_from_disk(dataset)
            if isinstance(loaded, Mapping):
                loaded = loaded[_check_split(dataset, split, loaded)]
            return _library_table(loaded)
        if path.is_dir():
            with tempfile.TemporaryDirectory() as cache:  # of what is local, the library would keep a lock and no data
                builder = datasets.load_dataset_builder(dataset, config, cache_dir=cache)
        else:
            builder = datasets.load_dataset_builder(dataset, config, revision=revision)
        return _built_table(datasets, builder, dataset, split, streaming or path.is_dir(), path.is_dir())


def _built_table(datasets: Any, builder: Any, dataset: str, split: str, streaming: bool, local: bool) -> DataTable:
    """Read the files of one split, fetched if need be; images in folders and the like are read by the library."""
    files = dict(builder.config.data_files or {})
    _check_split(dataset, split, files or builder.info.splits or {split: None})
    kinds = [KINDS.get(_suffix(PurePosixPath(str(file)))) for file in files.get(split, [])]
    known = bool(kinds) and all(kind is not None and kind != "arrow" for kind in kinds)
    if known and (local or not streaming):
        names = [str(file) for file in files[split]]
        paths = names if local else datasets.DownloadManager(download_config=datasets.DownloadConfig()).download(names)
        features = builder.info.features.to_dict() if builder.info.features else {}
        return _file_table([(Path(path), str(kind)) for path, kind in zip(paths, kinds, strict=True)], features)
    if hasattr(builder.config, "keep_default_na"):
        builder.config.keep_default_na = False  # "None" and "NA" are words
    if not streaming:
        builder.download_and_prepare()
    stated = (builder.info.splits or {}).get(split)
    rows = builder.as_streaming_dataset(split) if streaming else builder.as_dataset(split)
    return _library_table(rows, stated.num_examples if stated is not None else None)


def _check_split(dataset: str, split: str, splits: Iterable[str]) -> str:
    if split not in splits:
        names = ", ".join(map(str, splits))
        raise DataError(f"data set {dataset!r} has no split {split!r}; it has {names}: choose with --split")
    return split


def _library() -> Any:
    with needs_extra("collect"):
        import datasets  # heavy, and of no use for most files

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what fails is told once
    for name in ("datasets", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return datasets


def _library_table(rows: Any, count: int | None = None) -> DataTable:
    """A data set of the library; images stay the bytes of their files, for decoding only to encode costs time and quality."""
    import datasets

    features = rows.features.to_dict() if rows.features else {}
    for name, feature in (rows.features or {}).items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
        elif isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.Image):
            rows = rows.cast_column(name, datasets.List(datasets.Image(decode=False)))
    count = len(rows) if hasattr(rows, "__len__") else count
    return DataTable(lambda columns: rows if columns is None else rows.select_columns(list(columns)), features, count)


def _suffix(path: Path | PurePosixPath) -> str:
    """The ending that tells a file's format; ``.gz`` alone says nothing."""
    return PurePosixPath(path.stem).suffix if path.suffix == ".gz" and path.stem != path.name else path.suffix


def _kind_of(path: Path) -> str:
    kind = KINDS.get(_suffix(path))
    if kind is None or (path.suffix == ".gz" and kind in ("parquet", "arrow")):
        raise DataError(
            f"data set file {path} has an unknown format; allowed are {', '.join(KINDS)} (text formats also as .gz). Save a "
            "spreadsheet as 'CSV UTF-8'"
        )
    return kind


def _file_table(files: Sequence[tuple[Path, str]], features: Mapping[str, Any] | None = None) -> DataTable:
    found, counts = dict(features or {}), []
    for path, kind in files:
        with explain_errors(str(path)):
            if kind == "parquet":
                import pyarrow.parquet

                schema = pyarrow.parquet.read_schema(path)
                found |= _stored_features(schema.metadata)
                counts.append(int(pyarrow.parquet.read_metadata(path).num_rows))
            elif kind == "arrow":
                found |= _stored_features(_arrow_batches(path)[0].metadata)

    def read(columns: Sequence[str] | None) -> Iterator[Row]:
        for path, kind in files:
            with explain_errors(str(path)):
                yield from _READERS[kind](path, columns)

    return DataTable(read, found, sum(counts) if len(counts) == len(files) else None)


def _stored_features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Return the features that the data set library writes into a schema."""
    stored = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    return dict(stored.get("info", {}).get("features") or {})


def _arrow_batches(path: Path) -> tuple[Any, Iterator[Any]]:
    import pyarrow

    source = pyarrow.memory_map(str(path))
    try:
        stream = pyarrow.ipc.open_stream(source)
        return stream.schema, iter(stream)
    except pyarrow.ArrowInvalid:  # the other of its two forms
        file = pyarrow.ipc.open_file(source)
        return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))


def _arrow_rows(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    for batch in _arrow_batches(path)[1]:
        kept = batch if columns is None else batch.select([name for name in batch.schema.names if name in columns])
        for start in range(0, kept.num_rows, ROWS_AT_ONCE):
            yield from kept.slice(start, ROWS_AT_ONCE).to_pylist()


def _json_rows(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    with open_text(path) as text:
        for row in json_table(text):
            yield from _unfold(row)


def _unfold(row: Any) -> Iterator[Row]:
    """Yield the questions of a row that holds several about its paragraphs, as SQuAD's own files do; any other as it is."""
    paragraphs = row.get("paragraphs") if isinstance(row, dict) else None
    if not isinstance(paragraphs, list) or not all(isinstance(part, dict) and "qas" in part for part in paragraphs):
        yield row
        return
    for part in paragraphs:
        for question in part["qas"]:
            yield {"title": row.get("title"), "context": part.get("context"), **question}


def _json_lines(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    with open_text(path) as text:
        if next(filter(str.strip, text), "").lstrip().startswith("["):  # one list, under the other ending
            yield from _json_rows(path, columns)
            return
        text.seek(0)
        for number, line in enumerate(text, 1):
            try:
                if line.strip():
                    yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON: {error}; each line must be one whole object") from None


_READERS: Mapping[str, Callable[[Path, Sequence[str] | None], Iterator[Row]]] = {
    "parquet": parquet_rows,
    "arrow": _arrow_rows,
    "json": _json_rows,
    "jsonl": _json_lines,
    "csv": lambda path, columns: csv_rows(path, ","),
    "tsv": lambda path, columns: csv_rows(path, "\t"),
}


def _name_classes(value: Any, feature: Any) -> Any:
    """Return a value with the names of classes for their numbers, however deep they lie; a class that is not told is None."""
    if isinstance(feature, list):
        feature = {"_type": "List", "feature": feature[0]}
    if not isinstance(feature, Mapping) or value is None:
        return value
    if feature.get("_type") == "ClassLabel":
        names = feature["names"]
        number = isinstance(value, int) and not isinstance(value, bool)
        return (names[value] if 0 <= value < len(names) else None) if number else value
    if "feature" in feature:  # a list of them, or in older data sets a struct of lists
        inner = feature["feature"]
        if isinstance(value, Mapping):
            return {name: [_name_classes(item, inner.get(name)) for item in items or []] for name, items in value.items()}
        return [_name_classes(item, inner) for item in value]
    if "_type" not in feature and isinstance(value, Mapping):
        return {name: _name_classes(item, feature.get(name)) for name, item in value.items()}
    return value


@contextmanager
def explain_errors(dataset: str) -> Iterator[None]:
    """Turn what a reader raises into one :class:`DataError`."""
    library = sys.modules.get("datasets")  # nothing of it can be raised where it was not imported
    known: tuple[type[Exception], ...] = (OSError, ValueError, LookupError, TypeError, EOFError, zlib.error, csv.Error)
    expected = (*known, RuntimeError, *([library.exceptions.DatasetsError] if library is not None else []))
    try:
        yield
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(
            f"data set {dataset!r} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8 (in a "
            "spreadsheet: 'CSV UTF-8')"
        ) from error
    except StopIteration as error:
        raise DataError(f"data set {dataset} is empty; at least one row is needed") from error
    except expected as error:
        if isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration):
            raise DataError(f"data set {dataset} is empty; at least one row is needed") from error
        if isinstance(error, RuntimeError) and not isinstance(error, RecursionError | NotImplementedError):
            raise
        raise DataError(_advice(dataset, " ".join(str(error.__cause__ or error).split())[:300])) from error


def _advice(dataset: str, reason: str) -> str:
    advice = "correct the file" if Path(dataset).is_file() else "give a hub id, a save_to_disk folder or a local file"
    return f"data set {dataset!r} cannot be loaded ({reason}); {advice}"


@contextmanager
def _offline(config: Any, local: bool) -> Iterator[None]:
    """Look nothing up on the hub for what lies here: the library would ask it even about a local file."""
    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = before or local
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before
