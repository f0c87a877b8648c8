"""Images that a request gives by URL: fetched where the operator named their hosts (``image_hosts``), else not looked at."""

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

from auto_router.collect.image_source import check_host
from auto_router.data.images import MAX_IMAGE_BYTES
from auto_router.data.request import Request
from auto_router.errors import DataError

FETCH_SECONDS = 3.0
_CHUNK = 64 * 1024


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
