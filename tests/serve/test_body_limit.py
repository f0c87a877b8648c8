"""The limit on bodies, in a real server."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from auto_router.serve.middleware import BodyLimit
from tests.servers import free_port

MOST = 1000


async def counting(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the size of the body."""
    if scope["type"] == "lifespan":
        return
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    found = free_port()
    server = uvicorn.Server(uvicorn.Config(BodyLimit(counting, MOST), port=found, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    yield found
    server.should_exit = True
    thread.join()


def post(port: int, body: Any, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/", body, headers or {}, encode_chunked=headers is not None)
    reply = connection.getresponse()
    found = reply.status, reply.read()
    connection.close()
    return found


def test_what_fits_passes_and_what_does_not_is_refused(port: int) -> None:
    assert post(port, b"x" * MOST) == (200, str(MOST).encode())
    status, said = post(port, b"x" * (MOST + 1))
    assert status == 413
    assert json.loads(said)["error"]["code"] == "body_too_large"
    assert post(port, b"") == (200, b"0")


def test_a_body_without_a_length_is_counted_as_it_arrives(port: int) -> None:
    chunked = {"Transfer-Encoding": "chunked"}
    assert post(port, iter([b"x" * 500, b"x" * 500]), chunked) == (200, str(MOST).encode())
    assert post(port, iter([b"x" * 500, b"x" * 501]), chunked)[0] == 413


def test_a_body_that_is_announced_too_large_is_not_waited_for(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("path", "kind", "body", "status"),
    [
        ("/v1/x", b"application/json", b' {"a": 1}', 200), ("/v1/x", b"application/json", b"[1]", 400),
        ("/v1/x", None, b"null", 400), ("/v1/x", b"application/json", b"\xff\xfe{\0", 400),
        ("/v1/x", b"application/json", b"", 200),
        ("/v1/x", b"multipart/form-data", b"--x", 200), ("/other", b"application/json", b"[1]", 200),
    ],
)  # fmt: skip
@pytest.mark.parametrize("swallows", [False, True])
def test_json_that_is_no_object_is_refused_where_that_is_asked(
    path: str, kind: bytes | None, body: bytes, status: int, swallows: bool
) -> None:
    """Also in front of a server that takes every exception for its own."""
    sent: list[Any] = []

    async def server(scope: Any, receive: Any, send: Any) -> None:
        try:
            await counting(scope, receive, send)
        except Exception:
            if not swallows:
                raise
            assert (await receive())["type"] == "http.disconnect"
            await send({"type": "http.response.start", "status": 500, "headers": []})

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if kind is None else [(b"content-type", kind)]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    asyncio.run(BodyLimit(server, MOST, ("/v1/",))(scope, receive, send))
    assert [message["status"] for message in sent if "status" in message] == [status]
