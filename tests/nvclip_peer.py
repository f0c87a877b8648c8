"""An NVCLIP service on loopback, written from its published contract, with vectors that can be computed by hand.

A text's vector holds its length at 0 and a 1 at 1; a picture's holds its width at 0 and a 1 at 2.
"""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from tests.servers import Peer, QuietHandler

_PICTURE = re.compile(r"data:image/(png|jpeg|jpg);base64,(.+)", re.DOTALL)
MODEL = "nvidia/nvclip-vit-h-14"


class Refused(Exception):
    """What the service answers with a status and a problem document."""


@dataclass
class NvclipServer(Peer):
    """``failures`` are statuses that the next requests get instead of an answer (0: the connection is closed)."""

    port: int = 0
    first_index: int = 0
    only_float: bool = False
    dim: int = 1024
    failures: list[int] = field(default_factory=list)
    delay: float = 0.0  # seconds; looked at again and again, so that a server that hangs can be healed
    seed: int = 0  # of another model: its vectors are turned
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def __enter__(self) -> NvclipServer:
        peer = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                peer.bodies.append(body)
                peer.keys.append(self.headers.get("Authorization", ""))
                status = peer.failures.pop(0) if peer.failures else 200
                until = time.monotonic()
                while time.monotonic() < until + peer.delay:
                    time.sleep(0.01)
                if status == 0:
                    self.close_connection = True
                    return
                try:
                    problem = (
                        {"detail": "Account has no credits"} if status == 402 else {"type": "about:blank", "status": status}
                    )
                    answer = peer.answer(body) if self.path == "/v1/embeddings" and status == 200 else problem
                except Refused as error:
                    status, answer = 422, {"type": "about:blank", "title": "Unprocessable", "detail": str(error), "status": 422}
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json" if status == 200 else "application/problem+json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.listen(Handler, self.port)
        return self

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request as the contract has it; Refused where the request breaks it."""
        if set(body) - {"input", "model", "encoding_format"}:
            raise Refused(f"extra fields are not permitted: {sorted(body)}")
        items = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if not 1 <= len(items) <= 64:
            raise Refused(f"input must hold 1 to 64 items, got {len(items)}")
        if body["model"] != MODEL:
            raise Refused(f"model {body['model']} is not served here")
        if not all(isinstance(item, str) and item for item in items):
            raise Refused("input items must be non-empty strings")
        form = "float" if self.only_float else body.get("encoding_format", "float")
        data = [
            {"object": "embedding", "index": i + self.first_index, "embedding": self._embedding(item, form)}
            for i, item in enumerate(items)
        ]
        return {
            "object": "list",
            "data": data,
            "model": MODEL,
            "usage": {"num_images": 0, "prompt_tokens": 0, "total_tokens": 0},
        }

    def _embedding(self, item: str, form: str) -> str | list[float]:
        vector = np.zeros(self.dim, dtype="<f4")
        picture = _PICTURE.fullmatch(item)
        if picture:
            if len(item) > 200_000:
                raise Refused("picture is too large to be sent inline")
            vector[[0, 2]] = Image.open(io.BytesIO(base64.b64decode(picture[2]))).width, 1
        else:
            vector[[0, 1]] = len(item), 1
        vector = np.roll(vector, self.seed)
        return base64.b64encode(vector.tobytes()).decode() if form == "base64" else [float(value) for value in vector]


if __name__ == "__main__":
    with NvclipServer(int(sys.argv[1])):
        print("ready", flush=True)
        threading.Event().wait()
