"""The decision rule: against a ten-line reference, and its laws."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_router.data.dataset import Prediction
from auto_router.decide.eligibility import per_model
from auto_router.decide.operating_points import OperatingPoint
from auto_router.decide.rule import (
    CHEAPEST_QUALIFIED,
    FALLBACK,
    MOST_LIKELY_QUALIFIED,
    NONE_QUALIFIED,
    UNFAMILIAR,
    Decision,
    choose,
    decisions,
)
from auto_router.errors import ConfigError

Floats = npt.NDArray[np.float64]
NAMES = ("big", "mid", "small")


def reference(p: Floats, t: Floats, c: Floats | None, eligible: npt.NDArray[np.bool_], fallback: int | None) -> int:
    """The rule in words, for one row."""
    able = [j for j in range(len(p)) if eligible[j]]
    value = [-np.inf if np.isnan(x) else x for x in p]
    qualified = [j for j in able if t[j] <= 0 or value[j] >= t[j]]
    if qualified:
        price = [0.0] * len(p) if c is None else [np.inf if np.isnan(x) else x for x in c]
        return min(qualified, key=lambda j: (price[j], -value[j], j))
    if fallback is not None and eligible[fallback]:
        return fallback
    return min(able, key=lambda j: (-value[j], j))


grid = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5, 0.75, 1.0])


@st.composite
def situations(draw: st.DrawFn) -> tuple[Floats, Floats, Floats | None, npt.NDArray[np.bool_], int | None]:
    """Small pools on a coarse grid, so that ties, equal costs and NaN are common."""
    rows, models = draw(st.integers(1, 4)), draw(st.integers(1, 5))

    def matrix(values: st.SearchStrategy[float], *shape: int) -> Floats:
        size = int(np.prod(shape))
        return np.array(draw(st.lists(values, min_size=size, max_size=size))).reshape(shape)

    p = matrix(st.one_of(grid, st.just(np.nan)), rows, models)
    t = matrix(grid, models)
    c = draw(st.sampled_from([None, (models,), (rows, models)]))
    costs = None if c is None else matrix(st.one_of(grid, st.just(np.nan)), *c)
    eligible = np.array(draw(st.lists(st.booleans(), min_size=rows * models, max_size=rows * models))).reshape(rows, models)
    eligible[np.arange(rows), draw(st.lists(st.integers(0, models - 1), min_size=rows, max_size=rows))] = True
    return p, t, costs, eligible, draw(st.one_of(st.none(), st.integers(0, models - 1)))


@given(situations())
@settings(max_examples=500)
def test_the_vectorised_rule_is_the_reference(
    situation: tuple[Floats, Floats, Floats | None, npt.NDArray[np.bool_], int | None],
) -> None:
    p, t, c, eligible, fallback = situation
    choices = choose(p, t, c, eligible, fallback)
    table = None if c is None else np.broadcast_to(c, p.shape)
    for i in range(len(p)):
        assert choices.chosen[i] == reference(p[i], t, None if table is None else table[i], eligible[i], fallback)
        assert sorted(choices.ranking[i].tolist()) == list(range(p.shape[1]))
        assert eligible[i, choices.chosen[i]]


@given(situations(), st.booleans(), st.booleans())
def test_rows_that_are_all_alike_are_ranked_as_all_others(
    situation: tuple[Floats, Floats, Floats | None, npt.NDArray[np.bool_], int | None], priced: bool, guarded: bool
) -> None:
    """Without thresholds, and with all models eligible, the rule takes a shorter way."""
    p, _, costs, _, fallback = situation
    penalties = None if costs is None or not priced else np.nan_to_num(costs)
    novel = np.arange(len(p)) < (1 if guarded else 0)
    short = choose(p, None, costs, None, fallback, penalties, novel, 0)
    long = choose(p, np.zeros(p.shape[1]), costs, np.ones(p.shape, dtype=bool), fallback, penalties, novel, 0)
    assert short.ranking.tolist() == long.ranking.tolist()
    assert short.reasons == long.reasons
    assert short.qualified.all()
    assert long.qualified.all()


@given(situations(), st.data())
@settings(max_examples=300)
def test_lowering_a_threshold_never_makes_a_qualified_decision_dearer(
    situation: tuple[Floats, Floats, Floats | None, npt.NDArray[np.bool_], int | None], data: st.DataObject
) -> None:
    p, t, c, eligible, fallback = situation
    if c is None or np.isnan(c).any():
        return
    lower = t.copy()
    j = data.draw(st.integers(0, len(t) - 1))
    lower[j] = data.draw(st.sampled_from([0.0, t[j] / 2]))
    before, after = choose(p, t, c, eligible, fallback), choose(p, lower, c, eligible, fallback)
    price = np.broadcast_to(c, p.shape)
    for i in np.flatnonzero(before.qualified.any(axis=1)):
        assert price[i, after.chosen[i]] <= price[i, before.chosen[i]]


@given(situations(), st.data())
@settings(max_examples=300)
def test_raising_a_models_cost_never_makes_it_more_chosen(
    situation: tuple[Floats, Floats, Floats | None, npt.NDArray[np.bool_], int | None], data: st.DataObject
) -> None:
    p, t, c, eligible, fallback = situation
    if c is None:
        return
    j = data.draw(st.integers(0, p.shape[1] - 1))
    dearer = c.copy()
    dearer[..., j] = np.where(np.isnan(dearer[..., j]), np.nan, dearer[..., j] + 0.3)
    before, after = choose(p, t, c, eligible, fallback), choose(p, t, dearer, eligible, fallback)
    assert not ((after.chosen == j) & (before.chosen != j)).any()


def valued(p: Floats, t: Floats, h: Floats, eligible: npt.NDArray[np.bool_], fallback: int | None, guarded: int | None) -> int:
    """The rule with penalties in words, for one row; ``guarded``: the default model, where the row is novel."""
    if guarded is not None and eligible[guarded]:
        return guarded
    value = [-np.inf if np.isnan(x) else x for x in p]
    qualified = [j for j in range(len(p)) if eligible[j] and (t[j] <= 0 or value[j] >= t[j])]
    if qualified:
        return min(qualified, key=lambda j: (h[j] - value[j], -value[j], j))
    return reference(p, t, None, eligible, fallback)


@given(situations(), st.data())
@settings(max_examples=300)
def test_the_rule_with_penalties_and_novel_rows_is_the_reference(
    situation: tuple[Floats, Floats, Floats | None, npt.NDArray[np.bool_], int | None], data: st.DataObject
) -> None:
    p, t, c, eligible, fallback = situation
    penalties = np.array(data.draw(st.lists(grid, min_size=p.shape[1], max_size=p.shape[1])))
    novel = np.array(data.draw(st.lists(st.booleans(), min_size=len(p), max_size=len(p))))
    default = data.draw(st.integers(0, p.shape[1] - 1))
    choices = choose(p, t, c, eligible, fallback, penalties, novel, default)
    for i in range(len(p)):
        guarded = default if novel[i] else None
        assert choices.chosen[i] == valued(p[i], t, penalties, eligible[i], fallback, guarded)
        assert (choices.reasons[i] == UNFAMILIAR) == bool(novel[i] and eligible[i, default])
        assert sorted(choices.ranking[i].tolist()) == list(range(p.shape[1]))


@given(situations(), st.data())
@settings(max_examples=300)
def test_raising_a_price_or_a_cost_under_a_point_never_makes_a_model_more_chosen(
    situation: tuple[Floats, Floats, Floats | None, npt.NDArray[np.bool_], int | None], data: st.DataObject
) -> None:
    p, t, _, eligible, fallback = situation
    models = p.shape[1]
    names = [f"model {j}" for j in range(models)]
    costs = np.array(data.draw(st.lists(st.sampled_from([0.1, 0.25, 0.5, 1.0]), min_size=models, max_size=models)))
    j = data.draw(st.integers(0, models - 1))
    penalties = OperatingPoint("", names[0], 0.1, 0.2).penalties(names, costs)
    dearer = penalties.copy()
    dearer[j] += data.draw(st.sampled_from([0.01, 0.3]))
    before = choose(p, t, None, eligible, fallback, penalties)
    after = choose(p, t, None, eligible, fallback, dearer)
    assert not ((after.chosen == j) & (before.chosen != j)).any()
    subset = np.zeros(models, dtype=bool)
    subset[j] = True
    alone = eligible & subset
    if alone.any(axis=1).all():
        assert (choose(p, t, None, alone, fallback, penalties).chosen == j).all(), "a subset of one is that one"


def test_each_rule_says_its_reason() -> None:
    p = np.array([[0.9, 0.8, 0.6]])
    t, c = np.array([0.7, 0.7, 0.7]), np.array([1.0, 0.3, 0.1])
    assert choose(p).reasons == [MOST_LIKELY_QUALIFIED]
    cheap = decisions(choose(p, t, c), Prediction(p), NAMES, c)[0]
    assert (cheap.model, cheap.reason, cheap.cost) == ("mid", CHEAPEST_QUALIFIED, 0.3)
    assert cheap.qualified == ("big", "mid")
    assert cheap.ranking == ("mid", "big", "small")
    high = np.array([0.95, 0.95, 0.95])
    assert decisions(choose(p, high, c), Prediction(p), NAMES, c)[0].reason == NONE_QUALIFIED
    fallback = decisions(choose(p, high, c, fallback=2), Prediction(p), NAMES, c)[0]
    assert (fallback.model, fallback.reason, fallback.ranking) == ("small", FALLBACK, ("small", "big", "mid"))


def test_a_model_without_a_threshold_always_qualifies() -> None:
    choices = choose(np.array([[0.1, np.nan]]), np.array([np.nan, 0.5]))
    assert choices.qualified.tolist() == [[True, False]]


def test_no_eligible_model_is_an_error_that_names_the_row() -> None:
    with pytest.raises(ConfigError, match="row 1"):
        choose(np.zeros((2, 2)), eligible=np.array([[True, False], [False, False]]))


def test_decisions_hold_what_was_decided_and_no_other_row() -> None:
    p, costs = np.array([[0.2, 0.9, 0.5], [0.8, 0.1, np.nan]]), np.array([3.0, np.nan, 1.0])
    eligible, features = np.array([[True, True, True], [True, False, True]]), np.arange(2_000_000.0).reshape(2, -1)
    prediction = Prediction(p, novelty=np.array([0.5, 2.0]))
    made = decisions(choose(p, None, None, eligible), prediction, NAMES, costs, features, {"heads": 1.0})
    plain = [
        Decision("mid", dict(zip(NAMES, p[0].tolist(), strict=True)), NAMES, "most_likely_qualified", ("mid", "small", "big"),
                 None, 0.5, {"heads": 1.0}, features[0]),
        Decision("big", {"big": 0.8, "mid": 0.1}, ("big", "small"), "most_likely_qualified", ("big", "small"), 3.0, 2.0),
    ]  # fmt: skip
    assert made[0] == plain[0]
    assert made[0].timings == {"heads": 1.0}
    assert (made[0].features == features[0]).all()
    for name in ("model", "qualified", "reason", "ranking", "cost", "novelty"):
        assert getattr(made[1], name) == getattr(plain[1], name)
    assert replace(made[0], model="big") == replace(plain[0], model="big")
    assert copy.deepcopy(made[0]) == plain[0]
    assert len(pickle.dumps(made[1])) < 1.1 * features[0].nbytes, "a decision does not take its batch along"
    assert pickle.loads(pickle.dumps(made[0])) == plain[0]  # noqa: S301
    with pytest.raises(AttributeError, match="no attribute 'modle'"):
        made[0].modle  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    ("values", "what", "message"),
    [
        ({"bgi": 0.5}, "model_thresholds", "unknown model 'bgi'; this router knows big, mid, small"),
        ({"big": 1.5}, "model_thresholds", "from 0 to 1"),
        ({"big": float("nan")}, "model_costs", "numbers from 0"),
        ({"big": -1.0}, "model_costs", "numbers from 0"),
    ],
)
def test_impossible_thresholds_and_costs_are_refused(values: dict[str, float], what: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        per_model(NAMES, values, what)
