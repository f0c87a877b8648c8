"""Replies of the Responses API and of providers' own APIs, brought into the form of a chat completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
