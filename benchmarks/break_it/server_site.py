"""A server of the project in a process of its own, the models behind it, its encoder, and callers, all on loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from auto_router.data.pool import ModelFacts
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.factory import open_encoder
from break_it.hostile import Asked, HostileServer, completion, encode
from break_it.tally import Tally
from tests.checkout import ROOT
from tests.embeddings_peer import EmbeddingsServer
from tests.serve.made import MATH, NAMES, POEM, save_made
from tests.serve.processes import Running, running

SECRET = "zebra-swordfish-7391"
MODEL_KEY = "sk-of-the-models-4711"
PATIENCE_S = 45.0  # for one answer, on a machine that does much else
SUFFIXES = (".safetensors", ".pth")  # of an artifact
DOWN = (408, 429, 500, 502, 503, 504)  # what says that a model, not the request, is at fault; 408 is LiteLLM's for a silent one
Reply = tuple[int, bytes, dict[str, str]]


@dataclass(frozen=True)
class Kind:
    """How a server is started and asked."""

    name: str
    environment: str
    command: Sequence[str]
    chat: str
    metrics: str
    explain: str
    ready: str

    @property
    def is_gateway(self) -> bool:
        return self.environment == ".venv-litellm"

    @property
    def is_installed(self) -> bool:
        return (ROOT / self.environment / "bin" / "python").exists()


GATEWAY = Kind("gateway", ".venv-litellm", (".venv-litellm/bin/python", "-m", "auto_router.serve"), "/v1/chat/completions",
               "/auto_router/metrics", "/auto_router/explain/", "/health/liveliness")  # fmt: skip
KINDS = (
    GATEWAY,
    Kind("toolkit", ".venv-nat", ("scripts/run_local.sh",), "/sfc_router/chat/completions", "/metrics", "/route/explain/",
         "/health"),
)  # fmt: skip
WORKERS = replace(GATEWAY, name="gateway of two workers", command=(*GATEWAY.command, "--workers", "2"))


class Upstream:
    """The models: each answers ``NAME says hello`` at ``/NAME/v1``, as ``mode`` says.

    ``well``, ``slow`` (after ``delay_s``), ``hang``, ``dead`` (the connection is reset), ``flap`` (every other request fails),
    or ``echo`` (an error that repeats the key and the prompt).
    """

    def __init__(self) -> None:
        self.mode, self.delay_s, self.count = "well", 1.5, 0

    def __call__(self, asked: Asked) -> None:
        self.count += 1
        mode, name = self.mode, asked.path.split("/")[1]
        if mode == "slow":
            asked.wait(self.delay_s)
        if mode == "hang":
            asked.wait(PATIENCE_S)
        elif mode == "dead":
            asked.reset()
        elif mode == "echo":
            said = f"key {MODEL_KEY} may not ask {asked.body.decode(errors='replace')[:300]}"
            asked.reply(encode({"error": {"message": said, "code": MODEL_KEY}}), status="401 Unauthorized")
        elif mode == "flap" and self.count % 2:
            asked.reply(encode({"error": {"message": "down", "type": "server_error"}}), status="500 Down")
        else:
            asked.reply(encode(completion(f"{name} says hello")))


@dataclass
class Site:
    """A running server and all that it stands on."""

    kind: Kind
    server: Running
    upstream: Upstream
    encoder: EmbeddingsServer
    trap: HostileServer
    """At 127.0.0.2: nobody may ask it."""
    hop: HostileServer
    """At 127.0.0.1: redirects to the trap."""
    artifact: Path
    artifacts: list[Path] = field(default_factory=list)
    """Two whole ones, which prefer other models."""

    def ask(self, text: Any, seconds: float = PATIENCE_S, headers: dict[str, str] | None = None, **more: Any) -> Reply | None:
        """Ask a chat question; None where no answer came in time. Raises OSError where the connection broke."""
        body = {"model": "auto", "messages": [{"role": "user", "content": text}], **more}
        return self.send("POST", self.kind.chat, body, headers, seconds)

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, seconds: float = PATIENCE_S
    ) -> Reply | None:
        try:
            return self.server.ask(method, path, body, headers, seconds)
        except TimeoutError:
            return None
        except http.client.HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    def raw(self, data: bytes, seconds: float = PATIENCE_S) -> bytes | None:
        """Send bytes as they are; return all that comes back, None where the connection stays open in silence."""
        with socket.create_connection(("127.0.0.1", self.server.port), seconds) as connection:
            found = b""
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            try:
                while part := connection.recv(2**16):
                    found += part
                    if len(found) > 2**20 or b"\r\n\r\n" in found:
                        return found
            except ConnectionError:
                return found
            except TimeoutError:
                return found or None
            return found

    def put(self, number: int, damage: bytes | None = None) -> None:
        """Put one of the artifacts, or bytes that are none, in the place that is served."""
        for suffix in SUFFIXES:
            target, whole = self.artifact.with_suffix(suffix), self.artifacts[number].with_suffix(suffix)
            if damage is not None:
                target.write_bytes(damage)
            elif whole.exists():
                beside = target.with_name(target.name + ".new")
                shutil.copy(whole, beside)
                os.replace(beside, target)
            else:
                target.unlink(missing_ok=True)

    @property
    def is_alive(self) -> bool:
        return self.server.process.poll() is None

    def answered_by(self, reply: Reply) -> str:
        """Return the model that an answer names."""
        text = str(json.loads(reply[1])["choices"][0]["message"]["content"])
        return text.split()[0]


def note_reply(tally: Tally, site: Site, case: str, told: str, reply: Reply | None, *, down: bool = False) -> None:
    """Count an answer: right, an error in words, or what it must not be. ``down``: a model or the encoder is at fault now."""
    if reply is None:
        return tally.note(case, "hang" if site.is_alive else "crash", f"{told}: no answer")
    status, body, headers = reply
    text = body.decode("utf-8", "replace")
    detail = f"{told}: {status} {text[:300]}"
    if any(name.startswith("x-evil") for name in headers) or "Traceback" in text or MODEL_KEY in text + str(headers):
        return tally.note(case, "sent" if MODEL_KEY in text + str(headers) else "executed", detail)
    if status == 200:
        return tally.note(case, "right result")
    is_clear = len(text) < 10**6 and (300 <= status < 500 or (down and status in DOWN))
    return tally.note(case, "clear error" if is_clear else "crash", detail)


def note_honest(tally: Tally, site: Site, case: str) -> None:
    """After an attack, an honest question must be answered as ever."""
    for text in (MATH, POEM):
        try:
            reply = site.ask(f"{text} {SECRET}")
        except OSError as error:
            tally.note(case, "crash", f"an honest question afterwards: {error}")
            continue
        if reply is None or reply[0] != 200 or site.answered_by(reply) not in NAMES:
            tally.note(case, "hang" if reply is None else "lost", f"an honest question afterwards: {reply}")
        else:
            tally.note(case, "right result")


class Load:
    """Callers that ask all the time while the ``with`` block runs; ``seen`` counts the statuses."""

    def __init__(self, site: Site, connections: int) -> None:
        self.site, self.seen, self.details = site, Counter[str](), list[str]()
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,), daemon=True) for n in range(connections)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.over.set()
        until = time.monotonic() + 2 * PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.1, until - time.monotonic()))

    def _call(self, number: int) -> None:
        turn = 0
        while not self.over.is_set():
            turn += 1
            try:
                reply = self.site.ask(f"{(MATH, POEM)[turn % 2]} {SECRET} {number} {turn}")
            except OSError as error:
                self._count("broken", str(error))
                time.sleep(0.2)
                continue
            status = "silent" if reply is None else str(reply[0])
            self._count(status, "" if status == "200" or reply is None else reply[1].decode(errors="replace")[:200])

    def _count(self, status: str, detail: str) -> None:
        self.seen[status] += 1
        if detail and len(self.details) < 5:
            self.details.append(f"{status} {detail}")

    def note(self, tally: Tally, case: str, *, down: bool = False) -> None:
        """Count what came of all; ``down``: models or the encoder were at fault."""
        for status, count in self.seen.items():
            allowed = status.isdigit() and down and int(status) in DOWN
            outcome = {"200": "right result", "silent": "hang", "broken": "lost"}.get(
                status, "clear error" if allowed else "lost"
            )
            tally.note(case, outcome, f"{status}: {self.details}", count)


@contextlib.contextmanager
def running_site(kind: Kind, folder: Path) -> Iterator[Site]:
    """Start a server of a kind over scripted models and a scripted encoder; ``folder`` holds what it reads and writes."""
    import yaml

    upstream = Upstream()
    with (
        EmbeddingsServer() as encoder,
        HostileServer(upstream) as models,
        HostileServer(lambda asked: asked.reply(b"{}"), "127.0.0.2") as trap,
    ):
        address = f"http://127.0.0.2:{trap.port}/x.png"
        with HostileServer(lambda asked: asked.reply(b"", f"Location: {address}", status="302 Moved")) as hop:
            entries = [
                {"name": name, "base_url": f"{models.url}/{name}/v1", "api_key_env": "BREAK_IT_MODEL_KEY", "timeout_s": 3}
                for name in NAMES
            ]
            (folder / "pool.yaml").write_text(yaml.safe_dump({"models": entries}))
            config = yaml.safe_load((ROOT / "configs" / "config.yml").read_text())
            config["functions"]["nn_objective_fn"] |= {"timeout_s": 5.0, "image_hosts": ["127.0.0.1"]}
            (folder / "config.yml").write_text(yaml.safe_dump(config))
            made = list(_make_artifacts(folder, open_encoder("openai", url=encoder.url, model="bge-small")))
            environment = {
                "AUTO_ROUTER_PATH": str(folder / "nn_router.pth"), "AUTO_ROUTER_FEEDBACK_FILE": str(folder / "feedback.jsonl"),
                "BREAK_IT_MODEL_KEY": MODEL_KEY, "LITELLM_MASTER_KEY": "", "AUTO_ROUTER_VENV": kind.environment,
                "AUTO_ROUTER_ENCODER_URL": encoder.url, "PYTHONPATH": str(ROOT),
            }  # fmt: skip
            site = Site(kind, None, upstream, encoder, trap, hop, folder / "nn_router.pth", made)  # type: ignore[arg-type]
            site.put(0)
            given = ["--pool", folder / "pool.yaml"] if kind.is_gateway else [folder / "config.yml"]
            with running([*kind.command, *given], kind.ready, folder / f"{kind.name}.log", environment) as server:
                site.server = server
                yield site


def _make_artifacts(folder: Path, encoder: EmbeddingGenerator) -> Iterator[Path]:
    facts = {name: ModelFacts(modalities=("text", "image")) for name in NAMES}
    for place, names in enumerate((NAMES, (NAMES[1], NAMES[0], NAMES[2]))):
        (folder / f"made-{place}").mkdir()
        yield save_made(folder / f"made-{place}" / "nn_router.pth", names, encoder, facts)
