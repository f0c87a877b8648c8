"""Serve a recording as a loopback OpenAI-compatible endpoint: Stage 1 over the real wire, without a key.

    python -m auto_router.collect.replay recording.jsonl.gz --port 8399
    python -m auto_router.collect.replay --export out/hf_journal.sqlite recording.jsonl.gz

A recording is a ``.jsonl`` or ``.jsonl.gz`` of ``{"request": {"model", "messages", …}, "answer": {"text", …}}`` rows, as a
journal exports them. A question is recognised by its model and its messages, images by digest; one that was not
recorded is answered with 404; the preflight's small questions are answered well and count nowhere. Latency and faults can
be added to try a client's nerves. How long an answer took when it was recorded stands in the reply, and Stage 1 takes that for
its latency. Rows have the ``"address"`` that answered where it is known. Sampling settings do not matter; how much a model is
to reason does, where the recording tells efforts apart.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from auto_router.collect.endpoint import digest_images, fingerprint
from auto_router.collect.journal import Journal
from auto_router.collect.preflight import IMAGE_PROBE, JUDGE_PROBES, TEXT_PROBE
from auto_router.collect.reply import RECORDED_LATENCY, Response
from auto_router.data.json_files import read_json
from auto_router.errors import ConfigError, DataError, run


def load_recording(path: str | Path) -> dict[str, Response]:
    """Return ``{key: answer}`` of a recording file. Raises DataError where it is missing or damaged."""
    path = Path(path)
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            return recording(json.loads(line) for line in file if line.strip())
    except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error) as error:
        raise DataError(f"recording {path} cannot be read ({error!r}); export one from a journal with --export") from error


def recording(rows: Iterable[dict[str, Any]]) -> dict[str, Response]:
    """Return ``{key: answer}`` of recorded rows.

    Raises:
        DataError: two addresses answered one question for one model id: no single endpoint said both.
    """
    answers: dict[str, Response] = {}
    addresses: dict[str, str] = {}
    for row in rows:
        key, address = question_key(row["request"]), row.get("address", "")
        if addresses.setdefault(key, address) != address:
            raise DataError(
                f"model {row['request']['model']!r} was asked one question at {addresses[key]} and at {address}; export one of "
                "them with --address"
            )
        answers[key] = Response(**row["answer"])
    return answers


def check_request(body: Any) -> None:
    """Raise ValueError, naming what is wrong, unless ``body`` is a chat request: it names a model and holds messages."""
    if not isinstance(body, dict):
        raise ValueError(f"an object is needed, got {type(body).__name__}")
    model, messages = body.get("model"), body.get("messages")
    if not isinstance(model, str):
        raise ValueError(f"'model' must be a text, got {type(model).__name__}")
    if not isinstance(messages, list) or not messages:
        found = "an empty list" if messages == [] else type(messages).__name__
        raise ValueError(f"'messages' must be a list of at least one message, got {found}")
    for number, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else 0
        parts = content if isinstance(content, list) else []
        if not isinstance(content, str | list | None) or not all(isinstance(part, dict) for part in parts):
            raise ValueError(f"message {number}: an object is needed whose 'content' is a text, a list of objects or null")


def is_probe(body: dict[str, Any]) -> bool:
    """Whether a chat request is the preflight's."""
    return probe_answer(body) != ""


def probe_answer(body: dict[str, Any]) -> str:
    """Return what a working endpoint says to the preflight; "" to any other chat request."""
    content = body["messages"][-1].get("content")
    text = content[0].get("text") if isinstance(content, list) and content else content
    if text in (TEXT_PROBE, IMAGE_PROBE):
        return "ready, red"
    document = read_json(text) if isinstance(text, str) and any(probe in text for probe in JUDGE_PROBES) else None
    if not isinstance(document, dict) or document.get("question") not in JUDGE_PROBES:
        return ""
    return json.dumps({"id": document.get("id"), "correct": True, "score": 1, "better": "first"})


# What makes one model answer as another would: the same id at two efforts is two candidates.
MODES = ("reasoning_effort", "reasoning", "thinking", "chat_template_kwargs")


def question_key(request: dict[str, Any], with_modes: bool = True) -> str:
    modes = {name: request[name] for name in MODES if with_modes and request.get(name) is not None}
    return fingerprint([request["model"], digest_images(request["messages"]), *([modes] if modes else [])])


DEFAULT_PORT = 8399
MAX_BODY = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request; the default is nothing.

    ``status`` is sent instead of the answer (with ``retry_after`` seconds as a header), ``body`` instead of the JSON;
    ``delay_s`` passes before anything is sent; ``disconnect`` ends the connection in the middle of the body.
    """

    status: int = 200
    retry_after: float | None = None
    body: bytes | None = None
    delay_s: float = 0.0
    disconnect: bool = False


FAULTS = {
    "429": Fault(status=429, retry_after=0.1),
    "500": Fault(status=500),
    "hang": Fault(delay_s=600.0),
    "disconnect": Fault(disconnect=True),
    "garbage": Fault(body=b"{not json"),
}


@dataclass
class ReplayServer:
    """Serves recorded answers on 127.0.0.1 while its ``with`` block runs; ``port`` 0 takes a free one.

    ``fault`` is asked for the n-th chat request (from 0). ``requests`` counts them, ``seen`` keeps their bodies.
    """

    answers: dict[str, Response]
    port: int = 0
    latency_s: float = 0.0
    fault: Callable[[int], Fault | None] = lambda number: None
    seen: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0

    def __enter__(self) -> ReplayServer:
        self._lock = threading.Lock()
        try:
            self._server = _Server(("127.0.0.1", self.port), _handler(self))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"port {self.port} cannot be used ({error}); give another, or 0 for a free one") from error
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any], Fault]:
        """Return status, JSON and fault for one chat request."""
        if said := probe_answer(body):
            return 200, _completion(str(body["model"]), Response(said)), Fault()
        with self._lock:
            number, self.requests = self.requests, self.requests + 1
            self.seen.append(body)
        fault = self.fault(number) or Fault()
        # A recording that tells no efforts apart answers for each.
        found = self.answers.get(question_key(body)) or self.answers.get(question_key(body, with_modes=False))
        if fault.status != 200:
            return fault.status, _error(f"injected fault {fault.status}", "fault"), fault
        if found is None or found.text is None:
            return 404, _error("this question was not recorded for this model", "not_recorded"), fault
        return 200, _completion(str(body["model"]), found), fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # where a burst of connections fills the queue (5 by default), some wait for seconds or fail

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves before its answer is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _completion(model: str, answer: Response) -> dict[str, Any]:
    prompt, completion = answer.prompt_tokens or 0, answer.completion_tokens or 0
    return {
        "id": "chatcmpl-replay",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text},
                "finish_reason": answer.finish_reason or "stop",
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
        **({} if answer.latency_s is None else {RECORDED_LATENCY: answer.latency_s}),
    }


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "code": code}}


def _handler(replay: ReplayServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            known: dict[str, dict[str, Any]] = {"/v1/models": {"object": "list", "data": []}, "/health": {"status": "ok"}}
            self._send(200 if self.path in known else 404, known.get(self.path, _error("no such path", "not_found")), Fault())

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > MAX_BODY:
                self.close_connection = True
                return self._send(413, _error(f"a body of at most {MAX_BODY} bytes is needed", "too_large"), Fault())
            data = self.rfile.read(int(length))
            if self.path != "/v1/chat/completions":
                return self._send(404, _error("no such path", "not_found"), Fault())
            try:
                body = json.loads(data)
                check_request(body)
                status, reply, fault = replay.answer(body)
            except (ValueError, RecursionError) as error:
                return self._send(400, _error(f"not a chat request: {error}", "bad_request"), Fault())
            time.sleep(replay.latency_s + fault.delay_s)
            return self._send(status, reply, fault)

        def _send(self, status: int, reply: dict[str, Any], fault: Fault) -> None:
            body = fault.body if fault.body is not None else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if fault.retry_after is not None:
                self.send_header("Retry-After", str(fault.retry_after))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if fault.disconnect else body)
            if fault.disconnect:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """A server for tests and demos says nothing."""

    return Handler


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m auto_router.collect.replay", description="Serve a recording of answers.")
    parser.add_argument("recording", type=Path)
    parser.add_argument("--export", type=Path, metavar="JOURNAL", help="write the recording from this journal, and end")
    parser.add_argument("--address", help="with --export: only what this base_url answered")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"on 127.0.0.1; 0 for a free one ({DEFAULT_PORT})")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="wait before every answer")
    parser.add_argument("--fault", choices=FAULTS, help="what goes wrong with every --fault-every-th request")
    parser.add_argument("--fault-every", type=int, default=10, metavar="N")
    arguments = parser.parse_args(argv)
    if arguments.export:
        if not arguments.export.is_file():
            raise DataError(f"journal {arguments.export} does not exist; prepare_hf_data.py writes it")
        with Journal(arguments.export) as journal:
            for line in journal.warnings:
                print(f"warning: {line}")
            print(f"wrote {journal.export(arguments.recording, arguments.address)} answers to {arguments.recording}")
        return
    fault = FAULTS.get(arguments.fault or "")
    every = max(arguments.fault_every, 1)
    server = ReplayServer(
        load_recording(arguments.recording),
        port=arguments.port,
        latency_s=arguments.latency_ms / 1000,
        fault=lambda number: fault if number % every == every - 1 else None,
    )
    with server:
        print(f"serving {len(server.answers)} recorded answers at {server.url} (Ctrl-C ends)", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    sys.exit(run(main))
