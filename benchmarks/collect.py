"""How fast Stage 1 asks, and how much memory it takes.

    python benchmarks/collect.py [--check] [--json FILE] [--prompts 1800] [--records 2000 20000]

An endpoint in a process of its own answers after 200 ms. Time: 1,800 prompts, three models and a judge that every answer
goes to, 64 requests in flight. Memory: the peak of the whole command on few and on many records with a picture each.
Targets, which --check holds: the time is at most 1.15 times the ideal, calls x latency / concurrency; the peaks differ by
at most 10 %.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import prepare_hf_data
from auto_router.collect.runner import Collector

LATENCY_S, CONCURRENCY = 0.2, 64
MAX_RATIO, MAX_GROWTH = 1.15, 0.10
PIXELS = 58  # a side; noise of this size is a PNG of 10 kB


class Endpoint(asyncio.Protocol):
    """As little HTTP as an OpenAI client needs: the endpoint must not be what is measured."""

    latency = LATENCY_S
    served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._received = transport, b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            length = int((*head.split(b"content-length:"), b"0")[1].split(b"\r\n")[0])
            if len(self._received) < end + 4 + length:
                return
            body = self._received[end + 4 : end + 4 + length]
            self._received = self._received[end + 4 + length :]
            if head.startswith(b"get"):
                self._send({"served": Endpoint.served})
                continue
            Endpoint.served += 1
            asyncio.get_running_loop().call_later(self.latency, self._answer, body)

    def _answer(self, body: bytes) -> None:
        # Every model says something else, or one verdict would do for all of them.
        text = f"{body[10:24]!r} finds it hard to say, but probably the other one"
        content = json.loads(body)["messages"][-1]["content"] if b'"model": "judge"' in body else None
        if isinstance(content, list):  # beside pictures
            content = content[0]["text"]
        if isinstance(content, str) and content.startswith("{"):  # the preflight's question does not
            text = json.dumps({"id": json.loads(content)["id"], "why": "same", "correct": True})
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        self._send({"choices": [choice], "usage": {"prompt_tokens": 20, "completion_tokens": 10}})

    def _send(self, value: Any) -> None:
        reply = json.dumps(value).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(reply)
        self._transport.write(head + reply)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", port)
    await server.serve_forever()


def child(*arguments: str | Path) -> dict[str, Any]:
    """Run this script once more; return the JSON of its last line."""
    done = subprocess.run([sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(arguments: list[str]) -> None:
    """Run Stage 1 in this process; print the seconds it asked and its peak memory."""
    seconds: list[float] = []
    begun = 0.0
    collect: Callable[..., Any] = Collector.collect

    async def timed(self: Collector, *given: Any) -> None:
        nonlocal begun
        start, begun = time.perf_counter(), time.process_time()
        await collect(self, *given)
        seconds.append(time.perf_counter() - start)

    setattr(Collector, "collect", timed)  # noqa: B010 (mypy: a method)
    prepare_hf_data.main(arguments)
    print(
        json.dumps(
            {
                "seconds": seconds[0],
                "cpu_s": time.process_time() - begun,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def write_pictures(path: Path, count: int) -> None:
    """A parquet file of ``count`` records, each with a picture of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    schema = pa.schema([("prompt", pa.string()), ("answer", pa.string()), ("images", pa.list_(pa.binary()))])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, 100):
            pictures = []
            for _ in range(start, start + 100):
                buffer = io.BytesIO()
                Image.fromarray(random.integers(0, 256, (PIXELS, PIXELS, 3), dtype=np.uint8)).save(buffer, "PNG")
                pictures.append([buffer.getvalue()])
            prompts = [f"What is number {start + i}?" for i in range(100)]
            writer.write_table(pa.table([prompts, ["noise"] * 100, pictures], schema=schema))


def write_pool(path: Path, url: str, names: Sequence[str], judge: bool) -> None:
    entry = {"base_url": url, "modalities": ["text", "image"], "concurrency": CONCURRENCY}
    models = [{"name": name} | entry for name in names]
    path.write_text(json.dumps({"models": models} | ({"judge": {"name": "judge"} | entry} if judge else {})))


def served(url: str) -> int:
    with urllib.request.urlopen(url) as reply:
        return int(json.load(reply)["served"])


def stage_flags(folder: Path, data: str, out: str) -> list[str]:
    files = {"--dataset": data, "--pool": "pool.yaml", "--output-dir": out}
    return [part for flag, name in files.items() for part in (flag, str(folder / name))]


def asking(folder: Path, url: str, prompts: int) -> dict[str, Any]:
    """Return the time of the text run beside the ideal."""
    rows = [{"prompt": f"Which of the two is number {i}?", "answer": f"the first one of {i}"} for i in range(prompts)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_pool(folder / "pool.yaml", url, ["one", "two", "three"], judge=True)
    flags = stage_flags(folder, "rows.jsonl", "text")
    before = served(url)
    found = child("--measure", *flags, "--concurrency", str(CONCURRENCY))
    calls = served(url) - before - 4  # the preflight's four small questions come before
    if calls != prompts * 3 * 2:
        raise SystemExit(f"{calls} calls were served, {prompts * 3 * 2} are meant: the measurement is void")
    ideal = calls * LATENCY_S / CONCURRENCY
    ratio = found["seconds"] / ideal
    return {"calls": calls, "ideal_s": ideal, "seconds": found["seconds"], "ratio": ratio, "cpu_s": found["cpu_s"]}


def memory(folder: Path, url: str, count: int) -> dict[str, Any]:
    """Return the peak of a run over ``count`` records with pictures."""
    write_pictures(folder / f"{count}.parquet", count)
    write_pool(folder / "pool.yaml", url, ["one"], judge=False)
    flags = stage_flags(folder, f"{count}.parquet", str(count))
    return {"records": count, "peak_mb": child("--measure", *flags, "--match-only")["peak_mb"]}


def main(argv: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["--measure"]:
        return measure(given[1:])
    if given[:1] == ["--serve"]:
        return asyncio.run(serve(int(given[1])))
    parser = argparse.ArgumentParser(description="Time and memory of Stage 1 against a loopback endpoint.")
    parser.add_argument("--prompts", type=int, default=1800)
    parser.add_argument("--records", type=int, nargs=2, default=[2000, 20000], metavar="N")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args(given)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(port)])
    try:
        with tempfile.TemporaryDirectory() as name:
            folder, url = Path(name), f"http://127.0.0.1:{port}/v1"
            time.sleep(5)
            speed = asking(folder, url, arguments.prompts)
            peaks = [memory(folder, url, count) for count in arguments.records]
    finally:
        server.terminate()
        server.wait()
    growth = peaks[1]["peak_mb"] / peaks[0]["peak_mb"] - 1
    rows = [
        ["seconds to ask and judge", f"{speed['calls']:,} calls", f"{speed['seconds']:.2f}", f"{speed['ideal_s']:.2f} ideal"],
        ["CPU a call, ms", "", f"{1000 * speed['cpu_s'] / speed['calls']:.2f}", ""],
        ["ratio to the ideal", "", f"{speed['ratio']:.3f}", f"at most {MAX_RATIO}"],
        *(["peak memory, MB", f"{peak['records']:,} pictures", f"{peak['peak_mb']:.0f}", ""] for peak in peaks),
        ["growth", "", f"{growth:+.1%}", f"at most {MAX_GROWTH:.0%}"],
    ]
    print(tabulate(rows, headers=["what", "of", "measured", "target"], disable_numparse=True))
    if arguments.json:
        arguments.json.write_text(json.dumps({"speed": speed, "memory": peaks, "growth": growth}, indent=2) + "\n")
    missed = [name for name, bad in (("time", speed["ratio"] > MAX_RATIO), ("memory", growth > MAX_GROWTH)) if bad]
    if arguments.check and missed:
        raise SystemExit(f"target missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
