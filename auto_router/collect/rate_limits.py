"""The one retry policy: how long to wait for one request, and when to leave an endpoint alone.

A request is tried again after a passing failure, with exponential back-off and full jitter (M. Brooker, "Exponential Backoff
And Jitter", AWS Architecture Blog, 2015) or as ``Retry-After`` says. An endpoint that fails time and again, whoever asks, is
paused; one question then finds out whether it is back; when it is not for long, it is dropped and the others go on. So is one
that asks for more patience than a run has, and one that could never be reached. How long an endpoint asks to be left alone
stands in a header, in the body, or in words (:func:`read_delay`).

What a run may not exceed: requests and tokens per minute. (Money: :mod:`auto_router.collect.money`.)
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from auto_router.errors import ProviderError

if TYPE_CHECKING:
    from auto_router.collect.reply import Response

INTERRUPTED = "interrupted"
MAX_WAIT_S = 600.0  # that an endpoint may ask for; one that wants more is set aside


class PassingFailure(ProviderError):
    """An exchange that failed but may succeed later.

    ``billed``: the endpoint may have answered without our seeing it. ``unreachable``: no connection was made. ``limited``: it
    works, and takes no more requests for now. ``response``: the part that came, with what it cost.
    """

    def __init__(
        self,
        reason: str,
        retry_after: float | None = None,
        billed: bool = False,
        timed_out: bool = False,
        unreachable: bool = False,
        response: Response | None = None,
        limited: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason, self.retry_after, self.billed, self.timed_out = reason, retry_after, billed, timed_out
        self.unreachable, self.response = unreachable, response
        self.limited = limited or retry_after is not None


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
    pauses_of_doubtful: int = 2  # of an endpoint that did not answer the preflight either: 15 s, while others do
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
        self._probing = self._doubtful = False
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
        self._doubtful = False
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

    def note_failed_preflight(self, failure: PassingFailure) -> None:
        """Not even a small question was answered: little patience is left for it, unless it only asks to be asked later."""
        self._doubtful = not failure.limited

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
            patience = self._policy.pauses_of_doubtful if self._doubtful else self._policy.pauses
            if self._pauses > patience:
                earlier = "did not answer the preflight and " if self._doubtful else ""
                self._drop(f"{earlier}did not come back after {patience} pauses ({failure.reason})")
            elif not self._doubtful:
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


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT = r"(milliseconds?|millis|msecs?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)\b"
_TERM = rf"(\d{{1,9}}(?:\.\d{{1,9}})?) ?{_UNIT}"
_TERMS = re.compile(_TERM + r"|(\d{1,9}(?:\.\d{1,9})?) ?(ms|[smhd])(?=\d)", re.IGNORECASE)
_WORDS = re.compile(
    r"\b(?:(?:re)?try(?:ing)?(?: again| your request| the request)?|wait|available(?: again)?|resets?)"
    r"(?: (?:in|after|for|at least|about))* ?:? ?"
    r"((?:\d[\d.]{0,18} ?[a-z]{1,12}(?:,? (?:and )?)?){1,4})",
    re.IGNORECASE,
)
_DEPTH = 6
_DELAYS = ("retrydelay", "retryafter", "retryafterseconds", "retryafterms", "retryaftermilliseconds", "estimatedtime")


def read_delay(headers: Mapping[str, str], body: Any, message: str) -> float | None:
    """Return the seconds to wait; None where nothing says so.

    ``retry-after-ms`` and ``Retry-After`` (a number, or a date by the clock of the reply's own ``Date``) come first, then
    Gemini's ``retryDelay`` or a ``retry_after`` in the body, then words such as "try again in 20s" or "retry after 1 minute".
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    for found in (_header(headers.get("Retry-After"), headers.get("Date")), _in_body(body), _in_words(message)):
        if found is not None:
            return found
    return None


def read_reset(headers: Mapping[str, str], body: Any) -> float | None:
    """Return the seconds until the limits that are used up begin anew; None where nothing says so.

    Read are ``x-ratelimit-reset``, ``-reset-requests`` and ``-reset-tokens``, in the reply's headers, or in those that its body
    passes on, each unless ``x-ratelimit-remaining`` beside it is above 0. A number is seconds, or a time since 1970.
    """
    told = {name.lower(): value for name, value in _fields(body, _DEPTH) if isinstance(value, str | int | float)}
    found = []
    for part in ("", "-requests", "-tokens"):
        left, value = (
            headers.get(name, told.get(name)) for name in (f"x-ratelimit-remaining{part}", f"x-ratelimit-reset{part}")
        )
        seconds = _seconds(value)
        seconds = _duration(value) if seconds is None and isinstance(value, str) else seconds
        if seconds is not None and not _seconds(left):
            since = seconds / 1000 if seconds > 10**11 else seconds
            found.append(max(since - time.time(), 0.0) if since > 10**9 else since)
    return max(found, default=None)


def _header(value: str | None, date: str | None) -> float | None:
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is not None or plain_number(value) is not None:
        return seconds
    try:
        return max(parsedate_to_datetime(value).timestamp() - _read_clock(date), 0.0)
    except (ValueError, OverflowError):
        return _duration(value)


def _read_clock(date: str | None) -> float:
    """Return the time of a ``Date`` header, of the clock that is meant by dates beside it; where there is none, of our own."""
    try:
        return time.time() if date is None else parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return time.time()


def _in_body(value: Any) -> float | None:
    """The first field that says when to try again, however deep."""
    for name, item in _fields(value, _DEPTH):
        plain = re.sub(r"[^a-z]", "", name.lower())
        if plain in _DELAYS:
            number = _seconds(item)
            found = number if number is not None else _duration(item) if isinstance(item, str) else None
            if found is not None:
                return found / 1000 if plain.endswith(("ms", "milliseconds")) else found
    return None


def _fields(value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth and isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name), item
            yield from _fields(item, depth - 1)
    elif depth and isinstance(value, list):
        for item in value[:20]:
            yield from _fields(item, depth - 1)


def _in_words(message: str) -> float | None:
    found = _WORDS.search(message[:2000])
    return _duration(found.group(1)) if found else None


def _duration(text: str) -> float | None:
    """Seconds of "34.07s", "1m12s", "2 hours and 5 minutes"; None where no unit stands by a number."""
    terms = [(number or joined, unit or short) for number, unit, joined, short in _TERMS.findall(text[:60])]
    if not terms:
        return None
    return sum(
        float(number) * _SECONDS["ms" if unit.lower().startswith(("ms", "milli")) else unit[0].lower()]
        for number, unit in terms
    )


def plain_number(value: Any) -> float | None:
    """Return a number as endpoints write it, as JSON or as text; None for anything else, numbers beyond a float's included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _seconds(value: Any) -> float | None:
    """Return a finite number of seconds, not below 0; None for anything else."""
    number = plain_number(value)
    return max(number, 0.0) if number is not None and number < float("inf") else None
