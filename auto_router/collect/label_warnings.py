"""What to look at before training on the labels of a run, and when there are too few verdicts to write any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auto_router.arrays import Floats
from auto_router.collect.judge import CUT_OFF, DISAGREES, NO_END
from auto_router.collect.results import JUDGES, Results, capable_scores, count_undecided, label_trust
from auto_router.data.label_stats import FEW_UNDECIDED, MAX_UNDECIDED, marginal_gain
from auto_router.data.label_trust import doubt_labels
from auto_router.errors import ConfigError

ENOUGH = 20  # labels below which a warning about a model would be about chance


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
