"""What any router must beat: simple predictors of P(correct), each tuned fairly inside the training rows.

Every baseline is a function ``(x, y, groups, seed) -> predict`` with ``predict(x) -> [N, M]``. Unknown labels (NaN) are
filled with the model's mean where a method cannot leave them out.

Gradient-boosted trees, one XGBoost classifier a model, are a companion for people and notebooks, too. Nothing routes by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from auto_router.arrays import Array, Floats, Ints
from auto_router.data.dataset import Dataset, draw_rows
from auto_router.data.splits import group_folds, split_by_group
from auto_router.errors import DataError, needs_extra
from auto_router.files import atomic_path
from auto_router.learn.mlp import TrainConfig, train_network
from auto_router.learn.stack_fit import MAX_ROWS, non_negative
from auto_router.terminal import bar

BASELINE_COMPONENTS = 192


def fit_boosted(x: Floats, y: Floats, seed: int) -> list[Any]:
    """Fit one scikit-learn classifier a model on embeddings ``[N, D]`` and the known ones of labels ``[N, M]``.

    Each is a pipeline of ``COMPONENTS`` principal components (one projection, shared by all) and an ``XGBClassifier``; its
    ``predict_proba(embeddings)`` is ``[N, 2]``, the second column being P(correct). Graded labels count as right from 0.5. A
    model that was always right or always wrong gets a constant classifier.

    Raises:
        ConfigError: xgboost is missing.
        DataError: a model has no known label.
    """
    with needs_extra("xgboost"):
        from xgboost import XGBClassifier
    empty = np.flatnonzero(np.isnan(y).all(axis=0)).tolist()
    if empty:
        raise DataError(f"models at positions {empty} have no known label; collect some or leave them out")
    pca = _pca(x, seed)
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


Predict = Callable[[Floats], Floats]
Baseline = Callable[[Floats, Floats, Ints, int], Predict]

NEIGHBOURS = (10, 25, 50, 100, 150, 250)
CLUSTERS = 48
STACK_FOLDS = 4
KNN_MIB = 64  # of distances held at once; no slower than the 1,024 of scikit-learn, which become three times as much


def knn(x: Floats, y: Floats, groups: Ints, seed: int) -> Predict:
    """Mean label of the k nearest rows by cosine; k of ``NEIGHBOURS`` by group-wise cross-validated routing accuracy."""
    scores = dict.fromkeys(NEIGHBOURS, 0.0)
    fold = group_folds(groups, 4, seed)
    for number in np.unique(fold):
        inside, outside = fold != number, fold == number
        if not inside.any():
            continue
        near = _neighbours(x[inside], x[outside], max(NEIGHBOURS))
        for k in NEIGHBOURS:
            p = _fill(y[inside])[near[:, :k]].mean(axis=1)
            scores[k] += float(np.nansum(np.take_along_axis(y[outside], p.argmax(axis=1)[:, None], axis=1)))
    return knn_of(max(scores, key=lambda k: scores[k]))(x, y, groups, seed)


def knn_of(k: int) -> Baseline:
    """Return kNN with this k."""

    def fit(x: Floats, y: Floats, groups: Ints, seed: int) -> Predict:
        labels = _fill(y)
        return lambda new: labels[_neighbours(x, new, k)].mean(axis=1)

    return fit


def ridge(x: Floats, y: Floats, groups: Ints, seed: int) -> Predict:
    """Ridge regression of the labels on ``COMPONENTS`` principal components."""
    pca = _pca(x, seed)
    model = Ridge(alpha=1.0).fit(pca.transform(x), _fill(y))
    return lambda new: np.asarray(model.predict(pca.transform(new))).reshape(len(new), -1)


def logistic(x: Floats, y: Floats, groups: Ints, seed: int) -> Predict:
    """One logistic regression a model on ``COMPONENTS`` principal components; labels count as right from 0.5."""
    pca = _pca(x, seed)
    return _classify(pca.transform(x), y, LogisticRegression(C=1.0, max_iter=300), "predict_proba", pca)


def svm(x: Floats, y: Floats, groups: Ints, seed: int) -> Predict:
    """One linear support vector machine a model on ``COMPONENTS`` principal components, its margin through a sigmoid."""
    pca = _pca(x, seed)
    return _classify(pca.transform(x), y, LinearSVC(C=0.1, random_state=seed), "decision_function", pca)


def clusters(x: Floats, y: Floats, groups: Ints, seed: int) -> Predict:
    """Mean label of the nearest of ``CLUSTERS`` k-means centres, shrunk towards the global mean by 10 rows."""
    count = min(CLUSTERS, len(x))
    kmeans = KMeans(count, n_init=2, random_state=seed).fit(x)
    labels, mean = _fill(y), _fill(y).mean(axis=0)
    table = np.stack(
        [(labels[kmeans.labels_ == c].sum(axis=0) + 10 * mean) / ((kmeans.labels_ == c).sum() + 10) for c in range(count)]
    )
    return lambda new: table[kmeans.predict(new.astype(x.dtype))]


def mlp_of(config: TrainConfig) -> Baseline:
    """Return the sigmoid MLP of the mission with these settings, stopped early on a group-wise validation part."""

    def fit(x: Floats, y: Floats, groups: Ints, seed: int) -> Predict:
        rows, held_out = split_by_group(groups, 0.15, seed)
        part = [np.asarray(a, dtype=np.float32) for a in (x[rows], y[rows], x[held_out], y[held_out])]
        network = train_network((part[0], part[1]), (part[2], part[3]), config, seed).network
        return lambda new: network.predict(np.asarray(new, dtype=np.float32))

    return fit


def xgboost(x: Floats, y: Floats, groups: Ints, seed: int) -> Predict:
    """One gradient-boosted tree ensemble a model, as ``--with-xgboost`` writes it (the ``xgboost`` extra)."""
    models = fit_boosted(x, y, seed)
    return lambda new: boosted_probabilities(models, new)


def average(parts: Sequence[Baseline]) -> Baseline:
    """Return the plain mean of several baselines."""

    def fit(x: Floats, y: Floats, groups: Ints, seed: int) -> Predict:
        fits = [part(x, y, groups, seed) for part in parts]
        return lambda new: np.mean([predict(new) for predict in fits], axis=0)

    return fit


def stack(parts: Sequence[Baseline]) -> Baseline:
    """Return a stack: the parts' differences between models weighted by non-negative least squares on predictions out of
    fold, their row means averaged."""

    def fit(x: Floats, y: Floats, groups: Ints, seed: int) -> Predict:
        fold, labels = group_folds(groups, STACK_FOLDS, seed), _fill(y)
        out_of_fold = [np.empty(y.shape) for _ in parts]
        for number in np.unique(fold):
            inside, outside = fold != number, fold == number
            for part, found in zip(parts, out_of_fold, strict=True):
                found[outside] = part(x[inside], y[inside], groups[inside], seed)(x[outside])
        mean = labels.mean(axis=0)
        weights = non_negative([_centre(p - mean).ravel() for p in out_of_fold], _centre(labels - mean).ravel())
        fits = [part(x, y, groups, seed) for part in parts]

        def predict(new: Floats) -> Floats:
            predicted = [part(new) - mean for part in fits]
            level = np.mean([p.mean(axis=1, keepdims=True) for p in predicted], axis=0)
            return np.asarray(mean + level + sum(w * _centre(p) for w, p in zip(weights, predicted, strict=True)))

        return predict

    return fit


BASELINES: dict[str, Baseline] = {
    "kNN (k tuned)": knn,
    "ridge": ridge,
    "logistic regression": logistic,
    "k-means table": clusters,
    "plain MLP": mlp_of(TrainConfig(class_weights=True)),
    "linear SVM": svm,
    "kNN + ridge + logistic": average([knn_of(100), ridge, logistic]),
    "stack of five": stack([knn_of(50), knn_of(150), ridge, logistic, clusters]),
    "XGBoost": xgboost,
}


def predict_baselines(names: Sequence[str], train: Dataset, test: Dataset, seed: int) -> dict[str, Array]:
    """Fit the named baselines to the training embeddings; return their predictions ``[N, M]`` of the test rows.

    Of more rows than the default head takes, the same number is drawn by ``seed``.
    """
    count = len(train)
    if count > MAX_ROWS:
        train = train.take(draw_rows(count, MAX_ROWS, np.random.default_rng(seed)))
        print(f"baselines are fitted on {len(train)} of {count} records, drawn at random")
    x, found = train.embeddings, {}
    with bar(len(names), "baselines", "method") as shown:
        for name in names:
            found[name] = BASELINES[name](x, train.labels, train.groups, seed)(test.embeddings)
            shown.update()
    return found


def _classify(x: Floats, y: Floats, estimator: Any, method: str, pca: PCA) -> Predict:
    """Fit one classifier a model on its known labels; a model with one class only keeps its mean."""
    from sklearn.base import clone

    fitted = []
    for labels in y.T:
        known = ~np.isnan(labels)
        right = labels[known] >= 0.5
        fitted.append(clone(estimator).fit(x[known], right) if 0 < right.sum() < len(right) else float(right.mean()))

    def predict(new: Floats) -> Floats:
        features = pca.transform(new)
        columns = []
        for model in fitted:
            if isinstance(model, float):
                columns.append(np.full(len(new), model))
            elif method == "predict_proba":
                columns.append(model.predict_proba(features)[:, 1])
            else:
                columns.append(1.0 / (1.0 + np.exp(-2.0 * model.decision_function(features))))
        return np.stack(columns, axis=1)

    return predict


def _centre(values: Floats) -> Floats:
    return np.asarray(values - values.mean(axis=1, keepdims=True))


def _pca(x: Floats, seed: int) -> PCA:
    return PCA(min(BASELINE_COMPONENTS, *x.shape), svd_solver="randomized", random_state=seed).fit(x)


def _neighbours(x: Floats, new: Floats, k: int) -> Ints:
    index = NearestNeighbors(n_neighbors=min(k, len(x)), metric="cosine", algorithm="brute").fit(x)
    with config_context(working_memory=KNN_MIB):
        return np.asarray(index.kneighbors(new, return_distance=False), dtype=np.int64)


def _fill(y: Floats) -> Floats:
    known = ~np.isnan(y)
    mean = np.where(known, y, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, y, mean)
