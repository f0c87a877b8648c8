"""NeMo Agent Toolkit serving the router for real: ``scripts/run_local.sh``, the openai client, and plain HTTP.

Needs the toolkit, which is in an environment of its own: ``make test-nat``.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nat", reason="NeMo Agent Toolkit is in an environment of its own: make test-nat")

import yaml
from nat.builder.workflow_builder import WorkflowBuilder
from nat.data_models.api_server import ChatRequest, ChatResponse
from nat.runtime.loader import PluginTypes, discover_and_register_plugins, load_config
from nat.utils.data_models.schema_validator import validate_schema
from openai import BadRequestError, OpenAI
from PIL import Image

from auto_router.data.request import read_request
from auto_router.decide.policy import RouterSettings
from auto_router.route.feedback import load_feedback
from auto_router.route.router import ModelRouter
from auto_router.serve.nat import SERVICES
from tests.checkout import ROOT
from tests.data.request_kinds import KINDS
from tests.helpers import HOSTILE_PROMPTS, png
from tests.serve.made import MATH, NAMES, POEM, every_setting, local_encoder, save_made
from tests.serve.processes import Running, running
from tests.serve.request_cases import CASES, RequestCase

CHAT = "/sfc_router/chat/completions"
SECRET = "the password is swordfish"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_made(tmp_path_factory.mktemp("artifact") / "nn_router.pth")


@pytest.fixture(scope="module")
def router(path: Path) -> ModelRouter:
    return ModelRouter(path, encoder=local_encoder(), device="cpu")


@pytest.fixture(scope="module")
def server(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("nat") / "log"
    environment = {"AUTO_ROUTER_PATH": str(path), "AUTO_ROUTER_FEEDBACK_FILE": str(log.with_name("feedback.jsonl"))}
    with running(["scripts/run_local.sh"], "/health", log, environment) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/sfc_router", api_key="none", max_retries=0) as found:
        yield found


def uri(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()


def expected(router: ModelRouter, text: str, images: list[Any] | None = None, **given: Any) -> dict[str, Any]:
    """The decision as JSON has it, its numbers as a batch of one has them."""
    return json.loads(json.dumps(router.decide(text, images, **given).to_dict() | {"unseen_pictures": 0}))  # type: ignore[no-any-return]


def same(told: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Equal; probabilities to 1e-4: the encoder's int8 weights and a batch round otherwise."""
    assert told["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-4)
    exact = ("model", "reason", "ranking", "qualified", "cost", "unseen_pictures")
    assert {name: told[name] for name in exact} == {name: wanted[name] for name in exact}


def chosen(client: OpenAI, *messages: dict[str, Any], model: str = "auto", **more: Any) -> dict[str, Any]:
    """Ask for a completion; its content must be the name that its extension field says."""
    create: Any = client.chat.completions.create
    completion = create(model=model, messages=list(messages), **more)
    told: dict[str, Any] = completion.model_extra["auto_router"]
    assert completion.choices[0].message.content == told["model"]
    assert completion.choices[0].finish_reason == "stop"
    assert told["error"] is None
    return told


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts) if len(parts) > 1 or not isinstance(parts[0], str) else parts[0]}


def test_texts_go_where_the_router_sends_them(client: OpenAI, router: ModelRouter) -> None:
    for text in (MATH, POEM, *HOSTILE_PROMPTS[:5], *HOSTILE_PROMPTS[-1:]):
        same(chosen(client, user(text)), expected(router, text))
    assert chosen(client, user(MATH))["model"] == "math"
    assert chosen(client, user(POEM))["model"] == "poet"


def test_pictures_turns_and_what_else_clients_send(client: OpenAI, router: ModelRouter) -> None:
    red, blue = png((255, 0, 0)), png((0, 0, 255))
    text, image = {"type": "text", "text": MATH}, {"type": "image_url", "image_url": {"url": uri(red), "detail": "low"}}
    same(chosen(client, user(text, image)), expected(router, MATH, [red]))
    assert chosen(client, user(text, image))["model"] == "eyes", "the others take no pictures"
    turns = [user(POEM), {"role": "assistant", "content": "Rain."}, user({"type": "text", "text": "Another?"}, image)]
    second = {"role": "developer", "content": "Be brief."}
    same(chosen(client, second, *turns), router.decide(messages=turns).to_dict() | {"unseen_pictures": 0})
    two = {"type": "image_url", "image_url": {"url": uri(blue)}}
    same(
        chosen(client, user({**text, "cache_control": {"type": "ephemeral"}}, image, two)), expected(router, MATH, [red, blue])
    )
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    same(chosen(client, user(MATH), tools=[tool], temperature=0, extra_body={"nobody": {"knows": 1}}), expected(router, MATH))
    same(chosen(client, user(MATH), model="auto-economy"), expected(router, MATH, operating_point="economy"))
    unseen = chosen(client, user(text, {"type": "image_url", "image_url": {"url": "https://127.0.0.1:1/a.png"}}))
    assert (unseen["model"], unseen["unseen_pictures"]) == ("eyes", 1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_apps_and_agents_send_is_seen(server: Running, router: ModelRouter, case: RequestCase) -> None:
    status, said, _ = server.ask("POST", "/route", {"max_tokens": 9} | case.body)
    assert status == 200, said
    told = json.loads(said)
    assert told["unseen_pictures"] == case.unseen
    same(told, router.decide(**{"max_tokens": 9} | case.body).to_dict() | {"unseen_pictures": case.unseen})
    if "image" in case.needs:
        assert told["model"] == "eyes", "the others take no images"


def test_requests_of_every_kind_are_seen(server: Running, router: ModelRouter) -> None:
    """What the library reads of each, the server does; sixteen at a time."""
    cases = [case for case in KINDS if case.is_plain]
    with ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(lambda case: server.ask("POST", "/route", case.body, case.headers, seconds=120), cases))
        asked = [read_request(case.body, case.headers) for case in cases]
        wanted = list(threads.map(lambda request: router.decide(request=request), asked))
    assert {case.name: said for case, (status, said, _) in zip(cases, replies, strict=True) if status != 200} == {}
    for case, (_, said, _), decision in zip(cases, replies, wanted, strict=True):
        told = json.loads(said)
        assert told["probabilities"] == pytest.approx(decision.probabilities, abs=1e-4), case.name
        assert (told["unseen_pictures"], told["reason"] == "no_model_fits") == (case.unseen, False), case.name
        assert (told["session"] is None) == (decision.session is None), case.name
        assert told["model"] == "eyes" or "image" not in case.needs, case.name


def test_a_conversation_keeps_its_model(server: Running, client: OpenAI) -> None:
    turns = [user(MATH), {"role": "assistant", "content": "1567"}, user("ok thanks, shorter please")]
    first, second = chosen(client, turns[0]), chosen(client, *turns)
    assert [(told["model"], told["session"]) for told in (first, second)] == [("math", "new"), ("math", "kept")]
    for text in (MATH, "And now?"):
        status, said, _ = server.ask("POST", "/route", {"text": text}, {"x-session-id": "a-session"})
        assert (status, json.loads(said)["model"]) == (200, "math")
    said = server.ask("POST", "/route", {"text": "And now?", "session": "a-session", "models": ["poet"]})[1]
    assert json.loads(said)["model"] == "poet"
    assert sample_sum(server, "auto_router_sessions_total") >= 4


def test_a_response_is_continued_by_its_maker(server: Running) -> None:
    assert server.ask("POST", "/route/response", {"id": "resp_1", "model": "poet"})[0] == 204
    for body in ({"id": "resp_1"}, {"id": "resp_1", "model": "nobody"}):
        assert server.ask("POST", "/route/response", body)[0] == 400
    for given in (MATH, [{"type": "function_call_output", "call_id": "c1", "output": "42"}]):
        said = json.loads(server.ask("POST", "/route", {"input": given, "previous_response_id": "resp_1"})[1])
        assert (said["model"], said["session"], said["ranking"]) == ("poet", "pinned", ["poet"])
    said = json.loads(server.ask("POST", "/route", {"input": MATH, "previous_response_id": "resp_2"})[1])
    assert said["session"] == "unknown_maker"


def test_a_stream_says_the_same(client: OpenAI, router: ModelRouter) -> None:
    create: Any = client.chat.completions.create
    chunks = list(create(model="auto", messages=[user(POEM)], stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "poet"
    assert chunks[-1].choices[0].finish_reason == "stop"
    same(chunks[0].model_extra["auto_router"], expected(router, POEM))


def test_plain_http_gets_the_decision_itself(server: Running, router: ModelRouter, path: Path) -> None:
    red = png((255, 0, 0))
    picky = ModelRouter(path, {"math": 1.0}, encoder=local_encoder(), device="cpu")
    assert picky.route(MATH) != router.route(MATH)
    for body, wanted in (
        ({"text": MATH}, expected(router, MATH)),
        ({"text": MATH, "images": [uri(red)]}, expected(router, MATH, [red])),
        ({"text": MATH, "operating_point": "economy"}, expected(router, MATH, operating_point="economy")),
        ({"messages": [user(POEM)]}, expected(router, POEM)),
        ({"messages": [user(MATH)], "operating_point": "economy"}, expected(router, MATH, operating_point="economy")),
        ({"messages": [user(MATH)], "models": ["poet"]}, expected(router, MATH, models=["poet"])),
        ({"text": MATH, "model_thresholds": {"math": 1.0}}, expected(picky, MATH)),
        ({"input": MATH, "model_thresholds": {"math": 1.0}}, expected(picky, MATH)),
        ({"input": POEM}, expected(router, POEM)),
    ):
        status, said, _ = server.ask("POST", "/route", body)
        assert status == 200, said
        same(json.loads(said), wanted)


@pytest.mark.parametrize("route", [CHAT, "/route"])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, {}, {"messages": []}, {"messages": [{"role": "king"}]},
        {"messages": [user(" ")]}, {"messages": [{"role": "user", "content": 5}]}, {"messages": "hi"},
        {"messages": [user("x")], "model": "auto-quality"}, {"text": "x", "modles": ["math"]},
        {"text": "x", "models": ["gpt-9"]},
    ],
)  # fmt: skip
def test_what_asks_nothing_is_refused_with_a_reason(server: Running, route: str, body: Any) -> None:
    status, said, _ = server.ask("POST", route, body)
    assert status == 400
    assert json.loads(said)["error"]["message"]


@pytest.mark.parametrize("asked", [{"text": "x"}, {"messages": [{"role": "user", "content": "x"}]}, {"input": "x"}])
@pytest.mark.parametrize(
    "wrong",
    [
        {"models": ["gpt-9"]}, {"models": "math"}, {"model_thresholds": {"gpt-9": 0.5}}, {"model_thresholds": {"math": 2}},
        {"model_thresholds": {"math": "1"}}, {"model_thresholds": [0.5]}, {"model_thresholds": {"math": None}},
        {"operating_point": "cheap"}, {"session": 5},
    ],
)  # fmt: skip
def test_a_choice_that_cannot_be_made_is_refused(server: Running, asked: dict[str, Any], wrong: dict[str, Any]) -> None:
    status, said, _ = server.ask("POST", "/route", asked | wrong)
    assert status == 400, said
    assert json.loads(said)["error"]["message"]


def test_the_openai_client_raises_its_own_error(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="no user message"):
        chosen(client, {"role": "system", "content": SECRET})


def test_outcomes_come_back_as_rows(server: Running, client: OpenAI) -> None:
    kept = server.log_file.with_name("feedback.jsonl")
    status, said, headers = server.ask("POST", "/route", {"text": SECRET})
    assert (status, headers["x-auto-router-decision-id"]) == (200, json.loads(said)["id"])
    ids = [json.loads(said)["id"], chosen(client, user(POEM))["id"]]
    for id, wanted in ((ids[0], 200), (ids[1], 200), ("dec_" + "A" * 24, 404), (7, 400)):
        assert server.ask("POST", "/v1/feedback", {"id": id, "outcome": 0.5})[0] == wanted
    assert server.ask("POST", "/v1/feedback", b"{")[0] == 400
    spec = local_encoder().spec
    found = load_feedback(kept, NAMES, spec, spec["text_dim"] + spec["image_dim"])
    assert len(found.labels) == 2
    for file in kept.parent.glob("feedback*"):
        assert b"swordfish" not in file.read_bytes()
    status, said, _ = server.ask("GET", f"/route/explain/{ids[1]}")
    assert (status, json.loads(said)["model"], json.loads(said)["outcome"]) == (200, "poet", 0.5)
    assert server.ask("GET", "/route/explain/dec_x")[0] == 404
    (drift,) = json.loads(server.ask("GET", "/drift")[1])["routers"]
    assert drift["decisions"] >= 2
    assert sample_sum(server, "auto_router_feedback_total") == 5
    assert server.ask("GET", "/health/live")[0] == server.ask("GET", "/health/ready")[0] == 200


def test_large_bodies_and_prompts(client: OpenAI, server: Running, router: ModelRouter) -> None:
    noise = random.Random(0).randbytes(3 * 1600 * 1600)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (1600, 1600), noise).save(buffer, "PNG", compress_level=0)
    large = buffer.getvalue()
    assert 10_000_000 < len(uri(large)) < 11_000_000
    parts = {"type": "text", "text": MATH}, {"type": "image_url", "image_url": {"url": uri(large)}}
    same(chosen(client, user(*parts)), expected(router, MATH, [large]))
    long = f"{POEM} " * 2_000
    assert len(long) > 100_000
    same(chosen(client, user(long)), expected(router, long))
    status, said, _ = server.ask("POST", CHAT, {"messages": [user("x" * 33 * 2**20)]})
    assert (status, json.loads(said)["error"]["code"]) == (413, "body_too_large")


def test_health_and_metrics_tell_the_truth(server: Running, client: OpenAI) -> None:
    status, said, _ = server.ask("GET", "/health")
    (told,) = json.loads(said)["routers"]
    assert (status, told["artifact"]["models"], told["encoder"]) == (200, list(NAMES), {"answers": True, "error": None})
    before = sample_sum(server, "auto_router_decisions_total")
    for text in (MATH, POEM, "What now?", "What now?"):
        chosen(client, user(text))
    assert sample_sum(server, "auto_router_decisions_total") == before + 4
    assert sample_sum(server, "auto_router_decision_seconds_count") == before + 4
    assert sample_sum(server, "auto_router_cache_hits_total") >= 3
    assert sample_sum(server, "auto_router_encoder_up") == 1


def sample_sum(server: Running, name: str) -> float:
    text = server.ask("GET", "/metrics")[1].decode()
    assert name in text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def test_prompts_are_not_logged(server: Running, client: OpenAI) -> None:
    chosen(client, user(SECRET))
    server.ask("POST", CHAT, {"messages": [{"role": "system", "content": SECRET}]})
    assert "model=" in server.log
    assert "swordfish" not in server.log


def test_a_replaced_artifact_serves(server: Running, client: OpenAI, path: Path) -> None:
    try:
        save_made(path, ["new-math", "new-poet", "new-eyes"])
        wait_for(client, "new-math")
    finally:
        save_made(path)
    wait_for(client, "math")


def wait_for(client: OpenAI, model: str) -> None:
    """Wait until the server's artifact is the one that chooses ``model``."""
    until = time.monotonic() + 60
    while chosen(client, user(MATH))["model"] != model:
        assert time.monotonic() < until


MISSION = """
functions:
  nn_objective_fn:
    {{_type: nn_objective_fn, model_thresholds: {{{math}: 0.70}}, model_costs: {{{math}: 1.0}}, router_path: {path}{more}}}
  sfc_router_fn:   {{_type: sfc_router, objective_fn: nn_objective_fn}}
workflow: {{_type: sfc_router, objective_fn: nn_objective_fn}}
"""


def ask_in_process(config: str, text: str, settings: list[RouterSettings] | None = None) -> ChatResponse:
    """Build a workflow from YAML text and ask its router function once; note the settings that its services run under."""

    async def asked() -> ChatResponse:
        discover_and_register_plugins(PluginTypes.CONFIG_OBJECT)
        from nat.data_models.config import Config

        async with WorkflowBuilder.from_config(validate_schema(yaml.safe_load(config), Config)) as builder:
            function = await builder.get_function("sfc_router_fn")
            request = ChatRequest.from_string(text)
            chunks = [chunk async for chunk in function.astream(request)]
            response: ChatResponse = await function.ainvoke(request, to_type=ChatResponse)
            assert await function.ainvoke(request, to_type=str) == response.choices[0].message.content
            assert chunks[0].choices[0].delta.content == response.choices[0].message.content
            if settings is not None:
                settings.extend(service.settings for service in SERVICES)
            return response

    return asyncio.run(asked())


def test_the_configuration_of_a_workflow_works_as_written(path: Path, router: ModelRouter) -> None:
    config = MISSION.format(path=path, math="math", more="")
    limited = ModelRouter(path, {"math": 0.7}, {"math": 1.0}, encoder=local_encoder(), device="cpu")
    for text in (MATH, POEM):
        told = ask_in_process(config, text)
        same(told.auto_router, expected(limited, text))
        assert told.choices[0].message.content == limited.route(text)


def test_the_configuration_takes_every_setting_and_no_other(path: Path, tmp_path: Path) -> None:
    given, found = every_setting(path), list[RouterSettings]()
    config = yaml.safe_load(MISSION.format(path=path, math="math", more=""))
    config["functions"]["nn_objective_fn"] |= given
    told = ask_in_process(yaml.safe_dump(config), MATH, found)
    assert (told.auto_router["model"], found) == ("poet", [RouterSettings(**given)])
    for name, misspelt in (("nn_objective_fn", "model_treshold"), ("sfc_router_fn", "pfad")):
        wrong = yaml.safe_load(MISSION.format(path=path, math="math", more=""))
        wrong["functions"][name][misspelt] = None
        with pytest.raises(Exception, match=rf"has unknown settings \['{misspelt}'\]; allowed are .*'middleware'"):
            ask_in_process(yaml.safe_dump(wrong), MATH)


def test_a_broken_artifact_degrades_to_the_fallback(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"junk")
    told = ask_in_process(MISSION.format(path=broken, math="gpt-5-chat", more=", fallback_model: gpt-5-chat"), MATH)
    assert told.choices[0].message.content == "gpt-5-chat"
    assert told.auto_router["reason"] == "no_artifact"
    with pytest.raises(Exception, match=r"broken\.pth"):
        ask_in_process(MISSION.format(path=broken, math="gpt-5-chat", more=""), MATH)


def test_the_shipped_configuration_is_valid() -> None:
    config = load_config(ROOT / "configs" / "config.yml")
    assert set(config.functions) == {"nn_objective_fn", "sfc_router_fn"}
    assert config.general.front_end.host == "127.0.0.1"
