"""The generator above every back end, and the local back end on its real weights."""

from __future__ import annotations

import hashlib
import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from auto_router.arrays import Array
from auto_router.encode import local
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import open_encoder
from auto_router.encode.local import WINDOW_TOKENS, LocalEncoder
from auto_router.encode.windows import MAX_WINDOWS
from auto_router.errors import ConfigError, DataError, EncoderError
from tests.fakes import CountingEncoder
from tests.helpers import HOSTILE_PROMPTS, png


def test_rows_are_text_then_image_with_zeros_where_there_is_nothing() -> None:
    generator = EmbeddingGenerator(CountingEncoder())
    rows = generator.embed_batch(["x", "y", " "], [[b"12"], [], [b"1", b"12"]])
    assert rows.tolist() == [[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert rows.dtype == np.float32
    assert generator.dim == 5


@pytest.mark.parametrize("middle", ["and so on ", "x1 ", "ж "])
@pytest.mark.parametrize("times", [130, 300, 3_000])
def test_one_window_of_a_long_prompt_has_its_beginning_and_its_end(middle: str, times: int) -> None:
    encoder = LocalEncoder()
    text = f"Translate this into French: {middle * times}What does it say of Porto?"
    (one,) = encoder.some_windows(text, encoder.served_windows)
    assert one.startswith("Translate this into French:")
    assert one.endswith("What does it say of Porto?")
    tokens = len(encoder._tokenizer.encode(one).ids)
    assert encoder.served_tokens - 4 <= tokens <= encoder.served_tokens, "as much as it has room for"
    assert len(one) < len(text)
    assert encoder.some_windows("short", 1) == ["short"]
    assert "hello there" in encoder.some_windows(f"{' ' * 2_000}hello there{' ' * 2_000}", 1)[0]


def test_windows_are_pooled_and_scaled_to_unit_length() -> None:
    row = EmbeddingGenerator(CountingEncoder()).embed("x|y")
    assert row[:2] == pytest.approx([0.5**0.5, 0.5**0.5])


def test_all_images_count() -> None:
    class ByLength(CountingEncoder):
        def embed_images(self, images: list[bytes]) -> Array:
            return np.eye(3, dtype=np.float32)[[len(image) for image in images]] * 7

    row = EmbeddingGenerator(ByLength()).embed("x", [b"1", b"12", b"34"])
    assert row[2:] == pytest.approx([0, 1 / 3, 2 / 3])


def test_duplicates_are_encoded_once_and_short_texts_together() -> None:
    encoder = CountingEncoder()
    counted: list[int] = []
    EmbeddingGenerator(encoder).embed_batch(["xxxx", "y", "xxxx", "yy"], [[b"1"], [b"1"], [], []], counted.append)
    assert encoder.texts == [["y", "yy"], ["xxxx"]]
    assert encoder.images == [[b"1"]]
    assert counted == [2, 1, 1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(np.zeros((1, 9)), r"shape \[1, 9\], expected \[1, 2\]"), (np.array([[np.nan, 1.0]]), "NaN or infinite")],
)
def test_wrong_answers_of_an_encoder_are_refused(wrong: Array, message: str) -> None:
    class Wrong(CountingEncoder):
        def embed_texts(self, texts: list[str]) -> Array:
            return wrong

    with pytest.raises(EncoderError, match=message):
        EmbeddingGenerator(Wrong()).embed("x")


def test_bad_images_name_row_and_image() -> None:
    generator = EmbeddingGenerator(CountingEncoder())
    with pytest.raises(DataError, match=r"row 1, picture 2: picture 'http://127\.0\.0\.1:1/x\.png' looks like a URL"):
        generator.embed_batch(["x", "y"], [[], [b"1", b"2", "http://127.0.0.1:1/x.png"]])
    with pytest.raises(DataError, match="must be a list"):
        generator.embed("x", "aGVsbG8=")
    with pytest.raises(DataError, match="2 prompts came with 1 lists"):
        generator.embed_batch(["x", "y"], [[]])


def test_specs_are_compared_and_both_are_shown() -> None:
    generator = EmbeddingGenerator(CountingEncoder())
    generator.check(dict(generator.spec))
    with pytest.raises(EncoderError, match=r"differs in backend.*'backend': 'other'.*'backend': 'counting'"):
        generator.check(generator.spec | {"backend": "other"})
    with pytest.raises(EncoderError, match="differs in probe"):
        generator.check(generator.spec | {"probe": [0.5]})


@pytest.fixture(scope="module")
def generator() -> EmbeddingGenerator:
    return open_encoder("local")


def test_local_embeddings_mean_something(generator: EmbeddingGenerator) -> None:
    rows = generator.embed_batch(["How do I bake bread?", "A recipe for a sourdough loaf", "Derivative of x squared"])
    text = rows[:, :384]
    assert text[0] @ text[1] > text[0] @ text[2] + 0.2
    assert np.linalg.norm(text, axis=1) == pytest.approx(1, abs=1e-5)
    assert not rows[:, 384:].any()


@pytest.mark.parametrize("prompt", HOSTILE_PROMPTS)
def test_local_takes_every_prompt_as_text(generator: EmbeddingGenerator, prompt: str) -> None:
    row = generator.embed(prompt)
    assert np.isfinite(row).all()
    assert np.linalg.norm(row[:384]) == pytest.approx(1, abs=1e-5)


def test_row_of_a_batch_equals_the_row_alone(generator: EmbeddingGenerator) -> None:
    texts = [*HOSTILE_PROMPTS, "word " * 700, "short"]
    images = [[png((i * 9, 0, 0))] * (i % 3) for i in range(len(texts))]
    batch = generator.embed_batch(texts, images)
    for i, text in enumerate(texts):
        assert generator.embed(text, images[i]) == pytest.approx(batch[i], abs=1e-4)


def test_long_prompts_are_seen_whole_and_bounded(generator: EmbeddingGenerator) -> None:
    encoder = generator.encoder
    long = " ".join(f"word{i}" for i in range(10_000))
    windows = encoder.windows(long)
    assert len(windows) == MAX_WINDOWS
    assert windows[0].startswith("word0 ")
    assert windows[-1].endswith("word9999")
    medium = "alpha " * 600
    parts = encoder.windows(medium)
    assert len(parts) == 3
    assert sum(part.count("alpha") for part in parts) == 600 + 2 * local.OVERLAP_TOKENS
    assert encoder.windows("x" * (WINDOW_TOKENS - 2)) == ["x" * (WINDOW_TOKENS - 2)]
    tail = generator.embed("filler " * 400 + "Translate this poem into French.")
    assert np.abs(tail - generator.embed("filler " * 400)).max() > 0.01


def test_images_are_told_apart(generator: EmbeddingGenerator) -> None:
    red, red_again, noise = (generator.embed("", [image])[384:] for image in (png((255, 0, 0)), png((250, 5, 0)), _noise()))
    assert red @ red_again > red @ noise


def _noise() -> bytes:
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_undecodable_images_are_a_data_error(generator: EmbeddingGenerator) -> None:
    with pytest.raises(DataError, match="cannot be decoded"):
        generator.embed("x", [b"not an image"])


def test_weights_are_checked_before_they_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "TEXT_SHA256", hashlib.sha256(b"other").hexdigest())
    with pytest.raises(EncoderError, match="not the pinned file"):
        LocalEncoder().embed_texts(["x"])
    monkeypatch.setattr(local, "TEXT_MODEL", ("no-such-package", "model.onnx"))
    with pytest.raises(EncoderError, match="no-such-package, which is not installed: pip install"):
        LocalEncoder().embed_texts(["x"])


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("How do I bake bread?", [101, 2129, 2079, 1045, 8670, 3489, 7852, 1029, 102]),
        ("naïve CAFÉ, 38×47 – 2!", [101, 15743, 7668, 1010, 4229, 26306, 22610, 1516, 1016, 999, 102]),
        ("你 🙂 x_1", [101, 100, 100, 1060, 1035, 1015, 102]),
    ],
)
def test_the_shipped_vocabulary_cuts_as_the_models_own(text: str, tokens: list[int]) -> None:
    assert LocalEncoder()._tokenizer.encode(text).ids == tokens


def test_the_vocabulary_is_checked_before_it_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed = tmp_path / "tokenizer.json"
    changed.write_bytes(local.TOKENIZER.read_bytes().replace(b"bread", b"braed"))
    monkeypatch.setattr(local, "TOKENIZER", changed)
    with pytest.raises(EncoderError, match="not the pinned file"):
        LocalEncoder().embed_texts(["x"])


def test_an_export_that_was_changed_is_refused_and_one_cut_short_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AUTO_ROUTER_CACHE", str(tmp_path))
    made: list[Path] = []

    def export(path: Path) -> None:
        made.append(path)
        path.write_bytes(b"a network")

    monkeypatch.setattr(local, "_export", export)
    path = local.onnx_file()
    assert local.onnx_file() == path
    assert len(made) == 1
    path.write_bytes(b"another network")
    with pytest.raises(EncoderError, match="was changed since it was made"):
        local.onnx_file()
    path.with_suffix(".sha256").unlink()  # as if the process had ended before it was written
    assert local.onnx_file().read_bytes() == b"a network"


def test_image_weights_are_checked_before_they_are_exported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTO_ROUTER_CACHE", str(tmp_path))
    monkeypatch.setattr(local, "WEIGHTS_SHA256", hashlib.sha256(b"other").hexdigest())
    with pytest.raises(EncoderError, match="not the pinned file"):
        LocalEncoder().embed_images([png((0, 0, 0))])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("threads", "most"), [(1, 3), (2, 1), (0, 1)])
def test_no_more_runs_at_once_than_cores(monkeypatch: pytest.MonkeyPatch, threads: int, most: int) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    encoder, running, seen = LocalEncoder(threads), [], []

    class Session:
        def run(self, names: None, inputs: dict[str, npt.NDArray[np.int64]]) -> list[Array]:
            running.append(1)
            seen.append(len(running))
            time.sleep(0.01)  # long enough for the others to come in, where they may
            running.pop()
            return [np.ones((*inputs["input_ids"].shape, 384), dtype=np.float32)]

    monkeypatch.setitem(encoder.__dict__, "_text_session", Session())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(encoder.embed_texts, [[f"prompt {i}"] for i in range(24)]))
    assert len(seen) == 24
    assert max(seen) <= most


def test_a_run_of_the_embedded_encoder_holds_few_texts_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, shapes = LocalEncoder(), []
    whole = encoder._run

    def seen(session: Any, inputs: dict[str, Any]) -> Any:
        shapes.append(next(iter(inputs.values())).shape)
        return whole(session, inputs)

    monkeypatch.setattr(encoder, "_run", seen)
    texts = [" ".join(["word"] * count) for count in (40, 1, 30, 2, 50, 3, 20, 4, 10)]
    rows = encoder.embed_texts(texts)
    assert [shape[0] for shape in shapes] == [4, 4, 1]
    assert [shape[1] for shape in shapes] == sorted(shape[1] for shape in shapes), "short ones are not padded to the longest"
    assert rows == pytest.approx(np.concatenate([encoder.embed_texts([text]) for text in texts]), abs=1e-5), "in their order"
    shapes.clear()
    colours = [png((shade, 0, 0)) for shade in range(0, 180, 20)]
    images = encoder.embed_images(colours)
    assert [shape[0] for shape in shapes] == [8, 1]
    assert images[8] == pytest.approx(encoder.embed_images(colours[8:])[0], abs=1e-5)


def test_the_environment_and_arguments_choose_the_back_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_encoder().spec["backend"] == "local"
    monkeypatch.setenv("AUTO_ROUTER_ENCODER", "nonsense")
    with pytest.raises(ConfigError, match=r"'nonsense' is unknown; allowed are local, .*nvclip, open_clip, or module:Class"):
        open_encoder()
    assert open_encoder("local").spec["backend"] == "local"


def test_batches_are_the_same_in_every_process() -> None:
    """Prompts of one length keep their order: that of a set of strings would change with the process's hash seed."""
    encoder = CountingEncoder()
    EmbeddingGenerator(encoder).embed_batch(["xd", "xa", "xc", "xb", "xa"])
    assert encoder.texts == [["xd", "xa"], ["xc", "xb"]]
