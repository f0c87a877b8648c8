"""How every stage talks: words and tables on stdout, bars and errors on stderr; less of it, or JSON, where asked."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar

from tqdm import tqdm

from auto_router.errors import ENDS, hear_signal, printable, suggest

# What every bar looks like; what is counted in money says so behind the rate.
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
PARTIAL = BAR.replace("{n_fmt}/{total_fmt}", "{n:.0f}/{total:.0f}")  # for items that finish in part
QUIET = "print nothing but errors (and the JSON, with --json)"

_hidden = False
Thing = TypeVar("Thing")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others: the usage of a stage fills a screen. Its words stay as written."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter} | given)

    def error(self, message: str) -> NoReturn:
        flags = [flag for action in self._actions for flag in action.option_strings]
        wrong = next((word for word in message.split() if word.startswith("--") and word not in flags), None)
        advice = "" if wrong is None else suggest(wrong.split("=")[0], flags)
        self.exit(2, f"error: {printable(message)}{advice}; see {self.prog} --help\n")


def add_flags(parser: argparse.ArgumentParser, quiet: str = QUIET) -> None:
    """Add ``--quiet``, with its help, and ``--json``."""
    group = parser.add_argument_group("what is printed")
    group.add_argument("--quiet", action="store_true", help=quiet)
    group.add_argument("--json", action="store_true", help="print one JSON document on stdout; words go to stderr")


@contextlib.contextmanager
def capture_output(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a dict for the stage to fill; at the end it is printed where ``--json`` asks for it.

    Inside the block, what is printed goes nowhere with ``--quiet`` and to stderr with ``--json``. After an error no JSON is
    printed: the exit code and the line on stderr say what happened.
    """
    global _hidden
    result: dict[str, Any] = {}
    before, _hidden = _hidden, arguments.quiet
    with contextlib.ExitStack() as stack:
        stack.callback(_show_bars, before)
        if arguments.quiet:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        elif arguments.json:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield result
    if arguments.json:
        print(json.dumps(result, ensure_ascii=True, allow_nan=False))


@contextlib.contextmanager
def on_signals(call: Callable[[], object]) -> Iterator[None]:
    """Call ``call`` in the running event loop at Ctrl-C or SIGTERM, instead of what they would do.

    In another thread than the main one, which alone hears signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int) -> None:
        hear_signal(number)
        call()

    loop, before = asyncio.get_running_loop(), {number: signal.getsignal(number) for number in ENDS}
    try:
        for number in ENDS:
            loop.add_signal_handler(number, stop, number)
    except NotImplementedError:  # loops on Windows
        for number in ENDS:
            signal.signal(number, lambda number, _: loop.call_soon_threadsafe(stop, number))
    try:
        yield
    finally:
        for number, handler in before.items():
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)


def watch(items: Iterable[Thing], description: str, unit: str) -> Iterator[Thing]:
    """Yield ``items`` of unknown number under a bar that goes away at the end."""
    with bar(None, description, unit, leave=False) as shown:
        for item in items:
            yield item
            shown.update()


def _show_bars(hidden: bool) -> None:
    global _hidden
    _hidden = hidden


def bar(total: float | None, description: str, unit: str, done: float = 0, **more: Any) -> tqdm[Any]:
    """Return a progress bar of the house; hidden with ``--quiet`` and where there is nothing to count.

    ``more`` goes to tqdm: ``leave=False`` for one that passes, ``bar_format=PARTIAL`` for parts of items.
    """
    # Without a total there is no rest to tell of, and tqdm's own short form is right.
    form = {"bar_format": BAR} if total is not None else {}
    # A bar that goes away has no place in a log: None shows it on a terminal alone.
    hidden = True if _hidden or total == 0 else None if more.get("leave") is False else False
    return tqdm(
        total=total, desc=description, unit=unit, initial=done, smoothing=0.1, dynamic_ncols=True, disable=hidden, **form | more
    )
