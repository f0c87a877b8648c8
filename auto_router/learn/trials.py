"""The trials of a search: what each one tried and reached, kept line by line in a journal."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auto_router.errors import DataError
from auto_router.learn.training import TrainConfig, best_epoch, out_of_patience


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

    def reached(self, epochs: int) -> bool:
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
        for key, losses in filter(None, map(_parsed, lines)):
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


def _parsed(line: bytes) -> tuple[str, list[float]] | None:
    """Return key and losses of a journal line; None where it is no such line."""
    try:
        content = json.loads(line)
        return str(content["key"]), [math.nan if loss is None else float(loss) for loss in content["losses"]]
    except (ValueError, KeyError, TypeError):
        return None
