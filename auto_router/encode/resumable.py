"""An embedding file in the making: rows in a memory map of a temporary file, and a journal of what is done.

The journal is SQLite beside it: the job, the number of finished rows, the rows that were skipped, and where each prompt and
image list was first seen, so that repeats are copied and memory does not grow with their number. A chunk's rows are on
disk before the journal counts them, so a run that is killed at any moment continues behind the last whole chunk.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auto_router.arrays import Array
from auto_router.encode.specs import differences
from auto_router.errors import DataError
from auto_router.files import reserve_space

_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (job TEXT NOT NULL, done INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS seen (key BLOB PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS skipped (row INTEGER PRIMARY KEY, reason TEXT NOT NULL);
"""


class ResumableFile:
    """The rows ``[N, D]`` of ``target`` until they are all there.

    Args:
        target: the ``.npy`` file; ``.NAME.part`` and ``.NAME.journal`` are kept beside it meanwhile.
        job: what the rows are made of, with ``encoder`` (a spec) among plain values. Work on another job is thrown away.
        shape: ``(N, D)``.

    Raises:
        DataError: another run is writing the same file, or its folder cannot be written.
    """

    def __init__(self, target: Path, job: dict[str, Any], shape: tuple[int, int]) -> None:
        self.target, self._shape = target, shape
        self._part, self._journal = (target.with_name(f".{target.name}{end}") for end in (".part", ".journal"))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._journal, timeout=1.0)
            self._database.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._database.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} COMMIT;")
        except (OSError, sqlite3.DatabaseError) as error:
            raise DataError(
                f"{target} cannot be worked on ({error}): another run may be writing it; wait for that, or delete "
                f"{self._journal.name} where the file is damaged"
            ) from error
        self.done = self._continue(job)
        """Rows that are finished: the first so many."""

    def add(self, rows: Array, keys: Sequence[tuple[bytes, ...]], skipped: dict[int, str]) -> None:
        """Write the next rows and count them as done.

        Args:
            rows: ``[n, D]``.
            keys: what each row can be found by later; none for a row that is not to be copied.
            skipped: ``{i: reason}`` for those of the rows that hold no embedding.
        """
        mapped = np.lib.format.open_memmap(self._part, mode="r+")
        mapped[self.done : self.done + len(rows)] = rows
        mapped.flush()
        # The map is opened for one chunk at a time: pages of finished rows would count as this process's memory.
        del mapped
        places = [(key, self.done + i) for i, row_keys in enumerate(keys) for key in row_keys]
        reasons = [(self.done + i, reason) for i, reason in skipped.items()]
        with self._database:
            self._database.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", places)
            self._database.executemany("INSERT INTO skipped VALUES (?, ?)", reasons)
            self._database.execute("UPDATE job SET done = ?", (self.done + len(rows),))
        self.done += len(rows)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Array]:
        """Return the finished row ``[D]`` of every key that has one."""
        query = "SELECT row FROM seen WHERE key = ?"
        places = {key: found[0] for key in keys if (found := self._database.execute(query, (key,)).fetchone())}
        if not places:
            return {}
        mapped = np.lib.format.open_memmap(self._part, mode="r")
        return {key: np.array(mapped[place]) for key, place in places.items()}

    @property
    def skipped(self) -> dict[int, str]:
        """Rows without an embedding, with the reason."""
        return dict(self._database.execute("SELECT row, reason FROM skipped ORDER BY row"))

    def move_into_place(self) -> None:
        """Make the finished rows the target, and forget the journal."""
        os.replace(self._part, self.target)
        self.discard()

    def discard(self) -> None:
        """Leave nothing behind."""
        self.close()
        # SQLite's own rollback file stays where a run was killed before it had written anything into it.
        for path in (self._part, self._journal, self._journal.with_name(f"{self._journal.name}-journal")):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        self._database.close()

    def _reserve(self) -> None:
        """Take the room on disk now: writing a map of a file with holes on a full disk would kill the process."""
        size = self._part.stat().st_size
        try:
            reserve_space(self._part, size)
        except OSError as error:
            self.discard()
            raise DataError(f"{self.target} needs {size:,} bytes of disk ({error.strerror}); make room") from error

    def _continue(self, job: dict[str, Any]) -> int:
        """Return how many rows of this very job are done; start anew where they are none or of another."""
        found = self._database.execute("SELECT job, done FROM job").fetchone()
        if found is not None and self._part.is_file() and _same(json.loads(found[0]), job):
            return int(found[1])
        with self._database:
            for table in ("job", "seen", "skipped"):
                self._database.execute(f"DELETE FROM {table}")
        np.lib.format.open_memmap(self._part, mode="w+", dtype=np.float32, shape=self._shape).flush()
        self._reserve()
        with self._database:
            self._database.execute("INSERT INTO job VALUES (?, 0)", (json.dumps(job),))
        return 0


def _same(found: dict[str, Any], job: dict[str, Any]) -> bool:
    plain = [{name: value for name, value in each.items() if name != "encoder"} for each in (found, job)]
    return plain[0] == plain[1] and not differences(found["encoder"], job["encoder"])
