"""Answers that a log holds count as their model's own: nobody is asked, or pays, for them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auto_router.collect.recipes import read_logged
from tests.stage1 import ChatServer, Reply, completion, flags, read_evaluations, stage1, write_pool, write_rows

COUNT = 10
PRICES = {"input_usd_per_mtok": 1000.0, "output_usd_per_mtok": 1000.0}


def logged(model: str | None, response: str | None, **more: Any) -> dict[str, Any]:
    """The cell that the importer writes."""
    return {"model": model, "response": response, "prompt_tokens": 10, "completion_tokens": 1, "cost": 0.25} | more


def prepare(folder: Path, url: str, names: list[str | None], models: list[dict[str, Any]]) -> list[str]:
    """A log in which question n was answered, rightly, by the n-th of ``names`` in turn."""
    rows = [
        {
            "messages": [{"role": "user", "content": f"Question {n} ?"}], "answer": str(n), "images": [], "group": f"g{n}",
            "logged": logged(names[n % len(names)], str(n)),
        }
        for n in range(COUNT)
    ]  # fmt: skip
    write_rows(folder / "rows.jsonl", rows)
    write_pool(folder / "pool.yaml", [{"base_url": url, **PRICES, **model} for model in models])
    return [*flags(folder), "--match-only", "--skip-preflight"]


def wrong(body: dict[str, Any]) -> Reply:
    return completion("no idea", tokens=(3, 1))


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("strong", {"name": "strong"}),
        ("vendor/strong-v2", {"name": "strong", "model": "vendor/strong-v2"}),
        ("strong-2026-01", {"name": "strong", "same_as": ["https://old.example.com/v1", "strong-2026-01"]}),
    ],
)
def test_a_logged_answer_counts_for_the_model_that_gave_it(
    tmp_path: Path, name: str, entry: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with ChatServer(wrong) as chat:
        run = prepare(tmp_path, chat.url, [name], [entry, {"name": "weak"}])
        assert stage1(*run, "--json") == 0
        assert dict(chat.asked) == {"weak": COUNT}
        told = json.loads(capsys.readouterr().out)
    for row in read_evaluations(tmp_path / "out"):
        assert row["model_scores"] == {"strong": 1.0, "weak": 0.0}
        assert row["model_costs"] == {"strong": 0.25, "weak": 0.004}, "a router weighs what the answer costs"
    train = json.loads((tmp_path / "out" / "hf_evaluations_train.json").read_text())
    assert {name for row in train for name in row["model_latencies"]} == {"weak"}, "the log says nothing of strong's"
    assert told["models"]["strong"]["usd"] == 0, "and the run pays nothing for it"
    assert told["usd"] == pytest.approx(0.004 * COUNT)


def test_it_never_counts_for_another_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither for one of a like name, nor for one of two efforts of a model, nor where the log names none."""
    efforts = [{"name": f"mini {effort}", "model": "mini", "reasoning_effort": effort} for effort in ("low", "high")]
    with ChatServer(wrong) as chat:
        run = prepare(tmp_path, chat.url, ["strong-2026-01", "mini", None, "STRONG"], [{"name": "strong"}, *efforts])
        assert stage1(*run) == 0
        assert dict(chat.asked) == {"strong": COUNT, "mini": 2 * COUNT}
    assert not any(score for row in read_evaluations(tmp_path / "out") for score in row["model_scores"].values())
    printed = capsys.readouterr().out
    assert (
        "8 answers in the log are of no model of this pool and do not count: strong-2026-01 (3), mini (3), STRONG (2)"
        in printed
    )
    assert "mini is the id of several candidates" in printed


def test_the_pools_own_name_comes_before_an_id_that_several_share(tmp_path: Path) -> None:
    with ChatServer(wrong) as chat:
        models = [{"name": "mini"}, {"name": "mini high", "model": "mini", "reasoning_effort": "high"}]
        assert stage1(*prepare(tmp_path, chat.url, ["mini"], models)) == 0
        assert len(chat.bodies) == COUNT
        assert all(body["reasoning_effort"] == "high" for body in chat.bodies)


def test_the_dry_run_leaves_out_what_is_logged_and_the_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer(wrong) as chat:
        run = prepare(tmp_path, chat.url, ["strong", "strong", "other"], [{"name": "strong"}, {"name": "weak"}])
        assert stage1(*[flag for flag in run if flag != "--skip-preflight"], "--dry-run") == 0
        printed = capsys.readouterr().out
        assert "7 answers of strong are in the log and are not paid for again" in printed
        counts = {line.split()[0]: line.split()[-3] for line in printed.splitlines() if line.startswith(("strong ", "weak "))}
        assert counts == {"strong": "3", "weak": str(COUNT)}
        assert not chat.bodies


def test_an_answer_that_the_journal_holds_stays(tmp_path: Path) -> None:
    with ChatServer(wrong) as chat:
        first = prepare(tmp_path, chat.url, [None], [{"name": "strong"}])
        assert stage1(*first) == 0
        assert stage1(*prepare(tmp_path, chat.url, ["strong"], [{"name": "strong"}])) == 0
        assert len(chat.bodies) == COUNT
    assert not any(row["model_scores"]["strong"] for row in read_evaluations(tmp_path / "out"))


@pytest.mark.parametrize(
    "value", [None, "text", [], {}, logged(None, "x"), logged("m", None), logged("m", "  "), {"model": "m"}]
)
def test_what_is_no_logged_answer_is_none(value: Any) -> None:
    assert read_logged(value) is None


def test_counts_and_costs_that_are_none_stay_unknown() -> None:
    read = read_logged(logged("m", "x", prompt_tokens="many", completion_tokens=-1, cost=float("nan")))
    assert read is not None
    assert (read.prompt_tokens, read.completion_tokens, read.cost) == (None, None, None)
