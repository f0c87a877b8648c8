"""How far labels can be trusted: what they say beside a better-founded check of the same answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from auto_router.arrays import Floats
from auto_router.data.formats import CHECKS
from auto_router.data.label_stats import cohens_kappa, wilson_interval
from auto_router.data.records import Record, label_matrix

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
