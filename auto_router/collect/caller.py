"""Asking one model the way a run does: from the journal if it knows, else with patience, within limits, and committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from auto_router.collect.endpoint import Answer, Endpoint, Messages, PassingFailure
from auto_router.collect.journal import Exchange, Journal, request_key
from auto_router.collect.limits import Budget, NotAsked, Pace, Stop, most_cost, most_tokens
from auto_router.collect.retry import Circuit, RetryPolicy

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
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        self.in_flight = asyncio.Semaphore(self.concurrency)


class Caller:
    """One endpoint within a run. Raises ConfigError as :class:`Endpoint` does, and for a budget without prices."""

    def __init__(self, endpoint: Endpoint, run: Run, role: str = "candidate") -> None:
        self.endpoint, self.model, self._run, self._role = endpoint, endpoint.model, run, role
        self.circuit = Circuit(self.model.name, POLICY, run.stop)
        self._slots = asyncio.Semaphore(self.model.concurrency)
        self._requests, self._tokens = Pace(self.model.requests_per_minute), Pace(self.model.tokens_per_minute)
        self._doubles: dict[str, asyncio.Future[Answer]] = {}
        if run.budget.limit is not None:
            most_cost((0, 0), self.model)

    async def ask(self, messages: Messages) -> Answer:
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
            return await self._asked(request, key)
        finally:
            del self._doubles[key]
            turn.cancel()

    async def _asked(self, request: dict[str, Any], key: str) -> Answer:
        tokens = most_tokens(request, self.model)
        most = most_cost(tokens, self.model) if self._run.budget.limit is not None else 0.0
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
                    answer = Answer(None, error=f"{failure.reason} (after {tries} tries)")
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
                gone = Exchange(request, Answer(None, error="interrupted"), self.model.address, self._role, None, lost, tries)
                await self._run.journal.commit(gone)
            raise

    async def _attempt(self, request: dict[str, Any], tokens: tuple[int, int], most: float) -> Answer:
        budget, stop = self._run.budget, self._run.stop
        async with self._slots:
            await self.circuit.enter()
            try:
                await self._requests.take(1, stop)
                await self._tokens.take(sum(tokens), stop)
                async with self._run.in_flight, budget.hold(most, stop):
                    stop.check()
                    answer = await self._sent(request, most)
            finally:
                self.circuit.left()
        used = (answer.prompt_tokens or 0) + (answer.completion_tokens or 0)
        self._tokens.give_back(sum(tokens) - used if used else 0)
        return answer

    async def _sent(self, request: dict[str, Any], most: float) -> Answer:
        try:
            answer = await self.endpoint.attempt(request)
        except PassingFailure as failure:
            if not failure.ours:
                self.circuit.failed(failure)
            self._run.budget.pay(most if failure.billed else 0.0)
            raise
        if answer.latency_s is None and not (answer.error or "").startswith("content filter"):
            self.circuit.refused(answer.error or "no reason given")
        else:
            self.circuit.answered()
        cost = self.model.cost(answer.prompt_tokens, answer.completion_tokens) or 0.0
        self._run.budget.pay(cost + self._unknown(answer, most))
        return answer

    def _unknown(self, answer: Answer, most: float) -> float:
        """An endpoint that answers without counting tokens is reckoned at the worst case."""
        counted = self.model.cost(answer.prompt_tokens, answer.completion_tokens) is not None
        return 0.0 if counted or answer.latency_s is None else most

    async def close(self) -> None:
        await self.endpoint.close()
