"""The group bootstrap: what is resampled, and whether its intervals hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from auto_router.assess import metrics as intervals
from auto_router.assess.assessment import auc_draws
from auto_router.assess.metrics import GroupBootstrap, interval, percentiles

NAN = float("nan")


def test_bootstrap_resamples_groups_not_rows() -> None:
    """100 rows in two groups, all 0 or all 1: a mean is 0, 1/2 or 1, one half of the time 1/2."""
    values, groups = np.repeat([0.0, 1.0], 50), np.repeat([7, 9], 50)
    means = GroupBootstrap(groups, seed=0).means(values)
    assert set(np.round(means, 6)) == {0.0, 0.5, 1.0}
    assert np.mean(means == 0.5) == pytest.approx(0.5, abs=0.06)
    assert interval(values, groups, seed=0) == (0.0, 1.0)


def test_a_group_of_many_rows_weighs_as_many() -> None:
    """Groups of 1 row (value 0) and 3 rows (value 1): drawn once each, the mean is 3/4."""
    means = GroupBootstrap(np.array([5, 2, 2, 2]), seed=0).means(np.array([0.0, 1.0, 1.0, 1.0]))
    assert set(means.tolist()) == {0.0, 0.75, 1.0}


def test_draws_are_shared_so_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    groups, table = rng.integers(0, 40, 200), rng.random((200, 2))
    bootstrap = GroupBootstrap(groups, seed=3)
    together = bootstrap.means(table)
    assert together[:, 0] == pytest.approx(bootstrap.means(table[:, 0]))
    assert together[:, 0] - together[:, 1] == pytest.approx(bootstrap.means(table[:, 0] - table[:, 1]))
    assert bootstrap.interval(table[:, 0] - table[:, 0]) == (0.0, 0.0)
    assert np.array_equal(GroupBootstrap(groups, seed=3).means(table), together)


def test_unknown_values_are_left_out_by_column() -> None:
    table = np.array([[1.0, 2.0], [NAN, 2.0], [1.0, NAN]])
    means = GroupBootstrap(np.arange(3), seed=0).means(table)
    assert set(means[~np.isnan(means[:, 0]), 0].tolist()) == {1.0}
    assert set(means[~np.isnan(means[:, 1]), 1].tolist()) == {2.0}
    assert 0 < np.isnan(means[:, 0]).sum() < 100  # a draw of the middle row only knows nothing of column 0
    assert interval(table[:, 0], np.arange(3), seed=0) == (1.0, 1.0)
    assert np.isnan(interval(np.array([NAN]), np.array([0]), seed=0)).all()
    assert np.isnan(percentiles(np.array([NAN]))).all()
    assert np.isnan(GroupBootstrap(np.zeros(0, dtype=np.int64), 0).means(np.zeros((0, 2)))).all()


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        low, high = interval(rng.normal(0.3, 1.0, 80), np.arange(80), seed)
        covered += low <= 0.3 <= high
    assert 178 <= covered <= 200


def test_intervals_cover_the_truth_where_rows_of_a_group_are_alike() -> None:
    """40 groups of 6 nearly equal rows: resampling rows would be far too sure of itself."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 6)
    by_group = by_row = 0
    for seed in range(150):
        values = 0.3 + np.repeat(rng.normal(0, 1, 40), 6) + rng.normal(0, 0.2, 240)
        low, high = interval(values, groups, seed)
        by_group += low <= 0.3 <= high
        low, high = interval(values, np.arange(240), seed)
        by_row += low <= 0.3 <= high
    assert by_group >= 132
    assert by_row <= 110


def test_pooled_groups_give_the_same_width(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    values, groups = rng.normal(size=6000), np.arange(6000)
    low, high = interval(values, groups, seed=0)
    monkeypatch.setattr(intervals, "MAX_UNITS", 500)
    pooled_low, pooled_high = interval(values, groups, seed=0)
    assert pooled_high - pooled_low == pytest.approx(high - low, rel=0.15)


def test_auc_draws_follow_the_auc_of_each_draw() -> None:
    """Against the AUC that scikit-learn finds with the draw's weights; ties, groups and unknown labels included."""
    rng = np.random.default_rng(4)
    groups = rng.integers(0, 120, 400)
    p = rng.random(400).round(2)
    y = (rng.random(400) < p * 0.8 + 0.1).astype(float)
    y[rng.random(400) < 0.2] = NAN
    known = ~np.isnan(y)
    bootstrap = GroupBootstrap(groups, seed=5)
    draws = auc_draws(p, y, bootstrap)
    weights = bootstrap._draws[:200, np.unique(groups, return_inverse=True)[1]]
    exact = np.array([roc_auc_score(y[known], p[known], sample_weight=w[known]) for w in weights])
    assert np.corrcoef(draws[:200], exact)[0, 1] > 0.99
    assert np.abs(draws[:200] - exact).max() < 0.01
    assert percentiles(draws[:200]) == pytest.approx(percentiles(exact), abs=0.004)
    assert np.isnan(auc_draws(p, np.ones(400), bootstrap)).all()
