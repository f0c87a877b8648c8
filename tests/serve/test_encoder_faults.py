"""Remote encoders that hang, fail, are slow or are replaced: the service falls back, and comes back once, and soon."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from prometheus_client import CollectorRegistry

from auto_router.artifacts import Artifact, save_artifact
from auto_router.data.request import Request
from auto_router.decide.policy import RouterSettings
from auto_router.encode import retry
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import open_encoder
from auto_router.errors import ConfigError, EncoderError
from auto_router.learn.mlp import NetworkConfig, RouterNetwork
from auto_router.route.router import ModelRouter
from auto_router.serve.monitoring import Metrics
from auto_router.serve.service import DecisionService
from tests.embeddings_peer import EmbeddingsServer
from tests.fakes import NAMES
from tests.nvclip_peer import NvclipServer
from tests.servers import clip_flow, free_port

pytestmark = pytest.mark.slow

TIMEOUT_S = 2.0
SOON_S = 2.0  # from an encoder that is well again to the first decision
STALL_S = 0.1  # a thread that sleeps for a hundredth of a second and wakes later than this: the machine stood still


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)


def save(path: Path, generator: EmbeddingGenerator) -> Path:
    torch.manual_seed(0)
    network = RouterNetwork(NetworkConfig(generator.dim, 3, (), 0.0)).eval()
    save_artifact(path, Artifact(network, NAMES, generator.spec))
    return path


@contextmanager
def serving(path: Path, **settings: Any) -> Iterator[DecisionService]:
    service = DecisionService(
        RouterSettings(str(path), fallback_model="small", timeout_s=TIMEOUT_S, **settings), Metrics(CollectorRegistry())
    )
    service.open()
    try:
        yield service
    finally:
        service.close()


class Clock:
    """Seconds while the machine ran: what waits for an answer is timed, but not how long the machine stood still meanwhile."""

    def __init__(self) -> None:
        self.now, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        last = time.monotonic()
        while not self._over.wait(0.01):
            now = time.monotonic()
            self.now += min(now - last, STALL_S)
            last = now

    def __enter__(self) -> Clock:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


class Clients:
    """Asks all the time, a new prompt every 50 ms, as users do; keeps the reason and the times of every decision."""

    def __init__(self, service: DecisionService) -> None:
        self.service, self.made, self._over = service, list[tuple[float, float, str]](), threading.Event()
        self.clock = Clock()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask()))

    async def _ask(self) -> None:
        tasks, number = set(), 0
        while not self._over.is_set():
            number += 1
            tasks.add(asyncio.create_task(self._one(number)))
            await asyncio.sleep(0.05)
        await asyncio.gather(*tasks)

    async def _one(self, number: int) -> None:
        start = self.clock.now
        reason = (await self.service.decide(Request(f"prompt {number}"))).decision.reason
        self.made.append((start, self.clock.now, reason))

    def __enter__(self) -> Clients:
        self.clock.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.clock.__exit__()

    def reasons(self, since: float = 0.0) -> set[str]:
        return {reason for start, _, reason in list(self.made) if start >= since}

    def wait_for(self, reason: str, since: float, seconds: float = 60.0) -> float:
        """Return when the first such decision was made that was asked for after ``since``."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = [end for start, end, said in list(self.made) if said == reason and start >= since]
            if found:
                return min(found)
            time.sleep(0.02)
        raise AssertionError(f"no {reason} within {seconds} s: {self.reasons(since)}")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the turns of the encoder's health, in order."""
    return re.findall(r"encoder failed, the fallback|the encoder answers again", caplog.text)


ONCE = ["encoder failed, the fallback", "the encoder answers again"]
OWN = "most_likely_qualified"


@pytest.mark.parametrize("fault", ["hang", "500s", "slow", "dropped", "another width", "another model"])
@pytest.mark.parametrize("backend", ["openai", "nvclip"])
def test_a_fault_means_the_fallback_once_and_the_router_soon_again(
    backend: str, fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    peer: EmbeddingsServer | NvclipServer = EmbeddingsServer() if backend == "openai" else NvclipServer()
    with peer as server:
        path = save(tmp_path / "r.pth", open_encoder(backend, url=server.url))
        with caplog.at_level(logging.WARNING), serving(path) as service, Clients(service) as clients:
            clients.wait_for(OWN, 0.0)
            begin = clients.clock.now
            hurt(server, fault)
            clients.wait_for("encoder_failed", begin)
            time.sleep(2.5 * TIMEOUT_S)
            assert OWN not in clients.reasons(clients.clock.now - TIMEOUT_S), "not once while it lasts"
            well = clients.clock.now
            heal(server)
            assert clients.wait_for(OWN, well) - well < SOON_S + 1.0, "a busy machine takes a moment longer"
            again = clients.clock.now
            time.sleep(2 * TIMEOUT_S)
            assert clients.reasons(again) == {OWN}
        assert told(caplog) == ONCE
        assert max(end - start for start, end, _ in clients.made) < TIMEOUT_S + 1.0


def hurt(server: EmbeddingsServer | NvclipServer, fault: str) -> None:
    if fault in ("hang", "slow"):
        server.delay = 3600.0 if fault == "hang" else 3.0
    elif fault in ("500s", "dropped"):
        server.failures += [500 if fault == "500s" else 0] * 10_000
    elif fault == "another width":
        server.dim = 512
    else:
        server.seed, server.failures = 7, [503]


def heal(server: EmbeddingsServer | NvclipServer) -> None:
    server.delay, server.seed, server.dim = 0.0, 0, 1024 if isinstance(server, NvclipServer) else 48
    server.failures.clear()


@pytest.mark.parametrize("fault", ["hang", "dead", "another width"])
def test_a_clip_server_that_fails_and_comes_back(fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with clip_flow(port) as flow:
        path = save(tmp_path / "r.pth", open_encoder(clip_server=flow.address))
        service = DecisionService(
            RouterSettings(str(path), fallback_model="small", timeout_s=TIMEOUT_S), Metrics(CollectorRegistry())
        )
        service.open()
        if fault == "hang":
            flow.pause()
            with caplog.at_level(logging.WARNING), Clients(service) as clients:
                clients.wait_for("encoder_failed", 0.0)
                time.sleep(2 * TIMEOUT_S)
                well = clients.clock.now
                flow.resume()
                clients.wait_for(OWN, well)
    if fault != "hang":
        with caplog.at_level(logging.WARNING), Clients(service) as clients:
            clients.wait_for("encoder_failed", 0.0)
            with clip_flow(port, *(["64"] if fault == "another width" else [])):
                if fault == "dead":
                    clients.wait_for(OWN, 0.0)
                    assert told(caplog) == ONCE  # before this server too ends, while the clients still ask
                else:
                    time.sleep(2 * TIMEOUT_S)
                    assert OWN not in clients.reasons()
    if fault == "hang":
        assert told(caplog) == ONCE
    service.close()


def test_one_prompt_that_the_encoder_refuses_is_nobody_elses_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddingsServer(max_characters=60) as server:
        path = save(tmp_path / "r.pth", open_encoder("openai", url=server.url))
        with caplog.at_level(logging.WARNING), serving(path) as service, Clients(service) as clients:
            clients.wait_for(OWN, 0.0)
            for number in range(5):
                made = asyncio.run(service.decide(Request(f"{number} " + "x" * 100))).decision
                assert (made.model, made.reason) == ("small", "encoder_failed")
            time.sleep(0.5)
        assert clients.reasons() == {OWN}
        assert told(caplog) == []


def test_the_library_falls_back_or_raises_in_time(tmp_path: Path) -> None:
    with EmbeddingsServer() as server:
        path = save(tmp_path / "r.pth", open_encoder("openai", url=server.url))
        patient = ModelRouter(path, timeout=1.0, on_encoder_error="fallback")
        strict = ModelRouter(path, timeout=1.0)
        named = ModelRouter(path, timeout=1.0, fallback_model="mid")
        expected = patient.decide("well").model
        server.hang.set()
        start = time.monotonic()
        assert patient.decide("one").reason in ("timeout", "encoder_failed")
        assert named.route("two", models=["mid", "small"]) == "mid"
        assert named.route("two", models=["small"]) == "small", "the fallback is not among what may be chosen"
        assert asyncio.run(named.aroute("three")) == "mid"
        assert {one.model for one in named.decide_batch(["four", "five"])} == {"mid"}
        with pytest.raises(EncoderError, match="within"):
            strict.route("six")
        with pytest.raises(EncoderError, match="within"):
            asyncio.run(strict.aroute("six"))
        assert time.monotonic() - start < 7 * 1.0 + 3.0
        server.hang.clear()
        assert patient.decide("well").model == expected
        assert asyncio.run(named.adecide("eight")).reason == OWN
        server.failures = [500]
        start = time.monotonic()
        assert patient.decide("nine").reason == "encoder_failed"
        for router in (patient, strict, named):
            router.close()
    for wrong in ({"timeout": 0}, {"on_encoder_error": "ignore"}, {"on_decision": 5}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ModelRouter(path, **wrong)
