"""One model behind an OpenAI-compatible chat endpoint: one request goes out, a response or a reason comes back.

A single exchange, without retries: those are :mod:`auto_router.collect.runner`'s. The wire is
:mod:`auto_router.collect.client`'s; what comes back is read by :mod:`auto_router.collect.reply`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image
from tqdm import tqdm

from auto_router.collect.adaptation import LIMITS, STREAM, Adaptation
from auto_router.collect.credentials import Credentials, SecretScrubber
from auto_router.collect.rate_limits import PassingFailure
from auto_router.collect.reply import Response, decode, read_reply, shorten
from auto_router.data.images import data_uri, pixels
from auto_router.data.pool import PoolModel, show_value
from auto_router.errors import ConfigError, needs_extra

if TYPE_CHECKING:
    from auto_router.collect.client import Client, Reply

Messages = list[dict[str, Any]]
_Result = TypeVar("_Result")
JPEG_QUALITIES = (90, 80, 65)
SHRINK = 0.8  # of the side, each time that no quality is small enough
MIN_SIDE = 16  # pixels
LARGE_REPLY = 2**18  # bytes; read in a thread


class Endpoint:
    """Asks one model of the pool. ``base_url``, where given, replaces the pool's: a gateway or a replayer.

    ``keyless``: nothing will be sent, so no key is needed. ``address`` is the one that is really asked.

    Raises:
        ConfigError: the pool names a variable that is not set, or an address that is none.
    """

    def __init__(self, model: PoolModel, base_url: str | None = None, keyless: bool = False) -> None:
        self.model = model
        self.credentials = Credentials(model, base_url, keyless)
        self.address = (base_url or model.base_url).rstrip("/")
        if not self.address.startswith(("http://", "https://")):
            raise ConfigError(f"model {model.name}: base_url must be an http or https address, got {show_value(self.address)}")
        self.is_azure = model.api_version is not None and base_url is None
        path = f"/openai/deployments/{model.model}/chat/completions?api-version={model.api_version}" if self.is_azure else None
        self._url = self.address + (path or "/chat/completions")
        self.adaptation, self._scrubber = Adaptation(), SecretScrubber()
        self._client: Client | None = None

    def request(self, messages: Messages) -> dict[str, Any]:
        """Return the request body for ``messages``: the same for the same question, whatever address serves it."""
        model = self.model
        if model.system_prompt:
            messages = [{"role": "system", "content": model.system_prompt}, *messages]
        body: dict[str, Any] = {"model": model.model, "messages": messages, "max_tokens": model.max_tokens}
        body |= {"temperature": model.temperature, "reasoning_effort": model.reasoning_effort}
        return {name: value for name, value in (body | dict(model.parameters)).items() if value is not None}

    async def attempt(self, request: Mapping[str, Any]) -> Response:
        """Send a request once and return its answer, which may be an error that no retry mends.

        A refusal of what surrounds the question (a limit's name, a temperature, an expired token) is mended and sent again.

        Raises:
            PassingFailure: a rate limit, a server error, a time-out or a lost connection.
        """
        request = dict(request) | (STREAM if self.model.stream else {})
        refreshed = False
        for _ in range(2 * len(request) + 2):
            sent = self.adaptation.apply(request)
            headers = await self.credentials.headers()
            start = time.perf_counter()
            reply = await self._post(sent, headers)
            latency = round(time.perf_counter() - start, 4)
            reply = replace(reply, body=await _run_aside(reply, partial(self.without_secrets, reply.body)))
            if reply.status == 401 and not refreshed:
                refreshed = True
                if await self.credentials.refresh(self.credentials.key):
                    continue
            if reply.status not in (400, 422) or not self.adapt(request, sent, reply.body):
                break
        return await _run_aside(reply, partial(self._read, reply, latency))

    def _read(self, reply: Reply, latency: float) -> Response:
        """Read a reply. A key that an endpoint echoes, in an error or in an answer, is kept nowhere."""
        clean = self.clean
        response = read_reply(reply.status, _AnyCase({n: clean(v) for n, v in reply.headers.items()}), reply.body, latency)
        text, finish = (value and clean(value) for value in (response.text, response.finish_reason))
        if (text, finish) == (response.text, response.finish_reason):
            return response
        return replace(response, text=text, finish_reason=finish, body=None)  # it came in pieces, and would again

    async def _post(self, sent: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
        try:
            self._client = self._client or self._connect()
            return await self._client.post(json.dumps(sent).encode(), headers)
        except TimeoutError as error:
            raise PassingFailure(f"no answer within {self.model.timeout_s:g} s", billed=True, timed_out=True) from error
        except ValueError as error:
            raise ConfigError(
                f"model {self.model.name}: {self._url!r} is no address ({error}); correct base_url in the pool"
            ) from error
        except ConnectionError as error:
            unsent = isinstance(error, ConnectionRefusedError)
            reason = shorten(self.clean(f"connection failed: {error}"))
            raise PassingFailure(reason, billed=not unsent, unreachable=unsent) from error

    def adapt(self, request: Mapping[str, Any], sent: Mapping[str, Any], body: bytes) -> bool:
        """Whether the request can be sent again in another form. What is new is said, once for each model."""
        change = self.adaptation.learn(sent, body)
        if change is not None:
            note = "; its verdicts may vary" if change.name == "temperature" and request.get("temperature") == 0 else ""
            limit = f" (parameters: {{{change.name}: null, {change.renamed}: N}} in the pool saves the refusal)"
            tqdm.write(
                f"{self.model.name}: the endpoint {change}{note}{limit if change.name in LIMITS and change.renamed else ''}"
            )
        # Another request may have learned it while this one was out.
        return self.adaptation.apply(request) != sent

    def _connect(self) -> Client:
        with needs_extra("collect"):
            from auto_router.collect.client import Client
        return Client(self._url, self.model.timeout_s, self.model.concurrency)

    def without_secrets(self, body: bytes) -> bytes:
        """A key that an endpoint echoes, in an error or in an answer, is kept nowhere."""
        text = decode(body)
        cleaned = self.clean(text)
        return body if cleaned == text else cleaned.encode("utf-8", "surrogatepass")

    def clean(self, text: str) -> str:
        """Return ``text`` without the endpoint's keys."""
        self._scrubber.learn(self.credentials.secrets)
        return self._scrubber.clean(text)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


async def _run_aside(reply: Reply, work: Callable[[], _Result]) -> _Result:
    """Work on a reply; where it is large that takes seconds, in which other endpoints must not run into their time-outs."""
    return await asyncio.to_thread(work) if len(reply.body) > LARGE_REPLY else work()


class _AnyCase(dict[str, str]):
    """Headers by name in any case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


def user_message(prompt: str, images: Sequence[bytes] = ()) -> Messages:
    """Return the messages of one question: text and images in one user message."""
    if not images:
        return [{"role": "user", "content": prompt}]
    parts = [{"type": "image_url", "image_url": {"url": data_uri(image)}} for image in images]
    return [{"role": "user", "content": [{"type": "text", "text": prompt}, *parts]}]


def digest_images(messages: Any) -> Any:
    """Return messages with every image replaced by its sha256: small, and enough to recognise a question."""
    if isinstance(messages, list):
        return [digest_images(item) for item in messages]
    if isinstance(messages, dict):
        return {name: digest_images(value) for name, value in messages.items()}
    if isinstance(messages, str) and messages.startswith("data:"):
        return "sha256:" + hashlib.sha256(messages.encode("utf-8", "surrogatepass")).hexdigest()
    return messages


def fingerprint(value: Any) -> str:
    """Return a digest of plain values; equal values have equal digests."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def fit_image(data: bytes, max_side: int | None, max_bytes: int | None) -> bytes:
    """Return an image file within both limits: ``data`` itself where it is, else a smaller copy, the same for the same input.

    ``max_bytes`` is of the file, before base64. A copy keeps PNG where only the side was too long and it stays small enough.

    Raises:
        DataError: the bytes are no image.
    """
    fits_bytes = max_bytes is None or len(data) <= max_bytes
    if fits_bytes and (max_side is None or max(_size(data)) <= max_side):
        return data
    image = pixels(data)
    if max_side is not None:
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    if data.startswith(b"\x89PNG") and (copy := _encode(image, "PNG")) and (max_bytes is None or len(copy) <= max_bytes):
        return copy
    while True:
        for quality in JPEG_QUALITIES:
            copy = _encode(image, "JPEG", quality=quality)
            if max_bytes is None or len(copy) <= max_bytes or max(image.size) <= MIN_SIDE:
                return copy
        image = image.resize([max(1, int(side * SHRINK)) for side in image.size], Image.Resampling.LANCZOS)


def _size(data: bytes) -> tuple[int, int]:
    return pixels(data).size


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
