"""The client in the process, over endpoints on loopback that speak the protocols of OpenAI and Azure."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import openai
import pytest

from auto_router.client import FAILURES, AsyncClient, Client
from auto_router.data.pool import Pool, PoolModel
from auto_router.errors import ConfigError, DataError
from auto_router.route.router import ModelRouter
from auto_router.serve.fallback import another_may_answer
from tests.serve.endpoints import serving
from tests.serve.made import MATH, POEM, local_encoder, save_made
from tests.serve.vendors import AZURE, OPENAI, Vendor

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
Ask = Callable[..., tuple[str, Any]]


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRouter]:
    path = save_made(tmp_path_factory.mktemp("artifact") / "nn_router.pth")
    with ModelRouter(path, encoder=local_encoder(), device="cpu") as found:
        yield found


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, Vendor]]:
    with serving("math", "poet", "eyes", "extra", kind=Vendor) as found:
        yield {vendor.name: vendor for vendor in found}


@pytest.fixture
def vendors(served: dict[str, Vendor]) -> dict[str, Vendor]:
    for vendor in served.values():
        vendor.reset()
    return served


@pytest.fixture
def pool(vendors: dict[str, Vendor], monkeypatch: pytest.MonkeyPatch) -> Pool:
    """``poet`` on Azure; ``eyes`` sees; the router knows nothing of ``extra``."""
    for name, vendor in vendors.items():
        monkeypatch.setenv(f"{name.upper()}_KEY", vendor.key)
    base: dict[str, dict[str, Any]] = {
        name: {"name": name, "model": f"{name}-1", "api_key_env": f"{name.upper()}_KEY", "timeout_s": 20.0} for name in vendors
    }
    return Pool(
        (
            PoolModel(**base["math"], base_url=vendors["math"].url, parameters={"top_p": 0.9, "top_k": 7, "max_tokens": 5}),
            PoolModel(**base["poet"], base_url=f"http://127.0.0.1:{vendors['poet'].port}", api_version="2024-10-21"),
            PoolModel(**base["eyes"], base_url=vendors["eyes"].url, modalities=("text", "image")),
            PoolModel(**base["extra"], base_url=vendors["extra"].url, temperature=0.25),
        )
    )


@pytest.fixture(params=["sync", "sync stream", "async", "async stream"])
def ask(request: pytest.FixtureRequest, pool: Pool, router: ModelRouter) -> Ask:
    """Ask in each of four ways; returns what was said, and the answer or the stream that said it."""
    kind, _, stream = request.param.partition(" ")
    more = {"stream": True} if stream else {}

    def ask_client(content: Any, model: str = "auto", **parameters: Any) -> tuple[str, Any]:
        arguments = {"model": model, "messages": [{"role": "user", "content": content}], **more, **parameters}
        with Client(pool, router) as client:
            answer = client.chat.completions.create(**arguments)
            return (said([*answer]) if stream else answer.choices[0].message.content), answer

    async def ask_async(content: Any, model: str = "auto", **parameters: Any) -> tuple[str, Any]:
        arguments = {"model": model, "messages": [{"role": "user", "content": content}], **more, **parameters}
        async with AsyncClient(pool, router) as client:
            answer = await client.chat.completions.create(**arguments)
            return (said([chunk async for chunk in answer]) if stream else answer.choices[0].message.content), answer

    return ask_client if kind == "sync" else lambda *given, **named: asyncio.run(ask_async(*given, **named))


def said(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_the_chosen_model_answers_and_the_decision_is_told(ask: Ask, router: ModelRouter, vendors: dict[str, Vendor]) -> None:
    for text, name in ((MATH, "math"), (POEM, "poet")):
        content, answer = ask(text)
        assert content == f"{name} says hello"
        alone = router.decide(text, models=["math", "poet", "eyes"])
        assert (answer.decision, answer.answered_by) == (replace(alone, session="new"), name)
    assert [vendors["math"].paths, vendors["poet"].paths] == [[OPENAI], [f"{AZURE}poet-1/chat/completions"]]
    assert ask(MATH, "auto-economy")[1].decision.model == "poet"


def test_a_model_that_is_named_is_asked_alone(ask: Ask, vendors: dict[str, Vendor]) -> None:
    content, answer = ask(MATH, "extra")
    assert (content, answer.decision, answer.answered_by) == ("extra says hello", None, "extra")
    vendors["extra"].refuse = (500, {"message": "down"})
    with pytest.raises(openai.InternalServerError, match="down"):
        ask(MATH, "extra")
    names: tuple[Any, ...] = ("gpt-9", ["auto"])
    for name in names:
        with pytest.raises(ConfigError, match=r"no model .*; there are auto, .*extra"):
            ask(MATH, name)
    with pytest.raises(ConfigError, match=r"'latency' is not in this artifact; .* model_latencies"):
        ask(MATH, "auto-latency")
    assert not vendors["math"].bodies


MISTAKE = (400, {"message": "Invalid 'temperature': decimal above maximum value.", "type": "invalid_request_error"})
CONTEXT = (400, {"message": "This model's maximum context length is 10 tokens.", "code": "context_length_exceeded"})
CANNOT = (400, {"message": "this model does not support tools", "type": "invalid_request_error"})


FAILING = (401, 402, 403, 404, 408, 409, 413, 429, 500, 503)


@pytest.mark.parametrize(
    "fault",
    [*((status, {"message": "no"}) for status in FAILING), CONTEXT, CANNOT, "hang", "broken", "closed"],
    ids=str,
)
def test_the_next_of_the_ranking_is_asked_after_a_failure(ask: Ask, vendors: dict[str, Vendor], fault: Any, pool: Pool) -> None:
    math = vendors["math"]
    if isinstance(fault, tuple):
        math.refuse = fault
    elif fault == "closed":
        object.__setattr__(pool.models[0], "base_url", "http://127.0.0.1:9/v1")
    elif fault == "hang":
        object.__setattr__(pool.models[0], "timeout_s", 0.5)
        math.hang = 2.0
    else:
        math.broken = True
    content, answer = ask(MATH)
    assert (content, answer.decision.ranking[:2], answer.answered_by) == ("eyes says hello", ("math", "eyes"), "eyes")
    assert not vendors["poet"].bodies


def test_outcomes_are_recorded_of_the_model_that_answered(
    vendors: dict[str, Vendor], pool: Pool, router: ModelRouter, tmp_path: Path
) -> None:
    file, messages = tmp_path / "feedback.jsonl", [{"role": "user", "content": MATH}]
    vendors["math"].refuse = (404, {"message": "no such model"})
    with Client(pool, router) as client:
        client.record(client.chat.completions.create(model="auto", messages=messages), 0.5, file)
        with pytest.raises(ConfigError, match="named by the caller"):
            client.record(client.chat.completions.create(model="extra", messages=messages), 1, file)
    (row,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert (row["model"], row["chosen"], row["outcome"]) == ("eyes", "math", 0.5)


def test_a_conversation_goes_on_with_the_model_that_answered(ask: Ask, vendors: dict[str, Vendor]) -> None:
    session = {"session_id": str(uuid4())}  # the router is that of all tests here
    vendors["math"].refuse = (503, {"message": "down"})
    answer = ask(MATH, metadata=session)[1]
    assert (answer.decision.model, answer.answered_by, answer.decision.session) == ("math", "eyes", "new")
    vendors["math"].reset()
    answer = ask(MATH, metadata=session)[1]
    assert (answer.decision.model, answer.answered_by, answer.decision.session) == ("eyes", "eyes", "kept")


@pytest.mark.parametrize("fault", [MISTAKE, (422, {"message": "no"})], ids=str)
def test_a_mistake_of_the_client_is_told_at_once(ask: Ask, vendors: dict[str, Vendor], fault: Any) -> None:
    vendors["math"].refuse = fault
    with pytest.raises(openai.APIStatusError, match=fault[1]["message"]) as refused:
        ask(MATH)
    assert refused.value.status_code == fault[0]
    assert not vendors["eyes"].bodies


@pytest.mark.parametrize(
    ("error", "passes"),
    [({"message": "rate", "code": 429}, True), ({"message": "bad", "code": 400}, False),
     ({"message": "bad", "type": "invalid_request_error"}, False), ({"message": "oops"}, True)],
)  # fmt: skip
def test_an_error_under_status_200_is_an_error(
    ask: Ask, vendors: dict[str, Vendor], error: dict[str, Any], passes: bool
) -> None:
    vendors["math"].error_in_answer = error
    if passes:
        assert ask(MATH)[0] == "eyes says hello"
    else:
        with pytest.raises(openai.APIError, match="bad"):
            ask(MATH)
        assert not vendors["eyes"].bodies


def test_a_page_in_place_of_an_answer_is_a_failure(pool: Pool, router: ModelRouter, vendors: dict[str, Vendor]) -> None:
    vendors["math"].page = b"<html>Please log in</html>"
    messages: Any = [{"role": "user", "content": MATH}]
    with Client(pool, router) as client:
        assert client.chat.completions.create(model="auto", messages=messages).choices[0].message.content == "eyes says hello"
        with pytest.raises(openai.APIError, match="no JSON: '<html>Please log in"):
            client.chat.completions.create(model="math", messages=messages)


def test_where_all_fail_the_last_error_is_raised(ask: Ask, vendors: dict[str, Vendor]) -> None:
    for vendor in vendors.values():
        vendor.refuse = (503, {"message": f"{vendor.name} is down"})
    with pytest.raises(openai.InternalServerError, match="is down"):
        ask(MATH)
    assert [len(vendor.bodies) for vendor in vendors.values()] == [1, 1, 1, 0]


def test_an_image_goes_to_a_model_that_sees_though_nobody_fetches_it(ask: Ask, vendors: dict[str, Vendor]) -> None:
    for url in (PIXEL, "https://images.invalid/cat.png"):
        content = [{"type": "text", "text": MATH}, {"type": "image_url", "image_url": {"url": url}}]
        assert ask(content)[1].answered_by == "eyes"
        assert vendors["eyes"].bodies[-1]["messages"][0]["content"] == content


def test_a_model_is_asked_as_its_labels_were_made_unless_the_caller_says_otherwise(
    ask: Ask, vendors: dict[str, Vendor]
) -> None:
    tool = {"type": "function", "function": {"name": "greet", "parameters": {"type": "object", "properties": {}}}}
    ask(MATH)
    ask(MATH, top_p=0.5, extra_body={"top_k": 3, "min_p": 0.1}, seed=3, tools=[tool])
    ask(MATH, "extra")
    first, second = vendors["math"].bodies
    assert {name: first.get(name) for name in ("model", "top_p", "top_k", "max_tokens")} == {
        "model": "math-1", "top_p": 0.9, "top_k": 7, "max_tokens": None,
    }  # fmt: skip
    assert {name: second[name] for name in ("top_p", "top_k", "min_p", "seed", "tools")} == {
        "top_p": 0.5, "top_k": 3, "min_p": 0.1, "seed": 3, "tools": [tool],
    }  # fmt: skip
    assert vendors["extra"].bodies[0]["temperature"] == 0.25


def test_other_vendors_are_told_nothing_of_an_openai_account(
    ask: Ask, vendors: dict[str, Vendor], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"):
        monkeypatch.setenv(name, "secret-of-an-account")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Account: secret-of-an-account")
    ask(MATH)
    ask(POEM)
    for name in ("math", "poet"):
        assert "secret-of-an-account" not in json.dumps(vendors[name].headers)


def test_what_is_attached_is_no_part_of_the_answer(pool: Pool, router: ModelRouter) -> None:
    with Client(pool, router) as client:
        answer = client.chat.completions.create(messages=[{"role": "user", "content": MATH}])
    assert {"decision", "answered_by"}.isdisjoint(json.loads(answer.model_dump_json()))
    assert copy.deepcopy(answer).answered_by == "math"
    with pytest.raises(DataError):
        client.chat.completions.create(model="auto", messages=[{"role": "system", "content": "Be brief."}])


def test_what_is_no_answer_and_settings_that_nobody_would_heed_are_refused(pool: Pool, router: ModelRouter) -> None:
    with Client(pool, router) as client, pytest.raises(ConfigError, match=r"only an answer or a stream .* got dict"):
        client.record({}, 1)
    with pytest.raises(ConfigError, match="operating_point: an open router has its own"):
        Client(pool, router, operating_point="economy")


def test_threads_may_share_a_client(pool: Pool, router: ModelRouter) -> None:
    with Client(pool, router) as client, ThreadPoolExecutor(8) as threads:
        asked = [MATH, POEM] * 12
        answers = threads.map(
            lambda text: client.chat.completions.create(messages=[{"role": "user", "content": text}]).answered_by, asked
        )
        assert [*answers] == ["math", "poet"] * 12


def test_models_without_a_key_or_unknown_to_the_router_are_said(
    pool: Pool, router: ModelRouter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("MATH_KEY")
    with Client(pool, router) as client:
        assert client.chat.completions.create(messages=[{"role": "user", "content": MATH}]).answered_by == "eyes"
    assert "math is left out: the environment has no MATH_KEY" in caplog.text
    assert "extra is unknown to the artifact" in caplog.text
    for name in ("POET_KEY", "EYES_KEY", "EXTRA_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match="no model of the pool can be asked: math"):
        Client(pool, router)


def test_a_path_opens_a_router_that_is_closed_with_the_client(pool: Pool, router: ModelRouter) -> None:
    path = Path(router.settings.router_path)
    with Client(pool, path, device="cpu", fallback_model="poet") as client:
        assert client.router.settings.fallback_model == "poet"
    with pytest.raises(ConfigError, match="closed"):
        client.router.decide(MATH)


def test_the_rule_of_fallbacks_reads_huge_messages_in_time() -> None:
    class Refused(Exception):
        status_code = 400

    assert not another_may_answer(Refused("maximum " * 200_000))
    assert another_may_answer(Refused("context length " + "x" * 1_000_000))
    assert another_may_answer(ConnectionError("reset"))
    for said in (
        "Invalid user message at index 0. Please ensure all are valid",
        "Out of range float values are not JSON compliant",
    ):
        assert not another_may_answer(ConnectionError(said))
    assert len(FAILURES) >= 2
