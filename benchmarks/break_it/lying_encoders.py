"""Stage 2 against a service of embeddings that lies: about width, count, order, model, numbers and form; and killed runs.

A lie is a clear error, or the numbers of an honest answer: never other numbers.
"""

from __future__ import annotations

import json
import math
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from auto_router.encode import retry
from auto_router.encode.factory import open_encoder
from auto_router.errors import RouterError
from break_it.commands import Command, run_command
from break_it.tally import Tally
from tests.embeddings_peer import EmbeddingsServer

Answer = dict[str, Any]
MODEL, RECORDS, CHUNK = "bge-small", 160, 16
LIMIT_S = 60.0
TEXTS = [f"text number {number}" for number in range(5)]


def _each(change: Callable[[Answer], None]) -> Callable[[Answer], Any]:
    """A lie about every item of an answer."""

    def lie(answer: Answer) -> Answer:
        for item in answer["data"]:
            change(item)
        return answer

    return lie


def _vector(value: Any) -> Callable[[Answer], Any]:
    return _each(lambda item: item.__setitem__("embedding", value))


def _put(place: int, value: float) -> Callable[[Answer], Any]:
    return _each(lambda item: item["embedding"].__setitem__(place, value))


LIES: dict[str, Callable[[Answer], Any]] = {
    "wider": _each(lambda item: item["embedding"].append(1.0)),
    "narrower": _each(lambda item: item["embedding"].pop()),
    "one wider": lambda answer: (answer["data"][-1]["embedding"].append(1.0), answer)[1],
    "no width": _vector([]),
    "one fewer": lambda answer: answer | {"data": answer["data"][:-1]},
    "one more": lambda answer: answer | {"data": [*answer["data"], answer["data"][0] | {"index": len(answer["data"])}]},
    "none": lambda answer: answer | {"data": []},
    "one twice": lambda answer: answer | {"data": [*answer["data"], answer["data"][0]]},
    "the other way round": lambda answer: answer | {"data": answer["data"][::-1]},
    "all of one index": _each(lambda item: item.__setitem__("index", 0)),
    "index below 0": _each(lambda item: item.update(index=item["index"] - 1)),
    "index far out": _each(lambda item: item.update(index=10**9)),
    "index 10^400": _each(lambda item: item.update(index=10**400)),
    "index a text": _each(lambda item: item.update(index=str(item["index"]))),
    "index NaN": _each(lambda item: item.update(index=math.nan)),
    "index true": _each(lambda item: item.update(index=True)),
    "no index": _each(lambda item: item.pop("index")),
    "NaN": _put(0, math.nan),
    "infinite": _put(1, math.inf),
    "beyond floats": _put(2, 1e300),
    "texts": _vector(["x"] * 48),
    "null": _vector(None),
    "nested": _vector([[1.0] * 48]),
    "a text": _vector("AAAA"),
    "bad base64": _vector("***"),
    "booleans": _vector([True] * 48),
    "whole numbers of 10^400": _vector([10**400] * 48),
    "objects": _vector([{}] * 48),
    "an object": lambda answer: answer | {"data": {"0": answer["data"][0]}},
    "no data": lambda answer: {"model": MODEL},
    "a list": lambda answer: [answer],
    "an error in 200": lambda answer: {"error": {"message": "no"}},
    "null alone": lambda answer: b"null",
    "cut": lambda answer: json.dumps(answer).encode()[:-40],
    "deep": lambda answer: b"[" * 10**5 + b"]" * 10**5,
    "not JSON": lambda answer: b"<html>",
    "empty": lambda answer: b"",
    "UTF-16": lambda answer: json.dumps(answer).encode("utf-16"),
    "items null": lambda answer: answer | {"data": [None] * len(answer["data"])},
    "a megabyte of numbers": _vector([0.5] * 150_000),
}


WIDTHS = ("wider", "narrower", "a megabyte of numbers")


class LyingServer(EmbeddingsServer):
    """Tells ``lie`` about each honest answer while it is set."""

    lie: Callable[[Answer], Any] | None = None

    def embeddings(self, body: Answer, headers: dict[str, str]) -> Any:
        honest = super().embeddings(body, headers)
        return honest if self.lie is None else self.lie(honest)


def attack_lies(tally: Tally) -> None:
    """Tell each lie at the first question, when the encoder is opened, and later.

    An encoder that has another width from the start tells no lie by it.
    """
    retry.ATTEMPTS = 1
    with LyingServer(base64=False) as server:
        honest = open_encoder("openai", url=server.url, model=MODEL).embed_batch(TEXTS)
        for name, lie in LIES.items():
            for moment in ("later",) if name in WIDTHS else ("first", "later"):
                case, start = f"encoders that lie, {moment}", time.monotonic()
                try:
                    server.lie = lie if moment == "first" else None
                    encoder = open_encoder("openai", url=server.url, model=MODEL)
                    server.lie = lie
                    found = encoder.embed_batch(TEXTS)
                    is_right = found.shape == honest.shape and np.allclose(found, honest, atol=1e-6)
                    outcome, detail = ("right result" if is_right else "lost"), f"shape {found.shape}"
                except RouterError as error:
                    outcome, detail = ("clear error" if len(str(error)) < 2000 else "crash"), str(error)
                except Exception as error:  # noqa: BLE001  whatever else comes is what is looked for
                    outcome, detail = "crash", f"{type(error).__name__}: {error}"
                tally.note(case, outcome if time.monotonic() - start < LIMIT_S else "hang", f"{name}: {detail}")


def attack_kills(tally: Tally, rng: random.Random, kills: int = 10) -> None:
    """kill -9 at random moments; what comes out at last is what a quiet run writes, to the byte."""
    case = "Stage 2 killed"
    with tempfile.TemporaryDirectory() as place, EmbeddingsServer(delay=0.02) as server:
        folder = Path(place)
        rows = [
            {"idx": n, "prompt": f"question {n}", "answer": "", "images": [], "model_scores": {"a": 1}} for n in range(RECORDS)
        ]
        for name in ("train", "test"):
            (folder / f"{name}.json").write_text(json.dumps([row | {"prompt": f"{row['prompt']} {name}"} for row in rows]))
        flags = [
            "--train-json",
            folder / "train.json",
            "--test-json",
            folder / "test.json",
            "--encoder",
            "openai",
            "--encoder-url",
            server.url,
        ]
        flags += ["--encoder-model", MODEL, "--chunk", CHUNK, "--output-dir"]
        quiet = run_command("generate_embeddings", [*flags, folder / "quiet"], LIMIT_S)
        tally.note(case, "right result" if quiet.code == 0 else "crash", quiet.output)
        asked = len(server.bodies)
        for _ in range(kills):
            command, before = Command("generate_embeddings", [*flags, folder / "killed"]), len(server.bodies)
            until = time.monotonic() + LIMIT_S
            enough = before + rng.randrange(max(1, 2 * asked // kills))
            while len(server.bodies) < enough and command.process.is_alive() and time.monotonic() < until:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.05))
            command.signal(signal.SIGKILL)
            ended = command.wait(LIMIT_S)
            tally.note(case, "right result" if ended.code in (0, -signal.SIGKILL) else "crash", ended.output)
        ended = run_command("generate_embeddings", [*flags, folder / "killed"], LIMIT_S)
        tally.note(case, ended.outcome, ended.output)
        for path in sorted((folder / "quiet").iterdir()):
            other = folder / "killed" / path.name
            is_same = other.exists() and other.read_bytes() == path.read_bytes()
            tally.note(
                case, "right result" if is_same else "lost", f"{path.name} is not the same, to the byte, as that of a quiet run"
            )
        tally.notes.append(f"{case}: {len(server.bodies) - asked} requests with {kills} kills, {asked} without")
