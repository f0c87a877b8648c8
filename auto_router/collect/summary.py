"""The table at the end of Stage 1: per model, what was asked, answered, right, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from tabulate import tabulate

from auto_router.collect.collector import TEXT_ONLY, Outcome

HEADERS = ["model", "asked", "answered", "failed", "unscored", "success rate", "median s", "tokens", "cost USD"]


def summary_table(outcomes: Sequence[Mapping[str, Outcome]], models: Sequence[str]) -> str:
    """One line a model. *Failed* has no answer, *unscored* an answer without a verdict; both are null labels."""
    return tabulate([_row(name, [row[name] for row in outcomes]) for name in models], headers=HEADERS, disable_numparse=True)


def reasons(outcomes: Sequence[Mapping[str, Outcome]], models: Sequence[str]) -> list[str]:
    """Return "model: reason (count)" for every reason why a label is null, the most frequent first."""
    counted = Counter(
        (name, row[name].verdict.reason) for row in outcomes for name in models if row[name].verdict.score is None
    )
    return [f"{name}: {reason} ({count})" for (name, reason), count in counted.most_common()]


def _row(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    asked = [outcome for outcome in outcomes if outcome.verdict.reason != TEXT_ONLY]
    answers = [o.answer for o in asked if o.answer is not None and o.answer.text is not None]
    scores = [outcome.verdict.score for outcome in asked if outcome.verdict.score is not None]
    latencies = [answer.latency_s for answer in answers if answer.latency_s is not None]
    costs = [outcome.cost for outcome in asked if outcome.cost is not None]
    return [
        name,
        str(len(asked)),
        str(len(answers)),
        str(len(asked) - len(answers)),
        str(len(answers) - len(scores)),
        f"{sum(scores) / len(scores):.1%}" if scores else "-",
        f"{median(latencies):.2f}" if latencies else "-",
        f"{sum((a.prompt_tokens or 0) + (a.completion_tokens or 0) for a in answers):,}",
        f"{sum(costs):.4f}" if costs else "-",
    ]
