"""Cost–quality curves and bootstrap intervals against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from auto_router.assess.curves import Curve, single_models, sweep
from auto_router.assess.intervals import GroupBootstrap, interval


def curve(*points: tuple[float, float]) -> Curve:
    costs, qualities = zip(*points, strict=True)
    return Curve(np.array(costs), np.array(qualities))


def test_the_hull_drops_what_is_dominated_or_below_a_line() -> None:
    found = curve((1, 0.4), (2, 0.45), (3, 0.8), (3, 0.7), (4, 0.6), (5, 0.9)).hull()
    assert found[0].tolist() == [1, 3, 5]
    assert found[1].tolist() == [0.4, 0.8, 0.9]


def test_aiq_by_hand() -> None:
    """Hull (1, .4) to (3, .8): area 1.2; flat at .8 to 5: 1.6; together 2.8 over a range of 4."""
    assert curve((1, 0.4), (3, 0.8)).aiq(1, 5) == pytest.approx(0.7)
    assert curve((2, 0.5)).aiq(2, 2) == 0.5


def test_a_sweep_goes_from_cheapest_to_most_promising() -> None:
    p = np.array([[0.9, 0.6], [0.3, 0.6]])
    labels = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = sweep(p, labels, np.array([2.0, 1.0]))
    assert (found.costs[0], found.qualities[0]) == (1.0, 0.5)
    assert (found.costs[-1], found.qualities[-1]) == (1.5, 1.0)


def test_the_zero_router_is_the_single_models() -> None:
    found = single_models(np.array([[1.0, 0.0], [1.0, np.nan]]), np.array([[4.0, 1.0], [2.0, 1.0]]))
    assert found.costs.tolist() == [3.0, 1.0]
    assert found.qualities.tolist() == [1.0, 0.0]


def test_bootstrap_resamples_groups_not_rows() -> None:
    """100 rows in two groups, all 0 or all 1: a mean is 0, 1/2 or 1, one half of the time 1/2."""
    values, groups = np.repeat([0.0, 1.0], 50), np.repeat([7, 9], 50)
    means = bootstrap_means(values, groups, seed=0)
    assert set(np.round(means, 6)) == {0.0, 0.5, 1.0}
    assert np.mean(means == 0.5) == pytest.approx(0.5, abs=0.06)
    assert interval(values, groups, seed=0) == (0.0, 1.0)


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        low, high = interval(rng.normal(0.3, 1.0, 80), np.arange(80), seed)
        covered += low <= 0.3 <= high
    assert covered >= 86


def test_unknown_values_are_left_out() -> None:
    values = np.array([1.0, np.nan, 1.0])
    assert interval(values, np.array([0, 1, 2]), seed=0) == (1.0, 1.0)
    assert np.isnan(bootstrap_means(np.array([np.nan]), np.array([0]), seed=0)).all()
