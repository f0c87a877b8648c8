"""The one command for real: ``python -m auto_router.serve`` over endpoints that speak the protocols of three vendors.

Needs the proxy, which is in an environment of its own: ``make test-litellm``.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

if find_spec("litellm") is None:  # not importorskip: importing it asks for price lists on the net
    pytest.skip("the LiteLLM proxy is in an environment of its own: make test-litellm", allow_module_level=True)

import yaml
from openai import OpenAI

import auto_router.serve.gateway as gateway_module
from auto_router.data.pool import PoolModel
from auto_router.errors import ConfigError
from auto_router.serve.__main__ import main
from auto_router.serve.decision_log import DecisionLog
from auto_router.serve.litellm_hook import affordable_models
from tests.checkout import ROOT, blocks
from tests.serve.endpoints import serving
from tests.serve.gateways import KEY, PIXEL, SERVE, chat, environment_of, in_api, own_proxy, post, print_config
from tests.serve.made import MATH, POEM
from tests.serve.processes import Running, running
from tests.serve.vendors import ANTHROPIC, AZURE, OPENAI, Judge, Vendor

KEYS = f"""
from litellm.proxy._types import UserAPIKeyAuth

MODELS = {{"{KEY}": [], "sk-eyes": ["auto", "eyes"], "sk-auto": ["auto"]}}

async def check(request, api_key):
    return UserAPIKeyAuth(api_key=api_key, models=MODELS[api_key])
"""


@pytest.fixture(scope="module")
def gateway(pool: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """As a user starts it, without a key. Its shadow mode has spent its budget, until a test gives it back."""
    folder = tmp_path_factory.mktemp("gateway")
    command: list[str | Path] = [
        *SERVE,
        "--pool",
        folder / "pool.yaml",
        "--feedback-file",
        folder / "kept.jsonl",
        "--shadow-share",
        "1",
    ]
    with serving("judge", kind=Judge) as (judge,):
        entry = {"name": "judge", "base_url": judge.url, "api_key_env": "JUDGE_KEY"}
        prices = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1}
        whole = yaml.safe_load(pool.read_text()) | {"judge": entry | prices}
        (folder / "pool.yaml").write_text(yaml.safe_dump(whole))
        spend(folder / "kept.jsonl", 1.0)
        more = {"LITELLM_MASTER_KEY": "", "JUDGE_KEY": judge.key}
        with running(command, "/health/liveliness", folder / "log", environment | more) as found:
            yield found


def spend(file: Path, usd: float) -> None:
    """Have the shadow mode's spending of today and tomorrow be so much."""
    DecisionLog(file, 60).close()
    days = [(datetime.now(UTC) + timedelta(days=number)).date().isoformat() for number in (0, 1)]
    with closing(sqlite3.connect(f"{file}.decisions")) as connection, connection:
        connection.executemany("INSERT OR REPLACE INTO shadow_spending VALUES (?, ?)", [(day, usd) for day in days])


@pytest.fixture(scope="module")
def proxy(pool: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A user's own proxy on the printed configuration: with keys, an alias and a wildcard."""
    folder = tmp_path_factory.mktemp("proxy")
    config = yaml.safe_load(print_config(pool, environment))
    next(entry for entry in config["model_list"] if entry["model_name"] == "math")["model_name"] = "m*"
    config["router_settings"] = {"model_group_alias": {"gpt-4o": "auto", "poet": "verse"}}
    next(entry for entry in config["model_list"] if entry["model_name"] == "poet")["model_name"] = "verse"
    config["general_settings"] = {"custom_auth": "keys.check"}
    (folder / "keys.py").write_text(KEYS)
    with own_proxy(config, folder, environment) as found:
        yield found


@pytest.fixture(autouse=True)
def all_well(vendors: dict[str, Vendor]) -> None:
    for vendor in vendors.values():
        vendor.reset()


def test_auto_is_answered_by_the_chosen_model_and_every_model_by_its_name(gateway: Running, vendors: dict[str, Vendor]) -> None:
    for text, name in ((MATH, "math"), (POEM, "poet")):
        status, said, headers = post(gateway, "/v1/chat/completions", chat(text))
        assert (status, json.loads(said)["choices"][0]["message"]["content"]) == (200, f"{name} says hello"), said
        assert headers["x-auto-router-model"] == headers["x-litellm-model-group"] == name
        assert float(headers["x-litellm-response-cost"]) == pytest.approx(3 * 2e-6 + 3 * 8e-6), "cached tokens are not free"
    for name in vendors:
        status, said, headers = post(gateway, "/v1/chat/completions", chat(POEM, name))
        assert (status, json.loads(said)["choices"][0]["message"]["content"]) == (200, f"{name} says hello"), said
        assert "x-auto-router-model" not in headers
    assert {vendors["math"].paths[0], vendors["poet"].paths[0], vendors["eyes"].paths[0]} == {
        OPENAI, f"{AZURE}poet-1/chat/completions", ANTHROPIC,
    }  # fmt: skip
    listed = {model["id"] for model in json.loads(gateway.ask("GET", "/v1/models")[1])["data"]}
    assert listed == {"math", "poet", "eyes", "extra", "auto", "auto-accuracy", "auto-economy"}
    assert "note: extra is unknown to the artifact" in gateway.log
    assert "note: LITELLM_MASTER_KEY is not set" in gateway.log
    assert not [vendor.key for vendor in vendors.values() if vendor.key in gateway.log]


def test_the_shadow_mode_compares_what_was_served(gateway: Running, vendors: dict[str, Vendor]) -> None:
    """Over three vendors' protocols and APIs: a stream, a plain answer, one that was fallen back to, and tools."""
    kept = gateway.log_file.with_name("kept.jsonl")

    def counts() -> Counter[str]:
        text = gateway.ask("GET", "/auto_router/metrics")[1].decode()
        found = re.findall(r'^auto_router_shadow_total\{result="(\w+)"\} (\S+)$', text, re.MULTILINE)
        return Counter({name: int(float(value)) for name, value in found})

    before = counts()
    spend(kept, 0.0)
    try:
        tool = {"type": "function", "function": {"name": "greet", "parameters": {"type": "object", "properties": {}}}}
        for body in (chat(MATH, stream=True), chat(POEM, temperature=0.5), chat(MATH, tools=[tool]), chat(MATH, "poet")):
            assert post(gateway, "/v1/chat/completions", body)[0] == 200
        for route in ("messages", "responses"):
            assert post(gateway, f"/v1/{route}", in_api(route, f"{MATH} By {route}."))[0] == 200
        vendors["math"].refuse = (500, {"message": "away", "type": "made"})
        assert post(gateway, "/v1/chat/completions", chat(f"{MATH} Again."))[2]["x-litellm-model-group"] != "math"
        until = time.monotonic() + 30
        while (found := counts() - before)["judged"] + found["unknown"] < 5 and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        spend(kept, 1.0)
    assert (found["asked"], found["skipped"]) == (5, 1), gateway.log[-3000:]
    rows: dict[str, dict[str, float]] = {}
    for row in map(json.loads, kept.read_text().splitlines()):
        rows.setdefault(row["id"].split("/")[0], {})[row["model"]] = row["outcome"]
    assert [len(pair) for pair in rows.values()] == [2] * found["judged"]
    told = [sorted(pair.items()) for pair in rows.values()]
    assert [pair for pair in told if ("math", 1) in pair and len({outcome for _, outcome in pair}) == 2], "the stream"
    assert all(dict(pair).get("math") != 0 for pair in told), "who failed has no outcome"
    sent = {name for vendor in vendors.values() for body in vendor.bodies for name in body}
    assert sent <= {"model", "messages", "stream", "stream_options", "temperature", "tools", "top_p", "max_tokens", "system"}
    assert "autumn rain" not in kept.read_text() + gateway.log


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example:4000"}, {"Origin": "http://127.0.0.1.evil.example"}],
    ids=str,
)  # fmt: skip
def test_a_web_page_does_not_spend_the_keys(gateway: Running, vendors: dict[str, Vendor], headers: dict[str, str]) -> None:
    for route in ("/v1/chat/completions", "/v1/feedback"):
        status, said, _ = gateway.ask("POST", route, chat(MATH), headers)
        assert (status, json.loads(said)["error"]["code"]) == (403, "foreign_origin")
    assert gateway.ask("OPTIONS", "/v1/chat/completions", headers=headers)[0] == 403
    assert not [name for name, vendor in vendors.items() if vendor.bodies]


def test_a_page_of_this_machine_may_ask(gateway: Running) -> None:
    for host in ("localhost", "127.0.0.1", "[::1]"):
        status, said, _ = gateway.ask("POST", "/v1/chat/completions", chat(MATH), {"Origin": f"http://{host}:3000"})
        assert status == 200, said


def test_an_image_goes_to_a_model_that_sees_and_tools_come_back(gateway: Running, vendors: dict[str, Vendor]) -> None:
    content = [{"type": "text", "text": MATH}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    status, said, headers = post(gateway, "/v1/chat/completions", chat(content))
    assert (status, headers["x-auto-router-model"]) == (200, "eyes"), said
    assert vendors["eyes"].bodies[0]["messages"][0]["content"][1]["type"] == "image"
    tool = {"type": "function", "function": {"name": "greet", "parameters": {"type": "object", "properties": {}}}}
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        for text, name in ((MATH, "math"), (POEM, "poet")):
            answer = client.chat.completions.create(**chat(text, tools=[tool]))
            (call,) = answer.choices[0].message.tool_calls
            assert json.loads(call.function.arguments) == {"who": name}


def test_a_model_is_asked_as_its_labels_were_made_unless_the_client_says_otherwise(
    gateway: Running, vendors: dict[str, Vendor]
) -> None:
    post(gateway, "/v1/chat/completions", chat(MATH, "math"))
    post(gateway, "/v1/chat/completions", chat(MATH, "math", top_p=0.5))
    post(gateway, "/v1/chat/completions", chat(MATH, "extra"))
    first, second = vendors["math"].bodies
    assert first == {"model": "math-1", "messages": chat(MATH)["messages"], "top_p": 0.9}
    assert second["top_p"] == 0.5
    assert vendors["extra"].bodies[0]["temperature"] == 0.25


def test_the_curl_of_the_docs_is_answered_as_printed(gateway: Running) -> None:
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    example = (ROOT / "examples" / "litellm" / "config.yaml").read_text(encoding="utf-8").replace("\n#  ", "\n")
    for text in (page, example):
        start = text.index("curl -s http")
        command = text[start : text.index("}'", start) + 2].replace("\n# ", "\n").replace(":4000", f":{gateway.port}")
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "math says hello", (command, done.stdout)


FRAMEWORKS = Path(os.environ.get("AUTO_ROUTER_FRAMEWORKS", ROOT / ".venv-frameworks")) / "bin" / "python"


@pytest.mark.skipif(not FRAMEWORKS.exists(), reason="make setup-frameworks makes their environment")
@pytest.mark.parametrize("package", ["langchain_openai", "llama_index"])
def test_frameworks_ask_as_the_docs_say(gateway: Running, package: str) -> None:
    (block,) = [block for block in blocks(language="python") if f"from {package}" in block.body]
    code = block.body.replace(":4000", f":{gateway.port}")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"LANGSMITH_TRACING": "false"}
    done = subprocess.run([FRAMEWORKS, "-c", code], capture_output=True, text=True, env=clean, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "math says hello math" if package == "langchain_openai" else "math says hello",
        "math says hello",
    ]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", ["chat/completions", "messages", "responses"])
@pytest.mark.parametrize(("text", "name"), [(MATH, "math"), (POEM, "poet")])
def test_three_apis_reach_endpoints_that_have_one(
    proxy: Running, vendors: dict[str, Vendor], route: str, stream: bool, text: str, name: str
) -> None:
    status, said, headers = post(proxy, f"/v1/{route}", in_api(route, text, stream=stream), KEY)
    assert (status, headers.get("x-auto-router-model")) == (200, name), said
    assert "says" in said
    assert len(vendors[name].bodies) == 1


MISTAKE = (400, {"message": "Invalid 'temperature': decimal above maximum value.", "type": "invalid_request_error"})
CONTEXT = (400, {"message": "This model's maximum context length is 10 tokens.", "code": "context_length_exceeded"})
CANNOT = (400, {"message": "this model does not support tools", "type": "invalid_request_error"})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", ["chat/completions", "messages", "responses"])
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (MISTAKE, 400), ((422, {"message": "bad"}), 422), ((402, {"message": "pay"}), 200), ((403, {"message": "no"}), 200),
        ((404, {"message": "no such model"}), 200), ((409, {"message": "busy"}), 200), ((503, {"message": "down"}), 200),
        (CONTEXT, 200), (CANNOT, 200),
    ],
    ids=str,
)  # fmt: skip
def test_only_what_another_model_may_answer_is_sent_to_another(
    proxy: Running, vendors: dict[str, Vendor], route: str, stream: bool, fault: Any, status: int
) -> None:
    """The commonest faults are in ``test_fault_matrix``."""
    math = vendors["math"]
    math.refuse = fault
    found, said, _ = post(proxy, f"/v1/{route}", in_api(route, MATH, stream=stream), KEY)
    assert found == status, said
    assert (len(math.bodies), len(vendors["eyes"].bodies)) == (1, status == 200)
    assert not vendors["poet"].bodies
    if status == 200:
        assert "eyes" in said
    else:
        assert fault[1]["message"] in said


def test_what_no_model_can_answer_is_refused_and_nobody_is_asked(gateway: Running, vendors: dict[str, Vendor]) -> None:
    """LiteLLM takes these for a broken connection: 500, after every model had its turn."""
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("chat/completions", {"messages": [{"role": "user", "content": 5}]}),
        ("chat/completions", {"messages": "hi"}),
        ("chat/completions", chat(MATH, response_format=5)),
        ("chat/completions", chat(MATH, api_key="sk-of-the-client")),
        ("messages", {"messages": ["hi"], "max_tokens": 9}),
        ("messages", {"messages": 5, "max_tokens": 9}),
        ("responses", {"input": 5}),
        ("responses", {"input": [{"role": "user", "content": {"text": "hi"}}]}),
    ]
    for route, body in wrong:
        status, said, _ = post(gateway, f"/v1/{route}", {"model": "auto"} | body)
        assert status == 400, (body, said)
        assert "Traceback" not in said
    assert not any(vendor.bodies for vendor in vendors.values())


def test_an_outcome_sent_as_a_form_is_told_what_to_send(gateway: Running) -> None:
    """As ``curl -d`` does by itself."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, said, _ = post(gateway, "/v1/feedback", {"id": "dec_", "outcome": 1}, **form)
    assert (status, "Content-Type application/json" in said) == (400, True), said


def test_a_key_gets_no_model_that_is_not_in_its_list(proxy: Running, vendors: dict[str, Vendor]) -> None:
    for route in ("chat/completions", "messages", "responses"):
        status, said, headers = post(proxy, f"/v1/{route}", in_api(route, MATH), "sk-eyes")
        assert (status, headers["x-auto-router-model"]) == (200, "eyes"), said
        status, said, _ = post(proxy, f"/v1/{route}", in_api(route, MATH), "sk-auto")
        assert status == 403
        assert "may use none of the models" in said
    vendors["eyes"].refuse = (500, {"message": "down"})
    assert post(proxy, "/v1/chat/completions", chat(MATH), "sk-eyes")[0] == 500
    assert not vendors["math"].bodies
    assert not vendors["poet"].bodies


def test_aliases_lead_to_the_router_and_wildcards_serve_its_models(proxy: Running) -> None:
    for name in ("gpt-4o", "auto"):
        for text, chosen in ((MATH, "math"), (POEM, "poet")):
            status, said, headers = post(proxy, "/v1/chat/completions", chat(text, name), KEY)
            assert (status, headers["x-auto-router-model"]) == (200, chosen), said
            assert f"{chosen} says hello" in said


@pytest.mark.parametrize(
    ("route", "body", "call"),
    [
        ("/v1/completions", {"model": "auto", "prompt": MATH}, "atext_completion"),
        ("/v1/completions", {"model": "auto", "prompt": MATH, "stream": True}, "atext_completion"),
        ("/openai/deployments/auto/completions", {"prompt": MATH}, "atext_completion"),
        ("/v1/embeddings", {"model": "auto", "input": MATH}, "aembedding"),
        ("/v1/chat/completions", chat(MATH, "auto,poet"), "acompletion"),
        ("/v1beta/models/auto:generateContent", {"contents": [{"parts": [{"text": MATH}]}]}, "agenerate_content"),
        ("/models/auto:streamGenerateContent", {"contents": [{"parts": [{"text": MATH}]}]}, "agenerate_content_stream"),
    ],
)
def test_what_is_not_routed_is_refused_and_counted(
    proxy: Running, vendors: dict[str, Vendor], route: str, body: dict[str, Any], call: str
) -> None:
    status, said, _ = post(proxy, route, body, KEY)
    assert status == 400, said
    assert "auto" in said
    assert ("," in str(body.get("model"))) != ("send it to /v1/chat/completions" in said), "it says what to do"
    assert not [name for name, vendor in vendors.items() if vendor.bodies]
    counted = proxy.ask("GET", "/auto_router/metrics", headers={"Authorization": f"Bearer {KEY}"})[1].decode()
    assert f'auto_router_refusals_total{{call="{call}"}}' in counted


@pytest.mark.parametrize("holder", ["key", "user", "team", "end_user"])
def test_a_model_whose_own_budget_is_spent_is_not_chosen(holder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the proxy's own limiter, which the proxy itself asks only about ``auto``."""
    for name, value in gateway_module.PROXY_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    from litellm.caching.caching import DualCache
    from litellm.proxy._types import Litellm_EntityType, UserAPIKeyAuth
    from litellm.proxy.hooks import model_max_budget_limiter as budgets

    cache = DualCache()
    limiter = budgets._PROXY_VirtualKeyModelMaxBudgetLimiter(cache)
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", SimpleNamespace(model_max_budget_limiter=limiter))
    field = "model_max_budget" if holder == "key" else f"{holder}_model_max_budget"
    limits = {name: {"max_budget": 1.0, "budget_duration": "1d"} for name in ("math", "poet")}
    ids = {"key": "token", "user": "user_id", "team": "team_id", "end_user": "end_user_id"}
    token = UserAPIKeyAuth(**{field: limits}, **dict.fromkeys(ids.values(), holder))
    kind = Litellm_EntityType[holder.upper()]

    async def affordable(spent: float) -> frozenset[str]:
        key = budgets.model_budget_spend_cache_key(kind, getattr(token, ids[holder]), "math", "1d")
        await cache.async_set_cache(key=key, value=spent)
        return await affordable_models(["math", "poet", "eyes"], token)

    assert asyncio.run(affordable(0.5)) == {"math", "poet", "eyes"}
    assert asyncio.run(affordable(1.5)) == {"poet", "eyes"}


def test_rates_of_the_pool_are_kept_to(vendors: dict[str, Vendor], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is above them is the next model's: here in the proxy's own router, with nothing around it."""
    for name, value in {**gateway_module.PROXY_ENVIRONMENT, "MATH_KEY": "sk-math", "EXTRA_KEY": "sk-extra"}.items():
        monkeypatch.setenv(name, value)
    from litellm import Router

    slow = PoolModel("math", base_url=vendors["math"].url, api_key_env="MATH_KEY", requests_per_minute=2)
    other = PoolModel("extra", base_url=vendors["extra"].url, api_key_env="EXTRA_KEY")
    config = gateway_module.litellm_config([slow, other], ["math", "extra"], [], locked=True)
    router = Router(model_list=config["model_list"], num_retries=0, **config["router_settings"])

    async def ask() -> list[str]:
        messages: Any = chat(MATH)["messages"]
        await router.acompletion("extra", messages=messages)  # loads what the first call loads
        asked = [await router.acompletion("math", messages=messages, fallbacks=["extra"]) for _ in range(8)]
        return [answer.choices[0].message.content for answer in asked]

    answers = asyncio.run(ask())
    assert answers[0] == "math says hello"
    assert answers.count("extra says hello") >= 4, answers  # the minute may turn once meanwhile


def test_the_printed_configuration_names_keys_and_holds_none(pool: Path, environment: dict[str, str]) -> None:
    printed = print_config(pool, environment)
    assert not [value for name, value in environment.items() if name.endswith("_KEY") and value in printed]
    config = yaml.safe_load(printed)
    assert config["general_settings"] == {"master_key": "os.environ/LITELLM_MASTER_KEY"}
    math, poet, eyes, *_ = config["model_list"]
    assert math["litellm_params"] == {
        "model": "openai/math-1", "api_base": math["litellm_params"]["api_base"], "api_key": "os.environ/MATH_KEY",
        "use_chat_completions_api": True, "input_cost_per_token": 2e-6, "cache_read_input_token_cost": 2e-6,
        "output_cost_per_token": 8e-6, "timeout": 2,
        "top_p": 0.9,
    }  # fmt: skip
    assert poet["litellm_params"]["model"] == "azure/poet-1"
    assert eyes["litellm_params"]["model"] == "anthropic/claude-eyes"
    assert (eyes["model_info"]["supports_vision"], math["model_info"]["supports_vision"]) == (True, False)


def test_a_gateway_that_must_not_start_says_why(pool: Path, environment: dict[str, str], tmp_path: Path) -> None:
    given = ["--pool", str(pool)]
    done = subprocess.run([*SERVE, *given, "--host", "0.0.0.0"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "LITELLM_MASTER_KEY" in done.stderr
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump({"models": [{"name": "stranger"}]}))
    keyless = {name: value for name, value in environment.items() if not name.endswith("_KEY")}
    taken = socket.create_server(("127.0.0.1", 0))
    for arguments, values, said in (
        (given, keyless, "math is left out: the environment has no MATH_KEY"),
        (["--pool", str(tmp_path / "pool.yaml")], environment, "no usable model in common"),
        ([*given, "--operating-point", "quality"], environment, "it has accuracy, economy"),
        ([*given, "--fallback-model", "extra"], environment, "fallback_model names unknown model 'extra'"),
        ([*given, "--port", "70000"], environment, "--port must be from 0"),
        ([*given, "--port", "-1"], environment, "--port must be from 0"),
        ([*given, "--host", "a" * 70 + ".example"], environment | {"LITELLM_MASTER_KEY": KEY}, "nobody can listen on aaa"),
        ([*given, "--port", str(taken.getsockname()[1])], environment, "nobody can listen on 127.0.0.1"),
        ([*given, "--feedback-file", str(tmp_path / "pool.yaml" / "f.jsonl")], environment, "cannot be written"),
    ):
        with environment_of(values), pytest.raises(ConfigError, match=said):
            main(arguments)
    taken.close()
    with environment_of(environment), pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway_module, "version", lambda name: "1.107.0")
        with pytest.raises(ConfigError, match="compromised"):
            main(given)


@pytest.mark.parametrize(
    "wrong", [{"tools": 5}, {"web_search_options": 5}, {"allowed_openai_params": 5}, {"response_format": 5}, {"timeout": "x"}]
)
@pytest.mark.parametrize("name", ["auto", "math"])
def test_a_wrong_form_is_400_where_the_proxy_itself_fails_too(
    gateway: Running, vendors: dict[str, Vendor], name: str, wrong: dict[str, Any]
) -> None:
    status, said, _ = post(gateway, "/v1/chat/completions", chat(MATH, name) | wrong)
    assert (status, f"{next(iter(wrong))} must be" in json.loads(said)["error"]["message"]) == (400, True), said
    assert not any(vendor.paths for vendor in vendors.values())


def test_an_address_that_this_machine_lacks_is_passed_over_and_a_port_that_the_proxy_would_leave_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, lacking = ("127.0.0.1", 0), ("192.0.2.1", 0)  # of no machine: RFC 5737
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in (lacking, own)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **more: found)
    gateway_module.check_address("localhost", 0)
    found.pop()
    with pytest.raises(ConfigError, match="nobody can listen on localhost"):
        gateway_module.check_address("localhost", 0)
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(gateway_module, "PROXY_PORT", taken.getsockname()[1])
        with pytest.raises(ConfigError, match="another program listens on localhost"):
            gateway_module.check_address("127.0.0.2" if sys.platform == "linux" else "::1", taken.getsockname()[1])


def test_a_wrong_key_of_a_vendor_is_counted_logged_and_no_fault_of_the_client(
    proxy: Running, vendors: dict[str, Vendor]
) -> None:
    def counted() -> int:
        text = proxy.ask("GET", "/auto_router/metrics", headers={"Authorization": f"Bearer {KEY}"})[1].decode()
        found = re.findall(r'^auto_router_upstream_errors_total\{model="math",status="401"\} (\S+)$', text, re.MULTILINE)
        return int(float(found[0])) if found else 0

    before = counted()
    vendors["math"].refuse = (401, {"message": "this key was withdrawn", "type": "authentication_error"})
    status, said, headers = post(proxy, "/v1/chat/completions", chat(MATH), KEY)
    assert (status, headers["x-auto-router-model"], headers["x-litellm-model-group"]) == (200, "math", "eyes"), said
    assert counted() == before + 1
    assert "math refuses this server with 401" in proxy.log
    for vendor in vendors.values():
        vendor.refuse = (401, {"message": "this key was withdrawn", "type": "authentication_error"})
    for route in ("chat/completions", "responses", "messages"):
        status, said, _ = post(proxy, f"/v1/{route}", in_api(route, MATH), KEY)
        assert (status, "took this server's key" in said) == (502, True), said
    status, said, _ = post(proxy, "/v1/chat/completions", chat(MATH, "math"), KEY)
    assert status == 401, "who names the model is told"
    assert "this key was withdrawn" in said
