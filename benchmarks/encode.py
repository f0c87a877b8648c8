"""Is Stage 2 as fast as its encoder? The embedded encoder through Stage 2, end to end, beside the bare onnxruntime calls.

    python benchmarks/encode.py [--texts 5000] [--pictures 2000] [--json FILE] [--check]

*Bare* is what a plain loop over the same length-sorted batches costs: tokenise or decode, run the session, average; the same
session serves both sides, and sides take turns, part by part. *Session* is the part of it inside ``session.run``. *Stage 2*
reads, validates and journals a JSON file and writes the ``.npy``. The items of a turn are distinct; duplicates are apart.

Targets: Stage 2 reaches 0.9 of bare for texts and for pictures; a single prompt costs at most 0.3 ms (median) more than the
bare call; the encoder is loaded in 1.5 s, and encodes without importing torch.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from auto_router.data.images import image_bytes
from auto_router.data.records import load_records
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.local import LocalEncoder
from auto_router.encode.pipeline import begin, fill, survey_records
from auto_router.errors import run
from auto_router.files import write_json

SETS = ("combined5", "llmrouter14", "replay7", "stage1_inputs")
PART = 500  # items in a turn
LEAST_SHARE, MOST_OVERHEAD_MS, MOST_LOAD_S = 0.9, 0.3, 1.5

LOAD = """
import sys, time
start = time.perf_counter()
from auto_router.encode.factory import open_encoder
open_encoder("local").embed("a prompt", [sys.stdin.buffer.read()])
print(time.perf_counter() - start, "torch" in sys.modules)
"""


class Timed(LocalEncoder):
    """The local encoder, with the seconds spent inside ``session.run`` counted."""

    inside = 0.0

    def __init__(self) -> None:
        super().__init__()
        for session in (self._text_session, self._image_session):
            session.run = self._counted(session.run)

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.inside += time.perf_counter() - start

        return timed


def items(folder: Path, texts: int, pictures: int) -> tuple[list[str], list[str]]:
    """Return distinct prompts that fit one window, and distinct pictures (base64), of the recorded sets."""
    encoder = LocalEncoder()
    records = [record for name in SETS for record in load_records(folder / name / "data.json.gz")]
    prompts = (prompt for prompt in dict.fromkeys(record.prompt for record in records) if encoder.windows(prompt) == [prompt])
    found = dict.fromkeys(chain.from_iterable(record.images for record in records))
    # The sets hold fewer pictures than asked for; those of one turn differ all the same.
    return [prompt for _, prompt in zip(range(texts), prompts, strict=False)], list(islice(cycle(found), pictures))


def bare(encode: Callable[[list[Any]], Any], values: list[Any], size: int) -> float:
    """Return the seconds of a plain loop over length-sorted batches."""
    start = time.perf_counter()
    ordered = sorted(values, key=len)
    for first in range(0, len(ordered), size):
        encode(ordered[first : first + size])
    return time.perf_counter() - start


def stage2(generator: EmbeddingGenerator, rows: list[dict[str, Any]]) -> float:
    """Return the seconds from a JSON file to a finished ``.npy``."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "records.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
        start = time.perf_counter()
        source = survey_records(path)
        file = begin(generator, source, path.with_name("rows.npy"))
        fill(generator, source, file)
        file.move_into_place()
        return time.perf_counter() - start


def throughput(encoder: Timed, kind: str, values: list[str]) -> dict[str, float]:
    """Return items a second of both sides and the median, over turns, of Stage 2's share of bare."""
    generator, shares, seconds = EmbeddingGenerator(encoder), [], {"bare": 0.0, "session": 0.0, "stage 2": 0.0}
    encode: Callable[[list[Any]], Any] = encoder.embed_texts if kind == "texts" else encoder.embed_images
    for turn, first in enumerate(range(0, len(values), PART)):
        part = values[first : first + PART]
        plain = part if kind == "texts" else [image_bytes(value) for value in part]
        rows = [{"prompt": v, "images": []} if kind == "texts" else {"prompt": "x", "images": [v]} for v in part]

        def bare_turn(plain: Any = plain) -> float:
            encoder.inside = 0.0
            found = bare(encode, plain, encoder.batch_size)
            seconds["session"] += encoder.inside
            return found

        if turn % 2:
            theirs, ours = bare_turn(), stage2(generator, rows)
        else:
            ours, theirs = stage2(generator, rows), bare_turn()
        seconds["bare"] += theirs
        seconds["stage 2"] += ours
        shares.append(theirs / ours)
    rates = {side: len(values) / taken for side, taken in seconds.items()}
    return rates | {"share of bare": float(np.median(shares)), "share of session": rates["stage 2"] / rates["session"]}


def overhead_ms(encoder: LocalEncoder, prompts: list[str]) -> dict[str, float]:
    """Return the median milliseconds of the bare call for one prompt, of the generator around it, and of the difference.

    Both are of one and the same call, so that other work on the machine does not count as a difference. Tokens are made
    once, before, and count on both sides: which of the two makes them depends on the prompt's length.
    """
    encoder._remembered.cache_clear()
    tokenising: list[float] = []
    for prompt in prompts:
        start = time.perf_counter()
        encoder._ids(prompt)
        tokenising.append(time.perf_counter() - start)
    generator, inside, whole = EmbeddingGenerator(encoder), [], []
    call = encoder.embed_texts

    def bare_call(texts: list[str]) -> Any:
        start = time.perf_counter()
        rows = call(texts)
        inside.append(time.perf_counter() - start)
        return rows

    encoder.embed_texts = bare_call  # type: ignore[method-assign]
    for prompt in prompts:
        start = time.perf_counter()
        generator.embed(prompt)
        whole.append(time.perf_counter() - start)
    encoder.embed_texts = call  # type: ignore[method-assign]
    inside, whole = ([a + b for a, b in zip(side, tokenising, strict=True)] for side in (inside, whole))
    difference = np.array(whole) - np.array(inside)
    parts = (("bare", inside), ("generator", whole), ("overhead", difference))
    return {name: 1000 * float(np.median(x)) for name, x in parts}


def load(picture: bytes) -> dict[str, Any]:
    """Return how long the encoder takes in a fresh process until its first row, and whether torch was imported."""
    found = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", LOAD], input=picture, capture_output=True, check=True, cwd=ROOT)
        found.append(done.stdout.split())
    return {"seconds": float(np.median([float(line[0]) for line in found])), "torch": found[0][1] == b"True"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare Stage 2 with the bare calls of its encoder.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--texts", type=int, default=5000)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target falls short")
    arguments = parser.parse_args(argv)
    texts, pictures = items(arguments.data, arguments.texts, arguments.pictures)
    encoder = Timed()
    encoder.embed_texts(texts[:32])
    encoder.embed_images([image_bytes(picture) for picture in pictures[:32]])
    found: dict[str, Any] = {"load": load(base64.b64decode(pictures[0].rpartition(",")[2]))}
    found["single prompt, ms"] = overhead_ms(encoder, texts[:: max(len(texts) // 300, 1)])
    found["texts"], found["pictures"] = throughput(encoder, "texts", texts), throughput(encoder, "pictures", pictures)
    repeated = [{"prompt": text, "images": []} for text in texts[:200]] * 20
    found["repeated texts"] = {"distinct": 200, "records/s": len(repeated) / stage2(EmbeddingGenerator(encoder), repeated)}
    table = [[f"{name} ({len(v)})", *found[name].values()] for name, v in (("texts", texts), ("pictures", pictures))]
    print(tabulate(table, headers=["items/s", *found["texts"]], floatfmt=".2f"))
    print(f"one prompt: {', '.join(f'{name} {ms:.2f} ms' for name, ms in found['single prompt, ms'].items())}")
    print(f"load and first row: {found['load']['seconds']:.2f} s; torch imported: {found['load']['torch']}")
    print(f"20 x 200 distinct prompts: {found['repeated texts']['records/s']:.0f} records/s")
    targets = {
        f"texts: Stage 2 reaches {LEAST_SHARE} of bare": found["texts"]["share of bare"] >= LEAST_SHARE,
        f"pictures: Stage 2 reaches {LEAST_SHARE} of bare": found["pictures"]["share of bare"] >= LEAST_SHARE,
        f"one prompt: at most {MOST_OVERHEAD_MS} ms over bare": found["single prompt, ms"]["overhead"] <= MOST_OVERHEAD_MS,
        f"load: at most {MOST_LOAD_S} s": found["load"]["seconds"] <= MOST_LOAD_S,
        "encoding imports no torch": not found["load"]["torch"],
    }
    for name, held in targets.items():
        print(f"{'holds' if held else 'SHORT'}: {name}")
    if arguments.json:
        write_json(arguments.json, found | {"targets": targets})
    if arguments.check and not all(targets.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(run(main))
