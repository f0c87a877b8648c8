"""What endpoints really send (``cases/replies.json``), case by case: over HTTP, and from the command line to the label."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from auto_router.collect import runner
from auto_router.collect.endpoint import user_message
from auto_router.collect.journal import JOURNAL_NAME
from auto_router.collect.money import answer_cost
from auto_router.collect.rate_limits import RetryPolicy
from auto_router.data.pool import PoolModel
from tests.stage1 import (
    ChatServer,
    Reply,
    asked_once,
    completion,
    flags,
    raw,
    read_evaluations,
    stage1,
    write_pool,
    write_rows,
)  # fmt: skip

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cases" / "replies.json").read_text(encoding="utf-8"))
CANDIDATE = [case for case in CASES if case.get("role") != "judge"]
JUDGE = [case for case in CASES if case.get("role") == "judge"]
PRICES: dict[str, Any] = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0, "cached_input_usd_per_mtok": 0.1}


@pytest.fixture(autouse=True)
def _quick_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "POLICY", RetryPolicy(attempts=3, first_wait=0.01, strikes=999, refusals=999))


def send(case: dict[str, Any]) -> Reply:
    headers = {name.replace("-", "_"): value for name, value in case.get("headers", {}).items()}
    return raw(case["body"], case["status"], **headers)


def is_refused(case: dict[str, Any], body: dict[str, Any]) -> bool:
    """Whether a request still holds what the case's endpoint refuses."""
    return case["status"] == 400 and case["body"]["error"]["param"] in body


@pytest.mark.parametrize("case", CANDIDATE, ids=lambda case: case["name"])
def test_a_reply_becomes_what_it_means(case: dict[str, Any]) -> None:
    """A reply that passes is answered well at the next try."""
    want, seen = case["want"], 0

    def script(body: dict[str, Any]) -> Reply:
        nonlocal seen
        seen += 1
        if case["status"] == 400:
            return send(case) if is_refused(case, body) else completion("5")
        again = want.get("passing") or "waits_about_s" in want
        return completion("5") if again and seen > 1 else send(case)

    with ChatServer(script) as server:
        model = PoolModel("m", base_url=server.url, temperature=0.0, **PRICES)
        if case["status"] == 429 and "Retry-After" in case["headers"]:
            with pytest.raises(Exception, match="not asked: the endpoint asks to wait 24 h"):
                asked_once(model, user_message("2+3?"))
            assert seen == 1
            return
        answer = asked_once(model, user_message("2+3?"))
    if want.get("passing") or "adapts" in want or "waits_about_s" in want:
        assert (answer.text, seen) == ("5", 2)
        return
    assert "text" not in want or answer.text == want["text"]
    for words in want.get("error_mentions", []) if answer.text is None else []:
        assert words in (answer.error or "")
    assert json.loads(answer.body or "") == case["body"], "what was paid for is kept as it came"
    if "completion_tokens_for_cost" in want:
        assert answer.completion_tokens == want["completion_tokens_for_cost"]
    if "cost_usd" in want:
        assert answer_cost(model, answer) == want["cost_usd"]
    if "cached" in case["name"]:
        assert answer_cost(model, answer) == pytest.approx((200 * 1.0 + 1800 * 0.1 + 10 * 2.0) / 1e6)


def run_cases(folder: Path, cases: list[dict[str, Any]]) -> tuple[ChatServer, int]:
    """Run Stage 1 with a question for each case, which the endpoint answers with the case, whoever is asked."""
    answers = {"judge": "same"}
    rows = [
        {"prompt": f"case {n}", "answer": answers.get(case.get("role", ""), "B" if "graded_text" in case["want"] else "5")}
        for n, case in enumerate(cases)
    ]
    write_rows(folder / "rows.jsonl", rows)

    def script(body: dict[str, Any]) -> Reply:
        text = body["messages"][-1]["content"]
        if body["model"] == "j":
            document = json.loads(text)
            case = cases[int(document["question"].split()[1])]
            if case.get("role") != "judge":  # a judge that compares meanings
                return completion(json.dumps({"id": document["id"], "correct": document["answer"] == document["reference"]}))
            status, headers, reply = send(case)
            return status, headers, reply.replace(b"<ID>", document["id"].encode())
        case = cases[int(text.split()[1])]
        if case.get("role") == "judge":
            return completion("an answer in other words")
        return completion("5") if case["status"] == 400 and not is_refused(case, body) else send(case)

    with ChatServer(script) as server:
        entry = {"name": "m", "base_url": server.url, "temperature": 0} | PRICES
        write_pool(folder / "pool.yaml", [entry], judge={"name": "j", "base_url": server.url})
        code = stage1(*flags(folder))
    return server, code


def test_every_reply_through_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [case for case in CANDIDATE if "Retry-After" not in case.get("headers", {})]
    assert run_cases(tmp_path, cases)[1] == 0
    labels = {case["name"]: row for case, row in zip(cases, read_evaluations(tmp_path / "out"), strict=True)}
    for case in cases:
        want, row = case["want"], labels[case["name"]]
        label, error = row["model_scores"]["m"], row.get("model_errors", {}).get("m", "")
        if (
            want.get("text") == "5"
            or "graded_text" in want
            or "adapts" in want
            or "cost_usd" in want
            or "cached" in case["name"]
        ):
            assert label == 1, (case["name"], error)
        elif case["name"] == "refusal field":
            assert label == 0, error
        else:
            assert label is None, case["name"]
            assert all(words in error for words in want.get("error_mentions", [])), error
    out = capsys.readouterr()
    said = out.out + out.err
    assert said.count("does not take max_tokens as it was sent; asked with max_completion_tokens") == 1
    assert said.count("does not take temperature as it was sent; asked without it") == 1
    with sqlite3.connect(tmp_path / "out" / JOURNAL_NAME) as database:
        kept = {json.loads(body)["choices"][0]["message"]["content"] for (body,) in database.execute(
            "SELECT body FROM exchanges WHERE role = 'candidate' AND body LIKE '%think>%'")}  # fmt: skip
    assert len(kept) == 3


def test_a_longer_limit_asks_again_only_what_was_cut(tmp_path: Path) -> None:
    cases = [case for case in CANDIDATE if case["name"] in ("text as parts", "reasoning only, budget used up", "float counts")]
    write_rows(tmp_path / "rows.jsonl", [{"prompt": f"case {n}", "answer": "5"} for n in range(len(cases))])
    with ChatServer(lambda body: send(cases[int(body["messages"][-1]["content"].split()[1])])) as server:
        for limit, asked in ((1024, 3), (1024, 3), (4096, 4)):
            write_pool(tmp_path / "pool.yaml", [{"name": "m", "base_url": server.url, "max_tokens": limit}])
            assert stage1(*flags(tmp_path)) == 0
            assert len(server.bodies) == asked


def test_an_endpoint_that_wants_a_day_is_set_aside_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (day,) = [case for case in CANDIDATE if case["name"] == "a day to wait"]
    write_rows(tmp_path / "rows.jsonl", [{"prompt": f"case {n}", "answer": "5"} for n in range(6)])
    with ChatServer(lambda body: send(day) if body["model"] == "m" else completion("5")) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": name, "base_url": server.url, "concurrency": 1} for name in "mn"])
        assert stage1(*flags(tmp_path)) == 0
    assert server.asked == {"m": 1, "n": 6}
    out = capsys.readouterr()
    assert (out.out + out.err).count("m is set aside: the endpoint asks to wait 24 h") == 1
    assert all(row["model_scores"] == {"m": None, "n": 1} for row in read_evaluations(tmp_path / "out"))


@pytest.mark.parametrize("case", JUDGE, ids=lambda case: case["name"])
def test_every_verdict_through_the_command_line(case: dict[str, Any], tmp_path: Path) -> None:
    server, code = run_cases(tmp_path, [case, case])
    want = case["want"]["verdict"]
    assert code == (2 if want is None else 0), "not a single label is an error"
    assert server.asked["j"] == (4 if want is None else 2), "what cannot be read is asked for once more"
    if want is not None:
        assert [row["model_scores"]["m"] for row in read_evaluations(tmp_path / "out")] == [want, want]
