"""Images by URL: fetched from hosts that somebody named, and from nowhere else.

For the rows of a data set (:func:`fetch`) whoever labels names them, with ``--allow-host``. For requests
(:func:`fetch_images`) the operator does, with ``image_hosts``; nobody waits long, and no redirect is followed.
"""

from __future__ import annotations

import ipaddress
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from dataclasses import replace
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from auto_router.data.images import MAX_IMAGE_BYTES
from auto_router.data.request import Request
from auto_router.errors import DataError

DATA_SET_SECONDS, FETCH_SECONDS = 30.0, 3.0
_CHUNK = 64 * 1024


def check_host(url: str, hosts: frozenset[str]) -> None:
    """Raise DataError unless ``url`` is at one of ``hosts``, whatever a user name before an @ pretends."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError as error:
        raise DataError(f"image {url[:200]!r} is no URL ({error})") from error
    if parts.scheme not in ("http", "https") or host not in hosts:
        raise DataError(f"image {url[:200]!r} is at host {host!r}, which no --allow-host names; nothing is fetched from it")


def fetch(url: str, hosts: frozenset[str]) -> bytes:
    """Return what a URL holds. Raises DataError unless it, and whatever it redirects to, is at one of ``hosts``."""
    opener = urllib.request.build_opener(_NamedRedirects(hosts))
    check_host(url, hosts)
    try:
        with opener.open(urllib.request.Request(url, headers={"User-Agent": "auto-router"}), timeout=DATA_SET_SECONDS) as reply:
            data: bytes = reply.read(MAX_IMAGE_BYTES + 1)
            return data
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
        raise DataError(
            f"image {url[:200]!r} cannot be fetched ({error}); run again, or leave such rows out with --skip-bad-rows"
        ) from error


class _NamedRedirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, hosts: frozenset[str]) -> None:
        self._hosts = hosts

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_host(newurl, self._hosts)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch_images(request: Request, hosts: Collection[str]) -> Request:
    """Return the request with the bytes of its images at ``hosts``; those that cannot be had count as unseen. Blocks."""
    until = time.monotonic() + FETCH_SECONDS
    images = [_fetch(image, frozenset(hosts), until) if image in request.urls else image for image in request.images]
    found = tuple(image for image in images if image is not None)
    return replace(request, images=found, unseen_images=request.unseen_images + len(images) - len(found))


def _fetch(url: str, hosts: frozenset[str], until: float) -> bytes | None:
    try:
        check_host(url, hosts)
        check_public(urlsplit(url).hostname or "")
        opener = urllib.request.build_opener(_NoRedirects())
        asked = urllib.request.Request(url.strip(), headers={"User-Agent": "auto-router"})
        with opener.open(asked, timeout=max(until - time.monotonic(), 0.01)) as reply:
            data = b""
            while chunk := reply.read(_CHUNK):
                data += chunk
                if len(data) > MAX_IMAGE_BYTES or time.monotonic() > until:
                    return None
            return data
    except (DataError, urllib.error.URLError, HTTPException, OSError, ValueError):
        return None


def check_public(host: str) -> None:
    """Raise DataError where a name stands for an address inside a network. An address that is named itself is meant."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        for *_, address in socket.getaddrinfo(host, None):
            if not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_global:
                raise DataError(f"{host} is at {address[0]}, which is not a public address: nothing is fetched") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Answer with the redirect itself, which is an error: an allowed host may point anywhere."""
        return None
