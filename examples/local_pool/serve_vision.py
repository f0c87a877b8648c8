"""Serve a weak but real vision endpoint on 127.0.0.1: pictures are put into words, and a text model answers.

    python examples/local_pool/serve_vision.py --name reader-0.5b --eye read --port 8404 \
        --upstream http://127.0.0.1:8402/v1 --upstream-model qwen2.5-coder-0.5b

It takes OpenAI-style chat requests with text and ``data:`` pictures. Each picture part is replaced by a description
(``describe.py``), and the request goes to the text model behind ``--upstream``, whose answer and token counts come back as
they are, streamed where the request asks for it; a request without pictures passes unchanged. Nothing is fetched from a URL.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from describe import EYES, Describer

from auto_router.data.images import image_bytes, pixels
from auto_router.errors import DataError, EncoderError

HOST = "127.0.0.1"
MAX_BODY = 64 * 2**20
TIMEOUT_SECONDS = 110.0  # below the two minutes that clients commonly wait
EVENTS = "text/event-stream"
INSTRUCTION = (
    "You cannot see pictures. A program looked at the picture for you and wrote the description below; it may contain "
    "mistakes. Answer the question from it, as short as asked."
)


class RequestError(Exception):
    """A request that cannot be answered: the HTTP status and what to change."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Bridge:
    """One vision model: a describer of pictures in front of a text model.

    ``describe`` gets the bytes of one picture and is called by one thread at a time.
    """

    name: str
    upstream: str
    upstream_model: str
    describe: Callable[[bytes], str]
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def chat(self, body: Any) -> tuple[int, bytes | http.client.HTTPResponse]:
        """Answer one chat request: status and JSON of the text model behind, or its open stream. Raises RequestError."""
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
            raise RequestError(400, "a chat request is an object with a list of 'messages'")
        if body.get("model") != self.name:
            raise RequestError(404, f"model {body.get('model')!r} is not served here; this is {self.name}")
        messages = [self._in_words(message) for message in body["messages"]]
        return self._ask(json.dumps(body | {"model": self.upstream_model, "messages": messages}).encode())

    def healthy(self) -> bool:
        """Does the text model behind answer?"""
        try:
            with urllib.request.urlopen(self.upstream.removesuffix("/v1") + "/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except (OSError, http.client.HTTPException):
            return False

    def _in_words(self, message: Any) -> Any:
        """Return a message whose parts are one text: instruction, descriptions, then its own text."""
        if not isinstance(message, dict) or not isinstance(message.get("content"), list):
            return message
        texts, descriptions = [], []
        for part in message["content"]:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                texts.append(part["text"])
            elif kind == "image_url":
                descriptions.append(self._described(part.get("image_url")))
            else:
                raise RequestError(400, f"content part of type {kind!r} is not taken; send 'text' and 'image_url'")
        question = "\n".join(texts)
        if not descriptions:
            return message | {"content": question}
        pictures = "\n\n".join(f"Picture {number}\n{text}" for number, text in enumerate(descriptions, start=1))
        return message | {"content": f"{INSTRUCTION}\n\n{pictures}\n\nQuestion: {question}"}

    def _described(self, image_url: Any) -> str:
        url = image_url.get("url") if isinstance(image_url, dict) else None
        if not isinstance(url, str) or not url.startswith("data:"):
            raise RequestError(400, "a picture must be a 'data:image/...;base64,' URI in image_url.url; nothing is fetched")
        try:
            data = image_bytes(url)
            with self._turn:
                return self.describe(data)
        except DataError as error:
            raise RequestError(400, str(error)) from error

    def _ask(self, data: bytes) -> tuple[int, bytes | http.client.HTTPResponse]:
        request = urllib.request.Request(
            f"{self.upstream}/chat/completions", data, {"Content-Type": "application/json"}, method="POST"
        )
        try:
            reply: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
            if reply.headers.get_content_type() == EVENTS:
                return reply.status, reply
            with reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:  # the text model's own refusal goes to the client as it is
            return error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            raise RequestError(502, f"the text model at {self.upstream} did not answer ({error}); is it started?") from error


def handler(bridge: Bridge) -> type[BaseHTTPRequestHandler]:
    """The HTTP face of a bridge."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/health":
                healthy = bridge.healthy()
                self._send(200 if healthy else 503, {"status": "ok" if healthy else "the text model does not answer"})
            elif self.path == "/v1/models":
                self._send(200, {"object": "list", "data": [{"id": bridge.name, "object": "model", "owned_by": "local"}]})
            else:
                self._send(404, _error(404, "no such path; there are /health, /v1/models and /v1/chat/completions"))

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > MAX_BODY:
                self.close_connection = True
                return self._send(413, _error(413, f"a Content-Length of at most {MAX_BODY} bytes is needed"))
            data = self.rfile.read(int(length))
            if self.path != "/v1/chat/completions":
                return self._send(404, _error(404, "no such path; post to /v1/chat/completions"))
            try:
                return self._send(*bridge.chat(json.loads(data)))
            except RequestError as error:
                return self._send(error.status, _error(error.status, str(error)))
            except (ValueError, RecursionError) as error:
                return self._send(400, _error(400, f"the request is not JSON: {error}"))

        def _send(self, status: int, reply: dict[str, Any] | bytes | http.client.HTTPResponse) -> None:
            if isinstance(reply, http.client.HTTPResponse):
                return self._relay(reply)
            body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _relay(self, reply: http.client.HTTPResponse) -> None:
            """Send a stream on as it comes; the connection's end is its end."""
            self.close_connection = True
            self.send_response(reply.status)
            self.send_header("Content-Type", EVENTS)
            self.send_header("Connection", "close")
            self.end_headers()
            with reply:
                while data := reply.read1(2**16):
                    self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Prompts and pictures are nobody's log."""

    return Handler


class _Server(ThreadingHTTPServer):
    request_queue_size = 256  # where a burst of connections fills the queue (5 by default), some wait for seconds or fail


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error" if status < 500 else "server_error", "code": status}}


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal comes; the exit code is 1 when the server could not start."""
    parser = argparse.ArgumentParser(description="Serve text recognition + a text model as a vision endpoint on 127.0.0.1.")
    parser.add_argument("--name", required=True, help="model id that requests use")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, metavar="URL", help="base URL of the text model, ending in /v1")
    parser.add_argument("--upstream-model", required=True, metavar="NAME", help="its model id")
    parser.add_argument("--eye", choices=EYES, default="look", help="read: text only; look: also colours, shapes, labels")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads for the picture (default 2)")
    args = parser.parse_args(argv)
    try:
        describer = Describer(args.eye, args.threads)
        describer.load()
        bridge = Bridge(
            args.name, args.upstream.rstrip("/"), args.upstream_model, lambda data: describer.describe(pixels(data))
        )
        server = _Server((HOST, args.port), handler(bridge))
    except ImportError as error:
        print(f"error: {error}; run: python -m pip install -r examples/local_pool/requirements.txt", file=sys.stderr)
        return 1
    except EncoderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (OSError, OverflowError) as error:
        print(f"error: cannot listen on {HOST}:{args.port} ({error}); choose another --port", file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background commands with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    print(f"{args.name}: http://{HOST}:{args.port}/v1", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
