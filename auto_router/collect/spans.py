"""Spans of OpenInference and OpenTelemetry GenAI: their attributes under dotted names, and the messages in these."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from auto_router.collect.row_files import parse_json

MAX_ATTRIBUTE_DEPTH = 12  # of nested attributes: no convention goes deeper, and what does was made to


def read_attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a span under dotted names: given nested, dotted, as columns of a table, or as OTLP's pairs."""
    found: dict[str, Any] = {}
    _flatten(
        {name.removeprefix("attributes."): value for name, value in row.items() if name.startswith("attributes.")}, "", found
    )
    _flatten(_pairs(parse_json(row.get("attributes"))), "", found)
    _read_events([*(row.get("events") or []), *(parse_json(found.pop("events", None)) or [])], found)
    return found


def _read_events(events: Sequence[Any], found: dict[str, Any]) -> None:
    """Add what a span's events say: attributes, or (as OpenTelemetry had it before) a message each and a choice."""
    told = 0
    for event in events:
        if not isinstance(event, Mapping):
            continue
        name, facts = str(event.get("name", event.get("event.name", ""))), _pairs(event.get("attributes")) or event
        spoken = re.fullmatch(r"gen_ai\.(system|user|assistant|tool)\.message", name)
        if spoken:
            _flatten({"role": spoken.group(1), "content": facts.get("content")}, f"gen_ai.input.messages.{told}", found)
            told += 1
        elif name == "gen_ai.choice":
            message = parse_json(facts.get("message"))
            content = message.get("content") if isinstance(message, Mapping) else facts.get("content")
            _flatten({"role": "assistant", "content": content}, "gen_ai.output.messages.0", found)
        elif name.startswith("gen_ai."):
            _flatten(facts, "", found)


def _pairs(value: Any) -> Any:
    if isinstance(value, list):
        return {pair.get("key"): _otlp(pair.get("value")) for pair in value if isinstance(pair, Mapping)}
    return value or {}


def _otlp(value: Any, depth: int = 0) -> Any:
    """Unwrap OTLP's ``{"stringValue": …}``."""
    if not isinstance(value, Mapping) or depth > MAX_ATTRIBUTE_DEPTH:
        return value
    if "arrayValue" in value:
        return [_otlp(each, depth + 1) for each in value["arrayValue"].get("values") or []]
    if "kvlistValue" in value:
        return {pair["key"]: _otlp(pair.get("value"), depth + 1) for pair in value["kvlistValue"].get("values") or []}
    return next(iter(value.values()), None)


def _flatten(value: Any, name: str, found: dict[str, Any], depth: int = 0) -> None:
    if name.endswith(("messages", "gen_ai.prompt", "gen_ai.completion", "system_instructions")):
        value = parse_json(value)
    elif name.endswith(".content") and isinstance(value, str) and value.startswith("[{"):  # parts, printed as JSON
        parts = parse_json(value)
        typed = isinstance(parts, list) and all(isinstance(part, Mapping) and "type" in part for part in parts)
        value = parts if typed else value
    if depth <= MAX_ATTRIBUTE_DEPTH and isinstance(value, Mapping):
        for key, each in value.items():
            _flatten(each, f"{name}.{key}" if name else str(key), found, depth + 1)
    elif depth <= MAX_ATTRIBUTE_DEPTH and isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for i, each in enumerate(value):
            _flatten(each, f"{name}.{i}", found, depth + 1)
    elif value is not None and value == value:  # an empty cell of a table is NaN
        found[name] = value


def spell_messages(facts: Mapping[str, Any], *prefixes: str) -> list[dict[str, Any]]:
    """Put the messages together that attributes under a prefix spell out: ``….0.message.role``, ``….0.parts.1.content``."""
    for prefix in prefixes:
        found: dict[int, dict[str, Any]] = {}
        for name, value in facts.items():
            place, _, rest = name.removeprefix(prefix).partition(".")
            if name.startswith(prefix) and place.isdecimal():
                message = found.setdefault(int(place), {"role": "assistant", "parts": {}})
                rest = rest.removeprefix("message.")
                if re.search("reason|think", str(facts.get(f"{name.rpartition('.')[0]}.type", ""))):
                    continue
                if rest == "role":
                    message["role"] = value
                elif re.fullmatch(r"content|(parts|contents?)\.\d+\.(message_content\.)?(text|content|uri)", rest):
                    message["parts"][rest] = value
                elif re.fullmatch(r"(parts|contents?)\.\d+\.(message_content\.)?(image\.image\.url|image_url\.url)", rest):
                    message["parts"][rest] = {"type": "image_url", "image_url": {"url": value}}
        if found:
            return [{"role": found[i]["role"], "content": list(found[i]["parts"].values())} for i in sorted(found)]
    return []
