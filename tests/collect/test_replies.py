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
from auto_router.collect.rate_limits import PassingFailure, RetryPolicy
from auto_router.collect.reply import Response, read_reply
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


USAGE = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}


def reply_of(message: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": USAGE} | more


TEXTS: dict[str, Any] = {
    "parts that are strings": reply_of({"content": ["5", " apples"]}),
    "a number as content": reply_of({"content": 5}),
    "a message that is its text": reply_of("5"),
    "a completion of old": {"choices": [{"text": "5", "finish_reason": "stop"}], "usage": USAGE},
    "a refusal beside the message": {"choices": [{"message": {"content": None}, "refusal": "5"}], "usage": USAGE},
    "what was spoken": reply_of({"content": None, "audio": {"transcript": "5"}}),
    "the first choice last": {
        "choices": [{"index": 1, "message": {"content": "6"}}, {"index": 0, "message": {"content": "5"}}]
    },
    "a wrapper": {"code": 0, "msg": "ok", "data": reply_of({"content": "5"})},
    "Anthropic": {"role": "assistant", "content": [{"type": "text", "text": "5"}], "usage": {"input_tokens": 9}},
    "Google": {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}, {"text": "5"}]}}]},
    "Ollama": {"message": {"role": "assistant", "content": "5", "thinking": "hm"}, "done_reason": "stop", "eval_count": 10},
    "Cohere": {
        "message": {"role": "assistant", "content": [{"type": "text", "text": "5"}]},
        "usage": {"tokens": {"input_tokens": 9}},
    },
    "Bedrock": {
        "output": {
            "message": {
                "role": "assistant",
                "content": [{"reasoningContent": {"reasoningText": {"text": "4?"}}}, {"text": "5"}],
            }
        },
        "stopReason": "end_turn",
        "usage": {"inputTokens": 9, "outputTokens": 1, "totalTokens": 10},
    },
    "Cloudflare": {"result": {"response": "5"}, "success": True, "errors": []},
    "Hugging Face": [{"generated_text": "5"}],
    "a list of one": [reply_of({"content": "5"})],
    "Responses, as plain text": {"output": [{"type": "message", "content": "5"}], "status": "completed"},
    "a thought among the parts": reply_of({"content": [{"text": "hm", "thought": True}, {"type": "text", "text": "5"}]}),
}
FAILURES: dict[str, Any] = {
    "an error as finish reason": reply_of({"content": "The an"}, "upstream_error"),
    "an error as the provider's finish reason": {"choices": [{"message": {"content": "T"}, "native_finish_reason": "error"}]},
    "a list of errors": {"success": False, "errors": [{"code": 7000, "message": "No route"}]},
    "an error beside a wrapped reply": {"error": {"message": "busy"}, "data": reply_of({"content": "Sorry"})},
    "no success, and a wrapped reply": {"success": False, "data": reply_of({"content": "Sorry"})},
    "an error in base_resp": {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
}


def read_body(body: Any) -> Response:
    return read_reply(200, {}, json.dumps(body).encode())


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_is_found_wherever_it_stands(name: str) -> None:
    assert (read_body(TEXTS[name]).text or "").removesuffix(" apples") == "5"


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_inside_http_200_is_no_answer(name: str) -> None:
    with pytest.raises(PassingFailure):
        read_body(FAILURES[name])


@pytest.mark.parametrize(
    "body",
    [
        {"code": 500, "message": {"content": "Internal error"}},
        {"type": "error", "message": {"text": "quota exceeded"}},
        reply_of({"content": [{"type": "error", "text": "bad gateway"}]}),
        {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}]}, "finishReason": "STOP"}]},
        {"candidates": [{"finishReason": "SAFETY"}]},
    ],
)
def test_words_of_an_error_and_thoughts_are_no_answer(body: Any) -> None:
    read = read_body(body)
    assert read.text is None
    assert read.error


def test_an_error_at_the_end_of_a_stream_is_no_shorter_answer() -> None:
    events: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"content": "The an"}}]},
        {"object": "error", "message": "out of memory", "code": 500},
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    with pytest.raises(PassingFailure, match="out of memory"):
        read_reply(200, {}, body.encode())


def test_what_cannot_be_a_count_is_unknown_and_what_was_counted_elsewhere_is_read() -> None:
    def counts(**usage: Any) -> tuple[int | None, int | None, int | None, float | None]:
        read = read_body(reply_of({"content": "5"}, usage=usage))
        return read.prompt_tokens, read.completion_tokens, read.cached_tokens, read.billed_usd

    assert counts(prompt_tokens=0, completion_tokens=0) == (None, None, None, None)
    assert counts(prompt_tokens=20, completion_tokens=10, cost_in_usd_ticks=42_000_000) == (20, 10, None, 0.0042)
    assert counts(prompt_tokens=2000, completion_tokens=10, cache_read_input_tokens=1800) == (2000, 10, 1800, None)
    assert counts(input_tokens=200, output_tokens=10, cache_read_input_tokens=1800) == (2000, 10, 1800, None)
    assert counts(input_tokens=200, output_tokens=10, cache_creation_input_tokens=1800) == (2000, 10, None, None)
    assert read_body({"choices": [], "usage": USAGE}).completion_tokens == 10
    groq = read_body(reply_of({"content": "5"}, usage=None, x_groq={"usage": USAGE}))
    assert (groq.prompt_tokens, groq.completion_tokens) == (20, 10)


def test_a_stream_of_the_responses_api_is_read() -> None:
    whole: dict[str, Any] = {
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "5"}]}],
    }
    events: list[dict[str, Any]] = [
        {"type": "response.output_text.delta", "delta": "5"},
        {"type": "response.completed", "response": whole},
    ]
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    assert read_reply(200, {}, body.encode()).text == "5"


def test_a_refusal_without_a_word_is_said_as_such() -> None:
    assert read_body(reply_of({"content": ""}, "refusal")).error == "the model refused, and said nothing"
    assert read_body(reply_of({"content": ""}, "content-filter")).error == "content filter: the answer was withheld"
    thought = read_body(reply_of({"content": "", "reasoning_text": "hm"}, "length")).error or ""
    assert "went into reasoning" in thought
