"""What the guard promises of every check, worked out again in plain loops.

Nothing here calls the guard's arithmetic: limits, capacity shares and what is carried over are
computed a second time, slowly, so that a mistake would have to be made twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from controlplane.guard import Code, Memory
from controlplane.model import EndpointId, Grouping, Proposal, Service, Situation, Verdict

EPS = 1e-9
LATE = {Code.DECAYING, Code.BASELINE}
STILL = {Code.STALE, Code.RECOVERING, Code.MISSING, Code.SUSPECT, Code.COVERAGE, Code.REFUSED}
ORDINARY = {Code.STEPPED, Code.SICK, Code.RELIEVED, Code.HELD, Code.SPACED}


def promise(
    before: Memory | None,
    situation: Situation,
    proposal: Proposal,
    frozen: str | None,
    verdict: Verdict,
    after: Memory,
) -> None:
    """Fail with words when a promise is broken."""
    service, codes = situation.service, {Code(reason.code) for reason in verdict.reasons}
    ids = [endpoint.id for endpoint in service.endpoints]
    assert sorted(verdict.grouping.endpoints) == sorted(ids), "weights are of other endpoints"
    assert after.grouping is verdict.grouping
    assert after.weights is verdict.weights
    assert all(reason.text for reason in verdict.reasons), "a reason without words"
    whole_and_of_fixed_total(verdict)
    if before is None:
        assert verdict.changed
        assert Code.STARTED in codes
        return
    same_groups = verdict.grouping.same_as(before.grouping)
    same_endpoints = sorted(before.grouping.endpoints) == sorted(ids)
    if not before.announced:
        assert verdict.changed, "the first verdict is pushed"
        assert Code.RESUMED in codes
        assert not same_endpoints or (same_groups and verdict.weights == before.weights)
        return
    assert verdict.changed == (not same_groups or verdict.weights != before.weights)
    if frozen is not None or service.guard.frozen:
        assert Code.FROZEN in codes
        assert not same_endpoints or (same_groups and verdict.weights == before.weights)
        return
    if not ids:
        return
    start = dict(zip(verdict.grouping.names, before.shares.tolist(), strict=False))
    if not same_groups:
        assert codes & {Code.ENDPOINTS, Code.REGROUPED}, "groups changed without a reason"
        given = given_to_each(before, situation, codes)
        start = carried(before, verdict.grouping, service, given)
    within_a_step(start, situation, verdict, codes)
    within_bounds(start, situation, verdict, codes)
    with_a_reason(start, situation, proposal, verdict, codes)


def whole_and_of_fixed_total(verdict: Verdict) -> None:
    """Integers of 1 or more, a total that depends on the endpoints alone, true to the shares."""
    n, weights = len(verdict.grouping.endpoints), verdict.weights.by_group
    total = 10_000 * n
    assert sum(weights) == total
    assert all(isinstance(weight, int) and weight >= 1 for weight in weights)
    if n == 0:
        return
    shares = verdict.shares.tolist()
    assert abs(math.fsum(shares) - 1.0) <= EPS, f"shares sum to {math.fsum(shares)}"
    lifted = sum(share * total < 1 for share in shares)
    for share, weight in zip(shares, weights, strict=True):
        assert abs(weight - share * total) <= 1 + lifted, f"weight {weight} for share {share}"


def within_a_step(
    start: Mapping[str, float], situation: Situation, verdict: Verdict, codes: set[Code]
) -> None:
    """Within a step, or on the way back to the capacity shares where somebody is flooded."""
    settings = verdict.service.guard
    refuge, flooded = refuges(start, situation, verdict), Code.RELIEVED in codes
    assert not flooded or any(
        start[name] > settings.crowd_slack * part for name, part in refuge.items()
    ), "relieved, and nobody is far beyond its part of the capacity"
    for name, share in zip(verdict.grouping.names, verdict.shares.tolist(), strict=True):
        had = start[name]
        least = max(had * settings.step_down, had - settings.step_points)
        if Code.SICK in codes:
            least = min(least, had * settings.step_down_sick)
        most = min(had * settings.step_up, had + settings.step_points)
        if flooded:
            least = min(least, refuge[name]) if had > settings.crowd_slack * refuge[name] else least
            most = max(most, refuge[name]) if had < refuge[name] else most
        assert least - EPS <= share <= most + EPS, f"{name}: {had} -> {share} is too far a step"


def refuges(start: Mapping[str, float], situation: Situation, verdict: Verdict) -> dict[str, float]:
    """Each weight's part of what is believed that all can do, whatever is declared."""
    if not verdict.grouping.same_as(situation.grouping):
        return dict.fromkeys(start, math.inf)
    capacity = capacity_shares(situation, use_estimate=True, use_declared=False)
    found = dict.fromkeys(verdict.grouping.names, 0.0)
    for endpoint, group in zip(
        verdict.grouping.endpoints, verdict.grouping.index.tolist(), strict=True
    ):
        found[verdict.grouping.names[group]] += capacity[endpoint]
    return found


def within_bounds(
    start: Mapping[str, float], situation: Situation, verdict: Verdict, codes: set[Code]
) -> None:
    """Within the bounds, or no further out than before."""
    acted_on = verdict.grouping.same_as(situation.grouping) and not codes & (LATE | STILL)
    capacity = capacity_shares(situation, use_estimate=acted_on)
    settings, n = verdict.service.guard, len(capacity)
    least = dict.fromkeys(verdict.grouping.names, 0.0)
    most = dict.fromkeys(verdict.grouping.names, 0.0)
    for endpoint, group in zip(
        verdict.grouping.endpoints, verdict.grouping.index.tolist(), strict=True
    ):
        name, share = verdict.grouping.names[group], capacity[endpoint]
        top = settings.max_share if n > 2 else settings.max_share_of_two if n == 2 else 1.0
        least[name] += settings.min_ratio * share
        most[name] += min(settings.max_ratio * share, max(top, share))
    if n == 1:
        least = most = {verdict.grouping.names[0]: 1.0}
    for name, share in zip(verdict.grouping.names, verdict.shares.tolist(), strict=True):
        had = start[name]
        assert share >= min(least[name], had) - EPS, f"{name}: {share} under {least[name]}"
        assert share <= max(most[name], had) + EPS, f"{name}: {share} over {most[name]}"


def with_a_reason(
    start: Mapping[str, float],
    situation: Situation,
    proposal: Proposal,
    verdict: Verdict,
    codes: set[Code],
) -> None:
    """What is not as proposed has a reason; what is refused or doubted does not move."""
    shares = verdict.shares.tolist()
    had = [start[name] for name in verdict.grouping.names]
    moved = max(abs(share - old) for share, old in zip(shares, had, strict=True))
    if codes & STILL and not codes & (LATE | {Code.WARMING}):
        assert moved <= EPS, f"moved by {moved} in spite of {sorted(codes)}"
    asked = split(proposal, len(situation.grouping.names))
    if asked is None:
        assert codes & (STILL | LATE), "a proposal that is no split was not refused"
        return
    if not verdict.grouping.same_as(situation.grouping):
        assert codes & {Code.SPACED, Code.GROUPING} | codes & STILL | codes & LATE
        return
    off = max(abs(share - one) for share, one in zip(shares, asked, strict=True))
    assert off <= EPS or codes, f"not as proposed, by {off}, and no reason"
    if codes <= ORDINARY:
        for share, old, one in zip(shares, had, asked, strict=True):
            assert abs(share - old) <= abs(one - old) + EPS, "a larger step than was asked for"
            assert (share - old) * (one - old) >= -EPS, "a step the other way"


def split(proposal: Proposal, groups: int) -> list[float] | None:
    """What was asked for, summing to 1; None when it is no split of the traffic."""
    values = np.asarray(proposal.shares)
    if values.shape != (groups,) or groups == 0:
        return None
    asked = [float(value) for value in values]
    if any(math.isnan(one) or math.isinf(one) or one < 0 for one in asked) or not any(asked):
        return None
    largest = max(asked)
    total = math.fsum(one / largest for one in asked)
    return [one / largest / total for one in asked]


def capacity_shares(
    situation: Situation, *, use_estimate: bool, use_declared: bool = True
) -> dict[EndpointId, float]:
    declared = {endpoint.id: endpoint.capacity for endpoint in situation.service.endpoints}
    said = {name: one for name, one in declared.items() if one is not None and use_declared}
    estimate = situation.estimate
    if not said and use_estimate:
        guessed = dict(zip(estimate.endpoints, estimate.capacity_rps.tolist(), strict=True))
        said = {name: guessed[name] for name in declared if 1e-6 < guessed.get(name, 0) < 1e12}
        mean = math.fsum(said.values()) / len(said) if said else 1.0
        filled = {name: said.get(name, mean) for name in declared}
        mean = math.fsum(filled.values()) / len(filled)
        said = {name: min(max(value, mean / 10), mean * 10) for name, value in filled.items()}
    mean = math.fsum(said.values()) / len(said) if said else 1.0
    filled = {name: said.get(name, mean) for name in declared}
    total = math.fsum(filled.values())
    return {name: value / total for name, value in filled.items()}


def given_to_each(before: Memory, situation: Situation, codes: set[Code]) -> list[float] | None:
    """How Envoy itself divides what the groups in force get, in requests; None when not known.

    Folded once more by this look, unless its numbers are not good enough to be acted on.
    """
    look, known = situation.observation, before.given_rps
    old = None if known is None else known.tolist()
    late = {Code.STALE, Code.RECOVERING, Code.MISSING} | LATE
    if codes & late or look.endpoints != before.grouping.endpoints or not look.window_s > 0:
        return old
    rates = [one / look.window_s for one in look.succeeded.tolist()]
    if not all(0 <= rate < 1e9 for rate in rates):
        return old
    if old is None:
        return rates
    return [0.5 * (one + other) for one, other in zip(old, rates, strict=True)]


def carried(
    before: Memory, grouping: Grouping, service: Service, given: list[float] | None
) -> dict[str, float]:
    """What was in force, on the endpoints and groups of now."""
    had: dict[EndpointId, float] = {}
    sizes = [0] * len(before.grouping.names)
    for group in before.grouping.index.tolist():
        sizes[group] += 1
    means = [0.0] * len(sizes)
    for group, one in zip(before.grouping.index.tolist(), given or [], strict=False):
        means[group] += one / sizes[group]
    for i, (endpoint, group) in enumerate(
        zip(before.grouping.endpoints, before.grouping.index.tolist(), strict=True)
    ):
        part = 1.0
        if given is not None and before.grouping.by_locality and means[group] > 0:
            part = (given[i] / means[group] + 0.1) / 1.1
        had[endpoint] = float(before.shares[group]) / sizes[group] * part
    declared = {endpoint.id: endpoint.capacity for endpoint in service.endpoints}
    said = [value for value in declared.values() if value is not None]
    mean = math.fsum(said) / len(said) if said else 1.0
    capacity = {name: mean if value is None else value for name, value in declared.items()}
    total = math.fsum(capacity.values())
    stayed = math.fsum(had[name] for name in declared if name in had)
    each = {name: value / total for name, value in capacity.items()}
    if stayed > 0:
        entering = {name: each[name] * service.guard.min_ratio for name in each if name not in had}
        rest = 1.0 - math.fsum(entering.values())
        each = {name: entering.get(name, had.get(name, 0.0) * rest / stayed) for name in each}
    shares = dict.fromkeys(grouping.names, 0.0)
    for endpoint, group in zip(grouping.endpoints, grouping.index.tolist(), strict=True):
        shares[grouping.names[group]] += each[endpoint]
    return shares
