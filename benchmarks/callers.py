"""Callers for benchmarks: closed-loop load over HTTP connections of the least weight, or on anything that can be awaited."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
Ask = Callable[[str], Awaitable[bool]]


class Connection:
    """One HTTP/1.1 connection of the least weight, so that the client takes little from the server it measures."""

    def __init__(self, port: int, path: str, key: str) -> None:
        self.port = port
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
        )
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        reader, writer = self._streams
        writer.write(f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = re.search(r"content-length: (\d+)", head)
        data = await reader.readexactly(int(length[1])) if length else await self._chunked(reader)
        return int(head.split(" ", 2)[1]), data

    @staticmethod
    async def _chunked(reader: asyncio.StreamReader) -> bytes:
        data = b""
        while size := int(await reader.readline(), 16):
            data += await reader.readexactly(size + 2)
        await reader.readline()
        return data


def prompts(cached: bool) -> Iterator[str]:
    """Yield prompts without end."""
    file = ROOT / "examples" / "quickstart" / "prompts.jsonl"
    rows = [json.loads(line) for line in file.open(encoding="utf-8")]
    texts = [row["prompt"] for row in rows if not row.get("images")][: 20 if cached else 200]
    number = 0
    while True:
        for text in texts:
            number += 1
            yield text if cached else f"{time.monotonic_ns()} {number}. {text}"


async def load(asks: Sequence[Ask], seconds: float, cached: bool) -> dict[str, float]:
    """Let every caller ask for ``seconds``; return what came of it."""
    texts, until = prompts(cached), time.perf_counter() + seconds
    took: list[float] = []
    failed = 0

    async def caller(ask: Ask) -> None:
        nonlocal failed
        while time.perf_counter() < until:
            start = time.perf_counter()
            failed += not await ask(next(texts))
            took.append(1000 * (time.perf_counter() - start))

    start = time.perf_counter()
    await asyncio.gather(*(caller(ask) for ask in asks))
    return figures(took, failed, time.perf_counter() - start)


async def take_turns(asks: Mapping[str, Ask], seconds: float, cached: bool) -> dict[str, dict[str, float]]:
    """Let one caller ask each way in turn for ``seconds``, so that what else the machine does slows all of them."""
    texts, until = prompts(cached), time.perf_counter() + seconds
    took: dict[str, list[float]] = {name: [] for name in asks}
    failed = dict.fromkeys(asks, 0)
    while time.perf_counter() < until:
        text = next(texts)
        for name, ask in asks.items():
            start = time.perf_counter()
            failed[name] += not await ask(text)
            took[name].append(1000 * (time.perf_counter() - start))
    return {name: figures(of, failed[name], sum(of) / 1000) for name, of in took.items()}


def figures(took: Sequence[float], failed: int, seconds: float) -> dict[str, float]:
    """Return what milliseconds a request, failures and the time of all come to."""
    p50, p99 = np.percentile(took, [50, 99]).tolist()
    return {"requests": len(took), "errors": failed, "per_s": len(took) / seconds, "p50_ms": p50, "p99_ms": p99}


def over_http(port: int, path: str, key: str, model: str, callers: int) -> list[Ask]:
    """Return askers, each with a connection of its own."""

    def asker() -> Ask:
        connection = Connection(port, path, key)

        async def ask(text: str) -> bool:
            body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()
            status, _ = await connection.post(body)
            return status == 200

        return ask

    return [asker() for _ in range(callers)]
