"""The XGBoost companion of a router: for people and notebooks, compared on the test set; nothing that routes reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt

from auto_router.assess.metrics import model_metrics, system_metrics
from auto_router.decide.policy import choose
from auto_router.files import atomic_path
from auto_router.learn.training import Array, Rows
from auto_router.learn.trees import fit_trees, tree_probabilities

XGBOOST_NAME = "xgb_multi_router.joblib"


def write_xgboost(
    path: Path, names: Sequence[str], train: Rows, test: Rows, allowed: npt.NDArray[np.bool_], best_single: int, seed: int
) -> tuple[float, float]:
    """Fit XGBoost to ``train``, write it to ``path`` and return its router accuracy and mean AUC on ``test``.

    The file is a joblib dict: ``model_names``, and ``models``, for each name a classifier whose ``predict_proba(embeddings)``
    has P(correct) in its second column. Like any pickle, open only one that you made.
    """
    models = fit_trees(*train, seed)
    with atomic_path(path) as temporary:
        joblib.dump({"model_names": list(names), "models": models}, temporary)
    probabilities = tree_probabilities(models, test[0])
    chosen = choose(probabilities, allowed=allowed).chosen
    accuracy = system_metrics(chosen, test[1], best_single, list(names)).router
    return accuracy, mean_auc(probabilities, test[1])


def mean_auc(probabilities: Array, labels: Array) -> float:
    """Return the mean AUC of the models that have one; NaN where none has."""
    aucs = [m.auc for m in model_metrics(probabilities, labels) if m.auc is not None]
    return float(np.mean(aucs)) if aucs else float("nan")
