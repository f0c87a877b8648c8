"""Calls of tools in a reply and in a reference: found in every form that providers write, and compared to the letter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from auto_router.collect.reply import first_message, load_reply


def find_tool_calls(body: str | None) -> str | None:
    """Return the calls of tools in the body of a reply as a JSON list of names and arguments; None where it has none.

    They stand beside the text: as ``tool_calls`` or the older ``function_call`` of a chat completion, as ``function_call``
    items of a reply of the Responses API, or as ``tool_use`` parts of the content.
    """
    try:
        message = first_message(load_reply(body or "")[0])
    except (ValueError, RecursionError):
        return None
    calls, content = message.get("tool_calls"), message.get("content")
    found = [call for call in (calls if isinstance(calls, list) else []) if isinstance(call, Mapping)]
    found += [part for part in (content if isinstance(content, list) else []) if _is_call(part)]
    found += [message["function_call"]] if isinstance(message.get("function_call"), Mapping) else []
    return json.dumps(found) if found else None


def _is_call(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in ("tool_use", "tool_call", "function_call")


def read_tool_calls(text: str) -> list[str] | None:
    """Return one call, or a list of them, as texts that are equal where the calls are; None for any other text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    calls = []
    for call in value if isinstance(value, list) else [value]:
        inner = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
            return None
        given: Any = next((inner[name] for name in ("arguments", "parameters", "input") if inner.get(name) is not None), {})
        calls.append(json.dumps([inner["name"], _read_arguments(given)], sort_keys=True))
    return calls or None


def _read_arguments(given: Any) -> Any:
    """Return arguments as the object that they are; models write it as a text of JSON, empty where there are none."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given) if given.strip() else {}
    except (ValueError, RecursionError):
        return given
