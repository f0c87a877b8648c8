"""The LiteLLM proxy with the router for real: ``examples/litellm``, two loopback endpoints, the openai client.

Needs the proxy, which is in an environment of its own: ``make test-litellm``.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("litellm") is None:  # not importorskip: importing it asks for price lists on the net
    pytest.skip("the LiteLLM proxy is in an environment of its own: make test-litellm", allow_module_level=True)

import yaml
from openai import APIError, APIStatusError, AsyncOpenAI, BadRequestError, InternalServerError, OpenAI

from auto_router.data.request import Request
from auto_router.decide.policy import RouterSettings
from auto_router.errors import ConfigError
from auto_router.route.feedback import load_feedback
from auto_router.route.router import ModelRouter
from tests.checkout import ROOT
from tests.serve.endpoints import Endpoint, serving
from tests.serve.made import MATH, NAMES, POEM, every_setting, local_encoder, save_made
from tests.serve.processes import Running, running

KEY = "sk-for-tests-only"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_made(tmp_path_factory.mktemp("artifact") / "nn_router.pth")


@pytest.fixture(scope="module")
def endpoints() -> Iterator[dict[str, Endpoint]]:
    with serving("math", "poet") as found:
        yield {endpoint.name: endpoint for endpoint in found}


@pytest.fixture(scope="module")
def proxy(path: Path, endpoints: dict[str, Endpoint], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The example's configuration, with the test's two models behind it."""
    folder = tmp_path_factory.mktemp("litellm")
    example = ROOT / "examples" / "litellm"
    shutil.copy(example / "router_callback.py", folder)
    config = yaml.safe_load((example / "config.yaml").read_text())
    for place, entry in enumerate(config["model_list"]):
        endpoint = endpoints["math" if place == 0 else "poet"]
        entry["model_name"] = endpoint.name if place < 2 else entry["model_name"]
        entry["litellm_params"] |= {"model": f"openai/{endpoint.name}", "api_base": endpoint.url}
    # The endpoints speak chat completions only; the proxy would ask an OpenAI provider in its newer API.
    config["litellm_settings"]["use_chat_completions_url_for_anthropic_messages"] = True
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    kept = str(folder / "feedback.jsonl")
    environment = {"AUTO_ROUTER_PATH": str(path), "LITELLM_MASTER_KEY": KEY, "AUTO_ROUTER_FEEDBACK_FILE": kept}
    # Connections to the tests' clients outlive every pause between two requests.
    command = ["examples/litellm/run.sh", str(folder / "config.yaml"), "--keepalive_timeout", "60"]
    with running(command, "/health/liveliness", folder / "log", environment) as found:
        yield found


@pytest.fixture(scope="module")
def client(proxy: Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{proxy.url}/v1", api_key=KEY, max_retries=0) as found:
        yield found


@pytest.fixture(autouse=True)
def all_up(endpoints: dict[str, Endpoint]) -> None:
    for endpoint in endpoints.values():
        endpoint.down = False
        endpoint.bodies.clear()
        endpoint.callers.clear()


def ask(client: OpenAI, text: Any, model: str = "auto", **more: Any) -> tuple[Any, dict[str, str]]:
    """Return the completion and the response's headers."""
    raw = client.chat.completions.with_raw_response.create(model=model, messages=[{"role": "user", "content": text}], **more)
    return raw.parse(), dict(raw.headers)


def test_a_prompt_is_answered_by_the_model_the_router_chose(client: OpenAI, path: Path, proxy: Running) -> None:
    router = ModelRouter(path, encoder=local_encoder(), device="cpu")
    for text, name in ((MATH, "math"), (POEM, "poet")):
        answer, headers = ask(client, text)
        decision = router.decide(text, models=["math", "poet"])
        assert decision.model == name
        assert answer.choices[0].message.content == f"{name} says hello"
        assert headers["x-auto-router-model"] == name
        assert headers["x-auto-router-reason"] == decision.reason
        assert float(headers["x-auto-router-probability"]) == pytest.approx(decision.probabilities[name], abs=1e-3)
        assert headers["x-litellm-model-group"] == name
    assert re.search(r"model=math reason=\w+ p=0\.\d+", proxy.log)
    assert MATH not in proxy.log


def test_the_hook_takes_every_setting_and_no_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from fastapi import FastAPI
    from litellm.proxy.auth.route_checks import RouteChecks

    from auto_router.serve.litellm_hook import RouterHook

    given = every_setting(path)
    hook = RouterHook(**given)
    try:
        assert hook.service.settings == RouterSettings(**given)
        served = asyncio.run(hook.service.decide(Request(MATH)))
        assert (served.decision.model, served.decision.reason) == ("poet", "best_value_qualified")
        hook.attach(FastAPI(), 1)
        for route, is_for_all in (("/v1/feedback", True), ("/auto_router/explain/x", False), ("/auto_router/drift", False)):
            assert RouteChecks.is_llm_api_route(route) == is_for_all, "what keys of no administrator may ask"
    finally:
        hook.service.close()
    with pytest.raises(ConfigError, match=r"unknown names \['fallback'\]; allowed are .*'fallback_model'"):
        RouterHook(router_path=str(path), fallback="poet")


def test_operating_points_have_names(client: OpenAI) -> None:
    assert ask(client, MATH, "auto-economy")[1]["x-auto-router-model"] == "poet"
    assert ask(client, MATH, "auto-accuracy")[1]["x-auto-router-model"] == "math"
    with pytest.raises(BadRequestError, match="quality"):
        ask(client, MATH, "auto-quality")
    answer, headers = ask(client, MATH, "poet")
    assert answer.choices[0].message.content == "poet says hello"
    assert "x-auto-router-model" not in headers


def test_a_stream_is_streamed(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": POEM}], stream=True
    )
    assert raw.headers["x-auto-router-model"] == "poet"
    words = [chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices]
    assert "".join(words) == "poet says hello"
    assert len(words) >= 3


def test_the_request_reaches_the_model_untouched(client: OpenAI, endpoints: dict[str, Endpoint]) -> None:
    uri = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
    content = [{"type": "text", "text": MATH}, {"type": "image_url", "image_url": {"url": uri, "detail": "low"}}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": content},
    ]
    tool = {"type": "function", "function": {"name": "greet", "parameters": {"type": "object", "properties": {}}}}
    answer = client.chat.completions.create(
        model="auto", messages=messages, tools=[tool], tool_choice="auto", temperature=0.5, max_tokens=7, seed=3
    )  # type: ignore[call-overload]
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "greet"
    (body,) = [body for endpoint in endpoints.values() for body in endpoint.bodies]
    assert body["messages"] == messages
    assert body["tools"] == [tool]
    assert {name: body[name] for name in ("tool_choice", "temperature", "max_tokens", "seed")} == {
        "tool_choice": "auto", "temperature": 0.5, "max_tokens": 7, "seed": 3,
    }  # fmt: skip
    assert not {"fallbacks", "metadata", "auto_router"} & set(body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("text", "name"), [(MATH, "math"), (POEM, "poet")])
@pytest.mark.parametrize("route", ["messages", "responses"])
def test_other_apis_are_routed_and_say_so_too(proxy: Running, route: str, text: str, name: str, stream: bool) -> None:
    before, headers = answers(proxy), {"Authorization": f"Bearer {KEY}"}
    asked = {"input": text} if route == "responses" else {"max_tokens": 9, "messages": [{"role": "user", "content": text}]}
    status, said, told = proxy.ask("POST", f"/v1/{route}", {"model": "auto", "stream": stream} | asked, headers)
    assert status == 200, said
    assert re.search(rf"{name}.{{0,300}} says.{{0,300}} hello", said.decode(), re.DOTALL)
    assert (told["x-auto-router-model"], told["x-auto-router-reason"]) == (name, "best_value_qualified")
    assert 0.5 < float(told["x-auto-router-probability"]) < 1
    assert answers(proxy) - before == Counter({(name, name): 1})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", ["messages", "responses"])
def test_in_other_apis_too_the_second_choice_answers_where_the_first_fails(
    proxy: Running, client: OpenAI, endpoints: dict[str, Endpoint], route: str, stream: bool
) -> None:
    before, headers = answers(proxy), {"Authorization": f"Bearer {KEY}"}
    endpoints["math"].down = True
    asked = {"input": MATH} if route == "responses" else {"max_tokens": 9, "messages": [{"role": "user", "content": MATH}]}
    status, said, told = proxy.ask("POST", f"/v1/{route}", {"model": "auto", "stream": stream} | asked, headers)
    assert (status, told["x-auto-router-model"]) == (200, "math"), said
    assert b"poet" in said
    assert answers(proxy) - before == Counter({("math", "poet"): 1})
    recovered(client, MATH, "math", endpoints)


def test_what_has_no_prompt_is_answered_all_the_same(client: OpenAI) -> None:
    answer, headers = ask(client, "", "auto")
    assert headers["x-auto-router-reason"] == "no_prompt"
    assert answer.choices[0].message.content == "math says hello"


def test_where_the_first_choice_fails_the_second_answers(
    client: OpenAI, endpoints: dict[str, Endpoint], proxy: Running
) -> None:
    before = answers(proxy)
    endpoints["math"].down = True
    answer, headers = ask(client, MATH)
    assert answer.choices[0].message.content == "poet says hello"
    assert (headers["x-auto-router-model"], headers["x-litellm-model-group"]) == ("math", "poet")
    assert headers["x-litellm-attempted-fallbacks"] == "1"
    stream = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": MATH}], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "poet says hello"
    assert answers(proxy) - before == Counter({("math", "poet"): 2})
    recovered(client, MATH, "math", endpoints)


def test_a_connection_that_idled_is_not_used_again(proxy: Running, endpoints: dict[str, Endpoint]) -> None:
    """Servers on uvicorn close connections that idled for 5 s; a request on its way then would fail."""
    body = {"model": "auto", "messages": [{"role": "user", "content": MATH}]}
    for seconds in (0.0, 0.0, 4.2, 0.0):
        time.sleep(seconds)
        assert proxy.ask("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"})[0] == 200
    before, same, after, again = endpoints["math"].callers
    assert before == same != after == again


def test_where_all_fail_the_client_gets_a_proper_error(client: OpenAI, endpoints: dict[str, Endpoint], proxy: Running) -> None:
    before = answers(proxy)
    for endpoint in endpoints.values():
        endpoint.down = True
    with pytest.raises(InternalServerError, match="is down"):
        ask(client, POEM)
    assert [bool(endpoint.bodies) for endpoint in endpoints.values()] == [True, True]
    assert answers(proxy) - before == Counter({("poet", "none"): 1})
    recovered(client, POEM, "poet", endpoints)


def recovered(client: OpenAI, text: str, name: str, endpoints: dict[str, Endpoint]) -> None:
    """Wait until a model that failed has cooled down (5 s in the proxy)."""
    for endpoint in endpoints.values():
        endpoint.down = False
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if ask(client, text)[0].choices[0].message.content == f"{name} says hello":
                return
        except APIStatusError:
            pass
        time.sleep(0.5)
    pytest.fail(f"{name} did not come back")


def answers(proxy: Running) -> Counter[tuple[str, str]]:
    """Who was chosen and who answered, as the metrics count it."""
    text = proxy.ask("GET", "/auto_router/metrics", headers={"Authorization": f"Bearer {KEY}"})[1].decode()
    found = re.findall(r'^auto_router_answers_total\{answered="(\S+?)",chosen="(\S+?)"\} (\S+)$', text, re.MULTILINE)
    return Counter({(chosen, answered): int(float(value)) for answered, chosen, value in found})


def outcome(proxy: Running, headers: dict[str, str], value: float = 1) -> dict[str, Any]:
    """Tell how the answer that came with these headers turned out."""
    told = {"id": headers["x-auto-router-decision-id"], "outcome": value}
    status, said, _ = proxy.ask("POST", "/v1/feedback", told, {"Authorization": f"Bearer {KEY}"})
    assert status == 200, said
    found: dict[str, Any] = json.loads(said)
    return found


def test_outcomes_come_back_as_rows_of_the_model_that_answered(
    client: OpenAI, endpoints: dict[str, Endpoint], proxy: Running, path: Path
) -> None:
    kept = proxy.log_file.with_name("feedback.jsonl")
    before = len(kept.read_text().splitlines())
    assert outcome(proxy, ask(client, POEM)[1], 0.5)["model"] == "poet"
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": POEM}], stream=True
    )
    assert outcome(proxy, dict(raw.headers))["learned"]
    endpoints["math"].down = True
    assert outcome(proxy, ask(client, MATH)[1], 0)["model"] == "poet"
    recovered(client, MATH, "math", endpoints)
    rows = [json.loads(line) for line in kept.read_text().splitlines()[before:]]
    assert [(row["model"], row["chosen"], row["outcome"]) for row in rows] == [
        ("poet", "poet", 0.5), ("poet", "poet", 1.0), ("poet", "math", 0.0),
    ]  # fmt: skip
    assert "autumn rain" not in kept.read_text()
    spec = local_encoder().spec
    assert len(load_feedback(kept, NAMES, spec, spec["text_dim"] + spec["image_dim"]).labels) >= 3
    assert proxy.ask("POST", "/v1/feedback", {"id": rows[0]["id"], "outcome": 1})[0] == 401, "without the key"


def test_metadata_of_a_client_decides_nothing(client: OpenAI, proxy: Running) -> None:
    """What the hook leaves for itself in a request's metadata, a client may write there too."""
    told = {"id": ask(client, POEM)[1]["x-auto-router-decision-id"], "key": "", "ranking": ["math"], "model": "forged"}
    _, headers = ask(client, POEM, "math", extra_body={"metadata": {"auto_router": told | {"asked": "auto"}}})
    assert "x-auto-router-model" not in headers
    assert outcome(proxy, {"x-auto-router-decision-id": told["id"]})["model"] == "poet"  # type: ignore[dict-item]


def test_drift_explanations_and_health_are_routes(client: OpenAI, proxy: Running) -> None:
    id, headers = ask(client, MATH)[1]["x-auto-router-decision-id"], {"Authorization": f"Bearer {KEY}"}
    status, said, _ = proxy.ask("GET", f"/auto_router/explain/{id}", headers=headers)
    assert (status, json.loads(said)["model"]) == (200, "math"), said
    status, said, _ = proxy.ask("GET", "/auto_router/drift", headers=headers)
    assert (status, json.loads(said)["decisions"] > 0) == (200, True), said
    for route in ("drift", f"explain/{id}"):
        assert proxy.ask("GET", f"/auto_router/{route}")[0] == 401
    assert proxy.ask("GET", "/auto_router/health/live")[0] == proxy.ask("GET", "/auto_router/health/ready")[0] == 200


def test_nobody_is_served_without_the_key(proxy: Running) -> None:
    with OpenAI(base_url=f"{proxy.url}/v1", api_key="sk-wrong", max_retries=0) as stranger:
        with pytest.raises(APIStatusError) as refused:
            ask(stranger, MATH)
        assert refused.value.status_code in (400, 401)  # without a database the proxy says that it cannot look the key up
    body = {"model": "auto", "messages": [{"role": "user", "content": MATH}]}
    assert proxy.ask("POST", "/v1/chat/completions", body)[0] == 401
    assert proxy.ask("GET", "/auto_router/metrics")[0] == 401


def test_health_and_the_limit_on_bodies(proxy: Running) -> None:
    status, said, _ = proxy.ask("GET", "/auto_router/health")
    assert (status, json.loads(said)["status"]) == (200, "healthy")
    headers = {"Authorization": f"Bearer {KEY}"}
    for size, expected in ((10, 200), (33, 413)):
        body = {"model": "auto", "messages": [{"role": "user", "content": "x" * size * 2**20}]}
        assert proxy.ask("POST", "/v1/chat/completions", body, headers)[0] == expected


def test_faults_under_load_are_only_the_documented_ones(proxy: Running, path: Path, endpoints: dict[str, Endpoint]) -> None:
    """Thirty callers; the artifact is replaced, then an endpoint fails; every request is answered and counted."""

    async def loaded() -> Counter[tuple[str, str]]:
        seen: Counter[tuple[str, str]] = Counter()
        over = asyncio.Event()
        async with AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=KEY, max_retries=0) as client:

            async def caller(number: int) -> None:
                turn = 0
                while not over.is_set():
                    turn += 1
                    text = f"{MATH} {number} {turn}"
                    try:
                        raw = await client.chat.completions.with_raw_response.create(
                            model="auto", messages=[{"role": "user", "content": text}]
                        )
                    except APIError as error:
                        seen[("nobody", str(error))] += 1
                        continue
                    said = (raw.parse().choices[0].message.content or "").split()[0]
                    seen[(raw.headers["x-auto-router-model"], said)] += 1

            async def until(chosen: str, answered: str) -> None:
                deadline = time.monotonic() + 60
                while not seen[(chosen, answered)]:
                    assert time.monotonic() < deadline, f"{chosen} is not answered by {answered}: {seen}"
                    await asyncio.sleep(0.1)
                await asyncio.sleep(1)

            callers = [asyncio.create_task(caller(number)) for number in range(30)]
            await until("math", "math")
            await asyncio.to_thread(save_made, path, ["poet", "math", "eyes"])  # the two change places
            await until("poet", "poet")
            endpoints["poet"].down = True
            await until("poet", "math")
            over.set()
            await asyncio.gather(*callers)
        return seen

    before = answers(proxy)
    try:
        seen = asyncio.run(loaded())
    finally:
        save_made(path)
    assert set(seen) == {("math", "math"), ("poet", "poet"), ("poet", "math")}
    assert answers(proxy) - before == seen
