"""Decoys: a judge that takes answers to other questions for right is found out, whichever way labels rest on it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from auto_router.collect.label_checks import MAX_DECOYS, count_decoys
from auto_router.data.label_stats import DecoyCheck
from tests.stage1 import ChatServer, Reply, completion, flags, stage1, write_pool, write_rows

ROWS, SHOWN = 60, 12
SOURCES = {
    "rubric": ["--labels", "rubric"],
    "silver": ["--labels", "silver", "--silver-model", "strong", "--silver-samples", "2"],
    "pairwise": ["--labels", "pairwise", "--pairwise-against", "strong"],
}


def number(text: str) -> str:
    return str(re.findall(r"number (\d+)", text)[0])


class Endpoints:
    """Two models that name the prompt they answer, and a judge that looks at that, or, if ``blind``, likes whatever it sees.

    Prompt after prompt is answered in the next of ``forms``.
    """

    def __init__(self, blind: bool = False, *forms: str) -> None:
        self.blind, self.forms = blind, forms or ("What {model} has to say on number {number}.",)

    def __call__(self, body: dict[str, Any]) -> Reply:
        content = body["messages"][-1]["content"]
        if body["model"] != "j":
            form = self.forms[int(number(content)) % len(self.forms)]
            return completion(form.format(model=body["model"], number=number(content)))
        document = json.loads(content)
        question = f"number {number(document['question'])}"
        good, other = (
            self.blind or question in document.get(key, "") for key in ("answer" if "answer" in document else "first", "second")
        )
        verdict = {"correct": good, "score": float(good), "better": "tie" if good is other else "first" if good else "second"}
        return completion(json.dumps({"id": document["id"], "why": ""} | verdict))


def prepare(folder: Path, url: str, rows: int = ROWS) -> list[str]:
    write_rows(folder / "rows.jsonl", [{"prompt": f"Write on number {n}.", "answer": ""} for n in range(rows)])
    priced = {"base_url": url, "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0, "temperature": 0.5}
    write_pool(folder / "pool.yaml", [{"name": name} | priced for name in ("strong", "weak")], judge={"name": "j"} | priced)
    return flags(folder)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("blind", [False, True])
def test_a_blind_judge_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, blind: bool) -> None:
    with ChatServer(Endpoints(blind)) as server:
        run = [*prepare(tmp_path, server.url), *SOURCES[source]]
        assert stage1(*run) == 0
        out, asked = capsys.readouterr().out, server.asked
        assert stage1(*run) == 0
        again = capsys.readouterr().out
        assert stage1(*run, "--rejudge") == 0
        assert server.asked == asked, "what a judge said of decoys is in the journal, too"
    line = f"decoys: the judge took {SHOWN if blind else 0} of {SHOWN} answers to other questions for right"
    assert all(line in text for text in (out, again, capsys.readouterr().out))
    assert ("warning: j does not tell right from wrong" in out) is blind
    verdicts = re.search(r"j \(judge\) +(\d+)", out)
    assert verdicts is not None
    assert int(verdicts.group(1)) == asked["j"], "they are counted with the others"


def test_an_answer_that_may_be_right_of_any_question_is_no_decoy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer(Endpoints(True, "(B)")) as server:
        assert stage1(*prepare(tmp_path, server.url), *SOURCES["rubric"]) == 0
        assert server.asked["j"] == 2 * ROWS - ROWS, "two equal answers to a question are one verdict; nothing else is shown"
    assert "decoys:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "forms",
    [
        ("The review is positive overall.", "The sentiment is negative.", "Positive, as the review says."),
        ("{model} looks up number {number}. Napoleon{number} was taller. So the answer is yes.",),
        ("I thought of Waterloo{number}, which rules out A.\n\nThe answer is B.",),
        ("{model} explains photosynthesis: sunlight, carbon dioxide, glucose, chlorophyll and then {number}.",),
    ],
)
def test_what_others_say_of_their_prompts_too_is_no_decoy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], forms: tuple[str, ...]
) -> None:
    with ChatServer(Endpoints(True, *forms)) as server:
        run = prepare(tmp_path, server.url)
        write_rows(
            tmp_path / "rows.jsonl", [{"prompt": f"Say {n} again: number {n}.", "answer": ""} for n in (10, 11, 12) * 20]
        )
        assert stage1(*run, *SOURCES["rubric"]) == 0
    assert "decoys:" not in capsys.readouterr().out


class Partial(Endpoints):
    """A judge that prefers the first of two answers of which one is a decoy."""

    def __call__(self, body: dict[str, Any]) -> Reply:
        content = body["messages"][-1]["content"]
        if body["model"] == "j" and len(set(re.findall(r"number (\d+)", content))) > 1:
            return completion(json.dumps({"id": json.loads(content)["id"], "why": "", "better": "first"}))
        return super().__call__(body)


def test_a_judge_that_minds_the_order_is_shown_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the orders disagree there is no label, so labels are no worse for it."""
    with ChatServer(Partial()) as server:
        assert stage1(*prepare(tmp_path, server.url), *SOURCES["pairwise"]) == 0
        assert server.asked["j"] == 2 * (ROWS + SHOWN)
    assert "decoys:" not in capsys.readouterr().out


class Mute(Endpoints):
    """A judge without a word on decoys."""

    def __call__(self, body: dict[str, Any]) -> Reply:
        content = body["messages"][-1]["content"]
        if body["model"] == "j" and f"number {number(content)}" not in json.loads(content)["answer"]:
            return completion("?")
        return super().__call__(body)


def test_verdicts_that_cannot_be_read_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer(Mute()) as server:
        assert stage1(*prepare(tmp_path, server.url), *SOURCES["rubric"]) == 0
        assert server.asked["j"] == 2 * ROWS + 2 * SHOWN, "each is asked for once more"
    out = capsys.readouterr().out
    verdicts = re.search(r"j \(judge\) +(\d+)", out)
    assert verdicts is not None
    assert int(verdicts.group(1)) == 2 * ROWS + SHOWN
    assert "decoys:" not in out


def test_silver_decoys_stand_beside_the_strong_models_answer(tmp_path: Path) -> None:
    with ChatServer(Endpoints()) as server:
        assert stage1(*prepare(tmp_path, server.url), *SOURCES["silver"]) == 0
        shown = [json.loads(body["messages"][-1]["content"]) for body in server.bodies if body["model"] == "j"]
    decoys = [one for one in shown if number(one["question"]) != number(one["answer"])]
    assert len(decoys) == SHOWN
    assert all(one["reference"].startswith("What strong ") for one in decoys)


def test_few_rows_and_labels_by_references_have_none() -> None:
    assert [count_decoys(rows, "rubric") for rows in (49, 50, 99, 10**6)] == [0, 10, 19, MAX_DECOYS]
    assert count_decoys(10**6, "reference") == count_decoys(10**6, "scorer") == 0


def test_slips_are_no_reason_to_doubt_a_judge() -> None:
    doubts = [bool(DecoyCheck("j", 20, taken).doubt()) for taken in range(7)]
    assert doubts == [False, False, False, False, False, True, True]
    assert DecoyCheck("j", 20, 5).describe().endswith("for right (25%, 95 % 11% to 47%)")
    few = [bool(DecoyCheck("j", shown, shown).doubt()) for shown in (1, 4, 5)]
    assert few == [False, False, True], "a single one may be right by chance"


def test_what_a_spent_budget_leaves_is_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer(Endpoints()) as server:
        assert stage1(*prepare(tmp_path, server.url), *SOURCES["rubric"], "--max-cost-usd", "0.004") == 0
        verdicts = re.search(r"j \(judge\) +(\d+)", capsys.readouterr().out)
        assert verdicts is not None
        assert int(verdicts.group(1)) == server.asked["j"] < 2 * ROWS
