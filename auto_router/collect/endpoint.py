"""One model behind an OpenAI-compatible chat endpoint: one request goes out, a response or a reason comes back.

A single exchange, without retries: those are :mod:`auto_router.collect.runner`'s. The wire is
:mod:`auto_router.collect.http_client`'s; what comes back is read by :mod:`auto_router.collect.reply`.

What an endpoint does not take is learned from its own words, and the request is sent again without it. Reasoning models refuse
``max_tokens`` and want ``max_completion_tokens``, and take no ``temperature``; older servers know only ``max_tokens``; some
refuse a limit that is larger than theirs, and some answer as a stream only. Such a refusal is no answer and costs nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from auto_router.collect.credentials import Credentials, SecretScrubber
from auto_router.collect.rate_limits import PassingFailure
from auto_router.collect.reply import Problem, Response, decode, read_problem, read_reply, shorten
from auto_router.data.images import data_uri
from auto_router.data.pool import PoolModel, show_value
from auto_router.errors import ConfigError, needs_extra

if TYPE_CHECKING:
    from auto_router.collect.http_client import Client, Reply

Messages = list[dict[str, Any]]
_Result = TypeVar("_Result")
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
            from auto_router.collect.http_client import Client
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


LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
SAMPLING = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed", "stream_options")
_ADAPTABLE = (*LIMITS, *SAMPLING)
STREAM = {"stream": True, "stream_options": {"include_usage": True}}  # without the option no tokens are counted

_CODES = ("unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden")
_UNSUPPORTED = re.compile(
    r"unsupported|not\s+(?:be\s+)?(?:supported|permitted|allowed|accepted|available|recogni[sz]ed)"
    r"|(?:does|do|is|are|can)(?:n[o']?t| not) (?:support|accept|allow|permit|take|be (?:set|used|specified))"
    r"|unknown|unrecogni[sz]ed|unexpected|extra inputs|extra_forbidden|deprecated|no longer|only (?:the )?default"
    r"|only 1(?:\.0)? |must be (?:1\b|strictly|positive|greater than 0|> ?0)"
    r"|cannot (?:both )?be (?:both )?(?:set|used|specified)",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(
    r"(?:at most|maximum(?: value| allowed| number)?(?: is| of|:)?|up to|<=|≤|less than or equal to|not exceed|between 1 and"
    r"|limit of|\d >=?|\[1, ?) ?[`'\"]?(\d[\d,_]{0,12})",
    re.IGNORECASE,
)
# "Stream must be set to true", "only support stream mode", "streaming is required", "non-streaming calls are not supported".
_STREAM_ONLY = re.compile(
    r"\bstream\b.{0,40}\b(?:true|false|enabled)\b|\bstream(?:ing|ed)?\b.{0,40}\b(?:required|mandatory|only)\b"
    r"|\b(?:must|only|requires?|enable|set|use)\b.{0,40}\bstream(?:ing|ed)?\b"
    r"|\bnon[- ]?stream",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing done to every request: ``name`` goes under another name, gets a smaller value, or is left out; ``stream``
    is what is put in.
    """

    name: str
    renamed: str | None = None
    cap: int | None = None

    def apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self.name == "stream":
            return dict(request) | STREAM
        if self.name not in request:
            return dict(request)
        if self.cap is not None:
            return dict(request) | {self.name: min(request[self.name], self.cap)}
        rest = {name: value for name, value in request.items() if name != self.name}
        return rest | ({self.renamed: request[self.name]} if self.renamed else {})

    def __str__(self) -> str:
        if self.cap is not None:
            return f"takes {self.name} up to {self.cap:,} only; asked with that from now on"
        if self.name == "stream":
            return "answers as a stream only; asked for one from now on (stream: true in the pool saves the refusal)"
        instead = f"asked with {self.renamed}" if self.renamed else "asked without it"
        return f"does not take {self.name} as it was sent; {instead} from now on"


class Adaptation:
    """What one endpoint of a run was found not to take."""

    def __init__(self) -> None:
        self._changes: list[Change] = []

    def apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``request`` as the endpoint takes it."""
        for change in self._changes:
            request = change.apply(request)
        return dict(request)

    def learn(self, sent: Mapping[str, Any], body: bytes) -> Change | None:
        """Return what the refusal of ``sent`` teaches; None where it teaches nothing new. Each name is adapted once."""
        problem = read_problem(body)
        change = None if problem is None else find_change(sent, problem)
        if change is None or any(known.name == change.name and known.cap == change.cap for known in self._changes):
            return None
        if change.renamed and any(known.renamed == change.name for known in self._changes):
            return None  # it refuses both names: no third is known
        self._changes.append(change)
        return change


def find_change(sent: Mapping[str, Any], problem: Problem) -> Change | None:
    """Return what would make ``sent`` acceptable by an error's own words; None where they name nothing that can be adapted."""
    text = f"{problem.code} {problem.message}"
    if re.search(r"(?<!than the `)context.{0,3}(?:length|window)", text, re.IGNORECASE):
        return None  # it is this prompt that is too long
    name = _find_name(sent, problem)
    change = None if name is None else _change_parameter(name, sent, problem)
    blamed = problem.param == "stream" or _STREAM_ONLY.search(problem.message) is not None
    return change or (Change("stream") if blamed and not sent.get("stream") else None)


def _change_parameter(name: str, sent: Mapping[str, Any], problem: Problem) -> Change | None:
    text = f"{problem.code} {problem.message}"
    refused = any(code in text for code in _CODES) or _UNSUPPORTED.search(problem.message) is not None
    if name not in LIMITS:
        return Change(name) if refused else None
    if refused or LIMITS[name] in problem.message:
        return Change(name, renamed=LIMITS[name])
    largest = _TOO_LARGE.search(problem.message)
    cap = int(re.sub(r"\D", "", largest.group(1))) if largest else 0
    return Change(name, cap=cap) if 0 < cap < sent[name] else None


def _find_name(sent: Mapping[str, Any], problem: Problem) -> str | None:
    """The parameter that is meant: the one in ``param``, else the first that the message names."""
    there = [name for name in _ADAPTABLE if name in sent]
    param = problem.param.rpartition(".")[2]
    if param:
        return param if param in there else None
    found = [(m.start(), name) for name in there if (m := re.search(_mention(name), problem.message)) is not None]
    return min(found)[1] if found else None


def _mention(name: str) -> str:
    """A word of daily use counts only where it stands in quotes or as what is refused."""
    if name in LIMITS:
        return rf"\b(?:{name}|max(?:imum)? (?:output |completion |new )?tokens)\b"
    if "_" in name:
        return rf"\b{name}\b"
    quoted = rf"[`'\"]{name}[`'\"]|\b{name}:"
    blamed = rf"(?:parameter|value|field|argument|invalid):? {name}\b|\b{name} (?:is|does|must|cannot|parameter)\b"
    return f"{quoted}|{blamed}"
