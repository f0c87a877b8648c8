"""Compact views of the input for the heads: its blocks brought to one scale, weighted, rotated to their main directions.

The input row is ``text ‖ image ‖ surface``. Each block is centred and scaled so that two random training rows lie one
apart in it (mean squared distance 1); surface features are standardised and clipped first. A view weighs the blocks and
keeps its principal components. All views are columns of one matrix, so that a decision projects its prompt once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from auto_router.learn.affine import Affine
from auto_router.learn.graph import Graph, Layout

CLIP = 4.0


@dataclass(frozen=True, slots=True)
class View:
    """What one head sees: how much each block counts, and how many principal components are kept."""

    weights: Mapping[str, float]
    components: int
    with_surface: bool = False
    """Are the standardised surface features put behind the components, one column each?"""


class Projection(nn.Module):
    """``[N, D]`` → ``[N, K]``. All numbers are buffers, set by :func:`fit_projection` or by loading."""

    mean: Tensor
    scale: Tensor
    limit: Tensor
    basis: Tensor

    def __init__(self, dim: int, columns: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.register_buffer("limit", torch.full((dim,), torch.inf))
        self.register_buffer("basis", torch.zeros(dim, columns))

    def scaled(self, rows: Tensor) -> Tensor:
        """Return the rows centred, surface features standardised and clipped."""
        return ((rows - self.mean) * self.scale).clamp(-self.limit, self.limit)

    def forward(self, rows: Tensor) -> Tensor:
        return self.scaled(rows) @ self.basis

    def map(self, graph: Graph) -> Affine:
        """Return it as a map of the graph's inputs, clipped where they have to be. An input that the graph lacks is all zeros.

        What is not clipped is linear, so its centre and scale go into the factors and the offset.
        """
        mean, scale, limit, basis = (t.double().cpu().numpy() for t in (self.mean, self.scale, self.limit, self.basis))
        # Of rows of zeros, everything; inputs that are clipped are taken out again.
        offset = np.clip(-mean * scale, -limit, limit) @ basis
        sources = {}
        for name, columns in graph.inputs.items():
            centre, factor, most, rotated = mean[columns], scale[columns], limit[columns], basis[columns]
            if np.isfinite(most).any():
                offset -= np.clip(-centre * factor, -most, most) @ rotated
                scaled = graph.node("Mul", graph.node("Sub", name, graph.constant(centre)), graph.constant(factor))
                sources[graph.clip(scaled, most)] = rotated
            else:
                sources[name] = factor[:, None] * rotated
        return Affine(sources, offset)


def fit_projection(rows: Tensor, layout: Layout, views: Sequence[View]) -> tuple[Projection, list[int]]:
    """Fit to training rows; return the projection and the number of columns of each view, in their order.

    Directions without variance are dropped, so a view may have fewer columns than ``components``.
    """
    found = Projection(layout.dim, 0)
    surface = layout.blocks["surface"]
    spread = rows[:, surface].std(dim=0, correction=0)
    found.mean = rows.mean(dim=0)
    found.scale[surface] = torch.where(spread > 1e-4, 1.0 / spread.clamp(min=1e-4), torch.zeros(()))
    found.limit[surface] = CLIP
    scaled = found.scaled(rows)
    bases = [_basis(scaled, layout, view) for view in views]
    found.basis = torch.cat(bases, dim=1)
    return found, [basis.shape[1] for basis in bases]


def _basis(scaled: Tensor, layout: Layout, view: View) -> Tensor:
    """Return ``[D, K]``: the weighted blocks' principal directions, and the surface columns where they are asked for."""
    from sklearn.utils.extmath import randomized_svd  # for training only; routing must not import it

    weight = torch.zeros(layout.dim)
    for name, block in layout.blocks.items():
        distance = _mean_squared_distance(scaled[:, block])
        weight[block] = (view.weights[name] / distance) ** 0.5 if distance > 1e-9 else 0.0
    weight /= max(_mean_squared_distance(scaled * weight), 1e-9) ** 0.5
    weighted = scaled * weight
    _, values, directions = randomized_svd(weighted.numpy(), min(view.components, *weighted.shape), random_state=0)
    kept = max(int((values > 1e-3 * values[0]).sum()), 1)
    basis = weight[:, None] * torch.from_numpy(directions[:kept].T.copy())
    return torch.cat([basis, torch.eye(layout.dim)[:, layout.blocks["surface"]]], dim=1) if view.with_surface else basis


def _mean_squared_distance(centred: Tensor) -> float:
    """Return the mean squared distance of two random rows of centred values."""
    return 2.0 * centred.square().sum(dim=1).mean().item() if centred.shape[1] else 0.0
