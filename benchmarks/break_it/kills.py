"""Stage 1, killed at random moments: what was committed is never asked again, and the labels are those of a quiet run.

After SIGTERM and SIGINT nothing that was answered may be asked again; after kill -9 no more than what was in flight.
"""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

from auto_router.errors import ENDS
from break_it.commands import Command, Ended, run_command
from break_it.endpoints import write_inputs
from break_it.hostile import Asked, HostileServer, completion, encode
from break_it.tally import Tally

QUESTIONS, CONCURRENCY, LATENCY_S = 60, 4, 0.03
SIGNALS = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
MODES: dict[str, tuple[str, ...]] = {
    "direct": ("--match-only",),
    "judged": (),
    "samples": ("--match-only", "--samples", "3"),
    "scorer": ("--scorer", "json-schema"),
}
FLIGHT = 2 * 2 * CONCURRENCY  # requests of two models, and of a judge, that one kill may catch between answer and disk


class Endpoint:
    """Answers right, wrong, or in words that only a judge can tell, the same at each time; counts whole answers by request."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()

    def __call__(self, asked: Asked) -> None:
        request = asked.json
        if request["model"] == "judge":
            document = json.loads(request["messages"][-1]["content"])
            text = json.dumps({"id": document["id"], "correct": len(document["answer"]) % 2 == 0})
        else:
            number = int(request["messages"][-1]["content"].split()[1].rstrip(":"))
            text = ["forty-two", "seven", f"Many people think of a number near {number}", '{"a": 1}'][number % 4]
        time.sleep(LATENCY_S)
        asked.reply(encode(completion(text)))
        self.answered[asked.body.decode()] += 1


def _committed(folder: Path) -> dict[str, int]:
    """Return the tries of each answered request in the journal, which must be whole."""
    path = folder / "out" / "hf_journal.sqlite"
    if not path.exists():
        return {}
    with sqlite3.connect(path) as database:
        if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise AssertionError("the journal is damaged")
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'exchanges'").fetchone():
            return {}
        return dict(database.execute("SELECT key || address, tries FROM exchanges WHERE error IS NULL AND role != 'probe'"))


def _labels(folder: Path) -> list[Any]:
    """Both evaluation files; without latencies, which no two runs have in common."""
    files = sorted((folder / "out").glob("hf_evaluations_*.json"))
    rows = [json.loads(path.read_text()) for path in files]
    return [[{name: value for name, value in row.items() if name != "model_latencies"} for row in part] for part in rows]


def _write(folder: Path, url: str) -> list[str]:
    entry = {"base_url": url, "concurrency": CONCURRENCY, "timeout_s": 20, "input_usd_per_mtok": 1, "output_usd_per_mtok": 2}
    judge = {"name": "judge", "temperature": 0, **entry}
    models = [{"name": name, "temperature": 0.5, **entry} for name in ("one", "two")]
    arguments = write_inputs(folder, models, QUESTIONS, judge=judge)
    rows = [json.loads(line) | {"schema": {"type": "object"}} for line in (folder / "rows.jsonl").read_text().splitlines()]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [*arguments, "--skip-preflight"]


def _quiet_run(mode: str) -> tuple[Ended, list[Any], int]:
    endpoint = Endpoint()
    with tempfile.TemporaryDirectory() as place, HostileServer(endpoint) as server:
        arguments = [*_write(Path(place), server.url), *MODES[mode]]
        ended = run_command("prepare_hf_data", arguments)
        return ended, _labels(Path(place)), sum(endpoint.answered.values())


def _outcome(ended: Ended, number: signal.Signals) -> str:
    """What became of a run that got a signal: it was done, or it ends as is promised of the signal."""
    if number == signal.SIGKILL:
        return "right result" if ended.code == -number else ended.outcome
    code, line = ENDS[number]
    is_told = ended.code == code and ended.output.rstrip().endswith(line)
    return ended.outcome if is_told or ended.code in (0, None) else "crash"


def _interrupted_run(
    tally: Tally, mode: str, name: str, kills: int, expected: list[Any], asked: int, rng: random.Random
) -> None:
    """Stop a run ``kills`` times, then let it end; judge what was asked and what came out."""
    case, number, endpoint = f"{mode}: {name}", SIGNALS[name], Endpoint()
    with tempfile.TemporaryDirectory() as place, HostileServer(endpoint) as server:
        folder = Path(place)
        arguments = [*_write(folder, server.url), *MODES[mode]]
        done = 0
        for _ in range(kills):
            before = _committed(folder)
            command = Command("prepare_hf_data", arguments)
            enough = sum(endpoint.answered.values()) + rng.randrange(max(2, 2 * asked // (kills + 2)))
            until = time.monotonic() + 30
            while sum(endpoint.answered.values()) < enough and command.process.is_alive() and time.monotonic() < until:
                time.sleep(0.002)
            time.sleep(rng.uniform(0.0, 0.03))
            done += command.process.is_alive()
            command.signal(number)
            ended = command.wait(60)
            tally.note(case, _outcome(ended, number), f"code {ended.code}: {ended.output}")
            if any(tries != before[key] for key, tries in _committed(folder).items() if key in before):
                tally.note(case, "paid twice", "an answer that was committed was asked again")
            if not before.keys() <= _committed(folder).keys():
                tally.note(case, "lost", "an answer that was committed is gone")
        ended = run_command("prepare_hf_data", arguments)
        tally.note(case, ended.outcome, ended.output)
        if _labels(folder) != expected:
            tally.note(case, "lost", "labels differ from those of a quiet run")
        again = sum(endpoint.answered.values()) - asked
        most = FLIGHT * done if number == signal.SIGKILL else 0
        if again > most:
            tally.note(case, "paid twice", f"{again} answers more than in a quiet run, {most} may have been in flight")
        tally.notes.append(f"{case}: stopped {done} times while it ran; {again} of {asked} answers asked again")


def attack(tally: Tally, seconds: float, seed: int) -> None:
    """Kill runs of every mode by every signal, in an order drawn anew each round, until the time is over."""
    rng, until = random.Random(seed), time.monotonic() + seconds
    kills = max(2, min(10, int(seconds / 25)))
    quiet: dict[str, tuple[list[Any], int]] = {}
    while time.monotonic() < until:
        for mode, name in rng.sample(list(product(MODES, SIGNALS)), len(MODES) * len(SIGNALS)):
            if time.monotonic() > until:
                break
            if mode not in quiet:
                ended, expected, asked = _quiet_run(mode)
                quiet[mode] = expected, asked
                tally.note(f"{mode}: quiet", ended.outcome if ended.outcome != "clear error" else "crash", ended.output)
            _interrupted_run(tally, mode, name, kills, *quiet[mode], rng)
