"""The one reader of what endpoints send back: a body of any form becomes a response, a reason, or something to try again.

Endpoints that speak chat completions differ in all that surrounds the text: content as parts, refusals and reasoning in fields
of their own, errors inside HTTP 200, events instead of JSON. What was paid for stays in :attr:`Response.body` as it came, so
that a later version of this module can read it again (:func:`read_again`) without anybody being asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from auto_router.collect.money import Usage, read_usage
from auto_router.collect.rate_limits import PassingFailure, read_delay
from auto_router.data.records import MAX_SECONDS
from auto_router.errors import printable

PASSING = {408, 409, 425, 429}  # with 5xx: what can succeed when asked again a little later
SETTLED = {400, 413, 415, 422}  # about the question itself: asking the same again gets the same
MAX_REASON = 300  # characters

_FILTERS = {"content_filter", "content_policy_violation", "responsibleaipolicyviolation"}
_WITHHELD = {"content_filter", "safety", "sensitive", "recitation", "prohibited_content", "blocklist", "spii"}
_WITHHELD |= {"image_safety", "guardrail_intervened"}
_CUT = {"length", "max_tokens", "model_length", "max_output_tokens"}
_BROKEN = {"error", "abort", "aborted", "cancelled", "canceled", "failed", "timeout", "server_error", "network_error"}
_BROKEN |= {"insufficient_system_resource", "malformed_function_call"}
# Codes in words, of errors that come with HTTP 200.
_REFUSED = re.compile(
    r"invalid|not.?found|auth|permission|forbidden|unsupported|billing|insufficient_quota|denied|bad.?request|context"
)
_ABOUT_QUESTION = re.compile(
    r"invalid_?(?:request|argument|param|prompt|image)|bad.?request|context_length|unsupported_(?!model)"
)
JOINED = ("content", "reasoning_content", "reasoning", "refusal")  # fields of a delta that arrive piece by piece
RECORDED_LATENCY = "recorded_latency_s"  # a replay's own field: how long the answer took when it was recorded


@dataclass(frozen=True, slots=True)
class Response:
    """What an endpoint said: text, or None with the reason in ``error``.

    ``settled`` marks an error that would only come again (a refused question, a content filter, an empty answer that was paid
    for): the next run does not ask again. ``completion_tokens`` are all tokens paid as output; ``cached_tokens`` a part of the
    prompt's; ``billed_usd`` is the endpoint's own figure. ``latency_s`` runs from the request to the whole reply; None: not
    known (a batch, a log), or a refusal. ``body`` is what came, with HTTP 200, as it came. ``outside``: reasoning was counted
    beside the answer's tokens (:class:`~auto_router.collect.money.Usage`). ``discount`` is the share of the price that was not
    paid: that of a Batch API, 1 for an answer that a log already held.
    """

    text: str | None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    latency_s: float | None = None
    error: str | None = None
    settled: bool = False
    cached_tokens: int | None = None
    billed_usd: float | None = None
    body: str | None = field(default=None, repr=False, compare=False)
    outside: bool = field(default=False, repr=False, compare=False)
    discount: float = 0.0

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as an endpoint words it. ``status`` is an HTTP status, or None where only words are there."""

    message: str
    code: str = ""
    status: int | None = None
    param: str = ""


def read_reply(status: int, headers: Mapping[str, str], body: bytes, latency_s: float | None = None) -> Response:
    """Return what one HTTP reply says: a text, or an error that asking again would not mend.

    Raises:
        PassingFailure: a rate limit, a server error, or an answer that broke off, whatever the status it came with.
    """
    if status != 200:
        refusal = read_problem(body) or Problem(shorten(decode(body)))
        return _refuse(replace(refusal, status=status), headers, _load_or_none(body), f"HTTP {status}")
    text = decode(body)
    try:
        reply, whole = load_reply(text)
    except (ValueError, RecursionError) as error:
        return Response(None, latency_s=latency_s, error=shorten(f"answer is not JSON: {error}"), body=text)
    if not whole:
        raise PassingFailure("the stream broke off", billed=True)
    problem = find_problem(reply)
    if problem is not None:
        return _refuse(problem, headers, reply, "error in a reply of HTTP 200")
    return _read_answer(reply, Response(None, latency_s=_recorded_latency(reply) or latency_s, body=text))


def _recorded_latency(reply: Any) -> float | None:
    seconds = reply.get(RECORDED_LATENCY) if isinstance(reply, Mapping) else None
    return seconds if isinstance(seconds, int | float) and 0.0 < seconds <= MAX_SECONDS else None


def load_reply(text: str) -> tuple[Any, bool]:
    """Return what a body holds, a reply of the Responses API as a chat completion, and whether it came to its end.

    Raises:
        ValueError: it is neither JSON nor a stream of events.
    """
    reply, whole = join_events(text) if is_event_stream(text) else (json.loads(text), True)
    return _as_chat(reply), whole


def _as_chat(reply: Any) -> Any:
    """Return a reply of the Responses API in the form of a chat completion; any other as it is."""
    output = reply.get("output") if isinstance(reply, Mapping) and "choices" not in reply else None
    if not isinstance(output, list):
        return reply
    items = [item for item in output if isinstance(item, Mapping)]
    contents = [item.get("content") if item.get("type") == "message" else [item] for item in items]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    details = reply.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, Mapping) else None
    finish = reason or {"completed": "stop"}.get(str(reply.get("status")), reply.get("status"))
    return {**reply, "choices": [{"index": 0, "message": {"role": "assistant", "content": parts}, "finish_reason": finish}]}


def first_message(reply: Any) -> Mapping[str, Any]:
    """Return the message of a chat completion; an empty one where it has none."""
    choice = _first_choice(reply) or {}
    message = choice.get("message") or choice.get("delta")
    return message if isinstance(message, Mapping) else {}


def read_again(response: Response) -> Response:
    """Return a kept response as this version reads its body; as it is where no body was kept."""
    if response.body is None:
        return response
    try:
        read = read_reply(200, {}, response.body.encode("utf-8", "surrogatepass"), response.latency_s)
        return replace(read, discount=response.discount)
    except PassingFailure as failure:
        return response if response.text is None else replace(response, text=None, error=failure.reason, settled=False)


def decode(body: bytes) -> str:
    """Return a body as text, in whichever UTF it is."""
    return body.decode(json.detect_encoding(body), "replace")


def shorten(text: str) -> str:
    """Return a reason as it is printed and kept; the rest is in the body."""
    return printable(text[: 4 * MAX_REASON])[:MAX_REASON]


def read_problem(body: bytes) -> Problem | None:
    """Return what the body of a failed request says; None where it is no JSON."""
    reply = _load_or_none(body)
    return None if reply is None else find_problem(reply) or _problem_of(reply, reply)


def find_problem(reply: Any) -> Problem | None:
    """Return the error that a reply holds, whatever its form; None where it holds none."""
    if isinstance(reply, list) and len(reply) == 1:  # Gemini wraps errors in a list
        reply = reply[0]
    if not isinstance(reply, Mapping):
        return None
    if reply.get("error"):
        return _problem_of(reply["error"], reply)
    choice = _first_choice(reply)
    if choice is not None:
        return _problem_of(choice["error"], reply) if choice.get("error") else None
    if reply.get("object") == "error" or any(isinstance(reply.get(name), str) for name in ("message", "detail", "msg")):
        return _problem_of(reply, reply)
    return None


def _problem_of(error: Any, reply: Any) -> Problem:
    if not isinstance(error, Mapping):
        message = error if isinstance(error, str) else reply
        error = reply if isinstance(reply, Mapping) else {}
    else:
        message = next((error[n] for n in ("message", "detail", "msg") if error.get(n)), reply)
    inner = error.get("innererror")
    filtered = isinstance(inner, Mapping) and inner.get("code") == "ResponsibleAIPolicyViolation"
    words = [error.get(name) for name in ("code", "status", "type")]
    number = next((int(w) for w in words if re.fullmatch(r"[1-5]\d\d(?:\.0)?", str(w)) for w in [float(str(w))]), None)
    code = "content_filter" if filtered else " ".join(str(word) for word in words if isinstance(word, str) and word)
    text = message if isinstance(message, str) else json.dumps(message, default=str)
    param = error.get("param")
    return Problem(shorten(text), code, number, param if isinstance(param, str) else "")


def _refuse(problem: Problem, headers: Mapping[str, str], reply: Any, where: str) -> Response:
    """Return the error that stays, or raise the one that passes."""
    code, status = problem.code.lower(), problem.status
    filtered = bool(_FILTERS & set(code.split()))
    if status is not None:
        passing = (status in PASSING or status >= 500) and "insufficient_quota" not in code
        settled = status in SETTLED
    else:
        passing, settled = not _REFUSED.search(code), bool(_ABOUT_QUESTION.search(code))
    named = f" ({problem.code})" if where.startswith("error") and problem.code and problem.code not in problem.message else ""
    reason = shorten(f"{where}: {problem.message}{named}")
    if passing and not filtered:
        delay = read_delay(headers, reply, problem.message)
        limited = status == 429 or "rate_limit" in code
        raise PassingFailure(reason, delay, response=_paid_part(reply), limited=limited)
    if filtered:
        reason = shorten(f"content filter: {problem.message}")
    elif status is not None and 300 <= status < 400:
        reason = shorten(f"HTTP {status}: redirected to {headers.get('Location')}; name the right base_url")
    return Response(None, error=reason, settled=filtered or settled)


def _paid_part(reply: Any) -> Response | None:
    """What a failed reply cost, where it counts tokens all the same."""
    usage = reply.get("usage") if isinstance(reply, Mapping) else None
    return _with_usage(Response(None, body=json.dumps(reply)), read_usage(usage)) if usage else None


def _with_usage(response: Response, usage: Usage) -> Response:
    return replace(
        response,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        billed_usd=usage.billed_usd,
        outside=usage.outside,
    )


def _read_answer(reply: Any, blank: Response) -> Response:
    choice = _first_choice(reply)
    if choice is None:
        return replace(blank, error="answer has no choices")
    usage = read_usage(reply.get("usage"))
    finish = choice.get("finish_reason")
    finish = finish if isinstance(finish, str) else None
    kind = (finish or "").lower()
    response = replace(_with_usage(blank, usage), finish_reason="length" if kind in _CUT else finish)
    if kind in _BROKEN:
        raise PassingFailure(shorten(f"the answer broke off (finish reason {finish})"), billed=True, response=response)
    text, reasoning = _read_message(first_message(reply))
    if kind in _WITHHELD:
        return replace(response, error="content filter: the answer was withheld", settled=True)
    if not text.strip():
        return replace(response, error=_explain_empty(response, bool(reasoning or usage.reasoning_tokens)), settled=True)
    return replace(response, text=text)


def _explain_empty(response: Response, reasoned: bool) -> str:
    reason = f"empty answer (finish reason {shorten(str(response.finish_reason))})"
    if response.finish_reason == "length":
        spent = "all tokens" if response.completion_tokens is None else f"all {response.completion_tokens:,} tokens"
        return f"{reason}: {f'{spent} went into reasoning; ' if reasoned else ''}raise max_tokens"
    return f"{reason}: only reasoning came" if reasoned else reason


def _first_choice(reply: Any) -> Mapping[str, Any] | None:
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, Mapping) else None


def _read_message(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text of a message, a stated refusal being one, and its reasoning."""
    text, refusal, reasoning = _read_content(message.get("content"))
    for name in ("reasoning_content", "reasoning", "reasoning_details", "thinking"):
        value = message.get(name)
        reasoning += value if isinstance(value, str) else json.dumps(value) if value else ""
    stated = message.get("refusal")
    refusal = stated if isinstance(stated, str) and stated.strip() else refusal
    return (text if text.strip() else refusal), reasoning


def _read_content(content: Any) -> tuple[str, str, str]:
    """Return text, refusal and reasoning of ``content``: a string, one part, or a list of parts."""
    if isinstance(content, str):
        return content, "", ""
    texts, refusals, reasoning = [], [], []
    for part in content if isinstance(content, list) else [content]:
        if not isinstance(part, Mapping):
            continue
        kind = str(part.get("type") or "text").lower()
        value = part.get("text", part.get("content"))
        value = value.get("value") if isinstance(value, Mapping) else value  # the form of OpenAI's assistants
        if "think" in kind or "reason" in kind:
            reasoning.append(kind)
        elif kind == "refusal":
            refusals.append(part.get("refusal") or value)
        elif isinstance(value, str) and "tool" not in kind and "call" not in kind:
            texts.append(value)
    return "".join(texts), "".join(r for r in refusals if isinstance(r, str)), "".join(reasoning)


def _load_or_none(body: bytes) -> Any:
    try:
        return json.loads(decode(body))
    except (ValueError, RecursionError):
        return None


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
        reply |= {name: event[name] for name in ("error", "usage", "model") if event.get(name)}
        choices = event.get("choices")
        choices = choices if isinstance(choices, list) else []
        piece = next((c for c in choices if isinstance(c, Mapping) and not c.get("index")), None)
        if piece is not None:
            delta = piece.get("delta") or piece.get("message")
            _collect_pieces(pieces, delta)
            _collect_calls(calls, delta)
            choice |= {name: piece[name] for name in ("finish_reason", "error") if piece.get(name) is not None}
            reply["choices"] = [choice]
    message = {"role": "assistant", **{name: _join_pieces(found) for name, found in pieces.items()}}
    choice["message"] = message | ({"tool_calls": calls} if calls else {})
    return reply, ended or choice["finish_reason"] is not None or "error" in reply


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
