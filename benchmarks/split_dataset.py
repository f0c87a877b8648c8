"""Split a recorded data set by group into the two evaluation JSONs that Stages 2 and 3 take, with a pool.yaml of its prices.

python benchmarks/split_dataset.py combined5 --output-dir out [--data ../shared/data] [--seed 0] [--test-fraction 0.2]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from auto_router.data.records import group_ids, load_records, model_names, save_records
from auto_router.data.splits import split_by_group
from auto_router.errors import run

DATA = ROOT.parent / "shared" / "data"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Split a recorded data set by group into evaluation JSONs.")
    parser.add_argument("name", help="folder of the data set, such as combined5")
    parser.add_argument("--data", type=Path, default=DATA, help="where the folders are")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test-fraction", type=float, default=0.2)
    arguments = parser.parse_args(argv)
    records = load_records(arguments.data / arguments.name / "data.json.gz")
    train, test = split_by_group(group_ids(records), arguments.test_fraction, arguments.seed)
    for part, rows in {"train": train, "test": test}.items():
        path = arguments.output_dir / f"hf_evaluations_{part}.json"
        save_records(path, [records[i] for i in np.sort(rows)])
        print(f"wrote {len(rows)} records to {path}")
    prices = arguments.data / arguments.name / "prices.json"
    if prices.exists():
        write_pool(arguments.output_dir / "pool.yaml", model_names(records), json.loads(prices.read_text(encoding="utf-8")))


def write_pool(path: Path, names: Sequence[str], prices: Mapping[str, Mapping[str, float]]) -> None:
    """Write what Stage 3 takes as ``--pool``: the models of the records, with their prices."""
    kept = ("input_usd_per_mtok", "output_usd_per_mtok")
    models = [{"name": n, "modalities": ["text", "image"], **{k: prices[n][k] for k in kept}} for n in names if n in prices]
    path.write_text(yaml.safe_dump({"models": models}, sort_keys=False), encoding="utf-8")
    print(f"wrote the prices of {len(models)} models to {path}")


if __name__ == "__main__":
    sys.exit(run(main))
