"""Stages 2 and 3: files in, files out, and one clear line for everything that can be wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch

import generate_embeddings
import nn_router
from auto_router.artifacts import load_artifact
from auto_router.assess import baselines
from auto_router.data.dataset import load_dataset
from auto_router.data.formats import parquet_shards
from auto_router.data.records import load_records
from auto_router.errors import run
from auto_router.learn.stack import StackNetwork
from generate_embeddings import generate_embeddings_for_dataset, load_embedding_model
from model_router import ModelRouter, RouterNetwork
from tests.checkout import ROOT
from tests.helpers import png

pytestmark = pytest.mark.slow

TOPICS = ["Add {} and {}.", "Name a river near {} and {}.", "Write a poem on {} and {}."]


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Three kinds of prompts; model a is right on the first kind, b on the second, c on what is left."""
    made = []
    for i in range(start, start + count):
        kind = i % 3
        scores: dict[str, int | None] = {"a": int(kind == 0), "b": int(kind == 1), "c": int(kind == 2)}
        if i % 11 == 0:
            scores["b"] = None
        made.append({"idx": i, "prompt": TOPICS[kind].format(i, i + 1), "answer": "", "images": [], "model_scores": scores})
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on which Stages 2 and 3 have run."""
    folder = tmp_path_factory.mktemp("stages")
    for part, data in {"train": rows(90), "test": rows(30, start=90)}.items():
        (folder / f"{part}.json").write_text(json.dumps(data))
    generate_embeddings.main([*jsons(folder), "--output-dir", str(folder)])
    nn_router.main([*embeddings(folder), *jsons(folder), "--output-dir", str(folder / "router_artifacts"), "--device", "cpu"])
    return folder


def jsons(folder: Path) -> list[str]:
    return ["--train-json", str(folder / "train.json"), "--test-json", str(folder / "test.json")]


def embeddings(folder: Path) -> list[str]:
    files = {part: str(folder / f"hf_{part}_embeddings.npy") for part in ("train", "test")}
    return ["--train-embeddings", files["train"], "--test-embeddings", files["test"]]


def test_stage_2_writes_rows_and_says_what_made_them(trained: Path) -> None:
    train = np.load(trained / "hf_train_embeddings.npy")
    metadata = json.loads((trained / "hf_embeddings_metadata.json").read_text())
    assert train.dtype == np.float32
    assert train.shape == (metadata["train_samples"], metadata["embedding_dim"]) == (90, metadata["combined_dim"])
    assert metadata["test_samples"] == 30
    assert metadata["text_dim"] + metadata["image_dim"] == metadata["combined_dim"]
    assert metadata["encoder"]["text_sha256"]


def test_stage_3_writes_all_artifacts_and_learns(trained: Path) -> None:
    folder = trained / "router_artifacts"
    assert joblib.load(folder / "model_names.joblib") == ["a", "b", "c"]
    assert len(joblib.load(folder / "best_hyperparameters.joblib")["heads"]) == 3
    system = json.loads((folder / "metrics.json").read_text())["system"]
    assert system["router"] > system["best_single"] + 0.3
    assert system["oracle"] <= 1.0
    low, high = system["router_minus_best_single_interval"]
    assert 0 < low < system["router"] - system["best_single"] + 0.05
    assert low < high <= 1
    assert load_artifact(folder / "nn_router.pth").training.metrics["system"] == system


def test_the_served_decisions_are_the_assessed_ones(trained: Path) -> None:
    """Router accuracy, computed again from what ModelRouter says, is the one in the table."""
    router = ModelRouter(trained / "router_artifacts" / "nn_router.pth", device="cpu")
    data = json.loads((trained / "test.json").read_text())
    chosen = router.route_batch([row["prompt"] for row in data])
    labels = [row["model_scores"][model] for row, model in zip(data, chosen, strict=True)]
    known = [label for label in labels if label is not None]
    metrics = json.loads((trained / "router_artifacts" / "metrics.json").read_text())
    assert metrics["system"]["router"] == pytest.approx(sum(known) / len(known))


def test_the_same_seed_gives_the_same_artifact(trained: Path, tmp_path: Path) -> None:
    nn_router.main([*embeddings(trained), *jsons(trained), "--output-dir", str(tmp_path), "--device", "cpu"])
    assert same_weights(tmp_path, trained / "router_artifacts")


def same_weights(*folders: Path) -> bool:
    """Do the routers in two folders hold the same numbers, to the bit?"""
    first, second = (torch.load(folder / "nn_router.pth", weights_only=True)["state_dict"] for folder in folders)
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def test_tuning_searches_the_grid_and_keeps_the_best(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid: dict[str, list[Any]] = {
        "hidden_dims": [[8], [32, 16]],
        "dropout": [0.1],
        "learning_rate": [0.0001, 0.01],
        "batch_size": [32],
    }
    monkeypatch.setattr(nn_router, "param_grid", grid)
    monkeypatch.setitem(nn_router.default_config, "epochs", 12)
    flags = ["--head", "mlp", "--tune", "--trials", "3", "--no-class-weights", "--output-dir", str(tmp_path), "--device", "cpu"]
    nn_router.main([*embeddings(trained), *jsons(trained), *flags])
    best = joblib.load(tmp_path / "best_hyperparameters.joblib")
    assert list(best["hidden_dims"]) in grid["hidden_dims"]
    assert best["class_weights"] is False
    table = capsys.readouterr().out.split("validation loss", 1)[1].split("settings:")[0]
    losses = [float(line.split()[1]) for line in table.splitlines()[2:] if line.strip()]
    assert len(losses) == 3
    assert losses == sorted(losses)
    journal = (tmp_path / "search.jsonl").read_bytes()
    shutil.copytree(tmp_path, tmp_path / "before")
    nn_router.main([*embeddings(trained), *jsons(trained), *flags, "--jobs", "2"])
    assert (tmp_path / "search.jsonl").read_bytes() == journal, "nothing is tried twice"
    assert same_weights(tmp_path, tmp_path / "before")


def test_the_missions_network_is_one_flag_away(trained: Path, tmp_path: Path) -> None:
    nn_router.main([*embeddings(trained), *jsons(trained), "--head", "mlp", "--output-dir", str(tmp_path), "--device", "cpu"])
    artifact = load_artifact(tmp_path / "nn_router.pth")
    assert isinstance(artifact.network, RouterNetwork)
    assert artifact.network.config.hidden_dims == tuple(nn_router.default_config["hidden_dims"])
    router = ModelRouter(tmp_path / "nn_router.pth", device="cpu")
    assert router.route("Name a river near 1 and 2.") == "b"


def test_costs_make_the_network_value_cheap_right_answers(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a and b are both right, and a costs ten times as much, the router learns to ask b."""
    monkeypatch.setitem(nn_router.default_config, "epochs", 20)
    folder = copied(trained, tmp_path)
    data = {part: json.loads((folder / f"{part}.json").read_text()) for part in ("train", "test")}
    for part, records in data.items():
        for row in records:
            row["model_scores"] = {"a": int(row["idx"] % 3 < 2), "b": int(row["idx"] % 3 < 2), "c": int(row["idx"] % 3 == 2)}
        write(folder / f"{part}.json", records)
    generate_embeddings.main([*jsons(folder), "--output-dir", str(folder)])
    prices = [{"name": n, "input_usd_per_mtok": p, "output_usd_per_mtok": p} for n, p in (("a", 5.0), ("b", 0.5), ("c", 0.5))]
    write(folder / "pool.yaml", {"models": prices})  # JSON is YAML too
    selection = {}
    for weight in ("0", "2"):
        out = folder / f"weight{weight}"
        flags = ["--head", "mlp", "--cost-weight", weight, "--pool", str(folder / "pool.yaml"), "--output-dir", str(out)]
        nn_router.main([*embeddings(folder), *jsons(folder), *flags, "--device", "cpu"])
        selection[weight] = json.loads((out / "metrics.json").read_text())["system"]["selection"]
        assert joblib.load(out / "best_hyperparameters.joblib")["cost_weight"] == float(weight)
    assert selection["2"]["a"] == 0.0
    assert selection["2"]["b"] > 0.5


def test_xgboost_is_written_and_compared_on_request(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("xgboost", reason="the extra xgboost is not installed")
    nn_router.main([*embeddings(trained), *jsons(trained), "--with-xgboost", "--output-dir", str(tmp_path)])
    companion = joblib.load(tmp_path / "xgb_multi_router.joblib")
    rows = np.load(trained / "hf_test_embeddings.npy")
    assert companion["model_names"] == ["a", "b", "c"]
    p = np.stack([model.predict_proba(rows)[:, 1] for model in companion["models"]], axis=1)
    labels = np.array(
        [list(row["model_scores"].values()) for row in json.loads((trained / "test.json").read_text())], dtype=float
    )
    accuracy = np.nanmean(np.take_along_axis(labels, p.argmax(axis=1)[:, None], axis=1))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("XGBoost ")]
    assert float(line.split()[1]) == pytest.approx(accuracy, abs=6e-4)


REFUSED: dict[str, tuple[list[str], str]] = {
    "costs for the stack": (["--cost-weight", "1"], "add --head mlp"),
    "no costs known": (["--head", "mlp", "--cost-weight", "1"], "none is known of a, b, c"),
    "negative weight": (["--head", "mlp", "--cost-weight", "-1"], "--cost-weight must be a number from 0"),
    "infinite weight": (["--head", "mlp", "--cost-weight", "inf"], "--cost-weight must be a number from 0"),
    "no jobs": (["--head", "mlp", "--tune", "--jobs", "0"], "--jobs must be at least 1"),
    "no trials": (["--head", "mlp", "--tune", "--trials", "0"], "--jobs must be at least 1"),
}


@pytest.mark.parametrize(("flags", "message"), REFUSED.values(), ids=REFUSED)
def test_flags_that_cannot_work_are_refused(
    flags: list[str], message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*embeddings(trained), *jsons(trained), "--output-dir", str(tmp_path), *flags]
    assert_refused(lambda: nn_router.main(command), message, capsys)
    assert not list(tmp_path.iterdir())


def test_the_public_functions_of_stage_2() -> None:
    client = load_embedding_model()
    data: list[dict[str, Any]] = [{"prompt": "hello"}, {"prompt": "look", "images": []}, {"prompt": "third"}]
    two = generate_embeddings_for_dataset(client, data, max_samples=2)
    assert two.shape == (2, client.dim)
    assert np.allclose(generate_embeddings_for_dataset(client, data)[:2], two, atol=1e-5)


def write(path: Path, content: Any) -> None:
    path.write_text(content if isinstance(content, str) else json.dumps(content))


RECORD = {"idx": 0, "prompt": "hello", "answer": "", "images": [], "model_scores": {"a": 1}}
BAD_JSON: dict[str, tuple[Any, str]] = {
    "not json": ("[{", "cannot be parsed"),
    "an object": ({"a": 1}, "record 0: 'prompt' must be a non-empty string, got None"),
    "empty": ([], "holds no records"),
    "no prompt": ([RECORD, {**RECORD, "prompt": " "}], "record 1: 'prompt' must be a non-empty string"),
    "score 2": ([{**RECORD, "model_scores": {"a": 2}}], "record 0: 'model_scores' of 'a' must be a number from 0 to 1"),
    "corrupt picture": ([{**RECORD, "images": ["aGVsbG8="]}], "cannot be decoded"),
    "path as picture": ([{**RECORD, "images": ["/etc/passwd"]}], "row 0, picture 0"),
    "URL as picture": ([{**RECORD, "images": ["http://127.0.0.1:1/x.png"]}], "nothing is fetched"),
}


@pytest.mark.parametrize(("content", "message"), BAD_JSON.values(), ids=BAD_JSON)
def test_stage_2_refuses_bad_records(
    content: Any, message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(trained, tmp_path)
    write(folder / "train.json", content)
    before = outputs(folder)
    assert_refused(lambda: generate_embeddings.main([*jsons(folder), "--output-dir", str(folder)]), message, capsys)
    assert outputs(folder) == before


def spoil_train_json(folder: Path) -> None:
    write(folder / "train.json", [*rows(89), {**RECORD, "idx": 99}])


def spoil_rows(folder: Path) -> None:
    np.save(folder / "hf_train_embeddings.npy", np.load(folder / "hf_train_embeddings.npy")[:-1])


def spoil_nan(folder: Path) -> None:
    broken = np.load(folder / "hf_test_embeddings.npy")
    broken[3, 5] = np.nan
    np.save(folder / "hf_test_embeddings.npy", broken)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another json": (spoil_train_json, "were not made from"),
    "a row short": (spoil_rows, "were not made from"),
    "NaN": (spoil_nan, "NaN or infinite values in row 3"),
    "no embeddings": (lambda f: (f / "hf_test_embeddings.npy").unlink(), "does not exist; make it with generate_embeddings.py"),
    "not an array": (lambda f: write(f / "hf_test_embeddings.npy", "hello"), "is damaged"),
    "no metadata": (lambda f: (f / "hf_embeddings_metadata.json").unlink(), "is missing; generate_embeddings.py writes it"),
    "damaged metadata": (lambda f: write(f / "hf_embeddings_metadata.json", "{"), "is damaged"),
    "no scores": (lambda f: encoded_again(f, [{"prompt": "x"}]), "no record has 'model_scores'"),
    "no json": (lambda f: (f / "test.json").unlink(), "does not exist"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILED.values(), ids=SPOILED)
def test_stage_3_refuses_what_does_not_fit(
    spoil: Callable[[Path], object], message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(trained, tmp_path)
    spoil(folder)
    before = outputs(folder)
    command = [*embeddings(folder), *jsons(folder), "--output-dir", str(folder / "router_artifacts"), "--device", "cpu"]
    assert_refused(lambda: nn_router.main(command), message, capsys)
    assert outputs(folder) == before


def test_pictures_of_all_kinds_go_through(tmp_path: Path) -> None:
    import base64

    data = [{**RECORD, "images": [base64.b64encode(png((i, 0, 0))).decode()] * i} for i in range(3)]
    for part in ("train", "test"):
        write(tmp_path / f"{part}.json", data)
    generate_embeddings.main([*jsons(tmp_path), "--output-dir", str(tmp_path)])
    made = load_dataset(tmp_path / "hf_train_embeddings.npy", "train", tmp_path / "train.json")
    image = made.embeddings[:, made.encoder["text_dim"] :]
    assert image.any(axis=1).tolist() == [False, True, True]


def encoded_again(folder: Path, train: list[dict[str, Any]]) -> None:
    write(folder / "train.json", train)
    generate_embeddings.main([*jsons(folder), "--output-dir", str(folder)])


def copied(trained: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    shutil.copytree(trained, folder)
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    """What the stages wrote: must be the same after a refusal as before it."""
    kept = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in kept}


def assert_refused(command: Callable[[], None], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(command)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert code == 2
    assert len(lines) == 1
    assert message in lines[0]


def test_shards_give_the_router_of_one_file(trained: Path, tmp_path: Path) -> None:
    """Stages 2 and 3 on folders of parquet shards: the same rows, the same network, by both heads' way of reading them."""
    for part in ("train", "test"):
        with parquet_shards(tmp_path / part, ["a", "b", "c"]) as append:
            for record in load_records(trained / f"{part}.json"):
                append(record.to_json())
    shards = ["--train-json", str(tmp_path / "train"), "--test-json", str(tmp_path / "test" / "*.parquet")]
    generate_embeddings.main([*shards, "--output-dir", str(tmp_path)])
    made, expected = (np.load(folder / "hf_train_embeddings.npy") for folder in (tmp_path, trained))
    assert made.tolist() == expected.tolist()
    nn_router.main([*embeddings(tmp_path), *shards, "--output-dir", str(tmp_path / "out"), "--device", "cpu"])
    assert same_weights(tmp_path / "out", trained / "router_artifacts")


def test_of_more_records_than_the_default_head_takes_it_says_so(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (nn_router, baselines):
        monkeypatch.setattr(module, "MAX_ROWS", 60)
    files = [*embeddings(trained), *jsons(trained), "--device", "cpu", "--output-dir"]
    nn_router.main([*files, str(tmp_path / "stack")])
    assert "fitted on 60 of 90 records, drawn at random; --head mlp uses all of them" in capsys.readouterr().out
    network = load_artifact(tmp_path / "stack" / "nn_router.pth").network
    assert isinstance(network, StackNetwork)
    assert [len(kernel.anchors) for kernel in network.kernels] == [60, 60]
    monkeypatch.setitem(nn_router.default_config, "epochs", 3)
    nn_router.main([*files, str(tmp_path / "mlp"), "--head", "mlp"])
    assert "baselines are fitted on 60 of 90 records" in capsys.readouterr().out


STARTS = {
    name: [str(ROOT / f"{name}.py"), "--help"]
    for name in ("prepare_hf_data", "generate_embeddings", "nn_router", "model_router")
}
STARTS["auto-router"] = ["-m", "auto_router", "encode", "--help"]
# In short sleeps: Python notes a signal that comes just before a sleep begins, and acts on it only when that sleep ends.
SLEEPS = "[time.sleep(0.05) for _ in range(2400)]"
ENDS = {signal.SIGINT: (130, "interrupted\n"), signal.SIGTERM: (143, "stopped\n")}


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("start", STARTS)
def test_a_signal_while_a_script_imports_is_a_line_and_its_code(tmp_path: Path, start: str, number: signal.Signals) -> None:
    (tmp_path / "numpy.py").write_text(f"import time\nprint('importing', flush=True)\n{SLEEPS}\n")
    started = subprocess.Popen(
        [sys.executable, *STARTS[start]],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "importing\n"
    started.send_signal(number)
    assert started.communicate(timeout=30) == ("", ENDS[number][1])
    assert started.returncode == ENDS[number][0]


PHASES = {
    "in main": (SLEEPS, "pass"),
    "in a task": ("asyncio.run(asyncio.sleep(60))", "pass"),
    "in a task that goes on as it likes": ("asyncio.run(listen())", "pass"),
    "when all is done": ("pass", SLEEPS),
    "in main, under a host that has Ctrl-C for its own": (SLEEPS, "pass"),
}
PHASED = """
import asyncio, signal, sys, time
from auto_router.errors import end_on_signals, run
from auto_router.terminal import on_signals
async def listen():
    going = asyncio.Event()
    with on_signals(going.set):
        await going.wait()
    raise KeyboardInterrupt
def main():
    print("here", flush=True)
    {}
end_on_signals()
if {}:
    signal.signal(signal.SIGINT, lambda number, frame: print("the host's"))
code = run(main)
{}
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("phase", "number"), [*((phase, signal.SIGTERM) for phase in PHASES), ("when all is done", signal.SIGINT)]
)
def test_a_signal_at_any_time_is_a_line_and_its_code(phase: str, number: signal.Signals) -> None:
    inside, behind = PHASES[phase]
    program = PHASED.format(inside, "host" in phase, behind)
    started = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert started.stdout is not None
    started.stdout.readline()
    time.sleep(0.1)  # into the phase; where it is not there yet, the end is the same
    started.send_signal(number)
    assert started.communicate(timeout=30) == ("", ENDS[number][1])
    assert started.returncode == ENDS[number][0]
