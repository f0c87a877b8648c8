"""Results of other evaluations as scores: found by their fields, read row by row, nothing asked again.

Known are lm-evaluation-harness (``samples_*.jsonl``), inspect_ai logs, tables with a column a model (RouterBench) and tables
with a row for each query and model (LLMRouter). Their documentation is named in ``tests/collect/test_importer.py``.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auto_router.collect.row_files import FileRow, parse_json
from auto_router.data.conversation import conversation_input, read_prompt, turns_of
from auto_router.errors import DataError

LM_EVAL, INSPECT, WIDE_TABLE, LONG_TABLE = (
    "lm-evaluation-harness",
    "inspect_ai",
    "table, a column a model",
    "table, a row a query and model",
)
QUERY = ("prompt", "query", "question", "input")
MODEL = ("model_name", "model", "llm")
SCORE = ("performance", "score", "effect", "correct")
REFERENCE = ("ground_truth", "reference", "answer", "target")
SOURCE = ("source", "eval_name", "task_name", "dataset", "task")
COST_ENDINGS = ("|total_cost", "|cost", "_total_cost", "_cost")
SCORE_ENDINGS = ("", "|score", "_score")
RESPONSE_ENDING = "|model_response"
_LETTERS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}  # inspect: correct, incorrect, partial, no answer
_WORDS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "correct": 1.0, "incorrect": 0.0}


class LeftOut(Exception):
    """A row that gives nothing, with the reason."""


@dataclass(frozen=True, slots=True)
class Score:
    """What one model scored on one question: 0 to 1, or None with the ``reason``; ``cost`` in USD, None where unknown.

    ``key`` names the question where the format does so better than its text: a model's chat template changes the text.
    """

    model: str
    prompt: str
    score: float | None
    reference: str = ""
    cost: float | None = None
    source: str | None = None
    group: str | None = None
    images: tuple[str, ...] = ()
    key: str | None = None
    reason: str = ""
    context: str = ""


def find_result_format(row: FileRow) -> str | None:
    """Return which of the four formats a row has, or None."""
    if "doc_id" in row and "arguments" in row and ("resps" in row or "filtered_resps" in row):
        return LM_EVAL
    if isinstance(row.get("eval"), Mapping) and "samples" in row:
        return INSPECT
    if _first(row, QUERY) and _first(row, MODEL) and _first(row, SCORE):
        return LONG_TABLE
    return WIDE_TABLE if _first(row, QUERY) and _model_columns(row) else None


class ResultReader:
    """Reads the rows of one file. Raises LeftOut for a row, DataError for a setting that fits no row.

    Args:
        path: the file, whose folder says the model of an lm-evaluation-harness file.
        model: the model's name, instead of what the file or its folder says.
        metric: which metric, where there are several; ``scorer/key`` for an inspect scorer that gives a dict.
        answer_filter: which filter of lm-evaluation-harness (``strict-match``); the first one that a file has by default.
    """

    def __init__(self, path: Path, model: str | None, metric: str | None, answer_filter: str | None) -> None:
        self._path, self._model, self._metric, self._filter = path, model, metric, answer_filter
        self._of_path: str | None = None

    def read(self, row: FileRow, kind: str) -> Iterator[Score | LeftOut]:
        """Yield what a row says; a LeftOut in place of what says nothing."""
        readers = {LM_EVAL: self._lm_eval, INSPECT: self._inspect, WIDE_TABLE: _wide, LONG_TABLE: self._long}
        try:
            yield from readers[kind](row)
        except LeftOut as reason:
            yield reason

    def _lm_eval(self, row: FileRow) -> Iterator[Score | LeftOut]:
        name = str(row.get("filter") or "none")
        self._filter = self._filter or name
        if name != self._filter:
            yield LeftOut(f"scored through another filter, {name!r} (--filter; taken is {self._filter!r})")
            return
        metrics = [str(metric) for metric in row.get("metrics") or []]
        metric = self._metric or next((name for name in metrics if name in row), None)
        if metric is None or metric not in row:
            raise DataError(
                f"{self._path}: a row has no metric {metric!r}; it has {', '.join(metrics) or 'none'}: --metric NAME"
            )
        if self._of_path is None:
            self._of_path = self._model or lm_eval_model(self._path)
        asked = row["arguments"]  # {"gen_args_0": {"arg_0": …}}, or lists as older versions wrote them
        while isinstance(asked, Mapping | list) and asked:
            asked = next(iter(asked.values())) if isinstance(asked, Mapping) else asked[0]
        is_chat = isinstance(asked, str) and asked.startswith('[{"role"')
        prompt, images, context = _prompt(parse_json(asked) if is_chat else asked)
        task = self._path.name.removeprefix("samples_").rsplit("_20", 1)[0].removesuffix(".jsonl")
        score, reason = _grade(row[metric], metric)
        yield Score(
            self._of_path,
            prompt,
            score,
            reason=reason,
            reference=_text(row.get("target")),
            source=task,
            images=images,
            context=context,
            key=f"{task} {row['doc_hash']}" if row.get("doc_hash") else None,
        )

    def _inspect(self, log: FileRow) -> Iterator[Score | LeftOut]:
        told = log["eval"]
        model = self._model or told.get("model")
        if not isinstance(model, str) or not model:
            raise DataError(f"{self._path}: the log names no model in 'eval.model'; name it with --model")
        for sample in log.get("samples") or []:
            try:
                yield self._sample(sample, model, told)
            except LeftOut as reason:
                yield reason

    def _sample(self, sample: Mapping[str, Any], model: str, told: Mapping[str, Any]) -> Score:
        prompt, images, context = _prompt(_attach(sample.get("input"), sample.get("attachments") or {}))
        usage = (sample.get("model_usage") or {}).get(told.get("model")) or {}
        score, reason = self._inspect_grade(sample)
        return Score(
            model,
            with_choices(prompt, sample.get("choices")),
            score,
            reason=reason,
            reference=_text(sample.get("target")),
            cost=number(usage.get("total_cost")),
            source=_text(told.get("task")) or None,
            images=images,
            context=context,
        )

    def _inspect_grade(self, sample: Mapping[str, Any]) -> tuple[float | None, str]:
        if sample.get("error"):
            return None, "the sample ended with an error"
        scores = sample.get("scores") or {}
        scorer, _, key = (self._metric or next(iter(scores), "")).partition("/")
        if scorer not in scores:
            if scores and self._metric:
                raise DataError(f"{self._path}: no scorer {scorer!r}; the log has {', '.join(scores)}: --metric NAME")
            return None, "no score"
        value = scores[scorer].get("value")
        if isinstance(value, Mapping):
            if key not in value:
                raise DataError(
                    f"{self._path}: the scorer {scorer!r} gives {', '.join(map(str, value))}; choose one with "
                    f"--metric {scorer}/KEY"
                )
            value = value[key]
        return _grade(_LETTERS.get(value, value) if isinstance(value, str) else value, scorer)

    def _long(self, row: FileRow) -> Iterator[Score | LeftOut]:
        prompt = with_choices(str(row[_first(row, QUERY) or ""] or ""), parse_json(row.get("choices")))
        metric = self._metric or _first(row, SCORE) or ""
        if metric not in row:
            raise DataError(f"{self._path}: no column {metric!r}; the table has {', '.join(row)}: --metric NAME")
        score, reason = _grade(row[metric], metric)
        yield Score(
            str(row[_first(row, MODEL) or ""]),
            prompt,
            score,
            reason=reason,
            reference=_text(row.get(_first(row, REFERENCE) or "")),
            cost=number(row.get("cost")),
            source=_text(row.get(_first(row, SOURCE) or "")) or None,
            group=_text(row.get("group")) or None,
        )


def lm_eval_model(path: Path) -> str:
    """Return the model that an lm-evaluation-harness file is about: as its results file says, else its folder.

    Raises:
        DataError: the folder has several results files that name different models.
    """
    names = set()
    for file in sorted(path.resolve().parent.glob("results_*.json")):
        try:
            results = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{file} cannot be read ({error}); name the model with --model") from error
        if isinstance(results, dict) and results.get("model_name"):
            names.add(str(results["model_name"]))
    if len(names) > 1:
        raise DataError(
            f"{path.parent} holds results of {', '.join(sorted(names))}; name the model of {path.name} with --model"
        )
    return names.pop() if names else path.resolve().parent.name.replace("__", "/")


def with_choices(prompt: str, choices: Any) -> str:
    """Return a question with its options below it, unless it has them already."""
    labels: Sequence[Any] = ()
    if isinstance(choices, Mapping):
        labels, choices = choices.get("labels") or choices.get("label") or (), choices.get("text")
    if not isinstance(choices, list | tuple) or not choices or all(str(choice) in prompt for choice in choices):
        return prompt
    letters = labels if len(labels) == len(choices) else [chr(ord("A") + i) if i < 26 else i + 1 for i in range(len(choices))]
    return prompt + "\n" + "\n".join(f"{letter}) {choice}" for letter, choice in zip(letters, choices, strict=True))


def number(value: Any) -> float | None:
    """Return a finite number of at least 0, also one written as text; None for anything else."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) and found >= 0 else None


def _wide(row: FileRow) -> Iterator[Score | LeftOut]:
    prompt = _literal(str(row[_first(row, QUERY) or ""] or ""))
    reference, source = (_text(row.get(_first(row, names) or "")) for names in (REFERENCE, SOURCE))
    for model, (score, cost) in _model_columns(row).items():
        found, reason = _grade(row[score], score)
        group = _text(row.get("group")) or None
        yield Score(model, prompt, found, reference, number(row.get(cost)), source or None, group, reason=reason)


def _model_columns(row: FileRow) -> dict[str, tuple[str, str]]:
    """Return for each model of a wide table its columns of score and cost."""
    found: dict[str, tuple[str, str]] = {}
    for column in row:
        for ending in (*COST_ENDINGS, RESPONSE_ENDING, "|score"):
            model = column.removesuffix(ending)
            score = next((model + end for end in SCORE_ENDINGS if model + end in row), None)
            if model != column and model and score and model not in found:
                found[model] = score, next((model + end for end in COST_ENDINGS if model + end in row), "")
    return found


def _literal(prompt: str) -> str:
    """RouterBench keeps a prompt as the text of a Python list of messages."""
    if prompt[:2] in ("['", '["') and prompt.endswith("]"):
        try:
            parts = ast.literal_eval(prompt)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return prompt
        return "\n\n".join(parts) if all(isinstance(part, str) for part in parts) else prompt
    return prompt


def _attach(value: Any, attachments: Mapping[str, Any]) -> Any:
    """Put what inspect keeps once, under ``attachments``, back where it is named."""
    if isinstance(value, str):
        return attachments.get(value.removeprefix("attachment://"), value) if value.startswith("attachment://") else value
    if isinstance(value, list):
        return [_attach(each, attachments) for each in value]
    return {key: _attach(each, attachments) for key, each in value.items()} if isinstance(value, dict) else value


def _prompt(value: Any) -> tuple[str, tuple[str, ...], str]:
    """Return prompt, images and context of a text or of chat messages. Raises LeftOut where Stage 2 could not take it."""
    try:
        if isinstance(value, str):
            return read_prompt(value)
        prompt, images, context = conversation_input(turns_of(value))
    except DataError as error:
        raise LeftOut(str(error)) from error
    if not all(isinstance(image, str) and image.startswith("data:") for image in images):
        raise LeftOut("an image is a file or an address, not the image itself")
    return prompt, images, context


def _grade(value: Any, metric: str) -> tuple[float | None, str]:
    """Return a score from 0 to 1 and no reason, or None and the reason."""
    if isinstance(value, str):
        value = _WORDS.get(value.strip().lower(), value)
    found = number(value)
    if found is None:
        return None, "no score"
    return (found, "") if found <= 1.0 else (None, f"{metric} {found:g} is not between 0 and 1")


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _first(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row), None)
