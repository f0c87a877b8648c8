"""Feedback: how answers turned out, kept for Stage 3 as further labelled rows.

A line of the JSONL holds the network's input row, not the prompt: nobody can read a question from it, and Stage 3 need not
encode it again.

What outcomes say of each model's *level*, how far its predictions are off, is a map of its probabilities (:func:`fit_levels`).
A model is *steady* (training has it right), or it *changed*. A change has one of three forms, since labels and models go wrong
in such ways: its odds are multiplied (it is better or worse at everything), its right answers are (a judge took some for
wrong, or some are not given any more), or its wrong answers are. Which form, and how much, is averaged over what the outcomes
leave open. A few outcomes, which are as much luck as truth, move nothing, and a model that became another is found after some
tens.

All models may have moved together: traffic is harder than the training rows, or people are harder to please. Then those that
were seldom asked move with the others. Without that, a router would leave the models of which it knows for those of which it
does not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from auto_router.arrays import Array, Floats, Ints
from auto_router.data.dataset import Dataset
from auto_router.data.embeddings import without_address
from auto_router.data.records import Record
from auto_router.decide.rule import Decision
from auto_router.errors import ConfigError, DataError
from auto_router.learn.calibration import Calibration

FEEDBACK_FILE = "router_feedback.jsonl"
_APPENDING = threading.Lock()


def encoder_digest(spec: Mapping[str, Any]) -> str:
    """Return a short name for an encoder: feedback of another one does not fit."""
    named = _without_probes(without_address(dict(spec)))
    return hashlib.sha256(json.dumps(named, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _without_probes(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Probes differ in their last digit from machine to machine, those of a joined encoder's parts too."""
    return {
        name: _without_probes(value) if isinstance(value, Mapping) else value for name, value in spec.items() if name != "probe"
    }


def read_outcome(value: Any) -> float:
    """Return an outcome as a number from 0 (wrong) to 1 (right). Raises ConfigError where it is none."""
    if not isinstance(value, int | float | np.integer | np.floating) or not 0 <= value <= 1:
        raise ConfigError(f"outcome must be a number from 0 (wrong) to 1 (right), got {str(value)[:40]!r}")
    return float(value)


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """How the answer to one decided prompt turned out: a line of a feedback file."""

    model: str
    """Who answered."""
    outcome: float
    """0 (wrong) … 1 (right)."""
    chosen: str
    reason: str
    encoder: str
    """See :func:`encoder_digest`."""
    features: bytes
    """The network's input row, float32, little-endian."""
    id: str | None = None
    """Of the decision; of several lines with one id the last holds."""

    def append(self, path: Path) -> None:
        """Append the line to a JSONL file, which is made where there is none. Raises OSError where it cannot be written."""
        row = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            **({} if self.id is None else {"id": self.id}),
            "model": self.model,
            "outcome": self.outcome,
            "chosen": self.chosen,
            "reason": self.reason,
            "encoder": self.encoder,
            "features": base64.b64encode(self.features).decode("ascii"),
        }
        line = json.dumps(row, ensure_ascii=False) + "\n"
        with _APPENDING:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One unbuffered write of one line: what several processes append does not mix.
            with path.open("ab", buffering=0) as file:
                file.write(line.encode("utf-8", "backslashreplace"))


def pack_features(features: Array) -> bytes:
    """Return an input row as a feedback file holds it."""
    return np.asarray(features, dtype="<f4").tobytes()


def append_feedback(
    path: Path, decision: Decision, outcome: float, encoder: Mapping[str, Any], model: str | None = None
) -> None:
    """Append one line: ``outcome`` 0…1 of the answer of ``model`` (None: the chosen one).

    Raises:
        ConfigError: the outcome is not a number from 0 to 1, or the decision does not know the model or its features.
    """
    model = decision.model if model is None else model
    value = read_outcome(outcome)
    if model not in decision.probabilities:
        raise ConfigError(f"feedback for unknown model {model!r}; this decision knows {', '.join(decision.probabilities)}")
    if decision.features is None:
        raise ConfigError("this decision has no features to learn from; record decisions that a ModelRouter made")
    digest = encoder_digest(encoder)
    FeedbackRow(model, value, decision.model, decision.reason, digest, pack_features(decision.features)).append(path)


@dataclass(frozen=True, slots=True)
class Feedback:
    """Labelled rows of a feedback file: one label a row, all others unknown."""

    features: Floats
    """``[N, D]``, as the network takes them."""
    labels: Floats
    """``[N, M]``."""
    groups: list[str]
    """Rows of the same prompt share one."""

    def take(self, rows: Ints) -> Feedback:
        """Return some of the rows."""
        return Feedback(self.features[rows], self.labels[rows], [self.groups[row] for row in rows.tolist()])

    @property
    def columns(self) -> Ints:
        """``[N]``: the column of the model that answered."""
        found: Ints = (~np.isnan(self.labels)).argmax(axis=1)
        return found

    @property
    def outcomes(self) -> Floats:
        """``[N]``: how its answer turned out."""
        return np.asarray(self.labels[np.arange(len(self.labels)), self.columns], dtype=np.float64)

    @property
    def weights(self) -> Floats:
        """Return ``[N]`` in 0…1: rows of a model weigh the less, the more often the router chose it.

        A router asks mostly the models it trusts, so its feedback says more about these than a sample of prompts would.
        Weighted, the rows of each model come to what the model with the fewest rows has.
        """
        known = ~np.isnan(self.labels)
        counts = known.sum(axis=0)
        least = counts[counts > 0].min() if known.any() else 1
        return np.asarray(least / np.maximum(counts[known.argmax(axis=1)], 1), dtype=np.float64)


def load_feedback(path: Path, names: Sequence[str], encoder: Mapping[str, Any], dim: int) -> Feedback:
    """Read a feedback file; rows of models that are not in ``names`` are left out. A torn last line is left out, too.

    Of several rows with the same id the last holds: an outcome may be corrected.

    Raises:
        DataError: the file is missing, a line is damaged, or was made by another encoder or head.
    """
    expected = encoder_digest(encoder)
    found: dict[str | int, tuple[npt.NDArray[np.float32], list[float], str]] = {}
    for number, line in enumerate(_lines(path), start=1):
        try:
            row, values, outcome = _read_line(line)
        except (ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
            if not line.endswith(b"\n") and isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
                break  # a line that a killed process began
            raise DataError(f"feedback file {path}, line {number} is damaged ({error!r}); drop the line") from error
        if row.get("encoder") != expected or len(values) != dim:
            raise DataError(
                f"feedback file {path}, line {number} was recorded by a router with another encoder or head than these "
                "embeddings; train on the feedback of this one"
            )
        name = row["id"] if isinstance(row.get("id"), str) else number
        found.pop(name, None)
        if row["model"] in names:
            label = [outcome if known == row["model"] else np.nan for known in names]
            found[name] = values, label, hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest()
    rows = list(found.values())
    matrix = np.array([row[0] for row in rows], dtype=np.float32).reshape(len(rows), dim)
    labels = np.array([row[1] for row in rows], dtype=np.float32).reshape(len(rows), len(names))
    return Feedback(matrix, labels, [row[2] for row in rows])


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines one by one: the whole text is larger than what is kept of it."""
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise DataError(f"feedback file {path} cannot be read ({error}); ModelRouter.record writes one") from error


def _read_line(line: bytes) -> tuple[dict[str, Any], npt.NDArray[np.float32], float]:
    """Return a line, its features and its outcome. Raises where it is no such line."""
    row = json.loads(line)
    values = np.frombuffer(base64.b64decode(row["features"], validate=True), dtype="<f4").astype(np.float32)
    if not isinstance(row["model"], str) or not np.isfinite(values).all():
        raise ValueError("model must be a name, and features finite numbers")
    return row, values, read_outcome(row["outcome"])


def feedback_rows(path: Path, data: Dataset, seed: int) -> tuple[list[Record], Array, Array]:
    """Read feedback for the models of ``data`` and draw from it, each row with the probability of its weight.

    Returns records, features and labels, for :meth:`Dataset.extend`. The records say which model was right and whether there
    were images; prompts are not known.
    """
    given = load_feedback(path, data.names, data.encoder, data.features.shape[1])
    drawn = np.flatnonzero(np.random.default_rng(seed).random(len(given.labels)) < given.weights)
    features = np.asarray(given.features[drawn], dtype=np.float32)
    print(f"feedback: {len(drawn)} of {len(given.labels)} rows drawn, fewer of the models that the router chose most")
    text, width = data.encoder["text_dim"], data.encoder["text_dim"] + data.encoder["image_dim"]
    with_image: list[bool] = np.any(features[:, text:width] != 0, axis=1).tolist()
    groups = [given.groups[i] for i in drawn.tolist()]
    records = [
        Record(-1 - i, "(feedback)", images=("(feedback)",) if image else (), group=f"feedback {group}")
        for i, (image, group) in enumerate(zip(with_image, groups, strict=True))
    ]
    return records, features, np.asarray(given.labels[drawn], dtype=np.float32)


MODEL_CHANGES = 0.1  # share of models that changed on their own, before any outcome says so
CHANGE_FORMS = (0.25, 0.5, 0.25)  # of a change: of the odds, of right answers, of wrong ones
COMMON_CHANGE = 0.02  # how likely all moved together, before any outcome says so
STEADY_SPREAD, CHANGED_SPREAD = 0.05, 1.5  # standard deviations of a shift, in logarithms
HIGHEST = 0.95  # no share of right answers is multiplied above it: one wrong answer would weigh too much
_EDGE = 1e-3
_GRID = np.linspace(0.0, 1.0, 101)
_SHIFTS = np.linspace(-4.0, 4.0, 161)
_COMMON = _SHIFTS[::2]


def _odds(p: Floats, shift: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + (1.0 - p) / p * np.exp(-shift)))


def _right(p: Floats, shift: Floats) -> Floats:
    return np.asarray((p * np.exp(shift)).clip(_EDGE, np.maximum(HIGHEST, p)))


def _wrong(p: Floats, shift: Floats) -> Floats:
    return 1.0 - _right(1.0 - p, -shift)


def _normal(spread: float, around: Floats, at: Floats) -> Floats:
    found = np.exp(-0.5 * ((at - around) / spread) ** 2)
    return np.asarray(found / found.sum(axis=-1, keepdims=True))


_MAPS = np.stack([form(_GRID.clip(_EDGE, 1 - _EDGE), _SHIFTS[:, None]) for form in (_odds, _right, _wrong)])
"""``[3, S, G]``: what each form makes of the probabilities of the grid, by shift."""
_STEADY = _normal(STEADY_SPREAD, _COMMON[:, None], _SHIFTS)  # [C, S]
_CHANGED = np.outer(CHANGE_FORMS, _normal(CHANGED_SPREAD, np.zeros(1), _SHIFTS))  # [3, S]
_TOGETHER = COMMON_CHANGE * _normal(CHANGED_SPREAD, np.zeros(1), _COMMON)
_TOGETHER[len(_COMMON) // 2] += 1.0 - COMMON_CHANGE  # [C]; the middle is no shift


def fit_levels(probabilities: Floats, feedback: Feedback) -> Calibration:
    """Return the map of each model's probabilities that outcomes of its answers ask for: a posterior mean.

    Args:
        probabilities: ``[N, M]``, by predictions that did not learn from these rows.
        feedback: the outcomes.
    """
    count = probabilities.shape[1]
    seen = [_likelihood(probabilities, feedback, model) for model in range(count)]
    changed = [float((likelihood * _CHANGED).sum()) for likelihood in seen]
    steady = np.stack([likelihood @ _STEADY.T for likelihood in seen])  # [M, 3, C]
    evidence = (1 - MODEL_CHANGES) * steady + MODEL_CHANGES * np.array(changed)[:, None, None]
    weight = np.log(evidence).sum(axis=0) + np.log(_TOGETHER)
    weight = np.exp(weight - weight.max())
    weight /= weight.sum()
    asked, knots = np.unique(feedback.columns).tolist(), []
    for model, likelihood in enumerate(seen):
        if model in asked:
            share = weight / evidence[model]
            found = likelihood * ((1 - MODEL_CHANGES) * share @ _STEADY + MODEL_CHANGES * share.sum() * _CHANGED)
        else:  # it moves with all, or stays
            found = weight @ _STEADY
        curve = np.einsum("fs,fsg->g", found, _MAPS)
        knots.append((_GRID.tolist(), np.maximum.accumulate(curve.clip(0.0, 1.0)).tolist()))
    return Calibration("sigmoid", knots)


def level_shifts(levels: Calibration, probabilities: Floats) -> Floats:
    """Return ``[M]``: how far the maps move each model's mean of ``probabilities``, in log odds."""
    before, after = (values.mean(axis=0).clip(_EDGE, 1 - _EDGE) for values in (probabilities, levels(probabilities)))
    return np.asarray(np.log(after / (1 - after)) - np.log(before / (1 - before)))


def _likelihood(probabilities: Floats, feedback: Feedback, model: int) -> Floats:
    """Return ``[3, S]``: how likely the model's outcomes are by form and shift; the highest is 1."""
    rows = feedback.columns == model
    places = np.rint(probabilities[rows, model].clip(0.0, 1.0) * (len(_GRID) - 1)).astype(np.int64)
    outcomes = feedback.outcomes[rows]
    right, wrong = (np.bincount(places, values, len(_GRID)) for values in (outcomes, 1.0 - outcomes))
    found = np.log(_MAPS) @ right + np.log(1.0 - _MAPS) @ wrong
    return np.asarray(np.exp(found - found.max()))
