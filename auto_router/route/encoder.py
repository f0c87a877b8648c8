"""The encoder that a router decides with: opened from what its artifact says, with the time that a decision has.

The network's input rows of recent prompts are remembered: an LRU cache by content, bounded in bytes.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.data.images import ImageLike
from auto_router.data.prompt_features import FEATURE_NAMES, prompt_features
from auto_router.decide.policy import RouterSettings
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import reopen_encoder
from auto_router.encode.retry import ATTEMPTS, opening_limits, timeout_seconds
from auto_router.errors import ConfigError
from auto_router.forks import after_fork

REQUEST_SHARE = 0.8  # of a decision's time that one request to the encoder may take


def open_router_encoder(
    spec: Spec, settings: RouterSettings, timeout: float | None = None, attempts: int = ATTEMPTS
) -> EmbeddingGenerator:
    """Open the encoder of an artifact for serving: one request each, which ends before the decision's own time does.

    ``timeout``: seconds of a decision; None: ``settings.timeout_s``. ``attempts``: requests while it opens.
    """
    most = REQUEST_SHARE * (settings.timeout_s if timeout is None else timeout)
    own = settings.encoder_timeout_s or (timeout_seconds() if os.environ.get("AUTO_ROUTER_ENCODER_TIMEOUT") else most)
    with opening_limits(min(own, most), attempts):
        generator = reopen_encoder(
            spec, settings.clip_server, encoder=settings.encoder, model=settings.encoder_model, url=settings.encoder_url,
            key_env=settings.encoder_key_env, threads=settings.threads,
        )  # fmt: skip
    generator.encoder.limit_requests(min(own, most), 1)
    return generator


_OVERHEAD = 200  # bytes of a key and its place in the table, about


class RowCache:
    """``embed_batch`` of a generator, with the features of the prompt behind it where they are asked for; only
    what is not remembered is encoded. May be used by several threads.

    The key is a digest of the prompt and of its images as they were given. Prompts whose images are ``Path`` or PIL
    objects are encoded each time: what is behind those may change.
    """

    def __init__(self, generator: EmbeddingGenerator, max_bytes: int, with_prompt_features: bool = False) -> None:
        if max_bytes < 0:
            raise ConfigError(f"cache_bytes must be a number of bytes from 0 (no cache), got {max_bytes}")
        self.generator = generator
        self._with_prompt_features = with_prompt_features
        self._size = 4 * (generator.dim + (len(FEATURE_NAMES) if with_prompt_features else 0)) + _OVERHEAD  # bytes a row
        self.max_bytes = max_bytes
        self.hits = self.misses = 0
        self._rows: OrderedDict[bytes, Array] = OrderedDict()
        self._begin()
        after_fork(self, RowCache._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes that are held."""
        return len(self._rows) * self._size

    def rows(
        self, texts: Sequence[str], images: Sequence[Sequence[ImageLike] | None] | None, contexts: Sequence[str] | None = None
    ) -> Array:
        """Return rows ``[N, D]``; arguments and errors are those of :meth:`EmbeddingGenerator.embed_batch`."""
        if self.max_bytes < self._size or (images is not None and len(images) != len(texts)):
            return self.fresh(texts, images, contexts)
        images = [None] * len(texts) if images is None else images
        contexts = [""] * len(texts) if contexts is None else contexts
        keys = [content_digest(*one) for one in zip(texts, images, contexts, strict=True)]
        found = self._look_up(keys)
        missing = [i for i, row in enumerate(found) if row is None]
        if missing:
            made = self.fresh([texts[i] for i in missing], [images[i] for i in missing], [contexts[i] for i in missing])
            self._remember([keys[i] for i in missing], made)
            for place, row in zip(missing, made, strict=True):
                found[place] = row
        return np.stack([row for row in found if row is not None])

    def fresh(
        self,
        texts: Sequence[str],
        images: Sequence[Sequence[ImageLike] | None] | None = None,
        contexts: Sequence[str] | None = None,
    ) -> Array:
        """Return the rows without looking any up or remembering them."""
        # Features first, before the encoder drives the code of the last decision out of the processor's cache.
        of_prompts = prompt_features(texts) if self._with_prompt_features else None
        rows = self.generator.embed_batch(texts, images, contexts=contexts, max_windows=self.generator.encoder.served_windows)
        return rows if of_prompts is None else np.concatenate([rows, of_prompts], axis=1)

    def clear(self) -> None:
        with self._lock:
            self._rows.clear()

    def _look_up(self, keys: Sequence[bytes | None]) -> list[Array | None]:
        found: list[Array | None] = []
        with self._lock:
            for key in keys:
                row = None if key is None else self._rows.get(key)
                if key is None or row is None:
                    self.misses += 1
                else:
                    self.hits += 1
                    self._rows.move_to_end(key)
                found.append(row)
        return found

    def _remember(self, keys: Sequence[bytes | None], rows: Array) -> None:
        with self._lock:
            for key, row in zip(keys, rows, strict=True):
                if key is not None:
                    self._rows[key] = row.copy()  # a view would keep the whole batch alive
            while len(self._rows) * self._size > self.max_bytes:
                self._rows.popitem(last=False)


def content_digest(text: str, images: Sequence[ImageLike] | None, context: str = "") -> bytes | None:
    """Return a digest of a prompt, its images as given and its context; None where an image is not plain text or bytes."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=24)
    if context:
        data = context.encode("utf-8", "surrogatepass")
        digest.update(b"\0context" + len(data).to_bytes(8, "little") + data)
    if isinstance(images, str | bytes):
        return None  # a mistake that the encoder will name
    for image in images or ():
        if isinstance(image, str):
            data, kind = image.encode("utf-8", "surrogatepass"), b"\0text"
        elif isinstance(image, bytes):
            data, kind = image, b"\0bytes"
        else:
            return None
        # Its length stands before each part, so that no two inputs read as one.
        digest.update(kind + len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()
