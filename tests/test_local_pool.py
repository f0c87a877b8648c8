"""The vision endpoint of ``examples/local_pool`` over the wire, in front of a text model that answers recorded questions."""

from __future__ import annotations

import base64
import http.client
import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from describe import Describer, Line, ink_of, main_colours, nearest_colours, rows_of, within
from PIL import Image
from serve_vision import INSTRUCTION, Bridge, handler

from auto_router.collect.replay import ReplayServer, recording
from auto_router.collect.reply import Response
from auto_router.data.images import pixels
from tests.servers import free_port

WORDS = "Text in the picture:\nEXIT"
SHOWN = f"{INSTRUCTION}\n\nPicture 1\n4 x 3: {WORDS}\n\nQuestion: What is on the sign?"


def picture(colour: str = "green") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def said(content: str, text: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    return {"request": {"model": "text", "messages": messages}, "answer": Response(text, 40, 2, "stop").to_plain()}


@dataclass
class Client:
    """Sends requests to a bridge; ``behind`` is the text model."""

    url: str
    behind: ReplayServer

    def post(self, body: Any, path: str = "/v1/chat/completions") -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.open(urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}))

    def open(self, request: urllib.request.Request | str) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def ask(self, *parts: dict[str, Any], **more: Any) -> tuple[int, dict[str, Any]]:
        return self.post({"model": "eye", "messages": [{"role": "user", "content": list(parts)}], **more})


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def described(data: bytes) -> str:
    """A describer whose words can be told beforehand."""
    shown = pixels(data)
    return f"{shown.width} x {shown.height}: {WORDS}"


@pytest.fixture
def client() -> Iterator[Client]:
    with ReplayServer(recording([said(SHOWN, "EXIT"), said("Name a colour.", "blue")])) as behind:
        bridge = Bridge("eye", behind.url, "text", described)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler(bridge))
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield Client(f"http://127.0.0.1:{server.server_address[1]}", behind)
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_picture_reaches_the_text_model_in_words(client: Client) -> None:
    status, reply = client.ask(text("What is on the sign?"), image(picture()), max_tokens=64, temperature=0)
    assert (status, reply["choices"][0]["message"]["content"]) == (200, "EXIT")
    assert reply["usage"]["prompt_tokens"] == 40
    assert client.behind.seen == [
        {"model": "text", "messages": [{"role": "user", "content": SHOWN}], "max_tokens": 64, "temperature": 0}
    ]


@pytest.mark.parametrize("content", ["Name a colour.", [text("Name a colour.")]])
def test_a_question_without_a_picture_passes_unchanged(client: Client, content: Any) -> None:
    status, reply = client.post({"model": "eye", "messages": [{"role": "user", "content": content}]})
    assert (status, reply["choices"][0]["message"]["content"]) == (200, "blue")


@pytest.mark.parametrize(
    ("parts", "more", "status", "reason"),
    [
        ([image("http://127.0.0.1:9/cat.png")], {}, 400, "nothing is fetched"),
        ([image("file:///etc/hostname")], {}, 400, "nothing is fetched"),
        ([image(None)], {}, 400, "data:image"),
        ([image("data:image/png;base64,@@@")], {}, 400, "not base64"),
        ([image("data:image/png;base64,AAAA")], {}, 400, "cannot be decoded"),
        ([{"type": "input_audio"}], {}, 400, "'input_audio'"),
        ([text("a")], {"model": "other"}, 404, "this is eye"),
        ([text("a")], {"messages": "a"}, 400, "list of 'messages'"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_reason(
    client: Client, parts: list[dict[str, Any]], more: dict[str, Any], status: int, reason: str
) -> None:
    found, reply = client.ask(*parts, **more)
    assert (found, reason in reply["error"]["message"]) == (status, True), reply
    assert client.behind.requests == 0


class Streaming(BaseHTTPRequestHandler):
    """A text model that streams two words."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["stream"] is True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        for word in ("one", "two"):
            self.wfile.write(f"data: {word}\n\n".encode())
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_stream_is_sent_on() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Streaming) as behind:
        bridge = Bridge("eye", f"http://127.0.0.1:{behind.server_address[1]}/v1", "text", described)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler(bridge)) as server:
            threads = [threading.Thread(target=one.serve_forever, args=(0.05,)) for one in (behind, server)]
            for thread in threads:
                thread.start()
            body = {"model": "eye", "stream": True, "messages": [{"role": "user", "content": [text("a"), image(picture())]}]}
            connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            assert (reply.status, reply.getheader("Content-Type")) == (200, "text/event-stream")
            assert reply.read() == b"data: one\n\ndata: two\n\n"
            connection.close()
            for one, thread in zip((behind, server), threads, strict=True):
                one.shutdown()
                thread.join()


def test_a_body_that_is_not_json_and_an_unknown_path_are_refused(client: Client) -> None:
    assert client.post(b"{")[0] == 400
    assert client.post({}, "/v1/embeddings")[0] == 404
    assert client.open(client.url + "/nowhere")[0] == 404


def test_the_text_models_own_refusal_comes_back_as_it_is(client: Client) -> None:
    status, reply = client.ask(text("Nobody recorded this."))
    assert (status, reply["error"]["code"]) == (404, "not_recorded")


def test_models_and_health(client: Client) -> None:
    assert client.open(client.url + "/v1/models")[1]["data"][0]["id"] == "eye"
    assert client.open(client.url + "/health") == (200, {"status": "ok"})


def test_a_text_model_that_is_down_is_a_gateway_error() -> None:
    bridge = Bridge("eye", f"http://127.0.0.1:{free_port()}/v1", "text", described)
    assert not bridge.healthy()
    with pytest.raises(Exception, match="is it started") as caught:
        bridge.chat({"model": "eye", "messages": []})
    assert getattr(caught.value, "status", None) == 502


def piece(words: str, x: float, y: float, angle: float = 0.0) -> Line:
    """A piece of text of 30 x 10 pixels, its picture turned by ``angle`` degrees."""
    turn = np.deg2rad(angle)
    corners = np.array([[x, y], [x + 30, y], [x + 30, y + 10], [x, y + 10]], dtype=float)
    return Line(words, corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]))


@pytest.mark.parametrize("angle", [0, -12, 12])
def test_a_table_keeps_its_rows_even_askew(angle: float) -> None:
    cells = [piece(f"{row}{column}", 80 * column, 22 * row, angle) for column in (1, 0, 2) for row in (2, 0, 1)]
    assert rows_of(cells) == ["00 | 01 | 02", "10 | 11 | 12", "20 | 21 | 22"]
    assert rows_of([]) == []


def test_colours_and_inks_have_names() -> None:
    paper = Image.new("RGB", (100, 50), "white")
    paper.paste((214, 39, 40), (10, 10, 30, 14))
    colours = nearest_colours(np.asarray(paper))
    assert main_colours(colours) == "white 98%"
    assert ink_of(piece("x", 8, 8), paper) == "red"
    assert within((10, 10, 12, 12), [piece("x", 8, 8)])
    assert not within((10, 10, 60, 12), [piece("x", 8, 8)])


def test_an_unknown_eye_is_refused() -> None:
    with pytest.raises(ValueError, match="read, look"):
        Describer("third")


def test_shapes_are_found_with_colour_place_and_corners() -> None:
    pytest.importorskip("cv2", reason="needs examples/local_pool/requirements.txt")
    from describe import regions

    paper = Image.new("RGB", (90, 90), "white")
    paper.paste((31, 100, 200), (5, 5, 25, 25))
    (found,) = regions(nearest_colours(np.asarray(paper)), [])
    assert found == "1. blue shape with 4 corners, x 16%, y 16%, area 4.9%"
