"""How many calls a second Stage 1 manages in one process, and from workers on Ray.

    python benchmarks/collect_ray.py [--prompts 1500] [--pixels 200] [--workers 1 2] [--repeats 3] [--json FILE] [--check]

Needs Ray (``make setup-ray``). An endpoint in a process of its own answers after 200 ms; three models and a judge that every
answer goes to, 512 requests in flight: 2,560 calls a second where nothing but the endpoint takes time, so processors are the
limit. With ``--pixels`` prompts come in hundreds, and every call carries a picture. Runs take turns. ``limit`` is what the
process that decides could do with workers and processors enough, 1 / its CPU time a call; on two cores, which endpoint, workers
and it share, little of that is seen. Target, which --check holds for texts: on Ray that process takes at most half the CPU time
a call.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import collect
from tabulate import tabulate

from auto_router.cluster import ray_cluster

MAX_SHARE = 0.5
IN_FLIGHT = 512
ENGINE = ["--engine", "ray", "--ray-workers"]


def measured(folder: Path, url: str, prompts: int, workers: int, out: str) -> tuple[float, float]:
    """Return calls a second and milliseconds of CPU a call, of the process that decides; ``workers`` 0: it alone."""
    data = next(file.name for file in folder.glob("rows.*"))
    flags = [*collect.stage_flags(folder, data, out), "--concurrency", str(IN_FLIGHT)]
    before = collect.served(url)
    found = collect.child("--measure", *flags, *([*ENGINE, str(workers)] if workers else []))
    calls = collect.served(url) - before - 4  # the preflight's four small questions come before
    if calls != prompts * 3 * 2:
        raise SystemExit(f"{calls} calls were served, {prompts * 3 * 2} are meant: the measurement is void")
    return calls / found["seconds"], 1000 * found["cpu_s"] / calls


def write_rows(folder: Path, prompts: int, pixels: int | None) -> None:
    if pixels:
        collect.PIXELS = pixels
        collect.write_pictures(folder / "rows.parquet", prompts)
    else:
        rows = [{"prompt": f"Which one is number {i}?", "answer": f"the first of {i}"} for i in range(prompts)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def wait_for(port: int, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Calls a second of Stage 1: one process, and workers on Ray.")
    parser.add_argument("--prompts", type=int, default=1500)
    parser.add_argument("--pixels", type=int, help="ask each question about a picture of noise with sides so long")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="exit with 1 where the target is missed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, collect.__file__, "--serve", str(port)])
    runs: dict[int, list[tuple[float, float]]] = {workers: [] for workers in [0, *arguments.workers]}
    try:
        with tempfile.TemporaryDirectory() as name, ray_cluster() as ray:
            os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address  # one cluster for all runs
            folder, url = Path(name), f"http://127.0.0.1:{port}/v1"
            write_rows(folder, arguments.prompts, arguments.pixels)
            collect.CONCURRENCY = IN_FLIGHT  # of every endpoint of the pool
            collect.write_pool(folder / "pool.yaml", url, ["one", "two", "three"], judge=True)
            wait_for(port)
            for turn in range(arguments.repeats):
                for workers, found in runs.items():
                    found.append(measured(folder, url, arguments.prompts, workers, f"{workers}-{turn}"))
    finally:
        server.terminate()
        server.wait()
    result = {
        "one process" if not workers else f"Ray, {workers} worker{'s'[: workers - 1]}": {
            "calls_s": statistics.median(rate for rate, _ in found),
            "cpu_ms": statistics.median(cpu for _, cpu in found),
        }
        for workers, found in runs.items()
    }
    lines = [[name, f"{r['calls_s']:,.0f}", f"{r['cpu_ms']:.2f}", f"{1000 / r['cpu_ms']:,.0f}"] for name, r in result.items()]
    print(tabulate(lines, headers=["asked from", "calls a second", "CPU ms a call", "limit"], disable_numparse=True))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    share = max(r["cpu_ms"] for name, r in result.items() if name != "one process") / result["one process"]["cpu_ms"]
    print(f"CPU time a call of the process that decides, beside one process: {share:.2f} (at most {MAX_SHARE})")
    if arguments.check and share > MAX_SHARE:
        raise SystemExit("target missed: CPU time a call")


if __name__ == "__main__":
    main()
