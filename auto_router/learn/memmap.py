"""Some rows of a table that may be larger than memory: a memory map is read where it is used, and never copied whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from auto_router.arrays import Array, Ints
from auto_router.data.dataset import copy_rows
from auto_router.files import release

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
        """Return a copy of some of them; ``[:]`` copies all."""
        return copy_rows(self.table, self.rows[places])


Table = Array | Subset


def chunks(x: Table) -> Iterator[Array]:
    """Yield all rows, ``CHUNK`` at a time; of no rows, one empty part."""
    for start in range(0, max(len(x), 1), CHUNK):
        yield x[start : start + CHUNK]
        release(x.table if isinstance(x, Subset) else x)


def first_not_finite(x: Table) -> tuple[int, int]:
    """Return the number, in the table, of the first row with NaN or infinite values, and their count; (-1, 0) for none."""
    first, count, start = -1, 0, 0
    for part in chunks(x):
        with np.errstate(invalid="ignore", over="ignore"):
            fine = np.isfinite(part.sum())  # what is not finite stays so in a sum, which is sooner found
        bad = np.flatnonzero([] if fine else ~np.isfinite(part).all(axis=1))
        first = start + int(bad[0]) if len(bad) and first < 0 else first
        count, start = count + len(bad), start + len(part)
    return int(x.rows[first]) if count and isinstance(x, Subset) else first, count
