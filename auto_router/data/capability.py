"""What each model can take: what the pool states, else what the labels show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from auto_router.data.dataset import Dataset
from auto_router.data.pool import ModelFacts, Pool, load_pool
from auto_router.errors import ConfigError, DataError

POOL_NAME = "pool.yaml"
TEXT_ONLY_REASON = "not asked: the model takes no pictures"  # what Stage 1 writes for a text model beside an image
MIN_IMAGE_ROWS = 20


def find_pool(path: Path | None) -> tuple[Pool, Path | None]:
    """Return the pool of ``path``, and where it was read; None: that of ``pool.yaml`` in this folder, if there is one.

    Raises:
        ConfigError: the named file cannot be used. One that nobody named is left alone, and said.
    """
    if path is not None:
        return load_pool(path), path
    here = Path(POOL_NAME)
    if here.is_file():
        try:
            return load_pool(here), here
        except ConfigError as error:
            print(f"warning: {here.resolve()} is not used: {error}")
    return Pool(()), None


def compare_names(pool: Pool, names: Sequence[str], where: Path, is_named: bool) -> list[str]:
    """Return a line for each model of the labels without an entry in the pool, and for each entry without labels.

    ``is_named``: the user gave the file. One that merely lies there and names none of the models is none of theirs.
    """
    entries = [model.name for model in pool.models]
    if not is_named and not set(entries) & set(names):
        return [f"{where} names none of these models and is not used; --pool FILE gives another one"]
    lines = []
    for name in names:
        if name not in entries:
            near = get_close_matches(name, [entry for entry in entries if entry not in names], 1)
            guess = f"; is it {near[0]!r}?" if near else ""
            lines.append(f"{where} has no entry for {name!r}, which has labels: what it costs and takes is not stated{guess}")
    lines += [f"{where} names {name!r}, of which there is no label: the router will not know it" for name in entries
              if name not in names]  # fmt: skip
    return lines


def settle_facts(parts: Sequence[Dataset], pool: Pool) -> tuple[dict[str, ModelFacts], list[str]]:
    """Return what is known of each model of the data, and a line for each that is found to take no images.

    What the pool states is so. Where it does not state whether a model takes images, a known label beside one says that it
    does; what Stage 1 noted, or no known label on :data:`MIN_IMAGE_ROWS` rows with images where others have one, that it does
    not. Where nothing says, the pool's default stands, and without a pool the model may take everything.

    Raises:
        DataError: a model that the pool calls text-only has known labels on rows with images.
    """
    names, stated = parts[0].names, pool.facts
    seen = np.concatenate([~np.isnan(part.labels[np.array(part.image_counts) > 0]) for part in parts])
    others = seen.any(axis=1)
    facts, lines = {name: stated[name] for name in names if name in stated}, []
    for name, known in zip(names, seen.T, strict=True):
        own, count = facts.get(name, ModelFacts()), int(known.sum())
        if name in stated and name not in pool.unstated:
            if count and not own.takes_images:
                raise DataError(
                    f"the pool says that {name} takes text only, but {count} rows with images have a label of it; "
                    "state modalities: [text, image] there, or take these labels out"
                )
            continue
        noted = sum(record.model_errors.get(name) == TEXT_ONLY_REASON for part in parts for record in part.records)
        without = int(others.sum())
        if count:
            facts[name] = replace(own, modalities=("text", "image"))
        elif noted or without >= MIN_IMAGE_ROWS:
            facts[name] = replace(own, modalities=("text",))
            why = "Stage 1 did not ask it about" if noted else "it has no label on any of"
            rows = f"{noted or without} rows with images"
            lines.append(f"{name} is taken to take no images: {why} {rows}; modalities in a pool file would say otherwise")
    return facts, lines
