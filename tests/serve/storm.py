"""A server under load while the service of its encoder is killed and comes back, and then its artifact is replaced."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from auto_router.encode.factory import open_encoder
from tests.checkout import ROOT
from tests.serve.made import MATH, NAMES, save_made
from tests.servers import free_port

CALLERS = 20
NORMAL = "best_value_qualified"
DOCUMENTED = {NORMAL, "encoder_failed", "timeout", "overloaded"}
Told = tuple[str, str]
"""The model and the reason of one decision, as a client is told."""


class Storm:
    """The NVCLIP peer in a process of its own, and an artifact that was trained on it."""

    def __init__(self, folder: Path) -> None:
        self.port, self.path = free_port(), folder / "nn_router.pth"
        self.url = f"http://127.0.0.1:{self.port}/v1"

    @property
    def environment(self) -> dict[str, str]:
        return {"AUTO_ROUTER_PATH": str(self.path), "AUTO_ROUTER_ENCODER_URL": self.url}

    @contextmanager
    def service(self) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "tests.nvclip_peer", str(self.port)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready"
            yield process
        finally:
            process.kill()
            process.wait()

    def save(self, names: Sequence[str] = NAMES) -> None:
        save_made(self.path, names, open_encoder("nvclip", url=self.url))

    async def blow(self, base_url: str, key: str, told: Callable[[Any], Told], first: Any, names: list[str]) -> Counter[Told]:
        """Ask all the time while the encoder dies, is started again, and the artifact becomes one for ``names``.

        ``told`` reads a raw response. Returns what all callers were told; a request that fails ends the storm.
        """
        seen: Counter[Told] = Counter()
        last, over = [("", "")], asyncio.Event()

        async def until(what: Callable[[Told], bool]) -> None:
            deadline = time.monotonic() + 60
            while not what(last[0]):
                assert time.monotonic() < deadline, f"{last[0]} at the end; so far {seen}"
                await asyncio.sleep(0.05)
            await asyncio.sleep(1)

        async with AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60) as client:

            async def caller(number: int) -> None:
                turn = 0
                while not over.is_set():
                    turn += 1
                    message: Any = {"role": "user", "content": f"{MATH} {number} {turn}"}
                    raw = await client.chat.completions.with_raw_response.create(model="auto", messages=[message])
                    last[0] = told(raw)
                    seen[last[0]] += 1

            callers = [asyncio.create_task(caller(number)) for number in range(CALLERS)]
            await until(lambda one: one[1] == NORMAL)
            await asyncio.to_thread(first.kill)
            await until(lambda one: one[1] == "encoder_failed")
            with self.service():
                await until(lambda one: one[1] == NORMAL)
                await asyncio.to_thread(self.save, names)
                await until(lambda one: one == (names[0], NORMAL))
                over.set()
                await asyncio.gather(*callers)
        return seen


def assert_counted(seen: Counter[Told], metrics: str) -> None:
    """Every decision that clients were told of is in the server's counters, and no other."""
    decisions = re.findall(r'^auto_router_decisions_total{model="(.+)",reason="(\w+)"} (\S+)$', metrics, re.MULTILINE)
    assert {(model, reason): int(float(number)) for model, reason, number in decisions} == seen
    fallbacks = re.findall(r'^auto_router_fallbacks_total{cause="(\w+)"} (\S+)$', metrics, re.MULTILINE)
    reasons: Counter[str] = Counter()
    for (_, reason), number in seen.items():
        reasons[reason] += number
    assert {cause: int(float(number)) for cause, number in fallbacks} == {
        reason: number for reason, number in reasons.items() if reason != NORMAL
    }
    assert set(reasons) <= DOCUMENTED
