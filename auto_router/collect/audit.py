"""A page for a person to check labels on, and what the person's marks say about the judge.

:func:`write_page` draws cases from every stratum (source, model, who decided, verdict) and writes one HTML file that needs
nothing else: no script, style or image from elsewhere, and a policy inside it that lets none in. Everything shown is
escaped; prompts and answers are untrusted. The marks are downloaded from the page as JSON, which :func:`read_marks` reads.

What today's rules and readers make of a journal is set beside the labels of before (:func:`changed_labels`).

The audit page: a template, its style and its script. Values are escaped by the template engine; the script reads no text.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
from jinja2 import Environment
from tabulate import tabulate

from auto_router.collect.plan import Plan
from auto_router.collect.question import Question
from auto_router.collect.results import AUDIT_CHECK, JUDGES, LabelOutcome, Results
from auto_router.collect.runner import Collector
from auto_router.data.images import thumbnail_uri
from auto_router.data.label_stats import NAN, wilson_interval
from auto_router.data.records import iter_records
from auto_router.errors import DataError
from auto_router.files import atomic_path

PAGE_FILES = Path(__file__).with_name("page")  # the page's template, style and script
AUDIT_NAME = "hf_audit.html"
MARKS = ("right", "wrong", "unclear")
THUMBNAIL_SIDE_AUDIT = 1400  # pixels: a scanned page can be read
CHANGE_HEADERS = ["idx", "model", "before", "now", "why", "prompt"]
MARK_HEADERS = ["", "marked", "verdict is true", "95 %", "too kind", "too strict", "unscored"]


@dataclass(frozen=True, slots=True)
class Case:
    """One answer with its verdict, as the page shows it."""

    question: Question
    model: str
    outcome: LabelOutcome

    @property
    def id(self) -> str:
        """Recognises the case when its mark comes back."""
        return case_id(self.question, self.model)

    @property
    def text(self) -> str:
        return (self.outcome.answer.text if self.outcome.answer else None) or ""

    @property
    def references(self) -> list[str]:
        """The right answers; of an option its letter with its text."""
        choices = dict(zip(ascii_uppercase, self.question.choices, strict=False))
        return [f"{one}. {choices[one]}" if one in choices else one for one in self.question.references]

    @property
    def images(self) -> list[str]:
        """The images, shrunk, as data URIs of our own encoding."""
        return [thumbnail_uri(image, THUMBNAIL_SIDE_AUDIT, "JPEG", 85) for image in self.question.images]


@dataclass(frozen=True, slots=True)
class LabelChange:
    """A label that is another one now; None = unknown."""

    idx: int
    model: str
    before: float | None
    now: float | None
    reason: str
    prompt: str

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def evaluation_paths(folder: Path, output_format: str) -> dict[str, Path]:
    """Return where Stage 1 writes its two parts."""
    ending = ".json" if output_format == "json" else ""
    return {part: folder / f"hf_evaluations_{part}{ending}" for part in ("train", "test")}


def read_labels(folder: Path, output_format: str) -> dict[int, dict[str, float | None]]:
    """Return ``{idx: {model: label}}`` of the evaluations in a folder; of those that are not there, nothing."""
    paths = [path for path in evaluation_paths(folder, output_format).values() if path.exists()]
    return {record.idx: dict(record.model_scores) for path in paths for record in iter_records(path)}


def changed_labels(results: Results, plan: Plan, before: Mapping[int, Mapping[str, float | None]]) -> list[LabelChange]:
    """Return every label that differs from the one ``before``; rows and models that had none do not count."""
    changes = []
    for row, question in enumerate(plan.questions()):
        for column, name in enumerate(results.names):
            old = before.get(question.idx, {})
            score = results.scores[row, column]
            if name not in old or np.array_equal(np.float32(NAN if old[name] is None else old[name]), score, equal_nan=True):
                continue
            now, prompt = None if np.isnan(score) else float(score), " ".join(question.prompt.split())[:60]
            changes.append(LabelChange(question.idx, name, old[name], now, results.reason(row, column), prompt))
    return changes


def changes_table(changes: Sequence[LabelChange]) -> str:
    """Return the table of changed labels, a line each, and how many there are."""
    shown = ["null" if value is None else f"{value:g}" for change in changes for value in (change.before, change.now)]
    rows = [[str(c.idx), c.model, shown[2 * n], shown[2 * n + 1], c.reason[:60], c.prompt] for n, c in enumerate(changes)]
    table = tabulate(rows, headers=CHANGE_HEADERS, disable_numparse=True)
    return f"{table}\n{len(rows)} labels changed" if rows else "no label changed"


def draw_cases(results: Results, plan: Plan, count: int, seed: int) -> list[tuple[int, int]]:
    """Return (row, column) of ``count`` answers, from every stratum in turn, drawn by ``seed``, in the order of the rows."""
    strata: dict[tuple[object, ...], list[tuple[int, int]]] = defaultdict(list)
    for row, column in np.argwhere(results.answered).tolist():
        score = results.scores[row, column]
        verdict = None if np.isnan(score) else bool(score >= 0.5)
        strata[plan.sources[row], column, int(results.by[row, column]), verdict].append((row, column))
    generator = random.Random(seed)
    queues = [generator.sample(cases, len(cases)) for _, cases in sorted(strata.items(), key=lambda item: str(item[0]))]
    generator.shuffle(queues)
    picked: list[tuple[int, int]] = []
    while len(picked) < count and any(queues):
        picked += [queue.pop() for queue in queues if queue]
    return sorted(picked[:count])


async def write_page(path: Path, results: Results, plan: Plan, collector: Collector, count: int, seed: int) -> int:
    """Write the page with ``count`` cases, whose texts come from the journal (``collector`` is offline); return how many."""
    wanted: dict[int, list[int]] = defaultdict(list)
    for row, column in draw_cases(results, plan, count, seed):
        wanted[row].append(column)
    cases = [
        Case(question, results.names[column], await collector.one(collector.models[column], question))
        for row, question in enumerate(plan.questions())
        for column in wanted.get(row, ())
    ]
    nonce = hashlib.sha256(json.dumps([case.id for case in cases]).encode()).hexdigest()[:24]
    template, style, script = ((PAGE_FILES / name).read_text("utf-8") for name in ("audit.html.jinja", "audit.css", "audit.js"))
    page = Environment(autoescape=True).from_string(template)
    text = page.render(cases=cases, marks=MARKS, nonce=nonce, style=style, script=script)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return len(cases)


def read_marks(path: Path) -> str:
    """Return a table of how often the verdicts are what a person says, each with its 95 % interval.

    Raises:
        DataError: the file is not one that the page wrote.
    """
    marks = list(_load_marks(path).values())
    clear = [(by, model, verdict, mark) for by, model, verdict, mark in marks if mark in ("right", "wrong")]
    rows = [_line("all verdicts", clear)]
    rows += [_line(f"by {name}", [mark for mark in clear if mark[0] == name]) for name in JUDGES[1:]]
    rows += [_line(name, [mark for mark in clear if mark[1] == name]) for name in sorted({mark[1] for mark in clear})]
    unclear = sum(mark[3] == "unclear" for mark in marks)
    table = tabulate(rows, headers=MARK_HEADERS, disable_numparse=True)
    return f"{table}\n{len(marks)} marks, {unclear} of them unclear"


def add_marks(path: Path, results: Results, plan: Plan) -> int:
    """Set what a person marked beside the labels, as a check; return how many of the clear marks are of these rows.

    Raises:
        DataError: as :func:`read_marks`.
    """
    marks = {key: mark for key, (*_, mark) in _load_marks(path).items() if mark in ("right", "wrong")}
    count = 0
    for row, question in enumerate(plan.questions()):
        for column, name in enumerate(results.names):
            mark = marks.get(case_id(question, name))
            if mark is not None:
                results.check(AUDIT_CHECK)[row, column] = mark == "right"
                count += 1
    return count


def case_id(question: Question, model: str) -> str:
    """Return what an answer of a model to a question is recognised by when its mark comes back."""
    return hashlib.sha256(json.dumps([question.idx, question.full_text, model]).encode()).hexdigest()[:12]


def _load_marks(path: Path) -> dict[str, tuple[str, str, bool | None, str]]:
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        return {str(case["id"]): _mark(case) for case in cases}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"marks {path} cannot be read ({error!r}); give the file that the button of {AUDIT_NAME} saves"
        ) from error


def _mark(case: Any) -> tuple[str, str, bool | None, str]:
    score, mark, by = case["score"], case["mark"], case["by"]
    if mark not in MARKS or by not in JUDGES or not (score is None or 0 <= score <= 1):
        raise ValueError(f"case {case!r}"[:200])
    return by, str(case["model"]), None if score is None else score >= 0.5, mark


def _line(name: str, marks: Sequence[tuple[str, str, bool | None, str]]) -> list[str]:
    scored = [(verdict, mark == "right") for _, _, verdict, mark in marks if verdict is not None]
    right = sum(verdict == truth for verdict, truth in scored)
    share = right / len(scored) if scored else 0.0
    low, high = wilson_interval(share, len(scored))
    kind, strict = (sum(v is said and truth is not said for v, truth in scored) for said in (True, False))
    shown = [f"{share:.1%}", f"{low:.1%} to {high:.1%}"] if scored else ["-", "-"]
    return [name, str(len(scored)), *shown, str(kind), str(strict), str(len(marks) - len(scored))]
