"""The types of the arrays that travel, once for all; and numbers as JSON takes them."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Array = npt.NDArray[np.float32]
"""What is stored and computed on in single precision: embeddings, labels, features."""
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def finite(value: Any) -> Any:
    """Return a value as JSON takes it: None for a number that is not finite."""
    return None if isinstance(value, float) and not isfinite(value) else value
