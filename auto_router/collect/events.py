"""Replies that come as a stream of events, unasked: joined to the reply that they add up to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from auto_router.collect.reply_forms import as_chat

JOINED = (
    "content",
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "refusal",
)  # fields of a delta that arrive piece by piece
_WHOLE = ("response.completed", "response.incomplete", "response.failed")  # events that hold a reply of the Responses API


def is_event_stream(text: str) -> bool:
    """Whether a body is a stream of events rather than one JSON value; comments (``: keep-alive``) may come first."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return first.startswith(("data:", "event:", "id:", "retry:", ":"))


def join_events(text: str) -> tuple[dict[str, Any], bool]:
    """Return the reply that a stream adds up to, and whether the stream came to its end.

    An error event becomes the reply's ``error``. Of several choices the first counts, as in any reply.
    """
    pieces: dict[str, list[Any]] = {}
    calls: list[dict[str, Any]] = []
    reply: dict[str, Any] = {}
    choice: dict[str, Any] = {"index": 0, "finish_reason": None}
    ended = False
    for event in _events(text):
        if event is None:
            ended = True
            continue
        if event.get("type") in _WHOLE and isinstance(event.get("response"), dict):
            return event["response"], True
        if event.get("object") == "error":  # as vLLM writes it
            reply["error"] = event
        event = _as_chunk(event)
        ended |= event.get("type") == "message_stop"
        reply |= {name: event[name] for name in ("error", "x_groq", "model") if event.get(name)}
        if isinstance(event.get("usage"), Mapping):
            reply["usage"] = {**reply.get("usage", {}), **event["usage"]}
        choices = event.get("choices")
        choices = choices if isinstance(choices, list) else []
        piece = next((c for c in choices if isinstance(c, Mapping) and not c.get("index")), None)
        if piece is not None:
            delta = piece.get("delta") or piece.get("message") or {"content": piece.get("text")}
            _collect_pieces(pieces, delta)
            _collect_calls(calls, delta)
            choice |= {name: piece[name] for name in ("finish_reason", "error") if piece.get(name) is not None}
            reply["choices"] = [choice]
    message = {"role": "assistant", **{name: _join_pieces(found) for name, found in pieces.items()}}
    choice["message"] = message | ({"tool_calls": calls} if calls else {})
    return reply, ended or choice["finish_reason"] is not None or "error" in reply


def _as_chunk(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of Anthropic's or Google's API as one of chat completions; any other as it is."""
    if "candidates" in event:
        return dict(as_chat(event))
    kind, message, delta = (event.get(name) for name in ("type", "message", "delta"))
    if kind == "message_start" and isinstance(message, Mapping):
        return {"usage": message.get("usage")}
    if kind in ("content_block_delta", "message_delta") and isinstance(delta, Mapping):
        piece = {"content": delta.get("text"), "reasoning": delta.get("thinking")}
        return {"usage": event.get("usage"), "choices": [{"delta": piece, "finish_reason": delta.get("stop_reason")}]}
    return event


def _collect_pieces(pieces: dict[str, list[Any]], delta: Any) -> None:
    """Put what a delta holds behind what came before; joined once, at the end, so that many small pieces take no long time."""
    for name in JOINED if isinstance(delta, Mapping) else ():
        piece = delta.get(name)
        if isinstance(piece, str | list):
            pieces.setdefault(name, []).extend([piece] if isinstance(piece, str) else piece)


def _join_pieces(pieces: list[Any]) -> Any:
    """Return one text, or, where there are parts among the strings, a list of parts."""
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    return [{"type": "text", "text": piece} if isinstance(piece, str) else piece for piece in pieces]


def _collect_calls(calls: list[dict[str, Any]], delta: Any) -> None:
    given = delta.get("tool_calls") if isinstance(delta, Mapping) else None
    for piece in given if isinstance(given, list) else []:
        if isinstance(piece, Mapping):
            _add_call(calls, piece)


def _add_call(calls: list[dict[str, Any]], piece: Mapping[str, Any]) -> None:
    """Add a piece of a call of a tool: of the one that its index names, whose arguments come bit by bit."""
    index = piece.get("index", len(calls))
    call = next((call for call in calls if call["index"] == index), None)
    if call is None:
        call = {"index": index, "function": {"name": "", "arguments": ""}}
        calls.append(call)
    function = piece.get("function")
    for name in ("name", "arguments"):
        if isinstance(function, Mapping) and isinstance(function.get(name), str):
            call["function"][name] += function[name]


def _events(text: str) -> Iterator[dict[str, Any] | None]:
    """Yield each event's object; None for the mark of the end. What is no JSON object says nothing."""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("data:"):
            lines.append(line.removeprefix("data:").strip())
        elif not line.strip() and lines:
            whole = _load("\n".join(lines))
            for data in [None] if whole is not None else lines:  # some leave the empty lines out
                if data == "[DONE]":
                    yield None
                elif isinstance(value := whole if data is None else _load(data), dict):
                    yield value
            lines = []


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
