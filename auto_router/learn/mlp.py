"""Where tensors live: the device that was asked for, if this machine has it.

Cost-aware soft targets: what a network learns when a right answer is worth less the more it costs.

    target = 1{right} · exp(−λ · (cost − cost of the cheapest right model))

(SCOPE-Router, arXiv 2608.12127.) The cheapest right model keeps its 1, a wrong answer its 0; λ = 0 gives the labels back.
Costs are scaled so that the model that is dearest on average costs 1, whatever their unit: with λ = 1, right answers of
that model are worth e⁻¹ ≈ 0.37 where a free one is right too.

The router network: a multi-output sigmoid MLP over embeddings.

Train a RouterNetwork: masked, class-weighted binary cross-entropy with early stopping on validation loss.

A :class:`Training` can be stopped after any epoch, pickled and continued: every epoch draws its row order and its dropout
from the seed and its own number, so training in parts gives the weights of training at once.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from auto_router.arrays import Array, Floats
from auto_router.data.dataset import HELD
from auto_router.errors import ConfigError, DataError
from auto_router.files import release
from auto_router.learn.memmap import CHUNK, Subset, Table, chunks, first_not_finite


def usable_device(name: str | None) -> torch.device:
    """Return the device ``name`` (``cuda``, ``cuda:1``, ``cpu``); None: CUDA where there is a GPU.

    A GPU of CUDA's that is not there falls back to the CPU with one warning.

    Raises:
        ConfigError: torch knows no such device, or has no support for it here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is unknown; use 'cuda', 'cuda:0' or 'cpu'") from error
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        warnings.warn(f"device {name!r} is not available here; using the CPU", stacklevel=3)
        return torch.device("cpu")
    try:
        torch.zeros(1, device=wanted).cpu()
    # Each backend says in its own way that it is not there.
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError(f"device {name!r} cannot be used by this PyTorch on this machine; use 'cpu' or 'cuda'") from error
    return wanted


def on_device(x: Table, device: str) -> Callable[[Tensor], Tensor]:
    """Return a function from row numbers, a tensor on the CPU, to those rows on ``device``.

    A CPU copies batches out of the table where it lies; a GPU is given all of it at once.
    """
    if torch.device(device).type != "cpu":
        held = torch.cat([torch.from_numpy(np.array(part)).to(device) for part in chunks(x)])
        return lambda places: held[places.to(device)]
    table, rows = (x.table, x.rows) if isinstance(x, Subset) else (x, None)
    read = 0

    def batch(places: Tensor) -> Tensor:
        nonlocal read
        # Into torch's own memory: a map may be read-only and at any address, and products of unaligned rows round differently.
        found = torch.empty(len(places), table.shape[1])
        numbers = places.numpy() if rows is None else rows[places.numpy()]
        np.take(table, numbers, axis=0, out=found.numpy(), mode="clip")  # "raise" would fill a buffer of its own first
        read += len(places)
        if read >= HELD:
            release(table)
            read = 0
        return found

    return batch


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside: sums that several threads share are rounded differently than those of one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


RIGHT = 0.5  # a graded label counts as right from here


def cost_aware(labels: Array, costs: Array, weight: float) -> Array:
    """Return soft targets ``[N, M]`` for ``labels`` (0…1, NaN = unknown, which stays) and ``costs`` of :func:`scale_costs`.

    A graded label is scaled like a right one. It is never raised, and a row where no model is right keeps its labels.
    """
    right = np.nan_to_num(labels) >= RIGHT
    cheapest = np.where(right, costs, np.inf).min(axis=1, keepdims=True)
    extra = np.where(np.isfinite(cheapest), np.maximum(costs - cheapest, 0.0), 0.0)
    return np.asarray(labels * np.exp(-weight * extra), dtype=np.float32)


def scale_costs(costs: Floats | None, names: Sequence[str], rows: int) -> Array:
    """Return ``[rows, M]`` costs, 1 being the mean of the model that is dearest on average.

    A missing one is its model's mean.

    Raises:
        ConfigError: a model has neither, or every model is free.
    """
    costs = np.full((rows, len(names)), np.nan) if costs is None else costs
    known = ~np.isnan(costs)
    missing = [names[j] for j in np.flatnonzero(~known.any(axis=0)).tolist()]
    if missing:
        raise ConfigError(
            f"--cost-weight needs the cost of every model; none is known of {', '.join(missing)}: give 'model_costs' in the "
            "records of all models, or their prices with --pool"
        )
    mean = np.where(known, costs, 0.0).sum(axis=0) / known.sum(axis=0)
    if not mean.max() > 0:
        raise ConfigError("--cost-weight has nothing to weigh: every model costs 0")
    return np.asarray(np.where(known, costs, mean) / mean.max(), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Shape of a :class:`RouterNetwork`: all that is needed to build it again before loading its weights."""

    input_dim: int
    n_models: int
    hidden_dims: tuple[int, ...] = (512, 256, 128)
    dropout: float = 0.3

    def __post_init__(self) -> None:
        sizes = (self.input_dim, self.n_models, *self.hidden_dims)
        if any(not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 1_000_000 for size in sizes):
            raise ConfigError(f"network sizes must be whole numbers from 1 to 1,000,000, got {sizes}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout must be at least 0 and below 1, got {self.dropout}")

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> NetworkConfig:
        """Build from the plain values of :meth:`to_plain`. Raises ConfigError where they are no such values."""
        try:
            return cls(**{**values, "hidden_dims": tuple(values["hidden_dims"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"network configuration {dict(values)!r} is not valid ({error})") from error

    def to_plain(self) -> dict[str, Any]:
        return asdict(self) | {"hidden_dims": list(self.hidden_dims)}


class RouterNetwork(nn.Module):
    """(Linear → BatchNorm → ReLU → Dropout) per hidden layer → Linear → sigmoid.

    ``forward``: embeddings ``[N, input_dim]`` → probabilities ``[N, n_models]`` in 0…1. Training uses :meth:`logits`,
    where the loss is stable.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        width = config.input_dim
        for hidden in config.hidden_dims:
            linear = nn.Linear(width, hidden)
            linear.bias.requires_grad_(False)  # BatchNorm takes away whatever is added to a column
            layers += [linear, nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(config.dropout)]
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(width, config.n_models)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return the log-odds ``[N, n_models]``."""
        found: Tensor = self.output(self.hidden(embeddings))
        return found

    def forward(self, embeddings: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(embeddings))

    def predict(self, rows: Table) -> Array:
        """Return P(correct) ``[N, M]`` of embeddings ``[N, D]``, computed where the network's weights are, chunk by chunk."""
        device = self.output.weight.device
        with torch.inference_mode():
            return np.concatenate([self(torch.tensor(part).to(device)).cpu().numpy() for part in chunks(rows)])


Rows = tuple[Array, Array]
"""Embeddings ``[N, D]`` and labels ``[N, M]``, 0…1 with NaN = unknown."""
Side = tuple[Table, Array]
"""The same, where the embeddings may be some rows of a memory map."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How one network is shaped and trained. ``class_weights``: balance each model's right and wrong answers."""

    hidden_dims: tuple[int, ...] = (512, 256, 128)
    dropout: float = 0.3
    learning_rate: float = 1e-3
    batch_size: int = 64
    epochs: int = 50
    patience: int = 10
    weight_decay: float = 0.0
    class_weights: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.hidden_dims, tuple):
            raise ConfigError(f"hidden_dims must be a list of whole numbers such as [512, 256, 128], got {self.hidden_dims!r}")
        for name in ("dropout", "learning_rate", "batch_size", "epochs", "patience", "weight_decay"):
            value, is_whole = getattr(self, name), name in ("batch_size", "epochs", "patience")
            if isinstance(value, bool) or not isinstance(value, int if is_whole else int | float) or not math.isfinite(value):
                raise ConfigError(f"{name} must be a {'whole ' if is_whole else ''}number, got {value!r}")
        NetworkConfig(1, 1, self.hidden_dims, self.dropout)  # raises for sizes and a dropout that no network has
        if min(self.batch_size, self.epochs, self.patience) < 1 or self.learning_rate <= 0 or self.weight_decay < 0:
            raise ConfigError(
                "batch_size, epochs and patience must be at least 1, learning_rate above 0 and weight_decay at least 0; "
                f"got {self}"
            )


@dataclass(slots=True)
class Trained:
    """The best epoch's network (in eval mode, on CPU), its validation loss, and the losses of every epoch."""

    network: RouterNetwork
    best_epoch: int
    best_loss: float
    history: list[tuple[float, float]] = field(default_factory=list)


def train_network(train: Side, validation: Side, config: TrainConfig, seed: int, device: str = "cpu") -> Trained:
    """Train to the end and return the network of the epoch with the least validation loss; see :class:`Training`."""
    training = Training(train, validation, config, seed, device)
    training.advance(train, validation, config.epochs)
    return training.best()


class Training:
    """One training in progress. It holds the network and the optimizer, and no data.

    Labels are 0…1 (graded ones are soft targets), NaN = unknown (no gradient, no weight). The loss that selects is the
    plain masked cross-entropy of the *returned* probabilities: class weights shape the training only, and their shift of
    the log-odds is taken back from the output bias, so that a probability means what it says.

    Raises:
        DataError: fewer than two training rows (BatchNorm needs two), no known label on either side, or an embedding
            that is NaN or infinite.
    """

    def __init__(self, train: Side, validation: Side, config: TrainConfig, seed: int, device: str = "cpu") -> None:
        for part, (x, y) in {"training": train, "validation": validation}.items():
            _check(part, x, y)
        if len(train[0]) < 2:
            raise DataError(f"{len(train[0])} training row(s); at least 2 are needed, 1,000 or more are advised")
        self.config, self.seed, self.device = config, seed, device
        self.history: list[tuple[float, float]] = []
        labels = torch.tensor(train[1])
        weights = class_weights(labels) if config.class_weights else torch.ones(labels.shape[1])
        self._weights = weights.to(device)
        with _fork_seed(seed, 0):
            shape = NetworkConfig(train[0].shape[1], labels.shape[1], tuple(config.hidden_dims), config.dropout)
            self._network = RouterNetwork(shape).to(device)
        # Fused: one pass over the weights instead of a dozen, without which this takes longer than the network.
        self._optimizer = torch.optim.AdamW(
            [one for one in self._network.parameters() if one.requires_grad],
            lr=config.learning_rate, weight_decay=config.weight_decay, fused=True,
        )  # fmt: skip
        self._best_state = copy.deepcopy(self._network.state_dict())

    def advance(self, train: Side, validation: Side, epochs: int) -> None:
        """Train until ``epochs`` epochs are done in all, or patience is spent."""
        (x, y), (x_val, y_val) = ((on_device(x, self.device), torch.tensor(y).to(self.device)) for x, y in (train, validation))
        while len(self.history) < epochs and not out_of_patience(self.losses, self.config.patience):
            loss = self._epoch(x, y)
            validation_loss = self._validation_loss(x_val, y_val)
            if validation_loss < min(self.losses, default=float("inf")):
                # state_dict() holds references to the live weights: only a deep copy is a snapshot.
                self._best_state = copy.deepcopy(self._network.state_dict())
            self.history.append((loss, validation_loss))

    @property
    def losses(self) -> list[float]:
        """The validation loss of every epoch so far."""
        return [validation for _, validation in self.history]

    def best(self) -> Trained:
        """Return the best epoch's network so far; the training itself may go on.

        Raises:
            ConfigError: the loss was not a finite number after any epoch.
        """
        best = best_epoch(self.losses)
        if not np.isfinite(self.losses[best]):
            raise ConfigError(
                f"training diverged, no epoch has a finite validation loss: lower learning_rate; got {self.config}"
            )
        network = copy.deepcopy(self._network).cpu()
        network.load_state_dict(self._best_state)
        with torch.no_grad():
            network.output.bias.sub_(self._weights.log().cpu())
        return Trained(network.eval(), best, self.losses[best], list(self.history))

    def _validation_loss(self, x: Callable[[Tensor], Tensor], y: Tensor) -> float:
        """Return the loss of the probabilities without the class weights' shift."""
        shift = self._weights.log()
        self._network.eval()
        with torch.inference_mode():
            logits = [self._network.logits(x(rows)) - shift for rows in torch.split(torch.arange(len(y)), CHUNK)]
            return masked_bce(torch.cat(logits), y).item()

    def _epoch(self, x: Callable[[Tensor], Tensor], y: Tensor) -> float:
        self._network.train()
        total = torch.zeros((), device=y.device)
        with _fork_seed(self.seed, len(self.history) + 1) as generator:
            for rows in batches(len(y), max(self.config.batch_size, 2), generator):
                loss = masked_bce(self._network.logits(x(rows)), y[rows.to(y.device)], self._weights)
                loss.backward()  # type: ignore[no-untyped-call]
                self._optimizer.step()
                self._optimizer.zero_grad()
                total += loss.detach() * len(rows)
        return total.item() / len(y)


def best_epoch(losses: Sequence[float]) -> int:
    """Return the number, from 0, of the first epoch with the least loss. A diverged epoch (NaN) is never the best."""
    return int(np.argmin(np.nan_to_num(np.asarray(losses), nan=np.inf)))


def out_of_patience(losses: Sequence[float], patience: int) -> bool:
    """Whether the last ``patience`` epochs brought no better loss."""
    return len(losses) > patience and len(losses) - 1 - best_epoch(losses) >= patience


def masked_bce(logits: Tensor, labels: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy over the known labels. Unknown ones (NaN) change neither value nor gradient."""
    known = labels.isfinite().float()
    total = functional.binary_cross_entropy_with_logits(
        logits, labels.nan_to_num(0.0), weight=known, pos_weight=pos_weight, reduction="sum"
    )
    return total / known.sum().clamp(min=1)


def class_weights(labels: Tensor, limit: float = 20.0) -> Tensor:
    """Return ``[M]`` weights of the positives: wrong answers ÷ right answers of each model, within 1/limit…limit."""
    known = ~labels.isnan()
    right = labels.nan_to_num(0.0).sum(dim=0)
    wrong = known.sum(dim=0) - right
    return torch.where(right > 0, wrong / right.clamp(min=1e-9), torch.ones_like(right)).clamp(1 / limit, limit)


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield shuffled row indices; a last batch of one row, which BatchNorm cannot normalise, joins the one before."""
    order = torch.randperm(count, generator=generator)
    sizes = [size] * (count // size) + ([count % size] if count % size else [])
    if size > 1 and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [size + 1]
    yield from torch.split(order, sizes)


@contextmanager
def _fork_seed(seed: int, stage: int) -> Iterator[torch.Generator]:
    """Seed weights (stage 0) or an epoch (from 1); forked, so the caller's random state stays as it was."""
    number = int(np.random.SeedSequence([seed, stage]).generate_state(1)[0])
    with torch.random.fork_rng(devices=[], enabled=True):
        torch.manual_seed(number)
        yield torch.Generator().manual_seed(number)


def _check(part: str, x: Table, y: Array) -> None:
    first, count = first_not_finite(x)
    if count:
        raise DataError(
            f"{part} embeddings hold NaN or infinite values in row {first} ({count} of {len(x)} rows); make them again"
        )
    if np.isnan(y).all():
        raise DataError("no known label on one side of the validation split; collect more answers")
