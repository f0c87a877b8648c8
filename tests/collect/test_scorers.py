"""Scorers: unit tests with limits, schemas, tool calls, functions of the user's own; what fails is unknown, never 0."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from auto_router.collect import scorers
from auto_router.collect.judge import Verdict
from auto_router.collect.question import Question
from auto_router.collect.reply import Response
from auto_router.collect.scorers import load_scorer, score_response
from auto_router.errors import ConfigError, DataError
from tests.collect.test_data_sets import read_questions
from tests.stage1 import ChatServer, Reply, completion, flags, raw, read_evaluations, stage1, write_pool, write_rows

HEAD = "from typing import List\n\ndef half(x):\n    return x / 2\n\n"
HUMAN_EVAL = {
    "prompt": f'{HEAD}def mean(xs: List[float]) -> float:\n    """Mean."""\n',
    "entry_point": "mean",
    "test": "def check(candidate):\n    assert candidate([1, 3]) == 2\n    assert candidate([4]) == 4\n",
}
MBPP = {"text": "Add one.", "test_list": ["assert inc(1) == 2", "assert inc(-1) == 0"], "test_setup_code": ""}


def score(name: str, row: Mapping[str, Any], text: str, *references: str, **answer: Any) -> Verdict:
    question = Question(0, "p", references, (), None, "g", row=row)
    return score_response(load_scorer(name), question, Response(text, **answer))


WHOLE = "Here it is:\n```python\ndef mean(xs: List[float]) -> float:\n    return sum(xs) / len(xs)\n```\nDone."


@pytest.mark.skipif(sys.platform == "win32", reason="no limits for processes")
@pytest.mark.parametrize(
    ("row", "text", "right"),
    [
        (HUMAN_EVAL, WHOLE, 1),
        (HUMAN_EVAL, "    return sum(xs) / len(xs)\n", 1),
        (HUMAN_EVAL, "def mean(xs):\n    return half(2 * sum(xs)) / len(xs)", 1),
        (HUMAN_EVAL, f"<think>sum?</think>\n{WHOLE}", 1),
        (HUMAN_EVAL, "    return 2\n", 0),
        (HUMAN_EVAL, "def mean(xs):\n    import sys; sys.exit(0)", 0),
        (HUMAN_EVAL, "def mean(xs):\n    import os; os._exit(0)", 0),
        (HUMAN_EVAL, "def mean(xs):\n    raise SystemExit(2)", 0),
        (HUMAN_EVAL, "I cannot do this.", 0),
        (MBPP, "```python\ndef inc(x):\n    return x + 1\n```", 1),
        (MBPP, "def inc(x): return 2", 0),
        (MBPP, "def inc(x):\n    return bytearray(4 * 2**30) and x + 1", 0),
    ],
)
def test_code_is_right_if_its_tests_pass(row: Mapping[str, Any], text: str, right: int) -> None:
    assert score("python-tests", row, text) == Verdict(right, "scorer", "scorer")


@pytest.mark.skipif(sys.platform == "win32", reason="no limits for processes")
def test_code_that_never_ends_is_wrong_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scorers, "CPU_SECONDS", 1)
    assert score("python-tests", MBPP, "while True: pass").score == 0
    monkeypatch.setattr(scorers, "WALL_SECONDS", 8)
    mark = tmp_path / "mark"
    child = f"import time, pathlib; time.sleep(12); pathlib.Path({str(mark)!r}).touch()"
    text = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\ntime.sleep(60)"
    assert score("python-tests", MBPP, text).score == 0
    time.sleep(6)
    assert not mark.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no limits for processes")
def test_code_reaches_no_network() -> None:
    if reason := scorers.explain_open_network():
        pytest.skip(reason)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        address = server.getsockname()
        text = f"import socket\ndef inc(x):\n    socket.create_connection({address!r}, 5).sendall(b'here')\n    return x + 1"
        assert score("python-tests", MBPP, text).score == 0
        with pytest.raises(TimeoutError):
            server.accept()
        caught = text.replace("socket.create", "try: socket.create").replace("\n    return", "\n    except OSError: return")
        assert score("python-tests", MBPP, caught).score == 1


def test_an_open_network_is_said_before_anything_is_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scorers, "explain_open_network", lambda: "network namespaces are refused: Operation not permitted")
    load_scorer("python-tests")
    assert "can reach the network from here (network namespaces are refused" in capsys.readouterr().out
    load_scorer("tool-call")
    assert capsys.readouterr().out == ""


def test_errors_of_a_scorer_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert score("python-tests", {"prompt": "p"}, "x").reason.startswith("scorer: ValueError: the row has no tests")
    for value, reason in (
        (None, "could not tell"),
        (2, "no number from 0 to 1"),
        ("1", "no number"),
        (float("nan"), "no number"),
    ):
        monkeypatch.setitem(scorers.SCORERS, "odd", lambda question, text, value=value: value)  # type: ignore[misc]
        verdict = score("odd", {}, "x")
        assert verdict.score is None
        assert reason in verdict.reason
    assert score("odd", {}, "<think>never ends").score is None
    assert score("json-schema", {"schema": {"type": "object"}}, "{", finish_reason="length").reason.startswith("cut off")
    silent = score_response(load_scorer("tool-call"), Question(0, "p", (), (), None, "g"), Response(None, error="timeout"))
    assert silent == Verdict(None, "timeout")


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize("schema", [SCHEMA, json.dumps(SCHEMA)])
@pytest.mark.parametrize(
    ("text", "right"),
    [('{"n": 1}', 1), ('```json\n{"n": 1}\n```', 1), ('{"n": "1"}', 0), ("{}", 0), ("n is 1", 0), ('So: {"n": 1}', 0)],
)
def test_json_is_right_if_the_schema_allows_it(schema: Any, text: str, right: int) -> None:
    assert score("json-schema", {"schema": schema}, text).score == right


def test_a_schema_that_is_none_is_unknown() -> None:
    assert "the row's schema is none" in score("json-schema", {"schema": {"type": 7}}, "{}").reason
    assert "no 'schema' column" in score("json-schema", {}, "{}").reason


CALL = '{"name": "weather", "arguments": {"city": "Rome", "days": 2}}'


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (CALL, 1),
        ('[{"name": "weather", "arguments": {"days": 2, "city": "Rome"}}]', 1),
        (json.dumps({"type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome", "days": 2}'}}), 1),
        (f"```json\n{CALL}\n```", 1),
        (CALL.replace("2", "3"), 0),
        (CALL.replace("weather", "news"), 0),
        (f"[{CALL}, {CALL}]", 0),
        ("It rains in Rome.", 0),
    ],
)
def test_a_tool_call_is_right_to_the_letter(text: str, right: int) -> None:
    assert score("tool-call", {}, text, CALL).score == right
    assert score("tool-call", {}, text, "no call").score is None


ARGUMENTS = '{"city": "Rome", "days": 2}'
FUNCTION: dict[str, Any] = {"name": "weather", "arguments": ARGUMENTS}
PIECES: list[dict[str, Any]] = [
    {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": ARGUMENTS[:9]}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": ARGUMENTS[9:]}}]},
]
NATIVE_FORMS: dict[str, dict[str, Any]] = {
    "chat": {"tool_calls": [{"id": "c1", "type": "function", "function": FUNCTION}], "content": None},
    "beside-text": {"tool_calls": [{"id": "c1", "type": "function", "function": FUNCTION}], "content": "I look it up."},
    "legacy": {"function_call": FUNCTION, "content": None},
    "part": {"content": [{"type": "tool_use", "name": "weather", "input": {"city": "Rome", "days": 2}}]},
    "other": {"tool_calls": [{"type": "function", "function": FUNCTION | {"arguments": ARGUMENTS.replace("2", "3")}}]},
    "broken": {"tool_calls": [{"type": "function", "function": FUNCTION | {"arguments": ARGUMENTS[:9]}}], "content": ""},
    "twice": {"tool_calls": [{"function": FUNCTION}, {"function": FUNCTION}], "content": None},
    "words": {"content": "It rains in Rome."},
}
RIGHT_FORMS = {"chat", "beside-text", "legacy", "part", "responses"}


def call_natively(body: dict[str, Any]) -> Reply:
    """Reply in the form that the prompt ends with; the model that streams gives the right call in pieces."""
    form = body["messages"][-1]["content"].split()[-1]
    if body.get("stream"):
        events: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": piece, "finish_reason": None}]} for piece in PIECES]
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        return raw(text.encode(), Content_Type="text/event-stream")
    if form == "responses":
        output: list[dict[str, Any]] = [
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": "c1", **FUNCTION},
        ]
        reply: dict[str, Any] = {
            "object": "response",
            "status": "completed",
            "error": None,
            "output": output,
            "usage": {"input_tokens": 9},
        }
        return raw(reply)
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", **NATIVE_FORMS[form]}, "finish_reason": "tool_calls"}
    return raw({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 2}})


def test_calls_beside_the_text_are_read_over_http(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    write_rows(
        tmp_path / "rows.jsonl",
        [{"prompt": f"Weather in Rome as {form}", "answer": CALL} for form in [*NATIVE_FORMS, "responses"]],
    )
    with ChatServer(call_natively) as server:
        extra = {"base_url": server.url, "parameters": {"tools": tools}}
        write_pool(tmp_path / "pool.yaml", [{"name": "whole", **extra}, {"name": "streamed", "stream": True, **extra}])
        assert stage1(*flags(tmp_path), "--scorer", "tool-call") == 0
    capsys.readouterr()
    assert all(body["tools"] == tools for body in server.bodies)
    records = read_evaluations(tmp_path / "out")
    assert {record["prompt"].split()[-1] for record in records if record["model_scores"]["whole"]} == RIGHT_FORMS
    assert all(record["model_scores"]["whole"] in (0, 1) and record["model_scores"]["streamed"] == 1 for record in records)


def test_calls_without_arguments_are_equal() -> None:
    native = json.dumps({"choices": [{"message": {"tool_calls": [{"function": {"name": "now", "arguments": "{}"}}]}}]})
    for reference in ('{"name": "now"}', '{"name": "now", "arguments": {}}', '{"name": "now", "arguments": ""}'):
        question = Question(0, "p", (reference,), (), None, "g")
        assert score_response(load_scorer("tool-call"), question, Response(None, body=native)).score == 1


def test_a_function_of_ones_own_gets_the_calls_where_there_is_no_text() -> None:
    body = json.dumps({"choices": [{"message": {"content": None, "tool_calls": [{"function": FUNCTION}]}}]})
    seen: list[str] = []

    def note(question: Question, text: str) -> float:
        seen.append(text)
        return 1

    assert score_response(note, Question(0, "p", (), (), None, "g"), Response(None, body=body)).score == 1
    assert json.loads(seen[0])[0]["function"]["name"] == "weather"
    assert score("json-schema", {"schema": SCHEMA}, "{}", body=body).score == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing", "is unknown; give one of python-tests, json-schema, tool-call"),
        ("no_such_module:f", "cannot be loaded"),
        ("json:nothing", "cannot be loaded"),
        ("math:pi", "is a float; it must be a function"),
    ],
)
def test_a_scorer_that_is_not_there_is_an_error(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_scorer(name)


def test_a_scorer_of_ones_own_labels_rows_without_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_scorers.py").write_text(
        "def short(question, response):\n"
        "    if question.row['limit'] == 0:\n"
        "        raise KeyError('no limit')\n"
        "    return min(1, question.row['limit'] / len(response))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def script(body: dict[str, Any]) -> Reply:
        return completion("four" if body["model"] == "terse" else "far too long")

    write_rows(tmp_path / "rows.jsonl", [{"prompt": f"Say {n}.", "limit": 6 if n else 0} for n in range(6)])
    with ChatServer(script) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": name, "base_url": server.url} for name in ("terse", "chatty")])
        assert stage1(*flags(tmp_path), "--scorer", "my_scorers:short") == 0
    printed = capsys.readouterr().out
    assert "judged by the scorer my_scorers:short" in printed
    assert "10 by the scorer" in printed
    first, *others = read_evaluations(tmp_path / "out")
    assert first["model_scores"] == {"terse": None, "chatty": None}
    assert set(first["model_errors"].values()) == {"scorer: KeyError: 'no limit'"}
    assert all(record["model_scores"] == {"terse": 1, "chatty": 0.5} for record in others)


@pytest.mark.parametrize(
    ("columns", "scorer"), [({"test_list": ["assert f() == 1"]}, "python-tests"), ({"json_schema": "{}"}, "json-schema")]
)
def test_rows_that_a_scorer_can_judge_are_told_so(columns: dict[str, Any], scorer: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"prompt": f"Write {n}."} | columns for n in range(4)])
    with pytest.raises(DataError, match=f"without references, --scorer {scorer} judges by what a row holds, and --labels"):
        read_questions(tmp_path / "rows.jsonl")


def test_labels_that_are_all_alike_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"prompt": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(12)])
    with ChatServer(lambda body: completion("The answer is -7.")) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": name, "base_url": server.url} for name in ("a", "b")])
        assert stage1(*flags(tmp_path), "--match-only") == 0
    assert "warning: every known label is 0, so a router has nothing to learn" in capsys.readouterr().out
