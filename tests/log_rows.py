"""Rows of logs, made after the documented schemas: the address of its documentation stands in each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
KEY, EMAIL = "sk-proj-4f9aB7c2D1e8F6a3B5c7D9e0F2a4B6c8", "ada.lovelace@example.org"


def messages_of(i: int, text: str = "") -> list[dict[str, Any]]:
    return [{"role": "system", "content": "Be brief"}, {"role": "user", "content": f"Question {i}? {text}".strip()}]


def completion(i: int, model: str = "gpt-5") -> Row:
    """https://platform.openai.com/docs/api-reference/chat/object"""
    return {
        "id": f"chatcmpl-{i}",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": f"Answer {i}"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
    }


def litellm_row(i: int, text: str = "", **more: Any) -> Row:
    """The columns of LiteLLM_SpendLogs: https://github.com/BerriAI/litellm/blob/main/schema.prisma,
    https://docs.litellm.ai/docs/proxy/ui_logs"""
    return {
        "request_id": f"r{i}", "call_type": "acompletion", "api_key": "hashed", "spend": 0.002, "total_tokens": 14,
        "prompt_tokens": 11, "completion_tokens": 3, "startTime": "2026-11-01T10:00:00Z", "endTime": "2026-11-01T10:00:01Z",
        "model": "azure/gpt-5-2026", "model_group": "gpt-5", "metadata": {}, "cache_hit": "False", "session_id": f"s{i // 2}",
        "status": "success", "messages": messages_of(i, text), "response": completion(i),
    } | more  # fmt: skip


def langfuse_row(i: int, text: str = "", **more: Any) -> Row:
    """https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields (observations_v2)"""
    answer = {"role": "assistant", "content": f"Answer {i}"}
    return {
        "id": f"o{i}", "trace_id": f"t{i}", "project_id": "p", "type": "GENERATION", "level": "DEFAULT",
        "session_id": f"s{i // 2}", "provided_model_name": "gpt-5", "input": json.dumps(messages_of(i, text)),
        "output": json.dumps(answer), "usage_details": {"input": 11, "output": 3, "total": 14}, "total_cost": 0.002,
    } | more  # fmt: skip


def langfuse_api_row(i: int, text: str = "") -> Row:
    """https://js.reference.langfuse.com/interfaces/_langfuse_core.ObservationsView.html"""
    return {
        "id": f"o{i}", "traceId": f"s{i // 2}", "type": "GENERATION", "model": "gpt-5",
        "input": {"messages": messages_of(i, text)}, "output": f"Answer {i}",
        "usageDetails": {"input": 11, "output": 3}, "costDetails": {"total": 0.002},
    }  # fmt: skip


def phoenix_row(i: int, text: str = "") -> Row:
    """https://arize-ai.github.io/openinference/spec/attributes/semantic-conventions.html, with Phoenix's span around it:
    https://schemas.apis.io/schemas/phoenix/phoenix-span/"""
    attributes: Row = {
        "openinference.span.kind": "LLM", "llm.model_name": "gpt-5", "llm.token_count.prompt": 11,
        "llm.token_count.completion": 3, "llm.cost.total": 0.002, "session.id": f"s{i // 2}",
        "llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": f"Answer {i}",
    }  # fmt: skip
    for j, message in enumerate(messages_of(i, text)):
        attributes |= {f"llm.input_messages.{j}.message.{name}": value for name, value in message.items()}
    context = {"trace_id": f"t{i}", "span_id": f"x{i}"}
    return {"name": "llm", "context": context, "span_kind": "LLM", "status_code": "OK", "attributes": attributes}


def phoenix_table_row(i: int, text: str = "") -> Row:
    """A row of Phoenix's get_spans_dataframe: https://arize-phoenix.readthedocs.io/projects/client/"""
    asked = [{"message": message} for message in messages_of(i, text)]
    return {
        "name": "llm", "context.trace_id": f"s{i // 2}", "attributes.openinference.span.kind": "LLM",
        "attributes.llm.model_name": "gpt-5", "attributes.llm.input_messages": asked,
        "attributes.llm.output_messages": [{"message.role": "assistant", "message.content": f"Answer {i}"}],
        "attributes.llm.token_count.prompt": 11, "attributes.llm.token_count.completion": 3, "attributes.llm.cost.total": 0.002,
    }  # fmt: skip


def otel_row(i: int, text: str = "") -> Row:
    """https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/, a span in OTLP's JSON:
    https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/"""
    asked = [{"role": m["role"], "parts": [{"type": "text", "content": m["content"]}]} for m in messages_of(i, text)]
    answer = [{"role": "assistant", "parts": [{"type": "text", "content": f"Answer {i}"}], "finish_reason": "stop"}]
    values = {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "gen_ai.conversation.id": f"s{i // 2}",
        "gen_ai.input.messages": json.dumps(asked), "gen_ai.output.messages": json.dumps(answer),
    }  # fmt: skip
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
    counts = {"gen_ai.usage.input_tokens": "11", "gen_ai.usage.output_tokens": "3"}
    attributes += [{"key": key, "value": {"intValue": value}} for key, value in counts.items()]
    attributes.append({"key": "gen_ai.usage.cost", "value": {"doubleValue": 0.002}})
    spans = [
        {"name": "http", "traceId": "t", "attributes": []},
        {"name": "chat gpt-5", "traceId": "t", "attributes": attributes},
    ]
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": spans}]}]}


def pair_row(i: int, text: str = "") -> Row:
    """Request and response bodies as they are: https://platform.openai.com/docs/api-reference/chat/create"""
    request = {"model": "gpt-5", "messages": messages_of(i, text)}
    return {"request": request, "response": completion(i), "metadata": {"session_id": f"s{i // 2}"}}


def stored_row(i: int, text: str = "") -> Row:
    """https://platform.openai.com/docs/api-reference/chat/list, with the messages of its /messages beside it"""
    return completion(i) | {"metadata": {"session_id": f"s{i // 2}"}, "messages": messages_of(i, text)}


MAKERS: dict[str, Callable[..., Row]] = {
    "litellm": litellm_row,
    "langfuse": langfuse_row,
    "langfuse-api": langfuse_api_row,
    "phoenix": phoenix_row,
    "phoenix-table": phoenix_table_row,
    "otel": otel_row,
    "pairs": pair_row,
    "stored": stored_row,
}
WITHOUT_COST = {"pairs", "stored"}
