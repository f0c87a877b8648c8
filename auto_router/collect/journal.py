"""The journal: every answer of every endpoint, candidates' and judges', committed as it arrives.

A row is a request's fingerprint (model, messages, sampling settings), the address that was asked, the request with its
images digested, and what came: raw text or error, tokens, cost, finish reason, latency, and the body itself, which is read
again each time (:func:`~auto_router.collect.reply.read_again`). What was answered is never asked again, so the same command
continues where it stopped, another judge re-judges without asking the candidates, and a new model is the only one asked; nor is
it asked again under a longer limit, unless it was cut off. A judge's verdict is its answer. An export of the answered rows is a
*recording*, which :mod:`auto_router.collect.replay` serves. Small questions before a run (``probe``) are kept for their cost.

One run at a time writes it (:mod:`auto_router.collect.run_lock`).
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
from types import TracebackType
from typing import Any, TypeVar

from auto_router.collect.adaptation import LIMITS
from auto_router.collect.endpoint import digest_images, fingerprint
from auto_router.collect.reply import Response, read_again
from auto_router.errors import DataError
from auto_router.files import atomic_path

_Result = TypeVar("_Result")


JOURNAL_NAME = "hf_journal.sqlite"
FORMAT = 3
GATHER_S = 0.02  # what arrives within it shares a commit, and so a write to the disk
PATIENCE_S = 60.0  # how long a full disk or a locked file may last before the run gives up
PROBE = "probe"
_ANSWER = ["text", "prompt_tokens", "completion_tokens", "finish_reason", "latency_s", "error", "settled"]
_ADDED = {"cached_tokens": "INTEGER", "billed_usd": "REAL", "body": "TEXT", "question": "TEXT"}  # in format 2
_ADDED |= {"discount": "REAL NOT NULL DEFAULT 0"}  # in format 3
_ANSWER += ["cached_tokens", "billed_usd", "body", "discount"]
_KINDS = {name: str if name in ("text", "finish_reason", "error", "body") else (int, float) for name in _ANSWER}
_SCHEMA = f"""CREATE TABLE IF NOT EXISTS exchanges (
    key TEXT NOT NULL, address TEXT NOT NULL, role TEXT NOT NULL, request TEXT NOT NULL,
    text TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, finish_reason TEXT, latency_s REAL, error TEXT,
    settled INTEGER NOT NULL, cost_usd REAL, lost_usd REAL NOT NULL, tries INTEGER NOT NULL,
    written TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    {", ".join(f"{name} {kind}" for name, kind in _ADDED.items())}, PRIMARY KEY (key, address))"""
_COLUMNS = ["key", "address", "role", "request", "question", *_ANSWER, "cost_usd", "lost_usd", "tries"]
# What earlier tries and answers cost stays counted when the question is answered anew; no failure takes an answer's place.
_WORSE = "excluded.error IS NOT NULL AND exchanges.error IS NULL"
_SET = [f"{c} = CASE WHEN {_WORSE} THEN exchanges.{c} ELSE excluded.{c} END" for c in _COLUMNS[2:-2]]
_PUT = (
    f"INSERT INTO exchanges ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT (key, address) DO "
    f"UPDATE SET {', '.join(_SET)}, written = excluded.written, tries = tries + excluded.tries, lost_usd = lost_usd + "
    f"excluded.lost_usd + coalesce(CASE WHEN {_WORSE} THEN excluded.cost_usd ELSE exchanges.cost_usd END, 0)"
)


# Batches at a provider whose results are not here yet (:mod:`auto_router.collect.batch_store`), and what was put into them.
_BATCHES = (
    """CREATE TABLE IF NOT EXISTS batches (
    name TEXT PRIMARY KEY, address TEXT NOT NULL, kind TEXT NOT NULL, parameters TEXT NOT NULL, discount REAL NOT NULL,
    held_usd REAL NOT NULL, size INTEGER NOT NULL, file_id TEXT, batch_id TEXT,
    written TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')))""",
    "CREATE TABLE IF NOT EXISTS batch_items (name TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, "
    "PRIMARY KEY (name, key)) WITHOUT ROWID",
)
_KNOWN = f"SELECT substr(key, 1, 16), substr(question, 1, 16) FROM exchanges WHERE role != '{PROBE}'"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it; ``key`` is its own where it is known already.

    ``lost_usd``: the most that tries without an answer may have cost.
    """

    request: dict[str, Any]
    answer: Response
    address: str = ""
    role: str = "candidate"
    cost_usd: float | None = None
    lost_usd: float = 0.0
    tries: int = 1
    key: str = ""

    def row(self) -> tuple[Any, ...]:
        request = json.dumps(digest_images(self.request))
        return (
            self.key or request_key(self.request),
            self.address,
            self.role,
            request,
            None if self.role == PROBE else unlimited_key(self.request),
            *(_to_stored(getattr(self.answer, name)) for name in _ANSWER),
            self.cost_usd,
            self.lost_usd,
            self.tries,
        )


class Journal:
    """Exchanges by request and address; a context manager that closes the file. One run at a time writes it.

    Raises:
        DataError: ``path`` is not a journal, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"folder {path.parent} cannot be made ({error.strerror}); give another") from error
        try:
            self._database = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")  # a committed answer outlives a power cut
            with self._reading(), self._database:
                self._prepare()
            self._reader = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # what SQLite says of a damaged file may hold its bytes
            raise DataError(f"journal {path} cannot be opened ({error}); move it away to start anew") from error
        # Most questions are new; to know that takes no query.
        with self._reading():
            self._known = {part for row in self._reader.execute(_KNOWN) for part in row if part}
        self._waiting: list[tuple[Exchange, asyncio.Future[None]]] = []
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

    def _prepare(self) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise DataError(f"journal {self._path} has format {version}, this version reads up to {FORMAT}; update Auto-Router")
        self._database.execute(_SCHEMA)
        there = {row[1] for row in self._database.execute("PRAGMA table_info(exchanges)")}
        for name in set(_ADDED) - there:  # format 1
            self._database.execute(f"ALTER TABLE exchanges ADD COLUMN {name} {_ADDED[name]}")
        self._database.execute("CREATE INDEX IF NOT EXISTS by_question ON exchanges (question)")
        for table in _BATCHES:
            self._database.execute(table)
        if "question" not in there:
            rows = self._database.execute("SELECT request, rowid FROM exchanges").fetchall()
            keys = [(unlimited_key(_request(request)), row) for request, row in rows]
            self._database.executemany("UPDATE exchanges SET question = ? WHERE rowid = ?", keys)
        if self._database.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone():
            # Format 0 knew no address; its answers are taken for any.
            for request, answer in self._database.execute("SELECT request, answer FROM answers").fetchall():
                self._database.execute(_PUT, Exchange(_request(request), Response(**json.loads(answer))).row())
            self._database.execute("DROP TABLE answers")
        if version != FORMAT:
            self._database.execute(f"PRAGMA user_version = {FORMAT}")

    def get(self, request: dict[str, Any], address: str = "") -> Response | None:
        """Return what is recorded for ``request`` at ``address``, which may be a failure; None where there is nothing."""
        return self.find(request, [address])

    def find(self, request: dict[str, Any], addresses: Sequence[str], key: str = "") -> Response | None:
        """The same at the first of several addresses that answered.

        An answer to the same question under another limit counts where that limit made no difference.
        """
        request = digest_images(request)
        key = key or request_key(request)
        if key[:16] in self._known and (found := self._select("key", key, addresses)):
            return found[0][1]
        question = unlimited_key(request)
        if question[:16] not in self._known:
            return None
        limit = _output_limit(request)
        for asked, response in self._select("question", question, addresses):
            whole = response.error is None and response.finish_reason != "length"
            known = response.completion_tokens
            if whole and (limit is None or (known is not None and known <= limit) or limit >= (_output_limit(asked) or 2**63)):
                return response
        return None

    def _select(self, column: str, value: str, addresses: Sequence[str]) -> list[tuple[dict[str, Any], Response]]:
        """Return the (request, response) of a key, what was answered before what failed, in the order of ``addresses``."""
        marks = ", ".join("?" * (len(addresses) + 1))
        query = f"SELECT request, address, {', '.join(_ANSWER)} FROM exchanges WHERE {column} = ? AND address IN ({marks})"
        order = {address: place for place, address in reversed(list(enumerate([*addresses, ""])))}
        with self._reading():
            rows = self._reader.execute(query, (value, *addresses, "")).fetchall()
            found = [(_request(request), order[address], _response(row)) for request, address, *row in rows]
        found.sort(key=lambda item: (item[2].error is not None, item[1]))
        return [(request, response) for request, _, response in found]

    def put(self, *exchanges: Exchange) -> None:
        """Commit exchanges: all of them or none. Raises DataError where the file cannot be written."""
        with self.transaction() as database:
            self.put_into(database, exchanges)

    def put_into(self, database: sqlite3.Connection, exchanges: Sequence[Exchange]) -> None:
        """The same within a :meth:`transaction` of more."""
        rows = [exchange.row() for exchange in exchanges]
        database.executemany(_PUT, rows)
        self._known.update(
            part[:16]
            for row, exchange in zip(rows, exchanges, strict=True)
            for part in (row[0], row[4] or "")
            if exchange.role != PROBE
        )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
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

    @property
    def reader(self) -> sqlite3.Connection:
        """For queries."""
        return self._reader

    async def commit(self, exchange: Exchange) -> None:
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
            (total,) = self._reader.execute("SELECT sum(coalesce(cost_usd, 0) + lost_usd) FROM exchanges").fetchone()
            return float(total or 0.0)

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
            f"SELECT request, address, {', '.join(_ANSWER)} FROM exchanges WHERE role != '{PROBE}' "
            "AND (error IS NULL OR body IS NOT NULL) ORDER BY request, address"
        )
        stored = self._reader.execute(query)
        while True:
            with self._reading():
                row = next(stored, None)
                if row is None:
                    return
                request, asked, response = _request(row[0]), row[1], _response(row[2:])
            if response.error is None and (address is None or asked == address):
                plain = response.to_plain()
                answer = {name: plain[name] for name in _ANSWER[:6]}
                answer |= {name: plain[name] for name in _ANSWER[7:9] if plain[name] is not None}
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

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.shutdown()
        self._reader.close()
        self._database.close()


def request_key(request: dict[str, Any]) -> str:
    """Return what a request is recognised by."""
    return fingerprint(digest_images(request))


def number_sample(request: dict[str, Any], sample: int) -> dict[str, Any]:
    """Return what the sample of that number is recorded under; the first is the request itself."""
    return request | {"sample": sample} if sample else request


def unlimited_key(request: dict[str, Any]) -> str:
    """Return what a request is recognised by, whatever limit its answer has."""
    return request_key({name: value for name, value in request.items() if name not in LIMITS})


def _output_limit(request: dict[str, Any]) -> int | None:
    return min((request[name] for name in LIMITS if isinstance(request.get(name), int)), default=None)


def _to_stored(value: Any) -> Any:
    """Lone surrogates, which model output can hold, have no UTF-8 form: such a text is kept as bytes."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogatepass")
    return value


def _request(text: str) -> dict[str, Any]:
    request = json.loads(text)
    if not isinstance(request, dict):
        raise ValueError("a request is no object")
    return request


def _response(row: Sequence[Any]) -> Response:
    texts = [value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value for value in row]
    values: dict[str, Any] = dict(zip(_ANSWER, texts, strict=True))
    odd = [name for name, value in values.items() if value is not None and not isinstance(value, _KINDS[name])]
    if odd:
        raise ValueError(f"{odd[0]} holds {str(values[odd[0]])[:40]!r}")
    return read_again(Response(**values | {"settled": bool(values["settled"])}))
