"""What is remembered of a decision to learn from it: a record, and how files of them are laid out.

A file is lines of JSON: a `Head`, records in the order of time, and, where it was closed, an `End`
that tells how many there are and their checksum. What a decision led to is in the next record of
its service: `outcome` is of the look that a decision was made on. Who writes and who reads both
have these values; neither knows the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.model.features import FEATURES, features_of
from controlplane.model.observation import Floats, Observation
from controlplane.model.residual import BASE, residual_of
from controlplane.model.weights import Explored, Proposal, Situation, Verdict

FORMAT = "weir.decisions"
VERSION = 1
PREFIX = "decisions-"
"""What names of files begin with; the time follows, so that they sort by it."""
CLOSED, OPEN = ".jsonl", ".jsonl.open"
"""What names of files end with: complete ones, and those that are, or were, being written."""
END = b'{"end":'
"""What the last line of a closed file begins with, and no other line."""
MOST_GROUPS = 64
"""A service with more is not logged."""
MOST_LINE = 2**20
"""Bytes of a line; a record of `MOST_GROUPS` has a twentieth of it."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first line."""

    format: str = FORMAT
    version: int = VERSION
    features: tuple[str, ...] = FEATURES
    """The columns of the tables, in order."""


@dataclass(frozen=True, slots=True)
class End:
    """The last line of a closed file."""

    end: int
    """Records before it."""
    crc32: int
    """Of all bytes before it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the requests of a service got in the window of a look."""

    window_s: float
    rate_rps: float | None
    """Requests that ended; None: not known."""
    error_ratio: float | None
    latency_s: float | None
    """Mean of the successes."""
    coverage: float | None
    """Part of the endpoints and Envoys that reported."""


@dataclass(frozen=True, slots=True)
class Record:
    """A decision about one service of g groups."""

    at: float
    """Wall clock, in seconds."""
    decided_s: float
    """The loop's monotonic clock."""
    seen_s: float | None
    """When the newest number that it knew was taken, on the same clock."""
    interval_s: float
    """How often the service is decided about."""
    service: str
    policy: str
    digest: str
    """Of the model that proposed; empty for a formula."""
    groups: tuple[str, ...]
    table: bytes
    """(g, features) as the policy saw it, float32, little-endian, group after group."""
    base: tuple[float, ...]
    """The shares of the base."""
    bound: float
    """Of residuals: log of a share over the base's, up to a constant."""
    mean: tuple[float, ...]
    """The residual of what was to act, without noise."""
    action: tuple[float, ...]
    """The residual that was drawn."""
    deviation: float
    """Of the noise; 0: nothing was explored."""
    log_density: float | None
    """Of the action; None where nothing was explored."""
    proposed: tuple[float, ...]
    """The shares that the guard was asked for."""
    in_force: tuple[float, ...]
    """Those that it let through."""
    passed: bool
    """Whether these are those that it was asked for."""
    reasons: tuple[str, ...]
    """Codes of the guard and the decider, such as `stepped`, `held`, `frozen`."""
    outcome: Outcome
    """Of what was in force before: the window that ended at `seen_s`."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """The same as the loop has it."""

    at: float
    decided_s: float
    situation: Situation
    acts: Proposal
    """What the guard was asked for."""
    explored: Explored | None
    verdict: Verdict


def explorable(situation: Situation) -> bool:
    """Whether a learned policy can act: two groups or more carry the weights."""
    return situation.grouping.by_locality and 1 < len(situation.grouping.names) <= MOST_GROUPS


def base_of(proposal: Proposal) -> Floats | None:
    """(g,) the shares that a residual is on; None where the policy is no such base, nor has one."""
    if proposal.base is not None:
        return proposal.base
    return proposal.shares if proposal.policy == BASE else None


def records_of(decisions: Sequence[Decision]) -> list[Record]:
    """Those of them that something can be learned from, in order."""
    bases = [_base(one) for one in decisions]
    kept = [
        (one, base)
        for one, base in zip(decisions, bases, strict=True)
        if base is not None and explorable(one.situation)
    ]
    seen = features_of([one.situation for one, _ in kept], [base for _, base in kept])
    records = []
    for (one, base), table, count in zip(kept, seen.table, seen.counts.tolist(), strict=True):
        residual = residual_of(base, one.acts.shares)
        if one.explored is not None or np.isfinite(residual).all():
            records.append(_record(one, base, residual, table[:count]))
    return records


def outcome_of(look: Observation) -> Outcome:
    """What a look tells of its service as a whole."""
    ended, failed = float(np.nansum(look.rate_rps)), float(np.nansum(look.failed))
    known = bool(np.isfinite(look.rate_rps).any())
    samples = np.where(np.isfinite(look.latency_s), np.nan_to_num(look.latency_samples), 0.0)
    many = float(samples.sum())
    total_s = float((np.nan_to_num(look.latency_s) * samples).sum())
    return Outcome(
        window_s=look.window_s,
        rate_rps=ended if known else None,
        error_ratio=failed / (ended * look.window_s) if known and ended > 0.0 else None,
        latency_s=total_s / many if many > 0.0 else None,
        coverage=look.coverage if math.isfinite(look.coverage) else None,
    )


def _base(one: Decision) -> Floats | None:
    return one.explored.base if one.explored is not None else base_of(one.acts)


def _record(one: Decision, base: Floats, residual: Floats, table: NDArray[np.float32]) -> Record:
    look, explored, shares = one.situation.observation, one.explored, one.verdict.shares
    proposed = one.acts.shares
    return Record(
        at=one.at,
        decided_s=one.decided_s,
        seen_s=look.at_s if math.isfinite(look.at_s) else None,
        interval_s=one.situation.service.interval_s,
        service=one.situation.service.name,
        policy=one.acts.policy,
        digest=one.acts.digest,
        groups=one.situation.grouping.names,
        table=np.ascontiguousarray(table, "<f4").tobytes(),
        base=_told(base),
        bound=one.acts.bound,
        mean=_told(residual if explored is None else explored.mean),
        action=_told(residual if explored is None else explored.drawn),
        deviation=0.0 if explored is None else explored.deviation,
        log_density=None if explored is None else explored.log_density,
        proposed=_told(proposed),
        in_force=_told(shares),
        passed=shares.shape == proposed.shape and bool(np.allclose(shares, proposed, atol=1e-6)),
        reasons=tuple(str(reason.code) for reason in one.verdict.reasons),
        outcome=outcome_of(look),
    )


def _told(values: Floats) -> tuple[float, ...]:
    return tuple(values.tolist())
