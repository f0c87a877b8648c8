"""Requests of apps and agents, and what must be seen in them: for the library and for both servers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # 1 by 1, PNG
PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}


@dataclass(frozen=True)
class RequestCase:
    """A request's body as an API takes it; its model and ``max_tokens`` are left to the test."""

    name: str
    api: str
    body: dict[str, Any]
    needs: frozenset[str] = frozenset()
    prompt: str | None = None
    images: int = 0
    unseen: int = 0
    tokens: int = 0
    """It has this many at least."""
    most_tokens: int = 10**9
    context: str | None = None
    session: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    is_bound: bool = False
    """Only the model that made a part of it can read that."""

    @property
    def is_plain(self) -> bool:
        """Can it be sent: does it hold no objects of an SDK?"""
        try:
            json.dumps(self.body)
        except TypeError:
            return False
        return True


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": name, "input": arguments}]}


def result(content: Any, *beside: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": content}, *beside]}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": parts[0] if len(parts) == 1 and isinstance(parts[0], str) else list(parts)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def reminder(words: str) -> dict[str, Any]:
    return text(f"<system-reminder>{words}</system-reminder>")


ANTHROPIC_PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
CHAT_PIXEL = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
ANTHROPIC_TOOL = {"name": "read", "input_schema": {"type": "object"}}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "p", "schema": {"type": "object"}}}
RENAME = "rename foo to bar in util.py"
LOOP_BEGIN: dict[str, Any] = {"messages": [user(RENAME)], "tools": [ANTHROPIC_TOOL]}
TOOLS, IMAGE = frozenset(["tools"]), frozenset(["image"])
OUTPUT = {"type": "function_call_output", "call_id": "c1"}
SHOT = {"type": "function_call", "call_id": "c1", "name": "shot", "arguments": "{}"}

CASES = [
    RequestCase("harness text beside a tool result", "messages", {
        "messages": [user(RENAME), call("read", path="util.py"), result("def foo(): ...", reminder("The list is empty."))],
        "tools": [ANTHROPIC_TOOL],
    }, TOOLS, RENAME),
    RequestCase("harness text before the question", "messages", {
        "messages": [user(reminder("keep these notes in mind. " * 60), text("rename foo to bar"))],
    }, prompt="rename foo to bar"),
    RequestCase("image inside a tool result", "messages", {
        "messages": [user("what is on the screenshot?"), call("shot"), result([ANTHROPIC_PIXEL])], "tools": [ANTHROPIC_TOOL],
    }, TOOLS | IMAGE, "what is on the screenshot?", images=1),
    RequestCase("image in a function output", "responses", {
        "input": [user("describe it"), SHOT, OUTPUT | {"output": [
            {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
        ]}],
    }, TOOLS | IMAGE, "describe it", images=1),
    RequestCase("image by file id", "responses", {
        "input": [user({"type": "input_text", "text": "what is this?"}, {"type": "input_image", "file_id": "file-abc"})],
    }, IMAGE, "what is this?", unseen=1),
    RequestCase("document", "chat", {"messages": [user(
        text("summarise"),
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    )]}, frozenset(["pdf"]), "summarise"),
    RequestCase("document of Anthropic's", "messages", {"messages": [user(
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        text("summarise"),
    )]}, frozenset(["pdf"]), "summarise"),
    RequestCase("audio", "chat", {"messages": [user(
        text("transcribe"), {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    )]}, frozenset(["audio"]), "transcribe"),
    RequestCase("structured output", "chat", {
        "messages": [user("Give name and age")], "response_format": SCHEMA,
    }, frozenset(["json_schema"]), "Give name and age"),
    RequestCase("structured output of responses", "responses", {
        "input": "Give name and age",
        "text": {"format": {"type": "json_schema", "name": "p", "schema": {"type": "object"}}},
    }, frozenset(["json_schema"]), "Give name and age"),
    RequestCase("tools", "chat", {
        "messages": [user("Weather in Oslo?")], "tools": [CHAT_TOOL],
    }, TOOLS, "Weather in Oslo?"),
    RequestCase("parallel tools", "chat", {
        "messages": [user("Weather in Oslo and Rome?")], "tools": [CHAT_TOOL], "parallel_tool_calls": True,
    }, TOOLS | {"parallel_tools"}, "Weather in Oslo and Rome?"),
    RequestCase("reasoning", "responses", {
        "input": "Prove it.", "reasoning": {"effort": "high"},
    }, frozenset(["reasoning"]), "Prove it."),
    RequestCase("long system prompt counts for the window", "chat", {
        "messages": [{"role": "system", "content": "rule. " * 70_000}, user("hi")],
    }, prompt="hi", tokens=60_000),
    RequestCase("unknown role in the history", "chat", {
        "messages": [{"role": "ipython", "content": "42"}, user("so?")],
    }, prompt="so?"),
    RequestCase("image with white space", "chat", {"messages": [user(
        text("?"), {"type": "image_url", "image_url": {"url": f"data:image/png; base64, {PIXEL}"}},
    )]}, IMAGE, "?", images=1),
    RequestCase("image in url-safe base64", "messages", {"messages": [user(text("?"), {
        "type": "image", "source": {"type": "base64", "data": PIXEL.replace("+", "-").replace("/", "_")},
    })]}, IMAGE, "?", images=1),
]  # fmt: skip

WRONG_FORMS: list[tuple[dict[str, Any], str]] = [
    ({"messages": "hi"}, "messages must be a list, got a string"),
    ({"messages": {"role": "user", "content": "hi"}}, "messages must be a list, got an object"),
    ({"messages": 5}, "messages must be a list, got a number"),
    ({"messages": ["hi"]}, "messages[0] must be an object, got a string"),
    ({"messages": [{"role": "user", "content": "hi"}, None]}, "messages[1] must be an object, got NoneType"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content must be a string or a list, got a number"),
    ({"messages": [{"role": "user", "content": True}]}, "messages[0].content must be a string or a list, got a boolean"),
    ({"messages": [{"role": "user", "content": [None]}]}, "messages[0].content must be a list of objects"),
    ({"messages": [{"role": "assistant", "tool_calls": 5}]}, "messages[0].tool_calls must be a list of objects"),
    ({"messages": [{"role": "assistant", "tool_calls": [5]}]}, "messages[0].tool_calls must be a list of objects"),
    ({"tools": "x"}, "tools must be a list of objects, got a string"),
    ({"tools": [5]}, "tools must be a list of objects"),
    ({"tools": [{"type": "function"}]}, "tools[0].function must be an object"),
    ({"tools": [{"type": "web_search"}, {"type": "function", "function": "f"}]}, "tools[1].function must be an object"),
    ({"allowed_openai_params": 5}, "allowed_openai_params must be a list of names, got a number"),
    ({"allowed_openai_params": [{}]}, "allowed_openai_params must be a list of names"),
    ({"tools": 5}, "tools must be a list of objects, got a number"),
    ({"web_search_options": 5}, "web_search_options must be an object, got a number"),
    ({"response_format": 5}, "response_format must be an object, got a number"),
    ({"extra_headers": 5}, "extra_headers must be an object, got a number"),
    ({"timeout": "x"}, "timeout must be a number of seconds above 0"),
    ({"timeout": float("inf")}, "timeout must be a number of seconds above 0"),
    ({"timeout": 0}, "timeout must be a number of seconds above 0"),
    ({"api_key": "sk-of-the-client"}, "api_key cannot be given"),
    ({"aws_secret_access_key": "x", "vertex_project": "y"}, "aws_secret_access_key, vertex_project cannot be given"),
    ({"extra_headers": {"Authorization": "Bearer x"}}, "extra_headers.Authorization cannot be given"),
]
"""Requests, over a good one, that no model can answer; and what is said of them."""
