"""Gradient-boosted trees: one XGBoost classifier a model, as a companion for people and as a baseline. Nothing routes by it."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline

from auto_router.arrays import Floats
from auto_router.errors import ConfigError, DataError

COMPONENTS = 192


def fit_boosted(x: Floats, y: Floats, seed: int) -> list[Any]:
    """Fit one scikit-learn classifier a model on embeddings ``[N, D]`` and the known ones of labels ``[N, M]``.

    Each is a pipeline of ``COMPONENTS`` principal components (one projection, shared by all) and an ``XGBClassifier``; its
    ``predict_proba(embeddings)`` is ``[N, 2]``, the second column being P(correct). Graded labels count as right from 0.5. A
    model that was always right or always wrong gets a constant classifier.

    Raises:
        ConfigError: xgboost is missing.
        DataError: a model has no known label.
    """
    try:
        from xgboost import XGBClassifier
    except ImportError as error:
        raise ConfigError(f"XGBoost needs its package ({error}): pip install 'auto-router[xgboost]'") from error
    empty = np.flatnonzero(np.isnan(y).all(axis=0)).tolist()
    if empty:
        raise DataError(f"models at positions {empty} have no known label; collect some or leave them out")
    pca = PCA(min(COMPONENTS, *x.shape), svd_solver="randomized", random_state=seed).fit(x)
    features = pca.transform(x)
    models = []
    for labels in y.T:
        known = ~np.isnan(labels)
        right = (labels[known] >= 0.5).astype(int)
        if 0 < right.sum() < len(right):
            trees = XGBClassifier(n_estimators=150, max_depth=4, learning_rate=0.08, subsample=0.8, random_state=seed)
            models.append(make_pipeline(pca, trees.fit(features[known], right)))
        else:
            # Weights give it both classes to know of, so that its answer has two columns like any other.
            constant = DummyClassifier(strategy="prior").fit([[0], [0]], [0, 1], sample_weight=[1 - right[0], right[0]])
            models.append(make_pipeline(pca, constant))
    return models


def boosted_probabilities(models: list[Any], x: Floats) -> Floats:
    """Return P(correct) ``[N, M]`` of the classifiers of :func:`fit_boosted`."""
    return np.stack([model.predict_proba(x)[:, 1] for model in models], axis=1)
