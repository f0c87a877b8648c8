"""What encoders over a wire share: time-outs, the one retry policy, and the watch that the same model answers.

What may pass by itself is tried again, everything else is said at once. After an outage the probe text is asked for once
more: a server that was restarted with another model of the same width would otherwise go unnoticed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from auto_router.data.embeddings import PROBE_TEXT, probe, probes_agree
from auto_router.encode.encoder import Encoder
from auto_router.errors import ConfigError, EncoderError, needs_extra

Answer = TypeVar("Answer")

ATTEMPTS = 4
FIRST_WAIT = 1.0  # seconds; doubled after every attempt, with jitter
LONGEST_WAIT = 20.0
LONGEST_GIVEN_WAIT = 90.0  # what a server may ask for in Retry-After: quotas are counted by the minute
TIMEOUT_SECONDS = 60.0

# A vendor's key goes to that vendor only, and to it without being told.
HOST_KEYS = {"api.openai.com": "OPENAI_API_KEY", "integrate.api.nvidia.com": "NVIDIA_API_KEY"}


_OPENING: ContextVar[tuple[float, int] | None] = ContextVar("opening", default=None)


class Passing(Exception):
    """A failure that may pass: a time-out, a lost connection, a busy or restarting server. The message is for people.

    ``wait``: seconds after which the server wants to be asked again, where it said so. ``answered``: it did answer, so it was
    not restarted.
    """

    def __init__(self, message: str, wait: float = 0.0, answered: bool = False) -> None:
        super().__init__(message)
        self.wait, self.answered = min(wait, LONGEST_GIVEN_WAIT), answered


@contextmanager
def opening_limits(timeout_s: float, attempts: int) -> Iterator[None]:
    """Inside the block, encoders that are opened ask no longer and no oftener than this while they open."""
    token = _OPENING.set((timeout_s, attempts))
    try:
        yield
    finally:
        _OPENING.reset(token)


class RemoteEncoder(Encoder):
    """An encoder over a wire. A back end asks once a call, through :meth:`_request`, and remembers the probe when it opens."""

    _probe: list[float]
    _limits: tuple[float, int] | None = None
    _doubted = False

    def limit_requests(self, timeout_s: float, attempts: int) -> None:
        self._limits = timeout_s, attempts

    @property
    def timeout_s(self) -> float:
        """Seconds that one request may take."""
        limits = self._limits or _OPENING.get()
        return timeout_seconds() if limits is None else limits[0]

    def _request(self, call: Callable[[], Answer]) -> Answer:
        """Return what ``call`` returns, trying again where it raises :class:`Passing`.

        Raises:
            EncoderError: the last attempt failed too, or another model answers after a failure.
        """

        def attempt() -> Answer:
            try:
                return call()
            except Passing as error:
                self._doubted = self._doubted or not error.answered
                raise

        limits = self._limits or _OPENING.get()
        try:
            answer = call_with_retries(attempt, ATTEMPTS if limits is None else limits[1])
        except EncoderError as error:
            self._doubted = self._doubted or isinstance(error.__cause__, Passing)  # it was away for all attempts
            raise
        if self._doubted and hasattr(self, "_probe"):
            self._doubted = False  # before it is asked for: that is a request, too
            try:
                self._compare(probe(self.embed_texts, len(self._probe)))
            except EncoderError:
                self._doubted = True
                raise
        return answer

    def _compare(self, found: list[float]) -> None:
        if not probes_agree(found, self._probe):
            raise EncoderError(
                f"another model answers at the encoder's address: the vector of {PROBE_TEXT!r} began with {self._probe[:4]} "
                f"when it was opened, and begins with {found[:4]} now; serve the former model there, or open the encoder anew"
            )


def call_with_retries(call: Callable[[], Answer], attempts: int) -> Answer:
    """Return what ``call`` returns, trying again where it raises :class:`Passing`.

    The clients make no attempts of their own, so attempts do not multiply.

    Raises:
        EncoderError: the last attempt failed too.
    """
    with needs_extra("openai", EncoderError):
        import tenacity  # only remote back ends need it
    growing = tenacity.wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT) + tenacity.wait_random(0, FIRST_WAIT)

    def wait(state: Any) -> float:
        error = state.outcome.exception()
        return max(growing(state), error.wait if isinstance(error, Passing) else 0.0)

    policy = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Passing), stop=tenacity.stop_after_attempt(attempts), wait=wait, reraise=True
    )
    try:
        return policy(call)
    except Passing as error:
        raise EncoderError(f"{error} ({attempts} attempt{'s' * (attempts > 1)})") from error


def timeout_seconds() -> float:
    """Return how long one request to an encoder may take: ``AUTO_ROUTER_ENCODER_TIMEOUT``, else 60 s."""
    given = os.environ.get("AUTO_ROUTER_ENCODER_TIMEOUT", "")
    try:
        seconds = float(given or TIMEOUT_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < 1e6:
        raise ConfigError(f"AUTO_ROUTER_ENCODER_TIMEOUT must be a number of seconds above 0, got {given!r}")
    return seconds
