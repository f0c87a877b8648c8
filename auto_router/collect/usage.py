"""What an answer took: tokens and USD, read from the ``usage`` of any endpoint.

Endpoints count in many ways: as floats or strings, -1 for unknown, the total alone, reasoning inside the answer's tokens or
beside them. A count that cannot be read is None, never 0: its cost is then unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_COUNT = 10**9  # what claims more tokens, or more USD, for one answer is no count


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
    prompt = read_count(usage, "prompt_tokens", "input_tokens")
    completion = read_count(usage, "completion_tokens", "output_tokens")
    total = read_count(usage, "total_tokens")
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
        cached = read_count(usage, "prompt_cache_hit_tokens")  # DeepSeek's name
    if cached is not None and prompt is not None:
        cached = min(cached, prompt)
    return Usage(prompt, completion, cached, _billed(usage), reasoning, outside)


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


def _billed(usage: Mapping[str, Any]) -> float | None:
    """OpenRouter says ``cost``, and for a provider's key of one's own what the provider takes beside it; Perplexity an object."""
    cost = usage.get("cost")
    if isinstance(cost, Mapping):
        cost = cost.get("total_cost")
    billed = next((n for n in map(_number, (cost, usage.get("total_cost"), usage.get("estimated_cost"))) if n is not None), None)
    details = usage.get("cost_details")
    if billed is not None and usage.get("is_byok") is True and isinstance(details, Mapping):
        billed += _number(details.get("upstream_inference_cost")) or 0.0
    return billed


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number <= MAX_COUNT else None
