"""Measures of probabilities (per model) and of decisions (the system). Unknown labels (NaN) never count.

Router accuracy is the mean label of the chosen model, oracle the mean of each row's best label, best single the model
with the highest mean label *on the training set*, random the mean over rows of the average label (RouterBench,
arXiv 2403.12031, uses the same four). Gap closed = (router - best single) / (oracle - best single).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score, roc_auc_score

from auto_router.errors import DataError

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """One model's probabilities against its labels; None where undefined (an AUC of one class only)."""

    auc: float | None
    accuracy: float
    f1: float
    positive_rate: float
    known: int


@dataclass(frozen=True, slots=True)
class SystemMetrics:
    """The decisions on a test set, beside what any router must be compared with. All are mean labels, 0…1."""

    router: float
    best_single: float
    best_single_model: str
    random: float
    oracle: float
    gap_closed: float | None
    selection: dict[str, float]
    rows: int

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def model_metrics(probabilities: Floats, labels: Floats, thresholds: Floats | None = None) -> list[ModelMetrics]:
    """Return the measures of every model; a graded label counts as right from 0.5.

    Args:
        probabilities: ``[N, M]``.
        labels: ``[N, M]``, NaN = unknown.
        thresholds: ``[M]``, where a prediction turns to "right"; None: 0.5.
    """
    cut = np.full(labels.shape[1], 0.5) if thresholds is None else np.where(np.isnan(thresholds), 0.5, thresholds)
    return [_one_model(probabilities[:, j], labels[:, j], float(cut[j])) for j in range(labels.shape[1])]


def best_single_model(labels: Floats) -> int:
    """Return the index of the model with the highest mean known label (call it on training labels)."""
    known = ~np.isnan(labels)
    means = np.where(known, labels, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return int(np.argmax(np.where(known.any(axis=0), means, -np.inf)))


def system_metrics(chosen: Ints, labels: Floats, best_single: int, names: Sequence[str]) -> SystemMetrics:
    """Compare decisions ``[N]`` with best single (an index, chosen on train), random and oracle on ``labels`` [N, M].

    Raises:
        DataError: no row has a known label.
    """
    rows = ~np.isnan(labels).all(axis=1)
    if not rows.any():
        raise DataError("no row of the test set has a known label; nothing can be assessed")
    known, picked = labels[rows], chosen[rows]
    router = _mean(np.take_along_axis(known, picked[:, None], axis=1))
    single, oracle = _mean(known[:, best_single]), _mean(np.nanmax(known, axis=1))
    gap = oracle - single
    return SystemMetrics(
        router=router,
        best_single=single,
        best_single_model=names[best_single],
        random=_mean(np.nanmean(known, axis=1)),
        oracle=oracle,
        gap_closed=(router - single) / gap if gap > 0 else None,
        selection={name: float((chosen == j).mean()) for j, name in enumerate(names)},
        rows=int(rows.sum()),
    )


def _one_model(probabilities: Floats, labels: Floats, threshold: float) -> ModelMetrics:
    known = ~np.isnan(labels)
    if not known.any():
        return ModelMetrics(None, float("nan"), float("nan"), float("nan"), 0)
    right, p = labels[known] >= 0.5, probabilities[known]
    predicted = p >= threshold
    return ModelMetrics(
        auc=float(roc_auc_score(right, p)) if 0 < right.sum() < len(right) else None,
        accuracy=float((predicted == right).mean()),
        f1=float(f1_score(right, predicted, zero_division=0.0)),
        positive_rate=float(labels[known].mean()),
        known=int(known.sum()),
    )


def _mean(values: Floats) -> float:
    """Mean of the known values; NaN where none is known."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
