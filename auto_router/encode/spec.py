"""What makes vectors comparable: an encoder's spec, a probe where no digest can name the model, and their comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from auto_router.arrays import Array
from auto_router.errors import EncoderError

Spec = dict[str, Any]

PROBE_TEXT = "The quick brown fox jumps over 13 lazy dogs."
PROBE_TOLERANCE = 0.02


def probe(encode: Callable[[list[str]], Array]) -> list[float]:
    """Return the first values of a fixed text's unit vector: tells models apart that no digest can name."""
    return [round(float(value), 3) for value in unit(encode([PROBE_TEXT]))[0, :8]]


def differences(found: Spec, expected: Spec) -> list[str]:
    """Return the names of what differs between two specs; none where they describe the same vectors."""
    names = [name for name in {*found, *expected} - {"probe"} if found.get(name) != expected.get(name)]
    return sorted([*names, *([] if _probes_agree(found, expected) else ["probe"])])


def unit(vectors: Array) -> Array:
    """Return rows scaled to length 1; rows of zeros stay."""
    norms = np.sqrt(np.vecdot(vectors, vectors))
    norms[norms == 0] = 1.0
    return np.asarray(vectors / norms[:, None], dtype=np.float32)


def checked(vectors: Array, count: int, dim: int) -> Array:
    """Return what an encoder answered as float32 ``[count, dim]``. Raises EncoderError where it is anything else."""
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.shape != (count, dim):
        raise EncoderError(
            f"encoder answered with shape {list(vectors.shape)}, expected {[count, dim]}; was the server restarted with "
            "another model?"
        )
    if not np.isfinite(vectors).all():
        raise EncoderError("encoder answered with NaN or infinite values; check its model and its input")
    return vectors


def _probes_agree(a: Spec, b: Spec) -> bool:
    first, second = a.get("probe", []), b.get("probe", [])
    return len(first) == len(second) and bool(np.allclose(first, second, atol=PROBE_TOLERANCE))
