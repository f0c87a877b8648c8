"""Measures against values computed by hand, and against scikit-learn where it has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, roc_auc_score

from auto_router.assess.metrics import (
    model_metrics,
    oracle_costs,
    rank_score,
    recover_gap,
    reliability,
    row_means,
    system_metrics,
)
from auto_router.data.label_stats import oracle_gains, oracle_labels
from auto_router.errors import DataError

NAN = float("nan")
LABELS = np.array([[1, 0], [0, 1], [1, NAN], [NAN, NAN], [0, 0]])


def test_system_metrics_by_hand() -> None:
    """Rows 0, 1, 2, 4 have a known label. Random: (0.5 + 0.5 + 1 + 0) / 4; oracle: (1 + 1 + 1 + 0) / 4."""
    found = system_metrics(np.array([0, 1, 0, 1, 1]), LABELS, best_single=0, names=["a", "b"])
    assert (found.router, found.oracle, found.random, found.rows) == (0.75, 0.75, 0.5, 4)
    assert (found.best_single, found.best_single_model) == (0.5, "a")
    assert found.gap_closed == pytest.approx(1.0)
    assert found.selection == {"a": 0.4, "b": 0.6}


def test_a_choice_with_an_unknown_label_counts_neither_way() -> None:
    found = system_metrics(np.array([0, 0, 1, 1, 0]), LABELS, best_single=0, names=["a", "b"])
    assert found.router == pytest.approx(1 / 3)  # rows 0, 1 and 4; row 2 chose the model whose label is unknown


def test_no_gap_and_no_labels() -> None:
    ones = np.ones((3, 2))
    assert system_metrics(np.zeros(3, dtype=np.int64), ones, 0, ["a", "b"]).gap_closed is None
    with pytest.raises(DataError, match="no row of the test set"):
        system_metrics(np.zeros(2, dtype=np.int64), np.full((2, 2), np.nan), 0, ["a", "b"])


def test_model_metrics_by_hand() -> None:
    """P .9 .8 .3 .2 against 1 0 1 0: 3 of 4 pairs in order; at 0.5 two right of four, one true positive of two."""
    p = np.array([[0.9], [0.8], [0.3], [0.2], [0.7]])
    y = np.array([[1], [0], [1], [0], [NAN]])
    found = model_metrics(p, y)[0]
    assert (found.auc, found.accuracy, found.f1, found.positive_rate, found.known) == (0.75, 0.5, 0.5, 0.5, 4)
    assert found.brier == pytest.approx((0.01 + 0.64 + 0.49 + 0.04) / 4)
    assert found.ece == pytest.approx((0.1 + 0.8 + 0.7 + 0.2) / 4)  # fewer rows than bins: a bin each
    strict = model_metrics(p, y, np.array([0.85]))[0]
    assert strict.accuracy == 0.75
    assert strict.f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(5))
def test_model_metrics_are_those_of_scikit_learn(seed: int) -> None:
    """With ties in P, a threshold, and a third of the labels unknown."""
    rng = np.random.default_rng(seed)
    p, y = rng.random((200, 1)).round(1), (rng.random((200, 1)) < 0.4).astype(float)
    y[rng.random(200) < 0.3] = NAN
    known = ~np.isnan(y[:, 0])
    right, q = y[known, 0], p[known, 0]
    found = model_metrics(p, y, np.array([0.6]))[0]
    assert found.auc == pytest.approx(roc_auc_score(right, q))
    assert found.brier == pytest.approx(brier_score_loss(right, q))
    assert found.accuracy == pytest.approx(accuracy_score(right, q >= 0.6))
    assert found.f1 == pytest.approx(f1_score(right, q >= 0.6))


def test_undefined_measures_are_none() -> None:
    constant, unknown = model_metrics(np.full((3, 2), 0.5), np.array([[1, NAN]] * 3))
    assert constant.auc is None
    assert unknown.known == 0
    assert {unknown.auc, unknown.brier, unknown.ece, unknown.accuracy, unknown.f1, unknown.positive_rate} == {None}
    nothing_right_or_claimed = model_metrics(np.full((3, 1), 0.1), np.zeros((3, 1)))[0]
    assert nothing_right_or_claimed.f1 is None


def test_reliability_by_hand() -> None:
    """Two bins of two: P .1 .3 | .6 .8 against 0 1 | 1 1: gaps .2 - .5 and .7 - 1."""
    found = reliability(np.array([0.6, 0.1, 0.8, 0.3]), np.array([1.0, 0.0, 1.0, 1.0]), bins=2)
    assert found.predicted == pytest.approx([0.2, 0.7])
    assert found.observed.tolist() == [0.5, 1.0]
    assert found.counts.tolist() == [2, 2]
    assert found.bins.tolist() == [1, 0, 1, 0]
    assert found.ece == pytest.approx(0.3)


def test_rows_of_equal_p_share_a_bin() -> None:
    """A constant P has one bin, so that the order of the rows, here by label, does not matter."""
    found = reliability(np.full(30, 0.5), np.repeat([0.0, 1.0], 15))
    assert found.counts.tolist() == [30]
    assert found.ece == 0.0
    assert np.isnan(reliability(np.zeros(0), np.zeros(0)).ece)


@settings(deadline=None, max_examples=50)
@given(st.integers(15, 400), st.integers(0, 1000))
def test_bins_have_equal_mass(count: int, seed: int) -> None:
    p = np.random.default_rng(seed).random(count)
    counts = reliability(p, np.zeros(count)).counts
    assert counts.sum() == count
    assert len(counts) == 15
    assert counts.max() - counts.min() <= 1


def test_calibrated_probabilities_have_a_small_ece() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    y = (rng.random(20_000) < p).astype(float)
    assert reliability(p, y).ece < 0.015
    assert reliability(p**2, y).ece == pytest.approx(1 / 6, abs=0.02)  # the mean of p - p²


def test_rows_of_the_oracle_by_hand() -> None:
    assert oracle_labels(LABELS).tolist()[:3] == [1, 1, 1]
    assert np.isnan(oracle_labels(LABELS)[3])
    assert row_means(LABELS)[[0, 1, 2, 4]].tolist() == [0.5, 0.5, 1, 0]


def test_oracle_gains_are_what_leaving_the_model_out_costs() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (60, 4)) / 2.0
    labels[rng.random((60, 4)) < 0.4] = NAN
    gains = oracle_gains(labels)
    for j in range(4):
        without = oracle_labels(np.delete(labels, j, axis=1))
        expected = np.where(np.isnan(without), NAN, oracle_labels(labels) - without)
        assert np.array_equal(gains[:, j], expected, equal_nan=True)
    assert np.isnan(oracle_gains(np.ones((2, 1)))).all()


def test_the_oracle_asks_the_cheapest_right_model() -> None:
    labels = np.array([[1, 1, 0], [0, 0, 0], [NAN, 1, 1], [NAN, NAN, NAN]])
    costs = np.array([[3, 2, 1], [3, 2, 1], [1, 5, NAN], [1, 1, 1]])
    assert oracle_costs(labels, costs)[:3].tolist() == [2, 1, 5]
    assert np.isnan(oracle_costs(labels, costs)[3])


def test_rank_score_by_hand() -> None:
    """Costs 1 to 4, paid 2: C = 1/2. With A = 0.8: 1.1 · 0.8 · 0.5 / (0.08 + 0.5)."""
    assert rank_score(0.8, 2.0, 1.0, 4.0) == pytest.approx(0.44 / 0.58)
    assert rank_score(0.8, 1.0, 1.0, 4.0) == pytest.approx(1.1 * 0.8 / (0.08 + 1))
    assert rank_score(0.8, 0.5, 1.0, 4.0) == rank_score(0.8, 1.0, 1.0, 4.0)
    assert rank_score(0.8, 4.0, 1.0, 4.0) == 0.0
    assert {rank_score(0.8, c, low, 4.0) for c, low in [(0.0, 1.0), (NAN, 1.0), (2.0, 4.0), (2.0, 0.0), (2.0, NAN)]} == {None}


def test_pgr_by_hand() -> None:
    """Strong 3 of 4, weak 1 of 4: a gap of 2. In order of advantage the gains are 1, 1, -1, 1."""
    strong, weak = np.array([1.0, 1.0, 0.0, 1.0, NAN]), np.array([0.0, 0.0, 1.0, 0.0, 1.0])
    found = recover_gap(np.array([0.9, 0.5, 0.1, -0.4, 0.9]), strong, weak)
    assert found is not None
    assert found.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.gaps.tolist() == [0, 0.5, 1, 0.5, 1]
    assert found.apgr == pytest.approx(0.25 * (0.25 + 0.75 + 0.75 + 0.75))
    assert found.cpt(0.5) == 0.25
    assert found.cpt(0.8) == pytest.approx(0.25 + 0.25 * 0.6)
    assert found.cpt(0.0) == 0.0


def test_pgr_of_equal_advantages_is_that_of_chance() -> None:
    found = recover_gap(np.zeros(4), np.array([1.0, 1.0, 0.0, 1.0]), np.zeros(4))
    assert found is not None
    assert found.apgr == 0.5
    assert found.cpt(0.8) == pytest.approx(0.8)
    assert recover_gap(np.zeros(2), np.zeros(2), np.ones(2)) is None
    assert recover_gap(np.zeros(1), np.array([NAN]), np.ones(1)) is None
