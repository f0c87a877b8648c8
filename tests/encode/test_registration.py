"""Encoders of one's own: ``module:Class``, entry points, what an artifact may choose, and a child after a fork."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import generate_embeddings
from auto_router.arrays import Array
from auto_router.artifacts import Artifact, save_artifact
from auto_router.data.embeddings import Spec
from auto_router.encode.factory import open_encoder
from auto_router.errors import ConfigError, EncoderError
from auto_router.route.router import ModelRouter
from auto_router.serve.monitoring import Metrics
from auto_router.serve.service import DecisionService
from tests.embeddings_peer import EmbeddingsServer
from tests.fakes import NAMES, CountingEncoder, LetterEncoder, network

LETTERS = "tests.fakes:LetterEncoder"


class ScaledLetters(LetterEncoder):
    """Letters, with an option of the seam."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    @property
    def spec(self) -> Spec:
        return {"backend": "scaled", "prefix": self.prefix}

    def embed_texts(self, texts: list[str]) -> Array:
        return super().embed_texts([self.prefix + text for text in texts])


def save(path: Path, encoder: str, **options: Any) -> Path:
    generator = open_encoder(encoder, **options)
    save_artifact(path, Artifact(network(3), NAMES, generator.spec))
    return path


def test_a_class_is_opened_by_its_place_with_its_options(tmp_path: Path) -> None:
    assert open_encoder(LETTERS).embed("abc").tolist() == [1, 0, 0]
    mine = f"{__name__}:ScaledLetters"
    sys.modules.setdefault(__name__, sys.modules[ScaledLetters.__module__])
    generator = open_encoder(mine, prefix="a")
    assert generator.embed("xyz").tolist() == [1, 0, 0]
    assert generator.spec["opens_with"] == {"prefix": "a", "backend": mine}
    path = save(tmp_path / "r.pth", mine, prefix="a")
    assert ModelRouter(path, encoder=mine).decide("x").model == "mid", "the artifact holds its options"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("no_such_module:Class", "cannot be imported"),
        ("tests.fakes:NoSuchClass", "cannot be imported"),
        ("tests.fakes:", "cannot be imported"),
        ("tests.helpers:HOSTILE_PROMPTS", "is no Encoder"),
        ("builtins:dict", "is no Encoder"),
        ("pathlib:Path", "is no Encoder but makes PosixPath"),
        ("nonsense", "is unknown; allowed are local"),
    ],
)
def test_what_is_no_encoder_is_said(name: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        open_encoder(name)


def test_options_that_a_class_does_not_take_are_refused() -> None:
    with pytest.raises(ConfigError, match="takes no prefix, got 'q'; it takes no options"):
        open_encoder(LETTERS, prefix="q")
    with pytest.raises(ConfigError, match="takes no dimensions, got 9; it takes threads"):
        open_encoder("local", dimensions=9)


def test_an_artifact_does_not_choose_what_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "r.pth", LETTERS)
    with pytest.raises(EncoderError, match=r"code outside the project, 'tests\.fakes:LetterEncoder'.*encoder='tests"):
        ModelRouter(path)
    assert ModelRouter(path, encoder=LETTERS).route("x") == "big"
    monkeypatch.setenv("AUTO_ROUTER_ENCODER", LETTERS)
    assert ModelRouter(path).route("x") == "big"
    monkeypatch.setenv("AUTO_ROUTER_ENCODER", "tests.fakes:CountingEncoder")
    with pytest.raises(EncoderError, match="code outside the project"):
        ModelRouter(path)
    with pytest.raises(EncoderError, match=r"'backend': 'letters'.*'backend': 'counting'"):
        ModelRouter(path, encoder="tests.fakes:CountingEncoder")


def test_installed_packages_register_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "letters-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: letters\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[auto_router.encoders]\nletters = {LETTERS}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="letters"):
        open_encoder("nobody")
    path = save(tmp_path / "r.pth", "letters")
    assert ModelRouter(path).route("a") == "mid", "what is installed may be named by an artifact"
    (tmp_path / "a.json").write_text(json.dumps([{"idx": i, "prompt": "abx"[i], "model_scores": {"a": 1}} for i in range(3)]))
    files = ["--train-json", str(tmp_path / "a.json"), "--test-json", str(tmp_path / "a.json"), "--output-dir", str(tmp_path)]
    generate_embeddings.main([*files, "--encoder", "letters"])
    assert np.load(tmp_path / "hf_test_embeddings.npy").tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_a_server_is_told_where_its_encoder_answers(tmp_path: Path) -> None:
    from prometheus_client import CollectorRegistry

    from auto_router.data.request import Request
    from auto_router.decide.policy import RouterSettings

    with EmbeddingsServer(dim=2) as first, EmbeddingsServer(dim=2) as moved:
        generator = open_encoder("openai", url=first.url)
        save_artifact(tmp_path / "r.pth", Artifact(network(2), NAMES, generator.spec))
        for encoder_timeout_s, most in ((None, 4.0), (1.5, 1.5), (60.0, 4.0)):
            settings = RouterSettings(
                str(tmp_path / "r.pth"), encoder_url=moved.url, timeout_s=5.0, encoder_timeout_s=encoder_timeout_s
            )
            service = DecisionService(settings, Metrics(CollectorRegistry()))
            service.open()
            asked = len(first.bodies)
            assert asyncio.run(service.decide(Request("x"))).decision.reason == "most_likely_qualified"
            assert len(first.bodies) == asked
            router = service.live.router
            assert router is not None
            assert getattr(router.encoder.encoder, "timeout_s") == most, "below the decision's own time"  # noqa: B009
            service.close()
    with pytest.raises(ConfigError, match="encoder_timeout_s"):
        RouterSettings(encoder_timeout_s=0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("backend", ["letters", "local", "openai"])
def test_a_child_after_a_fork_decides_too(backend: str, tmp_path: Path) -> None:
    with EmbeddingsServer(dim=2) as server:
        generator = {
            "letters": lambda: open_encoder(LETTERS), "local": lambda: open_encoder("local"),
            "openai": lambda: open_encoder("openai", url=server.url),
        }[backend]()  # fmt: skip
        save_artifact(tmp_path / "r.pth", Artifact(network(generator.dim), NAMES, generator.spec))
        router = ModelRouter(tmp_path / "r.pth", encoder=generator)
        before = asyncio.run(router.aroute("x before"))
        child = os.fork()
        if child == 0:
            faulthandler.dump_traceback_later(100, exit=True)  # a child that hangs ends by itself, and the test fails
            try:
                said = [asyncio.run(router.aroute("x after")), router.route("x too"), asyncio.run(router.aroute("x before"))]
                os._exit(0 if said[2] == before else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert asyncio.run(router.aroute("x before")) == before


def test_both_halves_of_joined_encoders_are_checked_and_opened_again(tmp_path: Path) -> None:
    with EmbeddingsServer(dim=2) as server, EmbeddingsServer(dim=2, seed=3) as other:
        generator = open_encoder("openai", url=server.url, image_encoder=LETTERS)
        assert (generator.text_dim, generator.image_dim) == (2, 1)
        joined = generator.spec
        generator.check(json.loads(json.dumps(joined)))
        with pytest.raises(EncoderError, match="differs in text"):
            open_encoder("openai", url=other.url, image_encoder=LETTERS).check(joined)
        with pytest.raises(EncoderError, match="differs in image"):
            open_encoder("openai", url=server.url, image_encoder="tests.fakes:CountingEncoder").check(joined)
        with pytest.raises(ConfigError, match="takes none"):
            open_encoder(LETTERS, image_encoder="openai", image_url=server.url)
        with pytest.raises(ConfigError, match="name it: image_encoder"):
            open_encoder(LETTERS, image_url=server.url)
        assert CountingEncoder().image_dim == 3
