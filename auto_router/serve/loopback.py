"""For a server without a key on loopback: only programs of this machine may ask, and no web page in its user's browser.

A page may make the browser send a request to 127.0.0.1 and so spend the keys, even where it cannot read the answer; and a name
of its own that is resolved to 127.0.0.1 (DNS rebinding) lets it read that, too. So a request is refused with 403 whose ``Host``
is not of loopback, or that has an ``Origin`` that is not; programs send none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from auto_router.serve.body_limit import App, Receive, Send, send_error

ADVICE = "set LITELLM_MASTER_KEY and send it, where others than programs of this machine are to ask"


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
