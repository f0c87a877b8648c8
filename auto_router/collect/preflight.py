"""Before the first paid prompt: does every endpoint answer, see pictures, and what will the whole run cost?"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from tabulate import tabulate

from auto_router.collect.endpoint import Messages, PassingFailure, Response, user_message
from auto_router.collect.plan import Plan
from auto_router.collect.rate_limits import SAFE_BYTES_PER_TOKEN, SAFE_TOKENS_PER_IMAGE
from auto_router.collect.runner import EndpointClient
from auto_router.data.pool import PoolModel
from auto_router.errors import ProviderError

TEXT_PROBE = "Reply with the word ready."
IMAGE_PROBE = "What colour fills this picture? Reply with one word."
TRIES = 3
# For the estimate: what English prompts and short answers take. "At most" is what --max-cost-usd reckons with.
CHARACTERS_PER_TOKEN, USUAL_IMAGE_TOKENS, USUAL_ANSWER_TOKENS, JUDGED_SHARE, JUDGE_TASK_TOKENS = 4.0, 800, 250, 0.3, 250
PREFLIGHT_HEADERS = ["endpoint", "model", "role", "reachable", "s", "pictures", "questions", "about USD", "at most USD"]


@dataclass(frozen=True, slots=True)
class Probe:
    """What one endpoint said to one small question: ``error`` None = it answered; ``lasting``: asking again will not help."""

    latency: float | None = None
    images: str = "no"
    error: str | None = None
    lasting: bool = False


def probe_messages(image: bool) -> Messages:
    """Return the small question; with ``picture``, about a red square."""
    if not image:
        return user_message(TEXT_PROBE)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (220, 0, 0)).save(buffer, "PNG")
    return user_message(IMAGE_PROBE, [buffer.getvalue()])


async def preflight(models: Sequence[EndpointClient], judges: Sequence[EndpointClient], plan: Plan) -> str:
    """Ask every endpoint one small question and return the table.

    Raises:
        ProviderError: after printing the table's reasons, where an endpoint refuses in a way that waiting does not mend.
    """
    callers = [*models, *judges]
    probes = await asyncio.gather(*(_probe(caller) for caller in callers))
    for caller in callers:
        await caller.endpoint.close()
    table = _table(models, judges, probes, plan)
    bad = [f"{caller.model.name}: {probe.error}" for caller, probe in zip(callers, probes, strict=True) if probe.lasting]
    if bad:
        print(table)
        raise ProviderError(
            f"preflight: {'; '.join(bad)}. Correct the pool, leave the model out with --models, or go on with --skip-preflight"
        )
    return table


async def _probe(caller: EndpointClient) -> Probe:
    sees = caller.model.facts.takes_images
    request = caller.endpoint.request(probe_messages(sees))
    for attempt in range(1, TRIES + 1):
        try:
            answer = await caller.endpoint.attempt(request)
        except PassingFailure as failure:
            if attempt == TRIES or failure.timed_out:
                return Probe(error=failure.reason)
            await asyncio.sleep(min(failure.retry_after or 0.5 * attempt, 10.0))
            continue
        # Without an answer's latency it was a refusal; an empty or odd answer still comes from an endpoint that works.
        if answer.latency_s is None:
            return Probe(error=answer.error, lasting=True)
        return Probe(answer.latency_s, _table_row(answer) if sees else "no")
    raise AssertionError("unreachable")


def _table_row(answer: Response) -> str:
    return "yes" if "red" in (answer.text or "").lower() else "taken, not recognised"


def _table(models: Sequence[EndpointClient], judges: Sequence[EndpointClient], probes: Sequence[Probe], plan: Plan) -> str:
    with_images = int((plan.images > 0).sum())
    rows = []
    for number, (caller, probe) in enumerate(zip([*models, *judges], probes, strict=True)):
        model, candidate = caller.model, number < len(models)
        sees = model.facts.takes_images
        count = len(plan) - (0 if sees else with_images) if candidate else len(plan) * len(models)
        usual, most = estimate(model, plan, None if candidate else len(models))
        rows.append(
            [
                model.name,
                model.model,
                "candidate" if candidate else "judge",
                "yes" if probe.error is None else probe.error[:60],
                "-" if probe.latency is None else f"{probe.latency:.2f}",
                probe.images,
                f"{count:,}" if candidate else f"up to {count:,}",
                "-" if usual is None else f"{usual:.2f}",
                "-" if most is None else f"{most:.2f}",
            ]
        )
    return tabulate(rows, headers=PREFLIGHT_HEADERS, disable_numparse=True)


def estimate(model: PoolModel, plan: Plan, judged_models: int | None = None) -> tuple[float | None, float | None]:
    """Return about how many USD the plan costs with a model, and how many at most; None without prices.

    ``judged_models``: the model is a judge of so many candidates; as a rule of thumb it gets 30 % of their answers.
    """
    sees = model.facts.takes_images
    times, share, extra = (1, 1.0, 10) if judged_models is None else (judged_models, JUDGED_SHARE, JUDGE_TASK_TOKENS)
    asked = slice(None) if sees or judged_models is not None else plan.images == 0
    characters, count = int(plan.characters[asked].sum()), len(plan.characters[asked])
    images = int(plan.images[asked].sum()) if sees else 0
    answer = min(model.longest_answer, USUAL_ANSWER_TOKENS)
    usual = characters / CHARACTERS_PER_TOKEN + images * USUAL_IMAGE_TOKENS + count * extra, count * answer
    most = (
        2 * characters / SAFE_BYTES_PER_TOKEN + images * SAFE_TOKENS_PER_IMAGE + count * 4 * extra,
        count * model.longest_answer,
    )
    about = model.cost(int(usual[0] * share * times), int(usual[1] * share * times))
    return about, model.cost(int(most[0] * times), int(most[1] * times))
