"""What is read from requests of every API, and that it is what Stage 1 reads from the same conversation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from auto_router.collect.source import Source
from auto_router.data.conversation import conversation_input, turns_of
from auto_router.data.images import image_bytes
from auto_router.decide.rule import Decision
from auto_router.errors import DataError
from auto_router.serve.chat import ALIASES, Request, as_chat, decision_plain, request_of
from tests.fakes import BLACK, say


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def picture(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url} | more}


TURNS = [say("system", "Be brief."), say("user", "Say cat."), say("assistant", "Katze"), user(text("And dog?"), picture(BLACK))]


def test_chat_requests_as_clients_send_them() -> None:
    assert request_of({"messages": [say("user", " Hi?\n")]}) == Request(" Hi?\n")
    assert request_of(
        {"messages": [user(text("a"), picture("https://x/y.png", detail="high"), text("b"))], "model": "gpt-9"}
    ) == (Request("a\nb", ("https://x/y.png",)))
    assert request_of({"messages": TURNS, "model": "auto-economy", "stream": True, "x": 1}) == Request(
        "User: Say cat.\n\nAssistant: Katze\n\nUser: And dog?", (BLACK,), "economy"
    )
    marked = {"type": "text", "text": "cached", "cache_control": {"type": "ephemeral"}}
    assert request_of({"messages": [say("developer", "Be brief."), user(marked)]}) == Request("cached")
    assert request_of({"messages": [user(picture(BLACK))]}) == Request("", (BLACK,))


def test_a_tool_loop_is_decided_as_the_question_that_began_it() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]}
    loop = [say("user", "How warm is it?"), call, {"role": "tool", "tool_call_id": "1", "content": "20"}]
    assert request_of({"messages": loop}) == Request("How warm is it?")


def test_other_apis_ask_the_same() -> None:
    expected = request_of({"messages": [user(text("What is it?"), picture(BLACK))]})
    encoded = BLACK.partition(",")[2]
    source = {"type": "base64", "media_type": "image/png", "data": encoded}
    anthropic = {"system": "x", "messages": [user(text("What is it?"), {"type": "image", "source": source})]}
    assert request_of(anthropic) == Request("What is it?", (encoded,))
    assert image_bytes(encoded) == image_bytes(BLACK)
    parts = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": BLACK}]
    responses = {"input": [{"type": "reasoning", "summary": []}, user(*parts)]}
    assert request_of(responses) == expected
    assert request_of({"input": "Hi"}) == Request("Hi")
    assert request_of({"text": "What is it?", "images": [BLACK]}) == expected
    assert request_of({"text": " a ", "operating_point": "quality"}) == Request(" a ", (), "quality")
    assert {alias: request_of({"input": "x", "model": alias}).operating_point for alias in ALIASES} == ALIASES


@pytest.mark.parametrize(
    "body",
    [
        None, [], "hi", {}, {"messages": None}, {"messages": []}, {"messages": [1]}, {"messages": [say("king", "x")]},
        {"messages": [say("user", " ")]}, {"messages": [say("assistant", "x")]}, {"input": 5}, {"input": []}, {"text": 5},
        {"text": ""}, {"text": "x", "images": "y"}, {"text": "x", "operating_point": "cheap"},
        {"messages": [{"role": "user", "content": 5}]}, {"messages": {"role": "user"}},
    ],
)  # fmt: skip
def test_what_asks_nothing_is_one_error(body: Any) -> None:
    with pytest.raises(DataError):
        request_of(body)


def test_serving_and_stage_1_read_a_conversation_alike(tmp_path: Path) -> None:
    row = {"messages": [*TURNS, say("assistant", "Hund")]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (question,) = Source(str(tmp_path / "rows.jsonl")).questions()
    served = request_of({"messages": TURNS})
    assert question.prompt == served.text
    assert list(question.images) == [image_bytes(image) for image in served.images]
    assert conversation_input(turns_of(TURNS)) == (served.text, served.images)


def test_a_decision_is_json_whatever_its_numbers() -> None:
    made = Decision("a", {"a": math.nan, "b": 0.5}, ("b",), "fallback", ("a", "b"), None, math.inf)
    told = json.loads(json.dumps(decision_plain(made, 2), allow_nan=False))
    assert told["probabilities"] == {"a": None, "b": 0.5}
    assert (told["novelty"], told["unseen_pictures"], told["ranking"]) == (None, 2, ["a", "b"])


def test_as_chat_is_idempotent() -> None:
    for body in ({"input": "Hi"}, {"text": "Hi", "images": [BLACK], "operating_point": "economy"}, {"messages": TURNS}):
        assert as_chat(as_chat(body)) == as_chat(body)
