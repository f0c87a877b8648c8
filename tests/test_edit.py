"""A model more, one fewer, another name: what the router then knows and decides; the flags; feedback as training rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nn_router
from auto_router import edit
from auto_router.arrays import Array
from auto_router.artifacts import Artifact, load_artifact, save_artifact
from auto_router.data.pool import ModelFacts
from auto_router.data.prompt_features import append_prompt_features
from auto_router.data.records import Record, save_records
from auto_router.decide.operating_points import OperatingPoint
from auto_router.decide.rule import Decision
from auto_router.edit import add_model, remove_model, rename_model
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.pipeline import begin, publish, survey_records
from auto_router.errors import ConfigError, DataError, run
from auto_router.learn.calibration import Calibration
from auto_router.learn.mlp import NetworkConfig, RouterNetwork
from auto_router.learn.novelty import fit_novelty
from auto_router.learn.stack import FeatureLayout
from auto_router.learn.stack_fit import fit_stack
from auto_router.route.feedback import append_feedback
from tests.fakes import LetterEncoder

LAYOUT = FeatureLayout(4, 2, 2)
NAMES = ("sums", "words")
TEXT_ONLY = ModelFacts(modalities=("text",))


def data(rows: int, seed: int) -> tuple[Array, Array]:
    """Two kinds of prompts: ``sums`` is right on one, ``words`` on the other; a third model is right where ``words`` is."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, rows)
    x = rng.normal(0, 0.3, (rows, LAYOUT.dim)).astype(np.float32)
    x[:, 0] += 2 * kind
    right = np.stack([kind == 0, kind == 1, kind == 1], axis=1) ^ (rng.random((rows, 3)) < 0.08)
    return x, right.astype(np.float32)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    x, y = data(300, 0)
    network = fit_stack(x, y[:, :2], np.arange(300), LAYOUT).network
    points = {"accuracy": OperatingPoint("", "sums", 0.02, costs={"sums": 1.0, "words": 2.0})}
    return Artifact(
        network, NAMES, {"text_dim": 4, "image_dim": 2}, {"words": TEXT_ONLY},
        Calibration("sigmoid", [([0.0, 1.0], [0.0, 1.0])] * 2), points,
        novelty=fit_novelty(x[:, :6], y[:, :2], np.arange(300), list(range(300)))[0],
    )  # fmt: skip


def test_an_added_model_is_known_from_few_labels(artifact: Artifact) -> None:
    x, y = data(60, 1)
    new, truth = data(400, 2)
    found = add_model(artifact, "third", x, y[:, 2], np.arange(60), TEXT_ONLY, 3.0)
    assert found.model_names == (*NAMES, "third")
    p = found.predict(new).probabilities
    assert p[:, :2] == pytest.approx(artifact.predict(new).probabilities, abs=1e-6), "the others are as they were"
    assert ((p[:, 2] > 0.5) == truth[:, 2]).mean() > 0.85
    assert found.operating_points["accuracy"].costs == {"sums": 1.0, "words": 2.0, "third": 3.0}
    fast = {"latency": replace(artifact.operating_points["accuracy"], weighs="latency")}
    timed = add_model(replace(artifact, operating_points=fast), "third", x, y[:, 2], np.arange(60), None, 3.0, 0.5)
    assert timed.operating_points["latency"].costs["third"] == 0.5, "seconds, not USD"
    assert found.facts["third"] == TEXT_ONLY
    assert artifact.model_names == NAMES, "the one it was made from is unchanged"


def test_an_added_model_goes_through_a_file(artifact: Artifact, tmp_path: Path) -> None:
    x, y = data(60, 1)
    found = add_model(artifact, "third", x, y[:, 2], np.arange(60))
    found = replace(found, prompt_features=(), encoder={"text_dim": 6, "image_dim": 2}, novelty=None)
    save_artifact(tmp_path / "r.pth", found)
    again = load_artifact(tmp_path / "r.pth")
    assert again.predict(x).probabilities == pytest.approx(found.predict(x).probabilities, abs=1e-6)


def test_a_clearly_better_model_becomes_the_default_and_no_other(artifact: Artifact) -> None:
    x, _ = data(100, 1)
    for right, default in ((1.0, "better"), (0.0, "sums")):
        found = add_model(artifact, "better", x, np.full(100, right, dtype=np.float32), np.arange(100))
        assert found.operating_points["accuracy"].default == default


def test_unknown_labels_are_left_out_and_too_few_are_refused(artifact: Artifact) -> None:
    x, y = data(100, 1)
    y[60:, 2] = np.nan
    some = add_model(artifact, "third", x, y[:, 2], np.arange(100))
    same = add_model(artifact, "third", x[:60], y[:60, 2], np.arange(60))
    assert some.predict(x).probabilities == pytest.approx(same.predict(x).probabilities, abs=1e-6)
    y[20:, 2] = np.nan
    with pytest.raises(DataError, match="20 known labels of 'third'; at least 30"):
        add_model(artifact, "third", x, y[:, 2], np.arange(100))
    with pytest.raises(ConfigError, match="already has a model 'sums'"):
        add_model(artifact, "sums", x, y[:, 0], np.arange(100))


def test_a_removed_model_is_gone_and_the_others_are_as_they_were(artifact: Artifact) -> None:
    x, _ = data(50, 3)
    found = remove_model(artifact, "sums")
    assert found.model_names == ("words",)
    assert found.predict(x).probabilities == pytest.approx(artifact.predict(x).probabilities[:, 1:], abs=1e-6)
    assert (found.operating_points["accuracy"].default, found.operating_points["accuracy"].costs) == ("words", {"words": 2.0})
    assert found.novelty is not None
    assert found.novelty.outcomes.shape[1] == 1
    with pytest.raises(ConfigError, match="only model"):
        remove_model(found, "words")
    with pytest.raises(ConfigError, match="unknown model 'nobody'; this router has sums, words"):
        remove_model(artifact, "nobody")


def test_a_renamed_model_is_the_same(artifact: Artifact) -> None:
    x, _ = data(50, 3)
    found = rename_model(artifact, "words", "prose")
    assert (found.predict(x).probabilities == artifact.predict(x).probabilities).all()
    assert found.model_names == ("sums", "prose")
    assert found.facts == {"prose": TEXT_ONLY}
    assert found.operating_points["accuracy"].costs == {"sums": 1.0, "prose": 2.0}
    for new in ("sums", ""):
        with pytest.raises(ConfigError, match="empty or taken"):
            rename_model(artifact, "words", new)


def test_the_other_head_is_not_changed() -> None:
    mlp = Artifact(RouterNetwork(NetworkConfig(3, 2, (4,))), NAMES, {})
    with pytest.raises(ConfigError, match="default head only"):
        remove_model(mlp, "sums")


def write(folder: Path, parts: dict[str, list[Record]]) -> None:
    """Write what Stages 1 and 2 would: records, letters for embeddings, metadata."""
    generator = EmbeddingGenerator(LetterEncoder())
    folder.mkdir(exist_ok=True)
    files = {}
    for part, records in parts.items():
        save_records(folder / f"{part}.json", records)
        source = survey_records(folder / f"{part}.json")
        file = begin(generator, source, folder / f"{part}.npy")
        file.add(generator.embed_batch([record.prompt for record in records]), [()] * len(records), {})
        files[part] = source, file
    publish(folder, generator.spec, files)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny data set and a router trained on it; in ``late`` the labels of a third model on the same prompts."""
    costs = {"sums": 1.0, "words": 2.0}

    def records(part: str, count: int) -> list[Record]:
        labels = [{"sums": i % 2, "words": 1 - i % 2} for i in range(count)]
        texts = [f"{'a' if i % 2 else 'x'} question {i} {part}" for i in range(count)]
        return [Record(i, text, model_scores=labels[i], model_costs=costs) for i, text in enumerate(texts)]

    train, test = records("train", 80), records("test", 20)
    late = [Record(r.idx, r.prompt, model_scores={"late": float(r.idx % 7 > 0)}) for r in train]
    write(tmp_path, {"train": train, "test": test})
    write(tmp_path / "late", {"train": late, "test": late[:1]})
    nn_router.main(training(tmp_path))
    return tmp_path


def training(folder: Path) -> list[str]:
    files = {"embeddings": "npy", "json": "json"}
    flags = [f"--{part}-{kind}={folder}/{part}.{end}" for part in ("train", "test") for kind, end in files.items()]
    return [*flags, f"--output-dir={folder}/out", "--baselines"]


def test_the_commands_change_the_router_that_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, late = f"--output-dir={folder}/out", folder / "late"
    edit.main([out, "add", "late", f"--train-embeddings={late}/train.npy", f"--train-json={late}/train.json"])
    assert load_artifact(folder / "out" / "nn_router.pth").model_names == (*NAMES, "late")
    edit.main([out, "remove", "words"])
    edit.main([out, "rename", "late", "new=er"])
    found = load_artifact(folder / "out" / "nn_router.pth")
    assert found.model_names == ("sums", "new=er")
    assert found.training.edits == ["added late", "removed words", "renamed late to new=er"]
    assert "now routes to sums, new=er" in capsys.readouterr().out
    assert run(lambda: edit.main([out, "remove", "nobody"])) == 2
    assert capsys.readouterr().err == "error: unknown model 'nobody'; this router has sums, new=er\n"


def test_the_flags_change_the_router_that_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that Stage 3 had before there was a command of its own."""
    out, late = f"--output-dir={folder}/out", folder / "late"
    before = load_artifact(folder / "out" / "nn_router.pth")
    assert before.novelty is not None
    assert before.novelty.prompts == []
    assert set(before.training.reference["probability"]) == set(NAMES)
    nn_router.main([out, "--add-model=late", f"--train-embeddings={late}/train.npy", f"--train-json={late}/train.json"])
    added = load_artifact(folder / "out" / "nn_router.pth")
    assert added.model_names == (*NAMES, "late")
    nn_router.main([out, "--remove-model=words", "--rename-model=late=new=er"])
    found = load_artifact(folder / "out" / "nn_router.pth")
    assert found.model_names == ("sums", "new=er")
    assert found.training.edits == ["added late", "removed words", "renamed late to new=er"]
    assert "now routes to sums, new=er" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--add-model=late"], "--train-embeddings, --train-json must be given"),
        ([], "--train-embeddings, --test-embeddings, --train-json, --test-json must be given"),
        (["--remove-model=nobody"], "unknown model 'nobody'"),
        (["--rename-model=sums"], "takes OLD=NEW"),
        (["--remove-model=sums", "--feedback=f.jsonl"], "--feedback is for training"),
    ],
)
def test_wrong_flags_are_one_line(flags: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(lambda: nn_router.main([f"--output-dir={folder}/out", *flags])) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_feedback_is_learned_from_and_prompts_are_kept_when_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "out" / "nn_router.pth"
    before, spec = load_artifact(path), EmbeddingGenerator(LetterEncoder()).spec
    prompts = [f"a question {i} train" for i in range(300)]
    rows = append_prompt_features(EmbeddingGenerator(LetterEncoder()).embed_batch(prompts), prompts)
    for row in rows:
        made = Decision("sums", dict.fromkeys(NAMES, 0.5), (), "", NAMES, features=row)
        append_feedback(folder / "feedback.jsonl", made, 0.0, spec)
    nn_router.main([*training(folder), f"--feedback={folder}/feedback.jsonl", "--store-prompts"])
    assert "feedback: 300 of 300 rows drawn" in capsys.readouterr().out
    after = load_artifact(path)
    means = [one.predict(rows).probabilities[:, 0].mean() for one in (after, before)]
    assert means[0] < means[1] - 0.3
    assert after.novelty is not None
    assert "a question 1 train" in after.novelty.prompts
    assert json.loads((folder / "out" / "metrics.json").read_text())
