"""Inputs of Stage 3 as Stages 1 and 2 would leave them, in a moment: records, embeddings, metadata; and a run of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import nn_router
from auto_router.data.embeddings import METADATA_NAME
from auto_router.data.formats import records_sha256
from auto_router.data.records import Record, save_records
from tests.fakes import BLACK

TEXT_DIM, IMAGE_DIM = 6, 3
KINDS = "abc"
ENCODER = {"backend": "fake", "text_dim": TEXT_DIM, "image_dim": IMAGE_DIM}
SMALL = {"hidden_dims": [8], "epochs": 3, "patience": 2}
"""Settings of a network that is trained in a moment."""


def kind_of(record: Record) -> str:
    return record.prompt[0]


def make_records(count: int, start: int = 0, images: int = 0, costs: Mapping[str, float] | None = None) -> list[Record]:
    """Return prompts of three kinds: model a is right on the first kind, b on the second, c on the third and most of the rest.

    The last ``images`` of them have an image.
    """
    found = []
    for i in range(start, start + count):
        kind, luck = KINDS[i % 3], i * 7919 % 10
        scores = {name: float(name == kind or (name == "c" and luck < 6)) for name in KINDS}
        has_image = i >= start + count - images
        found.append(
            Record(i, f"{kind} question {i}", "", (BLACK,) if has_image else (), scores, model_costs=dict(costs or {}))
        )
    return found


def embed(records: Sequence[Record]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return ``[N, 9]``: the kind of each prompt and noise of its own; the image half is zero without an image."""
    rows = np.stack([np.random.default_rng(abs(r.idx) % 2**32).normal(0, 0.3, TEXT_DIM + IMAGE_DIM) for r in records])
    for row, record in zip(rows, records, strict=True):
        row[KINDS.find(kind_of(record))] += 1.0
        row[TEXT_DIM:] = row[TEXT_DIM:] + 1.0 if record.images else 0.0
    return rows.astype(np.float32)


def write_inputs(folder: Path, train: Sequence[Record], test: Sequence[Record]) -> list[str]:
    """Write what Stages 1 and 2 leave; return the flags of Stage 3 that read it and write to ``folder/out``."""
    folder.mkdir(exist_ok=True)
    inputs = {}
    for part, records in (("train", train), ("test", test)):
        save_records(folder / f"{part}.json", list(records))
        np.save(folder / f"{part}.npy", embed(records))
        inputs[part] = {"sha256": records_sha256(folder / f"{part}.json")}
    metadata = {"encoder": ENCODER, "embedding_dim": TEXT_DIM + IMAGE_DIM, "inputs": inputs}
    (folder / METADATA_NAME).write_text(json.dumps(metadata))
    files = [
        f"--{part}-{kind}={folder / part}.{end}" for part in inputs for kind, end in (("embeddings", "npy"), ("json", "json"))
    ]
    return [*files, f"--output-dir={folder / 'out'}", "--baselines", "--device=cpu"]


def train(folder: Path, records: Sequence[Record], test: Sequence[Record], *flags: str) -> dict[str, Any]:
    """Run Stage 3 and return its metrics."""
    nn_router.main([*write_inputs(folder, records, test), *flags])
    found: dict[str, Any] = json.loads((folder / "out" / "metrics.json").read_text(encoding="utf-8"))
    return found
