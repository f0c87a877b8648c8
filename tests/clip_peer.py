"""A clip-server peer on loopback: jina's own gRPC server, with vectors that can be computed by hand.

    python tests/clip_peer.py PORT [DIM]

A text's vector holds its length at 0 and a 1 at 1; a picture's holds its width at 0 and a 1 at 2. Anything that does not
arrive as a typed text or blob fails the request, and so does an undecodable picture, as in the real server. A text that
says ``sleep N seconds`` is answered so much later.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time

os.environ["JINA_OPTOUT_TELEMETRY"] = os.environ["NO_VERSION_CHECK"] = "1"

import numpy as np
from docarray import DocumentArray
from jina import Executor, Flow, requests
from PIL import Image

DIM = int(sys.argv[2]) if len(sys.argv) > 2 else 512


class ClipPeer(Executor):  # type: ignore[misc]
    @requests  # type: ignore[untyped-decorator]
    def encode(self, docs: DocumentArray, **_: object) -> None:
        for document in docs:
            vector = np.zeros(DIM, dtype=np.float32)
            if document.blob:
                vector[[0, 2]] = Image.open(io.BytesIO(document.blob)).width, 1
            elif document.text and not document.uri:
                if pause := re.search(r"sleep (\d+) seconds", document.text):
                    time.sleep(int(pause[1]))
                vector[[0, 1]] = len(document.text), 1
            else:
                raise ValueError(f"neither a text nor a blob: {document.to_dict()}")
            document.embedding = vector


if __name__ == "__main__":
    with Flow(port=int(sys.argv[1]), host="127.0.0.1", protocol="grpc").add(uses=ClipPeer) as flow:
        print("ready", flush=True)
        flow.block()
