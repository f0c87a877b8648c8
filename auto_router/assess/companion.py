"""The XGBoost companion of a router, for people and notebooks and to compare with. Nothing that routes reads it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import joblib

from auto_router.arrays import Array
from auto_router.assess.baselines import Predict
from auto_router.files import atomic_path
from auto_router.learn.boosted import boosted_probabilities, fit_boosted

XGBOOST_NAME = "xgb_multi_router.joblib"


def write_xgboost(path: Path, names: Sequence[str], x: Array, y: Array, seed: int) -> Predict:
    """Fit one classifier a model to embeddings ``x`` and labels ``y``, write them to ``path``, and return their prediction.

    The file is a joblib dict: ``model_names``, and ``models``, for each name a classifier whose ``predict_proba(embeddings)``
    has P(correct) in its second column. Like any pickle, open only one that you made.
    """
    models = fit_boosted(x, y, seed)
    with atomic_path(path) as temporary:
        joblib.dump({"model_names": list(names), "models": models}, temporary)
    return partial(boosted_probabilities, models)
