"""CLIP behind a clip-server, over clip-client's gRPC.

Only *typed* documents are sent. ``Client.encode(["..."])`` guesses from each string whether it is text or a URI and
would open a prompt such as ``What is in cat.jpg`` as a file, so plain strings never reach it.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from typing import Any

import numpy as np

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec, probe
from auto_router.data.images import pixels
from auto_router.encode.retry import Passing, RemoteEncoder
from auto_router.encode.windows import clip_window_spec, clip_windows
from auto_router.errors import EncoderError, needs_extra

DEFAULT_SERVER = "0.0.0.0:51000"


class ClipServerEncoder(RemoteEncoder):
    """A clip-server at ``HOST:PORT`` (or ``grpc://``, ``grpcs://``, ``http://``, ``ws://`` URL). Asked once at opening.

    The server cuts text at 77 tokens itself, so longer prompts are sent in windows. It does not tell its model, so a probe
    text's vector stands in the spec: a server that was restarted with another model is noticed.
    """

    def __init__(self, url: str = DEFAULT_SERVER) -> None:
        """Connect and learn the width of the vectors. Raises EncoderError where no server answers or no client is."""
        self.server = url if "://" in url else f"grpc://{url}"
        self._open_client: Any = None
        self._pid = 0
        self._probe = probe(self.embed_texts)
        self.text_dim = self.image_dim = self._dim

    @property
    def spec(self) -> Spec:
        return {"backend": "clip-server", "text_window": clip_window_spec(), "probe": self._probe}

    @property
    def resolved(self) -> Spec:
        return {"url": self.server}

    def windows(self, text: str) -> list[str]:
        return clip_windows(text)

    def embed_texts(self, texts: list[str]) -> Array:
        return self._encode([{"text": text} for text in texts])

    def embed_images(self, images: list[bytes]) -> Array:
        for image in images:
            pixels(image)  # one undecodable image would fail the server's whole batch without saying which
        return self._encode([{"blob": image} for image in images])

    def _client(self) -> Any:
        """Return the client, one a process: connections must not be shared with a child."""
        if self._open_client is not None and self._pid == os.getpid():
            return self._open_client
        # Importing clip-client would otherwise ask the network for newer versions and report its use.
        os.environ.setdefault("NO_VERSION_CHECK", "1")
        os.environ.setdefault("JINA_OPTOUT_TELEMETRY", "1")
        os.environ.setdefault("JINA_LOG_LEVEL", "CRITICAL")  # what fails is raised below, once
        with needs_extra("clip-server", EncoderError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its dependencies warn about each other
            from clip_client import Client
        client = Client(self.server)
        post = client._client.post

        # clip-client has no setting for a time-out, and without one a server that hangs would hang this process.
        def post_in_time(*given: Any, **named: Any) -> Any:
            return post(*given, **{**named, "timeout": self.timeout_s})

        client._client.post = post_in_time
        self._open_client, self._pid = client, os.getpid()
        return client

    def _encode(self, contents: list[dict[str, Any]]) -> Array:
        vectors = self._request(lambda: self._ask(contents))
        if vectors.ndim != 2:
            raise EncoderError(f"clip-server {self.server} answered with shape {list(vectors.shape)}, expected [N, D]")
        self._dim = vectors.shape[1]
        return vectors

    def _ask(self, contents: list[dict[str, Any]]) -> Array:
        client = self._client()
        from docarray import Document, DocumentArray

        documents = DocumentArray([Document(**content) for content in contents])
        try:
            answered = client.encode(documents, batch_size=len(documents))
        # clip-client reports failures of its own as CancelledError, a BaseException; nothing here awaits.
        except (ConnectionError, OSError, ValueError, RuntimeError, asyncio.CancelledError) as error:
            said = (
                f"clip-server {self.server} did not encode {len(contents)} document(s): "
                f"{' '.join(str(error).split())[:300] or type(error).__name__}. Check that it runs: python -c "
                f"\"from clip_client import Client; print(Client('{self.server}').profile())\""
            )
            raise (Passing(said) if isinstance(error, OSError) else EncoderError(said)) from error
        if answered is None or len(answered) != len(contents) or answered.embeddings is None:
            raise EncoderError(f"clip-server {self.server} answered without embeddings for {len(contents)} document(s)")
        return np.asarray(answered.embeddings, dtype=np.float32)
