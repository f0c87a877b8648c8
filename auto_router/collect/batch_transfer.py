"""One batch at its provider: uploaded, begun once, waited for, fetched; and what came of it, read by the one reader of replies.

A step whose answer was lost may have been done all the same. The upload and the beginning are then looked for in the provider's
lists, under a name of our own, before they are sent again. Each step is written into the journal as soon as it is known.

The lines of what comes back stand in any order. What a line says is what the same request would have been answered directly; a
question that expired, failed for a passing reason, or stands in no file is asked again. What the provider counts as done and
did not hand over is counted as paid.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any, TypeVar

from auto_router.collect.endpoint import Endpoint
from auto_router.collect.journal import Batch, BatchRow
from auto_router.collect.journal_file import Exchange
from auto_router.collect.money import answer_cost, paid_cost
from auto_router.collect.rate_limits import PassingFailure
from auto_router.collect.reply import Response, read_reply
from auto_router.data.json_files import read_json
from auto_router.data.pool import PoolModel
from auto_router.errors import ProviderError

if TYPE_CHECKING:
    from auto_router.collect.http_client import BatchApi
    from auto_router.collect.runner import EndpointClient, Run


MAX_LOOKS = 3  # looks at a batch that is not there before it is given up
ENDED = ("completed", "failed", "expired", "cancelled")
REFUSED_FOR_GOOD = (400, 404, 413, 422)  # about the batch; a key or a quota may be mended, and the batch then goes on
FILE_PENDING = ("pending", "running", "notRunning")
PAUSE_S = 1.0  # before a call is made again; less where the pool looks more often
_Value = TypeVar("_Value")


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
        if not 200 <= status < 300:
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
    row = read_json(line)
    return row if isinstance(row, dict) else {}


def _read_line(row: BatchRow) -> tuple[int, bytes]:
    """Return the HTTP status and body that a line holds; an error of the batch itself has the form of one in HTTP 200."""
    response = row.get("response")
    if not isinstance(response, Mapping) or response.get("body") in (None, "", {}):
        return 200, json.dumps({"error": row.get("error") or {"code": "no_response", "message": "no response"}}).encode()
    status, body = response.get("status_code"), response["body"]
    text = body if isinstance(body, str) else json.dumps(body)
    return (status if isinstance(status, int) else 200), text.encode("utf-8", "surrogatepass")


class BatchRefusal(ProviderError):
    """The Batch API refused for good, or no batch of this model can be carried on in this run.

    ``status`` is the HTTP status, 0 where there is none. ``is_final``: the beginning itself was refused, for what is in the
    batch; nothing was begun, and the same would be refused again.
    """

    is_final = False

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.is_gone = status in (404, 410)
        self.status = status


class BatchTransfer:
    """Carries the batches of one endpoint.

    Every method raises BatchRefusal, NotAsked once the run ends or the endpoint is
    dropped, and DataError where the journal cannot be written.
    """

    def __init__(self, caller: EndpointClient, run: Run) -> None:
        self._caller, self._run, self._model = caller, run, caller.model
        self._connection: BatchApi | None = None

    @property
    def api(self) -> BatchApi:
        if self._connection is None:
            from auto_router.collect.http_client import BatchApi

            self._connection = BatchApi(self._caller.endpoint)
        return self._connection

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def reach(self) -> str | None:
        """Return why the Batch API cannot be used; None where it can. It costs nothing."""
        try:
            await self.api.reach()
        except ProviderError as error:
            return str(error)
        finally:
            await self.close()
        return None

    async def upload(self, batch: Batch, file: IO[bytes] | None) -> Batch | None:
        """Return the batch with its file at the provider; None where there is no file, here or there."""
        name = f"auto-router-{batch.name}.jsonl"
        lost = file is None
        while True:
            found = await self._call(partial(self.api.find_file, name)) if lost else None
            if found is not None and found.get("bytes") in (None, batch.size):
                file_id = _id_of(found)
                break
            if file is None:
                return None
            try:
                file_id = _id_of(await self._call_once(partial(self.api.upload, name, file)))
                break
            except PassingFailure as failure:
                lost = True
                await self._pause(failure)
        await self._note(batch, "file_id", file_id)
        return replace(batch, file_id=file_id)

    async def _wait_for_file(self, file_id: str) -> None:
        """Azure reads a file before a batch can be begun with it."""
        while True:
            try:
                file = await self._call(partial(self.api.look_at_file, file_id))
            except BatchRefusal:  # not every gateway has this call; what is wrong with the file, the beginning tells
                return
            if file.get("status") not in FILE_PENDING:
                return
            await self._run.stop.sleep(self._model.batch_poll_s)

    async def begin(self, batch: Batch, maybe_begun: bool) -> Batch:
        """Return the batch begun, once. ``maybe_begun``: it was sent before, and the answer lost."""
        file_id = batch.file_id or ""
        await self._wait_for_file(file_id)
        while True:
            found = None
            for look in range(2 if maybe_begun else 0):  # a list may lag behind: one more look before it is paid anew
                if look:
                    await self._run.stop.sleep(self._model.batch_poll_s)
                found = await self._call(partial(self.api.find_batch, batch.name, file_id))
                if found is not None:
                    break
            try:
                if found is None:
                    found = await self._call_once(partial(self.api.create, batch.name, file_id))
                batch_id = _id_of(found)
                break
            except PassingFailure as failure:
                maybe_begun = True
                await self._pause(failure)
            except BatchRefusal as refusal:
                refusal.is_final = refusal.status in REFUSED_FOR_GOOD
                raise
        await self._note(batch, "batch_id", batch_id)
        return replace(batch, batch_id=batch_id)

    async def wait(self, batch: Batch) -> BatchRow | None:
        """Return how a batch ended; None where the provider knows it no more."""
        missing = 0
        while missing < MAX_LOOKS:
            try:
                state = await self._call(partial(self.api.look_at, batch.batch_id or ""))
                missing = 0
                if state.get("status") in ENDED:
                    return state
            except BatchRefusal as refusal:
                if not refusal.is_gone:
                    raise
                missing += 1
            await self._run.stop.sleep(self._model.batch_poll_s)
        return None

    async def fetch(self, batch: Batch, state: BatchRow, results: BatchResults) -> None:
        """Read the files of a batch; more than once where they hold less than the provider counts."""
        for look in range(MAX_LOOKS):
            if look:
                await self._run.stop.sleep(self._model.batch_poll_s)
                state = await self._call(partial(self.api.look_at, batch.batch_id or ""))
            for name in ("output_file_id", "error_file_id"):
                file_id = state.get(name)
                if not isinstance(file_id, str) or not file_id:
                    continue
                with tempfile.TemporaryFile() as file:
                    try:
                        await self._call(partial(self.api.download, file_id, file))
                    except BatchRefusal as refusal:
                        if not refusal.is_gone:
                            raise
                        continue
                    file.seek(0)
                    await asyncio.to_thread(results.read, file, self._caller.endpoint)
            if results.is_complete(state):
                return
        results.note_missing(state)

    async def _note(self, batch: Batch, column: str, value: str) -> None:
        await self._run.journal.run(self._run.journal.note_progress, batch.name, column, value)

    async def _call(self, send: Callable[[], Awaitable[_Value]]) -> _Value:
        """Make a call that may be made twice, until it succeeds or the endpoint is dropped."""
        while True:
            try:
                return await self._call_once(send)
            except PassingFailure as failure:
                await self._pause(failure)

    async def _call_once(self, send: Callable[[], Awaitable[_Value]]) -> _Value:
        """Make a call once. Raises PassingFailure too."""
        circuit = self._caller.circuit
        await circuit.enter()
        try:
            value = await send()
            circuit.note_answer()
            return value
        except PassingFailure as failure:
            circuit.note_failure(failure)
            raise
        finally:
            circuit.left()

    async def _pause(self, failure: PassingFailure) -> None:
        await self._run.stop.sleep(max(min(PAUSE_S, self._model.batch_poll_s), failure.retry_after or 0.0))


def _id_of(row: BatchRow) -> str:
    if not isinstance(row.get("id"), str) or not row["id"]:
        raise PassingFailure("Batch API: the answer names no id", billed=True)
    return str(row["id"])
