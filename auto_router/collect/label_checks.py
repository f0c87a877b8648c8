"""What says whether the labels of a run can be trusted: decoys, and what to look at before training on them.

Labels without references are as good as their judge, and nobody knows a right answer to hold them against. But an answer to
another question, a *decoy*, is wrong, whatever the question. So after a run the judge is shown a few, in the words in which it
labels: one that takes them for right cannot tell right from wrong.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from auto_router.arrays import Floats
from auto_router.collect.compared_labels import is_same_result
from auto_router.collect.judge import CUT_OFF, DISAGREES, NO_END
from auto_router.collect.label_sources import Answers, LabelSource, ask_judge, join_orders, whole_answer
from auto_router.collect.matching.final_answer import last_sentences
from auto_router.collect.matching.verdict import match
from auto_router.collect.question import Question
from auto_router.collect.results import JUDGES, Results, capable_scores, count_undecided, label_trust
from auto_router.data.label_stats import FEW_UNDECIDED, JUDGED, MAX_UNDECIDED, DecoyCheck, doubt_labels, marginal_gain
from auto_router.errors import ConfigError

MAX_DECOYS, MIN_DECOYS = 20, 10
ROWS_PER_DECOY = 5  # fewer rows have fewer, so that the check stays cheap beside what it checks
MAX_TRIES = 5  # rows that are looked at for an answer that can be a decoy
# "B", "yes", "false" and "7" may be right of another question, too.
_TELLING = re.compile(r"[^\W\d_]{6,}|\d{2,}")
ENOUGH = 20  # labels below which a warning about a model would be about chance


@dataclass(frozen=True)
class _Row:
    """A question and each model's answer to it, by name."""

    question: Question
    answers: Mapping[str, str]

    @cached_property
    def words(self) -> frozenset[str]:
        return _list_words(" ".join([self.question.full_text, *self.answers.values()]))


def _list_words(text: str) -> frozenset[str]:
    """Return the long words and the numbers of a text."""
    return frozenset(_TELLING.findall(text.lower()))


def count_decoys(rows: int, label_source: str) -> int:
    """Return how many decoys the judge is shown beside ``rows`` questions.

    0 where labels do not rest on a judge alone, or where so few would tell nothing.
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
    wanted = set(np.linspace(0, len(results.scores) - 1, 2 * count).astype(int).tolist())
    chosen = await asyncio.to_thread(lambda: [(row, one) for row, one in enumerate(questions()) if row in wanted])
    rows = [_Row(question, await _find_answers(answers, results, row, question)) for row, question in chosen]
    shown = []
    for place, row in enumerate(rows):
        name = results.names[place % len(results.names)]
        right = row.answers.get(labels.own[0] if labels.own else name)
        decoy = None if right is None else _find_decoy(rows, place, name)
        if right is not None and decoy is not None:
            orders = [(decoy, right), (right, decoy)][: labels.work.per_answer]
            shown.append((row.question, [labels.probe(replace(row.question, references=(right,)), *order) for order in orders]))
    judge = answers.judges[0]
    asked = [[ask_judge(answers, judge, question, [task]) for task in tasks] for question, tasks in shown[:count]]
    found = await asyncio.gather(*(asyncio.gather(*of_one) for of_one in asked))
    for usd in (usd for of_one in found for _, paid in of_one for usd in paid):
        results.count_verdict(judge.model.name, usd)
    verdicts = [join_orders([verdict for verdict, _ in of_one]) for of_one in found]
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    results.decoys = DecoyCheck(judge.model.name, len(scores), sum(score >= 0.5 for score in scores)) if scores else None


async def _find_answers(answers: Answers, results: Results, row: int, question: Question) -> dict[str, str]:
    """Return what is recorded of each model's answer, by name."""
    found = {}
    for name, answered in zip(results.names, results.answered[row].tolist(), strict=True):
        stated = whole_answer(await answers.answer(name, question)) if answered else None
        if isinstance(stated, str):
            found[name] = stated
    return found


def _find_decoy(rows: Sequence[_Row], place: int, name: str) -> str | None:
    """Return a model's answer to one of the next rows that cannot well be right of the row at ``place``; None where none is."""
    row, count = rows[place], len(rows)
    for at in ((place + step) % count for step in range(1, min(count, 1 + MAX_TRIES))):
        answer, others = rows[at].answers.get(name), [one for i, one in enumerate(rows) if i not in (place, at)]
        if answer is not None and rows[at].question.group != row.question.group and _is_decoy(row, answer, others):
            return answer
    return None


def _is_decoy(row: _Row, answer: str, others: Sequence[_Row]) -> bool:
    """Whether an answer to another question ends in something of its own, most of which nobody says of this one.

    Nothing is left of what may answer many questions ("The review is positive", "So the coin is heads up"); an answer to nearly
    the same question says what the answers to this one say. Yes, no or the letter of an option is right of many others, too.
    """
    end = next(iter(last_sentences(answer)), answer)
    own = _list_words(end).difference(*(other.words for other in others))
    if not own or 2 * len(own & row.words) > len(own):
        return False
    if any(match(answer, common, question=row.question.full_text) is not None for common in ("yes", "A")):
        return False
    return not any(is_same_result(row.question, answer, text) for text in row.answers.values())


def warnings(results: Results) -> list[str]:
    """Return what makes these labels a poor ground to learn routing from."""
    scores, found = capable_scores(results), []
    spare, itself = [], (results.by == JUDGES.index("itself")).any(axis=0)  # held against itself, it is always right
    for column, name in enumerate(results.names):
        known = results.scores[:, column][~np.isnan(results.scores[:, column])]
        unscored = int(results.answered[:, column].sum()) - len(known)
        if len(known) >= ENOUGH and np.ptp(known) == 0 and not itself[column]:
            found.append(
                f"{name} has the same label {known[0]:g} on all of its {len(known)} prompts: nothing can be learned about it"
            )
        elif len(results.names) > 1 and not itself.any() and len(known) >= ENOUGH and marginal_gain(scores, column) <= 0:
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
    doubts = [] if results.decoys is None else [results.decoys.doubt()]
    doubts.append(doubt_labels([results.label_source], [line.to_plain() for line in label_trust(results)]))
    return [*found, *([_advise_on_spare(results.names, scores, spare)] if spare else []), *filter(None, doubts)]


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


def count_unfinished(results: Results, column: int) -> int:
    """Return how many answers of a model no other judge could label: they broke off, or there is none to hold them against."""
    rows = np.flatnonzero(results.answered[:, column] & np.isnan(results.scores[:, column]))
    return sum(results.reason(int(row), column).startswith((NO_END, CUT_OFF, DISAGREES)) for row in rows)


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
