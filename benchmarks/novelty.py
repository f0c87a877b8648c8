"""Does a router that was trained on texts alone notice pictures, and other kinds of texts, and leave its own alone?

    python benchmarks/novelty.py [--set combined5] [--seeds 20 21 22 23 24] [--foreign] [--check]

Novelty is fitted to 80 % of the groups of a set's text rows. Flagged are, of the other text rows and of all rows with a
picture, those beyond its limit. ``--check`` exits 1 below 90 % of the pictures or above 5 % of the texts, for any seed.
``--foreign`` prints, for the first seed of each set, the share of every other set's texts that is flagged, and in brackets
what it would be if the form of the prompt did not count. The language guard is left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from recorded import DATA, LAYOUT, SETS, DataSet
from tabulate import tabulate

from auto_router.arrays import Floats, Ints
from auto_router.data.splits import split_by_group
from auto_router.errors import run
from auto_router.learn.novelty import NoveltyDetector, fit_novelty

MIN_IMAGES, MAX_TEXTS = 0.9, 0.05


def text_rows(data: DataSet) -> Ints:
    return np.flatnonzero(~data.plain[:, LAYOUT.blocks["image"]].any(axis=1))


def fit_to_texts(data: DataSet, seed: int, prompt_dim: int = LAYOUT.prompt_dim) -> tuple[NoveltyDetector, Ints, Ints]:
    """Return what is fitted to 80 % of the groups of the text rows, these rows and the other ones; 0: form does not count."""
    texts = text_rows(data)
    groups = np.unique(data.groups[texts], return_inverse=True)[1]
    train, held_out = (texts[part] for part in split_by_group(groups, 0.2, seed))
    rows = (data.rows if prompt_dim else data.plain)[train].astype(np.float32)
    return fit_novelty(rows, data.y[train], data.groups[train], train.tolist(), prompt_dim=prompt_dim)[0], train, held_out


def flagged(detector: NoveltyDetector, rows: Floats) -> float:
    return float((detector.novelty(rows.astype(np.float32)) > 1).mean())


def foreign_table(seed: int) -> str:
    """Return, for each set, which share of the others' texts is flagged."""
    every, table = {name: DataSet.load(DATA / name) for name in SETS}, []
    for name, data in every.items():
        whole, plain = (fit_to_texts(data, seed, prompt_dim)[0] for prompt_dim in (LAYOUT.prompt_dim, 0))
        table.append([name])
        for other in every.values():
            rows = other.rows[text_rows(other)]
            shown = "" if other is data else f"{flagged(whole, rows):.0%} ({flagged(plain, rows):.0%})"
            table[-1].append(shown)
    return tabulate(table, headers=["trained on", *every])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Share of picture rows and of held-out text rows that are unfamiliar.")
    parser.add_argument("--set", choices=SETS, default="combined5")
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--foreign", action="store_true", help="texts of the other sets, too")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    data, table = DataSet.load(DATA / arguments.set), []
    pictures = np.setdiff1d(np.arange(len(data.rows)), text_rows(data))
    for seed in arguments.seeds:
        detector, train, held_out = fit_to_texts(data, seed)
        table.append([seed, len(train), *(flagged(detector, data.rows[rows]) for rows in (pictures, held_out))])
    headers = ["seed", "texts learned", f"of {len(pictures)} pictures flagged", "of held-out texts flagged"]
    print(tabulate(table, headers=headers, floatfmt=("", "", ".1%", ".1%")))
    if arguments.foreign:
        print("\n" + foreign_table(arguments.seeds[0]))
    if arguments.check and any(found < MIN_IMAGES or false > MAX_TEXTS for _, _, found, false in table):
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(run(main))
