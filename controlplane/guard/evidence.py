"""What the numbers say of each weight: errors, latency, and whether they can be true at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.guard.capacity import aligned
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
    succeeded, failed = aligned(look.succeeded, have, ids), aligned(look.failed, have, ids)
    latency_s, age_s = aligned(look.latency_s, have, ids), aligned(look.age_s, have, ids)
    impossible = _impossible(succeeded) | _impossible(failed) | _impossible(latency_s)
    usable = ~impossible & ~(age_s > old_s)
    ended = np.where(usable & (succeeded >= 0), succeeded, 0.0)
    broken = np.where(usable & (failed >= 0), failed, 0.0)
    total = ended + broken
    bad = impossible | ((broken >= FAILURES) & (broken >= BAD_RATIO * total))
    timed = np.where(usable & (latency_s >= 0), ended, 0.0)
    spent = grouping.total(np.where(timed > 0, latency_s * timed, 0.0))
    known = (
        grouping.total(((usable & ~np.isnan(succeeded + failed)) | (timed > 0)).astype(np.float64))
        > 0
    )
    timed_g, broken_g, total_g = (
        grouping.total(timed),
        grouping.total(broken),
        grouping.total(total),
    )
    error_ratio = broken_g / np.maximum(total_g, 1e-12)
    sum_broken, sum_total = float(broken_g.sum()), float(total_g.sum())
    sum_spent, sum_timed = float(spent.sum()), float(timed_g.sum())
    # Against the others, each compared by cross-multiplying: no division by what may be 0.
    failing = (
        (broken_g >= FAILURES)
        & (error_ratio >= FAILING_RATIO)
        & (broken_g * (sum_total - total_g) > FAR * (sum_broken - broken_g) * total_g)
    )
    slow = (timed_g >= SAMPLES) & (
        spent * (sum_timed - timed_g) > FAR * (sum_spent - spent) * timed_g
    )
    window_s = look.window_s if look.window_s > 0 else np.inf
    return Evidence(
        known=known,
        failing=failing,
        sick=failing | slow,
        error_ratio=error_ratio,
        bad=int(np.count_nonzero(bad)),
        rate_rps=sum_total / window_s,
    )


def _impossible(values: Floats) -> Bools:
    """NaN is "not known" and possible; a negative or infinite number is a lie."""
    lies: Bools = (values < 0) | (values == np.inf)
    return lies
