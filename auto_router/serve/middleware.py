"""What stands before the routes of an ASGI server: a limit on request bodies, and, without a key, a bar to web pages.

A body that is too large is answered with 413 and not kept. Where a server fails on JSON that is no object (a list, ``null``,
another encoding than UTF-8), that is answered with 400.

A server without a key on loopback is for programs of this machine, and for no web page in its user's browser. A page may make
the browser send a request to 127.0.0.1 and so spend the keys, even where it cannot read the answer; and a name of its own that
is resolved to 127.0.0.1 (DNS rebinding) lets it read that, too. So a request is refused with 403 whose ``Host`` is not of
loopback, or that has an ``Origin`` that is not; programs send none.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 32 * 2**20
READ = 4
ADVICE = "set LITELLM_MASTER_KEY and send it, where others than programs of this machine are to ask"


class _TooLarge(Exception):
    """The body turned out larger than its length said, or than is allowed."""


class _NoObject(Exception):
    """The body is no JSON object."""


class BodyLimit:
    """ASGI middleware: refuses bodies over ``max_bytes``, by their stated length or, without one, as they arrive.

    Below the paths ``objects_below`` a JSON body must begin as an object does.

    A client that is still sending would not see the refusal, so what it sends is read, and forgotten, up to ``READ`` times the
    limit.
    """

    def __init__(self, app: App, max_bytes: int = MAX_BODY_BYTES, objects_below: tuple[str, ...] = ()) -> None:
        self.app, self.max_bytes, self._objects_below = app, max_bytes, objects_below

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > self.max_bytes:
            return await self._refuse(receive if int(length) <= READ * self.max_bytes else None, send)
        got, more, started, refused, unread = 0, True, False, False, self._wants_object(scope)

        async def count() -> Message:
            nonlocal got, more, unread, refused
            if refused:  # whoever took the exception for a reading error and reads on
                return {"type": "http.disconnect"}
            message = await receive()
            got, more = got + len(message.get("body", b"")), message.get("more_body", False)
            if got > self.max_bytes:
                raise _TooLarge
            if unread and (begin := bytes(message.get("body", b"")).lstrip(b" \t\r\n")):
                unread, refused = False, begin[:1] != b"{"
                if refused:
                    said = "the body must be a JSON object in UTF-8"
                    await send_error(send, 400, {"message": said, "type": "invalid_request_error", "code": "bad_request"})
                    raise _NoObject
            return message

        async def watch(message: Message) -> None:
            nonlocal started
            if refused:
                return  # what a server says that took the exception for its own
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, count, watch)
        except _TooLarge:
            if not started:
                await self._refuse(receive if more else None, send)
        except _NoObject:
            return

    def _wants_object(self, scope: MutableMapping[str, Any]) -> bool:
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"application/json")
        below = scope.get("path", "").startswith(self._objects_below) if self._objects_below else False
        return below and scope.get("method") == "POST" and b"json" in kind.lower()

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
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def is_loopback(host: str) -> bool:
    """Is a host name, or an address without its port, of this machine alone?"""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):  # which resolvers and browsers keep for loopback
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class LoopbackOnly:
    """ASGI middleware: refuses what a web page of elsewhere had a browser send."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        refused = _find_foreign(scope["headers"])
        if refused is None:
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            await receive()
            return await send({"type": "websocket.close", "code": 1008})
        said = f"this server has no key: {refused} may not ask. {ADVICE}"
        await send_error(send, 403, {"message": said, "type": "permission_error", "param": None, "code": "foreign_origin"})
        return None


def _find_foreign(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return what is not of loopback in a request's headers, in words; None where all is."""
    for name, value in headers:
        text = value.decode("latin-1").strip()
        if name == b"host" and not is_loopback(_host_of(f"//{text}")):
            return f"a request for the host {text[:100]!r}"
        if name == b"origin" and not is_loopback(_host_of(text)):
            return f"a page of {text[:100]!r}"
    return None


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
