"""Operating points: decision settings fitted to a stated aim on out-of-fold predictions of labelled rows.

A point ranks models by P - penalty. The penalty of a model is its price, at ``cost_weight`` of probability for one mean
cost of the pool, and a head start of ``margin`` for the default model (the best single one on these rows). Fitted are

- ``accuracy``: most right answers. What a setting gains over the default model is estimated twice: from the labels, and from
  P itself, which says what it expects to gain; the two are averaged by their precision (normal prior, normal likelihood). Few
  labels say little of a gain, and P, which is shrunk, says much: at 100 rows P counts for most, at 1,000 the labels. The
  setting with the highest estimate is taken; where none is above 0, the default model is never left.
- ``quality``, ``balanced``, ``economy``: at the least cost, at least a share of the default model's accuracy on the next
  ``BATCH`` prompts, with the confidence of :data:`PROMISES`, and with 99 % never more than ``FLOOR`` below that share.
- ``latency``: the promise of ``quality`` at the least latency, that of a model being its median in seconds. The prompt tells
  little of a latency: on recorded answers a regression explained nothing of it for four models of five.

The best of many settings looks better than it is. So a lower bound holds for all settings tried at once: its factor is the
quantile of the highest studentised error over settings (multiplier bootstrap over groups; Romano & Wolf 2005, Chernozhukov,
Chetverikov & Kato 2013). A setting that changed no outcome has no error that could be seen: one lost pseudo row is counted with
every setting. Standard errors are those of a mean over groups with the correction G/(G - 1) (Cameron & Miller 2015, eq. 11-12).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from auto_router.arrays import Bools, Floats, Ints
from auto_router.data.dataset import Prediction
from auto_router.data.label_stats import best_single_model
from auto_router.decide.rule import choose
from auto_router.errors import ConfigError

NEVER = 2.0  # a margin that no difference of two probabilities reaches
MARGINS = (0.0, 0.02, 0.05, 0.1, 0.2)
COST_WEIGHTS = (0.0, *np.geomspace(1e-3, 3.0, 40).tolist())
BATCH = 1000
ECONOMY = 0.97
FLOOR = 0.015
FLOOR_CONFIDENCE = 0.99
# Of the gain that P expects, N / (N + DOUBT) came true on five recorded sets, give or take a third of it or PRIOR_SPREAD.
DOUBT = 100
PRIOR_SPREAD = 0.01
PRIOR_SHARE = 1 / 3
_DRAWS = 400
COST, LATENCY = "cost", "latency"
MIN_LATENCIES = 20  # of a model, for its median to be one


class Promise(NamedTuple):
    """What a point that trades cost, or latency, promises: this share of the default model's accuracy, with this confidence."""

    aim: str
    share: float
    confidence: float


PROMISES = {
    "quality": Promise("at least the best single model's accuracy with 95 % confidence, at the least cost", 1.0, 0.95),
    "balanced": Promise("at least the best single model's accuracy with 80 % confidence, at the least cost", 1.0, 0.80),
    "economy": Promise(
        f"{ECONOMY:.0%} of the best single model's accuracy with 80 % confidence, at the least cost", ECONOMY, 0.80
    ),
}


FAST = Promise("at least the best single model's accuracy with 95 % confidence, at the least latency", 1.0, 0.95)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Settings of the decision, with what they aim at and what they did on the rows they were fitted on."""

    aim: str
    default: str
    margin: float = 0.0
    cost_weight: float = 0.0
    """Probability that one mean cost of the pool is worth, from 0."""
    costs: dict[str, float] = field(default_factory=dict)
    """Expected cost of each model when it was fitted, any one unit, or its seconds; empty where they do not count."""
    evidence: dict[str, float] = field(default_factory=dict)
    weighs: str = COST
    """What ``costs`` are: ``cost``, or ``latency`` in seconds."""

    def penalties(self, names: Sequence[str], costs: Floats | None = None, expected: Floats | None = None) -> Floats:
        """Return ``[M]`` or ``[N, M]``, in units of P. An unknown cost (NaN) counts as the highest known of its row.

        Args:
            names: of the models.
            costs: ``[M]``, in any one unit, which replace the stored ones.
            expected: ``[N, M]``, of each prompt, in the unit of the stored ones; not beside ``costs``.
        """
        given = self._means(names) if costs is None else costs
        return self.pricing(names, costs)(given if expected is None else expected)

    def pricing(self, names: Sequence[str], costs: Floats | None = None) -> Callable[[Floats], Floats]:
        """Return the map from expected costs, ``[M]`` or ``[N, M]``, to penalties; ``costs`` as for :meth:`penalties`."""
        means = self._means(names) if costs is None else costs
        known = self.cost_weight > 0 and not np.isnan(means).all()
        unit = self.cost_weight / max(float(np.nanmean(means)), 1e-30) if known else 0.0
        head_start = np.array([self.margin if name == self.default else 0.0 for name in names])

        def penalties(costs: Floats) -> Floats:
            if not known:
                return np.broadcast_to(-head_start, costs.shape)
            costs = np.asarray(costs, dtype=np.float64)
            missing = np.isnan(costs)
            if missing.any():
                costs = np.where(missing, np.nan_to_num(np.fmax.reduce(costs, axis=-1, keepdims=True)), costs)
            return np.asarray(unit * costs - head_start)

        return penalties

    def _means(self, names: Sequence[str]) -> Floats:
        return np.array([self.costs.get(name, np.nan) for name in names])

    def to_plain(self) -> dict[str, Any]:
        plain = asdict(self)
        if self.weighs == COST:  # versions that knew nothing else read it, too
            del plain["weighs"]
        return plain

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> OperatingPoint:
        """Build from :meth:`to_plain`. Raises ConfigError where the values are no operating point."""
        try:
            point = cls(**values)
            numbers = [point.margin, point.cost_weight, *point.costs.values()]
            if not all(isinstance(n, (int, float)) and np.isfinite(n) for n in numbers) or point.cost_weight < 0:
                raise ConfigError(f"operating point has impossible numbers: {values}")
            if point.weighs not in (COST, LATENCY):
                raise ConfigError(f"operating point weighs {point.weighs!r}; known are {COST} and {LATENCY}")
        except (TypeError, AttributeError) as error:
            raise ConfigError(f"operating point is not valid ({error})") from error
        return point


@dataclass(frozen=True, slots=True)
class _Trials:
    """Settings tried on ``rows`` rows, ``[S]`` each; the last one never leaves the default model."""

    rows: int
    settings: Sequence[tuple[float, float]]
    """Margin and cost weight."""
    gain: Floats
    """Accuracy over that of the default model."""
    expected_gain: Floats
    """The same, as P has it."""
    deviations: Floats
    """``[S, G]``: what each group adds to the error of the gain."""
    cost_share: Floats
    """Cost, or latency, as a share of the default model's; NaN where it is not known."""
    cost_error: Floats
    """Standard error of that share."""

    @property
    def error(self) -> Floats:
        """Standard error of the gain."""
        return np.asarray(np.sqrt(np.square(self.deviations, dtype=np.float64).sum(axis=1)))

    @property
    def careful_gain(self) -> Floats:
        """The gain with one lost pseudo row."""
        return self.gain - 1.0 / self.rows

    @property
    def careful_error(self) -> Floats:
        """Its standard error; infinite where one group is all there is."""
        return np.hypot(self.error, 1.0 / self.rows if self.deviations.shape[1] > 1 else np.inf)

    def estimated_gain(self) -> Floats:
        """Return the posterior mean of the gain: normal prior about what P expects, normal likelihood of the labels."""
        expected = self.expected_gain * self.rows / (self.rows + DOUBT)
        spread = np.maximum(PRIOR_SPREAD, PRIOR_SHARE * np.abs(self.expected_gain))
        trust = spread**2 / (spread**2 + self.careful_error**2)
        return np.asarray(trust * self.careful_gain + (1.0 - trust) * expected)

    def lower_bounds(self, confidence: Sequence[float]) -> Floats:
        """Return, for each confidence, what the gain on the next ``BATCH`` prompts is at least: ``[len(confidence), S]``.

        Two errors that are independent: that of the estimate, for all settings at once, and the luck of the batch, for one.
        The estimate is the labels', or where that is less, the labels' with ``DOUBT`` rows on which P came true: of few
        labels, a setting that lost none by chance has an error that is too small.
        """
        rng, error, groups = np.random.default_rng(0), self.careful_error, self.deviations.shape[1]
        highest = (self.deviations @ rng.standard_normal((groups, _DRAWS)).astype(np.float32) / error[:, None]).max(axis=0)
        # Few groups know their spread badly: as Student's t does, divide by one that is drawn.
        freedom = max(groups - 1, 1)
        highest /= np.sqrt(rng.chisquare(freedom, _DRAWS) / freedom)
        luck = np.array([NormalDist().inv_cdf(part) for part in confidence])[:, None] * (self.rows / BATCH) ** 0.5
        search = np.quantile(highest, confidence)[:, None]
        pooled = (self.rows * self.careful_gain + DOUBT * self.expected_gain) / (self.rows + DOUBT)
        gain = np.minimum(self.careful_gain, pooled)
        return np.asarray(gain - np.hypot(search, luck) * error)


def fit_operating_points(
    prediction: Prediction,
    labels: Floats,
    costs: Floats | None,
    groups: Ints,
    names: Sequence[str],
    eligible: Bools | None = None,
    latencies: Floats | None = None,
) -> dict[str, OperatingPoint]:
    """Fit all points; those that trade cost or latency only where ``costs`` or ``latencies`` are known for every model.

    Args:
        prediction: of ``N`` rows, each made without its own group; novel ones go to the default model.
        labels: ``[N, M]``, NaN = unknown.
        costs: ``[N, M]`` of each answer (NaN = unknown), or ``[M]``; None: unknown.
        groups: ``[N]``.
        names: of the models.
        eligible: ``[N, M]``: may the model take the row? None: all may.
        latencies: ``[N, M]`` seconds of each answer (NaN = unknown); None: unknown.
    """
    probabilities, best = prediction.probabilities, best_single_model(labels)
    means = _means(costs, len(names))
    table = None if means is None or costs is None else np.where(np.isnan(costs), means, costs)
    could = probabilities if eligible is None else np.where(eligible, probabilities, 0.0)

    def try_all(prices: Floats | None, table: Floats | None, expected: Floats | None) -> _Trials:
        def decide(margin: float, weight: float) -> Ints:
            point = OperatingPoint("", names[best], margin, weight, _by_name(names, prices))
            penalties = point.penalties(names, expected=expected)
            return choose(probabilities, None, None, eligible, None, penalties, prediction.novel, best).chosen

        weights = (0.0,) if prices is None else COST_WEIGHTS
        settings = [*((margin, weight) for margin in MARGINS for weight in weights), (NEVER, 0.0)]
        return _measure(settings, decide, could, labels, table, groups, best)

    trials, accuracy = try_all(means, table, prediction.expected_costs), float(np.nanmean(labels[:, best]))
    found = {"accuracy": ("most right answers; the best single model is left only where that is expected to pay",
                          _most_accurate(trials))}  # fmt: skip
    if means is not None:
        for name, promise in PROMISES.items():
            found[name] = promise.aim, _least_cost(trials, promise, (1.0 - promise.share) * accuracy)
    by_name = _by_name(names, means)
    points = {
        name: OperatingPoint(aim, names[best], *trials.settings[place], by_name, _evidence(trials, place, accuracy, COST))
        for name, (aim, place) in found.items()
    }
    seconds = usual_latencies(latencies, len(names))
    if np.isnan(seconds).any():
        return points
    trials = try_all(seconds, seconds, None)
    place = _least_cost(trials, FAST, 0.0)
    fast = OperatingPoint(
        FAST.aim, names[best], *trials.settings[place], _by_name(names, seconds),
        _evidence(trials, place, accuracy, LATENCY), LATENCY,
    )  # fmt: skip
    return points | {LATENCY: fast}


def usual_latencies(latencies: Floats | None, models: int) -> Floats:
    """Return each model's median latency ``[M]``; NaN where fewer than ``MIN_LATENCIES`` are known.

    Not the mean: the slowest of a hundred answers took ten to fifty times as long as the median one.
    """
    if latencies is None:
        return np.full(models, np.nan)
    enough = (~np.isnan(latencies)).sum(axis=0) >= MIN_LATENCIES
    return np.array([np.nanmedian(latencies[:, j]) if enough[j] else np.nan for j in range(models)])


def default_point(points: Mapping[str, OperatingPoint]) -> str | None:
    """Return the name of the point that is served without settings; None where there is none.

    ``quality`` where it saves cost: it keeps the best single model's accuracy with 95 % confidence. Else ``accuracy``: where
    costs are not known, or where labels are too few to save any safely.
    """
    quality = points.get("quality")
    if quality is not None and quality.evidence.get("cost share", 1.0) < 1.0:
        return "quality"
    return "accuracy" if "accuracy" in points else None


def _measure(
    settings: Sequence[tuple[float, float]],
    decide: Callable[[float, float], Ints],
    probabilities: Floats,
    labels: Floats,
    costs: Floats | None,
    groups: Ints,
    best: int,
) -> _Trials:
    """Try every setting on the rows."""
    place = np.unique(groups, return_inverse=True)[1]
    gains, expected, deviations, shares = [], [], [], []
    every = None if costs is None else np.broadcast_to(costs, labels.shape)
    for margin, weight in settings:
        chosen = decide(margin, weight)[:, None]
        difference = np.take_along_axis(labels, chosen, axis=1)[:, 0] - labels[:, best]
        mean, deviation = _group_mean(difference, place)
        gains.append(mean)
        deviations.append(deviation.astype(np.float32))
        expected.append(float(np.mean(np.take_along_axis(probabilities, chosen, axis=1)[:, 0] - probabilities[:, best])))
        paid = None if every is None else np.take_along_axis(every, chosen, axis=1)[:, 0]
        shares.append((np.nan, np.nan) if paid is None or every is None else _ratio(paid, every[:, best], place))
    share, share_error = np.array(shares).T
    return _Trials(len(labels), settings, np.array(gains), np.array(expected), np.stack(deviations), share, share_error)


def _most_accurate(trials: _Trials) -> int:
    """Return the place of the setting of the highest estimated gain; of equal ones the first, and the last where none gains."""
    estimated = trials.estimated_gain()
    estimated[-1] = 0.0
    free = np.array([weight == 0.0 for _, weight in trials.settings])
    return int(np.argmax(np.where(free, estimated, -np.inf))) if estimated[free].max() > 0 else len(free) - 1


def _least_cost(trials: _Trials, promise: Promise, allowance: float) -> int:
    """Return the place of the cheapest setting that keeps the promise; of equally cheap ones the most accurate."""
    bound, worst = trials.lower_bounds([promise.confidence, FLOOR_CONFIDENCE])
    safe = (bound + allowance >= 0) & (worst + allowance + FLOOR >= 0)
    safe[-1] = True
    return min(np.flatnonzero(safe).tolist(), key=lambda place: (trials.cost_share[place], -trials.gain[place]))


def clustered_mean(values: Floats, groups: Ints) -> tuple[float, float]:
    """Return the mean of the known ``values`` [N] and its standard error over groups; infinite where one group is all."""
    known = ~np.isnan(values)
    if not known.any():
        return 0.0, float("inf")
    places = np.unique(groups[known], return_inverse=True)[1]
    mean, deviations = _group_mean(values[known], places)
    return mean, float(np.sqrt(np.square(deviations).sum())) if len(deviations) > 1 else float("inf")


def _group_mean(values: Floats, place: Ints) -> tuple[float, Floats]:
    """Return the mean of the known ``values`` [N] and what each group ``place`` [N] adds to its error, ``[G]``."""
    known = ~np.isnan(values)
    count = max(int(known.sum()), 1)
    mean = float(np.where(known, values, 0.0).sum() / count)
    sums = np.bincount(place, weights=np.where(known, values - mean, 0.0))
    return mean, sums * (len(sums) / max(len(sums) - 1, 1)) ** 0.5 / count


def _ratio(above: Floats, below: Floats, place: Ints) -> tuple[float, float]:
    """Return mean ``above`` / mean ``below``, both [N], and its standard error over groups (linearised)."""
    scale, paid = float(below.mean()), float(above.mean())
    if scale <= 0:  # a default model that is free: nothing is cheaper
        return 1.0 if paid <= 0 else float("inf"), 0.0
    ratio = paid / scale
    error = _group_mean((above - ratio * below) / scale, place)[1]
    return ratio, float(np.sqrt(np.square(error).sum()))


def _means(costs: Floats | None, models: int) -> Floats | None:
    """Return the mean known cost ``[M]``; None where a model has none."""
    if costs is None or np.isnan(costs).reshape(-1, models).all(axis=0).any():
        return None
    found: Floats = np.nanmean(costs.reshape(-1, models), axis=0)
    return found


def _by_name(names: Sequence[str], means: Floats | None) -> dict[str, float]:
    return {} if means is None else dict(zip(names, means.tolist(), strict=True))


def _evidence(trials: _Trials, place: int, accuracy: float, weighs: str) -> dict[str, float]:
    """What the setting did on the rows, and the standard errors (±) of its gain and of its share of cost or latency."""
    gain = float(trials.gain[place])
    found = {"rows": trials.rows, "accuracy": accuracy + gain, "gain": gain, "standard error": float(trials.error[place])}
    if not np.isfinite(trials.cost_share[place]):
        return found
    share, error = float(trials.cost_share[place]), float(trials.cost_error[place])
    return found | {f"{weighs} share": share, f"{weighs} share error": error}
