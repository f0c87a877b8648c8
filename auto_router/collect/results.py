"""What a run found out, as arrays: a few numbers an answer, so that memory does not grow with texts or pictures.

The end of Stage 1: what each model did, what the pool is worth, and what to look at before training on it.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from statistics import fmean
from typing import Any

import numpy as np
from tabulate import tabulate

from auto_router.arrays import Floats
from auto_router.collect.endpoint import Response
from auto_router.collect.judge import CUT_OFF, NO_END, Verdict
from auto_router.collect.money import paid_cost, show_usd
from auto_router.collect.source import Question
from auto_router.data.capability import TEXT_ONLY_REASON
from auto_router.data.label_stats import (
    FEW_UNDECIDED,
    MAX_UNDECIDED,
    UNDECIDED,
    cohens_kappa,
    marginal_gain,
    oracle,
    wilson_interval,
)
from auto_router.data.records import Record
from auto_router.errors import ConfigError

NOT_ASKED = "not asked"
JUDGES = ("", "rule", "judge", "scorer")


@dataclass(frozen=True, slots=True)
class LabelOutcome:
    """One model on one question; ``second`` is the second judge's verdict, where there was one.

    ``cost`` (USD) is what asking directly costs. ``discount``: the share of it that was not paid; None = as the answer says.
    """

    answer: Response | None
    verdict: Verdict
    cost: float | None = None
    second: Verdict | None = None
    judge_costs: tuple[float | None, ...] = ()
    discount: float | None = None

    @property
    def paid(self) -> float | None:
        """USD that one answer took from the run's budget; None = unknown."""
        own = self.answer.discount if self.answer is not None else 0.0
        return paid_cost(self.cost, own if self.discount is None else self.discount)


def average_outcomes(samples: Sequence[LabelOutcome]) -> LabelOutcome:
    """Return one outcome of several answers to a question: their mean score and cost; unknown where one is unknown.

    What stays undecided is mostly wrong, so a mean of the others would say too much good.
    """
    if len(samples) == 1:
        return samples[0]
    judged: list[float | None] = [
        None if None in paid else sum(usd or 0.0 for usd in paid)
        for paid in zip_longest(*(sample.judge_costs for sample in samples), fillvalue=0.0)
    ]
    costs = [sample.cost for sample in samples if sample.cost is not None]
    cost = fmean(costs) if costs else None
    paid = sum(sample.paid or 0.0 for sample in samples)
    discount = 1 - paid / sum(costs) if paid < sum(costs) else None
    unknown = next((sample for sample in samples if sample.verdict.score is None), None)
    if unknown is not None:
        return replace(unknown, cost=cost, judge_costs=tuple(judged), discount=discount)
    score = fmean(sample.verdict.score or 0.0 for sample in samples)
    by = "judge" if any(sample.verdict.by == "judge" for sample in samples) else "rule"
    verdict = Verdict(score, f"mean of {len(samples)} samples", by)
    seconds = [sample.second.score for sample in samples if sample.second and sample.second.score is not None]
    second = Verdict(fmean(seconds), "judge", "judge") if len(seconds) == len(samples) else None
    return replace(samples[0], verdict=verdict, second=second, cost=cost, judge_costs=tuple(judged), discount=discount)


class Results:
    """Outcomes of ``size`` questions and the models of ``names``; what was not put yet is "not asked yet".

    ``scores``, ``second``, ``costs``, ``paid`` (USD) and ``latencies`` (s) are [N, M], NaN for unknown; ``tokens`` is [N, M];
    ``asked`` and ``answered`` are boolean [N, M]; ``by`` [N, M] indexes ``JUDGES``. ``verdicts`` and ``judge_usd`` count what
    each of ``judges`` was asked and what that cost, ``judge_unpriced`` its verdicts of unknown cost. ``samples``: answers a
    label is the mean of; ``costs`` are of one, and without the discount that ``paid`` has.
    """

    def __init__(self, size: int, names: Sequence[str], judges: Sequence[str] = (), samples: int = 1) -> None:
        shape = size, len(names)
        self.samples = samples
        self.names, self.judges = list(names), list(judges)
        self.verdicts, self.judge_usd, self.judge_unpriced = [0] * len(judges), [0.0] * len(judges), [0] * len(judges)
        self.scores = np.full(shape, np.nan, dtype=np.float32)
        self.second = np.full(shape, np.nan, dtype=np.float32)
        self.costs = np.full(shape, np.nan)
        self.paid = np.full(shape, np.nan)
        self.latencies = np.full(shape, np.nan, dtype=np.float32)
        self.tokens = np.zeros(shape, dtype=np.int64)
        self.asked = np.zeros(shape, dtype=bool)
        self.answered = np.zeros(shape, dtype=bool)
        self.by = np.zeros(shape, dtype=np.int8)
        self._reasons = [f"{NOT_ASKED} yet"]
        self._numbers = {self._reasons[0]: 0}
        self._reason = np.zeros(shape, dtype=np.int32)

    def put(self, row: int, column: int, outcome: LabelOutcome) -> None:
        """Keep one outcome."""
        at = row, column
        answer, verdict = outcome.answer, outcome.verdict
        if verdict.reason not in self._numbers:
            self._numbers[verdict.reason] = len(self._reasons)
            self._reasons.append(verdict.reason)
        self._reason[at] = self._numbers[verdict.reason]
        self.scores[at] = np.nan if verdict.score is None else verdict.score
        self.by[at] = JUDGES.index(verdict.by)
        if outcome.second is not None and outcome.second.score is not None:
            self.second[at] = outcome.second.score
        for number, usd in enumerate(outcome.judge_costs):
            self.verdicts[number] += 1
            self.judge_usd[number] += usd or 0.0
            self.judge_unpriced[number] += usd is None
        if answer is not None:
            self.asked[at] = True
            self.answered[at] = answer.text is not None
            self.tokens[at] = max(answer.prompt_tokens or 0, 0) + max(answer.completion_tokens or 0, 0)
            self.latencies[at] = np.nan if answer.latency_s is None else answer.latency_s
            self.costs[at] = np.nan if outcome.cost is None else outcome.cost
            self.paid[at] = np.nan if outcome.paid is None else outcome.paid

    def reason(self, row: int, column: int) -> str:
        """Return why the label is what it is, or why there is none."""
        return self._reasons[int(self._reason[row, column])]

    def reasons(self) -> list[tuple[str, str, int]]:
        """Return (model, reason, count) for every reason why labels are null, the most frequent first."""
        rows, columns = np.nonzero(np.isnan(self.scores))
        counted = Counter(zip(columns.tolist(), self._reason[rows, columns].tolist(), strict=True))
        return [(self.names[column], self._reasons[number], count) for (column, number), count in counted.most_common()]

    def has_answers(self, row: int) -> bool:
        """Whether anyone was asked this question; what nobody was asked is no record yet."""
        return bool(self.asked[row].any()) or all(self.reason(row, c) == TEXT_ONLY_REASON for c in range(len(self.names)))

    def record(self, row: int, question: Question) -> Record:
        """Return the evaluation record of one question; what has no verdict is None, with its reason."""
        scores = {name: _or_none(self.scores[row, column]) for column, name in enumerate(self.names)}
        costs = {name: _or_none(self.costs[row, column]) for column, name in enumerate(self.names)}
        return Record(
            idx=question.idx,
            prompt=question.prompt,
            answer=question.answer,
            answers=question.references if len(question.references) > 1 else (),
            images=tuple(base64.b64encode(image).decode("ascii") for image in question.images),
            model_scores=scores,
            group=question.group,
            source=question.source,
            model_costs={name: cost for name, cost in costs.items() if cost is not None},
            model_errors={name: self.reason(row, c) for c, name in enumerate(self.names) if scores[name] is None},
            context=question.context,
        )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 12) if value > 1e-9 else float(value)


SUMMARY_HEADERS = [
    "model",
    "asked",
    "answered",
    "failed",
    "unscored",
    "success rate",
    "95 %",
    "marginal",
    "median s",
    "tokens",
    "USD",
]
OF_DECIDED = " of those decided"
ENOUGH = 20  # labels below which a warning about a model would be about chance


def summary_table(results: Results) -> str:
    """One line a model. *Failed* has no answer, *unscored* an answer without a verdict; both are null labels.

    *Marginal* is what the oracle would lose without the model: how much of the pool's quality nobody else has.
    """
    scores = capable_scores(results)
    rows = [_row(results, column, marginal_gain(scores, column)) for column in range(len(results.names))]
    between = [""] * (len(SUMMARY_HEADERS) - 3)
    for name, count, usd in zip(results.judges, results.verdicts, _judge_costs(results), strict=True):
        rows.append([f"{name} (judge)", str(count), *between, show_usd(*usd)])
    rows.append(
        [
            "total",
            str(int(results.asked.sum()) * results.samples + sum(results.verdicts)),
            *between,
            show_usd(*total_usd(results)),
        ]
    )
    return tabulate(rows, headers=SUMMARY_HEADERS, disable_numparse=True)


def summary(results: Results) -> dict[str, Any]:
    """Return the labels of every model as plain values, for machines; unknown is None."""
    found = {}
    for column, name in enumerate(results.names):
        mean, costs = _mean(results.scores[:, column]), results.paid[:, column]
        found[name] = {
            "asked": int(results.asked[:, column].sum()),
            "answered": int(results.answered[:, column].sum()),
            "labels": int((~np.isnan(results.scores[:, column])).sum()),
            "undecided": count_undecided(results, column),
            "success rate": None if np.isnan(mean) else mean,
            "usd": None if np.isnan(costs).all() else float(np.nansum(costs)) * results.samples,
        }
    judges = {
        name: {"verdicts": count, "usd": _or_unknown(*usd)}
        for name, count, usd in zip(results.judges, results.verdicts, _judge_costs(results), strict=True)
    }
    usd, unpriced = total_usd(results)
    known = {"usd": _or_unknown(usd, unpriced), "unpriced": unpriced}
    return {"questions": len(results.scores), "models": found, "judges": judges, **known}


def total_usd(results: Results) -> tuple[float, int]:
    """Return what all recorded answers and verdicts cost in USD, and how many more there are of unknown cost."""
    every = [*(_model_cost(results, column) for column in range(len(results.names))), *_judge_costs(results)]
    return sum(usd for usd, _ in every), sum(unpriced for _, unpriced in every)


def _model_cost(results: Results, column: int) -> tuple[float, int]:
    costs = results.paid[:, column]
    came = results.answered[:, column] | ~np.isnan(results.latencies[:, column])  # a refusal costs nothing
    return float(np.nansum(costs)) * results.samples, int((came & np.isnan(costs)).sum())


def _judge_costs(results: Results) -> list[tuple[float, int]]:
    return list(zip(results.judge_usd, results.judge_unpriced, strict=True))


def _or_unknown(usd: float, unpriced: int) -> float | None:
    return usd if usd or not unpriced else None


def pool_lines(results: Results) -> list[str]:
    """Return the lines about the pool as a whole: oracle, best single model, who decided, how far two judges agree."""
    scores = capable_scores(results)
    means = [_mean(scores[:, column]) for column in range(len(results.names))]
    lines = []
    if not np.isnan(means).all():
        best = int(np.nanargmax(means))
        part = OF_DECIDED if (results.answered & np.isnan(results.scores)).any() else ""
        lines.append(
            f"oracle (best model for every prompt) {oracle(scores):.1%}; "
            f"best single {results.names[best]} {means[best]:.1%}{part}"
        )
    decided = {name: int((~np.isnan(results.scores) & (results.by == number)).sum()) for number, name in enumerate(JUDGES)}
    by_scorer = f", {decided['scorer']} by the scorer" if decided["scorer"] else ""
    lines.append(f"{decided['rule']} labels decided by rules, {decided['judge']} by the judge{by_scorer}")
    both = ~np.isnan(results.scores) & ~np.isnan(results.second)
    if both.any():
        one, other = results.scores[both], results.second[both]
        equal = float(((one >= 0.5) == (other >= 0.5)).mean())
        kappa = cohens_kappa(one, other)
        lines.append(f"the two judges agree on {equal:.1%} of {int(both.sum())} cases (Cohen's kappa {kappa:.2f})")
    return lines


def warnings(results: Results) -> list[str]:
    """Return what makes these labels a poor ground to learn routing from."""
    scores, found = capable_scores(results), []
    spare: list[int] = []
    for column, name in enumerate(results.names):
        known = results.scores[:, column][~np.isnan(results.scores[:, column])]
        unscored = int(results.answered[:, column].sum()) - len(known)
        if len(known) >= ENOUGH and np.ptp(known) == 0:
            found.append(
                f"{name} has the same label {known[0]:g} on all of its {len(known)} prompts: nothing can be learned about it"
            )
        elif len(results.names) > 1 and len(known) >= ENOUGH and marginal_gain(scores, column) <= 0:
            spare.append(column)
        unscored -= count_unfinished(results, column)
        if unscored > 0.2 * max(int(results.answered[:, column].sum()), 1):
            found.append(f"{name}: {unscored} answers have no verdict; a judge, or another one, would give more labels")
        undecided = count_undecided(results, column)
        if undecided:
            found.append(
                f"{name}: its labels are one-sided: {undecided} answers that no rule could decide are unknown, and wrong ones "
                "are more often among them; a judge decides them"
            )
    return [*found, *([_advise_on_spare(results.names, scores, spare)] if spare else [])]


def _advise_on_spare(names: Sequence[str], scores: Floats, spare: list[int]) -> str:
    """Say of models that each add nothing to the others whether they could all be left out, or one of them only."""
    listed = ", ".join(names[column] for column in spare)
    if len(spare) == 1:
        return f"{listed} adds nothing: whatever it gets right, another model gets right too (it may still be cheaper)"
    known = np.nan_to_num(scores)
    if (known.max(axis=1) <= np.delete(known, spare, axis=1).max(axis=1, initial=0.0)).all():
        return f"{listed} add nothing: whatever they get right, another model gets right too (they may still be cheaper)"
    return (
        f"any one of {listed} could go, not all: what one of them gets right, another model gets right too (each may still be "
        "cheaper)"
    )


def count_undecided(results: Results, column: int) -> int:
    """Return how many answers of a model no rule could decide, and no judge was there to."""
    rows = np.flatnonzero(results.answered[:, column] & np.isnan(results.scores[:, column]))
    return sum(results.reason(int(row), column).startswith(UNDECIDED) for row in rows)


def count_unfinished(results: Results, column: int) -> int:
    """Return how many answers of a model broke off or never ended their reasoning: no judge could tell what they say."""
    rows = np.flatnonzero(results.answered[:, column] & np.isnan(results.scores[:, column]))
    return sum(results.reason(int(row), column).startswith((NO_END, CUT_OFF)) for row in rows)


def need_judge(results: Results) -> None:
    """Raise ConfigError where so many answers are undecided that labels of the others would mislead.

    Right answers are recognised by rule more often than wrong ones, so that what is left out is mostly wrong.
    """
    for column, name in enumerate(results.names):
        undecided, answered = count_undecided(results, column), int(results.answered[:, column].sum())
        if undecided > max(MAX_UNDECIDED * answered, FEW_UNDECIDED):
            raise ConfigError(
                f"{undecided} of {answered} answers of {name} cannot be decided by rules, and the pool has no judge: labels of "
                "the others alone would mislead, so nothing was written. Name a judge in the pool (entry 'judge:'; the answers "
                "are in the journal and are not asked for again), or give --match-only where the references are the only "
                "right wording"
            )


def reasons(results: Results, most: int = 20) -> list[str]:
    """Return "model: reason (count)" for why labels are null, the most frequent first."""
    every = [f"{name}: {reason} ({count})" for name, reason, count in results.reasons()]
    rest = f"and {len(every) - most} reasons more, in model_errors of the records"
    return every[:most] + ([rest] if len(every) > most else [])


def capable_scores(results: Results) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Scores [N, M] in which a model that takes no pictures is wrong on prompts with pictures: it cannot be chosen there."""
    scores = results.scores.copy()
    rows, columns = np.nonzero(np.isnan(scores) & ~results.asked)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if results.reason(row, column) == TEXT_ONLY_REASON:
            scores[row, column] = 0.0
    return scores


def _mean(values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _row(results: Results, column: int, gain: float) -> list[str]:
    asked, answered = int(results.asked[:, column].sum()), int(results.answered[:, column].sum())
    known = int((~np.isnan(results.scores[:, column])).sum())
    mean = _mean(results.scores[:, column])
    low, high = wilson_interval(mean, known)
    latencies = results.latencies[:, column][results.answered[:, column]]
    latencies = latencies[~np.isnan(latencies)]
    return [
        results.names[column],
        str(asked),
        str(answered),
        str(asked - answered),
        str(answered - known),
        f"{mean:.1%}{OF_DECIDED if known < answered else ''}" if known else "-",
        f"{low:.1%} to {high:.1%}" if known else "-",
        "-" if np.isnan(gain) else f"{gain:.1%}",
        f"{np.median(latencies):.2f}" if len(latencies) else "-",
        f"{int(results.tokens[:, column].sum()):,}",
        "-" if np.isnan(results.costs[:, column]).all() else show_usd(*_model_cost(results, column)),
    ]
