"""Drift: how the last decisions differ from what was expected when the router was trained."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from tabulate import tabulate

from auto_router.arrays import finite
from auto_router.data.dataset import Prediction
from auto_router.decide.rule import Choices

FALSE_ALARM = 0.002  # of normal traffic, for all figures together: what 3 standard errors are for one


@dataclass(frozen=True, slots=True)
class DriftReport:
    """Figures over the last ``decisions``; :attr:`alarms` says in words what is out of the ordinary."""

    decisions: int
    chosen: dict[str, float]
    """Share of the decisions that went to each model."""
    reasons: dict[str, float]
    probability: dict[str, float]
    """Mean P(correct) of each model."""
    expected_probability: dict[str, float]
    """The same over the training rows, out of fold; empty where the artifact does not say."""
    unfamiliar: float | None
    """Share of prompts unlike all of training; None where it was not measured."""
    expected_unfamiliar: float | None
    alarms: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return the figures as text for people."""
        rows = [
            [name, f"{self.chosen.get(name, 0.0):.1%}", f"{p:.3f}", _format(self.expected_probability.get(name))]
            for name, p in self.probability.items()
        ]
        text = tabulate(rows, headers=["model", "chosen", "mean P(correct)", "in training"], disable_numparse=True)
        return "\n".join([text, *self.alarms])

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values: None for what is no finite number."""
        return {
            name: {key: finite(value) for key, value in part.items()} if isinstance(part, dict) else part
            for name, part in asdict(self).items()
        }


class DriftMonitor:
    """Remembers figures, not prompts, of the last ``most`` decisions. May be used by several threads."""

    def __init__(self, names: Sequence[str], reference: Mapping[str, Any], most: int) -> None:
        self._names, self._reference = tuple(names), reference
        self._last: deque[tuple[int, str, list[float], float | None]] = deque(maxlen=most)
        self._lock = threading.Lock()

    def add(self, choices: Choices, prediction: Prediction) -> None:
        """Remember decided rows, and what they were decided on."""
        probabilities, novelty = prediction.probabilities, prediction.novelty
        distances = [None] * len(probabilities) if novelty is None else novelty.tolist()
        figures = zip(choices.chosen.tolist(), choices.reasons, probabilities.tolist(), distances, strict=True)
        with self._lock:
            self._last.extend(figures)

    def report(self) -> DriftReport:
        with self._lock:
            last = list(self._last)
        count = len(last)
        p = np.array([row[2] for row in last]).reshape(count, len(self._names))
        novelties = [row[3] for row in last if row[3] is not None]
        mean = p.mean(axis=0) if count else np.full(len(self._names), np.nan)
        expected = {n: v for n, v in self._reference.get("probability", {}).items() if n in self._names}
        spread = self._reference.get("spread", {})
        usual = self._reference.get("unfamiliar")
        unfamiliar = sum(n > 1 for n in novelties) / len(novelties) if novelties else None
        alarms = []
        # What is looked at is an extreme of many figures, and training was a sample too.
        clear = NormalDist().inv_cdf(1.0 - FALSE_ALARM / 2.0 / (len(self._names) + 1))
        samples = 1.0 / max(count, 1) + 1.0 / self._reference.get("groups", np.inf)
        for name, now, own in zip(self._names, mean.tolist(), (p.std(axis=0) if count else mean).tolist(), strict=True):
            if name in expected and name in spread and count > 1:
                error = max(spread[name], own, 1e-6) * samples**0.5
                if abs(now - expected[name]) > clear * error:
                    alarms.append(f"mean P(correct) of {name} is {now:.3f}, in training {expected[name]:.3f}")
        if unfamiliar is not None and usual is not None:
            error = (max(usual * (1 - usual), 1e-6) * samples) ** 0.5
            if unfamiliar - usual > clear * error:
                alarms.append(f"{unfamiliar:.1%} of the prompts are unlike those of training, {usual:.1%} were expected")
        return DriftReport(
            count, _shares([self._names[row[0]] for row in last]), _shares([row[1] for row in last]),
            dict(zip(self._names, mean.tolist(), strict=True)), expected, unfamiliar, usual, alarms,
        )  # fmt: skip


def _shares(values: Sequence[str]) -> dict[str, float]:
    return {value: count / len(values) for value, count in Counter(values).most_common()}


def _format(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
