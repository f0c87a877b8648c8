"""The embedding files, and what makes vectors comparable.

``.npy`` rows lie beside metadata that ties them to the records and the encoder they came from. An encoder has a spec, a probe
where no digest can name its model, and specs are compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auto_router.arrays import Array
from auto_router.errors import DataError
from auto_router.files import atomic_path

Spec = dict[str, Any]


METADATA_NAME = "hf_embeddings_metadata.json"


def save_array(path: Path, rows: Array) -> None:
    """Write float32 rows as ``.npy``, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(rows, dtype=np.float32), allow_pickle=False)


@dataclass(frozen=True, slots=True)
class EmbeddingFile:
    """Embeddings as Stage 2 left them: rows, and what they were made from."""

    rows: Array
    """``[N, D]``, a read-only memory map."""
    encoder: Spec
    json_sha256: str
    skipped: frozenset[int]
    """Numbers of the rows that Stage 2 skipped: nothing is in them."""


def read_embeddings(npy: Path, part: str) -> EmbeddingFile:
    """Open the rows of ``part`` (``train`` or ``test``); their metadata lies beside them.

    Raises:
        DataError: a file is missing or damaged.
    """
    if not npy.exists():
        raise DataError(f"embedding file {npy} does not exist; make it with generate_embeddings.py")
    metadata = _metadata(npy.with_name(METADATA_NAME))
    try:
        rows = np.lib.format.open_memmap(npy, mode="r")
        sha256 = str(metadata["inputs"][part]["sha256"])
        encoder, dim = dict(metadata["encoder"]), int(metadata["embedding_dim"])
        skipped = frozenset(int(row) for row in metadata.get("skipped", {}).get(part, {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise DataError(f"embedding file {npy} or its metadata is damaged ({error!r}); make both again") from error
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise DataError(f"embedding file {npy} has shape {list(rows.shape)}, its metadata says {dim} columns; make both again")
    if rows.dtype.kind not in "fiu":
        raise DataError(f"embedding file {npy} holds {rows.dtype}, not real numbers; save float32 rows")
    text_dim, image_dim = encoder.get("text_dim"), encoder.get("image_dim")
    if isinstance(text_dim, int) and isinstance(image_dim, int) and text_dim + image_dim != dim:
        raise DataError(
            f"the metadata beside {npy} says {dim} columns, but {text_dim} of text and {image_dim} of images; make both again"
        )
    return EmbeddingFile(rows, encoder, sha256, skipped)


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


PROBE_TEXT = "The quick brown fox jumps over 13 lazy dogs."
PROBE_TOLERANCE = 0.02
PROBE_VALUES = 32  # of a probe of vectors of any width; those that are known to be narrow do with 8


def probe(encode: Callable[[list[str]], Array], values: int = 8) -> list[float]:
    """Return the first values of a fixed text's unit vector: tells models apart that no digest can name.

    The wider the vectors, the smaller the values, and the more of them are needed.
    """
    return [round(float(value), 3) for value in unit(encode([PROBE_TEXT]))[0, :values]]


def differences(found: Spec, expected: Spec) -> list[str]:
    """Return the names of what differs between two specs; none where they describe the same vectors.

    How an encoder is opened (``opens_with``) is no part of what it is: an address may change. Nor are the languages that it is
    said to know: they count in training.
    """
    names = []
    for name in sorted({*found, *expected} - {"opens_with", "languages"}):
        a, b = found.get(name), expected.get(name)
        if name == "probe":
            same = probes_agree(a or [], b or [])
        elif isinstance(a, dict) and isinstance(b, dict):
            same = not differences(a, b)  # the parts of a joined encoder are specs themselves
        else:
            same = a == b
        if not same:
            names.append(name)
    return names


def without_address(spec: Spec) -> Spec:
    """Return what of a spec stays the same wherever the encoder answers from."""
    return {
        name: without_address(value) if isinstance(value, dict) else value
        for name, value in spec.items()
        if name != "opens_with"
    }


def probes_agree(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether two probes are of one model, up to the rounding of different machines."""
    return len(first) == len(second) and bool(np.allclose(first, second, atol=PROBE_TOLERANCE))


def weights_digest(state: Mapping[str, Any]) -> str:
    """Return a digest of a torch model's tensors, whatever device they are on and whatever their width in bits."""
    digest = hashlib.sha256()
    for name, values in sorted(state.items()):
        plain = np.ascontiguousarray(values.detach().cpu().float().numpy())
        digest.update(f"{name}{plain.shape}".encode() + plain.tobytes())
    return digest.hexdigest()


def unit(vectors: Array) -> Array:
    """Return rows scaled to length 1; rows of zeros stay."""
    norms = np.sqrt(np.vecdot(vectors, vectors))
    norms[norms == 0] = 1.0
    return np.asarray(vectors / norms[:, None], dtype=np.float32)
