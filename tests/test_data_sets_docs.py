"""Sets of the usual shapes go from a file to a router by the words of docs/data-sets.md."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

import prepare_hf_data
from tests.checkout import bash, blocks, copy_of_the_project
from tests.stage1 import ChatServer, Reply, completion, read_evaluations, write_pool

pytestmark = pytest.mark.slow

SIZE = 20
CAPITALS = ["Lisbon", "Oslo", "Rome", "Paris", "Vienna"]


def mmlu() -> tuple[datasets.Dataset, list[str]]:
    rows: list[dict[str, Any]] = []
    for number in range(SIZE):
        choices, place = [str(number + k) for k in range(1, 5)], number % 4
        choices[place], choices[2] = choices[2], choices[place]
        rows.append({"question": f"What is {number} + 3?", "choices": choices, "answer": place, "subject": "sums"})
    features = datasets.Features(
        question=datasets.Value("string"),
        choices=datasets.List(datasets.Value("string")),
        answer=datasets.ClassLabel(names=list("ABCD")),
        subject=datasets.Value("string"),
    )
    return datasets.Dataset.from_list(rows, features=features), [f"The answer is {'ABCD'[n % 4]}." for n in range(SIZE)]


def gsm8k() -> tuple[datasets.Dataset, list[str]]:
    rows = [
        {"question": f"{n} bags of 5 apples, how many?", "answer": f"{n}*5=<<{n}*5={n * 5}>>{n * 5}.\n#### {n * 5}"}
        for n in range(2, SIZE + 2)
    ]
    return datasets.Dataset.from_list(rows), [f"So #### {n * 5}" for n in range(2, SIZE + 2)]


def squad() -> tuple[datasets.Dataset, list[str]]:
    rows = [
        {
            "id": str(n),
            "title": "Games",
            "context": f"In game {n} the {CAPITALS[n % 5]} side won.",
            "question": f"Who won game {n}?",
            "answers": {"text": [CAPITALS[n % 5], f"the {CAPITALS[n % 5]} side"], "answer_start": [0, 0]},
        }
        for n in range(SIZE)
    ]
    return datasets.Dataset.from_list(rows), [CAPITALS[n % 5] for n in range(SIZE)]


def docvqa() -> tuple[datasets.Dataset, list[str]]:
    rows = [
        {
            "questionId": str(n),
            "question": f"Which city does letter {n} name?",
            "image": Image.new("RGB", (32, 32), (n * 9, 9, 99)),
            "answers": [CAPITALS[n % 5].upper(), CAPITALS[n % 5]],
        }
        for n in range(SIZE)
    ]
    return datasets.Dataset.from_list(rows), [CAPITALS[n % 5] for n in range(SIZE)]


def alpaca() -> tuple[datasets.Dataset, list[str]]:
    rows = [{"instruction": "Say it in capitals.", "input": f"good day {n}", "output": f"GOOD DAY {n}"} for n in range(SIZE)]
    return datasets.Dataset.from_list(rows), [f"GOOD DAY {n}" for n in range(SIZE)]


SHAPES: list[tuple[Callable[[], tuple[datasets.Dataset, list[str]]], str, str, str]] = [
    # the set, what it is read as, what the first prompt shows, its references as they are told
    (mmlu, "MMLU-shaped", "What is 0 + 3?\n\nA. 3\nB. 2\nC. 1\nD. 4\n\nAnswer with the letter", "A (the option '3')"),
    (gsm8k, "GSM8K-shaped", "2 bags of 5 apples, how many?", "10"),
    (squad, "SQuAD-shaped", "In game 0 the Lisbon side won.\n\nWho won game 0?", "Lisbon | the Lisbon side"),
    (docvqa, "DocVQA-shaped", "Which city does letter 0 name?", "LISBON | Lisbon"),
    (alpaca, "alpaca-shaped", "Say it in capitals.\n\ngood day 0", "GOOD DAY 0"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[tuple[Path, ChatServer, dict[str, str]]]:
    """A copy of the project whose pool answers on loopback: one model always right, the other on two prompts of three."""
    copy = copy_of_the_project(tmp_path / "copy")
    right: dict[str, str] = {}

    def script(body: dict[str, Any]) -> Reply:
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else next(part["text"] for part in content if part["type"] == "text")
        if body["model"] == "judge":
            document = json.loads(text)
            return completion(json.dumps({"id": document["id"], "correct": "do not know" not in document["answer"]}))
        number = int(re.findall(r"\d+", text)[0])
        is_right = body["model"] == "strong" or number % 3
        return completion(right[text] if is_right else "I do not know.")

    with ChatServer(script) as server:
        facts = {"base_url": server.url, "modalities": ["text", "image"]}
        models = [
            {"name": "strong", "input_usd_per_mtok": 3.0, "output_usd_per_mtok": 9.0, **facts},
            {"name": "small", "input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.3, **facts},
        ]
        write_pool(copy / "my_pool.yaml", models, {"name": "judge", **facts})
        yield copy, server, right


@pytest.mark.parametrize(("shape", "read_as", "prompt", "told"), SHAPES, ids=[shape[0].__name__ for shape in SHAPES])
def test_a_set_becomes_a_router(
    folder: tuple[Path, ChatServer, dict[str, str]],
    shape: Callable[[], tuple[datasets.Dataset, list[str]]],
    read_as: str,
    prompt: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy, server, right = folder
    monkeypatch.chdir(copy)
    rows, answers = shape()
    rows.save_to_disk("my_set")

    def run(commands: str) -> str:  # every command in a process of its own once is enough
        return bash(commands, copy) if shape is mmlu else run_here(commands, capsys)

    look, whole = blocks("run: with a data set")
    printed = run(look.body)
    assert f"data set read as {read_as}: " in printed
    assert "\n".join(f"  | {line}" for line in prompt.splitlines()) in printed
    assert f"its references: {told}\n" in printed
    assert not server.bodies
    right |= prompts_of(answers)
    printed = run(whole.body)
    records = read_evaluations(copy)
    assert len(records) == SIZE
    assert [record["model_scores"]["strong"] for record in records] == [1] * SIZE
    small = [record["model_scores"]["small"] for record in records]
    assert 0 in small
    assert 1 in small
    assert all(record["prompt"] in right for record in records)
    assert printed.splitlines()[-1].split("  ")[0] in ("strong", "small")
    page = (copy / "hf_audit.html").read_text(encoding="utf-8")
    assert page.count("<article") == 10
    assert ("data:image" in page) == (read_as == "DocVQA-shaped")
    assert (copy / "router_artifacts" / "nn_router.pth").is_file()


def run_here(commands: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the scripts of a block with their words in this process, one after the other: each alone would load PyTorch anew."""
    for line in commands.replace("\\\n", " ").splitlines():
        python, script, *words = shlex.split(line)
        assert python == "python"
        importlib.import_module(Path(script).stem).main(words)
    return capsys.readouterr().out


def prompts_of(answers: list[str]) -> dict[str, str]:
    """The right reply to each prompt, as the reader makes the prompts."""
    plan = prepare_hf_data.plan_run(prepare_hf_data.parse_arguments(["--dataset", "my_set"]))
    return dict(zip((question.prompt for question in plan.questions()), answers, strict=True))
