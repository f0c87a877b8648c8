"""Labels without references: answers held against those of a strong model (silver), or of the present default (pairwise).

A strong model's answer is not taken for right because it is strong. It counts where the model says the same again (its other
samples are as good as its first), where further strong models agree, or, with one answer alone, where the second judge grades
it well. Where they disagree, nobody has a label.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from auto_router.collect import label_sources
from auto_router.collect.judge import DISAGREES, RUBRIC_CRITERIA, RUBRIC_PROMPT, JudgePrompt, JudgeTask, Verdict
from auto_router.collect.matching.verdict import match
from auto_router.collect.money import paid_cost
from auto_router.collect.question import Question
from auto_router.collect.rate_limits import NotAsked
from auto_router.collect.references import final_value
from auto_router.collect.reply import Response
from auto_router.collect.results import JUDGES, LabelOutcome, Results, label_trust
from auto_router.data.label_stats import trust_table, wilson_interval

MAX_KEPT = 4096  # rows whose silver answer is kept at hand; of others it is read from the journal again


BOTH_ORDERS = label_sources.JudgeWork(2, answers_shown=2)


@dataclass(frozen=True, slots=True)
class _Silver:
    """The answer that others are held against, or None with the ``reason`` why there is none; and what finding out cost.

    ``more_costs``: of each strong model, USD of the answers that it would not have been asked for anyway.
    """

    text: str | None
    reason: str = ""
    judge_costs: tuple[tuple[str, float | None], ...] = ()
    more_costs: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


@dataclass
class SilverLabels:
    """An answer is right where it is as good for the request as a strong model's, which must stand by its own."""

    answers: label_sources.Answers
    settings: label_sources.LabelSettings
    samples: int = 1
    """How often each model is asked each question anyway."""
    _rows: OrderedDict[int, asyncio.Task[_Silver]] = field(default_factory=OrderedDict)

    @property
    def own(self) -> Sequence[str]:
        return self.settings.silver_models if self.samples <= self.settings.times else ()

    @property
    def work(self) -> label_sources.JudgeWork:
        return label_sources.JudgeWork(
            per_row=max(1, len(self.settings.silver_models) * self.settings.times - 1), answers_shown=2
        )

    def samples_of(self, name: str) -> int:
        return self.settings.times if name in self.settings.silver_models else 1

    def probe(self, question: Question, right: str, wrong: str) -> JudgeTask:
        return silver_task(question, question.answer, right, self.settings.prompt)

    async def label(self, question: Question, model: str, answer: Response, sample: int) -> LabelOutcome:
        if question.idx not in self._rows:
            self._rows[question.idx] = asyncio.create_task(self._find_silver(question))
            if len(self._rows) > MAX_KEPT:
                self._rows.popitem(last=False)
        silver = await self._rows[question.idx]
        outcome = await self._compare(question, model, answer, sample, silver)
        return outcome if sample else replace(outcome, more_costs=silver.more_costs.get(model, ()))

    async def _compare(self, question: Question, model: str, answer: Response, sample: int, silver: _Silver) -> LabelOutcome:
        if model in self.settings.silver_models and sample < self.settings.times:  # what agreed, or what nobody can trust
            verdict = Verdict(None, silver.reason) if silver.text is None else Verdict(1, "it stands by its answer", "itself")
            is_first = model == self.settings.silver_models[0] and sample == 0
            return LabelOutcome(answer, verdict, judge_costs=silver.judge_costs if is_first else ())
        if silver.text is None:
            return LabelOutcome(answer, Verdict(None, silver.reason))
        stated = label_sources.whole_answer(answer)
        if isinstance(stated, Verdict):
            return LabelOutcome(answer, stated, against=silver.text)
        if is_same_result(question, stated, silver.text):
            return LabelOutcome(answer, Verdict(1, "match", "rule"), against=silver.text)
        task = silver_task(question, silver.text, stated, self.settings.prompt)
        return replace(await label_sources.ask_judges(self.answers, question, answer, [[task]]), against=silver.text)

    async def _find_silver(self, question: Question) -> _Silver:
        """Ask the strong models and see whether they agree."""
        names, times = self.settings.silver_models, self.settings.times
        wanted = [(name, sample) for name in names for sample in range(times)]
        try:
            found = await asyncio.gather(*(self.answers.answer(name, question, sample) for name, sample in wanted))
        except NotAsked as why:
            return _Silver(None, f"silver answer: {why}")
        more = {
            name: tuple(
                paid_cost(self.answers.price(name, answer), answer.discount)
                for (other, sample), answer in zip(wanted, found, strict=True)
                if other == name and sample >= self.samples
            )
            for name in names
        }
        stated = [label_sources.whole_answer(answer) for answer in found]
        failed = next((text for text in stated if isinstance(text, Verdict)), None)
        if failed is not None:
            return _Silver(None, f"silver answer: {failed.reason}", more_costs=more)
        first, *others = map(str, stated)
        verdicts, costs = await self._check(question, first, others)
        scores = [verdict.score for verdict in verdicts]
        if None in scores:
            return _Silver(None, next(v.reason for v in verdicts if v.score is None), costs, more)
        if min(score for score in scores if score is not None) < 0.5:
            return _Silver(None, f"{DISAGREES} ({', '.join(names)})", costs, more)
        return _Silver(first, "", costs, more)

    async def _check(
        self, question: Question, first: str, others: Sequence[str]
    ) -> tuple[list[Verdict], tuple[tuple[str, float | None], ...]]:
        """Return the verdicts on each other answer beside the first, and (judge, USD) of those that a judge gave."""
        judge, tasks = self.answers.judges[0], [silver_task(question, first, text, self.settings.prompt) for text in others]
        if not others:  # nothing to compare with: the second judge says whether the answer itself is good
            judge, tasks = (
                self.answers.judges[1],
                [label_sources.rubric_task(question, first, label_sources.with_rubric(RUBRIC_PROMPT, RUBRIC_CRITERIA))],
            )
        plain = [is_same_result(question, text, first) for text in others] or [False]
        unclear = [task for task, same in zip(tasks, plain, strict=True) if not same]
        replies = await asyncio.gather(*(label_sources.ask_judge(self.answers, judge, question, [task]) for task in unclear))
        costs = tuple((judge.model.name, usd) for _, paid in replies for usd in paid)
        return [Verdict(1, "match", "rule"), *(verdict for verdict, _ in replies)], costs


@dataclass
class PairwiseLabels:
    """An answer is good enough where it wins against the default model's, or ties with it, in both orders."""

    answers: label_sources.Answers
    settings: label_sources.LabelSettings
    work: label_sources.JudgeWork = BOTH_ORDERS

    @property
    def own(self) -> Sequence[str]:
        return (self._default,)

    @property
    def _default(self) -> str:
        return self.settings.pairwise_against or ""

    def samples_of(self, name: str) -> int:
        return 1

    def probe(self, question: Question, right: str, wrong: str) -> JudgeTask:
        return pairwise_task(question, right, wrong, self.settings.prompt)

    async def label(self, question: Question, model: str, answer: Response, sample: int) -> LabelOutcome:
        stated = label_sources.whole_answer(answer)
        if isinstance(stated, Verdict):
            return LabelOutcome(answer, stated)
        if model == self._default and sample == 0:
            return LabelOutcome(answer, Verdict(1, "it is the default model", "itself"))
        try:
            other = label_sources.whole_answer(await self.answers.answer(self._default, question))
        except NotAsked as why:
            other = Verdict(None, str(why))
        if isinstance(other, Verdict):
            return LabelOutcome(answer, Verdict(None, f"answer of {self._default}: {other.reason}"))
        if stated.strip() == other.strip():
            return LabelOutcome(answer, Verdict(1, "the same answer", "rule"), against=other)
        orders = (stated, other), (other, stated)
        tasks = [[pairwise_task(question, *order, self.settings.prompt)] for order in orders]
        return replace(await label_sources.ask_judges(self.answers, question, answer, tasks), against=other)


def is_same_result(question: Question, answer: str, reference: str) -> bool:
    """Whether a rule sees that two models state the same result; that it sees none proves nothing."""
    return answer.strip() == reference.strip() or match(answer, (final_value(reference),), question.choices) is True


def silver_task(question: Question, silver: str, answer: str, prompt: JudgePrompt) -> JudgeTask:
    """Return the task to hold an answer against a strong model's."""
    return JudgeTask(prompt, {"question": question.full_text, "reference": silver, "answer": answer})


def pairwise_task(question: Question, first: str, second: str, prompt: JudgePrompt) -> JudgeTask:
    """Return the task to say which of two answers is the better one."""
    return JudgeTask(prompt, {"question": question.full_text, "first": first, "second": second})


def make_label_source(
    settings: label_sources.LabelSettings, answers: label_sources.Answers, samples: int
) -> label_sources.LabelSource:
    """Return the source that the settings name."""
    if settings.scorer is not None:
        return label_sources.ScorerLabels(answers, settings)
    if settings.source == "silver":
        return SilverLabels(answers, settings, samples)
    if settings.source == "pairwise":
        return PairwiseLabels(answers, settings)
    return (
        label_sources.RubricLabels(answers, settings)
        if settings.source == "rubric"
        else label_sources.ReferenceLabels(answers, settings)
    )


def trust_lines(results: Results) -> list[str]:
    """Return what is known of how far labels can be trusted: where the strong model stands by its answer, and each check."""
    lines = []
    stands = int((results.by == JUDGES.index("itself")).any(axis=1).sum())
    doubted = sum(any(results.reason(row, column).startswith(DISAGREES) for column in range(len(results.names)))
                  for row in range(len(results.scores)))  # fmt: skip
    if results.label_source == "silver" and stands + doubted:
        low, high = wilson_interval(stands / (stands + doubted), stands + doubted)
        lines.append(
            f"silver answers agree on {stands} of {stands + doubted} prompts ({stands / (stands + doubted):.1%}, 95 % "
            f"{low:.1%} to {high:.1%}); the others have no label"
        )
    lines += [] if results.decoys is None else [results.decoys.describe()]
    table = trust_table(line.to_plain() for line in label_trust(results))
    return [*lines, *([f"how far the labels can be trusted:\n{table}"] if table else [])]
