"""Random search over a grid of training settings, judged by validation loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sklearn.model_selection import ParameterSampler
from tqdm import tqdm

from auto_router.errors import ConfigError
from auto_router.learn.training import Array, TrainConfig, Trained, train_network


@dataclass(frozen=True, slots=True)
class Trial:
    """One sampled setting and what training with it gave."""

    params: dict[str, Any]
    config: TrainConfig
    trained: Trained


def config_with(base: TrainConfig, params: Mapping[str, Any]) -> TrainConfig:
    """Return ``base`` with ``params`` put in. Raises ConfigError for a name that no setting has."""
    known = {f.name for f in fields(TrainConfig)}
    unknown = sorted(set(params) - known)
    if unknown:
        raise ConfigError(f"unknown training settings {unknown}; allowed are {sorted(known)}")
    values = dict(params)
    if "hidden_dims" in values:
        values["hidden_dims"] = tuple(values["hidden_dims"])
    return replace(base, **values)


def random_search(
    train: tuple[Array, Array],
    validation: tuple[Array, Array],
    base: TrainConfig,
    grid: Mapping[str, Sequence[Any]],
    trials: int,
    seed: int,
    device: str = "cpu",
) -> list[Trial]:
    """Train ``trials`` settings sampled without replacement from ``grid``; return them, best validation loss first.

    Every trial trains with the same ``seed``, so two trials differ by their settings alone.
    """
    size = 1
    for values in grid.values():
        size *= len(values)
    sampled = list(ParameterSampler(dict(grid), n_iter=min(trials, size), random_state=seed))
    done = []
    for params in tqdm(sampled, desc="search", unit="trial"):
        config = config_with(base, params)
        done.append(Trial(dict(params), config, train_network(train, validation, config, seed, device)))
    return sorted(done, key=lambda trial: trial.trained.best_loss)
