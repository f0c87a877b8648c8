"""A Ray cluster, for the stages that can work on one. Nothing here imports Ray before it was asked for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from auto_router.errors import ConfigError, RouterError, needs_extra

ENGINES = ("local", "ray")
RETRIES = 3  # work that kills its worker every time must not do so for ever


def add_engine_flags(parser: argparse.ArgumentParser, work: str) -> None:
    """Add ``--engine``, ``--ray-address`` and ``--ray-workers`` for what ``work`` names."""
    group = parser.add_argument_group("more than one machine")
    group.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help=f"where {work}: this process (default), or Ray")
    group.add_argument("--ray-address", metavar="HOST:PORT", help="a cluster (default: RAY_ADDRESS, else one on this machine)")
    group.add_argument("--ray-workers", type=int, metavar="N", help="processes on it (default: one a GPU, else one a CPU)")


@contextmanager
def ray_cluster(address: str | None = None) -> Iterator[Any]:
    """Yield the ``ray`` module, connected to the cluster at ``address``; a connection that is there already is used.

    Without an address, in the argument or in ``RAY_ADDRESS``, a cluster is started on this machine and stopped at the end.

    Raises:
        ConfigError: Ray is missing, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # of a cluster that only this process uses
    with needs_extra("ray"):
        import ray
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(
            address=address, include_dashboard=False if address is None else None, log_to_driver=False, logging_level="error"
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"Ray at {address or 'this machine'} does not start or answer ({error})") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def resources(ray: Any, workers: int | None) -> tuple[int, dict[str, float]]:
    """Return how many workers to start and what each takes: a GPU where there are any, else a CPU."""
    if workers is not None and workers < 1:
        raise ConfigError(f"--ray-workers must be at least 1, got {workers}")
    found = ray.cluster_resources()
    devices, cpus = int(found.get("GPU", 0)), int(found.get("CPU", 1))
    if devices:
        return workers or devices, {"num_gpus": min(1.0, devices / (workers or devices)), "num_cpus": 0}
    # Shares of a CPU where more workers are asked for than there are CPUs: they would wait for one for ever.
    return workers or cpus, {"num_cpus": min(1.0, cpus / (workers or cpus))}


def map_unordered(
    ray: Any, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], workers: int | None
) -> Iterator[Any]:
    """Yield what ``function`` returns for each of ``calls``, as each is done; at most ``workers`` work at a time.

    Where a worker dies, its call is made again.

    Raises:
        RouterError: a call killed its worker ``RETRIES`` + 1 times. What the function raises is raised here.
    """
    at_once, takes = resources(ray, workers)
    task, todo = ray.remote(max_retries=RETRIES, **takes)(function), iter(calls)
    waiting: list[Any] = []
    while True:
        waiting += [task.remote(*call) for call in islice(todo, at_once - len(waiting))]
        if not waiting:
            return
        (done,), waiting = ray.wait(waiting, num_returns=1)
        try:
            yield fetch_result(ray, done)
        except ray.exceptions.WorkerCrashedError as error:
            raise RouterError(f"a worker of the cluster died {RETRIES + 1} times over the same work ({error})") from error


def fetch_result(ray: Any, reference: Any) -> Any:
    """Return a result of the cluster; an error of the work itself is raised as if it had happened here."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
