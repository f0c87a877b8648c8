"""One run at a time in a folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from auto_router.errors import DataError


@contextmanager
def run_lock(journal: Path) -> Iterator[None]:
    """Hold the folder of a journal for one run: two would pay for the same answers twice.

    The lock is an empty database held in a transaction, so it ends with the process, however that ends.

    Raises:
        DataError: another run holds it, or the folder cannot be written.
    """
    path = journal.with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"folder {path.parent} cannot be made ({error.strerror}); give another") from error
    lock = None
    try:
        lock = sqlite3.connect(path, timeout=0)
        lock.execute("BEGIN EXCLUSIVE")
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if lock is not None:
            lock.close()
        raise DataError(
            f"{path} cannot be taken ({error}); another run writes to this folder: wait for it, or give another"
        ) from error
    try:
        yield
    finally:
        lock.close()
