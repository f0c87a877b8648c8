"""Images by URL: fetched from the hosts that the operator named, and from nowhere else."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from auto_router.data import remote_images
from auto_router.data.images import blank_image
from auto_router.data.remote_images import check_public, fetch_images
from auto_router.data.request import Request
from auto_router.errors import DataError

PNG = base64.b64decode(str(blank_image()).rpartition(",")[2])


class Images(BaseHTTPRequestHandler):
    """Serves one image, redirects to it, sends too much, or fails."""

    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        status, body = {"/a.png": (200, PNG), "/large": (200, bytes(4096)), "/gone": (404, b"")}.get(self.path, (302, b""))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/a.png")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return None


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Images.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Images) as found:
        threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.shutdown()


def fetch(server: ThreadingHTTPServer, path: str, hosts: tuple[str, ...], host: str = "127.0.0.1") -> Request:
    return fetch_images(Request("What is this?", (f"http://{host}:{server.server_port}{path}",)), hosts)


def test_an_image_at_an_allowed_host_is_seen(server: ThreadingHTTPServer) -> None:
    found = fetch(server, "/a.png", ("127.0.0.1",))
    assert found.images == (PNG,)
    assert not found.unseen_images


@pytest.mark.parametrize("path", ["/redirect", "/gone"])
def test_what_an_allowed_host_does_not_give_itself_is_unseen(server: ThreadingHTTPServer, path: str) -> None:
    found = fetch(server, path, ("127.0.0.1",))
    assert not found.images
    assert found.unseen_images == 1
    assert Images.asked == [path]


def test_what_is_too_large_is_unseen(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_images, "MAX_IMAGE_BYTES", 1000)
    assert fetch(server, "/large", ("127.0.0.1",)).unseen_images == 1


@pytest.mark.parametrize(("host", "hosts"), [("127.0.0.1", ("images.example",)), ("localhost", ("localhost",))])
def test_other_hosts_and_names_of_private_addresses_are_never_asked(
    server: ThreadingHTTPServer, host: str, hosts: tuple[str, ...]
) -> None:
    found = fetch(server, "/a.png", hosts, host)
    assert not found.images
    assert found.unseen_images == 1
    assert not Images.asked


def test_a_name_is_private_where_any_of_its_addresses_is(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [(socket.AF_INET, 0, 0, "", ("8.8.8.8", 0)), (socket.AF_INET, 0, 0, "", ("10.0.0.7", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: places)
    with pytest.raises(DataError, match=r"10\.0\.0\.7, which is not a public address"):
        check_public("images.example")


def test_images_that_are_no_urls_stay_as_they_are(server: ThreadingHTTPServer) -> None:
    url = f"http://127.0.0.1:{server.server_port}/a.png"
    found = fetch_images(Request("Compare.", (PNG, url)), ("127.0.0.1",))
    assert found.images == (PNG, PNG)
