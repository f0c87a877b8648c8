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

from auto_router.arrays import Array
from auto_router.collect.row_files import read_rows
from auto_router.collect.selection import DIVERSE, RANDOM, SELECTIONS, select_rows
from auto_router.data.conversation import conversation_input, turns_of
from auto_router.encode.encoder import distinct_items
from auto_router.encode.factory import open_encoder
from auto_router.errors import DataError, run
from auto_router.files import atomic_path
from auto_router.terminal import Parser, add_flags, bar, capture_output


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
    parser = Parser(
        prog="auto-router select",
        description="Take some of a file's prompts, to ask only those.",
        epilog=EXAMPLES,
    )
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
