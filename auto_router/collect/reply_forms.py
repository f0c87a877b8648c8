"""Replies in other forms, brought into that of a chat completion.

These are the Responses API's, those of providers' own APIs, and streams of events that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from auto_router.data.json_files import read_json

# Fields of a delta that arrive piece by piece.
JOINED = ("content", "reasoning_content", "reasoning", "reasoning_text", "refusal")
_WHOLE = ("response.completed", "response.incomplete", "response.failed")  # events that hold a reply of the Responses API


def as_chat(reply: Any) -> Any:
    """Return a reply of the Responses API, or of a provider's own API, in the form of a chat completion; any other as it is."""
    if isinstance(reply, list) and len(reply) == 1:
        reply = reply[0]
    if not isinstance(reply, Mapping) or "choices" in reply:
        return reply
    inside: Mapping[str, Any] = next(
        (reply[name] for name in ("data", "result", "response") if isinstance(reply.get(name), Mapping)), {}
    )
    if "choices" in inside:
        return {**reply, **inside}  # an error may stand beside them
    output = reply.get("output")
    plain = _plain_text(reply, inside)
    if plain is not None:
        return {**reply, "choices": [{"index": 0, "message": {"role": "assistant", "content": plain}, "finish_reason": None}]}
    if isinstance(output, Mapping) and isinstance(output.get("message"), Mapping):  # Bedrock's
        reply = {**reply, "message": output["message"], "finish_reason": reply.get("stopReason")}
    if not isinstance(output, list):
        return _from_own_api(reply)
    items = [item for item in output if isinstance(item, Mapping)]
    contents = [item.get("content") if item.get("type") == "message" else [item] for item in items]
    parts = [part for content in contents for part in (content if isinstance(content, list) else [content])]
    details = reply.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, Mapping) else None
    called = any(str(item.get("type")).endswith("_call") for item in items[-1:])
    status = str(reply.get("status"))
    finish = reason or {"completed": "tool_calls" if called else "stop"}.get(status, reply.get("status"))
    return {**reply, "choices": [{"index": 0, "message": {"role": "assistant", "content": parts}, "finish_reason": finish}]}


def _plain_text(reply: Mapping[str, Any], inside: Mapping[str, Any]) -> str | None:
    """Return the text of a reply that holds no message: Hugging Face's, Cloudflare's, watsonx's, Ollama's, Replicate's."""
    results, output = reply.get("results"), reply.get("output")
    first = results[0] if isinstance(results, list) and results and isinstance(results[0], Mapping) else {}
    found = [reply.get("generated_text"), inside.get("response"), first.get("generated_text")]
    found += [reply.get("response") if "done" in reply else None, reply.get("text") if "generation_id" in reply else None]
    if isinstance(output, list) and output and all(isinstance(piece, str) for piece in output):
        found.append("".join(output))
    return next((text for text in found if isinstance(text, str)), None)


def _from_own_api(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a reply of a provider's own API (Google, Ollama, Bedrock, …) as a chat completion; any other as it is."""
    candidates, counts = reply.get("candidates"), reply.get("usageMetadata")
    first = candidates[0] if isinstance(candidates, list) and candidates else None
    told, feedback = reply.get("message"), reply.get("promptFeedback")
    message: Mapping[str, Any]
    if isinstance(first, Mapping) and ("content" in first or "finishReason" in first):
        content = first.get("content")
        message, finish = {"content": content.get("parts") if isinstance(content, Mapping) else None}, first.get("finishReason")
        names = {
            "promptTokenCount": "prompt_tokens",
            "candidatesTokenCount": "completion_tokens",
            "totalTokenCount": "total_tokens",
            "cachedContentTokenCount": "cached_tokens",
        }
        usage = {names[name]: count for name, count in counts.items() if name in names} if isinstance(counts, Mapping) else None
    elif isinstance(feedback, Mapping) and feedback.get("blockReason"):
        message, finish, usage = {}, "content_filter", None
    elif reply.get("role") == "assistant" and "content" in reply:
        message, finish, usage = {"content": reply["content"]}, reply.get("stop_reason"), reply.get("usage")
    elif isinstance(told, Mapping) and told.get("role") == "assistant":  # else it is an error's
        message, finish, usage = told, reply.get("done_reason", reply.get("finish_reason")), reply.get("usage")
        if isinstance(usage, Mapping) and isinstance(usage.get("tokens"), Mapping):
            usage = usage["tokens"]
        if usage is None and "eval_count" in reply:
            usage = {"prompt_tokens": reply.get("prompt_eval_count"), "completion_tokens": reply["eval_count"]}
    else:
        return reply
    return {**reply, "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}


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
            given = delta.get("tool_calls") if isinstance(delta, Mapping) else None
            for call in given if isinstance(given, list) else []:
                _add_call(calls, call)
            choice |= {name: piece[name] for name in ("finish_reason", "error") if piece.get(name) is not None}
            reply["choices"] = [choice]
    message: dict[str, Any] = {"role": "assistant"}
    for name, found in pieces.items():  # one text or, where there are parts among the strings, a list of parts
        parts = [{"type": "text", "text": piece} if isinstance(piece, str) else piece for piece in found]
        message[name] = "".join(found) if all(isinstance(piece, str) for piece in found) else parts
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


def _add_call(calls: list[dict[str, Any]], piece: Any) -> None:
    """Add a piece of a call of a tool: of the one that its index names, whose arguments come bit by bit."""
    if not isinstance(piece, Mapping):
        return
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
            whole = read_json("\n".join(lines))
            for data in [None] if whole is not None else lines:  # some leave the empty lines out
                if data == "[DONE]":
                    yield None
                elif isinstance(value := whole if data is None else read_json(data), dict):
                    yield value
            lines = []
