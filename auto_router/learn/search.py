"""Random search over a grid of training settings, judged by validation loss; successive halving discards hopeless trials.

All trials train for a ninth of the epochs, the best third of them goes on to a third of the epochs, and the best third of
those to the end (successive halving, Jamieson & Talwalkar, arXiv 1502.07943, with thirds). A rung ends when all of its
trials are there, so the result depends neither on how many processes work nor on which of them is done first.

The trials of a search: what each one tried and reached, kept line by line in a journal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import joblib
import torch
from joblib import Parallel, delayed
from sklearn.model_selection import ParameterSampler
from tabulate import tabulate

from auto_router.cluster import map_unordered, ray_cluster
from auto_router.errors import ConfigError, DataError
from auto_router.learn.mlp import Side, TrainConfig, Trained, Training, best_epoch, one_thread, out_of_patience
from auto_router.terminal import bar


@dataclass(slots=True)
class Trial:
    """One sampled setting and the validation loss of every epoch trained with it. ``key``: all that these depend on."""

    number: int
    params: dict[str, Any]
    config: TrainConfig
    key: str
    losses: list[float] = field(default_factory=list)
    discarded: bool = False

    @property
    def best_epoch(self) -> int:
        """The number, from 0, of the epoch with the least loss."""
        return best_epoch(self.losses)

    @property
    def best_loss(self) -> float:
        return self.loss_by(len(self.losses))

    def loss_by(self, epochs: int) -> float:
        """Return the least loss of the first ``epochs`` epochs; infinite where training diverged."""
        loss = self.losses[best_epoch(self.losses[:epochs])]
        return loss if math.isfinite(loss) else math.inf

    def has_reached(self, epochs: int) -> bool:
        """Whether nothing is left to train up to ``epochs``."""
        wanted = min(epochs, self.config.epochs)
        return len(self.losses) >= wanted or out_of_patience(self.losses, self.config.patience)

    def to_plain(self) -> dict[str, Any]:
        """Return what a report shows: JSON values, an epoch without a finite loss being None."""
        losses = [loss if math.isfinite(loss) else None for loss in self.losses]
        best = self.best_loss if math.isfinite(self.best_loss) else None
        return {
            "number": self.number,
            "params": dict(self.params),
            "losses": losses,
            "best_loss": best,
            "outcome": self.outcome,
        }

    @property
    def outcome(self) -> str:
        if self.discarded:
            return "discarded"
        return "finished" if len(self.losses) >= self.config.epochs else "stopped early"


class TrialJournal:
    """The losses of every piece of training that was done, one line of JSON each, by key.

    A line that was torn by a kill is not counted as done. Lines of other data or settings stay and do no harm.

    Raises:
        DataError: the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = path.read_bytes().splitlines() if path.exists() else []
        except OSError as error:
            raise DataError(f"search journal {path} cannot be read ({error.strerror}); move it away or repair it") from error
        self._losses: dict[str, list[float]] = {}
        for key, losses in filter(None, map(_parse_line, lines)):
            if len(losses) > len(self.losses(key)):
                self._losses[key] = losses

    def losses(self, key: str) -> list[float]:
        """Return the longest known run of epochs; empty where there is none."""
        return list(self._losses.get(key, []))

    def add(self, trial: Trial) -> None:
        """Write what a trial has reached. JSON has no NaN: an epoch without a finite loss is null."""
        losses = [loss if math.isfinite(loss) else None for loss in trial.losses]
        line = {"key": trial.key, "trial": trial.number, "params": trial.params, "losses": losses}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                # The line feed stands in front as well, so that a torn line before it spoils no other.
                file.write(f"\n{json.dumps(line, allow_nan=False)}\n")
        except OSError as error:
            raise DataError(f"search journal {self.path} cannot be written ({error.strerror})") from error


def _parse_line(line: bytes) -> tuple[str, list[float]] | None:
    """Return key and losses of a journal line; None where it is no such line."""
    try:
        content = json.loads(line)
        return str(content["key"]), [math.nan if loss is None else float(loss) for loss in content["losses"]]
    except (ValueError, KeyError, TypeError):
        return None


def trials_table(trials: Sequence[Trial]) -> str:
    """Return the table of trials, in their order."""
    rows = [[t.number, t.best_loss, t.best_epoch + 1, len(t.losses), t.outcome, *map(str, t.params.values())] for t in trials]
    headers = ["trial", "validation loss", "best epoch", "epochs", "outcome", *trials[0].params]
    return tabulate(rows, headers=headers, floatfmt=".4f", disable_numparse=list(range(5, len(headers))))


_Data = tuple[Side, Side, int, str]
"""Training and validation rows, seed and device: the same for all trials."""
_Work = tuple[int, Trial, Training | None]
"""How many epochs a trial is to have, and its training where that is at hand."""

SHARE = 3  # a rung keeps one trial in three and trains it three times as long
RUNGS = 3


def config_with(base: TrainConfig, params: Mapping[str, Any]) -> TrainConfig:
    """Return ``base`` with ``params`` put in. Raises ConfigError for a name that no setting has, or an impossible value."""
    known = {f.name for f in fields(TrainConfig)}
    unknown = sorted(set(params) - known)
    if unknown:
        raise ConfigError(f"unknown training settings {unknown}; allowed are {sorted(known)}")
    values = dict(params)
    if isinstance(values.get("hidden_dims"), Sequence):
        values["hidden_dims"] = tuple(values["hidden_dims"])
    return replace(base, **values)


def check_grid(base: TrainConfig, grid: Mapping[str, Sequence[Any]]) -> None:
    """Raise ConfigError where ``grid`` has a name that no setting has, or a value that is none of it."""
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ConfigError(f"param_grid: {name} must be a list of values to try, got {values!r}")
        for value in values:
            config_with(base, {name: value})


def random_search(
    train: Side,
    validation: Side,
    base: TrainConfig,
    grid: Mapping[str, Sequence[Any]],
    trials: int,
    seed: int,
    journal: Path,
    device: str = "cpu",
    jobs: int = 1,
    engine: str = "local",
    address: str | None = None,
) -> tuple[list[Trial], Trained]:
    """Try ``trials`` settings sampled without replacement from ``grid``; return them, best first, and the best one's network.

    Every trial trains with the same ``seed`` and on one thread: two trials differ by their settings alone, and the result
    is the same, to the bit, for any number of ``jobs`` (processes).

    With the ``engine`` ray the processes are those of the cluster at ``address``, and the result is the same, too.

    ``journal`` is a file with a line for every piece of training that was done. The same search again reads its losses
    there and trains only what is missing, and the best trial's weights.
    """
    done = TrialJournal(journal)
    every = _sample(base, grid, trials, seed, _digest(train, validation, seed, device))
    for trial in every:
        trial.losses = done.losses(trial.key)
    trainings: dict[int, Training] = {}
    alive = every
    with _workers((train, validation, seed, device), min(jobs, len(every)), engine, address) as advanced:
        for rung in reversed(range(RUNGS)):
            epochs = max(round(base.epochs / SHARE**rung), 1)
            todo = [trial for trial in alive if not trial.has_reached(epochs)]
            work = [(epochs, trial, trainings.pop(trial.number, None)) for trial in todo]
            with bar(len(todo), f"search, to epoch {epochs}", "trial") as shown:
                for number, training in advanced(work):
                    trial = every[number - 1]
                    trainings[number], trial.losses = training, training.losses
                    done.add(trial)
                    shown.update()
            if rung:
                alive = _halve(alive, epochs)
                trainings = {t.number: trainings[t.number] for t in alive if t.number in trainings}
    ranked = sorted(every, key=lambda trial: (trial.best_loss, trial.number))
    best = ranked[0]
    known = trainings.get(best.number)  # none where the journal has all of its losses
    _, training = _advance((train, validation, seed, device), len(best.losses), best, known)
    return ranked, training.best()


@contextmanager
def _workers(
    data: _Data, jobs: int, engine: str, address: str | None
) -> Iterator[Callable[[list[_Work]], Iterable[tuple[int, Training]]]]:
    """Yield a function that advances trials in ``jobs`` processes and returns each as it is done.

    Ray's back end of joblib is not used: it returns nothing before all are done (ray 2.60), so the journal would be behind.
    """
    if engine == "ray":
        with ray_cluster(address) as ray:
            held = ray.put(data)
            yield lambda work: map_unordered(ray, _advance, ((held, *one) for one in work), jobs)
        return
    with Parallel(n_jobs=jobs, return_as="generator_unordered") as parallel:
        yield lambda work: parallel(delayed(_advance)(data, *one) for one in work)


def _digest(*data: Any) -> str:
    """Digest of all that losses depend on; a memory map counts as what it holds."""
    return str(joblib.hash([*data, torch.__version__], coerce_mmap=True))


def _sample(base: TrainConfig, grid: Mapping[str, Sequence[Any]], trials: int, seed: int, data: str) -> list[Trial]:
    size = math.prod(len(values) for values in grid.values())
    sampled = ParameterSampler(dict(grid), n_iter=min(trials, size), random_state=seed)
    configs = [(dict(params), config_with(base, params)) for params in sampled]
    return [Trial(n, params, config, joblib.hash([data, asdict(config)])) for n, (params, config) in enumerate(configs, 1)]


def _halve(alive: list[Trial], epochs: int) -> list[Trial]:
    """Return the best third after ``epochs`` epochs, in order of their numbers; of the rest, the unfinished are discarded."""
    ranked = sorted(alive, key=lambda trial: (trial.loss_by(epochs), trial.number))
    kept = math.ceil(len(ranked) / SHARE)
    for trial in ranked[kept:]:
        trial.losses = trial.losses[:epochs]  # another search may have taken it further
        trial.discarded = not trial.has_reached(trial.config.epochs)
    return sorted(ranked[:kept], key=lambda trial: trial.number)


def _advance(data: _Data, epochs: int, trial: Trial, training: Training | None) -> tuple[int, Training]:
    """Take a trial to ``epochs`` epochs, from the start where its training is not at hand. Runs in a worker process."""
    train, validation, seed, device = data
    with one_thread():
        if training is None:
            training = Training(train, validation, trial.config, seed, device)
        training.advance(train, validation, epochs)
    return trial.number, training
