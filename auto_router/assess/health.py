"""The data's health: labels and unknowns of each model, duplicates, and how far the test set is from the training set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from auto_router.arrays import Bools, Floats
from auto_router.data.label_stats import FEW_UNDECIDED, MAX_UNDECIDED, UNDECIDED
from auto_router.data.records import Record, group_ids, label_matrix
from auto_router.data.splits import content_key

MAX_REASONS = 3
NORMAL_95 = 1.96


def data_health(
    train: Sequence[Record], test: Sequence[Record], names: Sequence[str], novelty: Floats | None
) -> dict[str, Any]:
    """Return plain values; ``novelty`` [N] of the test rows (1 is the limit of the familiar), None where not measured."""
    parts = {"train": train, "test": test}
    labels = {part: label_matrix(records, names) for part, records in parts.items()}
    return {
        "parts": {part: _part(records) for part, records in parts.items()},
        "models": {
            name: {part: _labels(labels[part][:, j]) for part in parts}
            | _drift(labels["train"][:, j], labels["test"][:, j])
            | {"reasons": _reasons(name, [*train, *test])}
            for j, name in enumerate(names)
        },
        "in both": int(_repeats(train, test).sum()),
        "unfamiliar": None if novelty is None or not len(novelty) else float((novelty > 1).mean()),
        "sources apart": _apart(train, test),
    }


def _part(records: Sequence[Record]) -> dict[str, Any]:
    """Counts, and how long prompts are; ``repeated``: records whose prompt and images another one before has."""
    distinct = len(set(_content_keys(records)))
    lengths = [len(record.prompt) for record in records]
    return {
        "records": len(records),
        "groups": len(np.unique(group_ids(records))) if records else 0,
        "repeated": len(records) - distinct,
        "pictures": sum(bool(record.images) for record in records) / max(len(records), 1),
        "characters": float(np.median(lengths)) if lengths else None,
    }


def _labels(column: Floats) -> dict[str, Any]:
    known = column[~np.isnan(column)]
    return {"rate": float(known.mean()) if len(known) else None, "unknown": int(len(column) - len(known))}


def _drift(train: Floats, test: Floats) -> dict[str, Any]:
    """Label rate in test less that in training, with its 95 % interval (two proportions, normal approximation)."""
    known = [column[~np.isnan(column)].astype(np.float64) for column in (train, test)]
    if not all(len(column) for column in known):
        return {"drift": None, "drift_interval": None}
    change = float(known[1].mean() - known[0].mean())
    reach = NORMAL_95 * float(np.sqrt(sum(column.var() / len(column) for column in known)))
    return {"drift": change, "drift_interval": [change - reach, change + reach]}


def _reasons(name: str, records: Sequence[Record]) -> list[tuple[str, int]]:
    """The commonest reasons of unknown labels, with their counts."""
    return Counter(r.model_errors[name][:80] for r in records if name in r.model_errors).most_common(MAX_REASONS)


def find_untested(records: Sequence[Record], names: Sequence[str]) -> list[str]:
    """Return a line for each model that no test record has a label of, and for each that only test records score."""
    seen = {name for record in records for name, score in record.model_scores.items() if score is not None}
    untested = [f"no test record has a label of {name}: its worth on new prompts is not measured" for name in names]
    return [
        *(line for line, name in zip(untested, names, strict=True) if name not in seen),
        *(
            f"only test records score {name}: it is left out, for nothing was learned of it"
            for name in sorted(seen - set(names))
        ),
    ]


def find_one_sided(records: Sequence[Record], names: Sequence[str]) -> list[str]:
    """Return a line for each model of which many labels are unknown because no rule and no judge decided.

    What rules leave undecided is wrong more often than the rest: the known labels then say too much good of a model.
    """
    lines = []
    for name in names:
        reasons = [r.model_errors.get(name, "") for r in records if name in r.model_scores]
        undecided = sum(reason.startswith((UNDECIDED, "judge:")) for reason in reasons)
        known = sum(r.model_scores.get(name) is not None for r in records)
        if undecided > max(MAX_UNDECIDED * (undecided + known), FEW_UNDECIDED):
            lines.append(
                f"the labels of {name} are one-sided: {undecided} of {undecided + known} answers were decided neither by rules "
                "nor by a judge; every rate below is of those decided. Judge them in Stage 1 first"
            )
    return lines


def rows_in_training(train: Sequence[Record], test: Sequence[Record]) -> Bools:
    """Return ``[N]``: the test records that have a group, or ask a question, of the training set: they flatter the router."""
    groups = group_ids([*train, *test])
    return np.asarray(np.isin(groups[len(train) :], groups[: len(train)]) | _repeats(train, test))


def _repeats(train: Sequence[Record], test: Sequence[Record]) -> Bools:
    """``[N]``: the test records whose prompt and images are in the training set too."""
    seen = set(_content_keys(train))
    return np.array([key in seen for key in _content_keys(test)], dtype=bool)


def _content_keys(records: Sequence[Record]) -> list[str]:
    return [content_key(record.whole, record.images) for record in records]


def _apart(train: Sequence[Record], test: Sequence[Record]) -> float | None:
    """Total variation distance of the two distributions of ``source``, 0 (alike) to 1; None without sources."""
    counts = [Counter(record.source for record in records if record.source) for records in (train, test)]
    if not all(counts):
        return None
    shares = [{key: count / found.total() for key, count in found.items()} for found in counts]
    return sum(abs(shares[0].get(key, 0.0) - shares[1].get(key, 0.0)) for key in set(shares[0]) | set(shares[1])) / 2
