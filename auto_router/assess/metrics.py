"""Measures of probabilities (per model) and of decisions (the system), and their intervals. Unknown labels (NaN) never count.

Router accuracy is the mean label of the chosen model, oracle the mean of each row's best label, best single the model
with the highest mean label *on the training set*, random the mean over rows of the average label (RouterBench,
arXiv 2403.12031, uses the same four). Gap closed = (router - best single) / (oracle - best single), on the rows where
both labels are known.

Whether probabilities mean what they say is told by reliability curves and the expected calibration error.

For a pool of two models, one strong and one weak, there are the measures of RouteLLM (arXiv 2406.18665). Rows are sent to the
strong model in the order of what it promises to gain, P(strong) − P(weak). At every share of calls to it, PGR, the performance
gap recovered, is (quality − weak) / (strong − weak).

Intervals are of a bootstrap that resamples whole groups: rows of one group are not independent evidence. The groups are drawn
once; every measure that is a mean of something per row is then one matrix product over the same draws, so that differences
between measures are paired. The functions named after a choice return one value a row, whose mean is the measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import numpy as np

from auto_router.arrays import Floats, Ints
from auto_router.data.label_stats import NAN, column_means, mean_of, oracle_labels
from auto_router.errors import DataError

Interval = tuple[float, float]

RESAMPLES = 1000
LEVEL = 0.95
MAX_UNITS = 4_000  # groups beyond this are pooled at random: as valid, and the draws stay at 32 MB
BINS = 15  # of a reliability curve
RANK_BETA = 0.1  # weight of the accuracy in RankScore


class GroupBootstrap:
    """``RESAMPLES`` draws of the groups with replacement, kept as counts ``[resamples, groups]``."""

    def __init__(self, groups: Ints, seed: int) -> None:
        """``groups``: ``[N]``, equal for rows that stay together."""
        rng = np.random.default_rng(seed)
        _, unit = np.unique(groups, return_inverse=True)
        count = int(unit.max()) + 1 if len(unit) else 0
        if count > MAX_UNITS:
            unit, count = (rng.permutation(count) % MAX_UNITS)[unit], MAX_UNITS
        self._order = np.argsort(unit, kind="stable")
        self._starts = np.searchsorted(unit[self._order], np.arange(count))
        drawn = rng.integers(count, size=(RESAMPLES, count)) if count else np.zeros((RESAMPLES, 0), dtype=np.int64)
        numbered = (drawn + count * np.arange(RESAMPLES)[:, None]).ravel()
        self._draws = np.bincount(numbered, minlength=RESAMPLES * count).reshape(RESAMPLES, count).astype(np.float64)

    def means(self, values: Floats) -> Floats:
        """Return the means ``[resamples]`` of ``values`` [N], or ``[resamples, K]`` of ``[N, K]``.

        NaN values are left out; a draw without any known value gives NaN.
        """
        if not len(self._starts):
            return np.full((len(self._draws), *values.shape[1:]), np.nan)
        known = ~np.isnan(values)
        sums = self._draws @ self._by_unit(np.where(known, values, 0.0).astype(np.float64))
        # Tables with every value known, the usual case, share one column of counts.
        counts = self._draws @ self._by_unit(known.astype(np.float64) if not known.all() else np.ones(len(values)))
        counts = counts if counts.ndim == sums.ndim else counts[:, None]
        means: Floats = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        return means

    def interval(self, values: Floats) -> Interval:
        """Return the percentile interval of the mean of ``values`` [N]; for a paired comparison give differences."""
        return percentiles(self.means(values))

    def _by_unit(self, values: Floats) -> Floats:
        return np.asarray(np.add.reduceat(values[self._order], self._starts, axis=0))


def percentiles(draws: Floats) -> Interval:
    """Return the middle ``LEVEL`` of the known ``draws`` [resamples]; NaN where none is known."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def interval(values: Floats, groups: Ints, seed: int) -> Interval:
    """Return the interval of one mean; several over the same rows share a :class:`GroupBootstrap`."""
    return GroupBootstrap(groups, seed).interval(values)


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """One model's probabilities against its labels; None where undefined (an AUC of one class only)."""

    auc: float | None
    brier: float | None
    ece: float | None
    accuracy: float | None
    f1: float | None
    positive_rate: float | None
    known: int


@dataclass(frozen=True, slots=True)
class SystemMetrics:
    """The decisions on a test set, beside what any router must be compared with. All are mean labels, 0…1."""

    router: float
    best_single: float
    best_single_model: str
    random: float
    oracle: float
    gap_closed: float | None
    selection: dict[str, float]
    rows: int


def model_metrics(probabilities: Floats, labels: Floats, thresholds: Floats | None = None) -> list[ModelMetrics]:
    """Return the measures of every model; a graded label counts as right from 0.5 (AUC, accuracy, F1).

    Args:
        probabilities: ``[N, M]``.
        labels: ``[N, M]``, NaN = unknown; rows where either is NaN are left out.
        thresholds: ``[M]``, where a prediction turns to "right"; None or NaN: 0.5.
    """
    cut = cuts(thresholds, labels.shape[1])
    return [_one_model(probabilities[:, j], labels[:, j], float(cut[j])) for j in range(labels.shape[1])]


def cuts(thresholds: Floats | None, models: int) -> Floats:
    """Return ``[M]``: where a prediction turns to "right" for accuracy and F1; 0.5 for a model without a threshold."""
    return np.full(models, 0.5) if thresholds is None else np.where(np.isnan(thresholds), 0.5, thresholds)


def placements(probabilities: Floats, labels: Floats) -> Floats:
    """Return ``[N, 2]``: the share of the other class that each row is ordered rightly against, ties counting one half.

    Column 0 holds it for right answers, column 1 for wrong ones, NaN elsewhere and where a class is empty. The mean of
    either column is the AUC (the Mann-Whitney statistic; placement values: DeLong et al. 1988).
    """
    found = np.full((len(labels), 2), NAN)
    right, wrong = labels >= 0.5, labels < 0.5
    if right.any() and wrong.any():
        found[right, 0] = _share_below(probabilities[wrong], probabilities[right])
        found[wrong, 1] = 1.0 - _share_below(probabilities[right], probabilities[wrong])
    return found


def system_metrics(chosen: Ints, labels: Floats, best_single: int, names: Sequence[str]) -> SystemMetrics:
    """Compare decisions ``[N]`` with best single (an index, chosen on train), random and oracle on ``labels`` [N, M].

    A mean without any known label is NaN.

    Raises:
        DataError: no row has a known label.
    """
    rows = int((~np.isnan(labels).all(axis=1)).sum())
    if not rows:
        raise DataError("no row of the test set has a known label; nothing can be assessed")
    router, single, oracle = take_chosen(labels, chosen), labels[:, best_single], oracle_labels(labels)
    gained, gap = (mean_of(values) for values in gap_parts(router, single, oracle))
    return SystemMetrics(
        router=mean_of(router),
        best_single=mean_of(single),
        best_single_model=names[best_single],
        random=mean_of(row_means(labels)),
        oracle=mean_of(oracle),
        gap_closed=gained / gap if gap > 0 else None,
        selection={name: float((chosen == j).mean()) for j, name in enumerate(names)},
        rows=rows,
    )


def gap_parts(router: Floats, single: Floats, oracle: Floats) -> tuple[Floats, Floats]:
    """Return ``[N]`` router - best single and ``[N]`` oracle - best single, whose means' ratio is the gap closed.

    Both are NaN where the router's or the best single model's label is unknown, so that no more than all can be closed.
    """
    gained = router - single
    return gained, np.where(np.isnan(gained), NAN, oracle - single)


def take_chosen(table: Floats, chosen: Ints) -> Floats:
    """Return ``[N]``: the chosen model's entry of each row of ``table`` [N, M]."""
    return np.asarray(np.take_along_axis(table, chosen[:, None], axis=1)[:, 0])


def row_means(labels: Floats) -> Floats:
    """Return ``[N]``: what a random choice among the models with a known label is worth; NaN where none is known."""
    return column_means(labels.T)


def oracle_costs(labels: Floats, costs: Floats) -> Floats:
    """Return ``[N]``: the cost of the cheapest of each row's best models (the oracle of RouterBench, arXiv 2403.12031).

    Where no model is right that is the cheapest of all. NaN where no model has both a label and a cost.
    """
    known = ~np.isnan(labels) & ~np.isnan(costs)
    score = np.where(known, labels, -np.inf)
    least = np.where(known & (score == score.max(axis=1, keepdims=True)), costs, np.inf).min(axis=1)
    return np.where(np.isinf(least), NAN, least)


def rank_score(accuracy: float, cost: float, low: float, high: float) -> float | None:
    """RankScore of RouterArena: (1+β)·A·C / (β·A + C), with C = (log2 high - log2 cost) / (log2 high - log2 low), β = 0.1.

    Args:
        accuracy: A, 0…1.
        cost: mean cost of an answer.
        low, high: the pool's cheapest and dearest mean cost, in the same unit. C is kept within 0…1: choosing by
            prompt can be cheaper than any single model.

    Returns None where a cost is unknown or not positive, or the pool has one price.
    """
    if not (cost > 0 and 0 < low < high):
        return None
    saving = min(max((log2(high) - log2(cost)) / (log2(high) - log2(low)), 0.0), 1.0)
    below = RANK_BETA * accuracy + saving
    return (1 + RANK_BETA) * accuracy * saving / below if below > 0 else None


def _share_below(others: Floats, values: Floats) -> Floats:
    """Return, for each value, the share of ``others`` below it, equal ones counting one half."""
    ordered = np.sort(others)
    places = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    return np.asarray(places / (2 * len(others)))


def _one_model(probabilities: Floats, labels: Floats, threshold: float) -> ModelMetrics:
    known = ~np.isnan(labels) & ~np.isnan(probabilities)
    if not known.any():
        return ModelMetrics(None, None, None, None, None, None, 0)
    y, p = labels[known].astype(np.float64), probabilities[known].astype(np.float64)
    right, predicted = y >= 0.5, p >= threshold
    claims = int(right.sum() + predicted.sum())
    auc = mean_of(placements(p, y)[:, 0])
    return ModelMetrics(
        auc=None if np.isnan(auc) else auc,
        brier=float(((p - y) ** 2).mean()),
        ece=reliability(p, y).ece,
        accuracy=float((predicted == right).mean()),
        f1=2 * int((right & predicted).sum()) / claims if claims else None,  # 2 TP / (2 TP + FP + FN)
        positive_rate=float(y.mean()),
        known=len(y),
    )


@dataclass(frozen=True, slots=True)
class Reliability:
    """Rows of similar P, in rising order of P: what was predicted, and what was observed. Empty bins are left out."""

    predicted: Floats
    """``[B]`` mean P of each bin."""
    observed: Floats
    """``[B]`` mean label of each bin."""
    counts: Ints
    """``[B]`` rows in each bin."""
    bins: Ints
    """``[N]`` the bin of each row."""

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over rows of |mean P - mean label| of the row's bin (Guo et al. 2017,
        arXiv 1706.04599; with bins of equal mass, Nixon et al. 2019, arXiv 1904.01685). NaN without rows."""
        if not len(self.counts):
            return float("nan")
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.counts))


def reliability(probabilities: Floats, labels: Floats, bins: int = BINS) -> Reliability:
    """Sort rows into ``bins`` bins of equal mass by P; rows of equal P share a bin, so there may be fewer.

    Args:
        probabilities: ``[N]``.
        labels: ``[N]``, 0…1, all known.
    """
    if not len(labels):
        return Reliability(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    edges = np.quantile(probabilities, np.arange(1, bins) / bins, method="inverted_cdf")
    _, number = np.unique(np.searchsorted(edges, probabilities, side="left"), return_inverse=True)
    counts = np.bincount(number)
    sums = [np.bincount(number, weights=values) for values in (probabilities, labels)]
    return Reliability(sums[0] / counts, sums[1] / counts, counts, number)


@dataclass(frozen=True, slots=True)
class Recovered:
    """PGR at growing shares of calls to the strong model; both ``[K]``, from (0, 0) to (1, 1)."""

    shares: Floats
    gaps: Floats

    @property
    def apgr(self) -> float:
        """Average PGR over all shares (the source averages ten of them); a random router has 0.5."""
        return float(np.trapezoid(self.gaps, self.shares))

    def cpt(self, gap: float) -> float:
        """Call-performance threshold: the least share of calls to the strong model that recovers ``gap`` (0…1)."""
        first = int(np.argmax(self.gaps >= gap))
        if first == 0:
            return float(self.shares[0])
        (x0, x1), (y0, y1) = self.shares[first - 1 : first + 1], self.gaps[first - 1 : first + 1]
        return float(x0 + (gap - y0) / (y1 - y0) * (x1 - x0))


def recover_gap(advantages: Floats, strong: Floats, weak: Floats) -> Recovered | None:
    """Return PGR by share of calls, or None where the strong model is not better on these rows.

    Args:
        advantages: ``[N]`` P(strong) − P(weak); rows of equal advantage are sent together.
        strong, weak: ``[N]`` labels; rows where either is unknown (NaN) are left out.
    """
    known = ~np.isnan(strong) & ~np.isnan(weak)
    gains = (strong - weak)[known].astype(np.float64)
    if not len(gains) or gains.sum() <= 0:
        return None
    _, level = np.unique(-advantages[known], return_inverse=True)
    rows, gained = np.bincount(level), np.bincount(level, weights=gains)
    shares, gaps = (np.concatenate([[0.0], np.cumsum(step) / step.sum()]) for step in (rows, gained))
    return Recovered(shares, gaps)
