"""The router network: a multi-output sigmoid MLP over embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auto_router.errors import ConfigError


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


class Dropout(nn.Dropout):
    """Torch's dropout. On a CPU the mask comes from random bytes, so ``p`` is met to 1/256, in a tenth of the time."""

    def __init__(self, p: float, seed: int = 0) -> None:
        super().__init__(p)
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Let the masks to come depend on ``seed`` alone; those of a GPU depend on torch's own seed."""
        self._draws = np.random.SFC64(seed)

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or values.device.type != "cpu":
            return super().forward(values)
        count, dropped = values.numel(), min(round(256 * self.p), 255)
        draws = self._draws.random_raw(-(-count // 8)).view(np.uint8)[:count].reshape(values.shape)
        mask = np.multiply(draws >= dropped, 256 / (256 - dropped), dtype=np.float32)
        return values * torch.from_numpy(mask)


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
            layers += [linear, nn.BatchNorm1d(hidden), nn.ReLU(), Dropout(config.dropout)]
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(width, config.n_models)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return the log-odds ``[N, n_models]``."""
        found: Tensor = self.output(self.hidden(embeddings))
        return found

    def forward(self, embeddings: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(embeddings))

    def reseed(self, seed: int) -> None:
        """Let the dropout to come depend on ``seed`` alone, each layer's on its own part of it."""
        layers = [layer for layer in self.hidden if isinstance(layer, Dropout)]
        for layer, own in zip(layers, np.random.SeedSequence(seed).generate_state(max(len(layers), 1)).tolist(), strict=False):
            layer.reseed(own)
