"""The decision rule, stated once and vectorised; training's assessment and every server call this one.

A row's models are put in the order in which they should be tried; the first is chosen:

0. in a row that is *unfamiliar* (unlike everything the router was trained on), the default model, where it is eligible;
1. the *qualified* (eligible, and P at or above their threshold): lowest cost first, ties by higher P; without costs,
   highest P first; with penalties (of an operating point, which says what a right answer may cost), highest P - penalty
   first;
2. the fallback model, where it is eligible and not qualified;
3. the other eligible ones: highest P first.

Models that are not eligible are never chosen. A P of NaN counts as "not known to be able": below every threshold and
below every other P.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np

from auto_router.arrays import Bools, Floats, Ints, finite
from auto_router.data.dataset import Prediction
from auto_router.errors import ConfigError

CHEAPEST_QUALIFIED = "cheapest_qualified"
MOST_LIKELY_QUALIFIED = "most_likely_qualified"
BEST_VALUE_QUALIFIED = "best_value_qualified"
FALLBACK = "fallback"
NONE_QUALIFIED = "none_qualified"
UNFAMILIAR = "unfamiliar"

_GUARDED, _QUALIFIED, _FALLBACK, _ELIGIBLE, _INELIGIBLE = range(5)


class Choices(NamedTuple):
    """The decisions of ``N`` rows over ``M`` models."""

    ranking: Ints
    """``[N, M]`` model indices, the one to ask first in column 0. Ineligible models come last."""
    qualified: Bools
    eligible: Bools
    reasons: list[str]

    @property
    def chosen(self) -> Ints:
        """``[N]`` index of the chosen model."""
        first: Ints = self.ranking[:, 0]
        return first


@dataclass(frozen=True, slots=True)
class Decision:
    """One routing decision, for people and for callers that handle failures themselves."""

    model: str
    probabilities: dict[str, float]
    """Calibrated P(correct) of every model, 0…1."""
    qualified: tuple[str, ...]
    reason: str
    """``cheapest_qualified``, ``most_likely_qualified``, ``best_value_qualified``, ``fallback``, ``none_qualified``,
    ``unfamiliar``, ``session`` (the conversation's model stays), ``too_long`` or ``no_model_fits``."""
    ranking: tuple[str, ...]
    """Eligible models in the order to try; the chosen one first."""
    cost: float | None = None
    """What the answer is expected to cost, in the unit of the given costs, else of those recorded in training; None where
    unknown."""
    novelty: float | None = None
    """Distance from what the router was trained on, above 1 being unlike all of it; None where it was not measured."""
    timings: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Seconds spent on ``encoder``, ``heads`` and ``decision`` by the batch in which this was decided."""
    features: Floats | None = field(default=None, compare=False, repr=False)
    """The network's input row of the prompt, for :meth:`ModelRouter.explain` and :meth:`ModelRouter.record`."""
    session: str | None = None
    """What became of the request's session: ``new``, ``kept``, ``switched``, ``pinned``, ``unknown_maker`` or ``store_down``;
    None where it has none."""

    def to_dict(self) -> dict[str, Any]:
        """Return what was decided and on what, as JSON takes it: no features, and None for what is no finite number."""
        return {
            "model": self.model,
            "reason": self.reason,
            "probabilities": {name: finite(p) for name, p in self.probabilities.items()},
            "qualified": list(self.qualified),
            "ranking": list(self.ranking),
            "cost": finite(self.cost),
            "novelty": finite(self.novelty),
            "session": self.session,
        }


def choose(
    probabilities: Floats,
    thresholds: Floats | None = None,
    costs: Floats | None = None,
    eligible: Bools | None = None,
    fallback: int | None = None,
    penalties: Floats | None = None,
    novel: Bools | None = None,
    default: int | None = None,
) -> Choices:
    """Decide ``N`` rows at once.

    Args:
        probabilities: calibrated ``[N, M]``.
        thresholds: ``[M]``; a model with threshold 0 or NaN always qualifies. None: all qualify.
        costs: ``[M]`` or ``[N, M]``, any one unit; NaN = unknown, dearer than every known cost. None: P decides.
        eligible: ``[N, M]``; None: all are.
        fallback: index of the model to prefer where none qualifies.
        penalties: ``[M]`` or ``[N, M]``, in units of P; the qualified are then ranked by P - penalty, not by cost.
        novel: ``[N]``: rows that go to ``default`` where it is eligible.
        default: index of the guarded default model; None: rows are decided as if none were novel.

    Raises:
        ConfigError: a row has no eligible model.
    """
    p = probabilities
    may = np.ones(p.shape, dtype=bool) if eligible is None else eligible
    # NaN is sorted behind every number.
    order: Floats
    if penalties is not None:
        order, best = penalties - p, BEST_VALUE_QUALIFIED
    elif costs is not None:
        order, best = np.broadcast_to(costs, p.shape), CHEAPEST_QUALIFIED
    else:
        order, best = -p, MOST_LIKELY_QUALIFIED
    if novel is None or not np.count_nonzero(novel):
        default = None
    tier, qualified = np.where(may, _QUALIFIED, _INELIGIBLE), may
    if thresholds is not None:
        floor = np.nan_to_num(thresholds, nan=0.0)
        qualified = may & ((p >= floor) | (floor <= 0.0))
        tier[may & ~qualified] = _ELIGIBLE
        order = np.where(qualified, order, 0.0)  # beyond the qualified P decides
    if fallback is not None:
        tier[tier[:, fallback] == _ELIGIBLE, fallback] = _FALLBACK
    if novel is not None and default is not None:
        tier[novel & may[:, default], default] = _GUARDED
    ranking = np.lexsort((-p, order, tier), axis=-1)
    names = {_GUARDED: UNFAMILIAR, _QUALIFIED: best, _FALLBACK: FALLBACK, _ELIGIBLE: NONE_QUALIFIED, _INELIGIBLE: ""}
    reasons = [names[number] for number in np.minimum.reduce(tier, axis=1).tolist()]
    if "" in reasons:
        row = reasons.index("")
        raise ConfigError(f"row {row}: no model of the pool may take this input; widen models=, modalities or context")
    return Choices(ranking, qualified, may, reasons)


def decisions(
    choices: Choices,
    prediction: Prediction,
    names: Sequence[str],
    costs: Floats | None = None,
    features: Floats | None = None,
    timings: Mapping[str, float] | None = None,
    sessions: Sequence[str | None] | None = None,
) -> list[Decision]:
    """Return the :class:`Decision` of every row.

    Args:
        choices: what was chosen on ``prediction``.
        names: of the models.
        costs: ``[M]`` or ``[N, M]``, to report; None: those that were expected.
        features: ``[N, D]``, the rows that the prediction is of.
        timings: seconds that the batch took.
        sessions: what became of each row's session; None: no row has one.
    """
    costs = prediction.expected_costs if costs is None else costs
    chosen = choices.chosen.tolist()
    paid: list[float] = [nan] * len(chosen)
    if costs is not None:
        paid = (costs[choices.chosen] if costs.ndim == 1 else costs[np.arange(len(chosen)), choices.chosen]).tolist()
    novelty = [None] * len(chosen) if prediction.novelty is None else prediction.novelty.tolist()
    tables = zip(
        prediction.probabilities.tolist(), choices.ranking.tolist(), choices.qualified.tolist(),
        choices.eligible.sum(axis=1).tolist(), strict=True,
    )  # fmt: skip
    return [
        Decision(
            names[chosen[row]], dict(zip(names, p, strict=True)), tuple(compress(names, qualified)), choices.reasons[row],
            tuple([names[j] for j in ranking[:count]]), None if isnan(paid[row]) else paid[row], novelty[row],
            timings or {}, None if features is None else features[row], None if sessions is None else sessions[row],
        )
        for row, (p, ranking, qualified, count) in enumerate(tables)
    ]  # fmt: skip
