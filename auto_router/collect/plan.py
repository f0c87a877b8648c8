"""One look at every row before any model is paid: is it usable, what repeats it, on which side of the split is it.

Rows that repeat each other share a group and never straddle the split: text prompts that are equal but for case, width and
white space, and rows that share a picture, pixel for pixel. (Equal prompts about different pictures are different questions.)
What is kept of a row is a few numbers, so that memory does not grow with pictures.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from auto_router.arrays import Ints
from auto_router.collect.source import Question, Source
from auto_router.data.images import pixels
from auto_router.data.splits import connect, question_keys, split_by_group
from auto_router.errors import DataError
from auto_router.terminal import watch


@dataclass(frozen=True)
class Plan:
    """The rows to ask, in order: ``rows`` [N] numbers in the data set, ``groups`` [N] names, ``is_test`` [N].

    ``characters`` and ``pictures`` [N] are what a cost can be estimated from; ``sources`` [N]; ``left_out`` counts training
    rows that repeat a test row of a split that came with the data.
    """

    source: Source
    rows: Ints
    groups: list[str]
    is_test: np.ndarray[tuple[int], np.dtype[np.bool_]]
    characters: Ints
    images: Ints
    sources: list[str]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def questions(self) -> Iterator[Question]:
        """Yield the questions of the plan, read anew from the data set."""
        position = 0
        for question in self.source.questions():
            if position == len(self.rows):
                return
            if question.idx == self.rows[position]:
                yield question.in_group(self.groups[position])
                position += 1


def make_plan(source: Source, num_samples: int | None, test_fraction: float, seed: int) -> Plan:
    """Read the data set once and plan the run.

    Args:
        num_samples: how many rows to keep, drawn by ``seed``; None for all.
        test_fraction: part of the groups that becomes the test, in each source alike; unused where the data brings a split.

    Raises:
        DataError: as :meth:`Source.questions`; a picture that cannot be decoded; rows that cannot be split.
    """
    chosen: set[int] | None = None
    if num_samples is not None:
        total = source.count()
        chosen = set(random.Random(seed).sample(range(total), min(num_samples, total)))
    rows, names, keys, sources, sides, characters, images = [], [], [], [], [], [], []
    for question in watch(source.questions(), "read", "row"):
        if chosen is not None and question.idx not in chosen:
            continue
        rows.append(question.idx)
        names.append(question.group)
        keys.append({f"group {question.group}", *_repeats(question, source.dataset)})
        sources.append(question.source or "")
        sides.append(question.is_test)
        characters.append(len(question.prompt))
        images.append(len(question.images))
    groups = connect(keys)
    first = {group: names[i] for i, group in reversed(list(enumerate(groups.tolist())))}
    if any(side is not None for side in sides):
        is_test = np.array([bool(side) for side in sides])
        kept = is_test | ~np.isin(groups, groups[is_test])
        if is_test.all() or not (kept & ~is_test).any() or not is_test.any():
            raise DataError(
                f"the split of data set {source.dataset} leaves no row to {'train' if is_test.any() else 'test'} on"
            )
    else:
        kept = np.ones(len(rows), dtype=bool)
        strata = np.unique(sources, return_inverse=True)[1]
        is_test = np.zeros(len(rows), dtype=bool)
        is_test[split_by_group(groups, test_fraction, seed, strata)[1]] = True
    return Plan(
        source=source,
        rows=np.array(rows, dtype=np.int64)[kept],
        groups=[first[group] for group in groups[kept].tolist()],
        is_test=is_test[kept],
        characters=np.array(characters, dtype=np.int64)[kept],
        images=np.array(images, dtype=np.int64)[kept],
        sources=[sources[row] for row in np.flatnonzero(kept).tolist()],
        left_out=int((~kept).sum()),
    )


def _repeats(question: Question, dataset: str) -> set[str]:
    """Return the keys that repeats of a question share with it."""
    digests = []
    for image in question.images:
        try:
            decoded = pixels(image)  # a picture that no encoder can read is better found before any model is paid for it
        except DataError as error:
            raise DataError(f"data set {dataset}, row {question.idx}, pictures: {error}") from error
        digests.append(f"{decoded.size} {hashlib.sha256(decoded.tobytes()).hexdigest()}")
    return question_keys(question.prompt, digests)
