"""One compact space for all heads: blocks of the input brought to one scale, then rotated to their main directions.

The input row is ``text ‖ image ‖ surface``. Each block is centred and scaled so that two random training rows lie one
apart in it (mean squared distance 1), then weighted; surface features are standardised and clipped first. Principal
components keep what matters in at most ``components`` dimensions, so that a decision costs microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLIP = 4.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Widths of the three blocks of an input row."""

    text_dim: int
    image_dim: int
    surface_dim: int

    @property
    def dim(self) -> int:
        return self.text_dim + self.image_dim + self.surface_dim

    @property
    def blocks(self) -> dict[str, slice]:
        """Columns of ``text``, ``image`` and ``surface``."""
        image, surface = self.text_dim, self.text_dim + self.image_dim
        return {"text": slice(0, image), "image": slice(image, surface), "surface": slice(surface, self.dim)}


class Projection(nn.Module):
    """``[N, D]`` → ``[N, K]``. All numbers are buffers, set by :meth:`fit` or by loading."""

    mean: Tensor
    scale: Tensor
    limit: Tensor
    basis: Tensor

    def __init__(self, dim: int, components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.register_buffer("limit", torch.full((dim,), torch.inf))
        self.register_buffer("basis", torch.zeros(dim, components))

    def forward(self, rows: Tensor) -> Tensor:
        scaled = (rows - self.mean) * self.scale
        return scaled.clamp(-self.limit, self.limit) @ self.basis

    @classmethod
    def fit(cls, rows: Tensor, layout: Layout, weights: Mapping[str, float], components: int) -> Projection:
        """Fit to training rows; ``weights`` say how much each block counts.

        Directions without variance are dropped, so K may be smaller than ``components``.
        """
        mean, scale = rows.mean(dim=0), torch.ones(layout.dim)
        limit, weight = torch.full((layout.dim,), torch.inf), torch.zeros(layout.dim)
        surface = layout.blocks["surface"]
        spread = rows[:, surface].std(dim=0, correction=0)
        scale[surface] = torch.where(spread > 1e-4, 1.0 / spread.clamp(min=1e-4), torch.zeros(()))
        limit[surface] = CLIP
        scaled = ((rows - mean) * scale).clamp(-limit, limit)
        for name, block in layout.blocks.items():
            distance = _mean_squared_distance(scaled[:, block])
            weight[block] = (weights[name] / distance) ** 0.5 if distance > 1e-9 else 0.0
        weighted = scaled * weight
        weighted /= max(_mean_squared_distance(weighted), 1e-9) ** 0.5
        from sklearn.utils.extmath import randomized_svd  # for training only; routing must not import it

        _, values, directions = randomized_svd(weighted.numpy(), min(components, *weighted.shape), random_state=0)
        kept = max(int((values > 1e-3 * values[0]).sum()), 1)
        found = cls(layout.dim, kept)
        found.mean, found.scale, found.limit = mean, scale, limit
        total = max(_mean_squared_distance(scaled * weight), 1e-9) ** 0.5
        found.basis = (weight / total)[:, None] * torch.from_numpy(directions[:kept].T.copy())
        return found


def _mean_squared_distance(centred: Tensor) -> float:
    """Return the mean squared distance of two random rows of centred values."""
    return 2.0 * centred.square().sum(dim=1).mean().item() if centred.shape[1] else 0.0
