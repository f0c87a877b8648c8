"""What makes vectors comparable: an encoder's spec, a probe where no digest can name the model, and their comparison."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from auto_router.arrays import Array
from auto_router.data.embeddings import Spec

PROBE_TEXT = "The quick brown fox jumps over 13 lazy dogs."
PROBE_TOLERANCE = 0.02
PROBE_VALUES = 32  # of a probe of vectors of any width; those that are known to be narrow do with 8


def probe(encode: Callable[[list[str]], Array], values: int = 8) -> list[float]:
    """Return the first values of a fixed text's unit vector: tells models apart that no digest can name.

    The wider the vectors, the smaller the values, and the more of them are needed.
    """
    return [round(float(value), 3) for value in unit(encode([PROBE_TEXT]))[0, :values]]


def differences(found: Spec, expected: Spec) -> list[str]:
    """Return the names of what differs between two specs; none where they describe the same vectors.

    How an encoder is opened (``opens_with``) is no part of what it is: an address may change. Nor are the languages that it is
    said to know: they count in training.
    """
    names = []
    for name in sorted({*found, *expected} - {"opens_with", "languages"}):
        a, b = found.get(name), expected.get(name)
        if name == "probe":
            same = probes_agree(a or [], b or [])
        elif isinstance(a, dict) and isinstance(b, dict):
            same = not differences(a, b)  # the parts of a joined encoder are specs themselves
        else:
            same = a == b
        if not same:
            names.append(name)
    return names


def without_address(spec: Spec) -> Spec:
    """Return what of a spec stays the same wherever the encoder answers from."""
    return {
        name: without_address(value) if isinstance(value, dict) else value
        for name, value in spec.items()
        if name != "opens_with"
    }


def probes_agree(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether two probes are of one model, up to the rounding of different machines."""
    return len(first) == len(second) and bool(np.allclose(first, second, atol=PROBE_TOLERANCE))


def weights_digest(state: Mapping[str, Any]) -> str:
    """Return a digest of a torch model's tensors, whatever device they are on and whatever their width in bits."""
    digest = hashlib.sha256()
    for name, values in sorted(state.items()):
        plain = np.ascontiguousarray(values.detach().cpu().float().numpy())
        digest.update(f"{name}{plain.shape}".encode() + plain.tobytes())
    return digest.hexdigest()


def unit(vectors: Array) -> Array:
    """Return rows scaled to length 1; rows of zeros stay."""
    norms = np.sqrt(np.vecdot(vectors, vectors))
    norms[norms == 0] = 1.0
    return np.asarray(vectors / norms[:, None], dtype=np.float32)
