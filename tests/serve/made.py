"""A made artifact of the embedded encoder for servers in other processes: its decisions can be told beforehand.

``math`` is likely right on prompts like ``MATH``, ``poet`` on prompts like ``POEM``; ``eyes`` takes pictures and is dull.
Under ``economy`` the cheap ``poet`` answers everything that it may.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from auto_router.artifacts import Artifact, save_artifact
from auto_router.data.pool import ModelFacts
from auto_router.decide.operating_points import OperatingPoint
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import open_encoder
from auto_router.learn.mlp import NetworkConfig, RouterNetwork

MATH = "Calculate 38 * 47 - 219. Answer with just the number."
POEM = "Write a short poem about autumn rain on a quiet lake."
NAMES = ("math", "poet", "eyes")


def every_setting(path: Path) -> dict[str, Any]:
    """Return a value for every field of ``RouterSettings``, none the default; the artifact at ``path`` takes them all."""
    pool = path.with_name("pool.yaml")
    judge = "judge: {name: judge, input_usd_per_mtok: 1, output_usd_per_mtok: 1}"
    pool.write_text(f"models: [{{name: math}}, {{name: poet}}]\n{judge}\n")
    return {
        "router_path": str(path), "model_thresholds": {"math": 0.1}, "model_costs": {"math": 1.0, "poet": 0.2, "eyes": 2.0},
        "device": "cpu", "verbose": True, "fallback_model": "poet", "operating_point": "economy", "guard_unfamiliar": False,
        "encoder": "local", "clip_server": "127.0.0.1:1", "encoder_model": "x", "encoder_url": "http://127.0.0.1:1/v1",
        "encoder_key_env": "NO_KEY", "encoder_timeout_s": 5.0, "threads": 1, "cache_bytes": 10_000, "drift_window": 7,
        "timeout_s": 9.0, "log_prompts": True, "session_policy": "sticky", "session_seconds": 60.0, "max_sessions": 9,
        "session_store": "redis://127.0.0.1:1/0", "image_hosts": ("images.example",),
        "feedback_file": str(path.with_name("feedback.jsonl")), "feedback_seconds": 60.0, "explore_share": 1e-9,
        "shadow_share": 1e-9, "shadow_usd_per_day": 0.5, "shadow_pool": str(pool),
    }  # fmt: skip


@lru_cache(maxsize=1)
def local_encoder() -> EmbeddingGenerator:
    return open_encoder("local")


def save_made(
    path: Path,
    names: Sequence[str] | None = None,
    encoder: EmbeddingGenerator | None = None,
    facts: dict[str, ModelFacts] | None = None,
) -> Path:
    """Write the artifact; with ``names``, those stand for ``NAMES``, in that order. ``facts``: instead of modalities alone."""
    encoder, named = encoder or local_encoder(), tuple(names or NAMES)
    rows = encoder.embed_batch([MATH, POEM])
    towards = torch.from_numpy(rows[0] - rows[1])
    network = RouterNetwork(NetworkConfig(encoder.dim, len(named), (), 0.0)).eval()
    with torch.no_grad():
        network.output.weight.zero_()
        network.output.weight[0], network.output.weight[1] = 3 * towards, -3 * towards
        network.output.bias.copy_(torch.tensor([0.5, 0.5, -1.0]))
    modalities = [("text", "image") if place == 2 else ("text",) for place in range(len(named))]
    facts = facts or {name: ModelFacts(modalities=taken) for name, taken in zip(named, modalities, strict=True)}
    costs = dict(zip(named, [1.0, 0.1, 2.0], strict=True))
    points = {
        "accuracy": OperatingPoint("", named[0]),
        "economy": OperatingPoint("", named[0], cost_weight=1.5, costs=costs),
    }
    save_artifact(path, Artifact(network, named, encoder.spec, facts, operating_points=points))
    return path
