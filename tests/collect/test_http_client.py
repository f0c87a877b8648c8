"""The openai package's client on the wire: what leaves the machine, what may come back, and what is said when nothing does."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys

import pytest

from auto_router.collect.endpoint import Endpoint, user_message
from auto_router.collect.http_client import MAX_REPLY_BYTES
from auto_router.collect.rate_limits import PassingFailure
from auto_router.collect.reply import Response
from auto_router.data.pool import PoolModel
from auto_router.errors import ConfigError
from tests.stage1 import ChatServer, completion, raw

LEAKS = {
    "OPENAI_API_KEY": "leak-api",
    "OPENAI_ADMIN_KEY": "leak-admin",
    "OPENAI_ORG_ID": "leak-organization",
    "OPENAI_PROJECT_ID": "leak-project",
    "OPENAI_CUSTOM_HEADERS": "X-Custom: leak-header\nAuthorization: Bearer leak-bearer",
    "OPENAI_BASE_URL": "http://leak.invalid/v1",
}


def attempted(model: PoolModel, prompt: str = "hello") -> Response:
    """What one attempt makes of one question."""

    async def work() -> Response:
        endpoint = Endpoint(model)
        try:
            return await endpoint.attempt(endpoint.request(user_message(prompt)))
        finally:
            await endpoint.close()

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("key", "api_version", "sent"),
    [
        (None, None, ""),
        ("MY_KEY", None, "Bearer sk-mine"),
        ("MY_KEY", "2026-01-01", "sk-mine"),
    ],
)
def test_nothing_of_the_packages_environment_is_sent(
    key: str | None, api_version: str | None, sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**LEAKS, "MY_KEY": "sk-mine"}.items():
        monkeypatch.setenv(name, value)
    with ChatServer(lambda body: completion("x")) as server:
        assert attempted(PoolModel("a", model="d", base_url=server.url, api_key_env=key, api_version=api_version)).text == "x"
    assert server.keys == [sent]
    (head,) = server.heads
    azure = "/v1/openai/deployments/d/chat/completions?api-version=2026-01-01"
    assert head.startswith(f"POST {azure if api_version else '/v1/chat/completions'} HTTP/1.1\n")
    assert not [line for line in head.lower().splitlines() if "leak" in line or "openai-" in line]
    assert ("sk-mine" in head) == (key is not None)


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(lambda body: completion("x")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        assert attempted(PoolModel("a", base_url="http://models.invalid/v1")).text == "x"
    assert proxy.heads[0].startswith("POST http://models.invalid/v1/chat/completions ")


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("packed", [False, True])
def test_a_reply_of_any_status_is_bounded(status: int, packed: bool) -> None:
    reply = b"x" * (MAX_REPLY_BYTES + 1)
    headers = {"Content_Encoding": "gzip"} if packed else {}
    with (
        ChatServer(lambda body: raw(gzip.compress(reply, 1) if packed else reply, status, **headers)) as server,
        pytest.raises(PassingFailure, match=r"connection failed: the reply is larger than 33,554,432 bytes") as caught,
    ):
        attempted(PoolModel("a", base_url=server.url))
    assert caught.value.billed


def test_a_packed_reply_is_read() -> None:
    status, _, reply = completion("x")
    with ChatServer(lambda body: (status, {"Content_Encoding": "gzip"}, gzip.compress(reply))) as server:
        assert attempted(PoolModel("a", base_url=server.url)).text == "x"


def test_a_redirect_is_not_followed() -> None:
    with ChatServer(lambda body: completion("stolen")) as other:
        with ChatServer(lambda body: raw({}, 307, Location=f"{other.url}/chat/completions")) as server:
            error = attempted(PoolModel("a", base_url=server.url)).error or ""
        assert error.startswith(f"HTTP 307: redirected to {other.url}")
        assert other.bodies == []


@pytest.mark.parametrize("url", ["http://[bad", "http:///v1", "http://127.0.0.1:99999/v1"])
def test_an_address_that_is_none_is_the_pools_fault(url: str) -> None:
    with pytest.raises(ConfigError, match=r"is no address \(.+\); correct base_url in the pool"):
        attempted(PoolModel("a", base_url=url))


@pytest.mark.parametrize("key", ["sk-“quoted”", "sk-two\nlines"])
def test_a_key_that_no_header_can_hold_is_refused(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match="variable MY_KEY holds characters that no key has") as caught:
        Endpoint(PoolModel("a", api_key_env="MY_KEY"))
    assert "sk-" not in str(caught.value)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "auto_router.collect.http_client")
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=r"pip install '.*\[collect\]'"):
        attempted(PoolModel("a"))


def test_unicode_of_any_kind_arrives() -> None:
    text = "é ☃ \ud800"  # a lone surrogate, as broken data sets hold it
    with ChatServer(lambda body: completion(json.dumps(body["messages"][0]["content"]))) as server:
        assert json.loads(attempted(PoolModel("a", base_url=server.url), text).text or "") == text
