"""What workers of a Ray cluster do in the tests, in a module that they can import."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import numpy as np

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.encode.encoder import EmbeddingGenerator, Encoder


def dies_once(marker: Path, number: int) -> int:
    """Twice the number; the first of all calls kills its process."""
    if number == 0 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


class Hashed(Encoder):
    """Vectors drawn by digest, a little slower than nothing; says in ``log`` which process encoded, and dies where told."""

    text_dim, image_dim, batch_size = 12, 5, 16

    def __init__(self, log: Path, die: str = "") -> None:
        self._log, self._die = log, die

    @property
    def spec(self) -> Spec:
        return {"backend": "hashed"}

    def embed_texts(self, texts: list[str]) -> Array:
        with self._log.open("a") as file:
            file.writelines(f"{os.getpid()} {text}\n" for text in texts)
        if self._die and any(self._die in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return self._of([text.encode() for text in texts], self.text_dim)

    def embed_images(self, images: list[bytes]) -> Array:
        return self._of(images, self.image_dim)

    def _of(self, items: list[bytes], dim: int) -> Array:
        seeds = [int.from_bytes(hashlib.sha256(item).digest()[:8]) for item in items]
        return np.stack([np.random.default_rng(seed).normal(size=dim) for seed in seeds]).astype(np.float32)


class Opened:
    """Opens the encoder in a worker."""

    def __init__(self, log: Path, die: str = "") -> None:
        self.log, self.die = log, die

    def __call__(self) -> EmbeddingGenerator:
        return EmbeddingGenerator(Hashed(self.log, self.die))
