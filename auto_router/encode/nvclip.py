"""NVCLIP behind its OpenAI-style HTTP API, self-hosted or NVIDIA's: 1024 values for a text, 1024 for a picture.

A request holds at most 64 items. Vectors come as base64 of little-endian float32, or as lists where a server ignores that.
``index`` counts from 0 on some servers and from 1 on others, so answers are taken by position.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
import re
import threading
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec
from auto_router.data.images import pixels
from auto_router.encode.encoder import Encoder, probe
from auto_router.encode.retry import Passing, call_with_retries, timeout_seconds
from auto_router.encode.windows import clip_window_spec, clip_windows
from auto_router.errors import ConfigError, EncoderError

DEFAULT_URL = "http://127.0.0.1:8000/v1"
HOSTED = "integrate.api.nvidia.com"
KEY_ENV = "AUTO_ROUTER_NVCLIP_KEY"
HOSTED_KEY_ENV = "NVIDIA_API_KEY"
MAX_URI_CHARACTERS = 180_000  # the hosted service refuses larger pictures inline
LONGEST_SIDE = 1024  # the model sees 224 x 224; what is larger only takes time on the wire
DIM = 1024

_DECODING = threading.Lock()  # one large picture at a time, whatever is on its way
_DATA_URI = re.compile(r"^(\s*data:)", re.IGNORECASE)


class NvclipEncoder(Encoder):
    """An NVCLIP service at ``url``. The model's first answer is asked for at opening, and stands in the spec as a probe."""

    text_dim = image_dim = DIM
    batch_size = 64  # the most the API takes in a request
    parallel = 4  # requests on their way; the service batches them

    def __init__(self, url: str | None = None, model: str | None = None) -> None:
        """Connect.

        Args:
            url: base URL, ``.../v1``; None: a service on this machine.
            model: None: ``nvidia/nvclip`` at NVIDIA's, else ``nvidia/nvclip-vit-h-14``.

        Raises:
            ConfigError: the URL is none, or the key for the hosted service is not set.
            EncoderError: the service does not answer as promised.
        """
        self.url = (url or DEFAULT_URL).rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"NVCLIP URL {self.url!r} must be http(s)://HOST[:PORT]/v1")
        hosted = parts.hostname == HOSTED
        self.model = model or ("nvidia/nvclip" if hosted else "nvidia/nvclip-vit-h-14")
        # NVIDIA's key goes to NVIDIA only; a service of one's own has a key of its own, or none.
        self._key = os.environ.get(HOSTED_KEY_ENV if hosted else KEY_ENV, "").strip()
        if hosted and not self._key:
            raise ConfigError(f"{HOSTED} needs a key: export {HOSTED_KEY_ENV}")
        self._probe = probe(self.embed_texts)

    @property
    def spec(self) -> Spec:
        return {"backend": "nvclip", "model": self.model, "text_window": clip_window_spec(), "probe": self._probe}

    def windows(self, text: str) -> list[str]:
        return clip_windows(text)

    def embed_texts(self, texts: list[str]) -> Array:
        # The service takes any item that looks like a data URI for a picture; a prompt is a text whatever it looks like.
        return self._embed([_DATA_URI.sub(r"\1 ", text) for text in texts])

    def embed_images(self, images: list[bytes]) -> Array:
        with _DECODING:
            uris = [small_uri(image) for image in images]
        return self._embed(uris)

    def close(self) -> None:
        self._client.close()

    @cached_property
    def _client(self) -> Any:
        try:
            import openai
        except ImportError as error:
            raise EncoderError(f"the nvclip encoder needs openai ({error}): pip install 'auto-router[nvclip]'") from error
        # max_retries=0: attempts are retry.py's.
        return openai.OpenAI(base_url=self.url, api_key=self._key or "none", timeout=timeout_seconds(), max_retries=0)

    def _embed(self, items: list[str]) -> Array:
        return vectors_of(call_with_retries(lambda: self._ask(items)), len(items), self.url)

    def _ask(self, items: list[str]) -> Any:
        client = self._client
        import openai

        try:
            raw = client.embeddings.with_raw_response.create(input=items, model=self.model, encoding_format="base64")
        except (openai.APIConnectionError, openai.APITimeoutError) as error:
            raise Passing(f"NVCLIP {self.url} did not answer ({_words(error)}); check {self.url}/health/ready") from error
        except openai.APIStatusError as error:
            detail = " ".join(error.response.text.split())[:300].replace(self._key or chr(0), "[key]")
            said = f"NVCLIP {self.url} answered {error.status_code}: {detail}"
            if error.status_code == 429 or error.status_code >= 500:
                raise Passing(said) from error
            raise EncoderError(said + (" (no credits left)" if error.status_code == 402 else "")) from error
        except openai.OpenAIError as error:
            raise EncoderError(f"NVCLIP {self.url}: {_words(error)}") from error
        try:
            return json.loads(raw.http_response.content)
        except (ValueError, RecursionError) as error:
            raise EncoderError(f"NVCLIP {self.url} answered with what is not JSON ({error})") from error


def vectors_of(answer: Any, count: int, url: str) -> Array:
    """Return the vectors ``[count, D]`` of an answer, in its order. Raises EncoderError where it has another form."""
    try:
        rows = [_vector(item["embedding"]) for item in answer["data"]]
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise EncoderError(f"NVCLIP {url} answered without embeddings ({type(error).__name__}: {error})") from error
    if len(rows) != count or len({len(row) for row in rows}) > 1:
        raise EncoderError(
            f"NVCLIP {url} answered {count} item(s) with {len(rows)} vectors of {sorted({*map(len, rows)})} values"
        )
    return np.stack(rows)


def small_uri(data: bytes) -> str:
    """Return a picture as a data URI that the service takes: upright RGB, at most 1024 a side and 180,000 characters."""
    image = pixels(data)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    while True:
        kind = "PNG" if image.width * image.height <= 128 * 128 else "JPEG"
        buffer = io.BytesIO()
        image.save(buffer, kind, quality=92)
        uri = f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
        if len(uri) <= MAX_URI_CHARACTERS:
            return uri
        image = image.resize((max(image.width * 3 // 4, 1), max(image.height * 3 // 4, 1)))


def _vector(value: Any) -> Array:
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4").astype(np.float32)
    if not isinstance(value, list):
        raise TypeError(f"an embedding of type {type(value).__name__}")
    return np.asarray(value, dtype=np.float32)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
