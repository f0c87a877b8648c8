"""An OpenAI-compatible ``/v1/embeddings`` on loopback, written from the published API, with the ways of those who serve it.

A text's vector is drawn from its digest and the served model's ``seed``, a picture's from its bytes: any two differ.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np

from tests.servers import Peer, QuietHandler


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class EmbeddingsServer(Peer):
    """``failures``: statuses of the next requests instead of an answer (0: the connection is closed). ``hang``: nobody is
    answered while it is set."""

    port: int = 0
    models: tuple[str, ...] = ("bge-small",)
    dim: int = 48
    seed: int = 0
    key: str = ""
    max_batch: int = 32  # as TEI
    max_characters: int = 10**9
    base64: bool = True  # False: lists whatever is asked for
    refuses_format: bool = False  # True: the field is an error
    cuts: bool = True  # whether `dimensions` is heeded
    images: str = ""  # uri, object, messages
    first_index: int = 0
    order: int = 1  # -1: the answers come the other way round, with their index
    served: str = ""  # the model that it says it is, if not the one that was asked for
    delay: float = 0.0
    success: int = 200
    failures: list[int] = field(default_factory=list)
    hang: threading.Event = field(default_factory=threading.Event)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answer: Any = None  # instead of the true one

    def __enter__(self) -> Self:
        peer = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                self._send(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in peer.models]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                peer.bodies.append(body)
                peer.headers.append({name.lower(): value for name, value in self.headers.items()})
                peer.paths.append(self.path)
                # Before it waits: what hung must not take a failure that was meant for a later request.
                status = peer.failures.pop(0) if peer.failures else 200
                while peer.hang.is_set():
                    time.sleep(0.01)
                start = time.monotonic()
                while time.monotonic() < start + peer.delay:  # looked at again and again: a server that hangs can be healed
                    time.sleep(0.01)
                if status == 0:
                    self.close_connection = True
                elif status != 200:
                    self._send(status, {"error": {"message": "as told", "type": "server_error"}})
                else:
                    try:
                        made = peer.answer if peer.answer is not None else peer.embeddings(body, peer.headers[-1])
                        self._send(peer.success, made)
                    except _Refused as error:
                        self._send(error.status, {"error": {"message": str(error), "type": "invalid_request_error"}})

            def _send(self, status: int, answer: Any) -> None:
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if status == 307:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(data)

        self.listen(Handler, self.port)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that gave up
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.hang.clear()
        super().__exit__(kind, error, trace)

    def embeddings(self, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        """Return the answer to a request; _Refused where the service would refuse it."""
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            raise _Refused(401, f"Incorrect API key provided: {headers.get('authorization', '')}")
        if body["model"] not in self.models:
            raise _Refused(404, f"The model {body['model']!r} does not exist")
        if "encoding_format" in body and self.refuses_format:
            raise _Refused(400, "unknown field: encoding_format")
        if "messages" in body:
            if self.images != "messages":
                raise _Refused(400, "input is required")
            (message,) = body["messages"]
            items: list[Any] = [{"uri": part["image_url"]["url"]} for part in message["content"]]
        else:
            items = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if not 1 <= len(items) <= self.max_batch:
            raise _Refused(422, f"batch size {len(items)} > maximum allowed batch size {self.max_batch}")
        width = body.get("dimensions", self.dim) if self.cuts else self.dim
        vectors = [self._vector(item)[:width] for item in items]
        as_text = self.base64 and body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": i + self.first_index,
             "embedding": base64.b64encode(vector.tobytes()).decode() if as_text else vector.tolist()}
            for i, vector in enumerate(vectors)
        ]  # fmt: skip
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return {"object": "list", "data": data[:: self.order], "model": self.served or body["model"], "usage": usage}

    def _vector(self, item: Any) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        if isinstance(item, dict):
            if "uri" not in item and self.images != "object":
                raise _Refused(422, "input must be strings")
            kind, content = ("image", item.get("image") or item["uri"]) if "text" not in item else ("text", item["text"])
        else:
            kind = "image" if self.images == "uri" and item.startswith("data:image/") else "text"
            content = item
        if not content or (len(content) > self.max_characters and kind == "text"):
            raise _Refused(413, "this input is empty or too long")
        digest = hashlib.sha256(f"{self.seed}{kind}{content}".encode()).digest()
        return np.random.default_rng(list(digest)).normal(size=self.dim).astype("<f4")


if __name__ == "__main__":
    with EmbeddingsServer(int(sys.argv[1])):
        print("ready", flush=True)
        threading.Event().wait()
