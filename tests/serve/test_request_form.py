"""Requests that no model can answer are told so before one is asked; what some model takes passes."""

from __future__ import annotations

from typing import Any

import pytest

from auto_router.serve.fallback import form_error, is_malformed
from tests.serve.request_cases import WRONG_FORMS

TOLD = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(("body", "said"), WRONG_FORMS)
def test_a_wrong_form_is_named(body: dict[str, Any], said: str) -> None:
    assert said in str(form_error({"model": "auto", "messages": TOLD} | body))


@pytest.mark.parametrize("given", [5, {"type": "text", "text": "hi"}])
def test_items_of_responses_have_a_narrower_form(given: Any) -> None:
    assert "input[0].content" in str(form_error({"input": [{"role": "user", "content": given}]}))


@pytest.mark.parametrize(
    "body",
    [
        {"messages": TOLD, "tools": None, "response_format": None, "extra_headers": {"anthropic-beta": "x"}, "timeout": 3.5},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, "bare"]}]},
        {"messages": [{"role": "assistant", "tool_calls": []}, {"role": "assistant", "content": None, "tool_calls": [{}]}]},
        {"input": "hi"}, {"input": [{"type": "function_call_output", "call_id": "c", "output": "42"}]}, {"input": None}, {},
        {"messages": TOLD, "api_key": None, "metadata": "odd", "tools": [{"type": "web_search"}], "api_version": "2024-10-21"},
        {"messages": TOLD, "tools": [{"type": "function", "function": {"name": "f"}}], "allowed_openai_params": ["tools"]},
        {"input": "hi", "tools": [{"type": "function", "name": "f"}]},
        {"messages": [], "user": 5},
    ],
)  # fmt: skip
def test_what_a_model_may_take_passes(body: dict[str, Any]) -> None:
    assert form_error(body) is None


def test_an_error_tells_of_a_malformed_request() -> None:
    assert is_malformed(ValueError("Out of range float values are not JSON compliant"))
    assert is_malformed(ValueError("Invalid user message at index 0."))
    assert not is_malformed(ValueError("'NoneType' object is not subscriptable")), "an odd answer of a provider's is none"
