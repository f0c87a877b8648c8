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

import atexit
import difflib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
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


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'train'?)`` where something known is spelt alike; else nothing."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


class MissingExtraError(ConfigError, ModuleNotFoundError):
    """A package that an extra brings is not installed, or does not work."""


def advise_install(extra: str) -> str:
    """Return the command that installs an extra: of the package where it is installed, else of the checkout."""
    installed = next(iter(metadata.distributions(name="auto-router")), None) is not None
    return f"pip install '{'auto-router' if installed else '.'}[{extra}]'"


@contextmanager
def needs_extra(extra: str, kind: type[RouterError] | None = None) -> Iterator[None]:
    """Let an import inside the block that finds no package, or one that does not work, say how to get it.

    Raises:
        MissingExtraError: with that advice; ``kind`` in place of it, where that is given.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").split(".")[0] == "auto_router":
            raise
        what = f"the package {error.name}" if error.name else "a package"  # a library that cannot be loaded has no name
        why = "which is missing" if isinstance(error, ModuleNotFoundError) else f"which does not work ({error})"
        advice = f"this needs {what}, {why}: {advise_install(extra)}"
        if kind is not None:
            raise kind(advice) from error
        missing = MissingExtraError(advice)
        missing.name = error.name
        raise missing from error


ENDS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "stopped")}
"""What ends a command from outside: its exit code and its last line."""

_Handler = Callable[[int, FrameType | None], object] | int | None
_heard: int = signal.SIGINT
_of_host: _Handler = None  # what the program that calls run() has for Ctrl-C


def end_on_signals() -> None:
    """Let Ctrl-C and SIGTERM end the process with a line and its exit code while a script imports; :func:`run` then takes over.

    When all is done and only the interpreter is left to end, they are ignored.
    """
    for number in _handle(dict.fromkeys(ENDS, _end_now)):
        atexit.register(signal.signal, number, signal.SIG_IGN)  # registered first, so called last


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the process as :func:`end_on_signals` does, for imports inside of :func:`run`."""
    before = _handle(dict.fromkeys(ENDS, _end_now))
    try:
        yield
    finally:
        _handle(before)


def hear_signal(number: int) -> None:
    """Keep which signal ends this process: a ``KeyboardInterrupt`` that follows is told as that one by :func:`run`."""
    global _heard
    _heard = number


def _handle(handlers: Mapping[signal.Signals, _Handler]) -> dict[signal.Signals, _Handler]:
    """Set handlers of signals, but not where a signal is ignored or has a handler of the host; return those before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in handlers}
    before = {number: handler for number, handler in before.items() if handler in _OURS}
    for number in before:
        signal.signal(number, handlers[number])
    return before


def _end_now(number: int, frame: FrameType | None) -> None:
    code, line = ENDS[signal.Signals(number)]
    os.write(2, f"{line}\n".encode())
    os._exit(code)  # an exception could be taken for a failed import; nothing is open yet


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does now: where asyncio runs, its task is cancelled first."""
    hear_signal(number)
    handler = signal.getsignal(signal.SIGINT)
    # Ctrl-C is ignored, as a shell does for what it starts in the background; or it is the host's, who was not called.
    if not callable(handler) or handler is _of_host:
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


_OURS = (signal.default_int_handler, signal.SIG_DFL, _end_now, _interrupt)


def run(main: Callable[[], None]) -> int:
    """Run a command's ``main`` and return its exit code: 0 done, 2 a :class:`RouterError`, 130 interrupted, 141 nobody reads
    its output any more, 143 stopped by SIGTERM.

    A :class:`RouterError` is printed as one line without a traceback; any other exception is a bug and keeps its
    traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a console that has no λ must not end a stage
    global _of_host
    hear_signal(signal.SIGINT)
    own, _of_host = _of_host, None if signal.getsignal(signal.SIGINT) in _OURS else signal.getsignal(signal.SIGINT)
    before = _handle({signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _interrupt})
    try:
        try:
            main()
            sys.stdout.flush()
        finally:
            _handle(before)
            _of_host = own
    except RouterError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        code, line = ENDS[signal.Signals(_heard)]
        print(line, file=sys.stderr)
        return code
    except BrokenPipeError:
        try:
            print(flush=True)
        except BrokenPipeError:  # whoever read the output is gone, as after "| head"
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer has somewhere to go
            return 141
        raise  # another pipe
    return 0
