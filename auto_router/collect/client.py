"""The openai package's client, held to one address of the pool: one request out, one bounded reply back.

The low-level ``post`` over the aiohttp transport takes less CPU than ``chat.completions.create``, whose typed answers would be
no help: endpoints send any JSON. Retries are :mod:`auto_router.collect.runner`'s. Import this with the first request, since
the package takes a second to load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
import httpx2
import openai
import yarl

MAX_REPLY_BYTES = 32 * 2**20
USER_AGENT = f"AsyncOpenAI/Python {openai.__version__}"
# The package passes on what its aiohttp transport does not translate.
FAILURES = (openai.APIConnectionError, httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, OSError, EOFError)


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
    if response.status_code != 200:
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
