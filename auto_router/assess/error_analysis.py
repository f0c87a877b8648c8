"""Wrongly routed prompts: those where the chosen model was wrong and another one would have been right."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from auto_router.assess.test_set import TestSet
from auto_router.data.images import image_bytes, pixels
from auto_router.data.records import Record
from auto_router.errors import DataError

MAX_SHOWN = 150
MAX_SHOWN_CHARACTERS = 300
THUMBNAIL_SIDE = 120  # pixels
THUMBNAIL_BYTES = 250_000  # of all thumbnails of a page


def find_wrongly_routed(
    test: TestSet, records: Sequence[Record], whole: Callable[[Sequence[int]], Sequence[Record]] | None = None
) -> dict[str, Any]:
    """Return ``rows``, the likeliest to be right by the router's P first, and ``of``, how many there are in all.

    Only ``MAX_ROWS`` rows are kept, and thumbnails up to ``THUMBNAIL_BYTES``.

    Args:
        test: the test rows as they were decided.
        records: theirs; images and answers are not needed.
        whole: returns the records of some rows with images and answers, to be shown; None: ``idx`` and numbers only.
    """
    got, best = test.label(test.chosen), np.nan_to_num(test.outcomes, nan=-1.0).max(axis=1)
    lost = np.flatnonzero(~np.isnan(got) & (got < best))
    p = np.take_along_axis(test.probabilities, test.chosen[:, None], axis=1)[:, 0]
    shown = lost[np.argsort(-np.nan_to_num(p[lost], nan=-1.0), kind="stable")][:MAX_SHOWN]
    left, rows = THUMBNAIL_BYTES, [_row(test, i, records[i]) for i in shown.tolist()]
    for row, record in zip(rows, [] if whole is None else whole(shown.tolist()), strict=False):
        images = [uri for uri in map(thumbnail, record.images[:2]) if uri is not None and len(uri) <= left]
        left -= sum(map(len, images))
        row |= {"prompt": _short(record.prompt), "answer": _short(record.answer), "pictures": images}
    return {"rows": rows, "of": len(lost)}


def _row(test: TestSet, i: int, record: Record) -> dict[str, Any]:
    chosen, best = int(test.chosen[i]), np.nanmax(test.outcomes[i])
    right = [name for name, value in zip(test.names, test.outcomes[i].tolist(), strict=True) if value == best]
    facts = {"idx": record.idx, "source": record.source or "", "images": len(record.images)}
    return facts | {"chosen": test.names[chosen], "p": _plain(test.probabilities[i, chosen]), "right": right}


def thumbnail(image: str) -> str | None:
    """Return a small WebP of an image as a data URI; None where it cannot be read, as Stage 2 has told."""
    try:
        small = pixels(image_bytes(image))
    except DataError:
        return None
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=60)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + "…"


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
