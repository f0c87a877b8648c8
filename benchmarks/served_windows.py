"""How much of a long prompt must a decision read? Windows of several lengths, of its first and last tokens.

    python benchmarks/served_windows.py [--sets combined5 llmrouter14] [--tokens 96 128 160 192 256] [--seeds 20 21 22 23 24]

The default router is fitted on the cached rows (all windows of every prompt), as Stage 3 fits it. Test prompts of more tokens
than the window are then encoded as a decision would, and decided again. *Changed* counts the prompts that another model gets,
*right* the right answers won or lost by that, *unfamiliar* those that the guard keeps from the router with all windows and with
the one, all summed over the splits; *ms* is one prompt's encoding, the least of three.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from quality import default_router, foreseen
from recorded import DATA, SETS, DataSet
from tabulate import tabulate

from auto_router.arrays import Array, Floats
from auto_router.data.records import load_records
from auto_router.data.splits import split_by_group
from auto_router.encode.encoder import EmbeddingGenerator
from auto_router.encode.local import LocalEncoder
from auto_router.errors import run

POINTS = ("accuracy", "quality")


def encoder_of(tokens: int) -> LocalEncoder:
    """Return the local encoder with a window of so many tokens, those at start and end included."""
    encoder = LocalEncoder()
    encoder.window = encoder.served_tokens = tokens
    return encoder


def long_prompts(prompts: list[str], tokens: int) -> list[int]:
    """Return the rows of the prompts that do not fit into the window."""
    encoder = encoder_of(tokens)
    return [row for row, prompt in enumerate(prompts) if prompt.strip() and len(encoder.windows(prompt)) > 1]


def encode(prompts: list[str], tokens: int) -> tuple[Array, float]:
    """Return the prompts' text halves as a decision reads them, and milliseconds a prompt."""
    generator = EmbeddingGenerator(encoder_of(tokens))
    rows = generator.embed_batch(prompts, max_windows=1)[:, : generator.text_dim]
    if not prompts:
        return rows, 0.0
    sample, times = prompts[:: max(len(prompts) // 40, 1)], []
    for _ in range(3):
        start = time.perf_counter()
        for prompt in sample:
            generator.embed_batch([prompt], max_windows=1)
        times.append((time.perf_counter() - start) / len(sample))
    return rows, 1000 * min(times)


def measure(folder: Path, every: Sequence[int], seeds: Sequence[int]) -> list[list[object]]:
    """Return the table's rows of one set."""
    data, prompts = DataSet.load(folder), [record.prompt for record in load_records(folder / "data.json.gz")]
    prompts = prompts[: len(data.rows)]
    served: dict[int, tuple[list[int], Floats, float]] = {}
    for tokens in every:
        long = long_prompts(prompts, tokens)
        halves, ms = encode([prompts[row] for row in long], tokens)
        rows = data.rows.copy()
        rows[long, : halves.shape[1]] = halves
        served[tokens] = long, rows, ms
    points = POINTS if data.costs is not None else POINTS[:1]
    found = {(tokens, point): np.zeros(2, dtype=int) for tokens in every for point in points}
    tested, novel = dict.fromkeys(every, 0), {tokens: np.zeros(2, dtype=int) for tokens in every}
    for seed in seeds:
        train, test = split_by_group(data.groups, 0.2, seed)
        router = default_router(data, train, data.y[train], seed)
        expected, y = foreseen(data, train, test), np.nan_to_num(data.y[test])
        p = router.predict(data.rows[test])
        whole = {point: router.decide(point, p, data.rows[test], expected) for point in points}
        for tokens, (long, rows, _) in served.items():
            cut = np.isin(test, long)
            tested[tokens] += int(cut.sum())
            novel[tokens] += [(router.novelty.novelty(one[test][cut]) > 1).sum() for one in (data.rows, rows)]
            p = router.predict(rows[test])
            for point in points:
                chosen = router.decide(point, p, rows[test], expected)
                each = np.arange(len(test))
                won = float((y[each, chosen] - y[each, whole[point]]).sum())
                found[tokens, point] += np.array([(chosen != whole[point]).sum(), round(won)])
    table: list[list[object]] = []
    for tokens in every:
        shown = [f"{changed}, right: {right:+d}" for changed, right in (found[tokens, point].tolist() for point in points)]
        before, after = novel[tokens].tolist()
        table.append([folder.name, tokens, tested[tokens], served[tokens][2], f"{before} → {after}", *shown])
    return table


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare how much of a long prompt a decision reads.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=("combined5", "llmrouter14"))
    parser.add_argument("--tokens", nargs="+", type=int, default=[96, 128, 160, 192, 256])
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    arguments = parser.parse_args(argv)
    rows = [row for name in arguments.sets for row in measure(arguments.data / name, arguments.tokens, arguments.seeds)]
    headers = ["set", "tokens", "long test prompts", "ms", "unfamiliar", *(f"`{point}`: changed" for point in POINTS)]
    print(tabulate(rows, headers=headers, floatfmt=".1f"))


if __name__ == "__main__":
    sys.exit(run(main))
