"""Where labels come from: each source says which question, asked of whom, tells how good an answer is.

``reference`` holds answers against the data set's right ones, ``rubric`` has a judge grade them by criteria, ``scorer`` runs a
function. Two hold them against another model's answer (:mod:`auto_router.collect.compared_labels`). Whatever is asked goes
through the run's endpoints, so it is in the journal, in the budget, and never asked twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from auto_router.collect.judge import (
    CUT_OFF,
    GRADED_PROMPT,
    PAIRWISE_PROMPT,
    REFERENCE_PROMPT,
    RUBRIC_CRITERIA,
    RUBRIC_PROMPT,
    SILVER_PROMPT,
    JudgePrompt,
    JudgeTask,
    Verdict,
    judge_by_rules,
    reference_task,
    stated_answer,
)
from auto_router.collect.money import answer_cost, paid_cost
from auto_router.collect.question import Question
from auto_router.collect.rate_limits import NotAsked
from auto_router.collect.reply import Response
from auto_router.collect.results import SECOND_JUDGE, LabelOutcome
from auto_router.collect.scorers import Scorer, score_response
from auto_router.data.label_stats import UNDECIDED
from auto_router.data.pool import Pool
from auto_router.errors import ConfigError

if TYPE_CHECKING:
    from auto_router.collect.runner import EndpointClient

SOURCES = ("reference", "silver", "rubric", "pairwise")
SCORER_SOURCE = "scorer"
SILVER_SAMPLES = 3


@dataclass(frozen=True)
class LabelSettings:
    """How labels are made. Raises ConfigError where settings contradict each other."""

    source: str = "reference"
    """One of ``SOURCES``; a ``scorer`` decides alone."""
    match_only: bool = False
    """References are the only right wording: no judge is asked."""
    graded: bool = False
    """The judge gives 0 to 1 where it is held against references."""
    scorer: Scorer | None = None
    silver_models: tuple[str, ...] = ()
    silver_samples: int | None = None
    """Answers of each silver model to a question; None: 3 of one model, 1 of several."""
    rubric: str = RUBRIC_CRITERIA
    pairwise_against: str | None = None
    criteria: str | None = None
    """What ``--judge-prompt`` says in place of the source's own criteria."""

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ConfigError(f"--labels {self.source!r} is unknown; known are {', '.join(SOURCES)}")
        for name, owner, is_set in (
            ("--match-only", "reference", self.match_only),
            ("--graded", "reference", self.graded),
            ("--scorer", "reference", self.scorer is not None),
            ("--silver-model", "silver", bool(self.silver_models)),
            ("--silver-samples", "silver", self.silver_samples is not None),
            ("--rubric", "rubric", self.rubric != RUBRIC_CRITERIA),
            ("--pairwise-against", "pairwise", self.pairwise_against is not None),
        ):
            if is_set and self.source != owner:
                raise ConfigError(f"{name} is for --labels {owner}, not for --labels {self.source}; leave one of them out")
        if self.criteria is not None and (self.scorer is not None or self.match_only):
            raise ConfigError("--judge-prompt is for a judge, and --scorer and --match-only ask none; leave one of them out")
        if self.silver_samples is not None and self.silver_samples < 1:
            raise ConfigError(f"--silver-samples must be at least 1, got {self.silver_samples}")

    @property
    def name(self) -> str:
        """What records say: ``label_source``."""
        return SCORER_SOURCE if self.scorer is not None else self.source

    def describe(self, judge: str | None) -> str:
        """Return who decides, in a few words; ``judge`` None: the pool has none."""
        if self.scorer is not None or self.match_only or (judge is None and self.source == "reference"):
            return "the scorer" if self.scorer is not None else "matching only"
        silver = f"answers of {', '.join(self.silver_models)} ({self.times} each)"
        return {
            "reference": f"matching, then {judge}",
            "silver": f"{judge}, against {silver}",
            "rubric": f"{judge}, by criteria",
            "pairwise": f"{judge}, against the answers of {self.pairwise_against}, in both orders",
        }[self.source]

    @property
    def needs_references(self) -> bool:
        return self.name == "reference"

    @property
    def asks_judge(self) -> bool:
        return self.scorer is None and not self.match_only

    @property
    def times(self) -> int:
        """How often each silver model answers a question."""
        return self.silver_samples or (SILVER_SAMPLES if len(self.silver_models) < 2 else 1)

    @property
    def prompt(self) -> JudgePrompt:
        """What the judge is told."""
        prompts = {"silver": SILVER_PROMPT, "rubric": RUBRIC_PROMPT, "pairwise": PAIRWISE_PROMPT}
        prompt = prompts.get(self.source, GRADED_PROMPT if self.graded else REFERENCE_PROMPT)
        prompt = prompt if self.criteria is None else prompt.with_criteria(self.criteria)
        return with_rubric(prompt, self.rubric) if self.source == "rubric" else prompt

    def check(self, pool: Pool) -> None:
        """Raise ConfigError where the pool lacks what the source asks."""
        names = [model.name for model in pool.models]
        wanted = {"--silver-model": self.silver_models} | {"--pairwise-against": tuple(filter(None, [self.pairwise_against]))}
        for flag, given in wanted.items():
            for name in given:
                if name not in names:
                    raise ConfigError(f"{flag} {name!r} is not among the models that are asked: {', '.join(names)}")
        flags = {"silver": "--silver-model", "pairwise": "--pairwise-against"}
        if self.source in flags and not wanted[flags[self.source]]:
            raise ConfigError(f"--labels {self.source} needs {flags[self.source]} NAME, one of {', '.join(names)}")
        if len(set(self.silver_models)) < len(self.silver_models):
            raise ConfigError("--silver-model names a model twice; each must be another one")
        if not self.needs_references and self.asks_judge and pool.judge is None:
            raise ConfigError(f"--labels {self.source} needs a judge: name one in the pool (entry 'judge:')")
        if self.source == "silver" and self.times * len(self.silver_models) == 1 and pool.second_judge is None:
            raise ConfigError(
                f"nothing would say where {self.silver_models[0]} can be trusted: give --silver-samples 2 or more, a further "
                "--silver-model, or the pool a 'second_judge:'"
            )


class Answers(Protocol):
    """What a run offers to those who make labels."""

    @property
    def judges(self) -> Sequence[EndpointClient]: ...

    @property
    def is_offline(self) -> bool: ...

    async def answer(self, name: str, question: Question, sample: int = 0) -> Response:
        """Return an answer of a model. Raises NotAsked as :meth:`EndpointClient.ask`."""

    def price(self, name: str, answer: Response) -> float | None:
        """Return the USD that an answer of a model cost; None = unknown."""


@dataclass(frozen=True, slots=True)
class JudgeWork:
    """How much a source asks of each judge: verdicts for each answer and for each row, and answers that a verdict is shown."""

    per_answer: int = 1
    per_row: int = 0
    answers_shown: int = 1
    share: float = 1.0
    """Part of the answers that are judged as a rule of thumb; others are decided by rules."""


REFERENCE_WORK = JudgeWork(share=0.3)


class LabelSource(Protocol):
    """One way to say how good an answer is."""

    @property
    def work(self) -> JudgeWork: ...

    @property
    def own(self) -> Sequence[str]:
        """The models that the others are held against: no judge sees their first answers."""

    def samples_of(self, name: str) -> int:
        """Return how many answers of a model to each question the labels need."""

    def probe(self, question: Question, right: str, wrong: str) -> JudgeTask:
        """Return a task as the source gives them, to which 1 is the verdict."""

    async def label(self, question: Question, model: str, answer: Response, sample: int) -> LabelOutcome:
        """Return what an answer is worth, without its cost. Raises DataError where the journal cannot be written."""


@dataclass
class _Plain:
    """What sources share that look at one answer alone."""

    answers: Answers
    settings: LabelSettings
    own: Sequence[str] = ()

    def samples_of(self, name: str) -> int:
        return 1


@dataclass
class ReferenceLabels(_Plain):
    """Rules first, then the judge, against the data set's references."""

    work: JudgeWork = REFERENCE_WORK

    def probe(self, question: Question, right: str, wrong: str) -> JudgeTask:
        return reference_task(question, right, self.settings.prompt)

    async def label(self, question: Question, model: str, answer: Response, sample: int) -> LabelOutcome:
        verdict = judge_by_rules(answer, question, self.settings.match_only)
        if verdict is not None:
            return LabelOutcome(answer, verdict)
        if not self.answers.judges:
            return LabelOutcome(answer, Verdict(None, f"{UNDECIDED}, and the pool has no judge"))
        stated = stated_answer(answer)
        # Journals of former versions hold verdicts on the whole text, reasoning included.
        wordings = dict.fromkeys([str(stated), *([answer.text or ""] if self.answers.is_offline else [])])
        tasks = [reference_task(question, wording, self.settings.prompt) for wording in wordings]
        return await ask_judges(self.answers, question, answer, [tasks])


@dataclass
class RubricLabels(_Plain):
    """A judge grades each answer by criteria, from 0 to 1."""

    work: JudgeWork = JudgeWork()

    def probe(self, question: Question, right: str, wrong: str) -> JudgeTask:
        return rubric_task(question, right, self.settings.prompt)

    async def label(self, question: Question, model: str, answer: Response, sample: int) -> LabelOutcome:
        stated = whole_answer(answer)
        if isinstance(stated, Verdict):
            return LabelOutcome(answer, stated)
        return await ask_judges(self.answers, question, answer, [[rubric_task(question, stated, self.settings.prompt)]])


@dataclass
class ScorerLabels(_Plain):
    """A function decides alone."""

    work: JudgeWork = JudgeWork(0)

    def probe(self, question: Question, right: str, wrong: str) -> JudgeTask:
        raise AssertionError("a scorer asks no judge")

    async def label(self, question: Question, model: str, answer: Response, sample: int) -> LabelOutcome:
        assert self.settings.scorer is not None
        return LabelOutcome(answer, await asyncio.to_thread(score_response, self.settings.scorer, question, answer))


def with_rubric(prompt: JudgePrompt, rubric: str) -> JudgePrompt:
    """Return a prompt with the user's criteria behind its own words."""
    return prompt.with_criteria(f"{prompt.criteria.rstrip()}\nThe criteria:\n{rubric.strip()}")


def rubric_task(question: Question, answer: str, prompt: JudgePrompt) -> JudgeTask:
    """Return the task to grade an answer without a reference."""
    return JudgeTask(prompt, {"question": question.full_text, "answer": answer})


def whole_answer(answer: Response) -> str | Verdict:
    """Return what of an answer is graded, or "unknown" where there is nothing, or where it was cut off."""
    stated = stated_answer(answer)
    return Verdict(None, CUT_OFF) if isinstance(stated, str) and answer.finish_reason == "length" else stated


async def ask_judges(
    answers: Answers, question: Question, answer: Response, tasks: Sequence[Sequence[JudgeTask]]
) -> LabelOutcome:
    """Return what the judges make of an answer: the first one's verdict is the label, the second one's a check.

    ``tasks``: what each of them is asked, each in one wording or, where nothing is sent, in several. Several tasks are one
    comparison in both orders (:func:`join_orders`).
    """
    asked = [[ask_judge(answers, judge, question, wordings) for wordings in tasks] for judge in answers.judges]
    replies = await asyncio.gather(*(asyncio.gather(*of_one) for of_one in asked))
    verdicts = [join_orders([verdict for verdict, _ in of_one]) for of_one in replies]
    names = [judge.model.name for judge in answers.judges]
    costs = tuple((name, usd) for name, of_one in zip(names, replies, strict=True) for _, paid in of_one for usd in paid)
    checks: Mapping[str, Verdict] = {SECOND_JUDGE: verdicts[1]} if len(verdicts) > 1 else {}
    return LabelOutcome(answer, verdicts[0], checks=checks, judge_costs=costs)


def join_orders(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the one verdict, or that of a comparison in both orders: of the first answer in the first, the second then.

    A win or a tie in both orders is 1, a loss in both 0; where the orders disagree, it is unknown.
    """
    if len(verdicts) == 1:
        return verdicts[0]
    one, other = verdicts
    if one.score is None or other.score is None:
        return one if one.score is None else other
    good = [one.score >= 0.5, other.score <= 0.5]
    why = " / ".join(filter(None, [one.why, other.why]))
    if good[0] != good[1]:
        return Verdict(None, ORDERS_DISAGREE, "judge", why)
    return Verdict(float(good[0]), "judge", "judge", why)


ORDERS_DISAGREE = "the judge prefers another answer when their order changes"


async def ask_judge(
    answers: Answers, judge: EndpointClient, question: Question, tasks: Sequence[JudgeTask]
) -> tuple[Verdict, tuple[float | None, ...]]:
    """Return a judge's verdict and what it cost, () where it was not asked; one that cannot be read is asked for once more.

    ``tasks``: the same in several wordings, of which the first that the journal knows counts; all but the first only there.
    """
    shown = await judge.fit_images(question.images) if judge.model.facts.takes_images else ()
    reason = ""
    for task in tasks:
        messages = task.messages(shown)
        try:
            reply = await judge.ask(messages)
            verdict = task.read(reply)
            if verdict.unreadable and not answers.is_offline:
                reply = await judge.ask(messages, anew=True)
                verdict = task.read(reply)
        except NotAsked as why:
            reason = reason or f"judge: {why}"
            continue
        cost = 0.0 if reply.latency_s is None and reply.text is None else answer_cost(judge.model, reply)
        return verdict, (paid_cost(cost, reply.discount),)
    return Verdict(None, reason, "judge"), ()


def read_instructions(path: Path, flag: str) -> str:
    """Return what a file tells the judge. Raises ConfigError where it cannot be read, or is empty."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{flag} {path} cannot be read ({error}); give a text file in UTF-8") from error
    if not text:
        raise ConfigError(f"{flag} {path} is empty; write what the judge is to look at")
    return text
