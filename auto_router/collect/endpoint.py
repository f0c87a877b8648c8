"""One model behind an OpenAI-compatible chat endpoint: one request goes out, an answer or a reason comes back.

A single exchange, without retries: those are :mod:`auto_router.collect.runner`'s. The wire is
:mod:`auto_router.collect.client`'s.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from auto_router.data.images import data_uri
from auto_router.data.pool import PoolModel
from auto_router.errors import ConfigError, ProviderError

if TYPE_CHECKING:
    from auto_router.collect.client import Client

Messages = list[dict[str, Any]]

GATEWAY_KEY_ENV = "AUTO_ROUTER_GATEWAY_KEY"
PASSING = {408, 409, 425, 429}  # with 5xx: what can succeed when asked again a little later
SETTLED = {400, 413, 415, 422}  # about the question itself: asking the same again gets the same


@dataclass(frozen=True, slots=True)
class Response:
    """What an endpoint said: text, or None with the reason in ``error``.

    ``settled`` marks an error that would only come again (a refused question, a content filter, an empty answer that was paid
    for): the next run does not ask again.
    """

    text: str | None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    latency_s: float | None = None
    error: str | None = None
    settled: bool = False

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


class PassingFailure(ProviderError):
    """An exchange that failed but may succeed later; ``billed``: the endpoint may have answered without our seeing it.

    ``ours``: it says nothing about the endpoint.
    """

    def __init__(
        self, reason: str, retry_after: float | None = None, billed: bool = False, timed_out: bool = False, ours: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason, self.retry_after, self.billed, self.timed_out, self.ours = reason, retry_after, billed, timed_out, ours


class Endpoint:
    """Asks one model of the pool. ``base_url``, where given, replaces the pool's: a gateway or a replayer.

    ``keyless``: nothing will be sent, so no key is needed.

    A provider's key goes to that provider only: another address gets the key in ``AUTO_ROUTER_GATEWAY_KEY``, or none.

    Raises:
        ConfigError: the pool names a key variable that is not set, or an address that is none.
    """

    def __init__(self, model: PoolModel, base_url: str | None = None, keyless: bool = False) -> None:
        self.model = model
        variable = model.api_key_env if base_url is None else GATEWAY_KEY_ENV
        self._key = os.environ.get(variable or "", "").strip()
        if model.api_key_env and not self._key and base_url is None and not keyless:
            raise ConfigError(
                f"model {model.name}: environment variable {model.api_key_env} is not set; export it, or change api_key_env "
                "in the pool file"
            )
        if not (self._key.isascii() and self._key.isprintable()):
            raise ConfigError(
                f"model {model.name}: environment variable {variable} holds characters that no key has; copy it anew"
            )
        base = (base_url or model.base_url).rstrip("/")
        if not base.startswith(("http://", "https://")):
            raise ConfigError(f"model {model.name}: base_url must be an http or https address, got {base!r}")
        azure = model.api_version is not None and base_url is None
        path = f"/openai/deployments/{model.model}/chat/completions?api-version={model.api_version}" if azure else None
        self._url = base + (path or "/chat/completions")
        key_header = {"api-key": self._key} if azure else {"Authorization": f"Bearer {self._key}"}
        self._key_header = key_header if self._key else {}
        self._client: Client | None = None

    def request(self, messages: Messages) -> dict[str, Any]:
        """Return the request body for ``messages``: the same for the same question, whatever address serves it."""
        model = self.model
        if model.system_prompt:
            messages = [{"role": "system", "content": model.system_prompt}, *messages]
        body: dict[str, Any] = {"model": model.model, "messages": messages, "max_tokens": model.max_tokens}
        if model.temperature is not None:
            body["temperature"] = model.temperature
        return {name: value for name, value in (body | dict(model.parameters)).items() if value is not None}

    async def attempt(self, request: Mapping[str, Any]) -> Response:
        """Send a request once and return its answer, which may be an error that no retry mends.

        Raises:
            PassingFailure: a rate limit, a server error, a time-out or a lost connection.
        """
        body = json.dumps(request).encode()
        try:
            self._client = self._client or self._connect()
            start = time.perf_counter()
            reply = await self._client.post(body)
        except TimeoutError as error:
            raise PassingFailure(f"no answer within {self.model.timeout_s:g} s", billed=True, timed_out=True) from error
        except ValueError as error:
            raise ConfigError(
                f"model {self.model.name}: {self._url!r} is no address ({error}); correct base_url in the pool"
            ) from error
        except ConnectionError as error:
            unsent = isinstance(error, ConnectionRefusedError)
            raise PassingFailure(self._clean(f"connection failed: {error}"), billed=not unsent) from error
        body = self._without_key(reply.body)
        if reply.status != 200:
            return self._refusal(reply.status, body, reply.headers)
        latency = round(time.perf_counter() - start, 4)
        try:
            return _answer(json.loads(body), latency)
        except (ValueError, RecursionError) as error:
            return Response(None, latency_s=latency, error=f"answer is not JSON: {error}")

    def _connect(self) -> Client:
        try:
            from auto_router.collect.client import Client
        except ImportError as error:
            raise ConfigError(f"asking models needs openai ({error}): pip install 'auto-router[collect]'") from error
        return Client(self._url, self._key_header, self.model.timeout_s, self.model.concurrency)

    def _refusal(self, status: int, body: bytes, headers: Mapping[str, str]) -> Response:
        message, code = _error_of(body)
        reason = self._clean(f"HTTP {status}: {message}")
        if (status in PASSING or status >= 500) and code != "insufficient_quota":
            raise PassingFailure(reason, _retry_after(headers.get("Retry-After")))
        filtered = code in ("content_filter", "content_policy_violation")
        if filtered:
            reason = self._clean(f"content filter: {message}")
        elif 300 <= status < 400:
            reason = self._clean(f"HTTP {status}: redirected to {headers.get('Location')}; name the right base_url")
        return Response(None, error=reason, settled=filtered or status in SETTLED)

    def _without_key(self, body: bytes) -> bytes:
        """A key that an endpoint echoes, in an error or in an answer, is kept nowhere."""
        return body.replace(self._key.encode(), b"[key]") if self._key else body

    def _clean(self, text: str) -> str:
        text = text.replace(self._key, "[key]") if self._key else text
        return " ".join(text.split())[:300]

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def _error_of(body: bytes) -> tuple[str, str]:
    """Return message and code of an error reply, whatever its shape."""
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")[:300], ""
    error = _of(dict, _of(dict, reply, {}).get("error"), _of(dict, reply, {}))
    inner = _of(dict, error.get("innererror"), {})
    code = "content_filter" if inner.get("code") == "ResponsibleAIPolicyViolation" else str(error.get("code") or "")
    return str(error.get("message") or error.get("detail") or reply)[:300], code


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header: a number or an HTTP date; None where it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if seconds < float("inf") else None


def _answer(reply: Any, latency: float) -> Response:
    """Read a reply by hand: endpoints send any JSON."""
    choices = _of(dict, reply, {}).get("choices")
    choice = _of(dict, next(iter(_of(list, choices, [])), None), None)
    if choice is None:
        return Response(None, latency_s=latency, error="answer has no choices")
    usage = _of(dict, reply.get("usage"), {})
    finish = _of(str, choice.get("finish_reason"), None)
    text = _of(str, _of(dict, choice.get("message"), {}).get("content"), "")
    error = None if text.strip() else f"empty answer (finish reason {finish})"
    if finish == "content_filter":
        error = "content filter: the answer was withheld"
    return Response(
        text=None if error else text,
        prompt_tokens=_of(int, usage.get("prompt_tokens"), None),
        completion_tokens=_of(int, usage.get("completion_tokens"), None),
        finish_reason=finish,
        latency_s=latency,
        error=error,
        settled=error is not None,
    )


def _of(kind: type, value: Any, otherwise: Any) -> Any:
    return value if isinstance(value, kind) and not isinstance(value, bool) else otherwise


def user_message(prompt: str, images: Sequence[bytes] = ()) -> Messages:
    """Return the messages of one question: text and pictures in one user message."""
    if not images:
        return [{"role": "user", "content": prompt}]
    parts = [{"type": "image_url", "image_url": {"url": data_uri(image)}} for image in images]
    return [{"role": "user", "content": [{"type": "text", "text": prompt}, *parts]}]


def digest_images(messages: Any) -> Any:
    """Return messages with every picture replaced by its sha256: small, and enough to recognise a question."""
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
