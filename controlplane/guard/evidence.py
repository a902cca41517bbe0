"""What the numbers say of each weight: errors, latency, and whether they can be true at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.guard.capacity import ABSURD, aligned
from controlplane.model import Grouping, Observation
from controlplane.model.observation import Floats

Bools = NDArray[np.bool_]

FAILURES = 3.0
"""Fewer failed requests than this in a window prove nothing."""
BAD_RATIO = 0.5
"""An endpoint that fails this part of its requests is bad, whatever its peers do."""
FAILING_RATIO = 0.1
"""A weight is failing when this part of its requests fail and it is FAR above its peers."""
FAR = 3.0
"""Errors or latency of this many times its peers' are far above them."""
SAMPLES = 5.0
"""Latency counts from this many successful requests."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """One look, summed over the endpoints of each weight."""

    known: Bools
    """(g,) whether there is a number about some endpoint of it."""
    failing: Bools
    """(g,) far more errors than its peers."""
    sick: Bools
    """(g,) failing, or far slower than its peers."""
    error_ratio: Floats
    """(g,) part of the requests that failed, 0 where none ended."""
    bad: int
    """Endpoints that fail most of their requests or report what cannot be."""
    rate_rps: float
    """Requests per second of the whole service; 0 where unknown."""


def has_news(look: Observation) -> bool:
    """Whether the look tells of any request that ended."""
    return bool((look.succeeded > 0).any() or (look.failed > 0).any())


def weigh(look: Observation, grouping: Grouping, old_s: float) -> Evidence:
    """Sum up a look. Numbers of an endpoint that are older than `old_s` count as missing."""
    ids, have = grouping.endpoints, look.endpoints
    rows = np.array([look.succeeded, look.failed, look.latency_s, look.age_s])
    if have is not ids and have != ids:
        rows = np.array([aligned(row, have, ids) for row in rows])
    aged = rows[3] > old_s
    usable = (rows >= 0) & (rows < ABSURD)  # NaN is not known; below 0 or endless is a lie
    lies = 0
    if not usable.all():
        lying = (~usable[:3] & ~np.isnan(rows[:3])).any(axis=0)
        usable[:3, lying] = False
        lies = int(np.count_nonzero(lying))
        rows = np.where(usable, rows, 0.0)
    if aged.any():
        usable[:3, aged] = False
        rows[:3, aged] = 0.0
    ended, broken, latency_s, _ = rows
    timed = ended * usable[2]
    known: Bools = usable[0] | usable[1] | usable[2]
    bad = np.count_nonzero((broken >= FAILURES) & (broken >= BAD_RATIO * (ended + broken)))
    failing, sick, error_ratio = _against_peers(
        grouping.total(ended), grouping.total(broken), grouping.total(timed),
        grouping.total(timed * latency_s),
    )  # fmt: skip
    window_s = look.window_s if look.window_s > 1e-3 else np.inf
    return Evidence(
        known=known if known.all() and len(known) == len(failing) else _any(known, grouping),
        failing=failing,
        sick=sick,
        error_ratio=error_ratio,
        bad=lies + int(bad),
        rate_rps=float(ended.sum() + broken.sum()) / window_s,
    )


def _against_peers(
    ended: Floats, broken: Floats, timed: Floats, spent_s: Floats
) -> tuple[Bools, Bools, Floats]:
    """(g,) who is failing, who is sick, and which part of the requests fails.

    Each against the sum of the others, by cross-multiplying: no division by what may be 0.
    """
    total = ended + broken
    slow = (timed >= SAMPLES) & (
        spent_s * (timed.sum() - timed) > FAR * (spent_s.sum() - spent_s) * timed
    )
    all_broken = float(broken.sum())
    if all_broken < FAILURES:
        return np.zeros(len(total), dtype=np.bool_), slow, broken / np.maximum(total, 1.0)
    error_ratio = broken / np.maximum(total, 1e-12)
    failing = (
        (broken >= FAILURES)
        & (error_ratio >= FAILING_RATIO)
        & (broken * (total.sum() - total) > FAR * (all_broken - broken) * total)
    )
    return failing, failing | slow, error_ratio


def _any(known: Bools, grouping: Grouping) -> Bools:
    """(g,) whether it is so for any endpoint of the group."""
    found: Bools = grouping.total(known.astype(np.float64)) > 0
    return found
