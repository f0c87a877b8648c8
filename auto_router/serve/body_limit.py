"""A limit on request bodies, for any ASGI server: what is larger is answered with 413 and not kept."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 32 * 2**20
READ = 4


class _TooLarge(Exception):
    """The body turned out larger than its length said, or than is allowed."""


class BodyLimit:
    """ASGI middleware: refuses bodies over ``max_bytes``, by their stated length or, without one, as they arrive.

    A client that is still sending would not see the refusal, so what it sends is read, and forgotten, up to ``READ`` times the
    limit.
    """

    def __init__(self, app: App, max_bytes: int = MAX_BODY_BYTES) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > self.max_bytes:
            return await self._refuse(receive if int(length) <= READ * self.max_bytes else None, send)
        got, more, started = 0, True, False

        async def count() -> Message:
            nonlocal got, more
            message = await receive()
            got, more = got + len(message.get("body", b"")), message.get("more_body", False)
            if got > self.max_bytes:
                raise _TooLarge
            return message

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, count, watch)
        except _TooLarge:
            if not started:
                await self._refuse(receive if more else None, send)

    async def _refuse(self, receive: Receive | None, send: Send) -> None:
        left, more = READ * self.max_bytes, receive is not None
        while receive is not None and more and left > 0:
            message = await receive()
            left, more = left - len(message.get("body", b"")), message.get("more_body", False)
        said = {
            "message": f"the body is too large: at most {self.max_bytes:,} bytes are taken",
            "type": "invalid_request_error",
            "code": "body_too_large",
        }
        await send_error(send, 413, said)


async def send_error(send: Send, status: int, error: dict[str, Any]) -> None:
    """Send a whole answer in the form that OpenAI's client reads, and ask for the connection's end."""
    body = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
