"""Calibration is fitted where it helps, left out where it does not, and survives the artifact."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from auto_router.errors import ConfigError
from auto_router.learn.calibration import Calibration, fit_calibration

Floats = npt.NDArray[np.float64]


def population(rows: int, seed: int = 0) -> tuple[Floats, Floats]:
    """True P ``[N, 2]`` and labels drawn from it."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.05, 0.95, (rows, 2))
    return p, (rng.random(p.shape) < p).astype(np.float64)


def test_calibrated_probabilities_are_left_alone() -> None:
    p, y = population(3000)
    found = fit_calibration(p, y, np.arange(3000), seed=0)
    assert found.method == "none"
    assert set(found.log_loss) == {"none", "sigmoid", "isotonic"}
    assert np.array_equal(found(p), p)


@pytest.mark.parametrize(
    ("distort", "method"), [(lambda p: p**3 / (p**3 + (1 - p) ** 3), "sigmoid"), (lambda p: 0.5 * p, None)]
)
def test_distorted_probabilities_are_mended(distort: Any, method: str | None) -> None:
    truth, y = population(4000)
    found = fit_calibration(distort(truth), y, np.arange(4000), seed=0)
    assert found.method == method or (method is None and found.method != "none")
    new, _ = population(2000, seed=1)
    assert np.abs(found(distort(new)) - new).mean() < 0.03
    order = np.argsort(distort(new)[:, 0])
    assert (np.diff(found(distort(new))[order, 0]) >= 0).all(), "a calibration never turns an order round"


def test_few_or_constant_labels_are_left_alone() -> None:
    p, y = population(100)
    assert fit_calibration(p**2, y, np.arange(100), seed=0).method == "none"
    p, y = population(2000)
    y[:, 0], y[50:, 1] = 1.0, np.nan
    assert np.array_equal(fit_calibration(p**2, y, np.arange(2000), seed=0)(p), p)


def test_it_is_plain_values_and_back() -> None:
    p, y = population(2000)
    found = fit_calibration(p**3, y, np.arange(2000), seed=0)
    again = Calibration.from_plain(found.to_plain(), 2)
    assert np.array_equal(again(p), found(p))
    assert Calibration.from_plain({}, 5)(p) is p


@pytest.mark.parametrize(
    "change",
    [{"method": "magic"}, {"knots": [[[0.0, 1.0], [0.0]]] * 2}, {"knots": [[[1.0, 0.0], [0.0, 1.0]]] * 2}, {"knots": 3},
     {"knots": [[[0.0], [0.0]]]}, {"knots": [[[0.0, float("nan")], [0.0, 1.0]]] * 2}],
)  # fmt: skip
def test_damaged_values_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Calibration.from_plain(change, 2)
