"""The embedding files: ``.npy`` rows and the metadata that ties them to the records and the encoder they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from auto_router.arrays import Array
from auto_router.encode.spec import Spec
from auto_router.encode.stream import Source
from auto_router.encode.unfinished import UnfinishedFile
from auto_router.errors import DataError
from auto_router.files import atomic_path, release, write_json
from auto_router.records import Record, iter_records
from auto_router.shards import records_sha256

METADATA_NAME = "hf_embeddings_metadata.json"
_CHECKED = 4096  # rows looked at together


@dataclass(frozen=True, slots=True)
class Embedded:
    """Records with their rows ``[N, D]``, and the spec of the encoder that made them."""

    records: list[Record]
    """Slim ones: without pictures and answers."""
    rows: Array
    """A read-only memory map of the file, where no record was left out."""
    encoder: Spec
    json_sha256: str
    left_out: int
    """Records of the file that Stage 2 skipped: they have no row, and are not among ``records``."""
    path: Path
    places: npt.NDArray[np.int64]
    """``[N]``: which record of the file each row belongs to."""

    def whole(self, rows: Sequence[int]) -> list[Record]:
        """Return the records of these rows with pictures and answers; reads the file once more.

        Raises:
            DataError: the file is another one by now.
        """
        wanted = dict.fromkeys(self.places[list(rows)].tolist())
        found = {place: record for place, record in enumerate(iter_records(self.path)) if place in wanted}
        if len(found) < len(wanted):
            raise DataError(f"evaluation file {self.path} became shorter while it was used; make the report again")
        return [found[place] for place in wanted]


def save_array(path: Path, rows: Array) -> None:
    """Write float32 rows as ``.npy``, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(rows, dtype=np.float32), allow_pickle=False)


def publish(folder: Path, encoder: Spec, parts: Mapping[str, tuple[Source, UnfinishedFile]]) -> None:
    """Move finished files into place, and last the metadata that says they belong together.

    Args:
        folder: where ``hf_embeddings_metadata.json`` goes; the ``.npy`` files know their own places.
        encoder: the generator's spec.
        parts: ``train`` and ``test``: the input and the finished file of each.
    """
    text_dim, image_dim = encoder["text_dim"], encoder["image_dim"]
    metadata: dict[str, Any] = {
        "train_samples": parts["train"][0].records,
        "test_samples": parts["test"][0].records,
        "text_dim": text_dim,
        "image_dim": image_dim,
        "combined_dim": text_dim + image_dim,
        "embedding_dim": text_dim + image_dim,
        "embedding_structure": f"[text({text_dim}), image({image_dim})]; the image part is zeros without a picture",
        "encoder": encoder,
        "inputs": {part: {"file": source.path.name, "sha256": source.sha256} for part, (source, _) in parts.items()},
        "skipped": {part: {str(row): why for row, why in file.skipped.items()} for part, (_, file) in parts.items()},
    }
    (folder / METADATA_NAME).unlink(missing_ok=True)  # old metadata must not vouch for new rows
    for _, file in parts.values():
        file.move_into_place()
    write_json(folder / METADATA_NAME, metadata)


def load_embedded(npy: str | Path, part: str, json_path: str | Path) -> Embedded:
    """Read records and their embeddings, and check that these were made from those.

    Args:
        npy: the ``.npy`` file; its metadata lies beside it.
        part: ``train`` or ``test``.
        json_path: the evaluation file, or the folder or glob of shards, that the rows must belong to.

    Raises:
        DataError: a file is missing or damaged, or the rows do not belong to the records.
    """
    npy, json_path = Path(npy), Path(json_path)
    records = [record.slim() for record in iter_records(json_path)]
    metadata = _metadata(npy.with_name(METADATA_NAME))
    try:
        rows = np.load(npy, mmap_mode="r", allow_pickle=False)
        made_from = metadata["inputs"][part]["sha256"]
        encoder, dim = dict(metadata["encoder"]), int(metadata["embedding_dim"])
        skipped = {int(row) for row in metadata.get("skipped", {}).get(part, {})}
    except FileNotFoundError as error:
        raise DataError(f"embedding file {npy} does not exist; make it with generate_embeddings.py") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise DataError(f"embedding file {npy} or its metadata is damaged ({error!r}); make both again") from error
    if rows.shape != (len(records), dim) or made_from != records_sha256(json_path):
        raise DataError(
            f"embeddings {npy} {list(rows.shape)} were not made from {json_path} ({len(records)} records): run "
            "generate_embeddings.py again on this file"
        )
    kept = np.array([row not in skipped for row in range(len(records))], dtype=bool)
    bad = np.flatnonzero(kept & ~_finite(rows))
    if len(bad):
        raise DataError(f"embeddings {npy} hold NaN or infinite values in row {bad[0]} ({len(bad)} rows); make them again")
    left = [record for record, keep in zip(records, kept.tolist(), strict=True) if keep]
    rows = (rows if kept.all() else rows[kept]).astype(np.float32, copy=False)
    return Embedded(left, rows, encoder, made_from, len(records) - len(left), json_path, np.flatnonzero(kept))


def _finite(rows: Array) -> npt.NDArray[np.bool_]:
    """Return ``[N]``: whether every value of a row is a finite number."""
    found = np.empty(len(rows), dtype=bool)
    for start in range(0, len(rows), _CHECKED):
        found[start : start + _CHECKED] = np.isfinite(rows[start : start + _CHECKED]).all(axis=1)
        release(rows)
    return found


def _metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; generate_embeddings.py writes it beside the .npy files") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); run generate_embeddings.py again") from error
    if not isinstance(metadata, dict):
        raise DataError(f"{path} is damaged (not an object); run generate_embeddings.py again")
    return metadata
