"""The one retry policy: how long to wait for one request, and when to leave an endpoint alone.

A request is tried again after a passing failure, with exponential back-off and full jitter (M. Brooker, "Exponential Backoff
And Jitter", AWS Architecture Blog, 2015) or as ``Retry-After`` says. An endpoint that fails time and again, whoever asks, is
paused; one question then finds out whether it is back; when it is not for long, it is dropped and the others go on.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from tqdm import tqdm

from auto_router.collect.endpoint import PassingFailure
from auto_router.collect.limits import NotAsked, Stop


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


class Circuit:
    """Whether one endpoint may be asked now."""

    def __init__(self, name: str, policy: RetryPolicy, stop: Stop) -> None:
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

    def answered(self) -> None:
        """The endpoint works."""
        self._strikes = self._refusals = self._pauses = 0
        self._change()

    def refused(self, reason: str) -> None:
        """It answered, but refused; a bad key or a misspelt model refuses everything, and 50,000 tries prove no more."""
        self._strikes = self._pauses = 0
        self._refusals += 1
        if self._refusals >= self._policy.refusals:
            self._drop(f"refused {self._refusals} questions in a row ({reason})")
        self._change()

    def failed(self, failure: PassingFailure) -> None:
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
