"""Loopback servers for tests."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest


class LoopbackServer(ThreadingHTTPServer):
    """Takes a burst of connections: where the queue is full (at 5 by default), one waits for seconds or fails."""

    daemon_threads = True
    request_queue_size = 256


class QuietHandler(BaseHTTPRequestHandler):
    """Keeps connections open, sends what it has at once, and logs nothing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Peer:
    """A service on loopback for as long as its block lasts; its ``__enter__`` calls :meth:`listen`."""

    def listen(self, handler: type[BaseHTTPRequestHandler], port: int = 0) -> None:
        self._server = LoopbackServer(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"


def free_port() -> int:
    """Return a TCP port that is free now, below those that systems give to connections by themselves (from 32768)."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass
class Flow:
    """A running clip-server peer."""

    address: str
    process: subprocess.Popen[str]

    def pause(self) -> None:
        """Let it hang: its connections stay open, and nothing is answered."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def clip_flow(port: int | None = None, *behaviour: str) -> Iterator[Flow]:
    """Run ``clip_peer.py`` in processes of its own; ``behaviour`` is passed on to it."""
    port = port or free_port()
    command = [sys.executable, str(Path(__file__).with_name("clip_peer.py")), str(port), *behaviour]
    environment = os.environ | {"JINA_LOG_LEVEL": "ERROR"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    flow = Flow(f"127.0.0.1:{port}", process)
    try:
        assert process.stdout is not None
        timer = threading.Timer(120, process.kill)
        timer.start()
        if not any(line.strip() == "ready" for line in process.stdout):
            pytest.fail("the jina Flow did not start")
        timer.cancel()
        yield flow
    finally:
        if process.poll() is None:
            flow.kill()
