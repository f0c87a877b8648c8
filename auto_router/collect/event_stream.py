"""A streamed answer (server-sent events) as the one JSON object that the endpoint would have sent without streaming."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

JOINED = ("content", "reasoning_content", "reasoning", "refusal")  # fields of a delta that arrive piece by piece


def is_event_stream(text: str) -> bool:
    """Whether a body is a stream of events rather than one JSON value; comments (``: keep-alive``) may come first."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return first.startswith(("data:", "event:", "id:", "retry:", ":"))


def join_events(text: str) -> tuple[dict[str, Any], bool]:
    """Return the reply that a stream adds up to, and whether the stream came to its end.

    An error event becomes the reply's ``error``. Of several choices the first counts, as in any reply.
    """
    message: dict[str, Any] = {"role": "assistant"}
    reply: dict[str, Any] = {}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": None}
    ended = False
    for event in _events(text):
        if event is None:
            ended = True
            continue
        reply |= {name: event[name] for name in ("error", "usage", "model") if event.get(name)}
        piece = next((c for c in event.get("choices") or [] if isinstance(c, Mapping) and not c.get("index")), None)
        if piece is not None:
            _add(message, piece.get("delta") or piece.get("message") or {})
            choice |= {name: piece[name] for name in ("finish_reason", "error") if piece.get(name) is not None}
            reply["choices"] = [choice]
    return reply, ended or choice["finish_reason"] is not None or "error" in reply


def _add(message: dict[str, Any], delta: Any) -> None:
    if not isinstance(delta, Mapping):
        return
    for name in JOINED:
        piece, before = delta.get(name), message.get(name)
        if isinstance(piece, str) and isinstance(before, str | None):
            message[name] = (before or "") + piece
        elif isinstance(piece, str | list):  # parts, and strings between them
            parts = [before] if isinstance(before, str) else before or []
            message[name] = [
                {"type": "text", "text": part} if isinstance(part, str) else part
                for part in [*parts, *([piece] if isinstance(piece, str) else piece)]
            ]


def _events(text: str) -> Iterator[dict[str, Any] | None]:
    """Yield each event's object; None for the mark of the end. What is no JSON object says nothing."""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("data:"):
            lines.append(line.removeprefix("data:").strip())
        elif not line.strip() and lines:
            for data in ["\n".join(lines)] if _is_json("\n".join(lines)) else lines:  # some leave the empty lines out
                if data == "[DONE]":
                    yield None
                elif isinstance(value := _load(data), dict):
                    yield value
            lines = []


def _is_json(text: str) -> bool:
    return _load(text) is not None


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
