"""Which prompts to ask, where there are more than can be paid for: a random draw, or the ones that cover the traffic.

``benchmarks/select_rows.py`` compares the two.
"""

from __future__ import annotations

import numpy as np

from auto_router.arrays import Array, Ints
from auto_router.errors import ConfigError

RANDOM, DIVERSE = "random", "diverse"
SELECTIONS = (RANDOM, DIVERSE)
MAX_DIMS = 64  # distances in the leading directions are those that clusters are made of, at a tenth of the time
MAX_ROUNDS = 10


def select_rows(embeddings: Array, count: int, method: str, seed: int) -> Ints:
    """Return the numbers of ``count`` rows of ``embeddings`` ``[N, D]``, ascending.

    ``random`` draws them. ``diverse`` makes ``count`` clusters (k-means) of the rows at unit length and takes the row nearest
    to the middle of each, so that every kind of prompt has its row, however rare.

    Raises:
        ConfigError: ``count`` is not between 1 and N, or the method is unknown.
    """
    size = len(embeddings)
    if not 1 <= count <= size:
        raise ConfigError(f"--count must be between 1 and the number of prompts, {size}; got {count}")
    if method == RANDOM:
        return np.sort(np.random.default_rng(seed).permutation(size)[:count])
    if method != DIVERSE:
        raise ConfigError(f"--select {method!r} is unknown; known are {', '.join(SELECTIONS)}")
    return np.sort(_nearest_to_centres(_leading(embeddings, seed), count, seed))


def _leading(embeddings: Array, seed: int) -> Array:
    """The rows at unit length, in their ``MAX_DIMS`` leading directions."""
    from sklearn.decomposition import TruncatedSVD

    rows = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    dims = min(MAX_DIMS, *(side - 1 for side in rows.shape))
    if dims < 1:
        return np.asarray(rows, dtype=np.float32)
    with np.errstate(all="ignore"):  # the share of a spread that is nil, where all rows are equal
        return np.asarray(TruncatedSVD(dims, random_state=seed).fit_transform(rows), dtype=np.float32)


def _nearest_to_centres(rows: Array, count: int, seed: int) -> Ints:
    """The row nearest to each centre; where two centres share theirs, or a cluster is empty, the farthest rows fill up."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import pairwise_distances_argmin_min

    distinct = len(np.unique(rows, axis=0))
    centres = KMeans(min(count, distinct), n_init=1, max_iter=MAX_ROUNDS, random_state=seed).fit(rows).cluster_centers_
    taken = np.unique(pairwise_distances_argmin_min(centres, rows)[0])
    distances = pairwise_distances_argmin_min(rows, rows[taken])[1]
    distances[taken] = -1.0
    return np.concatenate([taken, np.argsort(-distances, kind="stable")[: count - len(taken)]])
