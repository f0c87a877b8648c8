"""What serving adds: both servers under load, beside the library or the endpoint alone, in one run.

    .venv-nat/bin/python benchmarks/serve.py nat          [--seconds 60] [--connections 200] [--json FILE] [--check]
    .venv-litellm/bin/python benchmarks/serve.py litellm  [--router PATH] …

Prompts are those of the quickstart; *cached* ones are asked again and again, *uncached* ones are each new (a number stands
before them). Every way is measured with one caller, who asks each way in turn, and with ``--connections`` callers, each of whom
asks anew when answered:

* ``nat``: *library* is ``ModelRouter.adecide`` in this process; *served* is ``POST /sfc_router/chat/completions`` of
  ``scripts/run_local.sh``.
* ``litellm``: *endpoint* is a made chat endpoint asked directly; *proxy* is the same endpoint through the proxy by its own
  name; *then encoder* is that, and then the encoder alone in this process, on the same prompt; *served* is the proxy asked for
  ``auto``. The router's part is *served* less *proxy*; what of it is not the encoder's is *served* less *then encoder*.

The server's embedding cache is limited to ``CACHE`` bytes, which the warm-up before each long measurement fills, so that memory
that grows afterwards is a leak and no cache. Its resident memory is sampled every second of the uncached long measurement; the
medians of the first and of the last fifth are compared.

Prints requests, errors, rate, p50 and p99 of each, the two medians, and whether the server's counters add up. ``--check`` exits
1 where there is an error or a fallback, where the counts do not add up, where memory grew by more than ``GROWTH``, or where the
proxy's router adds more than ``BEYOND_MS`` to the encoder's time, for one caller with new prompts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from callers import Ask, load, over_http, take_turns
from made_endpoint import serve

from auto_router.errors import run
from auto_router.files import write_json
from auto_router.route.router import ModelRouter

GROWTH = 30 * 2**20
BEYOND_MS = 3.0
THEN_ENCODER = "then encoder"
CACHE = 4 * 2**20  # some 600 prompts of the embedded encoder: more than the cached ones, fewer than a warm-up's new ones
KEY = "sk-benchmark"
PORT, ENDPOINT_PORT = 18431, 18432


def in_library(router: ModelRouter, callers: int) -> list[Ask]:
    async def ask(text: str) -> bool:
        return bool((await router.adecide(text)).model)

    return [ask] * callers


def then_encoded(asks: list[Ask], router: ModelRouter) -> list[Ask]:
    """Return askers that encode what they asked, when it is answered: what a router cannot but add."""

    def follow(ask: Ask) -> Ask:
        async def ask_and_encode(text: str) -> bool:
            answered = await ask(text)
            await asyncio.to_thread(router.encoder.embed, text)
            return answered

        return ask_and_encode

    return [follow(ask) for ask in asks]


class Server:
    """A server that this script started."""

    def __init__(self, process: subprocess.Popen[bytes], metrics: str) -> None:
        self.process, self._metrics = process, metrics

    def resident(self) -> int:
        """Resident memory in bytes (Linux)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024

    def counted(self, name: str) -> float:
        """Sum of a measure over its labels."""
        text = _get(self._metrics)[1]
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def _get(path: str) -> tuple[int, str]:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


@contextmanager
def started(command: Sequence[str], ready: str, metrics: str, environment: dict[str, str]) -> Iterator[Server]:
    """Run a server until the block ends."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--port", str(PORT)], cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
            env=os.environ | {"AUTO_ROUTER_VENV": sys.prefix} | environment,
        )  # fmt: skip
        try:
            until = time.monotonic() + 90
            while True:
                try:
                    if _get(ready)[0] == 200:
                        break
                except OSError:
                    pass
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    sys.exit(f"{command[0]} did not start:\n{log.read()[-3000:].decode(errors='replace')}")
                time.sleep(0.2)
            yield Server(process, metrics)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)


def litellm_config(folder: Path, names: Sequence[str]) -> Path:
    """Write a proxy configuration in which every model is the made endpoint."""
    example = ROOT / "examples" / "litellm"
    (folder / "router_callback.py").write_text((example / "router_callback.py").read_text())
    api = {"api_base": f"http://127.0.0.1:{ENDPOINT_PORT}/v1", "api_key": "none"}
    models = [{"model_name": name, "litellm_params": {"model": f"openai/{name}"} | api} for name in (*names, "auto")]
    path = folder / "config.yaml"
    settings = {"callbacks": "router_callback.router", "num_retries": 0}
    path.write_text(json.dumps({
        "model_list": models, "litellm_settings": settings, "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY"},
    }))  # fmt: skip
    return path


def measure(ways: dict[str, Callable[[int], list[Ask]]], served: str, server: Server, connections: int, seconds: float) -> Any:
    """Measure every way with one caller and with many, cached and not; the one named ``served`` for ``seconds``."""
    found: dict[str, Any] = {}
    decided = 0
    resident: list[int] = []
    for cached in (True, False):
        told = "cached" if cached else "uncached"
        one = {name: way(1)[0] for name, way in ways.items() if not (cached and name == THEN_ENCODER)}
        turns = asyncio.run(take_turns(one, min(seconds / 6, 10.0) * len(one), cached))
        found |= {f"{name}, {told}, 1": figures for name, figures in turns.items()}
        decided += int(turns[served]["requests"])
        for name, way in ways.items():
            if name == THEN_ENCODER:
                continue  # the encoder of this process would wait for itself
            long = name == served
            if long:  # warm, at the load that is measured: the encoder's buffers grow with the first large batches
                decided += int(asyncio.run(load(way(connections), max(seconds / 5, 10.0), cached))["requests"])
                resident = []
            duration = seconds if long else min(seconds / 6, 10.0)
            figures = asyncio.run(watched(load(way(connections), duration, cached), server, resident if long else []))
            found[f"{name}, {told}, {connections}"] = figures
            decided += int(figures["requests"]) if long else 0
            print(f"{name}, {told}, {connections}: {figures['per_s']:.0f}/s, p50 {figures['p50_ms']:.1f} ms", flush=True)
    fifth = max(len(resident) // 5, 1)
    early, late = (int(statistics.median(part)) for part in (resident[:fifth], resident[-fifth:]))
    counts = {
        "asked": decided,
        "decisions": int(server.counted("auto_router_decisions_total")),
        "fallbacks": int(server.counted("auto_router_fallbacks_total")),
    }
    memory = {"resident_mib": [size >> 20 for size in resident], "early_mib": early >> 20, "late_mib": late >> 20}
    return {"ways": found, **memory, "growth": late - early, "counts": counts}


async def watched(loaded: Awaitable[dict[str, float]], server: Server, resident: list[int]) -> dict[str, float]:
    """Return what ``loaded`` comes to; meanwhile add the server's resident memory to the list every second."""

    async def watch() -> None:
        while True:
            resident.append(server.resident())
            await asyncio.sleep(1.0)

    watching = asyncio.create_task(watch())
    try:
        return await loaded
    finally:
        watching.cancel()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Both servers under load, beside the library or the endpoint alone.")
    parser.add_argument("server", choices=["nat", "litellm"])
    parser.add_argument("--router", type=Path, default=ROOT / "router_artifacts" / "nn_router.pth", help="from make demo")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    environment = {
        "AUTO_ROUTER_PATH": str(arguments.router.absolute()), "AUTO_ROUTER_CACHE_BYTES": str(CACHE), "LITELLM_MASTER_KEY": KEY,
    }  # fmt: skip
    router = ModelRouter(arguments.router)
    router.warm_up()
    if arguments.server == "nat":
        path = "/sfc_router/chat/completions"
        ways = {"library": lambda n: in_library(router, n), "served": lambda n: over_http(PORT, path, KEY, "auto", n)}
        with started(["scripts/run_local.sh"], "/health", "/metrics", environment) as server:
            found = measure(ways, "served", server, arguments.connections, arguments.seconds)
    else:
        path, name = "/v1/chat/completions", router.model_names[0]
        ways = {
            "endpoint": lambda n: over_http(ENDPOINT_PORT, path, KEY, name, n),
            "proxy": lambda n: over_http(PORT, path, KEY, name, n),
            THEN_ENCODER: lambda n: then_encoded(over_http(PORT, path, KEY, name, n), router),
            "served": lambda n: over_http(PORT, path, KEY, "auto", n),
        }
        beside = multiprocessing.get_context("spawn").Process(target=serve, args=(ENDPOINT_PORT,), daemon=True)
        beside.start()
        with tempfile.TemporaryDirectory() as folder:
            command = ["examples/litellm/run.sh", str(litellm_config(Path(folder), router.model_names))]
            with started(command, "/auto_router/health", "/auto_router/metrics", environment) as server:
                found = measure(ways, "served", server, arguments.connections, arguments.seconds)
        beside.terminate()
    report(found, arguments.json, arguments.check)


def report(found: dict[str, Any], json_path: Path | None, check: bool) -> None:
    rows = [[name, *(values[column] for column in ("requests", "errors", "per_s", "p50_ms", "p99_ms"))]
            for name, values in found["ways"].items()]  # fmt: skip
    print(
        "\n" + tabulate(rows, headers=["way, prompts, callers", "requests", "errors", "/s", "p50 ms", "p99 ms"], floatfmt=".1f")
    )
    print(f"resident memory of the server: {found['early_mib']} MiB in the first fifth, {found['late_mib']} MiB in the last")
    print("counts: " + ", ".join(f"{name} {value:,}" for name, value in found["counts"].items()))
    if json_path:
        write_json(json_path, found)
    counts = found["counts"]
    encoded = found["ways"].get(f"{THEN_ENCODER}, uncached, 1")
    beyond = found["ways"]["served, uncached, 1"]["p50_ms"] - encoded["p50_ms"] if encoded else 0.0
    if encoded:
        print(f"the router adds {beyond:.1f} ms to the proxy and the encoder, one caller, p50 (at most {BEYOND_MS:.0f})")
    short = [
        what
        for what, wrong in (
            ("errors", any(values["errors"] for values in found["ways"].values())),
            ("fallbacks", counts["fallbacks"] > 0),
            ("counts that do not add up", counts["asked"] != counts["decisions"]),
            ("memory that grew", found["growth"] > GROWTH),
            ("time beyond the encoder's", beyond > BEYOND_MS),
        )
        if wrong
    ]
    if check and short:
        print(f"short of target: {', '.join(short)}")
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(run(main))
