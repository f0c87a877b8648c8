"""``POST /v1/feedback {"id", "outcome"}`` of every server: how the answer to a decision turned out, as a row to train on.

What came of an id that nobody was given, or that is too old, is refused and changes nothing. An outcome may be corrected: the
last one holds. Nothing of a prompt is written.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from auto_router.decide.rule import Decision
from auto_router.errors import ConfigError, RouterError
from auto_router.route.feedback import FeedbackRow, read_outcome
from auto_router.serve.decision_log import DecisionLog, LoggedDecision
from auto_router.serve.monitoring import Metrics

log = logging.getLogger(__name__)

FIELDS = ("id", "outcome", "model")
MAX_CHANGES = 10
SHADOW = "shadow"
"""The reason of rows that a judge's comparison made, see :mod:`auto_router.serve.shadow`."""
OFF = "this server keeps no feedback; its operator sets feedback_file, or AUTO_ROUTER_FEEDBACK_FILE, to a file of its own"
INVALID, UNKNOWN, CONFLICT, IS_OFF, FAILED = 400, 404, 409, 501, 503
_RESULTS = {INVALID: "invalid", UNKNOWN: "unknown", CONFLICT: "conflict", IS_OFF: "off", FAILED: "failed"}


class RefusedError(RouterError):
    """A request about a decision that is refused, with its HTTP ``status``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def to_dict(self) -> dict[str, Any]:
        """Return the answer's body, in the form that OpenAI's client reads."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": None, "code": f"feedback_{_RESULTS[self.status]}"}}


class FeedbackLoop:
    """Keeps decisions until their outcome is told, and outcomes for ``nn_router.py --feedback``. Its methods block.

    Without a file nothing is kept, ``decisions`` is None, and every outcome is refused.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, file: str | None, seconds: float, metrics: Metrics) -> None:
        self._file = None if file is None else Path(file)
        self.decisions = None if self._file is None else DecisionLog(self._file, seconds)
        self._metrics = metrics
        self._lock = threading.Lock()

    def add(self, id: str, decision: Decision, encoder: str) -> None:
        """Keep a decision for its outcome, where feedback is kept."""
        if self.decisions is not None and not self.decisions.add(id, decision, encoder):
            self._metrics.feedback.labels("not_kept").inc()

    def take(self, body: Any) -> dict[str, Any]:
        """Keep the outcome that ``body`` tells; return the answer: ``id``, ``model``, ``outcome`` and ``learned``.

        ``learned`` is false where the decision was made without the network (a fallback): there is nothing to learn from.

        Raises:
            RefusedError: it is none, or of an unknown decision, and nothing was changed.
        """
        try:
            told = self._take(body)
        except RefusedError as error:
            self._metrics.feedback.labels(_RESULTS[error.status]).inc()
            raise
        except (sqlite3.Error, OSError) as error:
            log.error("an outcome is lost: %s", error)
            self._metrics.feedback.labels(_RESULTS[FAILED]).inc()
            raise RefusedError(FAILED, "the outcome could not be written; send it again later") from error
        return told

    def find(self, id: Any) -> LoggedDecision:
        """Return a decision by its id. Raises RefusedError where it is not known."""
        if self.decisions is None:
            raise RefusedError(IS_OFF, OFF)
        try:
            found = self.decisions.find(id)
        except sqlite3.Error as error:
            raise RefusedError(FAILED, "decisions cannot be read now; try again later") from error
        if found is None:
            raise RefusedError(UNKNOWN, f"no decision {str(id)[:60]!r} is known: it was not made here, or too long ago")
        return found

    def add_shadow(self, found: LoggedDecision, outcomes: Mapping[str, float]) -> None:
        """Append a row for each of the compared models. Raises OSError where that cannot be written.

        Each has an id of its own: what an application tells of the decision stands beside it.
        """
        if self._file is None or found.features is None:
            return
        for model, outcome in outcomes.items():
            id = f"{found.id}/{SHADOW}/{model}"
            FeedbackRow(model, outcome, found.decision["model"], SHADOW, found.encoder, found.features, id).append(self._file)

    def close(self) -> None:
        if self.decisions is not None:
            self.decisions.close()

    def _take(self, body: Any) -> dict[str, Any]:
        if self.decisions is None or self._file is None:
            raise RefusedError(IS_OFF, OFF)
        outcome = _read(body)
        # Two outcomes of one id at a time: what the file and the log say last must be the same.
        with self._lock:
            found = self.find(body["id"])
            model = found.answered if body.get("model") is None else body["model"]
            known = found.decision["probabilities"] or {found.answered: None}
            if model not in known:
                raise RefusedError(INVALID, f"model {str(model)[:60]!r} is none of this decision's: {', '.join(known)}")
            said = {"id": found.id, "model": model, "outcome": outcome, "learned": found.features is not None}
            if (found.outcome, found.answered) == (outcome, model):
                self._metrics.feedback.labels("repeated").inc()
                return said
            if found.changes >= MAX_CHANGES:
                raise RefusedError(CONFLICT, f"this decision's outcome was told {MAX_CHANGES} times; the last one stays")
            if found.features is not None:
                chosen, reason = found.decision["model"], found.decision["reason"]
                row = FeedbackRow(model, outcome, chosen, reason, found.encoder, found.features, found.id)
                row.append(self._file)
            self.decisions.note_outcome(found.id, model, outcome)
        result = "unlearnable" if found.features is None else "corrected" if found.changes else "kept"
        self._metrics.feedback.labels(result).inc()
        if not found.changes:
            self._metrics.outcomes.labels(model).observe(outcome)
        return said


async def answer(work: Callable[[Any], dict[str, Any]], given: Any) -> tuple[int, dict[str, Any]]:
    """Return status and JSON of what ``work`` makes of ``given``, off the event loop."""
    try:
        return 200, await asyncio.to_thread(work, given)
    except RefusedError as error:
        return error.status, error.to_dict()


def _read(body: Any) -> float:
    """Return the outcome that a body tells. Raises RefusedError where the body is not of the right form."""
    if not isinstance(body, Mapping):
        raise RefusedError(
            INVALID, 'the body must be a JSON object, of Content-Type application/json: {"id": "dec_…", "outcome": 0 … 1}'
        )
    unknown = sorted(set(body) - set(FIELDS))
    if unknown:
        raise RefusedError(INVALID, f"{', '.join(unknown)[:200]} is unknown; allowed are {', '.join(FIELDS)}")
    if "id" not in body or "outcome" not in body:
        raise RefusedError(INVALID, 'id and outcome must be given: {"id": "dec_…", "outcome": 0 … 1}')
    if not isinstance(body["id"], str) or not isinstance(body.get("model"), str | None):
        raise RefusedError(INVALID, "id must be a string, as x-auto-router-decision-id had it, and model a model's name")
    try:
        return read_outcome(body["outcome"])
    except ConfigError as error:
        raise RefusedError(INVALID, str(error)) from error
