"""Replies of providers' own APIs, streams of theirs, limits with their delays, and refusals that are about something else."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from auto_router.collect.endpoint import find_change
from auto_router.collect.matching.verdict import match
from auto_router.collect.rate_limits import PassingFailure
from auto_router.collect.reply import Response, read_problem, read_reply

CHAT: dict[str, Any] = {"choices": [{"index": 0, "message": {"content": "5"}, "finish_reason": "stop"}]}
GOOGLE: dict[str, Any] = {"candidates": [{"content": {"parts": [{"text": "5"}]}, "finishReason": "STOP"}]}


def read(body: Any, status: int = 200, **headers: str) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)


def stream(*events: dict[str, Any]) -> bytes:
    return "".join(f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


START = {"type": "message_start", "message": {"usage": {"input_tokens": 20, "output_tokens": 1}}}
SAID = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "5"}}
THOUGHT = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "4?"}}
STOP = {"type": "message_stop"}


def ends(reason: str) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 10}}


@pytest.mark.parametrize(
    "body",
    [
        {"response_id": "r", "text": "5", "generation_id": "g", "finish_reason": "COMPLETE"},
        {"response": "5", "done": True, "done_reason": "stop"},
        {"results": [{"generated_text": "5", "stop_reason": "eos_token"}]},
        {"id": "p", "status": "succeeded", "output": ["", "5"], "error": None},
        {"promptFeedback": {"safetyRatings": []}, **GOOGLE},
        stream({"choices": [{"index": 0, "text": "5"}]}, {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}),
        stream(START, THOUGHT, SAID, ends("end_turn"), STOP),
        stream({"candidates": [{"content": {"parts": [{"text": "4?", "thought": True}]}}]}, GOOGLE),
    ],
)
def test_the_text_of_other_forms_is_found(body: Any) -> None:
    assert read(body).text == "5"


@pytest.mark.parametrize("status", [201, 203, 246])
def test_a_success_of_a_gateway_s_own_is_one(status: int) -> None:
    assert read(CHAT, status).text == "5"


def test_a_reason_with_its_detail_is_the_reason() -> None:
    """Gemini's compatible endpoint writes "content_filter: PROHIBITED_CONTENT"."""
    choice = {**CHAT["choices"][0], "finish_reason": "content_filter: PROHIBITED_CONTENT"}
    assert read({"choices": [choice]}).error == "content filter: the answer was withheld"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "content filter"),
        ({"status": "completed", "output": [{"type": "function_call", "name": "f"}]}, "tool_calls"),
        (stream(START, THOUGHT, ends("max_tokens"), STOP), "all 10 tokens went into reasoning"),
        (stream(START, ends("tool_use"), STOP), "tool_use"),
        (stream({"choices": [{"delta": {"reasoning_text": "4?"}, "finish_reason": "stop"}]}), "only reasoning"),
    ],
)
def test_what_holds_no_text_is_an_error_that_stays(body: Any, error: str) -> None:
    found = read(body)
    assert (found.text, found.settled) == (None, True)
    assert error in (found.error or "")


@pytest.mark.parametrize(
    "body",
    [
        {"id": "r", "status": "in_progress", "output": []},
        {"id": "r", "status": "queued", "output": []},
        {"status": "failed", "error": "out of memory", "output": None},
        stream(START, SAID),
        stream(START, SAID, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    ],
)
def test_what_is_not_whole_is_asked_again(body: Any) -> None:
    with pytest.raises(PassingFailure):
        read(body)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"promptTokens": 20, "completionTokens": 10}, (20, 10, None)),
        ({"inputTokens": 20, "outputTokens": 10, "totalTokens": 30}, (20, 10, None)),
        ({"prompt_tokens": 2000, "completion_tokens": 10, "cached_tokens": 1800}, (2000, 10, 1800)),
    ],
)
def test_counts_under_other_names(usage: dict[str, int], counts: tuple[int | None, ...]) -> None:
    found = read(CHAT | {"usage": usage})
    assert (found.prompt_tokens, found.completion_tokens, found.cached_tokens) == counts


def test_counts_of_a_stream_and_of_google_are_put_together() -> None:
    told = read(stream(START, SAID, ends("end_turn"), STOP))
    assert (told.prompt_tokens, told.completion_tokens) == (20, 10)
    cached = {"promptTokenCount": 2000, "candidatesTokenCount": 1, "cachedContentTokenCount": 1800, "totalTokenCount": 2001}
    assert read(GOOGLE | {"usageMetadata": cached}).cached_tokens == 1800


@pytest.mark.parametrize(
    "message",
    [
        "Your credit balance is too low to access the Anthropic API.",
        "API key not valid. Please pass a valid API key.",
        "Invalid model name passed in model=x.",
        "The model grok-x does not exist or your team does not have access to it.",
    ],
)
def test_what_is_about_the_account_or_the_model_is_asked_again_by_the_next_run(message: str) -> None:
    found = read({"error": {"type": "invalid_request_error", "message": message}}, 400)
    assert (found.text, found.settled) == (None, False)
    assert message[:20] in (found.error or "")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "Input was flagged by moderation"),
        (403, "Content violates usage guidelines."),
        (400, "Your request was rejected as a result of our safety system."),
        (400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy."),
        (451, "Withheld by moderation"),
    ],
)
def test_a_moderated_prompt_is_not_asked_again(status: int, message: str) -> None:
    found = read({"error": {"message": message}}, status)
    assert (found.settled, (found.error or "").partition(":")[0]) == (True, "content filter")


def test_a_refusal_about_the_question_stays() -> None:
    assert read({"error": {"message": "This model does not support image inputs."}}, 400).settled
    assert not read({"error": {"message": "Project does not have access to this.", "code": "denied"}}, 403).settled


LIMIT = {"error": {"message": "limit"}}


@pytest.mark.parametrize(
    ("body", "headers", "delay"),
    [
        (LIMIT, {"x-ratelimit-reset-requests": "17s"}, 17.0),
        (LIMIT, {"x-ratelimit-reset-tokens": "6m12s", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-requests": "9m",
                 "x-ratelimit-remaining-requests": "5"}, 372.0),
        (LIMIT, {"x-ratelimit-reset-tokens": "30s", "x-ratelimit-remaining-tokens": "40"}, None),
        (LIMIT, {"x-ratelimit-reset": "soon"}, None),
        (LIMIT, {"x-ratelimit-reset": "nan"}, None),
        (LIMIT, {"x-ratelimit-reset": "9", "retry-after": "3"}, 3.0),
        ({"error": "loading", "estimated_time": 20.5}, {}, 20.5),
    ],
)  # fmt: skip
def test_a_used_up_limit_says_when_it_begins_anew(body: Any, headers: dict[str, str], delay: float | None) -> None:
    with pytest.raises(PassingFailure) as failure:
        read_reply(429, {"Retry-After": headers.pop("retry-after")} if "retry-after" in headers else headers,
                   json.dumps(body).encode())  # fmt: skip
    assert failure.value.retry_after == delay


@pytest.mark.parametrize("factor", [1, 1000])
def test_a_time_since_1970_in_a_body_is_a_delay(factor: int) -> None:
    inside = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(round((time.time() + 20) * factor))}
    with pytest.raises(PassingFailure) as failure:
        read({"error": {"code": 429, "message": "limit", "metadata": {"headers": inside}}}, 429)
    assert failure.value.retry_after == pytest.approx(20, abs=3)


def test_a_server_error_waits_for_no_limit() -> None:
    with pytest.raises(PassingFailure) as failure:
        read({"error": {"message": "boom"}}, 500, **{"x-ratelimit-reset-requests": "6m"})
    assert failure.value.retry_after is None


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for claude", 8192),
        ("`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the "
         "`context_window` for this model", 8192),
        ("The maximum tokens you requested exceeds the model limit of 4096. Try again with a lower value.", 4096),
        ("input length and `max_tokens` exceed context limit: 188240 + 100000 > 200000, decrease input length", None),
        ("prompt is too long: 208310 tokens > 20000 maximum", None),
        ("This model's maximum context length is 8192 tokens, however you requested max_tokens 9000", None),
    ],
)  # fmt: skip
def test_the_largest_answer_is_read_from_the_refusal(message: str, limit: int | None) -> None:
    problem = read_problem(json.dumps({"error": {"message": message}}).encode())
    assert problem is not None
    change = find_change({"max_tokens": 100_000}, problem)
    assert (change and change.cap) == limit


@pytest.mark.parametrize(
    "text",
    [
        "<|START_THINKING|>4?<|END_THINKING|><|START_RESPONSE|>5<|END_RESPONSE|>",
        "<|begin_of_thought|>4?<|end_of_thought|>\n<|begin_of_solution|>5<|end_of_solution|>",
    ],
)
def test_marks_around_an_answer_are_no_part_of_it(text: str) -> None:
    assert match(text, ("5",), ()) is True
