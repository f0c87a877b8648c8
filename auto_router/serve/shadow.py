"""Shadow mode of the LiteLLM proxy: a second model gets a share of the requests too, and the pool's judge compares.

After a user has the answer, one other model that might have given it, drawn at random, is asked the same. The judge sees both
answers in both orders. Each model gets an outcome: 1 where its answer wins or ties, 0 where it loses, as with the labels
``pairwise``. The rows stand in the feedback file beside those of ``POST /v1/feedback``, with the reason ``shadow``. Where an
answer or a verdict is missing, or the orders disagree, nothing is written: unknown is no 0.

Compared are answers of text to requests of text, streams included: chat completions of the usual parameters, and messages and
responses that say nothing which these have no word for. No pictures: the judge is shown words. Users never wait for any of it,
and nothing goes through the proxy's own router: a second model that fails is not paused for users, and no request is logged.

Before a pair is asked, the most that it may cost is held of ``shadow_usd_per_day``, in a file that all workers share; then what
it did cost is counted. What nobody can tell counts as the most. A model or a judge without a price is not asked.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import openai

from auto_router.collect.compared_labels import pairwise_task
from auto_router.collect.judge import PAIRWISE_PROMPT, Verdict
from auto_router.collect.label_sources import whole_answer
from auto_router.collect.money import answer_cost, highest_tokens, read_usage
from auto_router.collect.question import Question
from auto_router.collect.reply import Response
from auto_router.data.conversation import conversation_input, turns_of
from auto_router.data.pool import UNSTATED_OUTPUT_TOKENS, PoolModel, load_pool
from auto_router.decide.policy import RouterSettings
from auto_router.errors import ConfigError
from auto_router.serve.fallback import error_status
from auto_router.serve.feedback import FeedbackLoop
from auto_router.serve.gateway import litellm_entry, usable_judge, usable_models
from auto_router.serve.monitoring import Metrics

log = logging.getLogger(__name__)

MAX_WAITING = 64  # pairs; what comes when so many wait is dropped
MAX_PAIR_CHARACTERS = 100_000  # of a request and its answer
WORKERS = 4  # pairs under way at a time
_ASKED, _JUDGED, _UNKNOWN, _DROPPED, _SKIPPED, _OVER_BUDGET = "asked", "judged", "unknown", "dropped", "skipped", "over_budget"
UNBILLED = (400, 401, 402, 403, 404, 413, 422, 429)  # refusals, for which nobody pays
REDACTED = "redacted-by-litellm"  # what the proxy shows callbacks in place of words, where its operator says so
_CHAT = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "presence_penalty", "frequency_penalty",
    "response_format", "reasoning_effort", "tools", "tool_choice", "functions", "function_call", "parallel_tool_calls",
)  # fmt: skip
SAME_REQUEST = {
    "acompletion": {name: name for name in _CHAT},
    "anthropic_messages": {"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_tokens"},
    "aresponses": {"temperature": "temperature", "top_p": "top_p", "max_output_tokens": "max_tokens"},
}
"""What of a client's request, by API, the second model gets beside the messages, and what chat completions call it."""
_PASSED_OVER = (
    "model", "messages", "input", "system", "instructions", "stream", "stream_options", "metadata", "user", "safety_identifier",
    "store", "n", "logprobs", "top_logprobs", "prediction", "service_tier", "prompt_cache_key", "prompt_cache_retention",
    "fallbacks", "session_id", "timeout", "num_retries", "max_retries", "tags", "guardrails", "cache", "ttl", "api_version",
)  # fmt: skip
"""What does not change an answer's words. A request that says more is not compared: the second model would get another."""
_OUTCOMES = {1.0: (1.0, 0.0), 0.5: (1.0, 1.0), 0.0: (0.0, 1.0)}


async def complete_with_litellm(**request: Any) -> Any:
    """Ask a model, in whatever protocol it speaks."""
    import litellm  # the proxy that runs here has it; alone, it asks for price lists

    return await litellm.acompletion(**request)


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """A request that was answered."""

    id: str
    """Of its decision."""
    answered: str
    others: tuple[str, ...]
    """The other models that might have answered."""
    messages: Sequence[Any]
    parameters: Mapping[str, Any]
    answer: str


@dataclass(slots=True)
class _Bill:
    """USD that one pair costs; the ``ceilings`` are the most that the second model and one question to the judge may."""

    ceilings: tuple[float, float]
    spent: float = 0.0

    @property
    def most(self) -> float:
        return self.ceilings[0] + 2 * self.ceilings[1]


@dataclass
class Shadow:
    """Compares a share of what is served. Its coroutines belong to one event loop.

    ``complete`` asks a model, as ``litellm.acompletion`` does.

    Raises:
        ConfigError: the pool cannot be read, or has no usable judge or model.
    """

    settings: RouterSettings
    feedback: FeedbackLoop
    metrics: Metrics
    complete: Callable[..., Awaitable[Any]] = complete_with_litellm
    _said: set[str] = field(default_factory=set)
    _workers: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.feedback.decisions is None:
            raise ConfigError("shadow_share compares models for their outcomes: set feedback_file, where these are kept")
        self._decisions = self.feedback.decisions
        pool = load_pool(self.settings.shadow_pool or "")
        self._judge = usable_judge(pool, os.environ)
        for line in pool.judges_inside():
            log.warning("shadow: %s", line)
        self._models = {model.name: model for model in usable_models(pool, os.environ)[0]}
        self._queue = asyncio.Queue[ServedAnswer](MAX_WAITING)

    def offer(self, told: Mapping[str, Any], event: Mapping[str, Any], reply: Any) -> None:
        """Take a share of what is offered, to be compared in the background; see :func:`read_event`. Returns at once."""
        if random.random() >= self.settings.shadow_share:
            return
        served = read_event(told, event, reply)
        if served is None:
            self._count(_SKIPPED)
            return
        if not self._workers or any(task.done() for task in self._workers):
            # Their own context: what belongs to the request that is under way is not theirs.
            empty = contextvars.Context
            self._workers = [asyncio.get_running_loop().create_task(self._work(), context=empty()) for _ in range(WORKERS)]
        try:
            self._queue.put_nowait(served)
        except asyncio.QueueFull:
            self._count(_DROPPED)

    async def close(self) -> None:
        """Stop; what is not done is dropped."""
        for task in self._workers:
            task.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers = []

    async def _work(self) -> None:
        while True:
            served = await self._queue.get()
            # Whatever happens to a pair is no reason to lose the next. What an error says may be the prompt's words.
            (result,) = await asyncio.gather(self.compare(served), return_exceptions=True)
            if isinstance(result, BaseException):
                log.error("shadow: a pair is lost (%s)", type(result).__name__)
                result = _UNKNOWN
            self._count(result)

    async def compare(self, served: ServedAnswer) -> str:
        """Ask another model the same, have the answers judged, and write the rows; return what came of it.

        Raises:
            RefusedError, DataError, sqlite3.Error, OSError: the decision is not known any more, or a file cannot be used.
        """
        found = await asyncio.to_thread(self.feedback.find, served.id)
        others = [name for name in served.others if name != served.answered and self._has_price(name)]
        if not others or found.features is None or served.answered not in found.decision["probabilities"]:
            return _SKIPPED
        second = self._models[random.choice(others)]
        prompt, _, context = conversation_input(turns := turns_of(served.messages))
        question = Question(0, prompt, (), (), None, "", tuple(turns), context=context)
        bill, day = _Bill(self._ceilings(served, question, second)), datetime.now(UTC).date().isoformat()
        if not await asyncio.to_thread(self._decisions.hold_usd, day, bill.most, self.settings.shadow_usd_per_day):
            if bill.most > self.settings.shadow_usd_per_day:
                self._say(f"a pair with {second.name} may cost {bill.most:.4f} USD, more than shadow_usd_per_day: not asked")
            return _OVER_BUDGET
        self._count(_ASKED)
        outcomes = await self._judge_pair(served, question, second, bill)
        # Not in a "finally": what a stop or a bug leaves in the dark stays counted as the most.
        await asyncio.to_thread(self._decisions.settle_usd, day, bill.spent - bill.most)
        self.metrics.shadow_usd.inc(bill.spent)
        if outcomes is None:
            return _UNKNOWN
        told = dict(zip((served.answered, second.name), outcomes, strict=True))
        await asyncio.to_thread(self.feedback.add_shadow, found, told)
        return _JUDGED

    async def _judge_pair(
        self, served: ServedAnswer, question: Question, second: PoolModel, bill: _Bill
    ) -> tuple[float, float] | None:
        """Return the outcomes of the answer that was given and of the second model's; None where they are unknown."""
        first = whole_answer(Response(served.answer, finish_reason="stop"))
        reply = await self._ask(second, served.messages, served.parameters, bill, bill.ceilings[0])
        other = whole_answer(reply)
        if isinstance(first, Verdict) or isinstance(other, Verdict) or reply.finish_reason != "stop":
            return None
        if first.strip() == other.strip():
            return _OUTCOMES[0.5]
        tasks = [pairwise_task(question, *order, PAIRWISE_PROMPT) for order in ((first, other), (other, first))]
        judge = self._judge  # asked at temperature 0 and the pool's limit, unless the pool says otherwise
        told = {"max_tokens": judge.max_tokens, "temperature": judge.temperature or 0.0} | dict(judge.parameters)
        known = {name: value for name, value in told.items() if value is not None}
        replies = await asyncio.gather(*(self._ask(judge, t.messages(), known, bill, bill.ceilings[1]) for t in tasks))
        scores = [task.read(reply).score for task, reply in zip(tasks, replies, strict=True)]
        if scores[0] is None or scores[1] is None or scores[0] != 1 - scores[1]:
            return None
        return _OUTCOMES[scores[0]]

    async def _ask(
        self, model: PoolModel, messages: Sequence[Any], parameters: Mapping[str, Any], bill: _Bill, ceiling: float
    ) -> Response:
        """Ask once, and put on the bill what that cost."""
        entry = litellm_entry(model)["litellm_params"]
        known = {name: value for name, value in entry.items() if name not in ("rpm", "tpm")} | dict(parameters)
        known["api_key"] = os.environ.get(model.api_key_env or "") or "none"
        try:
            async with asyncio.timeout(model.timeout_s):
                reply = await self.complete(messages=list(messages), max_retries=0, **{"no-log": True}, **known)
        except (openai.OpenAIError, TimeoutError, OSError, ValueError) as error:
            status = error_status(error)
            log.warning("shadow: no answer of %s (%s, status %s)", model.name, type(error).__name__, status)
            bill.spent += 0.0 if status in UNBILLED else ceiling
            return Response(None, error="no answer")
        response = read_answer(reply)
        cost = answer_cost(model, response)
        bill.spent += ceiling if cost is None else cost
        return response

    def _ceilings(self, served: ServedAnswer, question: Question, second: PoolModel) -> tuple[float, float]:
        """Return the most USD of the second model's answer and of one question to the judge."""
        limits = [served.parameters.get(name) for name in ("max_tokens", "max_completion_tokens")]
        limit = min((number for number in limits if isinstance(number, int) and number > 0), default=None)  # -1 is none
        unstated = min(UNSTATED_OUTPUT_TOKENS, second.context_window or UNSTATED_OUTPUT_TOKENS)
        answer = second.max_output_tokens or unstated if limit is None else limit
        tools = {"role": "system", "content": json.dumps(dict(served.parameters), default=str)}
        prompt = highest_tokens({"messages": [*served.messages, tools]}, second)[0]
        shown = pairwise_task(question, served.answer, "", PAIRWISE_PROMPT).messages()
        # The second answer is not there yet, and the judge may count its tokens in another way.
        read = highest_tokens({"messages": shown}, self._judge)[0] + 2 * answer
        costs = second.cost(prompt, answer), self._judge.cost(read, self._judge.longest_answer)
        return costs[0] or 0.0, costs[1] or 0.0

    def _has_price(self, name: str) -> bool:
        model = self._models.get(name)
        if model is not None and model.cost(0, 0) is None:
            self._say(f"{name} is not asked, its price is unknown: set input_usd_per_mtok and output_usd_per_mtok in the pool")
            return False
        return model is not None

    def _say(self, line: str) -> None:
        """Log a line once."""
        if line not in self._said:
            self._said.add(line)
            log.warning("shadow: %s", line)

    def _count(self, result: str) -> None:
        self.metrics.shadow.labels(result).inc()


def read_answer(reply: Any) -> Response:
    """Return what a completion of LiteLLM's says: text alone, or none."""
    choice, usage = reply.choices[0], getattr(reply, "usage", None)
    counts = read_usage(usage.model_dump() if usage is not None else None)
    calls = choice.message.tool_calls or getattr(choice.message, "function_call", None)
    text = None if calls else choice.message.content
    # LiteLLM counts 0 where an endpoint counts nothing.
    tokens = counts.completion_tokens or None, counts.prompt_tokens or None
    return Response(
        text or None, tokens[1], tokens[0], choice.finish_reason, error=None if text else "no text",
        cached_tokens=counts.cached_tokens, billed_usd=counts.billed_usd,
    )  # fmt: skip


def read_event(told: Mapping[str, Any], event: Mapping[str, Any], reply: Any) -> ServedAnswer | None:
    """Return the answer that a success event of the proxy's tells of; None where it cannot be compared.

    Args:
        told: of the decision: ``id``, and ``eligible``, the models that might answer.
        event: what LiteLLM tells its callbacks.
        reply: the completion, put together where it was a stream.
    """
    request = event.get("litellm_params") or {}
    body = (request.get("proxy_server_request") or {}).get("body") or {}
    if len(getattr(reply, "choices", ())) != 1:
        return None
    found = read_same_request(event, body)
    if found is None:
        return None
    messages, parameters = found
    # A judge is shown what leads to the last words of a user: results of tools behind them would be hidden from it.
    if not isinstance(messages, list) or not all(isinstance(one, Mapping) and one.get("role") for one in messages):
        return None
    if not messages or messages[-1]["role"] != "user":
        return None
    answer = read_answer(reply)
    if answer.text is None or answer.finish_reason != "stop":
        return None
    length = count_characters(messages)
    if length is None or length + len(answer.text) > MAX_PAIR_CHARACTERS:
        return None
    answered = (request.get("metadata") or {}).get("model_group") or ""
    return ServedAnswer(told["id"], answered, tuple(told["eligible"]), messages, parameters, answer.text)


def read_same_request(event: Mapping[str, Any], body: Mapping[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    """Return messages and parameters for the second model as chat completions have them; None where they cannot be the same."""
    of_client = {name: value for name, value in body.items() if not name.lstrip("_").startswith("litellm_")}
    api, given = event.get("call_type"), {name: value for name, value in of_client.items() if value is not None}
    names = SAME_REQUEST.get(str(api), {})
    if not names or not set(given) <= {*names, *_PASSED_OVER}:
        return None
    messages = event.get("messages") if api == "acompletion" else event.get("input")  # what the proxy translated others to
    if not messages and api == "anthropic_messages":  # asked in that protocol: words are in the same place there
        begin = [{"role": "system", "content": given["system"]}] if "system" in given else []
        messages = [*begin, *event["messages"]] if isinstance(event.get("messages"), list) else None
    return messages, {same: given[name] for name, same in names.items() if name in given}


def count_characters(messages: Sequence[Any]) -> int | None:
    """Return how much text messages hold; None where they hold anything else, or were redacted."""
    total = 0
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else 0
        parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
        for part in parts:
            text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
            if not isinstance(text, str) or text == REDACTED:
                return None
            total += len(text)
    return total
