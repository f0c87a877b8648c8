"""Opening a router's encoder: with as many cores as it may use, and warm."""

from __future__ import annotations

import io

from PIL import Image

from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import open_encoder
from auto_router.errors import ConfigError


def open_pinned(backend: str | None, clip_server: str | None, threads: int | None) -> EmbeddingGenerator:
    """Open the encoder; ``threads``: cores that one call of the embedded one may use, None for its own choice.

    Raises:
        ConfigError: ``threads`` is not a number from 1, or the back end computes in another process.
    """
    if threads is None:
        return open_encoder(backend, clip_server)
    if threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    if backend != "local":
        raise ConfigError(f"threads is for the local encoder; this router's is {backend!r}: set them where that one runs")
    from auto_router.encode.local import LocalEncoder

    return EmbeddingGenerator(LocalEncoder(threads))


def blank_picture() -> bytes:
    """Return a small white PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(buffer, "PNG")
    return buffer.getvalue()
