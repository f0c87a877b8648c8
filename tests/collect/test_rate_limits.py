"""Patience and its ends: back-off, pauses, dropped endpoints, rates and money."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Coroutine
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from auto_router.collect import runner as caller
from auto_router.collect.endpoint import user_message
from auto_router.collect.journal import JOURNAL_NAME
from auto_router.collect.money import Budget, highest_tokens
from auto_router.collect.rate_limits import (
    Cancellation,
    CircuitBreaker,
    NotAsked,
    PassingFailure,
    RateLimiter,
    RetryPolicy,
    read_delay,
)
from auto_router.collect.replay import Fault, ReplayServer, recording
from auto_router.data.pool import PoolModel
from tests.stage1 import (
    ChatServer,
    Reply,
    asked_once,
    completion,
    flags,
    raw,
    read_evaluations,
    recorded,
    stage1,
    write_pool,
    write_rows,
)

QUICK = RetryPolicy(attempts=3, first_wait=0.01, strikes=3, refusals=4, first_pause=0.05, longest_pause=0.1, pauses=3)


def run_async(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def test_waits_grow_have_jitter_and_obey_the_server() -> None:
    policy = RetryPolicy(first_wait=1.0, longest_wait=8.0)
    for attempt, most in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (9, 8.0)):
        waits = [policy.wait(attempt, None) for _ in range(200)]
        assert most / 2 <= min(waits) < 0.6 * most
        assert 0.9 * most < max(waits) <= most
    assert all(7.0 <= policy.wait(1, 7.0) <= 7.1 for _ in range(50))


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_a_number_or_a_date(as_date: bool) -> None:
    times: list[float] = []

    def script(body: dict[str, Any]) -> Reply:
        times.append(time.monotonic())
        value = formatdate(time.time() + 2, usegmt=True) if as_date else "1.2"
        return completion("a") if len(times) > 1 else raw({}, 429, Retry_After=value)

    with ChatServer(script) as server:
        assert asked_once(PoolModel("m", model="m", base_url=server.url), user_message("q")).text == "a"
    assert 0.9 <= times[1] - times[0] < 60, "the server's wait, not the policy's"


def test_a_date_counts_by_the_clock_that_it_came_with() -> None:
    for wrong in (-86_400.0, 0.0, 20 * 86_400.0):  # seconds that our own clock is off
        now = time.time() - wrong
        headers = {"Retry-After": formatdate(now + 30, usegmt=True), "Date": formatdate(now, usegmt=True)}
        assert read_delay(headers, None, "") == 30.0
    assert 28 <= (read_delay({"Retry-After": formatdate(time.time() + 30), "Date": "nonsense"}, None, "") or 0.0) <= 30


def test_a_circuit_pauses_probes_and_closes() -> None:
    async def work() -> None:
        stop = Cancellation()
        circuit = CircuitBreaker("m", QUICK, stop)
        start = time.monotonic()  # before the failure that begins the pause: a slow machine can only make the wait look longer
        for _ in range(QUICK.strikes):
            await circuit.enter()
            circuit.note_failure(PassingFailure("HTTP 500"))
        assert circuit.paused
        waiting = [asyncio.create_task(circuit.enter()) for _ in range(5)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert time.monotonic() - start >= QUICK.first_pause
        await asyncio.sleep(0.05)
        # One question finds out whether the endpoint is back; the others wait for what it finds.
        assert sum(task.done() for task in waiting) == len(done) == 1
        circuit.note_answer()
        await asyncio.gather(*waiting)
        assert not circuit.paused

    run_async(work())


def test_a_circuit_that_never_closes_drops_the_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        circuit = CircuitBreaker("m", QUICK, Cancellation())

        async def ask_for_ever() -> None:
            while True:
                await circuit.enter()
                circuit.note_failure(PassingFailure("HTTP 500"))

        with pytest.raises(NotAsked, match=r"did not come back after 3 pauses \(HTTP 500\)"):
            await ask_for_ever()

    run_async(work())
    printed = capsys.readouterr().out.splitlines()
    assert len([line for line in printed if line.startswith("m is paused")]) == 3
    assert len([line for line in printed if line.startswith("m is dropped")]) == 1


def test_time_outs_count_thrice_and_refusals_drop_at_once() -> None:
    async def work() -> None:
        circuit = CircuitBreaker("m", RetryPolicy(strikes=6), Cancellation())
        for _ in range(2):
            circuit.note_failure(PassingFailure("slow", timed_out=True))
        assert circuit.paused
        circuit = CircuitBreaker("m", QUICK, Cancellation())
        for _ in range(QUICK.refusals):
            circuit.note_refusal("HTTP 401")
        assert circuit.dropped == "the endpoint refused 4 questions in a row (HTTP 401)"

    run_async(work())


def test_a_pause_ends_with_the_run() -> None:
    async def work() -> None:
        stop = Cancellation()
        circuit = CircuitBreaker("m", RetryPolicy(strikes=1, first_pause=600, longest_pause=600), stop)
        circuit.note_failure(PassingFailure("HTTP 500"))
        waiting = asyncio.create_task(circuit.enter())
        await asyncio.sleep(0.01)
        stop.set("interrupted")
        with pytest.raises(NotAsked, match="interrupted"):
            await waiting

    run_async(work())


def test_a_pace_spreads_requests_and_takes_back_what_was_not_used() -> None:
    async def work() -> None:
        pace, stop = RateLimiter(600), Cancellation()
        start = time.monotonic()
        await asyncio.gather(*(pace.take(1, stop) for _ in range(6)))
        assert time.monotonic() - start >= 0.45
        await pace.take(6000, stop)
        pace.give_back(6000)
        start = time.monotonic()
        await pace.take(1, stop)
        assert time.monotonic() - start < 60  # what was taken would be ten minutes

    run_async(work())


def test_a_budget_is_never_passed_and_waits_for_what_may_be_cheaper() -> None:
    async def work() -> None:
        stop, budget = Cancellation(), Budget(1.0, spent=0.2)
        highest = 0.0

        async def one() -> None:
            nonlocal highest
            async with budget.hold(0.3, stop):
                await asyncio.sleep(0.01)
                budget.pay(0.1)
                highest = max(highest, budget.spent)

        done = await asyncio.gather(*(one() for _ in range(20)), return_exceptions=True)
        # 0.2 + 0.1 each, as long as 0.3 more would still fit.
        assert sum(error is None for error in done) == 6
        assert highest == pytest.approx(0.8)
        assert all(isinstance(error, NotAsked) for error in done if error is not None)
        assert "--max-cost-usd 1 is used up" in (stop.reason or "")

    run_async(work())


def test_the_worst_case_counts_bytes_images_and_the_longest_answer() -> None:
    request = {"messages": user_message("é" * 100, [])}
    assert highest_tokens(request, PoolModel("m", max_tokens=7)) == (100 + 2 + 20, 7)
    assert highest_tokens(request, PoolModel("m", parameters={"max_completion_tokens": 9}))[1] == 9


ROWS = [{"prompt": f"What is {n}+0?", "answer": str(n)} for n in range(40)]
PRICED = {"name": "m", "input_usd_per_mtok": 1000, "output_usd_per_mtok": 1000, "max_tokens": 20, "concurrency": 4}


def test_a_run_stops_before_its_budget_and_goes_on_with_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    write_pool(tmp_path / "pool.yaml", [PRICED])
    paths = flags(tmp_path)
    answers = recording(recorded("m", row["prompt"], row["answer"], prompt_tokens=8, completion_tokens=2) for row in ROWS)
    with ReplayServer(answers) as server:
        assert stage1(*paths, "--base-url", server.url, "--max-cost-usd", "0.2") == 0
        out = capsys.readouterr().out
        assert "stopped early: --max-cost-usd 0.2 is used up" in out
        first = server.requests
        # An answer costs 0.01 USD; the worst case of the next one still has to fit.
        assert 10 <= first <= 20
        with sqlite3.connect(tmp_path / "out" / JOURNAL_NAME) as database:
            (spent,) = database.execute("SELECT sum(cost_usd) FROM exchanges").fetchone()
        assert spent == pytest.approx(first * 0.01)
        assert len(read_evaluations(tmp_path / "out")) == first
        # The budget is the folder's: the same command asks nothing more.
        assert stage1(*paths, "--base-url", server.url, "--max-cost-usd", "0.2") == 0
        assert server.requests == first
        assert stage1(*paths, "--base-url", server.url, "--max-cost-usd", "5") == 0
        assert server.requests == len(ROWS)
    assert len(read_evaluations(tmp_path / "out")) == len(ROWS)


def test_answers_without_a_token_count_use_up_the_budget_at_their_worst_case(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    reply = raw({"choices": [{"message": {"content": "1"}, "finish_reason": "stop"}]})
    with ChatServer(lambda body: reply) as server:
        write_pool(tmp_path / "pool.yaml", [PRICED | {"base_url": server.url}])
        # At most 6 + 20 + 20 tokens of 0.001 USD each: three of them fit, beside the preflight's question.
        for _ in range(2):
            assert stage1(*flags(tmp_path), "--max-cost-usd", "0.2") == 0
            assert server.asked["m"] == 3


def test_a_budget_needs_prices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    write_pool(tmp_path / "pool.yaml", [{"name": "m"}])
    paths = flags(tmp_path)
    assert stage1(*paths, "--base-url", "http://127.0.0.1:9/v1", "--max-cost-usd", "1") == 2
    assert "--max-cost-usd needs the prices of m" in capsys.readouterr().err


def test_a_dead_endpoint_is_dropped_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(caller, "POLICY", QUICK)
    write_rows(tmp_path / "rows.jsonl", ROWS)
    rows = [recorded("good", row["prompt"], row["answer"]) for row in ROWS]
    with (
        ReplayServer(recording(rows)) as good,
        ReplayServer({}, fault=lambda number: Fault(status=500)) as dead,
        ChatServer(lambda body: raw({"error": {"message": "bad key"}}, 401)) as locked,
    ):
        models = [{"name": name, "base_url": s.url} for name, s in (("good", good), ("dead", dead), ("locked", locked))]
        write_pool(tmp_path / "pool.yaml", models)
        paths = flags(tmp_path)
        assert stage1(*paths) == 0
        assert good.requests == len(ROWS)
        assert dead.requests < 30
        assert locked.asked["locked"] < 15
    out = capsys.readouterr().out
    assert out.count("dead is dropped") == out.count("locked is dropped") == 1
    result = read_evaluations(tmp_path / "out")
    assert all(row["model_scores"] == {"good": 1, "dead": None, "locked": None} for row in result)
    reasons = {row["model_errors"]["dead"] for row in result}
    assert any(reason.startswith("not asked: the endpoint did not come back after 3 pauses") for reason in reasons)


def test_a_question_is_not_used_up_by_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "POLICY", QUICK)
    answers = recording(recorded("m", row["prompt"], row["answer"]) for row in ROWS)
    # Down for the requests 10 to 14: more than one question's tries, fewer than the pauses allow.
    down = Fault(status=503)
    with ReplayServer(answers, fault=lambda number: down if 10 <= number <= 14 else None) as server:
        write_rows(tmp_path / "rows.jsonl", ROWS)
        write_pool(tmp_path / "pool.yaml", [{"name": "m", "concurrency": 1}])
        paths = flags(tmp_path)
        assert stage1(*paths, "--base-url", server.url) == 0
    assert [row["model_scores"] for row in read_evaluations(tmp_path / "out")] == [{"m": 1}] * len(ROWS)


def test_what_did_not_answer_the_preflight_is_dropped_soon_and_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(caller, "POLICY", replace(QUICK, strikes=8, pauses=50))
    write_rows(tmp_path / "rows.jsonl", ROWS)

    def script(body: dict[str, Any]) -> Reply:
        dead = body["model"] == "dead"
        return raw({"error": {"message": "the model is not there"}}) if dead else completion("0")

    with ChatServer(script, keep_probes=True) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": name, "base_url": server.url} for name in ("good", "dead")])
        assert stage1(*flags(tmp_path)) == 0
        assert server.asked["dead"] < len(ROWS)
    shown = capsys.readouterr()
    (line,) = (line for line in (shown.out + shown.err).splitlines() if line.startswith("dead is "))
    assert line.startswith("dead is dropped: the endpoint did not answer the preflight and did not come back after 2 pauses (")
    assert all(row["model_scores"]["good"] is not None for row in read_evaluations(tmp_path / "out"))


@pytest.mark.parametrize(
    ("failure", "answers", "pauses"),
    [
        (PassingFailure("HTTP 500"), False, 2),
        (PassingFailure("no answer within 9 s", timed_out=True), False, 2),
        (PassingFailure("HTTP 500"), True, 5),
        (PassingFailure("HTTP 429", limited=True), False, 5),
        (PassingFailure("HTTP 503", retry_after=0.01), False, 5),
    ],
)
def test_a_rate_limit_and_an_answer_keep_the_usual_patience(failure: PassingFailure, answers: bool, pauses: int) -> None:
    async def work() -> None:
        circuit = CircuitBreaker("m", replace(QUICK, pauses=5), Cancellation())
        circuit.note_failed_preflight(failure)
        if answers:
            circuit.note_answer()
        paused = 0
        while circuit.dropped is None:
            await circuit.enter()
            circuit.note_failure(PassingFailure("HTTP 500"))
            paused += circuit.paused and circuit.dropped is None
        assert paused == pauses

    run_async(work())
