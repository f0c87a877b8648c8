"""Virtual keys of the LiteLLM proxy in a real Postgres: what a key may use and spend holds for what ``auto`` chooses."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

if find_spec("litellm") is None:  # not importorskip: importing it asks for price lists on the net
    pytest.skip("the LiteLLM proxy is in an environment of its own: make test-litellm", allow_module_level=True)

import yaml

from tests.serve.database import make_client, missing_parts, postgres
from tests.serve.gateways import KEY, PIXEL, chat, in_api, own_proxy, post, print_config
from tests.serve.made import MATH, POEM
from tests.serve.processes import Running
from tests.serve.vendors import Vendor

if (reason := missing_parts()) is not None:
    pytest.skip(reason, allow_module_level=True)

ROUTES = ("chat/completions", "responses", "messages")
DOWN = (500, {"message": "down", "type": "server_error"})


@pytest.fixture(scope="module")
def proxy(pool: Any, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The proxy on the printed configuration, with an alias of ``auto`` and a wildcard, and its keys in Postgres."""
    folder = tmp_path_factory.mktemp("proxy")
    config = yaml.safe_load(print_config(pool, environment))
    next(entry for entry in config["model_list"] if entry["model_name"] == "math")["model_name"] = "m*"
    config["router_settings"] = {"model_group_alias": {"gpt-4o": "auto"}}
    with postgres() as url, own_proxy(config, folder, environment | make_client(folder, url)) as found:
        yield found


@pytest.fixture(autouse=True)
def all_well(vendors: dict[str, Vendor]) -> None:
    for vendor in vendors.values():
        vendor.reset()


def make_key(proxy: Running, **limits: Any) -> str:
    status, said, _ = post(proxy, "/key/generate", limits, KEY)
    assert status == 200, said
    key: str = json.loads(said)["key"]
    return key


@pytest.fixture(scope="module")
def two(proxy: Running) -> str:
    """A key that may use ``auto``, also by its alias, and two of the models."""
    return make_key(proxy, models=["auto", "gpt-4o", "poet", "eyes"])


def bodies(route: str) -> list[dict[str, Any]]:
    """Return requests that ``math`` would get, were it allowed: plain, streamed, with tools, to the alias, with an image."""
    schema = {"type": "object", "properties": {"who": {"type": "string"}}}
    named = {"name": "greet", "description": "Greet.", "parameters": schema}
    tool: dict[str, Any] = (
        {"type": "function", "function": named} if route == "chat/completions" else {"type": "function", **named}
    )
    if route == "messages":
        tool = {"name": "greet", "description": "Greet.", "input_schema": schema}
    plain = in_api(route, MATH)
    given = [plain, in_api(route, MATH, stream=True), in_api(route, MATH, tools=[tool]), plain | {"model": "gpt-4o"}]
    if route == "chat/completions":
        given.append(chat([{"type": "text", "text": MATH}, {"type": "image_url", "image_url": {"url": PIXEL}}]))
    return given


@pytest.mark.parametrize("route", ROUTES)
def test_a_key_of_two_models_gets_no_third(proxy: Running, vendors: dict[str, Vendor], two: str, route: str) -> None:
    for body in bodies(route):
        status, said, headers = post(proxy, f"/v1/{route}", body, two)
        assert (status, headers.get("x-auto-router-model") in ("poet", "eyes")) == (200, True), said
    for broken in ("poet", "eyes", "both"):
        for name in ("poet", "eyes"):
            vendors[name].refuse = DOWN if broken in (name, "both") else None
        for body in bodies(route)[:4]:
            status, said, _ = post(proxy, f"/v1/{route}", body, two)
            assert status == (500 if broken == "both" else 200), said
    assert not vendors["math"].bodies
    assert len(vendors["poet"].bodies) >= 8
    assert len(vendors["eyes"].bodies) >= 8
    assert not vendors["extra"].bodies
    assert post(proxy, f"/v1/{route}", in_api(route, MATH), KEY)[2]["x-auto-router-model"] == "math", "the master key may"


@pytest.mark.parametrize("route", ROUTES)
def test_a_key_cannot_ask_around_its_list(proxy: Running, vendors: dict[str, Vendor], two: str, route: str) -> None:
    asked = in_api(route, MATH)
    for name in ("poet", "eyes"):
        vendors[name].refuse = DOWN
    for body in (asked | {"model": "math"}, asked | {"fallbacks": ["math"]}, asked | {"model": "auto,math"}):
        status, said, _ = post(proxy, f"/v1/{route}", body, two)
        assert 400 <= status < 600, said
    for field in ("context_window_fallbacks", "content_policy_fallbacks"):
        post(proxy, f"/v1/{route}", asked | {field: [{"poet": ["math"]}, {"eyes": ["math"]}, {"auto": ["math"]}]}, two)
    assert not vendors["math"].bodies
    status, said, _ = post(proxy, f"/v1/{route}", asked, make_key(proxy, models=["auto"]))
    assert status == 403
    assert "may use none of the models" in said
    status, said, _ = post(proxy, f"/v1/{route}", asked, make_key(proxy, models=["poet"]))
    assert status in (401, 403), "it may not even ask for auto"


def test_calls_that_are_not_routed_reach_no_model(proxy: Running, vendors: dict[str, Vendor], two: str) -> None:
    for path, body in (
        ("/v1/completions", {"model": "auto", "prompt": MATH}),
        ("/v1beta/models/auto:generateContent", {"contents": [{"parts": [{"text": MATH}]}]}),
        ("/v1/embeddings", {"model": "auto", "input": MATH}),
    ):
        status, said, _ = post(proxy, path, body, two)
        assert 400 <= status < 404, said
    assert not [name for name, vendor in vendors.items() if vendor.bodies]


def test_what_another_key_began_is_not_gone_on_with_by_a_model_that_is_not_allowed(
    proxy: Running, vendors: dict[str, Vendor], two: str
) -> None:
    begun = post(proxy, "/v1/responses", in_api("responses", MATH), KEY)
    assert begun[2]["x-auto-router-model"] == "math", begun[1]
    follow = in_api("responses", "And twice that?", previous_response_id=json.loads(begun[1])["id"])
    assert post(proxy, "/v1/responses", follow, two)[0] in (400, 403)
    assert len(vendors["math"].bodies) == 1
    session = {"x-session-id": "of both"}
    assert post(proxy, "/v1/chat/completions", chat(MATH), KEY, **session)[2]["x-auto-router-model"] == "math"
    assert post(proxy, "/v1/chat/completions", chat(MATH), two, **session)[2]["x-auto-router-model"] != "math"
    assert len(vendors["math"].bodies) == 2


def test_a_teams_list_holds_for_its_keys(proxy: Running, vendors: dict[str, Vendor]) -> None:
    status, said, _ = post(proxy, "/team/new", {"models": ["auto", "poet"]}, KEY)
    assert status == 200, said
    key = make_key(proxy, team_id=json.loads(said)["team_id"], models=[])
    for route in ROUTES:
        assert post(proxy, f"/v1/{route}", in_api(route, MATH), key)[2]["x-auto-router-model"] == "poet"
    vendors["poet"].refuse = DOWN
    assert post(proxy, "/v1/chat/completions", chat(MATH), key)[0] == 500
    assert not vendors["math"].bodies
    assert not vendors["eyes"].bodies


@pytest.mark.parametrize("route", ROUTES)
def test_a_budget_holds(proxy: Running, vendors: dict[str, Vendor], route: str) -> None:
    """An answer costs 3 * 2 and 3 * 8 millionths of a dollar."""
    key = make_key(proxy, models=[], max_budget=5e-5)
    statuses = []
    for _ in range(12):
        status, said, _ = post(proxy, f"/v1/{route}", in_api(route, POEM), key)
        statuses.append(status)
        if status != 200:
            break
        time.sleep(0.3)  # what was spent is counted after the answer
    assert statuses[0] == 200
    assert statuses[-1] == 422, (statuses, said)
    spent = re.search(r"Budget has been exceeded! .*Current cost: ([\d.e-]+)", said)
    assert spent is not None, said
    answers = sum(len(vendor.bodies) for vendor in vendors.values())
    assert answers == len(statuses) - 1 <= 6
    assert float(spent[1]) in [pytest.approx(3e-5 * count) for count in range(2, answers + 1)], "at the prices of the pool"


def test_a_rate_limit_holds(proxy: Running, vendors: dict[str, Vendor]) -> None:
    key = make_key(proxy, models=[], rpm_limit=2)
    statuses = [post(proxy, "/v1/chat/completions", chat(POEM), key)[0] for _ in range(6)]
    assert statuses[0] == 200
    assert 2 <= statuses.count(429) <= 4, "the minute may turn once meanwhile"
