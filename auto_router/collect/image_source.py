"""The images of a data set's row: inside it, in a folder that was named, or at hosts that were named.

A data set is untrusted: what looks like a path is opened only below ``folder``, and a URL is fetched only from ``hosts``,
once, into ``cache``. Without these, both are refused by name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from auto_router.collect.references import is_missing
from auto_router.data.images import image_bytes
from auto_router.data.remote_images import check_host, fetch
from auto_router.errors import DataError
from auto_router.files import atomic_path

# A file's name: with an ending, or after a root or scheme. Base64 has neither, but that of a JPEG begins with "/9j/".
_LIKE_A_PATH = re.compile(
    r"[^\n]{1,1000}\.[A-Za-z][A-Za-z0-9]{1,4}|(?!/9j/)(?:/|\.{1,2}/|[A-Za-z]:\\)[^\n]{1,300}|(?!data:)\w{1,10}://[^\n]{1,1000}"
)
_PLACES = ("path", "url", "file_name", "image_url", "source", "image")  # what an image's struct names it by


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where images may come from besides the row itself."""

    folder: Path | None = None
    hosts: frozenset[str] = frozenset()
    cache: Path | None = None

    def read(self, value: Any) -> tuple[bytes, ...]:
        """Return the bytes of every image in a cell: none, one, or a list. Raises DataError for what is no image."""
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(image_bytes(self._read(item)) for item in items if not is_missing(item))

    def _read(self, item: Any) -> Any:
        if isinstance(item, dict):
            inside = next((item[name] for name in ("bytes", "base64", "data") if item.get(name) is not None), None)
            if inside is not None:
                return inside
            item = next((item[name] for name in _PLACES if item.get(name) is not None), None)
            if isinstance(item, dict):  # a part of a chat message
                return self._read(item)
            if not isinstance(item, str):
                raise DataError("neither bytes nor a path; save the data set with its images inside")
            is_path = not item.startswith("data:")
        else:
            is_path = isinstance(item, str) and _LIKE_A_PATH.fullmatch(item) is not None
        if isinstance(item, str) and item.lower().startswith(("http://", "https://")):
            if not self.hosts:
                host = _host(item)
                raise DataError(f"{item[:200]!r} is a URL, and nothing is fetched unasked; allow it with --allow-host {host}")
            return self._fetch(item)
        if isinstance(item, str) and self.folder is not None and len(item) < 1024 and not item.startswith("data:"):
            return self._below(item)
        if is_path:
            raise DataError(f"{item[:200]!r} is only a path; name the folder that it is below with --picture-folder")
        return item

    def _below(self, name: str) -> Path:
        assert self.folder is not None
        root = self.folder.resolve()
        try:
            path = (root / name).resolve()
        except (OSError, ValueError) as error:  # a NUL, or a loop of links
            raise DataError(f"{name!r} is no path ({error})") from error
        if not path.is_relative_to(root):
            raise DataError(f"{name!r} lies outside of --picture-folder {root}; nothing outside is opened")
        return path

    def _fetch(self, url: str) -> Path:
        assert self.cache is not None
        check_host(url, self.hosts)
        path = self.cache / hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        if not path.is_file():
            data = fetch(url, self.hosts)
            with atomic_path(path) as temporary:
                temporary.write_bytes(data)
        return path


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "HOST"
    except ValueError:
        return "HOST"
