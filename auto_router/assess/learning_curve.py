"""Would more labels help? What the router gains over the best single model, against the labels it learned from.

    python -m auto_router.assess.learning_curve     # of hf_train_embeddings.npy and hf_evaluations_train.json here
    python -m auto_router.assess.learning_curve --train-embeddings first.npy --train-json first.json --pool pool.yaml

For a first part of the data, before the rest is paid for: it needs what Stages 1 and 2 left, and no artifact. The rows are cut
into folds by group. For each fold the default router is fitted to an eighth, a quarter, a half and all of the other rows, and
each fit decides the rows of the fold, which it never saw. All sizes decide the same rows, so the step from one size to the next
is a paired difference. Best single is chosen on the rows that were learned from.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import norm
from tabulate import tabulate

from auto_router.arrays import Floats, Ints
from auto_router.assess.health import NORMAL_95
from auto_router.assess.metrics import take_chosen
from auto_router.data.dataset import Dataset, copy_rows, load_dataset
from auto_router.data.label_stats import best_single_model, model_means
from auto_router.data.pool import load_pool
from auto_router.data.splits import group_folds
from auto_router.decide.eligibility import eligible_rows, outcomes_of
from auto_router.decide.operating_points import clustered_mean
from auto_router.decide.rule import choose
from auto_router.errors import DataError, run
from auto_router.learn.stack import FeatureLayout
from auto_router.learn.stack_fit import fit_stack
from auto_router.terminal import Parser, bar

FRACTIONS = (0.125, 0.25, 0.5, 1.0)
CURVE_FOLDS = 3
MIN_ROWS = 60  # to learn from: of fewer, a fit says more about the draw than about the number
CURVE_HEADERS = ["rows learned from", "labels", "gain, points", "95 %", "step from the size before, points", "95 % of it"]


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """For ``S`` sizes, from small to large, what each fit gains on ``N`` rows that it did not see."""

    rows: Ints
    """``[S]``: rows learned from, the mean over folds."""
    labels: Ints
    """``[S]``: known labels among them."""
    gains: Floats
    """``[S, N]``: outcome of the chosen model minus that of the best single one; NaN where one is unknown."""
    groups: Ints
    """``[N]``"""
    sources: Sequence[str]
    """``[N]``; empty for none."""

    def gain(self, size: int) -> tuple[float, float]:
        """Return the mean gain of a size and the half width of its 95 % interval, over groups."""
        return mean_and_reach(self.gains[size], self.groups)

    def step(self, size: int) -> tuple[float, float]:
        """Return what a size gains over the one before it, on the same rows, and the half width of its 95 % interval."""
        return mean_and_reach(self.gains[size] - self.gains[size - 1], self.groups)


def mean_and_reach(values: Floats, groups: Ints) -> tuple[float, float]:
    """Return the mean of the known ``values`` ``[N]`` and the half width of its 95 % interval, over groups ``[N]``."""
    mean, error = clustered_mean(values, groups)
    # Where no row changed, the next one still may: one more is counted.
    return mean, NORMAL_95 * float(np.hypot(error, 1 / max(int((~np.isnan(values)).sum()), 1)))


def learning_curve(data: Dataset, seed: int = 0) -> LearningCurve:
    """Fit the default router to growing parts of ``data``.

    Raises:
        DataError: there are too few rows for two sizes.
    """
    layout = FeatureLayout(data.encoder["text_dim"], data.encoder["image_dim"], data.prompt_dim)
    eligible = eligible_rows(data)
    outcomes = outcomes_of(data.labels, eligible)
    fold = group_folds(data.groups, CURVE_FOLDS, seed)
    fractions = [part for part in FRACTIONS if part * (fold != 0).sum() >= MIN_ROWS]
    if len(fractions) < 2:
        raise DataError(f"{len(data)} rows are too few for a learning curve; at least {4 * MIN_ROWS} are needed; leave it out")
    gains = np.full((len(fractions), len(data)), np.nan)
    rows, labels = np.zeros((2, len(fractions)), dtype=np.int64)
    with bar(CURVE_FOLDS * len(fractions), "learning curve", "fit", leave=False) as shown:
        for number in range(CURVE_FOLDS):
            held, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
            for size, part in enumerate(fractions):
                used = _draw_groups(others, data.groups, part, seed)
                counts = model_means(data.labels[used]).counts
                if counts.min() > 0:  # else there is nothing to learn of one model, and the rows stay unknown
                    fitted = fit_stack(copy_rows(data.features, used), data.labels[used], data.groups[used], layout, seed)
                    p = fitted.network.predict(copy_rows(data.features, held))
                    chosen, best = choose(p, eligible=eligible[held]).chosen, best_single_model(outcomes[used])
                    gains[size, held] = take_chosen(outcomes[held], chosen) - outcomes[held, best]
                rows[size] += len(used)
                labels[size] += counts.sum()
                shown.update()
    sources = [record.source or "" for record in data.records]
    return LearningCurve(rows // CURVE_FOLDS, labels // CURVE_FOLDS, gains, data.groups, sources if any(sources) else ())


def _draw_groups(rows: Ints, groups: Ints, part: float, seed: int) -> Ints:
    """Return those of ``rows`` that belong to a part of their groups; a smaller part lies within a larger one."""
    names = np.random.default_rng(seed).permutation(np.unique(groups[rows]))
    return rows[np.isin(groups[rows], names[: max(2, round(part * len(names)))])]


def curve_lines(curve: LearningCurve) -> list[str]:
    """Return the table, and whether more labels would help, and where."""
    table = tabulate(curve_rows(curve), headers=CURVE_HEADERS, disable_numparse=True)
    return [table, *curve_advice(curve)]


def curve_rows(curve: LearningCurve) -> list[list[str]]:
    """Return the table's rows, a size each, under ``CURVE_HEADERS``."""
    table = []
    for size in range(len(curve.rows)):
        gain, half = (100 * value for value in curve.gain(size))
        row = [f"{curve.rows[size]:,}", f"{curve.labels[size]:,}", f"{gain:+.2f}", f"{gain - half:+.2f} to {gain + half:+.2f}"]
        step, reach = (100 * value for value in curve.step(size)) if size else (0.0, 0.0)
        table.append([*row, *([f"{step:+.2f}", f"{step - reach:+.2f} to {step + reach:+.2f}"] if size else ["", ""])])
    return table


def curve_advice(curve: LearningCurve) -> list[str]:
    """Return whether more labels would help, and where."""
    last = len(curve.rows) - 1
    step, reach = (100 * value for value in curve.step(last))
    doubling = (
        f"from {curve.rows[last - 1]:,} to {curve.rows[last]:,} rows the gain changed by {step:+.2f} ± {reach:.2f} points"
    )
    if step - reach > 0:
        advice = f"more labels would help: {doubling}"
    elif step + reach < 0.5:
        advice = f"more labels of this kind would hardly help: {doubling}"
    else:
        advice = f"whether more labels would help cannot be told from these: {doubling}"
    return [advice, *_rising_sources(curve)]


def _rising_sources(curve: LearningCurve) -> list[str]:
    """Return a line that names the sources whose gain clearly rose at the last step."""
    last, found = len(curve.rows) - 1, []
    names = sorted(set(curve.sources))
    level = float(norm.ppf(1 - 0.025 / max(len(names), 1)))  # of many sources some would rise by chance (Bonferroni)
    for name in names:
        rows = np.flatnonzero([source == name for source in curve.sources])
        step, error = clustered_mean((curve.gains[last] - curve.gains[last - 1])[rows], curve.groups[rows])
        if len(names) > 1 and step - level * error > 0:
            found.append(f"{name or 'no source'} ({100 * step:+.1f} points)")
    return [f"where: {', '.join(found)}"] if found else []


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="python -m auto_router.assess.learning_curve", description=__doc__)
    parser.add_argument("--train-json", type=Path, default=Path("hf_evaluations_train.json"))
    parser.add_argument("--train-embeddings", type=Path, default=Path("hf_train_embeddings.npy"))
    parser.add_argument("--pool", type=Path, help="says who takes images (default: what the labels show)")
    parser.add_argument("--seed", type=int, default=0, help="of folds and draws")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    facts = None if arguments.pool is None else load_pool(arguments.pool).facts
    data = load_dataset(arguments.train_embeddings, "train", arguments.train_json, facts=facts)
    print("\n".join(curve_lines(learning_curve(data, arguments.seed))))


if __name__ == "__main__":
    sys.exit(run(main))
