"""Concurrent callers share batches: one worker thread takes what has gathered while it was busy."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from auto_router.errors import ConfigError, RouterError

Job = TypeVar("Job")
Result = TypeVar("Result")

MAX_BATCH = 64
RECENT = 0.2  # weight of the last batch in the pace


class MicroBatcher(Generic[Job, Result]):
    """Runs ``work`` on lists of submitted items in a thread of its own, in the order in which they came.

    A caller alone is served at once. Where the last batch held several, the worker waits up to ``window`` seconds for as many
    again: those who just got their answers are about to ask anew. An error of one item is given to that item alone.
    """

    def __init__(
        self, work: Callable[[list[Job]], Sequence[Result]], window: float = 0.002, max_batch: int = MAX_BATCH
    ) -> None:
        self._work, self._window, self._max_batch = work, window, max_batch
        self._queue: queue.SimpleQueue[tuple[Job, Future[Result]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
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
                self._thread = threading.Thread(target=self._run, name="auto-router-batches", daemon=True)
                self._thread.start()
            self._queue.put((item, future))
        return future

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        with self._lock:
            self._closed, thread = True, self._thread
            if thread is not None:
                self._queue.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        expected, open_ = 1, True
        while open_:
            batch, open_ = self._gather(expected)
            expected = len(batch)
            # A caller that gave up meanwhile is not served.
            batch = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
            if batch:
                start = time.perf_counter()
                self._finish(batch)
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
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for entry in batch:
                self._finish([entry])
        except BaseException as error:  # noqa: BLE001  a bug belongs to those who wait for it, not to this thread
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)
