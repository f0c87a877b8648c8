"""Cost–quality curves against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_router.assess import cost_quality as curves
from auto_router.assess.cost_quality import Curve, curve_of, single_models

NAN = float("nan")


def curve(*points: tuple[float, float]) -> Curve:
    costs, qualities = zip(*points, strict=True)
    return Curve(np.array(costs), np.array(qualities))


def corners(found: tuple[np.ndarray, np.ndarray]) -> list[tuple[float, float]]:
    return list(zip(found[0].tolist(), found[1].tolist(), strict=True))


MIXED = curve((5, 0.9), (1, 0.4), (3, 0.7), (2, 0.45), (3, 0.8), (4, 0.6), (NAN, 1.0), (0, NAN))


def test_the_hull_drops_what_is_dominated_or_below_a_line() -> None:
    assert corners(MIXED.hull()) == [(1, 0.4), (3, 0.8), (5, 0.9)]


def test_pareto_points_keep_what_is_below_a_line() -> None:
    assert corners(MIXED.pareto()) == [(1, 0.4), (2, 0.45), (3, 0.8), (5, 0.9)]
    assert corners(curve((1, 0.4), (1, 0.4)).pareto()) == [(1, 0.4)]


def test_points_are_distinct_known_and_thinned_with_their_ends() -> None:
    assert len(MIXED.points()[0]) == 6
    many = Curve(np.arange(1000.0), np.arange(1000.0))
    costs, qualities = many.points(100)
    assert len(costs) == 100
    assert (costs[0], costs[-1]) == (0, 999)
    assert np.array_equal(costs, qualities)


def test_aiq_by_hand() -> None:
    """Hull (1, .4) to (3, .8): area 1.2; flat at .8 to 5: 1.6; together 2.8 over a range of 4."""
    assert curve((1, 0.4), (3, 0.8)).aiq(1, 5) == pytest.approx(0.7)
    assert curve((2, 0.5)).aiq(2, 2) == 0.5
    assert curve((3, 0.8)).aiq(1, 5) == pytest.approx(0.4)  # nothing can be bought below 3


def test_nauc_by_hand() -> None:
    """Pareto points (1, .4), (2, .45), (3, .8), (5, .9): areas .425 + .625 + 1.7 over 4; to 9, .9 · 4 more over 8."""
    assert MIXED.own_nauc() == pytest.approx(2.75 / 4)
    assert MIXED.nauc(1, 5) == pytest.approx(2.75 / 4)
    assert MIXED.nauc(1, 9) == pytest.approx((2.75 + 3.6) / 8)
    assert MIXED.peak() == 0.9


def test_the_cost_of_a_quality_by_hand() -> None:
    assert MIXED.cost_of(0.6) == pytest.approx(2.0)  # half way from .4 to .8, mixing the settings of cost 1 and 3
    assert MIXED.setting_cost(0.6) == 3
    assert (MIXED.cost_of(0.1), MIXED.setting_cost(0.1)) == (1, 1)
    assert (MIXED.cost_of(0.9), MIXED.setting_cost(0.9)) == (5, 5)
    assert MIXED.cost_of(0.91) is None
    assert MIXED.setting_cost(0.91) is None


def test_a_curve_without_known_points_is_undefined() -> None:
    nothing = curve((NAN, 0.5), (1.0, NAN))
    assert all(np.isnan(value) for value in (nothing.aiq(0, 1), nothing.nauc(0, 1), nothing.own_nauc(), nothing.peak()))
    assert nothing.cost_of(0.5) is None
    assert nothing.setting_cost(0.5) is None


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 1)), min_size=1, max_size=20))
def test_areas_stay_within_bounds(points: list[tuple[float, float]]) -> None:
    """The hull lies on or above the Pareto points, neither above the peak; over the own range no lower than the start."""
    found = curve(*points)
    low, high = float(found.pareto()[0][0]), float(found.pareto()[0][-1])
    assert found.pareto()[1][0] - 1e-9 <= found.own_nauc() <= found.aiq(low, high) + 1e-9
    assert found.aiq(low, high) <= found.peak() + 1e-9
    assert 0 <= found.nauc(0.1, 10) <= found.aiq(0.1, 10) + 1e-9
    costs, qualities = found.hull()
    assert (np.diff(costs) > 0).all()
    assert (np.diff(qualities) > 0).all()
    for cost, quality in points:
        reached = found.cost_of(quality)
        assert reached is not None
        assert reached <= cost + 1e-9


def test_a_sweep_goes_from_cheapest_to_most_promising() -> None:
    p = np.array([[0.9, 0.6], [0.3, 0.6]])
    labels = np.array([[1.0, 0.0], [0.0, 1.0]])
    costs = np.array([2.0, 1.0])
    found = curve_of(curves.settings(p, costs), labels, costs)
    assert (found.costs[0], found.qualities[0]) == (1.0, 0.5)
    assert (found.costs[-1], found.qualities[-1]) == (1.5, 1.0)


def test_settings_leave_out_what_is_not_eligible_or_unknown() -> None:
    p = np.array([[0.9, 0.6, 0.1], [0.9, NAN, 0.1], [0.9, 0.6, 0.1]])
    costs = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [NAN, NAN, 1.0]])
    eligible = np.array([[False, True, True], [False, True, True], [True, True, False]])
    found = curves.settings(p, costs, eligible)[:, [0, -1]]  # only the price counts; only P counts
    assert found.tolist() == [[2, 1], [2, 2], [0, 0]]  # row 2: the eligible ones are unknown, the known one is not eligible


def test_the_zero_router_is_the_single_models() -> None:
    found = single_models(np.array([[1.0, 0.0], [1.0, np.nan]]), np.array([[4.0, 1.0], [2.0, 1.0]]))
    assert found.costs.tolist() == [3.0, 1.0]
    assert found.qualities.tolist() == [1.0, 0.0]
