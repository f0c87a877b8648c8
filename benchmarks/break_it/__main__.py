"""Try to break it: attacks on every stage, on loopback only, bounded in time, that end in one table.

    python benchmarks/break_it PART [PART …] [--seconds N] [--seed S]

Parts: see --help. Each prints how many attempts ended in a clear error or the right result, and how many hung, crashed,
lost or changed a result, were paid twice, executed something or sent something where it must not go. Exits 1 where any of
the last six is above 0.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]

from break_it.tally import Tally

PARTS = {
    "kills": "Stage 1: kill -9, SIGTERM and SIGINT at random moments in every kind of run",
    "folders": "Stage 1: full and read-only disks, damaged, locked and foreign journals, two runs at once",
    "artifacts": "Routers of strangers: damaged bytes, and whole containers with odd tensors, numbers and names",
    "encode": "Stage 2: image bombs, records that name files and hosts, odd files, lying encoders, kill -9",
    "pages": "Report, audit page and model card with markup in every field, opened in Chromium",
    "supply": "What is fetched: weights that were changed, what a first use looks up, pins and licences",
    "verdicts": "Stage 1: answers of a megabyte that are built to hurt the rules",
    "servers": "Both servers: odd requests, slow callers, faults of all below them (from --seconds 300: 200 callers, 60 s)",
    "workers": "The gateway with two workers: the same with fewer callers",
    "clocks": "Stage 1 and both servers while the time of day jumps (needs libfaketime)",
    "endpoints": "Stage 1: endpoints that trickle, flood, reset, lie, redirect, and echo the key",
}


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    listed = "\n".join(f"  {name:10} {about}" for name, about in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python benchmarks/break_it",
        description=__doc__,
        epilog=f"parts:\n{listed}\n\nexample: python benchmarks/break_it artifacts --seconds 120 --seed 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "all"], metavar="PART", help="which (see below), or all")
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="that a part may take about; servers begin with 100 or so (120)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (0)")
    parser.add_argument("--verbose", action="store_true", help="tell of each attempt on stderr")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    failures = 0
    for part in PARTS if "all" in arguments.parts else arguments.parts:
        tally, start = Tally(part, arguments.verbose), time.monotonic()
        importlib.import_module(f"break_it.{part}").attack(tally, arguments.seconds, arguments.seed)
        print(f"{tally.table()}\n\n{part}: {time.monotonic() - start:.0f} s, seed {arguments.seed}")
        for line in [*tally.notes, *tally.details]:
            print(f"- {line}")
        print(flush=True)
        failures += tally.failures
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
