"""The service behind every server: decisions that are the router's, and fallbacks where it cannot decide."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from auto_router.arrays import Array
from auto_router.artifacts import Artifact, save_artifact
from auto_router.data.images import pixels
from auto_router.data.pool import ModelFacts
from auto_router.data.request import Request
from auto_router.decide.policy import RouterSettings
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.errors import ArtifactError, ConfigError, EncoderError
from auto_router.route.router import ModelRouter
from auto_router.serve import live
from auto_router.serve.monitoring import Metrics
from auto_router.serve.service import DecisionService
from tests.fakes import BLACK, NAMES, LetterEncoder, network
from tests.serve.made import MATH, every_setting, save_made

FACTS = {name: ModelFacts(modalities=("text",)) for name in ("small", "mid")}


class SwitchedEncoder(LetterEncoder):
    """Fails while ``down`` is set, takes ``delay`` seconds a call, and answers nobody while ``going`` is clear."""

    def __init__(self) -> None:
        self.down, self.delay, self.closed = False, 0.0, 0
        self.going = threading.Event()
        self.going.set()

    def embed_texts(self, texts: list[str]) -> Array:
        time.sleep(self.delay)
        assert self.going.wait(300)
        if self.down:
            raise EncoderError("the service is away")
        return super().embed_texts(texts)

    def embed_images(self, images: list[bytes]) -> Array:
        for image in images:
            pixels(image)
        return super().embed_images(images)

    def close(self) -> None:
        self.closed += 1


def save(path: Path, names: Sequence[str] | None = None) -> Path:
    save_artifact(path, Artifact(network(3), tuple(names or NAMES), EmbeddingGenerator(LetterEncoder()).spec, FACTS))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(tmp_path / "nn_router.pth")


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> SwitchedEncoder:
    made = SwitchedEncoder()
    monkeypatch.setattr(live, "open_encoder", lambda *given, **more: EmbeddingGenerator(made))
    return made


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[DecisionService]:
    service = DecisionService(RouterSettings(str(path), **options), Metrics(CollectorRegistry()))
    service.open()
    try:
        yield service
    finally:
        service.close()


def count(service: DecisionService, name: str, **labels: str) -> float:
    return service.metrics.registry.get_sample_value(f"auto_router_{name}", labels) or 0.0


def loaded(service: DecisionService) -> float:
    return count(service, "artifact_loads_total", outcome="loaded")


def decided(service: DecisionService, text: str = "x", *images: Any, **given: Any) -> Any:
    return asyncio.run(service.decide(Request(text, images, **given))).decision


def wait_until(what: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait, for long on a busy machine: what is tested is that it comes."""
    start = time.monotonic()
    while not what():
        assert time.monotonic() - start < seconds
        time.sleep(0.01)


def test_decisions_are_the_routers_own(path: Path, encoder: SwitchedEncoder) -> None:
    thresholds = {"big": 0.85}
    router = ModelRouter(path, thresholds, encoder=EmbeddingGenerator(LetterEncoder()), device="cpu")
    with opened(path, model_thresholds=thresholds) as service:
        for text in ("x", "a", "", "a\ud800"):
            assert decided(service, text) == router.decide(text)
        assert decided(service, "x", BLACK) == router.decide("x", [BLACK])
        assert decided(service, "x") == router.decide("x")
        assert count(service, "decisions_total", model="big", reason="most_likely_qualified") >= 2
        assert (count(service, "cache_hits_total"), count(service, "cache_misses_total")) == (1, 5)
        assert count(service, "decision_seconds_count") == 6
        assert count(service, "artifact_loads_total", outcome="loaded") == 1
        assert asyncio.run(service.health())[0]
    assert encoder.closed == 1


def test_pictures_that_cannot_be_read_here_limit_the_choice_and_nothing_else(path: Path, encoder: SwitchedEncoder) -> None:
    with opened(path) as service:
        for picture in ("https://127.0.0.1:1/cat.png", "no picture", 7, "data:image/png;base64,AAAA"):
            served = asyncio.run(service.decide(Request("a", (picture, BLACK))))
            assert (served.decision.model, served.unseen) == ("big", 1), "mid and small take no pictures"
            assert served.decision.probabilities == pytest.approx({"big": 0.8, "mid": 0.9, "small": 0.6})
        assert count(service, "unseen_pictures_total") == 4


def test_a_choice_is_limited_to_what_the_server_has(path: Path, encoder: SwitchedEncoder) -> None:
    with opened(path) as service:
        assert asyncio.run(service.decide(Request("x"), {"small", "other"})).decision.model == "small"
        assert asyncio.run(service.decide(Request("x"), {"other"})).decision.model == "big"
        with pytest.raises(ConfigError, match="economy"):
            decided(service, "x", operating_point="economy")


@pytest.mark.parametrize("fallback", ["small", None])
def test_a_failing_encoder_means_the_fallback_until_it_answers_again(
    path: Path, encoder: SwitchedEncoder, fallback: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(path, fallback_model=fallback) as service:
        encoder.down = True
        with caplog.at_level(logging.INFO):
            made = decided(service, "secret words")
            assert (made.model, made.reason) == (fallback or "big", "encoder_failed")
            assert set(made.ranking) == set(NAMES)
            assert decided(service, "again").reason == "encoder_failed"
            assert decided(service, "x", BLACK).model == "big", "the fallback takes no pictures"
            assert asyncio.run(service.health()) == (False, _any_health(service))
        assert count(service, "fallbacks_total", cause="encoder_failed") == 3
        assert count(service, "encoder_up") == 0
        assert "the service is away" in caplog.text
        assert "secret" not in caplog.text
        encoder.down = False
        wait_until(lambda: decided(service, "x").reason == "most_likely_qualified")
        assert count(service, "encoder_up") == 1


def _any_health(service: DecisionService) -> dict[str, Any]:
    found = asyncio.run(service.health())[1]
    assert found["status"] == "degraded"
    assert "the service is away" in found["encoder"]["error"]
    return found


def test_an_encoder_that_does_not_answer_is_not_waited_for(path: Path, encoder: SwitchedEncoder) -> None:
    with opened(path, timeout_s=0.2) as service:
        encoder.going.clear()
        assert decided(service, "new").reason == "timeout"
        assert decided(service, "next").reason == "encoder_failed"
        encoder.going.set()
        wait_until(lambda: decided(service, "newer").reason == "most_likely_qualified")
        assert count(service, "fallbacks_total", cause="timeout") >= 1


def test_more_than_can_be_decided_in_time_goes_to_the_fallback_at_once(path: Path, encoder: SwitchedEncoder) -> None:
    """Callers ask faster than the encoder answers: those who would wait too long do not wait; the encoder is not blamed."""

    async def stormed() -> Counter[str]:
        with opened(path, fallback_model="small", timeout_s=2.0) as service:
            encoder.delay = 0.5
            async with under_load(service, 600, pause=0.1) as made:  # all of them would wait for 600 / 64 batches
                await asyncio.sleep(8.0)
                encoder.delay = 0.0
            seen = Counter(one.reason for one in made)
            assert count(service, "fallbacks_total", cause="overloaded") == seen["overloaded"]
            assert service.live.encoder_error is None
            until = time.monotonic() + 60  # those who gave up left a queue, which is worked off first
            while (await service.decide(Request("after the storm"))).decision.reason != "most_likely_qualified":
                assert time.monotonic() < until
                await asyncio.sleep(0.05)
        return seen

    seen = asyncio.run(stormed())
    assert set(seen) <= {"most_likely_qualified", "overloaded", "timeout"}
    assert min(seen["most_likely_qualified"], seen["overloaded"]) > 64


def test_prompts_are_logged_only_where_asked(path: Path, encoder: SwitchedEncoder, caplog: pytest.LogCaptureFixture) -> None:
    for asked in (False, True):
        caplog.clear()
        with caplog.at_level(logging.INFO), opened(path, log_prompts=asked) as service:
            decided(service, "a private matter")
        assert ("a private matter" in caplog.text) == asked
        assert "model=mid reason=most_likely_qualified p=0.900" in caplog.text


@asynccontextmanager
async def under_load(service: DecisionService, callers: int = 20, pause: float = 0.001) -> AsyncIterator[list[Any]]:
    """Decide all the time, in many coroutines; the decisions are in the list."""
    made: list[Any] = []
    over = asyncio.Event()

    async def caller(number: int) -> None:
        while not over.is_set():
            made.append((await service.decide(Request(f"x{number}{len(made)}"))).decision)
            await asyncio.sleep(pause)

    tasks = [asyncio.create_task(caller(number)) for number in range(callers)]
    try:
        yield made
    finally:
        over.set()
        await asyncio.gather(*tasks)


def test_a_replaced_artifact_comes_into_service_and_nobody_notices(path: Path, encoder: SwitchedEncoder) -> None:
    async def replaced() -> None:
        with opened(path) as service:
            async with under_load(service) as made:
                for turn in range(3):
                    await asyncio.sleep(0.3)
                    names = [f"{name}-{turn}" for name in NAMES]
                    await asyncio.to_thread(save, path, names)
                    # In service, and counted, which is a moment later; the test's own time limit ends a wait in vain.
                    while not made or made[-1].model != f"big-{turn}" or loaded(service) < turn + 2:
                        await asyncio.sleep(0.01)
            assert {one.reason for one in made} == {"most_likely_qualified"}
            assert loaded(service) == 4
            assert count(service, "decision_seconds_count") == len(made)
            assert count(service, "cache_misses_total") + count(service, "cache_hits_total") == len(made)

    asyncio.run(replaced())


def test_a_broken_replacement_changes_nothing(path: Path, encoder: SwitchedEncoder, caplog: pytest.LogCaptureFixture) -> None:
    with opened(path, model_thresholds={"big": 0.1}) as service:
        for content in (b"junk", save(path.with_name("other"), ["a", "b", "c"]).read_bytes()):
            temporary = path.with_name("new")
            temporary.write_bytes(content)
            failed = count(service, "artifact_loads_total", outcome="failed")
            os.replace(temporary, path)
            wait_until(lambda before=failed: count(service, "artifact_loads_total", outcome="failed") > before)  # type: ignore[misc]
            assert decided(service).model == "big"
            assert service.live.load_error is not None
        assert "the router before it stays in service" in caplog.text
        save(path)
        wait_until(lambda: service.live.load_error is None)
        assert asyncio.run(service.health())[1]["artifact"]["error"] is None


def test_without_an_artifact_the_fallback_serves_until_there_is_one(tmp_path: Path, encoder: SwitchedEncoder) -> None:
    path = tmp_path / "later.pth"
    with pytest.raises(ArtifactError, match="does not exist"):
        DecisionService(RouterSettings(str(path)), Metrics(CollectorRegistry())).open()
    with opened(path, fallback_model="small", model_thresholds={"small": 0.1, "mid": 0.2}) as service:
        made = decided(service)
        assert (made.model, made.reason, made.ranking) == ("small", "no_artifact", ("small", "mid"))
        good, told = asyncio.run(service.health())
        assert not good
        assert "does not exist" in told["artifact"]["error"]
        save(path)
        wait_until(lambda: decided(service).reason == "most_likely_qualified")


def test_settings_that_do_not_fit_stop_the_start(path: Path, encoder: SwitchedEncoder) -> None:
    with pytest.raises(ConfigError, match="gpt-9"):
        DecisionService(
            RouterSettings(str(path), model_thresholds={"gpt-9": 0.5}, fallback_model="small"), Metrics(CollectorRegistry())
        ).open()
    with pytest.raises(ConfigError, match="unknown names"):
        RouterSettings.from_environment({"thresholds": {}})
    with pytest.raises(ConfigError, match="timeout_s"):
        RouterSettings(timeout_s=0)


def test_every_setting_reaches_the_router_in_service(tmp_path: Path) -> None:
    given, default = every_setting(save_made(tmp_path / "made.pth")), asdict(RouterSettings())
    assert {name: value for name, value in default.items() if given.get(name, value) == value} == {}, "each has another value"
    settings = RouterSettings.from_environment(given)
    assert asdict(settings) == given
    service = DecisionService(settings, Metrics(CollectorRegistry()))
    service.open()
    try:
        for number in range(8):
            assert decided(service, f"{MATH} {number}").model == "poet", "economy asks the cheapest"
        router = service.live.router
        assert router is not None
        assert router.settings == replace(settings, encoder=None), "it is given the service's own encoder"
        assert (router.policy.guard, router.policy.operating_point, router.device) == (False, "economy", "cpu")
        assert router.drift_report().decisions == 7
    finally:
        service.close()


def test_options_come_from_the_environment_where_they_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"PATH": "p.pth", "FALLBACK_MODEL": "small", "THREADS": "2", "OPERATING_POINT": "quality", "CACHE_BYTES": "9"}
    for name, value in given.items():
        monkeypatch.setenv(f"AUTO_ROUTER_{name}", value)
    assert RouterSettings.from_environment({"operating_point": "economy"}) == RouterSettings(
        "p.pth", operating_point="economy", fallback_model="small", threads=2, cache_bytes=9
    )
    monkeypatch.setenv("AUTO_ROUTER_THREADS", "many")
    with pytest.raises(ConfigError, match="AUTO_ROUTER_THREADS"):
        RouterSettings.from_environment({})


def test_settings_handed_to_another_process_are_those_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    inherited = {"EXPLORE_SHARE": "0.1", "SHADOW_SHARE": "0.2", "SHADOW_USD_PER_DAY": "9", "FALLBACK_MODEL": "small"}
    for name, value in inherited.items():
        monkeypatch.setenv(f"AUTO_ROUTER_{name}", value)
    settings = RouterSettings("r.pth", feedback_file="f", shadow_pool="p", session_policy="sticky", shadow_usd_per_day=1e-7)
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    assert RouterSettings.from_environment({}) == settings


def test_closing_ends_the_watch(path: Path, encoder: SwitchedEncoder) -> None:
    before = threading.active_count()
    with opened(path) as service:
        decided(service)
    wait_until(lambda: threading.active_count() <= before)
