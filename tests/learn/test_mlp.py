"""The network and its training: what is returned is the best epoch, and unknown labels are nothing."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auto_router.data import dataset
from auto_router.errors import ConfigError, DataError
from auto_router.files import release
from auto_router.learn import mlp
from auto_router.learn.memmap import Subset, first_not_finite
from auto_router.learn.mlp import (
    NetworkConfig,
    RouterNetwork,
    TrainConfig,
    Training,
    batches,
    class_weights,
    masked_bce,
    train_network,
)
from auto_router.learn.search import config_with
from tests.fakes import learnable

SMALL = TrainConfig(hidden_dims=(16, 8), epochs=30, patience=5, batch_size=16, dropout=0.2, learning_rate=0.01)


def test_the_returned_network_is_the_best_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a true copy of every epoch's weights, and find the returned ones among them by their recomputed loss."""
    train, validation = learnable(120), learnable(60, seed=1)
    snapshots: list[dict[str, torch.Tensor]] = []
    original = Training._epoch

    def remembering(self: Training, *rows: Any) -> float:
        loss = original(self, *rows)
        snapshots.append(copy.deepcopy(self._network.state_dict()))
        return loss

    monkeypatch.setattr(Training, "_epoch", remembering)
    config = TrainConfig(hidden_dims=(16,), epochs=40, patience=6, batch_size=16, learning_rate=0.05, class_weights=False)
    trained = train_network(train, validation, config, seed=3)
    x, y = map(torch.from_numpy, validation)

    def loss_of(state: dict[str, torch.Tensor]) -> float:
        network = RouterNetwork(trained.network.config)
        network.load_state_dict(state)
        with torch.inference_mode():
            return masked_bce(network.eval().logits(x), y).item()

    losses = [loss_of(state) for state in snapshots]
    assert trained.best_epoch == int(np.argmin(losses)) < len(losses) - 1, "the run must pass its best epoch to show this"
    assert loss_of(trained.network.state_dict()) == pytest.approx(min(losses), abs=1e-6)
    assert trained.best_loss == pytest.approx(min(losses), abs=1e-6)
    assert losses[-1] > min(losses) + 1e-4
    assert not trained.network.training


def test_the_reported_loss_is_that_of_the_returned_probabilities_with_class_weights_too() -> None:
    train, validation = learnable(120), learnable(60, seed=1)
    trained = train_network(train, validation, SMALL, seed=0)
    x, y = map(torch.from_numpy, validation)
    with torch.inference_mode():
        p = trained.network(x).clamp(1e-7, 1 - 1e-7)
        loss = -(y * p.log() + (1 - y) * (1 - p).log()).mean().item()
    assert loss == pytest.approx(trained.best_loss, abs=1e-4)


def test_class_weights_balance_training_and_leave_probabilities_honest() -> None:
    """One label in ten is 1 and nothing can be learned: the mean probability must stay near 0.1, not go to 0.5."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4)).astype(np.float32)
    y = (rng.random((400, 1)) < 0.1).astype(np.float32)
    trained = train_network((x[:300], y[:300]), (x[300:], y[300:]), SMALL, seed=0)
    with torch.inference_mode():
        mean = trained.network(torch.from_numpy(x)).mean().item()
    assert 0.04 < mean < 0.2
    assert class_weights(torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, float("nan")]])).tolist() == [2.0, pytest.approx(0.05)]


@pytest.mark.parametrize("rows", [2, 3, 17, 33])
def test_a_last_batch_of_one_row_trains(rows: int) -> None:
    x, y = learnable(rows)
    trained = train_network((x, y), learnable(10, seed=1), SMALL, seed=0)
    assert all(torch.isfinite(value).all() for value in trained.network.state_dict().values())
    sizes = [len(part) for part in batches(rows, 16, torch.Generator())]
    assert sum(sizes) == rows
    assert min(sizes) > 1


def test_batches_visit_every_row_once() -> None:
    rows = torch.cat(list(batches(65, 16, torch.Generator().manual_seed(1))))
    assert sorted(rows.tolist()) == list(range(65))


def test_null_labels_change_nothing() -> None:
    """The gradient with unknown labels is that of the known ones alone, and a model nobody labelled moves nothing."""
    torch.manual_seed(0)
    logits = torch.randn(5, 3, requires_grad=True)
    labels = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.float32)
    unknown = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]], dtype=torch.bool)
    loss = masked_bce(logits, labels.masked_fill(unknown, float("nan")))
    loss.backward()  # type: ignore[no-untyped-call]
    p = torch.sigmoid(logits.detach())
    by_hand = -(labels * p.log() + (1 - labels) * (1 - p).log())[~unknown].mean()
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert logits.grad is not None
    assert (logits.grad[unknown] == 0).all()
    assert torch.allclose(logits.grad[~unknown], ((p - labels) / (~unknown).sum())[~unknown], atol=1e-6)


def test_a_column_without_labels_leaves_the_other_models_weights_as_they_are() -> None:
    x, y = learnable(80)
    hidden = np.concatenate([y, np.full((80, 1), np.nan, dtype=np.float32)], axis=1)
    weights = class_weights(torch.from_numpy(hidden))
    assert weights[-1] == 1.0
    assert torch.equal(weights[:3], class_weights(torch.from_numpy(y)))
    trained = train_network((x, hidden), (x, hidden), SMALL, seed=0)
    assert trained.best_loss < 0.693


def test_training_is_deterministic_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1).item()
    torch.manual_seed(5)
    first = train_network(learnable(60), learnable(20, 1), SMALL, seed=7)
    assert torch.rand(1).item() == expected
    second = train_network(learnable(60), learnable(20, 1), SMALL, seed=7)
    other = train_network(learnable(60), learnable(20, 1), SMALL, seed=8)
    assert all(torch.equal(a, b) for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True))
    assert not torch.equal(first.network.output.weight, other.network.output.weight)


def test_the_network_has_the_missions_layers_and_gives_probabilities() -> None:
    network = RouterNetwork(NetworkConfig(1024, 3)).eval()
    kinds = [type(layer).__name__ for layer in network.hidden]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 3
    assert [tuple(p.shape) for p in network.output.parameters()] == [(3, 128), (3,)]
    out = network(torch.randn(4, 1024))
    assert out.shape == (4, 3)
    assert ((out > 0) & (out < 1)).all()
    assert NetworkConfig.from_plain(network.config.to_plain()) == network.config


def test_training_in_parts_gives_the_weights_of_training_at_once() -> None:
    """Also when it is pickled in between, as a search does."""
    train, validation = learnable(60), learnable(20, 1)
    config = replace(SMALL, epochs=6, patience=6)
    parts = Training(train, validation, config, seed=7)
    for epochs in (1, 4, 6):
        parts = pickle.loads(pickle.dumps(parts))  # noqa: S301
        parts.advance(train, validation, epochs)
        assert len(parts.history) == epochs
    whole = train_network(train, validation, config, seed=7)
    assert parts.best().history == whole.history
    assert all(torch.equal(a, b) for a, b in zip(parts.best().network.parameters(), whole.network.parameters(), strict=True))


def test_graded_labels_are_soft_targets() -> None:
    """A model graded 0.3 everywhere is learned as 0.3, and the loss of a grade is that of its two outcomes, weighted."""
    logits, grade = torch.tensor([[0.7]]), torch.tensor([[0.3]])
    outcomes = 0.3 * masked_bce(logits, torch.ones(1, 1)) + 0.7 * masked_bce(logits, torch.zeros(1, 1))
    assert masked_bce(logits, grade).item() == pytest.approx(outcomes.item(), rel=1e-6)
    x, _ = learnable(200)
    y = np.full((200, 1), 0.3, dtype=np.float32)
    trained = train_network((x[:150], y[:150]), (x[150:], y[150:]), replace(SMALL, class_weights=True), seed=0)
    with torch.inference_mode():
        assert (trained.network(torch.from_numpy(x)) - 0.3).abs().mean().item() < 0.05


def test_what_is_not_finite_is_counted_and_the_huge_is_finite() -> None:
    x = np.full((4, 3), 3e38, dtype=np.float32)
    assert first_not_finite(x) == (-1, 0), "their sum overflows, they do not"
    x[1, 0], x[3, 1] = np.inf, -np.inf
    assert first_not_finite(x) == (1, 2)
    assert first_not_finite(Subset(x, np.array([3, 0]))) == (3, 1)


def test_a_diverged_training_says_so() -> None:
    config = replace(SMALL, learning_rate=1e38, epochs=3, dropout=0.0)
    with pytest.raises(ConfigError, match="diverged, no epoch has a finite validation loss: lower learning_rate"):
        train_network(learnable(40), learnable(20, 1), config, seed=0)


@pytest.mark.parametrize("values", [{"dropout": 1.0}, {"hidden_dims": (0,)}, {"batch_size": 0}, {"learning_rate": 0.0}])
def test_impossible_settings_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        train_network(learnable(10), learnable(5), config_with(SMALL, values), seed=0)


def test_bad_settings_and_too_little_data_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown training settings \\['droput'\\]"):
        config_with(SMALL, {"droput": 0.1})
    x, y = learnable(10)
    with pytest.raises(DataError, match="1 training row"):
        train_network((x[:1], y[:1]), (x, y), SMALL, seed=0)
    with pytest.raises(DataError, match="no known label"):
        train_network((x, np.full_like(y, np.nan)), (x, y), SMALL, seed=0)


def test_rows_of_a_memory_map_train_as_a_copy_of_them_does(tmp_path: Path) -> None:
    x, y = learnable(200)
    np.save(tmp_path / "x.npy", x)
    rows, held_out = np.random.default_rng(0).permutation(200)[:150], np.arange(0, 200, 7)
    for mode in ("r", "c"):
        mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
        found = train_network((Subset(mapped, rows), y[rows]), (Subset(mapped, held_out), y[held_out]), SMALL, seed=0)
        expected = train_network((x[rows], y[rows]), (x[held_out], y[held_out]), SMALL, seed=0)
        assert found.history == expected.history
    x[rows[3], 5] = np.nan
    with pytest.raises(DataError, match=rf"training embeddings hold NaN or infinite values in row {rows[3]} \(1 of 150 rows\)"):
        train_network((Subset(x, rows), y[rows]), (x[rows], y[rows]), SMALL, seed=0)


def test_a_validation_in_chunks_has_the_loss_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_network(learnable(120), learnable(60, 1), SMALL, seed=0)
    for module in ("mlp", "memmap"):
        monkeypatch.setattr(f"auto_router.learn.{module}.CHUNK", 17)
    parts = train_network(learnable(120), learnable(60, 1), SMALL, seed=0)
    assert [v for _, v in parts.history] == pytest.approx([v for _, v in whole.history], abs=1e-6)


def test_pages_of_a_map_are_released_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come out the same however often pages are given back, and given back they do not count as memory."""
    table = np.random.default_rng(0).normal(size=(4096, 2048)).astype(np.float32)
    np.save(tmp_path / "x.npy", table)
    mapped, rows = np.load(tmp_path / "x.npy", mmap_mode="r"), np.random.default_rng(1).permutation(4096)[:2000]
    released: list[float] = []

    def counted(of: Any) -> None:
        before = mapped_mib()
        release(of)
        released.append(before - mapped_mib())

    for module in (dataset, mlp):
        monkeypatch.setattr(module, "HELD", 256)
        monkeypatch.setattr(module, "release", counted)
    assert np.array_equal(Subset(mapped, rows)[:], table[rows])
    batch = mlp.on_device(Subset(mapped, rows), "cpu")
    for places in torch.split(torch.arange(2000), 100):
        assert np.array_equal(batch(places).numpy(), table[rows[places.numpy()]])
    assert len(released) == 8 + 6, "2,000 rows by 256, and by batches of 100"
    assert min(released) > 1, "MiB: 256 rows are 2"


def mapped_mib() -> float:
    """Pages of files that count as this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    # Those of a file system in memory are counted as shared.
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith(("RssFile", "RssShmem")))
