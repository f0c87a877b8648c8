"""The journal: every answer of every endpoint, committed as it arrives.

A row is a request's fingerprint (model, messages, sampling settings), the request with its pictures digested, and the
answer. A request that was answered is never sent again, so the same command continues where it stopped, another judge
re-judges without asking the candidates, and a new model is the only one asked. An export of the answered rows is a
*recording*, which :mod:`auto_router.collect.replay` serves.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from auto_router.collect.endpoint import Answer, digested, fingerprint
from auto_router.errors import DataError
from auto_router.files import atomic_path

JOURNAL_NAME = "hf_journal.sqlite"
_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, request TEXT NOT NULL, answer TEXT NOT NULL)"


class Journal:
    """Answers by request. Used from one thread; a context manager that closes the file.

    Raises:
        DataError: ``path`` is not a journal.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"folder {path.parent} cannot be made ({error.strerror}); give another") from error
        try:
            self._database = sqlite3.connect(path)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise DataError(f"journal {path} cannot be opened ({error}); move it away to start anew") from error

    def get(self, request: dict[str, Any]) -> Answer | None:
        """Return the recorded answer to ``request``; None where it was never answered (a failure counts as never)."""
        row = self._database.execute("SELECT answer FROM answers WHERE key = ?", (request_key(request),)).fetchone()
        answer = None if row is None else Answer(**json.loads(row[0]))
        return answer if answer is not None and answer.error is None else None

    def put(self, request: dict[str, Any], answer: Answer) -> None:
        """Commit an answer, or a failure with its reason."""
        row = (request_key(request), json.dumps(digested(request)), json.dumps(answer.to_plain()))
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", row)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield ``{"request", "answer"}`` of every answered request, in a stable order."""
        for request, answer in self._database.execute("SELECT request, answer FROM answers ORDER BY request"):
            row = {"request": json.loads(request), "answer": json.loads(answer)}
            if row["answer"]["error"] is None:
                yield row

    def export(self, path: Path) -> int:
        """Write the answered rows as a recording (``.jsonl.gz``); return how many."""
        count = 0
        with (
            atomic_path(path) as temporary,
            temporary.open("wb") as file,
            # Without a time stamp and a name inside, the same answers give the same bytes.
            gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,
        ):
            for row in self.rows():
                count += 1
                packed.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
        return count

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()


def request_key(request: dict[str, Any]) -> str:
    """Return what a request is recognised by."""
    return fingerprint(digested(request))
