"""No group on two sides, nothing lost, the same seed the same split."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auto_router.arrays import Ints
from auto_router.data.splits import group_folds, split_by_group
from auto_router.errors import DataError

GROUPS = st.lists(st.integers(0, 12), min_size=1, max_size=60).map(lambda values: np.array(values, dtype=np.int64))


@given(GROUPS, st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_split_is_a_partition_of_rows_and_of_groups(groups: Ints, fraction: float, seed: int) -> None:
    count = len(np.unique(groups))
    if count < 2:
        with pytest.raises(DataError, match="at least 2 groups"):
            split_by_group(groups, fraction, seed)
        return
    first, second = split_by_group(groups, fraction, seed)
    assert sorted([*first, *second]) == list(range(len(groups)))
    assert not set(groups[first]) & set(groups[second])
    assert len(np.unique(groups[second])) == min(max(math.ceil(fraction * count), 1), count - 1)


def test_the_seed_decides() -> None:
    groups = np.arange(100)
    splits = [split_by_group(groups, 0.2, seed)[1] for seed in (0, 0, 1)]
    assert len(splits[0]) == 20
    np.testing.assert_array_equal(splits[0], splits[1])
    assert set(splits[0]) != set(splits[2])


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
def test_two_groups_always_split(fraction: float) -> None:
    first, second = split_by_group(np.array([7, 7, 3]), fraction, 0)
    assert {tuple(first), tuple(second)} == {(0, 1), (2,)}


@given(GROUPS, st.integers(2, 6), st.integers(0, 5))
def test_folds_hold_whole_groups_and_are_all_used(groups: Ints, folds: int, seed: int) -> None:
    number = group_folds(groups, folds, seed)
    assert number.shape == groups.shape
    assert all(len(set(number[groups == group])) == 1 for group in np.unique(groups))
    assert set(number) == set(range(min(folds, len(np.unique(groups)))))


def test_folds_follow_the_seed() -> None:
    groups = np.arange(40)
    np.testing.assert_array_equal(group_folds(groups, 4, 1), group_folds(groups, 4, 1))
    assert not np.array_equal(group_folds(groups, 4, 1), group_folds(groups, 4, 2))
