"""The whole assessment: by hand on four rows, then what must hold for any router on any rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_router.assess import tables, test_set
from auto_router.assess.assessment import NO_SOURCE, assess
from auto_router.assess.test_set import TestSet
from auto_router.data.dataset import Dataset, Prediction
from auto_router.data.pool import ModelFacts
from auto_router.data.records import NOMINAL_TOKENS, Record, answer_costs, group_ids, label_matrix
from auto_router.decide.policy import Policy
from auto_router.decide.rule import choose
from auto_router.errors import DataError
from tests.fakes import FOUR, NAN, POOR, make_test_set


def test_four_rows_by_hand() -> None:
    """The router is right four times; strong three times (0.75), weak twice; the oracle always."""
    found = assess(FOUR, best_single=1, seed=0)
    system = found["system"]
    assert (system["router"], system["best_single"], system["cheapest"], system["random"], system["oracle"]) == (
        1.0, 0.75, 0.5, 0.625, 1.0,
    )  # fmt: skip
    assert (system["best_single_model"], system["cheapest_model"], system["gap_closed"]) == ("strong", "weak", 1.0)
    assert system["router_minus_best_single"] == 0.25
    assert system["costs"] == {"router": 2.5, "best_single": 4.0, "cheapest": 1.0, "random": 2.5, "oracle": 2.5}
    assert system["cost_share"] == 0.625
    saving = (2 - np.log2(2.5)) / 2
    assert system["rank_score"] == pytest.approx(1.1 * saving / (0.1 + saving))
    assert system["selection"] == {"weak": 0.5, "strong": 0.5}


def test_the_models_of_four_rows_by_hand() -> None:
    """Weak, P .9 .2 .6 .4 against 1 0 0 1: three of four pairs in order; at 0.5 right on rows 0 and 1."""
    weak = assess(FOUR, best_single=1, seed=0)["per_model"]["weak"]
    assert (weak["auc"], weak["accuracy"], weak["f1"], weak["positive_rate"], weak["known"]) == (0.75, 0.5, 0.5, 0.5, 4)
    assert weak["brier"] == pytest.approx((0.01 + 0.04 + 0.36 + 0.36) / 4)
    assert weak["mean_cost"] == 1.0
    assert weak["oracle_gain"] == 0.25  # only row 3 needs it
    assert weak["reliability"]["predicted"] == [0.2, 0.4, 0.6, 0.9]
    assert weak["reliability"]["observed"] == [0, 1, 0, 1]
    assert weak["reliability"]["count"] == [1, 1, 1, 1]
    strict = assess(replace(FOUR, thresholds=np.array([0.7, NAN])), best_single=1, seed=0)["per_model"]
    assert (strict["weak"]["accuracy"], strict["weak"]["f1"]) == (0.75, pytest.approx(2 / 3))
    assert strict["strong"]["threshold"] is None


def test_latencies_of_four_rows_by_hand() -> None:
    assert assess(FOUR, best_single=1, seed=0)["latency"] is None
    timed = replace(FOUR, latencies=np.array([[1.0, 8.0], [2.0, NAN], [NAN, 6.0], [4.0, 7.0]]))
    found = assess(timed, best_single=1, seed=0, operating_points={"strong": timed.always(1)})["latency"]
    assert found["models"]["weak"] == {"median": 2.0, "p95": pytest.approx(3.8), "known": 3, "accuracy": 0.5}
    assert found["router"] == {"median": 4.0, "p95": pytest.approx(5.8), "known": 3}, "1, unknown, 6 and 4"
    assert found["operating_points"]["strong"]["median"] == 7.0
    none = replace(FOUR, latencies=np.array([[1.0, NAN]] * 4))
    assert assess(none, best_single=1, seed=0)["latency"]["models"]["strong"]["p95"] is None
    with pytest.raises(DataError, match="latencies of the held-out rows"):
        replace(FOUR, latencies=np.ones((3, 2)))


def test_the_curve_of_four_rows_by_hand() -> None:
    """λ = 0: weak always (1, .5). Then strong where it promises more, most first: rows 1 (+.5) and 2 (+.3) make
    (1.75, .75) and (2.5, 1); never rows 0 and 3. The hull is a line, of mean height .75 to 2.5, and 1 from there to 4."""
    found = assess(FOUR, best_single=1, seed=0)["cost_quality"]
    assert found["range"] == [1.0, 4.0]
    assert found["curve"] == [[1.0, 0.5], [1.75, 0.75], [2.5, 1.0]]
    assert found["hull"] == [[1.0, 0.5], [2.5, 1.0]] or found["hull"] == found["curve"]
    assert found["aiq"] == pytest.approx((1.5 * 0.75 + 1.5 * 1.0) / 3)
    assert found["pool_nauc"] == pytest.approx(found["aiq"])
    assert found["own_nauc"] == pytest.approx(0.75)
    assert found["zero_router_hull"] == [[1.0, 0.5], [4.0, 0.75]]
    assert found["zero_router_aiq"] == pytest.approx(0.625)
    assert found["peak"] == 1.0
    assert found["qnc"] == pytest.approx(1.75 / 4)
    assert found["cost_save"] == pytest.approx(1 - 1.75 / 4)
    assert found["perf_gain"] == pytest.approx(1 / 0.75 - 1)
    assert found["single_models"] == {"weak": [1.0, 0.5], "strong": [4.0, 0.75]}


def test_the_pair_of_four_rows_by_hand() -> None:
    """Advantages of strong: -.1 .5 .3 -.15, gains 0 1 1 -1, of 1 in all: PGR 0, 1, 2, 2, 1 at each quarter of calls."""
    pair = assess(FOUR, best_single=1, seed=0)["pair"]
    assert (pair["strong"], pair["weak"]) == ("strong", "weak")
    assert pair["apgr"] == pytest.approx(0.25 * (0.5 + 1.5 + 2.0 + 1.5))
    assert (pair["cpt_50"], pair["cpt_80"]) == (pytest.approx(0.125), pytest.approx(0.2))
    assert assess(make_test_set(20, 3, 0), 0, 0)["pair"] is None


def test_breakdowns_of_four_rows_by_hand() -> None:
    found = assess(FOUR, best_single=1, seed=0)["breakdown"]
    assert list(found["source"]) == ["x", NO_SOURCE, "y"]
    assert found["source"]["x"] == {
        "rows": 2, "router": 1.0, "best_single": 1.0, "random": 0.75, "oracle": 1.0,
        "selection": {"weak": 0.5, "strong": 0.5},
    }  # fmt: skip
    assert found["source"]["y"]["best_single"] == 0.0
    assert {name: part["rows"] for name, part in found["modality"].items()} == {"text": 3, "text + image": 1}


def test_operating_points_and_baselines() -> None:
    """The best single model as an operating point ties with itself; the router as a baseline too."""
    test = make_test_set(300, 4, 1)
    points = {"best": test.always(3), "served": test.chosen}
    found = assess(test, 3, 0, points, {"itself": test.probabilities, "inverted": 1 - test.probabilities})
    best, served = found["operating_points"]["best"], found["operating_points"]["served"]
    assert (best["minus_best_single"], best["minus_best_single_interval"], best["cost_share"]) == (0.0, [0.0, 0.0], 1.0)
    assert best["selection"]["m3"] == 1.0
    assert served["accuracy"] == found["system"]["router"]
    assert served["minus_best_single_interval"] == found["system"]["router_minus_best_single_interval"]
    assert served["minus_best_single_interval"][0] > 0  # P are true, so the router is clearly better
    itself, inverted = found["baselines"]["itself"], found["baselines"]["inverted"]
    assert (itself["minus_router"], itself["minus_router_interval"]) == (0.0, [0.0, 0.0])
    assert itself["aiq"] == found["cost_quality"]["aiq"]
    assert itself["mean_auc"] == found["system"]["mean_auc"]
    assert itself["gap_closed"] == found["system"]["gap_closed"]
    assert inverted["minus_router_interval"][1] < 0
    assert inverted["mean_auc"] == pytest.approx(1 - itself["mean_auc"])
    assert inverted["mean_ece"] > itself["mean_ece"] + 0.1


def test_what_may_not_be_asked_is_chosen_by_no_method() -> None:
    test = make_test_set(100, 3, 2)
    eligible = np.ones((100, 3), dtype=bool)
    eligible[:, 0] = False
    served = choose(test.probabilities, eligible=eligible).chosen
    found = assess(replace(test, eligible=eligible, chosen=served), 2, 0, baselines={"b": test.probabilities})
    assert found["baselines"]["b"]["minus_router"] == 0.0
    assert found["cost_quality"]["curve"][0][0] == pytest.approx(0.002)  # model 1 is the cheapest that may be asked


def headline(found: dict[str, Any]) -> dict[str, Any]:
    """The measures that rows without labels must not move: all but counts, selections and intervals."""
    system = {k: v for k, v in found["system"].items() if "interval" not in k and k != "selection"}
    models = {n: {k: v for k, v in m.items() if "interval" not in k} for n, m in found["per_model"].items()}
    for model in models.values():
        model["reliability"].pop("observed_interval")
    curve = {k: v for k, v in found["cost_quality"].items() if "interval" not in k}
    return {"system": system, "models": models, "curve": curve}


def rounded(value: Any) -> Any:
    """The tree, equal to one whose numbers were summed in another order."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return pytest.approx(value) if isinstance(value, float) else value


@settings(deadline=None, max_examples=10)
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_unknown_labels_do_not_matter(models: int, seed: int) -> None:
    """Rows with nothing known change no measure; P and the decision on them may be anything."""
    test = make_test_set(60, models, seed, unknown=0.2)
    rng, nothing = np.random.default_rng(seed), np.full((20, models), NAN)
    assert test.costs is not None
    more = test_set.TestSet(
        names=test.names,
        prediction=Prediction(np.concatenate([test.probabilities, rng.random((20, models))])),
        chosen=np.concatenate([test.chosen, rng.integers(0, models, 20)]),
        labels=np.concatenate([test.labels, nothing]),
        groups=np.concatenate([test.groups, np.arange(1000, 1020)]),
        costs=np.concatenate([test.costs, nothing]),
    )
    assert headline(assess(more, 0, 0)) == rounded(headline(assess(test, 0, 0)))


@settings(deadline=None, max_examples=10)
@given(st.integers(2, 6), st.integers(0, 10_000))
def test_always_the_best_single_model_has_qnc_1_and_closes_nothing(models: int, seed: int) -> None:
    test = make_test_set(50, models, seed)
    best = int(test.labels.mean(axis=0).argmax())
    only = np.tile(np.arange(models) == best, (50, 1)).astype(float)
    found = assess(replace(test, prediction=Prediction(only), chosen=test.always(best)), best, 0)
    assert found["cost_quality"]["qnc"] == pytest.approx(1.0)
    assert found["cost_quality"]["cost_save"] == pytest.approx(0.0)
    assert found["cost_quality"]["perf_gain"] == pytest.approx(0.0)
    assert found["system"]["gap_closed"] in (0.0, None)
    assert found["system"]["router_minus_best_single_interval"] == [0.0, 0.0]
    assert found["system"]["cost_share"] == 1.0


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 6), st.integers(5, 80), st.integers(0, 10_000))
def test_measures_stay_within_bounds(models: int, count: int, seed: int) -> None:
    found = assess(make_test_set(count, models, seed, unknown=0.3), 0, seed)
    system, curve = found["system"], found["cost_quality"]
    assert system["random"] <= system["oracle"]
    assert 0 <= (system["best_single"] or 0) <= 1
    assert curve["zero_router_aiq"] <= max(q for _, q in curve["single_models"].values() if q is not None) + 1e-9
    assert curve["aiq"] <= curve["peak"] + 1e-9
    assert sum(system["selection"].values()) == pytest.approx(1.0)
    for m in found["per_model"].values():
        for name in ("brier", "accuracy", "positive_rate"):
            if m[name] is not None:
                low, high = m[f"{name}_interval"]
                assert 0 <= low <= high <= 1
                assert low - 1e-9 <= m[name] <= high + 1e-9 or m["known"] < 8
        assert sum(m["reliability"]["count"]) == m["known"]


def test_no_more_than_the_whole_gap_is_closed_where_labels_are_unknown() -> None:
    """The gap is taken on the rows where the chosen and the best single model's labels are known."""
    system = assess(unlabelled_test(1, 20), 1, 0)["system"]
    assert (system["router"], system["oracle"], system["gap_closed"]) == (1.0, pytest.approx(19 / 20), 1.0)
    assert system["gap_closed_interval"] == [1.0, 1.0]
    assert system["unlabelled"] == 1


def test_a_headline_is_refused_where_the_chosen_model_often_has_no_label() -> None:
    """Above 5 %: what is left is no sample of the test rows."""
    metrics = json.loads(json.dumps(assess(unlabelled_test(2, 20), 1, 0)))
    system = metrics["system"]
    assert system["unlabelled"] == 2
    names = ("router", "gap_closed", "router_minus_best_single", "quality_kept")
    assert all(system[name] is None and system[f"{name}_interval"] is None for name in names)
    assert system["rank_score"] is None
    assert system["best_single"] == 0.0
    said = tables.report(metrics).splitlines()[-2]
    assert said.startswith("Router system accuracy: - (the chosen model has no label in 2 of 20 test rows (10.0%)")


def unlabelled_test(unknown: int, rows: int) -> TestSet:
    """The first model is always chosen and right; its label is unknown in the first rows."""
    labels = np.array([[NAN, 0.0]] * unknown + [[1.0, 0.0]] * (rows - unknown))
    return replace(
        FOUR, prediction=Prediction(np.array([[0.9, 0.1]] * rows)), chosen=np.zeros(rows, dtype=np.int64), labels=labels,
        groups=np.arange(rows), costs=None, sources=None, image_counts=None,
    )  # fmt: skip


def test_parts_add_up_to_the_whole() -> None:
    found = assess(make_test_set(200, 3, 7), 1, 0)
    for parts in found["breakdown"].values():
        for name in ("router", "best_single", "random", "oracle"):
            whole = sum(part["rows"] * part[name] for part in parts.values()) / 200
            assert whole == pytest.approx(found["system"][name])


def test_a_better_router_than_the_zero_router_is_told_from_one_that_is_not() -> None:
    test = make_test_set(400, 3, 8)
    clever = assess(test, 2, 0)["cost_quality"]
    assert clever["aiq_minus_zero_router_interval"][0] > 0
    chance = Prediction(np.random.default_rng(0).random((400, 3)))
    blind = assess(replace(test, prediction=chance), 2, 0)["cost_quality"]
    assert blind["aiq_minus_zero_router_interval"][0] < 0


@pytest.mark.parametrize("test", POOR.values(), ids=POOR)
@pytest.mark.filterwarnings("error")
def test_what_is_undefined_is_null(test: test_set.TestSet) -> None:
    """No NaN, no warning, whatever is missing."""
    best = len(test.names) - 1
    found = assess(test, best, 0, {"p": test.chosen}, {"b": test.probabilities})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    if test.costs is None or np.isnan(test.costs).all():
        assert found["cost_quality"] is None
        assert found["system"]["costs"] is None
        assert found["system"]["rank_score"] is None
    if np.isnan(test.label(test.chosen)).all():
        assert found["system"]["router"] is None
        assert found["system"]["router_interval"] is None
        assert found["system"]["router_minus_best_single"] is None


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"chosen of the held-out rows: shape \(3,\), expected \(4,\)"):
        replace(FOUR, chosen=np.zeros(3, dtype=np.int64))
    with pytest.raises(DataError, match=r"costs .* expected \(4, 2\)"):
        replace(FOUR, costs=np.zeros(2))
    for part in ("probabilities", "expected_costs", "novelty"):
        prediction = replace(FOUR.prediction, **{part: np.zeros((3, 2))})
        with pytest.raises(DataError, match=rf"{part} of the held-out rows: shape \(3, 2\), expected \(4,"):
            replace(FOUR, prediction=prediction)
    with pytest.raises(DataError, match="nothing can be assessed"):
        replace(FOUR, labels=np.full((4, 2), NAN))
    with pytest.raises(DataError, match=r"'economy' has shape \(2,\)"):
        assess(FOUR, 0, 0, {"economy": np.zeros(2, dtype=np.int64)})
    with pytest.raises(DataError, match=r"'kNN' has shape \(4, 3\)"):
        assess(FOUR, 0, 0, baselines={"kNN": np.zeros((4, 3))})


def test_held_out_rows_come_from_a_data_set() -> None:
    """The policy decides on what may be asked: the second model takes no image."""
    records = [
        Record(0, "a", model_scores={"x": 1, "y": None}, model_costs={"x": 0.5}, source="s", group="g", images=("p",)),
        Record(1, "b", model_scores={"x": 0}, group="g"),
    ]
    names, facts = ("x", "y"), {"y": ModelFacts(9.0, 9.0, ("text",))}
    prediction = Prediction(np.array([[0.4, 0.6], [0.4, 0.6]]))

    def held_out(records: list[Record], facts: dict[str, ModelFacts]) -> test_set.TestSet:
        data = Dataset(
            records, np.zeros((2, 3), dtype=np.float32), label_matrix(records, names), group_ids(records),
            answer_costs(records, names, facts), names, {"text_dim": 3, "image_dim": 0}, facts,
        )  # fmt: skip
        return test_set.TestSet.of(data, prediction, Policy(thresholds=np.array([NAN, 0.5])))

    test = held_out(records, facts)
    assert np.array_equal(test.labels, [[1, NAN], [0, NAN]], equal_nan=True)
    assert np.array_equal(test.outcomes, [[1.0, 0.0], [0.0, NAN]], equal_nan=True)
    assert test.costs is not None
    assert np.array_equal(test.costs, [[0.5, NAN], [NAN, NAN]], equal_nan=True)
    assert test.groups[0] == test.groups[1]
    assert test.sources == ["s", None]
    assert test.modalities == ["text + image", "text"]
    assert test.eligible is not None
    assert test.eligible.tolist() == [[True, False], [True, True]]
    assert test.chosen.tolist() == [0, 1]
    assert test.thresholds is not None
    assert np.array_equal(test.thresholds, [NAN, 0.5], equal_nan=True)
    plain = [replace(record, model_costs={}) for record in records]
    priced = held_out(plain, {"x": ModelFacts(1.0, 2.0), "y": ModelFacts(3.0, 4.0)})
    assert priced.costs is not None
    assert priced.costs * 1e6 / NOMINAL_TOKENS == pytest.approx(np.array([[3.0, 7.0]] * 2))
    assert held_out(plain, {}).costs is None
