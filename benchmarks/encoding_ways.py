"""What does the way of encoding do to the router? Windows or one cut, all pictures or the first, on combined5.

    python benchmarks/encoding_ways.py [--seeds 20 21 22] [--json FILE]

The default router is fitted on the same training rows of each seed and scored on the same test rows; only the embedding
differs. *Difference* is paired over seeds, in accuracy points, with a 95 % t-interval. Other encoders are compared by
``encoders.py``. Rows are cached outside the project.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from quality import default_router, difference, measured
from recorded import DATA, DataSet, load_embeddings
from tabulate import tabulate

from auto_router.arrays import Array
from auto_router.data.label_stats import best_single_model
from auto_router.data.prompt_features import append_prompt_features
from auto_router.data.records import Record, group_ids, label_matrix, load_records, model_names
from auto_router.data.splits import split_by_group
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.local import LocalEncoder, cache_folder
from auto_router.errors import run
from auto_router.files import atomic_path, sha256_of, write_json

WINDOWS = "local: windows, all pictures"


class CutEncoder(LocalEncoder):
    """The local encoder that sees the first window of a prompt only."""

    def windows(self, text: str) -> list[str]:
        return super().windows(text)[:1]


def has_windows(records: list[Record], encoder: LocalEncoder) -> list[bool]:
    return [len(encoder.windows(record.prompt)) > 1 for record in records]


def variants(path: Path, records: list[Record]) -> dict[str, Array]:
    """Return each variant's rows; only what differs from the cached rows is encoded."""
    plain = load_embeddings(path, records)
    cut, local = EmbeddingGenerator(CutEncoder()), EmbeddingGenerator(LocalEncoder())
    long = has_windows(records, LocalEncoder())
    several = [len(record.images) > 1 for record in records]
    print(f"{len(records)} records: {sum(long)} have more than one window, {sum(several)} more than one picture")
    no_pictures = plain.copy()
    no_pictures[:, LocalEncoder.text_dim :] = 0.0
    return {
        WINDOWS: plain,
        "local: cut at the first 256 tokens": _changed(path, "cut", records, plain, long, cut),
        "local: first picture only": _changed(
            path, "first", [replace(r, images=r.images[:1]) for r in records], plain, several, local
        ),
        "local: no pictures (text half only)": no_pictures,
    }


def _changed(
    path: Path, name: str, records: list[Record], plain: Array, where: list[bool], generator: EmbeddingGenerator
) -> Array:
    cached = cache_folder() / "benchmarks" / f"{path.parent.name}-{sha256_of(path)[:16]}-{name}.npy"
    if not cached.exists():
        chosen = [record for record, differs in zip(records, where, strict=True) if differs]
        made = generator.embed_batch([record.prompt for record in chosen], [record.images for record in chosen])
        with atomic_path(cached) as temporary, temporary.open("wb") as file:
            np.save(file, made, allow_pickle=False)
    rows = plain.copy()
    rows[np.array(where)] = np.load(cached, allow_pickle=False)
    return rows


def speed(records: list[Record], make: Callable[[], LocalEncoder]) -> float:
    """Return prompts a second on a sample, pictures included."""
    sample = records[:: max(len(records) // 200, 1)]
    generator = EmbeddingGenerator(make())
    generator.embed("warm up")
    start = time.perf_counter()
    generator.embed_batch([r.prompt for r in sample], [r.images for r in sample])
    return len(sample) / (time.perf_counter() - start)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare ways of encoding by the router that is learned from them.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every seed")
    arguments = parser.parse_args(argv)
    path = arguments.data / "combined5" / "data.json.gz"
    records = load_records(path)
    names, groups, y = model_names(records), group_ids(records), label_matrix(records, model_names(records))
    prompts = [record.prompt for record in records]
    found: dict[str, list[dict[str, float]]] = {}
    for name, plain in variants(path, records).items():
        data = DataSet(names, groups, y, None, plain, append_prompt_features(plain, prompts))
        for seed in arguments.seeds:
            train, test = split_by_group(groups, 0.2, seed)
            router, best = default_router(data, train, y[train], seed), best_single_model(y[train])
            p = router.predict(data.rows[test])
            chosen = router.decide("accuracy", p, data.rows[test], None)
            found.setdefault(name, []).append(measured(p, chosen, y[test], best, names, None, None))
    table = []
    for name, results in found.items():
        points, half = difference(results, found[WINDOWS])
        mean = {key: float(np.mean([r[key] for r in results])) for key in ("accuracy", "gap", "auc")}
        shown = "" if name == WINDOWS else f"{points:+.2f} ± {half:.2f}"
        table.append([name, mean["accuracy"], 100 * mean["gap"], mean["auc"], shown])
    headers = [f"combined5 ({len(arguments.seeds)} seeds)", "accuracy", "gap %", "AUC", "difference"]
    print("\n" + tabulate(table, headers=headers, floatfmt=("", ".4f", ".1f", ".4f")))
    print(f"\nwindows: {speed(records, LocalEncoder):.0f} records/s, cut: {speed(records, CutEncoder):.0f} records/s")
    if arguments.json:
        write_json(arguments.json, found)


if __name__ == "__main__":
    sys.exit(run(main))
