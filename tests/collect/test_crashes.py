"""Faults of every kind and ``kill -9`` at random moments: nothing committed is asked again, nothing is lost or damaged."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

import prepare_hf_data
from auto_router.collect.journal import JOURNAL_NAME
from auto_router.collect.journal_file import request_key
from auto_router.collect.question import Question
from auto_router.collect.replay import Fault, ReplayServer, recording
from tests.helpers import judge_messages, png, verdict_id
from tests.stage1 import b64, child_processes, flags, recorded, stage1, write_pool, write_rows

KILLS = 20
MODELS = ("one", "two")
QUESTIONS = 110
FILTERED = 7  # a provider refuses this one whenever it is asked
FAULTS = [
    Fault(status=429, retry_after=0.02),
    Fault(status=429),
    Fault(status=500),
    Fault(delay_s=1.5),
    Fault(disconnect=True),
    Fault(body=b"{not json"),
    Fault(body=b'{"choices": []}'),
    Fault(status=401),
]


def prompt(number: int) -> str:
    return f"Question {number}: what is it?"


def dataset() -> list[dict[str, Any]]:
    """Every fifth row has an image; the references are words, so that the judge has work to do."""
    images = {n: [b64(png((n, 2 * n, 3)))] if n % 5 == 0 else [] for n in range(QUESTIONS)}
    return [{"prompt": prompt(n), "answer": f"thing {n}", "images": images[n]} for n in range(QUESTIONS)]


def answers() -> list[dict[str, Any]]:
    rows = []
    for place, model in enumerate(MODELS):
        for n in range(QUESTIONS):
            images = [png((n, 2 * n, 3))] if n % 5 == 0 else []
            question = Question(n, prompt(n), (f"thing {n}",), tuple(images), None, "")
            finish = "content_filter" if n == FILTERED else "stop"
            text = f"thing {n}" if (n + place) % 3 == 0 else f"{model} thinks of {n * 7 % 11}"
            tokens = {"prompt_tokens": n + 1, "completion_tokens": place + 1}
            rows.append(recorded(model, prompt(n), text, images, finish_reason=finish, latency_s=0.25 + place, **tokens))
            verdict = {"id": verdict_id(question, text), "correct": n % 2 == place}
            judged = {"request": {"model": "judge", "messages": judge_messages(question, text)}}
            rows.append(judged | {"answer": {"text": json.dumps(verdict), "prompt_tokens": 5, "completion_tokens": 5}})
    return rows


def random_faults(generator: random.Random) -> Any:
    return lambda number: generator.choice(FAULTS) if generator.random() < 0.15 else None


def arguments(folder: Path, url: str, out: str) -> list[str]:
    return [*flags(folder, out), "--base-url", url]


def committed(journal: Path) -> set[str]:
    """Keys of what is answered, or refused for good; checks the file on the way."""
    if not journal.exists():
        return set()
    with sqlite3.connect(journal) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'exchanges'").fetchone():
            return set()
        return {key for (key,) in database.execute("SELECT key FROM exchanges WHERE error IS NULL OR settled")}


def written(folder: Path) -> dict[str, bytes]:
    """The JSONs, each of which is whole or not there."""
    files = {path.name: path.read_bytes() for path in folder.glob("hf_evaluations_*.json")}
    assert all(isinstance(json.loads(content), list) for content in files.values())
    return files


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_twenty_kills_and_every_fault_the_labels_are_those_of_a_quiet_run(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", dataset())
    entry = {
        "modalities": ["text", "image"],
        "timeout_s": 0.6,
        "concurrency": 4,
        "input_usd_per_mtok": 3,
        "output_usd_per_mtok": 9,
    }
    judge = {"name": "judge", "temperature": 0, "timeout_s": 0.6, "concurrency": 4}
    write_pool(tmp_path / "pool.yaml", [{"name": name} | entry for name in MODELS], judge=judge)
    rows = answers()
    with ReplayServer(recording(rows)) as quiet:
        assert stage1(*arguments(tmp_path, quiet.url, "quiet")) == 0
    expected = written(tmp_path / "quiet")

    generator = random.Random(4)
    context = child_processes()
    journal = tmp_path / "out" / JOURNAL_NAME
    kills, faults, last = 0, random_faults(generator), float("inf")
    with ReplayServer(
        recording(rows), latency_s=0.01, fault=lambda number: Fault(delay_s=1.5) if number >= last else faults(number)
    ) as server:
        while kills < KILLS:
            before, begin = committed(journal), server.requests
            enough = begin + generator.randrange(0, 25)
            last = enough + 3  # from then on nobody is answered in time: however late the kill is, work is left
            process = context.Process(target=prepare_hf_data.main, args=(arguments(tmp_path, server.url, "out"),))
            process.start()
            deadline = time.monotonic() + 60
            while server.requests < enough and process.is_alive() and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(generator.uniform(0.0, 0.05))
            assert process.is_alive(), "the run ended before it was killed: make it longer"
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
            assert not before & {request_key(body) for body in server.seen[begin:]}, "a committed answer was asked again"
            assert committed(journal) >= before
            assert written(tmp_path / "out") == {}
        last = float("inf")
        middle = committed(journal)
        assert 50 < len(middle) < len(rows)
        # The last run goes through with faults; what they left open, one more run without any mends.
        begin = server.requests
        assert stage1(*arguments(tmp_path, server.url, "out")) == 0
        assert not middle & {request_key(body) for body in server.seen[begin:]}
        before, begin = committed(journal), server.requests
        server.fault = lambda number: None
        assert stage1(*arguments(tmp_path, server.url, "out")) == 0
        assert not before & {request_key(body) for body in server.seen[begin:]}
        # And then there is nothing left to ask.
        begin = server.requests
        assert stage1(*arguments(tmp_path, server.url, "out")) == 0
        assert server.requests == begin
    assert written(tmp_path / "out") == expected
    errors = [row.get("model_errors", {}) for name in expected for row in json.loads(expected[name])]
    assert [e for e in errors if e] == [dict.fromkeys(MODELS, "content filter: the answer was withheld")]
