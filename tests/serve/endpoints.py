"""A scripted endpoint on loopback, over the real protocols: chat completions, also streamed and with tools, and responses."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from tests.servers import free_port

MARKS = {
    "image": (b'"image_url"', b'"input_image"'),
    "tools": (b'"tools":[{', b'"tools": [{', b'"function_call_output"'),
    "pdf": (b'"file_data"', b'"input_file"', b"application/pdf"),
    "audio": (b'"input_audio"',),
    "json_schema": (b'"json_schema"',),
}
"""What in a body tells that it needs a capability."""


@dataclass
class Endpoint:
    """Answers ``NAME says hello``, or a call of the first tool; with 500 while ``down``, with 400 what it cannot do.

    ``bodies`` are what it was asked, ``callers`` the address and port that each came from: one connection, one port.
    """

    name: str
    port: int = 0
    down: bool = False
    can: frozenset[str] | None = None
    """Of ``MARKS``; None: everything."""
    refused: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    callers: list[tuple[str, int]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        data, more = b"", True
        while more:
            message = await receive()
            data, more = data + message.get("body", b""), message.get("more_body", False)
        if scope["path"] not in ("/v1/chat/completions", "/v1/responses"):
            return await _send(send, 404, {"error": {"message": f"no such path: {scope['path']}", "type": "not_found"}})
        body = json.loads(data)
        self.bodies.append(body)
        self.callers.append(scope["client"])
        if self.down:
            return await _send(send, 500, {"error": {"message": f"{self.name} is down", "type": "server_error"}})
        lacking = [need for need, marks in MARKS.items() if self.can is not None and need not in self.can
                   and any(mark in data for mark in marks)]  # fmt: skip
        if lacking:
            self.refused += 1
            said = f"{self.name} does not support {', '.join(lacking)}"
            return await _send(send, 400, {"error": {"message": said, "type": "invalid_request_error"}})
        if scope["path"] == "/v1/responses":
            return await self._respond(send, body)
        if body.get("stream"):
            return await self._stream(send, body)
        usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
        choice = {"index": 0, "message": self._message(body), "finish_reason": "tool_calls" if body.get("tools") else "stop"}
        whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"], "usage": usage}
        await _send(send, 200, whole | {"choices": [choice]})

    def _message(self, body: dict[str, Any]) -> dict[str, Any]:
        if not body.get("tools"):
            return {"role": "assistant", "content": f"{self.name} says hello"}
        function = {"name": body["tools"][0]["function"]["name"], "arguments": json.dumps({"who": self.name})}
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call-1", "type": "function", "function": function}],
        }

    async def _stream(self, send: Any, body: dict[str, Any], cut: bool = False) -> None:
        """Answer in pieces, tool calls too; ``cut``: the connection ends after the first."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        calls = [{"index": 0, **call} for call in self._message(body).get("tool_calls", [])]
        deltas: list[dict[str, Any]] = [{"content": word} for word in (self.name, " says", " hello")]
        for delta in [*([{"tool_calls": calls}] if calls else deltas), {}]:
            ended = None if delta else "tool_calls" if calls else "stop"
            choice = {"index": 0, "delta": {"role": "assistant", **delta} if delta else {}, "finish_reason": ended}
            chunk = f"data: {json.dumps(base | {'choices': [choice]})}\n\n".encode()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if cut:
                raise ConnectionError("cut")  # the server closes the connection without an end
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _respond(self, send: Any, body: dict[str, Any]) -> None:
        text = f"{self.name} says hello"
        part = {"type": "output_text", "text": text, "annotations": []}
        message = {"type": "message", "id": "msg-1", "status": "completed", "role": "assistant", "content": [part]}
        empty = {"id": "resp-1", "object": "response", "created_at": 1, "model": body["model"], "parallel_tool_calls": True}
        empty |= {"tool_choice": "auto", "tools": [], "status": "in_progress", "output": []}
        usage = {"input_tokens": 3, "output_tokens": 3, "total_tokens": 6}
        whole = empty | {"status": "completed", "output": [message], "usage": usage}
        if not body.get("stream"):
            return await _send(send, 200, whole)
        place = {"item_id": "msg-1", "output_index": 0, "content_index": 0}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": empty},
            {"type": "response.output_text.delta", "delta": text, **place},
            {"type": "response.completed", "response": whole},
        ]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number, event in enumerate(events):
            chunk = f"event: {event['type']}\ndata: {json.dumps(event | {'sequence_number': number})}\n\n".encode()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@contextmanager
def serving(*names: str, kind: type[Endpoint] = Endpoint) -> Iterator[list[Any]]:
    """Serve one endpoint a name, of one ``kind``, each in a thread, while the block runs.

    Idle connections stay open for a minute: one that closes while a request is on its way fails that request.
    """
    endpoints = [kind(name, free_port()) for name in names]
    fixed: dict[str, Any] = {"log_level": "error", "lifespan": "off", "ws": "none", "timeout_keep_alive": 60}
    servers = [uvicorn.Server(uvicorn.Config(endpoint, port=endpoint.port, **fixed)) for endpoint in endpoints]
    threads = [threading.Thread(target=server.run, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    while not all(server.started for server in servers):
        assert all(thread.is_alive() for thread in threads), "an endpoint did not start"
        time.sleep(0.01)
    try:
        yield endpoints
    finally:
        for server in servers:
            server.should_exit = True
        for thread in threads:
            thread.join(5)


async def _send(send: Any, status: int, value: dict[str, Any]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})
