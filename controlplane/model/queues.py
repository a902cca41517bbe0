"""Formulas of a station: parallel servers with one queue (M/G/c), as functions of real numbers.

The mean time in the queue is Sakasegawa's approximation (H. Sakasegawa, "An approximation formula
L_q = alpha rho^beta / (1 - rho)", Annals of the Institute of Statistical Mathematics 29, 1977),
scaled for variability as by Allen and Cunneen (A. O. Allen, "Probability, Statistics, and Queueing
Theory", 2nd edition, 1990): with m servers, utilisation rho, service time S and
V = (scv of the gaps between arrivals + scv of service) / 2,

    W_q = V S Q,   Q = rho^(sqrt(2 (m + 1)) - 1) / (m (1 - rho)).

It is exact for m = 1 and takes any real m, which Erlang's formula does not. Both inverses that
the estimate and the split need have no closed form; they are looked up in tables that are
computed once, so that a hundred thousand endpoints take milliseconds.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from controlplane.model.observation import Floats

SERVERS = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of parallel servers that the estimate of an endpoint weighs against each other."""

_IN_FLIGHT_FROM, _IN_FLIGHT_TO, _IN_FLIGHT_STEP = float(np.log(1e-2)), float(np.log(1e5)), 0.05
_MARGIN_FROM, _MARGIN_TO, _MARGIN_STEP = -24.0, 14.0, 0.1
_ROWS_PER_OCTAVE, _OCTAVES = 2, 14


def queueing(rho: Floats, servers: Floats | float) -> Floats:
    """Q: mean wait in the queue over the service time, for exponential gaps and service.

    >>> float(queueing(np.array([0.5]), 1)[0])
    1.0
    """
    beta = np.sqrt(2.0 * (np.asarray(servers) + 1.0)) - 1.0
    return np.asarray(rho**beta / (servers * (1.0 - rho)), dtype=np.float64)


def marginal(rho: Floats, servers: Floats | float) -> Floats:
    """d(rho Q)/d rho: what one more unit of load costs all who queue, over the service time."""
    beta = np.sqrt(2.0 * (np.asarray(servers) + 1.0)) - 1.0
    # rho Q = rho^(beta+1) / (m (1-rho)), by the quotient rule.
    slope = rho**beta * ((beta + 1.0) * (1.0 - rho) + rho) / (servers * (1.0 - rho) ** 2)
    return np.asarray(slope, dtype=np.float64)


def utilisation_of(in_flight: Floats) -> tuple[Floats, Floats]:
    """(k, n) log utilisation at a mean number in flight, and its elasticity, for each of SERVERS.

    A station with m servers that holds L requests is busy to the rho that solves
    L = m rho (1 + Q): about L/m while it is quiet, 1 when it is swamped. The elasticity
    d log rho / d log L goes from 1 to 0 on the way.
    """
    table = _log_utilisation()
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.log(in_flight)
    inside = np.clip(x, _IN_FLIGHT_FROM, _IN_FLIGHT_TO - 2 * _IN_FLIGHT_STEP)
    at = np.nan_to_num((inside - _IN_FLIGHT_FROM) / _IN_FLIGHT_STEP)
    i = at.astype(np.intp)
    low, high = table[:, i], table[:, i + 1]
    rho = low + (high - low) * (at - i) + np.minimum(x - _IN_FLIGHT_FROM, 0.0)
    return rho, (high - low) / _IN_FLIGHT_STEP


class Loads:
    """Stations of so many servers each, to be asked for their load at many margins."""

    def __init__(self, servers: Floats) -> None:
        table = _load()
        row = np.log2(np.maximum(servers, 1.0)) * _ROWS_PER_OCTAVE
        row = np.minimum(row, table.shape[0] - 1.001)
        i = row.astype(np.intp)
        self._width, self._flat = table.shape[1], table.ravel()
        self._from = i * self._width
        self._far = row - i

    def at(self, margin: Floats) -> Floats:
        """The utilisation at which `marginal` is `margin`; 0 where the margin is not above 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            x = (np.log(margin) - _MARGIN_FROM) / _MARGIN_STEP
            x = np.fmin(np.fmax(x, 0.0), self._width - 1.001)
        j = x.astype(np.intp)
        v = x - j
        at = self._from + j
        flat = self._flat
        low, above = flat[at], flat[at + self._width]
        near = low + (flat[at + 1] - low) * v
        far = above + (flat[at + self._width + 1] - above) * v
        return np.where(margin > 0.0, near + (far - near) * self._far, 0.0)


def load_at(margin: Floats, servers: Floats) -> Floats:
    """`Loads` for a single question."""
    return Loads(servers).at(margin)


@cache
def _log_utilisation() -> NDArray[np.float64]:
    grid = np.arange(_IN_FLIGHT_FROM, _IN_FLIGHT_TO, _IN_FLIGHT_STEP)
    rho = _fine()
    rows = []
    for servers in SERVERS:
        in_flight = servers * rho * (1.0 + queueing(rho, servers))
        rows.append(np.interp(grid, np.log(in_flight), np.log(rho)))
    return np.stack(rows)


@cache
def _load() -> NDArray[np.float64]:
    grid = np.arange(_MARGIN_FROM, _MARGIN_TO, _MARGIN_STEP)
    rho = _fine()
    rows = []
    for half_octave in range(_ROWS_PER_OCTAVE * _OCTAVES + 1):
        servers = 2.0 ** (half_octave / _ROWS_PER_OCTAVE)
        with np.errstate(divide="ignore"):
            rows.append(np.interp(grid, np.log(marginal(rho, servers)), rho))
    return np.stack(rows)


def _fine() -> NDArray[np.float64]:
    """Utilisations, dense at both ends."""
    return np.concatenate(
        [np.geomspace(1e-12, 0.5, 2000), 1.0 - np.geomspace(0.4999, 1e-7, 2000)]
    ).astype(np.float64)
