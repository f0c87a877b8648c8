"""The network on data as it comes: each of these trains, or is refused in one clear line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from auto_router.arrays import Array
from auto_router.errors import DataError
from auto_router.learn.mlp import Rows, TrainConfig, Trained, train_network

CONFIG = TrainConfig(hidden_dims=(32, 16), epochs=12, patience=6, batch_size=32, learning_rate=0.005)
TEXT, IMAGE = 8, 12


def data(count: int, models: int = 3, seed: int = 0, pictures: float = 0.4) -> Rows:
    """Text and image halves, the image half zeros for rows without a picture; labels follow the text half."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, TEXT + IMAGE)).astype(np.float32)
    x[rng.random(count) >= pictures, TEXT:] = 0.0
    y = (x[:, [j % TEXT for j in range(models)]] > 0) ^ (rng.random((count, models)) < 0.1)
    return x, y.astype(np.float32)


def fit(train: Rows, validation: Rows) -> tuple[Trained, Array]:
    """Train, check that every weight and probability is a number, and return the probabilities of the validation rows."""
    trained = train_network(train, validation, CONFIG, seed=0)
    assert all(torch.isfinite(value).all() for value in trained.network.state_dict().values())
    with torch.inference_mode():
        p: Array = trained.network(torch.from_numpy(validation[0])).numpy()
    assert ((p >= 0) & (p <= 1)).all()
    return trained, p


def accuracy(p: Array, y: Array, column: int = 0) -> float:
    return float(((p[:, column] > 0.5) == y[:, column]).mean())


def test_constant_label_columns_are_learned_as_constants() -> None:
    train, validation = data(300), data(100, seed=1)
    for _, y in (train, validation):
        y[:, 1], y[:, 2] = 1.0, 0.0
    _, p = fit(train, validation)
    assert accuracy(p, validation[1]) > 0.7
    assert p[:, 1].mean() > 0.9
    assert p[:, 2].mean() < 0.1


def test_a_model_with_five_labels_does_not_disturb_the_others() -> None:
    train, validation = data(300), data(100, seed=1)
    train[1][5:, 2] = np.nan
    _, p = fit(train, validation)
    assert accuracy(p, validation[1], 0) > 0.7
    assert accuracy(p, validation[1], 1) > 0.7


def test_thirty_percent_unknown_labels_are_enough() -> None:
    train, validation = data(400), data(100, seed=1)
    train[1][np.random.default_rng(2).random(train[1].shape) < 0.3] = np.nan
    _, p = fit(train, validation)
    assert min(accuracy(p, validation[1], j) for j in range(3)) > 0.7


@pytest.mark.parametrize(("rows", "held_out"), [(5, 1), (2, 4), (33, 5), (65, 1)])
def test_few_rows_and_odd_batches_train(rows: int, held_out: int) -> None:
    fit(data(rows), data(held_out, seed=1))


@pytest.mark.parametrize("models", [1, 60])
def test_one_model_and_sixty_train(models: int) -> None:
    train, validation = data(300, models), data(100, models, seed=1)
    _, p = fit(train, validation)
    assert p.shape == (100, models)
    assert np.mean([accuracy(p, validation[1], j) for j in range(models)]) > 0.7


def test_duplicate_rows_train() -> None:
    x, y = data(40)
    train = np.tile(x, (8, 1)), np.tile(y, (8, 1))
    fit(train, data(50, seed=1))
    same = np.repeat(x[:1], 64, axis=0), np.repeat(y[:1], 64, axis=0)
    fit(same, data(50, seed=1))


@pytest.mark.parametrize("pictures", [0.0, 1.0])
def test_no_pictures_at_all_and_only_pictures_train(pictures: float) -> None:
    train, validation = data(300, pictures=pictures), data(100, seed=1, pictures=pictures)
    _, p = fit(train, validation)
    assert accuracy(p, validation[1]) > 0.7


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["training", "validation"])
def test_embeddings_that_are_no_numbers_name_their_row(bad: float, part: str) -> None:
    sides = {"training": data(40), "validation": data(20, seed=1)}
    sides[part][0][[7, 9], 3] = bad
    with pytest.raises(DataError, match=f"{part} embeddings hold NaN or infinite values in row 7 \\(2 of "):
        train_network(sides["training"], sides["validation"], CONFIG, seed=0)


def test_a_fifth_of_the_labels_flipped_costs_little() -> None:
    train, validation = data(600), data(300, seed=1)
    flips = np.random.default_rng(3).random(train[1].shape) < 0.2
    clean = fit(train, validation)[1]
    noisy = fit((train[0], np.where(flips, 1 - train[1], train[1]).astype(np.float32)), validation)[1]
    worth = [np.mean([accuracy(p, validation[1], j) for j in range(3)]) for p in (clean, noisy)]
    assert worth[1] > worth[0] - 0.08


def test_an_epoch_longer_than_patience_changes_nothing_about_the_best() -> None:
    """More patience can only find a loss that is as good or better: the epochs before are the same."""
    train, validation = data(200), data(80, seed=1)
    short = train_network(train, validation, replace(CONFIG, patience=2), seed=0)
    long = train_network(train, validation, replace(CONFIG, patience=8), seed=0)
    assert long.history[: len(short.history)] == short.history
    assert long.best_loss <= short.best_loss
