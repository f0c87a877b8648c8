"""A page for a person to check labels on, and what the person's marks say about the judge.

:func:`write_page` draws cases from every stratum (source, model, who decided, verdict) and writes one HTML file that needs
nothing else: no script, style or picture from elsewhere, and a policy inside it that lets none in. Everything shown is
escaped; prompts and answers are untrusted. The marks are downloaded from the page as JSON, which :func:`read_marks` reads.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from tabulate import tabulate

from auto_router.collect.audit_page import PAGE, SCRIPT, STYLE
from auto_router.collect.collector import Collector
from auto_router.collect.measures import wilson_interval
from auto_router.collect.results import JUDGES, Outcome, Results
from auto_router.collect.rows import Question
from auto_router.collect.survey import Plan
from auto_router.errors import DataError
from auto_router.files import atomic_path
from auto_router.images import pixels

AUDIT_NAME = "hf_audit.html"
MARKS = ("right", "wrong", "unclear")
MAX_SIDE = 640
HEADERS = ["", "marked", "verdict is true", "95 %", "too kind", "too strict", "unscored"]


@dataclass(frozen=True, slots=True)
class Case:
    """One answer with its verdict, as the page shows it."""

    question: Question
    model: str
    outcome: Outcome

    @property
    def id(self) -> str:
        """Recognises the case when its mark comes back."""
        return hashlib.sha256(json.dumps([self.question.idx, self.question.prompt, self.model]).encode()).hexdigest()[:12]

    @property
    def text(self) -> str:
        return (self.outcome.answer.text if self.outcome.answer else None) or ""

    @property
    def pictures(self) -> list[str]:
        """The pictures, shrunk, as data URIs of our own encoding."""
        return [_thumbnail(image) for image in self.question.images]


def chosen(results: Results, plan: Plan, count: int, seed: int) -> list[tuple[int, int]]:
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
    for row, column in chosen(results, plan, count, seed):
        wanted[row].append(column)
    cases = [
        Case(question, results.names[column], await collector.one(collector.models[column], question))
        for row, question in enumerate(plan.questions())
        for column in wanted.get(row, ())
    ]
    nonce = hashlib.sha256(json.dumps([case.id for case in cases]).encode()).hexdigest()[:24]
    page = Environment(autoescape=True).from_string(PAGE)
    text = page.render(cases=cases, marks=MARKS, nonce=nonce, style=STYLE, script=SCRIPT)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return len(cases)


def read_marks(path: Path) -> str:
    """Return a table of how often the verdicts are what a person says, each with its 95 % interval.

    Raises:
        DataError: the file is not one that the page wrote.
    """
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        marks = [_mark(case) for case in cases]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"marks {path} cannot be read ({error!r}); give the file that the button of {AUDIT_NAME} saves"
        ) from error
    clear = [(by, model, verdict, mark) for by, model, verdict, mark in marks if mark in ("right", "wrong")]
    rows = [_line("all verdicts", clear)]
    rows += [_line(f"by {name}", [mark for mark in clear if mark[0] == name]) for name in JUDGES[1:]]
    rows += [_line(name, [mark for mark in clear if mark[1] == name]) for name in sorted({mark[1] for mark in clear})]
    unclear = sum(mark[3] == "unclear" for mark in marks)
    table = tabulate(rows, headers=HEADERS, disable_numparse=True)
    return f"{table}\n{len(marks)} marks, {unclear} of them unclear"


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


def _thumbnail(image: bytes) -> str:
    small = pixels(image)
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "PNG" if small.width * small.height < 20_000 else "JPEG", quality=85)
    kind = "png" if small.width * small.height < 20_000 else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
