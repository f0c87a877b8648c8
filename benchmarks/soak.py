"""A router under mixed load for minutes: no error, flat memory, and the same decisions as one at a time.

    python benchmarks/soak.py [--minutes 10] [--router PATH] [--json FILE]

Four threads call ``decide_batch``, and sixteen coroutines of one event loop ``adecide``, all on one router with a small
embedding cache: prompts of ``combined5``, a third of them with pictures, some long. Every decision is compared with the one
that the router made of the same prompt alone before (model, reason, and probabilities to 1e-4: the encoder's int8 weights
and a batch round otherwise). Prints prompts, errors, differences, and resident memory after the first tenth and at the end;
exits 1 where there is an error or a difference, or memory grew by more than ``GROWTH``.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from route import default_artifact

from auto_router.data.records import load_records
from auto_router.decide.rule import Decision
from auto_router.errors import RouterError, run
from auto_router.files import write_json
from auto_router.route.router import ModelRouter

GROWTH = 100 * 2**20
PROMPTS = 120
THREADS, COROUTINES = 4, 16
Prompt = tuple[str, tuple[str, ...]]


class Soak:
    """Counts what the workers do until the time is over."""

    def __init__(self, router: ModelRouter, prompts: list[Prompt], seconds: float) -> None:
        self.router, self.prompts = router, prompts
        self.expected = [router.decide(text, images) for text, images in prompts]
        self.until = time.monotonic() + seconds
        self.counts: Counter[str] = Counter()
        self.last_error = ""
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def note(self, places: Sequence[int], made: Sequence[Decision]) -> None:
        same = sum(_same(self.expected[place], decision) for place, decision in zip(places, made, strict=True))
        with self._lock:
            self.counts["prompts"] += len(made)
            self.counts["differences"] += len(made) - same

    def failed(self, error: RouterError) -> None:
        with self._lock:
            self.counts["errors"] += 1
            self.last_error = str(error)

    def thread(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self.over:
            places = rng.sample(range(len(self.prompts)), rng.choice([1, 1, 3, 8]))
            texts, images = zip(*(self.prompts[place] for place in places), strict=True)
            try:
                self.note(places, self.router.decide_batch(texts, images))
            except RouterError as error:
                self.failed(error)

    async def coroutine(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self.over:
            place = rng.randrange(len(self.prompts))
            try:
                self.note([place], [await self.router.adecide(*self.prompts[place])])
            except RouterError as error:
                self.failed(error)

    async def coroutines(self) -> None:
        await asyncio.gather(*(self.coroutine(100 + seed) for seed in range(COROUTINES)))


def _same(a: Decision, b: Decision) -> bool:
    close = all(abs(a.probabilities[name] - b.probabilities[name]) < 1e-4 for name in a.probabilities)
    return close and (a.model, a.reason) == (b.model, b.reason)


def resident() -> int:
    """Return the resident memory of this process in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A router under mixed load: errors, differences, memory.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--router", type=Path, help="an artifact of the local encoder (default: trained on combined5)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    records = load_records(arguments.data / "combined5" / "data.json.gz")
    pictures = [r for r in records if r.images][: PROMPTS // 3]
    texts = sorted((r for r in records if not r.images), key=lambda r: len(r.prompt))
    chosen = [*pictures, *texts[: PROMPTS // 2], *texts[-(PROMPTS // 6) :]]
    path, seconds = arguments.router or default_artifact(arguments.data / "combined5"), 60 * arguments.minutes
    with ModelRouter(path, cache_bytes=200_000, threads=1) as router:
        soak = Soak(router, [(record.prompt, record.images) for record in chosen], seconds)
        workers = [threading.Thread(target=soak.thread, args=(seed,)) for seed in range(THREADS)]
        loop = threading.Thread(target=lambda: asyncio.run(soak.coroutines()))
        for worker in (*workers, loop):
            worker.start()
        time.sleep(seconds / 10)
        early = resident()
        for worker in (*workers, loop):
            worker.join()
        late = resident()
    found = {name: soak.counts[name] for name in ("prompts", "errors", "differences")}
    found |= {"early MiB": early >> 20, "late MiB": late >> 20}
    print(f"{arguments.minutes:g} minutes: " + ", ".join(f"{name} {value}" for name, value in found.items()))
    if arguments.json:
        write_json(arguments.json, found)
    if soak.counts["errors"] or soak.counts["differences"] or late - early > GROWTH:
        sys.exit(f"soak failed: {soak.last_error or 'decisions differ or memory grew'}")


if __name__ == "__main__":
    sys.exit(run(main))
