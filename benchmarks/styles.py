"""Does style change labels? Models that are right on every row and differ only in wording, through Stage 1's own command.

    python benchmarks/styles.py [--data DIR] [--rows N] [--check] [--json FILE]

Each model of a loopback endpoint knows the reference of every row of ``stage1_inputs`` (840, 300 with images) and says it in
its own way: terse, with an explanation after it, after reasoning in ``<think>``, after reasoning of which only the closing tag
is there, and as parts with the reasoning beside the text. The judge compares meanings: it accepts what holds the reference.

Target, which --check holds: the success rates lie within 0.5 points of each other, undecided answers counted apart, and no
right answer is labelled 0.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import prepare_hf_data
from auto_router.data.records import load_records

MAX_SPREAD = 0.005
STYLES = {
    "terse": "The answer is {}.",
    "explains": "{}\n\nThis follows from step 2, since 1 of the 4 conditions is not met.",
    "thinks": "<think>Could it be A, or 17? No. Not false either.</think> {}",
    "orphan": "So it might be (B)? No.\n</think>\n\n{}",
    "parts": "{}",
}


def say(style: str, reference: str) -> Any:
    """Return the content of a right answer in a style."""
    text = STYLES[style].format(reference)
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "It is 12, or no."}]}
    return [thought, {"type": "text", "text": text}] if style == "parts" else text


def serve(references: dict[tuple[str, ...], str]) -> ThreadingHTTPServer:
    """Serve all styles and the judge on loopback; ``references`` by prompt and images (base64)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = body["messages"][-1]["content"]
            text = content if isinstance(content, str) else content[0]["text"]
            if body["model"] == "judge":
                document = json.loads(text)
                said: Any = json.dumps({"id": document["id"], "correct": document["reference"] in document["answer"]})
            else:
                images = [] if isinstance(content, str) else [part["image_url"]["url"].split(",")[1] for part in content[1:]]
                said = say(body["model"], references[text, *images])
            choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            data = json.dumps({"choices": [choice], "usage": usage}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def measure(rows: list[dict[str, Any]], folder: Path) -> dict[str, dict[str, float]]:
    """Run Stage 1 and return, for each style, its success rate, labels 0 and answers without a label."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    server = serve({(row["prompt"], *row["images"]): row["answer"] for row in rows})
    entry = {"base_url": f"http://127.0.0.1:{server.server_address[1]}/v1", "modalities": ["text", "image"]}
    pool = {"models": [{"name": style} | entry for style in STYLES], "judge": {"name": "judge"} | entry}
    (folder / "pool.yaml").write_text(json.dumps(pool), encoding="utf-8")
    files = ["--dataset", str(folder / "rows.jsonl"), "--pool", str(folder / "pool.yaml"), "--output-dir", str(folder / "out")]
    prepare_hf_data.main([*files, "--skip-preflight"])
    server.shutdown()
    records = [r for part in ("train", "test") for r in load_records(folder / "out" / f"hf_evaluations_{part}.json")]
    found = {}
    for style in STYLES:
        labels = [record.model_scores[style] for record in records]
        known = [label for label in labels if label is not None]
        found[style] = {"rate": sum(known) / max(len(known), 1), "zeros": known.count(0), "undecided": len(labels) - len(known)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rows", type=int, help="take only the first N (default: all)")
    parser.add_argument("--check", action="store_true", help="exit 1 where the target is missed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with gzip.open(arguments.data / "stage1_inputs" / "data.json.gz", "rt", encoding="utf-8") as file:
        rows = json.load(file)[: arguments.rows]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(rows, Path(folder))
    rates = [figures["rate"] for figures in found.values()]
    spread = max(rates) - min(rates)
    print(f"{len(rows)} rows; spread of the success rates {spread:.2%}")
    for style, figures in found.items():
        print(f"  {style:9} {figures['rate']:.2%} right, {figures['zeros']} labelled 0, {figures['undecided']} undecided")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": len(rows), "spread": spread, "styles": found}, indent=1))
    if arguments.check and (spread > MAX_SPREAD or any(figures["zeros"] for figures in found.values())):
        sys.exit(
            f"missed: the success rates differ by {spread:.2%}, at most {MAX_SPREAD:.1%} is allowed, and no label may be 0"
        )


if __name__ == "__main__":
    main()
