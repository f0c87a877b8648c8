"""A trained router with its report, made from invented rows in a second or two, hostile texts included."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

import nn_router
from auto_router.data.embeddings import METADATA_NAME, save_array
from auto_router.data.records import Record, save_records
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.local import LocalEncoder
from auto_router.files import sha256_of, write_json
from tests.helpers import png

BREAK_OUT = '</script><img src=x onerror="window.broken=1"><script>window.broken=1</script>'
MODELS = ["vendor/plain", 'O\'Neill "quoted" & <b>bold</b>', BREAK_OUT]


def records(count: int, seed: int) -> tuple[list[Record], np.ndarray[Any, Any]]:
    """Records of which each model is right on one kind, and rows of features that tell the kind."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, count)
    spec = EmbeddingGenerator(LocalEncoder()).spec
    rows = 0.05 * rng.standard_normal((count, spec["text_dim"] + spec["image_dim"])).astype(np.float32)
    rows[np.arange(count), kinds] += 1.0
    made = []
    for i, kind in enumerate(kinds.tolist()):
        right = [int(rng.random() < (0.75 if j == kind else 0.45)) for j in range(3)]
        scores: dict[str, float | None] = dict(zip(MODELS, right, strict=True))
        if i % 13 == 0:
            scores[MODELS[0]] = None
        images = (base64.b64encode(png((i % 256, 90, 200), (64, 40))).decode(),) if kind == 2 else ()
        prompt = f"{BREAK_OUT} prompt {seed} {i} of kind {kind}: \ud800 and 中文 \u2028 {'x' * 500}"
        errors = {MODELS[0]: f"HTTP 500 {BREAK_OUT}"} if scores[MODELS[0]] is None else {}
        cost = {name: 0.001 * (j + 1) * (1 + i % 3) for j, name in enumerate(MODELS)}
        checks: dict[str, dict[str, float | None]] = {"audit": {MODELS[2]: i % 2}} if i % 5 == 0 else {}
        made.append(
            Record(
                i, prompt, BREAK_OUT, images, scores, None, f"kind {kind} {BREAK_OUT}", cost, errors, label_source="silver",
                label_checks=checks, model_latencies={name: 0.5 * (j + 1) + i % 7 for j, name in enumerate(MODELS)},
            )
        )  # fmt: skip
    return made, rows


def trained(folder: Path, *flags: str) -> Path:
    """Write the inputs of Stage 3, run it with ``flags``, and return its output folder."""
    spec = EmbeddingGenerator(LocalEncoder()).spec
    inputs, arguments = {}, []
    for seed, (part, count) in enumerate({"train": 160, "test": 120}.items()):
        made, rows = records(count, seed)
        path = folder / f"hf_evaluations_{part}.json"
        save_records(path, made)
        save_array(folder / f"hf_{part}_embeddings.npy", rows)
        inputs[part] = {"file": path.name, "sha256": sha256_of(path)}
        arguments += [f"--{part}-json", str(path), f"--{part}-embeddings", str(folder / f"hf_{part}_embeddings.npy")]
    metadata = {"embedding_dim": spec["text_dim"] + spec["image_dim"], "encoder": spec, "inputs": inputs, "skipped": {}}
    write_json(folder / METADATA_NAME, metadata)
    nn_router.main([*arguments, "--output-dir", str(folder / "router_artifacts"), "--device", "cpu", *flags])
    return folder / "router_artifacts"
