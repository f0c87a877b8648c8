"""What a server without a key takes: requests of programs of this machine, none that a web page had a browser send."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.serve.middleware import LoopbackOnly, is_loopback


def send_request(kind: str, *headers: tuple[str, str]) -> list[dict[str, Any]]:
    """Return what is sent back; the app behind sends nothing but a word."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "app"})

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind, "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]}
    asyncio.run(LoopbackOnly(app)(scope, receive, send))
    return sent


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4000", "localhost", "LOCALHOST:80", "[::1]:4000", "127.8.9.1", "app.localhost:3000", "localhost."]
)
def test_loopback_passes(host: str) -> None:
    for kind in ("http", "websocket"):
        assert send_request(kind, ("Host", host)) == [{"type": "app"}]
        assert send_request(kind, ("Host", host), ("Origin", f"http://{host}")) == [{"type": "app"}]
    assert send_request("lifespan") == [{"type": "app"}]


@pytest.mark.parametrize(
    "value",
    ["null", "https://evil.example", "http://127.0.0.1.evil.example", "http://evil.example/127.0.0.1", "http://user@10.0.0.1",
     "http://localhost@evil.example", "file://", "http://[::", "", "http://0x7f.1.evil", "http://notlocalhost"],
)  # fmt: skip
def test_pages_of_elsewhere_do_not(value: str) -> None:
    status = send_request("http", ("Host", "127.0.0.1"), ("Origin", value))[0]
    assert status["status"] == 403
    assert send_request("websocket", ("Host", "127.0.0.1"), ("Origin", value)) == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    "value", ["evil.example", "evil.example:4000", "0.0.0.0:4000", "10.0.0.1", "[::ffff:10.0.0.1]", "", "a b"]
)
def test_names_that_were_rebound_do_not(value: str) -> None:
    assert send_request("http", ("Host", value))[0]["status"] == 403


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    assert is_loopback(text) in (True, False)
