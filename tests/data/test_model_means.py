"""Means of models from incomplete labels: common rows, few labels, and who is best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.data.label_stats import FEW_LABELS, MIN_LABELS, best_single_model, check_label_counts, model_means
from auto_router.errors import DataError


def labels(rows: int, means: list[float], seed: int = 0) -> npt.NDArray[np.float64]:
    """Labels of models with these means, all of them lower on hard rows."""
    rng = np.random.default_rng(seed)
    level = rng.choice([-0.25, 0.25], size=rows)
    return np.asarray(rng.random((rows, len(means))) < np.array(means) + level[:, None], dtype=np.float64)


def test_with_all_labels_they_are_the_plain_means_and_pulled_a_little() -> None:
    y = labels(400, [0.7, 0.5, 0.4])
    found = model_means(y)
    assert found.adjusted == pytest.approx(y.mean(axis=0))
    assert np.abs(found.shrunk - y.mean(axis=0)).max() < 0.01
    assert (np.argsort(found.shrunk) == np.argsort(y.mean(axis=0))).all()
    assert found.error == pytest.approx((y.var(axis=0).mean() / 400) ** 0.5, rel=0.05)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_model_with_a_few_labels_all_right_is_not_the_best(count: int) -> None:
    y = labels(300, [0.7, 0.5, 0.6])
    y[:, 2] = np.nan
    y[:count, 2] = 1.0
    assert best_single_model(y) == 0
    assert model_means(y).shrunk[2] < 0.85


def test_a_model_asked_easy_rows_only_is_compared_on_common_rows() -> None:
    y = labels(4000, [0.7, 0.6])
    easy = y[:, 0] == 1.0
    y[~easy, 1] = np.nan
    plain = np.nanmean(y[:, 1])
    assert abs(model_means(y).adjusted[1] - 0.6) < abs(plain - 0.6) / 2


def test_a_model_without_labels_is_never_the_best() -> None:
    y = labels(50, [0.2, 0.5])
    y[:, 1] = np.nan
    found = model_means(y)
    assert best_single_model(y) == 0
    assert found.lower_bounds[1] == -np.inf
    assert np.isfinite(found.shrunk).all()


@given(st.integers(2, 30), st.integers(1, 6), st.integers(0, 2**32 - 1), st.floats(0.0, 0.9))
def test_means_stay_within_what_labels_can_be(rows: int, models: int, seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    y = rng.random((rows, models)).round(1)
    y[rng.random(y.shape) < missing] = np.nan
    found = model_means(y)
    for values in (found.adjusted, found.shrunk):
        assert ((values >= 0) & (values <= 1)).all()
    assert (found.error > 0).all()
    if (found.counts > 0).any():
        assert found.counts[best_single_model(y)] > 0


def test_few_labels_are_said_and_fewer_are_refused() -> None:
    y = labels(100, [0.7, 0.5])
    assert check_label_counts(y, ["a", "b"]) == []
    y[FEW_LABELS - 1 :, 1] = np.nan
    (warning,) = check_label_counts(y, ["a", "b"])
    assert "b has 29 known labels" in warning
    y[MIN_LABELS - 1 :, 1] = np.nan
    with pytest.raises(DataError, match=r"b has 4; at least 5 of each .* \.\.\. --models a --export-only; then Stage 2$"):
        check_label_counts(y, ["a", "b"])
    with pytest.raises(DataError, match=r"--models 'a model' --export-only; then Stage 2$"):
        check_label_counts(y, ["a model", "b"])
    y[MIN_LABELS - 1 :, 0] = np.nan  # then there is no model to keep
    with pytest.raises(DataError, match=r"a has 4, b has 4; .* Label more rows, or take models that can answer these$"):
        check_label_counts(y, ["a", "b"])


def test_labels_that_are_all_alike_beside_unknown_ones_are_said() -> None:
    y = labels(100, [0.7, 0.5])
    y[y[:, 1] == 0.0, 1] = np.nan
    (warning,) = check_label_counts(y, ["a", "b"])
    assert f"all {int(np.nansum(y[:, 1]))} known labels of b are 1, and" in warning
    y[:, 0] = 1.0  # all known: simply a good model
    assert check_label_counts(y, ["a", "b"]) == [warning]
