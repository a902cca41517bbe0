"""How a learned correction acts on the shares of a base: the same in training and in serving."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controlplane.model.observation import Floats


def corrected(base: Floats, residual: Floats | NDArray[np.float32]) -> Floats:
    """(g,) base shares times exp(residual), summing to 1.

    >>> corrected(np.array([0.5, 0.5]), np.array([0.0, np.log(3.0)])).round(2).tolist()
    [0.25, 0.75]
    """
    shares = base * np.exp(np.asarray(residual, dtype=np.float64))
    return np.asarray(shares / shares.sum(), dtype=np.float64)
