"""Decisions that wait for their outcome: by id, in one SQLite file that all workers of a machine share.

A row holds what was decided and the network's input row, never the prompt. Rows are dropped after ``seconds``, and the oldest
of more than :data:`MAX_DECISIONS`. What is asked by an id that nobody was given finds nothing: an id is 144 random bits.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auto_router.arrays import Array
from auto_router.decide.rule import Decision
from auto_router.errors import ConfigError
from auto_router.forks import after_fork
from auto_router.route.feedback import pack_features

log = logging.getLogger(__name__)

SUFFIX = ".decisions"
MAX_DECISIONS = 50_000  # about 4 kB each
DROP_EVERY = 200  # decisions of a process between two looks for old rows
BUSY_SECONDS = 1.0
PAUSE_SECONDS = 5.0  # after the file was busy for so long: what comes meanwhile does not wait again
_ID = re.compile(r"dec_[0-9A-Za-z_-]{24}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, at REAL NOT NULL, answered TEXT NOT NULL,
    decision TEXT NOT NULL, encoder TEXT NOT NULL, features BLOB, outcome REAL, changes INTEGER NOT NULL DEFAULT 0
)"""
_TOLD = "CREATE INDEX IF NOT EXISTS told ON decisions (answered, place) WHERE outcome IS NOT NULL"
_LAST_OUTCOMES = """
SELECT answered, features, outcome FROM (
    SELECT place, ROW_NUMBER() OVER (PARTITION BY answered ORDER BY place DESC) AS turn FROM decisions WHERE outcome IS NOT NULL
) JOIN decisions USING (place) WHERE turn <= ? AND features IS NOT NULL AND encoder = ?"""
_MADE = "CREATE INDEX IF NOT EXISTS made ON decisions (at)"  # to drop old ones without reading all
_SPENDING = "CREATE TABLE IF NOT EXISTS shadow_spending (day TEXT PRIMARY KEY, usd REAL NOT NULL)"


def make_id() -> str:
    """Return the id of a new decision, which nobody can guess."""
    return f"dec_{secrets.token_urlsafe(18)}"


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """A decision as it was logged."""

    id: str
    answered: str
    """Who answered: the chosen model, or another where that failed."""
    decision: dict[str, Any]
    """:meth:`Decision.to_dict`."""
    encoder: str
    features: bytes | None
    """None: it was made without the network, and there is nothing to learn from."""
    outcome: float | None
    """What was said last; None: nothing yet."""
    changes: int
    """How often an outcome was said."""

    def restore(self) -> Decision:
        """Return the decision as it was made."""
        said = self.decision
        row: Array | None = None if self.features is None else np.frombuffer(self.features, dtype="<f4").astype(np.float32)
        probabilities = {name: float("nan") if p is None else p for name, p in said["probabilities"].items()}
        return Decision(
            said["model"], probabilities, tuple(said["qualified"]), said["reason"], tuple(said["ranking"]), said["cost"],
            said["novelty"], features=row, session=said["session"],
        )  # fmt: skip


class DecisionLog:
    """The file beside a feedback file. May be used by several threads and processes.

    Raises:
        ConfigError: it cannot be opened.
    """

    def __init__(self, feedback_file: Path, seconds: float, max_decisions: int = MAX_DECISIONS) -> None:
        self.path = feedback_file.with_name(feedback_file.name + SUFFIX)
        self._seconds, self._most, self._added = seconds, max_decisions, 0
        self._busy_until = 0.0
        self._begin()
        after_fork(self, DecisionLog._begin)
        try:
            feedback_file.parent.mkdir(parents=True, exist_ok=True)
            with feedback_file.open("ab"):
                pass  # it can be written
            for statement in (_SCHEMA, _TOLD, _MADE, _SPENDING):
                self._run(statement)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"feedback_file {feedback_file} or {self.path.name} beside it cannot be written ({error}); choose another place"
            ) from error

    def _begin(self) -> None:
        self._lock = threading.Lock()
        # SQLite's connections do not survive a fork: the parent's is neither used nor closed in the child.
        self._inherited = getattr(self, "_connection", None)
        self._connection: sqlite3.Connection | None = None

    def add(self, id: str, decision: Decision, encoder: str) -> bool:
        """Log a decision; return whether that was possible. A server goes on where it was not."""
        features = None if decision.features is None else pack_features(decision.features)
        said = json.dumps(decision.to_dict(), ensure_ascii=True)
        try:
            self._run(
                "INSERT INTO decisions (id, at, answered, decision, encoder, features) VALUES (?, ?, ?, ?, ?, ?)",
                (id, time.time(), decision.model, said, encoder, features),
            )
            self._added += 1
            if self._added % DROP_EVERY == 1:
                self._run("DELETE FROM decisions WHERE at < ?", (time.time() - self._seconds,))
                self._run("DELETE FROM decisions WHERE place <= (SELECT max(place) FROM decisions) - ?", (self._most,))
        except sqlite3.Error as error:
            log.error("decision %s is not kept for feedback: %s", id, error)
            return False
        return True

    def note_answer(self, id: str, model: str) -> None:
        """Note that another model answered than the chosen one: an outcome is of its answer."""
        try:
            # Even if it waits: an outcome of another model's answer would be worse than none.
            self._run("UPDATE decisions SET answered = ? WHERE id = ?", (model, id), always=True)
        except sqlite3.Error as error:
            log.error("who answered decision %s is not kept: %s", id, error)

    def note_outcome(self, id: str, model: str, outcome: float) -> None:
        """Note what was said of a decision. Raises sqlite3.Error where it cannot be."""
        self._run("UPDATE decisions SET answered = ?, outcome = ?, changes = changes + 1 WHERE id = ?", (model, outcome, id))

    def find(self, id: Any) -> LoggedDecision | None:
        """Return a decision that is not too old; None for an unknown id. Raises sqlite3.Error where it cannot be read."""
        if not isinstance(id, str) or not _ID.fullmatch(id):
            return None
        rows = self._run(
            "SELECT id, answered, decision, encoder, features, outcome, changes FROM decisions WHERE id = ? AND at >= ?",
            (id, time.time() - self._seconds),
        )
        if not rows:
            return None
        found, answered, said, *rest = rows[0]
        return LoggedDecision(found, answered, json.loads(said), *rest)

    def count_outcomes(self) -> int:
        """Return of how many decisions an outcome is known. Raises sqlite3.Error where they cannot be read."""
        return int(self._read("SELECT COUNT(*) FROM decisions WHERE outcome IS NOT NULL")[0][0])

    def last_outcomes(self, encoder: str, count: int) -> list[tuple[str, bytes, float]]:
        """Return who answered, the input row and the outcome of the latest ``count`` of each model.

        Only of decisions that were made on rows of ``encoder``. Raises sqlite3.Error where they cannot be read.
        """
        return self._read(_LAST_OUTCOMES, (count, encoder))

    def hold_usd(self, day: str, amount: float, limit: float) -> bool:
        """Count ``amount`` as spent on a day and return True, where no more than ``limit`` is then spent by all workers.

        Raises sqlite3.Error where that cannot be written.
        """
        self._run("INSERT OR IGNORE INTO shadow_spending (day, usd) VALUES (?, 0)", (day,))
        statement = "UPDATE shadow_spending SET usd = usd + ? WHERE day = ? AND usd + ? <= ? RETURNING usd"
        return bool(self._run(statement, (amount, day, amount, limit)))

    def settle_usd(self, day: str, difference: float) -> None:
        """Add to what a day's spending is by what was spent more than held: mostly below 0. Raises sqlite3.Error."""
        self._run("UPDATE shadow_spending SET usd = max(0, usd + ?) WHERE day = ?", (difference, day))

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _read(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Run a long query beside what is written meanwhile: over a connection of its own."""
        with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as connection:
            return connection.execute(statement, values).fetchall()

    def _run(self, statement: str, values: tuple[Any, ...] = (), always: bool = False) -> list[Any]:
        with self._lock:
            if time.monotonic() < self._busy_until and not always:
                raise sqlite3.OperationalError(f"{self.path.name} was locked by another program a moment ago")
            try:
                return self._connect().execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:  # in all of its variants
                    self._busy_until = time.monotonic() + PAUSE_SECONDS
                raise

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
        return self._connection
