"""Endpoints on loopback that speak the true protocols of OpenAI, Azure and Anthropic, keys included, and fail in every way."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from tests.serve.endpoints import Endpoint, _send

HANG_SECONDS = 30.0
OPENAI, AZURE, ANTHROPIC = "/v1/chat/completions", "/openai/deployments/", "/v1/messages"


@dataclass
class Vendor(Endpoint):
    """Answers at the path of each protocol, to whoever shows ``sk-NAME``; chat completions are all that it has of OpenAI's.

    ``refuse`` is a status and an error to answer with instead; ``hang`` is for how many seconds to say nothing; with ``broken``
    the connection ends in the middle of an answer; ``error_in_answer`` and ``page`` come under status 200. ``faults`` are by a
    request's temperature, so that requests that are under way together can have one each: a status, ``hang``, ``broken``, or
    ``cut``, which ends a stream after its first words.
    """

    refuse: tuple[int, dict[str, Any]] | None = None
    hang: float = 0.0
    broken: bool = False
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    error_in_answer: dict[str, Any] | None = None
    page: bytes = b""
    faults: dict[float, int | str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"sk-{self.name}"

    def reset(self) -> None:
        self.refuse, self.hang, self.broken, self.error_in_answer, self.page = None, 0.0, False, None, b""
        for seen in (self.bodies, self.paths, self.headers):
            seen.clear()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        data, more = b"", True
        while more:
            message = await receive()
            data, more = data + message.get("body", b""), message.get("more_body", False)
        path, headers = scope["path"], {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        azure = path.startswith(AZURE) and path.endswith("/chat/completions") and b"api-version=" in scope["query_string"]
        if not azure and path not in (OPENAI, ANTHROPIC):
            return await _send(send, 404, {"error": {"message": f"no such path: {path}", "type": "not_found"}})
        shown = headers.get("authorization") if path == OPENAI else headers.get("api-key" if azure else "x-api-key")
        if shown not in (self.key, f"Bearer {self.key}"):
            return await _send(send, 401, {"error": {"message": f"wrong key for {self.name}", "type": "authentication_error"}})
        body = json.loads(data)
        self.bodies.append(body)
        self.paths.append(path)
        self.headers.append(headers)
        fault = self.faults.get(body.get("temperature", -1.0))
        await asyncio.sleep(HANG_SECONDS if fault == "hang" else self.hang)
        refuse = (fault, {"message": f"fault {fault}", "type": "made"}) if isinstance(fault, int) else self.refuse
        if refuse is not None:
            return await _send(send, refuse[0], {"type": "error", "error": refuse[1]})
        if self.broken or fault == "broken":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
            await send({"type": "http.response.body", "body": b"{", "more_body": False})
            return None
        if self.page:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
            await send({"type": "http.response.body", "body": self.page})
            return None
        if self.error_in_answer is not None:
            whole: dict[str, Any] = {"error": self.error_in_answer}
            if not body.get("stream"):
                return await _send(send, 200, whole)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
            await send({"type": "http.response.body", "body": f"data: {json.dumps(whole)}\n\n".encode()})
            return None
        if path == ANTHROPIC:
            return await self._speak_anthropic(send, body)
        body.setdefault("model", self.name)
        if body.get("stream"):
            return await self._stream(send, body, fault == "cut")
        usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6, "prompt_tokens_details": {"cached_tokens": 2}}
        choice = {"index": 0, "message": self._message(body), "finish_reason": "tool_calls" if body.get("tools") else "stop"}
        whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"], "usage": usage}
        await _send(send, 200, whole | {"choices": [choice]})

    async def _speak_anthropic(self, send: Any, body: dict[str, Any]) -> None:
        text = f"{self.name} says hello"
        usage = {"input_tokens": 3, "output_tokens": 3}
        block: dict[str, Any] = {"type": "text", "text": text}
        if body.get("tools"):
            block = {"type": "tool_use", "id": "toolu_1", "name": body["tools"][0]["name"], "input": {"who": self.name}}
        whole = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [block],
            "stop_reason": "tool_use" if body.get("tools") else "end_turn", "stop_sequence": None, "usage": usage,
        }  # fmt: skip
        if not body.get("stream"):
            return await _send(send, 200, whole)
        empty: dict[str, Any] = {"type": "text", "text": ""}
        delta: dict[str, Any] = {"type": "text_delta", "text": text}
        if body.get("tools"):
            empty, delta = block | {"input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": whole | {"content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": empty},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None}, "usage": usage},
            {"type": "message_stop"},
        ]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for event in events:
            chunk = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class Judge(Vendor):
    """Compares two answers, and likes that of ``math`` best."""

    def _message(self, body: dict[str, Any]) -> dict[str, Any]:
        document = json.loads(body["messages"][-1]["content"])
        better = [place for place in ("first", "second") if "math" in document[place]]
        said = {"id": document["id"], "why": "", "better": better[0] if len(better) == 1 else "tie"}
        return {"role": "assistant", "content": json.dumps(said)}
