"""What counts as the same question, and splits that never put two rows of one group on different sides."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from auto_router.arrays import Ints
from auto_router.errors import ConfigError, DataError

MAX_SEED = 2**32 - 1  # what scikit-learn takes


def normalize_prompt(prompt: str) -> str:
    """Fold what does not make another question: Unicode form and width, case, white space, punctuation at the ends."""
    return " ".join(unicodedata.normalize("NFKC", prompt).casefold().split()).strip(" .?!:;,\"'“”‘’*`")


def question_keys(prompt: str, image_digests: Iterable[str] = ()) -> set[str]:
    """Return what two rows share that ask the same question: the text, or where there are images, one of these.

    (Equal texts about different images are different questions.)
    """
    keys = {f"image {digest}" for digest in image_digests}
    return keys or {f"text {digest_text(normalize_prompt(prompt))}"}


def content_key(prompt: str, images: Iterable[str | bytes] = ()) -> str:
    """Digest of a prompt, as far as it makes another question, and of its images as they are given."""
    digest = hashlib.sha256(normalize_prompt(prompt).encode("utf-8", "surrogatepass"))
    for image in images:
        digest.update(b"\0" + (image if isinstance(image, bytes) else image.encode("utf-8", "surrogatepass")))
    return digest.hexdigest()[:16]


def digest_text(text: str) -> str:
    """Return the sha256 of a text, as hex; lone surrogates are taken as they are."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_seed(seed: int) -> None:
    """Raise ConfigError where nothing can be drawn by this seed."""
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"--seed must be a whole number from 0 to {MAX_SEED}, got {seed}")


def check_split(fraction: float, seed: int) -> None:
    """Raise ConfigError where no test can be split off so."""
    check_seed(seed)
    check_fraction(fraction)


def check_fraction(fraction: float) -> None:
    """Raise ConfigError where a test would be empty, or all there is."""
    if not 0.0 < fraction < 1.0:
        raise ConfigError(f"--test-fraction must be between 0 and 1, got {fraction}")


def split_by_group(groups: Ints, fraction: float, seed: int, strata: Ints | None = None) -> tuple[Ints, Ints]:
    """Return the row indices of two sides.

    ``fraction`` of the groups go to the second; neither side is empty. With ``strata`` ``[N]``, about that fraction of the
    groups of every stratum; a group belongs to the stratum of its first row.

    Raises:
        DataError: fewer than two groups, so that one side would be empty.
    """
    distinct, first = np.unique(groups, return_index=True)
    count = len(distinct)
    if count < 2:
        raise DataError(
            f"{len(groups)} rows form {count} group(s), for rows with the same prompt, image or 'group' are one; a split into "
            "training and test needs at least 2 groups: add other rows, or correct their 'group'"
        )
    held_out = min(max(math.ceil(fraction * count), 1), count - 1)
    if strata is not None and len(np.unique(strata[first])) > 1:
        taken = np.isin(groups, distinct[_stratify(strata[first], held_out, seed)])
        return np.flatnonzero(~taken), np.flatnonzero(taken)
    from sklearn.model_selection import GroupShuffleSplit  # for training only; routing must not import it

    splitter = GroupShuffleSplit(n_splits=1, test_size=held_out, random_state=seed)
    train, test = next(splitter.split(groups, groups=groups))
    return np.asarray(train, dtype=np.int64), np.asarray(test, dtype=np.int64)


def connect(keys: Sequence[Iterable[str]]) -> Ints:
    """Return ``[N]`` group numbers: rows that share a key, directly or through others, share one."""
    from scipy.sparse import coo_array  # not for routing, which must stay light
    from scipy.sparse.csgraph import connected_components

    numbers: dict[str, int] = {}
    pairs = [(row, numbers.setdefault(key, len(numbers))) for row, own in enumerate(keys) for key in sorted(own)]
    counts = Counter(column for _, column in pairs)
    edges = np.array([(row, column) for row, column in pairs if counts[column] > 1], dtype=np.int64).reshape(-1, 2)
    size = len(keys) + len(numbers)
    graph = coo_array((np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1] + len(keys))), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][: len(keys)], dtype=np.int64)


def _stratify(strata: Ints, count: int, seed: int) -> Ints:
    """Draw ``count`` of the positions of ``strata``, from each stratum in proportion (largest remainders first)."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(strata))
    names, sizes = np.unique(strata, return_counts=True)
    share = sizes * count / len(strata)
    quota = np.floor(share).astype(np.int64)
    largest = np.argsort(-(share - quota), kind="stable")[: count - int(quota.sum())]
    quota[largest] += 1
    return np.concatenate([order[strata[order] == name][:take] for name, take in zip(names, quota, strict=True)])


def group_folds(groups: Ints, folds: int, seed: int) -> Ints:
    """Return ``[N]`` fold numbers 0…folds-1 (fewer where there are fewer groups); a group lies in one fold."""
    folds = min(folds, len(np.unique(groups)))
    number = np.zeros(len(groups), dtype=np.int64)
    if folds < 2:
        return number
    from sklearn.model_selection import GroupKFold

    for fold, (_, held_out) in enumerate(GroupKFold(folds, shuffle=True, random_state=seed).split(groups, groups=groups)):
        number[held_out] = fold
    return number
