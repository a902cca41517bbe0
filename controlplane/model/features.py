"""What a learned policy sees: the groups of a service as a table of numbers about 1 in size.

Pure, numpy only, and the same in training and in serving. All but the last block is relative to
the service, so that one policy fits services of any size, speed and load. NaN never leaves here:
what is unknown is 0, "like the others", and `seen` says how much was known.

`FEATURES` names the columns in order; a released model names those that it was trained on, and is
refused when they differ. Logarithms are natural and cut off at 4 (a factor of 55).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.model.folding import Segments
from controlplane.model.observation import Floats
from controlplane.model.weights import Situation

CUT = 4.0
FEW = 0.2
"""Added to counts in flight before taking logarithms: an idle group is not infinitely idle."""

FEATURES = (
    # A group beside its service, in the window of the last look.
    "latency",  # log mean latency of successes
    "latency_p99",  # log 99th percentile, endpoints weighted by what was sampled
    "in_flight",  # log requests in flight per endpoint
    "in_flight_per_capacity",  # log requests in flight per capacity: time spent in each
    "throughput",  # log of the share of what ended over the share in force: lag and backlog
    "seen",  # part of the endpoints whose latency was seen in this look
    # A group beside its service, as believed over a longer time (`Estimate`).
    "utilisation",  # difference from the service's
    "capacity",  # log capacity per endpoint
    "capacity_share",  # log of its part of the capacity
    "latency_short",  # log latency, smoothed over 2 s
    "latency_middle",  # over 8 s
    "latency_long",  # over 30 s
    "latency_trend",  # short minus long, of the group alone: rising or falling
    "errors",  # error ratio, difference from the service's, times 5
    "deviation",  # standard deviation of its log capacity: how much it may be wrong
    "age",  # log(1 + seconds since it was last heard of)
    # What is in force and what the base wants.
    "base_over_capacity",  # log of the base's share over the capacity share
    "current_over_base",  # log of the share in force over the base's: the residual that acts
    "size",  # part of the endpoints
    # The service: the same number for all of its groups.
    "waiting",  # log mean latency over service time
    "load",  # demand over capacity
    "rise",  # log of the forecast over the demand
    "service_errors",  # error ratio, times 5
    "traffic_per_proxy",  # log requests per second that each proxy sees
    "sight",  # log requests in flight of each proxy at each endpoint
    "proxies",  # log
    "endpoints",  # log
    "groups",  # log
    "servers",  # log of how many requests an endpoint works on at once
    "variation",  # log(1 + squared coefficient of variation of the service time)
    "present",  # 1 for a group, 0 for padding
)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The tables of many services, padded to the one with the most groups."""

    table: NDArray[np.float32]
    """(services, most groups, features); all zero where there is no group."""
    counts: NDArray[np.intp]
    """(services,) groups of each."""

    def padded(self, rows: Sequence[Floats]) -> NDArray[np.float32]:
        """(services, most groups) one number for each group, 0 where there is none."""
        out = np.zeros(self.table.shape[:2], np.float32)
        for line, row in zip(out, rows, strict=True):
            line[: len(row)] = row
        return out


def features(situation: Situation, base_shares: Floats) -> NDArray[np.float32]:
    """(g, features) of one situation and what the base proposes for it."""
    table: NDArray[np.float32] = features_of([situation], [base_shares]).table[0]
    return table


def features_of(situations: Sequence[Situation], base_shares: Sequence[Floats]) -> Features:
    """The features of many situations, each with at least one group."""
    if not situations:
        return Features(np.zeros((0, 0, len(FEATURES)), np.float32), np.zeros(0, np.intp))
    counts = np.array([len(s.grouping.names) for s in situations], dtype=np.intp)
    groups = Segments.from_sizes(counts)
    with np.errstate(all="ignore"):
        columns = _columns(situations, np.concatenate(base_shares), groups)
    flat = np.stack([columns[name] for name in FEATURES], axis=1)
    flat = np.clip(np.nan_to_num(flat, nan=0.0, posinf=CUT, neginf=-CUT), -CUT, CUT)
    table = np.zeros((len(counts), int(counts.max()), len(FEATURES)), np.float32)
    table[groups.of, np.arange(len(flat)) - groups.starts[groups.of]] = flat
    return Features(table, counts)


def _columns(
    situations: Sequence[Situation], base_shares: Floats, groups: Segments
) -> dict[str, Floats]:
    """(all groups,) each feature, not yet cut."""
    index = np.concatenate(
        [s.grouping.index + at for s, at in zip(situations, groups.starts.tolist(), strict=True)]
    )
    count = len(groups.of)

    def total(per_endpoint: Floats) -> Floats:
        known = np.nan_to_num(per_endpoint, nan=0.0, posinf=0.0, neginf=0.0)
        return np.bincount(index, weights=known, minlength=count).astype(np.float64)

    def mean(per_endpoint: Floats, weight: Floats) -> Floats:
        known = np.isfinite(per_endpoint) & (weight > 0)
        return total(np.where(known, per_endpoint * weight, 0.0)) / total(
            np.where(known, weight, 0.0)
        )

    def spread(per_service: Floats) -> Floats:
        return per_service[groups.of]

    def beside(per_group: Floats, weight: Floats) -> Floats:
        """Minus the weighted mean over the service's groups."""
        known = np.isfinite(per_group)
        sums = groups.total(np.where(known, per_group * weight, 0.0))
        return per_group - spread(sums / groups.total(np.where(known, weight, 0.0)))

    see = _Seen(situations)
    size = total(np.ones(len(index)))
    capacity = total(see.capacity)
    capacity_share = capacity / spread(groups.total(capacity))
    by_size = size / spread(groups.total(size))
    capacity_share = np.where(np.isfinite(capacity_share), capacity_share, by_size)
    samples = total(see.samples)
    ended = total(see.rate)
    in_flight = total(see.in_flight)
    latency = mean(see.latency_s, see.samples)
    horizons = [mean(row, np.ones(len(row))) for row in see.log_latency]
    shares = np.concatenate([s.shares for s in situations])
    base = base_shares / spread(groups.total(base_shares))
    errors = mean(see.errors, np.ones(len(index)))
    latency_of_all = groups.total(np.nan_to_num(latency) * samples) / groups.total(samples)
    base_s = groups.total(total(see.capacity * see.base_s)) / groups.total(capacity)
    each = _Each(situations)
    endpoints = groups.total(size)
    demand = np.where(np.isfinite(each.demand), each.demand, groups.total(ended))
    columns = {
        "latency": np.log(latency / spread(latency_of_all)),
        "latency_p99": beside(mean(np.log(see.latency_p99_s), see.samples), samples),
        "in_flight": np.log(in_flight / size + FEW)
        - spread(np.log(groups.total(in_flight) / endpoints + FEW)),
        "in_flight_per_capacity": np.log((in_flight + FEW) / capacity_share)
        - spread(np.log(groups.total(in_flight) + FEW * groups.sizes)),
        "throughput": np.log((ended + FEW) / spread(groups.total(ended + FEW)) / shares),
        "seen": total(np.isfinite(see.latency_s).astype(np.float64)) / size,
        "utilisation": beside(mean(see.utilisation, see.capacity), capacity_share),
        "capacity": np.log(capacity_share / by_size),
        "capacity_share": np.log(capacity_share),
        "latency_short": beside(horizons[0], size),
        "latency_middle": beside(horizons[1], size),
        "latency_long": beside(horizons[2], size),
        "latency_trend": horizons[0] - horizons[2],
        "errors": 5.0 * beside(errors, size),
        "deviation": mean(see.deviation, np.ones(len(index))),
        "age": np.log1p(mean(see.age_s, np.ones(len(index)))),
        "base_over_capacity": np.log(base / capacity_share),
        "current_over_base": np.log(shares / base),
        "size": by_size,
    }
    service = {
        "waiting": np.log(latency_of_all / base_s),
        "load": demand / groups.total(capacity),
        "rise": np.log(each.forecast / demand),
        "service_errors": 5.0 * groups.mean(errors),
        "traffic_per_proxy": np.log(demand / each.proxies + FEW),
        "sight": np.log(groups.total(in_flight) / each.proxies / endpoints + 0.05),
        "proxies": np.log(each.proxies),
        "endpoints": np.log(endpoints),
        "groups": np.log(groups.sizes.astype(np.float64)),
        "servers": np.log(each.servers),
        "variation": np.log1p(each.scv),
        "present": np.ones(len(groups.sizes)),
    }
    return columns | {name: spread(values) for name, values in service.items()}


class _Seen:
    """(all endpoints,) what the looks and the estimates say."""

    def __init__(self, situations: Sequence[Situation]) -> None:
        looks = [s.observation for s in situations]
        beliefs = [s.estimate for s in situations]
        self.rate = np.concatenate([look.rate_rps for look in looks])
        self.in_flight = np.concatenate([look.in_flight for look in looks])
        self.latency_s = np.concatenate([look.latency_s for look in looks])
        self.latency_p99_s = np.concatenate([look.latency_p99_s for look in looks])
        self.samples = np.nan_to_num(np.concatenate([look.latency_samples for look in looks]))
        self.age_s = np.concatenate([look.age_s for look in looks])
        self.capacity = np.nan_to_num(np.concatenate([b.capacity_rps for b in beliefs]))
        self.base_s = np.concatenate([b.base_s for b in beliefs])
        self.utilisation = np.concatenate([b.utilisation for b in beliefs])
        self.log_latency = np.concatenate([b.log_latency for b in beliefs], axis=1)
        self.errors = np.concatenate([b.error_ratio for b in beliefs])
        self.deviation = np.concatenate([b.deviation for b in beliefs])


class _Each:
    """(services,) what is known of services as a whole."""

    def __init__(self, situations: Sequence[Situation]) -> None:
        beliefs = [s.estimate for s in situations]
        self.proxies = np.array([max(1, s.observation.proxies) for s in situations], np.float64)
        self.demand = np.array([b.demand_rps for b in beliefs])
        self.forecast = np.array([b.forecast_rps for b in beliefs])
        self.servers = np.array([b.typical_servers for b in beliefs])
        self.scv = np.array([b.scv for b in beliefs])
