"""What a run may spend: each request is held at the most it may cost before it is sent, and settled at what it did cost.

How much an answer may cost is stated (the limit in the request, the pool's ``max_output_tokens`` and ``image_tokens``), but
some endpoints bill more than they were allowed: reasoning beside the answer, images by rules of their own. So the first
question of every endpoint goes alone and is held with care, and what comes back raises what the later ones are held at.

What an answer took is read from the ``usage`` of any endpoint. They count in many ways: as floats or strings, -1 for unknown,
the total alone, reasoning inside the answer's tokens or beside them. A count that cannot be read is None, never 0.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auto_router.collect.rate_limits import Cancellation, plain_number
from auto_router.data.pool import UNSTATED_IMAGE_TOKENS, UNSTATED_OUTPUT_TOKENS, PoolModel
from auto_router.errors import ConfigError

if TYPE_CHECKING:
    from auto_router.collect.reply import Response

SAFE_BYTES_PER_TOKEN = 2.0  # of UTF-8; English has 4 and more, so this is on the safe side
TEMPLATE_TOKENS = 20  # what a chat template adds
USUAL_IMAGE_TOKENS = 800
MARGIN = 1.25  # above what was seen
MAX_COUNT = 10**9  # what claims more tokens, or more USD, for one answer is no count


class Budget:
    """Money that a run may spend, ``spent`` included; ``limit`` None = unlimited. Held for the worst case, then settled.

    ``unpriced`` counts the answers of unknown cost.
    """

    def __init__(self, limit: float | None, spent: float = 0.0, unpriced: int = 0) -> None:
        self.limit, self.spent, self.unpriced = limit, spent, unpriced
        self._held = 0.0
        self._settled = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, amount: float, stop: Cancellation) -> AsyncIterator[None]:
        """Hold ``amount`` while a request is out; :meth:`pay` what it really cost. Ends the run where it does not fit."""
        if self.limit is None:
            yield
            return
        async with self._settled:
            # Others may cost less than they hold; only when nobody else is out is the budget really used up.
            while self.spent + self._held + amount > self.limit and self._held > 1e-12:
                await self._settled.wait()
            if self.spent + amount > self.limit:
                stop.set(
                    f"--max-cost-usd {self.limit:g} is used up ({self.spent:.4f} spent; the next answer may cost {amount:.4f})"
                )
            stop.check()
            self._held += amount
        try:
            yield
        finally:
            await self.release(amount)

    @property
    def room(self) -> float:
        """USD that can be held now; infinite without a limit."""
        return math.inf if self.limit is None else self.limit - self.spent - self._held

    def reserve(self, amount: float) -> None:
        """Hold money for what is at a provider already, or was found to fit, until :meth:`release`."""
        self._held += amount

    async def release(self, amount: float) -> None:
        async with self._settled:
            self._held -= amount
            self._settled.notify_all()

    def pay(self, amount: float | None) -> None:
        """Count what an answer cost; None = unknown."""
        self.spent += amount or 0.0
        self.unpriced += amount is None


class CostCeiling:
    """The most that one answer of a model may cost: as stated, until the endpoint bills more.

    Raises:
        ConfigError: where the model has no prices and there is a limit.
    """

    def __init__(self, model: PoolModel, budget: Budget) -> None:
        self._model, self._budget = model, budget
        self._known = budget.limit is None  # without a limit nothing has to be found out
        self._first = asyncio.Lock()
        self._unbounded = False
        self._input_ratio, self._usd = 1.0, 0.0
        if budget.limit is not None:
            highest_cost((0, 0), model)

    @asynccontextmanager
    async def turn(self, tokens: tuple[int, int]) -> AsyncIterator[float]:
        """Yield the USD to hold for a request of so many tokens at most; alone until an answer was seen.

        The careful amount, which takes no limit of a request on trust, is held where the budget has room for it; always where
        the pool states ``max_output_tokens``.
        """
        await self._first.acquire()
        alone = not self._known
        if not alone:
            self._first.release()
        try:
            careful = self.amount(tokens, unbounded=alone)
            strict = not alone or self._model.max_output_tokens is not None
            limit, spent = self._budget.limit, self._budget.spent
            has_room = limit is None or spent + careful <= limit  # once what is held is settled at less
            yield careful if strict or has_room else self.amount(tokens)
        finally:
            if alone:
                self._first.release()

    def amount(self, tokens: tuple[int, int], unbounded: bool = False) -> float:
        """Return the most USD of a request with (prompt, answer) tokens as :func:`highest_tokens` reckons them.

        0 where no budget asks for it.
        """
        if self._budget.limit is None:
            return 0.0
        prompt, answer = tokens
        if unbounded or self._unbounded:
            answer = max(answer, self._model.max_output_tokens or UNSTATED_OUTPUT_TOKENS)
        return max(highest_cost((int(prompt * self._input_ratio), answer), self._model), self._usd)

    def learn_recorded(self, completion_tokens: int, cost_usd: float) -> None:
        """The same from the longest and the dearest answer of runs before."""
        self._unbounded |= completion_tokens > self._model.longest_answer
        self._usd = max(self._usd, cost_usd)

    def learn(self, tokens: tuple[int, int], response: Response, proves: bool = True) -> None:
        """Raise the ceiling where an answer took more than was stated; ``proves``: it is one to a real question."""
        prompt, answer = response.prompt_tokens or 0, response.completion_tokens or 0
        cost = answer_cost(self._model, response) or 0.0
        self._unbounded |= response.outside or answer > tokens[1]
        self._input_ratio = max(self._input_ratio, MARGIN * prompt / tokens[0] if prompt > tokens[0] else 1.0)
        if cost > self.amount(tokens):
            self._usd = MARGIN * cost
        self._known |= proves and response.latency_s is not None


def answer_cost(model: PoolModel, response: Response) -> float | None:
    """Return what an answer costs in USD when it is asked for directly; None = unknown.

    That is what the endpoint says, else the pool's prices: what a router has to weigh, whatever discount Stage 1 had.
    """
    billed, discount = response.billed_usd, response.discount
    if billed is not None and 0 < discount < 1:
        billed /= 1 - discount
    return model.cost(response.prompt_tokens, response.completion_tokens, response.cached_tokens, billed)


def paid_cost(cost: float | None, discount: float) -> float | None:
    """Return what was paid in USD for an answer that costs ``cost`` without a discount; None = unknown."""
    return 0.0 if discount == 1 else None if cost is None else cost * (1 - discount)


def show_usd(known: float, unpriced: int, unit: str = "") -> str:
    """Return an amount to show, where ``unpriced`` more answers have an unknown cost: that is not 0."""
    if not unpriced:
        return f"{known:.4f}{unit}"
    return f"{known:.4f}{unit} + unknown" if known else "-"


def highest_tokens(request: dict[str, Any], model: PoolModel) -> tuple[int, int]:
    """Return prompt and answer tokens that a request will not exceed, as far as can be told without its tokenizer."""
    text, images = _size(request["messages"])
    return int(text / SAFE_BYTES_PER_TOKEN) + images * (
        model.image_tokens or UNSTATED_IMAGE_TOKENS
    ) + TEMPLATE_TOKENS, model.longest_answer


def usual_tokens(request: dict[str, Any], model: PoolModel) -> int:
    """Return the tokens that a rate limit is likely to count for a request: the answer's limit is among them."""
    text, images = _size(request["messages"])
    taken = int(text / SAFE_BYTES_PER_TOKEN) + images * (model.image_tokens or USUAL_IMAGE_TOKENS) + TEMPLATE_TOKENS
    total = taken + (model.output_limit or model.max_tokens)
    return total if model.tokens_per_minute is None else min(total, int(model.tokens_per_minute))


def image_ceiling(model: PoolModel) -> int:
    """Return the most tokens that an image takes: what the pool states, else by the dearest rule known."""
    return model.image_tokens or UNSTATED_IMAGE_TOKENS


def highest_cost(tokens: tuple[int, int], model: PoolModel) -> float:
    """Return the most USD for so many tokens. Raises ConfigError where the model has no prices."""
    cost = model.cost(*tokens)
    if cost is None:
        raise ConfigError(
            f"--max-cost-usd needs the prices of {model.name}: set input_usd_per_mtok and output_usd_per_mtok (0 for free)"
        )
    return cost


def _size(content: Any) -> tuple[int, int]:
    """Return the UTF-8 bytes of all text, and how many images there are."""
    if isinstance(content, str):
        return (0, 1) if content.startswith("data:image/") else (len(content.encode("utf-8", "surrogatepass")), 0)
    if isinstance(content, dict):
        content = list(content.values())
    sizes = [_size(item) for item in content] if isinstance(content, list) else []
    return sum(text for text, _ in sizes), sum(images for _, images in sizes)


USD_TICKS = 10**10  # in which xAI counts a dollar


@dataclass(frozen=True, slots=True)
class Usage:
    """``completion_tokens`` are all that is paid as output, reasoning included; ``cached_tokens`` are part of the prompt's.

    ``billed_usd``: what the endpoint itself says the answer cost. ``reasoning_tokens`` None = not told. ``outside``: reasoning
    was counted beside ``completion_tokens``, so that no limit on these bounds it.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    billed_usd: float | None = None
    reasoning_tokens: int | None = None
    outside: bool = False


def read_usage(usage: Any) -> Usage:
    """Return what ``usage`` says, whatever it is.

    The total minus the prompt is what was paid as output where it is larger than the answer's own count: xAI and some
    gateways leave reasoning out of ``completion_tokens``.
    """
    if not isinstance(usage, Mapping):
        return Usage()
    prompt = read_count(usage, "prompt_tokens", "input_tokens", "promptTokens", "inputTokens")
    completion = read_count(usage, "completion_tokens", "output_tokens", "completionTokens", "outputTokens")
    total = read_count(usage, "total_tokens", "totalTokens")
    reasoning = _detail(usage, ("completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
    outside = False
    if total is not None and prompt is None and completion is not None and total >= completion:
        prompt = total - completion
    elif total is not None and prompt is not None and total - prompt > (completion or 0):
        outside = completion is not None
        completion = total - prompt
    elif completion is not None and reasoning is not None and reasoning > completion:
        outside, completion = True, completion + reasoning
    cached = _detail(usage, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    if cached is None:
        cached = read_count(usage, "prompt_cache_hit_tokens", "cache_read_input_tokens")  # DeepSeek's name, and Anthropic's
        if "prompt_tokens" not in usage and prompt is not None:  # Anthropic counts them beside the input
            prompt += sum(read_count(usage, f"cache_{part}_input_tokens") or 0 for part in ("read", "creation"))
    if cached is not None and prompt is not None:
        cached = min(cached, prompt)
    return Usage(prompt, completion, cached, _read_billed(usage), reasoning, outside)


def read_count(values: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of ``names`` that holds a count of tokens: a number from 0, or a string of one."""
    for name in names:
        number = _number(values.get(name))
        if number is not None:
            return math.ceil(number)
    return None


def _detail(usage: Mapping[str, Any], groups: tuple[str, ...], name: str) -> int | None:
    for group in groups:
        details = usage.get(group)
        if isinstance(details, Mapping) and (count := read_count(details, name)) is not None:
            return count
    return read_count(usage, name)


def _read_billed(usage: Mapping[str, Any]) -> float | None:
    """OpenRouter says ``cost``, and with a key of one's own what the provider takes beside it; Perplexity an object."""
    cost = usage.get("cost")
    if isinstance(cost, Mapping):
        cost = cost.get("total_cost")
    billed = next(
        (n for n in map(_number, (cost, usage.get("total_cost"), usage.get("estimated_cost"))) if n is not None), None
    )
    ticks = _number(usage.get("cost_in_usd_ticks"))
    if billed is None and ticks is not None:
        return ticks / USD_TICKS
    if billed is None or usage.get("is_byok") is not True:
        return billed
    details = usage.get("cost_details")
    upstream = _number(details.get("upstream_inference_cost")) if isinstance(details, Mapping) else None
    return None if upstream is None else billed + upstream  # the fee alone is not what the answer cost


def _number(value: Any) -> float | None:
    number = plain_number(value)
    return number if number is not None and 0 <= number <= MAX_COUNT else None
