"""Expected costs: what the prompt tells of an answer's cost, and what the decision makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from auto_router.arrays import Floats
from auto_router.data.dataset import Prediction
from auto_router.decide.operating_points import OperatingPoint, fit_operating_points
from auto_router.decide.policy import RouterSettings, resolve_policy
from auto_router.errors import ConfigError
from auto_router.learn.cost_model import CostModel, explained_variance, fit_costs

NAMES = ["long", "flat", "partly"]


def costly_rows(rows: int, seed: int) -> tuple[Floats, Floats]:
    """Input rows, and costs: by the first feature, the same for all, and by the second but known of every other row only."""
    x = np.random.default_rng(seed).normal(size=(rows, 6)).astype(np.float32)
    costs = np.stack([3.0 + x[:, 0], np.full(rows, 2.0), np.where(np.arange(rows) % 2, np.nan, 5.0 - x[:, 1])], axis=1)
    return x, np.maximum(costs, 0.1)


def test_costs_are_told_from_the_prompt() -> None:
    x, costs = costly_rows(600, 0)
    fitted = fit_costs(x, costs, np.arange(600))
    assert fitted is not None
    model, out_of_fold = fitted
    assert explained_variance(costs, out_of_fold) > 0.95
    new, truth = costly_rows(400, 1)
    found = model(new)
    told = ~np.isnan(truth)
    assert np.abs(found - truth)[told].mean() < 0.1
    assert (found[:, 1] == 2.0).all(), "a cost that does not vary is its mean"
    assert (model(100 * new).max(axis=0) <= np.nanmax(costs, axis=0) + 1e-4).all(), "nothing beyond what was seen"
    assert (model(new[0]) == model(new[:1])[0]).all(), "one row alone"


def test_each_row_is_expected_without_its_own_group() -> None:
    x, costs = costly_rows(300, 0)
    costs[:, 0] = np.random.default_rng(2).lognormal(size=300)  # nothing to learn but the rows themselves
    twins, theirs = np.repeat(x, 2, axis=0), np.repeat(costs, 2, axis=0)
    fitted = fit_costs(twins, theirs, np.repeat(np.arange(300), 2))
    assert fitted is not None, "the third model's cost can be told"
    assert fitted[1][:, 0] == pytest.approx(costs[:, 0].mean()), "a cost that cannot be told is its mean"


def test_where_the_prompt_tells_nothing_there_is_no_model() -> None:
    x, _ = costly_rows(300, 0)
    flat = np.tile([1.0, 2.0], (300, 1))
    assert fit_costs(x, flat, np.arange(300)) is None
    assert fit_costs(x, np.full((300, 2), np.nan), np.arange(300)) is None
    few = np.where(np.arange(300)[:, None] < 20, 3.0 + x[:, :1], np.nan)
    assert fit_costs(x, few, np.arange(300)) is None, "twenty rows are too few"
    free = fit_costs(x, np.stack([3.0 + x[:, 0], np.zeros(300)], axis=1), np.arange(300))
    assert free is not None
    assert (free[0](x)[:, 1] == 0.0).all()


def test_a_saved_model_is_the_same_and_damage_is_refused() -> None:
    fitted = fit_costs(*costly_rows(300, 0), np.arange(300))
    assert fitted is not None
    model, x = fitted[0], costly_rows(5, 3)[0]
    plain = model.to_plain()
    again = CostModel.from_plain(plain, 6, 3)
    assert again is not None
    assert (again(x) == model(x)).all()
    assert CostModel.from_plain({}, 6, 3) is None
    for damage in (
        {"weights": torch.zeros(5, 3)}, {"offset": None}, {"low": torch.zeros(3, dtype=torch.float64)},
        {"high": torch.full((3,), torch.inf)}, {"weights": torch.full((6, 3), torch.nan)},
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="expected costs are damaged"):
            CostModel.from_plain({**plain, **damage}, 6, 3)


def test_a_model_more_or_fewer() -> None:
    fitted = fit_costs(*costly_rows(300, 0), np.arange(300))
    assert fitted is not None
    model, x = fitted[0], costly_rows(5, 3)[0]
    assert (model.without_column(0)(x) == model(x)[:, 1:]).all()
    assert (model.with_column(7.0)(x)[:, 3] == 7.0).all()
    assert np.isnan(model.with_column(None)(x)[:, 3]).all()


def test_the_decision_weighs_what_this_prompt_will_cost() -> None:
    names = ["big", "small"]
    points = {"balanced": OperatingPoint("", "big", cost_weight=0.2, costs={"big": 3.0, "small": 1.0})}
    policy = resolve_policy(names, points, RouterSettings(operating_point="balanced"))
    p = np.array([[0.9, 0.75], [0.9, 0.75]])
    assert policy.choose(Prediction(p)).chosen.tolist() == [1, 1], "by its mean cost big is worth less"
    expected = np.array([[1.2, 1.0], [6.0, 1.0]])
    told = Prediction(p, expected_costs=expected)
    assert policy.choose(told).chosen.tolist() == [0, 1]
    own = resolve_policy(names, points, RouterSettings(model_costs={"big": 3.0, "small": 1.0}, operating_point="balanced"))
    assert own.choose(told).chosen.tolist() == [1, 1], "the caller's costs come first"
    assert policy.with_costs(None) is policy


def test_expected_costs_save_money_at_the_same_accuracy() -> None:
    rng = np.random.default_rng(0)
    right = np.tile([0.8, 0.7], (2000, 1))
    y = (rng.random((2000, 2)) < right).astype(np.float64)
    length = rng.lognormal(0.0, 1.0, 2000)
    costs = np.stack([3.0 * length, np.full(2000, 1.0)], axis=1)
    flat = fit_operating_points(Prediction(right), y, costs, np.arange(2000), ["big", "small"])
    by_prompt = fit_operating_points(Prediction(right, None, costs), y, costs, np.arange(2000), ["big", "small"])
    for name in ("economy", "balanced"):
        assert by_prompt[name].evidence["cost share"] <= flat[name].evidence["cost share"]
    assert by_prompt["economy"].evidence["cost share"] < 0.8 * flat["economy"].evidence["cost share"]
