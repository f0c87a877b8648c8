"""Calibration: a map of each model's probability, so that a threshold means what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from auto_router.arrays import Floats
from auto_router.errors import ConfigError

METHODS = ("none", "sigmoid", "isotonic")


@dataclass(frozen=True, slots=True)
class Calibration:
    """One piecewise linear map 0…1 → 0…1 for each model: the values at its knots; no knots: unchanged."""

    method: str = "none"
    knots: list[tuple[list[float], list[float]]] = field(default_factory=list)
    log_loss: dict[str, float] = field(default_factory=dict)
    """Cross-validated mean log loss of every method that was tried."""

    _line: tuple[Floats, Floats, Floats] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # All maps on one line, model j's on 2j … 2j + 1, so that a decision interpolates once.
        starts = 2.0 * np.arange(len(self.knots))
        maps = [_from_end_to_end(*knots) for knots in self.knots]
        x = [start + x for start, (x, _) in zip(starts, maps, strict=True)]
        line = (starts, np.concatenate([[], *x]), np.concatenate([[], *(y for _, y in maps)]))
        object.__setattr__(self, "_line", line)

    def __call__(self, probabilities: Floats) -> Floats:
        """Return calibrated ``[N, M]``."""
        if not self.knots:
            return probabilities
        starts, x, y = self._line
        return np.interp(probabilities + starts, x, y).astype(probabilities.dtype)

    def to_plain(self) -> dict[str, Any]:
        return {"method": self.method, "knots": [[list(x), list(y)] for x, y in self.knots], "log_loss": dict(self.log_loss)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], n_models: int) -> Calibration:
        """Build from :meth:`to_plain`; an empty mapping is no calibration. Raises ConfigError where it is no such map."""
        try:
            knots = [([float(v) for v in x], [float(v) for v in y]) for x, y in values.get("knots", [])]
            found = cls(str(values.get("method", "none")), knots, dict(values.get("log_loss", {})))
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"calibration is not valid ({error})") from error
        rising = all(len(x) == len(y) and np.isfinite(x + y).all() and (np.diff(x) >= 0).all() for x, y in knots)
        if found.method not in METHODS or len(knots) not in (0, n_models) or not rising:
            raise ConfigError(f"calibration {found.method!r} with {len(knots)} maps does not fit {n_models} models")
        return found


def _from_end_to_end(x: list[float], y: list[float]) -> tuple[Floats, Floats]:
    """Return the knots from 0 to 1: constant beyond the first and the last one; no knots, no change."""
    if not x:
        return np.array([0.0, 1.0]), np.array([0.0, 1.0])
    return np.clip([0.0, *x, 1.0], 0.0, 1.0), np.array([y[0], *y, y[-1]])
