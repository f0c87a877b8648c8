"""What a run found out, as arrays: a few numbers an answer, so that memory does not grow with texts or pictures."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auto_router.collect.endpoint import Answer
from auto_router.collect.judge import Verdict
from auto_router.collect.rows import Question
from auto_router.records import Record

TEXT_ONLY = "not asked: the model takes no pictures"
NOT_ASKED = "not asked"
JUDGES = ("", "rule", "judge")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One model on one question; ``second`` is the second judge's verdict, where there was one."""

    answer: Answer | None
    verdict: Verdict
    cost: float | None = None
    second: Verdict | None = None


class Results:
    """Outcomes of ``size`` questions and the models of ``names``; what was not put yet is "not asked yet".

    ``scores``, ``second``, ``costs`` (USD) and ``latencies`` (s) are [N, M] with NaN for unknown; ``tokens`` is [N, M];
    ``asked`` and ``answered`` are boolean [N, M]; ``by`` [N, M] indexes ``JUDGES``.
    """

    def __init__(self, size: int, names: Sequence[str]) -> None:
        shape = size, len(names)
        self.names = list(names)
        self.scores = np.full(shape, np.nan, dtype=np.float32)
        self.second = np.full(shape, np.nan, dtype=np.float32)
        self.costs = np.full(shape, np.nan)
        self.latencies = np.full(shape, np.nan, dtype=np.float32)
        self.tokens = np.zeros(shape, dtype=np.int64)
        self.asked = np.zeros(shape, dtype=bool)
        self.answered = np.zeros(shape, dtype=bool)
        self.by = np.zeros(shape, dtype=np.int8)
        self._reasons = [f"{NOT_ASKED} yet"]
        self._numbers = {self._reasons[0]: 0}
        self._reason = np.zeros(shape, dtype=np.int32)

    def put(self, row: int, column: int, outcome: Outcome) -> None:
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
        if answer is not None:
            self.asked[at] = True
            self.answered[at] = answer.text is not None
            self.tokens[at] = max(answer.prompt_tokens or 0, 0) + max(answer.completion_tokens or 0, 0)
            self.latencies[at] = np.nan if answer.latency_s is None else answer.latency_s
            self.costs[at] = np.nan if outcome.cost is None else outcome.cost

    def reason(self, row: int, column: int) -> str:
        """Return why the label is what it is, or why there is none."""
        return self._reasons[int(self._reason[row, column])]

    def reasons(self) -> list[tuple[str, str, int]]:
        """Return (model, reason, count) for every reason why labels are null, the most frequent first."""
        rows, columns = np.nonzero(np.isnan(self.scores))
        counted = Counter(zip(columns.tolist(), self._reason[rows, columns].tolist(), strict=True))
        return [(self.names[column], self._reasons[number], count) for (column, number), count in counted.most_common()]

    def touched(self, row: int) -> bool:
        """Whether anyone was asked this question; what nobody was asked is no record yet."""
        return bool(self.asked[row].any()) or all(self.reason(row, c) == TEXT_ONLY for c in range(len(self.names)))

    def record(self, row: int, question: Question) -> Record:
        """Return the evaluation record of one question; what has no verdict is None, with its reason."""
        scores = {name: _known(self.scores[row, column]) for column, name in enumerate(self.names)}
        costs = {name: _known(self.costs[row, column]) for column, name in enumerate(self.names)}
        return Record(
            idx=question.idx,
            prompt=question.prompt,
            answer=question.answer,
            images=tuple(base64.b64encode(image).decode("ascii") for image in question.images),
            model_scores=scores,
            group=question.group,
            source=question.source,
            model_costs={name: cost for name, cost in costs.items() if cost is not None},
            model_errors={name: self.reason(row, c) for c, name in enumerate(self.names) if scores[name] is None},
        )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 12) if value > 1e-9 else float(value)
