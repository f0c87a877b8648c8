"""The policy in force: what thresholds, costs, operating point and fallback come to, for the router and for its assessment."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from auto_router.arrays import Bools, Floats
from auto_router.decide.limits import index_of, per_model
from auto_router.decide.operating_points import OperatingPoint
from auto_router.decide.policy import Choices, choose
from auto_router.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ServedPolicy:
    """Everything that :func:`choose` needs beside the prompt."""

    thresholds: Floats | None
    costs: Floats | None
    """``[M]`` as the caller gave them."""
    fallback: int | None
    operating_point: str | None
    """Name of the fitted point in force; None where the caller's thresholds and costs decide alone."""
    handicaps: Floats | None
    default: int | None = None
    """The guarded default: the best single model of training, which unfamiliar rows go to."""
    pricing: Callable[[Floats], Floats] | None = None
    """From expected costs in the recorded unit to handicaps; None where no point, or the caller's own costs, are in force."""

    def priced(self, expected: Floats | None) -> ServedPolicy:
        """Return the policy for rows whose answers are expected to cost ``[N, M]`` (one row: ``[M]``), in the recorded unit."""
        if expected is None or self.pricing is None:
            return self
        return replace(self, handicaps=self.pricing(expected))

    def choose(self, probabilities: Floats, allowed: Bools | None = None, unfamiliar: Bools | None = None) -> Choices:
        return choose(
            probabilities, self.thresholds, self.costs, allowed, self.fallback, self.handicaps, unfamiliar, self.default
        )


def serve(
    names: Sequence[str],
    points: Mapping[str, OperatingPoint],
    model_thresholds: Mapping[str, float] | None = None,
    model_costs: Mapping[str, float] | None = None,
    fallback_model: str | None = None,
    operating_point: str | None = None,
) -> ServedPolicy:
    """Return the policy that these settings come to.

    Named, an operating point is in force. Else thresholds decide where there are any; else costs bring ``balanced``, and
    nothing at all brings ``accuracy``, where the artifact has them.

    Raises:
        ConfigError: a model or an operating point is unknown, or a value is impossible.
    """
    thresholds = per_model(names, model_thresholds, "model_thresholds")
    costs = per_model(names, model_costs, "model_costs")
    fallback = None if fallback_model is None else index_of(names, [fallback_model], "fallback_model")[0]
    if operating_point is not None and operating_point not in points:
        raise ConfigError(f"operating_point {operating_point!r} is not in this artifact; it has {', '.join(points) or 'none'}")
    if operating_point is None and thresholds is None:
        fitting = "accuracy" if costs is None or "balanced" not in points else "balanced"
        operating_point = fitting if fitting in points else None
        if costs is not None and fitting != "balanced":
            warnings.warn(
                "model_costs without model_thresholds would always choose the cheapest model, and this artifact has no "
                "'balanced' operating point: costs are reported, the highest probability decides. Give model_thresholds, or "
                "train with recorded costs or prices (nn_router.py --pool).",
                stacklevel=3,
            )
    # Costs alone must not decide: the cheapest model would answer everything.
    handicaps: Floats | None = np.zeros(len(names)) if thresholds is None and costs is not None else None
    pricing = None
    if operating_point is not None:
        point = points[operating_point]
        handicaps = point.handicaps(names, costs)
        pricing = point.pricing(names) if costs is None else None
    best = next((point.default for point in points.values()), None)
    default = names.index(best) if best in names else None
    return ServedPolicy(thresholds, costs, fallback, operating_point, handicaps, default, pricing)


class Policies:
    """The policy in force, and those of other operating points beside the same thresholds, costs and fallback.

    Takes the arguments of :func:`serve`, and raises what it raises.
    """

    def __init__(
        self,
        names: Sequence[str],
        points: Mapping[str, OperatingPoint],
        model_thresholds: Mapping[str, float] | None = None,
        model_costs: Mapping[str, float] | None = None,
        fallback_model: str | None = None,
        operating_point: str | None = None,
    ) -> None:
        self._serve = partial(serve, names, points, model_thresholds, model_costs, fallback_model)
        self._known: dict[str | None, ServedPolicy] = {None: self._serve(operating_point)}

    def under(self, point: str | None) -> ServedPolicy:
        """Return the policy under an operating point; None: the one in force. Raises ConfigError for an unknown one."""
        if point not in self._known:
            self._known[point] = self._serve(point)
        return self._known[point]


def choose_each(
    policies: Sequence[ServedPolicy],
    probabilities: Floats,
    allowed: Bools,
    unfamiliar: Bools | None = None,
    expected: Floats | None = None,
) -> Choices:
    """Decide every row under its own policy, ``policies[i]`` for row i; the rows of one policy are decided at once."""
    distinct = {id(policy): policy for policy in policies}
    if len(distinct) == 1:
        return policies[0].priced(expected).choose(probabilities, allowed, unfamiliar)
    ranking, qualified = np.empty(probabilities.shape, dtype=np.int64), np.empty(probabilities.shape, dtype=bool)
    reasons = [""] * len(policies)
    for number, policy in distinct.items():
        rows = [row for row, given in enumerate(policies) if id(given) == number]
        priced = policy.priced(None if expected is None else expected[rows])
        part = priced.choose(probabilities[rows], allowed[rows], None if unfamiliar is None else unfamiliar[rows])
        ranking[rows], qualified[rows] = part.ranking, part.qualified
        for row, reason in zip(rows, part.reasons, strict=True):
            reasons[row] = reason
    return Choices(ranking, qualified, allowed, reasons)
