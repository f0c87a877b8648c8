"""Retraining on outcomes: what is better replaces the router as one set, what is not leaves it and says why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router import retrain
from auto_router.artifacts import load_artifact
from auto_router.cli import COMMANDS
from auto_router.data.prompt_features import append_prompt_features
from auto_router.data.records import Record
from auto_router.decide.policy import RouterSettings, resolve_policy
from auto_router.errors import ConfigError, DataError
from auto_router.learn.calibration import Calibration
from auto_router.route.feedback import (
    Feedback,
    FeedbackRow,
    encoder_digest,
    fit_levels,
    level_shifts,
    load_feedback,
    pack_features,
)
from tests import stage3
from tests.stage3 import KINDS, embed, kind_of, make_records

Outcome = Callable[[Record, str], float]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as Stage 3 leaves it, with what it was trained on."""
    folder = tmp_path_factory.mktemp("trained")
    stage3.train(folder, make_records(240), make_records(90, 1000))
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "copy")


def as_labelled(record: Record, model: str) -> float:
    return float(record.model_scores[model] or 0.0)


def c_broke(record: Record, model: str) -> float:
    return 0.0 if model == "c" else as_labelled(record, model)


def as_predicted(folder: Path) -> Outcome:
    """Outcomes that come as often as the router says: there is nothing to learn."""
    artifact, rng = load_artifact(folder / "out" / "nn_router.pth"), np.random.default_rng(0)

    def outcome(record: Record, model: str) -> float:
        row = append_prompt_features(embed([record]), [record.prompt])
        return float(rng.random() < artifact.predict(row).probabilities[0, artifact.model_names.index(model)])

    return outcome


def serve(folder: Path, outcome: Outcome, count: int = 300) -> Path:
    """Write the outcomes of the answers that the router in ``folder`` would have asked for."""
    records = make_records(count, 5000)
    rows = append_prompt_features(embed(records), [record.prompt for record in records])
    artifact = load_artifact(folder / "out" / "nn_router.pth")
    file, digest = folder / "feedback.jsonl", encoder_digest(artifact.encoder)
    for record, row, place in zip(records, rows, choices(folder, records), strict=True):
        name = artifact.model_names[place]
        FeedbackRow(name, outcome(record, name), name, "x", digest, pack_features(row), f"dec_{record.idx}").append(file)
    return file


def choices(folder: Path, records: Sequence[Record]) -> list[int]:
    artifact = load_artifact(folder / "out" / "nn_router.pth")
    rows = append_prompt_features(embed(records), [record.prompt for record in records])
    policy = resolve_policy(artifact.model_names, artifact.operating_points, RouterSettings())
    found: list[int] = policy.choose(artifact.predict(rows)).chosen.tolist()
    return found


def flags(folder: Path, inputs: Path | None = None) -> list[str]:
    inputs = inputs or folder
    files = [f"--{part}-{kind}={inputs / part}.{end}" for part in ("train", "test")
             for kind, end in (("embeddings", "npy"), ("json", "json"))]  # fmt: skip
    return [*files, f"--router={folder / 'out' / 'nn_router.pth'}", f"--feedback={folder / 'feedback.jsonl'}"]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def test_a_model_that_broke_is_left_and_the_set_is_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve(folder, c_broke)
    before = content(folder)
    retrain.main([*flags(folder), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["replaced"], told["refused"]) == (True, None)
    assert told["compared"]["interval"][0] > 0
    assert told["levels"]["c"] < -1
    after = content(folder)
    assert set(after) == set(before)
    assert all(after[name] != before[name] for name in ("nn_router.pth", "nn_router.safetensors", "metrics.json", "README.md"))
    records = make_records(90, 9000)
    assert KINDS.index("c") not in choices(folder, [record for record in records if kind_of(record) != "c"])
    assert load_artifact(folder / "out" / "nn_router.pth").training.edits[0].startswith("levels learned from outcomes")
    # Again on the same outcomes: the router has learned what they say, and its network is the same.
    with pytest.raises(SystemExit) as refused:
        retrain.main([*flags(folder), "--json"])
    captured = capsys.readouterr()
    assert (refused.value.code, json.loads(captured.out)["compared"]["behind"]) == (3, [0.0, 0.0])
    assert "must be by more than 0" in captured.err


def test_a_worse_router_is_refused_and_says_why(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The labels to train on name the wrong models: what comes of them must not be served."""
    serve(folder, as_labelled, count=900)
    turned = {"a": "b", "b": "c", "c": "a"}

    def turn(records: list[Record]) -> list[Record]:
        return [replace(r, model_scores={turned[n]: value for n, value in r.model_scores.items()}) for r in records]

    stage3.write_inputs(tmp_path / "wrong", turn(make_records(240)), turn(make_records(90, 1000)))
    before = content(folder)
    with pytest.raises(SystemExit) as refused:
        retrain.main(flags(folder, tmp_path / "wrong"))
    assert refused.value.code == 3
    captured = capsys.readouterr()
    assert "refused: it is worse on the" in captured.err
    assert "stays as it is" in captured.out
    assert content(folder) == before


def test_what_is_not_better_is_refused_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve(folder, as_predicted(folder))
    before = content(folder)
    with pytest.raises(SystemExit):
        retrain.main([*flags(folder), "--json"])
    captured = capsys.readouterr()
    assert "must be by more than 0" in captured.err
    assert json.loads(captured.out)["replaced"] is False
    assert content(folder) == before


def test_a_dry_run_replaces_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve(folder, c_broke)
    before = content(folder)
    retrain.main([*flags(folder), "--dry-run"])
    assert "of the prompts change model" in capsys.readouterr().out
    assert content(folder) == before


def test_a_run_that_is_killed_while_it_writes_leaves_the_old_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(folder, c_broke)
    before = content(folder)

    def write_half(staging: Path, *given: Any) -> None:
        (staging / "nn_router.pth").write_bytes(b"half a router")
        raise KeyboardInterrupt

    monkeypatch.setattr(retrain, "write_files", write_half)
    with pytest.raises(KeyboardInterrupt):
        retrain.main(flags(folder))
    assert content(folder) == before


def test_too_little_or_wrong_input_is_one_line(folder: Path, tmp_path: Path) -> None:
    serve(folder, as_labelled, count=30)
    with pytest.raises(DataError, match="of 30 prompts are too few"):
        retrain.main(flags(folder))
    with pytest.raises(ConfigError, match=r"nobody\.npy not there"):
        retrain.main([*flags(folder), f"--train-embeddings={tmp_path / 'nobody.npy'}"])
    with pytest.raises(ConfigError, match="--held-out must be between"):
        retrain.main([*flags(folder), "--held-out=1"])
    records = [replace(r, model_scores={**r.model_scores, "d": 1.0}) for r in make_records(30)]
    stage3.write_inputs(tmp_path / "other", records, records)
    with pytest.raises(ConfigError, match="the labels are of a, b, c, d"):
        retrain.main(flags(folder, tmp_path / "other"))
    assert COMMANDS["retrain"][0] == "auto_router.retrain"


def feedback_of(count: int, p: float | Sequence[float], names: int = 3, model: int = 0, seed: int = 0) -> Feedback:
    """``count`` outcomes of one model that is right with probability ``p``."""
    rng = np.random.default_rng(seed)
    labels = np.full((count, names), np.nan)
    labels[:, model] = rng.random(count) < p
    return Feedback(rng.normal(size=(count, 4)), labels, [str(i) for i in range(count)])


def joined(*parts: Feedback) -> Feedback:
    features, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "labels"))
    return Feedback(features, labels, [f"{place} {group}" for place, part in enumerate(parts) for group in part.groups])


def test_a_router_does_not_leave_what_is_known(folder: Path) -> None:
    artifact = load_artifact(folder / "out" / "nn_router.pth")
    names = list(artifact.model_names)
    grid = [0.0, 1.0]
    moved = replace(artifact, calibration=Calibration("sigmoid", [(grid, grid), (grid, [1.0, 1.0]), (grid, [0.0, 0.0])]))
    for outcome, said in ((c_broke, "fewer than 20 outcomes"), (lambda record, model: 0.0, None)):
        feedback = load_feedback(serve(folder, outcome), artifact.model_names, artifact.encoder, artifact.layout.dim)
        few = np.flatnonzero(feedback.columns == 1)[:3]
        feedback = feedback.take(np.concatenate([np.flatnonzero(feedback.columns != 1), few]))
        compared = retrain.compare_routers(artifact, moved, feedback, retrain.fold_feedback(feedback, 0.2, 0), names)
        assert compared.behind == (0.0, 0.0)
        compared = replace(compared, interval=(0.1, 0.2))
        assert compared.unknown > 0.3
        assert said is None or said in str(compared.refusal)
        more = feedback_of(20, 0.5, model=1)
        known = joined(feedback, Feedback(feedback.features[:20], more.labels, more.groups))
        found = retrain.compare_routers(artifact, moved, known, retrain.fold_feedback(known, 0.2, 0), names)
        assert (found.unknown, replace(found, interval=(0.1, 0.2)).refusal) == (0.0, None)
        (folder / "feedback.jsonl").unlink()


def test_levels_move_where_outcomes_say_so_and_nowhere_else() -> None:
    p = np.full((100, 3), 0.7)
    for seed in range(5):
        right, broke = (level_shifts(fit_levels(p, feedback_of(100, share, seed=seed)), p) for share in (0.7, 0.2))
        assert abs(right[0]) < 0.3
        assert broke[0] < -1.5
        assert np.abs(right[1:]).max() < 0.05, "nobody asked them"
        assert np.abs(broke[1:]).max() < 0.8, "one that broke says little of the others"


def test_what_all_models_lost_the_one_that_was_seldom_asked_lost_too() -> None:
    """Else a router would go where nobody looked yet."""
    p = np.full((400, 3), 0.7)
    often, seldom = [feedback_of(150, 0.4, model=model, seed=model) for model in (0, 1)], feedback_of(8, 0.5, model=2)
    shifts = level_shifts(fit_levels(p[:308], joined(*often, seldom)), p)
    assert shifts == pytest.approx([-1.25] * 3, abs=0.35)


@pytest.mark.parametrize("lost", ["right answers", "wrong answers"])
def test_a_change_is_found_in_its_form(lost: str) -> None:
    """Of a model, half of the right, or of the wrong, answers are not what the labels said."""
    stated = np.linspace(0.05, 0.45, 400)[:, None]
    p = stated if lost == "right answers" else 1 - stated
    true = 2 * stated if lost == "right answers" else 1 - 2 * stated
    found = fit_levels(p, feedback_of(400, true[:, 0].tolist(), names=1))(p)
    assert np.abs(found - true).max() < 0.12
    assert (np.diff(found[:, 0]) * np.diff(p[:, 0]) >= 0).all(), "the order of the prompts stays"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_any_outcomes_give_levels(pairs: list[tuple[float, float]]) -> None:
    p, y = np.array(pairs).T
    given = Feedback(np.zeros((len(y), 2)), y[:, None], ["x"] * len(y))
    levels = fit_levels(p[:, None], given)
    Calibration.from_plain(levels.to_plain(), 1)
    assert np.isfinite(level_shifts(levels, p[:, None])).all()


def test_a_network_of_wrong_labels_is_refused_though_its_levels_are_right(folder: Path, tmp_path: Path) -> None:
    """All models are right less often than they were: whoever is told of that predicts better than the one in service."""
    rng = np.random.default_rng(0)

    def half(record: Record, model: str) -> float:
        return float(rng.random() < 0.6) * as_labelled(record, model)

    serve(folder, half, count=900)
    turned = {"a": "b", "b": "c", "c": "a"}
    files = []
    for start, count in ((0, 240), (1000, 90)):
        records = make_records(count, start) if start else make_records(count)
        files.append([replace(r, model_scores={turned[n]: v for n, v in r.model_scores.items()}) for r in records])
    stage3.write_inputs(tmp_path / "wrong", *files)
    with pytest.raises(SystemExit) as refused:
        retrain.main(flags(folder, tmp_path / "wrong"))
    assert refused.value.code == 3


def test_every_prompt_is_held_out_in_one_turn_and_stays_there() -> None:
    many = feedback_of(400, 0.5)
    few = many.take(np.arange(200))
    turns = [dict(zip(part.groups, retrain.fold_feedback(part, 0.2, 0).tolist(), strict=True)) for part in (few, many)]
    assert all(turns[1][group] == turn for group, turn in turns[0].items())
    assert (np.bincount(list(turns[1].values())) > 50).all()
    assert len(set(turns[1].values())) == 5
