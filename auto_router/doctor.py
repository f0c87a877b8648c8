"""Is everything there that routing and labelling need? ``auto-router doctor``.

Looks, and changes nothing, and shows no key. With ``--endpoints`` it also knocks: it connects to each host of the pool and
sends nothing, neither key nor question (``prepare_hf_data.py --dry-run`` asks a small one).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tabulate import tabulate

from auto_router.artifacts import load_artifact
from auto_router.data.pool import Pool, load_pool
from auto_router.decide.policy import DEFAULT_PATH
from auto_router.encode.local import cache_folder
from auto_router.errors import RouterError, advise_install, run
from auto_router.route.router import ModelRouter
from auto_router.terminal import Parser, add_flags, capture_output

OK, MISSING, WRONG = "ok", "missing", "wrong"
PACKAGES = {  # what tells whether an extra is installed, what needs it, and the command where the extra alone will not do
    "collect": ("datasets", "to ask models", ""),
    "train": ("sklearn", "to train", ""),
    "images": ("onnx", "to make the image encoder, once", ""),
    "redact": ("datafog", "to take secrets out of logs", ""),
    "clip-server": ("clip_client", "for a clip-server", ""),
    "litellm": ("litellm", "to serve, in an environment of its own", "make setup-litellm"),
    "nat": ("nat", "for NeMo Agent Toolkit, in an environment of its own", "make setup-nat"),
}
MIN_FREE_GB = 2.0
CONNECT_SECONDS = 5.0

EXAMPLES = """examples:
  auto-router doctor
  auto-router doctor --pool my_pool.yaml --router router_artifacts/nn_router.pth
  auto-router doctor --pool my_pool.yaml --endpoints
  auto-router doctor --json | jq '.checks[] | select(.state != "ok")'"""


class Check(NamedTuple):
    """One thing that was looked at. ``WRONG`` stops you, ``MISSING`` only where you need it."""

    what: str
    state: str
    found: str
    advice: str = ""


def check_machine() -> Iterator[Check]:
    """Look at Python, disk and the extras that are installed."""
    version = ".".join(map(str, sys.version_info[:3]))
    tried = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Check("Python", OK if tried else MISSING, version, "" if tried else "tried on 3.11 to 3.13")
    free = shutil.disk_usage(Path()).free / 1e9
    enough = free >= MIN_FREE_GB
    yield Check("disk", OK if enough else WRONG, f"{free:.1f} GB free here", "" if enough else "make room")
    cache = next(folder for folder in (cache_folder(), *cache_folder().parents) if folder.exists())
    writable = os.access(cache, os.W_OK)
    advice = "" if writable else "name a folder that can be written in AUTO_ROUTER_CACHE"
    yield Check("cache folder", OK if writable else WRONG, str(cache_folder()), advice)
    for extra, (package, purpose, command) in PACKAGES.items():
        there = importlib.util.find_spec(package) is not None
        advice = "" if there else f"{purpose}: {command or advise_install(extra)}"
        yield Check(f"extra {extra}", OK if there else MISSING, package, advice)


def check_pool(path: Path, endpoints: bool = False) -> Iterator[Check]:
    """Look at the pool, and whether the variables of its keys are set; with ``endpoints``, whether its hosts can be reached."""
    if not path.exists():
        yield Check("pool", MISSING, str(path), "Stage 1 and the server need one: auto-router init writes it")
        return
    try:
        pool: Pool = load_pool(path)
    except RouterError as error:
        yield Check("pool", WRONG, str(path), str(error))
        return
    judge = f"judge {pool.judge.name}" if pool.judge is not None else "no judge"
    yield Check("pool", OK, f"{path}: {len(pool.models)} models, {judge}")
    every = [*pool.models, *(model for model in (pool.judge, pool.second_judge) if model is not None)]
    for name in dict.fromkeys(model.api_key_env for model in every if model.api_key_env):
        there = bool(os.environ.get(name))
        users = ", ".join(dict.fromkeys(model.name for model in every if model.api_key_env == name))
        yield Check(f"key {name}", OK if there else MISSING, users, "" if there else f"export {name}=…")
    unpriced = [model.name for model in pool.models if model.facts.price(1, 1) is None]
    if unpriced:
        yield Check("prices", MISSING, ", ".join(unpriced), "without prices a router cannot save money on these")
    if endpoints:
        yield from map(check_endpoint, dict.fromkeys(model.base_url for model in every))


def compare_pool(pool_path: Path, router_path: Path) -> Iterator[Check]:
    """Look whether pool and artifact know the same models, where both can be read."""
    try:
        pool, known = load_pool(pool_path), load_artifact(router_path).model_names
    except RouterError:
        return  # said already
    names = [model.name for model in pool.models]
    if not set(names) & set(known):
        yield Check("pool and artifact", MISSING, "no model in common", "to serve: give the --pool that it was trained with")


def check_endpoint(url: str) -> Check:
    """Connect to an endpoint's host and hang up: nothing is sent."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    where = f"{parts.hostname}:{port}"
    try:
        with socket.create_connection((parts.hostname, port), timeout=CONNECT_SECONDS):
            return Check("endpoint", OK, where)
    except OSError as error:
        reason = error.strerror or str(error)
        return Check("endpoint", WRONG, f"{where}: {reason}", "start the server, or mend base_url in the pool")


def check_router(path: Path) -> Iterator[Check]:
    """Open the artifact and its encoder, and decide one prompt."""
    if not path.exists():
        yield Check("artifact", MISSING, str(path), "train one: make demo, or nn_router.py on your own labels")
        return
    try:
        artifact = load_artifact(path)
        yield Check("artifact", OK, f"{path}: {', '.join(artifact.model_names)}")
        start = time.perf_counter()
        with ModelRouter(path) as router:
            yield Check("encoder", OK, f"{router.encoder.spec.get('backend')}, open in {time.perf_counter() - start:.1f} s")
            start = time.perf_counter()
            decision = router.decide("What is the capital of Portugal?")
            milliseconds = 1e3 * (time.perf_counter() - start)
            yield Check("decision", OK, f"{decision.model} ({decision.reason}), {milliseconds:.0f} ms for the first")
    except RouterError as error:
        yield Check("router", WRONG, str(path), str(error))


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table of checks; exit code 1 where something is wrong."""
    parser = Parser(
        description="Look at environment, keys, artifact and encoder, and say what to do. Asks no model.", epilog=EXAMPLES
    )
    parser.add_argument("--pool", type=Path, default=Path("pool.yaml"), help="the pool to look at (pool.yaml)")
    parser.add_argument("--router", type=Path, default=Path(DEFAULT_PATH), help=f"the artifact to open ({DEFAULT_PATH})")
    parser.add_argument("--endpoints", action="store_true", help="connect to each host of the pool, and send nothing")
    add_flags(parser)
    arguments = parser.parse_args(argv)
    with capture_output(arguments) as result:
        checks = [*check_machine(), *check_pool(arguments.pool, arguments.endpoints), *check_router(arguments.router)]
        checks += compare_pool(arguments.pool, arguments.router)
        print(tabulate(checks, headers=["check", "state", "found", "what to do"], maxcolwidths=[None, None, 50, 60]))
        wrong = [check.what for check in checks if check.state == WRONG]
        print(
            f"\n{'wrong: ' + ', '.join(wrong) if wrong else 'nothing is wrong; what is missing matters only where you need it'}"
        )
        result |= {"checks": [check._asdict() for check in checks]}
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(run(main))
