"""Before the first paid prompt: does every endpoint answer, see images and judge, and what will the rest of the run cost?"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from tabulate import tabulate

from auto_router.collect.endpoint import digest_images, user_message
from auto_router.collect.journal import Journal
from auto_router.collect.journal_file import number_sample, request_key
from auto_router.collect.label_checks import count_decoys
from auto_router.collect.label_sources import REFERENCE_WORK, LabelSettings, LabelSource
from auto_router.collect.money import SAFE_BYTES_PER_TOKEN, USUAL_IMAGE_TOKENS, answer_cost, image_ceiling
from auto_router.collect.plan import Plan
from auto_router.collect.question import Question, question_messages
from auto_router.collect.rate_limits import NotAsked, PassingFailure
from auto_router.collect.reply import Response
from auto_router.collect.runner import Collector, EndpointClient
from auto_router.data.pool import UNSTATED_OUTPUT_TOKENS, PoolModel
from auto_router.errors import ProviderError

TEXT_PROBE = "Reply with the word ready."
IMAGE_PROBE = "What colour fills this picture? Reply with one word."
# A judge is asked for a real verdict, in a right answer's favour that no rule would see.
JUDGE_ANSWER, JUDGE_WRONG_ANSWER, JUDGE_REFERENCE = "The colour of ripe tomatoes.", "The colour of a clear sky.", "red"
JUDGE_PROBES = ("Which colour do you get by mixing magenta and yellow?", "Which colour fills this picture?")
TRIES = 3
# For the estimate: what English prompts and short answers take. "At most" is what --max-cost-usd reckons with.
CHARACTERS_PER_TOKEN, USUAL_ANSWER_TOKENS, JUDGE_TASK_TOKENS = 4.0, 250, 250
PREFLIGHT_HEADERS = ["endpoint", "model", "role", "reachable", "s", "images", "questions", "about USD", "at most USD"]


@dataclass(frozen=True, slots=True)
class Probe:
    """What one endpoint said to one small question.

    ``error`` None = it answered; ``lasting``: asking again will not help; ``unreachable``: no connection was made;
    ``warning``: it answered, but oddly. ``in_batches``: it takes no direct question, and its Batch API answers.
    """

    answer: Response | None = None
    images: str = "no"
    error: str | None = None
    lasting: bool = False
    unreachable: bool = False
    warning: str | None = None
    in_batches: bool = False


NOT_NEEDED = Probe()


@dataclass(frozen=True, slots=True)
class Workload:
    """What is still to be asked of one endpoint: questions, the characters of their text, and images.

    Of a judge: how many answers it is shown with each, and which ``share`` of the questions it is asked as a rule of thumb.
    """

    questions: int
    characters: int
    images: int
    answers_shown: int = 0
    share: float = 1.0


async def preflight(collector: Collector, plan: Plan, must_reach: bool = False) -> str:
    """Ask every endpoint that has work left one small question and return the table.

    Args:
        must_reach: an endpoint that does not answer now is an error too.

    Raises:
        ProviderError: after printing the table, where an endpoint refuses in a way that waiting does not mend, a judge gives no
            verdict that can be read, or no candidate can be reached.
    """
    models, judges = collector.models, collector.judges
    left = await asyncio.to_thread(count_left, collector, plan)
    nothing_new = not any(work.questions for work in left)
    loads = left + [count_judging(collector, judge, plan, left) for judge in judges]
    idle = [not work.questions for work in left]
    idle += [nothing_new and count_verdicts(judge, collector.settings, collector.journal) > 0 for judge in judges]
    callers = [*models, *judges]

    async def probe(caller: EndpointClient, rests: bool) -> Probe:
        if rests:
            return NOT_NEEDED
        return await (_probe_judge(caller, collector.labels) if caller in judges else _probe(caller))

    try:
        probes = await asyncio.gather(*map(probe, callers, idle))
    finally:
        await collector.close()
    only_images = bool(plan.images.all())
    unfit = [only_images and c in models and not c.model.facts.takes_images for c in callers]
    table = _table(callers, len(models), probes, loads, unfit)
    lines = [f"  {c.model.name}: {p.error or p.warning}" for c, p in zip(callers, probes, strict=True) if p.error or p.warning]
    asked = [probe for probe, rests in zip(probes[: len(models)], idle, strict=False) if not rests]
    unreachable = bool(asked) and all(probe.unreachable for probe in asked)
    bad = [
        f"{caller.model.name}: {probe.error}"
        for caller, probe in zip(callers, probes, strict=True)
        if probe.error and (probe.lasting or must_reach or (unreachable and caller in models))
    ]
    if bad:
        print(table)
        raise ProviderError(
            f"preflight: {'; '.join(bad)}. Correct the pool, leave the model out with --models, or go on with --skip-preflight"
        )
    return "\n".join([table, *lines])


async def _probe(caller: EndpointClient) -> Probe:
    sees = caller.model.facts.takes_images
    probe = await _try_probe(caller, IMAGE_PROBE if sees else TEXT_PROBE, [red_square()] if sees else [])
    if probe.answer is None or not sees:
        return probe
    recognised = "red" in (probe.answer.text or "").lower()
    return Probe(probe.answer, "yes" if recognised else "taken, not recognised")


async def _probe_judge(caller: EndpointClient, labels: LabelSource) -> Probe:
    """Ask for a real verdict; what cannot be read is asked for twice, as in a run."""
    sees = caller.model.facts.takes_images
    question = Question(0, JUDGE_PROBES[sees], (JUDGE_REFERENCE,), (red_square(),) if sees else (), None, "")
    task = labels.probe(question, JUDGE_ANSWER, JUDGE_WRONG_ANSWER)
    system, asked = task.messages(question.images)
    probe, verdict = NOT_NEEDED, None
    for _ in range(2):
        probe = await _try_probe(caller, asked["content"], [], str(system["content"]))
        if probe.answer is None or probe.error:
            return probe
        verdict = task.read(probe.answer)
        if not verdict.unreadable:
            break
    assert verdict is not None
    if verdict.score is None:
        return Probe(probe.answer, error=f"asked for a verdict, it gave none: {verdict.reason}", lasting=True)
    wrong = "its verdict on a plain case is wrong; check its labels with --audit" if verdict.score < 0.5 else None
    return Probe(probe.answer, "taken" if sees else "no", warning=wrong)


async def _try_probe(caller: EndpointClient, content: object, images: Sequence[bytes], system: str | None = None) -> Probe:
    messages = user_message(content, images) if isinstance(content, str) else [{"role": "user", "content": content}]
    if system is not None:
        messages = [{"role": "system", "content": system}, *messages]
    for attempt in range(1, TRIES + 1):
        try:
            answer = await caller.probe(messages)
        except PassingFailure as failure:
            if attempt == TRIES or failure.timed_out or caller.circuit.dropped:
                caller.circuit.note_failed_preflight(failure)
                return Probe(error=failure.reason, unreachable=failure.unreachable)
            await asyncio.sleep(min(failure.retry_after or 0.5 * attempt, 10.0))
            continue
        except NotAsked as why:  # no room in the budget: the run says so, and what is recorded still counts
            return Probe(warning=str(why))
        # Without an answer's latency it was a refusal; an odd answer still comes from an endpoint that works.
        if answer.latency_s is None:
            if caller.batches is not None and await caller.batches.reach() is None:
                return Probe(warning=f"takes no direct question ({answer.error}); its batches do not need it", in_batches=True)
            return Probe(error=answer.error, lasting=True)
        return Probe(answer, warning=answer.error)
    raise AssertionError("unreachable")


def red_square() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (220, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def count_left(collector: Collector, plan: Plan) -> list[Workload]:
    """Return what is still to be asked of each candidate: what it can take, is not answered and in no batch."""
    if collector.journal.is_empty and not any(
        caller.batches is not None and caller.batches.pending for caller in collector.models
    ):
        loads = []
        for caller in collector.models:
            takes = slice(None) if caller.model.facts.takes_images else plan.images == 0
            characters, counts = plan.characters[takes], plan.images[takes]
            times = collector.samples_of(caller)
            loads.append(Workload(times * len(counts), times * int(characters.sum()), times * int(counts.sum())))
        return loads
    totals = [[0, 0, 0] for _ in collector.models]
    for question in plan.questions():
        digested = digest_images(question_messages(question, question.images))
        for caller, total in zip(collector.models, totals, strict=True):
            if question.images and not caller.model.facts.takes_images:
                continue
            images = caller.fit_images_now(question.images)
            messages = digested if images is question.images else question_messages(question, images)
            request = digest_images(caller.endpoint.request(messages))
            left = sum(_is_left(caller, number_sample(request, sample)) for sample in range(collector.samples_of(caller)))
            for place, amount in enumerate((1, len(question.full_text), len(question.images))):
                total[place] += left * amount
    return [Workload(*total) for total in totals]


def _is_left(caller: EndpointClient, request: dict[str, Any]) -> bool:
    """Whether a request is neither answered nor in a batch that is under way."""
    key = request_key(request)
    return caller.find_recorded(request, key) is None and (caller.batches is None or key not in caller.batches.pending)


def count_judging(collector: Collector, judge: EndpointClient, plan: Plan, left: Sequence[Workload]) -> Workload:
    """Return what a judge may still be asked: an answer is judged once, and never before it is there."""
    work, own = collector.labels.work, collector.labels.own
    judged = [caller for caller in collector.models if caller.model.name not in own]
    taken = sum(len(plan) if c.model.facts.takes_images else int((plan.images == 0).sum()) for c in judged)
    answers = taken * collector.samples
    checks = 0 if collector.check is None else plan.referenced * len(collector.models) * collector.samples
    # By source, of all rows, of those that have references: (verdicts at most, share that is asked for as a rule of thumb).
    decoys = count_decoys(len(plan), collector.settings.name) * work.per_answer if judge is collector.judges[0] else 0
    parts = [(answers * work.per_answer, work.share), (len(plan) * work.per_row + decoys, 1.0), (checks, REFERENCE_WORK.share)]
    total = sum(count for count, _ in parts)
    asked_for = [collector.settings] if collector.check is None else [collector.settings, collector.check.settings]
    under_way = 0 if judge.batches is None else len(judge.batches.pending)
    possible = max(total - under_way - sum(count_verdicts(judge, settings, collector.journal) for settings in asked_for), 0)
    new = [load.questions for caller, load in zip(collector.models, left, strict=True) if caller in judged]
    questions = max(possible, sum(new) * min(work.per_answer, 1))
    mean = plan.characters.sum() / max(len(plan), 1), plan.images.sum() / max(len(plan), 1)
    share = sum(count * part for count, part in parts) / max(total, 1)
    images = int(mean[1] * questions) if judge.model.facts.takes_images else 0
    return Workload(questions, int(mean[0] * questions), images, work.answers_shown, share)


def count_verdicts(judge: EndpointClient, settings: LabelSettings, journal: Journal) -> int:
    """Return how many verdicts of a judge are recorded that were asked for as they are now."""
    told = settings.prompt.opening, settings.prompt.criteria.rstrip()
    return journal.count("judge", judge.addresses, judge.model.model, told)


def _table(
    callers: Sequence[EndpointClient],
    candidates: int,
    probes: Sequence[Probe],
    loads: Sequence[Workload],
    unfit: Sequence[bool],
) -> str:
    """``unfit``: which of the callers can take none of the questions, since all have images."""
    rows: list[list[str]] = []
    totals: list[list[float | None]] = [[], []]
    for number, (caller, probe, work) in enumerate(zip(callers, probes, loads, strict=True)):
        model, candidate = caller.model, number < candidates
        usual, most = estimate(model, work, None if probe is NOT_NEEDED else probe.answer)
        for total, value in zip(totals, (usual, most), strict=True):
            total.append(value)
        reached = _describe_reach(probe, unfit[number])
        latency = probe.answer.latency_s if probe.answer else None
        rows.append(
            [
                model.name,
                model.model,
                "candidate" if candidate else "judge",
                reached,
                "-" if latency is None else f"{latency:.2f}",
                probe.images,
                f"{work.questions:,}" if candidate else f"up to {work.questions:,}",
                _usd(usual),
                _usd(most),
            ]
        )
    known = [None if None in total else sum(value for value in total if value is not None) for total in totals]
    rows.append(["total", "", "", "", "", "", "", *map(_usd, known)])
    return tabulate(rows, headers=PREFLIGHT_HEADERS, disable_numparse=True)


def _describe_reach(probe: Probe, unfit: bool) -> str:
    if probe is NOT_NEEDED:
        return "takes no images" if unfit else "not asked: nothing is left"
    if probe.answer is None:
        return "in batches" if probe.in_batches else "no"
    return "yes, no verdict" if probe.error else "yes"


def _usd(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def estimate(model: PoolModel, work: Workload, probe: Response | None) -> tuple[float | None, float | None]:
    """Return about how many USD some work costs with a model, and how many at most; None without prices.

    ``probe``: the answer to the small question; a model that reasons takes as much for any. Batches count at their own price.
    """
    share = work.share
    extra = JUDGE_TASK_TOKENS + (work.answers_shown - 1) * USUAL_ANSWER_TOKENS if work.answers_shown else 10
    longest, image, ratio = model.longest_answer, USUAL_IMAGE_TOKENS, 1.0
    answer = min(longest, USUAL_ANSWER_TOKENS)
    if probe is not None:
        answer = max(answer, probe.completion_tokens or 0)
        image = max(image, (probe.prompt_tokens or 0) - extra * 2) if model.facts.takes_images else image
        billed, counted = answer_cost(model, probe), model.cost(probe.prompt_tokens, probe.completion_tokens)
        ratio = max(1.0, billed / counted) if billed and counted else 1.0
        if probe.outside or answer > longest:
            longest = max(longest, model.max_output_tokens or UNSTATED_OUTPUT_TOKENS)
    image = model.image_tokens or image
    usual = work.characters / CHARACTERS_PER_TOKEN + work.images * image + work.questions * extra, work.questions * answer
    most = (
        2 * work.characters / SAFE_BYTES_PER_TOKEN + work.images * max(image_ceiling(model), image) + work.questions * 4 * extra
    )
    about = model.cost(int(usual[0] * share), int(usual[1] * share))
    highest = model.cost(int(most), work.questions * longest)
    ratio *= 1 - model.batch_discount if model.batch else 1
    return (None if about is None else about * ratio), (None if highest is None else highest * ratio)
