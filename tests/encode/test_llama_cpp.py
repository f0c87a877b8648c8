"""llama.cpp's own embeddings endpoint: states of tokens, pooled here; a server that pools, or is none, is told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from auto_router.encode.factory import open_encoder, reopen_encoder
from auto_router.errors import EncoderError
from tests.embeddings_peer import EmbeddingsServer


class LlamaServer(EmbeddingsServer):
    """``POST /embeddings`` with ``content``: a state for every byte of a text, drawn by the byte and turned by its place."""

    pooled = False

    def states(self, text: str) -> np.ndarray[tuple[int, ...], Any]:
        table = np.random.default_rng(self.seed).normal(size=(256, 16))
        found = table[list(text.encode())] + np.sin(np.arange(len(text.encode())))[:, None]
        return found.mean(axis=0, keepdims=True) if self.pooled else found

    def embeddings(self, body: dict[str, Any], headers: dict[str, str]) -> Any:
        return [{"index": i, "embedding": self.states(text).tolist()} for i, text in enumerate(body["content"])][::-1]


def test_states_are_pooled_and_the_router_opens_it_again() -> None:
    with LlamaServer() as server:
        generator = open_encoder("llama-cpp", url=server.url)
        assert server.paths[-1] == "/embeddings", "not the OpenAI one, which refuses to give the states of tokens"
        assert (generator.text_dim, generator.image_dim) == (32, 0)
        row, states = generator.encoder.embed_texts(["short", "How many are there?"])[1], server.states("How many are there?")
        for part, expected in zip(row.reshape(2, 16), (states[1:].mean(axis=0), states[-1]), strict=True):
            assert part == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
        again = reopen_encoder(generator.spec)
        again.check(generator.spec)
        assert again.embed("a question") == pytest.approx(generator.embed("a question"), abs=1e-6)
        server.seed = 1
        with pytest.raises(EncoderError, match="differs in probe"):
            reopen_encoder(generator.spec).check(generator.spec)


def test_long_prompts_are_cut_and_failures_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auto_router.encode.retry.FIRST_WAIT", 0.01)
    with LlamaServer() as server:
        generator = open_encoder("llama-cpp", url=server.url, window=32)
        assert 1 < len(generator.encoder.windows("some words " * 200)) <= 16
        server.failures = [503, 500]
        assert generator.embed("x y z").shape == (32,)


def test_what_is_no_such_server_is_one_clear_error() -> None:
    with LlamaServer() as server:
        server.pooled = True
        with pytest.raises(EncoderError, match="pools: start it with --pooling none"):
            open_encoder("llama-cpp", url=server.url)
        for answer in (
            {"error": "x"},
            [{"index": 0}],
            [{"index": 0, "embedding": [1.0, 2.0]}],
            [],
            [{"index": 0, "embedding": []}],
        ):
            server.answer = answer
            with pytest.raises(EncoderError, match=r"llama\.cpp http"):
                open_encoder("llama-cpp", url=server.url)
