"""What the tests of Stage 1 share: a scripted chat endpoint on loopback, and its inputs as files."""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import prepare_hf_data
from auto_router.collect.endpoint import Endpoint, Messages, user_message
from auto_router.collect.journal import Journal
from auto_router.collect.replay import is_probe, probe_answer
from auto_router.collect.reply import Response
from auto_router.collect.runner import EndpointClient, Run
from auto_router.data.pool import PoolModel
from auto_router.errors import run
from tests.servers import Peer, QuietHandler

Reply = tuple[int, dict[str, str], bytes]
# Stage 1, and what a run of it imports when it needs it.
_PRELOADED = [
    *("prepare_hf_data", "auto_router.collect.http_client", "datasets", "jinja2.sandbox", "sklearn.model_selection"),
    *("openai.resources.chat", "openai.resources.files", "openai.resources.batches", "text_to_num", "yaml"),
]


def child_processes() -> ForkServerContext:
    """Return the context for children that run Stage 1 and are killed.

    They begin where a fresh interpreter would be after its imports: importing as often as killing would only cost time. A
    process of tests has one such server, whichever test starts it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def completion(text: str | None, finish_reason: str = "stop", tokens: tuple[int, int] = (10, 2)) -> Reply:
    """A well-formed chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return raw({"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage})


def raw(value: Any, status: int = 200, **headers: str) -> Reply:
    """Any bytes, or any value as JSON, with a status."""
    return status, headers, value if isinstance(value, bytes) else json.dumps(value).encode()


@dataclass
class ChatServer(Peer):
    """Answers every chat request with what ``script`` returns for its body; keeps the bodies, keys and heads it was sent.

    The preflight's small questions are answered here, and counts nowhere, unless ``keep_probes``.
    """

    script: Callable[[dict[str, Any]], Reply]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    keep_probes: bool = False

    def __enter__(self) -> ChatServer:
        chat = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if is_probe(body) and not chat.keep_probes:
                    status, headers, reply = completion(probe_answer(body))
                else:
                    chat.bodies.append(body)
                    chat.heads.append(f"{self.requestline}\n{self.headers}")
                    chat.keys.append(self.headers.get("Authorization") or self.headers.get("api-key") or "")
                    status, headers, reply = chat.script(body)
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

        self.listen(Handler)
        return self

    @property
    def asked(self) -> Counter[str]:
        """How often each model was asked."""
        return Counter(str(body["model"]) for body in self.bodies)


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write a ``.jsonl`` data set."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_pool(path: Path, models: Sequence[dict[str, Any]], judge: dict[str, Any] | None = None) -> Path:
    """Write a pool file; JSON is YAML."""
    path.write_text(json.dumps({"models": list(models)} | ({"judge": judge} if judge else {})), encoding="utf-8")
    return path


def b64(image: bytes) -> str:
    """A picture as data sets in JSON hold it."""
    return base64.b64encode(image).decode("ascii")


def recorded(model: str, prompt: str, text: str, images: Sequence[bytes] = (), **answer: Any) -> dict[str, Any]:
    """A row of a recording."""
    return {"request": {"model": model, "messages": user_message(prompt, images)}, "answer": {"text": text, **answer}}


def asked_once(model: PoolModel, messages: Messages, **settings: Any) -> Response:
    """Ask one question as a run does, with a journal of its own."""

    async def asked(folder: str) -> Response:
        with Journal(Path(folder) / "j.sqlite") as journal:
            caller = EndpointClient(Endpoint(model), Run(journal, **settings))
            try:
                return await caller.ask(messages)
            finally:
                await caller.close()

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(asked(folder))


def stage1(*arguments: str | Path) -> int:
    """Run Stage 1 in this process, as its script does; return its exit code."""
    return run(lambda: prepare_hf_data.main([str(argument) for argument in arguments]))


def flags(folder: Path, out: str = "out") -> list[str]:
    """The flags of a run on ``rows.jsonl`` and ``pool.yaml`` of a folder, into another folder within it."""
    files = {"--dataset": "rows.jsonl", "--pool": "pool.yaml", "--output-dir": out}
    return [part for flag, name in files.items() for part in (flag, str(folder / name))]


def read_evaluations(folder: Path) -> list[dict[str, Any]]:
    """Both evaluation files of a folder as plain JSON, by ``idx``; without latencies, which no two runs have in common."""
    parts = [json.loads((folder / f"hf_evaluations_{part}.json").read_text(encoding="utf-8")) for part in ("train", "test")]
    rows: list[dict[str, Any]] = [row for part in parts for row in part]
    for row in rows:
        row.pop("model_latencies", None)
    return sorted(rows, key=lambda row: int(row["idx"]))
