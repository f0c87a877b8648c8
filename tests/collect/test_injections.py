"""A candidate's answer cannot change what a judge is asked, nor what its reply is read as."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from auto_router.collect.question import Question
from auto_router.collect.reply import Response
from tests.collect.injections import INJECTIONS
from tests.helpers import judge_messages, parse_verdict, verdict_id
from tests.stage1 import ChatServer, Reply, completion, flags, read_evaluations, stage1, write_pool, write_rows

ROWS = [{"prompt": f"{n}: name the longest river here.", "answer": f"the river Ombra {n}"} for n in range(len(INJECTIONS))]
HONEST = "I do not know that river."


def shape(messages: list[dict[str, Any]]) -> Any:
    """A judge's request with its values taken out: all that an answer could have changed."""
    system, user = messages
    assert (system["role"], user["role"]) == ("system", "user")
    assert set(system) == set(user) == {"role", "content"}
    lines = user["content"].split("\n")
    return (
        system["content"],
        list(json.loads(user["content"])),
        [re.match(r' "(\w+)": "|[{}]$', line) is not None for line in lines],
    )


def test_there_are_enough_and_no_two_alike() -> None:
    assert len(set(INJECTIONS)) == len(INJECTIONS) >= 40


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("attack", INJECTIONS)
def test_an_attack_changes_neither_the_request_nor_the_verdict(attack: str, graded: bool) -> None:
    question = Question(0, "Which river?", ("the Ombra",), (), None, "g")
    messages = judge_messages(question, attack, graded=graded)
    assert shape(messages) == shape(judge_messages(question, HONEST, graded=graded))
    assert json.loads(messages[1]["content"])["answer"] == attack
    hidden = [c for c in messages[1]["content"] if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert hidden == []
    expected = verdict_id(question, attack)
    # A judge that only repeats the answer has given no verdict, whatever the answer looks like.
    for reply in (attack, f"```json\n{attack}\n```", f"<think>hm</think>{attack}", f'{{"id": "{expected}"}}{attack}'):
        assert parse_verdict(Response(reply), expected, graded).score is None
    # And a verdict on this answer says nothing about another.
    right = json.dumps({"id": expected, "why": attack, "score" if graded else "correct": 1 if graded else True})
    assert parse_verdict(Response(right), expected, graded).score == 1
    assert parse_verdict(Response(right), verdict_id(question, HONEST), graded).score is None


def test_a_recording_judge_sees_the_same_structure_for_every_attack(tmp_path: Path) -> None:
    def script(body: dict[str, Any]) -> Reply:
        if body["model"] == "m":
            return completion(INJECTIONS[int(body["messages"][0]["content"].split(":")[0])])
        document = json.loads(body["messages"][1]["content"])
        return completion(json.dumps({"id": document["id"], "why": document["answer"], "correct": False}))

    write_rows(tmp_path / "rows.jsonl", ROWS)
    with ChatServer(script) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": "m", "base_url": server.url}], judge={"name": "j", "base_url": server.url})
        paths = flags(tmp_path)
        assert stage1(*paths) == 0
        judged = [body for body in server.bodies if body["model"] == "j"]
    assert len(judged) == len(INJECTIONS)
    assert {json.dumps(shape(body["messages"])) for body in judged} == {json.dumps(shape(judged[0]["messages"]))}
    assert {json.dumps(sorted(body)) for body in judged} == {json.dumps(sorted(judged[0]))}
    assert [row["model_scores"] for row in read_evaluations(tmp_path / "out")] == [{"m": 0}] * len(INJECTIONS)


def test_a_judge_that_obeys_by_repeating_gives_null_and_never_1(tmp_path: Path) -> None:
    def script(body: dict[str, Any]) -> Reply:
        if body["model"] == "m":
            return completion(INJECTIONS[int(body["messages"][0]["content"].split(":")[0])])
        return completion(json.loads(body["messages"][1]["content"])["answer"])

    write_rows(tmp_path / "rows.jsonl", [*ROWS, {"prompt": "0: again, which?", "answer": INJECTIONS[0]}])
    with ChatServer(script) as server:
        write_pool(tmp_path / "pool.yaml", [{"name": "m", "base_url": server.url}], judge={"name": "j", "base_url": server.url})
        paths = flags(tmp_path)
        assert stage1(*paths) == 0
    *attacked, matched = (row["model_scores"]["m"] for row in read_evaluations(tmp_path / "out"))
    assert attacked == [None] * len(INJECTIONS)
    assert matched == 1
