"""Logs of what people asked, as prompts for Stage 1: found by their fields, read row by row from files.

Known are LiteLLM's spend logs, Langfuse's observations and traces, spans with OpenInference (Phoenix) or OpenTelemetry GenAI
attributes, and OpenAI chat JSON (stored completions, batch input and output, fine-tuning files, request + response pairs).
Their documentation is named in ``tests/collect/test_import_logs.py``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from auto_router.collect.reply import first_message, read_message
from auto_router.collect.reply_forms import as_chat
from auto_router.collect.result_formats import LeftOut, number
from auto_router.collect.row_files import FileRow, parse_json
from auto_router.data.conversation import turns_of
from auto_router.data.splits import content_key
from auto_router.errors import DataError

MAX_ATTRIBUTE_DEPTH = 12  # of nested attributes: no convention goes deeper, and what does was made to
LITELLM, LANGFUSE, SPANS, OPENAI = "LiteLLM spend logs", "Langfuse export", "GenAI spans", "OpenAI chat JSON"
BATCH_OUTPUT = "OpenAI batch output"
PROMPT_MISSING = "the prompt is not in the log"
_MODEL_SPANS = ("chat", "text_completion", "generate_content", "completion")
_CALLS = re.compile(r"completion|responses|messages|generate", re.IGNORECASE)  # of LiteLLM's call types


@dataclass(frozen=True, slots=True)
class LoggedTurn:
    """One request as it was logged, and what was answered.

    ``messages`` end with the user's turn and hold plain text; ``images`` are as they came (data URIs or addresses). Unknown is
    None. ``reference`` is a right answer, where the file is one of right answers (fine-tuning).
    """

    messages: tuple[dict[str, str], ...]
    images: tuple[str, ...] = ()
    group: str | None = None
    model: str | None = None
    response: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None
    reference: str = ""

    def key(self) -> str:
        """Digest of what was asked and of which model."""
        return content_key("\0".join(f"{m['role']}\1{m['content']}" for m in self.messages) + f"\0{self.model}", self.images)


def find_log_format(row: FileRow) -> str | None:
    """Return which of the formats a row has, or None."""
    spent = "request_id" in row and "spend" in row and ("call_type" in row or "startTime" in row)
    if spent or {"call_type", "messages", "response"} <= row.keys():  # the second: what LiteLLM's callbacks write
        return LITELLM
    if "resourceSpans" in row or "attributes" in row or any(str(name).startswith("attributes.") for name in row):
        return SPANS
    if "custom_id" in row:
        return BATCH_OUTPUT if "response" in row else OPENAI
    if "input" in row and ({"traceId", "trace_id", "projectId", "project_id", "sessionId", "session_id"} & row.keys()):
        return LANGFUSE
    chat = "messages" in row or str(row.get("object", "")).startswith("chat.completion") or "preferred_output" in row
    pair = {"request", "response"} <= row.keys() or {"request_body", "response_body"} <= row.keys()
    return OPENAI if chat or pair else None


class LogReader:
    """Reads logs of every kind. ``answers`` are what :func:`read_batch_answers` found, for batch files."""

    def __init__(self, answers: Mapping[str, Any] | None = None) -> None:
        self._answers = answers or {}
        self._readers = {LITELLM: _litellm, LANGFUSE: _langfuse, SPANS: _spans, OPENAI: self._openai}

    def read(self, row: FileRow, kind: str) -> Iterator[LoggedTurn | LeftOut]:
        """Yield the turns of a row; a LeftOut in place of what gives no prompt."""
        if kind == BATCH_OUTPUT:
            yield LeftOut("an answer of a batch in a file of other rows")
            return
        found = self._readers[kind](row)
        while True:
            try:
                yield next(found)
            except StopIteration:
                return
            except (LeftOut, DataError) as reason:  # the second of turns_of: no chat messages
                yield LeftOut(str(reason))

    def _openai(self, row: FileRow) -> Iterator[LoggedTurn]:
        """https://platform.openai.com/docs/api-reference/chat/object, /batch/request-input and /fine-tuning/chat-input."""
        if "custom_id" in row:
            answer = self._answers.get(str(row["custom_id"]))
            if isinstance(answer, LeftOut):
                raise answer
            request = row.get("body")
        elif "request" in row or "request_body" in row:
            request, answer = (parse_json(_any(row, name, f"{name}_body")) for name in ("request", "response"))
            request, answer = (part.get("body", part) if isinstance(part, Mapping) else part for part in (request, answer))
        else:
            request, answer = row, row if "choices" in row else None
        if not isinstance(request, Mapping):
            raise LeftOut(PROMPT_MISSING)
        asked = request.get("messages", request.get("input"))
        inner = asked.get("messages") if isinstance(asked, Mapping) else asked
        inner = _lead(inner, _any(request, "system", "instructions"))
        session = _any(_mapping(row.get("metadata")), "session_id", "conversation_id", "thread_id")
        turn = _turn(inner, answer if isinstance(answer, Mapping) else None, request.get("model"), session)
        if answer is None and "custom_id" not in row:
            reference = _reply(row["preferred_output"]) if "preferred_output" in row else turn.response
            turn = replace(turn, response=None, reference=reference or "", model=None)
        yield turn


def read_batch_answers(rows: Iterable[FileRow]) -> dict[str, Any]:
    """Return ``{custom_id: body}`` of batch output lines; a LeftOut where one failed, or where two lines share an id."""
    found: dict[str, Any] = {}
    for row in rows:
        response, name = _mapping(row.get("response")), str(row.get("custom_id"))
        failed = row.get("error") or not 200 <= (_count(response.get("status_code")) or 0) < 300
        if name in found:
            found[name] = LeftOut("the custom_id is used more than once: import one batch at a time")
        else:
            found[name] = LeftOut("the request failed") if failed else response.get("body")
    return found


def _litellm(row: FileRow) -> Iterator[LoggedTurn]:
    """https://docs.litellm.ai/docs/proxy/ui_logs; columns: model LiteLLM_SpendLogs of litellm's schema.prisma."""
    if str(row.get("status") or "success").lower() != "success":
        raise LeftOut("the request failed")
    if row.get("call_type") and not _CALLS.search(str(row["call_type"])):
        raise LeftOut(f"no chat: call_type {row['call_type']}")
    request = _mapping(row.get("proxy_server_request"))
    body = _mapping(request.get("body", request))
    asked = parse_json(row.get("messages")) or body.get("messages", body.get("input"))
    if not asked:
        raise LeftOut(f"{PROMPT_MISSING}: LiteLLM keeps it where store_prompts_in_spend_logs is true")
    if "litellm_truncated" in str(asked):
        raise LeftOut("LiteLLM cut the prompt: raise MAX_STRING_LENGTH_PROMPT_IN_DB")
    model, group = row.get("model_group") or row.get("model"), row.get("session_id")
    asked = _lead(asked, _any(body, "system", "instructions"))
    turn = _turn(asked, parse_json(row.get("response")), model, group)
    cached = str(row.get("cache_hit") or "").lower() == "true"  # then nothing was spent, which says nothing of the price
    yield replace(
        turn,
        prompt_tokens=_count(row.get("prompt_tokens")),
        completion_tokens=_count(row.get("completion_tokens")),
        cost=None if cached else number(_any(row, "spend", "response_cost")),
    )


def _langfuse(row: FileRow) -> Iterator[LoggedTurn]:
    """https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields, and the API's camelCase names."""
    inner = parse_json(row.get("observations"))
    if isinstance(inner, list) and any(isinstance(each, Mapping) for each in inner):
        above = {"sessionId": _any(row, "sessionId", "session_id"), "traceId": row.get("id")}
        yield from _each(inner, lambda each: _generation({**above, **each}))
    else:
        yield _generation(row)


def _generation(row: Mapping[str, Any]) -> LoggedTurn:
    kind = str(_any(row, "type") or "GENERATION").upper()
    if kind != "GENERATION":
        raise LeftOut(f"no model call: type {kind}")
    if str(row.get("level") or "").upper() == "ERROR":
        raise LeftOut("the request failed")
    usage = _mapping(_any(row, "usageDetails", "usage_details", "usage"))
    costs = _mapping(_any(row, "costDetails", "cost_details"))
    total = _any({**row, "costs.total": costs.get("total")}, "totalCost", "total_cost", "calculatedTotalCost", "costs.total")
    group = _any(row, "sessionId", "session_id", "traceId", "trace_id")
    turn = _turn(
        _find_messages(parse_json(row.get("input"))), parse_json(row.get("output")),
        _any(row, "providedModelName", "provided_model_name", "model"), group,
    )  # fmt: skip
    return replace(
        turn,
        prompt_tokens=_count(_any(usage, "input", "prompt_tokens", "promptTokens") or _any(row, "promptTokens")),
        completion_tokens=_count(
            _any(usage, "output", "completion_tokens", "completionTokens") or _any(row, "completionTokens")
        ),
        cost=number(total),
    )


def _spans(row: FileRow) -> Iterator[LoggedTurn]:
    """Attributes of OpenInference (https://arize-ai.github.io/openinference/spec/attributes/semantic-conventions.html) and of
    OpenTelemetry GenAI (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/), alone or in OTLP's JSON."""
    if "resourceSpans" not in row:
        yield _span(row)
        return
    scopes = [scope for resource in _list(row["resourceSpans"]) for scope in _list(_mapping(resource).get("scopeSpans"))]
    yield from _each([span for scope in scopes for span in _list(_mapping(scope).get("spans"))], _span)


def _each(rows: Sequence[Any], read: Callable[[Mapping[str, Any]], LoggedTurn]) -> Iterator[LoggedTurn]:
    """Read the model calls of a trace; its other steps give nothing, as most do. Raises LeftOut where there is no call."""
    found = 0
    for row in rows:
        with contextlib.suppress(LeftOut):
            yield read(_mapping(row))
            found += 1
    if not found:
        raise LeftOut("no model call with a prompt in the trace")


def _span(row: Mapping[str, Any]) -> LoggedTurn:
    facts = read_attributes(row)
    kind = str(facts.get("openinference.span.kind") or "").upper()
    operation = str(facts.get("gen_ai.operation.name") or "")
    asked = spell_messages(facts, "gen_ai.input.messages.", "llm.input_messages.", "gen_ai.prompt.", "ai.prompt.messages.")
    if (kind not in ("", "LLM")) or (operation and operation not in _MODEL_SPANS) or not (asked or kind or operation):
        raise LeftOut(f"no model call: span of kind {kind or operation or 'unknown'}")
    status = str(_any(row, "status_code") or _mapping(row.get("status")).get("code") or "")
    if status.upper() in ("ERROR", "STATUS_CODE_ERROR", "2"):
        raise LeftOut("the request failed")
    reply = spell_messages(facts, "gen_ai.output.messages.", "llm.output_messages.", "gen_ai.completion.")
    group = _any(facts, "session.id", "gen_ai.conversation.id") or _any(row, "context.trace_id", "trace_id", "traceId")
    group = group or _mapping(row.get("context")).get("trace_id")
    told = [str(value) for name, value in facts.items() if re.fullmatch(r"gen_ai\.system_instructions\b.*content", name)]
    turn = _turn(
        _lead(asked or _find_messages(parse_json(facts.get("input.value"))), "\n".join(told)),
        reply or parse_json(_any(facts, "output.value", "ai.response.text")),
        _any(facts, "gen_ai.request.model", "llm.model_name", "gen_ai.response.model"), group,
    )  # fmt: skip
    return replace(
        turn,
        prompt_tokens=_count(_any(facts, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")),
        completion_tokens=_count(
            _any(facts, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")
        ),
        cost=number(_any(facts, "llm.cost.total", "gen_ai.usage.cost")),
    )


def _find_messages(value: Any) -> Any:
    """Return the messages inside what a tracer calls the input: messages, a wrapper of them, or a text."""
    if isinstance(value, Mapping):
        return [value] if "role" in value else _any(value, "messages", "prompt", "input", "query", "question", "kwargs")
    return value


def _turn(asked: Any, answer: Any, model: Any, group: Any) -> LoggedTurn:
    """Return a turn of messages (or a text) and an answer in any of its forms. Raises LeftOut where nothing was asked."""
    if isinstance(asked, str) and asked.strip():
        asked = [{"role": "user", "content": asked}]
    if not isinstance(asked, Sequence) or isinstance(asked, str) or not asked:
        raise LeftOut(PROMPT_MISSING)
    known = [message for message in asked if isinstance(message, Mapping) and (message.get("role") or message.get("from"))]
    turns = turns_of(known or asked)
    last = max((i for i, turn in enumerate(turns) if turn.role == "user" and (turn.text.strip() or turn.images)), default=-1)
    if last < 0 or not any(turn.text.strip() for turn in turns if turn.role == "user"):
        raise LeftOut("no user message with text")
    images = [image for turn in turns for image in turn.images]
    if not all(isinstance(image, str) for image in images):
        raise LeftOut("an image in a form that is not known")
    replies = [turn.text for turn in turns[last + 1 :] if turn.role == "assistant" and turn.text.strip()]
    response = _reply(answer) if answer is not None else None
    usage = _mapping(answer.get("usage")) if isinstance(answer, Mapping) else {}
    return LoggedTurn(
        messages=tuple({"role": turn.role, "content": turn.text} for turn in turns[: last + 1]),
        images=tuple(images),
        group=str(group or "") or content_key(next(turn.text for turn in turns if turn.role == "user" and turn.text.strip())),
        model=str(model) if model else None,
        response=response or (replies[-1] if replies else None),
        prompt_tokens=_count(_any(usage, "prompt_tokens", "input_tokens")),
        completion_tokens=_count(_any(usage, "completion_tokens", "output_tokens")),
    )


def _lead(asked: Any, told: Any) -> Any:
    """Return what was asked behind the system prompt that an API has in a field of its own."""
    if not told or not isinstance(asked, str | list):
        return asked
    if any(isinstance(m, Mapping) and m.get("role") == "system" for m in asked):
        return asked
    told = read_message({"content": told})[0]
    return [{"role": "system", "content": told}, *([{"role": "user", "content": asked}] if isinstance(asked, str) else asked)]


def _reply(answer: Any, depth: int = 0) -> str | None:
    """Return the text of an answer: itself, a message or a list of them, or a reply of any API. Reasoning is no part of it."""
    if isinstance(answer, str) or depth > MAX_ATTRIBUTE_DEPTH:
        return answer if answer and isinstance(answer, str) else None
    if isinstance(answer, list):
        texts = [text for each in answer if (text := _reply(each, depth + 1))]
        return texts[-1] if texts else None
    if not isinstance(answer, Mapping):
        return None
    chat = as_chat(answer)
    if "choices" in chat:
        return read_message(first_message(chat))[0] or None
    if "role" in answer and isinstance(content := answer.get("content", answer.get("parts")), list):
        return read_message({**answer, "content": content})[0] or None
    return _reply(_any(answer, "content", "output", "text", "message", "messages", "answer", "response"), depth + 1)


def _any(row: Mapping[str, Any], *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _mapping(value: Any) -> Mapping[str, Any]:
    return found if isinstance(found := parse_json(value), Mapping) else {}


def _list(value: Any) -> list[Any]:
    return found if isinstance(found := parse_json(value), list) else []


def _count(value: Any) -> int | None:
    return None if (found := number(value)) is None else int(found)


def read_attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a span under dotted names: given nested, dotted, as columns of a table, or as OTLP's pairs."""
    found: dict[str, Any] = {}
    dotted = {name.removeprefix("attributes."): value for name, value in row.items() if name.startswith("attributes.")}
    _flatten(dotted, "", found)
    _flatten(_pairs(parse_json(row.get("attributes"))), "", found)
    _read_events([*_list(row.get("events")), *_list(found.pop("events", None))], found)
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
    return _mapping(value)


def _otlp(value: Any, depth: int = 0) -> Any:
    """Unwrap OTLP's ``{"stringValue": …}``."""
    if not isinstance(value, Mapping) or depth > MAX_ATTRIBUTE_DEPTH:
        return value
    if "arrayValue" in value:
        return [_otlp(each, depth + 1) for each in _list(_mapping(value["arrayValue"]).get("values"))]
    if "kvlistValue" in value:
        pairs = map(_mapping, _list(_mapping(value["kvlistValue"]).get("values")))
        return {str(pair.get("key")): _otlp(pair.get("value"), depth + 1) for pair in pairs}
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
