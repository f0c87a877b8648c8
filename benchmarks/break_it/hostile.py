"""An HTTP server of loopback that answers as it is told to, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

MAX_HEAD = 2**16


@dataclass(frozen=True)
class Asked:
    """One request: its head and body, and the connection, on which anything may be written."""

    head: str
    body: bytes
    connection: socket.socket = field(repr=False)
    closing: threading.Event = field(repr=False)

    @property
    def path(self) -> str:
        return self.head.split(" ")[1]

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def reply(self, body: bytes, *headers: str, status: str = "200 OK") -> None:
        """Send a well-formed reply; ``headers`` stand as they are."""
        head = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers, "", ""]
        self.send("\r\n".join(head).encode("utf-8", "surrogateescape") + body)

    def repeat(self, data: bytes, pause_s: float = 0.0, seconds: float = 30.0) -> None:
        """Send ``data`` again and again until nobody listens any more."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.closing.is_set():
            self.send(data)
            if pause_s:
                time.sleep(pause_s)

    def wait(self, seconds: float) -> None:
        self.closing.wait(seconds)

    def reset(self) -> None:
        """Break the connection off as a crashed machine would."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


Behaviour = Callable[[Asked], None]


class HostileServer:
    """Serves ``behave`` on ``host`` while its ``with`` block runs. ``asked`` keeps every request."""

    def __init__(self, behave: Behaviour, host: str = "127.0.0.1") -> None:
        self._behave, self._host = behave, host
        self.asked: list[Asked] = []
        self._closing = threading.Event()

    def __enter__(self) -> HostileServer:
        self._listener = socket.create_server((self._host, 0), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        self._listener.close()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while (asked := self._read(connection)) is not None:
                    self.asked.append(asked)
                    self._behave(asked)
            except OSError:  # whoever asked is gone
                return

    def _read(self, connection: socket.socket) -> Asked | None:
        received = b""
        while b"\r\n\r\n" not in received:
            part = connection.recv(2**16)
            if not part or len(received) > MAX_HEAD:
                return None
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(fields.get("content-length", "0"))
        while len(body) < length:
            part = connection.recv(2**16)
            if not part:
                return None
            body += part
        return Asked("\n".join(lines), body, connection, self._closing)


def completion(text: Any, finish: Any = "stop", usage: Any = None, **more: Any) -> dict[str, Any]:
    """A well-formed answer, whatever is put into it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    counted = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12} if usage is None else usage
    return {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": counted} | more


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()
