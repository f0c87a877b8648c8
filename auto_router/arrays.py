"""The types of the arrays that travel, once for all."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Array = npt.NDArray[np.float32]
"""What is stored and computed on in single precision: embeddings, labels, features."""
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
