"""A provider with a Batch API on loopback, after OpenAI's documentation
(https://platform.openai.com/docs/api-reference/batch, /docs/api-reference/files and /docs/guides/batch), with the faults that
its users report: answers that are lost, batches that wait, expire or are refused, lines that are missing.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from auto_router.collect.replay import is_probe, probe_answer
from tests.servers import Peer, QuietHandler
from tests.stage1 import Reply, completion, raw

Row = dict[str, Any]


@dataclass
class BatchServer(Peer):
    """Answers each line with what ``script`` returns for its body; ``faults`` say what happens to a call or a line.

    ``calls`` counts the calls by kind, ``sent`` the requests that were taken into a batch, by ``custom_id``. ``polls``: looks
    at a batch until it is done. ``line_fault`` returns "expired", "failed", "missing" or None for (custom_id, how often it was
    sent). ``call_fault`` returns "lost" (done, and the answer is lost), "refused", "forbidden", "busy" or None for a kind of
    call. ``queue``: requests that a batch may have. ``direct``: whether questions are answered outside batches too.
    ``success``: the status of what is done.
    """

    script: Callable[[Row], Reply]
    polls: int = 2
    line_fault: Callable[[str, int], str | None] = lambda key, times: None
    call_fault: Callable[[str], str | None] = lambda kind: None
    queue: int = 50_000
    direct: bool = True
    delay_s: float = 0.0
    file_status: str = "processed"
    success: int = 200
    log: Path | None = None
    calls: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    files: dict[str, tuple[Row, bytes]] = field(default_factory=dict)
    batches: dict[str, Row] = field(default_factory=dict)
    direct_bodies: list[Row] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def __enter__(self) -> BatchServer:
        server = self
        self._lock = threading.Lock()

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                server._handle(self, self.rfile.read(int(self.headers["Content-Length"])))

            def do_GET(self) -> None:
                server._handle(self, b"")

        self.listen(Handler)
        return self

    def _handle(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        path = urlsplit(handler.path)
        parts = [part for part in path.path.split("/") if part not in ("", "v1", "openai")]
        with self._lock:
            self.paths.append(handler.path)
            self.heads.append(str(handler.headers))
            kind, reply = self._answer(handler, parts, parse_qs(path.query), body)
            self.calls[kind] += 1
        time.sleep(self.delay_s)
        if reply is None:  # done, and the answer is lost
            handler.close_connection = True
            handler.connection.close()
            return
        status, headers, content = reply
        handler.send_response(self.success if status == 200 else status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _answer(
        self, handler: BaseHTTPRequestHandler, parts: list[str], query: dict[str, list[str]], body: bytes
    ) -> tuple[str, Reply | None]:
        post = handler.command == "POST"
        kind = {
            ("files", True): "upload", ("files", False): "list files", ("batches", True): "create",
            ("batches", False): "list batches",
        }.get((parts[0], post), "direct")  # fmt: skip
        if len(parts) > 1 and parts[0] in ("files", "batches"):
            kind = "download" if parts[-1] == "content" else "look at file" if parts[0] == "files" else "look"
        fault = self.call_fault(kind)
        if fault == "busy":
            return kind, raw({"error": {"message": "overloaded", "code": "server_error"}}, 503)
        if fault == "forbidden":
            return kind, raw({"error": {"message": "not with this key", "code": "invalid_api_key"}}, 403)
        if fault == "refused":
            return kind, raw({"error": {"message": "no such thing", "code": "invalid_request_error"}}, 400)
        if kind == "direct":
            reply = self._direct(json.loads(body))
        elif kind == "upload":
            reply = raw(self._upload(handler.headers["Content-Type"], body))
        elif kind == "create":
            reply = raw(self._create(json.loads(body)))
        elif kind in ("list files", "list batches"):
            rows = [row for row, _ in self.files.values()] if kind == "list files" else list(self.batches.values())
            reply = raw(_page(rows, query))
        elif kind == "download":
            file = self.files.get(parts[1])
            reply = raw({"error": {"message": "no such file"}}, 404) if file is None else raw(file[1])
        elif kind == "look at file":
            row = self.files[parts[1]][0]
            reply = raw(dict(row))
            row["status"] = "processed"
        else:
            reply = self._look(parts[1])
        return kind, None if fault == "lost" else reply

    def _direct(self, body: Row) -> Reply:
        if is_probe(body) and self.direct:
            return completion(probe_answer(body))
        if not self.direct:
            return raw({"error": {"code": "OperationNotSupported", "message": "not for this deployment"}}, 400)
        self.direct_bodies.append(body)
        return self.script(body)

    def _upload(self, content_type: str, body: bytes) -> Row:
        boundary = re.search("boundary=(.+)", content_type)
        assert boundary is not None
        fields: dict[str, bytes] = {}
        filename = ""
        for part in body.split(b"--" + boundary.group(1).strip('"').encode())[1:-1]:
            head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
            named = re.search(rb'name="([^"]+)"', head)
            assert named is not None
            fields[named.group(1).decode()] = content
            filename = (re.search(rb'filename="([^"]+)"', head) or [b"", filename.encode()])[1].decode()
        assert fields["purpose"] == b"batch"
        row: Row = {
            "id": f"file-{len(self.files)}", "object": "file", "bytes": len(fields["file"] + b"\n"), "purpose": "batch",
            "filename": filename, "created_at": 0, "status": self.file_status,
        }  # fmt: skip
        self.files[row["id"]] = row, fields["file"]
        return row

    def _create(self, body: Row) -> Row:
        assert self.files[body["input_file_id"]][0]["status"] == "processed"
        lines = [json.loads(line) for line in self.files[body["input_file_id"]][1].splitlines()]
        assert {line["url"] for line in lines} == {body["endpoint"]}
        assert len({line["custom_id"] for line in lines}) == len(lines), "custom_id must be unique"
        assert len({line["body"]["model"] for line in lines}) == 1, "one model a file"
        assert not any(line["body"].get("stream") for line in lines)
        row: Row = {
            "id": f"batch_{len(self.batches)}", "object": "batch", "endpoint": body["endpoint"], "errors": None,
            "input_file_id": body["input_file_id"], "completion_window": body["completion_window"], "status": "validating",
            "output_file_id": None, "error_file_id": None, "created_at": 0, "metadata": body["metadata"],
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0}, "looks": 0,
        }  # fmt: skip
        if len(lines) <= self.queue:
            self.sent.update(line["custom_id"] for line in lines)
        self.batches[row["id"]] = row
        return row

    def _look(self, batch_id: str) -> Reply:
        row = self.batches.get(batch_id)
        if row is None:
            return raw({"error": {"message": "No batch found", "code": None}}, 404)
        row["looks"] += 1
        if row["status"] in ("validating", "in_progress"):
            row["status"] = "in_progress"
            if row["looks"] > self.polls:
                self._finish(row)
        return raw(row)

    def _finish(self, row: Row) -> None:
        lines = [json.loads(line) for line in self.files[str(row["input_file_id"])][1].splitlines()]
        if len(lines) > self.queue:
            message = (
                f"Enqueued token limit reached. Limit: {self.queue}. Please try again once some in_progress batches are done."
            )
            row |= {
                "status": "failed",
                "errors": {"object": "list", "data": [{"code": "token_limit_exceeded", "message": message}]},
            }
            return
        good: list[Row] = []
        bad: list[Row] = []
        expired = False
        for line in lines:
            key = line["custom_id"]
            fault = self.line_fault(key, self.sent[key])
            if fault == "expired":
                expired = True
                error = {"code": "batch_expired", "message": "This request could not be executed before the window expired."}
                bad.append({"id": f"batch_req_{key}", "custom_id": key, "response": None, "error": error})
                continue
            status, _, body = self.script(line["body"]) if fault != "failed" else raw({"error": {"message": "oops"}}, 500)
            answer = {"status_code": self.success if status == 200 else status, "request_id": "r", "body": json.loads(body)}
            told = {"id": f"batch_req_{key}", "custom_id": key, "response": answer, "error": None}
            (good if status == 200 else bad).append(told)
            if status == 200:
                row["request_counts"]["completed"] += 1
                self.done[key] += 1
            if fault == "missing":
                (good if status == 200 else bad).pop()
        random.Random(len(lines)).shuffle(good)
        for name, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                row[name] = f"file-{len(self.files)}"
                content = "".join(json.dumps(each) + "\n" for each in rows).encode()
                self.files[row[name]] = {"id": row[name], "filename": f"{name}.jsonl", "purpose": "batch_output"}, content
        row["status"] = "expired" if expired else "completed"
        row["request_counts"]["failed"] = len(bad)


def _page(rows: list[Row], query: dict[str, list[str]]) -> Row:
    """The newest first, as many as were asked for, after the one that is named."""
    rows = list(reversed(rows))
    names = [row["id"] for row in rows]
    if "after" in query:
        rows = rows[names.index(query["after"][0]) + 1 :]
    limit = int(query.get("limit", ["20"])[0])
    page = rows[:limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
    return {"object": "list", "data": page, "has_more": len(rows) > limit, **ends}
