"""Labels made anew from the journal: today's rules and reading, without a request; and labels without a judge."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auto_router.assess.health import find_one_sided
from auto_router.collect.journal import JOURNAL_NAME
from auto_router.collect.journal_file import request_key
from auto_router.collect.judge import Verdict
from auto_router.collect.question import Question
from auto_router.collect.reply import Response
from auto_router.collect.results import LabelOutcome, average_outcomes
from auto_router.data.records import Record
from tests.helpers import judge_messages, verdict_id
from tests.stage1 import ChatServer, Reply, completion, flags, read_evaluations, stage1, write_pool, write_rows

# The table of the version before.
FORMAT_1 = """CREATE TABLE exchanges (
    key TEXT NOT NULL, address TEXT NOT NULL, role TEXT NOT NULL, request TEXT NOT NULL,
    text TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, finish_reason TEXT, latency_s REAL, error TEXT,
    settled INTEGER NOT NULL, cost_usd REAL, lost_usd REAL NOT NULL, tries INTEGER NOT NULL,
    written TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')), PRIMARY KEY (key, address))"""
DEAD = "http://127.0.0.1:9/v1"
ROWS = [{"prompt": f"Which letter, {n}?", "answer": "B"} for n in range(10)]
SAID = {0: "<think>The answer is A.</think>B", 1: "B", 2: "C", 3: "well, the second, I would say"}


def write_old_journal(folder: Path, labels: dict[int, float | None]) -> None:
    """What a run of the version before left: its journal, with a verdict on the whole text of row 3, and its labels."""
    (folder / "out").mkdir()
    write_rows(folder / "rows.jsonl", ROWS)
    write_pool(folder / "pool.yaml", [{"name": "m", "base_url": DEAD}], judge={"name": "j", "base_url": DEAD})
    text = "<think>B? A?</think>" + SAID[3]
    question = Question(3, ROWS[3]["prompt"], ("B",), (), None, "")
    verdict = f'Here you are: {{"id": "{verdict_id(question, text)}", "correct": "true"}}'
    asked = [([{"role": "user", "content": ROWS[n]["prompt"]}], "m", said if n != 3 else text) for n, said in SAID.items()]
    with sqlite3.connect(folder / "out" / JOURNAL_NAME) as database:
        database.execute(FORMAT_1)
        database.execute("PRAGMA user_version = 1")
        for messages, model, said in [*asked, (judge_messages(question, text), "j", verdict)]:
            request = {"model": model, "messages": messages, "max_tokens": 1024}
            role = "judge" if model == "j" else "candidate"
            database.execute(
                "INSERT INTO exchanges (key, address, role, request, text, settled, lost_usd, tries) VALUES (?,?,?,?,?,0,0,1)",
                (request_key(request), DEAD, role, json.dumps(request), said),
            )
    records = [Record(n, ROWS[n]["prompt"], "B", (), {"m": label}).to_json() for n, label in labels.items()]
    (folder / "out" / "hf_evaluations_train.json").write_text(json.dumps(records[1:]))
    (folder / "out" / "hf_evaluations_test.json").write_text(json.dumps(records[:1]))


def test_a_journal_of_the_version_before_is_judged_anew_without_a_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_old_journal(tmp_path, {0: 0, 1: 1, 2: 0, 3: None})
    assert stage1(*flags(tmp_path), "--rejudge", "--json") == 0
    out, err = capsys.readouterr()
    printed = out + err
    changes = json.loads(out[out.index("{") :])["changed labels"]
    assert [(c["idx"], c["before"], c["now"]) for c in changes] == [(0, 0, 1), (3, None, 1)]
    assert "2 labels changed" in printed
    labels = {row["idx"]: row["model_scores"]["m"] for row in read_evaluations(tmp_path / "out")}
    assert labels == {0: 1, 1: 1, 2: 0, 3: 1}
    assert stage1(*flags(tmp_path), "--rejudge") == 0
    assert "no label changed" in capsys.readouterr().out


def hedge(body: dict[str, Any]) -> Reply:
    """Right as a rule sees it on every third question, else words that no rule can decide."""
    number = int(body["messages"][-1]["content"].split()[-1].rstrip("?"))
    return completion("B" if number % 3 == 0 else "well, perhaps some other one")


def test_without_a_judge_undecided_answers_are_an_error_that_names_both_ways_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"prompt": f"Which letter {n}?", "answer": "B"} for n in range(30)])
    with ChatServer(hedge) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": "m", "base_url": server.url}])
        assert stage1(*flags(tmp_path)) == 2
        out, err = capsys.readouterr()
        assert "20 of 30 answers of m cannot be decided by rules" in err
        assert "judge:" in err
        assert "--match-only" in err
        assert "100.0% of those decided" in out
        assert not list((tmp_path / "out").glob("*.json"))
        assert stage1(*flags(tmp_path), "--match-only") == 0
        assert len(server.bodies) == 30, "no answer is asked for again"
    assert np.mean([row["model_scores"]["m"] for row in read_evaluations(tmp_path / "out")]) == pytest.approx(1 / 3)


def test_training_flags_one_sided_labels() -> None:
    reason = "undecided by matching, and the pool has no judge"
    records = [Record(n, "p", model_scores={"m": 1.0, "n": 1.0}) for n in range(20)]
    unknown = [
        Record(n, "p", model_scores={"m": None, "n": None}, model_errors={"m": reason, "n": "HTTP 500"}) for n in range(9)
    ]
    (line,) = find_one_sided([*records, *unknown], ["m", "n"])
    assert line.startswith("the labels of m are one-sided: 9 of 29 answers")


def test_several_samples_give_the_share_that_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"prompt": f"What is {n}+0?", "answer": str(n)} for n in range(8)])
    counts: Counter[str] = Counter()

    def script(body: dict[str, Any]) -> Reply:
        """Right at the first and the third time, and cheaper at the fourth."""
        prompt = body["messages"][-1]["content"]
        counts[prompt] += 1
        number = prompt.removeprefix("What is ").split("+")[0]
        return completion(number if counts[prompt] in (1, 3) else "-1", tokens=(10, 10 if counts[prompt] < 4 else 6))

    with ChatServer(script) as server:
        entry = {"name": "m", "base_url": server.url, "input_usd_per_mtok": 0, "output_usd_per_mtok": 1000, "concurrency": 1}
        write_pool(tmp_path / "pool.yaml", [entry])
        for samples, rate, cost, asked in ((1, 1.0, 0.01, 8), (3, 2 / 3, 0.01, 24), (3, 2 / 3, 0.01, 24), (4, 0.5, 0.009, 32)):
            assert stage1(*flags(tmp_path), "--samples", str(samples)) == 0
            assert len(server.bodies) == asked, "each sample is asked for once"
            for row in read_evaluations(tmp_path / "out"):
                assert row["model_scores"]["m"] == pytest.approx(rate)
                assert row["model_costs"]["m"] == pytest.approx(cost), "of one answer"
            assert re.search(rf"total +{8 * samples} .*{8 * cost * samples:.4f}", capsys.readouterr().out)


def test_a_sample_that_is_unknown_makes_the_label_unknown() -> None:
    right, unknown = Verdict(1, "match", "rule"), Verdict(None, "HTTP 500")
    known = LabelOutcome(Response("5"), right, 0.5, judge_costs=(("j", 0.1),))
    lost = LabelOutcome(Response(None, error="HTTP 500"), unknown, None)
    assert average_outcomes([known, lost]) == LabelOutcome(lost.answer, unknown, 0.5, judge_costs=(("j", 0.1),))
    assert average_outcomes([known]) is known
