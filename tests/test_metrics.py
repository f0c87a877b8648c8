"""Measures against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from auto_router.assess.metrics import best_single_model, model_metrics, system_metrics
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


def test_best_single_ignores_unknown_labels() -> None:
    assert best_single_model(np.array([[1, 0, NAN], [NAN, 1, NAN], [NAN, 1, NAN]])) == 0


def test_model_metrics_by_hand() -> None:
    """P .9 .8 .3 .2 against 1 0 1 0: 3 of 4 pairs in order; at 0.5 two right of four, one true positive of two."""
    p = np.array([[0.9], [0.8], [0.3], [0.2], [0.7]])
    y = np.array([[1], [0], [1], [0], [NAN]])
    found = model_metrics(p, y)[0]
    assert (found.auc, found.accuracy, found.f1, found.positive_rate, found.known) == (0.75, 0.5, 0.5, 0.5, 4)
    strict = model_metrics(p, y, np.array([0.85]))[0]
    assert strict.accuracy == 0.75
    assert strict.f1 == pytest.approx(2 / 3)


def test_undefined_measures_are_not_zero() -> None:
    constant, unknown = model_metrics(np.full((3, 2), 0.5), np.array([[1, NAN]] * 3))
    assert constant.auc is None
    assert unknown.known == 0
    assert np.isnan(unknown.accuracy)
