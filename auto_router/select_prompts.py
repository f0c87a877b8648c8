"""Take some of a file's prompts, where there are more than can be paid for: at random, or the ones that cover the traffic.

    python -m auto_router.select_prompts prompts.jsonl --count 600 --output chosen.jsonl
    python -m auto_router.select_prompts prompts.jsonl --count 600 --select diverse --output chosen.jsonl

``diverse`` looks at the text of the prompts, in the embedded encoder's space; images are not looked at.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auto_router.arrays import Array, Ints
from auto_router.collect.row_files import read_rows
from auto_router.data.conversation import conversation_input, turns_of
from auto_router.encode.encoder import distinct_items
from auto_router.encode.factory import open_encoder
from auto_router.errors import ConfigError, DataError, run
from auto_router.files import atomic_path
from auto_router.terminal import Parser, add_flags, bar, capture_output

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


def prompt_texts(path: Path) -> Iterator[str]:
    """Yield the prompt of each row of a prompts file: its ``prompt``, else that of its ``messages``.

    Raises:
        DataError: a row has neither.
    """
    for number, row in enumerate(read_rows(path)):
        try:
            text = row["prompt"] if isinstance(row.get("prompt"), str) else conversation_input(turns_of(row.get("messages")))[0]
        except DataError as error:
            raise DataError(f"{path}, row {number}: no 'prompt', and in 'messages': {error}") from error
        yield text


def embed_prompts(texts: Sequence[str]) -> Array:
    """Return the embedded encoder's rows ``[N, D]``."""
    generator = open_encoder("local")
    try:
        with bar(distinct_items(texts, []), "encode", "prompt") as shown:
            return generator.embed_batch(texts, progress=shown.update)
    finally:
        generator.encoder.close()


def select_prompts(path: Path, output: Path, count: int, method: str, seed: int) -> Mapping[str, Any]:
    """Write ``count`` rows of ``path`` to ``output``, as they are and in their order, and return what was done.

    Raises:
        ConfigError: there are fewer prompts than ``count``.
    """
    texts = list(prompt_texts(path))
    rows = embed_prompts(texts) if method == DIVERSE else np.zeros((len(texts), 1), dtype=np.float32)
    chosen = set(select_rows(rows, count, method, seed).tolist())
    with atomic_path(output) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for number, row in enumerate(read_rows(path)):
            if number in chosen:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return {"selected": len(chosen), "of": len(texts), "method": method, "output": str(output)}


EXAMPLES = """examples:
  python -m auto_router.select_prompts prompts.jsonl --count 600 --output chosen.jsonl
  python -m auto_router.select_prompts prompts.jsonl --count 600 --select diverse --output chosen.jsonl
  python -m auto_router.select_prompts prompts.jsonl --count 100 --seed 1 --output few.jsonl

next: python prepare_hf_data.py --dataset chosen.jsonl --dry-run"""


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="auto-router select", description="Take some of a file's prompts, to ask only those.", epilog=EXAMPLES)
    add_flags(parser)
    parser.add_argument("file", type=Path, help="prompts: .jsonl, .json, .csv or .parquet with 'prompt' or 'messages'")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="FILE.jsonl")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="how many")
    parser.add_argument("--select", choices=SELECTIONS, default=RANDOM, help=f"how ({RANDOM})")
    parser.add_argument("--seed", type=int, default=0, help="of the draw, and of where the clusters begin")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    with capture_output(arguments) as result:
        result |= select_prompts(arguments.file, arguments.output, arguments.count, arguments.select, arguments.seed)
        print(f"wrote {arguments.output}: {result['selected']} of {result['of']} prompts, {result['method']}")


if __name__ == "__main__":
    sys.exit(run(main))
