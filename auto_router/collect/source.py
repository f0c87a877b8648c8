"""Questions from any data set: a hub id, a ``save_to_disk`` folder, or a local parquet, json, jsonl, csv or arrow file."""

from __future__ import annotations

import logging
import random
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auto_router.errors import DataError
from auto_router.images import image_bytes, pixels
from auto_router.records import content_key

COLUMNS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "instruction", "problem", "query"),
    "answer": ("answer", "response", "label", "target", "output", "solution"),
    "images": ("images", "image"),
    "source": ("source", "task", "category", "subject"),
    "group": ("group",),
}
_BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt to ask: its reference answer, the bytes of its pictures, and where it comes from."""

    idx: int
    prompt: str
    answer: str
    images: tuple[bytes, ...]
    source: str | None
    group: str


def load_questions(
    dataset: str,
    num_samples: int | None = None,
    seed: int = 0,
    split: str = "train",
    columns: Mapping[str, str | None] | None = None,
) -> list[Question]:
    """Load a data set, or a seeded sample of it.

    Args:
        dataset: a path that exists, else a hub id (``owner/name``).
        num_samples: how many to keep, drawn by ``seed``; None for all, in their order.
        split: which split of a data set that has several.
        columns: column names for ``prompt``, ``answer``, ``images``, ``source``, ``group``; the common ones are found.

    Raises:
        DataError: the data set cannot be loaded, is empty, lacks a column, or a row is not usable.
    """
    rows = _load(dataset, split)
    found = _columns(list(rows.column_names), columns or {}, dataset)
    if len(rows) == 0:
        raise DataError(f"data set {dataset} is empty; at least one row is needed")
    numbers = range(len(rows))
    chosen = numbers if num_samples is None else sorted(random.Random(seed).sample(numbers, min(num_samples, len(rows))))
    kept = rows.select_columns(list(dict.fromkeys(found.values()))).select(chosen)
    return [_question(number, row, found, dataset) for number, row in zip(chosen, kept, strict=True)]


def _load(dataset: str, split: str) -> Any:
    import datasets  # a heavy import that only this function needs

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what fails is told once, below
    path = Path(dataset)
    if not path.exists() and (path.suffix in {*_BUILDERS, ".gz"} or path.is_absolute() or dataset.count("/") > 1):
        raise DataError(
            f"data set {dataset} does not exist here, and is no hub id (owner/name); give the path of one that does"
        )
    try:
        if path.is_dir() and any((path / name).exists() for name in ("dataset_info.json", "dataset_dict.json", "state.json")):
            loaded = datasets.load_from_disk(dataset)
        elif path.is_file():
            suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
            if suffix not in _BUILDERS:
                raise DataError(f"data set file {path} has an unknown format; allowed are {', '.join(_BUILDERS)} (or .gz)")
            loaded = datasets.load_dataset(_BUILDERS[suffix], data_files=str(path), split="train")
        else:
            loaded = datasets.load_dataset(dataset)
    except StopIteration as error:  # how datasets answers a file without a single row
        raise DataError(f"data set {dataset} is empty; at least one row is needed") from error
    except (OSError, ValueError, LookupError, TypeError, zlib.error, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise DataError(
            f"data set {dataset!r} cannot be loaded ({reason}); give a hub id, a save_to_disk folder or a local file"
        ) from error
    if isinstance(loaded, Mapping):
        if split not in loaded:
            raise DataError(f"data set {dataset!r} has no split {split!r}; it has {', '.join(loaded)}: choose with --split")
        loaded = loaded[split]
    return _undecoded(loaded)


def _undecoded(rows: Any) -> Any:
    """Keep pictures as the bytes of their files: decoding them only to encode them again costs time and quality."""
    import datasets

    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
        elif isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.Image):
            rows = rows.cast_column(name, datasets.List(datasets.Image(decode=False)))
    return rows


def _columns(present: Sequence[str], asked: Mapping[str, str | None], dataset: str) -> dict[str, str]:
    found = {}
    for role, common in COLUMNS.items():
        wanted = asked.get(role)
        if wanted is not None and wanted not in present:
            raise DataError(f"data set {dataset} has no column {wanted!r} for the {role}; it has {', '.join(present)}")
        free = (column for column in common if column in present and column not in asked.values())
        name = wanted or next(free, None)
        if name is not None:
            found[role] = name
    for role in ("prompt", "answer"):
        if role not in found:
            raise DataError(
                f"data set {dataset} has no column for the {role} (looked for {', '.join(COLUMNS[role])}); it has "
                f"{', '.join(present)}: name one with --{role}-column"
            )
    return found


def _question(number: int, row: Mapping[str, Any], found: Mapping[str, str], dataset: str) -> Question:
    prompt, answer = row[found["prompt"]], row[found["answer"]]
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f"data set {dataset}, row {number}: column {found['prompt']!r} holds no prompt; drop the row")
    images: list[bytes] = []
    try:
        for given in _image_values(row.get(found.get("images", ""))):
            images.append(image_bytes(given))
            pixels(images[-1])  # a picture that no encoder can read is better found before any model is paid for it
    except DataError as error:
        raise DataError(f"data set {dataset}, row {number}, pictures: {error}") from error
    source, group = (row.get(found.get(role, "")) for role in ("source", "group"))
    return Question(
        idx=number,
        prompt=prompt,
        answer="" if answer is None else str(answer),
        images=tuple(images),
        source=None if source in (None, "") else str(source),
        group=content_key(prompt, images) if group in (None, "") else str(group),
    )


def _image_values(value: Any) -> Iterable[Any]:
    """Yield what a picture column holds: nothing, one picture, or a list; ``{"bytes", "path"}`` as its bytes."""
    if value is None:
        return
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            if item.get("bytes") is None:
                raise DataError(f"only a path ({item.get('path')}); save the data set with its pictures inside")
            yield item["bytes"]
        elif item is not None:
            yield item
