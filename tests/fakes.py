"""What several tests stand on: an encoder and a network whose answers can be told beforehand, and a few inputs."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auto_router.arrays import Array
from auto_router.assess.test_set import TestSet
from auto_router.data.dataset import Prediction
from auto_router.data.embeddings import Spec
from auto_router.data.records import Record
from auto_router.encode.encoder import Encoder
from auto_router.learn.mlp import NetworkConfig, RouterNetwork, Rows, TrainConfig, Trained
from auto_router.learn.search import Trial, random_search
from tests.helpers import png

NAMES = ("big", "mid", "small")
PROBABILITIES = (0.9, 0.8, 0.6)
BLACK = "data:image/png;base64," + base64.b64encode(png((0, 0, 0))).decode()


class LetterEncoder(Encoder):
    """Text ``a…`` is [1, 0], any other [0, 1]; an image is [1]."""

    text_dim, image_dim = 2, 1

    @property
    def spec(self) -> Spec:
        return {"backend": "letters"}

    def embed_texts(self, texts: list[str]) -> Array:
        return np.array([[text[0] == "a", text[0] != "a"] for text in texts], dtype=np.float32)

    def embed_images(self, images: list[bytes]) -> Array:
        return np.ones((len(images), 1), dtype=np.float32)


def network(input_dim: int) -> RouterNetwork:
    """PROBABILITIES of NAMES for every input, except that texts on ``a`` swap the first two models."""
    built = RouterNetwork(NetworkConfig(input_dim, 3, (), 0.0)).eval()
    with torch.no_grad():
        logits = torch.logit(torch.tensor(PROBABILITIES))
        built.output.weight.zero_()
        built.output.bias.copy_(logits)
        built.output.weight[:2, 0] = logits[[1, 0]] - logits[:2]
    return built


def say(role: str, text: str) -> dict[str, Any]:
    """Return one message of a conversation."""
    return {"role": role, "content": text}


RECORD_MODELS = ["a/b", "c d"]


def make_record(i: int) -> Record:
    """Return a record that has, or lacks, what a record may have, by its number; its models are RECORD_MODELS."""
    image = base64.b64encode(png((i % 256, 0, 0))).decode()
    costs = {"a/b": 1e-7 * i} if i else {}
    return Record(i, f"prompt {i} é", "42", (image,) * (i % 3), {"a/b": i % 2, "c d": None if i % 4 else 0.25},
                  f"g{i // 2}", "s" if i else None, costs, {"c d": "timeout"} if i % 4 else {},
                  model_latencies={"c d": i / 8} if i % 2 else {})  # fmt: skip


class CountingEncoder(Encoder):
    """Vectors that can be computed by hand; remembers what it was asked."""

    text_dim, image_dim, batch_size = 2, 3, 2

    def __init__(self) -> None:
        self.texts: list[list[str]] = []
        self.images: list[list[bytes]] = []

    @property
    def spec(self) -> Spec:
        return {"backend": "counting"}

    def windows(self, text: str) -> list[str]:
        return text.split("|")

    def embed_texts(self, texts: list[str]) -> Array:
        self.texts.append(texts)
        return np.array([[3.0, 0.0] if text.startswith("x") else [0.0, 5.0] for text in texts], dtype=np.float32)

    def embed_images(self, images: list[bytes]) -> Array:
        self.images.append(images)
        return np.array([[len(image), 0, 0] for image in images], dtype=np.float32)


SEARCH_BASE = TrainConfig(hidden_dims=(16,), epochs=18, patience=18, dropout=0.1)
SEARCH_GRID: dict[str, list[Any]] = {
    "hidden_dims": [[4], [16], [16, 8]],
    "learning_rate": [1e-5, 1e-3, 1e-2],
    "batch_size": [16, 32],
}


def learnable(rows: int, seed: int = 0, models: int = 3) -> Rows:
    """Labels that follow from the sign of one dimension, with 15 % of them flipped."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 12)).astype(np.float32)
    return x, ((x[:, :models] > 0) ^ (rng.random((rows, models)) < 0.15)).astype(np.float32)


def search(journal: Path, jobs: int = 1, trials: int = 9, **changed: Any) -> tuple[list[Trial], Trained]:
    """Search SEARCH_GRID on a few learnable rows."""
    rows = learnable(100, 0), learnable(50, 1)
    return random_search(*rows, SEARCH_BASE, SEARCH_GRID, trials, 1, journal, jobs=jobs, **changed)


def same(first: tuple[list[Trial], Trained], second: tuple[list[Trial], Trained]) -> bool:
    """Whether trials, losses and the best network are the same to the bit."""
    weights = [found[1].network.state_dict() for found in (first, second)]
    return (
        first[0] == second[0]
        and first[1].history == second[1].history
        and all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    )


NAN = float("nan")
FOUR = TestSet(
    names=["weak", "strong"],
    prediction=Prediction(np.array([[0.9, 0.8], [0.2, 0.7], [0.6, 0.9], [0.4, 0.25]])),
    chosen=np.array([0, 1, 1, 0]),
    labels=np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]),
    groups=np.arange(4),
    costs=np.array([[1.0, 4.0]] * 4),
    sources=["x", "x", None, "y"],
    image_counts=np.array([0, 0, 2, 0]),
)
"""Four test rows of two models, whose measures can be computed by hand."""
POOR = {
    "no costs": replace(FOUR, costs=None, sources=None, image_counts=None),
    "no known cost": replace(FOUR, costs=np.full((4, 2), NAN)),
    "free": replace(FOUR, costs=np.zeros((4, 2))),
    "one price": replace(FOUR, costs=np.ones((4, 2))),
    "a model without a cost": replace(FOUR, costs=np.array([[NAN, 4.0]] * 4)),
    "a model without labels": replace(FOUR, labels=np.array([[NAN, 1.0], [NAN, 0.0], [NAN, 1.0], [NAN, 1.0]])),
    "the best single model without labels": replace(FOUR, labels=np.array([[1.0, NAN], [0.0, NAN], [1.0, NAN], [1.0, NAN]])),
    "nothing known of the chosen": replace(FOUR, labels=np.array([[NAN, 1.0], [0.0, NAN], [1.0, NAN], [NAN, 1.0]])),
    "one class": replace(FOUR, labels=np.ones((4, 2))),
    "never right": replace(FOUR, labels=np.zeros((4, 2))),
    "one group": replace(FOUR, groups=np.zeros(4, dtype=np.int64)),
    "one row": replace(
        FOUR, prediction=FOUR.prediction.take([0]), chosen=FOUR.chosen[:1], labels=FOUR.labels[:1], groups=FOUR.groups[:1],
        costs=None, sources=["x"], image_counts=np.zeros(1, dtype=np.int64),
    ),
    "graded": replace(FOUR, labels=np.array([[0.5, 0.2], [0.4, 0.9], [0.1, 1.0], [0.7, 0.0]])),
    "NaN in P": replace(FOUR, prediction=Prediction(np.where(FOUR.probabilities == 0.6, NAN, FOUR.probabilities))),
    "one model": replace(
        FOUR, names=["only"], prediction=Prediction(FOUR.probabilities[:, :1]), chosen=np.zeros(4, dtype=np.int64),
        labels=FOUR.labels[:, :1], costs=np.ones((4, 1)),
    ),
}  # fmt: skip
"""Test rows of which something is missing or says nothing."""


def make_test_set(count: int, models: int, seed: int, unknown: float = 0.0) -> TestSet:
    """Rows whose labels follow P, with a cost that grows with the model's number."""
    rng = np.random.default_rng(seed)
    p = rng.random((count, models)).round(2)
    labels = (rng.random((count, models)) < p).astype(float)
    labels[rng.random((count, models)) < unknown] = NAN
    labels[0] = 1.0
    return TestSet(
        names=[f"m{j}" for j in range(models)],
        prediction=Prediction(p),
        chosen=p.argmax(axis=1),
        labels=labels,
        groups=rng.integers(0, max(count // 2, 1), count),
        costs=np.tile(0.001 * (1.0 + np.arange(models)), (count, 1)),
        sources=rng.choice(["x", "y", "z"], count).tolist(),
        image_counts=rng.integers(0, 2, count),
    )
