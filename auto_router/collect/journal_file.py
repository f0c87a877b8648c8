"""The journal's file: a row for each request and what came of it, its tables, and how files of older formats become one.

SQLite has no checksum of its own: a bit that a disk turns inside an answer would be another answer. So each row has one. A row
whose checksum does not hold is moved to the table ``damaged``: it counts as not there and is asked again, what it cost stays
counted. Where many do not hold, something else wrote the file, and it is refused.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auto_router.collect.endpoint import LIMITS, digest_images, fingerprint
from auto_router.collect.reply import Response, read_again
from auto_router.errors import DataError

PROBE = "probe"
ANSWER_COLUMNS = ["text", "prompt_tokens", "completion_tokens", "finish_reason", "latency_s", "error", "settled"]
ANSWER_COLUMNS += ["cached_tokens", "billed_usd", "body", "discount"]
ROW_COLUMNS = ["key", "address", "role", "request", "question", *ANSWER_COLUMNS, "cost_usd", "lost_usd", "tries"]
_KINDS = {name: str if name in ("text", "finish_reason", "error", "body") else (int, float) for name in ANSWER_COLUMNS}
FORMAT = 4
MAX_DAMAGED, MAX_DAMAGED_SHARE = 20, 0.1  # rows, and of all rows: what is more than both is no accident of a disk
_ADDED = {"cached_tokens": "INTEGER", "billed_usd": "REAL", "body": "TEXT", "question": "TEXT"}  # in format 2
_ADDED |= {"discount": "REAL NOT NULL DEFAULT 0"}  # in format 3
_ADDED |= {"digest": "BLOB"}  # in format 4
_SCHEMA = f"""CREATE TABLE IF NOT EXISTS exchanges (
    key TEXT NOT NULL, address TEXT NOT NULL, role TEXT NOT NULL, request TEXT NOT NULL,
    text TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, finish_reason TEXT, latency_s REAL, error TEXT,
    settled INTEGER NOT NULL, cost_usd REAL, lost_usd REAL NOT NULL, tries INTEGER NOT NULL,
    written TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    {", ".join(f"{name} {kind}" for name, kind in _ADDED.items())}, PRIMARY KEY (key, address))"""
# What earlier tries and answers cost stays counted when the question is answered anew; no failure takes an answer's place.
_WORSE = "excluded.error IS NOT NULL AND exchanges.error IS NULL"
_SET = [f"{c} = CASE WHEN {_WORSE} THEN exchanges.{c} ELSE excluded.{c} END" for c in ROW_COLUMNS[2:-2]]
_MARKS = ", ".join("?" * len(ROW_COLUMNS))
_PUT = (
    f"INSERT INTO exchanges ({', '.join(ROW_COLUMNS)}) VALUES ({_MARKS}) ON CONFLICT (key, address) DO UPDATE SET "
    f"{', '.join(_SET)}, written = excluded.written, tries = tries + excluded.tries, lost_usd = lost_usd + "
    f"excluded.lost_usd + coalesce(CASE WHEN {_WORSE} THEN excluded.cost_usd ELSE exchanges.cost_usd END, 0)"
)
_SUMMED = [*ROW_COLUMNS, "written"]
_DIGEST = f"row_digest({' || '.join(f'typeof({c})' for c in _SUMMED)}, {', '.join(f'CAST({c} AS BLOB)' for c in _SUMMED)})"
_SEAL = f"UPDATE exchanges SET digest = {_DIGEST}"
_COST = "coalesce(cost_usd, 0) + coalesce(lost_usd, 0)"
_KEPT = ("key", "address", "role", "request", "text", "error", "body")  # of a damaged row, byte for byte
# Batches at a provider whose results are not here yet (:mod:`auto_router.collect.journal`), and what was put into them.
_TABLES = (
    """CREATE TABLE IF NOT EXISTS batches (
    name TEXT PRIMARY KEY, address TEXT NOT NULL, kind TEXT NOT NULL, parameters TEXT NOT NULL, discount REAL NOT NULL,
    held_usd REAL NOT NULL, size INTEGER NOT NULL, file_id TEXT, batch_id TEXT,
    written TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')))""",
    "CREATE TABLE IF NOT EXISTS batch_items (name TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, "
    "PRIMARY KEY (name, key)) WITHOUT ROWID",
    f"CREATE TABLE IF NOT EXISTS damaged ({', '.join(f'{name} BLOB' for name in _KEPT)}, usd REAL NOT NULL)",
)


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
        """Return the values of ``ROW_COLUMNS``."""
        request = json.dumps(digest_images(self.request))
        return (
            self.key or request_key(self.request),
            self.address,
            self.role,
            request,
            None if self.role == PROBE else unlimited_key(self.request),
            *(_to_stored(getattr(self.answer, name)) for name in ANSWER_COLUMNS),
            self.cost_usd,
            self.lost_usd,
            self.tries,
        )


def request_key(request: dict[str, Any]) -> str:
    """Return what a request is recognised by."""
    return fingerprint(digest_images(request))


def number_sample(request: dict[str, Any], sample: int) -> dict[str, Any]:
    """Return what the sample of that number is recorded under; the first is the request itself."""
    return request | {"sample": sample} if sample else request


def unlimited_key(request: dict[str, Any]) -> str:
    """Return what a request is recognised by, whatever limit its answer has."""
    return request_key({name: value for name, value in request.items() if name not in LIMITS})


def output_limit(request: dict[str, Any]) -> int | None:
    """Return the most tokens that a request lets its answer have; None where it says nothing."""
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


def load_request(text: str) -> dict[str, Any]:
    """Return a request as it was stored. Raises ValueError where it is none."""
    request = json.loads(text)
    if not isinstance(request, dict):
        raise ValueError("a request is no object")
    return request


def load_response(row: Sequence[Any]) -> Response:
    """Return what came, from the values of ``ANSWER_COLUMNS``. Raises ValueError where one is none."""
    texts = [value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value for value in row]
    values: dict[str, Any] = dict(zip(ANSWER_COLUMNS, texts, strict=True))
    odd = [name for name, value in values.items() if value is not None and not isinstance(value, _KINDS[name])]
    if odd:
        raise ValueError(f"{odd[0]} holds {str(values[odd[0]])[:40]!r}")
    return read_again(Response(**values | {"settled": bool(values["settled"])}))


def prepare_file(database: sqlite3.Connection, path: Path) -> list[str]:
    """Make ``database`` a journal of this format, whole; return a line for whoever runs it about each damage that was mended.

    Raises:
        DataError: a newer version wrote it, or it is damaged beyond that; it is left as it is.
        sqlite3.DatabaseError, ValueError, TypeError, RecursionError: what is stored cannot be read.
    """
    database.create_function("row_digest", -1, _digest, deterministic=True)
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise DataError(f"journal {path} has format {version}, this version reads up to {FORMAT}; update Auto-Router")
    _migrate(database, version)
    return _mend(database, path)


def put_rows(database: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    """Write rows of :meth:`Exchange.row`, each with its checksum."""
    database.executemany(_PUT, rows)
    database.executemany(f"{_SEAL} WHERE key = ? AND address = ?", [row[:2] for row in rows])


def _digest(kinds: str, *parts: bytes | None) -> bytes:
    """Return what is stored as a row's checksum, from its types and its values as bytes."""
    found = hashlib.blake2b(kinds.encode(), digest_size=8)
    for part in parts:
        if part is not None:
            found.update(b"%d:" % len(part) + part)
    return found.digest()


def _migrate(database: sqlite3.Connection, version: int) -> None:
    database.execute(_SCHEMA)
    there = {row[1] for row in database.execute("PRAGMA table_info(exchanges)")}
    for name in [name for name in _ADDED if name not in there]:  # format 1
        database.execute(f"ALTER TABLE exchanges ADD COLUMN {name} {_ADDED[name]}")
    database.execute("CREATE INDEX IF NOT EXISTS by_question ON exchanges (question)")
    for table in _TABLES:
        database.execute(table)
    if version == FORMAT:
        return
    if "question" not in there:
        rows = database.execute("SELECT request, rowid FROM exchanges").fetchall()
        keys = [(unlimited_key(load_request(request)), row) for request, row in rows]
        database.executemany("UPDATE exchanges SET question = ? WHERE rowid = ?", keys)
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone():
        # Format 0 knew no address; its answers are taken for any.
        answers = database.execute("SELECT request, answer FROM answers").fetchall()
        put_rows(database, [Exchange(load_request(r), Response(**json.loads(answer))).row() for r, answer in answers])
        database.execute("DROP TABLE answers")
    # Nobody can tell any more what a disk did to rows without a checksum: they are taken as they are.
    database.execute(f"{_SEAL} WHERE digest IS NULL")
    database.execute(f"PRAGMA user_version = {FORMAT}")


def _mend(database: sqlite3.Connection, path: Path) -> list[str]:
    lines = []
    is_whole = _is_whole(database)
    if not is_whole:  # an index that disagrees with its table would find another row
        if not database.in_transaction:
            database.execute("BEGIN IMMEDIATE")
        database.execute("REINDEX")
        lines.append(f"journal {path}: its index was damaged and is made anew; what is not found is asked again")
    damaged = database.execute(f"SELECT rowid FROM exchanges WHERE digest IS NOT {_DIGEST}").fetchall()
    if damaged:
        (count,) = database.execute("SELECT count(*) FROM exchanges").fetchone()
        if len(damaged) > max(MAX_DAMAGED, MAX_DAMAGED_SHARE * count):
            raise DataError(
                f"journal {path} is damaged ({len(damaged)} of {count} answers are not what was written); put a copy of before "
                "in its place, or move it away to start anew"
            )
        _set_aside(database, damaged)
        lines.append(
            f"journal {path}: {len(damaged)} of {count} answers are not what was written (a fault of the disk?); they are set "
            "aside and asked again"
        )
    if not is_whole and not _is_whole(database):
        raise DataError(f"journal {path} is damaged; put a copy of before in its place, or move it away to start anew")
    return lines


def _set_aside(database: sqlite3.Connection, rows: Sequence[tuple[int]]) -> None:
    """Move rows to the table ``damaged``; none counts as dearer than the dearest whole one."""
    marks = ", ".join(str(row) for (row,) in rows)
    whole = f"SELECT coalesce(max({_COST}), 0) FROM exchanges WHERE rowid NOT IN ({marks})"
    columns = ", ".join(f"CAST({name} AS BLOB)" for name in _KEPT)
    database.execute(
        f"INSERT INTO damaged SELECT {columns}, max(0.0, min(coalesce({_COST}, 0), ({whole}))) FROM exchanges "
        f"WHERE rowid IN ({marks})"
    )
    database.execute(f"DELETE FROM exchanges WHERE rowid IN ({marks})")


def _is_whole(database: sqlite3.Connection) -> bool:
    return bool(database.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",))


def make_folder(folder: Path) -> None:
    """Make a folder where it is not there. Raises DataError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"folder {folder} cannot be made ({error.strerror}); give another") from error


@contextmanager
def run_lock(journal: Path) -> Iterator[None]:
    """Hold the folder of a journal for one run: two would pay for the same answers twice.

    The lock is an empty database held in a transaction, so it ends with the process, however that ends.

    Raises:
        DataError: another run holds it, or the folder cannot be written.
    """
    path = journal.with_suffix(".lock")
    make_folder(path.parent)
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
