"""The commands and code of README and docs, as they stand there, in copies of the project."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import yaml

from auto_router.collect.endpoint import Messages, user_message
from auto_router.collect.question import Question
from auto_router.collect.replay import ReplayServer, recording
from auto_router.collect.reply import Response
from auto_router.data.records import label_matrix, parse_records
from prepare_hf_data import MODEL_IDS
from tests.checkout import ROOT, Block, bash, blocks, copy_of_the_project
from tests.helpers import judge_messages, verdict_id

pytestmark = pytest.mark.slow

QUICKSTART = ROOT / "examples" / "quickstart"


def test_the_demo_goes_the_whole_way(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    for word in ("router ", "best single ", "random ", "oracle "):
        assert re.search(rf"^{word} *0\.\d+", printed, re.MULTILINE), word
    assert re.search(r"^prompt +goes to +P\(correct\) +recorded answer$", printed, re.MULTILINE)
    assert torch.load(folder / "router_artifacts" / "nn_router.pth", weights_only=True)["model_names"] == [
        "smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "reader-0.5b",
    ]  # fmt: skip
    kept, saved = (re.search(rf"{what}: (\d+\.\d)% \[(\d+\.\d)%", printed) for what in ("Quality kept", "cost saved"))
    assert kept is not None
    assert saved is not None
    assert float(kept[2]) >= 100, "at no loss, by its interval"
    assert float(saved[2]) > 5
    routed = re.findall(r"^\[(picture_\w+\.png)\] .*?  +(\S+) +0\.\d+ +(?:right|wrong)$", printed, re.MULTILINE)
    assert len(routed) >= 3
    assert all((folder / "demo" / picture).read_bytes().startswith(b"\x89PNG") for picture, _ in routed)
    assert {model for _, model in routed} == {"reader-0.5b"}


def test_the_demo_labels_are_the_recorded_answers_judged(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    parts = {part: json.loads((folder / "demo" / f"hf_evaluations_{part}.json").read_text()) for part in ("train", "test")}
    records = parse_records([*parts["train"], *parts["test"]])
    assert len(records) >= 600
    groups = {part: {row["group"] for row in rows} for part, rows in parts.items()}
    assert not groups["train"] & groups["test"]
    labels = label_matrix(records, list(records[0].model_scores))
    seen = np.array([bool(record.images) for record in records])
    assert seen.sum() >= 200
    assert np.isnan(labels[seen, :3]).all()  # the text models were not asked about pictures
    weak, strong = np.nanmean(labels[~seen][:, (0, 2)], axis=0)
    assert 0.05 < weak < strong < 0.95
    assert 0.05 < np.nanmean(labels[seen, 3]) < 0.95
    assert all(r.model_scores[m] is not None or r.model_errors[m] for r in records for m in r.model_scores)


@pytest.mark.parametrize("block", [*blocks("run: after demo"), *blocks("run")], ids=str)
def test_blocks_run(block: Block, demo: tuple[Path, str], tmp_path: Path) -> None:
    if block.language == "bash":
        assert bash(block.body, demo[0]).strip()
    else:
        assert block.language == "python"
        (tmp_path / "block.py").write_text(block.body)
        assert bash(f"PYTHONPATH=. python {tmp_path / 'block.py'}", demo[0]).strip()


def test_the_examples_run(demo: tuple[Path, str]) -> None:
    printed = bash("python router_usage_examples.py", demo[0])
    titles = [line.split(":")[0] for line in printed.splitlines()]
    expected = ["text", "picture", "several pictures", "thresholds", "costs", "batch", "async", "explain", "failover"]
    assert list(dict.fromkeys(titles)) == expected
    assert re.search(r"^failover: \S+ says 56$", printed, re.MULTILINE)


def said(model: str, messages: Messages, text: str) -> dict[str, Any]:
    """One row of a recording."""
    return {"request": {"model": model, "messages": messages}, "answer": Response(text, 9, 3, "stop").to_plain()}


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[Path]:
    """A copy with a data set at README's path and a pool.yaml whose models answer on loopback."""
    folder = copy_of_the_project(tmp_path / "copy")
    rows = [json.loads(line) for line in (QUICKSTART / "prompts.jsonl").open(encoding="utf-8")][:200]
    datasets.Dataset.from_list(rows).save_to_disk(folder / "path" / "to" / "dataset")
    answers = []
    for number, row in enumerate(rows):
        wrong = "I do not know"
        question = Question(number, row["prompt"], (row["answer"],), (), None, "")
        for place, model in enumerate(
            ["gpt-5-chat-latest", "nvidia/nemotron-nano-12b-v2-vl", "nvidia/nvidia-nemotron-nano-9b-v2"]
        ):
            right = (len(row["prompt"]) + place) % 3
            answers.append(said(model, user_message(row["prompt"]), row["answer"] if right else wrong))
        verdict = json.dumps({"id": verdict_id(question, wrong), "correct": False})
        answers.append(said("gpt-5-mini", judge_messages(question, wrong), verdict))
    with ReplayServer(recording(answers)) as server:
        pool = yaml.safe_load((folder / "pool.yaml").read_text())
        for model in [*pool["models"], pool["judge"]]:
            model["base_url"] = server.url
            model.pop("api_key_env", None)
        (folder / "pool.yaml").write_text(yaml.safe_dump(pool))
        yield folder


def test_the_stage_commands_run_as_they_stand_there(endpoints: Path) -> None:
    (commands,) = blocks("run: with endpoints")
    printed = bash(commands.body, endpoints)
    for name in ("hf_evaluations_train.json", "hf_train_embeddings.npy", "router_artifacts/nn_router.pth"):
        assert (endpoints / name).is_file()
    assert re.search(r"^best single +0\.[5-8]", printed, re.MULTILINE)
    assert "Router system accuracy: " in printed
    assert printed.splitlines()[-1].split("  ")[0] in MODEL_IDS
    for name in ("model_names", "best_hyperparameters"):
        assert (endpoints / "router_artifacts" / f"{name}.joblib").is_file()


def test_the_make_targets_exist() -> None:
    (block,) = blocks("run: by every other test")
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", block.body, re.MULTILINE)
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


def test_its_intervals_are_those_of_the_pages_behind_it() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    measured = (ROOT / "docs" / "how-good.md").read_text(encoding="utf-8")
    intervals = re.findall(r"\[[−+]?[\d.]+, [−+]?[\d.]+\]", readme)
    assert len(intervals) >= 5
    assert [one for one in intervals if one not in measured] == []


def test_the_file_tree_is_the_project() -> None:
    (tree,) = (block.body for block in blocks("check: file tree"))
    assert "prepare_hf_data.py" in tree
    for line in re.findall(r"^(?:  )?([\w./]+)\s{2,}", tree, re.MULTILINE):
        assert (ROOT / line).exists() or (ROOT / "auto_router" / line).exists(), line
