"""The embedding files: ``.npy`` rows and the metadata that ties them to the records and the encoder they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from auto_router.encode.spec import Array, Spec
from auto_router.encode.stream import Source
from auto_router.encode.unfinished import UnfinishedFile
from auto_router.errors import DataError
from auto_router.files import atomic_path, sha256_of, write_json

METADATA_NAME = "hf_embeddings_metadata.json"


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Rows ``[N, D]`` and the spec of the encoder that made them.

    ``skipped`` are the rows that hold no embedding, zeros here: their labels must count as unknown.
    """

    rows: Array
    encoder: Spec
    json_sha256: str
    skipped: npt.NDArray[np.int64]


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


def load_embeddings(npy: str | Path, part: str, json_path: str | Path, count: int, allow_skipped: bool = False) -> Embeddings:
    """Read one embedding file and check that it was made from ``json_path``.

    Args:
        npy: the ``.npy`` file; its metadata lies beside it.
        part: ``train`` or ``test``.
        json_path: the evaluation file that the rows must belong to.
        count: the number of records in it.
        allow_skipped: take a file with skipped rows; the caller masks what :attr:`Embeddings.skipped` names.

    Raises:
        DataError: a file is missing or damaged, the rows do not belong to the records, or rows were skipped and may not be.
    """
    npy, json_path = Path(npy), Path(json_path)
    metadata = _metadata(npy.with_name(METADATA_NAME))
    try:
        rows = np.load(npy, allow_pickle=False)
        made_from = metadata["inputs"][part]["sha256"]
        encoder, dim = dict(metadata["encoder"]), int(metadata["embedding_dim"])
        skipped = np.array(sorted(int(row) for row in metadata.get("skipped", {}).get(part, {})), dtype=np.int64)
    except FileNotFoundError as error:
        raise DataError(f"embedding file {npy} does not exist; make it with generate_embeddings.py") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise DataError(f"embedding file {npy} or its metadata is damaged ({error!r}); make both again") from error
    if rows.shape != (count, dim) or made_from != sha256_of(json_path):
        raise DataError(
            f"embeddings {npy} {list(rows.shape)} were not made from {json_path} ({count} records): run "
            "generate_embeddings.py again on this file"
        )
    if len(skipped) and not allow_skipped:
        raise DataError(
            f"embeddings {npy} have no row for {len(skipped)} of {count} records (row {skipped[0]} is the first): fix their "
            f"pictures, named in {METADATA_NAME}, or drop the records, and run generate_embeddings.py again"
        )
    if len(skipped) and skipped[0] >= 0 and skipped[-1] < count:
        rows[skipped] = 0.0
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise DataError(f"embeddings {npy} hold NaN or infinite values in row {bad[0]} ({len(bad)} rows); make them again")
    return Embeddings(rows.astype(np.float32, copy=False), encoder, made_from, skipped)


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
