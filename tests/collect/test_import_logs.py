"""Logs as prompts for Stage 1: each log is made after a documented schema, whose address stands beside it."""

from __future__ import annotations

import builtins
import csv
import json
from pathlib import Path
from typing import Any

import pytest

from auto_router.collect.image_source import ImageSource
from auto_router.collect.importer import main
from auto_router.collect.log_formats import LoggedTurn, LogReader, find_log_format, read_batch_answers
from auto_router.collect.redact import load_redactor
from auto_router.collect.result_formats import LeftOut
from auto_router.collect.source import Source
from auto_router.errors import ConfigError, DataError
from tests.log_rows import (
    EMAIL,
    KEY,
    MAKERS,
    WITHOUT_COST,
    Row,
    completion,
    langfuse_api_row,
    langfuse_row,
    litellm_row,
    messages_of,
    pair_row,
    phoenix_row,
)
from tests.stage1 import write_rows

SECRETS = {
    "e-mail": EMAIL,
    "phone": "+44 20 7946 0958",
    "card": "4111 1111 1111 1111",
    "IBAN": "DE89 3704 0044 0532 0130 00",
    "IBAN without spaces": "GB82WEST12345698765432",
    "OpenAI key": KEY,
    "AWS key": "AKIAIOSFODNN7EXAMPLE",
    "GitHub token": "ghp_1234567890abcdefABCDEF1234567890abcd",
    "Slack token": "xoxb-123456789012-123456789012-abcdefghijklmnopqrstuvwx",
    "key of no known form": "9f86d081884c7d659a2feaa0c55ad015",
}


def import_rows(tmp_path: Path, *arguments: str | Path) -> list[Row]:
    output = tmp_path / "prompts.jsonl"
    main([*map(str, arguments), "--output", str(output)])
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def turns(row: Row) -> list[LoggedTurn | LeftOut]:
    kind = find_log_format(row)
    assert kind is not None
    return list(LogReader().read(row, kind))


def reason(row: Row) -> str:
    (found,) = turns(row)
    assert isinstance(found, LeftOut), found
    return str(found)


@pytest.mark.parametrize("name", MAKERS)
def test_every_log_gives_the_same_prompts_and_answers(tmp_path: Path, name: str) -> None:
    rows = import_rows(tmp_path, write_rows(tmp_path / "log.jsonl", [MAKERS[name](i) for i in range(4)]))
    assert [row["messages"] for row in rows] == [messages_of(i) for i in range(4)]
    assert [row["group"] for row in rows] == ["s0", "s0", "s1", "s1"]
    cost = None if name in WITHOUT_COST else 0.002
    assert [row["logged"] for row in rows] == [
        {"model": "gpt-5", "response": f"Answer {i}", "prompt_tokens": 11, "completion_tokens": 3, "cost": cost}
        for i in range(4)
    ]
    assert all(row["answer"] == "" and row["images"] == [] for row in rows)


@pytest.mark.parametrize("name", MAKERS)
def test_stage_1_reads_what_is_written(tmp_path: Path, name: str) -> None:
    log = write_rows(tmp_path / "log.jsonl", [MAKERS[name](i) for i in range(3)])
    import_rows(tmp_path, log, "--reference-model", "gpt-5")
    questions = list(Source(str(tmp_path / "prompts.jsonl"), images=ImageSource()).questions())
    assert [question.prompt for question in questions] == [f"Question {i}?" for i in range(3)]
    assert [question.answer for question in questions] == [f"Answer {i}" for i in range(3)]
    assert [question.group for question in questions] == ["s0", "s0", "s1"]


@pytest.mark.parametrize("name", MAKERS)
def test_a_planted_key_and_address_are_found_nowhere(tmp_path: Path, name: str) -> None:
    """The secrets stand in the user's turn, among words and alone on a line."""
    text = f"My key is {KEY}, write to {EMAIL}.\n{KEY}\n<{EMAIL}>"
    log = write_rows(tmp_path / "log.jsonl", [MAKERS[name](i, text if i % 50 == 0 else "") for i in range(200)])
    rows = import_rows(tmp_path, log, "--redact")
    assert len(rows) == 200
    written = (tmp_path / "prompts.jsonl").read_text(encoding="utf-8")
    assert KEY not in written
    assert EMAIL not in written
    assert rows[0]["messages"][1]["content"] == "Question 0? My key is [KEY], write to [EMAIL].\n[KEY]\n<[EMAIL]>"
    assert rows[1]["messages"] == messages_of(1)
    assert rows[0]["group"] == rows[1]["group"] != rows[2]["group"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "before {} after", "({})", '{{"value": "{}"}}', "a\n{}\nb", "x={};"])
def test_each_kind_of_secret_goes(secret: str, around: str) -> None:
    found = load_redactor()(around.format(SECRETS[secret]))
    assert SECRETS[secret] not in found
    assert "[" in found


@pytest.mark.parametrize(
    "text",
    [
        "What is 12 + 30? In 2024, 1,234,567 people; pi is 3.14159265358979.",
        "def convert_to_base64_string_v2(value): return value",
        "Compare https://example.com/2024/01/02/title-of-the-post with the first one.",
        "1 2 3 4 5 6 7 8 9 10 11 12",
        "",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert load_redactor()(text) == text


def test_redaction_of_a_long_text_finds_what_stands_anywhere_in_it() -> None:
    words = " some words that fill the page " * 40
    text = words.join([EMAIL, KEY, SECRETS["card"]] * 20)
    found = load_redactor()(text)
    assert not any(secret in found for secret in (EMAIL, KEY, SECRETS["card"]))
    assert found.count("[EMAIL]") == found.count("[KEY]") == found.count("[CARD]") == 20
    assert found.replace("[EMAIL]", EMAIL).replace("[KEY]", KEY).replace("[CARD]", SECRETS["card"]) == text


def test_without_the_extra_a_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **named: Any) -> Any:
        if name == "datafog":
            raise ModuleNotFoundError("No module named 'datafog'", name="datafog")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    log = write_rows(tmp_path / "log.jsonl", [litellm_row(0)])
    with pytest.raises(ConfigError, match=r"needs the package datafog.*\[redact\]'"):
        main([str(log), "--output", str(tmp_path / "p.jsonl"), "--redact"])
    assert not (tmp_path / "p.jsonl").exists()


def test_litellm_as_csv_and_with_the_prompt_in_the_request(tmp_path: Path) -> None:
    rows = [litellm_row(0), litellm_row(1, messages={}, proxy_server_request={"model": "gpt-5", "messages": messages_of(1)})]
    path = tmp_path / "log.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(litellm_row(0, proxy_server_request={})))
        writer.writeheader()
        writer.writerows([{k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in row.items()} for row in rows])
    found = import_rows(tmp_path, path)
    assert [row["messages"] for row in found] == [messages_of(0), messages_of(1)]
    assert found[0]["logged"]["cost"] == 0.002


def test_what_litellm_did_not_keep_is_said() -> None:
    assert "store_prompts_in_spend_logs" in reason(litellm_row(0, messages={}, response={}))
    assert reason(litellm_row(0, status="failure")) == "the request failed"
    assert reason(litellm_row(0, call_type="aembedding")) == "no chat: call_type aembedding"
    assert "MAX_STRING_LENGTH" in reason(litellm_row(0, text="... (litellm_truncated 900 chars) ..."))
    (turn,) = turns(litellm_row(0, cache_hit="True", spend=0.0))
    assert isinstance(turn, LoggedTurn)
    assert turn.cost is None, "a cached answer cost nothing, which says nothing of the model's price"


def test_langfuse_traces_give_their_generations() -> None:
    inner = [langfuse_api_row(0), {"id": "x", "type": "SPAN", "input": "a"}, langfuse_api_row(1)]
    trace = {"id": "t", "sessionId": "s", "input": "a", "output": "b", "observations": inner}
    found = turns(trace)
    assert [turn.response for turn in found if isinstance(turn, LoggedTurn)] == ["Answer 0", "Answer 1"]
    assert {turn.group for turn in found if isinstance(turn, LoggedTurn)} == {"s"}
    assert reason(trace | {"observations": [inner[1]]}) == "no model call with a prompt in the trace"
    assert reason(langfuse_row(0, type="SPAN")) == "no model call: type SPAN"
    assert reason(langfuse_row(0, level="ERROR")) == "the request failed"


def test_an_api_answer_that_wraps_a_list(tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    path.write_text(
        json.dumps({"data": [langfuse_api_row(0), langfuse_api_row(1)], "meta": {"cursor": None}}), encoding="utf-8"
    )
    assert len(import_rows(tmp_path, path)) == 2


def test_spans_of_no_model_are_left_out() -> None:
    row = phoenix_row(0)
    row["attributes"] = {"openinference.span.kind": "RETRIEVER", "input.value": "a"}
    assert reason(row) == "no model call: span of kind RETRIEVER"
    assert reason(phoenix_row(0) | {"status_code": "ERROR"}) == "the request failed"


def test_spans_with_nested_attributes_and_parts_with_images() -> None:
    contents = [
        {"message_content": {"type": "text", "text": "What is this?"}},
        {"message_content": {"type": "image", "image": {"image": {"url": "data:image/png;base64,AAAA"}}}},
    ]
    llm = {"input_messages": [{"message": {"role": "user", "contents": contents}}], "model_name": "gpt-5"}
    (turn,) = turns({"context": {"trace_id": "t"}, "attributes": {"openinference": {"span": {"kind": "LLM"}}, "llm": llm}})
    assert isinstance(turn, LoggedTurn)
    assert turn.messages == ({"role": "user", "content": "What is this?"},)
    assert turn.images == ("data:image/png;base64,AAAA",)


def batch_files(folder: Path) -> tuple[Path, Path]:
    """https://platform.openai.com/docs/api-reference/batch/request-input and /request-output"""
    asked = [
        {"custom_id": f"c{i}", "method": "POST", "url": "/v1/chat/completions", "body": pair_row(i)["request"]}
        for i in range(3)
    ]
    answers = [
        {
            "id": f"b{i}",
            "custom_id": f"c{i}",
            "response": {"status_code": 200 if i else 500, "body": completion(i)},
            "error": None,
        }
        for i in range(2)
    ]
    return write_rows(folder / "input.jsonl", asked), write_rows(folder / "output.jsonl", answers)


def test_a_batch_is_joined_by_custom_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked, answers = batch_files(tmp_path)
    found = import_rows(tmp_path, asked, answers)
    assert [row["logged"]["response"] for row in found] == ["Answer 1", None]
    assert found[0]["logged"]["prompt_tokens"] == 11
    out = capsys.readouterr().out
    assert "left out: the request failed (1)" in out
    (line,) = (line for line in out.splitlines() if line.startswith("gpt"))
    assert line.split()[1:3] + line.split()[-1:] == ["2", "1", "-"], "a batch says nothing of its costs, which is not 0"
    with pytest.raises(DataError, match="gave a prompt, so nothing was written"):
        import_rows(tmp_path, answers)


def test_responses_api_in_a_batch() -> None:
    """https://platform.openai.com/docs/api-reference/responses/object"""
    text = [{"type": "output_text", "text": "Answer"}]
    body: Row = {"output": [{"type": "reasoning", "summary": []}, {"type": "message", "role": "assistant", "content": text}]}
    body |= {"usage": {"input_tokens": 5, "output_tokens": 2}}
    row = {"custom_id": "c", "url": "/v1/responses", "body": {"model": "gpt-5", "input": "Why?"}}
    (turn,) = LogReader({"c": body}).read(row, str(find_log_format(row)))
    assert isinstance(turn, LoggedTurn)
    assert (turn.messages, turn.response) == (({"role": "user", "content": "Why?"},), "Answer")
    assert (turn.prompt_tokens, turn.completion_tokens) == (5, 2)


def test_fine_tuning_files_bring_references(tmp_path: Path) -> None:
    """https://platform.openai.com/docs/api-reference/fine-tuning/chat-input and /preference-input"""
    chat = {"messages": [*messages_of(0), {"role": "assistant", "content": "Right"}]}
    preferred = {"input": {"messages": messages_of(1)}, "preferred_output": [{"role": "assistant", "content": "Good"}],
                 "non_preferred_output": [{"role": "assistant", "content": "Bad"}]}  # fmt: skip
    found = import_rows(tmp_path, write_rows(tmp_path / "tune.jsonl", [chat, preferred]))
    assert [(row["messages"], row["answer"]) for row in found] == [(messages_of(0), "Right"), (messages_of(1), "Good")]
    assert all(row["logged"]["model"] is None and row["logged"]["response"] is None for row in found)


def test_a_conversation_without_a_session_is_one_group(tmp_path: Path) -> None:
    first = messages_of(0)
    later = [*first, {"role": "assistant", "content": "Answer 0"}, {"role": "user", "content": "And in French?"}]
    rows = [pair_row(0), pair_row(0) | {"request": {"model": "gpt-5", "messages": later}}, pair_row(1)]
    found = import_rows(tmp_path, write_rows(tmp_path / "log.jsonl", [row | {"metadata": None} for row in rows]))
    assert found[0]["group"] == found[1]["group"] != found[2]["group"]


def test_the_same_request_counts_once_and_images_are_not_redacted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    image = pair_row(2) | {"request": {"model": "gpt-5", "messages": [{"role": "user", "content": parts}]}}
    log = write_rows(tmp_path / "log.jsonl", [pair_row(0), pair_row(0), image])
    found = import_rows(tmp_path, log)
    assert len(found) == 2
    assert found[1]["images"] == ["data:image/png;base64,AAAA"]
    assert "the same request to the same model again (1)" in capsys.readouterr().out
    assert len(import_rows(tmp_path, log, "--redact")) == 1
    assert "images cannot be redacted (1)" in capsys.readouterr().out


def test_a_reference_model_that_answered_nothing_is_an_error(tmp_path: Path) -> None:
    log = write_rows(tmp_path / "l.jsonl", [pair_row(0)])
    with pytest.raises(DataError, match=r"no answer of it is in these logs.*they have answers of .*--labels rubric"):
        main([str(log), "--output", str(tmp_path / "a.jsonl"), "--reference-model", "other"])
    assert not (tmp_path / "a.jsonl").exists()


def test_clear_words_for_what_cannot_be_done(tmp_path: Path) -> None:
    log, results = write_rows(tmp_path / "l.jsonl", [pair_row(0)]), tmp_path / "r.jsonl"
    write_rows(results, [{"prompt": "q", "model": "m", "score": 1}])
    with pytest.raises(DataError, match="import one kind at a time"):
        import_rows(tmp_path, log, results)
    with pytest.raises(ConfigError, match=r"logs become prompts, which are written as \.jsonl"):
        main([str(log), "--output", str(tmp_path / "a.json")])
    with pytest.raises(ConfigError, match=r"results become records, which are written as \.json"):
        main([str(results), "--output", str(tmp_path / "a.jsonl")])
    with pytest.raises(ConfigError, match="Stage 1 splits prompts itself"):
        main([str(log), "--output", str(tmp_path / "a.jsonl"), "--test-output", str(tmp_path / "b.json")])


@pytest.mark.parametrize(
    "value", [None, 1, [], [1], [[]], {}, "", [{"role": "x", "content": 1}], [{"role": "user", "content": 7}]]
)
@pytest.mark.parametrize("field", ["messages", "response", "proxy_server_request", "metadata"])
def test_odd_values_end_nothing(field: str, value: Any) -> None:
    for found in turns(litellm_row(0) | {field: value}):
        assert isinstance(found, LoggedTurn | LeftOut)


@pytest.mark.parametrize(
    "value", [1, "x", [1], [[]], {"name": 5}, [{"name": "gen_ai.choice", "attributes": 5}], {"scopeSpans": 3}]
)
@pytest.mark.parametrize("field", ["events", "attributes", "attributes.events", "resourceSpans"])
def test_odd_values_of_spans_end_nothing(field: str, value: Any) -> None:
    inner = {"kvlistValue": {"values": value}}, {"arrayValue": value}, [{"key": "a", "value": {"kvlistValue": value}}]
    for one in (value, [value], *inner):
        for found in turns({"attributes": {}, field: one}):
            assert isinstance(found, LoggedTurn | LeftOut)


@pytest.mark.parametrize(
    ("answer", "told"),
    [({"response": {"status_code": 246, "body": {}}}, None), ({"response": "busy"}, "failed"), ({"response": None}, "failed"),
     ({"response": {"status_code": "x"}}, "failed"), ({"response": {"status_code": 500, "body": {}}}, "failed")],
)  # fmt: skip
def test_lines_of_a_batch_tell_a_success_or_none(answer: Row, told: str | None) -> None:
    (found,) = read_batch_answers([{"custom_id": "c", **answer}]).values()
    assert (found == {}) if told is None else told in str(found)
    assert read_batch_answers([answer]), "a line without an id is nobody's answer"


def test_an_answer_of_a_batch_among_other_rows_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = import_rows(tmp_path, write_rows(tmp_path / "a.jsonl", [pair_row(0), {"custom_id": "c", "response": {}}]))
    assert len(found) == 1
    assert "left out: an answer of a batch in a file of other rows (1)" in capsys.readouterr().out


def test_a_deeply_nested_span_ends() -> None:
    value: Any = "x"
    for _ in range(200):
        value = {"a": [value]}
    assert "no model call" in reason({"attributes": {"llm": value}})


@pytest.mark.parametrize(
    "piece", ["DE89 3704 ", "DE89", "sk-", "ask-", "http://a:", "(415) ", "a@", "-----BEGIN PRIVATE KEY-----"]
)
def test_text_made_to_be_slow_ends(piece: str) -> None:
    """Time grows with length, not with its square: the suite's time limit would end it otherwise (docs/logs.md has figures)."""
    assert load_redactor()(piece * (50_000 // len(piece)))


ASKED, ANSWERED = {"role": "user", "content": "q?"}, {"role": "assistant", "content": "A1"}
REASONED = [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "A1"}]
OTHER_LOGS: dict[str, Row] = {
    # https://docs.litellm.ai/docs/proxy/logging_spec
    "LiteLLM's standard logging payload": {
        "id": "r",
        "call_type": "acompletion",
        "model": "m",
        "status": "success",
        "response_cost": 0.01,
        "messages": [ASKED],
        "response": {"choices": [{"message": ANSWERED}]},
    },
    # https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-events/ (1.28: an event a message)
    "OpenTelemetry, a message an event": {
        "attributes": {"gen_ai.request.model": "m"},
        "events": [
            {"name": "gen_ai.user.message", "attributes": {"content": "q?"}},
            {"name": "gen_ai.choice", "attributes": {"message": json.dumps(ANSWERED)}},
        ],
    },
    # https://logfire.pydantic.dev/docs/integrations/llms/openai/
    "events printed in an attribute": {
        "attributes": {
            "gen_ai.request.model": "m",
            "events": json.dumps(
                [
                    {"event.name": "gen_ai.user.message", "content": "q?"},
                    {"event.name": "gen_ai.choice", "message": ANSWERED},
                ]
            ),
        }
    },
    "OpenTelemetry, reasoning beside the text": {
        "attributes": {
            "gen_ai.request.model": "m",
            "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "q?"}]}],
            "gen_ai.output.messages": [{"role": "assistant", "parts": REASONED}],
        }
    },
    # https://github.com/traceloop/openllmetry: content is a text, or parts printed as JSON
    "parts printed as JSON": {
        "attributes": {
            "gen_ai.request.model": "m",
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": json.dumps([{"type": "text", "text": "q?"}]),
            "gen_ai.completion.0.content": "A1",
        }
    },
    # https://ai-sdk.dev/docs/ai-sdk-core/telemetry
    "Vercel's AI SDK": {
        "attributes": {
            "gen_ai.request.model": "m",
            "ai.prompt.messages": json.dumps([{"role": "user", "content": [{"type": "text", "text": "q?"}]}]),
            "ai.response.text": "A1",
        }
    },
    # https://docs.helicone.ai/features/datasets
    "bodies of request and response": {
        "request_body": {"model": "m", "messages": [ASKED]},
        "response_body": {
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "A1"}],
            "role": "assistant",
        },
    },
}


@pytest.mark.parametrize("name", OTHER_LOGS)
def test_other_writers_of_the_formats_are_read(name: str) -> None:
    (turn,) = turns(OTHER_LOGS[name])
    assert isinstance(turn, LoggedTurn)
    assert (turn.messages, turn.model, turn.response) == (({"role": "user", "content": "q?"},), "m", "A1")


@pytest.mark.parametrize(
    "row",
    [
        {"request": {"model": "m", "system": "S", "messages": [ASKED]}, "response": {"content": "A1"}},
        {"request": {"model": "m", "system": [{"type": "text", "text": "S"}], "messages": [ASKED]}, "response": {}},
        {"custom_id": "1", "body": {"model": "m", "instructions": "S", "input": "q?"}},
        litellm_row(0) | {"messages": "", "proxy_server_request": {"system": "S", "messages": [ASKED]}},
        {
            "attributes": {
                "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "S"}]),
                "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "q?"}]}],
            }
        },
    ],
    ids=["Anthropic", "Anthropic's parts", "responses", "LiteLLM", "OpenTelemetry"],
)
def test_a_system_prompt_in_a_field_of_its_own_leads(row: Row) -> None:
    (turn,) = turns(row)
    assert isinstance(turn, LoggedTurn)
    assert turn.messages == ({"role": "system", "content": "S"}, {"role": "user", "content": "q?"})
