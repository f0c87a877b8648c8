"""What labels say, each number from its formula: of a question (oracle, gains), of two judges, and how good each model is.

And how far they can be trusted: what they say beside a better-founded check of the same answers (:class:`LabelTrust`).

:func:`model_means` compares models on common rows. A label is taken apart as mean of its model + *level* of its row (how easy
the row was) + rest. So a model that was asked easy rows only is not taken for a good one. Levels are a random effect, worth
``LEVEL_LABELS`` labels of noise (Henderson's mixed model equations, 1975), and a model's mean is pulled towards the pool's by
``PRIOR_LABELS`` labels (Efron & Morris 1975). Where every label is known, a model's mean before it is pulled is the plain mean.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from auto_router.arrays import Floats, Ints
from auto_router.data.formats import CHECKS
from auto_router.data.records import Record, label_matrix
from auto_router.errors import DataError

NAN = float("nan")
Z95 = 1.959964
UNDECIDED = "undecided by matching"
"""Begins the reason of a null label whose answer no rule could decide, where there was no judge."""
MAX_UNDECIDED = 0.05
"""Part of a model's answers that may stay undecided before the labels of the others mislead."""
FEW_UNDECIDED = 2
"""Undecided answers that prove nothing, whatever part they are."""
PRIOR_LABELS = 5.0  # the variance of a label over that of the models' means was 4 to 15 on sets whose models differ
LEVEL_LABELS = 2.0
CONFIDENCE_95 = 1.645
MIN_LABELS = 5
FEW_LABELS = 30
MAX_UNKNOWN = 0.1  # of the rows, before labels that are all alike look chosen by what they are
_ROUNDS = 50


def mean_of(values: Floats) -> float:
    """Mean of the known values; NaN where none is known."""
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else NAN


def column_means(table: Floats) -> Floats:
    """Return ``[M]`` means of the known values of each column; NaN where none is known."""
    known = ~np.isnan(table)
    sums, counts = np.where(known, table, 0.0).sum(axis=0, dtype=np.float64), known.sum(axis=0)
    means: Floats = np.divide(sums, counts, out=np.full(sums.shape, NAN), where=counts > 0)
    return means


def oracle_labels(labels: Floats) -> Floats:
    """Return ``[N]``: each row's best known label; NaN where none is known."""
    best = np.where(np.isnan(labels), -np.inf, labels).max(axis=1)
    return np.where(np.isinf(best), NAN, best)


def oracle_gains(labels: Floats) -> Floats:
    """Return ``[N, M]``: each row's best label minus the best without model j, whose mean is j's marginal oracle gain.

    NaN where no other model's label is known.
    """
    if labels.shape[1] < 2:
        return np.full(labels.shape, NAN)
    filled = np.where(np.isnan(labels), -np.inf, labels)
    ordered = np.sort(filled, axis=1)
    best, second = ordered[:, -1:], ordered[:, -2:-1]
    only = np.arange(labels.shape[1]) == filled.argmax(axis=1)[:, None]
    others = np.where(only, second, best)
    gains: Floats = np.subtract(best, others, out=np.full(labels.shape, NAN), where=~np.isinf(others))
    return gains


def wilson_interval(mean: float, count: int) -> tuple[float, float]:
    """Return the score interval of a proportion (E. B. Wilson, JASA 22, 1927); grades from 0 to 1: on the safe side."""
    if count == 0:
        return 0.0, 1.0
    z = Z95
    middle = (mean + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(mean * (1 - mean) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def cohens_kappa(one: Floats, other: Floats) -> float:
    """Agreement of two judges beyond chance, (p_o − p_e) / (1 − p_e) (J. Cohen, 1960); grades count as right from 0.5.

    Both are [K] without NaN. NaN where nothing can be said: no cases, or both give everything the same verdict.
    """
    if len(one) == 0:
        return math.nan
    first, second = one >= 0.5, other >= 0.5
    expected = first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean())
    return math.nan if expected >= 1 else float(((first == second).mean() - expected) / (1 - expected))


def oracle(scores: Floats) -> float:
    """Mean of the best label of each row [N, M]; rows without any are left out. NaN where there are none."""
    return mean_of(oracle_labels(scores))


def marginal_gain(scores: Floats, column: int) -> float:
    """Return what the oracle loses without one model, on the rows where another one's label is known (:func:`oracle_gains`)."""
    return mean_of(oracle_gains(scores)[:, column])


@dataclass(frozen=True, slots=True)
class ModelMeans:
    """What the labels say of each model, all ``[M]``; 0…1 where labels are."""

    adjusted: Floats
    """Mean label, as it would be on all rows; the pool's mean for a model without labels."""
    shrunk: Floats
    """The same, pulled towards the pool's mean."""
    error: Floats
    """Standard error of ``shrunk``."""
    counts: Ints
    """Known labels."""

    @property
    def lower_bounds(self) -> Floats:
        """``[M]``: below the model's true mean with 95 % confidence; -inf for a model without labels."""
        return np.where(self.counts > 0, self.shrunk - CONFIDENCE_95 * self.error, -np.inf)


def model_means(labels: Floats) -> ModelMeans:
    """Return the means of the models of ``labels`` [N, M] (NaN = unknown)."""
    known = ~np.isnan(labels)
    y, counts = np.where(known, labels, 0.0).astype(np.float64), known.sum(axis=0)
    some, pool = counts > 0, float(y.sum() / max(known.sum(), 1))
    mean = np.where(some, y.sum(axis=0) / np.maximum(counts, 1), pool)
    level = np.zeros(len(y))
    for _ in range(0 if known.all() else _ROUNDS):
        # Alternating least squares; with all labels known the plain means are its fixed point.
        level = np.where(known, y - mean, 0.0).sum(axis=1) / (known.sum(axis=1) + LEVEL_LABELS)
        level -= level.mean()
        mean = np.where(some, np.where(known, y - level[:, None], 0.0).sum(axis=0) / np.maximum(counts, 1), pool)
    mean = np.clip(mean, 0.0, 1.0)
    centre = float(mean[some].mean()) if some.any() else pool
    shrunk = (counts * mean + PRIOR_LABELS * centre) / (counts + PRIOR_LABELS)
    variance = float(np.square(np.where(known, y - mean, 0.0)).sum() / max(known.sum(), 1))
    # Labels that are all alike do not show that the next one will be: one more of either kind is counted.
    variance += 1.0 / (known.sum() + 2.0)
    return ModelMeans(mean, shrunk, np.sqrt(variance / (counts + PRIOR_LABELS)), counts)


def best_single_model(labels: Floats) -> int:
    """Return the index of the model whose mean's lower bound is highest (call it on training labels ``[N, M]``).

    With as many labels of each model that is the model of the highest mean; few labels, all right, do not make one the best.
    """
    found = model_means(labels)
    return int(np.argmax(found.lower_bounds))


def check_label_counts(labels: Floats, names: Sequence[str]) -> list[str]:
    """Return a warning for each model with few known labels, or with labels that are all alike while many are unknown.

    Raises:
        DataError: a model has fewer than ``MIN_LABELS``: nothing can be learned of it.
    """
    counts = (~np.isnan(labels)).sum(axis=0).tolist()
    too_few = [f"{name} has {count}" for name, count in zip(names, counts, strict=True) if count < MIN_LABELS]
    if too_few:
        enough = [name for name, count in zip(names, counts, strict=True) if count >= MIN_LABELS]
        raise DataError(
            f"too few known labels to learn from: {', '.join(too_few)}; at least {MIN_LABELS} of each model are needed. "
            f"{_advise_on_few(enough, len(too_few))}"
        )
    warnings = []
    for name, count, column in zip(names, counts, labels.T, strict=True):
        if count < FEW_LABELS:
            warnings.append(
                f"{name} has {count} known labels; with fewer than {FEW_LABELS} its P(correct) is little more than a guess"
            )
        values = column[~np.isnan(column)]
        if len(column) - count > MAX_UNKNOWN * len(column) and (values == values[0]).all():
            warnings.append(
                f"all {count} known labels of {name} are {values[0]:g}, and {len(column) - count} are unknown: if only "
                "answers of one kind could be judged, its P(correct) is wrong"
            )
    return warnings


def _advise_on_few(enough: Sequence[str], too_few: int) -> str:
    """Return what can be done; Stage 1 leaves models out without asking anything."""
    if not enough:
        return "Label more rows, or take models that can answer these"
    return (
        f"Label more rows, or leave the model{'s' if too_few > 1 else ''} out: run Stage 1 again as before with these flags "
        f"added, which asks nothing: python prepare_hf_data.py ... --models {shlex.join(enough)} --export-only; then Stage 2"
    )


ALL_MODELS = "all models"
UNSTATED = "not stated"
MEANINGS = {
    "reference": "right by the data set's own answers",
    "silver": "as good for the request as a strong model's answer, where that model stands by it",
    "rubric": "how far a judge finds the criteria met",
    "pairwise": "no worse than the default model's answer",
    "scorer": "scored by a function",
    "import": "taken over from results",
    UNSTATED: "it is not said what they rest on",
}
"""What a label of each source says."""
JUDGED = ("silver", "rubric", "pairwise")
"""Sources of labels that are as good as their judge."""
MIN_KAPPA = 0.4  # below, Landis and Koch (Biometrics 33, 1977) call an agreement fair at most
ENOUGH_CASES = 20  # answers below which a kappa is about chance
ENOUGH_DECOYS = 5  # below, one that is right by chance would be held against the judge
MAX_TAKEN = 0.1  # share of decoys that a judge may take for right: slips, and those that are right by chance
TRUST_HEADERS = ["label beside", "model", "cases", "agree", "95 %", "too kind", "too strict", "kappa", "label", "check"]


@dataclass(frozen=True, slots=True)
class LabelTrust:
    """The labels of one model (or of all) beside one check; both count as right from 0.5. Rates are 0 to 1."""

    check: str
    model: str
    cases: int
    agreement: float
    interval: tuple[float, float]
    """95 %, of the agreement."""
    kind: int
    """Cases that the label calls right and the check wrong."""
    strict: int
    kappa: float | None
    """Cohen's; None where labels or checks are all alike."""
    label_rate: float
    check_rate: float

    def to_plain(self) -> dict[str, Any]:
        return asdict(self) | {"interval": list(self.interval)}


@dataclass(frozen=True, slots=True)
class DecoyCheck:
    """How a judge fared with answers that belong to other questions: of ``shown`` it took ``taken`` for right."""

    judge: str
    shown: int
    taken: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, of the share that it took (Wilson)."""
        return wilson_interval(self.taken / self.shown, self.shown)

    def describe(self) -> str:
        low, high = self.interval
        share = self.taken / self.shown
        return (
            f"decoys: the judge took {self.taken} of {self.shown} answers to other questions for right ({share:.0%}, 95 % "
            f"{low:.0%} to {high:.0%})"
        )

    def doubt(self) -> str:
        """Return what speaks against the labels of this judge; "" where slips explain what it took, or too few were shown."""
        if self.shown < ENOUGH_DECOYS or self.interval[0] <= MAX_TAKEN:
            return ""
        return (
            f"{self.judge} does not tell right from wrong: it took {self.taken} of {self.shown} answers to other questions for "
            "right, and a router would learn that. Take a judge that can answer the prompts itself, or write right answers to "
            "some of them"
        )

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def measure_trust(labels: Floats, checks: Mapping[str, Floats], names: Sequence[str]) -> list[LabelTrust]:
    """Return a line for each check and model, all models first; nothing where no answer has both.

    Args:
        labels: ``[N, M]``, NaN = unknown.
        checks: of each check ``[N, M]`` what it says of the same answers.
        names: of the ``M`` models.
    """
    lines = []
    for check, values in checks.items():
        both = ~np.isnan(labels) & ~np.isnan(values)
        lines += [_measure(check, ALL_MODELS, labels[both], values[both])] if both.any() and len(names) > 1 else []
        for column, name in enumerate(names):
            rows = both[:, column]
            if rows.any():
                lines.append(_measure(check, name, labels[rows, column], values[rows, column]))
    return lines


def _measure(check: str, model: str, labels: Floats, checked: Floats) -> LabelTrust:
    said, truth = labels >= 0.5, checked >= 0.5
    agreement, kappa = float((said == truth).mean()), cohens_kappa(labels, checked)
    return LabelTrust(
        check, model, len(said), agreement, wilson_interval(agreement, len(said)), int((said & ~truth).sum()),
        int((~said & truth).sum()), None if np.isnan(kappa) else kappa, float(labels.mean()), float(checked.mean()),
    )  # fmt: skip


def trust_table(lines: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of :meth:`LabelTrust.to_plain` lines; empty where there are none."""
    rows = [
        [
            line["check"],
            line["model"],
            str(line["cases"]),
            f"{line['agreement']:.1%}",
            f"{line['interval'][0]:.1%} to {line['interval'][1]:.1%}",
            str(line["kind"]),
            str(line["strict"]),
            "-" if line["kappa"] is None else f"{line['kappa']:.2f}",
            f"{line['label_rate']:.1%}",
            f"{line['check_rate']:.1%}",
        ]
        for line in lines
    ]
    return tabulate(rows, headers=TRUST_HEADERS, disable_numparse=True) if rows else ""


def summarize_labels(records: Sequence[Record], names: Sequence[str]) -> dict[str, Any]:
    """Return ``{"sources": {label source: records}, "trust": [lines]}`` of records, as plain values."""
    sources = Counter(record.label_source or UNSTATED for record in records)
    checks = {check: _check_matrix(records, names, check) for check in CHECKS}
    trust = measure_trust(label_matrix(records, names).astype(np.float64), checks, names)
    return {"sources": dict(sources.most_common()), "trust": [line.to_plain() for line in trust]}


def describe_sources(sources: Mapping[str, int]) -> str:
    """Return how many records have labels of which source, and what such a label says."""
    return "; ".join(
        f"{count:,} records: {name}" + (f" ({MEANINGS[name]})" if name in MEANINGS else "") for name, count in sources.items()
    )


def doubt_labels(sources: Iterable[str], trust: Sequence[Mapping[str, Any]]) -> str:
    """Return what speaks against training on labels; "" where nothing does.

    Args:
        sources: what the labels rest on.
        trust: of :meth:`LabelTrust.to_plain`, all lines of each check.
    """
    judged = [name for name in sources if name in JUDGED]
    if judged and not trust:
        return (
            f"Nothing says how far these labels ({', '.join(judged)}) can be trusted: mark 50 answers yourself (--audit 50), "
            "put right answers to some of the prompts, or name a second judge"
        )
    several = {line["check"] for line in trust if line["model"] == ALL_MODELS}
    found = [
        f"{line['kappa']:.2f} beside the check '{line['check']}' on {line['cases']:,} answers"
        for line in trust
        if (line["model"] == ALL_MODELS or line["check"] not in several)
        and line["kappa"] is not None
        and line["kappa"] < MIN_KAPPA
        and line["cases"] >= ENOUGH_CASES
    ]
    if not found:
        return ""
    return (
        f"The labels agree little better than chance (kappa {' and '.join(found)}; {MIN_KAPPA:g} is the least to build on): "
        "a router would learn the judge's errors. Take another judge, or right answers, before you train on them"
    )


def _check_matrix(records: Sequence[Record], names: Sequence[str], check: str) -> Floats:
    empty: Mapping[str, float | None] = {}
    found = [record.label_checks.get(check, empty) for record in records]
    values: Floats = np.array([[row.get(name) for name in names] for row in found], dtype=np.float64)  # NaN for None
    return values.reshape(len(records), len(names))
