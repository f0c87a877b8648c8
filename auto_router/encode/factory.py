"""Which encoder: argument, then environment, then the embedded default.

Opening a router's encoder: with as many cores as it may use, and warm.
"""

from __future__ import annotations

import io
import os

from PIL import Image

from auto_router.encode.encoder import EmbeddingGenerator, Encoder
from auto_router.errors import ConfigError

BACKENDS = ("local", "clip-server", "nvclip", "open_clip")


def open_encoder(
    backend: str | None = None,
    clip_server: str | None = None,
    model: str | None = None,
    url: str | None = None,
    threads: int | None = None,
) -> EmbeddingGenerator:
    """Open an encoder.

    Args:
        backend: one of ``BACKENDS``; None: ``AUTO_ROUTER_ENCODER``, else clip-server where an address is given, else local.
        clip_server: ``HOST:PORT``; None: ``AUTO_ROUTER_CLIP_SERVER``, else, for the clip-server back end,
            ``0.0.0.0:51000``.
        model: what ``nvclip`` or ``open_clip`` is asked for; None: ``AUTO_ROUTER_ENCODER_MODEL``, else their default.
        url: base URL of ``nvclip``; None: ``AUTO_ROUTER_ENCODER_URL``, else port 8000 of this machine.
        threads: cores that one call of the embedded encoder may use; None leaves the choice to it.

    Raises:
        ConfigError: an unknown back end, or a setting that it does not have.
        EncoderError: the back end cannot be loaded or reached.
    """
    clip_server = clip_server or os.environ.get("AUTO_ROUTER_CLIP_SERVER")
    backend = backend or os.environ.get("AUTO_ROUTER_ENCODER") or ("clip-server" if clip_server else "local")
    for name, value, takers in (("model", model, ("nvclip", "open_clip")), ("url", url, ("nvclip",))):
        if value and backend not in takers:
            raise ConfigError(f"encoder {backend!r} takes no {name}, got {value!r}; {name} is for {' and '.join(takers)}")
    if threads is not None and backend != "local":
        raise ConfigError(f"threads is for the local encoder; this router's is {backend!r}: set them where that one runs")
    model = model or os.environ.get("AUTO_ROUTER_ENCODER_MODEL")
    url = url or os.environ.get("AUTO_ROUTER_ENCODER_URL")
    return EmbeddingGenerator(_backend(backend, clip_server, model, url, threads))


def _backend(backend: str, clip_server: str | None, model: str | None, url: str | None, threads: int | None) -> Encoder:
    # Each back end has packages of its own, so each is imported only when it is chosen.
    if backend == "local":
        from auto_router.encode.local import LocalEncoder

        return LocalEncoder() if threads is None else LocalEncoder(threads)
    if backend == "clip-server":
        from auto_router.encode.clip_server import DEFAULT_SERVER, ClipServerEncoder

        return ClipServerEncoder(clip_server or DEFAULT_SERVER)
    if backend == "nvclip":
        from auto_router.encode.nvclip import NvclipEncoder

        return NvclipEncoder(url, model)
    if backend == "open_clip":
        from auto_router.encode.open_clip import OpenClipEncoder

        return OpenClipEncoder(model)
    raise ConfigError(f"encoder {backend!r} is unknown; allowed are {', '.join(BACKENDS)}")


def blank_image() -> bytes:
    """Return a small white PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(buffer, "PNG")
    return buffer.getvalue()
