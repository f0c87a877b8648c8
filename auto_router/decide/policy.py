"""The decision rule, stated once and vectorised; training's assessment and every server call this one.

A row's models are put in the order in which they should be tried; the first is chosen:

0. in a row that is *unfamiliar* (unlike everything the router was trained on), the default model, where it is allowed;
1. the *qualified* (allowed, and P at or above their threshold): lowest cost first, ties by higher P; without costs,
   highest P first; with handicaps (of an operating point, which says what a right answer may cost), highest P - handicap
   first;
2. the fallback model, where it is allowed and not qualified;
3. the other allowed ones: highest P first.

Models that are not allowed are never chosen. A P of NaN counts as "not known to be able": below every threshold and
below every other P.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import compress
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from auto_router.arrays import Bools, Floats, Ints
from auto_router.errors import ConfigError

CHEAPEST_QUALIFIED = "cheapest_qualified"
MOST_LIKELY_QUALIFIED = "most_likely_qualified"
BEST_VALUE_QUALIFIED = "best_value_qualified"
FALLBACK = "fallback"
NONE_QUALIFIED = "none_qualified"
UNFAMILIAR = "unfamiliar"

_GUARDED, _QUALIFIED, _FALLBACK, _ALLOWED, _FORBIDDEN = range(5)


class Choices(NamedTuple):
    """The decisions of ``N`` rows over ``M`` models."""

    ranking: Ints
    """``[N, M]`` model indices, the one to ask first in column 0. Forbidden models come last."""
    qualified: Bools
    allowed: Bools
    reasons: list[str]

    @property
    def chosen(self) -> Ints:
        """``[N]`` index of the chosen model."""
        first: Ints = self.ranking[:, 0]
        return first


class _Unread:
    """The fields of a :class:`Decision` that its batch still holds as arrays: each is made when it is first read.

    Most callers read the model and go on; dicts and tuples for all the rest would take as long as the rule itself.
    """

    __slots__ = ("_batch", "_row")
    _batch: _Batch
    _row: int

    if not TYPE_CHECKING:  # a field that does not exist is still found out before it is run

        def __getattr__(self, name: str) -> Any:  # called for a field that is not set yet
            made = _FIELDS.get(name)
            if made is None:
                raise AttributeError(f"a decision has no {name!r}")
            value = made(self._batch, self._row)
            setattr(self, name, value)
            return value

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as plain values, without the rest of the batch."""
        return Decision, tuple(getattr(self, part.name) for part in fields(Decision))


@dataclass(slots=True)  # not frozen: its fields are filled when they are read
class Decision(_Unread):
    """One routing decision, for people and for callers that handle failures themselves."""

    model: str
    probabilities: dict[str, float]
    """Calibrated P(correct) of every model, 0…1."""
    qualified: tuple[str, ...]
    reason: str
    """``cheapest_qualified``, ``most_likely_qualified``, ``best_value_qualified``, ``fallback``, ``none_qualified`` or
    ``unfamiliar``."""
    ranking: tuple[str, ...]
    """Allowed models in the order to try; the chosen one first."""
    cost: float | None = None
    """What the answer is expected to cost, in the unit of the given costs, else of those recorded in training; None where
    unknown."""
    novelty: float | None = None
    """Distance from what the router was trained on, 1 being the limit of the familiar; None where it was not measured."""
    timings: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Seconds spent on ``encoder``, ``heads`` and ``decision`` by the batch in which this was decided."""
    features: Floats | None = field(default=None, compare=False, repr=False)
    """The network's input row of the prompt, for :meth:`ModelRouter.explain` and :meth:`ModelRouter.record`."""


def choose(
    probabilities: Floats,
    thresholds: Floats | None = None,
    costs: Floats | None = None,
    allowed: Bools | None = None,
    fallback: int | None = None,
    handicaps: Floats | None = None,
    unfamiliar: Bools | None = None,
    default: int | None = None,
) -> Choices:
    """Decide ``N`` rows at once.

    Args:
        probabilities: calibrated ``[N, M]``.
        thresholds: ``[M]``; a model with threshold 0 or NaN always qualifies. None: all qualify.
        costs: ``[M]`` or ``[N, M]``, any one unit; NaN = unknown, dearer than every known cost. None: P decides.
        allowed: ``[N, M]``; None: all are.
        fallback: index of the model to prefer where none qualifies.
        handicaps: ``[M]`` or ``[N, M]``, in units of P; the qualified are then ranked by P - handicap, not by cost.
        unfamiliar: ``[N]``: rows that go to ``default`` where it is allowed.
        default: index of the guarded default model; None: rows are decided as if familiar.

    Raises:
        ConfigError: a row has no allowed model.
    """
    p = probabilities
    open_ = np.ones(p.shape, dtype=bool) if allowed is None else allowed
    # NaN is sorted behind every number.
    order: Floats
    if handicaps is not None:
        order, best = handicaps - p, BEST_VALUE_QUALIFIED
    elif costs is not None:
        order, best = np.broadcast_to(costs, p.shape), CHEAPEST_QUALIFIED
    else:
        order, best = -p, MOST_LIKELY_QUALIFIED
    if unfamiliar is None or not np.count_nonzero(unfamiliar):
        default = None
    if thresholds is None and default is None and b"\0" not in open_.tobytes():  # for one row, sooner than open_.all()
        # Most prompts: all models qualify, so what follows would say the same, in twice the time.
        return Choices(np.lexsort((-p, order), axis=-1), open_, open_, [best] * len(p))
    tier, qualified = np.where(open_, _QUALIFIED, _FORBIDDEN), open_
    if thresholds is not None:
        floor = np.nan_to_num(thresholds, nan=0.0)
        qualified = open_ & ((p >= floor) | (floor <= 0.0))
        tier[open_ & ~qualified] = _ALLOWED
        order = np.where(qualified, order, 0.0)  # beyond the qualified P decides
    if fallback is not None:
        tier[tier[:, fallback] == _ALLOWED, fallback] = _FALLBACK
    if unfamiliar is not None and default is not None:
        tier[unfamiliar & open_[:, default], default] = _GUARDED
    ranking = np.lexsort((-p, order, tier), axis=-1)
    names = {_GUARDED: UNFAMILIAR, _QUALIFIED: best, _FALLBACK: FALLBACK, _ALLOWED: NONE_QUALIFIED, _FORBIDDEN: ""}
    reasons = [names[number] for number in np.minimum.reduce(tier, axis=1).tolist()]
    if "" in reasons:
        row = reasons.index("")
        raise ConfigError(f"row {row}: no model of the pool may take this input; widen models=, modalities or context")
    return Choices(ranking, qualified, open_, reasons)


class _Batch(NamedTuple):
    """What the decisions of one batch are read from; arguments of :func:`decisions`."""

    choices: Choices
    probabilities: Floats
    names: Sequence[str]
    costs: Floats | None
    novelty: Floats | None
    timings: Mapping[str, float]
    features: Floats | None

    def ranking(self, row: int) -> tuple[str, ...]:
        count = np.count_nonzero(self.choices.allowed[row])  # forbidden models come last
        return tuple([self.names[i] for i in self.choices.ranking[row, :count].tolist()])

    def cost(self, row: int) -> float | None:
        if self.costs is None:
            return None
        found = float(np.broadcast_to(self.costs, self.probabilities.shape)[row, self.choices.ranking[row, 0]])
        return None if isnan(found) else found


_FIELDS: dict[str, Callable[[_Batch, int], Any]] = {
    "probabilities": lambda batch, row: dict(zip(batch.names, batch.probabilities[row].tolist(), strict=True)),
    "qualified": lambda batch, row: tuple(compress(batch.names, batch.choices.qualified[row].tolist())),
    "ranking": _Batch.ranking,
    "cost": _Batch.cost,
    "novelty": lambda batch, row: None if batch.novelty is None else float(batch.novelty[row]),
    "timings": lambda batch, _: batch.timings,
    "features": lambda batch, row: None if batch.features is None else batch.features[row],
}


def decisions(
    choices: Choices,
    probabilities: Floats,
    names: Sequence[str],
    costs: Floats | None,
    novelty: Floats | None = None,
    timings: Mapping[str, float] | None = None,
    features: Floats | None = None,
) -> list[Decision]:
    """Return the :class:`Decision` of every row; they read from these arrays, which must not change any more.

    ``costs``: ``[M]`` or ``[N, M]``, to report; ``novelty`` [N] and ``features`` [N, D], where known.
    """
    batch = _Batch(choices, probabilities, names, costs, novelty, timings or {}, features)
    made = []
    for row, (chosen, reason) in enumerate(zip(choices.chosen.tolist(), choices.reasons, strict=True)):
        decision = Decision.__new__(Decision)
        decision.model, decision.reason = names[chosen], reason
        unread: _Unread = decision
        unread._batch, unread._row = batch, row
        made.append(decision)
    return made
