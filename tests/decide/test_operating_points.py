"""Operating points keep their aims, on new rows too, and the policy in force is the one that was meant."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from auto_router.data.dataset import Prediction
from auto_router.data.pool import ModelFacts
from auto_router.data.records import NOMINAL_TOKENS, Record, answer_costs
from auto_router.decide.eligibility import outcomes_of
from auto_router.decide.operating_points import NEVER, OperatingPoint, clustered_mean, fit_operating_points
from auto_router.decide.policy import Policy, resolve_policy
from auto_router.decide.rule import BEST_VALUE_QUALIFIED, CHEAPEST_QUALIFIED, choose
from auto_router.decide.settings import RouterSettings
from auto_router.errors import ConfigError

Floats = npt.NDArray[np.float64]
NAMES = ["big", "small"]
COSTS = np.array([10.0, 1.0])


def population(rows: int, seed: int, skill: float = 1.0) -> tuple[Floats, Floats]:
    """P(correct) and labels: on a third of the rows only the big model can answer; ``skill`` 0: P does not know which."""
    rng = np.random.default_rng(seed)
    hard = rng.random(rows) < 1 / 3
    truth = np.stack([np.full(rows, 0.8), np.where(hard, 0.2, 0.8)], axis=1)
    p = skill * truth + (1 - skill) * truth.mean(axis=0)
    return p, (rng.random((rows, 2)) < truth).astype(np.float64)


def choose_at(point: OperatingPoint, p: Floats) -> npt.NDArray[np.int64]:
    return choose(p, penalties=point.penalties(NAMES)).chosen


def test_every_point_keeps_its_aim_on_new_rows() -> None:
    p, y = population(4000, 0)
    points = fit_operating_points(p, y, COSTS, np.arange(4000), NAMES)
    assert list(points) == ["accuracy", "quality", "balanced", "economy"]
    new, truth = population(4000, 1)
    accuracy = {name: np.take_along_axis(truth, choose_at(point, new)[:, None], 1).mean() for name, point in points.items()}
    cost = {name: COSTS[choose_at(point, new)].mean() for name, point in points.items()}
    assert accuracy["accuracy"] >= truth[:, 0].mean() - 0.02
    assert accuracy["balanced"] >= truth[:, 0].mean() - 0.02
    assert accuracy["economy"] >= 0.97 * truth[:, 0].mean() - 0.02
    assert cost["economy"] <= cost["balanced"] <= cost["quality"] <= 10.0
    assert cost["balanced"] < 5.0, "two thirds of the prompts do not need the big model"


def test_where_nothing_can_be_told_the_best_single_model_is_never_left() -> None:
    p, y = population(2000, 0, skill=0.0)
    noisy = p + np.random.default_rng(5).normal(0, 0.3, p.shape)
    points = fit_operating_points(noisy, y, COSTS, np.arange(2000), NAMES)
    for name in ("accuracy", "quality"):
        assert points[name].margin == NEVER
        assert (choose_at(points[name], noisy) == 0).all()
        assert points[name].evidence["gain"] == 0.0


def test_without_costs_only_accuracy_is_fitted() -> None:
    p, y = population(300, 0)
    partly = np.tile([10.0, np.nan], (300, 1))
    for costs in (None, partly):
        assert list(fit_operating_points(p, y, costs, np.arange(300), NAMES)) == ["accuracy"]


def test_quality_is_more_careful_with_less_evidence() -> None:
    p, y = population(4000, 3)
    share = [
        fit_operating_points(p[:n], y[:n], COSTS, np.arange(n), NAMES)["quality"].evidence["cost share"] for n in (150, 4000)
    ]
    assert share[0] >= share[1]


def test_the_standard_error_counts_groups_not_rows() -> None:
    values = np.random.default_rng(0).normal(size=200)
    alone, error = clustered_mean(values, np.arange(200))
    assert (alone, error) == pytest.approx((values.mean(), values.std() / 200**0.5))
    repeated = clustered_mean(np.repeat(values, 5), np.repeat(np.arange(200), 5))
    assert repeated == pytest.approx((alone, error)), "five copies of a row are no more evidence than one"
    assert clustered_mean(np.array([np.nan, 1.0, 3.0]), np.arange(3))[0] == 2.0
    assert clustered_mean(np.array([np.nan]), np.arange(1)) == (0.0, float("inf"))


def test_penalties_are_prices_in_units_of_probability() -> None:
    point = OperatingPoint("", "big", margin=0.1, cost_weight=0.2, costs={"big": 3.0, "small": 1.0})
    assert point.penalties(NAMES).tolist() == pytest.approx([0.2 * 1.5 - 0.1, 0.2 * 0.5])
    assert point.penalties(NAMES, np.array([300.0, 100.0])) == pytest.approx(point.penalties(NAMES)), "any one unit"
    unknown = point.penalties(NAMES, expected=np.array([[3.0, np.nan], [np.nan, np.nan]]))
    assert unknown[0].tolist() == pytest.approx([0.2 * 1.5 - 0.1, 0.2 * 1.5])
    assert unknown[1].tolist() == pytest.approx([-0.1, 0.0]), "nothing known of a row: no price"
    again = OperatingPoint.from_plain(point.to_plain())
    assert again == point


@pytest.mark.parametrize("change", [{"margin": float("nan")}, {"cost_weight": -1.0}, {"costs": 5}, {"extra": 1}])
def test_damaged_points_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        OperatingPoint.from_plain(OperatingPoint("", "big").to_plain() | change)


POINTS = {name: OperatingPoint(name, "big", margin=0.3 if name == "accuracy" else 0.0) for name in ("accuracy", "balanced")}


def resolve(points: dict[str, OperatingPoint] = POINTS, **settings: Any) -> Policy:
    return resolve_policy(NAMES, points, RouterSettings(**settings))


def test_which_policy_is_in_force() -> None:
    costs = {"big": 1.0, "small": 0.1}
    assert resolve().operating_point == "accuracy"
    assert resolve(model_costs=costs).operating_point == "balanced"
    assert resolve(operating_point="balanced").operating_point == "balanced"
    own = resolve(model_thresholds={"big": 0.5}, model_costs=costs)
    assert (own.operating_point, own.penalties) == (None, None)
    assert own.choose(Prediction(np.array([[0.9, 0.8]]))).reasons == [CHEAPEST_QUALIFIED]
    guarded = resolve().choose(Prediction(np.array([[0.5, 0.7], [0.5, 0.9]])))
    assert guarded.chosen.tolist() == [0, 1]
    assert guarded.reasons == [BEST_VALUE_QUALIFIED] * 2
    with pytest.raises(ConfigError, match="'cheap' is not in this artifact; it has accuracy, balanced"):
        resolve(operating_point="cheap")
    with pytest.warns(UserWarning, match="always choose the cheapest"):
        bare = resolve({}, model_costs=costs)
    assert bare.choose(Prediction(np.array([[0.9, 0.8]]))).chosen.tolist() == [0]


def test_a_model_that_may_not_take_a_row_fails_it() -> None:
    labels = np.array([[1.0, np.nan], [np.nan, 1.0]])
    eligible = np.array([[True, False], [True, True]])
    assert np.array_equal(outcomes_of(labels, eligible), [[1.0, 0.0], [np.nan, 1.0]], equal_nan=True)


def test_costs_are_recorded_ones_or_prices() -> None:
    plain = Record(0, "p", "a", (), {"big": 1.0})
    facts = {"big": ModelFacts(1.0, 3.0), "small": ModelFacts(input_usd_per_mtok=1.0)}
    found = answer_costs([plain], NAMES, facts)
    assert found is not None
    assert np.array_equal(found, [[4.0 * NOMINAL_TOKENS / 1e6, np.nan]], equal_nan=True)
    assert answer_costs([plain], NAMES, {}) is None
    paid = Record(0, "p", "a", (), {"big": 1.0}, model_costs={"small": 0.25})
    recorded = answer_costs([paid, plain], NAMES, facts)
    assert recorded is not None
    assert np.array_equal(recorded, [[np.nan, 0.25], [np.nan, np.nan]], equal_nan=True)
