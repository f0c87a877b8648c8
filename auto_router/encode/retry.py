"""The one retry policy of remote encoders: what may pass by itself is tried again, everything else is said at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from auto_router.errors import ConfigError, EncoderError

Answer = TypeVar("Answer")

ATTEMPTS = 4
FIRST_WAIT = 1.0  # seconds; doubled after every attempt, with jitter
LONGEST_WAIT = 20.0
TIMEOUT_SECONDS = 60.0


class Passing(Exception):
    """A failure that may pass: a time-out, a lost connection, a busy or restarting server. The message is for people."""


def call_with_retries(call: Callable[[], Answer]) -> Answer:
    """Return what ``call`` returns, trying again where it raises :class:`Passing`.

    The clients below make no attempts of their own, so attempts do not multiply.

    Raises:
        EncoderError: the last attempt failed too.
    """
    try:
        import tenacity  # only remote back ends need it
    except ImportError as error:
        raise EncoderError(f"remote encoders need tenacity ({error}): pip install 'auto-router[nvclip]'") from error
    policy = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Passing),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT) + tenacity.wait_random(0, FIRST_WAIT),
        reraise=True,
    )
    try:
        return policy(call)
    except Passing as error:
        raise EncoderError(f"{error} ({ATTEMPTS} attempts)") from error


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
