"""What 200,000 records cost: memory of Stages 2 and 3 on parquet shards, training beside bare matrix products, and growth.

    python benchmarks/scale.py [--steps stages training growth] [--rows 200000] [--dim 1024] [--json FILE] [--check]

- ``stages``: synthetic records (a prompt, every hundredth with a picture, 6 models) as parquet shards go through
  ``generate_embeddings.py`` (its encoder replaced by a table of vectors; all else is the real command) and
  ``nn_router.py``, as it comes (which draws 50,000 rows) and with ``--head mlp``, whose network is that of ``default_config``
  trained for 3 epochs on all rows; each in a process of its own whose peak of resident memory is taken. Targets: under 2 GB.
- ``training``: an epoch on ``rows`` of a memory-mapped file beside the matrix products of its shapes alone, three a layer for
  the training rows and one for the validation rows; in turns, medians. Target: at most 2 times.
- ``growth``: seconds of an epoch at 2,000, 20,000 and ``rows`` rows. Target: seconds a row at the most rows are no more than at
  the fewest, with 10 % for noise.

``--check`` exits 1 where a target falls short.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from train import products

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import generate_embeddings
import nn_router
from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.data.formats import parquet_shards
from auto_router.data.records import Record
from auto_router.encode.encoder import EmbeddingGenerator, Encoder
from auto_router.errors import run
from auto_router.files import write_json
from auto_router.learn.memmap import Subset
from auto_router.learn.mlp import Side, TrainConfig, train_network
from auto_router.learn.search import config_with

MODELS = [f"model-{number}" for number in range(6)]
STEPS = ("stages", "training", "growth")
EPOCHS = 3
TEST_SHARE = 10
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MOST_MIB = 2e9 / 2**20
STAGES = {"stage 2": "2", "stage 3, network": "mlp", "stage 3, default head": "stack"}
TARGETS = {f"{name} peak MiB": MOST_MIB for name in STAGES} | {"epoch ÷ products": 2.0, "growth": 1.1}


class Table(Encoder):
    """A vector a text, drawn by its digest: cheap, different for different prompts, the same every time."""

    batch_size = 256

    def __init__(self, dim: int) -> None:
        self.text_dim = self.image_dim = dim // 2
        self._noise = np.random.default_rng(0).normal(size=(4096, dim // 2)).astype(np.float32)

    @property
    def spec(self) -> Spec:
        return {"backend": "table"}

    def _of(self, items: Sequence[bytes]) -> Array:
        numbers = [int.from_bytes(hashlib.blake2b(item, digest_size=8).digest()) for item in items]
        a, b = ([number // by % 4096 for number in numbers] for by in (1, 4096))
        return np.asarray(self._noise[a] + self._noise[b])

    def embed_texts(self, texts: list[str]) -> Array:
        return self._of([text.encode() for text in texts])

    def embed_images(self, images: list[bytes]) -> Array:
        return self._of(images)


def record(i: int) -> Record:
    """Prompts of about 300 characters; each model is right on about half of them."""
    bits = hashlib.blake2b(str(i).encode(), digest_size=8).digest()
    scores = {name: bits[j] % 2 for j, name in enumerate(MODELS)}
    costs = {name: 1e-5 * (j + 1) for j, name in enumerate(MODELS)}
    images = (PIXEL,) if i % 100 == 0 else ()
    return Record(i, f"Question {i}: " + "why is this so? " * (5 + bits[7] % 30), "", images, scores, model_costs=costs)


def write(folder: Path, rows: int) -> None:
    """Write the two folders of shards."""
    for part, numbers in {"train": range(rows), "test": range(rows, rows + rows // TEST_SHARE)}.items():
        with parquet_shards(folder / part, MODELS) as append:
            for i in numbers:
                append(record(i).to_json())


def stage(which: str, folder: Path, dim: int) -> None:
    """Run Stage 2, or Stage 3 with a head, in this process and print its peak of resident memory."""
    inputs = [f"--{part}-json={folder / part}" for part in ("train", "test")]
    if which == "2":
        generate_embeddings.load_embedding_model = lambda *_: EmbeddingGenerator(Table(dim))
        generate_embeddings.main([*inputs, "--output-dir", str(folder)])
    else:
        nn_router.default_config |= {"epochs": EPOCHS}
        rows = [f"--{part}-embeddings={folder / f'hf_{part}_embeddings.npy'}" for part in ("train", "test")]
        nn_router.main([*inputs, *rows, "--output-dir", str(folder / which), "--head", which])
    print(f"peak KiB {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")


def stages(folder: Path, rows: int, dim: int) -> dict[str, float]:
    """Return seconds and peaks of the stages, each in a process of its own."""
    start = time.perf_counter()
    write(folder, rows)
    found = {"shards written s": time.perf_counter() - start}
    for name, which in STAGES.items():
        start = time.perf_counter()
        command = [sys.executable, __file__, "--stage", which, "--folder", str(folder), "--dim", str(dim)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[f"{name} s"] = time.perf_counter() - start
        found[f"{name} peak MiB"] = int(done.stdout.split("peak KiB ")[1]) / 1024
    return found


def table(path: Path, rows: int, dim: int) -> Array:
    """Return a memory map of random embeddings, made where it is not there."""
    if not path.exists():
        made = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dim))
        rng = np.random.default_rng(0)
        for start in range(0, rows, 8192):
            made[start : start + 8192] = rng.normal(size=made[start : start + 8192].shape)
        made.flush()
        del made
    found: Array = np.load(path, mmap_mode="r")
    return found


def sides(x: Array, rows: int) -> tuple[Side, Side]:
    """Return training and validation rows, in no order, of the first ``rows`` of the map, with random labels."""
    rng = np.random.default_rng(1)
    y = (rng.random((rows, len(MODELS))) < 0.5).astype(np.float32)
    order, cut = rng.permutation(rows), int(0.85 * rows)
    parts = order[:cut], order[cut:]
    return (Subset(x, parts[0]), y[parts[0]]), (Subset(x, parts[1]), y[parts[1]])


def seconds(side: Callable[[], object], runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        side()
        times.append(time.perf_counter() - start)
    return times


def training(x: Array, rows: int, rounds: int) -> dict[str, float]:
    """Return an epoch's seconds and those of its products, in turns; an epoch is that of a run of several, start included."""
    config = config_with(TrainConfig(), {**nn_router.default_config, "epochs": EPOCHS, "patience": EPOCHS})
    train, validation = sides(x, rows)
    bare = products(config, train, validation, first_input=True)
    train_network(*sides(x, 256), config, seed=0)  # torch loads its optimizers at first use, which is no part of an epoch
    epochs, alone = [], []
    for _ in range(rounds):
        alone += seconds(bare, 1)
        epochs += [took / EPOCHS for took in seconds(lambda: train_network(train, validation, config, seed=0), 1)]
        alone += seconds(bare, 1)
    found = {"epoch s": median(epochs), "products s": median(alone)}
    return found | {"epoch ÷ products": found["epoch s"] / found["products s"]}


def growth(x: Array, rows: int, rounds: int) -> dict[str, float]:
    """Return seconds a thousand rows at several sizes, and the last over the first."""
    config = config_with(TrainConfig(), {**nn_router.default_config, "epochs": EPOCHS, "patience": EPOCHS})
    sizes = sorted({min(size, rows) for size in (2_000, 20_000, rows)})
    found: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            train, validation = sides(x, size)
            runs = max(20_000 // size, 1)
            times = seconds(lambda t=train, v=validation: train_network(t, v, config, seed=0), runs)  # type: ignore[misc]
            found[size] += [1000 * took / EPOCHS / size for took in times]
    result = {f"ms a row and epoch, {size:,} rows": median(times) for size, times in found.items()}
    return result | {"growth": median(found[sizes[-1]]) / median(found[sizes[0]])}


def measured(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    if "stages" in arguments.steps:
        found |= stages(folder, arguments.rows, arguments.dim)
    if {"training", "growth"} & set(arguments.steps):
        x = table(folder / "random.npy", arguments.rows, arguments.dim)
        x[:].sum()  # into the system's cache: a disk is not what is compared
        for step, measure in (("training", training), ("growth", growth)):
            found |= measure(x, arguments.rows, arguments.rounds) if step in arguments.steps else {}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure memory, time and growth of Stages 2 and 3 on many records.")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="for the files (default: a temporary one)")
    parser.add_argument("--stage", choices=STAGES.values(), help="run this stage on --folder and print its peak memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target falls short")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    if arguments.stage:
        stage(arguments.stage, arguments.folder, arguments.dim)
        return
    with tempfile.TemporaryDirectory() as name:
        found = measured(arguments, arguments.folder or Path(name))
    table: list[list[Any]] = [[key, value, TARGETS.get(key)] for key, value in found.items()]
    print(tabulate(table, headers=["", "measured", "at most"], floatfmt=".3f"))
    if arguments.json:
        write_json(arguments.json, found)
    short = [f"{key} is {found[key]:.2f}, target {most:g}" for key, most in TARGETS.items() if found.get(key, 0) > most]
    for line in short:
        print(f"short of target: {line}")
    if arguments.check and short:
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(run(main))
