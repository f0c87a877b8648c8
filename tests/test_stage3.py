"""Stage 3 as its user runs it: who can take what, the user's own knobs, models without a price, what is said aloud, doors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

import generate_embeddings
import nn_router
from auto_router import train as stage_3
from auto_router.artifacts import load_artifact, save_artifact
from auto_router.data.dataset import TEST_LABELS, TRAIN_LABELS
from auto_router.data.records import Record, load_records, save_records
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.errors import ArtifactError, ConfigError, run
from auto_router.learn.calibration import fit_calibration
from auto_router.learn.mlp import RouterNetwork
from auto_router.learn.stack import StackNetwork
from tests.fakes import LetterEncoder
from tests.stage3 import SMALL, make_records, train, write_inputs

ROOT = Path(__file__).parents[1]
COSTS = {"a": 0.1, "b": 0.2, "c": 1.0}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pool.yaml lies in the working folder unless a test puts it there."""
    monkeypatch.chdir(tmp_path)


def refuse(command: Callable[[], None], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command that must end in one line that holds ``message``."""
    capsys.readouterr()
    assert run(command) == 2
    lines = capsys.readouterr().err.splitlines()
    (error,) = [line for line in lines if line.startswith("error:")]
    assert message in error


def without_labels(records: list[Record], name: str) -> list[Record]:
    return [replace(r, model_scores={**r.model_scores, name: None}) if r.images else r for r in records]


# 1: who can take what


def test_without_a_pool_no_image_goes_to_a_model_that_takes_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = without_labels(make_records(90, images=30), "c"), without_labels(make_records(40, start=90, images=15), "c")
    (tmp_path / "pool.yaml").write_text("models: [{name: of_another_set}]")
    metrics = train(tmp_path, *data)
    said = capsys.readouterr().out
    assert "note: c is taken to take no images: it has no label on any of 45 rows with images" in said
    assert "serve --pool YOUR_POOL --router" in said, "a pool that merely lies there is not named"
    assert metrics["breakdown"]["modality"]["text + image"]["selection"]["c"] == 0.0
    assert metrics["system"]["unlabelled"] == 0
    assert not load_artifact(tmp_path / "out" / "nn_router.pth").facts["c"].takes_images


def test_the_pool_that_lies_there_is_used_and_its_misspelt_name_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    price = "input_usd_per_mtok: 1, output_usd_per_mtok"
    names = {"a": 1, "b": 2, "cc": 9}
    entries = "\n".join(f"  - {{name: {name}, {price}: {cost}}}" for name, cost in names.items())
    (tmp_path / "pool.yaml").write_text(f"models:\n{entries}\n")
    train(tmp_path, make_records(60), make_records(30, start=60))
    said = capsys.readouterr().out
    assert "pool.yaml has no entry for 'c', which has labels: what it costs and takes is not stated; is it 'cc'?" in said
    assert "pool.yaml names 'cc', of which there is no label" in said
    assert "none is known of c;" in said
    assert "serve --pool pool.yaml --router" in said
    assert load_artifact(tmp_path / "out" / "nn_router.pth").facts["b"].output_usd_per_mtok == 2


def test_image_labels_of_a_model_stated_text_only_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pool.yaml").write_text("models: [{name: a}, {name: b}, {name: c, modalities: [text]}]")
    flags = write_inputs(tmp_path, make_records(60, images=5), make_records(30, start=60))
    refuse(lambda: nn_router.main(flags), "c takes text only, but 5 rows with images have a label of it", capsys)
    assert not list((tmp_path / "out").iterdir())


# 2: few labels


def test_a_model_with_two_labels_is_refused_and_one_with_ten_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def keep(count: int) -> list[Record]:
        records = make_records(90)
        return [r if i < count else replace(r, model_scores={**r.model_scores, "a": None}) for i, r in enumerate(records)]

    test = make_records(30, start=90)
    flags = write_inputs(tmp_path, keep(2), test)
    refuse(lambda: nn_router.main(flags), "too few known labels to learn from: a has 2; at least 5 of each model", capsys)
    metrics = train(tmp_path, keep(10), test)
    assert "warning: a has 10 known labels; with fewer than 30" in capsys.readouterr().out
    assert metrics["system"]["best_single_model"] == "c"


# 6: the user's own knobs


@pytest.mark.parametrize("head", ["auto", "stack", "mlp"])
def test_an_edited_configuration_is_trained_and_the_better_head_or_the_named_one_is_served(
    head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nn_router, "default_config", nn_router.default_config | SMALL)
    monkeypatch.setattr(nn_router, "HEAD", head)
    train(tmp_path, make_records(60), make_records(30, start=60))
    said, artifact = capsys.readouterr().out, load_artifact(tmp_path / "out" / "nn_router.pth")
    best = joblib.load(tmp_path / "out" / "best_hyperparameters.joblib")
    assert (best["hidden_dims"], best["epochs"]) == ([8], 3)
    if head == "mlp":
        assert isinstance(artifact.network, RouterNetwork)
        return
    compared = artifact.training.compared
    better = max(compared, key=lambda name: float(compared[name]["accuracy"]))
    served = better if head == "auto" else head
    assert f"served: {served}, {'the higher accuracy' if head == 'auto' else 'as HEAD says'}" in said
    assert isinstance(artifact.network, StackNetwork if served == "stack" else RouterNetwork)
    assert "The heads beside each other, out of fold" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for name, found in compared.items():
        assert any(line.split()[:2] == [name, f"{found['accuracy']:.4f}"] for line in said.splitlines())


def test_tuning_and_class_weights_are_switched_in_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn_router, "default_config", nn_router.default_config | SMALL)
    monkeypatch.setattr(nn_router, "param_grid", {"hidden_dims": [[4], [5]], "dropout": [0.1]})
    monkeypatch.setattr(nn_router, "TUNE_HYPERPARAMETERS", True)
    monkeypatch.setattr(nn_router, "USE_CLASS_WEIGHTS", False)
    train(tmp_path, make_records(60), make_records(30, start=60), "--jobs=1")
    best = joblib.load(tmp_path / "out" / "best_hyperparameters.joblib")
    assert best["hidden_dims"] in ([4], [5])
    assert (best["dropout"], best["class_weights"]) == (0.1, False)
    assert len(load_artifact(tmp_path / "out" / "nn_router.pth").training.search) == 2


def test_the_better_head_is_served_whichever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that wins out of fold is served without a flag."""
    monkeypatch.setattr(nn_router, "default_config", nn_router.default_config | SMALL)
    measures = iter([{"accuracy": 0.5, "auc": 0.5, "brier": 0.2}, {"accuracy": 0.6, "auc": 0.6, "brier": 0.2}])
    monkeypatch.setattr(stage_3, "_measure_head", lambda *_: next(measures))
    train(tmp_path, make_records(60), make_records(30, start=60))
    assert isinstance(load_artifact(tmp_path / "out" / "nn_router.pth").network, RouterNetwork)


def test_points_and_calibration_of_the_network_are_fitted_out_of_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that nothing can tell: a network that has seen the rows would be sure of them, one that has not is not."""
    rng = np.random.default_rng(0)
    guesses = [replace(r, model_scores={n: float(rng.integers(2)) for n in "ab"}) for r in make_records(80)]
    own = {"hidden_dims": [64], "epochs": 60, "patience": 60, "learning_rate": 0.02, "dropout": 0.0}
    monkeypatch.setattr(nn_router, "default_config", nn_router.default_config | own)
    seen: dict[str, Any] = {}

    def spy(p: Any, targets: Any, *rest: Any) -> Any:
        seen["rows"], seen["correlation"] = len(p), np.corrcoef(p.ravel(), targets.ravel())[0, 1]
        return fit_calibration(p, targets, *rest)

    monkeypatch.setattr(stage_3, "fit_calibration", spy)
    train(tmp_path, guesses, make_records(30, start=90), "--head=mlp")
    assert seen["rows"] == 80, "all training rows, not the part that chose the epoch"
    assert abs(seen["correlation"]) < 0.35


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("default_config", {"hiden_dims": [8]}, "unknown training settings ['hiden_dims']; allowed are"),
        ("default_config", {"hidden_dims": 8}, "hidden_dims must be a list of whole numbers"),
        ("default_config", {"epochs": "ten"}, "epochs must be a whole number, got 'ten'"),
        ("default_config", {"dropout": 1.5}, "dropout"),
        ("param_grid", {"droput": [0.1]}, "unknown training settings ['droput']"),
        ("param_grid", {"dropout": 0.1}, "param_grid: dropout must be a list of values to try"),
        ("HEAD", "stak", "head 'stak' is unknown; known are auto, stack, mlp"),
    ],
)
def test_a_misspelt_key_or_value_is_an_error(
    knob: str, value: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nn_router, knob, value)
    flags = write_inputs(tmp_path, make_records(30), make_records(9, start=30))
    refuse(lambda: nn_router.main(flags), message, capsys)
    assert not (tmp_path / "out").exists()


def test_one_list_of_labels_is_split_encoded_and_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate_embeddings, "load_embedding_model", lambda *_, **__: EmbeddingGenerator(LetterEncoder()))
    save_records(tmp_path / "mine.json", make_records(80))
    both = ["--labels=mine.json", "--test-fraction=0.25"]
    refuse(lambda: nn_router.main([*both, "--baselines"]), "make them first: python generate_embeddings.py --labels", capsys)
    generate_embeddings.main(both)
    nn_router.main([*both, "--baselines", "--device=cpu"])
    train_rows, test_rows = load_records(tmp_path / TRAIN_LABELS), load_records(tmp_path / TEST_LABELS)
    assert (len(train_rows), len(test_rows)) == (60, 20)
    assert load_artifact(tmp_path / "router_artifacts" / "nn_router.pth").training.metrics["rows"] == 20
    nowhere = "--output-dir=mine.json/folder"
    refuse(lambda: generate_embeddings.main([*both, nowhere]), "output folder mine.json/folder cannot be made", capsys)
    refuse(lambda: nn_router.main([*both, "--train-json=x.json"]), "--labels is one list instead of", capsys)
    refuse(lambda: generate_embeddings.main([*both, "--train-json=x.json"]), "or --labels, one list", capsys)
    refuse(lambda: nn_router.main(["--labels=mine.json", "--test-fraction=0.5"]), "need the same --test-fraction and", capsys)
    refuse(lambda: nn_router.main(["--labels=new.json", "--test-fraction=2"]), "must be between 0 and 1", capsys)
    pair, fraction = ["--train-json=a.json", "--test-json=b.json"], "--test-fraction=0.5"
    refuse(lambda: nn_router.main([*pair, fraction]), "--test-fraction splits the list of --labels", capsys)
    refuse(lambda: generate_embeddings.main([*pair, fraction]), "--test-fraction splits the list of --labels", capsys)


# 7: models without a price, and what is said aloud


@pytest.mark.parametrize("unpriced", ["a", "b", "c", "ac", "abc"])
def test_models_without_a_price_are_normal(unpriced: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """c is the best one; each in turn, several, and all."""
    costs = {name: cost for name, cost in COSTS.items() if name not in unpriced}
    metrics = train(tmp_path, make_records(60, costs=costs), make_records(30, start=60, costs=costs))
    missing = "any model" if unpriced == "abc" else ", ".join(unpriced)
    assert f"none is known of {missing};" in capsys.readouterr().out
    assert metrics["system"]["router"] is not None
    assert set(metrics["operating_points"]) == {"accuracy"}
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("unpriced", ["a", "c"])
def test_costs_that_are_null_in_every_record_are_unknown(unpriced: str, tmp_path: Path) -> None:
    """Also those of c, which is the best single model and has no place in the chart of costs then."""
    costs = {**COSTS, unpriced: None}
    rows = [replace(record, model_costs=costs) for record in make_records(90)]
    assert train(tmp_path, rows[:60], rows[60:])["system"]["costs"]["cheapest"] is not None
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("unknown", ["a", "c"])
def test_a_model_without_a_label_in_the_test_is_said(unknown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """c is the best single model, that everything is compared with."""
    rows = make_records(90, costs=COSTS)
    test = [replace(row, model_scores={**row.model_scores, unknown: None, "z": 1.0}) for row in rows[60:]]
    metrics = train(tmp_path, rows[:60], test)
    assert (metrics["system"]["best_single"] is None) == (unknown == "c")
    said = capsys.readouterr().out
    assert f"warning: no test record has a label of {unknown}: its worth on new prompts is not measured" in said
    assert "warning: only test records score z: it is left out" in said
    assert "None" not in said


def test_costs_that_are_all_zero_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    costs = dict.fromkeys("abc", 0.0)
    train(tmp_path, make_records(60, costs=costs), make_records(30, start=60, costs=costs))
    assert "every model costs 0: there is nothing to save" in capsys.readouterr().out


def test_test_rows_that_stand_in_training_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records, test = make_records(60), make_records(30, start=60)
    test[:2] = [replace(test[0], prompt=records[5].prompt), replace(test[1], group="g")]
    records[7] = replace(records[7], group="g")
    metrics = train(tmp_path, records, test)
    assert metrics["in_training"] == {"rows": 2, "groups": 2}
    assert "warning: 2 of 30 test rows, in 2 groups, stand in the training set too" in capsys.readouterr().out
    assert "2 of the 30 test records, in 2 groups, stand in the training set too" in (tmp_path / "out/README.md").read_text()


def test_quality_kept_and_cost_saved_lead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table, the last lines and the card begin with both numbers and their intervals."""
    metrics = train(tmp_path, make_records(300, costs=COSTS), make_records(90, start=300, costs=COSTS))
    system, said = metrics["system"], capsys.readouterr().out
    assert system["quality_kept"] == pytest.approx(system["router"] / system["best_single"])
    assert system["cost_saved"] == pytest.approx(1 - system["costs"]["router"] / system["costs"]["best_single"])
    low, high = system["cost_saved_interval"]
    assert low <= system["cost_saved"] <= high
    line = f"Quality kept: {system['quality_kept']:.1%} ["
    lines = said.splitlines()
    assert lines[lines.index("System metrics:") + 1].startswith(line)
    assert f"cost saved: {system['cost_saved']:.1%} [" in said
    assert f"**{line}" in (tmp_path / "out" / "README.md").read_text()


def test_the_artifact_says_whether_it_saw_conversations(tmp_path: Path) -> None:
    records, test = make_records(60), make_records(30, start=60)
    train(tmp_path, records, test)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "trained on single prompts" in card
    assert load_artifact(tmp_path / "out" / "nn_router.pth").training.conversations == 0
    records[:7] = [replace(record, context="said before") for record in records[:7]]
    train(tmp_path, records, test)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "7 training records came with what was said before" in card
    assert load_artifact(tmp_path / "out" / "nn_router.pth").training.conversations == 7


# 8: doors


@pytest.mark.parametrize("seed", ["-1", str(2**32)])
def test_seeds_that_nothing_takes_are_refused(seed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = write_inputs(tmp_path, make_records(30), make_records(9, start=30))
    refuse(lambda: nn_router.main([*flags, f"--seed={seed}"]), "--seed must be a whole number from 0 to 4294967295", capsys)
    refuse(lambda: generate_embeddings.main(["--labels=x.json", f"--seed={seed}"]), "--seed must be a whole number", capsys)


def test_a_folder_that_cannot_be_written_is_found_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = write_inputs(tmp_path, make_records(30), make_records(9, start=30))
    (tmp_path / "out").write_text("a file")
    (tmp_path / "train.json").unlink()  # had training begun, this would be the error
    refuse(lambda: nn_router.main(flags), "cannot be written", capsys)


def test_an_idx_that_no_computer_holds_names_its_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = make_records(30)
    flags = write_inputs(tmp_path, records, make_records(9, start=30))
    text = (tmp_path / "train.json").read_text().replace('"idx": 3,', f'"idx": {2**63},')
    (tmp_path / "train.json").write_text(text)
    refuse(lambda: nn_router.main(flags), "record 3: 'idx' must be within", capsys)
    train(tmp_path, [replace(r, idx=2**63 - 1 - r.idx) for r in records], make_records(9, start=30))


def test_embeddings_that_overflow_name_their_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = write_inputs(tmp_path, make_records(30), make_records(9, start=30))
    rows = np.load(tmp_path / "train.npy")
    rows[4, 1] = 3e38
    np.save(tmp_path / "train.npy", rows)
    refuse(lambda: nn_router.main(flags), "NaN or infinite values in row 4 (1 rows), or some beyond", capsys)


def test_an_artifact_that_cannot_be_opened_again_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The router and its companions are those of one run: a failure leaves all of them as they were."""
    train(tmp_path, make_records(60), make_records(30, start=60))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {"nn_router.pth", "metrics.json", "README.md", "report.html", "model_names.joblib"} <= set(before)
    artifact = load_artifact(tmp_path / "out" / "nn_router.pth")
    broken = replace(artifact, network=replace(artifact.network, mean=np.full(3, np.nan, dtype=np.float32)))  # type: ignore[type-var]
    with pytest.raises(ArtifactError, match="could not be opened again"):
        save_artifact(tmp_path / "out" / "nn_router.pth", broken)
    monkeypatch.setattr(stage_3, "model_card", lambda _: 1 / 0)  # the last file
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, make_records(66), make_records(30, start=66))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    capsys.readouterr()


def test_a_companion_of_another_run_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("xgb_multi_router.joblib", "notes.txt"):
        (tmp_path / "out" / name).write_text("of another run")
    train(tmp_path, make_records(30), make_records(9, start=30))
    assert not (tmp_path / "out" / "xgb_multi_router.joblib").exists()
    assert (tmp_path / "out" / "notes.txt").exists()


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = f"""
import os
from pathlib import Path
from auto_router.files import atomic_path, replace_together
with replace_together(Path({str(out)!r})) as staging, atomic_path(Path({str(out)!r}) / "nn_router.pth"):
    (staging / "metrics.json").touch()
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 9
    assert len(list(out.glob(".*.part"))) == 2
    mine = out / f".x.{'0' * 8}-{os.getpid()}-{'1' * 8}.part"  # another machine's, just now
    mine.touch()
    train(tmp_path, make_records(30), make_records(9, start=30))
    assert list(out.glob(".*.part")) == [mine]


def test_a_closed_pipe_ends_without_a_traceback(tmp_path: Path) -> None:
    flags = write_inputs(tmp_path, make_records(30), make_records(9, start=30))
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(ROOT / "nn_router.py"), *flags]
    done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_labels_that_do_not_exist_are_named_first() -> None:
    with pytest.raises(ConfigError, match=r"labels none\.json do not exist"):
        nn_router.main(["--labels", "none.json"])
