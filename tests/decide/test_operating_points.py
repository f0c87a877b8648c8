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
from auto_router.decide.operating_points import (
    FLOOR,
    NEVER,
    PROMISES,
    OperatingPoint,
    clustered_mean,
    default_point,
    fit_operating_points,
)
from auto_router.decide.policy import Policy, RouterSettings, resolve_policy
from auto_router.decide.rule import BEST_VALUE_QUALIFIED, CHEAPEST_QUALIFIED, choose
from auto_router.errors import ConfigError

Floats = npt.NDArray[np.float64]
NAMES = ["big", "small"]
COSTS = np.array([10.0, 1.0])


def population(rows: int, seed: int, skill: float = 1.0) -> tuple[Floats, Floats]:
    """P(correct) and labels: a third of the rows only the big model can answer, on another the small one is better.

    ``skill`` 0: P does not know which.
    """
    rng = np.random.default_rng(seed)
    small = rng.choice([0.2, 0.8, 0.95], size=rows)
    truth = np.stack([np.full(rows, 0.8), small], axis=1)
    p = skill * truth + (1 - skill) * truth.mean(axis=0)
    return p, (rng.random((rows, 2)) < truth).astype(np.float64)


def choose_at(point: OperatingPoint, p: Floats) -> npt.NDArray[np.int64]:
    return choose(p, penalties=point.penalties(NAMES)).chosen


def test_every_point_keeps_its_aim_on_new_rows() -> None:
    p, y = population(4000, 0)
    points = fit_operating_points(Prediction(p), y, COSTS, np.arange(4000), NAMES)
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
    points = fit_operating_points(Prediction(noisy), y, COSTS, np.arange(2000), NAMES)
    for name in ("accuracy", "quality", "balanced"):
        assert points[name].margin == NEVER
        assert (choose_at(points[name], noisy) == 0).all()
        assert points[name].evidence["gain"] == points[name].evidence["standard error"] == 0.0


def test_without_costs_only_accuracy_is_fitted() -> None:
    p, y = population(300, 0)
    partly = np.tile([10.0, np.nan], (300, 1))
    for costs in (None, partly):
        assert list(fit_operating_points(Prediction(p), y, costs, np.arange(300), NAMES)) == ["accuracy"]


def test_quality_is_more_careful_with_less_evidence() -> None:
    p, y = population(4000, 3)
    share = [
        fit_operating_points(Prediction(p[:n]), y[:n], COSTS, np.arange(n), NAMES)["quality"].evidence["cost share"]
        for n in (150, 4000)
    ]
    assert share[0] >= share[1]


@pytest.mark.parametrize("rows", [100, 300, 1000])
def test_promises_are_kept_as_often_as_they_say(rows: int) -> None:
    """Small samples, on which the best of many settings looks better than it is; judged by the true P, without luck."""
    kept = dict.fromkeys(PROMISES, 0)
    for seed in range(20):
        p, y = population(rows, seed, skill=0.5)
        points = fit_operating_points(Prediction(p), y, COSTS, np.arange(rows), NAMES)
        truth = population(5000, 1000 + seed)[0]
        seen = 0.5 * truth + 0.5 * truth.mean(axis=0)
        for name, promise in PROMISES.items():
            true_accuracy = np.take_along_axis(truth, choose_at(points[name], seen)[:, None], 1).mean()
            kept[name] += true_accuracy >= promise.share * truth[:, 0].mean() - 1e-9
            assert true_accuracy >= promise.share * truth[:, 0].mean() - FLOOR
    assert kept["quality"] >= 19
    assert min(kept["balanced"], kept["economy"]) >= 16


def test_a_setting_that_changed_no_outcome_is_not_taken_for_certain() -> None:
    """Forty rows on which the cheap model did as well say little of the next thousand."""
    p, y = np.tile([0.8, 0.8], (40, 1)), np.ones((40, 2))
    points = fit_operating_points(Prediction(p), y, COSTS, np.arange(40), NAMES)
    assert points["quality"].margin == NEVER
    assert points["quality"].evidence["cost share"] == 1.0


def test_p_is_believed_where_labels_are_few_and_labels_where_there_are_many() -> None:
    """P expects to gain 5 points by the small model; the labels have it losing 10."""

    def fitted(rows: int) -> OperatingPoint:
        p = np.tile([0.6, 0.65], (rows, 1))
        y = np.zeros((rows, 2))
        y[: int(0.6 * rows), 0], y[-int(0.5 * rows) :, 1] = 1.0, 1.0
        return fit_operating_points(Prediction(p), y, None, np.arange(rows), NAMES)["accuracy"]

    assert fitted(20).margin < NEVER
    assert fitted(5000).margin == NEVER


@pytest.mark.parametrize("rows", [100, 1000])
def test_few_labels_that_lost_nothing_by_chance_are_not_believed_against_p(rows: int) -> None:
    y, p = np.ones((100, 2)), np.tile([0.88, 0.78], (100, 1))
    y[:6], y[:3, 1] = 0.0, 1.0  # here the small model wins three rows and loses none; P expects it to lose five
    p[50:, 1], y[50:90, 1] = 0.3, 0.0
    economy = fit_operating_points(
        Prediction(np.tile(p, (rows // 100, 1))), np.tile(y, (rows // 100, 1)), COSTS, np.arange(rows), NAMES
    )["economy"]
    assert (economy.evidence["cost share"] < 1.0) == (rows == 1000)


def test_unfamiliar_rows_go_to_the_default_model_in_the_fit_too() -> None:
    p, y = population(2000, 0)
    gains = [
        fit_operating_points(Prediction(p, novelty), y, COSTS, np.arange(2000), NAMES)["economy"].evidence["cost share"]
        for novelty in (None, np.full(2000, 2.0))
    ]
    assert gains[0] < 1.0
    assert gains[1] == 1.0


def test_every_point_has_its_errors_beside_it() -> None:
    p, y = population(2000, 0)
    groups = np.arange(2000) // 2
    for point in fit_operating_points(Prediction(p), y, np.tile(COSTS, (2000, 1)), groups, NAMES).values():
        evidence = point.evidence
        assert evidence["rows"] == 2000
        if evidence["cost share"] < 1.0:
            assert 0 < evidence["standard error"] < 0.05
            assert 0 < evidence["cost share error"] < 0.1
        else:
            assert evidence["standard error"] == evidence["cost share error"] == 0.0


@pytest.mark.parametrize("costs", [np.zeros(2), np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.array([1e9, 1e-9])])
def test_free_models_and_huge_prices_are_ordinary(costs: Floats) -> None:
    p, y = population(300, 0)
    points = fit_operating_points(Prediction(p), y, costs, np.arange(300), NAMES)
    assert list(points) == ["accuracy", *PROMISES]
    assert all(np.isfinite(value) for point in points.values() for value in point.evidence.values())
    if costs[0] == 0.0:
        assert points["quality"].evidence.get("cost share", 1.0) == 1.0, "nothing is cheaper than a free model"


def test_one_group_of_rows_is_no_evidence() -> None:
    p, y = population(50, 0)
    points = fit_operating_points(Prediction(p), y, COSTS, np.zeros(50, dtype=np.int64), NAMES)
    assert all(points[name].margin == NEVER for name in PROMISES)


def test_what_is_served_without_settings() -> None:
    def point(share: float | None) -> OperatingPoint:
        return OperatingPoint("", "big", evidence={} if share is None else {"cost share": share})

    assert default_point({"accuracy": point(None)}) == "accuracy"
    assert default_point({"accuracy": point(0.9), "quality": point(0.4)}) == "quality"
    assert default_point({"accuracy": point(0.9), "quality": point(1.0)}) == "accuracy", "nothing could be saved safely"
    assert default_point({}) is None
    assert resolve_policy(NAMES, {"accuracy": point(0.9), "quality": point(0.4)}, RouterSettings()).operating_point == "quality"


def test_the_standard_error_counts_groups_not_rows() -> None:
    values = np.random.default_rng(0).normal(size=200)
    alone, error = clustered_mean(values, np.arange(200))
    assert (alone, error) == pytest.approx((values.mean(), values.std(ddof=1) / 200**0.5))
    repeated = clustered_mean(np.repeat(values, 5), np.repeat(np.arange(200), 5))
    assert repeated == pytest.approx((alone, error)), "five copies of a row are no more evidence than one"
    assert clustered_mean(np.array([np.nan, 1.0, 3.0]), np.arange(3))[0] == 2.0
    assert clustered_mean(np.array([np.nan]), np.arange(1)) == (0.0, float("inf"))
    assert clustered_mean(np.array([1.0, 0.0]), np.zeros(2, int)) == (0.5, float("inf")), "one group says nothing of its error"


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


def test_latency_is_traded_as_cost_is_and_beside_it() -> None:
    p, y = population(4000, 0)
    slow = np.random.default_rng(1).lognormal(0.0, 1.0, (4000, 2)) * [8.0, 1.0]
    slow[::2, 1] = np.nan
    points = fit_operating_points(Prediction(p), y, COSTS, np.arange(4000), NAMES, latencies=slow)
    assert list(points) == ["accuracy", *PROMISES, "latency"]
    fast = points["latency"]
    assert fast.costs == pytest.approx({"big": 8.0, "small": 1.0}, rel=0.1), "medians in seconds, whatever the tail"
    new, truth = population(4000, 1)
    chosen = choose_at(fast, new)
    assert np.take_along_axis(truth, chosen[:, None], 1).mean() >= truth[:, 0].mean() - 0.02
    assert (chosen == 0).mean() < 0.5, "two thirds of the prompts do not need the slow model"
    assert fast.evidence["latency share"] < 0.6
    assert "cost share" not in fast.evidence
    alone = fit_operating_points(Prediction(p), y, None, np.arange(4000), NAMES, latencies=slow)
    assert list(alone) == ["accuracy", "latency"], "no cost is needed"
    assert alone["latency"] == fast
    slow[19:, 1] = np.nan
    assert "latency" not in fit_operating_points(Prediction(p), y, COSTS, np.arange(4000), NAMES, latencies=slow), (
        "nine are too few"
    )
    assert OperatingPoint.from_plain(fast.to_plain()) == fast
    assert "weighs" not in points["quality"].to_plain(), "former versions read it, too"
    with pytest.raises(ConfigError, match="weighs 'beauty'"):
        OperatingPoint.from_plain({**fast.to_plain(), "weighs": "beauty"})


def test_costs_are_no_latencies() -> None:
    """Neither the caller's costs nor the expected ones weigh where latency does; thresholds hold."""
    fast = OperatingPoint("", "big", cost_weight=0.2, costs={"big": 3.0, "small": 1.0}, weighs="latency")
    p = Prediction(np.array([[0.9, 0.75]]), expected_costs=np.array([[0.1, 50.0]]))
    assert resolve({"latency": fast}, operating_point="latency").choose(p).chosen.tolist() == [1]
    dear = resolve({"latency": fast}, operating_point="latency", model_costs={"big": 0.1, "small": 50.0})
    assert dear.choose(p).chosen.tolist() == [1]
    strict = resolve({"latency": fast}, operating_point="latency", model_thresholds={"small": 0.8})
    assert strict.choose(p).chosen.tolist() == [0]


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
    with pytest.raises(ConfigError, match=r"has accuracy, balanced; choose one of these, or train again .* model_latencies"):
        resolve(operating_point="latency")
    with pytest.raises(ConfigError, match=r"choose one of these, or train again .* model_costs .* prices"):
        resolve(operating_point="economy")
    with pytest.raises(ConfigError, match="it has none: leave it out, or train again"):
        resolve({}, operating_point="latency")
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
