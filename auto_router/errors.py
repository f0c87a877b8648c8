"""The errors of the project: one small tree.

    RouterError
    ├── ConfigError      a flag, a pool entry, a threshold or a cost is wrong
    ├── DataError        a record, an image or an embedding file is wrong
    ├── ProviderError    a model endpoint cannot be used
    ├── EncoderError     an encoder cannot be loaded, reached or trusted
    │   └── InputRefusedError   it answers, and does not take this one input
    └── ArtifactError    a router artifact is missing, damaged or does not fit

Every message names the thing, what came, what is allowed and what to do. At a command line each becomes one line on
stderr and exit code 2 (:func:`run`).
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class RouterError(Exception):
    """Base of every error this project raises on purpose."""


class ConfigError(RouterError):
    """A setting is wrong: a flag, a pool entry, a threshold, a cost or an environment variable."""


class DataError(RouterError):
    """Input data is wrong: an evaluation record, a data set column, an image, an embedding file."""


class ProviderError(RouterError):
    """A model endpoint cannot be used."""


class EncoderError(RouterError):
    """An encoder cannot be loaded or reached, or it answered something other than it promised."""


class InputRefusedError(EncoderError):
    """An encoder that answers does not take this input; it may take others."""


class ArtifactError(RouterError):
    """A router artifact is missing, damaged, of an unknown format or made for another encoder."""


def printable(text: str) -> str:
    """Return ``text`` on one line, with every character that a terminal obeys rather than shows as ``\ufffd``.

    For words of strangers: an endpoint's error, a data set's prompt. What is kept in files stays as it is.
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Let an import inside the block that finds no package say how to get it: ``pip install 'auto-router[EXTRA]'``.

    Raises:
        ModuleNotFoundError: with that advice.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "auto_router":
            raise
        advice = f"this needs the package {error.name}, which is missing: pip install 'auto-router[{extra}]'"
        raise ModuleNotFoundError(advice, name=error.name) from error


def end_on_interrupt() -> None:
    """Let Ctrl-C end the process with a word and exit code 130 while a script imports; :func:`run` then takes over."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # where it is ignored, it stays so
        signal.signal(signal.SIGINT, _end_now)


def _end_now(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)  # an exception could be taken for a failed import; nothing is open yet


def run(main: Callable[[], None]) -> int:
    """Run a command's ``main`` and return its exit code: 0 done, 2 a :class:`RouterError`, 130 interrupted,
    141 nobody reads its output any more.

    A :class:`RouterError` is printed as one line without a traceback; any other exception is a bug and keeps its
    traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a console that has no λ must not end a stage
    if signal.getsignal(signal.SIGINT) is _end_now:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
        sys.stdout.flush()
    except RouterError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        try:
            print(flush=True)
        except BrokenPipeError:  # whoever read the output is gone, as after "| head"
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer has somewhere to go
            return 141
        raise  # another pipe
    return 0
