"""Scores of the same question put together over models and files, and what came of it, in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from tabulate import tabulate

from auto_router.collect.result_formats import Score
from auto_router.data.json_files import json_list
from auto_router.data.label_stats import wilson_interval
from auto_router.data.records import Record, group_ids
from auto_router.data.splits import content_key, normalize_prompt, split_by_group

LABEL_SOURCE = "import"


@dataclass(slots=True)
class _Cell:
    """All that was said of one model on one question; repeated runs are averaged."""

    scores: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    reason: str = ""


@dataclass(slots=True)
class _Question:
    prompt: str
    reference: str
    images: tuple[str, ...]
    source: str | None
    group: str | None
    context: str = ""
    cells: dict[str, _Cell] = field(default_factory=dict)


class Merger:
    """Puts scores of the same question together, over models and files.

    The same question is the format's own key where there is one, else the same prompt and images with references that do not
    contradict each other. Repeated runs of a model on a question are averaged.
    """

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self._questions: list[_Question] = []
        self._places: dict[str, list[int]] = {}

    def add(self, score: Score) -> None:
        """Take one score in; what has no prompt or no model counts as left out."""
        if not score.prompt.strip() or not score.model.strip():
            self.left_out["no prompt" if not score.prompt.strip() else "no model"] += 1
            return
        cell = self._question(score).cells.setdefault(score.model, _Cell())
        if score.score is None:
            self.left_out[f"{score.model}: {score.reason}"] += 1
            cell.reason = score.reason
        else:
            cell.scores.append(score.score)
        if score.cost is not None:
            cell.costs.append(score.cost)

    def _question(self, score: Score) -> _Question:
        key = score.key or content_key(score.context or score.prompt, score.images)
        places = self._places.setdefault(key, [])
        for place in places:
            question = self._questions[place]
            same = normalize_prompt(question.reference) == normalize_prompt(score.reference)
            if score.key or same or not question.reference or not score.reference:
                question.reference = question.reference or score.reference
                return question
        places.append(len(self._questions))
        self._questions.append(_Question(score.prompt, score.reference, score.images, score.source, score.group, score.context))
        return self._questions[-1]

    def records(self) -> list[Record]:
        """Return a record a question, in the order of first appearance."""
        return [self._record(number, question) for number, question in enumerate(self._questions)]

    def _record(self, number: int, question: _Question) -> Record:
        cells = question.cells
        return Record(
            idx=number,
            prompt=question.prompt,
            answer=question.reference,
            images=question.images,
            model_scores={model: fmean(cell.scores) if cell.scores else None for model, cell in cells.items()},
            group=question.group or content_key(question.context or question.prompt, question.images),
            source=question.source,
            model_costs={model: fmean(cell.costs) for model, cell in cells.items() if cell.costs},
            model_errors={model: cell.reason for model, cell in cells.items() if not cell.scores},
            context=question.context,
        )

    def conflicts(self) -> list[str]:
        """Return a line for each kind of contradiction between what was read."""
        cells = [cell for question in self._questions for cell in question.cells.values()]
        repeats = sum(len(cell.scores) > 1 for cell in cells)
        torn = sum(len(set(cell.scores)) > 1 for cell in cells)
        several = sum(len(places) > 1 for places in self._places.values())
        lines = []
        if repeats:
            lines.append(f"{repeats} answers were scored more than once, {torn} of them differently; their mean is taken")
        if several:
            lines.append(
                f"{several} prompts have references that contradict each other; each is a record of its own, in one group"
            )
        return lines


def save_results(records: Sequence[Record], output: Path, test_output: Path | None, test_fraction: float, seed: int) -> str:
    """Write the records, or a train and a test part of them that share no group, and return a line that says so."""
    parts: dict[Path, Sequence[int]] = {output: range(len(records))}
    if test_output is not None:
        strata = np.unique([record.source or "" for record in records], return_inverse=True)[1]
        train, test = split_by_group(group_ids(records), test_fraction, seed, strata)
        parts = {output: train.tolist(), test_output: test.tolist()}
    for path, rows in parts.items():
        with json_list(path) as append:
            for row in rows:
                append(records[row].to_json() | {"label_source": LABEL_SOURCE})
    return "wrote " + ", ".join(f"{path} ({len(rows)} records)" for path, rows in parts.items())


def summarize_results(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Return for each model its labels, their mean, and the sum of its known costs in USD, None where unknown."""
    models = dict.fromkeys(model for record in records for model in record.model_scores)
    found: dict[str, dict[str, Any]] = {}
    for model in models:
        scores = [score for record in records if (score := record.model_scores.get(model)) is not None]
        costs = [cost for record in records if (cost := record.model_costs.get(model)) is not None]
        found[model] = {
            "labels": len(scores),
            "unknown": len(records) - len(scores),
            "share right": float(np.mean(scores)) if scores else None,
            "costs known": len(costs),
            "usd": float(np.sum(costs)) if costs else None,
        }
    return found


def results_table(summary: dict[str, dict[str, Any]]) -> str:
    rows = []
    for model, told in summary.items():
        share = told["share right"]
        interval = "-" if share is None else "{:.1%} to {:.1%}".format(*wilson_interval(share, told["labels"]))
        usd = "-" if told["usd"] is None else f"{told['usd']:.4f}"
        shown = "-" if share is None else f"{share:.1%}"
        rows.append([model, told["labels"], told["unknown"], shown, interval, told["costs known"], usd])
    headers = ["model", "labels", "unknown", "share right", "95 %", "costs known", "USD"]
    return tabulate(rows, headers=headers, disable_numparse=True)
