"""One model's questions through its provider's Batch API: half the price, up to a day of patience, nothing sent twice.

A batch is written into the journal before it is sent, and again after each step, so a run that is killed goes on with it. The
two steps that may not happen twice, the upload and the beginning, are looked for in the provider's lists, by a name of our own,
wherever their answer was lost. What comes back is read as direct answers are and committed under the same keys, in one
transaction with the end of the batch. What expired, failed or is missing goes into another batch.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from tqdm import tqdm

from auto_router.collect.batch_transfer import BatchRefusal, BatchResults, BatchTransfer
from auto_router.collect.endpoint import STREAM, digest_images
from auto_router.collect.journal import Batch, BatchRow
from auto_router.collect.journal_file import number_sample, request_key, unlimited_key
from auto_router.collect.money import highest_tokens
from auto_router.collect.question import Question, question_messages
from auto_router.collect.rate_limits import NotAsked
from auto_router.collect.reply import Response

if TYPE_CHECKING:
    from auto_router.collect.runner import EndpointClient, Run

MAX_BATCH_REQUESTS, MAX_BATCH_BYTES = 50_000, 200 * 10**6  # of one file, as OpenAI documents; Azure takes as many bytes
MAX_TIMES = 5  # batches that a question is put into before it counts as failed
Keyed = tuple[str, BatchRow, BatchRow]
"""A request by its key: as it is recorded (images digested, samples numbered), and as it is sent."""
MAX_WANTED_BYTES = 10**9  # of verdicts that wait for one round of batches; more wait for the next
LONGEST_PAUSE = 20  # times the pool's batch_poll_s


@dataclass
class _Part:
    """The requests of one batch: ``file`` as it is sent, ``requests`` as (key, request as JSON); ``most`` USD at most."""

    file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    requests: list[tuple[str, str]] = field(default_factory=list)
    parameters: BatchRow = field(default_factory=dict)
    most: float = 0.0
    size: int = 0


class _Requests:
    """Requests one by one, of which the last can be put back."""

    def __init__(self, requests: Iterator[Keyed]) -> None:
        self._requests = requests
        self.back: Keyed | None = None

    def __iter__(self) -> Iterator[Keyed]:
        while (item := self.back or next(self._requests, None)) is not None:
            self.back = None
            yield item


class BatchQueue:
    """The batches of one endpoint within a run; ``pending`` are the keys of what is under way.

    What a candidate is to be asked is known from the start. What a judge is to be asked shows only as labels are made, so that
    its requests are kept as they are wanted, and asked between two rounds of labels (:meth:`ask_wanted`).
    """

    def __init__(self, caller: EndpointClient, run: Run) -> None:
        self._caller, self._run, self._model = caller, run, caller.model
        kind = unlimited_key(caller.endpoint.request([]))
        self._kind = kind if caller.role == "candidate" else f"{caller.role} {kind}"
        self._open = run.journal.open_batches(caller.addresses, self._kind)
        self.pending = {key for batch in self._open for key in run.journal.batch_requests(batch.name)}
        for batch in self._open:
            run.budget.reserve(batch.held_usd)
        self._rounds: Counter[str] = Counter()
        self._answered: set[str] = set()
        self._closed: set[str] = set()
        self._failed: dict[str, Response] = {}
        self._wanted: dict[str, Keyed] = {}
        self._wanted_bytes = 0
        self._asked_anew: set[str] = set()
        self._largest, self._refusals = MAX_BATCH_REQUESTS, 0
        self._why = "its batch is not done yet"
        self._running: asyncio.Future[None] | None = None
        self._transfer = BatchTransfer(caller, run)
        self.reach = self._transfer.reach

    @classmethod
    def of(cls, caller: EndpointClient, run: Run) -> BatchQueue | None:
        """Return the queue of a model that is asked in batches, or of which one is still under way; None for others."""
        queue = None if run.offline else cls(caller, run)
        return queue if queue is not None and (caller.model.batch or queue._open) else None

    async def find_answer(self, item: Keyed, anew: bool = False) -> Response | None:
        """Return what came of a request in this run; None where it is to be asked directly. Raises NotAsked for the rest.

        Whoever needs another model's answer, as labels by a strong model do, waits here for its batches. ``anew``: what is
        known of it will not do; it is asked once more.
        """
        key, recorded, _ = item
        if anew and key not in self._asked_anew:
            self._asked_anew.add(key)
            self._answered.discard(key)
        while self._running and key not in self._failed and key not in self._answered:
            self._run.stop.check()
            await asyncio.wait([self._running], timeout=1.0)
        if key in self._failed:
            return self._failed[key]
        if key in self._answered:
            return self._run.journal.find(recorded, self._caller.addresses, key)
        if self._model.batch or key in self.pending:
            if self._caller.role != "candidate":
                self._want(item)
            raise NotAsked(f"not asked: {self._why}")
        return None

    def _want(self, item: Keyed) -> None:
        """Keep a request for the next round of batches, where there is room for it."""
        size = 0 if item[0] in self._wanted or item[0] in self.pending else len(json.dumps(item[2]))
        if size and self._wanted_bytes + size <= MAX_WANTED_BYTES:
            self._wanted[item[0]] = item
            self._wanted_bytes += size

    async def ask_wanted(self) -> bool:
        """Carry on what is under way and ask what was wanted; return whether anything came of it. Raises as :meth:`run`."""
        if not self._open and not self._wanted:
            return False
        before = len(self._answered) + len(self._failed)
        await self._run_all(lambda: (item for item in list(self._wanted.values()) if not self._is_done(item[0])))
        self._wanted, self._wanted_bytes = {}, 0
        return len(self._answered) + len(self._failed) > before

    async def run(self, questions: Callable[[], Iterable[Question]], samples: int) -> None:
        """Carry on what is under way, then ask what is left in batches, until nothing is left or the run ends.

        Raises:
            DataError: the journal cannot be written.
        """
        await self._run_all(lambda: self._list_requests(questions, samples))

    async def _run_all(self, requests: Callable[[], Iterator[Keyed]]) -> None:
        """``requests`` gives what is still to be asked, each time it is called."""
        self._running = asyncio.get_running_loop().create_future()
        try:
            opened, self._open = self._open, []
            await self._join([asyncio.create_task(self._carry(batch)) for batch in opened])
            while self._model.batch and await self._ask_all(requests()):
                pass
        except NotAsked as why:
            self._why = str(why).removeprefix("not asked: ")
        except BatchRefusal as refusal:
            self._why = str(refusal)
            self._say(f"{refusal}; the others go on, and the same command asks it again")
        finally:
            self._running.cancel()
            self._running = None
            await self._transfer.close()
            for batch in self._run.journal.open_batches(self._caller.addresses, self._kind):
                if batch.batch_id is not None:
                    self._say(f"batch {batch.batch_id} goes on at the provider; the same command fetches its answers")

    def _say(self, text: str) -> None:
        tqdm.write(f"{self._model.name}: {text}")

    # What is put into batches

    async def _ask_all(self, requests: Iterator[Keyed]) -> bool:
        """Put all of it into batches and wait for them; return whether there was anything."""
        left, budget, sent = _Requests(requests), self._run.budget, False
        tasks: list[asyncio.Task[None]] = []
        try:
            while True:
                self._run.stop.check()
                part = await asyncio.to_thread(self._fill, left)
                if part.requests:
                    sent = True
                    budget.reserve(part.most)
                    tasks.append(asyncio.create_task(self._send(part)))
                elif left.back is None:
                    break
                elif tasks:  # what they cost in the end may leave room
                    tasks, waiting = [], tasks
                    await self._join(waiting)
                else:
                    async with budget.hold(self._highest_cost(left.back[2]), self._run.stop):
                        pass
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        await self._join(tasks)
        return sent

    def _list_requests(self, questions: Callable[[], Iterable[Question]], samples: int) -> Iterator[Keyed]:
        """Yield what is still to be asked."""
        caller, seen = self._caller, set[str]()
        for question in questions():
            if question.images and not self._model.facts.takes_images:
                continue
            request = caller.endpoint.request(question_messages(question, caller.fit_images_now(question.images)))
            digested = digest_images(request)
            for sample in range(samples):
                recorded = number_sample(digested, sample)
                key = request_key(recorded)
                if key not in seen and not self._is_done(key) and caller.find_recorded(recorded, key) is None:
                    seen.add(key)
                    yield key, recorded, request

    def _is_done(self, key: str) -> bool:
        return key in self.pending or key in self._answered or key in self._failed

    def _highest_cost(self, request: BatchRow) -> float:
        return self._caller.ceiling.amount(highest_tokens(request, self._model)) * (1 - self._model.batch_discount)

    def _fill(self, left: _Requests) -> _Part:
        """Return the next batch, as large as the limits and the budget allow; one without requests where there is none."""
        part, room = _Part(), self._run.budget.room
        for key, recorded, request in left:
            if not part.requests:
                settings = {name: value for name, value in request.items() if name != "messages"}
                adapted = self._caller.endpoint.adaptation.apply(settings)
                part.parameters = {name: value for name, value in adapted.items() if name not in STREAM}
            body = part.parameters | {"messages": request["messages"]}
            line = {"custom_id": key, "method": "POST", "url": self._transfer.api.url, "body": body}
            packed = json.dumps(line).encode() + b"\n"
            most = self._highest_cost(request)
            full = part.size + len(packed) > MAX_BATCH_BYTES or len(part.requests) >= self._largest
            if part.most + most > room or (full and part.requests):
                left.back = key, recorded, request
                break
            part.file.write(packed)
            part.requests.append((key, json.dumps(recorded)))
            part.size += len(packed)
            part.most += most
        return part

    # What becomes of one batch

    async def _send(self, part: _Part) -> None:
        batch = Batch(
            uuid.uuid4().hex, self._caller.endpoint.address, self._kind, part.parameters, self._model.batch_discount,
            part.most, part.size,
        )  # fmt: skip
        self.pending |= {key for key, _ in part.requests}
        try:
            await self._run.journal.run(self._run.journal.add_batch, batch, part.requests)
            await self._carry(batch, part.file)
        finally:
            part.file.close()

    async def _carry(self, batch: Batch, file: IO[bytes] | None = None) -> None:
        """Bring a batch from where it stands to its end. ``file``: its requests, where this run has them."""
        began_before = file is None
        try:
            if batch.file_id is None:
                found = await self._transfer.upload(batch, file)
                if found is None:  # killed before it was sent: nothing is there to go on with
                    await self._close(batch, self._blank_results(batch))
                    return
                batch = found
            if batch.batch_id is None:
                try:
                    batch = await self._transfer.begin(batch, began_before)
                except BatchRefusal as refusal:
                    if refusal.is_final:
                        await self._close(batch, self._blank_results(batch))
                    raise
                count = len(self._run.journal.batch_requests(batch.name))
                self._say(
                    f"batch {batch.batch_id} of {count:,} questions is under way, at {1 - batch.discount:.0%} of the price; "
                    "it may take a day, and goes on without this run"
                )
            else:
                self._say(f"goes on with batch {batch.batch_id}")
            await self._finish(batch)
        finally:
            if batch.batch_id is not None and batch.name not in self._closed:  # it goes on, and will be paid
                self._run.budget.pay(batch.held_usd)
            await self._run.budget.release(batch.held_usd)

    async def _finish(self, batch: Batch) -> None:
        """Wait for the end of a batch and commit what came of it."""
        state = await self._transfer.wait(batch)
        results = self._blank_results(batch)
        if state is not None and state.get("status") == "failed":
            await self._close(batch, results)
            await self._note_refusal(batch, state, len(results.requests))
            return
        if state is None:
            results.lose_all(f"batch {batch.batch_id} is not known any more")
        else:
            await self._transfer.fetch(batch, state, results)
        await self._close(batch, results)
        self._refusals = 0
        status = "gone" if state is None else state.get("status")
        again = len(results.again)
        self._say(
            f"batch {batch.batch_id} is {status}: {len(results.answered):,} answers"
            + (f", {again:,} questions are left" if again else "")
        )
        if status == "cancelled":
            raise BatchRefusal(f"batch {batch.batch_id} was cancelled at the provider")

    def _blank_results(self, batch: Batch) -> BatchResults:
        return BatchResults(batch, self._run.journal.batch_requests(batch.name))

    async def _close(self, batch: Batch, results: BatchResults) -> None:
        """Commit a batch's end with all that came of it."""
        for key, reason in results.again.items():
            self._rounds[key] += key not in results.adapted
            if self._rounds[key] >= MAX_TIMES:
                self._failed[key] = Response(None, error=f"{reason} (after {MAX_TIMES} batches)")
        exchanges, paid = results.exchanges(self._model, self._failed, self._caller.role)
        if await self._run.journal.run(self._run.journal.close_batch, batch.name, exchanges):
            for usd in paid:
                self._run.budget.pay(usd)
        self._closed.add(batch.name)
        self._answered |= set(results.answered)
        self.pending -= set(results.requests)

    async def _note_refusal(self, batch: Batch, state: BatchRow, count: int) -> None:
        """Make smaller batches, later, where the provider's queue is too short for this one; any other refusal is for good."""
        errors = state.get("errors")
        rows = [e for e in (errors.get("data") if isinstance(errors, dict) else None) or [] if isinstance(e, dict)]
        told = "; ".join(dict.fromkeys(f"{e.get('code')}: {e.get('message')}" for e in rows[:3])) or "no reason given"
        if "token_limit_exceeded" not in told or count <= 1:
            raise BatchRefusal(f"batch {batch.batch_id} was refused ({told[:300]})")
        self._largest = max(1, count // 2)
        pause = min(2**self._refusals, LONGEST_PAUSE) * self._model.batch_poll_s
        self._refusals += 1
        self._say(f"its queue has no room for {count:,} questions; asked in batches of {self._largest:,} in {pause:g} s")
        await self._run.stop.sleep(pause)

    @staticmethod
    async def _join(tasks: list[asyncio.Task[None]]) -> None:
        """Wait for all; then raise what the first that failed did."""
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
