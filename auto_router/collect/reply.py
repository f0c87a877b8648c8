"""The one reader of what endpoints send back: a body of any form becomes a response, a reason, or something to try again.

Endpoints that speak chat completions differ in all that surrounds the text: content as parts, refusals and reasoning in fields
of their own, errors inside HTTP 200, events instead of JSON. What was paid for stays in :attr:`Response.body` as it came, so
that a later version of this module can read it again (:func:`read_again`) without anybody being asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from auto_router.collect.money import Usage, read_usage
from auto_router.collect.rate_limits import PassingFailure, read_delay, read_reset
from auto_router.collect.reply_forms import as_chat, is_event_stream, join_events
from auto_router.data.json_files import read_json
from auto_router.data.records import MAX_SECONDS
from auto_router.errors import printable

PASSING = {408, 409, 425, 429}  # with 5xx: what can succeed when asked again a little later
SETTLED = {400, 413, 415, 422}  # about the question itself: asking the same again gets the same
MAX_REASON = 300  # characters

_FILTERS = {"content_filter", "content_policy_violation", "responsibleaipolicyviolation"}
_WITHHELD = {"content_filter", "content_filtered", "safety", "sensitive", "recitation", "prohibited_content", "blocklist"}
_WITHHELD |= {"spii", "image_safety", "guardrail_intervened"}
_CUT = {"length", "max_tokens", "model_length", "max_output_tokens"}
_BROKEN = {"error", "abort", "aborted", "cancelled", "canceled", "failed", "timeout", "server_error", "network_error"}
_BROKEN |= {"insufficient_system_resource", "malformed_function_call", "in_progress", "queued"}
# Codes in words, of errors that come with HTTP 200.
_REFUSED = re.compile(
    r"invalid|not.?found|auth|permission|forbidden|unsupported|billing|insufficient_quota|denied|bad.?request|context"
)
_ABOUT_QUESTION = re.compile(
    r"invalid_?(?:request|argument|param|prompt|image)|bad.?request|context_length|unsupported_(?!model)"
)
# Words of a refusal that is about the prompt, whatever its status; and of one that is about the account or the model's name.
_MODERATED = re.compile(
    r"\bflagged\b|\bmoderation\b|content[ _](?:management )?polic|safety (?:system|filter|polic)|usage (?:polic|guideline)",
    re.IGNORECASE,
)
_ABOUT_ACCOUNT = re.compile(
    r"credit balance|\bbilling\b|\bpayment\b|insufficient[_ ](?:quota|balance|funds|credits?)|\bapi[_ ]?key\b|\barrears\b"
    r"|\b(?:account|organization|subscription) (?:is|has|was)\b|(?:invalid|unknown|no such) model\b"
    r"|\bmodel\b.{0,80}\b(?:does not exist|not found|is not available|no longer available)",
    re.IGNORECASE,
)
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
    if not 200 <= status < 300:  # gateways have successes of their own, as Portkey's 246
        refusal = read_problem(body) or Problem(shorten(decode(body)))
        return _refuse(replace(refusal, status=status), headers, read_json(decode(body)), f"HTTP {status}")
    text = decode(body)
    try:
        reply, whole = load_reply(text)
    except (ValueError, RecursionError) as error:
        return Response(None, latency_s=latency_s, error=shorten(f"answer is not JSON: {error}"), body=text)
    if not whole:
        raise PassingFailure("the stream broke off", billed=True)
    problem = find_problem(reply)
    if problem is not None:
        return _refuse(problem, headers, reply, f"error in a reply of HTTP {status}")
    recorded = reply.get(RECORDED_LATENCY) if isinstance(reply, Mapping) else None
    known = recorded if isinstance(recorded, int | float) and 0.0 < recorded <= MAX_SECONDS else latency_s
    return _read_answer(reply, Response(None, latency_s=known, body=text))


def load_reply(text: str) -> tuple[Any, bool]:
    """Return what a body holds, a reply of the Responses API as a chat completion, and whether it came to its end.

    Raises:
        ValueError: it is neither JSON nor a stream of events.
    """
    reply, whole = join_events(text) if is_event_stream(text) else (json.loads(text), True)
    return as_chat(reply), whole


def first_message(reply: Any) -> Mapping[str, Any]:
    """Return the message of a chat completion; an empty one where it has none."""
    choice = _first_choice(reply) or {}
    message = choice.get("message") or choice.get("delta") or choice.get("text")  # "text": of the completions of old
    message = {"content": message} if isinstance(message, str) else message
    message = message if isinstance(message, Mapping) else {}
    return {"refusal": choice["refusal"], **message} if choice.get("refusal") else message


def read_again(response: Response) -> Response:
    """Return a kept response as this version reads its body; as it is where no body was kept."""
    if response.body is None:
        return response
    try:
        read = read_reply(200, {}, response.body.encode("utf-8", "surrogatepass"), response.latency_s)
        return replace(read, discount=response.discount) if response.discount != read.discount else read
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
    reply = read_json(decode(body))
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
    if choice is not None and reply.get("success") is not False:
        return _problem_of(choice["error"], reply) if choice.get("error") else None
    if reply.get("object") == "error" or any(isinstance(reply.get(name), str) for name in ("message", "detail", "msg")):
        return _problem_of(reply, reply)
    if reply.get("success") is False or reply.get("detail"):
        errors = reply.get("errors")
        return _problem_of(errors[0] if isinstance(errors, list) and errors else reply.get("detail"), reply)
    told = reply.get("base_resp")
    if isinstance(told, Mapping) and told.get("status_code"):
        return Problem(shorten(str(told.get("status_msg") or told)), str(told["status_code"]))
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
        settled = status in SETTLED and not _ABOUT_ACCOUNT.search(f"{code} {problem.message}")
        filtered |= status in (*SETTLED, 403, 451) and _MODERATED.search(problem.message) is not None
    else:
        passing, settled = not _REFUSED.search(code), bool(_ABOUT_QUESTION.search(code))
    named = f" ({problem.code})" if where.startswith("error") and problem.code and problem.code not in problem.message else ""
    reason = shorten(f"{where}: {problem.message}{named}")
    if passing and not filtered:
        limited = status == 429 or "rate_limit" in code
        delay = read_delay(headers, reply, problem.message)
        delay = read_reset(headers, reply) if delay is None and limited else delay
        usage = reply.get("usage") if isinstance(reply, Mapping) else None  # some count tokens all the same
        paid = _with_usage(Response(None, body=json.dumps(reply)), read_usage(usage)) if usage else None
        raise PassingFailure(reason, delay, response=paid, limited=limited)
    if filtered:
        reason = shorten(f"content filter: {problem.message}")
    elif status is not None and 300 <= status < 400:
        reason = shorten(f"HTTP {status}: redirected to {headers.get('Location')}; name the right base_url")
    return Response(None, error=reason, settled=filtered or settled)


def _with_usage(response: Response, usage: Usage, **more: Any) -> Response:
    shared = ("prompt_tokens", "completion_tokens", "cached_tokens", "billed_usd", "outside")
    return replace(response, **{name: getattr(usage, name) for name in shared}, **more)


def _read_answer(reply: Any, blank: Response) -> Response:
    choice = _first_choice(reply)
    groq = reply.get("x_groq") if isinstance(reply, Mapping) else None
    counts = reply.get("usage") if isinstance(reply, Mapping) else None
    usage = read_usage(groq.get("usage") if counts is None and isinstance(groq, Mapping) else counts)
    if choice is None:
        return replace(_with_usage(blank, usage), error="answer has no choices")
    finish = choice.get("finish_reason")
    finish = finish if isinstance(finish, str) else None
    own = choice.get("native_finish_reason")
    kind = (finish or (own if isinstance(own, str) else "")).lower().replace("-", "_").partition(":")[0].strip()
    response = _with_usage(blank, usage, finish_reason="length" if kind in _CUT else finish)
    if kind in _BROKEN or kind.endswith("_error"):
        raise PassingFailure(shorten(f"the answer broke off (finish reason {finish or own})"), billed=True, response=response)
    text, reasoning = read_message(first_message(reply))
    if kind in _WITHHELD:
        return replace(response, error="content filter: the answer was withheld", settled=True)
    if text.strip() and usage.completion_tokens == 0:  # nobody writes a text in no tokens: they were not counted
        response = replace(response, prompt_tokens=usage.prompt_tokens or None, completion_tokens=None)
    if not text.strip():
        return replace(response, error=_explain_empty(response, bool(reasoning or usage.reasoning_tokens)), settled=True)
    return replace(response, text=text)


def _explain_empty(response: Response, reasoned: bool) -> str:
    reason = f"empty answer (finish reason {shorten(str(response.finish_reason))})"
    if response.finish_reason == "refusal":
        return "the model refused, and said nothing"
    if response.finish_reason == "length":
        spent = "all tokens" if response.completion_tokens is None else f"all {response.completion_tokens:,} tokens"
        return f"{reason}: {f'{spent} went into reasoning; ' if reasoned else ''}raise max_tokens"
    return f"{reason}: only reasoning came" if reasoned else reason


def _first_choice(reply: Any) -> Mapping[str, Any] | None:
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    known = [choice for choice in choices if isinstance(choice, Mapping)] if isinstance(choices, list) else []
    return next((choice for choice in known if choice.get("index") in (None, 0)), known[0] if known else None)


def read_message(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text of a message, a stated refusal being one, and its reasoning."""
    text, refusal, reasoning = _read_content(message.get("content"))
    for name in ("reasoning_content", "reasoning", "reasoning_details", "reasoning_text", "thinking", "thinking_blocks"):
        value = message.get(name)
        reasoning += value if isinstance(value, str) else json.dumps(value) if value else ""
    stated = message.get("refusal")
    refusal = stated if isinstance(stated, str) and stated.strip() else refusal
    audio = message.get("audio")
    spoken = audio.get("transcript") if isinstance(audio, Mapping) else None
    told = next((words for words in (text, refusal, spoken) if isinstance(words, str) and words.strip()), "")
    return told, reasoning


def _read_content(content: Any) -> tuple[str, str, str]:
    """Return text, refusal and reasoning of ``content``: a string, a part, a list of parts, or a JSON value as the answer."""
    if isinstance(content, int | float) or (isinstance(content, Mapping) and not {"type", "text", "content"} & content.keys()):
        return json.dumps(content, ensure_ascii=False), "", ""
    if isinstance(content, str):
        return content, "", ""
    texts, refusals, reasoning = [], [], []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            texts.append(part)
        if not isinstance(part, Mapping):
            continue
        kind = str(part.get("type") or "text").lower()
        value = part.get("text", part.get("content"))
        value = value.get("value") if isinstance(value, Mapping) else value  # the form of OpenAI's assistants
        if "think" in kind or "reason" in kind or part.get("thought"):
            reasoning.append(kind)
        elif kind == "refusal":
            refusals.append(part.get("refusal") or value)
        elif isinstance(value, str) and not any(word in kind for word in ("tool", "call", "error")):
            texts.append(value)
    return "".join(texts), "".join(r for r in refusals if isinstance(r, str)), "".join(reasoning)
