"""Stage 1 on a Ray cluster: workers put requests on the wire, this process says which and when.

What bounds a run stays in this one process, as it is without Ray: rates, slots, pauses, retries, money and the journal. So a
limit is kept whatever the number of workers, each answer is committed by one writer, and a journal can be continued with any
number of workers, or with none. What workers take over is the exchange itself, about two thirds of the work of a call.

Calls and replies travel in batches, since a message of Ray's costs about as much as a call. A worker reads keys from its own
environment; none is sent. Where one dies, Ray starts another, and what it had on the wire is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

from tqdm import tqdm

from auto_router.cluster import ray_cluster, resources
from auto_router.collect.endpoint import Answer, Endpoint, PassingFailure
from auto_router.errors import ProviderError
from auto_router.pool import PoolModel

WORKERS = 2  # more wait for this process
GATHER_S = 0.01  # what comes within it travels together
START_S = 600.0

Opening = tuple[PoolModel, str | None]
Call = tuple[int, int, dict[str, Any]]
Reply = tuple[int, Answer | BaseException]


class Asker:
    """Sends requests from a process of the cluster, with the keys of that process's environment."""

    def __init__(self) -> None:
        self._endpoints: list[Endpoint] = []
        self._out: set[asyncio.Task[Answer]] = set()

    async def open(self, openings: list[Opening]) -> None:
        """Open the endpoints; what an earlier caller has on the wire is dropped. Raises ConfigError as :class:`Endpoint`."""
        for task in self._out:
            task.cancel()
        for endpoint in self._endpoints:
            await endpoint.close()
        self._endpoints = [Endpoint(model, base_url) for model, base_url in openings]
        self._arrived: asyncio.Queue[Reply] = asyncio.Queue()

    async def send(self, calls: list[Call]) -> None:
        """Put calls, ``(number, which endpoint, request)``, on the wire."""
        for number, endpoint, request in calls:
            task = asyncio.create_task(self._endpoints[endpoint].attempt(request))
            self._out.add(task)
            task.add_done_callback(partial(self._keep, number, self._arrived))

    def _keep(self, number: int, arrived: asyncio.Queue[Reply], task: asyncio.Task[Answer]) -> None:
        self._out.discard(task)
        if not task.cancelled():
            arrived.put_nowait((number, task.exception() or task.result()))

    async def replies(self) -> list[Reply]:
        """Wait for replies, ``(number, answer or error)``; each is returned once."""
        arrived = self._arrived
        first = await arrived.get()
        await asyncio.sleep(GATHER_S)
        return [first, *(arrived.get_nowait() for _ in range(arrived.qsize()))]


class _Lane:
    """One worker that is up: what it is given, and who waits for what."""

    def __init__(self, worker: Any, errors: Any) -> None:
        self.waiting: dict[int, asyncio.Future[Answer]] = {}
        self._worker, self._errors = worker, errors
        self._calls: list[Call] = []
        self._sending: asyncio.Task[None] | None = None

    def put(self, call: Call) -> asyncio.Future[Answer]:
        self._calls.append(call)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        future = self.waiting[call[0]] = asyncio.get_running_loop().create_future()
        return future

    async def _send(self) -> None:
        while self._calls:
            await asyncio.sleep(GATHER_S)
            calls, self._calls = self._calls, []
            try:
                await self._worker.send.remote(calls)
            except self._errors.RayError as error:
                bug = isinstance(error, self._errors.RayTaskError)
                self.lose([number for number, *_ in calls], error if bug else None)

    def settle(self, replies: Iterable[Reply]) -> None:
        for number, outcome in replies:
            future = self.waiting.pop(number, None)
            if future is None or future.done():
                continue
            if isinstance(outcome, Answer):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

    def lose(self, numbers: Iterable[int], error: BaseException | None = None) -> None:
        """Tell who waits that no answer will come, though one may be paid for."""
        failure = error or PassingFailure("the worker that asked died", billed=True, ours=True)
        self.settle([(number, failure) for number in numbers])


class Workers:
    """The workers of a run. ``endpoint`` opens a model on all of them; they start with the first question."""

    def __init__(self, ray: Any, workers: list[Any]) -> None:
        self._errors, self._workers = ray.exceptions, workers
        self._openings: list[Opening] = []
        self._numbers = count()
        self._lanes: list[_Lane] = []
        self._needed = len(workers)  # for the first question: what is wrong with any of them is found before anything is paid
        self._lives: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._broken: BaseException | None = None

    def endpoint(self, model: PoolModel, base_url: str | None = None, keyless: bool = False) -> Endpoint:
        """Return an endpoint that is asked from the workers; whether there is a key is theirs to say."""
        self._openings.append((model, base_url))
        return _Remote(self, len(self._openings) - 1, model, base_url)

    async def attempt(self, endpoint: int, request: dict[str, Any]) -> Answer:
        """Send a request once, from the worker that has the least to do.

        Raises:
            PassingFailure: as :meth:`Endpoint.attempt`, or the worker died.
            ConfigError: a worker cannot open the endpoints.
            ProviderError: there is no worker.
        """
        self._lives = self._lives or [asyncio.create_task(self._live(worker)) for worker in self._workers]
        while len(self._lanes) < self._needed and self._broken is None:
            try:
                await asyncio.wait_for(self._changed.wait(), START_S)
            except TimeoutError as error:
                raise ProviderError(
                    f"{len(self._lanes)} of {len(self._workers)} workers came up in {START_S:g} s; is the cluster busy? try "
                    "--ray-workers"
                ) from error
        if self._broken is not None:
            raise self._broken
        self._needed = 1
        lane = min(self._lanes, key=lambda lane: len(lane.waiting))
        return await lane.put((next(self._numbers), endpoint, request))

    async def _live(self, worker: Any) -> None:
        try:
            while True:
                await self._serve(worker)
        except self._errors.RayTaskError as error:  # it is up, but cannot open the endpoints
            self._break(error.cause)
        except self._errors.RayError as error:
            self._break(ProviderError(f"a worker of the cluster cannot be started ({error})"))

    async def _serve(self, worker: Any) -> None:
        """Take the replies of a worker from when it is up to when it dies."""
        await worker.open.options(max_task_retries=-1).remote(self._openings)  # waits for one that Ray starts again
        lane = _Lane(worker, self._errors)
        self._lanes.append(lane)
        self._change()
        try:
            while True:
                lane.settle(await worker.replies.remote())
        except self._errors.RayTaskError:
            raise
        except self._errors.RayError:
            tqdm.write(f"a worker died; the {len(lane.waiting)} requests it had out are asked again")
        finally:
            self._lanes.remove(lane)
            lane.lose(list(lane.waiting))

    def _break(self, error: BaseException) -> None:
        self._broken = self._broken or error
        for lane in self._lanes:
            lane.lose(list(lane.waiting), self._broken)
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def close(self) -> None:
        for task in self._lives:
            task.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)


class _Remote(Endpoint):
    """An endpoint whose exchanges are the workers'."""

    def __init__(self, workers: Workers, number: int, model: PoolModel, base_url: str | None) -> None:
        super().__init__(model, base_url, keyless=True)
        self._workers, self._number = workers, number

    async def attempt(self, request: Any) -> Answer:
        return await self._workers.attempt(self._number, request)


@asynccontextmanager
async def endpoints_on_ray(address: str | None = None, workers: int | None = None) -> AsyncIterator[Callable[..., Endpoint]]:
    """Yield what opens endpoints in place of :class:`Endpoint`: they are asked from workers on the cluster at ``address``.

    Raises:
        ConfigError: Ray is missing or does not answer, or ``workers`` is less than 1.
    """
    with ray_cluster(address) as ray:
        at_once, takes = resources(ray, WORKERS if workers is None else workers, gpus=False)
        actor = ray.remote(max_restarts=-1, scheduling_strategy="SPREAD", **takes)(Asker)
        actors = [actor.remote() for _ in range(at_once)]
        started = Workers(ray, actors)
        try:
            yield started.endpoint
        finally:
            await started.close()
            for worker in actors:
                ray.kill(worker)
