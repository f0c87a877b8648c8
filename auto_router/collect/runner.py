"""Ask every model every question, judge what comes back, and keep all of it in the journal.

Asking one model the way a run does: from the journal if it knows, else with patience, within limits, and committed.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tqdm import tqdm

from auto_router.collect import rate_limits
from auto_router.collect.batch import BatchQueue
from auto_router.collect.compared_labels import make_label_source
from auto_router.collect.endpoint import Endpoint, Messages, digest_images
from auto_router.collect.journal import Journal
from auto_router.collect.journal_file import PROBE, Exchange, number_sample, request_key
from auto_router.collect.judge import Verdict
from auto_router.collect.label_checks import ask_decoys
from auto_router.collect.label_sources import LabelSettings, ReferenceLabels
from auto_router.collect.money import Budget, CostCeiling, answer_cost, highest_tokens, show_usd, usual_tokens
from auto_router.collect.question import Question, question_messages
from auto_router.collect.reply import Response
from auto_router.collect.results import REFERENCE_CHECK, LabelOutcome, Results, average_outcomes
from auto_router.data.capability import TEXT_ONLY_REASON
from auto_router.data.images import fit_image
from auto_router.data.pool import Pool, PoolModel
from auto_router.terminal import bar

POLICY = rate_limits.RetryPolicy()
CONCURRENCY = 64


@dataclass
class Run:
    """What all endpoints of a run share. ``offline``: the journal only; nothing is sent. ``opened`` makes its endpoints."""

    journal: Journal
    budget: Budget = field(default_factory=lambda: Budget(None))
    concurrency: int = CONCURRENCY
    offline: bool = False
    retry_failed: bool = False
    opened: Callable[..., Endpoint] = Endpoint
    stop: rate_limits.Cancellation = field(default_factory=rate_limits.Cancellation)
    max_wait_s: float = rate_limits.MAX_WAIT_S

    def __post_init__(self) -> None:
        self.in_flight = asyncio.Semaphore(self.concurrency)


@dataclass
class _Effort:
    """What one question took so far: tries, those that count against it, and USD that bought no answer."""

    tries: int = 0
    attempts: int = 0
    lost_usd: float = 0.0


class EndpointClient:
    """One endpoint within a run. Raises ConfigError as :class:`Endpoint` does, and for a budget without prices."""

    def __init__(self, endpoint: Endpoint, run: Run, role: str = "candidate") -> None:
        self.endpoint, self.model, self._run, self.role = endpoint, endpoint.model, run, role
        self.circuit = rate_limits.CircuitBreaker(self.model.name, POLICY, run.stop, run.max_wait_s)
        self.ceiling = CostCeiling(self.model, run.budget)
        self._slots = asyncio.Semaphore(self.model.concurrency)
        self._requests, self._tokens = (
            rate_limits.RateLimiter(self.model.requests_per_minute),
            rate_limits.RateLimiter(self.model.tokens_per_minute),
        )
        self._doubles: dict[str, asyncio.Future[Response]] = {}
        self._scaled = False
        self.batches = BatchQueue.of(self, run)
        if run.budget.limit is not None:
            self.ceiling.learn_recorded(*run.journal.highest(self.addresses, self.model.model))

    @property
    def addresses(self) -> list[str]:
        """Where an answer counts as this endpoint's: what is really asked, and what the pool says is the same server.

        Answers that came through ``--base-url`` are found under that address only. Where nothing is sent, the pool's own stand
        beside them: journals of former versions knew no other.
        """
        own = self.endpoint.address == self.model.address
        others = self.model.same_as if own else (self.model.address,) if self._run.offline else ()
        return [self.endpoint.address, *others]

    def find_recorded(self, request: dict[str, Any], key: str = "") -> Response | None:
        """Return the journal's answer to a request, unless it is a failure that is to be asked again."""
        known = self._run.journal.find(request, self.addresses, key)
        final = known is not None and (
            known.error is None or self._run.offline or (known.settled and not self._run.retry_failed)
        )
        return known if final else None

    async def ask(self, messages: Messages, anew: bool = False, sample: int = 0) -> Response:
        """Return the journal's answer, or ask and commit; ``anew``: ask in any case. A failure is an answer with its reason.

        Each ``sample`` of a question has an answer of its own.

        Raises:
            NotAsked: the run ends, the endpoint is dropped, or the run is offline.
            DataError: the journal cannot be written.
        """
        request = self.endpoint.request(messages)
        digested = number_sample(digest_images(request), sample)
        key = request_key(digested)
        while key in self._doubles:  # the same question is on its way: its answer is ours, its failure is not
            await asyncio.wait([self._doubles[key]])
            anew = False
        known = None if anew else self.find_recorded(digested, key)
        if known is not None:
            return known
        if self._run.offline:
            raise rate_limits.NotAsked("not asked yet")
        if self.batches is not None:
            answer = await self.batches.find_answer((key, digested, request), anew)
            if answer is not None:
                return answer
        turn = self._doubles[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._ask_patiently(
                request, Exchange(digested, Response(None), self.endpoint.address, self.role, key=key)
            )
        finally:
            del self._doubles[key]
            turn.cancel()

    async def _ask_patiently(self, request: dict[str, Any], blank: Exchange) -> Response:
        effort = _Effort()

        async def commit(answer: Response, cost: float | None) -> None:
            exchange = replace(blank, answer=answer, cost_usd=cost, lost_usd=effort.lost_usd, tries=effort.tries)
            await self._run.journal.commit(exchange)

        try:
            answer = await self._try_often(request, effort)
        except rate_limits.NotAsked:
            if effort.lost_usd:  # money that may be gone stays counted
                await commit(Response(None, error="interrupted"), None)
            raise
        await commit(answer, None if answer.latency_s is None else answer_cost(self.model, answer))
        return answer

    async def _try_often(self, request: dict[str, Any], effort: _Effort) -> Response:
        tokens = highest_tokens(request, self.model)
        while True:
            try:
                return await self._attempt(request, tokens, effort)
            except rate_limits.PassingFailure as failure:
                # While the endpoint is down for everyone, no question uses up its own tries.
                effort.attempts += not self.circuit.paused
                if effort.attempts >= POLICY.attempts:
                    body = failure.response.body if failure.response else None
                    return Response(None, error=f"{failure.reason} (after {effort.tries} tries)", body=body)
                # One that is set aside is not waited for: the next try says so.
                wait = 0.0 if self.circuit.dropped else POLICY.wait(max(effort.attempts, 1), failure.retry_after)
                await self._run.stop.sleep(wait)

    async def _attempt(self, request: dict[str, Any], tokens: tuple[int, int], effort: _Effort) -> Response:
        stop = self._run.stop
        likely = usual_tokens(request, self.model)
        async with self._slots:
            await self.circuit.enter()
            try:
                await self._requests.take(1, stop)
                await self._tokens.take(likely, stop)
                answer = await self.send(request, tokens, effort)
            finally:
                self.circuit.left()
        used = (answer.prompt_tokens or 0) + (answer.completion_tokens or 0)
        self._tokens.give_back(likely - used if used else 0)
        return answer

    async def send(self, request: dict[str, Any], tokens: tuple[int, int], effort: _Effort, proves: bool = True) -> Response:
        """Send a request once, within the budget. ``proves``: what comes back tells what an answer of this endpoint may cost.

        Raises:
            PassingFailure: as :meth:`Endpoint.attempt`.
            NotAsked: the budget has no room, or the run ends.
        """
        budget, stop = self._run.budget, self._run.stop
        async with self.ceiling.turn(tokens) as most, self._run.in_flight, budget.hold(most, stop):
            stop.check()
            effort.tries += 1
            try:
                answer = await self.endpoint.attempt(request)
            except rate_limits.PassingFailure as failure:
                self.circuit.note_failure(failure)
                lost = self._price_failure(failure, most)
                effort.lost_usd += lost
                budget.pay(lost)
                if failure.response is not None:
                    self.ceiling.learn(tokens, failure.response, proves)
                raise
            if answer.latency_s is None and not (answer.error or "").startswith("content filter"):
                self.circuit.note_refusal(answer.error or "no reason given")
            else:
                self.circuit.note_answer()
            cost = answer_cost(self.model, answer)
            # An endpoint that answers without counting tokens is reckoned at the worst case.
            lost = most if cost is None and answer.latency_s is not None else 0.0
            effort.lost_usd += lost
            budget.pay(cost or 0.0 if answer.latency_s is None else lost or cost)
            self.ceiling.learn(tokens, answer, proves)
        return answer

    def _price_failure(self, failure: rate_limits.PassingFailure, most: float) -> float:
        """USD of a try without an answer: what the part that came says, else the worst case where anything may be billed."""
        counted = None if failure.response is None else answer_cost(self.model, failure.response)
        if counted is not None:
            return counted
        return most if failure.billed or failure.response is not None else 0.0

    async def probe(self, messages: Messages) -> Response:
        """Ask a small question once, within the budget; it is kept for its cost only.

        Raises:
            PassingFailure, NotAsked: as :meth:`send`.
        """
        request, effort = self.endpoint.request(messages), _Effort()
        answer = Response(None, error="no answer")
        try:
            answer = await self.send(request, highest_tokens(request, self.model), effort, proves=False)
            return answer
        finally:
            cost = answer_cost(self.model, answer) if answer.latency_s is not None else None
            if effort.tries:
                spent = Exchange(request, answer, self.endpoint.address, PROBE, cost, effort.lost_usd, effort.tries)
                await self._run.journal.commit(spent)

    async def fit_images(self, images: Sequence[bytes]) -> Sequence[bytes]:
        """Return images as large as the model takes them; that any is made smaller is said once."""
        side, size = self.model.max_image_side, self.model.max_image_bytes
        if not images or (side is None and size is None):
            return images
        fitted = await asyncio.to_thread(self.fit_images_now, images)
        if not self._scaled and any(len(new) != len(old) for new, old in zip(fitted, images, strict=True)):
            self._scaled = True
            most = " and ".join(f"{n:,} {unit}" for n, unit in ((side, "pixels a side"), (size, "bytes")) if n is not None)
            tqdm.write(f"{self.model.name}: images above {most} are scaled down before they are sent")
        return fitted

    def fit_images_now(self, images: Sequence[bytes]) -> Sequence[bytes]:
        """The same, without a word and on this thread."""
        side, size = self.model.max_image_side, self.model.max_image_bytes
        return images if side is None and size is None else [fit_image(image, side, size) for image in images]

    async def close(self) -> None:
        await self.endpoint.close()


READ_AHEAD = 32


class Collector:
    """Runs one pool over questions. ``labels`` says how answers become labels; ``samples`` how often each model is asked each
    question, the label being the mean. To be made inside a running event loop.
    """

    def __init__(
        self, pool: Pool, run: Run, base_url: str | None = None, labels: LabelSettings | None = None, samples: int = 1
    ) -> None:
        self.samples, self._run, self.settings = samples, run, labels or LabelSettings()

        def caller(model: PoolModel, role: str) -> EndpointClient:
            return EndpointClient(run.opened(model, base_url, keyless=run.offline), run, role)

        self.models = [caller(model, "candidate") for model in pool.models]
        judges = [pool.judge, pool.second_judge] if self.settings.asks_judge else []
        self.judges = [caller(model, "judge") for model in judges if model is not None]
        self.labels = make_label_source(self.settings, self, samples)
        # Where a row has references though its labels rest on something else, they say how good such labels are.
        is_plain = self.settings.name == "reference" or not self.settings.asks_judge
        self.check = None if is_plain else ReferenceLabels(self, LabelSettings())

    @property
    def is_offline(self) -> bool:
        return self._run.offline

    @property
    def journal(self) -> Journal:
        return self._run.journal

    def samples_of(self, caller: EndpointClient) -> int:
        """Return how often a model is asked each question: for its own labels, and for those of others."""
        return max(self.samples, self.labels.samples_of(caller.model.name))

    async def collect(self, questions: Callable[[], Iterator[Question]], results: Results) -> None:
        """Fill ``results``. Every model reads ``questions()`` at its own pace, so a slow or dropped one holds up no other.

        Raises:
            DataError: the journal cannot be written, or the data set cannot be read any more.
        """
        gc.freeze()  # all that was imported stays; looking through it again and again holds up what is on the wire
        try:
            await self._label_all(questions, results)
            while any([await judge.batches.ask_wanted() for judge in self.judges if judge.batches is not None]):
                # Some labels wait for what a judge says in batches: they are made again, of what the journal holds by now.
                results.forget_costs()
                self.labels = make_label_source(self.settings, self, self.samples)
                await self._label_all(questions, results)
        except BaseExceptionGroup as failures:  # one cause is enough; the others are mostly its echo
            raise failures.exceptions[0] from None
        finally:
            await self.close()

    async def _label_all(self, questions: Callable[[], Iterator[Question]], results: Results) -> None:
        with bar(len(results.scores) * len(self.models), "ask and judge", "answer") as shown:
            async with asyncio.TaskGroup() as group:
                for column, caller in enumerate(self.models):
                    samples = self.samples_of(caller)
                    first = None if caller.batches is None else partial(caller.batches.run, questions, samples)
                    feed = _Feed(questions(), first)
                    # Twice as many workers as requests: while some wait for the judge, others ask.
                    for _ in range(2 * min(caller.model.concurrency, self._run.concurrency)):
                        group.create_task(self._work(column, caller, feed, results, shown))
        if self._run.stop.reason != rate_limits.INTERRUPTED:  # the data set is not read once more
            await ask_decoys(self, self.labels, questions, results)

    async def _work(self, column: int, caller: EndpointClient, feed: _Feed, results: Results, shown: tqdm[Any]) -> None:
        # A spent budget still lets the journal speak for the rows that are left; an interruption ends at once.
        while self._run.stop.reason != rate_limits.INTERRUPTED and (item := await feed.next()) is not None:
            results.put(item[0], column, await self.one(caller, item[1]))
            shown.set_postfix_str(show_usd(self._run.budget.spent, self._run.budget.unpriced, " USD"), refresh=False)
            shown.update()

    async def one(self, caller: EndpointClient, question: Question) -> LabelOutcome:
        """Return what one model makes of one question. Nothing an endpoint does is an exception."""
        if question.images and not caller.model.facts.takes_images:
            return LabelOutcome(None, Verdict(None, TEXT_ONLY_REASON))
        if self.samples == 1:  # a task of its own costs as much as reading the answer
            return await self._sample(caller, question, 0)
        outcomes = [self._sample(caller, question, sample) for sample in range(self.samples)]
        return average_outcomes(await asyncio.gather(*outcomes))

    async def answer(self, name: str, question: Question, sample: int = 0) -> Response:
        """Return a model's answer. Raises NotAsked as :meth:`EndpointClient.ask`."""
        caller = next(caller for caller in self.models if caller.model.name == name)
        if question.images and not caller.model.facts.takes_images:
            return Response(None, error=TEXT_ONLY_REASON)
        return await caller.ask(question_messages(question, await caller.fit_images(question.images)), sample=sample)

    def price(self, name: str, answer: Response) -> float | None:
        """Return the USD that an answer of a model cost; None = unknown."""
        return answer_cost(next(caller.model for caller in self.models if caller.model.name == name), answer)

    async def _sample(self, caller: EndpointClient, question: Question, sample: int) -> LabelOutcome:
        name = caller.model.name
        try:
            answer = await self.answer(name, question, sample)
        except rate_limits.NotAsked as why:
            return LabelOutcome(None, Verdict(None, str(why)))
        outcome = replace(await self.labels.label(question, name, answer, sample), cost=self.price(name, answer))
        if self.check is None or not question.references or answer.text is None:
            return outcome
        check = await self.check.label(question, name, answer, sample)
        checks = {**outcome.checks, REFERENCE_CHECK: check.verdict}
        return replace(outcome, checks=checks, judge_costs=outcome.judge_costs + check.judge_costs)

    async def close(self) -> None:
        for caller in [*self.models, *self.judges]:
            await caller.close()


class _Feed:
    """Numbered questions, read in a thread a few at a time: reading never holds up what is on the wire.

    ``first`` is done before any is given out.
    """

    def __init__(self, questions: Iterator[Question], first: Callable[[], Awaitable[None]] | None = None) -> None:
        self._questions, self._first = enumerate(questions), first
        self._ready: list[tuple[int, Question]] = []
        self._ended = False
        self._lock = asyncio.Lock()

    async def next(self) -> tuple[int, Question] | None:
        async with self._lock:
            if self._first is not None:
                await self._first()
                self._first = None
            if not self._ready and not self._ended:
                self._ready = await asyncio.to_thread(self._read)
                self._ended = not self._ready
            return self._ready.pop(0) if self._ready else None

    def _read(self) -> list[tuple[int, Question]]:
        return [item for _, item in zip(range(READ_AHEAD), self._questions, strict=False)]
