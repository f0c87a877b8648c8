"""A chat endpoint that answers at once, for what stands between it and its callers to be measured."""

from __future__ import annotations

import json
from typing import Any


async def endpoint(scope: Any, receive: Any, send: Any) -> None:
    """A chat endpoint that answers at once (ASGI)."""
    more, data = True, b""
    while more:
        message = await receive()
        data, more = data + message.get("body", b""), message.get("more_body", False)
    choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    base = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": json.loads(data or "{}").get("model")}
    body = json.dumps(base | {"choices": [choice], "usage": usage}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def serve(port: int) -> None:
    """Serve it on loopback until the process ends."""
    import uvicorn

    uvicorn.run(endpoint, port=port, log_level="error", lifespan="off", ws="none")
