"""The one retry policy: how long to wait for one request, and when to leave an endpoint alone.

A request is tried again after a passing failure, with exponential back-off and full jitter (M. Brooker, "Exponential Backoff
And Jitter", AWS Architecture Blog, 2015) or as ``Retry-After`` says. An endpoint that fails time and again, whoever asks, is
paused; one question then finds out whether it is back; when it is not for long, it is dropped and the others go on. So is one
that asks for more patience than a run has, and one that could never be reached.

What a run may not exceed: requests and tokens per minute. (Money: :mod:`auto_router.collect.money`.)
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from tqdm import tqdm

from auto_router.collect.reply import PassingFailure
from auto_router.errors import ProviderError

INTERRUPTED = "interrupted"
MAX_WAIT_S = 600.0  # that an endpoint may ask for; one that wants more is set aside


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
    unreached: int = 3  # connections not made that drop an endpoint which never answered

    def wait(self, attempt: int, asked_for: float | None) -> float:
        """Seconds before the try after number ``attempt`` (from 1)."""
        backoff = min(self.longest_wait, self.first_wait * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        return backoff if asked_for is None else asked_for + random.uniform(0.0, 0.1) * min(asked_for, 1.0)


class CircuitBreaker:
    """Whether one endpoint may be asked now."""

    def __init__(self, name: str, policy: RetryPolicy, stop: Cancellation, max_wait_s: float = MAX_WAIT_S) -> None:
        self.dropped: str | None = None
        self._name, self._policy, self._stop, self._max_wait_s = name, policy, stop, max_wait_s
        self._reached, self._unreached = False, 0
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
        self._reached = True
        self._strikes = self._refusals = self._pauses = 0
        self._change()

    def note_refusal(self, reason: str) -> None:
        """It answered, but refused; a bad key or a misspelt model refuses everything, and 50,000 tries prove no more."""
        self._reached = True
        self._strikes = self._pauses = 0
        self._refusals += 1
        if self._refusals >= self._policy.refusals:
            self._drop(f"refused {self._refusals} questions in a row ({reason})")
        self._change()

    def note_failure(self, failure: PassingFailure) -> None:
        """It did not answer."""
        probe, before = self._probing, self.paused
        self._strikes += 3 if failure.timed_out else 1
        self._reached |= not failure.unreachable
        self._unreached += failure.unreachable
        if failure.retry_after is not None and failure.retry_after > self._max_wait_s:
            self._drop(f"asks to wait {_format_wait(failure.retry_after)} ({failure.reason})", "is set aside")
        elif not self._reached and self._unreached >= self._policy.unreached:  # never seen alive: pauses would only take time
            self._drop(f"could not be reached ({failure.reason})")
        elif self.paused and (probe or not before):
            seconds = min(self._policy.longest_pause, self._policy.first_pause * 2**self._pauses)
            seconds = min(max(seconds, min(failure.retry_after or 0.0, self._policy.longest_pause)), self._max_wait_s)
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

    def _drop(self, why: str, how: str = "is dropped") -> None:
        if self.dropped is None:
            self.dropped = f"the endpoint {why}"
            tqdm.write(f"{self._name} {how}: {self.dropped}; the others go on, and the same command asks it again")

    def _change(self) -> None:
        self._probing = False
        self._changed.set()
        self._changed = asyncio.Event()


def _format_wait(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
