"""The evaluation record: what Stage 1 writes and Stages 2 and 3 read.

A file is a JSON list of ``{"idx", "prompt", "answer", "images", "model_scores"}`` objects, optionally with ``group``,
``source``, ``answers``, ``model_costs``, ``model_latencies``, ``model_errors``, ``context``, ``label_source`` and
``label_checks``. ``.jsonl``, either of them as ``.gz``, ``.parquet``, and folders or globs of them are read too
(:mod:`auto_router.data.formats`).
Validation happens once, here, and names row and field. A score that is ``null`` or absent is *unknown*: it becomes NaN
in the label matrix and is masked everywhere, never taken for 0.

What an answer of each model costs: as recorded, else as the pool's prices say.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from auto_router.arrays import Array, Floats, Ints
from auto_router.data.conversation import read_prompt
from auto_router.data.formats import CHECKS, located_rows
from auto_router.data.json_files import json_list
from auto_router.data.pool import ModelFacts
from auto_router.data.splits import connect, content_key, digest_text, question_keys
from auto_router.errors import DataError

MAX_IDX = 2**63 - 1  # what an int64 holds
MAX_USD = 1e9  # a cost above this is a mistake, and infinity cannot be written as JSON
MAX_SECONDS = 1e6  # the same of a latency: twelve days


@dataclass(frozen=True, slots=True)
class Record:
    """One prompt, its images (base64 or data URI) and what each model scored on it (0…1, None = unknown)."""

    idx: int
    prompt: str
    answer: str = ""
    images: tuple[str, ...] = ()
    model_scores: Mapping[str, float | None] = field(default_factory=dict)
    group: str | None = None
    source: str | None = None
    model_costs: Mapping[str, float | None] = field(default_factory=dict)
    model_errors: Mapping[str, str] = field(default_factory=dict)
    answers: tuple[str, ...] = ()  # where several are right: all of them, ``answer`` first
    context: str = ""
    """The turns that lead to the prompt, of :func:`auto_router.data.conversation.conversation_input`; empty for none."""
    label_source: str | None = None
    """What the labels rest on: ``reference``, ``silver``, ``rubric``, ``pairwise``, ``scorer``, ``import``; None: not said."""
    label_checks: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """What some of ``CHECKS`` say of the same answers, by model."""
    model_latencies: Mapping[str, float | None] = field(default_factory=dict)
    """Seconds from the request to the whole answer, of the try that brought it."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values; optional fields only where they say something."""
        row: dict[str, Any] = {
            "idx": self.idx,
            "prompt": self.prompt,
            "answer": self.answer,
            "images": list(self.images),
            "model_scores": {model: _plain(score) for model, score in self.model_scores.items()},
        }
        optional: dict[str, Any] = {"group": self.group, "source": self.source, "context": self.context}
        optional |= {"answers": list(self.answers)}
        optional |= {"model_costs": dict(self.model_costs), "model_latencies": dict(self.model_latencies)}
        optional |= {"model_errors": dict(self.model_errors)}
        checks = {check: {model: _plain(score) for model, score in found.items()} for check, found in self.label_checks.items()}
        optional |= {"label_source": self.label_source, "label_checks": checks}
        return row | {name: value for name, value in optional.items() if value}

    @property
    def whole(self) -> str:
        """What tells the question from others: the prompt with its context, where it has one."""
        return self.context or self.prompt

    def slim(self) -> Record:
        """Return what training and assessment need: a digest for each image, no answer."""
        return replace(self, answer="", answers=(), images=tuple(content_key("", [image]) for image in self.images))


def load_records(path: str | Path) -> list[Record]:
    """Read and validate an evaluation file.

    Raises:
        DataError: the file is missing, of an unknown format, not parsable, empty, or a row is not a valid record.
    """
    return list(iter_records(path))


def iter_records(path: str | Path, start: int = 0) -> Iterator[Record]:
    """Read and validate an evaluation file, or a folder or glob of shards, record by record from record ``start`` on.

    Memory does not grow with the file.

    Raises:
        DataError: as :func:`load_records`, when the reader gets there.
    """
    for where, position, row in located_rows(Path(path), start):
        yield _parse(row, position, where)


def parse_records(rows: Iterable[Any], where: str = "evaluation data") -> list[Record]:
    """Validate plain rows (as read from JSON) into records; ``where`` names their origin in errors."""
    if isinstance(rows, Mapping | str) or not isinstance(rows, Iterable):
        raise DataError(f"{where}: expected a list of records, got {type(rows).__name__}")
    records = [_parse(row, position, where) for position, row in enumerate(rows)]
    if not records:
        raise DataError(f"{where} holds no records; at least one is needed")
    return records


def save_records(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as a JSON list, whole or not at all."""
    with json_list(Path(path)) as append:
        for record in records:
            append(record.to_json())


def model_names(records: Iterable[Record]) -> list[str]:
    """Return every model that occurs, in order of first appearance: the column order of the label matrix."""
    return list(dict.fromkeys(name for record in records for name in record.model_scores))


def label_matrix(records: Sequence[Record], names: Sequence[str]) -> Array:
    """Return the scores as float32 ``[N, M]`` in 0…1; NaN where unknown."""
    return _matrix([record.model_scores for record in records], names)


def cost_matrix(records: Sequence[Record], names: Sequence[str]) -> Array:
    """Return the recorded costs in USD as float32 ``[N, M]``; NaN where unknown."""
    return _matrix([record.model_costs for record in records], names)


def latency_matrix(records: Sequence[Record], names: Sequence[str]) -> Floats | None:
    """Return the recorded seconds of each answer ``[N, M]``, NaN where unknown; None where none is known."""
    latencies = _matrix([record.model_latencies for record in records], names).astype(np.float64)
    return None if np.isnan(latencies).all() else latencies


def group_ids(records: Sequence[Record]) -> Ints:
    """Return ``[N]`` integers: rows of one group share one. Rows without ``group`` share one if they ask the same question."""
    return connect(
        [{f"group {r.group}"} if r.group is not None else question_keys(r.whole, map(digest_text, r.images)) for r in records]
    )


def _matrix(rows: Sequence[Mapping[str, float | None]], names: Sequence[str]) -> Array:
    """Return ``[N, M]``, NaN for None and for what is left out."""
    return np.array([[row.get(name) for name in names] for row in rows], dtype=np.float32).reshape(len(rows), len(names))


def _plain(score: float | None) -> float | None:
    """Whole scores are written as the integers 0 and 1 that people expect to see."""
    return int(score) if score is not None and float(score).is_integer() else score


def _parse(row: Any, position: int, where: str) -> Record:
    def fail(what: str) -> DataError:
        return DataError(f"{where}, record {position}: {what}")

    if isinstance(row, Record):
        return row
    if not isinstance(row, Mapping):
        raise fail(f"expected an object, got {type(row).__name__}")
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise fail(f"'prompt' must be a non-empty string, got {_short(prompt)}; fix or drop the record")
    context = _text(row.get("context")) or ""
    if not context:  # a prompt with blocks of documents is read as a router reads it when it is asked that
        prompt, _, context = read_prompt(prompt)
    idx = row.get("idx", position)
    idx = int(idx) if isinstance(idx, float) and idx.is_integer() else idx  # as pandas writes a column with gaps
    if isinstance(idx, bool) or not isinstance(idx, int):
        raise fail(f"'idx' must be an integer, got {_short(idx)}; number the records, or leave 'idx' out of all of them")
    if not -MAX_IDX <= idx <= MAX_IDX:
        raise fail(f"'idx' must be within ±{MAX_IDX}, got {_short(idx)}")
    images = row.get("images") or []
    if not isinstance(images, Sequence) or isinstance(images, str) or not all(isinstance(i, str) for i in images):
        raise fail("'images' must be a list of base64 strings or data URIs; use [] for none")
    errors = row.get("model_errors") or {}
    if not isinstance(errors, Mapping):
        raise fail(f"'model_errors' must be an object of model: reason, got {type(errors).__name__}")
    answer, answers = row.get("answer"), row.get("answers") or []
    if not isinstance(answers, Sequence) or isinstance(answers, str):
        raise fail(f"'answers' must be a list of right answers, got {type(answers).__name__}")
    return Record(
        idx=idx,
        prompt=prompt,
        answer="" if answer is None else str(answer),
        images=tuple(images),
        model_scores=_numbers(row, "model_scores", 1.0, fail),
        group=_text(row.get("group")),
        source=_text(row.get("source")),
        model_costs=_numbers(row, "model_costs", MAX_USD, fail, "USD"),
        model_latencies=_numbers(row, "model_latencies", MAX_SECONDS, fail, "seconds"),
        model_errors={str(k): str(v) for k, v in errors.items() if v is not None},
        answers=tuple(map(str, answers)),
        context=context,
        label_source=_text(row.get("label_source")),
        label_checks=_checks(row, fail),
    )


def _checks(row: Mapping[str, Any], fail: Any) -> dict[str, dict[str, float | None]]:
    values = row.get("label_checks") or {}
    if not isinstance(values, Mapping) or not set(values) <= set(CHECKS):
        raise fail(f"'label_checks' must be an object whose names are among {', '.join(CHECKS)}; got {_short(values)}")
    found = {check: _numbers(values, check, 1.0, fail) for check in values}
    for check, said in found.items():  # parquet has every check and model in every row
        found[check] = {model: score for model, score in said.items() if score is not None}
    return {check: said for check, said in found.items() if said}


def _text(value: Any) -> str | None:
    """An empty ``group`` or ``source`` says nothing, as none at all."""
    return None if value is None or value == "" else str(value)


def _numbers(row: Mapping[str, Any], name: str, highest: float, fail: Any, unit: str = "") -> dict[str, float | None]:
    values = row.get(name) or {}
    if not isinstance(values, Mapping):
        raise fail(f"'{name}' must be an object of model: number, got {type(values).__name__}")
    numbers: dict[str, float | None] = {}
    for model, value in values.items():
        if isinstance(value, bool):
            value = int(value)
        if value is not None and (not isinstance(value, int | float) or not 0.0 <= value <= highest):
            allowed = f"a number {f'of {unit} ' if unit else ''}from 0 to {highest:g}"
            raise fail(f"'{name}' of {model!r} must be {allowed}, or null for unknown; got {_short(value)}")
        numbers[sys.intern(str(model))] = value  # one copy of each name, however many records there are
    return numbers


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


# Without a record of tokens, an answer is taken to read and to write this many: only the ratios of the prices matter.
NOMINAL_TOKENS = 500


def answer_costs(records: Sequence[Record], names: Sequence[str], facts: Mapping[str, ModelFacts]) -> Floats | None:
    """Return USD of each answer ``[N, M]``, NaN where unknown; None where nothing is known of any.

    They are the records' ``model_costs``; where no record has one, the pool's prices for ``NOMINAL_TOKENS`` read and as
    many written, the same for every prompt.
    """
    costs = cost_matrix(records, names).astype(np.float64)
    if np.isnan(costs).all():
        prices = [facts.get(name, ModelFacts()).price(NOMINAL_TOKENS, NOMINAL_TOKENS) for name in names]
        costs[:] = [np.nan if price is None else price for price in prices]
    return None if np.isnan(costs).all() else costs
