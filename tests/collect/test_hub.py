"""Hub data sets, from a small hub on loopback: only the wanted split and revision are fetched; streaming fetches no file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow
import pyarrow.parquet
import pytest

from tests.servers import LoopbackServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
COMMITS = {"main": "a" * 40, "v1": "b" * 40}


def shard(word: str) -> bytes:
    """A parquet file of four rows."""
    held = io.BytesIO()
    rows = [{"question": f"{word}{number}?", "answer": str(number)} for number in range(4)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), held)
    return held.getvalue()


FILES = {
    "main": {"data/train-00000-of-00001.parquet": shard("train"), "data/test-00000-of-00001.parquet": shard("test")},
    "v1": {"data/train-00000-of-00001.parquet": shard("old")},
}


@dataclass
class Hub:
    """Serves ``owner/name`` as the hub does; keeps the names of the files that were read."""

    url: str = ""
    read: list[str] = field(default_factory=list)

    def reply(self, path: str, query: dict[str, list[str]], is_head: bool) -> tuple[int, dict[str, str], bytes]:
        revision = next((name for name, commit in COMMITS.items() if commit in path or f"/{name}" in path), "main")
        files = FILES[revision]
        if "/resolve/" in path:
            name = path.split("/resolve/")[1].partition("/")[2]
            if name not in files:
                return 404, {"X-Error-Code": "EntryNotFound"}, b""
            if not is_head:
                self.read.append(f"{revision}: {name}")
            etag = f'"{hashlib.sha256(files[name]).hexdigest()}"'
            return 200, {"ETag": etag, "X-Repo-Commit": COMMITS[revision]}, files[name]
        if "/tree/" in path:
            inside = path.split("/tree/")[1].partition("/")[2]
            listed: list[dict[str, Any]] = [
                {"type": "file", "path": name, "size": len(body), "oid": "x"}
                for name, body in files.items()
                if name.startswith(inside)
            ]
            if not inside and query.get("recursive") != ["true"]:
                listed = [{"type": "directory", "path": "data", "size": 0, "oid": "x"}]
            return 200, {"Content-Type": "application/json"}, json.dumps(listed).encode()
        if path.startswith("/api/datasets/owner/name"):
            siblings = [{"rfilename": name} for name in files]
            info = {"id": "owner/name", "sha": COMMITS[revision], "private": False, "tags": [], "siblings": siblings}
            return 200, {"Content-Type": "application/json"}, json.dumps(info).encode()
        return 404, {}, b""


@pytest.fixture
def hub() -> Iterator[Hub]:
    served = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            is_head = self.command == "HEAD"
            status, headers, body = served.reply(unquote(parts.path), parse_qs(parts.query), is_head)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if not is_head:
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = LoopbackServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


READ = """
import sys, prepare_hf_data
from auto_router.errors import run
def read():
    plan = prepare_hf_data.plan_run(prepare_hf_data.parse_arguments(["--dataset", "owner/name", *sys.argv[1:]]))
    print([question.prompt for question in plan.questions()])
sys.exit(run(read))
"""


def read_hub(hub: Hub, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Read the data set in a process of its own: the library takes the hub's address when it is imported."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", READ, *flags]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("flags", "word", "read"),
    [
        ([], "train", ["main: data/train-00000-of-00001.parquet"]),
        (["--split", "test"], "test", ["main: data/test-00000-of-00001.parquet"]),
        (["--revision", "v1"], "old", ["v1: data/train-00000-of-00001.parquet"]),
    ],
    ids=["train", "test", "revision"],
)
def test_only_the_wanted_files_are_fetched(hub: Hub, tmp_path: Path, flags: list[str], word: str, read: list[str]) -> None:
    done = read_hub(hub, tmp_path, *flags)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{[f'{word}{number}?' for number in range(4)]}\n", "")
    assert hub.read == read


def test_streaming_keeps_no_file(hub: Hub, tmp_path: Path) -> None:
    done = read_hub(hub, tmp_path, "--streaming")
    assert (done.returncode, done.stdout) == (0, f"{[f'train{number}?' for number in range(4)]}\n"), done.stderr
    assert set(hub.read) == {"main: data/train-00000-of-00001.parquet"}
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"PAR1" in file.read_bytes()]


def test_a_split_that_is_not_there_is_an_error_that_lists_them(hub: Hub, tmp_path: Path) -> None:
    done = read_hub(hub, tmp_path, "--split", "nope")
    assert done.returncode == 2
    assert "has no split 'nope'; it has train, test: choose with --split" in done.stderr
    assert hub.read == []
