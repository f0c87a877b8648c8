"""Sessions under load, and long prompts beside short ones.

    OMP_NUM_THREADS=1 python benchmarks/sessions.py [--router FILE] [--seconds 60] [--callers 200] [--sessions 2000]
                                                    [--json FILE] [--check]

1. Prompts of 1, 20 and 200 kB, and of one full window: the median time of a decision that nobody remembers.
2. A short prompt alone, and beside eight of 60 kB that wait at the same time.
3. Two worker processes with one Redis (a ``redis-server`` that is installed is started on loopback): callers ask for random
   sessions, each of which was begun by a known model. Then Redis is killed and started again while they go on.

Targets (``--check`` exits 1 where one is missed): 200 kB take at most three times as long as one full window; the short prompt
waits at most three times what it takes alone; no session gets another's model; the workers' memory grows by at most 10 %;
every request is decided while Redis is away, as ``store_down``.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from conversations import hold_out
from recorded import DATA

from auto_router.encode.factory import open_encoder
from auto_router.errors import run
from auto_router.files import write_json
from auto_router.route.router import ModelRouter
from tests.servers import free_port

SENTENCE = "The committee will meet again next Tuesday to discuss the budget. "
WINDOW = SENTENCE * 17  # some 1,100 characters: one window of 256 tokens
MAX_RATIO, MAX_GROWTH = 3.0, 0.10
WORKERS = 2


@dataclass
class Load:
    """What one worker saw."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    grown: float = 0.0
    """Of resident memory, from after its first tenth to its end."""


def open_router(path: str, **settings: Any) -> ModelRouter:
    return ModelRouter(path, encoder=open_encoder("local", threads=1), device="cpu", **settings)


def median_ms(router: ModelRouter, text: Callable[[int], str], times: int = 7) -> float:
    taken = []
    for number in range(times):
        start = time.perf_counter()
        router.decide(text(number))
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken)


def measure_lengths(router: ModelRouter) -> dict[str, float]:
    """Return milliseconds of a decision by the length of its prompt."""
    router.warm_up()
    sizes = {"one window": len(WINDOW), "1 kB": 1_000, "20 kB": 20_000, "200 kB": 200_000}
    return {name: median_ms(router, partial(make_prompt, size)) for name, size in sizes.items()}


def make_prompt(size: int, number: int) -> str:
    return f"{number} of {size}: {SENTENCE * (size // len(SENTENCE) + 1)}"[:size]


def measure_neighbours(router: ModelRouter) -> dict[str, float]:
    """Return milliseconds of a short prompt alone, and beside eight long ones."""

    async def ask(number: int, long: int) -> float:
        others = [asyncio.create_task(router.adecide(f"{number} {i} {SENTENCE * 900}")) for i in range(long)]
        await asyncio.sleep(0.005)
        start = time.perf_counter()
        await router.adecide(f"What is {number} plus {long}?")
        taken = 1000 * (time.perf_counter() - start)
        await asyncio.gather(*others)
        return taken

    alone = statistics.median(asyncio.run(ask(number, 0)) for number in range(9))
    beside = statistics.median(asyncio.run(ask(number, 8)) for number in range(9))
    return {"alone": alone, "beside eight long ones": beside}


def work(path: str, url: str, callers: int, models: Sequence[str], seconds: float, seed: int) -> Load:
    """Ask for random sessions from many callers; a session that is known must have the model it began with."""
    load, drawn, until = Load(), random.Random(seed), time.monotonic() + seconds
    texts = ["What is 3 plus 4?", "Write a short poem about rain.", "Which river flows through Budapest?", "ok thanks"]

    async def call(router: ModelRouter) -> None:
        while time.monotonic() < until:
            place = drawn.randrange(len(models))
            made = await router.adecide(drawn.choice(texts), session=str(place))
            load.outcomes[str(made.session)] += 1
            load.wrong += made.session == "kept" and made.model != models[place]

    async def all_callers(router: ModelRouter) -> None:
        tasks = [asyncio.create_task(call(router)) for _ in range(callers)]
        await asyncio.sleep(seconds / 10)
        before = resident()
        await asyncio.gather(*tasks)
        load.grown = resident() / before - 1.0

    with open_router(path, session_policy="sticky", session_store=url) as router:
        asyncio.run(all_callers(router))
    return load


def resident() -> float:
    """Return this process's resident memory in MB (Linux; elsewhere the most it ever had)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


class Redis:
    """A redis-server on loopback that can be killed and started again."""

    def __init__(self, folder: str) -> None:
        self.port, self._folder = free_port(), folder
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self._folder]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(1.0)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def put_under_load(path: str, callers: int, sessions: int, seconds: float) -> dict[str, Any]:
    """Return what the workers saw with Redis, and while it went and came back."""
    with tempfile.TemporaryDirectory() as folder:
        redis = Redis(folder)
        url = f"redis://127.0.0.1:{redis.port}/0"
        try:
            with open_router(path, session_policy="sticky", session_store=url) as router:
                prompts = [f"Question {number}: {SENTENCE[: number % 60]}" for number in range(sessions)]
                models = [router.decide(prompt, session=str(number)).model for number, prompt in enumerate(prompts)]
            with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
                share = callers // WORKERS
                steady = pool.starmap(work, [(path, url, share, models, seconds, seed) for seed in range(WORKERS)])
                faults = [threading.Timer(seconds / 4, redis.stop), threading.Timer(seconds / 2, redis.start)]
                for fault in faults:
                    fault.start()
                shaken = pool.starmap(work, [(path, url, share, models, seconds, seed) for seed in range(WORKERS)])
        finally:
            redis.stop()
    return {
        "steady": sum((load.outcomes for load in steady), Counter()),
        "wrong": sum(load.wrong for load in steady),
        "memory": max(load.grown for load in steady),
        "Redis away": sum((load.outcomes for load in shaken), Counter()),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Sessions under load, and long prompts beside short ones.")
    parser.add_argument("--router", type=Path, help="an artifact; without one, that of conversations.py on llmrouter14, seed 0")
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds llmrouter14")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--callers", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.router is None:
        arguments.router = hold_out(arguments.data / "llmrouter14", 0, 1).path
    with open_router(str(arguments.router)) as router:
        found: dict[str, Any] = {"ms by length": measure_lengths(router), "ms of a short prompt": measure_neighbours(router)}
    if shutil.which("redis-server"):
        found["load"] = put_under_load(str(arguments.router), arguments.callers, arguments.sessions, arguments.seconds)
    else:
        print("redis-server is not installed: no load on Redis", file=sys.stderr)
    for name, value in found.items():
        print(name, dict(value))
    if arguments.json:
        write_json(arguments.json, found)
    missed = misses(found) if arguments.check else []
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    if missed:
        sys.exit(1)


def misses(found: dict[str, Any]) -> list[str]:
    """Return what falls short of the targets."""
    lengths, short, load = found["ms by length"], found["ms of a short prompt"], found.get("load")
    missed = []
    if lengths["200 kB"] > MAX_RATIO * lengths["one window"]:
        missed.append(f"200 kB take {lengths['200 kB'] / lengths['one window']:.1f} times as long as one window")
    if short["beside eight long ones"] > MAX_RATIO * short["alone"]:
        missed.append(
            f"a short prompt beside long ones takes {short['beside eight long ones'] / short['alone']:.1f} times as long"
        )
    if load is None:
        return [*missed, "there was no Redis"]
    if load["wrong"]:
        missed.append(f"{load['wrong']} decisions had another session's model")
    if load["memory"] > MAX_GROWTH:
        missed.append(f"memory grew by {load['memory']:.0%}")
    if not load["Redis away"]["store_down"] or not load["Redis away"]["kept"]:
        missed.append(f"while Redis went and came back: {dict(load['Redis away'])}")
    return missed


if __name__ == "__main__":
    sys.exit(run(main))
