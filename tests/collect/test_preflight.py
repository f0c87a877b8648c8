"""Before and after the paid part: preflight, dry runs, exports, second judges, audits, and keys that appear nowhere."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auto_router.collect.audit import AUDIT_NAME
from auto_router.collect.journal import JOURNAL_NAME, Journal
from auto_router.collect.journal_file import run_lock
from auto_router.collect.label_checks import warnings
from auto_router.collect.replay import ReplayServer, recording
from auto_router.collect.results import Results
from auto_router.data.label_stats import cohens_kappa, marginal_gain, oracle, wilson_interval
from tests.helpers import png
from tests.stage1 import (
    ChatServer,
    Reply,
    b64,
    completion,
    flags,
    raw,
    read_evaluations,
    recorded,
    stage1,
    write_pool,
    write_rows,
)  # fmt: skip

ROWS = [{"prompt": f"What is {n}+0?", "answer": str(n), "source": f"s{n % 2}"} for n in range(30)]
WORDS = [{"prompt": f"Name thing {n}.", "answer": f"thing {n}"} for n in range(30)]
PRICES = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "out").glob("hf_evaluations_*.json")}


def test_a_dry_run_asks_each_endpoint_once_and_shows_the_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def script(body: dict[str, Any]) -> Reply:
        if body["model"] == "j":
            document = json.loads(body["messages"][-1]["content"][0]["text"])
            return completion(json.dumps({"id": document["id"], "why": "same", "correct": True}))
        seeing = isinstance(body["messages"][-1]["content"], list)
        return completion("Red." if seeing and body["model"] == "a" else "ready")

    rows: list[dict[str, Any]] = [*ROWS, {"prompt": "Colour?", "answer": "red", "images": [b64(png((255, 0, 0)))]}]
    write_rows(tmp_path / "rows.jsonl", rows)
    with ChatServer(script, keep_probes=True) as server:
        models = [
            {"name": n, "base_url": server.url, "modalities": m} | PRICES
            for n, m in (("a", ["text", "image"]), ("b", ["text"]))
        ]
        write_pool(tmp_path / "pool.yaml", models, judge={"name": "j", "base_url": server.url, "modalities": ["text", "image"]})
        assert stage1(*flags(tmp_path), "--dry-run") == 0
        assert server.asked == {"a": 1, "b": 1, "j": 1}
    table = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line[:2] in ("a ", "b ", "j ")}
    assert table["a"][2:4] == ["candidate", "yes"]
    assert (table["a"][5], table["a"][6]) == ("yes", "31")
    assert (table["b"][5], table["b"][6]) == ("no", "30")
    assert table["j"][2:4] + table["j"][5:6] == ["judge", "yes", "taken"]
    assert table["j"][6:9] == ["up", "to", "61"]  # b is not asked about the picture, so there is nothing of it to judge
    # 30 prompts of 12 or 13 characters and an image at 1 USD, 250 tokens of answer each at 2 USD per million.
    assert float(table["a"][7]) == pytest.approx(0.02, abs=0.011)
    assert float(table["a"][8]) == pytest.approx(31 * 1024 * 2e-6 + 48_169e-6, abs=0.01)  # an image by the dearest rule
    assert outputs(tmp_path) == {}


def test_a_refusal_at_the_preflight_ends_before_anything_is_paid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def script(body: dict[str, Any]) -> Reply:
        return raw({"error": {"message": "no such model"}}, 404) if body["model"] == "b" else completion("1")

    write_rows(tmp_path / "rows.jsonl", ROWS)
    with ChatServer(script, keep_probes=True) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": n, "base_url": server.url} for n in "ab"])
        assert stage1(*flags(tmp_path)) == 2
        assert server.asked == {"a": 1, "b": 1}
        assert "preflight: b: HTTP 404: no such model" in capsys.readouterr().err
        assert stage1(*flags(tmp_path), "--skip-preflight") == 0
        assert server.asked["a"] == 1 + len(ROWS)


@pytest.mark.parametrize("more", [[], ["--skip-preflight"]], ids=["in the preflight", "in the run"])
def test_a_stop_of_the_host_is_one_line_and_the_same_command_goes_on(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(body: dict[str, Any]) -> Reply:
        if not stopped:
            stopped.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        return completion("1")

    stopped: list[bool] = []
    write_rows(tmp_path / "rows.jsonl", ROWS)
    with ChatServer(script, keep_probes=True) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": n, "base_url": server.url} for n in "ab"])
        assert stage1(*flags(tmp_path), *more) == 143
        gc.collect()  # what was left open would be told of now
        said = capsys.readouterr().err
        assert said.endswith("stopped\n")
        assert "Unclosed" not in said
        probed = {name: 0 if more else count for name, count in server.asked.items()}
        assert stage1(*flags(tmp_path), "--skip-preflight") == 0
        assert server.asked == {name: probed.get(name, 0) + len(ROWS) for name in "ab"}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_export_needs_no_endpoint_and_no_key_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    with ReplayServer(recording(recorded("m", row["prompt"], row["answer"]) for row in ROWS[:20])) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": "m", "base_url": server.url, "api_key_env": "MY_KEY"}])
        monkeypatch.setenv("MY_KEY", "sk-1234567890")
        assert stage1(*flags(tmp_path)) == 0
    before = outputs(tmp_path)
    monkeypatch.delenv("MY_KEY")
    for path in (tmp_path / "out").glob("*.json"):
        path.unlink()
    assert stage1(*flags(tmp_path), "--export-only") == 0
    assert outputs(tmp_path) == before
    # Rows that nobody was asked about are no records yet.
    write_rows(tmp_path / "rows.jsonl", [*ROWS, {"prompt": "new?", "answer": "n", "source": "s0"}])
    assert stage1(*flags(tmp_path), "--export-only") == 0
    assert len(read_evaluations(tmp_path / "out")) == len(ROWS)
    assert "1 prompts were not asked yet" in capsys.readouterr().out


def test_models_of_one_id_at_two_addresses_are_two_models(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    right = recording(recorded("m", row["prompt"], row["answer"]) for row in ROWS)
    wrong = recording(recorded("m", row["prompt"], "-1") for row in ROWS)
    with ReplayServer(right) as one, ReplayServer(wrong) as two:
        models = [{"name": name, "model": "m", "base_url": server.url} for name, server in (("full", one), ("quantised", two))]
        write_pool(tmp_path / "pool.yaml", models)
        assert stage1(*flags(tmp_path)) == 0
        assert one.requests == two.requests == len(ROWS)
    assert all(row["model_scores"] == {"full": 1, "quantised": 0} for row in read_evaluations(tmp_path / "out"))
    with Journal(tmp_path / "out" / JOURNAL_NAME) as journal:
        assert journal.export(tmp_path / "r.jsonl.gz", one.url) == len(ROWS)
        with pytest.raises(Exception, match=r"was asked one question at .* and at .*; export one of them with --address"):
            recording(journal.rows())


def test_a_journal_of_the_first_format_keeps_its_answers(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    (tmp_path / "out").mkdir()
    with sqlite3.connect(tmp_path / "out" / JOURNAL_NAME) as database:
        database.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, request TEXT NOT NULL, answer TEXT NOT NULL)")
        for row in ROWS[:25]:
            request = {"model": "m", "messages": [{"role": "user", "content": row["prompt"]}], "max_tokens": 1024}
            answer = {"text": row["answer"], "prompt_tokens": 1, "completion_tokens": 1, "finish_reason": "stop"}
            answer |= {"latency_s": 0.1, "error": None}
            database.execute(
                "INSERT INTO answers VALUES (?, ?, ?)", ("x" + row["prompt"], json.dumps(request), json.dumps(answer))
            )
    with ReplayServer(recording(recorded("m", row["prompt"], row["answer"]) for row in ROWS)) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": "m", "base_url": server.url}])
        assert stage1(*flags(tmp_path)) == 0
        assert server.requests == 5
    assert all(row["model_scores"] == {"m": 1} for row in read_evaluations(tmp_path / "out"))


def test_two_runs_do_not_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    write_pool(tmp_path / "pool.yaml", [{"name": "m", "base_url": "http://127.0.0.1:9/v1"}])
    with run_lock(tmp_path / "out" / JOURNAL_NAME):
        assert stage1(*flags(tmp_path)) == 2
    assert "another run writes to this folder" in capsys.readouterr().err


def judging(body: dict[str, Any]) -> Reply:
    """Candidates say something; judge j finds every second answer right, judge k every third; grades are halves."""
    if body["model"] == "m":
        return completion(f"a view of {body['messages'][0]['content']}")
    document = json.loads(body["messages"][-1]["content"])
    number = int(document["reference"].split()[1])
    right = number % (2 if body["model"] == "j" else 3) == 0
    graded = '"score"' in body["messages"][0]["content"]
    return completion(
        json.dumps({"id": document["id"], "why": "so", "score" if graded else "correct": 0.5 if graded else right})
    )


def test_a_second_judge_is_compared_and_the_first_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", WORDS)
    with ChatServer(judging) as server:
        models: list[dict[str, Any]] = [{"name": name, "base_url": server.url} for name in ("m", "j", "k")]
        pool = {"models": models[:1], "judge": models[1], "second_judge": models[2]}
        (tmp_path / "pool.yaml").write_text(json.dumps(pool))
        assert stage1(*flags(tmp_path)) == 0
        assert server.asked == {"m": 30, "j": 30, "k": 30}
        # Of 30: both right 5, only the first 10, only the second 5, neither 10.
        assert "the two judges agree on 50.0% of 30 cases (Cohen's kappa 0.00)" in capsys.readouterr().out
        assert [row["model_scores"]["m"] for row in read_evaluations(tmp_path / "out")] == [int(n % 2 == 0) for n in range(30)]
        assert stage1(*flags(tmp_path), "--graded") == 0
        assert {row["model_scores"]["m"] for row in read_evaluations(tmp_path / "out")} == {0.5}


def test_a_judge_from_the_pool_is_warned_about_and_so_is_a_constant_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    with ReplayServer(recording(recorded(m, row["prompt"], row["answer"]) for row in ROWS for m in ("m", "n"))) as server:
        models = [{"name": name, "base_url": server.url} for name in ("m", "n")]
        write_pool(tmp_path / "pool.yaml", models, judge={"name": "j", "model": "m", "base_url": server.url})
        assert stage1(*flags(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "warning: the judge m is also the candidate m" in out
    assert "warning: m has the same label 1 on all of its 30 prompts" in out


def test_no_judge_is_advised_for_answers_that_never_end_their_reasoning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    with ChatServer(lambda body: completion("<think>Is it 3?" if body["model"] == "b" else "3")) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": name, "base_url": server.url} for name in "ab"])
        assert stage1(*flags(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "b: unfinished reasoning, no answer after it (30)" in printed
    assert "answers have no verdict" not in printed


def test_measures_by_hand() -> None:
    low, high = wilson_interval(0.5, 10)
    assert (round(low, 4), round(high, 4)) == (0.2366, 0.7634)  # the textbook's example
    assert wilson_interval(0.0, 0) == (0.0, 1.0)
    # Cohen (1960): p_o = 0.7, p_e = 0.5.
    one, other = np.array([1.0] * 25 + [0.0] * 25), np.array([1.0] * 20 + [0.0] * 5 + [1.0] * 10 + [0.0] * 15)
    assert cohens_kappa(one, other) == pytest.approx(0.4)
    assert np.isnan(cohens_kappa(np.ones(5), np.ones(5)))
    scores = np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, 1.0], [np.nan, np.nan]])
    assert oracle(scores) == 1.0
    # Of row 2 nothing would be known without the second model.
    assert [marginal_gain(scores, column) for column in (0, 1)] == pytest.approx([1 / 3, 1 / 2])
    assert np.isnan(marginal_gain(np.array([[1.0, np.nan]]), 0)), "no row tells what it adds"


HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)>" onmouseover="alert(3) {{ 7*7 }} ]]> </pre>\u202e'


def test_the_audit_page_is_self_contained_escaped_and_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"{n} {HOSTILE}", "answer": f"{n}{HOSTILE}", "source": f"{HOSTILE}{n % 3}"} for n in range(24)
    ]
    rows[0]["images"] = [b64(png((255, 0, 0)))]
    write_rows(tmp_path / "rows.jsonl", [{"images": []} | row for row in rows])

    def script(body: dict[str, Any]) -> Reply:
        if body["model"] != "j":
            return completion(f"said {HOSTILE}" if body["model"] == "m" else json.dumps(body["messages"][0]["content"])[:9])
        document = json.loads(body["messages"][-1]["content"])
        return completion(json.dumps({"id": document["id"], "why": HOSTILE, "correct": "said" in document["answer"]}))

    with ChatServer(script) as server:
        models = [{"name": name, "base_url": server.url, "modalities": ["text", "image"]} for name in ("m", "n")]
        write_pool(tmp_path / "pool.yaml", models, judge={"name": "j", "base_url": server.url})
        assert stage1(*flags(tmp_path), "--audit", "20") == 0
        asked = server.asked
    assert asked == {"m": 24, "n": 24, "j": 48}
    page = (tmp_path / "out" / AUDIT_NAME).read_text(encoding="utf-8")
    cases = re.findall(r'<article data-id="(\w{12})" data-model="(\w)" data-by="(\w*)"\s+data-score="([\d.]*)"', page)
    assert len(cases) == len(set(cases)) == 20
    # Every stratum (source, model, verdict) is there: 3 sources and 2 models.
    assert {case[1] for case in cases} == {"m", "n"}
    assert page.count("<script") == 1
    assert "49" not in re.findall(r"\{\{.*?\}\}", page)
    assert not re.search(r"<img src=x|onerror=alert\(2\)>(?!&)|\" onmouseover=", page)
    assert not re.search(r"(?:src|href)=\"(?!data:image/)", page)
    assert "default-src 'none'" in page
    capsys.readouterr()
    marks = [
        {"id": i, "model": m, "by": by, "score": float(s), "mark": "right" if s == "1.0" else "wrong"} for i, m, by, s in cases
    ]
    marks[0]["mark"] = "unclear"
    marks[1]["mark"] = "wrong" if marks[1]["mark"] == "right" else "right"
    (tmp_path / "marks.json").write_text(json.dumps({"format": 1, "cases": marks}))
    assert stage1("--audit-import", tmp_path / "marks.json") == 0
    out = capsys.readouterr().out
    low, high = wilson_interval(18 / 19, 19)
    assert re.search(rf"all verdicts +19 +94\.7% +{low:.1%} to {high:.1%}", out)
    assert "20 marks, 1 of them unclear" in out
    for bad in (
        "{}",
        "[]",
        "{",
        '{"cases": [{"id": "x"}]}',
        '{"cases": [{"score": 2, "mark": "right", "by": "judge", "model": "m"}]}',
    ):
        (tmp_path / "marks.json").write_text(bad)
        assert stage1("--audit-import", tmp_path / "marks.json") == 2
        assert "cannot be read" in capsys.readouterr().err


def test_keys_appear_in_no_file_and_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = {
        "KEY_M": "sk-planted-candidate-0123456789",
        "KEY_J": "sk-planted-judge-9876543210",
        "KEY_A": "azure-planted-5555555555",
    }
    for name, key in keys.items():
        monkeypatch.setenv(name, key)
    echoes = iter(range(10**6))
    own = {"m": keys["KEY_M"], "j": keys["KEY_J"], "az": keys["KEY_A"]}

    def script(body: dict[str, Any]) -> Reply:
        """An endpoint that echoes the key it was sent, in answers and in every kind of error."""
        key, number = own[body["model"]], next(echoes)
        if body["model"] == "j":
            return completion(key) if number % 2 else raw({"error": {"message": f"bad key {key}"}}, 400)
        return [completion(f"my key is {key}"), raw({"error": {"message": key}}, 401), raw(key.encode(), 403)][number % 3]

    write_rows(tmp_path / "rows.jsonl", WORDS)
    with ChatServer(script) as server:
        models: list[dict[str, Any]] = [
            {"name": "m", "base_url": server.url, "api_key_env": "KEY_M"},
            {"name": "az", "base_url": server.url, "api_key_env": "KEY_A", "api_version": "2026-01-01"},
        ]
        write_pool(tmp_path / "pool.yaml", models, judge={"name": "j", "base_url": server.url, "api_key_env": "KEY_J"})
        assert stage1(*flags(tmp_path), "--audit", "20") in (0, 2)
        sent = set(server.keys)
    printed = capfd.readouterr()
    assert sent == {f"Bearer {keys['KEY_M']}", f"Bearer {keys['KEY_J']}", keys["KEY_A"]}
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"[key]" in written
    for key in keys.values():
        assert key.encode() not in written
        assert key not in printed.out + printed.err


def test_a_text_model_takes_no_images_where_all_questions_have_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": f"Colour {n}?", "answer": "red", "images": [b64(png((n, 0, 0)))]} for n in range(3)]
    write_rows(tmp_path / "rows.jsonl", rows)
    with ChatServer(lambda body: completion("red")) as server:
        models = [
            {"name": n, "base_url": server.url, "modalities": m} for n, m in (("see", ["text", "image"]), ("chat", ["text"]))
        ]
        write_pool(tmp_path / "pool.yaml", models)
        for reached in ("yes", "not asked: nothing is left"):  # before, and when all is recorded
            assert stage1(*flags(tmp_path)) == 0
            out = capsys.readouterr().out
            assert re.search(rf"^see +see +candidate +{reached} ", out, re.MULTILINE)
            assert re.search(r"^chat +chat +candidate +takes no images ", out, re.MULTILINE)


def warn(scores: list[list[float]]) -> list[str]:
    results = Results(len(scores), list("abcd")[: len(scores[0])])
    results.scores[:] = scores
    results.asked[:] = results.answered[:] = ~np.isnan(results.scores)
    return warnings(results)


def test_models_that_add_nothing_are_told_together() -> None:
    # Every prompt is solved by two of three: each could go, but not all.
    (line,) = warn([[1, 1, 0], [1, 0, 1], [0, 1, 1]] * 10)
    assert line.startswith("any one of a, b, c could go, not all: ")
    # d solves what a and b solve, and more.
    (line,) = warn([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]] * 10)
    assert line.startswith("a, b add nothing: whatever they get right, another model gets right too")
    (line,) = warn([[1, 1], [0, 1], [0, 0]] * 10)
    assert line.startswith("a adds nothing: whatever it gets right, another model gets right too")
    # What only a and b were asked cannot be had from another model.
    (line,) = warn([[1, 1, np.nan], [0, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]] * 10)
    assert line.startswith("any one of a, b could go, not all: ")
    assert warn([[1, 0], [0, 1]] * 10) == []
