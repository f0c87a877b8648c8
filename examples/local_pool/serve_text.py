"""Serve one GGUF model on 127.0.0.1 as an OpenAI-compatible endpoint, until Ctrl-C or SIGTERM.

    python -m pip install xllamacpp
    python examples/local_pool/serve_text.py --model weights/smollm2-135m.gguf --name smollm2-135m --port 8401

The endpoint is then http://127.0.0.1:8401/v1 (chat/completions, models), beside it http://127.0.0.1:8401/health.
It asks for no key and listens on the loopback only. Start one process per model.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

HOST = "127.0.0.1"
GGUF_MAGIC = b"GGUF"


class ServeError(Exception):
    """The server cannot start; the message says what to do about it."""


def check_model(path: Path, sha256: str | None) -> None:
    """Raise ServeError unless ``path`` is a GGUF file and, when ``sha256`` is given, the one meant by it."""
    if not path.is_file():
        raise ServeError(f"no model file at {path}; fetch_weights.py beside this script gets the quickstart's three")
    with path.open("rb") as stream:
        magic = stream.read(len(GGUF_MAGIC))
        if magic != GGUF_MAGIC:
            raise ServeError(f"{path} is not a GGUF file: it begins with {magic!r}")
        stream.seek(0)
        found = hashlib.file_digest(stream, "sha256").hexdigest() if sha256 else None
    if sha256 and found != sha256.lower():
        raise ServeError(f"{path}: SHA-256 is {found}, expected {sha256.lower()}; fetch the file again")


def check_port(port: int) -> None:
    """Raise ServeError when something listens on ``port`` already."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the service does: a port that is only waiting out its last connections (TIME_WAIT) is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServeError(f"cannot listen on {HOST}:{port} ({error.strerror}); choose another --port") from error


def load_engine() -> Any:
    """Import xllamacpp, which is needed only here; ServeError says how to install it."""
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        raise ServeError(f"xllamacpp cannot be imported ({error}); run: python -m pip install xllamacpp") from error


def start_server(args: argparse.Namespace) -> Any:
    """Load the model and open the port; the returned object serves for as long as it is referenced."""
    service = load_engine()
    params = service.CommonParams()
    params.model.path = str(args.model)
    params.model_alias = {args.name}
    params.hostnames = [HOST]
    params.port = args.port
    # The service shares its context out among the slots; --ctx is what each request gets.
    params.n_ctx = args.ctx * args.parallel
    params.n_parallel = args.parallel
    params.offline = True
    params.ui = False
    if args.threads:
        params.cpuparams.n_threads = args.threads
        params.cpuparams_batch.n_threads = args.threads
    try:
        return service.Server(params)
    except Exception as error:  # the service's own exception types are not public
        raise ServeError(f"the service could not serve {args.model}: {error}") from error


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""

    def positive(text: str) -> int:
        value = int(text)
        if value < 1:
            raise argparse.ArgumentTypeError(f"{value} is not a positive number")
        return value

    parser = argparse.ArgumentParser(description="Serve one GGUF model as an OpenAI-compatible endpoint on 127.0.0.1.")
    parser.add_argument("--model", type=Path, required=True, help="the .gguf file")
    parser.add_argument("--name", required=True, help="model id that requests use")
    parser.add_argument("--port", type=positive, required=True)
    parser.add_argument("--sha256", help="refuse to load a file with another SHA-256")
    parser.add_argument("--ctx", type=positive, default=2048, help="context of one request, in tokens (default 2048)")
    parser.add_argument("--threads", type=positive, help="CPU threads (default: the service's choice)")
    parser.add_argument("--parallel", type=positive, default=1, help="requests answered at once (default 1)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal comes; the exit code is 1 when the server could not start."""
    args = parse_args(argv)
    stopped = threading.Event()

    def stop(_signum: int, _frame: FrameType | None) -> None:
        stopped.set()

    try:
        check_model(args.model, args.sha256)
        check_port(args.port)
        server = start_server(args)
    except ServeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    # After the model is loaded: until then the default handlers can still end a slow start.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    print(f"{args.name}: http://{HOST}:{args.port}/v1", flush=True)
    stopped.wait()
    del server
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
