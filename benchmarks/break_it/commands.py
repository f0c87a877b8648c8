"""A command of the project in a process of its own, within limits of time and memory, its output kept."""

from __future__ import annotations

import importlib
import io
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

MEMORY = 3 * 2**30  # bytes that a command may take for its data
# What takes seconds to import is imported once; each command then begins in a fresh copy of that process.
PRELOADED = [
    *("break_it.commands", "prepare_hf_data", "datasets", "openai", "sklearn.metrics", "charset_normalizer", "jinja2.sandbox"),
    *("auto_router.collect.http_client", "auto_router.collect.replay"),
]
CODES = (0, 2, 130, 141, 143)  # the exit codes that are promised

# The process that is copied does not take over this one's path of modules.
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. ``code`` None: it did not within its time."""

    code: int | None
    output: str
    seconds: float

    @property
    def outcome(self) -> str:
        """``hang``, ``crash``, ``clear error`` or, where it ended as it does when all is well, ``right result``."""
        if self.code is None:
            return "hang"
        if self.code not in CODES or "Traceback" in self.output:
            return "crash"
        return "right result" if self.code == 0 else "clear error"


class Command:
    """A running command: ``face`` is the module whose ``main`` takes the arguments; ``prepare`` runs before it, in there."""

    def __init__(
        self,
        face: str,
        arguments: Sequence[object],
        environment: Mapping[str, str] | None = None,
        prepare: Callable[[], None] | None = None,
        memory: int = MEMORY,
    ) -> None:
        handle, name = tempfile.mkstemp(suffix=".log")
        os.close(handle)
        self._log = Path(name)
        words = [str(argument) for argument in arguments]
        listens, begun = _context.Pipe(duplex=False)
        values = (face, words, dict(environment or {}), prepare, memory, name, begun)
        self.process: BaseProcess = _context.Process(target=_run, args=values)
        self.process.start()
        begun.close()
        # Its time begins with its first line, not with what is imported before the first command. A signal before that line
        # ends it as it ends any program.
        listens.poll(120)
        self._start = time.monotonic()

    def signal(self, number: int) -> None:
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, number)

    def wait(self, limit_s: float) -> Ended:
        """Return how it ended, within ``limit_s`` seconds, without those that it waited for a core, or by force."""
        while self.process.is_alive() and (left := self._start + limit_s + self._starved() - time.monotonic()) > 0:
            self.process.join(min(left, 1.0))
        code = self.process.exitcode
        if code is None:
            self.signal(signal.SIGKILL)
            self.process.join()
        seconds = time.monotonic() - self._start
        output = self._log.read_text(encoding="utf-8", errors="surrogateescape")
        self._log.unlink()
        return Ended(code, output, seconds)

    def _starved(self) -> float:
        """Return the seconds for which other programs of the machine kept its first thread from a core (Linux)."""
        try:
            return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9
        except OSError:  # it is gone, or this is another system
            return 0.0


def run_command(face: str, arguments: Sequence[object], limit_s: float = 60.0, **more: object) -> Ended:
    """Run a command to its end; the rest as :class:`Command`."""
    return Command(face, arguments, **more).wait(limit_s)  # type: ignore[arg-type]


def _run(
    face: str,
    arguments: list[str],
    environment: dict[str, str],
    prepare: Callable[[], None] | None,
    memory: int,
    log: str,
    begun: Connection,
) -> None:
    from auto_router.errors import end_on_signals, run

    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_on_signals()
    begun.close()
    os.environ.update(environment)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    if prepare is not None:
        prepare()
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
    code = run(lambda: importlib.import_module(face).main(arguments))
    sys.stdout.flush()
    sys.exit(code)


def quick_retries() -> None:
    """Make a hopeless endpoint hopeless soon; to be run in the command's process."""
    from auto_router.collect import runner
    from auto_router.collect.rate_limits import RetryPolicy

    runner.POLICY = RetryPolicy(
        attempts=2, first_wait=0.05, longest_wait=0.2, strikes=12, first_pause=0.2, longest_pause=0.4, pauses=2,
        pauses_of_doubtful=1,
    )  # fmt: skip
