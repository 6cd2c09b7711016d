"""Vectors as directions; numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unit_vectors(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows divided by their lengths; a row of zeros stays one."""
    wide = np.asarray(vectors, dtype=np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))
