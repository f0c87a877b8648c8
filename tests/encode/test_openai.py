"""The openai encoder against a service of the true protocol, in the ways in which services differ."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import generate_embeddings
from auto_router.encode import retry
from auto_router.encode.factory import open_encoder, reopen_encoder
from auto_router.encode.openai import OpenAIEncoder
from auto_router.errors import ConfigError, EncoderError
from tests.embeddings_peer import EmbeddingsServer
from tests.helpers import png


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)


@pytest.fixture
def server() -> Iterator[EmbeddingsServer]:
    with EmbeddingsServer() as running:
        yield running


def unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("form", [{}, {"base64": False}, {"refuses_format": True}, {"first_index": 1}, {"order": -1}])
def test_every_form_of_an_answer_gives_the_same_rows(form: dict[str, Any]) -> None:
    with EmbeddingsServer(**form) as server:
        generator = open_encoder("openai", url=server.url, model="bge-small")
        rows = generator.embed_batch(["one", "two", "three"])
        assert rows == pytest.approx(np.stack([unit(server._vector(text)) for text in ("one", "two", "three")]), abs=1e-5)
        assert (generator.text_dim, generator.image_dim) == (48, 0)


def test_the_only_model_is_found_and_of_several_one_must_be_named(server: EmbeddingsServer) -> None:
    assert open_encoder("openai", url=server.url).spec["model"] == "bge-small"
    server.models = ("a", "b")
    with pytest.raises(ConfigError, match=r"has \['a', 'b'\]; name one: --encoder-model"):
        open_encoder("openai", url=server.url)
    with pytest.raises(EncoderError, match=r"answered 404: .*does not exist"):
        open_encoder("openai", url=server.url, model="c")


def test_dimensions_prefix_and_window_are_sent_and_stand_in_the_spec(server: EmbeddingsServer) -> None:
    generator = open_encoder("openai", url=server.url, dimensions=16, prefix="query: ", window=64)
    assert generator.text_dim == 16
    prompt = "many words " * 100
    windows = generator.encoder.windows(prompt)
    server.bodies.clear()
    generator.embed(prompt)
    assert len(windows) > 2
    assert sorted(text for body in server.bodies for text in body["input"]) == sorted(f"query: {part}" for part in set(windows))
    assert {body["dimensions"] for body in server.bodies} == {16}
    spec = generator.spec
    assert (spec["dimensions"], spec["prefix"], spec["text_window"]["tokens"]) == (16, "query: ", 64)
    plain = open_encoder("openai", url=server.url)
    with pytest.raises(EncoderError, match="differs in dimensions, prefix, probe, text_dim, text_window"):
        plain.check(spec)
    server.cuts = False
    with pytest.raises(EncoderError, match="was asked for 16 dimensions of bge-small and gave 48"):
        open_encoder("openai", url=server.url, dimensions=16)


@pytest.mark.parametrize("images", ["uri", "object", "messages"])
def test_pictures_in_every_form(images: str) -> None:
    with EmbeddingsServer(images=images) as server:
        generator = open_encoder("openai", url=server.url, images=images)
        assert generator.image_dim == 48
        rows = generator.embed_batch(["a", "data:image/png;base64,AAAA", "b"], [[png((1, 2, 3))], [], [png((9, 9, 9))]])
        texts, pictures = np.split(rows, [48], axis=1)
        assert np.linalg.norm(texts, axis=1) == pytest.approx(1, abs=1e-5), "a prompt that looks like a picture is a text"
        assert np.linalg.norm(pictures, axis=1) == pytest.approx([1, 0, 1], abs=1e-5)
        assert np.abs(pictures[0] - pictures[2]).max() > 0.05
        assert generator.spec["images"] == images


def test_a_service_of_texts_alone_takes_prompts_with_pictures(server: EmbeddingsServer) -> None:
    generator = open_encoder("openai", url=server.url)
    assert generator.embed("a", [png((1, 2, 3))]) == pytest.approx(generator.embed("a"))
    with pytest.raises(EncoderError, match="answered 4"):
        open_encoder("openai", url=server.url, images="messages")


def test_large_batches_are_split_until_they_are_taken() -> None:
    with EmbeddingsServer(max_batch=5) as server:
        encoder = OpenAIEncoder(server.url)
        texts = [f"text {i}" for i in range(32)]
        assert encoder.embed_texts(texts) == pytest.approx(np.stack([server._vector(text) for text in texts]))
        server.max_characters = 50
        with pytest.raises(EncoderError, match="answered 413"):
            encoder.embed_texts(["short", "x" * 51])


def test_any_success_of_http_counts_as_one() -> None:
    with EmbeddingsServer(success=246) as server:
        assert OpenAIEncoder(server.url).embed_texts(["x"]).shape == (1, 48)


def test_what_may_pass_is_tried_again_and_what_may_not_is_said_at_once(server: EmbeddingsServer) -> None:
    encoder = OpenAIEncoder(server.url)
    server.failures = [500, 429, 0]
    assert encoder.embed_texts(["x"]).shape == (1, 48)
    before = len(server.bodies)
    for status in (401, 403, 404, 402, 307):
        server.failures = [status]
        with pytest.raises(EncoderError, match=f"answered {status}"):
            encoder.embed_texts(["x"])
    assert len(server.bodies) == before + 5
    assert "/elsewhere" not in server.paths, "a redirect is not followed"
    encoder.limit_requests(0.5, 1)
    server.failures = [500]
    with pytest.raises(EncoderError, match=r"answered 500.*\(1 attempt\)"):
        encoder.embed_texts(["x"])


@pytest.mark.parametrize(
    "answer",
    [
        {}, [], b"no json", {"data": 3}, {"data": [{}]}, {"data": [{"embedding": 5}]}, {"data": [{"embedding": "?"}]},
        {"data": []},
        {"data": [{"embedding": [1.0, "x"]}]}, {"data": [{"embedding": [[1.0]]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 3, "embedding": [1.0]}, {"index": 4, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": None, "embedding": [1.0]}]},
    ],
)  # fmt: skip
def test_answers_of_another_form_are_refused(server: EmbeddingsServer, answer: Any) -> None:
    encoder = OpenAIEncoder(server.url)
    server.answer = answer
    with pytest.raises(EncoderError, match="embeddings service http://127"):
        encoder.embed_texts(["x", "y"])


@pytest.mark.parametrize("numbers", [[float("nan")] * 48, [float("inf")] * 48])
def test_answers_that_are_no_numbers_are_refused(server: EmbeddingsServer, numbers: list[float]) -> None:
    generator = open_encoder("openai", url=server.url)
    server.answer = {"data": [{"embedding": numbers}], "model": "bge-small"}
    with pytest.raises(EncoderError, match="NaN or infinite"):
        generator.embed("x")


def test_another_model_behind_the_same_address_is_noticed(server: EmbeddingsServer) -> None:
    generator = open_encoder("openai", url=server.url)
    server.dim = 64
    with pytest.raises(EncoderError, match=r"shape \[1, 64\], expected \[1, 48\]"):
        generator.embed("y")
    server.dim, server.served = 48, "e5-small"
    with pytest.raises(EncoderError, match="answered as model 'bge-small' before, and as 'e5-small' now"):
        generator.embed("x")
    server.served, server.seed, server.failures = "", 1, [0]  # restarted with another model of the same name and width
    for _ in range(2):
        with pytest.raises(EncoderError, match="another model answers at the encoder's address"):
            generator.embed("z")
    server.seed = 0
    assert np.isfinite(generator.embed("z")).all()


def test_keys_come_from_a_named_variable_and_are_never_shown(server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.key = "sk-secret-1234"
    with pytest.raises(EncoderError, match=r"answered 401: .*the key comes from AUTO_ROUTER_ENCODER_KEY"):
        open_encoder("openai", url=server.url, model="bge-small")
    with pytest.raises(ConfigError, match="needs a key: export MY_KEY"):
        open_encoder("openai", url=server.url, key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "sk-secret-1234")
    generator = open_encoder("openai", url=server.url, model="bge-small", key_env="MY_KEY")
    assert generator.spec["opens_with"]["key_env"] == "MY_KEY"
    assert "secret" not in json.dumps(generator.spec)
    server.key = "another"
    with pytest.raises(EncoderError, match=r"answered 401: .*\[key\]") as error:
        generator.embed("x")
    assert "secret" not in str(error.value)
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match=r"api\.openai\.com needs a key: export OPENAI_API_KEY"):
        open_encoder("openai")


@pytest.mark.parametrize("url", ["ftp://x/v1", "127.0.0.1:1", "http:///v1", "http://me:secret@127.0.0.1:1/v1", ""])
def test_addresses_that_are_none_are_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError):
        open_encoder("openai", url=url)


def test_addresses_in_the_forms_that_people_write(server: EmbeddingsServer) -> None:
    root = server.url.removesuffix("/v1")
    for url in (root, f"{root}/", f"{root}/v1/", f"{root}/v1/embeddings", f"{root}/openai/v1?api-version=preview"):
        encoder = OpenAIEncoder(url, "bge-small")
        assert encoder.embed_texts(["x"]).shape == (1, 48)
    assert set(server.paths) == {"/v1/embeddings", "/openai/v1/embeddings?api-version=preview"}


def test_long_prompts_in_any_script_stay_within_the_window(server: EmbeddingsServer) -> None:
    encoder = OpenAIEncoder(server.url)
    for prompt in ("word " * 5_000, "中" * 9_000, "9" * 9_000, "x" * 100_000):
        windows = encoder.windows(prompt)
        assert 1 < len(windows) <= 16
        assert max(map(len, windows)) < 5 * 512


def test_stage2_and_the_router_open_it_by_what_was_stored(
    server: EmbeddingsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"idx": i, "prompt": f"p {i}", "model_scores": {"a": 1}} for i in range(9)]))
    files = ["--train-json", str(tmp_path / "a.json"), "--test-json", str(tmp_path / "a.json"), "--output-dir", str(tmp_path)]
    flags = ["--encoder", "openai", "--encoder-url", server.url, "--encoder-dimensions", "24", "--encoder-prefix", "q: "]
    generate_embeddings.main([*files, *flags, "--encoder-window", "100"])
    spec = json.loads((tmp_path / "hf_embeddings_metadata.json").read_text())["encoder"]
    assert f"encoder: openai {spec['model']} (text 24)\n" in capsys.readouterr().out
    assert np.load(tmp_path / "hf_train_embeddings.npy")[3] == pytest.approx(unit(server._vector("q: p 3")[:24]), abs=1e-5)
    reopen_encoder(spec).check(spec)
    with EmbeddingsServer() as moved:  # the same model, elsewhere
        monkeypatch.setenv("AUTO_ROUTER_ENCODER_URL", moved.url)
        generator = reopen_encoder(spec)
        generator.check(spec)
        assert generator.spec["opens_with"]["url"] == moved.url
        moved.seed = 5
        with pytest.raises(EncoderError, match="differs in probe"):
            reopen_encoder(spec).check(spec)


def test_an_artifact_sends_no_key_to_an_address_that_it_alone_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("AUTO_ROUTER_ENCODER_KEY", "own-secret")
    monkeypatch.setattr(retry, "ATTEMPTS", 1)
    named = {"url": "http://thief.invalid/v1", "model": "m"}
    for key_env in ("OPENAI_API_KEY", "AUTO_ROUTER_ENCODER_KEY", "HOME"):
        with pytest.raises(ConfigError, match=f"this artifact alone says that the key in {key_env} goes to http://thief"):
            reopen_encoder({"backend": "openai", "opens_with": {**named, "key_env": key_env}})
    with EmbeddingsServer() as server:
        reopen_encoder({"backend": "openai", "opens_with": {"url": server.url}})
        assert "authorization" not in server.headers[-1], "it was opened without a key"
        reopen_encoder({"backend": "openai", "opens_with": {"url": server.url, "key_env": "AUTO_ROUTER_ENCODER_KEY"}})
        assert server.headers[-1]["authorization"] == "Bearer own-secret", "this machine's own"


def test_large_pictures_are_shrunk() -> None:
    buffer = io.BytesIO()
    Image.effect_noise((1600, 1200), 90).convert("RGB").save(buffer, "PNG")
    with EmbeddingsServer(images="object") as server:
        open_encoder("openai", url=server.url, images="object").embed("", [buffer.getvalue()])
        (sent,) = server.bodies[-1]["input"]
        assert len(sent["image"]) <= 180_000
        assert max(Image.open(io.BytesIO(base64.b64decode(sent["image"]))).size) <= 1024
