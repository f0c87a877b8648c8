"""Requests sent from workers: who gets which reply, what a dead worker costs. Without Ray, unlike tests/test_ray.py."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from auto_router.collect.caller import Caller, Run
from auto_router.collect.endpoint import Answer, PassingFailure, user_message
from auto_router.collect.journal import Journal
from auto_router.collect.limits import Budget
from auto_router.collect.ray_engine import Asker, Workers
from auto_router.errors import ConfigError, ProviderError
from auto_router.pool import PoolModel
from tests.stage1 import ChatServer, completion, raw


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


def copied(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 (our own)


class Actor:
    """An actor in this process: calls are tasks, and what goes in or out is a copy, as over a wire."""

    def __init__(self) -> None:
        self.asker, self.sent, self.gone = Asker(), list[int](), False
        self._calls: set[asyncio.Task[Any]] = set()

    def __getattr__(self, name: str) -> Any:
        def remote(*arguments: Any) -> Awaitable[Any]:
            return self._call(name, arguments)

        return SimpleNamespace(remote=remote, options=lambda **_: SimpleNamespace(remote=remote))

    async def _call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if self.gone:
            raise RayError("gone")
        if name == "send":
            self.sent.append(len(arguments[0]))
        call = asyncio.ensure_future(getattr(self.asker, name)(*copied(arguments)))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            return copied(await asyncio.shield(call))
        except asyncio.CancelledError:
            if call.cancelled():
                raise RayError("the worker died") from None
            raise
        except ConfigError as error:
            raise RayTaskError(error) from error

    def die(self, for_good: bool = False) -> None:
        self.gone = for_good
        self.dead, self.asker = asyncio.ensure_future(self.asker.open([])), Asker()  # its connections close
        for call in self._calls:
            call.cancel()


def with_workers(actors: int, work: Callable[[Workers, list[Actor]], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        made = [Actor() for _ in range(actors)]
        workers = Workers(SimpleNamespace(exceptions=SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)), list(made))
        try:
            return await work(workers, made)
        finally:
            await workers.close()
            for actor in made:
                await Asker.open(actor.asker, [])

    return asyncio.run(run())


def question(number: int) -> dict[str, Any]:
    return {"model": "m", "messages": user_message(f"question {number}")}


def test_each_call_gets_its_own_reply_and_workers_share_the_work() -> None:
    async def work(workers: Workers, actors: list[Actor]) -> None:
        endpoint = workers.endpoint(PoolModel("m", chat.url, "m", concurrency=100))
        answers = await asyncio.gather(*(endpoint.attempt(question(number)) for number in range(60)))
        assert [answer.text for answer in answers] == [f"about question {number}" for number in range(60)]
        assert [sum(actor.sent) for actor in actors] == [30, 30]
        assert all(len(actor.sent) == 1 for actor in actors), "what is asked together travels together"

    with ChatServer(lambda body: completion(f"about {body['messages'][0]['content']}")) as chat:
        with_workers(2, work)


def test_failures_arrive_as_they_are_in_one_process() -> None:
    async def work(workers: Workers, actors: list[Actor]) -> None:
        endpoint = workers.endpoint(PoolModel("m", chat.url, "m"))
        with pytest.raises(PassingFailure, match="HTTP 429: slow down") as failure:
            await endpoint.attempt(question(0))
        assert failure.value.retry_after == 7
        assert not failure.value.ours
        assert (await endpoint.attempt(question(1))).error == "HTTP 400: no"

    def script(body: dict[str, Any]) -> Any:
        busy = body["messages"][0]["content"].endswith("0")
        return raw({"message": "slow down"}, 429, Retry_After="7") if busy else raw({"message": "no"}, 400)

    with ChatServer(script) as chat:
        with_workers(1, work)


@pytest.mark.parametrize("actors", [1, 2])
def test_what_a_dead_worker_had_out_is_asked_again_and_does_not_pause_the_endpoint(
    tmp_path: Path, actors: int, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = threading.Event()

    async def work(workers: Workers, made: list[Actor]) -> list[Answer]:
        with Journal(tmp_path / "j.sqlite") as journal:
            model = PoolModel("m", chat.url, "m", concurrency=24, input_usd_per_mtok=1.0, output_usd_per_mtok=1.0)
            run = Run(journal, Budget(1.0))
            caller = Caller(workers.endpoint(model), run)
            asked = [asyncio.create_task(caller.ask(user_message(f"question {number}"))) for number in range(24)]
            while len(chat.bodies) < 24:
                await asyncio.sleep(0.01)
            made[0].die()
            killed.set()
            answers = await asyncio.gather(*asked)
            assert journal.spent() == pytest.approx(run.budget.spent)
            assert journal.spent() > 2 * 24 * 12e-6, "what it had out may have been paid for"
            return answers

    def held(body: dict[str, Any]) -> Any:
        assert killed.wait(60)
        return completion(f"about {body['messages'][0]['content']}")

    with ChatServer(held) as chat:
        answers = with_workers(actors, work)
        assert [answer.text for answer in answers] == [f"about question {number}" for number in range(24)]
        assert len(chat.bodies) == 24 + 24 // actors
    assert "paused" not in capsys.readouterr().out


def test_a_question_that_kills_its_workers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(workers: Workers, made: list[Actor]) -> Answer:
        async def fatal(calls: Any) -> None:
            made[0].die()
            monkeypatch.setattr(made[0].asker, "send", fatal)

        monkeypatch.setattr(made[0].asker, "send", fatal)
        with Journal(tmp_path / "j.sqlite") as journal:
            return await Caller(workers.endpoint(PoolModel("m", "http://127.0.0.1:1", "m")), Run(journal)).ask(
                user_message("q")
            )

    monkeypatch.setattr("auto_router.collect.retry.RetryPolicy.wait", lambda *_: 0.0)
    answer = with_workers(1, work)
    assert answer.error == "the worker that asked died (after 5 tries)"
    assert not answer.settled, "the next run asks again"


def test_a_worker_without_the_key_ends_the_run_before_anything_is_asked() -> None:
    async def work(workers: Workers, actors: list[Actor]) -> None:
        endpoint = workers.endpoint(PoolModel("m", chat.url, "m", api_key_env="KEY_OF_NOBODY"))
        with pytest.raises(ConfigError, match="environment variable KEY_OF_NOBODY is not set"):
            await endpoint.attempt(question(0))

    with ChatServer(lambda body: completion("yes")) as chat:
        with_workers(2, work)
        assert not chat.bodies


def test_a_worker_that_cannot_be_started_again_ends_the_run() -> None:
    async def work(workers: Workers, actors: list[Actor]) -> None:
        endpoint = workers.endpoint(PoolModel("m", chat.url, "m"))
        assert (await endpoint.attempt(question(0))).text == "yes"
        actors[0].die(for_good=True)
        await asyncio.sleep(0.05)
        with pytest.raises(ProviderError, match="cannot be started"):
            await endpoint.attempt(question(1))

    with ChatServer(lambda body: completion("yes")) as chat:
        with_workers(1, work)


def test_workers_that_do_not_come_up_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(workers: Workers, actors: list[Actor]) -> None:
        async def never(_: Any) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(actors[1].asker, "open", never)
        with pytest.raises(ProviderError, match=r"1 of 2 workers came up in 0\.2 s"):
            await workers.endpoint(PoolModel("m", "http://127.0.0.1:1", "m")).attempt(question(0))
        monkeypatch.undo()

    monkeypatch.setattr("auto_router.collect.ray_engine.START_S", 0.2)
    with_workers(2, work)
