"""The clip-server back end: a jina Flow on loopback, through the real clip-client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import generate_embeddings
from auto_router.encode.clip_server import ClipServerEncoder
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import open_encoder
from auto_router.errors import DataError, EncoderError, run
from tests.helpers import HOSTILE_PROMPTS, png
from tests.servers import clip_flow, free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with clip_flow() as flow:
        yield flow.address


@pytest.fixture
def generator(server: str) -> EmbeddingGenerator:
    return open_encoder(clip_server=server)


def test_texts_and_images_arrive_typed(generator: EmbeddingGenerator) -> None:
    rows = generator.embed_batch(["abc", "abc"], [[], [png((0, 0, 0), (4, 2))]])
    assert rows.shape == (2, 1024)
    text = np.array([3, 1]) / np.hypot(3, 1)
    image = np.array([4, 0, 1]) / np.hypot(4, 1)
    assert rows[0, :2] == pytest.approx(text)
    assert not rows[0, 512:].any()
    assert rows[1, 512:515] == pytest.approx(image)


@pytest.mark.parametrize("prompt", HOSTILE_PROMPTS)
def test_every_prompt_is_text(generator: EmbeddingGenerator, prompt: str) -> None:
    length = len(prompt.encode("utf-8", "replace").decode())
    assert generator.embed(prompt)[:2] == pytest.approx(np.array([length, 1]) / np.hypot(length, 1), abs=1e-6)


def test_order_empty_prompts_and_batches(generator: EmbeddingGenerator) -> None:
    texts = ["", *["x" * (1 + i * 7 % 90) for i in range(100)]]
    rows = generator.embed_batch(texts)
    assert not rows[0].any()
    lengths = rows[1:, 0] / rows[1:, 1]
    assert lengths == pytest.approx([1 + i * 7 % 90 for i in range(100)], rel=1e-4)


def test_it_works_in_threads(generator: EmbeddingGenerator) -> None:
    found: dict[int, float] = {}

    def work(size: int) -> None:
        row = generator.embed("y" * size)
        found[size] = float(row[0] / row[1])

    threads = [threading.Thread(target=work, args=(size,)) for size in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == {size: pytest.approx(size, rel=1e-4) for size in range(1, 6)}


def test_an_undecodable_image_is_named_before_the_server_sees_it(generator: EmbeddingGenerator) -> None:
    with pytest.raises(DataError, match="cannot be decoded"):
        generator.embed("x", [b"nothing"])


def test_the_spec_notices_another_model(generator: EmbeddingGenerator) -> None:
    spec = generator.spec
    generator.check(json.loads(json.dumps(spec)))
    with pytest.raises(EncoderError, match="probe"):
        generator.check(spec | {"probe": [-value for value in spec["probe"]]})


def test_stage_2_runs_through_it(server: str, tmp_path: Path) -> None:
    for part in ("train", "test"):
        rows = [{"idx": i, "prompt": p, "images": [], "model_scores": {"a": 1}} for i, p in enumerate(HOSTILE_PROMPTS[:7])]
        (tmp_path / f"{part}.json").write_text(json.dumps(rows))
    files = ["--train-json", str(tmp_path / "train.json"), "--test-json", str(tmp_path / "test.json")]
    generate_embeddings.main([*files, "--clip-server", server, "--output-dir", str(tmp_path)])
    rows = np.load(tmp_path / "hf_train_embeddings.npy")
    metadata = json.loads((tmp_path / "hf_embeddings_metadata.json").read_text())
    assert rows.shape == (7, 1024)
    assert (metadata["text_dim"], metadata["image_dim"], metadata["combined_dim"]) == (512, 512, 1024)
    assert metadata["encoder"]["backend"] == "clip-server"
    assert rows[:, 0] / rows[:, 1] == pytest.approx([len(p) for p in HOSTILE_PROMPTS[:7]], rel=1e-4)


def test_a_dead_server_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text('[{"idx": 0, "prompt": "x", "model_scores": {"a": 1}}]')
    files = ["--train-json", str(tmp_path / "a.json"), "--test-json", str(tmp_path / "a.json"), "--output-dir", str(tmp_path)]
    code = run(lambda: generate_embeddings.main([*files, "--clip-server", f"127.0.0.1:{free_port()}"]))
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert error.startswith("error: clip-server grpc://127.0.0.1:")
    assert "Check that it runs" in error
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_empty_answer_is_refused(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ClipServerEncoder(server)
    with pytest.raises(EncoderError, match="did not encode 1 document"):
        encoder._encode([{"uri": "x"}])
