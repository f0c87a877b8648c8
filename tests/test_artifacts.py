"""The artifact: a round trip, and every way in which one can be wrong."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auto_router.artifacts import Artifact, TrainingSummary, load_artifact, save_artifact
from auto_router.data.pool import ModelFacts
from auto_router.errors import ArtifactError
from auto_router.learn.mlp import NetworkConfig, RouterNetwork
from auto_router.learn.stack import FeatureLayout
from auto_router.learn.stack_fit import fit_stack


def artifact() -> Artifact:
    torch.manual_seed(0)
    network = RouterNetwork(NetworkConfig(6, 2, (4,), 0.1)).eval()
    facts = {"a": ModelFacts(modalities=("text",))}
    return Artifact(network, ("a", "b"), {"backend": "tiny", "text_dim": 4, "image_dim": 2}, facts)


def test_round_trip(tmp_path: Path) -> None:
    saved, path = artifact(), tmp_path / "deep" / "nn_router.pth"
    save_artifact(path, saved)
    loaded = load_artifact(path)
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    assert (loaded.network.predict(x) == saved.network.predict(x)).all()
    assert isinstance(loaded.network, RouterNetwork)
    assert not loaded.network.training
    assert (loaded.model_names, loaded.encoder, loaded.facts) == (saved.model_names, saved.encoder, saved.facts)
    assert [p.name for p in path.parent.iterdir()] == ["nn_router.pth"]


def changed(tmp_path: Path, **entries: Any) -> Path:
    path = tmp_path / "nn_router.pth"
    save_artifact(path, artifact())
    content = torch.load(path, weights_only=True)
    torch.save(content | entries, path)
    return path


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"model_names": ["a"]}, "do not fit"),
        ({"model_names": ["a", "a"]}, "do not fit"),
        ({"model_names": "ab"}, "model_names"),
        ({"network": {"input_dim": 6}}, "do not fit"),
        ({"network": {"input_dim": 7, "n_models": 2, "hidden_dims": [4], "dropout": 0.1}}, "do not fit"),
        ({"network": {"input_dim": 6, "n_models": 2, "hidden_dims": [10**12], "dropout": 0.1}}, "do not fit"),
        ({"encoder": {"text_dim": 9, "image_dim": 2}}, "do not fit"),
        ({"state_dict": {}}, "do not fit"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        load_artifact(changed(tmp_path, **entries))


def test_missing_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "nn_router.pth"
    with pytest.raises(ArtifactError, match=r"does not exist; train one with nn_router\.py"):
        load_artifact(path)
    save_artifact(path, artifact())
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(ArtifactError):
            load_artifact(path)
    torch.save([1, 2], path)
    with pytest.raises(ArtifactError, match="format"):
        load_artifact(path)


class Bomb:
    """A pickle that would create a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_no_code_runs_on_opening(tmp_path: Path) -> None:
    path, proof = tmp_path / "nn_router.pth", tmp_path / "proof"
    torch.save({"format": 1, "state_dict": Bomb(proof)}, path)
    with pytest.raises(ArtifactError, match="nothing in it was run") as caught:
        load_artifact(path)
    assert "weights_only" not in str(caught.value)
    path.write_bytes(pickle.dumps(Bomb(proof)))
    with pytest.raises(ArtifactError):
        load_artifact(path)
    assert not proof.exists()


def test_a_failed_write_leaves_the_old_artifact(tmp_path: Path) -> None:
    path = tmp_path / "nn_router.pth"
    save_artifact(path, artifact())
    before = path.read_bytes()
    broken = replace(artifact(), training=TrainingSummary(config={"unpicklable": lambda: None}))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_artifact(path, broken)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["nn_router.pth"]


@pytest.fixture
def default_network() -> Artifact:
    """A small default router: its companion is read without torch."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)).astype(np.float32)
    network = fit_stack(x, (x[:, :2] > 0).astype(np.float32), np.arange(40), FeatureLayout(4, 2, 0)).network
    return Artifact(network, ("a", "b"), {"backend": "tiny", "text_dim": 4, "image_dim": 2})


ROUTE_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # as where it is not installed
import numpy as np
from auto_router.artifacts import load_artifact
from model_router import ModelRouter
from auto_router.errors import ArtifactError
try:
    print(load_artifact(sys.argv[1]).predict(np.ones((1, 6), dtype=np.float32)).probabilities.tolist())
except ArtifactError as error:
    print(error)
"""


def run_without_torch(path: Path) -> str:
    command = [sys.executable, "-c", ROUTE_WITHOUT_TORCH, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_default_network_predicts_the_same_without_torch(tmp_path: Path, default_network: Artifact) -> None:
    path = tmp_path / "nn_router.pth"
    save_artifact(path, default_network)
    expected = default_network.predict(np.ones((1, 6), dtype=np.float32)).probabilities.tolist()
    companion = path.with_suffix(".safetensors")
    assert (run_without_torch(path), run_without_torch(companion)) == (str(expected), str(expected))
    assert companion.stat().st_mode == path.stat().st_mode
    path.unlink()
    found = load_artifact(companion)
    assert found.predict(np.ones((1, 6), dtype=np.float32)).probabilities.tolist() == expected
    assert getattr(found.network, "image", None) == found.layout.blocks["image"]
    companion.unlink()
    save_artifact(path, artifact())
    assert "needs torch: pip install torch" in run_without_torch(path)


def test_a_companion_of_another_artifact_is_not_read(tmp_path: Path, default_network: Artifact) -> None:
    path, other = tmp_path / "nn_router.pth", tmp_path / "other" / "nn_router.pth"
    save_artifact(path, default_network)
    save_artifact(other, replace(default_network, model_names=("c", "d")))
    path.write_bytes(other.read_bytes())  # as an older version, or a hand, would replace it
    assert load_artifact(path).model_names == ("c", "d")
    save_artifact(path, artifact())
    assert not path.with_suffix(".safetensors").exists()
