"""One model behind an OpenAI-compatible chat endpoint: a question goes out, an answer or a reason comes back."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import openai

from auto_router.errors import ConfigError
from auto_router.images import data_uri
from auto_router.pool import PoolModel

Messages = list[dict[str, Any]]

GATEWAY_KEY_ENV = "AUTO_ROUTER_GATEWAY_KEY"
TIMEOUT_SECONDS = 120.0
RETRIES = 4  # the SDK's policy: exponential back-off with jitter, Retry-After honoured, only for 408, 409, 429 and 5xx


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint said: text, or None with the reason in ``error``."""

    text: str | None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    latency_s: float | None = None
    error: str | None = None

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


class Endpoint:
    """Asks one model of the pool. ``base_url``, where given, replaces the pool's: a gateway or a replayer.

    A provider's key goes to that provider only: another address gets the key in ``AUTO_ROUTER_GATEWAY_KEY``, or none.

    Raises:
        ConfigError: the pool names a key variable that is not set.
    """

    def __init__(self, model: PoolModel, base_url: str | None = None) -> None:
        self.model = model
        variable = model.api_key_env if base_url is None else GATEWAY_KEY_ENV
        self._key = os.environ.get(variable or "", "").strip()
        if model.api_key_env and not self._key and base_url is None:
            raise ConfigError(
                f"model {model.name}: environment variable {model.api_key_env} is not set; export it, or change api_key_env "
                "in the pool file"
            )
        self._client = openai.AsyncOpenAI(
            base_url=base_url or model.base_url,
            api_key=self._key or "none",
            timeout=TIMEOUT_SECONDS,
            max_retries=RETRIES,
        )

    def request(self, messages: Messages) -> dict[str, Any]:
        """Return the request body for ``messages``: the same for the same question, whatever endpoint serves it."""
        model = self.model
        if model.system_prompt:
            messages = [{"role": "system", "content": model.system_prompt}, *messages]
        body: dict[str, Any] = {"model": model.model, "messages": messages, "max_tokens": model.max_tokens}
        if model.temperature is not None:
            body["temperature"] = model.temperature
        return body

    async def ask(self, request: dict[str, Any]) -> Answer:
        """Send a request. A failure is an :class:`Answer` with its reason, never an exception: the run goes on."""
        start = time.perf_counter()
        try:
            reply = await self._client.chat.completions.with_raw_response.create(**request)
        except openai.OpenAIError as error:
            return Answer(None, error=self._reason(error))
        except ValueError as error:
            return Answer(None, error=f"request cannot be sent: {error}")
        latency = round(time.perf_counter() - start, 4)
        try:
            return _answer(json.loads(reply.http_response.content), latency)
        except (ValueError, RecursionError) as error:
            return Answer(None, latency_s=latency, error=f"answer is not JSON: {error}")

    def _reason(self, error: openai.OpenAIError) -> str:
        """One line that says what failed; a key that the endpoint echoes is taken out."""
        status = getattr(error, "status_code", None)
        text = str(error).replace(self._key, "[key]") if self._key else str(error)
        return f"{type(error).__name__}{f' {status}' if status else ''}: {' '.join(text.split())[:300]}"

    async def close(self) -> None:
        await self._client.close()


def _answer(reply: Any, latency: float) -> Answer:
    """Read a reply by hand: endpoints send any JSON, and the SDK passes on what does not fit its types."""
    choices = _of(dict, reply, {}).get("choices")
    choice = _of(dict, next(iter(_of(list, choices, [])), None), None)
    if choice is None:
        return Answer(None, latency_s=latency, error="answer has no choices")
    usage = _of(dict, reply.get("usage"), {})
    finish = _of(str, choice.get("finish_reason"), None)
    text = _of(str, _of(dict, choice.get("message"), {}).get("content"), "")
    return Answer(
        text=text if text.strip() else None,
        prompt_tokens=_of(int, usage.get("prompt_tokens"), None),
        completion_tokens=_of(int, usage.get("completion_tokens"), None),
        finish_reason=finish,
        latency_s=latency,
        error=None if text.strip() else f"empty answer (finish reason {finish})",
    )


def _of(kind: type, value: Any, otherwise: Any) -> Any:
    return value if isinstance(value, kind) else otherwise


def user_message(prompt: str, images: Sequence[bytes] = ()) -> Messages:
    """Return the messages of one question: text and pictures in one user message."""
    if not images:
        return [{"role": "user", "content": prompt}]
    pictures = [{"type": "image_url", "image_url": {"url": data_uri(image)}} for image in images]
    return [{"role": "user", "content": [{"type": "text", "text": prompt}, *pictures]}]


def digested(messages: Any) -> Any:
    """Return messages with every picture replaced by its sha256: small, and enough to recognise a question."""
    if isinstance(messages, list):
        return [digested(item) for item in messages]
    if isinstance(messages, dict):
        return {name: digested(value) for name, value in messages.items()}
    if isinstance(messages, str) and messages.startswith("data:"):
        return "sha256:" + hashlib.sha256(messages.encode("utf-8", "surrogatepass")).hexdigest()
    return messages


def fingerprint(value: Any) -> str:
    """Return a digest of plain values; equal values have equal digests."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
