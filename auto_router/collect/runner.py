"""Ask every model every question, judge what comes back, and keep all of it in the journal.

Asking one model the way a run does: from the journal if it knows, else with patience, within limits, and committed.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from auto_router.collect.endpoint import Endpoint, Messages, PassingFailure, Response, user_message
from auto_router.collect.journal import Exchange, Journal, request_key
from auto_router.collect.judge import Verdict, judge_by_rules, judge_messages, parse_verdict, verdict_id
from auto_router.collect.rate_limits import (
    INTERRUPTED,
    Budget,
    Cancellation,
    CircuitBreaker,
    NotAsked,
    RateLimiter,
    RetryPolicy,
    highest_cost,
    highest_tokens,
)
from auto_router.collect.results import LabelOutcome, Results
from auto_router.collect.source import Question
from auto_router.data.capability import TEXT_ONLY_REASON
from auto_router.data.pool import Pool, PoolModel
from auto_router.terminal import bar

POLICY = RetryPolicy()
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
    stop: Cancellation = field(default_factory=Cancellation)

    def __post_init__(self) -> None:
        self.in_flight = asyncio.Semaphore(self.concurrency)


class EndpointClient:
    """One endpoint within a run. Raises ConfigError as :class:`Endpoint` does, and for a budget without prices."""

    def __init__(self, endpoint: Endpoint, run: Run, role: str = "candidate") -> None:
        self.endpoint, self.model, self._run, self._role = endpoint, endpoint.model, run, role
        self.circuit = CircuitBreaker(self.model.name, POLICY, run.stop)
        self._slots = asyncio.Semaphore(self.model.concurrency)
        self._requests, self._tokens = RateLimiter(self.model.requests_per_minute), RateLimiter(self.model.tokens_per_minute)
        self._doubles: dict[str, asyncio.Future[Response]] = {}
        if run.budget.limit is not None:
            highest_cost((0, 0), self.model)

    async def ask(self, messages: Messages) -> Response:
        """Return the journal's answer, or ask and commit. A failure is an answer with its reason.

        Raises:
            NotAsked: the run ends, the endpoint is dropped, or the run is offline.
            DataError: the journal cannot be written.
        """
        request = self.endpoint.request(messages)
        key = request_key(request)
        while key in self._doubles:  # the same question is on its way: its answer is ours, its failure is not
            await asyncio.wait([self._doubles[key]])
        known = self._run.journal.find(key, self.model.address)
        if known is not None and (known.error is None or self._run.offline or (known.settled and not self._run.retry_failed)):
            return known
        if self._run.offline:
            raise NotAsked("not asked yet")
        turn = self._doubles[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._ask_patiently(request, key)
        finally:
            del self._doubles[key]
            turn.cancel()

    async def _ask_patiently(self, request: dict[str, Any], key: str) -> Response:
        tokens = highest_tokens(request, self.model)
        most = highest_cost(tokens, self.model) if self._run.budget.limit is not None else 0.0
        lost, attempt, tries = 0.0, 0, 0
        while True:
            try:
                answer = await self._attempt(request, tokens, most)
            except PassingFailure as failure:
                tries += 1
                lost += most if failure.billed else 0.0
                # While the endpoint is down for everyone, no question uses up its own tries.
                attempt += not self.circuit.paused
                if attempt >= POLICY.attempts:
                    answer = Response(None, error=f"{failure.reason} (after {tries} tries)")
                    break
                await self._patience(request, POLICY.wait(max(attempt, 1), failure.retry_after), lost, tries)
            else:
                tries += 1
                break
        cost = self.model.cost(answer.prompt_tokens, answer.completion_tokens)
        lost += self._unknown(answer, most)
        await self._run.journal.commit(Exchange(request, answer, self.model.address, self._role, cost, lost, tries, key))
        return answer

    async def _patience(self, request: dict[str, Any], seconds: float, lost: float, tries: int) -> None:
        try:
            await self._run.stop.sleep(seconds)
        except NotAsked:
            if lost:  # money that may be gone stays counted
                gone = Exchange(request, Response(None, error="interrupted"), self.model.address, self._role, None, lost, tries)
                await self._run.journal.commit(gone)
            raise

    async def _attempt(self, request: dict[str, Any], tokens: tuple[int, int], most: float) -> Response:
        budget, stop = self._run.budget, self._run.stop
        async with self._slots:
            await self.circuit.enter()
            try:
                await self._requests.take(1, stop)
                await self._tokens.take(sum(tokens), stop)
                async with self._run.in_flight, budget.hold(most, stop):
                    stop.check()
                    answer = await self._send(request, most)
            finally:
                self.circuit.left()
        used = (answer.prompt_tokens or 0) + (answer.completion_tokens or 0)
        self._tokens.give_back(sum(tokens) - used if used else 0)
        return answer

    async def _send(self, request: dict[str, Any], most: float) -> Response:
        try:
            answer = await self.endpoint.attempt(request)
        except PassingFailure as failure:
            if not failure.ours:
                self.circuit.note_failure(failure)
            self._run.budget.pay(most if failure.billed else 0.0)
            raise
        if answer.latency_s is None and not (answer.error or "").startswith("content filter"):
            self.circuit.note_refusal(answer.error or "no reason given")
        else:
            self.circuit.note_answer()
        cost = self.model.cost(answer.prompt_tokens, answer.completion_tokens) or 0.0
        self._run.budget.pay(cost + self._unknown(answer, most))
        return answer

    def _unknown(self, answer: Response, most: float) -> float:
        """An endpoint that answers without counting tokens is reckoned at the worst case."""
        counted = self.model.cost(answer.prompt_tokens, answer.completion_tokens) is not None
        return 0.0 if counted or answer.latency_s is None else most

    async def close(self) -> None:
        await self.endpoint.close()


READ_AHEAD = 32


class Collector:
    """Runs one pool over questions. ``match_only``: references are the only right wording, no judge is asked.

    ``graded``: judges give scores from 0 to 1 instead of right or wrong. To be made inside a running event loop.
    """

    def __init__(
        self, pool: Pool, run: Run, base_url: str | None = None, match_only: bool = False, graded: bool = False
    ) -> None:
        self._run, self._match_only, self._graded = run, match_only, graded

        def caller(model: PoolModel, role: str) -> EndpointClient:
            return EndpointClient(run.opened(model, base_url, keyless=run.offline), run, role)

        self.models = [caller(model, "candidate") for model in pool.models]
        self.judges = [caller(m, "judge") for m in (pool.judge, pool.second_judge) if m is not None and not match_only]

    async def collect(self, questions: Callable[[], Iterator[Question]], results: Results) -> None:
        """Fill ``results``. Every model reads ``questions()`` at its own pace, so a slow or dropped one holds up no other.

        Raises:
            DataError: the journal cannot be written, or the data set cannot be read any more.
        """
        gc.freeze()  # all that was imported stays; looking through it again and again holds up what is on the wire
        size = len(results.scores)
        with bar(size * len(self.models), "ask and judge", "answer") as shown:
            try:
                async with asyncio.TaskGroup() as group:
                    for column, caller in enumerate(self.models):
                        feed = _Feed(questions())
                        # Twice as many workers as requests: while some wait for the judge, others ask.
                        for _ in range(2 * min(caller.model.concurrency, self._run.concurrency)):
                            group.create_task(self._work(column, caller, feed, results, shown))
            except BaseExceptionGroup as failures:  # one cause is enough; the others are mostly its echo
                raise failures.exceptions[0] from None
            finally:
                await self.close()

    async def _work(self, column: int, caller: EndpointClient, feed: _Feed, results: Results, shown: tqdm[Any]) -> None:
        # A spent budget still lets the journal speak for the rows that are left; an interruption ends at once.
        while self._run.stop.reason != INTERRUPTED and (item := await feed.next()) is not None:
            results.put(item[0], column, await self.one(caller, item[1]))
            shown.set_postfix_str(f"{self._run.budget.spent:.4f} USD", refresh=False)
            shown.update()

    async def one(self, caller: EndpointClient, question: Question) -> LabelOutcome:
        """Return what one model makes of one question. Nothing an endpoint does is an exception."""
        if question.images and not caller.model.facts.takes_images:
            return LabelOutcome(None, Verdict(None, TEXT_ONLY_REASON))
        try:
            answer = await caller.ask(question_messages(question))
        except NotAsked as why:
            return LabelOutcome(None, Verdict(None, str(why)))
        verdict, second = await self._judge(answer, question)
        return LabelOutcome(answer, verdict, caller.model.cost(answer.prompt_tokens, answer.completion_tokens), second)

    async def _judge(self, answer: Response, question: Question) -> tuple[Verdict, Verdict | None]:
        verdict = judge_by_rules(answer, question, self._match_only)
        if verdict is not None or answer.text is None:
            return verdict or Verdict(None, "no answer"), None
        if not self.judges:
            return Verdict(None, "undecided by matching, and the pool has no judge"), None
        first, *second = await asyncio.gather(*(self._verdict(judge, answer.text, question) for judge in self.judges))
        return first, second[0] if second else None

    async def _verdict(self, judge: EndpointClient, text: str, question: Question) -> Verdict:
        shown = question.images if judge.model.facts.takes_images else ()
        try:
            reply = await judge.ask(judge_messages(question, text, shown, self._graded))
        except NotAsked as why:
            return Verdict(None, f"judge: {why}", "judge")
        return parse_verdict(reply, verdict_id(question, text), self._graded)

    async def close(self) -> None:
        for caller in [*self.models, *self.judges]:
            await caller.close()


def question_messages(question: Question) -> Messages:
    """Return what a model is asked: the conversation where there is one, with the pictures in its last turn."""
    if not question.turns:
        return user_message(question.prompt, question.images)
    *before, last = question.turns
    return [{"role": turn.role, "content": turn.text} for turn in before] + user_message(last.text, question.images)


class _Feed:
    """Numbered questions, read in a thread a few at a time: reading never holds up what is on the wire."""

    def __init__(self, questions: Iterator[Question]) -> None:
        self._questions = enumerate(questions)
        self._ready: list[tuple[int, Question]] = []
        self._ended = False
        self._lock = asyncio.Lock()

    async def next(self) -> tuple[int, Question] | None:
        async with self._lock:
            if not self._ready and not self._ended:
                self._ready = await asyncio.to_thread(self._read)
                self._ended = not self._ready
            return self._ready.pop(0) if self._ready else None

    def _read(self) -> list[tuple[int, Question]]:
        return [item for _, item in zip(range(READ_AHEAD), self._questions, strict=False)]
