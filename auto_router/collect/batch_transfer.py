"""One batch at its provider, step by step: uploaded, begun once, waited for, fetched.

A step whose answer was lost may have been done all the same. The upload and the beginning are then looked for in the provider's
lists, under a name of our own, before they are sent again. Each step is written into the journal as soon as it is known.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import IO, TYPE_CHECKING, TypeVar

from auto_router.collect.batch_results import BatchResults
from auto_router.collect.batch_store import Batch, BatchRow, note_progress
from auto_router.collect.rate_limits import PassingFailure
from auto_router.errors import ProviderError

if TYPE_CHECKING:
    from auto_router.collect.batch_api import BatchApi
    from auto_router.collect.runner import EndpointClient, Run

MAX_LOOKS = 3  # looks at a batch that is not there before it is given up
ENDED = ("completed", "failed", "expired", "cancelled")
REFUSED_FOR_GOOD = (400, 404, 413, 422)  # about the batch; a key or a quota may be mended, and the batch then goes on
FILE_PENDING = ("pending", "running", "notRunning")
PAUSE_S = 1.0  # before a call is made again; less where the pool looks more often
_Value = TypeVar("_Value")


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
            from auto_router.collect.batch_api import BatchApi

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
        await self._run.journal.run(note_progress, self._run.journal, batch.name, column, value)

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
