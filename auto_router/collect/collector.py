"""Ask every model every question, judge what comes back, and keep all of it in the journal."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

from auto_router.collect.caller import Caller, Run
from auto_router.collect.endpoint import Answer, Messages, user_message
from auto_router.collect.judge import Verdict, judge_messages, matched, parse_verdict, verdict_id
from auto_router.collect.limits import INTERRUPTED, NotAsked
from auto_router.collect.results import TEXT_ONLY, Outcome, Results
from auto_router.collect.rows import Question
from auto_router.pool import Pool, PoolModel
from auto_router.terminal import bar

READ_AHEAD = 32


class Collector:
    """Runs one pool over questions. ``match_only``: references are the only right wording, no judge is asked.

    ``graded``: judges give scores from 0 to 1 instead of right or wrong. To be made inside a running event loop.
    """

    def __init__(
        self, pool: Pool, run: Run, base_url: str | None = None, match_only: bool = False, graded: bool = False
    ) -> None:
        self._run, self._match_only, self._graded = run, match_only, graded

        def caller(model: PoolModel, role: str) -> Caller:
            return Caller(run.opened(model, base_url, keyless=run.offline), run, role)

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

    async def _work(self, column: int, caller: Caller, feed: _Feed, results: Results, shown: tqdm[Any]) -> None:
        # A spent budget still lets the journal speak for the rows that are left; an interruption ends at once.
        while self._run.stop.reason != INTERRUPTED and (item := await feed.next()) is not None:
            results.put(item[0], column, await self.one(caller, item[1]))
            shown.set_postfix_str(f"{self._run.budget.spent:.4f} USD", refresh=False)
            shown.update()

    async def one(self, caller: Caller, question: Question) -> Outcome:
        """Return what one model makes of one question. Nothing an endpoint does is an exception."""
        if question.images and "image" not in caller.model.modalities:
            return Outcome(None, Verdict(None, TEXT_ONLY))
        try:
            answer = await caller.ask(question_messages(question))
        except NotAsked as why:
            return Outcome(None, Verdict(None, str(why)))
        verdict, second = await self._judged(answer, question)
        return Outcome(answer, verdict, caller.model.cost(answer.prompt_tokens, answer.completion_tokens), second)

    async def _judged(self, answer: Answer, question: Question) -> tuple[Verdict, Verdict | None]:
        verdict = matched(answer, question, self._match_only)
        if verdict is not None or answer.text is None:
            return verdict or Verdict(None, "no answer"), None
        if not self.judges:
            return Verdict(None, "undecided by matching, and the pool has no judge"), None
        first, *second = await asyncio.gather(*(self._verdict(judge, answer.text, question) for judge in self.judges))
        return first, second[0] if second else None

    async def _verdict(self, judge: Caller, text: str, question: Question) -> Verdict:
        shown = question.images if "image" in judge.model.modalities else ()
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
