"""XGBoost, where it is installed: the companion file, and one clear line where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

from auto_router.assess.baselines import BASELINES, XGBOOST_NAME, boosted_probabilities, fit_boosted, write_xgboost
from auto_router.errors import ConfigError, DataError
from auto_router.learn.mlp import Rows


def rows(count: int, seed: int) -> Rows:
    """Model 0 follows one dimension, model 1 is always right, model 2 always wrong; every third label is unknown."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6)).astype(np.float32)
    y = np.stack([x[:, 0] > 0, np.ones(count), np.zeros(count)], axis=1).astype(np.float32)
    y[::3, 0] = np.nan
    return x, y


@pytest.fixture
def xgboost() -> None:
    pytest.importorskip("xgboost", reason="the extra xgboost is not installed")


@pytest.mark.usefixtures("xgboost")
def test_the_companion_predicts_from_embeddings(tmp_path: Path) -> None:
    train, test = rows(200, 0), rows(60, 1)
    predict = write_xgboost(tmp_path / XGBOOST_NAME, ["a", "b", "c"], *train, seed=0)
    companion = joblib.load(tmp_path / XGBOOST_NAME)
    assert companion["model_names"] == ["a", "b", "c"]
    probabilities = [model.predict_proba(test[0]) for model in companion["models"]]
    assert [p.shape for p in probabilities] == [(60, 2)] * 3
    assert (probabilities[1][:, 1] == 1).all()
    assert (probabilities[2][:, 1] == 0).all()
    known = ~np.isnan(test[1][:, 0])
    assert ((probabilities[0][known, 1] > 0.5) == test[1][known, 0]).mean() > 0.85
    assert np.array_equal(predict(test[0]), np.stack([p[:, 1] for p in probabilities], axis=1))


@pytest.mark.usefixtures("xgboost")
def test_the_baseline_is_the_same_fit() -> None:
    (x, y), groups = rows(80, 0), np.arange(80)
    baseline = BASELINES["XGBoost"](x, y, groups, 3)(x)
    np.testing.assert_array_equal(baseline, boosted_probabilities(fit_boosted(x, y, 3), x))


@pytest.mark.usefixtures("xgboost")
def test_a_model_without_labels_is_an_error() -> None:
    x, y = rows(20, 0)
    y[:, 1] = np.nan
    with pytest.raises(DataError, match=r"positions \[1\] have no known label"):
        fit_boosted(x, y, 0)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(ConfigError, match=r"pip install '.*\[xgboost\]'"):
        fit_boosted(*rows(20, 0), 0)
