"""Does a router that was trained on texts alone notice pictures, and leave other texts alone?

    python benchmarks/novelty.py [--set combined5] [--seeds 20 21 22 23 24] [--check]

Novelty is fitted to 80 % of the groups of a set's text rows. Flagged are, of the other text rows and of all rows with a
picture, those beyond its limit. ``--check`` exits 1 below 90 % of the pictures or above 5 % of the texts, for any seed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from recorded import DATA, LAYOUT, SETS, DataSet
from tabulate import tabulate

from auto_router.data.splits import split_by_group
from auto_router.errors import run
from auto_router.learn.novelty import fit_novelty

MIN_IMAGES, MAX_TEXTS = 0.9, 0.05


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Share of picture rows and of held-out text rows that are unfamiliar.")
    parser.add_argument("--set", choices=SETS, default="combined5")
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22, 23, 24])
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    data, table = DataSet.load(DATA / arguments.set), []
    pictured = data.plain[:, LAYOUT.blocks["image"]].any(axis=1)
    inputs = data.rows.astype(np.float32)
    texts, pictures = np.flatnonzero(~pictured), np.flatnonzero(pictured)
    for seed in arguments.seeds:
        groups = np.unique(data.groups[texts], return_inverse=True)[1]
        train, held_out = (texts[part] for part in split_by_group(groups, 0.2, seed))
        detector, _ = fit_novelty(
            inputs[train], data.y[train], data.groups[train], train.tolist(), prompt_dim=LAYOUT.prompt_dim
        )
        flagged = [float((detector.novelty(inputs[rows]) > 1).mean()) for rows in (pictures, held_out)]
        table.append([seed, len(train), *flagged])
    headers = ["seed", "texts learned", f"of {len(pictures)} pictures flagged", "of held-out texts flagged"]
    print(tabulate(table, headers=headers, floatfmt=("", "", ".1%", ".1%")))
    if arguments.check and any(found < MIN_IMAGES or false > MAX_TEXTS for _, _, found, false in table):
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(run(main))
