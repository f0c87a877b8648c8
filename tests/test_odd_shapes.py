"""A hundred odd shapes of labels: each ends in a router that decides, with measures that can be, or in one clear line."""

from __future__ import annotations

import base64
import gzip
import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auto_router.artifacts import Artifact, load_artifact, save_artifact
from auto_router.assess.model_card import model_card
from auto_router.assess.tables import report
from auto_router.data.capability import settle_facts
from auto_router.data.dataset import Dataset, load_dataset
from auto_router.data.embeddings import METADATA_NAME
from auto_router.data.formats import parquet_shards, records_sha256
from auto_router.data.label_stats import MIN_LABELS
from auto_router.data.pool import Pool
from auto_router.data.records import Record, group_ids, label_matrix, model_names
from auto_router.errors import RouterError
from auto_router.train import FitSettings, assess_router, calibrate, fit
from tests.helpers import png
from tests.stage3 import ENCODER, IMAGE_DIM, TEXT_DIM

SHAPES = 100
FORMATS = ("json", "jsonl", "jsonl.gz", "parquet")
COSTS = ("none", "zero", "some", "huge", "tiny", "one model's")
MISSING = ("none", "at random", "by image", "by label", "a whole model")
THRESHOLDS: tuple[dict[str, float], ...] = ({}, {"m0": 0.0}, {"m0": 1.0}, {"m0": 1.0, "m1": 1.0})


@dataclass(frozen=True)
class Shape:
    """What is odd about one data set; all drawn by its number."""

    number: int
    rows: int
    models: int
    costs: str
    missing: str
    labels: str
    groups: str
    images: float
    format: str
    thresholds: dict[str, float]
    clones: bool

    @classmethod
    def draw(cls, number: int) -> Shape:
        rng = np.random.default_rng(number)
        return cls(
            number,
            rows=int(rng.integers(2, 21)) if number % 2 else int(rng.choice([25, 40, 80])),
            models=int(rng.choice([1, 2, 3, 5, 60], p=[0.2, 0.3, 0.3, 0.1, 0.1])),
            costs=str(rng.choice(COSTS)),
            missing=str(rng.choice(MISSING, p=[0.4, 0.2, 0.15, 0.15, 0.1])),
            labels=str(rng.choice(["0 or 1", "graded", "all right", "all wrong"], p=[0.6, 0.2, 0.1, 0.1])),
            groups=str(rng.choice(["none", "pairs", "one"], p=[0.7, 0.2, 0.1])),
            images=float(rng.choice([0.0, 0.3, 1.0], p=[0.6, 0.3, 0.1])),
            format=FORMATS[number % len(FORMATS)],
            thresholds=THRESHOLDS[number % len(THRESHOLDS)],
            clones=bool(rng.random() < 0.1),
        )  # fmt: skip

    def records(self, part: int) -> list[Record]:
        rng = np.random.default_rng([self.number, part])
        labels = {
            "0 or 1": rng.integers(0, 2, (self.rows, self.models)),
            "graded": rng.random((self.rows, self.models)).round(2),
            "all right": np.ones((self.rows, self.models)),
            "all wrong": np.zeros((self.rows, self.models)),
        }[self.labels].astype(float)
        seen = rng.random(self.rows) < self.images
        hidden = {
            "none": np.zeros(labels.shape, dtype=bool),
            "at random": rng.random(labels.shape) < 0.3,
            "by image": seen[:, None] & (np.arange(self.models) > 0),
            "by label": (labels < 0.5) & (np.arange(self.models) == self.models - 1),
            "a whole model": np.broadcast_to(np.arange(self.models) == self.models - 1, labels.shape),
        }[self.missing]
        return [
            Record(
                i if self.number % 5 else (-1) ** i * (2**62 + i),
                "the same" if self.clones else f"part {part} row {i} " + "long " * int(rng.integers(0, 50)),
                images=(image(part, i),) if seen[i] else (),
                model_scores={f"m{j}": None if hidden[i, j] else float(labels[i, j]) for j in range(self.models)},
                group={"none": None, "pairs": f"{part} {i // 2}", "one": "all"}[self.groups],
                model_costs=self.prices(),
            )
            for i in range(self.rows)
        ]  # fmt: skip

    def prices(self) -> dict[str, float | None]:
        kinds: dict[str, list[float | None]] = {
            "none": [], "zero": [0.0], "some": [0.1, None, 0.0], "huge": [1e9, 1e-9], "tiny": [1e-300, 3e-12],
            "one model's": [0.2],
        }  # fmt: skip
        values = kinds[self.costs]
        count = min(self.models, 1) if self.costs == "one model's" else self.models if values else 0
        return {f"m{j}": values[j % len(values)] for j in range(count)}


def image(part: int, row: int) -> str:
    return base64.b64encode(png((row, part, 0), (2, 2))).decode()


def write(folder: Path, shape: Shape) -> tuple[Dataset, Dataset]:
    """Write the shape in its format and read it as Stage 3 does."""
    parts = {part: shape.records(number) for number, part in enumerate(("train", "test"))}
    inputs, paths = {}, {}
    for part, records in parts.items():
        plain, names = [record.to_json() for record in records], model_names(records)
        paths[part] = folder / f"{part}{'' if shape.format == 'parquet' else '.' + shape.format}"
        write_rows(paths[part], plain, names)
        rows = np.random.default_rng([shape.number, len(part)]).normal(size=(len(records), TEXT_DIM + IMAGE_DIM))
        rows[[not record.images for record in records], TEXT_DIM:] = 0
        np.save(folder / f"{part}.npy", rows.astype(np.float32))
        inputs[part] = {"sha256": records_sha256(paths[part])}
    metadata = {"encoder": ENCODER, "embedding_dim": TEXT_DIM + IMAGE_DIM, "inputs": inputs}
    (folder / METADATA_NAME).write_text(json.dumps(metadata))
    train = load_dataset(folder / "train.npy", "train", paths["train"])
    test = load_dataset(folder / "test.npy", "test", paths["test"], train.names)
    facts, _ = settle_facts([train, test], Pool(()))
    return replace(train, facts=facts), replace(test, facts=facts)


def write_rows(path: Path, rows: list[dict[str, Any]], names: list[str]) -> None:
    if path.suffix == "":
        with parquet_shards(path, names) as append:
            for row in rows:
                append(row)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        text = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def learn(folder: Path, shape: Shape) -> tuple[Artifact, Dataset]:
    train, test = write(folder, shape)
    artifact = calibrate(fit(train, FitSettings()), train, 0)
    artifact, _ = assess_router(artifact, train, test, shape.thresholds, {}, {})
    save_artifact(folder / "nn_router.pth", artifact)
    return load_artifact(folder / "nn_router.pth"), test


@pytest.mark.parametrize("number", range(SHAPES))
def test_an_odd_shape_ends_in_a_router_or_in_one_clear_line(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = Shape.draw(number)
    refusal = why_not(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # a mean of nothing, a division by zero
        if refusal is not None:
            with pytest.raises(RouterError, match=refusal) as caught:
                learn(tmp_path, shape)
            assert "\n" not in str(caught.value)
            return
        artifact, test = learn(tmp_path, shape)
        prediction = artifact.predict(test.features)
    assert ((prediction.probabilities >= 0) & (prediction.probabilities <= 1)).all()
    metrics = json.loads(json.dumps(artifact.training.metrics, allow_nan=False))
    system = metrics["system"]
    assert system["rows"] > 0
    for name in ("router", "best_single", "random", "oracle"):
        assert system[name] is None or 0.0 <= system[name] <= 1.0
    for text in (report(metrics), model_card(artifact), capsys.readouterr().out):
        assert "nan" not in text.lower().split()
        assert "None" not in text


def why_not(shape: Shape) -> str | None:
    """Return what is said where nothing can be learned: too few labels of a model, one group, a threshold of no model."""
    records = shape.records(0)
    labels = label_matrix(records, model_names(records))
    if (~np.isnan(labels)).sum(axis=0).min() < MIN_LABELS:
        return "too few known labels to learn from: m.* at least 5 of each model are needed"
    if len(np.unique(group_ids(records))) < 2:
        return r"form 1 group\(s\)"
    return "names unknown model 'm1'" if shape.models < len(shape.thresholds) else None


def test_most_shapes_can_be_learned() -> None:
    """Else the test above would say little."""
    assert 60 <= sum(why_not(Shape.draw(number)) is None for number in range(SHAPES)) <= 90
