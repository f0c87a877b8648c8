"""What answers took: measured, or as recorded, into the evaluation records; unknown is left out, and never 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auto_router.collect.replay import ReplayServer, recording
from auto_router.collect.reply import read_reply
from tests.stage1 import flags, recorded, stage1, write_pool, write_rows

QUESTIONS = [f"Question {n} ?" for n in range(6)]


def latencies(folder: Path) -> list[dict[str, float]]:
    parts = [json.loads((folder / "out" / f"hf_evaluations_{part}.json").read_text("utf-8")) for part in ("train", "test")]
    return [row.get("model_latencies", {}) for part in parts for row in part]


def test_records_say_what_an_answer_took(tmp_path: Path) -> None:
    rows = [recorded("slow", question, "4", latency_s=2.5) for question in QUESTIONS]
    rows += [recorded("quick", question, "4") for question in QUESTIONS]
    rows += [recorded("broken", "another question", "4", latency_s=9.0)]
    write_rows(tmp_path / "rows.jsonl", [{"prompt": question, "answer": "4"} for question in QUESTIONS])
    with ReplayServer(recording(rows)) as server:
        models: list[dict[str, Any]] = [{"name": name, "base_url": server.url} for name in ("slow", "quick", "broken")]
        write_pool(tmp_path / "pool.yaml", models)
        assert stage1(*flags(tmp_path), "--match-only", "--skip-preflight") == 0
    first = latencies(tmp_path)
    for row in first:
        assert set(row) == {"slow", "quick"}, "what has no answer took no time"
        assert row["slow"] == 2.5, "as it was recorded"
        assert 0 < row["quick"] < 2.5, "as it was measured"
    assert stage1(*flags(tmp_path), "--match-only", "--skip-preflight") == 0
    assert latencies(tmp_path) == first, "the journal keeps them"


@pytest.mark.parametrize("said", ["3", None, -1, 0, 1e300, float("nan"), float("inf"), [1], {}])
def test_a_reply_that_states_no_time_is_measured(said: object) -> None:
    reply = {"choices": [{"message": {"content": "4"}}], "recorded_latency_s": said}
    assert read_reply(200, {}, json.dumps(reply).encode(), 0.25).latency_s == 0.25
