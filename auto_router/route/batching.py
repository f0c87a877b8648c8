"""Concurrent callers share batches: one worker thread takes what has gathered while it was busy."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from auto_router.errors import ConfigError, EncoderError, InputRefusedError, RouterError
from auto_router.forks import after_fork

Job = TypeVar("Job")
Result = TypeVar("Result")

MAX_BATCH = 64
RECENT = 0.2  # weight of the last batch in the pace
MAX_ABANDONED = 8  # threads that were given up and still hang


class MicroBatcher(Generic[Job, Result]):
    """Runs ``work`` on lists of submitted items in a thread of its own, in the order in which they came.

    A caller alone is served at once. Where the last batch held several, the worker waits up to ``window`` seconds for as many
    again: those who just got their answers are about to ask anew. An error of one item is given to that item alone; where the
    encoder is away, to all: asking it once for each would take as many time-outs. A child after a fork has a thread of its own.
    """

    def __init__(
        self, work: Callable[[list[Job]], Sequence[Result]], window: float = 0.002, max_batch: int = MAX_BATCH
    ) -> None:
        self._work, self._window, self._max_batch = work, window, max_batch
        self._closed = False
        self._begin()
        after_fork(self, MicroBatcher._begin)

    def _begin(self) -> None:
        self._busy_since: float | None = None
        self._abandoned: list[threading.Thread] = []
        self._queue: queue.SimpleQueue[tuple[Job, Future[Result]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pace = 0.0  # seconds an item
        self.finished = 0
        """Items that were worked on so far: whether it grows tells a busy worker from a stuck one."""

    def expected_wait(self) -> float:
        """Return how many seconds an item submitted now would wait for its turn, by the pace of the last batches."""
        return self._queue.qsize() * self._pace

    def submit(self, item: Job) -> Future[Result]:
        """Queue one item. Raises ConfigError after :meth:`close`."""
        future: Future[Result] = Future()
        with self._lock:
            if self._closed:
                raise ConfigError("this router is closed; open another one")
            if self._thread is None:
                self._start()
            self._queue.put((item, future))
        return future

    def replace_stuck(self, after_s: float) -> bool:
        """Give the queue to a new thread where the present one has been at one batch for ``after_s`` seconds; say whether.

        The one that hangs is left to itself: its items are answered if it ever comes back, and then it ends.
        """
        with self._lock:
            since, self._abandoned = self._busy_since, [one for one in self._abandoned if one.is_alive()]
            stuck = self._thread is not None and since is not None and time.monotonic() - since >= after_s
            if not stuck or self._closed or self._thread is None or len(self._abandoned) >= MAX_ABANDONED:
                return False
            self._abandoned.append(self._thread)
            self._start()
            return True

    def _start(self) -> None:
        self._busy_since = None
        self._thread = threading.Thread(target=self._run, name="auto-router-batches", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        with self._lock:
            self._closed, thread = True, self._thread
            if thread is not None:
                self._queue.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        expected, open_, me = 1, True, threading.current_thread()
        while open_ and self._thread is me:
            batch, open_ = self._gather(expected)
            expected = len(batch)
            # A caller that gave up meanwhile is not served.
            batch = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
            if batch:
                start = time.perf_counter()
                self._busy_since = time.monotonic()
                self._finish(batch)
                if self._thread is not me:  # given up meanwhile
                    return
                self._busy_since = None
                self.finished += len(batch)
                self._pace += RECENT * ((time.perf_counter() - start) / len(batch) - self._pace)

    def _gather(self, expected: int) -> tuple[list[tuple[Job, Future[Result]]], bool]:
        """Return the next batch, and whether more may come."""
        batch: list[tuple[Job, Future[Result]]] = []
        deadline = float("inf")
        while len(batch) < self._max_batch:
            try:
                if not batch:
                    entry = self._queue.get()
                    deadline = time.perf_counter() + self._window
                elif len(batch) < expected and (left := deadline - time.perf_counter()) > 0:
                    entry = self._queue.get(timeout=left)
                else:
                    entry = self._queue.get_nowait()
            except queue.Empty:
                break
            if entry is None:
                return batch, False
            batch.append(entry)
        return batch, True

    def _finish(self, batch: list[tuple[Job, Future[Result]]]) -> None:
        try:
            results = self._work([item for item, _ in batch])
        except RouterError as error:
            away = isinstance(error, EncoderError) and not isinstance(error, InputRefusedError)
            if len(batch) == 1 or away:
                for _, future in batch:
                    future.set_exception(error)
                return
            for entry in batch:
                self._finish([entry])
        except BaseException as error:  # noqa: BLE001  a bug belongs to those who wait for it, not to this thread
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)


def run_in_time(work: Callable[[], Result], timeout_s: float) -> Result:
    """Return what ``work`` returns, from a thread of its own. Raises TimeoutError after ``timeout_s``; that thread goes on."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  it belongs to the caller, not to this thread
            future.set_exception(error)

    threading.Thread(target=run, name="auto-router-decision", daemon=True).start()
    return future.result(timeout_s)
