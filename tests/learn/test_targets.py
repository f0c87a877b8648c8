"""Cost-aware soft targets, by hand."""

from __future__ import annotations

from math import exp, nan
from typing import Any

import numpy as np
import pytest

from auto_router.arrays import Array
from auto_router.data.pool import ModelFacts
from auto_router.data.records import Record, answer_costs
from auto_router.errors import ConfigError
from auto_router.learn.mlp import cost_aware, scale_costs

NAMES = ["dear", "middle", "cheap"]


def matrix(*rows: list[float]) -> Array:
    return np.array(rows, dtype=np.float32)


def test_a_right_answer_is_worth_less_the_more_it_costs_than_the_cheapest_right_one() -> None:
    costs = matrix([1.0, 0.4, 0.1]).repeat(5, axis=0)
    labels = matrix([1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0], [1, nan, 0])
    by_hand = [
        [exp(-2 * 0.9), exp(-2 * 0.3), 1.0],
        [exp(-2 * 0.6), 1.0, 0.0],
        [1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0],
        [1.0, nan, 0.0],
    ]
    np.testing.assert_allclose(cost_aware(labels, costs, 2.0), by_hand, rtol=1e-6)


def test_weight_zero_gives_the_labels_back() -> None:
    labels = matrix([1, 0.3, nan], [0, 1, 1])
    np.testing.assert_array_equal(cost_aware(labels, matrix([1, 0.5, 0.1], [1, 0.5, 0.1]), 0.0), labels)


def test_graded_labels_are_scaled_and_never_raised() -> None:
    """From 0.5 a grade counts as right; a worse one that is cheaper than the cheapest right one keeps its grade."""
    labels = matrix([0.8, 0.6, 0.2], [0.4, 0.4, 0.4])
    costs = matrix([1.0, 0.4, 0.1], [1.0, 0.4, 0.1])
    np.testing.assert_allclose(cost_aware(labels, costs, 1.0), [[0.8 * exp(-0.6), 0.6, 0.2], [0.4, 0.4, 0.4]], rtol=1e-6)


def scale(costs: list[dict[str, float | None]], facts: dict[str, ModelFacts]) -> Array:
    """Scale what records with these costs, and a pool with these facts, tell of the models' costs."""
    records = [Record(i, "?", model_costs=row) for i, row in enumerate(costs)]
    return scale_costs(answer_costs(records, NAMES, facts), NAMES, len(records))


def test_recorded_costs_are_scaled_by_the_dearest_model_whatever_the_unit() -> None:
    rows: list[dict[str, float | None]] = [
        {"dear": 0.3, "middle": 0.1, "cheap": 0.02},
        {"dear": 0.1, "middle": None, "cheap": 0},
    ]
    for unit in (1.0, 1e-6):
        found = scale([{n: None if c is None else c * unit for n, c in row.items()} for row in rows], {})
        np.testing.assert_allclose(found, [[1.5, 0.5, 0.1], [0.5, 0.5, 0.0]], rtol=1e-5)


def test_prices_of_the_pool_stand_in_where_nothing_is_recorded() -> None:
    prices = {"dear": 20.0, "middle": 5.0, "cheap": 1.0}
    facts = {name: ModelFacts(price / 4, price * 3 / 4) for name, price in prices.items()}
    np.testing.assert_allclose(scale([{}, {}], facts), [[1.0, 0.25, 0.05]] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("costs", "facts", "message"),
    [
        ([{"dear": 0.1}], {}, "none is known of middle, cheap"),
        ([{}], {"dear": ModelFacts(input_usd_per_mtok=1.0)}, "none is known of dear, middle, cheap"),
        ([dict.fromkeys(NAMES, 0.0)], {}, "every model costs 0"),
    ],
)
def test_costs_that_are_not_known_are_an_error(costs: Any, facts: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scale(costs, facts)
