"""Some rows of a table that may be larger than memory: a memory map is read where it is used, and never copied whole."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Array = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

CHUNK = 8192  # rows that are looked at together


@dataclass(frozen=True, slots=True)
class Subset:
    """Rows ``rows`` [n] of ``table`` [N, D], in that order."""

    table: Array
    rows: Ints

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.table.shape[1]

    def __getitem__(self, places: slice) -> Array:
        """Return a copy of some of them."""
        return np.asarray(self.table[self.rows[places]])


Table = Array | Subset


def chunks(x: Table) -> Iterator[Array]:
    """Yield all rows, ``CHUNK`` at a time; of no rows, one empty part."""
    for start in range(0, max(len(x), 1), CHUNK):
        yield x[start : start + CHUNK]


def applied(network: nn.Module, x: Table, device: torch.device | str = "cpu") -> Array:
    """Return what ``network``, which is on ``device``, makes of all rows, ``[N, M]``, a chunk at a time."""
    with torch.inference_mode():
        return np.concatenate([network(torch.tensor(part).to(device)).cpu().numpy() for part in chunks(x)])


def on_device(x: Table, device: str) -> Callable[[Tensor], Tensor]:
    """Return a function from row numbers, a tensor on the CPU, to those rows on ``device``.

    A CPU copies batches out of the table where it lies; a GPU is given all of it at once.
    """
    if torch.device(device).type != "cpu":
        held = torch.cat([torch.from_numpy(np.array(part)).to(device) for part in chunks(x)])
        return lambda places: held[places.to(device)]
    table, rows = (x.table, x.rows) if isinstance(x, Subset) else (x, None)

    def batch(places: Tensor) -> Tensor:
        # Into torch's own memory: a map may be read-only and at any address, and products of unaligned rows round differently.
        found = torch.empty(len(places), table.shape[1])
        numbers = places.numpy() if rows is None else rows[places.numpy()]
        np.take(table, numbers, axis=0, out=found.numpy(), mode="clip")  # "raise" would fill a buffer of its own first
        return found

    return batch


def release(x: Table) -> None:
    """Give the pages of a read-only memory map back to the system: they count as this process's memory once they were read."""
    table = x.table if isinstance(x, Subset) else x
    if isinstance(table, np.memmap) and table.mode == "r" and isinstance(table.base, mmap.mmap):
        table.base.madvise(mmap.MADV_DONTNEED)


def first_not_finite(x: Table) -> tuple[int, int]:
    """Return the number, in the table, of the first row with NaN or infinite values, and their count; (-1, 0) for none."""
    first, count, start = -1, 0, 0
    for part in chunks(x):
        bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
        first = start + int(bad[0]) if len(bad) and first < 0 else first
        count, start = count + len(bad), start + len(part)
    return int(x.rows[first]) if count and isinstance(x, Subset) else first, count
