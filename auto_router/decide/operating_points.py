"""Operating points: decision settings fitted to a stated aim on out-of-fold predictions of labelled rows.

A point ranks models by P - penalty. The penalty of a model is its price, at ``cost_weight`` of probability for one mean
cost of the pool, and a head start of ``margin`` for the default model (the best single one on these rows). Fitted are

- ``accuracy``: most right answers, by the least margin whose gain over the default model is clear; where none is, that
  model is never left.
- ``quality``: at least the default model's accuracy on the next ``BATCH`` prompts with 95 % confidence, at the least cost.
- ``balanced``: the default model's accuracy, at the least cost.
- ``economy``: ``ECONOMY`` of the default model's accuracy, at the least cost.

Standard errors are those of a mean over groups (Cameron & Miller 2015, eq. 11): rows of a group are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from auto_router.arrays import Bools, Floats, Ints
from auto_router.decide.rule import choose
from auto_router.errors import ConfigError

NEVER = 2.0  # a margin that no difference of two probabilities reaches
MARGINS = (0.0, 0.02, 0.05, 0.1, 0.2)
COST_WEIGHTS = (0.0, *np.geomspace(1e-3, 3.0, 80).tolist())
CONFIDENCE_95 = 1.645
# For "quality": 99 % where 95 % is promised, since the best of many settings looks better than it is.
CONFIDENCE_99 = 2.326
BATCH = 1000
ECONOMY = 0.97


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Settings of the decision, with what they aim at and what they did on the rows they were fitted on."""

    aim: str
    default: str
    margin: float = 0.0
    cost_weight: float = 0.0
    """Probability that one mean cost of the pool is worth, from 0."""
    costs: dict[str, float] = field(default_factory=dict)
    """Expected cost of each model when it was fitted, any one unit; empty where costs do not count."""
    evidence: dict[str, float] = field(default_factory=dict)

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
        return asdict(self)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> OperatingPoint:
        """Build from :meth:`to_plain`. Raises ConfigError where the values are no operating point."""
        try:
            point = cls(**values)
            numbers = [point.margin, point.cost_weight, *point.costs.values()]
            if not all(isinstance(n, (int, float)) and np.isfinite(n) for n in numbers) or point.cost_weight < 0:
                raise ConfigError(f"operating point has impossible numbers: {values}")
        except (TypeError, AttributeError) as error:
            raise ConfigError(f"operating point is not valid ({error})") from error
        return point


@dataclass(frozen=True, slots=True)
class _Trial:
    """One setting tried on the rows: its gain in accuracy over the default model, and its cost as a share of that model's."""

    margin: float
    weight: float
    accuracy: float
    gain: float
    error: float
    """Standard error of the gain on these rows."""
    batch_error: float
    """Standard error of the gain on the next ``BATCH`` prompts, what is not known of the true gain included."""
    cost_share: float


def fit_operating_points(
    probabilities: Floats,
    labels: Floats,
    costs: Floats | None,
    groups: Ints,
    names: Sequence[str],
    eligible: Bools | None = None,
    expected: Floats | None = None,
) -> dict[str, OperatingPoint]:
    """Fit all points; those that trade cost only where ``costs`` are known for every model.

    Args:
        probabilities: ``[N, M]``, each row's made without its own group.
        labels: ``[N, M]``, NaN = unknown.
        costs: ``[N, M]`` of each answer (NaN = unknown), or ``[M]``; None: unknown.
        groups: ``[N]``.
        names: of the models.
        eligible: ``[N, M]``: may the model take the row? None: all may.
        expected: ``[N, M]`` what each answer is expected to cost when it is decided; None: each model's mean.
    """
    known = ~np.isnan(labels)
    best = int(np.argmax(np.where(known, labels, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)))
    means = _means(costs, len(names))
    table = None if means is None or costs is None else np.where(np.isnan(costs), means, costs)

    def trial(margin: float, weight: float) -> _Trial:
        point = OperatingPoint("", names[best], margin, weight, _by_name(names, means))
        chosen = choose(probabilities, eligible=eligible, penalties=point.penalties(names, expected=expected)).chosen
        return _measure(margin, weight, chosen, labels, table, groups, best)

    stay = trial(NEVER, 0.0)
    weights = (0.0,) if means is None else COST_WEIGHTS
    trials = [*(trial(margin, weight) for margin in MARGINS for weight in weights), stay]
    clear = [t for t in trials if t.weight == 0.0 and t.gain - CONFIDENCE_95 * t.error >= 0]
    points = {"accuracy": ("most right answers, leaving the best single model only on clear evidence", clear[0])}
    if means is not None:
        same = "the best single model's accuracy"
        safe = [t for t in trials if t.gain - CONFIDENCE_99 * t.batch_error >= 0]
        equal = [t for t in trials if t.gain >= 0]
        close = [t for t in trials if t.accuracy >= ECONOMY * stay.accuracy]
        points |= {
            "quality": (f"at least {same} on the next {BATCH:,} prompts with 95 % confidence, at the least cost", _least(safe)),
            "balanced": (f"{same} at the least cost", _least(equal)),
            "economy": (f"{ECONOMY:.0%} of {same} at the least cost", _least(close)),
        }
    return {
        name: OperatingPoint(aim, names[best], t.margin, t.weight, _by_name(names, means), _evidence(t, len(labels)))
        for name, (aim, t) in points.items()
    }


def _measure(
    margin: float, weight: float, chosen: Ints, labels: Floats, costs: Floats | None, groups: Ints, best: int
) -> _Trial:
    picked = np.take_along_axis(labels, chosen[:, None], axis=1)[:, 0]
    gain, error = clustered_mean(picked - labels[:, best], groups)
    share = float("nan")
    if costs is not None:
        paid = np.take_along_axis(np.broadcast_to(costs, labels.shape), chosen[:, None], axis=1)
        share = float(paid.mean() / np.broadcast_to(costs, labels.shape)[:, best].mean())
    both = error * (1.0 + len(labels) / BATCH) ** 0.5
    return _Trial(margin, weight, float(np.nanmean(picked)), gain, error, both, share)


def clustered_mean(values: Floats, groups: Ints) -> tuple[float, float]:
    """Return the mean of the known ``values`` [N] and its standard error over groups."""
    known = ~np.isnan(values)
    if not known.any():
        return 0.0, float("inf")
    mean = float(values[known].mean())
    _, place = np.unique(groups[known], return_inverse=True)
    sums = np.bincount(place, weights=values[known] - mean)
    return mean, float(np.sqrt(np.square(sums).sum()) / known.sum())


def _least(trials: Sequence[_Trial]) -> _Trial:
    """Return the cheapest; of equally cheap ones the most accurate."""
    return min(trials, key=lambda t: (t.cost_share, -t.gain))


def _means(costs: Floats | None, models: int) -> Floats | None:
    """Return the mean known cost ``[M]``; None where a model has none."""
    if costs is None or np.isnan(costs).reshape(-1, models).all(axis=0).any():
        return None
    found: Floats = np.nanmean(costs.reshape(-1, models), axis=0)
    return found


def _by_name(names: Sequence[str], means: Floats | None) -> dict[str, float]:
    return {} if means is None else dict(zip(names, means.tolist(), strict=True))


def _evidence(trial: _Trial, rows: int) -> dict[str, float]:
    found = {"rows": rows, "accuracy": trial.accuracy, "gain": trial.gain, "standard error": trial.error}
    return found if np.isnan(trial.cost_share) else found | {"cost share": trial.cost_share}
