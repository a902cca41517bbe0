"""How a learned correction acts on the shares of a base: the same in training and in serving."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controlplane.model.observation import Floats

BASE = "model"
"""The policy that a residual is on."""
BOUND = 0.7
"""The largest residual unless a policy says otherwise: a factor of 2."""


def corrected(base: Floats, residual: Floats | NDArray[np.float32]) -> Floats:
    """(g,) base shares times exp(residual), summing to 1.

    >>> corrected(np.array([0.5, 0.5]), np.array([0.0, np.log(3.0)])).round(2).tolist()
    [0.25, 0.75]
    """
    shares = base * np.exp(np.asarray(residual, dtype=np.float64))
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def log_moves(base: Floats, residuals: Floats | NDArray[np.float32]) -> Floats:
    """(..., g) log of the corrected share of each group over its base share.

    >>> moves = log_moves(np.array([0.5, 0.5]), np.array([[0.0, np.log(3.0)], [9.0, 9.0]]))
    >>> (0.5 * np.exp(moves)).round(2).tolist()
    [[0.25, 0.75], [0.5, 0.5]]
    """
    residual = np.asarray(residuals, dtype=np.float64)
    together = (base * np.exp(residual)).sum(axis=-1, keepdims=True) / base.sum()
    return np.asarray(residual - np.log(together), dtype=np.float64)


def residual_of(base: Floats, shares: Floats) -> Floats:
    """(g,) the residual of mean 0 that makes these shares of those of the base.

    Not finite where a share is not above 0.

    >>> base = np.array([0.5, 0.5])
    >>> corrected(base, residual_of(base, np.array([0.25, 0.75]))).round(2).tolist()
    [0.25, 0.75]
    """
    with np.errstate(all="ignore"):
        residual = np.log(shares / base)
        return np.asarray(residual - residual.mean(), dtype=np.float64)
