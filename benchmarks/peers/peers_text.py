"""peers.py's last table: from a prompt to a route, each router in its own environment and process."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recorded import ROOT
from tabulate import tabulate

from auto_router.data.records import Record

UTTERANCES, PROMPTS = 100, 200
CUT, LONG = 100, 600  # characters: what a short prompt is cut to, and from how many on a prompt is long
ROUNDS = 2  # the least of each time counts: the first of all processes reads its packages from the disk
KINDS = ("auto-router", "semantic-router", "tryaii")


def routes(records: Sequence[Record]) -> dict[str, list[str]]:
    """Return, for each model, prompts that it alone, or it first of all, is right on."""
    found: dict[str, list[str]] = {}
    for record in records:
        best = max(record.model_scores, key=lambda name: record.model_scores[name] or 0.0)
        if record.model_scores[best] and len(found.setdefault(best, [])) < UTTERANCES:
            found[best].append(record.prompt)
    return found


def from_prompts(
    peers: Mapping[str, Mapping[str, Any]], environments: Path, folder: Path, records: Sequence[Record], artifact: Path
) -> dict[str, dict[str, float]]:
    """Run every router on the same prompts without images, ``ROUNDS`` times in turns; print and return its least times."""
    texts = [record for record in records if not record.images]
    asked = [record.prompt for record in texts[-PROMPTS:]]
    long = [record.prompt for record in texts if len(record.prompt) >= LONG][:PROMPTS]
    (folder / "prompts.json").write_text(json.dumps({"short": [prompt[:CUT] for prompt in asked], "long": long}))
    (folder / "routes.json").write_text(json.dumps(routes(texts[:-PROMPTS])))
    shutil.copyfile(artifact, folder / "nn_router.pth")
    found: dict[str, dict[str, float]] = {}
    for kind in [kind for _ in range(ROUNDS) for kind in KINDS]:
        if "error" in peers[kind]:
            continue
        command = [
            str(environments / kind / "bin" / "python"),
            str(ROOT / "benchmarks" / "peers" / "peer_text.py"),
            kind,
            str(folder),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, cwd=folder)
        if done.returncode:
            print(f"{kind} does not run: {(done.stderr.strip().splitlines() or ['?'])[-1][:300]}")
            continue
        its = json.loads((folder / f"{kind}.json").read_text())
        times = {"first route s": its["first_route_s"], "short ms": its["short_ms"], "long ms": its["long_ms"]}
        found[kind] = {key: min(value, found.get(kind, times)[key]) for key, value in times.items()}
    keys = ["first route s", "short ms", "long ms"]
    print(
        f"\nfrom a prompt to a route: {PROMPTS} prompts of combined5 without images, cut to {CUT} characters, "
        f"and {len(long)} of {LONG} or more"
    )
    print(tabulate([[name, *(figures[key] for key in keys)] for name, figures in found.items()], ["", *keys], floatfmt=".2f"))
    return found
