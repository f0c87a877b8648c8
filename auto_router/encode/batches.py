"""Distinct items to unit vectors: similar sizes together, several batches in flight, a bad item named and not the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from auto_router.arrays import Array
from auto_router.encode.spec import checked, unit
from auto_router.errors import DataError

Item = TypeVar("Item", str, bytes)
Outcome = Array | DataError


def encode_distinct(
    items: Iterable[Item],
    encode: Callable[[list[Item]], Array],
    check: Callable[[Item], object],
    *,
    dim: int,
    size: int,
    parallel: int = 1,
) -> Iterator[dict[Item, Outcome]]:
    """Encode every distinct item once and yield ``{item: unit vector}`` batch by batch.

    An item that cannot be encoded gets its DataError instead of a vector; the rest of its batch is encoded all the same.

    Args:
        items: texts or pictures, in any order and number.
        encode: ``[N, dim]`` for a list; raises DataError where one of them is bad.
        check: raises DataError for an item that is bad by itself.
        dim: width of the vectors.
        size: items in a batch.
        parallel: batches in flight. One is prepared while another is computed or on its way.
    """
    # dict, not set: the order of a set of strings changes from process to process, and with it the batches.
    unique = sorted(dict.fromkeys(items), key=len)
    batches = [unique[start : start + size] for start in range(0, len(unique), size)]

    def encoded(batch: list[Item]) -> dict[Item, Outcome]:
        return _encoded(batch, encode, check, dim)

    if parallel == 1 or len(batches) < 2:
        yield from map(encoded, batches)
        return
    with ThreadPoolExecutor(parallel) as pool:
        try:
            yield from pool.map(encoded, batches)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def pooled(rows: Sequence[Sequence[Item]], outcomes: dict[Item, Outcome], dim: int) -> Array:
    """Return ``[N, dim]``: the mean of each row's vectors, zeros for a row without items, NaN where one has none."""
    means = np.zeros((len(rows), dim), dtype=np.float32)
    for i, row in enumerate(rows):
        if row:
            vectors = [vector for item in row if not isinstance(vector := outcomes[item], DataError)]
            if len(vectors) < len(row):
                means[i] = np.nan
            else:
                means[i] = vectors[0] if len(vectors) == 1 else np.mean(vectors, axis=0)
    return means


def _encoded(
    batch: list[Item], encode: Callable[[list[Item]], Array], check: Callable[[Item], object], dim: int
) -> dict[Item, Outcome]:
    try:
        return dict(zip(batch, unit(checked(encode(batch), len(batch), dim)), strict=True))
    except DataError:
        errors = {item: error for item in batch if (error := _error(check, item)) is not None}
        if not errors:
            raise
    good = [item for item in batch if item not in errors]
    return errors | (_encoded(good, encode, check, dim) if good else {})


def _error(check: Callable[[Item], object], item: Item) -> DataError | None:
    try:
        check(item)
    except DataError as error:
        return error
    return None
