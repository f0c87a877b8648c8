"""The policy that a router's settings come to with an artifact's operating points."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from auto_router.arrays import Bools, Floats
from auto_router.data.dataset import Prediction
from auto_router.decide.eligibility import index_of, per_model
from auto_router.decide.operating_points import COST, LATENCY, PROMISES, OperatingPoint, default_point
from auto_router.decide.rule import Choices, choose
from auto_router.decide.settings import RouterSettings
from auto_router.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that the rule needs beside the prompt."""

    thresholds: Floats | None = None
    costs: Floats | None = None
    """``[M]`` as the caller gave them."""
    fallback: int | None = None
    operating_point: str | None = None
    """Name of the fitted point in force; None where the caller's thresholds and costs decide alone."""
    penalties: Floats | None = None
    default: int | None = None
    """The guarded default: the best single model of training, which novel rows go to."""
    pricing: Callable[[Floats], Floats] | None = None
    """From expected costs in the recorded unit to penalties; None where no point weighs them, or the caller's do."""
    guard: bool = True

    def with_costs(self, expected: Floats | None) -> Policy:
        """Return the policy for rows whose answers are expected to cost ``[N, M]`` (one row: ``[M]``), in the recorded unit."""
        if expected is None or self.pricing is None:
            return self
        return replace(self, penalties=self.pricing(expected))

    def choose(self, prediction: Prediction, eligible: Bools | None = None) -> Choices:
        """Decide every row of ``prediction``. Raises ConfigError where a row has no eligible model."""
        priced = self.with_costs(prediction.expected_costs)
        return choose(
            prediction.probabilities, self.thresholds, self.costs, eligible, self.fallback, priced.penalties,
            prediction.novel if self.guard else None, self.default,
        )  # fmt: skip


def resolve_policy(names: Sequence[str], points: Mapping[str, OperatingPoint], settings: RouterSettings) -> Policy:
    """Return the policy that these settings come to.

    Named, an operating point is in force. Else thresholds decide where there are any; else costs bring ``balanced``, and
    nothing at all brings the :func:`default_point`, where the artifact has them.

    Raises:
        ConfigError: a model or an operating point is unknown, or a value is impossible.
    """
    thresholds = per_model(names, settings.model_thresholds, "model_thresholds")
    costs = per_model(names, settings.model_costs, "model_costs")
    fallback = None if settings.fallback_model is None else index_of(names, [settings.fallback_model], "fallback_model")[0]
    name = settings.operating_point
    if name is not None:
        check_point(name, points)
    if name is None and thresholds is None:
        name = _choose_point(points, costs)
    # Costs alone must not decide: the cheapest model would answer everything.
    penalties: Floats | None = np.zeros(len(names)) if thresholds is None and costs is not None else None
    pricing = None
    if name is not None:
        by_cost = points[name].weighs == COST
        penalties = points[name].penalties(names, costs if by_cost else None)
        pricing = points[name].pricing(names) if costs is None and by_cost else None
    best = next((point.default for point in points.values()), None)
    default = names.index(best) if best in names else None
    return Policy(thresholds, costs, fallback, name, penalties, default, pricing, settings.guard_unfamiliar)


def check_point(name: str, points: Mapping[str, OperatingPoint]) -> None:
    """Raise ConfigError where an artifact with these operating points has none of this name; the error says what it takes."""
    if name in points:
        return
    has = f"it has {', '.join(points)}; choose one of these" if points else "it has none: leave it out"
    if name == LATENCY:
        has += ", or train again on records with model_latencies of every model (Stage 1 writes them)"
    elif name in PROMISES:
        has += ", or train again on records with model_costs of every model, or with a pool file that has prices (--pool)"
    raise ConfigError(f"operating_point {name!r} is not in this artifact; {has}")


def _choose_point(points: Mapping[str, OperatingPoint], costs: Floats | None) -> str | None:
    name = "balanced" if costs is not None and "balanced" in points else default_point(points)
    if costs is not None and name != "balanced":
        warnings.warn(
            "model_costs without model_thresholds would always choose the cheapest model, and this artifact has no "
            "'balanced' operating point: costs are reported, the highest probability decides. Give model_thresholds, or "
            "train with recorded costs or prices (nn_router.py --pool).",
            stacklevel=4,
        )
    return name


class Policies:
    """The policy in force, and those of other operating points beside the same thresholds, costs and fallback.

    Takes the arguments of :func:`resolve_policy`, and raises what it raises.
    """

    def __init__(self, names: Sequence[str], points: Mapping[str, OperatingPoint], settings: RouterSettings) -> None:
        self._names, self._points, self._settings = names, points, settings
        self._known: dict[str | None, Policy] = {None: resolve_policy(names, points, settings)}

    def at(self, point: str | None, thresholds: Sequence[tuple[str, float]] | None = None) -> Policy:
        """Return the policy at an operating point; None: the one in force. ``thresholds`` stand in place of the settings'.

        Raises:
            ConfigError: the point or a model is unknown.
        """
        if thresholds is not None:  # a client's own: not kept
            settings = replace(self._settings, operating_point=point or self._settings.operating_point)
            return resolve_policy(self._names, self._points, replace(settings, model_thresholds=dict(thresholds)))
        if point not in self._known:
            self._known[point] = resolve_policy(self._names, self._points, replace(self._settings, operating_point=point))
        return self._known[point]


def choose_each(policies: Sequence[Policy], prediction: Prediction, eligible: Bools) -> Choices:
    """Decide every row under its own policy, ``policies[i]`` for row i; the rows of one policy are decided at once."""
    distinct = {id(policy): policy for policy in policies}
    if len(distinct) == 1:
        return policies[0].choose(prediction, eligible)
    ranking, qualified = np.empty(eligible.shape, dtype=np.int64), np.empty(eligible.shape, dtype=bool)
    reasons = [""] * len(policies)
    for number, policy in distinct.items():
        rows = [row for row, given in enumerate(policies) if id(given) == number]
        part = policy.choose(prediction.take(rows), eligible[rows])
        ranking[rows], qualified[rows] = part.ranking, part.qualified
        for row, reason in zip(rows, part.reasons, strict=True):
            reasons[row] = reason
    return Choices(ranking, qualified, eligible, reasons)
