"""Is training fast? Seconds per epoch beside bare matrix products and a plain loop; the whole of Stage 3; a search.

    python benchmarks/train.py [--rounds 7] [--threads 1] [--data DIR] [--json FILE] [--check]

On the training part of combined5 with the embedded encoder (embeddings are cached outside the project), network and
settings of ``default_config``:

- an epoch of ``train_network`` (a run of several, start and validation included, divided by their number) beside the matrix
  products of its shapes alone: three a layer for the training rows (forward, gradient of the weights, gradient of the
  input), one for the validation rows. The first layer needs no gradient of its input, so the ratio to the products that
  are strictly needed is printed too. Target: at most 2 times three products a layer.
- the same beside a straightforward loop: a DataLoader, AdamW as it comes, ``loss.item()`` at every batch.
- the whole commands, in processes of their own: ``nn_router.py`` with the default head (target: 60 s), and with ``--head mlp
  --tune`` and 20 trials (target: 180 s). One run each.

The three epochs take turns, ratios are medians over rounds of the ratio within a round. ``--check`` exits 1 where a target
falls short.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import torch
from recorded import load_embeddings
from tabulate import tabulate
from torch.utils.data import DataLoader, TensorDataset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from auto_router.data.records import group_ids, label_matrix, load_records, model_names, save_records
from auto_router.data.splits import split_by_group
from auto_router.encode.factory import open_encoder
from auto_router.encode.pipeline import begin, publish, survey_records
from auto_router.errors import run
from auto_router.files import write_json
from auto_router.learn.mlp import NetworkConfig, RouterNetwork, Rows, Side, TrainConfig, masked_bce, train_network
from auto_router.learn.search import config_with
from nn_router import default_config

SET = "combined5"
EPOCHS = 4
KINDS = {"embeddings": "npy", "json": "json"}
TARGETS = {"epoch ÷ products": 2.0, "default training s": 60.0, "20-trial search s": 180.0}


def write_stages(folder: Path, data: Path) -> Rows:
    """Write what Stages 1 and 2 would have into ``folder``; return the training rows and labels."""
    path = data / SET / "data.json.gz"
    records = load_records(path)
    x, names = load_embeddings(path, records), model_names(records)
    parts = dict(zip(("train", "test"), split_by_group(group_ids(records), 0.2, seed=0), strict=True))
    generator, files = open_encoder("local"), {}
    for part, rows in parts.items():
        save_records(folder / f"{part}.json", [records[i] for i in rows])
        source = survey_records(folder / f"{part}.json")
        file = begin(generator, source, folder / f"{part}.npy")
        file.add(x[rows], [()] * len(rows), {})
        files[part] = source, file
    publish(folder, generator.spec, files)
    return x[parts["train"]].astype(np.float32), label_matrix([records[i] for i in parts["train"]], names)


def products(config: TrainConfig, train: Side, validation: Side, first_input: bool) -> Callable[[], None]:
    """Return a function that does an epoch's matrix products and nothing else."""
    held_out, pairs, checks = len(validation[0]), [], []
    for layer, (before, after) in enumerate(pairwise([train[0].shape[1], *config.hidden_dims, train[1].shape[1]])):
        values, gradients = torch.randn(config.batch_size, before), torch.randn(config.batch_size, after)
        weights = torch.randn(after, before)
        pairs += [(values, weights.T), (gradients.T, values)]
        if layer or first_input:
            pairs.append((gradients, weights))
        checks.append((torch.randn(held_out, before), weights.T))

    def epoch() -> None:
        for _ in range(len(train[0]) // config.batch_size):
            for left, right in pairs:
                torch.mm(left, right)
        for left, right in checks:
            torch.mm(left, right)

    return epoch


def plain_loop(config: TrainConfig, train: Rows, validation: Rows) -> Callable[[], None]:
    """Return a function that trains an epoch as one would write it first."""
    (x, y), (x_val, y_val) = (map(torch.from_numpy, part) for part in (train, validation))
    network = RouterNetwork(NetworkConfig(x.shape[1], y.shape[1], tuple(config.hidden_dims), config.dropout))
    loader = DataLoader(TensorDataset(x, y), batch_size=config.batch_size, shuffle=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)

    def epoch() -> None:
        network.train()
        for rows, labels in loader:
            optimizer.zero_grad()
            loss = masked_bce(network.logits(rows), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()
        network.eval()
        with torch.no_grad():
            masked_bce(network.logits(x_val), y_val).item()

    return epoch


def epochs_beside(rows: Rows, rounds: int, threads: int) -> dict[str, float]:
    """Time an epoch and what it is compared with, in turns; return medians in seconds, and ratios."""
    torch.set_num_threads(threads)
    config = config_with(TrainConfig(), {**default_config, "epochs": EPOCHS, "patience": EPOCHS})
    cut = int(0.85 * len(rows[0]))
    train, validation = (rows[0][:cut], rows[1][:cut]), (rows[0][cut:], rows[1][cut:])
    sides: dict[str, tuple[Callable[[], object], int]] = {
        "products": (products(config, train, validation, first_input=True), 1),
        "products needed": (products(config, train, validation, first_input=False), 1),
        "epoch": (lambda: train_network(train, validation, config, seed=0), EPOCHS),
        "plain loop": (plain_loop(config, train, validation), 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, (side, epochs) in sides.items():
            start = time.perf_counter()
            side()
            if number:  # the first round warms up
                seconds[name].append((time.perf_counter() - start) / epochs)
    found = {f"{name} s": median(times) for name, times in seconds.items()}
    for name in ("products", "products needed", "plain loop"):
        found[f"epoch ÷ {name}"] = median(a / b for a, b in zip(seconds["epoch"], seconds[name], strict=True))
    return found


def command_seconds(folder: Path, *flags: str) -> float:
    """Return the time of a whole run of Stage 3 in a process of its own."""
    files = [f"--{part}-{kind}={folder / part}.{end}" for part in ("train", "test") for kind, end in KINDS.items()]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, str(ROOT / "nn_router.py"), *files, "--output-dir", str(folder / "out"), *flags],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time training beside bare matrix products and a plain loop.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="threads of the epochs (a trial of a search has 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target falls short")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_stages(folder, arguments.data)
        found = epochs_beside(rows, arguments.rounds, arguments.threads)
        found["default training s"] = command_seconds(folder)
        found["20-trial search s"] = command_seconds(folder, "--head", "mlp", "--tune", "--trials", "20", "--device", "cpu")
    table = [[name, value, TARGETS.get(name)] for name, value in found.items()]
    print(tabulate(table, headers=["", "measured", "at most"], floatfmt=".3f"))
    if arguments.json:
        write_json(arguments.json, found)
    short = [f"{name} is {found[name]:.2f}, target {most:g}" for name, most in TARGETS.items() if found[name] > most]
    for line in short:
        print(f"short of target: {line}")
    if arguments.check and short:
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(run(main))
