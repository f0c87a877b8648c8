"""Conversations and agents through a real LiteLLM proxy: who gets what, who keeps what, and whose ids go where.

Needs the proxy, which is in an environment of its own: ``make test-litellm``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import pytest

if find_spec("litellm") is None:  # not importorskip: importing it asks for price lists on the net
    pytest.skip("the LiteLLM proxy is in an environment of its own: make test-litellm", allow_module_level=True)

import yaml

from auto_router.data.pool import ModelFacts
from tests.checkout import ROOT
from tests.data.request_kinds import KINDS
from tests.serve.endpoints import Endpoint, serving
from tests.serve.made import MATH, POEM, save_made
from tests.serve.processes import Running, running
from tests.serve.request_cases import CASES, PATHS, RequestCase

KEY = "sk-for-tests-only"
FACTS = {
    "math": ModelFacts(modalities=("text",), capabilities=("tools", "parallel_tools", "json_schema", "reasoning")),
    "poet": ModelFacts(modalities=("text",), context_window=8_192, capabilities=()),
    "eyes": ModelFacts(modalities=("text", "image"), capabilities=("image", "tools", "pdf", "audio")),
}
Reply = tuple[int, dict[str, Any], dict[str, str]]


@pytest.fixture(scope="module")
def endpoints() -> Iterator[dict[str, Endpoint]]:
    with serving(*FACTS) as found:
        for endpoint in found:
            endpoint.can = frozenset(FACTS[endpoint.name].capabilities or ())
        yield {endpoint.name: endpoint for endpoint in found}


@pytest.fixture(scope="module")
def proxy(endpoints: dict[str, Endpoint], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("litellm")
    path = save_made(folder / "nn_router.pth", facts=FACTS)
    shutil.copy(ROOT / "examples" / "litellm" / "router_callback.py", folder)
    config = yaml.safe_load((ROOT / "examples" / "litellm" / "config.yaml").read_text())
    config["model_list"] = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{endpoint.name}", "api_base": endpoint.url, "api_key": "none"},
            "model_info": {"supports_reasoning": True},
        }
        for name, endpoint in [*endpoints.items(), ("auto", endpoints["math"])]
    ]
    config["litellm_settings"]["use_chat_completions_url_for_anthropic_messages"] = True
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    environment = {"AUTO_ROUTER_PATH": str(path), "LITELLM_MASTER_KEY": KEY}
    command = ["examples/litellm/run.sh", str(folder / "config.yaml"), "--keepalive_timeout", "60"]
    with running(command, "/health/liveliness", folder / "log", environment) as found:
        yield found


@pytest.fixture(autouse=True)
def reset(endpoints: dict[str, Endpoint]) -> None:
    for endpoint in endpoints.values():
        endpoint.down, endpoint.refused = False, 0
        endpoint.bodies.clear()


def say(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def post(proxy: Running, api: str, body: dict[str, Any], **headers: str) -> Reply:
    asked = {"model": "auto", **({"max_tokens": 9} if api == "messages" else {}), **body}
    status, said, told = proxy.ask("POST", PATHS[api], asked, {"Authorization": f"Bearer {KEY}"} | headers, seconds=120)
    return status, json.loads(said), told


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_goes_to_a_model_that_has_what_it_needs(
    proxy: Running, endpoints: dict[str, Endpoint], case: RequestCase
) -> None:
    """The others would answer 400: none of them is asked."""
    status, said, told = post(proxy, case.api, case.body)
    able = [name for name, facts in FACTS.items() if not facts.count_missing(case.needs)]
    assert told["x-auto-router-model"] in able, said
    assert told["x-auto-router-reason"] not in ("no_prompt", "internal_error", "no_model_fits")
    if case.tokens > 8_192:
        assert told["x-auto-router-model"] != "poet"
    assert status == 200, said
    assert not any(endpoint.refused for endpoint in endpoints.values())
    assert [name for name, endpoint in endpoints.items() if endpoint.bodies] == [told["x-auto-router-model"]]


def test_requests_of_every_kind_go_to_a_model_that_has_what_they_need(proxy: Running, endpoints: dict[str, Endpoint]) -> None:
    """Eight at a time. What the proxy cannot translate it refuses itself, with 400; what was decided it says all the same."""
    cases = [case for case in KINDS if case.is_plain and case.api in PATHS]

    def send(case: RequestCase) -> Reply:
        named = {} if case.session else {"x-session-id": case.name}  # cases that begin alike are not one conversation
        return post(proxy, case.api, case.body, **named | case.headers)

    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(send, cases))
    asked_others = {}
    for case, (status, said, told) in zip(cases, replies, strict=True):
        able = [name for name, facts in FACTS.items() if not facts.count_missing(case.needs)]
        assert told["x-auto-router-model"] in able or (not able and told["x-auto-router-reason"] == "no_model_fits"), case.name
        assert told["x-auto-router-reason"] not in ("no_prompt", "internal_error"), case.name
        assert status == 200 or (status == 400 and "litellm" in json.dumps(said)), (case.name, said)
        is_text_file = "file_data" in json.dumps(case.body) and "pdf" not in case.needs  # the endpoints take these for PDFs
        if able and status == 200 and not is_text_file and told["x-litellm-model-group"] != told["x-auto-router-model"]:
            asked_others[case.name] = (case.needs, told["x-auto-router-model"], told["x-litellm-model-group"])
    assert asked_others == {}
    assert sum(status == 400 for status, _, _ in replies) < len(cases) / 10


def test_a_conversation_keeps_its_model(proxy: Running) -> None:
    turns = [say("user", MATH)]
    status, said, told = post(proxy, "chat", {"messages": turns})
    assert (status, told["x-auto-router-model"], told["x-auto-router-session"]) == (200, "math", "new")
    turns += [said["choices"][0]["message"], say("user", "ok thanks, shorter please")]
    told = post(proxy, "chat", {"messages": turns})[2]
    assert (told["x-auto-router-model"], told["x-auto-router-session"]) == ("math", "kept")
    for text in (POEM, "and another"):
        told = post(proxy, "responses", {"input": text}, **{"x-session-id": "one-session"})[2]
        assert told["x-auto-router-model"] == "poet"


def test_a_session_goes_on_with_the_model_that_answered(proxy: Running, endpoints: dict[str, Endpoint]) -> None:
    headers = {"x-session-id": "another-session"}
    endpoints["math"].down = True
    status, _, told = post(proxy, "chat", {"messages": [say("user", MATH)]}, **headers)
    answered = told["x-litellm-model-group"]
    assert status == 200
    assert answered != told["x-auto-router-model"] == "math"
    endpoints["math"].down = False
    told = post(proxy, "chat", {"messages": [say("user", MATH)]}, **headers)[2]
    assert (told["x-auto-router-model"], told["x-auto-router-session"]) == (answered, "kept")


def test_a_response_is_continued_by_the_model_that_made_it(proxy: Running, endpoints: dict[str, Endpoint]) -> None:
    status, said, told = post(proxy, "responses", {"input": POEM})
    assert (status, told["x-auto-router-model"]) == (200, "poet"), said
    output = [{"type": "function_call_output", "call_id": "c1", "output": "42"}]
    for given in (MATH, output):
        endpoints["poet"].bodies.clear()
        endpoints["poet"].can = None
        status, answer, told = post(proxy, "responses", {"input": given, "previous_response_id": said["id"]})
        endpoints["poet"].can = frozenset()
        assert status == 200, (said["id"], answer)
        assert (told["x-auto-router-model"], told["x-auto-router-session"]) == ("poet", "pinned")
        assert [body["previous_response_id"] for body in endpoints["poet"].bodies] == ["resp-1"]
    assert not endpoints["math"].bodies
    assert not endpoints["eyes"].bodies


def test_an_id_that_nobody_here_made_is_sent_to_nobody(proxy: Running, endpoints: dict[str, Endpoint]) -> None:
    output = [{"type": "function_call_output", "call_id": "c1", "output": "42"}]
    for given in ("and in French?", output):
        status, said, _ = post(proxy, "responses", {"input": given, "previous_response_id": "resp_123"})
        assert (status, "was not made here" in json.dumps(said)) == (400, True)
    assert not any(endpoint.bodies for endpoint in endpoints.values())
