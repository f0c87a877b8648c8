"""Any OpenAI-compatible ``/v1/embeddings``: OpenAI, Azure, Ollama, TEI, vLLM, llama.cpp, LM Studio, LiteLLM and others.

They differ in small things, which are found out or said once: some give vectors as base64, some as lists only; ``index`` counts
from 0 or from 1; one takes 2,048 texts a request, another 32; images go in one of three forms, or not at all.
A key goes to the address that it belongs to, and nowhere else: redirects are not followed.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
import threading
import time
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np

from auto_router.arrays import Array
from auto_router.data.embeddings import PROBE_TEXT, PROBE_VALUES, Spec, probe
from auto_router.data.images import blank_image, pixels
from auto_router.encode.retry import HOST_KEYS, Passing, RemoteEncoder
from auto_router.encode.windows import MAX_WINDOWS, clip_tokens, word_windows
from auto_router.errors import ConfigError, EncoderError, InputRefusedError, needs_extra

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "text-embedding-3-small"
KEY_ENV = "AUTO_ROUTER_ENCODER_KEY"
DEFAULT_WINDOW = 512  # what nearly every text model sees; longer windows are asked for
IMAGE_FORMS = ("uri", "object", "messages")
MAX_VECTORS_BYTES = 64 * 2**20
MAX_URI_CHARACTERS = 180_000  # NVIDIA's hosted service refuses larger images inline; models see some 224 to 448 pixels a side
LONGEST_SIDE = 1024

_DECODING = threading.Lock()  # one large image at a time, whatever is on its way


class OpenAIEncoder(RemoteEncoder):
    """An embeddings service at ``url``. It is asked for one text, and one image where it takes any, when it is opened."""

    name = "embeddings service"
    batch_size = 32  # what TEI takes by default; every other service takes more
    parallel = 4
    splits = True
    """Whether a batch that is refused is sent in halves: a limit is found, and what is bad alone is named."""

    def __init__(
        self,
        url: str | None = None,
        model: str | None = None,
        key_env: str | None = None,
        dimensions: int | None = None,
        prefix: str = "",
        window: int = DEFAULT_WINDOW,
        images: str | None = None,
    ) -> None:
        """Connect.

        Args:
            url: base URL, ``http(s)://HOST[:PORT]/v1``; a query (``?api-version=...``) goes with every request. None: OpenAI's.
            model: None: OpenAI's smallest there, elsewhere the only one that the service has.
            key_env: the variable that holds the key; None: ``OPENAI_API_KEY`` for OpenAI's own address, else
                ``AUTO_ROUTER_ENCODER_KEY``, which may be unset; an empty name: no key.
            dimensions: width to ask for, where the model can give less than its own.
            prefix: put before every window of a text, such as ``query: ``.
            window: estimated tokens of a window, the prefix included; longer texts are cut.
            images: how the service takes images: ``uri`` (a data URI among the texts: NVCLIP, LiteLLM), ``object``
                (``{"image": base64}``: Jina) or ``messages`` (chat messages, one request an image: vLLM). None: not at all.

        Raises:
            ConfigError: a setting is impossible, or the key is not set.
            EncoderError: the service does not answer as promised.
        """
        self._set_address(url or OPENAI_URL, key_env)
        if window < 16 or images not in (None, *IMAGE_FORMS) or (dimensions is not None and dimensions < 1):
            raise ConfigError(
                f"the openai encoder takes a window from 16 tokens, dimensions from 1 and images of {', '.join(IMAGE_FORMS)}; "
                f"got {window}, {dimensions}, {images!r}"
            )
        self._dimensions, self._prefix, self._window, self._images = dimensions, prefix, window, images
        self.model = model or self._only_model()
        self._open()

    @property
    def spec(self) -> Spec:
        given = {"dimensions": self._dimensions, "prefix": self._prefix, "images": self._images}
        return {
            "backend": "openai",
            "model": self.model,
            **{name: value for name, value in given.items() if value},
            "text_window": {**self._cut, "max_windows": MAX_WINDOWS, "counted": "estimate"},
            "probe": self._probe,
        }

    @property
    def resolved(self) -> Spec:
        found = {"url": self.url + (f"?{urlencode(self._query)}" if self._query else ""), "model": self.model}
        return found | ({"key_env": self.key_env} if self._key else {})

    def windows(self, text: str) -> list[str]:
        return word_windows(text, clip_tokens, self._cut["tokens"] - 2 - clip_tokens(self._prefix), self._cut["overlap"])

    def embed_texts(self, texts: list[str]) -> Array:
        return self._embed([self._text_item(self._prefix + text) for text in texts])

    def embed_images(self, images: list[bytes]) -> Array:
        if self._images is None:
            return super().embed_images(images)
        with _DECODING:
            uris = [small_uri(image) for image in images]
        if self._images == "messages":
            parts = [[{"type": "image_url", "image_url": {"url": uri}}] for uri in uris]
            bodies = [{"messages": [{"role": "user", "content": part}]} for part in parts]
            return np.concatenate([self._request(partial(self._ask, body, 1)) for body in bodies])
        return self._embed([uri if self._images == "uri" else {"image": uri.partition(",")[2]} for uri in uris])

    def close(self) -> None:
        if self._http is not None:
            self._http.close()

    @property
    def _cut(self) -> dict[str, int]:
        return {"tokens": self._window, "overlap": self._window // 8}

    def _set_address(self, url: str, key_env: str | None, default_key_env: str = KEY_ENV) -> None:
        parts = urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ConfigError(f"{self.name}: URL {url!r} must be http(s)://HOST[:PORT]/v1, without a name or password in it")
        path = parts.path.rstrip("/").removesuffix("/embeddings") or "/v1"
        self.url = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
        self._query = dict(parse_qsl(parts.query))
        self.key_env = HOST_KEYS.get(parts.hostname, default_key_env) if key_env is None else key_env
        self._key = os.environ.get(self.key_env, "").strip() if self.key_env else ""
        if not self._key and (key_env or parts.hostname in HOST_KEYS):
            raise ConfigError(f"{parts.hostname} needs a key: export {self.key_env}")
        self._headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        if self._key and parts.hostname.endswith(".azure.com"):
            self._headers["api-key"] = self._key
        self._http: Any = None
        self._pid = 0
        self._served: str | None = None
        self._format: str | None = "base64"

    def _open(self) -> None:
        """Learn the widths, how vectors come, and the probe."""
        try:
            first = self.embed_texts([PROBE_TEXT])
        except EncoderError as error:
            if "encoding_format" not in str(error):
                raise
            self._format = None  # a service that takes no word about it answers in lists
            first = self.embed_texts([PROBE_TEXT])
        self.text_dim = first.shape[1]
        if self._dimensions not in (None, self.text_dim):
            raise EncoderError(
                f"{self.name} {self.url} was asked for {self._dimensions} dimensions of {self.model} and gave {self.text_dim}; "
                "leave dimensions out, or take a model that can be cut"
            )
        self._probe = probe(lambda _: first, PROBE_VALUES)
        if self._images is not None:
            self.image_dim = self.embed_images([blank_image()]).shape[1]

    def _only_model(self) -> str:
        if self.url == OPENAI_URL:
            return OPENAI_MODEL
        answer = self._request(lambda: self._send("GET", "models"))
        data = answer.get("data") if isinstance(answer, dict) else None
        names = [item["id"] for item in data if isinstance(item, dict) and "id" in item] if isinstance(data, list) else []
        if len(names) != 1:
            raise ConfigError(f"{self.name} {self.url} has {names[:20] or 'no list of models'}; name one: --encoder-model NAME")
        return str(names[0])

    def _text_item(self, text: str) -> str | dict[str, str]:
        if self._images == "object":
            return {"text": text}
        # A service that takes images as data URIs takes any text of that form for one.
        is_uri = self._images == "uri" and text.lstrip()[:5].lower() == "data:"
        return f" {text}".replace(":", ": ", 1) if is_uri else text

    def _embed(self, items: list[Any]) -> Array:
        try:
            return self._request(lambda: self._ask({"input": items}, len(items)))
        except InputRefusedError:
            if len(items) == 1 or not self.splits:
                raise
        half = len(items) // 2
        return np.concatenate([self._embed(items[:half]), self._embed(items[half:])])

    def _ask(self, body: dict[str, Any], count: int) -> Array:
        body = {**body, "model": self.model}
        if self._format is not None:
            body["encoding_format"] = self._format
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        answer = self._send("POST", "embeddings", body)
        vectors = self._vectors(answer, count)
        served = str(answer.get("model") or "")
        if self._served is None:
            self._served = served
        elif served != self._served:
            self._doubted = True
            raise EncoderError(f"{self.name} {self.url} answered as model {self._served!r} before, and as {served!r} now")
        return vectors

    def _vectors(self, answer: Any, count: int) -> Array:
        """Return the vectors ``[count, D]`` of an answer, in the order of what was asked."""
        where = f"{self.name} {self.url}"
        try:
            items = answer["data"]
            rows = [_vector(item["embedding"]) for item in items]
            places = [item.get("index") for item in items]
        except (KeyError, TypeError, AttributeError, ValueError, binascii.Error) as error:
            raise EncoderError(f"{where} answered without embeddings ({type(error).__name__}: {error})") from error
        if len(rows) != count or len({row.shape for row in rows}) > 1 or rows[0].ndim != 1 or not rows[0].size:
            shapes = sorted({row.shape for row in rows})
            raise EncoderError(f"{where} answered {count} item(s) with {len(rows)} vectors of {shapes} values")
        first = min((place for place in places if isinstance(place, int)), default=None)
        if first is None:  # it says nothing of the order: that of the request
            return np.stack(rows)
        if first not in (0, 1) or sorted(places, key=str) != sorted(range(first, first + count), key=str):
            raise EncoderError(f"{where} numbered {count} vector(s) {str(places[:8])[:200]}: it is not told which is whose")
        return np.stack([row for _, row in sorted(zip(places, rows, strict=True), key=lambda pair: pair[0])])

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send one request and return its JSON. Raises Passing where it may pass by itself, else EncoderError."""
        where, deadline = f"{self.name} {self.url}", time.monotonic() + self.timeout_s
        client, httpx2 = self._client()
        try:
            with client.stream(
                method,
                f"{self.url}/{path}",
                json=body,
                params=self._query or None,
                headers=self._headers,
                timeout=self.timeout_s,
            ) as reply:
                content = bytearray()
                for chunk in reply.iter_bytes():
                    content += chunk
                    if len(content) > MAX_VECTORS_BYTES:
                        raise EncoderError(f"{where} answered with more than {MAX_VECTORS_BYTES:,} bytes")
                    if time.monotonic() > deadline:
                        raise Passing(f"{where} did not answer whole within {self.timeout_s:g} s")
        except httpx2.TimeoutException as error:
            raise Passing(f"{where} did not answer within {self.timeout_s:g} s") from error
        except (httpx2.TransportError, OSError) as error:
            raise Passing(f"{where} did not answer ({_words(error)}); check that it runs and its address") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            raise EncoderError(f"{where}: {_words(error)}") from error
        if not reply.is_success:
            self._raise_status(where, reply.status_code, bytes(content), reply.headers.get("Retry-After", ""))
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise EncoderError(f"{where} answered with what is not JSON ({error})") from error

    def _raise_status(self, where: str, status: int, content: bytes, wait: str) -> None:
        detail = " ".join(content[:2000].decode("utf-8", "replace").split())[:300].replace(self._key or chr(0), "[key]")
        said = f"{where} answered {status}: {detail}"
        if status in (408, 425, 429) or status >= 500:
            raise Passing(said, float(wait) if wait.isdecimal() else 0.0, answered=True)
        if status in (400, 413, 422):
            raise InputRefusedError(said)
        hints = {402: "no credits left", 401: f"the key comes from {self.key_env}", 403: f"the key comes from {self.key_env}"}
        raise EncoderError(said + (f" ({hints[status]})" if status in hints else ""))

    def _client(self) -> tuple[Any, Any]:
        """Return the HTTP client, one a process: connections must not be shared with a child."""
        with needs_extra("openai", EncoderError):
            import httpx2
        if self._http is None or self._pid != os.getpid():
            self._http, self._pid = httpx2.Client(follow_redirects=False), os.getpid()
        return self._http, httpx2


def small_uri(data: bytes) -> str:
    """Return an image as a data URI that services take: upright RGB, at most 1024 a side and 180,000 characters."""
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
    return read_numbers(value)


def read_numbers(value: Any) -> Array:
    """Return numbers of a service's JSON as float32, those beyond it as infinite. Raises TypeError or ValueError for others."""
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "iuf" or not numbers.size:  # a whole number beyond 64 bits is an object
        raise TypeError(f"no numbers but {str(value)[:60]}")
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
