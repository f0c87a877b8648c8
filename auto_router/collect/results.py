"""What a run found out, as arrays: a few numbers an answer, so that memory does not grow with texts or images.

The end of Stage 1: what each model did, what the pool is worth, and what to look at before training on it.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from tabulate import tabulate

from auto_router.collect.judge import Verdict
from auto_router.collect.money import paid_cost, show_usd
from auto_router.collect.question import Question
from auto_router.collect.reply import Response
from auto_router.data import label_stats
from auto_router.data.capability import TEXT_ONLY_REASON
from auto_router.data.formats import CHECKS
from auto_router.data.records import Record

NOT_ASKED = "not asked"
MAX_REASONS_SHOWN = 20
MIN_ALIKE = 10  # questions before labels that are all alike are told
REFERENCE_CHECK, SECOND_JUDGE, AUDIT_CHECK = CHECKS
JUDGES = ("", "rule", "judge", "scorer", "itself")  # itself: the model that the others are held against


@dataclass(frozen=True, slots=True)
class LabelOutcome:
    """One model on one question.

    ``cost`` (USD) is what asking directly costs. ``discount``: the share of it that was not paid; None = as the answer says.
    ``checks``: what others say of the same answer, by name (``CHECKS``). ``judge_costs``: (judge, USD) of each verdict;
    ``more_costs``: USD of each further answer of this model that labels needed. ``against``: what it was held against.
    """

    answer: Response | None
    verdict: Verdict
    cost: float | None = None
    checks: Mapping[str, Verdict] = field(default_factory=dict)
    judge_costs: tuple[tuple[str, float | None], ...] = ()
    more_costs: tuple[float | None, ...] = ()
    against: str = ""
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
    costs = [sample.cost for sample in samples if sample.cost is not None]
    paid = sum(sample.paid or 0.0 for sample in samples)
    spent: dict[str, Any] = {
        "cost": fmean(costs) if costs else None,
        "discount": 1 - paid / sum(costs) if paid < sum(costs) else None,
        "judge_costs": tuple(cost for sample in samples for cost in sample.judge_costs),
        "more_costs": tuple(cost for sample in samples for cost in sample.more_costs),
    }
    unknown = next((sample for sample in samples if sample.verdict.score is None), None)
    if unknown is not None:
        return replace(unknown, **spent)
    by = "judge" if any(sample.verdict.by == "judge" for sample in samples) else samples[0].verdict.by
    checks = {name: average_verdicts([s.checks[name] for s in samples if name in s.checks], "") for name in samples[0].checks}
    verdict = average_verdicts([sample.verdict for sample in samples], by)
    return replace(samples[0], verdict=verdict, checks=checks, **spent)


def average_verdicts(verdicts: Sequence[Verdict], by: str) -> Verdict:
    """Return the mean of the scores; unknown where one is."""
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    return Verdict(fmean(scores) if len(scores) == len(verdicts) else None, f"mean of {len(verdicts)} samples", by)


class Results:
    """Outcomes of ``size`` questions and the models of ``names``; what was not put yet is "not asked yet".

    ``scores``, each of ``checks``, ``costs``, ``paid`` (USD) and ``latencies`` (s) are [N, M] with NaN for unknown; ``tokens``
    is [N, M]; ``asked`` and ``answered`` are boolean [N, M]; ``by`` [N, M] indexes ``JUDGES``. ``verdicts`` and ``judge_usd``
    count what each of ``judges`` was asked and what that cost, ``judge_unpriced`` its verdicts of unknown cost; ``more_costs``
    of each model the further answers that labels needed. ``samples``: answers a label is the mean of; ``costs`` are of one, and
    without the discount that ``paid`` has.
    """

    def __init__(
        self, size: int, names: Sequence[str], judges: Sequence[str] = (), samples: int = 1, label_source: str = "reference"
    ) -> None:
        self.shape = shape = size, len(names)
        self.samples, self.label_source = samples, label_source
        self.names, self.judges = list(names), list(judges)
        self.scores = np.full(shape, np.nan, dtype=np.float32)
        self.checks: dict[str, npt.NDArray[np.float32]] = {}
        self.decoys: label_stats.DecoyCheck | None = None
        self.forget_costs()
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
        for name, check in outcome.checks.items():
            self.check(name)[at] = np.nan if check.score is None else check.score
        self.more_costs[column] += outcome.more_costs
        for name, usd in outcome.judge_costs:
            self.count_verdict(name, usd)
        if answer is not None:
            self.asked[at] = True
            self.answered[at] = answer.text is not None
            self.tokens[at] = max(answer.prompt_tokens or 0, 0) + max(answer.completion_tokens or 0, 0)
            self.latencies[at] = np.nan if answer.latency_s is None else answer.latency_s
            self.costs[at] = np.nan if outcome.cost is None else outcome.cost
            self.paid[at] = np.nan if outcome.paid is None else outcome.paid

    @property
    def judge_costs(self) -> list[tuple[float, int]]:
        """Of each judge the USD of its verdicts, and how many more are of unknown cost."""
        return list(zip(self.judge_usd, self.judge_unpriced, strict=True))

    def count_verdict(self, judge: str, usd: float | None) -> None:
        """Count one verdict of a judge; ``usd`` None: nobody knows what it cost."""
        number = self.judges.index(judge)
        self.verdicts[number] += 1
        self.judge_usd[number] += usd or 0.0
        self.judge_unpriced[number] += usd is None

    def forget_costs(self) -> None:
        """Count verdicts and further answers anew: all outcomes are about to be put again."""
        count = len(self.judges)
        self.verdicts, self.judge_usd, self.judge_unpriced = [0] * count, [0.0] * count, [0] * count
        self.more_costs: list[list[float | None]] = [[] for _ in self.names]

    def check(self, name: str) -> npt.NDArray[np.float32]:
        """Return what a check says of all answers ``[N, M]``, to read and to write."""
        return self.checks.setdefault(name, np.full(self.shape, np.nan, dtype=np.float32))

    def reason(self, row: int, column: int) -> str:
        """Return why the label is what it is, or why there is none."""
        return self._reasons[int(self._reason[row, column])]

    def reasons(self) -> list[str]:
        """Return "model: reason (count)" for why labels are null, the most frequent first."""
        rows, columns = np.nonzero(np.isnan(self.scores))
        counted = Counter(zip(columns.tolist(), self._reason[rows, columns].tolist(), strict=True)).most_common()
        every = [f"{self.names[column]}: {self._reasons[number]} ({count})" for (column, number), count in counted]
        rest = f"and {len(every) - MAX_REASONS_SHOWN} reasons more, in model_errors of the records"
        return every[:MAX_REASONS_SHOWN] + ([rest] if len(every) > MAX_REASONS_SHOWN else [])

    def has_answers(self, row: int) -> bool:
        """Whether anyone was asked this question; what nobody was asked is no record yet."""
        return bool(self.asked[row].any()) or all(self.reason(row, c) == TEXT_ONLY_REASON for c in range(len(self.names)))

    def record(self, row: int, question: Question) -> Record:
        """Return the evaluation record of one question; what has no verdict is None, with its reason."""
        scores = {name: _or_none(self.scores[row, column]) for column, name in enumerate(self.names)}
        costs = {name: _or_none(self.costs[row, column]) for column, name in enumerate(self.names)}
        known = {check: {name: _or_none(values[row, c]) for c, name in enumerate(self.names) if not np.isnan(values[row, c])}
                 for check, values in self.checks.items()}  # fmt: skip
        checks = {check: said for check, said in known.items() if said}
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
            model_latencies=self._seconds(row),
            model_errors={name: self.reason(row, c) for c, name in enumerate(self.names) if scores[name] is None},
            context=question.context,
            label_source=self.label_source,
            label_checks=checks,
        )

    def _seconds(self, row: int) -> dict[str, float]:
        """Return how long the answers of one question took; those of a batch, a log or an error took no known time."""
        known = self.answered[row] & ~np.isnan(self.latencies[row])
        return {self.names[column]: round(float(self.latencies[row, column]), 4) for column in np.flatnonzero(known).tolist()}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 12) if value > 1e-9 else float(value)


SUMMARY_HEADERS = [
    "model", "asked", "answered", "failed", "unscored", "success rate", "95 %", "marginal", "median s", "tokens", "USD",
]  # fmt: skip
OF_DECIDED = " of those decided"


def summary_table(results: Results) -> str:
    """One line a model. *Failed* has no answer, *unscored* an answer without a verdict; both are null labels.

    *Marginal* is what the oracle would lose without the model: how much of the pool's quality nobody else has.
    """
    scores = capable_scores(results)
    rows = [_row(results, column, label_stats.marginal_gain(scores, column)) for column in range(len(results.names))]
    between = [""] * (len(SUMMARY_HEADERS) - 3)
    for name, count, usd in zip(results.judges, results.verdicts, results.judge_costs, strict=True):
        rows.append([f"{name} (judge)", str(count), *between, show_usd(*usd)])
    rows.append(
        [
            "total",
            str(int(results.asked.sum()) * results.samples + sum(map(len, results.more_costs)) + sum(results.verdicts)),
            *between,
            show_usd(*total_usd(results)),
        ]
    )
    return tabulate(rows, headers=SUMMARY_HEADERS, disable_numparse=True)


def summary(results: Results) -> dict[str, Any]:
    """Return the labels of every model as plain values, for machines; unknown is None."""
    found = {}
    for column, name in enumerate(results.names):
        mean, costs = label_stats.mean_of(results.scores[:, column]), results.paid[:, column]
        found[name] = {
            "asked": int(results.asked[:, column].sum()),
            "answered": int(results.answered[:, column].sum()),
            "labels": int((~np.isnan(results.scores[:, column])).sum()),
            "undecided": count_undecided(results, column),
            "success rate": None if np.isnan(mean) else mean,
            "usd": None if np.isnan(costs).all() else _model_cost(results, column)[0],
        }
    judges = {
        name: {"verdicts": count, "usd": usd if usd or not unpriced else None}
        for name, count, (usd, unpriced) in zip(results.judges, results.verdicts, results.judge_costs, strict=True)
    }
    usd, unpriced = total_usd(results)
    known = {"usd": usd if usd or not unpriced else None, "unpriced": unpriced}
    labels: dict[str, Any] = {
        "label source": results.label_source,
        "label trust": [line.to_plain() for line in label_trust(results)],
    }
    labels |= {} if results.decoys is None else {"decoys": results.decoys.to_plain()}
    return {"questions": len(results.scores), "models": found, "judges": judges, **labels, **known}


def label_trust(results: Results) -> list[label_stats.LabelTrust]:
    """Return what the labels say beside each check there is."""
    return label_stats.measure_trust(results.scores, results.checks, results.names)


def total_usd(results: Results) -> tuple[float, int]:
    """Return what all recorded answers and verdicts cost in USD, and how many more there are of unknown cost."""
    every = [*(_model_cost(results, column) for column in range(len(results.names))), *results.judge_costs]
    return sum(usd for usd, _ in every), sum(unpriced for _, unpriced in every)


def _model_cost(results: Results, column: int) -> tuple[float, int]:
    costs = results.paid[:, column]
    came = results.answered[:, column] | ~np.isnan(results.latencies[:, column])  # a refusal costs nothing
    more = results.more_costs[column]
    usd = float(np.nansum(costs)) * results.samples + sum(cost or 0.0 for cost in more)
    return usd, int((came & np.isnan(costs)).sum()) + more.count(None)


def pool_lines(results: Results) -> list[str]:
    """Return the lines about the pool as a whole: oracle, best single model, who decided, how far two judges agree."""
    scores = capable_scores(results)
    means = [label_stats.mean_of(scores[:, column]) for column in range(len(results.names))]
    lines = []
    if not np.isnan(means).all():
        best = int(np.nanargmax(means))
        part = OF_DECIDED if (results.answered & np.isnan(results.scores)).any() else ""
        lines.append(
            f"oracle (best model for every prompt) {label_stats.oracle(scores):.1%}; "
            f"best single {results.names[best]} {means[best]:.1%}{part}"
        )
    known = scores[~np.isnan(scores)]
    if len(scores) >= MIN_ALIKE and len(known) and (known == known[0]).all():
        lines.append(
            f"warning: every known label is {known[0]:g}, so a router has nothing to learn; read some prompts, answers and "
            "references first (--audit 10)"
        )
    decided = {name: int((~np.isnan(results.scores) & (results.by == number)).sum()) for number, name in enumerate(JUDGES)}
    by_scorer = f", {decided['scorer']} by the scorer" if decided["scorer"] else ""
    by_scorer += f", {decided['itself']} of the models that others are held against" if decided["itself"] else ""
    lines.append(f"{decided['rule']} labels decided by rules, {decided['judge']} by the judge{by_scorer}")
    for line in label_trust(results):
        if line.check == SECOND_JUDGE and line.model == (
            label_stats.ALL_MODELS if len(results.names) > 1 else results.names[0]
        ):
            kappa = "not defined" if line.kappa is None else f"{line.kappa:.2f}"
            lines.append(f"the two judges agree on {line.agreement:.1%} of {line.cases} cases (Cohen's kappa {kappa})")
    return lines


def count_undecided(results: Results, column: int) -> int:
    """Return how many answers of a model no rule could decide, and no judge was there to."""
    rows = np.flatnonzero(results.answered[:, column] & np.isnan(results.scores[:, column]))
    return sum(results.reason(int(row), column).startswith(label_stats.UNDECIDED) for row in rows)


def capable_scores(results: Results) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Scores [N, M] in which a model that takes no images is wrong on prompts with images: it cannot be chosen there."""
    scores = results.scores.copy()
    rows, columns = np.nonzero(np.isnan(scores) & ~results.asked)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if results.reason(row, column) == TEXT_ONLY_REASON:
            scores[row, column] = 0.0
    return scores


def _row(results: Results, column: int, gain: float) -> list[str]:
    asked, answered = int(results.asked[:, column].sum()), int(results.answered[:, column].sum())
    known = int((~np.isnan(results.scores[:, column])).sum())
    mean = label_stats.mean_of(results.scores[:, column])
    low, high = label_stats.wilson_interval(mean, known)
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
