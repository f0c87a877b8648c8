"""What a run spends: the limit holds whatever an endpoint bills, and labels carry what was billed."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from auto_router.collect.endpoint import user_message
from auto_router.collect.money import Budget, CostCeiling, answer_cost, highest_tokens, read_usage, show_usd, usual_tokens
from auto_router.collect.preflight import Workload, estimate
from auto_router.collect.reply import Response
from auto_router.data.pool import UNSTATED_IMAGE_TOKENS, UNSTATED_OUTPUT_TOKENS, PoolModel
from tests.helpers import png
from tests.stage1 import ChatServer, Reply, b64, flags, raw, read_evaluations, stage1, write_pool, write_rows

PRICES = {"input_usd_per_mtok": 0.6, "output_usd_per_mtok": 2.4}
ROWS: list[dict[str, Any]] = [{"prompt": f"What is {n}+0?", "answer": str(n), "images": []} for n in range(120)]
ROWS += [{"prompt": f"What is {n}+1?", "answer": str(n + 1), "images": [b64(png((n, 0, 0)))]} for n in range(40)]


class Biller:
    """Answers right and bills 20,000 tokens of reasoning, 26,000 tokens an image; keeps what it billed, in USD."""

    def __init__(self, outside: bool) -> None:
        self.outside, self.billed = outside, 0.0
        self.by_prompt: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> Reply:
        content = body["messages"][-1]["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        text, images = parts[0]["text"], len(parts) - 1
        reasoning, prompt = 20_000, 20 + 26_000 * images
        found = re.fullmatch(r"What is (\d+)\+(\d)\?", text)
        answer = str(int(found[1]) + int(found[2])) if found else "red, ready"
        if text.startswith("{"):
            answer = json.dumps({"id": json.loads(text)["id"], "correct": True})
        cost = (prompt * 0.6 + (reasoning + 10) * 2.4) / 1e6
        with self._lock:
            self.billed += cost
            self.by_prompt[text] = cost
        completion = 10 if self.outside else 10 + reasoning
        usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion}
        usage |= {"total_tokens": prompt + 10 + reasoning} if self.outside else {}
        usage |= {} if self.outside else {"completion_tokens_details": {"reasoning_tokens": reasoning}}
        return raw({"choices": [{"message": {"content": answer}, "finish_reason": "stop"}], "usage": usage})


@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize(("limit", "parameters"), [(0.45, {}), (0.6, {"max_tokens": None}), (3.0, {})])
def test_a_limit_holds_whatever_is_billed(tmp_path: Path, limit: float, parameters: dict[str, Any], outside: bool) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    biller = Biller(outside)
    with ChatServer(biller, keep_probes=True) as server:
        entry = {"base_url": server.url, "modalities": ["text", "image"], "concurrency": 32, "parameters": parameters} | PRICES
        write_pool(tmp_path / "pool.yaml", [{"name": "m"} | entry, {"name": "n"} | entry], judge={"name": "j"} | entry)
        for _ in range(2):  # the limit is the folder's
            assert stage1(*flags(tmp_path), "--concurrency", "32", "--max-cost-usd", str(limit)) == 0
            assert biller.billed <= limit + 0.01
    assert biller.billed > limit / 2, "what fits is asked"
    rows = read_evaluations(tmp_path / "out")
    assert rows
    for row in rows:
        for name, cost in row["model_costs"].items():
            assert cost == pytest.approx(biller.by_prompt[row["prompt"]]), name


def test_the_worst_case_is_the_request_s_limit_else_the_pool_s_else_the_longest_known() -> None:
    request = {"messages": user_message("q", [png((0, 0, 0))])}
    assert highest_tokens(request, PoolModel("m"))[0] == pytest.approx(UNSTATED_IMAGE_TOKENS + 22, abs=12)
    assert highest_tokens(request, PoolModel("m", image_tokens=85))[0] == pytest.approx(85 + 22, abs=12)
    unlimited = {"max_tokens": None}
    for model, tokens in (
        (PoolModel("m"), 1024),
        (PoolModel("m", parameters=unlimited), UNSTATED_OUTPUT_TOKENS),
        (PoolModel("m", parameters=unlimited, max_output_tokens=9_000), 9_000),
        (PoolModel("m", parameters=unlimited | {"max_completion_tokens": 50}), 50),
    ):
        assert highest_tokens(request, model)[1] == tokens
    # A rate limit is not spent on images that nobody counts at their worst.
    assert usual_tokens(request, PoolModel("m")) < 2_000


def test_the_first_question_is_held_with_care_and_a_stated_bound_is_strict() -> None:
    async def held(limit: float, **settings: Any) -> float:
        model = PoolModel("m", input_usd_per_mtok=0, output_usd_per_mtok=10, max_tokens=100, **settings)
        async with CostCeiling(model, Budget(limit)).turn((10, 100)) as amount:
            return amount

    assert asyncio.run(held(5.0)) == pytest.approx(UNSTATED_OUTPUT_TOKENS * 10 / 1e6)
    assert asyncio.run(held(0.1)) == pytest.approx(100 * 10 / 1e6), "no room: the request's own limit is trusted"
    assert asyncio.run(held(0.1, max_output_tokens=20_000)) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("usage", "prompt", "completion", "outside"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 5030}, 20, 5010, True),
        ({"prompt_tokens": 20.0, "completion_tokens": "10", "total_tokens": 30.0}, 20, 10, False),
        ({"input_tokens": 3, "output_tokens": 4}, 3, 4, False),
        ({"completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 90}}, None, 100, True),
        ({"prompt_tokens": -1, "completion_tokens": float("nan")}, None, None, False),
        ({"prompt_tokens": True, "completion_tokens": None, "total_tokens": 10**12}, None, None, False),
        (None, None, None, False),
        ([1], None, None, False),
    ],
)
def test_usage_is_read_in_any_form(usage: Any, prompt: int | None, completion: int | None, outside: bool) -> None:
    found = read_usage(usage)
    assert (found.prompt_tokens, found.completion_tokens, found.outside) == (prompt, completion, outside)


def test_what_the_endpoint_billed_comes_first() -> None:
    model = PoolModel("m", input_usd_per_mtok=1, output_usd_per_mtok=1, cached_input_usd_per_mtok=0.1)
    assert answer_cost(model, Response("x", 1000, 0)) == pytest.approx(1e-3)
    assert answer_cost(model, Response("x", 1000, 0, cached_tokens=1000)) == pytest.approx(1e-4)
    assert answer_cost(model, Response("x", 1000, 0, billed_usd=0.5)) == 0.5
    assert answer_cost(PoolModel("m"), Response("x", 1, 1, billed_usd=0.5)) == 0.5


def test_the_estimate_takes_what_the_probe_took() -> None:
    model, work = PoolModel("m", input_usd_per_mtok=0, output_usd_per_mtok=1), Workload(1000, 10_000, 0)
    about, most = estimate(model, work, None)
    assert about == pytest.approx(0.25)
    assert most == pytest.approx(1.024)
    about, most = estimate(model, work, Response("ready", 10, 5_000, latency_s=1.0))
    assert about == pytest.approx(5.0)
    assert most == pytest.approx(UNSTATED_OUTPUT_TOKENS / 1000), "it does not keep to the request's limit"


def test_tables_show_candidates_judges_and_total(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"prompt": f"Name thing {n}.", "answer": f"thing {n}"} for n in range(10)])
    biller = Biller(outside=False)
    with ChatServer(biller, keep_probes=True) as server:
        entry = {"base_url": server.url} | PRICES
        write_pool(tmp_path / "pool.yaml", [{"name": "m"} | entry], judge={"name": "j"} | entry)
        assert stage1(*flags(tmp_path)) == 0
        out = capsys.readouterr().out
        table = {
            line.split("  ")[0]: float(line.split()[-1]) for line in out.splitlines() if re.match(r"(m|j|total) .*\d$", line)
        }
        assert table["m"] + table["j (judge)"] == pytest.approx(table["total"], abs=2e-4)
        assert table["m"] == pytest.approx(10 * 0.048, abs=0.001)
        assert f"{biller.billed:.4f} USD" in out, "the preflight's questions too"
        # Nothing is left to ask, so nothing is asked and the estimate is 0.
        billed = biller.billed
        assert stage1(*flags(tmp_path), "--dry-run") == 0
        assert biller.billed == billed
        assert re.search(r"m +m +candidate +not asked: nothing is left .* 0 +0\.00 +0\.00", capsys.readouterr().out)


def test_an_unknown_cost_is_shown_as_unknown() -> None:
    assert show_usd(0.0, 0) == "0.0000"
    assert show_usd(0.00123, 0, " USD") == "0.0012 USD"
    assert show_usd(0.0, 3, " USD") == "-"
    assert show_usd(0.00123, 1, " USD") == "0.0012 USD + unknown"


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(
    ("priced", "total"), [("", "-"), ("a", "0.0240 + unknown"), ("aj", "0.0720 + unknown"), ("abj", "0.0960")]
)
def test_what_has_no_price_is_no_0_in_tables_and_sums(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], priced: str, total: str, counted: bool
) -> None:
    def script(body: dict[str, Any]) -> Reply:
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[0]["text"]
        answer = json.dumps({"id": json.loads(text)["id"], "correct": True}) if text.startswith("{") else body["model"]
        usage = {"usage": {"prompt_tokens": 10, "completion_tokens": 2}} if counted else {}
        return raw({"choices": [{"message": {"content": answer}, "finish_reason": "stop"}], **usage})

    write_rows(tmp_path / "rows.jsonl", [{"prompt": f"Name thing {n}.", "answer": f"thing {n}"} for n in range(20)])
    prices = {"input_usd_per_mtok": 100, "output_usd_per_mtok": 100}
    with ChatServer(script) as server:
        entries = {n: {"name": n, "base_url": server.url} | (prices if n in priced else {}) for n in "abj"}
        write_pool(tmp_path / "pool.yaml", [entries["a"], entries["b"]], judge=entries["j"])
        assert stage1(*flags(tmp_path), "--skip-preflight") == 0
        shown = capsys.readouterr().out
        assert stage1(*flags(tmp_path), "--export-only", "--json") == 0
    # An answer or a verdict takes 12 tokens, 0.0012 USD; a and b are asked 20 times each, j 40 times.
    known = float(total.split()[0]) if counted and total != "-" else None
    assert json.loads(capsys.readouterr().out)["usd"] == (None if known is None else pytest.approx(known))
    total = total if counted else "-"
    assert re.search(rf"^total .* {re.escape(total)}$", shown, re.MULTILINE)
    of_judge = "0.0480" if counted and "j" in priced else "-"
    assert re.search(rf"^j \(judge\) .* {re.escape(of_judge)}$", shown, re.MULTILINE)
    amount, *more = total.split(" + ")
    spent = total if total == "-" else " + ".join([f"{amount} USD", *more])
    assert f"tries without an answer included: {spent}\n" in shown


@pytest.mark.parametrize(
    ("details", "billed"),
    [({"upstream_inference_cost": 0.02}, 0.021), ({"upstream_inference_cost": None}, None), ({}, None), (None, None)],
)
def test_with_a_key_of_ones_own_the_fee_alone_is_not_the_cost(details: Any, billed: float | None) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "cost": 0.001, "is_byok": True, "cost_details": details}
    assert read_usage(usage).billed_usd == (None if billed is None else pytest.approx(billed))
