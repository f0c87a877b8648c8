"""The project's servers, under load, with odd requests, and while all that they stand on fails.

An honest question must be answered after each attack, every accepted request must end, and nothing of a stranger may reach
another's answer, the log, the measures or an address that nobody allowed.
"""

from __future__ import annotations

import base64
import os
import random
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from break_it import server_requests as requests
from break_it.server_site import (
    KINDS,
    MODEL_KEY,
    PATIENCE_S,
    SECRET,
    SUFFIXES,
    Kind,
    Load,
    Reply,
    Site,
    note_honest,
    note_reply,
    running_site,
)
from break_it.tally import Tally
from tests.serve.made import MATH, NAMES

FULL_S = 300.0  # from here on each server gets 200 connections, and honest callers for a minute
STOP_S = 30.0  # that a server may take to stop


def attack_slowly(tally: Tally, site: Site, connections: int, seconds: float) -> None:
    """Many connections that send a byte a second, in the head or in the body, while others ask."""
    head = f"POST {site.kind.chat} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
    opened = [socket.create_connection(("127.0.0.1", site.server.port), PATIENCE_S) for _ in range(connections)]
    until = time.monotonic() + seconds
    for place, connection in enumerate(opened):
        connection.sendall((head + ("\r\n{" if place % 2 else "X-Slow: ")).encode())
    with Load(site, 4) as load:
        while time.monotonic() < until:
            for connection in opened:
                try:
                    connection.sendall(b" ")
                except OSError:  # the server ended it: that is its right
                    continue
            time.sleep(1.0)
    load.note(tally, "slow connections, and honest ones beside them")
    for connection in opened:
        connection.close()
    note_honest(tally, site, "slow connections, and honest ones beside them")


def attack_together(tally: Tally, site: Site, connections: int, seconds: float) -> None:
    """Many honest callers at once: each is answered."""
    with Load(site, connections) as load:
        time.sleep(seconds)
    load.note(tally, "many callers at once")
    note_honest(tally, site, "many callers at once")


def attack_artifacts(tally: Tally, site: Site, connections: int, swaps: int = 20) -> None:
    """The artifact is replaced by broken ones, swapped, and deleted while others ask."""
    whole, case = site.artifacts[0].read_bytes(), "artifact broken, swapped and deleted under load"

    def wait_for(names: tuple[str, ...]) -> bool:
        until = time.monotonic() + 2 * PATIENCE_S
        while time.monotonic() < until:
            reply = site.ask(MATH, model="auto-accuracy")
            if reply is not None and reply[0] == 200 and site.answered_by(reply) in names:
                return True
            time.sleep(0.1)
        return False

    with Load(site, connections) as load:
        for number in range(swaps):
            if number % 3 == 0:
                site.put(0, (b"garbage", whole[: len(whole) // 2], b"", whole[:200] + bytes(5000))[number // 3 % 4])
                time.sleep(0.3)
            site.put(1 - number % 2)
            time.sleep(0.2)
        for suffix in SUFFIXES:
            site.artifact.with_suffix(suffix).unlink(missing_ok=True)
        time.sleep(1.0)
        is_kept = wait_for((NAMES[0], NAMES[1]))
        tally.note(case, "right result" if is_kept else "lost", "deleted: no decision any more")
        for number in (1, 0):
            site.put(number)
            is_new = wait_for((NAMES[number],))
            tally.note(
                case, "right result" if is_new else "lost", f"artifact {number} is not in service after {2 * PATIENCE_S:.0f} s"
            )
    load.note(tally, case)
    note_honest(tally, site, case)


def attack_below(tally: Tally, site: Site, connections: int, seconds: float) -> None:
    """Models and the encoder hang, flap and die while others ask."""
    upstreams = ("dead", "flap", "hang", "echo") if site.kind.is_gateway else ()
    for mode in upstreams:
        with Load(site, connections) as load:
            site.upstream.mode = mode
            time.sleep(seconds)
            site.upstream.mode = "well"
        load.note(tally, f"models that {mode}", down=True)
        note_reply(tally, site, f"models that {mode}", "afterwards", _until_well(site))
    encoder, faults = site.encoder, ("hang", "dead", "flap", "garbage")
    for fault in faults:
        with Load(site, connections) as load:
            if fault == "hang":
                encoder.hang.set()
            elif fault == "garbage":
                encoder.answer = {"data": [{"index": 0, "embedding": [1.0] * 7}], "model": "other"}
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                if fault in ("dead", "flap"):
                    encoder.failures[:] = [0, 0] if fault == "dead" else [500]
                time.sleep(0.05)
            encoder.hang.clear()
            encoder.answer = None
            encoder.failures.clear()
        load.note(tally, f"an encoder: {fault}")
        note_honest(tally, site, f"an encoder: {fault}")


def _until_well(site: Site) -> Reply | None:
    """The proxy leaves a model alone for some seconds after it failed: ask until that is over."""
    until, reply = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < until:
        reply = site.ask(MATH)
        if reply is not None and reply[0] == 200:
            return reply
        time.sleep(1.0)
    return reply


def attack_stop(tally: Tally, site: Site, connections: int) -> None:
    """SIGTERM while answers are in flight: each that was accepted ends, and the server soon after."""
    case, before = "SIGTERM under load", site.upstream.count
    is_gateway = site.kind.is_gateway
    if is_gateway:
        site.upstream.mode = "slow"
    else:
        site.encoder.delay = 1.0
    with ThreadPoolExecutor(connections) as pool:
        asked = [pool.submit(site.ask, f"{MATH} {SECRET} {number}") for number in range(connections)]
        until = time.monotonic() + PATIENCE_S
        while is_gateway and site.upstream.count - before < connections and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.0 if is_gateway else 0.8)
        os.kill(site.server.process.pid, signal.SIGTERM)
        start = time.monotonic()
        for one in asked:
            try:
                note_reply(tally, site, case, "in flight", one.result())
            except OSError as error:
                tally.note(case, "lost", f"in flight: {error}")
    while site.is_alive and time.monotonic() - start < STOP_S:
        time.sleep(0.1)
    tally.note(case, "hang" if site.is_alive else "right result", f"still there after {STOP_S:.0f} s")


def note_log(tally: Tally, site: Site) -> None:
    """No prompt and no key is in the log, and no decision raised."""
    log = site.server.log
    for name, text in (
        ("prompt", SECRET),
        ("key", MODEL_KEY),
        ("prompt in base64", base64.b64encode(SECRET.encode())[:20].decode()),
    ):
        place = log.find(text)
        tally.note(
            "what is logged", "sent" if place >= 0 else "right result", f"{name}: …{log[max(0, place - 300) : place + 60]}"
        )
    failed = log.find("the router failed")
    tally.note("what is logged", "crash" if failed >= 0 else "right result", log[max(0, failed) : failed + 3000])


def attack_kind(tally: Tally, kind: Kind, is_full: bool, until: float, seed: int) -> None:
    """Take a server through every step for which there is time; its log is looked at, and it is stopped, in any case."""
    connections, load_s, fault_s = (200, 60.0, 4.0) if is_full else (12, 3.0, 1.5)
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as place, running_site(kind, Path(place)) as site:
        odd = [requests.attack_bodies, requests.attack_wire, requests.attack_headers]
        odd += [requests.attack_feedback, requests.attack_ids, requests.attack_images, requests.attack_measures]
        steps: list[partial[None]] = [
            *(partial(attack_with, tally, site, rng) for attack_with in odd),
            partial(attack_slowly, tally, site, connections, load_s / 4),
            partial(attack_together, tally, site, connections, load_s),
            partial(attack_artifacts, tally, site, min(connections, 20)),
            partial(attack_below, tally, site, min(connections, 40), fault_s),
        ]
        last = [partial(note_log, tally, site), partial(attack_stop, tally, site, min(connections, 40))]
        for step in [*steps, *last]:
            start = time.monotonic()
            if start > until and step not in last:
                tally.notes.append(f"{kind.name}, {step.func.__name__}: not tried, its time was over")
                continue
            step()
            tally.notes.append(f"{kind.name}, {step.func.__name__}: {time.monotonic() - start:.0f} s")
        if (kept := os.environ.get("BREAK_IT_LOGS")) is not None:
            shutil.copy(site.server.log_file, kept)


def attack(tally: Tally, seconds: float, seed: int, kinds: Sequence[Kind] = KINDS) -> None:
    until = time.monotonic() + 1.3 * seconds
    for kind in kinds:
        if not kind.is_installed:
            tally.notes.append(f"{kind.name} is not tried: {kind.environment} is not there")
            continue
        if time.monotonic() > until:
            tally.notes.append(f"{kind.name} is not tried: the time was over")
            continue
        attack_kind(tally, kind, seconds >= FULL_S, until, seed)
