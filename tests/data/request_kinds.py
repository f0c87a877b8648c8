"""More requests of apps, agents and libraries, and what must be read in each: those of a JSONL, and some it cannot hold."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

from tests.serve.request_cases import IMAGE, OUTPUT, PIXEL, TOOLS, RequestCase, call, result, text, user


class Reply:
    """An object of an SDK, as people append it to their messages."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def model_dump(self) -> dict[str, Any]:
        return self._values


def read_kinds() -> list[RequestCase]:
    lines = Path(__file__).with_suffix(".jsonl").read_text(encoding="utf-8").replace("PIXEL", PIXEL).splitlines()
    rows = map(json.loads, lines)
    return [RequestCase(**row | {"needs": frozenset(row.get("needs", []))}) for row in rows]


def document(media_type: str, kind: str, data: str) -> dict[str, Any]:
    return {"type": "document", "source": {"type": kind, "media_type": media_type, "data": data}}


WORDS, WEATHER, HI = "word " * 20_000, user("Weather?"), user("hi")
CALL = {"id": "f", "type": "function", "function": {"name": "f", "arguments": "{}"}}
LONG_PIXEL = PIXEL.rstrip("=") + "A" * 400_001
PLOT = f"data:image/png;base64,{LONG_PIXEL}"
LARGE = {"type": "image", "source": {"type": "base64", "data": LONG_PIXEL}}
NOTES = "data:text/plain;base64," + b64encode(WORDS.encode()).decode()
PREDICTION = {"type": "content", "content": WORDS}

KINDS = [
    *read_kinds(),
    RequestCase("objects of an SDK, chat", "chat", {"messages": [
        WEATHER, Reply(role="assistant", content=None, tool_calls=[CALL]), {"role": "tool", "content": "20"},
    ]}, TOOLS, "Weather?"),
    RequestCase("objects of an SDK, messages", "messages", {"messages": [
        WEATHER, {"role": "assistant", "content": [Reply(type="tool_use", id="t1", name="f", input={})]}, result("20"),
    ]}, TOOLS, "Weather?"),
    RequestCase("objects of an SDK, responses", "responses", {"input": [
        WEATHER, Reply(type="function_call", call_id="c1", name="f", arguments="{}"), OUTPUT | {"output": "20"},
    ]}, TOOLS, "Weather?"),
    RequestCase("a document of plain text", "messages", {
        "messages": [user(document("text/plain", "text", WORDS), text("?"))],
    }, prompt="?", tokens=15_000),
    RequestCase("a large PDF is not text", "messages", {
        "messages": [user(document("application/pdf", "base64", "JVBERi0x" * 50_000), text("?"))],
    }, frozenset(["pdf"]), "?", tokens=5_000, most_tokens=100_000),
    RequestCase("a large image is not text", "messages", {
        "messages": [user("see"), call("f"), result([LARGE])],
    }, TOOLS | IMAGE, "see", images=1, most_tokens=3_000),
    RequestCase("a predicted answer counts", "chat", {
        "messages": [HI], "prediction": PREDICTION,
    }, prompt="hi", tokens=15_000),
    RequestCase("calls and their results count", "chat", {"messages": [
        WEATHER, {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": WORDS}}]},
        {"role": "tool", "tool_call_id": "f", "content": WORDS},
    ]}, TOOLS, "Weather?", tokens=30_000),
    RequestCase("what a shell printed counts", "responses", {"input": [
        user("list"), {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}},
        {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": WORDS, "stderr": ""}]},
    ]}, TOOLS, "list", tokens=15_000),
    RequestCase("what a sandbox printed counts", "messages", {"messages": [
        user("list"), {"role": "assistant", "content": [
            {"type": "server_tool_use", "id": "s", "name": "bash", "input": {}},
            {"type": "bash_code_execution_tool_result", "tool_use_id": "s", "content": {"stdout": WORDS, "return_code": 0}},
        ]}, user("more"),
    ]}, TOOLS, "more", tokens=15_000),
    RequestCase("a plot of the code interpreter's is an image, its logs are text", "responses", {"input": [
        user("plot"), {"type": "code_interpreter_call", "id": "c", "code": "plot()", "container_id": "k", "outputs": [
            {"type": "logs", "logs": WORDS}, {"type": "image", "url": PLOT},
        ]}, {"type": "message", "role": "assistant", "content": "done"}, user("in red?"),
    ]}, TOOLS | IMAGE, "in red?", images=1, tokens=15_000, most_tokens=40_000),
    RequestCase("an attachment of plain text", "chat", {"messages": [{
        "role": "user", "content": "sum up", "experimental_attachments": [
            {"name": "a.txt", "contentType": "text/plain", "url": NOTES},
        ],
    }]}, prompt="sum up", tokens=15_000),
    RequestCase("values of a stored prompt count", "responses", {
        "prompt": {"id": "pmpt_1", "variables": {"notes": WORDS}}, "input": "sum up",
    }, prompt="sum up", tokens=15_000),
]  # fmt: skip
