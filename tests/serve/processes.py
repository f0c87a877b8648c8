"""Servers in processes of their own, as a user starts them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import ROOT
from tests.servers import free_port

START_SECONDS = 240.0


@dataclass
class Running:
    """A server that answers on 127.0.0.1, and the file that holds what it printed."""

    port: int
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, seconds: float = 30.0
    ) -> tuple[int, bytes, dict[str, str]]:
        """Send a request over a connection of its own: bytes as they are, anything else as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {"Content-Type": "application/json"} | (headers or {}))
            reply = connection.getresponse()
            return reply.status, reply.read(), {name.lower(): value for name, value in reply.getheaders()}
        finally:
            connection.close()

    def resident(self) -> int:
        """Resident memory of the server in bytes (Linux)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


@contextmanager
def running(
    command: Sequence[str | Path], ready: str, log_file: Path, environment: dict[str, str], port: int | None = None
) -> Iterator[Running]:
    """Run ``command --port PORT`` until the block ends; yields once ``GET ready`` is answered with anything."""
    port = port or free_port()
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*map(str, command), "--port", str(port)], stdout=log, stderr=log, cwd=ROOT, start_new_session=True,
            env=os.environ | {"AUTO_ROUTER_VENV": sys.prefix} | environment,
        )  # fmt: skip
    server = Running(port, process, log_file)
    try:
        until = time.monotonic() + START_SECONDS
        while not _answers(server, ready):
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{command[0]} did not start:\n{server.log[-5000:]}")
            time.sleep(0.1)
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _answers(server: Running, path: str) -> bool:
    try:
        server.ask("GET", path, seconds=5.0)
    except OSError:
        return False
    return True
