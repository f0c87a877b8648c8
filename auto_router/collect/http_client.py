"""The openai package's client, held to one address of the pool: one request out, one bounded reply back; and its Batch API.

The low-level ``post`` over the aiohttp transport takes less CPU than ``chat.completions.create``, whose typed answers would be
no help: endpoints send any JSON. Retries, and what may be sent once only, are :mod:`auto_router.collect.runner`'s and
:mod:`auto_router.collect.batch_transfer`'s. Import this with the first request, since the package takes a second to load.

The Batch API is used as OpenAI (https://platform.openai.com/docs/api-reference/batch) and Azure OpenAI
(https://learn.microsoft.com/azure/ai-services/openai/how-to/batch) document it: files go up, batches are begun and looked at,
results come down. Each call is one exchange.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import aiohttp
import httpx2
import openai
import yarl

from auto_router.collect.batch_transfer import BatchRefusal
from auto_router.collect.endpoint import Endpoint
from auto_router.collect.journal import BatchRow
from auto_router.collect.rate_limits import PassingFailure
from auto_router.collect.reply import read_reply, shorten

MAX_REPLY_BYTES = 32 * 2**20
USER_AGENT = f"AsyncOpenAI/Python {openai.__version__}"
# The package passes on what its aiohttp transport does not translate.
FAILURES = (openai.APIConnectionError, httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, OSError, EOFError)
PAGE = 100  # of a list; the most that is allowed
MAX_PAGES = 200
NAME_KEY = "auto_router_batch"  # of a batch's metadata, by which it is found again
Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whatever its status. ``headers`` are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class PlainOpenAI(openai.AsyncOpenAI):
    """Sends nothing of ``OPENAI_ORG_ID``, ``OPENAI_PROJECT_ID`` and ``OPENAI_CUSTOM_HEADERS``, and no facts of the machine."""

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        return {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": USER_AGENT}


class Client:
    """Posts to ``url``. Proxies come from the environment.

    Raises:
        ValueError: the address, or a proxy's, is none.
    """

    def __init__(self, url: str, timeout_s: float, connections: int) -> None:
        if not yarl.URL(url).host:  # aiohttp's check: httpx2 makes a host of anything, and takes none for a path
            raise ValueError("it names no host")
        self._url, self._timeout_s = url, timeout_s
        timeout = httpx2.Timeout(None, connect=min(15.0, timeout_s))
        http = openai.DefaultAioHttpClient(
            auth=httpx2.Auth(),  # a name and a password in the address are aiohttp's
            follow_redirects=False,  # they would carry the key to an address that the pool does not name
            timeout=timeout,
            limits=httpx2.Limits(max_connections=connections),
            event_hooks={"response": [_read]},
        )
        self._openai = PlainOpenAI(
            api_key="none", base_url="http://unused.invalid", max_retries=0, timeout=timeout, http_client=http
        )

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a JSON body once. ``headers`` are all that is sent to be let in.

        Raises:
            TimeoutError: no whole reply within ``timeout_s``.
            ConnectionRefusedError: no connection was made, within 15 s or at all; the endpoint has seen nothing.
            ConnectionError: the exchange broke off, or the reply is larger than ``MAX_REPLY_BYTES``.
            ValueError: the address is none.
        """
        # Given with each request: only there can the package be told to send no key at all.
        sent: dict[str, str | openai.Omit] = {"Authorization": openai.Omit(), **headers}
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._openai.post(
                    self._url, cast_to=httpx2.Response, content=body, options={"headers": sent}, stream=True
                )
        except openai.APIStatusError as error:
            reply = error.response
        except FAILURES as error:
            raise to_builtin_error(error) from error
        return Reply(reply.status_code, reply.headers, reply.extensions["body"])

    async def close(self) -> None:
        await self._openai.close()


async def _read(response: httpx2.Response) -> None:
    """Read a reply as soon as its head is there: the package would read an error of any length."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            raise ConnectionError(f"the reply is larger than {MAX_REPLY_BYTES:,} bytes")
    response.extensions["body"] = bytes(body)
    if not response.is_success:
        raise openai.APIStatusError(f"HTTP {response.status_code}", response=response, body=None)


def to_builtin_error(error: BaseException) -> Exception:
    """Return what happened as a built-in error. aiohttp knows best: to its transport, a dropped connection is a time-out."""
    while not isinstance(error, aiohttp.ClientError | TimeoutError) and error.__cause__ is not None:
        error = error.__cause__
    said = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ConnectionTimeoutError):  # a time-out too, but nothing was sent
        return ConnectionRefusedError(said)
    if isinstance(error, TimeoutError):
        return TimeoutError(said)
    if isinstance(error, aiohttp.InvalidURL | httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        return ValueError(said)
    return (ConnectionRefusedError if isinstance(error, aiohttp.ClientConnectorError) else ConnectionError)(said)


class BatchApi:
    """The Batch API beside one endpoint. Every method raises PassingFailure as :class:`Endpoint` does, or BatchRefusal."""

    def __init__(self, endpoint: Endpoint) -> None:
        model, self._endpoint = endpoint.model, endpoint
        azure = endpoint.is_azure
        self.url = "/chat/completions" if azure else "/v1/chat/completions"
        timeout = httpx2.Timeout(None, connect=15.0, read=model.timeout_s)
        self._openai = PlainOpenAI(
            api_key="none",
            base_url=endpoint.address + ("/openai" if azure else ""),
            default_query={"api-version": model.api_version} if azure else None,
            max_retries=0,  # a batch that is begun twice is paid twice
            timeout=timeout,
            http_client=openai.DefaultAioHttpClient(follow_redirects=False, timeout=timeout),
        )

    async def upload(self, name: str, file: IO[bytes]) -> BatchRow:
        """Send a file of requests; return what the provider says of it."""

        async def send(headers: Headers) -> BatchRow:
            file.seek(0)
            named = (name, file, "application/jsonl")
            reply = await self._openai.files.with_raw_response.create(file=named, purpose="batch", extra_headers=headers)
            return _read_object(reply.content)

        return await self._call(send)

    async def find_file(self, name: str) -> BatchRow | None:
        """Return the uploaded file of a name; None where there is none."""
        return await self._find(self._openai.files.with_raw_response, lambda row: row.get("filename") == name, purpose="batch")

    async def look_at_file(self, file_id: str) -> BatchRow:
        return await self._ask(self._openai.files.with_raw_response.retrieve, file_id)

    async def create(self, name: str, file_id: str) -> BatchRow:
        """Begin a batch. From here on it is paid."""
        return await self._ask(
            self._openai.batches.with_raw_response.create,
            input_file_id=file_id, endpoint=self.url, completion_window="24h", metadata={NAME_KEY: name},
        )  # fmt: skip

    async def find_batch(self, name: str, file_id: str) -> BatchRow | None:
        """Return the batch that was begun under a name or with a file; None where there is none."""

        def is_it(row: BatchRow) -> bool:
            metadata = row.get("metadata")
            named = isinstance(metadata, dict) and metadata.get(NAME_KEY) == name
            return named or row.get("input_file_id") == file_id

        return await self._find(self._openai.batches.with_raw_response, is_it)

    async def look_at(self, batch_id: str) -> BatchRow:
        """Return how a batch stands."""
        return await self._ask(self._openai.batches.with_raw_response.retrieve, batch_id)

    async def reach(self) -> None:
        """Ask for a list of one: free, and it tells whether the address and the key are right."""
        await self._ask(self._openai.batches.with_raw_response.list, limit=1)

    async def download(self, file_id: str, into: IO[bytes]) -> None:
        """Write the content of a file, whole, into an open one."""

        async def send(headers: Headers) -> BatchRow:
            into.seek(0)
            into.truncate()
            content = self._openai.files.with_streaming_response.content
            async with content(file_id, extra_headers=headers) as reply:
                async for chunk in reply.iter_bytes():
                    into.write(chunk)
            return {}

        await self._call(send)

    async def close(self) -> None:
        await self._openai.close()

    async def _find(self, resource: Any, is_it: Callable[[BatchRow], bool], **query: str) -> BatchRow | None:
        """Look through a list, page by page, the newest first."""
        for _ in range(MAX_PAGES):
            page = await self._ask(resource.list, limit=PAGE, **query)
            rows = [row for row in page.get("data") or [] if isinstance(row, dict)]
            found = next((row for row in rows if is_it(row)), None)
            last = page.get("last_id") or (rows[-1].get("id") if rows else None)
            if found is not None or not page.get("has_more") or not rows or not isinstance(last, str):
                return found
            query["after"] = last
        return None

    async def _ask(self, method: Callable[..., Awaitable[Any]], *given: Any, **named: Any) -> BatchRow:
        """Call a method of the package's that answers with JSON."""

        async def send(headers: Headers) -> BatchRow:
            return _read_object((await method(*given, extra_headers=headers, **named)).content)

        return await self._call(send)

    async def _call(self, send: Callable[[Headers], Awaitable[BatchRow]]) -> BatchRow:
        """Make one call; a token that has run out is renewed once."""
        credentials = self._endpoint.credentials
        for attempt in range(2):
            headers: Any = {"Authorization": openai.Omit(), **await credentials.headers()}
            try:
                return await send(headers)
            except openai.APIStatusError as error:
                if error.status_code == 401 and not attempt and await credentials.refresh(credentials.key):
                    continue
                raise self._explain(error) from error
            except FAILURES as error:
                said = to_builtin_error(error)
                unsent = isinstance(said, ConnectionRefusedError)
                reason = shorten(self._endpoint.clean(f"Batch API: connection failed: {said}"))
                raise PassingFailure(
                    reason, billed=not unsent, unreachable=unsent, timed_out=isinstance(said, TimeoutError)
                ) from error
        raise AssertionError("unreachable")

    def _explain(self, error: openai.APIStatusError) -> BatchRefusal:
        """Return why a call was refused for good. Raises PassingFailure where it may succeed later."""
        said = error.message if error.body is None else error.body
        body = said if isinstance(said, str) else json.dumps({"error": said})
        read = read_reply(error.status_code, error.response.headers, self._endpoint.without_secrets(body.encode()))
        return BatchRefusal(f"Batch API: {read.error}", error.status_code)


def _read_object(body: bytes) -> BatchRow:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PassingFailure(shorten(f"Batch API: answer is not JSON: {error}"), billed=True) from error
    if not isinstance(value, dict):
        raise PassingFailure("Batch API: the answer is no JSON object", billed=True)
    return value
