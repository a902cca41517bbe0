"""One check, in the order of the ten points. Read docs/guard.md beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from controlplane.guard import black_hole, crowd
from controlplane.guard.bounds import bounded, feasible, limits, project
from controlplane.guard.capacity import Able, believed
from controlplane.guard.carry import Standing, given_rps, stand
from controlplane.guard.encode import encode
from controlplane.guard.evidence import Evidence, has_news, weigh
from controlplane.guard.filling import fill
from controlplane.guard.hold import held, spaced
from controlplane.guard.memory import Freshness, Memory
from controlplane.guard.reasons import Code
from controlplane.guard.staleness import Rung, climb, decayed
from controlplane.guard.steps import step
from controlplane.guard.suspicion import suspicion
from controlplane.guard.validate import validate
from controlplane.guard.warmup import Ramp, ramp, warm_up
from controlplane.model import (
    Grouping,
    Proposal,
    Reason,
    Service,
    ServiceName,
    Situation,
    Verdict,
    Weights,
)
from controlplane.model.observation import Floats


def shares_in_force(
    service: Service, memory: Memory | None, grouping: Grouping, now_s: float
) -> Floats:
    """(g,) what is in force, seen on the groups that a policy is about to decide on."""
    here = stand(memory, service, grouping, now_s)
    if here.grouping is grouping or here.grouping.same_as(grouping):
        return here.shares
    each = here.shares[here.grouping.index] / here.grouping.sizes[here.grouping.index]
    share_of = dict(zip(here.grouping.endpoints, each.tolist(), strict=True))
    shares = grouping.total(np.array([share_of.get(one, 0.0) for one in grouping.endpoints]))
    total = float(shares.sum())
    return shares / total if total > 0 else shares


def check(
    situation: Situation,
    proposal: Proposal,
    memory: Memory | None,
    now_s: float,
    *,
    frozen: str | None = None,
) -> tuple[Verdict, Memory]:
    """What may be sent of a proposal, and what to remember for the next check.

    Pure. `memory` is None for a service that is new to this process and has no stored state.
    `frozen` is why a person stopped all changes, if one did.
    """
    service = situation.service
    if frozen is None and service.guard.frozen:
        frozen = "its declaration says frozen"
    look = situation.observation
    before = memory.freshness if memory is not None else Freshness(since_s=now_s)
    rung, freshness, late = climb(before, look, has_news(look), service, now_s)
    if memory is not None and rung is Rung.NORMAL:
        memory = replace(memory, given_rps=given_rps(memory, look))
    here = stand(
        memory,
        service,
        situation.grouping,
        now_s,
        still=frozen is not None,
        may_regroup=rung is Rung.NORMAL,
    )
    reasons = list(here.reasons)
    shares = here.shares
    if memory is None or not memory.announced:
        reasons.insert(0, _first(memory, here, service.name))
    if frozen is not None:
        reasons.append(Reason(Code.FROZEN, frozen))
    elif memory is not None and memory.announced and len(here.shares):
        evidence = weigh(look, here.grouping, service.guard.freeze_after_s)
        case = _Case(situation, here, memory, evidence, now_s)
        shares, why = _decide(case, proposal, rung, freshness, late)
        reasons += why
    return _conclude(service, here, memory, shares, freshness, reasons, now_s)


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """What the stages of one check look at."""

    situation: Situation
    here: Standing
    memory: Memory
    evidence: Evidence
    now_s: float


def _decide(
    case: _Case, proposal: Proposal, rung: Rung, freshness: Freshness, late: Reason | None
) -> tuple[Floats, list[Reason]]:
    """(g,) the shares after one step, and why they are not those proposed."""
    here, look, now_s = case.here, case.situation.observation, case.now_s
    settings = case.situation.service.guard
    reasons: list[Reason] = []
    target: Floats | None = None
    if rung is Rung.NORMAL:
        doubt = suspicion(case.evidence, look, len(here.baseline), settings)
        target, refused = validate(proposal, case.situation.grouping)
        reasons += _given(refused, doubt)
        if doubt is not None or here.grouping is not case.situation.grouping:
            same = here.grouping.same_as(case.situation.grouping)
            target = target if doubt is None and same else None
    else:
        reasons += _given(late)
        if rung is not Rung.FREEZE:
            even = here.grouping.total(here.baseline)
            target = decayed(here.shares, even, freshness, case.memory.pushed_s, now_s, settings)
    ramping = ramp(here.first_seen_s, case.memory.checked_s, now_s, here.grouping, settings)
    if target is None and ramping is None:
        return here.shares, reasons
    able, doubted = _able(case, rung), target is None
    target, why = _within(case, target, ramping, rung, able)
    reasons += why
    relief = None
    if not doubted:
        warming = ramping.warming if ramping is not None else None
        relief = crowd.relief(here.shares, able, case.evidence, warming, settings)
    after, why_steps = step(
        here.shares, target, settings, case.evidence.sick, here.grouping, relief
    )
    reasons += why_steps
    if here.forced:
        return after, reasons
    weights = case.memory.weights
    wait = spaced(case.memory.pushed_s, now_s, look, case.evidence, here.grouping, settings)
    small = held(here.shares, target, after, weights, here.grouping, settings)
    if small is None and wait is not None and np.abs(after - here.shares).max() > 0:
        small = wait
    if small is not None and rung is not Rung.BASELINE:  # which is to be reached, not approached
        return here.shares, [*reasons, small]
    return after, reasons


def _able(case: _Case, rung: Rung) -> Able:
    """What the service can do, and what is asked of it."""
    here, estimate = case.here, case.situation.estimate
    forecast_rps = estimate.forecast_rps
    known = math.isfinite(forecast_rps) and forecast_rps > 0
    load_rps = forecast_rps if known else case.evidence.rate_rps
    estimated = believed(here.grouping, estimate) if rung is Rung.NORMAL else None
    if estimated is None:
        return Able(here.baseline, None, load_rps, estimate)
    each = here.baseline if here.by_capacity else estimated / estimated.sum()
    return Able(each, here.grouping.total(estimated), load_rps, estimate)


def _within(
    case: _Case,
    wanted: Floats | None,
    ramping: Ramp | None,
    rung: Rung,
    able: Able,
) -> tuple[Floats, list[Reason]]:
    """(g,) the split nearest to the wanted one that all limits allow.

    Without a wanted one nothing moves but the ramps of new endpoints.
    """
    here, settings, grouping = case.here, case.situation.service.guard, case.here.grouping
    reasons: list[Reason] = []
    even = here.grouping.total(here.baseline)
    if wanted is None:
        assert ramping is not None
        low, high = limits(here.baseline, grouping, settings)
        low, high = np.minimum(low, here.shares), np.maximum(high, here.shares)
        ramped, why = warm_up(here.shares, ramping, even, grouping)
        return project(ramped, low, high, grouping.sizes.astype(np.float64)), [why]
    normal = rung is Rung.NORMAL
    by_capacity = grouping.total(able.each)
    low, hard = limits(able.each, grouping, settings)
    high = hard
    if normal:
        wanted, filled = fill(wanted, case.evidence.known, by_capacity, grouping)
        most, hole = black_hole.ceilings(wanted, here.shares, by_capacity, case.evidence, grouping)
        high = np.minimum(hard, most)
        crowded, crush = crowd.ceilings(
            np.minimum(wanted, high), able, case.evidence, grouping, settings
        )
        high = np.minimum(high, crowded)
        reasons += _given(filled, hole, crush)
    if ramping is not None:
        wanted, why = warm_up(wanted, ramping, by_capacity, grouping)
        high = np.where(ramping.warming, np.minimum(high, ramping.part * by_capacity), high)
        reasons.append(why)
    high = feasible(np.maximum(high, low), hard)
    within = project(wanted, low, high, grouping.sizes.astype(np.float64))
    reasons += _given(bounded(wanted, within, grouping))
    return within, reasons


def _conclude(
    service: Service,
    here: Standing,
    memory: Memory | None,
    shares: Floats,
    freshness: Freshness,
    reasons: Iterable[Reason],
    now_s: float,
) -> tuple[Verdict, Memory]:
    weights, changed = _encoded(here, memory, shares)
    verdict = Verdict(service, here.grouping, shares, weights, changed, tuple(reasons))
    after = Memory(
        grouping=here.grouping,
        shares=shares,
        weights=weights,
        freshness=freshness,
        declared=service.endpoints,
        baseline=here.baseline,
        by_capacity=here.by_capacity,
        first_seen_s=here.first_seen_s,
        pushed_s=now_s if changed or memory is None else memory.pushed_s,
        regrouped_s=now_s if here.regrouped else memory.regrouped_s if memory else -math.inf,
        checked_s=now_s,
        given_rps=_given_now(here, memory),
        announced=True,
    )
    return verdict, after


def _given_now(here: Standing, memory: Memory | None) -> Floats | None:
    """What endpoints are given is remembered while they are the same, in the same order."""
    same = memory is not None and memory.grouping.endpoints == here.grouping.endpoints
    return memory.given_rps if memory is not None and same else None


def _encoded(here: Standing, memory: Memory | None, shares: Floats) -> tuple[Weights, bool]:
    """The integers, and whether they or their groups differ from what is in force."""
    if memory is None:
        return encode(shares, here.grouping), True
    same = here.grouping is memory.grouping or here.grouping.same_as(memory.grouping)
    if same and (shares is memory.shares or np.array_equal(shares, memory.shares)):
        return memory.weights, not memory.announced
    weights = encode(shares, here.grouping)
    return weights, not (same and memory.announced and weights == memory.weights)


def _first(memory: Memory | None, here: Standing, name: ServiceName) -> Reason:
    if memory is None:
        what = "declared capacities" if here.by_capacity else "equal shares"
        return Reason(Code.STARTED, f"{name} is new here: it starts with {what}")
    return Reason(Code.RESUMED, f"{name} goes on with what was last in force")


def _given(*reasons: Reason | None) -> list[Reason]:
    return [reason for reason in reasons if reason is not None]
