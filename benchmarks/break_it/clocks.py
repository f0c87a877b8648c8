"""A clock that jumps back and ahead under Stage 1 and the servers: each wait must end, each answer come, none be asked twice.

libfaketime tells the processes another time of day, and leaves the clock alone that only counts on. It comes with Debian
(``apt-get install libfaketime``); elsewhere ``FAKETIME_LIBRARY`` says where it is. Without it nothing is tried.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

from auto_router.collect.replay import is_probe
from break_it.endpoints import ANSWER, read_labels, write_inputs
from break_it.hostile import Asked, HostileServer, completion, encode
from break_it.server_site import KINDS, PATIENCE_S, SECRET, Kind, Site, note_honest, note_reply, running_site
from break_it.tally import Tally
from tests.batch_server import BatchServer
from tests.checkout import ROOT
from tests.serve.made import MATH
from tests.stage1 import Reply
from tests.stage1 import completion as batch_completion

LIBRARY = Path(os.environ.get("FAKETIME_LIBRARY", "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"))
JUMPS = ("-1d", "+0", "-2h", "+2d", "-20y", "+0", "-5", "+1h")
EACH_S = 0.4  # between two jumps
QUESTIONS, LIMIT_S = 24, 90.0


@contextmanager
def jumping_clock(jumps: tuple[str, ...] = JUMPS) -> Iterator[dict[str, str]]:
    """Yield the environment of processes whose time of day jumps while the block runs."""
    with tempfile.TemporaryDirectory() as place:
        file, over = Path(place) / "clock", threading.Event()
        file.write_text(jumps[0])

        def jump() -> None:
            for offset in itertools.cycle(jumps):
                beside = file.with_suffix(".new")
                beside.write_text(offset)
                beside.replace(file)
                if over.wait(EACH_S):
                    return

        thread = threading.Thread(target=jump, daemon=True)
        thread.start()
        try:
            yield {
                "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
            }  # fmt: skip
        finally:
            over.set()
            thread.join()


class Endpoint:
    """Models that make a run wait in each way that it knows; counts whole answers by request."""

    def __init__(self) -> None:
        self.answered, self._tries = Counter[bytes](), Counter[bytes]()

    def __call__(self, asked: Asked) -> None:
        name = asked.path.split("/")[1]
        self._tries[asked.body] += 1
        first = self._tries[asked.body] == 1
        if name == "dated" and first:
            now = time.time()
            dates = f"Date: {formatdate(now, usegmt=True)}", f"Retry-After: {formatdate(now + 1.5, usegmt=True)}"
            asked.reply(encode({"error": {"message": "slow down"}}), *dates, status="429 Slow")
            return
        if name == "flaps" and first:
            asked.reply(encode({"error": {"message": "down"}}), status="500 Down")
            return
        if name == "slow":
            asked.wait(0.5)
        self.answered[asked.body] += 1
        asked.reply(encode(completion(ANSWER)))


def _run_stage(tally: Tally, case: str, arguments: list[str], environment: dict[str, str]) -> None:
    """Run Stage 1 under the given clock and count how it ends."""
    command = [sys.executable, str(ROOT / "prepare_hf_data.py"), *arguments, "--match-only"]
    try:
        ended = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired as error:
        tally.note(case, "hang", f"not over after {LIMIT_S:.0f} s: {error.stderr!r:.500}")
        return
    is_told = "Traceback" not in ended.stderr
    tally.note(case, "right result" if ended.returncode == 0 and is_told else "crash", ended.stderr)


def _note_labels(tally: Tally, case: str, folder: Path, models: int) -> None:
    """Every label must be there and right, and no answer have taken less than no time."""
    labels = read_labels(folder)
    wrong = [(name, *label) for name, found in labels.items() for label in found if label[0] != 1]
    count = sum(map(len, labels.values()))
    tally.note(case, "right result", count=count - len(wrong))
    if wrong or count != models * QUESTIONS:
        tally.note(case, "lost", f"{count} labels of {models * QUESTIONS}; {wrong[:3]}", max(len(wrong), 1))
    rows = [row for path in (folder / "out").glob("hf_evaluations_*.json") for row in json.loads(path.read_text())]
    below = [second for row in rows for second in row.get("model_latencies", {}).values() if not 0 < second < LIMIT_S]
    tally.note(case, "lost" if below else "right result", f"latencies {below[:5]}")


def attack_stage(tally: Tally) -> None:
    """Rates, time-outs, retries at a date, back-offs; then the same command again, in another year."""
    case, endpoint = "Stage 1: rates, retries, time-outs", Endpoint()
    with tempfile.TemporaryDirectory() as place, HostileServer(endpoint) as server, jumping_clock() as environment:
        names: dict[str, dict[str, Any]] = {
            "paced": {"requests_per_minute": 300}, "dated": {}, "flaps": {}, "slow": {"timeout_s": 5}
        }  # fmt: skip
        models = [{"name": n, "base_url": f"{server.url}/{n}", "concurrency": 8, **more} for n, more in names.items()]
        folder = Path(place)
        arguments = [*write_inputs(folder, models, QUESTIONS), "--skip-preflight"]
        _run_stage(tally, case, arguments, environment)
        _note_labels(tally, case, folder, len(models))
        before = endpoint.answered.total()
        with jumping_clock(("-20y",)) as earlier:
            _run_stage(tally, case, arguments, earlier)
        again = endpoint.answered.total() - before + sum(count - 1 for count in endpoint.answered.values())
        tally.note(case, "paid twice" if again else "right result", f"{again} answers were asked for again", max(again, 1))


def attack_batch(tally: Tally) -> None:
    """A batch at a provider, which is looked at from time to time."""
    case = "Stage 1: the Batch API"

    def script(body: dict[str, Any]) -> Reply:
        return batch_completion("1" if is_probe(body) else ANSWER)

    with tempfile.TemporaryDirectory() as place, BatchServer(script, polls=4) as server, jumping_clock() as environment:
        folder = Path(place)
        models = [{"name": "m", "base_url": server.url, "batch": True, "batch_poll_s": 0.5}]
        _run_stage(tally, case, [*write_inputs(folder, models, QUESTIONS), "--skip-preflight"], environment)
        _note_labels(tally, case, folder, 1)
        twice = sum(count - 1 for count in server.sent.values())
        tally.note(case, "paid twice" if twice else "right result", f"{server.sent}", max(twice, 1))


def attack_server(tally: Tally, kind: Kind, seconds: float) -> None:
    """Decisions, sessions and outcomes across jumps, and an encoder that dies and comes back meanwhile."""
    case = f"{kind.name}: decisions, outcomes, recovery"
    with tempfile.TemporaryDirectory() as place, jumping_clock() as environment:
        os.environ.update(environment)  # of the server, which is started with this one's
        try:
            with running_site(kind, Path(place)) as site:
                for name in environment:
                    os.environ.pop(name)
                _ask_across_jumps(tally, case, site, seconds)
        finally:
            for name in environment:
                os.environ.pop(name, None)


def _ask_across_jumps(tally: Tally, case: str, site: Site, seconds: float) -> None:
    note_honest(tally, site, case)  # the first answers take longest
    begin, number = time.monotonic(), 0
    while (passed := time.monotonic() - begin) < seconds:
        number += 1
        if seconds / 3 < passed < seconds / 2:
            site.encoder.failures[:] = [0, 0]
        reply = site.ask(f"{MATH} {SECRET} {number}", session_id=f"session {number % 5}")
        note_reply(tally, site, case, "across jumps", reply, down=True)
        decision = "" if reply is None else reply[2].get("x-auto-router-decision-id", "")
        if decision:
            time.sleep(EACH_S)
            told = site.send("POST", "/v1/feedback", {"id": decision, "outcome": 1})
            note_reply(tally, site, case, "an outcome", told, down=True)
    site.encoder.failures.clear()
    until = time.monotonic() + PATIENCE_S
    while (is_back := _is_decided(site)) is False and time.monotonic() < until:
        time.sleep(0.5)
    tally.note(case, "right result" if is_back else "hang", f"no decision by the encoder {PATIENCE_S:.0f} s after it came back")
    note_honest(tally, site, case)


def _is_decided(site: Site) -> bool:
    """Whether the router decides again: an answer names its decision."""
    reply = site.ask(MATH)
    return reply is not None and reply[0] == 200 and bool(reply[2].get("x-auto-router-decision-id"))


def _is_jumping() -> bool:
    """Whether a process really sees another time of day."""
    with jumping_clock(("-20y",)) as environment:
        command = [sys.executable, "-c", "import time; print(time.time())"]
        told = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True).stdout
    return float(told) < time.time() - 10 * 365 * 86_400


def attack(tally: Tally, seconds: float, seed: int) -> None:
    if not LIBRARY.exists() or not _is_jumping():
        tally.notes.append(f"nothing is tried: {LIBRARY} is not there, or does nothing (apt-get install libfaketime)")
        return
    attack_stage(tally)
    attack_batch(tally)
    for kind in KINDS:
        if kind.is_installed:
            attack_server(tally, kind, min(seconds / 6, 20.0))
