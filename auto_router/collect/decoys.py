"""Decoys: answers that belong to other questions. A judge that takes them for right cannot tell right from wrong.

Labels without references are as good as their judge, and nobody knows a right answer to hold them against. But an answer to
another question is wrong, whatever the question. So after a run the judge is shown a few, in the words in which it labels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from auto_router.collect.compared_labels import is_same_result
from auto_router.collect.label_sources import Answers, LabelSource, ask_judge, whole_answer
from auto_router.collect.question import Question
from auto_router.collect.results import Results
from auto_router.data.label_trust import JUDGED, DecoyCheck

MAX_DECOYS, MIN_DECOYS = 20, 10
ROWS_PER_DECOY = 5  # fewer rows have fewer, so that the check stays cheap beside what it checks
SHORTEST_WORD = 6  # letters; "B", "yes" and "false" may be right of another question, too


def count_decoys(rows: int, label_source: str) -> int:
    """Return how many decoys the judge is shown beside ``rows`` questions.

    None where labels do not rest on a judge alone, or where so few would tell nothing.
    """
    count = min(MAX_DECOYS, rows // ROWS_PER_DECOY)
    return count if count >= MIN_DECOYS and label_source in JUDGED else 0


async def ask_decoys(
    answers: Answers, labels: LabelSource, questions: Callable[[], Iterator[Question]], results: Results
) -> None:
    """Show the judge answers to other questions, and put into ``results`` how it fared and what that cost.

    Args:
        answers: the run; what it was answered is in its journal by now.
        labels: how answers become labels.
        questions: reads the data set.

    Raises:
        DataError: the journal cannot be written, or the data set cannot be read any more.
    """
    count = count_decoys(len(results.scores), results.label_source)
    if not count:
        return
    wanted = np.linspace(0, len(results.scores) - 1, 2 * count).astype(int).tolist()
    chosen = await asyncio.to_thread(_pick_rows, questions, wanted)
    given = [await _find_answers(answers, results, row, question) for row, question in chosen]
    tasks = []
    for place, ((_, question), own) in enumerate(zip(chosen, given, strict=True)):
        name = results.names[place % len(results.names)]
        other = given[(place + 1) % len(chosen)].get(name)
        if name in own and other is not None and _is_decoy(question, other, list(own.values())):
            tasks.append((question, labels.probe(replace(question, references=(own[name],)), other, own[name])))
    judge = answers.judges[0]
    found = await asyncio.gather(*(ask_judge(answers, judge, question, [task]) for question, task in tasks[:count]))
    for verdict, usd in found:
        if verdict.score is not None:
            results.count_verdict(judge.model.name, usd)
    scores = [verdict.score for verdict, _ in found if verdict.score is not None]
    results.decoys = DecoyCheck(judge.model.name, len(scores), sum(score >= 0.5 for score in scores)) if scores else None


def _pick_rows(questions: Callable[[], Iterator[Question]], wanted: Sequence[int]) -> list[tuple[int, Question]]:
    rows = set(wanted)
    return [(row, question) for row, question in enumerate(questions()) if row in rows]


async def _find_answers(answers: Answers, results: Results, row: int, question: Question) -> dict[str, str]:
    """Return what is recorded of each model's answer, by name."""
    found = {}
    for name, answered in zip(results.names, results.answered[row].tolist(), strict=True):
        stated = whole_answer(await answers.answer(name, question)) if answered else None
        if isinstance(stated, str):
            found[name] = stated
    return found


def _is_decoy(question: Question, other: str, own: Sequence[str]) -> bool:
    """Whether an answer to another question cannot well be right of this one: no short word, and nobody's answer to it."""
    word = other.strip().strip(".()*")
    return not (word.isalpha() and len(word) < SHORTEST_WORD) and not any(is_same_result(question, other, text) for text in own)
