"""What a run may not exceed: requests and tokens per minute, and money."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from auto_router.errors import ConfigError, ProviderError
from auto_router.pool import PoolModel

BYTES_PER_TOKEN = 2.0  # of UTF-8; English has 4 and more, so this is on the safe side
TOKENS_PER_PICTURE = 2000
INTERRUPTED = "interrupted"


class NotAsked(ProviderError):
    """A request was not sent, and nothing is to be recorded for it: a later run asks."""


class Stop:
    """The wish to end a run early: what is in flight finishes, nothing new begins."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._event = asyncio.Event()

    def set(self, reason: str) -> None:
        """Ask everyone to end; the first reason stays."""
        self.reason = self.reason or reason
        self._event.set()

    def check(self) -> None:
        """Raise NotAsked once the run is to end."""
        if self.reason is not None:
            raise NotAsked(f"not asked: {self.reason}")

    async def sleep(self, seconds: float) -> None:
        """Wait, but no longer than the run lasts. Raises NotAsked when it ends."""
        self.check()
        if seconds > 0:
            try:
                await asyncio.wait_for(self._event.wait(), seconds)
            except TimeoutError:
                return
            self.check()


class Pace:
    """Spreads a rate evenly: every amount takes its share of the minute. None = unlimited."""

    def __init__(self, per_minute: float | None) -> None:
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def take(self, amount: float, stop: Stop) -> None:
        """Wait until ``amount`` may be used."""
        if self._seconds_each:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + amount * self._seconds_each
            await stop.sleep(start - now)

    def give_back(self, amount: float) -> None:
        """Return what was taken but not used."""
        self._next -= amount * self._seconds_each


class Budget:
    """Money that a run may spend, ``spent`` included; ``limit`` None = unlimited. Held for the worst case, then settled."""

    def __init__(self, limit: float | None, spent: float = 0.0) -> None:
        self.limit, self.spent = limit, spent
        self._held = 0.0
        self._settled = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, amount: float, stop: Stop) -> AsyncIterator[None]:
        """Hold ``amount`` while a request is out; :meth:`pay` what it really cost. Ends the run where it does not fit."""
        if self.limit is None:
            yield
            return
        async with self._settled:
            # Others may cost less than they hold; only when nobody else is out is the budget really used up.
            while self.spent + self._held + amount > self.limit and self._held > 1e-12:
                await self._settled.wait()
            if self.spent + amount > self.limit:
                stop.set(
                    f"--max-cost-usd {self.limit:g} is used up ({self.spent:.4f} spent; the next answer may cost {amount:.4f})"
                )
            stop.check()
            self._held += amount
        try:
            yield
        finally:
            async with self._settled:
                self._held -= amount
                self._settled.notify_all()

    def pay(self, amount: float) -> None:
        self.spent += amount


def most_tokens(request: dict[str, Any], model: PoolModel) -> tuple[int, int]:
    """Return prompt and answer tokens that a request will not exceed, as far as can be told without its tokenizer."""
    text, pictures = _size(request["messages"])
    return int(text / BYTES_PER_TOKEN) + pictures * TOKENS_PER_PICTURE + 20, model.longest_answer


def most_cost(tokens: tuple[int, int], model: PoolModel) -> float:
    """Return the most USD for so many tokens. Raises ConfigError where the model has no prices."""
    cost = model.cost(*tokens)
    if cost is None:
        raise ConfigError(
            f"--max-cost-usd needs the prices of {model.name}: set input_usd_per_mtok and output_usd_per_mtok (0 for free)"
        )
    return cost


def _size(content: Any) -> tuple[int, int]:
    """Return the UTF-8 bytes of all text, and how many pictures there are."""
    if isinstance(content, str):
        return (0, 1) if content.startswith("data:image/") else (len(content.encode("utf-8", "surrogatepass")), 0)
    if isinstance(content, dict):
        content = list(content.values())
    sizes = [_size(item) for item in content] if isinstance(content, list) else []
    return sum(text for text, _ in sizes), sum(pictures for _, pictures in sizes)
