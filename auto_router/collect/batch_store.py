"""Batches that are under way, in the journal: written before anything is sent, removed with their last answer.

A batch is known by a name of our own, which goes into the file's name and the batch's metadata. The row says how far it came:
without ``file_id`` nothing is known to be uploaded, without ``batch_id`` nothing is known to be begun.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from auto_router.collect.exchange import Exchange
from auto_router.collect.journal import Journal

BatchRow = dict[str, Any]
"""An object in JSON: a request, or what the provider says of a file or a batch."""
_COLUMNS = ("name", "address", "kind", "parameters", "discount", "held_usd", "size", "file_id", "batch_id")


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: ``kind`` is what all its requests share (model and settings), ``parameters`` what was sent beside messages.

    ``held_usd``: the most that it may cost. ``size``: bytes of its file.
    """

    name: str
    address: str
    kind: str
    parameters: BatchRow
    discount: float
    held_usd: float
    size: int
    file_id: str | None = None
    batch_id: str | None = None


def add_batch(journal: Journal, batch: Batch, requests: Sequence[tuple[str, str]]) -> None:
    """Write down a batch that is about to be sent, with the (key, request as JSON) of all that is in it."""
    values = [json.dumps(batch.parameters) if c == "parameters" else getattr(batch, c) for c in _COLUMNS]
    with journal.transaction() as database:
        marks = ", ".join("?" * len(_COLUMNS))
        database.execute(f"INSERT INTO batches ({', '.join(_COLUMNS)}) VALUES ({marks})", values)
        database.executemany("INSERT INTO batch_items VALUES (?, ?, ?)", [(batch.name, *request) for request in requests])


def note_progress(journal: Journal, name: str, column: Literal["file_id", "batch_id"], value: str) -> None:
    """Write down the ``file_id`` or the ``batch_id`` of a batch."""
    with journal.transaction() as database:
        database.execute(f"UPDATE batches SET {column} = ? WHERE name = ?", (value, name))


def close_batch(journal: Journal, name: str, exchanges: Sequence[Exchange]) -> bool:
    """Commit what came of a batch and forget it, all in one; False where that was done before."""
    with journal.transaction() as database:
        if not database.execute("DELETE FROM batches WHERE name = ?", (name,)).rowcount:
            return False
        database.execute("DELETE FROM batch_items WHERE name = ?", (name,))
        journal.put_into(database, exchanges)
        return True


def open_batches(journal: Journal, addresses: Sequence[str], kind: str) -> list[Batch]:
    """Return the batches of a kind that are under way at these addresses."""
    marks = ", ".join("?" * len(addresses))
    query = f"SELECT {', '.join(_COLUMNS)} FROM batches WHERE kind = ? AND address IN ({marks}) ORDER BY rowid"
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in journal.reader.execute(query, (kind, *addresses))]
    return [Batch(**row | {"parameters": json.loads(row["parameters"])}) for row in rows]


def batch_requests(journal: Journal, name: str) -> dict[str, BatchRow]:
    """Return ``{key: request}`` of a batch, images digested."""
    rows = journal.reader.execute("SELECT key, request FROM batch_items WHERE name = ?", (name,))
    return {key: json.loads(request) for key, request in rows}
