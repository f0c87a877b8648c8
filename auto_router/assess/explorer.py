"""The test rows as the report shows them: all, packed small for ``page/explorer.js``; and those that were wrongly routed.

A prompt is wrongly routed where the chosen model was wrong and another one would have been right.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from auto_router.arrays import Floats, finite
from auto_router.assess.test_set import TestSet
from auto_router.data.images import image_bytes, thumbnail_uri
from auto_router.data.records import Record
from auto_router.decide.operating_points import COST, OperatingPoint, default_point
from auto_router.decide.policy import RouterSettings, resolve_policy
from auto_router.errors import DataError

Packed = dict[str, Any]

MAX_PACKED_BYTES = 400_000  # of the packed tables in the page, base64 included
UNKNOWN_BYTE = 255
MAX_SHOWN = 150
MAX_SHOWN_CHARACTERS = 300
THUMBNAIL_SIDE = 120  # pixels
THUMBNAIL_BYTES = 250_000  # of all thumbnails of a page


def pack(test: TestSet, best_single: int, points: Mapping[str, OperatingPoint], seed: int) -> Packed:
    """Return the test rows, the operating points and the prices as plain JSON values.

    Probabilities are float32 as the router computes them, so the page decides on the same numbers. Where the rows would
    take more than ``MAX_PACKED_BYTES``, ``seed`` draws as many as fit; ``rows`` and ``of`` say so.
    """
    models = len(test.names)
    costs, by_row = test.costs, _differ_by_row(test.costs)
    graded = bool((~np.isin(test.outcomes[~np.isnan(test.outcomes)], (0.0, 1.0))).any())
    cell = 4 + (4 if graded else 1) + (4 if by_row else 0) + (0 if test.prediction.expected_costs is None else 4) + 1 / 8
    most = int(MAX_PACKED_BYTES * 3 / 4 / (cell * models + 4))
    kept = np.arange(len(test.labels))
    if len(kept) > most:
        kept = np.sort(np.random.default_rng(seed).permutation(len(kept))[:most])
    eligible = np.ones(test.labels.shape, dtype=bool) if test.eligible is None else test.eligible
    outcomes, default = test.outcomes[kept], resolve_policy(test.names, points, RouterSettings()).default
    novel = test.prediction.novel
    guarded = None if novel is None or default is None else {"model": default, "rows": novel[kept].tolist()}
    return {
        "models": list(test.names),
        "rows": len(kept),
        "of": len(test.labels),
        "best_single": best_single,
        "probabilities": _text(test.probabilities[kept].astype("<f4")),
        "graded": graded,
        "outcomes": _text(outcomes.astype("<f4") if graded else np.nan_to_num(outcomes, nan=UNKNOWN_BYTE).astype(np.uint8)),
        "eligible": _text(np.packbits(eligible[kept].ravel())),
        "guarded": guarded,
        "expected": None
        if test.prediction.expected_costs is None
        else _text(test.prediction.expected_costs[kept].astype("<f4")),
        "groups": _text(test.groups[kept].astype("<u4")),
        "row_costs": _text(costs[kept].astype("<f4")) if by_row and costs is not None else None,
        "prices": [finite(price) for price in test.mean_costs.tolist()],
        "points": {name: _point(point, test.names) for name, point in points.items()},
        "default_point": default_point(points),
    }


def _point(point: OperatingPoint, names: Sequence[str]) -> Packed:
    settings: Packed = {"aim": point.aim, "default": point.default, "margin": point.margin, "cost_weight": point.cost_weight}
    costs = [point.costs[name] for name in names if name in point.costs]
    mean = max(float(np.mean(costs)), 1e-30) if costs else None
    return settings | {"penalties": point.penalties(names).tolist(), "mean_cost": mean, "by_cost": point.weighs == COST}


def _differ_by_row(costs: Floats | None) -> bool:
    """Are these costs of single answers, rather than one price a model?"""
    return costs is not None and not np.array_equal(costs, np.broadcast_to(costs[:1], costs.shape), equal_nan=True)


def _text(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def find_wrongly_routed(
    test: TestSet, records: Sequence[Record], whole: Callable[[Sequence[int]], Sequence[Record]] | None = None
) -> dict[str, Any]:
    """Return ``rows``, the likeliest to be right by the router's P first, and ``of``, how many there are in all.

    Only ``MAX_SHOWN`` rows are kept, and thumbnails up to ``THUMBNAIL_BYTES``.

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
    return facts | {"chosen": test.names[chosen], "p": finite(float(test.probabilities[i, chosen])), "right": right}


def thumbnail(image: str) -> str | None:
    """Return a small WebP of an image as a data URI; None where it cannot be read, as Stage 2 has told."""
    try:
        return thumbnail_uri(image_bytes(image), THUMBNAIL_SIDE, "WEBP", 60)
    except DataError:
        return None


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + "…"
