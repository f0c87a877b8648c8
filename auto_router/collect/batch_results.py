"""What came of one batch: its output and error files, read by the one reader of replies.

The lines come in any order. What a line says is what the same request would have been answered directly; a question that
expired, failed for a passing reason, or stands in no file is asked again. What the provider counts as done and did not hand
over is counted as paid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import IO, Any

from auto_router.collect.batch_store import Batch, BatchRow
from auto_router.collect.endpoint import Endpoint
from auto_router.collect.exchange import Exchange
from auto_router.collect.money import answer_cost, paid_cost
from auto_router.collect.rate_limits import PassingFailure
from auto_router.collect.reply import Response, read_reply
from auto_router.data.pool import PoolModel


class BatchResults:
    """``requests`` are those of the batch by key; ``answered`` what came, ``again`` the reason why a question is asked anew.

    ``adapted``: those of ``again`` that the endpoint wants in another form. ``lost``: keys of what may have been paid for and
    is not here, with the part that came.
    """

    def __init__(self, batch: Batch, requests: Mapping[str, BatchRow]) -> None:
        self._batch, self.requests = batch, requests
        self.answered: dict[str, Response] = {}
        self.again: dict[str, str] = {}
        self.adapted: set[str] = set()
        self.lost: dict[str, Response | None] = {}
        self._free: set[str] = set()

    def read(self, file: IO[bytes], endpoint: Endpoint) -> None:
        """Read one file; what was read before stays. Lines that are no such line, or of no request of ours, say nothing."""
        for line in file:
            row = _load(line)
            key = row.get("custom_id")
            if isinstance(key, str) and key in self.requests and key not in self.answered and key not in self.adapted:
                status, body = _read_line(row)
                self._take(key, status, endpoint.without_secrets(body), endpoint)

    def _take(self, key: str, status: int, body: bytes, endpoint: Endpoint) -> None:
        self.again.pop(key, None)
        self.lost.pop(key, None)
        try:
            response = read_reply(status, {}, body)
        except PassingFailure as failure:
            self.again[key] = failure.reason
            if failure.response is not None:
                self.lost[key] = failure.response
            return
        settings = {name: value for name, value in self.requests[key].items() if name not in ("messages", "sample")}
        if status in (400, 422) and endpoint.adapt(settings, self._batch.parameters, body):
            self.again[key] = response.error or ""
            self.adapted.add(key)
            return
        self.answered[key] = replace(response, discount=self._batch.discount)
        if status != 200:
            self._free.add(key)

    def is_complete(self, state: Mapping[str, Any]) -> bool:
        """Whether every question has a line, or at least as many were answered as the provider counts."""
        count = _count_completed(state)
        came = len(self.answered) + len(self.again)
        return came >= len(self.requests) or (count is not None and self._count_done() >= count)

    def note_missing(self, state: Mapping[str, Any]) -> None:
        """Put down what stands in no file: asked again, and counted as paid where the provider says it was done."""
        missing = [key for key in self.requests if key not in self.answered and key not in self.again]
        count = _count_completed(state)
        paid = len(missing) if count is None else max(0, count - self._count_done())
        self.lost |= dict.fromkeys(missing[:paid])
        self.again |= dict.fromkeys(missing, "it stands in no file of its batch")

    def lose_all(self, reason: str) -> None:
        """The batch is gone: all of it may have been paid."""
        self.again = dict.fromkeys(self.requests, reason)
        self.lost = dict.fromkeys(self.requests)

    def _count_done(self) -> int:
        return len(self.answered) - len(self._free) + len(self.lost)

    def exchanges(
        self, model: PoolModel, failed: Mapping[str, Response], role: str
    ) -> tuple[list[Exchange], list[float | None]]:
        """Return what is to be recorded, and the USD that each took; None = unknown. ``failed``: given up for this run."""
        each = self._batch.held_usd / max(len(self.requests), 1)
        found, paid = [], []
        for key, request in self.requests.items():
            answer, came, cost, lost = self.answered.get(key), key in self.answered and key not in self._free, None, 0.0
            if came and answer is not None:
                cost = paid_cost(answer_cost(model, answer), self._batch.discount)
                lost = each if cost is None else 0.0
            elif key in self.lost:
                part = self.lost[key]
                known = None if part is None else paid_cost(answer_cost(model, part), self._batch.discount)
                lost = each if known is None else known
            answer = answer or failed.get(key) or (Response(None, error=self.again.get(key, "lost")) if lost else None)
            if answer is not None:
                found.append(Exchange(request, answer, self._batch.address, role, cost, lost, key=key))
                paid.append((lost or cost) if came else lost)
        return found, paid


def _count_completed(state: Mapping[str, Any]) -> int | None:
    counts = state.get("request_counts")
    count = counts.get("completed") if isinstance(counts, Mapping) else None
    return count if isinstance(count, int) and not isinstance(count, bool) else None


def _load(line: bytes) -> BatchRow:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _read_line(row: BatchRow) -> tuple[int, bytes]:
    """Return the HTTP status and body that a line holds; an error of the batch itself has the form of one in HTTP 200."""
    response = row.get("response")
    if not isinstance(response, Mapping) or response.get("body") in (None, "", {}):
        return 200, json.dumps({"error": row.get("error") or {"code": "no_response", "message": "no response"}}).encode()
    status, body = response.get("status_code"), response["body"]
    text = body if isinstance(body, str) else json.dumps(body)
    return (status if isinstance(status, int) else 200), text.encode("utf-8", "surrogatepass")
