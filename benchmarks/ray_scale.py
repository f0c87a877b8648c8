"""A million records through Stage 2 on a local Ray cluster: does the driver's memory stay flat, and time grow in line?

    python benchmarks/ray_scale.py [--records 1000000] [--dim 64] [--workers 2] [--json FILE] [--check]

Needs Ray (``make setup-ray``). Records are synthetic parquet shards of 10,000; the encoder is a table of vectors, so what is
left to measure is the engine: shards read and vectors made by the workers, rows written in order by the driver. At every tenth
of the records: seconds, records a second since the one before, and the driver's resident memory. Targets: memory at the end
within 10 % of that at 20 %; the second half takes at most 1.2 times as long as the first, its start left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from scale import MODELS, ROOT, Table
from tabulate import tabulate

sys.path.insert(0, str(ROOT))

from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.pipeline import begin, survey_records
from auto_router.encode.ray_backend import fill_on_ray
from auto_router.errors import run
from auto_router.files import write_json

SHARD = 10_000


def opened(dim: int) -> EmbeddingGenerator:
    return EmbeddingGenerator(Table(dim))


def write(folder: Path, records: int) -> None:
    """Write shards column by column, which is quick."""
    import pyarrow
    import pyarrow.parquet

    for start in range(0, records, SHARD):
        numbers = range(start, min(start + SHARD, records))
        scores = [{name: (i >> j) % 2 for j, name in enumerate(MODELS)} for i in numbers]
        prompts = [f"Question {i}: " + "why is this so? " * (i % 20) for i in numbers]
        table = pyarrow.table({"idx": list(numbers), "prompt": prompts, "model_scores": scores})
        pyarrow.parquet.write_table(table, folder / f"{start:09d}.parquet", row_group_size=500)


def resident_mib() -> float:
    """Resident memory of this process now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure Stage 2 on a local Ray cluster.")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target falls short")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "records"
        folder.mkdir()
        write(folder, arguments.records)
        start = time.perf_counter()
        source = survey_records(folder)
        print(f"{source.records:,} records checked in {time.perf_counter() - start:.0f} s", flush=True)
        opener = partial(opened, arguments.dim)
        generator = opener()
        file = begin(generator, source, Path(name) / "rows.npy", engine="ray")
        marks: list[tuple[int, float, float]] = []
        start = time.perf_counter()

        def progress(count: float) -> None:
            if file.done * 10 // source.records > len(marks):
                marks.append((file.done, time.perf_counter() - start, resident_mib()))

        fill_on_ray(opener, source, file, generator.spec, progress=progress, workers=arguments.workers)
        file.discard()
    table, before = [], (0, 0.0, 0.0)
    for mark in marks:
        table.append([mark[0], mark[1], (mark[0] - before[0]) / (mark[1] - before[1]), mark[2]])
        before = mark
    headers = ["records", "seconds", "records/s since", "driver MiB"]
    print(tabulate(table, headers=headers, floatfmt=(",.0f", ".1f", ",.0f", ".0f")))
    # The first tenth holds the start of the cluster and of the workers.
    halves = marks[4][1] - marks[0][1], marks[8][1] - marks[4][1]
    found = {"driver's growth": marks[-1][2] / marks[1][2], "second half ÷ first": halves[1] / halves[0]}
    print(", ".join(f"{key} {value:.2f}" for key, value in found.items()))
    if arguments.json:
        write_json(arguments.json, {"marks": marks, **found})
    if arguments.check and (found["driver's growth"] > 1.1 or found["second half ÷ first"] > 1.2):
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(run(main))
