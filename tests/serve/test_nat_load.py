"""The toolkit's server under load while its encoder's service is killed and comes back. See ``test_nat``."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nat", reason="NeMo Agent Toolkit is in an environment of its own: make test-nat")

import yaml
from openai import AsyncOpenAI

from auto_router.encode.factory import open_encoder
from tests.checkout import ROOT
from tests.serve.made import MATH, save_made
from tests.serve.processes import Running, running
from tests.servers import free_port

CALLERS = 20
NORMAL = "best_value_qualified"


@contextmanager
def encoder_service(port: int) -> Iterator[subprocess.Popen[str]]:
    """Run the NVCLIP peer in a process of its own."""
    command = [sys.executable, "-m", "tests.nvclip_peer", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        yield process
    finally:
        process.kill()
        process.wait()


async def ask_all_the_time(server: Running, port: int, first: subprocess.Popen[str]) -> Counter[str]:
    """Let the callers ask while the encoder dies and is started again; return the reasons of all decisions."""
    seen: Counter[str] = Counter()
    last, over = [""], asyncio.Event()

    async def until(reasons: set[str], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while last[0] not in reasons:
            assert time.monotonic() < deadline, f"{last[0]} after {seconds} s; so far {seen}"
            await asyncio.sleep(0.05)

    async with AsyncOpenAI(base_url=f"{server.url}/sfc_router", api_key="none", max_retries=0, timeout=20) as client:

        async def caller(number: int) -> None:
            turn = 0
            while not over.is_set():
                turn += 1
                message: Any = {"role": "user", "content": f"{MATH} {number} {turn}"}
                answer: Any = await client.chat.completions.create(model="auto", messages=[message])
                last[0] = answer.model_extra["auto_router"]["reason"]
                seen[last[0]] += 1

        callers = [asyncio.create_task(caller(number)) for number in range(CALLERS)]
        await until({NORMAL}, 20)
        await asyncio.sleep(1)
        await asyncio.to_thread(first.kill)
        await until({"encoder_failed"}, 20)
        await asyncio.sleep(1)
        with encoder_service(port):
            await until({NORMAL}, 40)
            await asyncio.sleep(1)
            over.set()
            await asyncio.gather(*callers)
    return seen


def test_an_encoder_that_is_killed_and_restarted_costs_fallbacks_and_nothing_else(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    config = yaml.safe_load((ROOT / "configs" / "config.yml").read_text())
    config["functions"]["nn_objective_fn"] |= {"timeout_s": 1.0, "fallback_model": "poet"}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    with encoder_service(port) as first:
        path = save_made(tmp_path / "nn_router.pth", encoder=open_encoder("nvclip", url=url))
        environment = {"AUTO_ROUTER_PATH": str(path), "AUTO_ROUTER_ENCODER_URL": url}
        command = ["scripts/run_local.sh", str(tmp_path / "config.yml")]
        with running(command, "/health", tmp_path / "log", environment) as server:
            seen = asyncio.run(ask_all_the_time(server, port, first))
            metrics = server.ask("GET", "/metrics")[1].decode()
    assert set(seen) <= {NORMAL, "encoder_failed", "timeout"}
    causes = {
        cause: int(float(n)) for cause, n in re.findall(r'^auto_router_fallbacks_total{cause="(\w+)"} (\S+)$', metrics, re.M)
    }
    normal = sum(
        int(float(n)) for n in re.findall(rf'^auto_router_decisions_total{{.*reason="{NORMAL}"}} (\S+)$', metrics, re.M)
    )
    assert normal == seen[NORMAL]
    assert causes == {reason: count for reason, count in seen.items() if reason != NORMAL}
