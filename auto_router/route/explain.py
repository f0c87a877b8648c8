"""Why a model was chosen: the training prompts nearest to this one, and what would have changed the choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from auto_router.arrays import Floats, finite
from auto_router.data.dataset import Prediction
from auto_router.decide.policy import Policy
from auto_router.decide.rule import UNFAMILIAR, Decision
from auto_router.learn.novelty import NoveltyDetector

_STEP = 1e-6  # a setting is moved this little beyond the point where it makes no difference


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training record near the prompt."""

    idx: int
    distance: float
    """Above 1 is unlike all of training."""
    outcomes: dict[str, float | None]
    prompt: str | None
    """Only where the artifact keeps prompts."""


@dataclass(frozen=True, slots=True)
class Flip:
    """One setting that, moved to ``at`` and a little beyond, gives the prompt to ``model``."""

    model: str
    """Who would be chosen."""
    of: str
    """Whose setting it is."""
    setting: str
    """``threshold``, ``cost`` or, under an operating point, ``price`` (what the model costs in units of probability)."""
    now: float
    at: float


@dataclass(frozen=True, slots=True)
class Explanation:
    neighbours: list[Neighbour]
    """The nearest first; empty where the artifact holds none."""
    flips: list[Flip]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values: None for what is no finite number."""
        near = [asdict(neighbour) for neighbour in self.neighbours]
        changes = [{name: finite(value) for name, value in asdict(flip).items()} for flip in self.flips]
        return {"neighbours": near, "flips": changes}


def neighbours(detector: NoveltyDetector | None, row: Floats, names: Sequence[str], count: int) -> list[Neighbour]:
    """Return the training records nearest to an input row ``[D]``."""
    if detector is None:
        return []
    found = []
    for place, distance in detector.nearest(row, count):
        known = detector.outcomes[place].tolist()
        labels = {name: None if np.isnan(value) else round(value, 3) for name, value in zip(names, known, strict=True)}
        prompt = detector.prompts[place] if detector.prompts else None
        found.append(Neighbour(int(detector.idx[place]), distance / detector.limit, labels, prompt))
    return found


def flips(decision: Decision, policy: Policy, names: Sequence[str]) -> list[Flip]:
    """Return the single settings that would change the choice, each tried with the rule itself."""
    if decision.reason == UNFAMILIAR:
        return []
    p = np.array([[decision.probabilities[name] for name in names]])
    eligible = np.array([[name in decision.ranking for name in names]])
    found, seen = [], set()
    for setting, j, at, beyond in _candidates(p[0], policy, names.index(decision.model)):
        changed = _with(policy, setting, j, beyond, len(names))
        model = names[changed.choose(Prediction(p), eligible).chosen[0]]
        if model != decision.model and (setting, j, model) not in seen:
            seen.add((setting, j, model))
            now = _table(policy, setting, len(names))[j]
            found.append(Flip(model, names[j], setting, float(now), float(at)))
    return found


def _candidates(p: Floats, policy: Policy, chosen: int) -> Iterator[tuple[str, int, float, float]]:
    """Yield (setting, model, value at which it could matter, value a little beyond): where it meets a P, cost or price."""
    models = range(len(p))
    thresholds = _table(policy, "threshold", len(p))
    for j in models:
        # A model qualifies up to its own P; another threshold than that changes nothing.
        lower = thresholds[j] > p[j]
        yield "threshold", j, float(p[j]), float(p[j]) - _STEP if lower else float(p[j]) + _STEP
    if policy.penalties is not None:
        value = p - policy.penalties
        for j in models:
            if j == chosen:
                for other in np.sort(np.delete(value, chosen))[::-1].tolist():
                    yield "price", j, float(p[j] - other), float(p[j] - other) + _STEP
            else:
                at = float(p[j] - value[chosen])
                yield "price", j, at, at - _STEP
    elif policy.costs is not None:
        for j in models:
            known = np.unique(policy.costs[~np.isnan(policy.costs)])
            # The nearest first: it is the first change that counts.
            for other in known[np.argsort(np.abs(known - np.nan_to_num(policy.costs[j])), kind="stable")].tolist():
                yield from (("cost", j, other, other * (1 + sign * _STEP) + sign * _STEP) for sign in (-1, 1))


def _table(policy: Policy, setting: str, models: int) -> Floats:
    given = {"threshold": policy.thresholds, "cost": policy.costs, "price": policy.penalties}[setting]
    return np.zeros(models) if given is None else np.nan_to_num(given, nan=0.0 if setting == "threshold" else np.nan)


def _with(policy: Policy, setting: str, j: int, value: float, models: int) -> Policy:
    """Return the policy with one setting of one model changed."""
    table = _table(policy, setting, models).copy()
    table[j] = value
    if setting == "threshold":
        return replace(policy, thresholds=table)
    return replace(policy, costs=table) if setting == "cost" else replace(policy, penalties=table)
