"""ModelRouter over a real artifact and the local encoder, and over a hand-made encoder for its laws."""

from __future__ import annotations

import asyncio
import base64
import os
import pickle
import subprocess
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import model_router
from auto_router.artifacts import Artifact, save_artifact
from auto_router.data.pool import ModelFacts
from auto_router.decide.policy import RouterSettings
from auto_router.encode.encoder import EmbeddingGenerator, Encoder
from auto_router.errors import ArtifactError, ConfigError, DataError, EncoderError, run
from model_router import Decision, ModelRouter, decision_table
from tests.fakes import NAMES, LetterEncoder, network
from tests.helpers import HOSTILE_PROMPTS, png
from tests.serve.made import MATH, every_setting, save_made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    generator = EmbeddingGenerator(LetterEncoder())
    facts = {"small": ModelFacts(modalities=("text",), context_window=1000)}
    artifact = Artifact(network(3), NAMES, generator.spec, facts)
    save_artifact(tmp_path / "nn_router.pth", artifact)
    return tmp_path / "nn_router.pth"


def opened(path: Path, **options: Any) -> ModelRouter:
    return ModelRouter(path, encoder=EmbeddingGenerator(LetterEncoder()), device="cpu", **options)


def test_without_costs_the_most_promising_model(path: Path) -> None:
    router = opened(path)
    assert router.route("x") == "big"
    decision = router.decide("a")
    assert decision.model == "mid"
    assert decision.probabilities == pytest.approx({"big": 0.8, "mid": 0.9, "small": 0.6})
    assert decision.ranking == ("mid", "big", "small")
    assert decision.cost is None


def test_with_costs_the_cheapest_qualified(path: Path) -> None:
    costs = {"big": 1.0, "mid": 0.3, "small": 0.1}
    router = opened(path, model_thresholds={"big": 0.7, "mid": 0.7, "small": 0.7}, model_costs=costs)
    decision = router.decide("x")
    assert (decision.model, decision.cost, decision.qualified) == ("mid", 0.3, ("big", "mid"))
    strict = opened(path, model_thresholds=dict.fromkeys(NAMES, 0.99), model_costs=costs, fallback_model="small")
    assert strict.decide("x").reason == "fallback"
    assert strict.route("x") == "small"
    assert strict.route("x", [png((0, 0, 0))]) == "big", "the fallback takes no pictures"


def test_costs_alone_never_mean_always_the_cheapest(path: Path) -> None:
    with pytest.warns(UserWarning, match="would always choose the cheapest"):
        router = opened(path, model_costs={"big": 1.0, "mid": 0.3, "small": 0.1})
    assert router.route("x") == "big"
    assert router.decide("x").cost == 1.0


def test_batches_equal_single_calls(path: Path) -> None:
    router = opened(path)
    texts, images = ["x", "a", "x", "aa"], [None, [png((0, 0, 0))], [png((1, 1, 1))], []]
    batch = router.decide_batch(texts, images)
    assert batch == [router.decide(text, given) for text, given in zip(texts, images, strict=True)]
    assert router.route_batch(texts) == ["big", "mid", "big", "mid"]
    assert router.decide_batch([]) == []
    with pytest.raises(ConfigError, match="one string"):
        router.route_batch("x")


def test_subset_modality_and_context_limit_the_choice(path: Path) -> None:
    router = opened(path)
    assert router.route("x", models=["small"]) == "small"
    assert "small" not in router.decide("x", [png((0, 0, 0))]).ranking
    assert "small" not in router.decide("long words " * 4000).ranking
    blind = router.decide("x", [png((0, 0, 0))], models=["small"])
    assert (blind.model, blind.reason) == ("small", "no_model_fits")
    with pytest.raises(ConfigError, match="unknown model 'tiny'; this router knows big, mid, small"):
        router.route("x", models=["tiny"])
    with pytest.raises(ConfigError, match=r"a list of names, got one string; give \['small'\]"):
        router.route("x", models="small")


@pytest.mark.parametrize(
    ("text", "images", "message"),
    [
        (None, None, "row 1: a prompt must be a string, got NoneType"),
        (b"x", None, "row 1: a prompt must be a string, got bytes"),
        ([{"role": "user", "content": "x"}], None, "got list; give a conversation as messages="),
        ("x", Image.new("RGB", (2, 2)), "row 1: pictures must be a list, got Image; put it into a list"),
        ("x", Path("p.png"), "row 1: pictures must be a list, got PosixPath; put it into a list"),
        ("x", b"\x89PNG", "row 1: pictures must be a list, got bytes; put it into a list"),
        ("x", 7, "row 1: pictures must be a list, got int; put it into a list"),
    ],
)
def test_what_is_no_prompt_is_named_and_nothing_is_encoded(path: Path, text: Any, images: Any, message: str) -> None:
    router = opened(path)
    with pytest.raises(DataError, match=message):
        router.decide_batch(["a", text], [None, images])
    with pytest.raises(DataError, match=message.replace("row 1", "row 0")):
        asyncio.run(router.adecide(text, images))
    assert (router.cache.misses, router.finished) == (0, 0), "nobody else's batch holds it"


@pytest.mark.parametrize("prompt", HOSTILE_PROMPTS)
def test_prompts_are_text_whatever_they_look_like(path: Path, prompt: str) -> None:
    assert opened(path).route(prompt) in NAMES


def test_pictures_in_every_form(path: Path, tmp_path: Path) -> None:
    data = png((1, 2, 3))
    file = tmp_path / "p.png"
    file.write_bytes(data)
    text = base64.b64encode(data).decode()
    for image in (data, text, f"data:image/png;base64,{text}", file, Image.open(file)):
        assert opened(path).decide("x", [image]).ranking == ("big", "mid")
    with pytest.raises(DataError, match="row 0, picture 0"):
        opened(path).route("x", [str(file)])


def test_a_missing_gpu_falls_back_with_one_warning(path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        router = ModelRouter(path, encoder=EmbeddingGenerator(LetterEncoder()), device="cuda")
    assert [str(w.message) for w in caught] == ["device 'cuda' is not available here; using the CPU"]
    assert router.route("x") == "big"
    with pytest.raises(ConfigError, match="device 'gpu' is unknown"):
        ModelRouter(path, device="gpu")
    for name in ("xpu", "mps"):
        if not getattr(torch, name).is_available():
            with pytest.raises(ConfigError, match=f"device '{name}' cannot be used"):
                ModelRouter(path, encoder=EmbeddingGenerator(LetterEncoder()), device=name)


@pytest.mark.parametrize("given", [5, "print"])
def test_what_is_to_be_told_of_decisions_must_be_a_function(path: Path, given: Any) -> None:
    with pytest.raises(ConfigError, match="on_decision must be a function"):
        opened(path, on_decision=given)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_cuda_decides_as_the_cpu_does(path: Path) -> None:
    texts = ["x", "a", "aaa", "b"]
    on_gpu = ModelRouter(path, encoder=EmbeddingGenerator(LetterEncoder()), device="cuda").decide_batch(texts)
    for gpu, cpu in zip(on_gpu, opened(path).decide_batch(texts), strict=True):
        assert (gpu.model, gpu.ranking) == (cpu.model, cpu.ranking)
        assert gpu.probabilities == pytest.approx(cpu.probabilities, abs=1e-4)


def test_another_encoder_is_refused_with_both_specs(path: Path) -> None:
    with pytest.raises(EncoderError, match=r"'backend': 'letters'.*all-MiniLM"):
        ModelRouter(path, encoder=model_router.EmbeddingGenerator(_local()))
    with pytest.raises(ArtifactError, match="does not exist"):
        ModelRouter(path.with_name("none.pth"))


@pytest.mark.parametrize("option", ["model_thresholds", "model_costs"])
def test_misspelt_models_are_refused(path: Path, option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} names unknown model 'bigg'; this router knows big, mid, small"):
        opened(path, **{option: {"bigg": 0.5}})
    with pytest.raises(ConfigError, match="fallback_model names unknown model 'bigg'"):
        opened(path, fallback_model="bigg")


def test_an_unknown_setting_is_refused_with_the_known_ones(path: Path) -> None:
    known = sorted(part.name for part in fields(RouterSettings))
    with pytest.raises(ConfigError) as caught:
        opened(path, fallbak_model="small")
    assert str(caught.value) == f"router settings have unknown names ['fallbak_model']; allowed are {known}"


def test_every_setting_is_in_force(tmp_path: Path) -> None:
    given = every_setting(save_made(tmp_path / "made.pth"))
    with ModelRouter(**given) as router:
        assert router.settings == RouterSettings(**given)
        assert router.route(MATH) == "poet", "economy asks the cheapest"


def test_a_decision_can_be_sent_to_another_process(path: Path) -> None:
    decision = opened(path).decide("x")
    assert pickle.loads(pickle.dumps(decision)) == decision  # noqa: S301 - our own bytes
    assert isinstance(decision, Decision)


def test_verbose_says_each_decision(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(path, verbose=True).route("hello there")
    assert capsys.readouterr().out == "big (most_likely_qualified, P=0.90) <- 'hello there'\n"


def _local() -> Encoder:
    from auto_router.encode.local import LocalEncoder

    return LocalEncoder()


@pytest.fixture
def local_artifact(tmp_path: Path) -> Path:
    generator = EmbeddingGenerator(_local())
    save_artifact(tmp_path / "router.pth", Artifact(network(generator.dim), NAMES, generator.spec))
    return tmp_path / "router.pth"


def test_the_command_line_shows_the_decision(local_artifact: Path, tmp_path: Path) -> None:
    picture = tmp_path / "f.png"
    picture.write_bytes(png((9, 9, 9)))
    command = [
        sys.executable,
        "model_router.py",
        "What is in cat.jpg",
        "--router",
        str(local_artifact),
        "--image",
        str(picture),
    ]
    done = subprocess.run(
        [*command, "--threshold", "big=0.5", "--threshold", "mid=0.5", "--threshold", "small=0.99", "--cost", "big=1",
         "--cost", "mid=0.5", "--cost", "small=0"],
        capture_output=True, text=True, cwd=Path(model_router.__file__).parent, env=os.environ, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "->  mid" in done.stdout
    assert done.stdout.strip().endswith("mid  (cheapest qualified, cost 0.5)")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--router", "none.pth"], "router artifact none.pth does not exist"),
        (["--threshold", "big"], "--threshold takes MODEL=NUMBER, got 'big'"),
        (["--threshold", "bgi=0.5"], "unknown model 'bgi'"),
        (["--image", "no.png"], "picture no.png cannot be read"),
    ],
)
def test_wrong_flags_are_one_line(
    flags: list[str], message: str, local_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(lambda: model_router.main(["hello", "--router", str(local_artifact), *flags]))
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def test_the_table_says_nothing_of_models_that_cannot_be_asked() -> None:
    probabilities = {"big": 0.9, "blind": 0.95, "small": 0.2}
    table = decision_table(Decision("big", probabilities, ("big",), "cheapest_qualified", ("big", "small")))
    rows = [line.split(maxsplit=2) for line in table.splitlines()[2:]]
    assert rows == [["->", "big", "0.900         yes"], ["small", "0.200", "no"], ["blind", "-", "cannot take this input"]]
