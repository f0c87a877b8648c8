"""The gateway with two workers: the steps of :mod:`break_it.servers`, with fewer callers."""

from __future__ import annotations

from break_it import servers
from break_it.server_site import WORKERS
from break_it.tally import Tally


def attack(tally: Tally, seconds: float, seed: int) -> None:
    servers.attack(tally, min(seconds, servers.FULL_S - 1.0), seed, [WORKERS])
