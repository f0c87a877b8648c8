"""100,000 tiny prompts through Stage 1 against an endpoint of loopback: how fast, and in how much memory.

    python benchmarks/tiny_prompts.py [--prompts 100000] [--models 1]

A run of its own, not a part of the campaign: it takes minutes. Prints the seconds, those on a core, the peak of the memory, the
size of the journal, how long the same command takes when nothing is left to ask, and whether every label is there.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "benchmarks")]

import yaml
from break_it.hostile import completion, encode

from tests.servers import LoopbackServer

BODY = encode(completion("forty-two"))


class Handler(BaseHTTPRequestHandler):
    """Answers the same to everything, as fast as it can."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: object) -> None:
        pass


def run_stage(folder: Path) -> tuple[float, float, int]:
    """Run Stage 1 in a process of its own; return its seconds, those on a core, and the peak of its memory in bytes."""
    flags = [
        "--dataset",
        "rows.jsonl",
        "--pool",
        "pool.yaml",
        "--output-dir",
        "out",
        "--match-only",
        "--skip-preflight",
        "--quiet",
    ]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, str(ROOT / "prepare_hf_data.py"), *flags], cwd=folder, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    core = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - start, core, used.ru_maxrss * 1024


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=100_000, help="(%(default)s)")
    parser.add_argument("--models", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--concurrency", type=int, default=64, help="(%(default)s)")
    arguments = parser.parse_args(argv)
    server = LoopbackServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = ({"prompt": f"q{n}", "answer": "forty-two"} for n in range(arguments.prompts))
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        entry = {"base_url": address, "concurrency": arguments.concurrency, "timeout_s": 60}
        models = [{"name": f"m{n}", **entry} for n in range(arguments.models)]
        (folder / "pool.yaml").write_text(yaml.safe_dump({"models": models}))
        seconds, core, memory = run_stage(folder)
        count = arguments.prompts * arguments.models
        print(f"{count} questions in {seconds:.0f} s, {core:.0f} s of them on a core, peak {memory / 2**20:.0f} MB")
        print(f"journal: {(folder / 'out' / 'hf_journal.sqlite').stat().st_size / 2**20:.0f} MB")
        again, core, _ = run_stage(folder)
        print(f"the same command again: {again:.0f} s, {core:.0f} s on a core")
        files = sorted((folder / "out").glob("hf_evaluations_*.json"))
        labels = [score for file in files for row in json.loads(file.read_text()) for score in row["model_scores"].values()]
        print(f"labels: {len(labels)}, of them right {labels.count(1)}")
    server.shutdown()
    return 0 if labels.count(1) == count else 1


if __name__ == "__main__":
    sys.exit(main())
