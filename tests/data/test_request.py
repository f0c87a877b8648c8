"""What is read from requests of every API, and that it is what Stage 1 reads from the same conversation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auto_router.collect.source import Source
from auto_router.data.conversation import context_weight, conversation_input, turns_of
from auto_router.data.harness import person_text
from auto_router.data.images import image_bytes
from auto_router.data.request import ALIASES, Request, messages_of, read_request
from auto_router.data.session_id import session_of
from auto_router.data.tokens import estimate_image_tokens, estimate_tokens
from auto_router.errors import DataError
from tests.data.request_kinds import KINDS
from tests.fakes import BLACK, say
from tests.serve.request_cases import CASES, LOOP_BEGIN, RequestCase, call, reminder, result, text, user


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url} | more}


TURNS = [say("system", "Be brief."), say("user", "Say cat."), say("assistant", "Katze"), user(text("And dog?"), image(BLACK))]


@pytest.mark.parametrize("case", [*CASES, *KINDS], ids=lambda case: case.name)
def test_requests_as_apps_and_agents_send_them(case: RequestCase) -> None:
    read = read_request(case.body, case.headers)
    assert read.demands == case.needs
    assert case.prompt is None or read.text == case.prompt
    assert case.context is None or read.context == case.context
    assert (len(read.images), read.unseen_images) == (case.images, case.unseen)
    assert [len(image_bytes(one)) > 60 for one in read.images] == [True] * case.images
    assert case.tokens <= read.tokens <= case.most_tokens
    assert (read.session, read.keeps_maker) == (case.session, case.is_bound)


def test_a_tool_loop_keeps_the_request_that_began_it() -> None:
    begin, loop = read_request(LOOP_BEGIN), read_request(CASES[0].body)
    assert (loop.text, loop.context, loop.digest) == (begin.text, begin.context, begin.digest)
    assert loop.fingerprints[1] == begin.fingerprints[0], "the same conversation, one step on"
    chat = {"messages": [say("user", "How warm is it?"), {"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f"}},
    ]}, {"role": "tool", "tool_call_id": "1", "content": "20"}]}  # fmt: skip
    assert (read_request(chat).text, read_request(chat).context) == ("How warm is it?", "")
    followed = read_request(
        {"messages": [*CASES[0].body["messages"], say("assistant", "Done."), say("user", "and the tests?")]}
    )
    assert followed.text == "and the tests?"
    assert "reminder" not in followed.context
    assert followed.context.startswith("User: rename foo")


def test_chat_requests_as_clients_send_them() -> None:
    assert read_request({"messages": [say("user", " Hi?\n")]}) == Request(" Hi?\n")
    url = "https://x/y.png"
    seen = read_request({"messages": [user(text("a"), image(url, detail="high"), text("b"))], "model": "gpt-9"})
    assert (seen.text, seen.images, seen.urls) == ("a\nb", (url,), (url,))
    assert seen.without(seen.urls) == Request("a\nb", needs=frozenset(["image"]), unseen_images=1)
    read = read_request({"messages": TURNS, "model": "auto-economy", "stream": True, "x": 1})
    assert (read.text, read.images, read.operating_point) == ("And dog?", (BLACK,), "economy")
    assert read.context == "User: Say cat.\n\nAssistant: Katze\n\nUser: And dog?"
    marked = {"type": "text", "text": "cached", "cache_control": {"type": "ephemeral"}}
    assert read_request({"messages": [say("developer", "Be brief."), user(marked)]}) == Request("cached")
    assert read_request({"messages": [user(image(BLACK))]}).text == ""


def test_other_apis_ask_the_same() -> None:
    expected = read_request({"messages": [user(text("What is it?"), image(BLACK))]})
    encoded = BLACK.partition(",")[2]
    source = {"type": "base64", "media_type": "image/png", "data": encoded}
    anthropic = read_request({"system": "x", "messages": [user(text("What is it?"), {"type": "image", "source": source})]})
    assert (anthropic.text, anthropic.images, anthropic.needs) == (expected.text, (encoded,), expected.needs)
    assert image_bytes(encoded) == image_bytes(BLACK)
    parts = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": BLACK}]
    assert read_request({"input": [{"type": "reasoning", "summary": []}, user(*parts)]}) == expected
    assert read_request({"input": "Hi"}) == Request("Hi")
    assert read_request({"text": "What is it?", "images": [BLACK]}).demands == expected.demands
    assert read_request({"text": " a ", "operating_point": "quality"}) == Request(" a ", (), "quality")
    assert read_request({"text": "a", "models": ["x"], "session": "s"}).models == ("x",)
    assert read_request({"text": "a", "model_thresholds": {"x": 1}}).thresholds == (("x", 1.0),)
    assert {alias: read_request({"input": "x", "model": alias}).operating_point for alias in ALIASES} == ALIASES


@pytest.mark.parametrize(
    "body",
    [
        None, [], "hi", {}, {"messages": None}, {"messages": []}, {"messages": [1]}, {"messages": [say("king", "x")]},
        {"messages": [say("user", " ")]}, {"messages": [say("assistant", "x")]}, {"input": 5}, {"input": []}, {"text": 5},
        {"text": ""}, {"text": "x", "images": "y"}, {"text": "x", "operating_point": "cheap"}, {"text": "x", "modles": ["a"]},
        {"text": "x", "models": []}, {"text": "x", "models": "a"}, {"text": "x", "session": 5},
        {"text": "x", "model_thresholds": {"a": 1.5}}, {"text": "x", "model_thresholds": {"a": True}},
        {"text": "x", "model_thresholds": ["a"]},
        {"messages": [{"role": "user", "content": 5}]}, {"messages": {"role": "user"}},
    ],
)  # fmt: skip
def test_what_asks_nothing_is_one_error(body: Any) -> None:
    with pytest.raises(DataError):
        read_request(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20)
    | st.sampled_from(["user", "tool_result", "image", "input_image", "function_call_output", "document", "thinking"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["role", "content", "type", "text", "image_url", "source", "data", "url", "output", "tool_calls",
                         "file", "metadata", "session_id", "input", "messages", "tools", "thinking", "max_tokens"]),
        inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=40)
@given(JSON, st.sampled_from(["messages", "input"]))
def test_whatever_a_client_sends_is_read_or_refused(value: Any, field: str) -> None:
    for body in (value, {field: value}, {field: [say("user", "x"), value]}, {field: [{"role": "user", "content": value}]}):
        try:
            read = read_request(body)
        except DataError:
            continue
        assert isinstance(read.text, str)
        assert read.tokens >= 0
        assert len(read.image_sizes) == len(read.images) + read.unseen_images


def test_serving_and_stage_1_read_a_conversation_alike(tmp_path: Path) -> None:
    row = {"messages": [*TURNS, say("assistant", "Hund")]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (question,) = Source(str(tmp_path / "rows.jsonl")).questions()
    served = read_request({"messages": TURNS})
    assert (question.prompt, question.context) == (served.text, served.context)
    assert list(question.images) == [image_bytes(image) for image in served.images]
    assert conversation_input(turns_of(TURNS)) == (served.text, served.images, served.context)


@pytest.mark.parametrize(
    ("text", "person"),
    [
        ("plain", "plain"), ("a < b and b > c", "a < b and b > c"), ("<div>hi</div>", "<div>hi</div>"),
        ("<SessionProvider>x</SessionProvider> breaks", "<SessionProvider>x</SessionProvider> breaks"),
        ("<system-reminder>x</system-reminder>", ""), ("<system-reminder>x", "<system-reminder>x"),
        ("<ide_selection>x</ide_selection>\nfix it", "fix it"),
        ("<userInfo>mac</userInfo><userRequest>go</userRequest>", "go"),
        ("<environment_details>\n<b>x</b>\n</environment_details>go", "go"),
        ("<task>a</task><tool-result>b</tool-result>", "a"),
        ("<open_files>a.py</open_files>\ngo", "go"),
        ("<context-menu>x</context-menu> is empty", "<context-menu>x</context-menu> is empty"),
        ("<task>go</task>\n# task_progress List\n<environment_details>x</environment_details>", "go"),
        ("<tool_call_result name='a'>x</tool_call_result>", ""), ("<SYSTEM_REMINDER>x</SYSTEM_REMINDER>go", "go"),
        ("[Request interrupted by user]", ""), ("<user_query>hi</user_query><rules>x</rules>", "hi"),
        ("<local-command-stdout>ok</local-command-stdout>", ""), ("[1, 2] sorted?", "[1, 2] sorted?"),
    ],
)  # fmt: skip
def test_what_a_program_put_into_a_message_is_not_the_persons(text: str, person: str) -> None:
    assert person_text(text) == person


def test_a_megabyte_of_marks_is_read_in_bounded_time() -> None:
    for hostile in (
        "<a-system>" * 100_000,
        "<system-reminder>" * 60_000,
        "</tool-result>" * 100_000,
        "<task>" * 100_000,
        "# Context from my IDE setup:" + " \n" * 300_000,
        "<system-reminder>\nThe user sent the following message:\n" * 15_000,
        "<system-reminder>\nThe user sent the following message:\n" + "\n" * 10**6,
        "<system-reminder>\nThe user sent the following message:\n" + "\nPlease address this message" * 35_000,
        "Sender (untrusted metadata):\n```json\n" * 25_000,
        "[" * 10**6,
        "<" * 10**6,
    ):
        assert isinstance(person_text(hostile), str)


def test_a_reminder_without_its_note_is_a_programs() -> None:
    message = "<system-reminder>\nThe user sent the following message:\nAdd a test.{}\n</system-reminder>\nGo on."
    note = "\n\nPlease address this message and continue with your tasks."
    assert person_text("\n" + message.format(note)).split() == ["Add", "a", "test.", "Go", "on."]
    assert person_text("\n" + message.format("")) == "Go on."


def test_sessions_are_named_where_apis_name_them() -> None:
    uuid = "0a1b2c3d-0000-4000-8000-000000000000"
    for body in (
        {"session_id": uuid}, {"metadata": {"session_id": uuid}}, {"conversation": uuid}, {"conversation": {"id": uuid}},
        {"litellm_session_id": uuid}, {"metadata": {"user_id": f"user_abc_account__session_{uuid}"}},
        {"metadata": {"user_id": json.dumps({"device": "x", "session_id": uuid})}},
        {"metadata": {"user_id": {"session_id": uuid}}},
    ):  # fmt: skip
        assert session_of(body) == uuid, body
    for name in ("X-Session-Id", "x-auto-router-session", "x-litellm-session-id", "x-claude-code-session-id"):
        assert session_of({}, {name: uuid}) == uuid
    assert session_of({"metadata": {"user_id": "alice"}, "session_id": True}, {"x-request-id": uuid}) is None
    assert session_of({"chat_id": 5}) == "5"


def test_turns_tell_a_conversation_from_others_that_began_alike() -> None:
    begin = [say("user", "Hi")]
    one, other = ([*begin, say("assistant", reply), say("user", "go on")] for reply in ("Hello!", "Good day!"))
    first, second = read_request({"messages": one}), read_request({"messages": other})
    assert first.fingerprints[1] == second.fingerprints[1] == read_request({"messages": begin}).fingerprints[0]
    assert first.fingerprints[0] != second.fingerprints[0]
    changed = read_request({"messages": [user(reminder("new"), text("Hi")), *one[1:]]})
    assert changed.fingerprints == first.fingerprints, "what a harness adds makes no other conversation"


def test_what_only_its_maker_can_read_is_noted() -> None:
    signed = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "abc"}, text("Yes.")]}
    assert read_request({"messages": [say("user", "a"), signed, say("user", "b")]}).keeps_maker
    sealed = [user("a"), {"type": "reasoning", "summary": [], "encrypted_content": "abc"}, user("b")]
    assert read_request({"input": sealed}).keeps_maker
    assert not read_request({"messages": [*LOOP_BEGIN["messages"], call("read"), result("x")]}).keeps_maker
    followed = read_request(
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "42"}], "previous_response_id": "r"}
    )
    assert (followed.text, followed.previous_response) == ("", "r")


def test_tokens_are_counted_by_what_they_are_of() -> None:
    prose = "The committee will meet again next Tuesday to discuss the budget for the coming year. " * 100
    assert 0.15 < estimate_tokens(prose) / len(prose) < 0.30
    assert estimate_tokens("会议将在下周二再次讨论预算。" * 10) > 80
    base, tools = {"messages": [say("user", "hi")]}, [{"name": "f", "description": prose, "input_schema": {}}]
    plain, more = read_request(base).tokens, read_request(base | {"tools": tools}).tokens
    assert more - plain > 0.15 * len(prose)
    assert read_request(base | {"max_tokens": 9000}).tokens - plain == pytest.approx(9000 - 256)
    assert read_request(base | {"max_tokens": 10**400}).tokens > 10**8
    sizes = (None, (64, 48), (1024, 1024), (4000, 3000))
    assert [estimate_image_tokens(size, "openai") for size in sizes] == [1000.0, 255.0, 765.0, 1105.0 - 340.0]
    assert estimate_image_tokens((1092, 1092), "anthropic") == pytest.approx(1600, rel=0.02)


def test_the_history_is_what_was_said_beside_the_request() -> None:
    ask, prose = say("user", "and in French?"), "The committee will meet again next Tuesday. " * 100
    assert read_request({"messages": [ask]}).history_tokens == 0.0
    assert (
        read_request({"messages": [say("system", prose), ask], "tools": [{"name": "f", "description": prose}]}).history_tokens
        == 0
    )
    told = read_request({"messages": [say("user", prose), say("assistant", prose), ask]})
    assert 0.3 * len(prose) < told.history_tokens < told.tokens
    looped = read_request({"messages": [ask, say("assistant", "I look."), {"role": "tool", "content": prose}]})
    assert looped.history_tokens > 0.15 * len(prose), "results of tools are read by the model, too"


def test_a_request_of_few_words_leans_on_its_context() -> None:
    weights = [
        context_weight(words) for words in ("thanks!", "and in French?", "Write a function that reverses a linked list in C")
    ]
    assert weights[0] > weights[1] > weights[2] == 0.15
    assert context_weight("用法语写一个关于秋天的长故事吧朋友") < context_weight("谢谢")


@pytest.mark.parametrize("name", ["a.png", "/a/long/path/that/no/server/would/open/photo.png"])
@pytest.mark.parametrize("wrap", [lambda n: {"path": n}, lambda n: {"image": {"bytes": None, "path": n}}])
def test_an_image_that_is_only_a_path_is_unseen(name: str, wrap: Callable[[str], dict[str, Any]]) -> None:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image", **wrap(name)}]
    bodies = [
        {"messages": [{"role": "user", "content": parts}]},
        {"messages": [{"role": "user", "content": "?", "image": name}]},
    ]
    for request in map(read_request, bodies):
        assert (request.images, request.unseen_images) == ((), 1)


def test_an_image_beside_the_content_is_found_in_its_object() -> None:
    message = {"role": "user", "content": "?", "images": [{"url": "https://example.org/a"}]}
    assert read_request({"messages": [message]}).urls == ("https://example.org/a",)


@pytest.mark.parametrize("prompt", [["first question", "second question"], [1, 2, 3]])
def test_a_batch_of_prompts_or_tokens_is_refused_by_its_name(prompt: list[object]) -> None:
    with pytest.raises(DataError, match=r"prompt holds . parts, a batch or tokens"):
        messages_of({"prompt": prompt})


def test_one_content_of_gemini_needs_no_list() -> None:
    content = {"role": "user", "parts": [{"text": "hi"}]}
    assert messages_of({"contents": content}) == messages_of({"contents": [content]})
