"""Ask every model every question, judge what comes back, and keep all of it in the journal."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from tqdm import tqdm

from auto_router.collect.endpoint import Answer, Endpoint, Messages, user_message
from auto_router.collect.journal import Journal, request_key
from auto_router.collect.judge import Verdict, judge_messages, matched, parse_verdict
from auto_router.collect.source import Question
from auto_router.pool import Pool, PoolModel
from auto_router.records import Record

TEXT_ONLY = "not asked: the model takes no pictures"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One model on one question."""

    answer: Answer | None
    verdict: Verdict
    cost: float | None = None


class Collector:
    """Runs one pool over questions. ``match_only``: references are the only right wording, no judge is asked."""

    def __init__(self, pool: Pool, journal: Journal, base_url: str | None = None, match_only: bool = False) -> None:
        self.pool = pool
        self._journal = journal
        self._match_only = match_only
        self._endpoints = {model.name: Endpoint(model, base_url) for model in pool.models}
        self._judge = None if match_only or pool.judge is None else Endpoint(pool.judge, base_url)
        self._turns: dict[str, asyncio.Lock] = {}
        self._judging = asyncio.Semaphore(pool.judge.concurrency if pool.judge else 1)

    async def collect(self, questions: Sequence[Question]) -> list[dict[str, Outcome]]:
        """Return ``{model: outcome}`` for every question, in order. Nothing an endpoint does ends the run."""
        outcomes: list[dict[str, Outcome]] = [{} for _ in questions]
        total = len(questions) * len(self.pool.models)
        bar: tqdm[NoReturn] = tqdm(total=total, desc="ask and judge", unit="answer", smoothing=0.05)
        with bar:
            await asyncio.gather(*(self._ask_all(model, questions, outcomes, bar) for model in self.pool.models))
        for endpoint in [*self._endpoints.values(), *([self._judge] if self._judge else [])]:
            await endpoint.close()
        return [{model.name: row[model.name] for model in self.pool.models} for row in outcomes]

    async def _ask_all(
        self, model: PoolModel, questions: Sequence[Question], outcomes: list[dict[str, Outcome]], bar: tqdm[NoReturn]
    ) -> None:
        waiting = iter(range(len(questions)))

        async def work() -> None:
            for number in waiting:  # the workers of a model share one iterator, so each question is taken once
                outcomes[number][model.name] = await self._one(model, questions[number])
                bar.update()

        await asyncio.gather(*(work() for _ in range(model.concurrency)))

    async def _one(self, model: PoolModel, question: Question) -> Outcome:
        if question.images and "image" not in model.modalities:
            return Outcome(None, Verdict(None, TEXT_ONLY))
        answer = await self._asked(self._endpoints[model.name], user_message(question.prompt, question.images))
        cost = model.cost(answer.prompt_tokens, answer.completion_tokens)
        return Outcome(answer, await self._judged(answer, question), cost)

    async def _judged(self, answer: Answer, question: Question) -> Verdict:
        verdict = matched(answer, question, self._match_only)
        if verdict is not None or answer.text is None:
            return verdict or Verdict(None, "no answer")
        if self._judge is None:
            return Verdict(None, "undecided by matching, and the pool has no judge")
        shown = question.images if "image" in self._judge.model.modalities else ()
        async with self._judging:
            return parse_verdict(await self._asked(self._judge, judge_messages(question, answer.text, shown)))

    async def _asked(self, endpoint: Endpoint, messages: Messages) -> Answer:
        """Return the journal's answer, or ask and commit."""
        request = endpoint.request(messages)
        async with self._turns.setdefault(request_key(request), asyncio.Lock()):  # its double waits and finds it answered
            known = self._journal.get(request)
            if known is not None:
                return known
            answer = await endpoint.ask(request)
            self._journal.put(request, answer)
            return answer


def to_record(question: Question, outcomes: Mapping[str, Outcome]) -> Record:
    """Return the evaluation record of one question; what has no verdict is None, with its reason."""
    return Record(
        idx=question.idx,
        prompt=question.prompt,
        answer=question.answer,
        images=tuple(base64.b64encode(image).decode("ascii") for image in question.images),
        model_scores={name: outcome.verdict.score for name, outcome in outcomes.items()},
        group=question.group,
        source=question.source,
        model_costs={name: outcome.cost for name, outcome in outcomes.items() if outcome.cost is not None},
        model_errors={n: o.verdict.reason for n, o in outcomes.items() if o.verdict.score is None},
    )
