"""The journal: every answer of every endpoint, candidates' and judges', committed as it arrives.

A row is a request's fingerprint (model, messages, sampling settings), the address that was asked, the request with its
images digested, and what came: raw text or error, tokens, cost, finish reason, latency, and the body itself, which is read
again each time (:func:`~auto_router.collect.reply.read_again`). What was answered is never asked again, so the same command
continues where it stopped, another judge re-judges without asking the candidates, and a new model is the only one asked; nor is
it asked again under a longer limit, unless it was cut off. A judge's verdict is its answer. An export of the answered rows is a
*recording*, which :mod:`auto_router.collect.replay` serves. Small questions before a run (``probe``) are kept for their cost.

One run at a time writes it (:mod:`auto_router.collect.journal_file`).
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from auto_router.collect import journal_file
from auto_router.collect.endpoint import digest_images
from auto_router.collect.reply import Response
from auto_router.errors import DataError
from auto_router.files import atomic_path

_Result = TypeVar("_Result")


JOURNAL_NAME = "hf_journal.sqlite"
GATHER_S = 0.02  # what arrives within it shares a commit, and so a write to the disk
PATIENCE_S = 60.0  # how long a full disk or a locked file may last before the run gives up
_ANSWER = ", ".join(journal_file.ANSWER_COLUMNS)
_KNOWN = f"SELECT substr(key, 1, 16), substr(question, 1, 16) FROM exchanges WHERE role != '{journal_file.PROBE}'"
BatchRow = dict[str, Any]
"""An object in JSON: a request, or what the provider says of a file or a batch."""
_COLUMNS = ("name", "address", "kind", "parameters", "discount", "held_usd", "size", "file_id", "batch_id")


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that is under way at a provider: written before anything is sent, removed with its last answer.

    It is known by a ``name`` of our own, which goes into the file's name and the batch's metadata. ``kind`` is what all its
    requests share (model and settings), ``parameters`` what was sent beside messages. ``held_usd``: the most that it may cost.
    ``size``: bytes of its file. Without ``file_id`` nothing is known to be uploaded, without ``batch_id`` nothing to be begun.
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


class Journal:
    """Exchanges by request and address; a context manager that closes the file. One run at a time writes it.

    Raises:
        DataError: ``path`` is not a journal, or cannot be written.

    ``warnings`` are lines for whoever runs it, about damage that was mended.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        journal_file.make_folder(path.parent)
        try:
            self._database = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")  # a committed answer outlives a power cut
            with self._reading(), self._database:
                self.warnings = journal_file.prepare_file(self._database, path)
            self._reader = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # what SQLite says of a damaged file may hold its bytes
            raise DataError(f"journal {path} cannot be opened ({error}); move it away to start anew") from error
        # Most questions are new; to know that takes no query.
        with self._reading():
            self._known = {part for row in self._reader.execute(_KNOWN) for part in row if part}
        self._waiting: list[tuple[journal_file.Exchange, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Say in one line, with the file's name, that what is stored cannot be read; whatever is damaged in it."""
        try:
            yield
        except (sqlite3.DatabaseError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            raise DataError(
                f"journal {self._path} is damaged ({str(error)[:200]}); put a copy of before in its place, or move it away to "
                "start anew"
            ) from error

    def get(self, request: dict[str, Any], address: str = "") -> Response | None:
        """Return what is recorded for ``request`` at ``address``, which may be a failure; None where there is nothing."""
        return self.find(request, [address])

    def find(self, request: dict[str, Any], addresses: Sequence[str], key: str = "") -> Response | None:
        """The same at the first of several addresses that answered.

        An answer to the same question under another limit counts where that limit made no difference.
        """
        key = key or journal_file.request_key(request)
        if key[:16] in self._known and (answers := self._select("key", key, addresses)):
            return answers[0][1]
        request = digest_images(request)
        question = journal_file.unlimited_key(request)
        if question[:16] not in self._known:
            return None
        limit = journal_file.output_limit(request)
        for text, response in self._select("question", question, addresses):
            with self._reading():
                asked = journal_file.load_request(text)
            whole = response.error is None and response.finish_reason != "length"
            known = response.completion_tokens
            if whole and (
                limit is None or (known is not None and known <= limit) or limit >= (journal_file.output_limit(asked) or 2**63)
            ):
                return response
        return None

    def _select(self, column: str, value: str, addresses: Sequence[str]) -> list[tuple[str, Response]]:
        """Return (request as JSON, response) of a key, what was answered before what failed, in the order of ``addresses``."""
        marks = ", ".join("?" * (len(addresses) + 1))
        query = f"SELECT request, address, {_ANSWER} FROM exchanges WHERE {column} = ? AND address IN ({marks})"
        order = {address: place for place, address in reversed(list(enumerate([*addresses, ""])))}
        with self._reading():
            rows = self._reader.execute(query, (value, *addresses, "")).fetchall()
            found = [(request, order[address], journal_file.load_response(row)) for request, address, *row in rows]
        found.sort(key=lambda item: (item[2].error is not None, item[1]))
        return [(request, response) for request, _, response in found]

    def put(self, *exchanges: journal_file.Exchange) -> None:
        """Commit exchanges: all of them or none. Raises DataError where the file cannot be written."""
        with self._transaction() as database:
            self._put_into(database, exchanges)

    def _put_into(self, database: sqlite3.Connection, exchanges: Sequence[journal_file.Exchange]) -> None:
        """The same within a transaction of more."""
        rows = [exchange.row() for exchange in exchanges]
        journal_file.put_rows(database, rows)
        self._known.update(
            part[:16]
            for row, exchange in zip(rows, exchanges, strict=True)
            for part in (row[0], row[4] or "")
            if exchange.role != journal_file.PROBE
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing. Raises DataError where the file cannot be written."""
        try:
            with self._database:
                yield self._database
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"journal {self._path} cannot be written ({error}); make room or end what locks it, then run the same command "
                "again: what was committed is kept"
            ) from error

    async def run(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run what writes in the journal's own thread, where it is in nobody's way."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def commit(self, exchange: journal_file.Exchange) -> None:
        """Commit one exchange; return once it is on disk. What arrives during a commit shares the next one."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((exchange, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(GATHER_S)
            batch, self._waiting = self._waiting, []
            give_up = loop.time() + PATIENCE_S
            error: DataError | None = None
            while True:
                try:
                    await loop.run_in_executor(self._thread, self.put, *(exchange for exchange, _ in batch))
                    error = None
                except DataError as failure:  # a paid answer is worth waiting for room, or for whoever holds the file
                    error = failure
                passes = error is not None and isinstance(error.__cause__, sqlite3.OperationalError)
                if not passes or loop.time() > give_up:
                    break
                await asyncio.sleep(1.0)
            for _, done in batch:
                if not done.cancelled():
                    done.set_result(None) if error is None else done.set_exception(error)

    def spent(self) -> float:
        """Return the USD that all recorded exchanges cost, or may have cost."""
        with self._reading():
            queries = ("SELECT sum(coalesce(cost_usd, 0) + lost_usd) FROM exchanges", "SELECT sum(usd) FROM damaged")
            return sum(float(self._reader.execute(query).fetchone()[0] or 0.0) for query in queries)

    def count_unpriced(self) -> int:
        """Return how many answers have an unknown cost, of which :meth:`spent` holds nothing."""
        came = "(latency_s IS NOT NULL OR text IS NOT NULL)"
        query = f"SELECT count(*) FROM exchanges WHERE {came} AND cost_usd IS NULL AND lost_usd = 0"
        with self._reading():
            return int(self._reader.execute(query).fetchone()[0])

    def highest(self, addresses: Sequence[str], model: str) -> tuple[int, float]:
        """Return the most tokens and the most USD, at full price, that one recorded answer of a model took there."""
        marks = ", ".join("?" * len(addresses))
        query = (
            "SELECT max(completion_tokens), max(cost_usd / (1 - discount)) FROM exchanges "
            "WHERE discount < 1 AND json_extract(request, '$.model') = ? AND "
        )
        with self._reading():
            tokens, usd = self._reader.execute(f"{query}address IN ({marks})", (model, *addresses)).fetchone()
            return int(tokens or 0), float(usd or 0.0)

    def count(self, role: str, addresses: Sequence[str], model: str, told: Sequence[str] = ()) -> int:
        """Return how many answers of a model in this role are recorded; ``told``: texts that its instructions must hold."""
        marks = ", ".join("?" * len(addresses))
        query = "SELECT count(*) FROM exchanges WHERE error IS NULL AND role = ? AND json_extract(request, '$.model') = ? AND "
        query += f"address IN ({marks})" + " AND instr(json_extract(request, '$.messages[0].content'), ?) > 0" * len(told)
        with self._reading():
            (number,) = self._reader.execute(query, (role, model, *addresses, *told)).fetchone()
            return int(number)

    def rows(self, address: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield ``{"request", "answer"}`` (and ``"address"``) of every answered request, in a stable order."""
        query = (
            f"SELECT request, address, {_ANSWER} FROM exchanges WHERE role != '{journal_file.PROBE}' "
            "AND (error IS NULL OR body IS NOT NULL) ORDER BY request, address"
        )
        stored = self._reader.execute(query)
        while True:
            with self._reading():
                row = next(stored, None)
                if row is None:
                    return
                request, asked, response = journal_file.load_request(row[0]), row[1], journal_file.load_response(row[2:])
            if response.error is None and (address is None or asked == address):
                plain = response.to_plain()
                answer = {name: plain[name] for name in journal_file.ANSWER_COLUMNS[:6]}
                answer |= {name: plain[name] for name in journal_file.ANSWER_COLUMNS[7:9] if plain[name] is not None}
                where = {"address": asked} if asked else {}
                yield {"request": request, "answer": answer, **where}

    @property
    def is_empty(self) -> bool:
        """Whether no question was asked yet."""
        return not self._known

    def export(self, path: Path, address: str | None = None) -> int:
        """Write the answered rows as a recording (``.jsonl.gz``); return how many."""
        count = 0
        with (
            atomic_path(path) as temporary,
            temporary.open("wb") as file,
            # Without a time stamp and a name inside, the same answers give the same bytes.
            gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,
        ):
            for row in self.rows(address):
                count += 1
                packed.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
        return count

    def add_batch(self, batch: Batch, requests: Sequence[tuple[str, str]]) -> None:
        """Write down a batch that is about to be sent, with the (key, request as JSON) of all that is in it."""
        values = [json.dumps(batch.parameters) if c == "parameters" else getattr(batch, c) for c in _COLUMNS]
        with self._transaction() as database:
            marks = ", ".join("?" * len(_COLUMNS))
            database.execute(f"INSERT INTO batches ({', '.join(_COLUMNS)}) VALUES ({marks})", values)
            database.executemany("INSERT INTO batch_items VALUES (?, ?, ?)", [(batch.name, *request) for request in requests])

    def note_progress(self, name: str, column: Literal["file_id", "batch_id"], value: str) -> None:
        """Write down the ``file_id`` or the ``batch_id`` of a batch."""
        with self._transaction() as database:
            database.execute(f"UPDATE batches SET {column} = ? WHERE name = ?", (value, name))

    def close_batch(self, name: str, exchanges: Sequence[journal_file.Exchange]) -> bool:
        """Commit what came of a batch and forget it, all in one; False where that was done before."""
        with self._transaction() as database:
            if not database.execute("DELETE FROM batches WHERE name = ?", (name,)).rowcount:
                return False
            database.execute("DELETE FROM batch_items WHERE name = ?", (name,))
            self._put_into(database, exchanges)
            return True

    def open_batches(self, addresses: Sequence[str], kind: str) -> list[Batch]:
        """Return the batches of a kind that are under way at these addresses."""
        marks = ", ".join("?" * len(addresses))
        query = f"SELECT {', '.join(_COLUMNS)} FROM batches WHERE kind = ? AND address IN ({marks}) ORDER BY rowid"
        rows = [dict(zip(_COLUMNS, row, strict=True)) for row in self._reader.execute(query, (kind, *addresses))]
        return [Batch(**row | {"parameters": json.loads(row["parameters"])}) for row in rows]

    def batch_requests(self, name: str) -> dict[str, BatchRow]:
        """Return ``{key: request}`` of a batch, images digested."""
        rows = self._reader.execute("SELECT key, request FROM batch_items WHERE name = ?", (name,))
        return {key: json.loads(request) for key, request in rows}

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._reader.close()
        self._database.close()
