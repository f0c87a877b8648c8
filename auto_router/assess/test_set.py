"""The test set as the router decides it: the held-out rows, what was predicted for them, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from auto_router.arrays import Bools, Floats, Ints
from auto_router.assess.metrics import take_chosen
from auto_router.data.dataset import Dataset, Prediction
from auto_router.data.label_stats import column_means
from auto_router.decide.eligibility import eligible_rows, outcomes_of
from auto_router.decide.policy import Policy
from auto_router.errors import DataError

MODALITY_NAMES = ("text", "text + image")


@dataclass(frozen=True)
class TestSet:
    """``N`` rows that the router was not fitted on, over ``M`` models.

    Raises:
        DataError: shapes do not fit, or no row has a known label.
    """

    __test__: ClassVar[bool] = False  # pytest takes it for a test by its name

    names: Sequence[str]
    prediction: Prediction
    chosen: Ints
    """``[N]`` index of the model that the served policy sends the row to: thresholds, costs and limits included."""
    labels: Floats
    """``[N, M]`` 0…1, NaN where unknown."""
    groups: Ints
    """``[N]``, equal for rows that are not independent evidence."""
    costs: Floats | None = None
    """``[N, M]`` USD an answer, NaN where unknown; None: no cost is known."""
    thresholds: Floats | None = None
    """``[M]`` in use; None or NaN: 0.5 for accuracy and F1."""
    eligible: Bools | None = None
    """``[N, M]``: may the model take the row? None: all may."""
    sources: Sequence[str | None] | None = None
    """``[N]`` where each row comes from."""
    image_counts: Ints | None = None
    """``[N]`` images of each row."""
    latencies: Floats | None = None
    """``[N, M]`` seconds an answer, NaN where unknown; None: none is known."""

    def __post_init__(self) -> None:
        rows, models = self.labels.shape
        tables = {"probabilities": self.probabilities, "costs": self.costs, "eligible": self.eligible,
                  "expected_costs": self.prediction.expected_costs, "latencies": self.latencies}  # fmt: skip
        expected: dict[str, tuple[Any, tuple[int, ...]]] = {name: (table, (rows, models)) for name, table in tables.items()}
        vectors = {
            "chosen": self.chosen,
            "groups": self.groups,
            "sources": self.sources,
            "novelty": self.prediction.novelty,
            "image_counts": self.image_counts,
        }
        expected |= {name: (vector, (rows,)) for name, vector in vectors.items()}
        expected |= {"names": (self.names, (models,)), "thresholds": (self.thresholds, (models,))}
        for name, (value, shape) in expected.items():
            if value is not None and np.shape(value) != shape:
                raise DataError(f"{name} of the held-out rows: shape {np.shape(value)}, expected {shape} as of the labels")
        if np.isnan(self.labels).all():
            raise DataError("no row of the test set has a known label; nothing can be assessed")

    @classmethod
    def of(cls, data: Dataset, prediction: Prediction, policy: Policy) -> Self:
        """Return the rows of ``data`` as the router decides them under ``policy``, on what it predicts of them."""
        eligible = eligible_rows(data)
        return cls(
            names=data.names,
            prediction=prediction,
            chosen=policy.choose(prediction, eligible).chosen,
            labels=data.labels,
            groups=data.groups,
            costs=data.costs,
            thresholds=policy.thresholds,
            eligible=eligible,
            sources=[record.source for record in data.records],
            image_counts=np.array(data.image_counts, dtype=np.int64),
            latencies=data.latencies,
        )

    @property
    def probabilities(self) -> Floats:
        """``[N, M]`` P(correct)."""
        return self.prediction.probabilities

    @cached_property
    def outcomes(self) -> Floats:
        """``[N, M]`` labels, with 0 where a model may not take the row and so has none: what asking it would bring."""
        return self.labels if self.eligible is None else outcomes_of(self.labels, self.eligible)

    def label(self, chosen: Ints) -> Floats:
        """Return ``[N]`` outcomes of the chosen models."""
        return take_chosen(self.outcomes, chosen)

    def cost(self, chosen: Ints) -> Floats:
        """Return ``[N]`` costs of the chosen models; NaN where unknown."""
        return np.full(len(chosen), np.nan) if self.costs is None else take_chosen(self.costs, chosen)

    def latency(self, chosen: Ints) -> Floats:
        """Return ``[N]`` seconds that the chosen models' answers took; NaN where unknown."""
        return np.full(len(chosen), np.nan) if self.latencies is None else take_chosen(self.latencies, chosen)

    def always(self, model: int) -> Ints:
        """Return ``[N]`` decisions for one model."""
        return np.full(len(self.labels), model, dtype=np.int64)

    @cached_property
    def mean_costs(self) -> Floats:
        """``[M]`` mean cost of each model; NaN where unknown."""
        return np.full(len(self.names), np.nan) if self.costs is None else column_means(self.costs)

    @property
    def foreseen_costs(self) -> Floats:
        """``[N, M]`` or ``[M]``: what a router can know of the costs before it asks."""
        return self.mean_costs if self.prediction.expected_costs is None else self.prediction.expected_costs

    @property
    def modalities(self) -> list[str] | None:
        """``[N]``: one of ``MODALITY_NAMES``."""
        return None if self.image_counts is None else [MODALITY_NAMES[int(count > 0)] for count in self.image_counts.tolist()]
