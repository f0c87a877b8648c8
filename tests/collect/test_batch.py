"""Stage 1 through a Batch API: half price, nothing sent twice, the labels of a direct run, whatever is lost on the way."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import prepare_hf_data
from auto_router.collect.endpoint import Endpoint
from auto_router.collect.journal import JOURNAL_NAME, Journal
from auto_router.collect.question import Question, question_messages
from auto_router.collect.rate_limits import NotAsked
from auto_router.collect.runner import EndpointClient, Run
from auto_router.data.pool import PoolModel
from tests.batch_server import BatchServer
from tests.stage1 import (
    ChatServer,
    Reply,
    child_processes,
    completion,
    flags,
    raw,
    read_evaluations,
    stage1,
    write_pool,
    write_rows,
)

Row = dict[str, Any]
PRICES = {"input_usd_per_mtok": 1000.0, "output_usd_per_mtok": 1000.0}  # a token costs 0.001 USD
COUNT = 12


def answer(body: Row) -> Reply:
    """Right on even questions; tokens that tell the cost of each."""
    number = int(body["messages"][-1]["content"].split()[1])
    return completion(f"{number if number % 2 == 0 else 'no idea'}", tokens=(number, 2))


def prepare(folder: Path, url: str, count: int = COUNT, **more: Any) -> list[str]:
    """Write a data set and a pool of one model; return the flags of a run."""
    write_rows(folder / "rows.jsonl", [{"prompt": f"Question {n} ?", "answer": str(n)} for n in range(count)])
    entry = {"name": "one", "base_url": url, "batch": True, "batch_poll_s": 0.01, **PRICES, **more}
    write_pool(folder / "pool.yaml", [entry])
    return [*flags(folder), "--match-only"]


def direct_labels(folder: Path, count: int = COUNT) -> list[Row]:
    """What a direct run makes of the same questions."""
    with ChatServer(answer) as chat:
        other = folder / "direct"
        other.mkdir()
        assert stage1(*prepare(other, chat.url, count, batch=False)) == 0
        return read_evaluations(other / "out")


def spent(folder: Path) -> float:
    with sqlite3.connect(folder / "out" / JOURNAL_NAME) as database:
        (total,) = database.execute("SELECT sum(coalesce(cost_usd, 0) + lost_usd) FROM exchanges").fetchone()
        return float(total)


def open_batches(folder: Path) -> int:
    with sqlite3.connect(folder / "out" / JOURNAL_NAME) as database:
        return int(database.execute("SELECT count(*) FROM batches").fetchone()[0])


def test_a_batch_gives_the_direct_runs_labels_for_half_the_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = direct_labels(tmp_path)
    full = spent(tmp_path / "direct")
    capsys.readouterr()
    with BatchServer(answer) as server:
        assert stage1(*prepare(tmp_path, server.url)) == 0
        printed = capsys.readouterr().out
        assert read_evaluations(tmp_path / "out") == expected
        assert "model_latencies" not in (tmp_path / "out" / "hf_evaluations_train.json").read_text(), (
            "a batch says nothing of it"
        )
        assert server.calls["create"] == 1
        assert not server.direct_bodies
        assert set(server.sent.values()) == {1}
        assert len(server.sent) == COUNT
        probe = full - sum(cost for row in expected for cost in row["model_costs"].values())
        assert spent(tmp_path) == pytest.approx(probe + (full - probe) / 2)
        assert f"batch batch_0 of {COUNT} questions is under way, at 50% of the price" in printed
        before = server.calls.copy()
        assert stage1(*prepare(tmp_path, server.url)) == 0  # and then there is nothing left to ask
        assert server.calls == before
    assert open_batches(tmp_path) == 0


def test_any_success_of_http_counts_as_one(tmp_path: Path) -> None:
    """Portkey's gateway answers with 246, for one; what such a line cost is paid, too."""
    expected = direct_labels(tmp_path)
    with BatchServer(answer, success=246) as server:
        assert stage1(*prepare(tmp_path, server.url)) == 0
    assert read_evaluations(tmp_path / "out") == expected
    plain = tmp_path / "plain"
    plain.mkdir()
    with BatchServer(answer) as server:
        assert stage1(*prepare(plain, server.url)) == 0
    assert spent(tmp_path) == spent(plain)


def test_the_table_shows_what_was_paid_and_the_records_what_a_router_pays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BatchServer(answer) as server:
        assert stage1(*prepare(tmp_path, server.url), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    listed = sum(cost for row in read_evaluations(tmp_path / "out") for cost in row["model_costs"].values())
    assert listed == pytest.approx(sum(n + 2 for n in range(COUNT)) / 1000)
    assert told["models"]["one"]["usd"] == told["usd"] == pytest.approx(listed / 2)


@pytest.mark.parametrize("kind", ["upload", "create", "look", "download", "list files", "list batches"])
@pytest.mark.parametrize("fault", ["lost", "busy"])
def test_a_call_whose_answer_is_lost_is_looked_for_before_it_is_sent_again(tmp_path: Path, kind: str, fault: str) -> None:
    faults = Counter({kind: 2})
    if kind.startswith("list"):
        faults |= Counter({"upload" if kind == "list files" else "create": 1})

    def fail(call: str) -> str | None:
        faults[call] -= 1
        return None if faults[call] < 0 else "lost" if call in ("upload", "create") and kind.startswith("list") else fault

    with BatchServer(answer, call_fault=fail) as server:
        assert stage1(*prepare(tmp_path, server.url), "--skip-preflight") == 0
        assert len(server.batches) == 1, "sent twice"
        assert len(server.files) == 2, "uploaded twice"
        assert set(server.sent.values()) == {1}
    labels = [row["model_scores"]["one"] for row in read_evaluations(tmp_path / "out")]
    assert labels == [1.0 - n % 2 for n in range(COUNT)]


def test_what_expired_failed_or_is_missing_goes_into_another_batch(tmp_path: Path) -> None:
    expected = direct_labels(tmp_path)
    faults = ["expired", "failed", "missing", None]
    keys: list[str] = []

    def fault(key: str, times: int) -> str | None:
        if key not in keys:
            keys.append(key)
        return faults[keys.index(key) % 4] if times == 1 else None

    with BatchServer(answer, line_fault=fault) as server:
        assert stage1(*prepare(tmp_path, server.url), "--skip-preflight") == 0
        assert len(server.batches) == 2
        assert [server.sent[key] for key in keys] == [2, 2, 2, 1] * (COUNT // 4)
    assert read_evaluations(tmp_path / "out") == expected


@pytest.mark.parametrize(("kind", "words"), [("expired", "batch_expired"), ("missing", "it stands in no file of its batch")])
def test_a_question_that_never_comes_through_is_unknown_with_its_reason(tmp_path: Path, kind: str, words: str) -> None:
    first: list[str] = []

    def fault(key: str, times: int) -> str | None:
        first.append(key)
        return kind if key == first[0] else None

    with BatchServer(answer, line_fault=fault) as server:
        assert stage1(*prepare(tmp_path, server.url), "--skip-preflight") == 0
        assert server.sent[first[0]] == 5
        errors = [row["model_errors"] for row in read_evaluations(tmp_path / "out") if row.get("model_errors")]
        assert len(errors) == 1
        assert words in errors[0]["one"]
        assert "after 5 batches" in errors[0]["one"]
        server.line_fault = lambda key, times: None
        assert stage1(*prepare(tmp_path, server.url), "--skip-preflight") == 0
        assert server.sent[first[0]] == 6
        assert sum(server.sent.values()) == COUNT + 5
    assert not any(row.get("model_errors") for row in read_evaluations(tmp_path / "out"))


def test_a_parameter_that_is_refused_is_taken_out_in_the_next_batch(tmp_path: Path) -> None:
    def script(body: Row) -> Reply:
        if "max_tokens" in body:
            words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            return raw({"error": {"message": words, "code": "unsupported_parameter", "param": "max_tokens"}}, 400)
        assert body["max_completion_tokens"] == 1024
        return answer(body)

    with BatchServer(script) as server:
        assert stage1(*prepare(tmp_path, server.url), "--skip-preflight") == 0
        assert len(server.batches) == 2
    assert len([row for row in read_evaluations(tmp_path / "out") if row["model_scores"]["one"] is not None]) == COUNT


def test_a_queue_that_is_too_short_gets_smaller_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with BatchServer(answer, queue=3) as server:
        assert stage1(*prepare(tmp_path, server.url), "--skip-preflight") == 0
        assert set(server.sent.values()) == {1}
        assert len(server.sent) == COUNT
    assert "its queue has no room for 12 questions" in capsys.readouterr().out


def test_limits_of_a_file_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auto_router.collect.batch.MAX_BATCH_BYTES", 1000)
    with BatchServer(answer) as server:
        assert stage1(*prepare(tmp_path, server.url), "--skip-preflight") == 0
        sizes = [len(content) for row, content in server.files.values() if row["purpose"] == "batch"]
        assert len(sizes) == 3
        assert max(sizes) <= 1000
        assert set(server.sent.values()) == {1}


def test_the_budget_holds_for_batches_at_their_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A question may cost (prompt + 4 tokens) × 0.001 × 0.5 USD at most."""
    with BatchServer(answer) as server:
        run = [*prepare(tmp_path, server.url, parameters={"max_tokens": 4}), "--skip-preflight"]
        assert stage1(*run, "--max-cost-usd", "0.03") == 0
        assert "is used up" in capsys.readouterr().out
        assert spent(tmp_path) <= 0.03
        assert 1 < len(server.sent) < COUNT
        assert stage1(*run, "--max-cost-usd", "10") == 0
        assert set(server.sent.values()) == {1}
        assert len(server.sent) == COUNT


def test_azure_is_asked_at_its_own_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """https://learn.microsoft.com/azure/ai-services/openai/how-to/batch: a batch deployment takes no direct requests, a file is
    read before a batch can begin."""
    monkeypatch.setenv("AZURE_KEY", "very-secret-key")
    with BatchServer(answer, direct=False, file_status="pending") as server:
        azure: dict[str, Any] = {"api_version": "2024-10-21", "api_key_env": "AZURE_KEY"}
        assert stage1(*prepare(tmp_path, server.root, **azure), "--dry-run") == 0
        assert "in batches" in capsys.readouterr().out
        assert stage1(*prepare(tmp_path, server.root, **azure)) == 0
        assert all(path.startswith("/openai/") and "api-version=2024-10-21" in path for path in server.paths)
        assert all("api-key: very-secret-key" in head and "Authorization" not in head for head in server.heads)
        assert {row["endpoint"] for row in server.batches.values()} == {"/chat/completions"}
    assert len(read_evaluations(tmp_path / "out")) == COUNT


def test_a_refusal_of_the_batch_api_leaves_the_other_models_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with BatchServer(answer, call_fault=lambda kind: "refused" if kind == "create" else None) as server:
        run = prepare(tmp_path, server.url)
        pool = json.loads((tmp_path / "pool.yaml").read_text())
        write_pool(tmp_path / "pool.yaml", [*pool["models"], {"name": "two", "base_url": server.url}])
        assert stage1(*run) == 0
        assert not server.sent
        assert len(server.direct_bodies) == COUNT
        assert "one: Batch API: HTTP 400: no such thing; the others go on" in capsys.readouterr().out
        assert open_batches(tmp_path) == 0


def test_a_batch_that_the_user_cancelled_or_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with BatchServer(answer) as server:
        run = [*prepare(tmp_path, server.url), "--skip-preflight"]

        def cancel(kind: str) -> None:
            if kind == "look":
                server.batches["batch_0"] |= {"status": "cancelled"}

        server.call_fault = cancel
        assert stage1(*run) == 2
        assert "was cancelled at the provider" in capsys.readouterr().out
        assert len(server.batches) == 1
        assert open_batches(tmp_path) == 0

        def lose(kind: str) -> None:
            if kind == "look" and server.calls["create"] == 2:
                server.batches.pop("batch_1", None)

        server.call_fault = lose
        assert stage1(*run) == 0
        assert set(server.sent.values()) == {3}  # cancelled, gone, answered


def test_a_batch_that_is_under_way_is_waited_for_even_where_the_pool_says_batch_no_more(tmp_path: Path) -> None:
    with BatchServer(answer, polls=10**6) as server:
        server.call_fault = lambda kind: "refused" if kind == "look" else None
        assert stage1(*prepare(tmp_path, server.url), "--skip-preflight") == 2
        assert open_batches(tmp_path) == 1
        server.call_fault, server.polls = lambda kind: None, 0
        assert stage1(*prepare(tmp_path, server.url, batch=False, count=COUNT + 2), "--skip-preflight") == 0
        assert set(server.sent.values()) == {1}
        assert len(server.sent) == COUNT
        assert len(server.direct_bodies) == 2, "the two questions more are asked directly"


def test_a_dry_run_shows_half_the_price_and_leaves_out_what_is_under_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with BatchServer(answer) as server:
        run = prepare(tmp_path, server.url)
        assert stage1(*run, "--dry-run") == 0
        half = _about(capsys.readouterr().out)
        assert stage1(*prepare(tmp_path, server.url, batch=False), "--dry-run") == 0
        assert half == pytest.approx([usd / 2 for usd in _about(capsys.readouterr().out)], abs=0.01)
        server.call_fault = lambda kind: "refused" if kind == "look" else None
        assert stage1(*prepare(tmp_path, server.url)) == 2
        capsys.readouterr()
        assert stage1(*prepare(tmp_path, server.url), "--dry-run") == 0
        assert "nothing is left" in capsys.readouterr().out


def _about(printed: str) -> list[float]:
    """Both figures of the table's line of the model."""
    line = next(line for line in printed.splitlines() if line.startswith("one "))
    return [float(cell) for cell in line.split()[-2:]]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"batch": "yes"}, "batch must be true or false"),
        ({"batch_discount": 1}, "a share from 0 to below 1"),
        ({"batch": True, "stream": True}, "stream and batch are both true"),
        ({"batch_poll_s": 0}, "batch_poll_s must be a number above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    tmp_path: Path, entry: Row, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage1(*prepare(tmp_path, "http://127.0.0.1:9/v1", **entry)) != 0
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["create", "list batches"])
def test_a_refusal_that_can_be_mended_forgets_no_batch_that_may_have_begun(tmp_path: Path, kind: str) -> None:
    """The answer to the beginning is lost; then the key is refused, until somebody mends it."""
    lost = Counter({"create": 1})

    def fail(call: str) -> str | None:
        if call == "create" and lost["create"]:
            lost["create"] = 0
            return "lost"
        return "forbidden" if call == "list batches" and kind == call else None

    with BatchServer(answer, call_fault=fail) as server:
        run = [*prepare(tmp_path, server.url), "--skip-preflight"]
        if kind == "create":
            server.call_fault = lambda call: "forbidden" if call == kind else None
        assert stage1(*run) == 2
        assert open_batches(tmp_path) == 1
        server.call_fault = lambda call: None
        assert stage1(*run) == 0
        assert set(server.sent.values()) == {1}
        assert len(server.files) == 2, "uploaded twice"
    assert len(read_evaluations(tmp_path / "out")) == COUNT


KILLS = 10
QUESTIONS = 60


def crash_row_fault(key: str, times: int) -> str | None:
    """On its first journey every fifth question expires, fails, or is in no file."""
    return {0: "expired", 1: "failed", 2: "missing"}.get(int(key[:4], 16) % 15) if times == 1 else None


@pytest.mark.timeout(240)
def test_after_ten_kills_nothing_was_sent_twice_and_the_labels_are_the_direct_runs(tmp_path: Path) -> None:
    """``kill -9`` at each kind of call, before and after its answer, while calls are lost and lines expire, fail and miss."""
    expected = direct_labels(tmp_path, QUESTIONS)
    context = child_processes()
    generator = random.Random(7)
    moments = ["upload", "create", "look", "look at file", "download", "upload", "create", "look", "download", "create"]
    assert len(moments) == KILLS
    process: Any = None
    killed = threading.Event()

    def strike(kind: str) -> str | None:
        """Kill the run as the server takes a call of the kind that is due; some calls are lost besides."""
        if moments and kind == moments[0] and process is not None and not killed.is_set():
            lost = generator.random() < 0.5  # else it is done all the same, and nobody is there for its answer
            os.kill(process.pid, signal.SIGKILL)
            killed.set()
            return "busy" if lost else None
        return "lost" if generator.random() < 0.05 else None

    with BatchServer(answer, line_fault=crash_row_fault, call_fault=strike) as server:
        run = [*prepare(tmp_path, server.url, QUESTIONS), "--skip-preflight"]
        while moments:
            killed.clear()
            process = context.Process(target=prepare_hf_data.main, args=(run,))
            process.start()
            process.join(60)
            if not killed.is_set():  # all was done before the moment came: a data set of more questions has work again
                assert process.exitcode == 0
                write_rows(
                    tmp_path / "rows.jsonl",
                    [{"prompt": f"Question {n} ?", "answer": str(n)} for n in range(QUESTIONS + 10 * len(server.batches))],
                )
                continue
            moments.pop(0)
        process = None
        more = server.sent.copy()
        run = [*prepare(tmp_path, server.url, QUESTIONS), "--skip-preflight"]
        assert stage1(*run) == 0
    assert read_evaluations(tmp_path / "out") == expected
    assert len(more) >= QUESTIONS
    for key, times in server.sent.items():
        assert times == 1 + (crash_row_fault(key, 1) is not None), "a question was paid for twice"
    assert open_batches(tmp_path) == 0


def test_ctrl_c_leaves_the_batch_running_and_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(kind: str) -> None:
        if server.calls["look"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with BatchServer(answer, polls=10**6, call_fault=interrupt) as server:
        run = [*prepare(tmp_path, server.url), "--skip-preflight"]
        assert stage1(*run) == 130
        said = capsys.readouterr()
        assert "batch batch_0 goes on at the provider; the same command fetches its answers" in said.out
        assert "run the same command again to go on" in said.err
        server.polls, server.call_fault = 0, lambda kind: None
        assert stage1(*run) == 0
        assert server.calls["create"] == 1
        assert "goes on with batch batch_0" in capsys.readouterr().out


def test_who_needs_another_models_answer_waits_for_its_batch(tmp_path: Path) -> None:
    """Labels by a strong model compare with its answers while its batch is still under way."""

    async def run(url: str) -> list[str | None]:
        model = PoolModel("one", base_url=url, model="one", batch=True, batch_poll_s=0.01)
        questions = [Question(n, f"Question {n} ?", ("",), (), None, "") for n in range(3)]
        with Journal(tmp_path / "j.sqlite") as journal:
            caller = EndpointClient(Endpoint(model), Run(journal))
            assert caller.batches is not None
            with pytest.raises(NotAsked, match="its batch is not done yet"):
                await caller.ask(question_messages(questions[2]))
            batch = asyncio.create_task(caller.batches.run(lambda: questions, 1))
            await asyncio.sleep(0)
            found = [await caller.ask(question_messages(question)) for question in questions]
            await batch
            await caller.close()
            return [response.text for response in found]

    with BatchServer(answer) as server:
        assert asyncio.run(run(server.url)) == ["0", "no idea", "2"]
        assert not server.direct_bodies
