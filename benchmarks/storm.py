"""The one command in a storm: does a caller notice what fails behind it?

    .venv-litellm/bin/python benchmarks/storm.py [--seconds 60] [--connections 200] [--json FILE] [--check]

``--connections`` callers stream answers of ``auto`` from the LiteLLM proxy, each anew when answered. Meanwhile the artifact is
replaced ``SWAPS`` times, by turns one of ``math`` and one of ``poet`` as the model for every prompt; the encoder's service is
killed ``KILLS`` times and comes back after ``DEAD`` seconds; and the endpoint of ``poet`` answers 500 every other ``FLAP``
seconds. Encoder and endpoints are made ones, in processes of their own.

Prints how many streams came whole, what went wrong with the others, what was decided and why, and the proxy's resident memory
in the second fifth and the last. ``--check`` exits 1 where an answer was not 200, a stream ended early, the router never saw a
new artifact or a dead encoder, or memory grew by more than ``GROWTH``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from callers import Connection, prompts
from serve import GROWTH, KEY, PORT, Server, litellm_config, started

from auto_router.errors import run
from auto_router.files import write_json
from tests.serve.made import NAMES
from tests.serve.storm import Storm

SWAPS, KILLS = 10, 2
DEAD, FLAP = 4.0, 3.0
PORTS = {"math": 18433, "poet": 18434, "eyes": 18435}
WORDS = ("one", " two", " three")


def serve_words(port: int, flaps: bool) -> None:
    """Serve an endpoint that streams ``WORDS``; one that ``flaps`` answers 500 every other ``FLAP`` seconds."""
    import uvicorn

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            more = (await receive()).get("more_body", False)
        if flaps and int(time.monotonic() / FLAP) % 2:
            await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"application/json")]})
            await send({"type": "http.response.body", "body": b'{"error": {"message": "down", "type": "server_error"}}'})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "made"}
        for word in (*WORDS, None):
            delta = {} if word is None else {"role": "assistant", "content": word}
            choice = {"index": 0, "delta": delta, "finish_reason": "stop" if word is None else None}
            chunk = f"data: {json.dumps(base | {'choices': [choice]})}\n\n".encode()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    uvicorn.run(endpoint, port=port, log_level="error", lifespan="off", ws="none", timeout_keep_alive=60)


def judge_answer(status: int, data: bytes) -> str:
    """Say what came of a stream: ``whole``, or what was wrong."""
    if status != 200:
        return f"status {status}: {data[:200].decode(errors='replace')}"
    found = ""
    for line in data.decode(errors="replace").splitlines():
        if line.startswith("data: {"):
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                return f"error in the stream: {str(event['error'])[:200]}"
            found += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    return "whole" if found == "".join(WORDS) and b"data: [DONE]" in data else f"ended early: {found!r}"


async def call(number: int, texts: Any, until: float, seen: Counter[str]) -> None:
    """Ask for one stream after another."""
    connection = Connection(PORT, "/v1/chat/completions", KEY)
    while time.monotonic() < until:
        message = {"role": "user", "content": f"{next(texts)} {number}"}
        try:
            answer = judge_answer(
                *await connection.post(json.dumps({"model": "auto", "stream": True, "messages": [message]}).encode())
            )
        except (OSError, EOFError, ValueError) as error:
            answer, connection = f"connection: {error!r}", Connection(PORT, "/v1/chat/completions", KEY)
        seen[answer] += 1


async def fail_behind(storm: Storm, seconds: float) -> None:
    """Replace the artifact, and kill the encoder and start it again, spread over the time."""
    start, events = time.monotonic(), [((turn + 0.5) / SWAPS, "swap") for turn in range(SWAPS)]
    events += [((turn + 1) / (KILLS + 1), "kill") for turn in range(KILLS)]
    service = storm.service()
    process = service.__enter__()
    turn = 0
    try:
        for share, event in sorted(events):
            await asyncio.sleep(max(0.0, start + share * seconds - time.monotonic()))
            if event == "kill":
                process.kill()
                await asyncio.sleep(DEAD)
                service = storm.service()
                process = await asyncio.to_thread(service.__enter__)
            else:
                turn += 1
                order = ("poet", "math", "eyes") if turn % 2 else NAMES
                await asyncio.to_thread(storm.save, order)
    finally:
        service.__exit__(None, None, None)


async def blow(storm: Storm, server: Server, connections: int, seconds: float) -> tuple[Counter[str], list[int]]:
    """Return what came of the streams, and the server's memory, every second."""
    seen: Counter[str] = Counter()
    resident: list[int] = []
    texts, until = prompts(cached=False), time.monotonic() + seconds

    async def watch() -> None:
        while time.monotonic() < until:
            resident.append(server.resident())
            await asyncio.sleep(1.0)

    callers = [call(number, texts, until, seen) for number in range(connections)]
    await asyncio.gather(fail_behind(storm, seconds), watch(), *callers)
    return seen, resident


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The proxy with the router while what it stands on fails.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    spawn = multiprocessing.get_context("spawn")
    endpoints = [spawn.Process(target=serve_words, args=(port, name == "poet"), daemon=True) for name, port in PORTS.items()]
    for endpoint in endpoints:
        endpoint.start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        storm = Storm(folder)
        with storm.service():
            storm.save()
        config = json.loads(litellm_config(folder, NAMES).read_text())
        for entry in config["model_list"]:
            port = PORTS.get(entry["model_name"], PORTS["math"])
            entry["litellm_params"]["api_base"] = f"http://127.0.0.1:{port}/v1"
        (folder / "config.yaml").write_text(json.dumps(config))
        command, environment = ["examples/litellm/run.sh", str(folder / "config.yaml")], storm.environment
        with storm.service() as first, started(
            command, "/auto_router/health", "/auto_router/metrics", environment | {"LITELLM_MASTER_KEY": KEY}
        ) as server:  # fmt: skip
            first.kill()
            seen, resident = asyncio.run(blow(storm, server, arguments.connections, arguments.seconds))
            metrics = {
                name: server.counted(f"auto_router_{name}_total") for name in ("decisions", "fallbacks", "artifact_loads")
            }
    for endpoint in endpoints:
        endpoint.terminate()
    report(seen, resident, metrics, arguments.json, arguments.check)


def report(seen: Counter[str], resident: list[int], metrics: dict[str, float], json_path: Path | None, check: bool) -> None:
    fifth = max(len(resident) // 5, 1)
    early, late = (int(statistics.median(part)) for part in (resident[fifth : 2 * fifth], resident[-fifth:]))
    print(f"{seen['whole']:,} of {seen.total():,} streams came whole")
    for answer, count in seen.most_common():
        if answer != "whole":
            print(f"{count:6,}  {answer}")
    print("the server's counters: " + ", ".join(f"{name} {value:,.0f}" for name, value in metrics.items()))
    print(f"resident memory: {early >> 20} MiB in the second fifth, {late >> 20} MiB in the last")
    if json_path:
        write_json(json_path, {"answers": dict(seen), "counters": metrics, "resident_mib": [size >> 20 for size in resident]})
    short = [
        what
        for what, wrong in (
            ("streams that did not come whole", seen["whole"] < seen.total()),
            ("an artifact that was not seen", metrics["artifact_loads"] <= SWAPS),
            ("a dead encoder that was not seen", metrics["fallbacks"] == 0),
            ("memory that grew", late - early > GROWTH),
        )
        if wrong
    ]
    if check and short:
        sys.exit(f"short of target: {', '.join(short)}")


if __name__ == "__main__":
    sys.exit(run(main))
