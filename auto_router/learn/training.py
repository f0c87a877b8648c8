"""Train a RouterNetwork: masked, class-weighted binary cross-entropy with early stopping on validation loss."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from auto_router.errors import ConfigError, DataError
from auto_router.learn.network import NetworkConfig, RouterNetwork

Array = npt.NDArray[np.float32]


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


def train_network(
    train: tuple[Array, Array], validation: tuple[Array, Array], config: TrainConfig, seed: int, device: str = "cpu"
) -> Trained:
    """Train on ``(embeddings [N, D], labels [N, M])`` and return the network of the epoch with the least validation loss.

    Labels are 0…1, NaN = unknown (no gradient, no weight). The loss that selects is the plain masked cross-entropy of
    the *returned* probabilities: class weights shape the training only, and their shift of the log-odds is taken back
    from the output bias, so that a probability means what it says.

    Raises:
        DataError: fewer than two training rows (BatchNorm needs two), or no known label on either side.
    """
    (x, y), (x_val, y_val) = (_tensors(part, device) for part in (train, validation))
    if len(x) < 2:
        raise DataError(f"{len(x)} training row(s); at least 2 are needed, 1,000 or more are advised")
    if y.isnan().all() or y_val.isnan().all():
        raise DataError("no known label on one side of the validation split; collect more answers")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[], enabled=True):
        torch.manual_seed(seed)  # weights and dropout; forked, so the caller's random state stays as it was
        return _fit(x, y, x_val, y_val, config, generator)


def masked_bce(logits: Tensor, labels: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy over the known labels. Unknown ones (NaN) change neither value nor gradient."""
    known = ~labels.isnan()
    losses = functional.binary_cross_entropy_with_logits(
        logits, labels.nan_to_num(0.0), pos_weight=pos_weight, reduction="none"
    )
    return losses.masked_fill(~known, 0.0).sum() / known.sum().clamp(min=1)


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


def _fit(x: Tensor, y: Tensor, x_val: Tensor, y_val: Tensor, config: TrainConfig, generator: torch.Generator) -> Trained:
    shape = NetworkConfig(x.shape[1], y.shape[1], tuple(config.hidden_dims), config.dropout)
    network = RouterNetwork(shape).to(x.device)
    weights = class_weights(y) if config.class_weights else torch.ones(y.shape[1], device=y.device)
    shift = weights.log()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    best = Trained(network, best_epoch=-1, best_loss=float("inf"))
    best_state = network.state_dict()
    for epoch in range(config.epochs):
        loss = _epoch(network, x, y, weights, config, optimizer, generator)
        network.eval()
        with torch.inference_mode():
            validation_loss = masked_bce(network.logits(x_val) - shift, y_val).item()
        best.history.append((loss, validation_loss))
        if validation_loss < best.best_loss:
            best.best_epoch, best.best_loss = epoch, validation_loss
            # state_dict() holds references to the live weights: only a deep copy is a snapshot.
            best_state = copy.deepcopy(network.state_dict())
        elif epoch - best.best_epoch >= config.patience:
            break
    network.load_state_dict(best_state)
    with torch.no_grad():
        network.output.bias.sub_(shift)
    best.network = network.cpu().eval()
    return best


def _epoch(
    network: RouterNetwork,
    x: Tensor,
    y: Tensor,
    weights: Tensor,
    config: TrainConfig,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> float:
    network.train()
    total = torch.zeros((), device=x.device)
    size = max(config.batch_size, 2)
    for rows in batches(len(x), size, generator):
        rows = rows.to(x.device)
        loss = masked_bce(network.logits(x[rows]), y[rows], weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach() * len(rows)
    return total.item() / len(x)


def _tensors(part: tuple[Array, Array], device: str) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(part[0]).to(device), torch.from_numpy(part[1]).to(device)
