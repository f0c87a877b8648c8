"""Judges asked through the Batch API: the labels are the direct run's, at half the price, and nothing is asked twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import prepare_hf_data
from tests.batch_server import BatchServer, Row
from tests.collect.test_batch import PRICES, open_batches, spent
from tests.stage1 import Reply, completion, flags, read_evaluations, stage1, write_pool, write_rows

COUNT = 12
SOURCES = {
    "reference": (),
    "rubric": (),
    "pairwise": ("--pairwise-against", "strong"),
    "silver": ("--silver-model", "strong"),
}


def judge_reply(body: Row) -> str:
    """The small model is right on even numbers; the strong one doubts itself on every third."""
    document = json.loads(body["messages"][-1]["content"])
    number = int(document["question"].split()[1])
    texts = [str(document[name]) for name in ("answer", "first", "second") if name in document]
    good = ["strong" in text or number % 2 == 0 for text in texts]
    verdict: Row = {"id": document["id"], "correct": good[0], "score": float(good[0])}
    if "first" in document:
        verdict["better"] = "tie" if good[0] == good[1] else "first" if good[0] else "second"
    return json.dumps(verdict)


def answer(body: Row) -> Reply:
    if body["model"] == "judge":
        return completion(judge_reply(body), tokens=(100, 10))
    number = int(body["messages"][-1]["content"].split()[1])
    return completion(f"{body['model']} says of it something that no rule can tell, {number}", tokens=(7, 3))


def prepare(folder: Path, url: str, source: str, batch: bool = True, **more: Any) -> list[str]:
    """Return the flags of a run of two models that are asked directly and a judge that is asked in batches."""
    folder.mkdir(exist_ok=True)
    write_rows(folder / "rows.jsonl", [{"prompt": f"Question {n} ?", "answer": f"as it is, {n} or so"} for n in range(COUNT)])
    models = [{"name": name, "base_url": url, **PRICES} for name in ("small", "strong")]
    judge = {"name": "judge", "base_url": url, "batch": batch, "batch_poll_s": 0.01, **PRICES, **more}
    write_pool(folder / "pool.yaml", models, judge=judge)
    return [*flags(folder), "--labels", source, *SOURCES[source], "--skip-preflight"]


def judged_directly(server: BatchServer) -> int:
    return sum(body["model"] == "judge" for body in server.direct_bodies)


@pytest.mark.parametrize("source", ["reference", "pairwise", "silver"])
def test_a_judge_in_batches_gives_the_direct_runs_labels_for_half_the_price(tmp_path: Path, source: str) -> None:
    with BatchServer(answer) as server:
        assert stage1(*prepare(tmp_path / "direct", server.url, source, batch=False)) == 0
        verdicts, answers = judged_directly(server), len(server.direct_bodies)
        assert stage1(*prepare(tmp_path / "batch", server.url, source)) == 0
        assert judged_directly(server) == verdicts
        assert len(server.sent) == verdicts
        assert set(server.sent.values()) == {1}
        before = len(server.batches)
        assert stage1(*prepare(tmp_path / "batch", server.url, source)) == 0
        assert len(server.batches) == before, "and then there is nothing left to ask"
    assert read_evaluations(tmp_path / "batch" / "out") == read_evaluations(tmp_path / "direct" / "out")
    full, half = spent(tmp_path / "direct"), spent(tmp_path / "batch")
    of_models = (answers - verdicts) * 10 / 1000
    assert half == pytest.approx(of_models + (full - of_models) / 2)
    assert open_batches(tmp_path / "batch") == 0


def test_what_expired_goes_into_another_batch_and_what_cannot_be_read_is_asked_once_more(tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def mumbles(body: Row) -> Reply:
        question = body["messages"][-1]["content"]
        seen[question] = seen.get(question, 0) + 1
        if body["model"] == "judge" and "Question 3 " in question:
            return completion("well, it depends" if seen[question] == 1 or "small" in question else judge_reply(body))
        return answer(body)

    fault = lambda key, times: "expired" if times == 1 and int(key[:4], 16) % 5 == 0 else None  # noqa: E731
    with BatchServer(mumbles, line_fault=fault) as server:
        assert stage1(*prepare(tmp_path, server.url, "rubric")) == 0
        unreadable = {question: times for question, times in seen.items() if "Question 3 " in question and "{" in question}
        assert set(unreadable.values()) == {2}, "once more, and not again"
        assert judged_directly(server) == 0
    by_idx = {row["idx"]: row["model_scores"] for row in read_evaluations(tmp_path / "out")}
    assert by_idx[3] == {"small": None, "strong": 1}
    assert all(None not in scores.values() for idx, scores in by_idx.items() if idx != 3)


def test_the_costs_of_verdicts_are_told_once_though_labels_are_made_in_rounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BatchServer(answer) as server:
        assert stage1(*prepare(tmp_path, server.url, "silver"), "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["judges"]["judge"]["verdicts"] == len(server.sent)
    assert told["usd"] == pytest.approx(spent(tmp_path))


def test_a_run_that_was_killed_goes_on_with_the_judges_batch(tmp_path: Path) -> None:
    class Killed(BaseException):
        """As if the process were gone: nothing after it runs but the closing of files."""

    with BatchServer(answer) as server:
        run = prepare(tmp_path, server.url, "rubric")
        with pytest.MonkeyPatch.context() as patch:

            async def kill(*_: Any) -> None:
                raise Killed

            patch.setattr("auto_router.collect.batch_transfer.BatchTransfer.wait", kill)
            with pytest.raises(Killed):
                prepare_hf_data.main(run)
        assert open_batches(tmp_path) == 1
        assert stage1(*run) == 0
        assert len(server.batches) == 1
        assert set(server.sent.values()) == {1}
    assert len(read_evaluations(tmp_path / "out")) == COUNT
