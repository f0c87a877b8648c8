"""Splits that never put two rows of one group on different sides."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold, GroupShuffleSplit

from auto_router.errors import DataError

Indices = npt.NDArray[np.int64]


def split_by_group(groups: Indices, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Return the row indices of two sides.

    ``fraction`` of the groups go to the second; neither side is empty.

    Raises:
        DataError: fewer than two groups, so that one side would be empty.
    """
    count = len(np.unique(groups))
    if count < 2:
        raise DataError(
            f"{len(groups)} rows form {count} group(s); a split needs at least 2 groups: add records "
            "or check their 'group' field"
        )
    held_out = min(max(math.ceil(fraction * count), 1), count - 1)
    splitter = GroupShuffleSplit(n_splits=1, test_size=held_out, random_state=seed)
    first, second = next(splitter.split(groups, groups=groups))
    return np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)


def group_folds(groups: Indices, folds: int, seed: int) -> Indices:
    """Return ``[N]`` fold numbers 0…folds-1 (fewer where there are fewer groups); a group lies in one fold."""
    folds = min(folds, len(np.unique(groups)))
    number = np.zeros(len(groups), dtype=np.int64)
    if folds < 2:
        return number
    for fold, (_, held_out) in enumerate(GroupKFold(folds, shuffle=True, random_state=seed).split(groups, groups=groups)):
        number[held_out] = fold
    return number
