"""Questions from any data set: a hub id, a ``save_to_disk`` folder, or a local parquet, json, jsonl, csv or arrow file.

Local files are streamed: a data set of any size takes the memory of a few rows. A hub data set is downloaded once and mapped
from disk. Rows are read in their order, as often as they are needed, and are the same every time.

One row of a data set as a question: which columns say what, and how prompt, reference and pictures are read from them.

Three shapes are known: columns of their own (``prompt``, ``answer``, ``images``), chat messages (``messages`` or
``conversations``; a last message of the assistant is the reference), and pairs beside pictures (``texts[0].user`` and
``.assistant``, as in FineVision).
"""

from __future__ import annotations

import logging
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from auto_router.collect.image_source import ImageSource as ImageSource
from auto_router.data.conversation import Turn, conversation_input, turns_of
from auto_router.data.records import content_key
from auto_router.errors import DataError, needs_extra

COLUMNS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "instruction", "problem", "query"),
    "answer": ("answer", "response", "label", "target", "output", "solution"),
    "images": ("images", "image"),
    "source": ("source", "task", "category", "subject"),
    "group": ("group",),
    "messages": ("messages", "conversations", "conversation", "texts"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt to ask: its reference answer, the bytes of its pictures, and where it comes from.

    ``turns`` is the whole conversation where there is more than the prompt; models are then asked that. ``is_test`` is None
    unless the data set brings its own split.
    """

    idx: int
    prompt: str
    answer: str
    images: tuple[bytes, ...]
    source: str | None
    group: str
    turns: tuple[Turn, ...] = ()
    is_test: bool | None = None
    context: str = ""
    """What of the turns before the prompt is embedded beside it."""

    def on_side(self, is_test: bool) -> Question:
        return replace(self, is_test=is_test)

    def in_group(self, group: str) -> Question:
        return replace(self, group=group)


@dataclass(frozen=True, slots=True)
class Shape:
    """Which column plays which role; ``used`` is all that has to be read."""

    roles: Mapping[str, str]
    used: list[str]

    def question(self, number: int, row: Mapping[str, Any], opener: ImageSource) -> Question:
        """Read one row. Raises DataError, whose text continues "row N"."""
        turns: tuple[Turn, ...] = ()
        inside: tuple[Any, ...] = ()
        context = ""
        answer = row.get(self.roles.get("answer", ""))
        if "prompt" in self.roles:
            prompt = row[self.roles["prompt"]]
            if not isinstance(prompt, str) or not prompt.strip():
                raise DataError(f": column {self.roles['prompt']!r} holds no prompt; drop the row")
        else:
            try:
                turns, reference = _conversation(row[self.roles["messages"]])
                prompt, inside, context = conversation_input(turns)
                if not prompt:
                    raise DataError("the conversation has no user message with text")
            except DataError as error:
                raise DataError(f": column {self.roles['messages']!r}: {error}; drop the row") from error
            answer = reference if answer is None else answer
        try:
            images = opener.read(list(inside)) + opener.read(row.get(self.roles.get("images", "")))
        except DataError as error:
            raise DataError(f", pictures: {error}") from error
        source, group = (row.get(self.roles.get(role, "")) for role in ("source", "group"))
        return Question(
            idx=number,
            prompt=prompt,
            answer="" if answer is None else str(answer),
            images=images,
            source=None if source in (None, "") else str(source),
            group=content_key(context or prompt, images) if group in (None, "") else str(group),
            turns=tuple(replace(turn, images=()) for turn in turns) if len(turns) > 1 else (),
            context=context,
        )


def find_shape(
    present: Sequence[str], first: Mapping[str, Any], asked: Mapping[str, str | None], dataset: str, split_column: str | None
) -> Shape:
    """Return which column plays which role. Raises DataError, listing the columns, where prompt or reference has none."""
    roles: dict[str, str] = {}
    for role, common in COLUMNS.items():
        wanted = asked.get(role)
        if wanted is not None and wanted not in present:
            raise DataError(f"data set {dataset} has no column {wanted!r} for the {role}; it has {', '.join(present)}")
        free = (column for column in common if column in present and column not in asked.values())
        name = wanted or next(free, None)
        if name is not None:
            roles[role] = name
    if split_column is not None and split_column not in present:
        raise DataError(f"data set {dataset} has no column {split_column!r} to split by; it has {', '.join(present)}")
    if "prompt" in roles and asked.get("messages") is None:
        roles.pop("messages", None)
    elif "messages" in roles and asked.get("prompt") is None and isinstance(first.get(roles["messages"]), list):
        roles.pop("prompt", None)
    for role in ("prompt", "answer"):
        if role not in roles and "messages" not in roles:
            raise DataError(
                f"data set {dataset} has no column for the {role} (looked for {', '.join(COLUMNS[role])}, or a list of chat "
                f"messages in {', '.join(COLUMNS['messages'])}); it has {', '.join(present)}: name one with --{role}-column"
            )
    used = [*roles.values(), *([split_column] if split_column else [])]
    return Shape(roles, list(dict.fromkeys(used)))


def _conversation(value: Any) -> tuple[tuple[Turn, ...], str | None]:
    """Return the turns up to the user's last, and the assistant's reply to it as the reference."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping) and "user" in value[0]:
        pair = value[0]  # further pairs are questions of their own about the same pictures
        return (Turn("user", str(pair.get("user") or "")),), pair.get("assistant")
    turns = turns_of(value)
    last = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=-1)
    replies = [turn.text for turn in turns[last + 1 :] if turn.role == "assistant"]
    return tuple(turns[: last + 1]), replies[-1] if replies else None


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
    images: ImageSource = field(default_factory=ImageSource)
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
            first = next(self._guard(rows), None)
            if first is None:
                raise DataError(f"data set {self.dataset} is empty; at least one row is needed")
            shape = find_shape(list(first), first, self.columns, self.dataset, self.split_column)
            for row in self._guard(rows.select_columns(shape.used)):
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
            first = next(self._guard(rows), {})
            cheap = next((name for name, value in first.items() if isinstance(value, int | float | str)), None)
            return sum(1 for _ in self._guard(rows.select_columns([cheap]) if cheap else rows))

    def _question(self, number: int, row: Mapping[str, Any], shape: Shape, is_test: bool) -> Question:
        try:
            question = shape.question(number, row, self.images)
        except DataError as error:
            raise DataError(f"data set {self.dataset}, row {number}{error}") from error
        if self.split_column is not None:
            is_test = str(row[self.split_column]).lower() in TEST_NAMES
        fixed = self.split_column is not None or self.test_split is not None
        return question.on_side(is_test) if fixed else question

    def _guard(self, rows: Any) -> Iterator[Mapping[str, Any]]:
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
    with needs_extra("collect"):
        import datasets  # a heavy import that only this function needs

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what fails is told once
    logging.getLogger("datasets").setLevel(logging.CRITICAL + 1)
    path = Path(dataset)
    if not path.exists() and (path.suffix in {*_BUILDERS, ".gz"} or path.is_absolute() or dataset.count("/") > 1):
        raise DataError(
            f"data set {dataset} does not exist here, and is no hub id (owner/name); give the path of one that does"
        )
    with _explained(dataset), _offline(datasets.config, path.exists()):
        if path.is_dir() and any((path / name).exists() for name in ("dataset_info.json", "dataset_dict.json", "state.json")):
            loaded = datasets.load_from_disk(dataset)
        elif path.is_file():
            if path.suffix == ".parquet":
                return ParquetRows(path)
            suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
            if suffix not in _BUILDERS:
                raise DataError(f"data set file {path} has an unknown format; allowed are {', '.join(_BUILDERS)} (or .gz)")
            loaded = _stream(datasets, _BUILDERS[suffix], str(path))
        else:
            loaded = datasets.load_dataset(dataset, config, streaming=path.is_dir())
    if isinstance(loaded, Mapping):
        if split not in loaded:
            raise DataError(f"data set {dataset!r} has no split {split!r}; it has {', '.join(loaded)}: choose with --split")
        loaded = loaded[split]
    return _keep_bytes(loaded)


def _stream(datasets: Any, builder: str, path: str) -> Any:
    # What the library would keep in the home folder, which need not be writable, is a lock and no data.
    with tempfile.TemporaryDirectory() as cache:
        return datasets.load_dataset(builder, data_files=path, split="train", streaming=True, cache_dir=cache)


@contextmanager
def _offline(config: Any, local: bool) -> Iterator[None]:
    """Look nothing up on the hub for what lies here: the library would ask it even about a local file."""
    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = before or local
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


def _keep_bytes(rows: Any) -> Any:
    """Keep pictures as the bytes of their files: decoding them only to encode them again costs time and quality."""
    import datasets

    for name, feature in (rows.features or {}).items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
        elif isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.Image):
            rows = rows.cast_column(name, datasets.List(datasets.Image(decode=False)))
    return rows
