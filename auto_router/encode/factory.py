"""Which encoder: argument, then environment, then the embedded default."""

from __future__ import annotations

import os

from auto_router.encode.encoder import EmbeddingGenerator, Encoder
from auto_router.errors import ConfigError

BACKENDS = ("local", "clip-server")


def open_encoder(backend: str | None = None, clip_server: str | None = None) -> EmbeddingGenerator:
    """Open an encoder.

    Args:
        backend: ``local`` or ``clip-server``; None: ``AUTO_ROUTER_ENCODER``, else clip-server where an address is
            given, else local.
        clip_server: ``HOST:PORT``; None: ``AUTO_ROUTER_CLIP_SERVER``, else, for the clip-server back end,
            ``0.0.0.0:51000``.

    Raises:
        ConfigError: an unknown back end.
        EncoderError: the back end cannot be loaded or reached.
    """
    clip_server = clip_server or os.environ.get("AUTO_ROUTER_CLIP_SERVER")
    backend = backend or os.environ.get("AUTO_ROUTER_ENCODER") or ("clip-server" if clip_server else "local")
    return EmbeddingGenerator(_backend(backend, clip_server))


def _backend(backend: str, clip_server: str | None) -> Encoder:
    # Each back end has packages of its own, so each is imported only when it is chosen.
    if backend == "local":
        from auto_router.encode.local import LocalEncoder

        return LocalEncoder()
    if backend == "clip-server":
        from auto_router.encode.clip_server import DEFAULT_SERVER, ClipServerEncoder

        return ClipServerEncoder(clip_server or DEFAULT_SERVER)
    raise ConfigError(f"encoder {backend!r} is unknown; allowed are {', '.join(BACKENDS)}")
