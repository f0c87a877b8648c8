"""The one retry policy: how long to wait for one request, and when to leave an endpoint alone.

A request is tried again after a passing failure, with exponential back-off and full jitter (M. Brooker, "Exponential Backoff
And Jitter", AWS Architecture Blog, 2015) or as ``Retry-After`` says. An endpoint that fails time and again, whoever asks, is
paused; one question then finds out whether it is back; when it is not for long, it is dropped and the others go on.

What a run may not exceed: requests and tokens per minute, and money.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from auto_router.collect.endpoint import PassingFailure
from auto_router.data.pool import PoolModel
from auto_router.errors import ConfigError, ProviderError

SAFE_BYTES_PER_TOKEN = 2.0  # of UTF-8; English has 4 and more, so this is on the safe side
SAFE_TOKENS_PER_IMAGE = 2000
INTERRUPTED = "interrupted"


class NotAsked(ProviderError):
    """A request was not sent, and nothing is to be recorded for it: a later run asks."""


class Cancellation:
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


class RateLimiter:
    """Spreads a rate evenly: every amount takes its share of the minute. None = unlimited."""

    def __init__(self, per_minute: float | None) -> None:
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def take(self, amount: float, stop: Cancellation) -> None:
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
    async def hold(self, amount: float, stop: Cancellation) -> AsyncIterator[None]:
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


def highest_tokens(request: dict[str, Any], model: PoolModel) -> tuple[int, int]:
    """Return prompt and answer tokens that a request will not exceed, as far as can be told without its tokenizer."""
    text, images = _size(request["messages"])
    return int(text / SAFE_BYTES_PER_TOKEN) + images * SAFE_TOKENS_PER_IMAGE + 20, model.longest_answer


def highest_cost(tokens: tuple[int, int], model: PoolModel) -> float:
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
    return sum(text for text, _ in sizes), sum(images for _, images in sizes)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds and counts. The pauses of the default add up to about a quarter of an hour."""

    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0
    strikes: int = 8  # failures in a row, over all questions, that pause an endpoint; a time-out counts three times
    refusals: int = 50  # refusals in a row (401, 404, …) that drop it at once
    first_pause: float = 5.0
    longest_pause: float = 300.0
    pauses: int = 8

    def wait(self, attempt: int, asked_for: float | None) -> float:
        """Seconds before the try after number ``attempt`` (from 1)."""
        backoff = min(self.longest_wait, self.first_wait * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        return backoff if asked_for is None else asked_for + random.uniform(0.0, 0.1) * min(asked_for, 1.0)


class CircuitBreaker:
    """Whether one endpoint may be asked now."""

    def __init__(self, name: str, policy: RetryPolicy, stop: Cancellation) -> None:
        self.dropped: str | None = None
        self._name, self._policy, self._stop = name, policy, stop
        self._strikes = self._refusals = self._pauses = 0
        self._until = 0.0
        self._probing = False
        self._changed = asyncio.Event()

    @property
    def paused(self) -> bool:
        """Whether the endpoint is left alone, one probe aside."""
        return self._strikes >= self._policy.strikes

    async def enter(self) -> None:
        """Wait until a request may go out. Raises NotAsked once the endpoint is dropped or the run ends."""
        while True:
            self._stop.check()
            if self.dropped is not None:
                raise NotAsked(f"not asked: {self.dropped}")
            wait = self._until - time.monotonic()
            if not self.paused or (wait <= 0 and not self._probing):
                self._probing = self.paused
                return
            # A second is short enough to see the run end, and long enough to cost nothing.
            try:
                await asyncio.wait_for(self._changed.wait(), min(max(wait, 0.01), 1.0))
            except TimeoutError:
                continue

    def note_answer(self) -> None:
        """The endpoint works."""
        self._strikes = self._refusals = self._pauses = 0
        self._change()

    def note_refusal(self, reason: str) -> None:
        """It answered, but refused; a bad key or a misspelt model refuses everything, and 50,000 tries prove no more."""
        self._strikes = self._pauses = 0
        self._refusals += 1
        if self._refusals >= self._policy.refusals:
            self._drop(f"refused {self._refusals} questions in a row ({reason})")
        self._change()

    def note_failure(self, failure: PassingFailure) -> None:
        """It did not answer."""
        probe, before = self._probing, self.paused
        self._strikes += 3 if failure.timed_out else 1
        if self.paused and (probe or not before):
            seconds = min(self._policy.longest_pause, self._policy.first_pause * 2**self._pauses)
            seconds = max(seconds, min(failure.retry_after or 0.0, self._policy.longest_pause))
            self._pauses += 1
            self._until = time.monotonic() + seconds
            if self._pauses > self._policy.pauses:
                self._drop(f"did not come back after {self._policy.pauses} pauses ({failure.reason})")
            else:
                tqdm.write(f"{self._name} is paused for {seconds:.0f} s: {failure.reason}")
        self._change()

    def left(self) -> None:
        """A request ended without telling anything about the endpoint."""
        self._change()

    def _drop(self, why: str) -> None:
        if self.dropped is None:
            self.dropped = f"the endpoint {why}"
            tqdm.write(f"{self._name} is dropped: {self.dropped}; the others go on, and the same command asks it again")

    def _change(self) -> None:
        self._probing = False
        self._changed.set()
        self._changed = asyncio.Event()
