"""Hidden states: which layers and tokens they are of, and what is refused. The rest is in the conformance tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auto_router.encode.factory import open_encoder
from auto_router.errors import ConfigError, EncoderError
from tests.causal_model import write_causal_model

TEXT = "How many?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="the extra hidden-states is not installed")
    return write_causal_model(tmp_path_factory.mktemp("causal") / "tiny")


def states(folder: Path, text: str) -> Any:
    """What transformers itself gives: the states ``[layers + 1, T, D]``."""
    import torch
    import transformers

    tokens = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        found = transformers.AutoModel.from_pretrained(folder)(input_ids=tokens, output_hidden_states=True).hidden_states
    return np.stack([one[0].numpy() for one in found])


def test_rows_hold_mean_and_last_token_of_each_layer(folder: Path) -> None:
    expected = states(folder, TEXT)
    encoder = open_encoder("hidden-states", model=str(folder), layers=[-1, 2]).encoder
    found = encoder.embed_texts([TEXT, "a longer text beside it, so that the first one is padded"])[0].reshape(4, 16)
    for row, layer in zip(found.reshape(2, 2, 16), (2, 3), strict=True):
        for part, vector in zip(row, (expected[layer, 1:].mean(axis=0), expected[layer, -1]), strict=True):
            assert part == pytest.approx(vector / np.linalg.norm(vector), abs=1e-5)
    assert encoder.spec["layers"] == [2, 3]


def test_layers_and_weights_are_part_of_what_it_is(folder: Path, tmp_path: Path) -> None:
    last = open_encoder("hidden-states", model=str(folder))
    assert last.spec["opens_with"] == {"model": str(folder)}
    assert last.text_dim == 32
    with pytest.raises(EncoderError, match="differs in layers"):
        last.check(open_encoder("hidden-states", model=str(folder), layers=[1]).spec)
    with pytest.raises(EncoderError, match="weights_sha256"):
        last.check(open_encoder("hidden-states", model=str(write_causal_model(tmp_path, 1))).spec)


@pytest.mark.parametrize("layers", [[0], [4], [-4], []])
def test_layers_that_are_not_there_are_refused(folder: Path, layers: list[int]) -> None:
    with pytest.raises(ConfigError, match="has the layers 1 to 3"):
        open_encoder("hidden-states", model=str(folder), layers=layers)


def test_what_is_no_model_is_one_clear_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="cannot be loaded"):
        open_encoder("hidden-states", model=str(tmp_path))
    with pytest.raises(ConfigError, match="a window must be of 16 to so many, got 4000"):
        open_encoder("hidden-states", model=str(folder), window=4000)
