"""What a run may spend: each request is held at the most it may cost before it is sent, and settled at what it did cost.

How much an answer may cost is stated (the limit in the request, the pool's ``max_output_tokens`` and ``image_tokens``), but some
endpoints bill more than they were allowed: reasoning beside the answer, images by rules of their own. So the first question of
every endpoint goes alone and is held with care, and what comes back raises what the later ones are held at.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from auto_router.collect.rate_limits import Cancellation
from auto_router.collect.reply import Response
from auto_router.data.pool import UNSTATED_IMAGE_TOKENS, UNSTATED_OUTPUT_TOKENS, PoolModel
from auto_router.errors import ConfigError

SAFE_BYTES_PER_TOKEN = 2.0  # of UTF-8; English has 4 and more, so this is on the safe side
TEMPLATE_TOKENS = 20  # what a chat template adds
USUAL_IMAGE_TOKENS = 800
MARGIN = 1.25  # above what was seen


class Budget:
    """Money that a run may spend, ``spent`` included; ``limit`` None = unlimited. Held for the worst case, then settled."""

    def __init__(self, limit: float | None, spent: float = 0.0) -> None:
        self.limit, self.spent = limit, spent
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
            async with self._settled:
                self._held -= amount
                self._settled.notify_all()

    def fits(self, amount: float) -> bool:
        """Whether ``amount`` more can be spent, if all that is held is spent too."""
        return self.limit is None or self.spent + self._held + amount <= self.limit

    def pay(self, amount: float) -> None:
        self.spent += amount


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

        The careful amount, which takes no limit of an answer on trust, is held where the budget has room for it.
        """
        await self._first.acquire()
        alone = not self._known
        if not alone:
            self._first.release()
        try:
            careful = self.amount(tokens, unbounded=alone)
            yield careful if not alone or self._budget.fits(careful) else self.amount(tokens)
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
    """Return what an answer cost in USD: as the endpoint says, else by the pool's prices; None = unknown."""
    return model.cost(response.prompt_tokens, response.completion_tokens, response.cached_tokens, response.billed_usd)


def highest_tokens(request: dict[str, Any], model: PoolModel) -> tuple[int, int]:
    """Return prompt and answer tokens that a request will not exceed, as far as can be told without its tokenizer."""
    text, images = _size(request["messages"])
    return int(text / SAFE_BYTES_PER_TOKEN) + images * image_ceiling(model) + TEMPLATE_TOKENS, model.longest_answer


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
    """Return the UTF-8 bytes of all text, and how many pictures there are."""
    if isinstance(content, str):
        return (0, 1) if content.startswith("data:image/") else (len(content.encode("utf-8", "surrogatepass")), 0)
    if isinstance(content, dict):
        content = list(content.values())
    sizes = [_size(item) for item in content] if isinstance(content, list) else []
    return sum(text for text, _ in sizes), sum(images for _, images in sizes)
