"""Which endpoints share a weight. Decided rarely: Envoy recreates an endpoint that moves.

With actuation `groups` there are few coarse groups: as declared (`weir.dev/class`), or classes of
capacity. Each group is a synthetic locality in which Envoy's full scan chooses; so one group is
best where each proxy sees enough of the traffic to choose well alone, and several where many
proxies see little each. With `endpoints` each endpoint is a group of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controlplane.decide.classes import ALIKE, APART, classes
from controlplane.decide.declared import declared_classes
from controlplane.model import Actuation, EndpointId, Estimate, Grouping, Observation, Service
from controlplane.model.observation import Floats

SEEN_ENOUGH = 1.3
"""Requests in flight of one proxy at one endpoint from which full scan alone does as well."""
SEEN_LITTLE = 0.8
"""Below this there are several groups; in between it stays as it is."""
SETTLED = 0.15
"""Standard deviation of log capacity from which on a class is believed."""
STRETCHED = 1.25
"""Groups in force may be this much wider, and this much nearer, than new ones would be."""
CLEARLY = 0.8
"""New groups are wanted when they leave at most this part of the deviation of those in force."""
BUSY = 0.9
"""From this load on no endpoint gets a group of its own: an estimate a few percent off floods it,
while full scan, which needs no estimate, leaves it alone when it is slow."""
FLOODED = 2.0
"""So many requests in flight of one proxy at an endpoint are a queue: one group, at once."""
CONFIRM_S = 3.0
"""A new grouping has to be wanted for this long."""
REST_S = 15.0
"""At least this long between two changes of groups among the same endpoints."""


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """The grouping in force, and what may replace it."""

    grouping: Grouping
    since_s: float
    wanted: NDArray[np.intp] | None = None
    """(n,) another partition that is wanted, and since when."""
    wanted_since_s: float = np.inf
    one: bool = True
    """Whether proxies see enough for a single group, at the last look."""


def regroup(
    previous: Grouped | None,
    service: Service,
    endpoints: tuple[EndpointId, ...],
    estimate: Estimate,
    observation: Observation,
    now_s: float,
) -> Grouped:
    """The grouping to decide on. `endpoints` are the service's, in the order of `estimate`."""
    if not uses_groups(service):
        if previous is not None and _is_of(previous.grouping, endpoints):
            return previous
        return _kept(previous, _each_alone(endpoints), now_s)
    if not endpoints or service.policy == "equal":
        return _kept(previous, _together(endpoints), now_s)
    if previous is None or not previous.grouping.by_locality or not previous.grouping.endpoints:
        return _first(service, endpoints, estimate, observation, now_s)
    labels = declared_classes(service.endpoints)
    if labels is not None:
        return _by_label(previous, labels, endpoints, now_s)
    if previous.grouping.endpoints != endpoints:
        previous = _carried(previous, endpoints, estimate)
    return _reconsidered(previous, endpoints, estimate, observation, now_s)


def carried(grouping: Grouping, endpoints: tuple[EndpointId, ...], estimate: Estimate) -> Grouping:
    """The same groups for the endpoints of now, in the order of `estimate`."""
    if frozenset(grouping.endpoints) == frozenset(endpoints):
        return grouping
    if not grouping.by_locality:
        return _each_alone(endpoints)
    if not grouping.endpoints or not endpoints:
        return _together(endpoints)
    return _carried(Grouped(grouping, -np.inf), endpoints, estimate).grouping


def uses_groups(service: Service) -> bool:
    """`auto` means groups where the cluster is ours to set up for them."""
    if service.actuation is Actuation.AUTO:
        return not service.overlay
    return service.actuation is Actuation.GROUPS


def _is_of(grouping: Grouping, endpoints: tuple[EndpointId, ...]) -> bool:
    return not grouping.by_locality and grouping.endpoints == endpoints


def _kept(previous: Grouped | None, grouping: Grouping, now_s: float) -> Grouped:
    """The very same value where nothing changed: who compares finds it equal at once."""
    if previous is not None and previous.grouping.same_as(grouping):
        return previous
    return Grouped(grouping, now_s)


def _together(endpoints: tuple[EndpointId, ...]) -> Grouping:
    """One group: equal shares are best served by full scan over all."""
    index = np.zeros(len(endpoints), dtype=np.intp)
    return Grouping(endpoints, ("c1",) if endpoints else (), index)


def _each_alone(endpoints: tuple[EndpointId, ...]) -> Grouping:
    index = np.arange(len(endpoints), dtype=np.intp)
    return Grouping(endpoints, tuple(str(e) for e in endpoints), index, by_locality=False)


def _first(
    service: Service,
    endpoints: tuple[EndpointId, ...],
    estimate: Estimate,
    observation: Observation,
    now_s: float,
) -> Grouped:
    labels = declared_classes(service.endpoints)
    if labels is not None:
        return Grouped(_labelled(endpoints, labels), now_s)
    one = _one(observation, before=False)
    index = np.zeros(len(endpoints), dtype=np.intp)
    line = _line(estimate)
    if line is not None and not one:
        index = classes(line)
    # Nothing is in force that a better grouping could disturb, so it needs no rest.
    return Grouped(_numbered(endpoints, index, None), -np.inf, one=one)


def _labelled(endpoints: tuple[EndpointId, ...], labels: tuple[str, ...]) -> Grouping:
    names = sorted(set(labels))
    at = {name: i for i, name in enumerate(names)}
    index = np.array([at[label] for label in labels], dtype=np.intp)
    return Grouping(endpoints, tuple(name or "other" for name in names), index)


def _by_label(
    previous: Grouped, labels: tuple[str, ...], endpoints: tuple[EndpointId, ...], now_s: float
) -> Grouped:
    return _kept(previous, _labelled(endpoints, labels), now_s)


def _one(observation: Observation, before: bool) -> bool:
    """Whether a proxy has enough in flight at an endpoint to tell a slow one by itself."""
    # The middle one: endpoints that are flooded because nobody saw enough prove nothing.
    return _seen(observation) >= (SEEN_LITTLE if before else SEEN_ENOUGH)


def _seen(observation: Observation) -> float:
    """Requests in flight of a proxy at the middle one of the endpoints."""
    in_flight = observation.in_flight[np.isfinite(observation.in_flight)]
    return median(in_flight) / max(1, observation.proxies) if len(in_flight) else 0.0


def median(values: Floats) -> float:
    """As numpy's, in a tenth of its time for as few values as a service has endpoints."""
    ranked = np.sort(values)  # NaN comes last
    if not len(ranked) or np.isnan(ranked[-1]):
        return float("nan")
    middle = len(ranked) // 2
    return float(ranked[middle] if len(ranked) % 2 else 0.5 * (ranked[middle - 1] + ranked[middle]))


def _line(estimate: Estimate) -> Floats | None:
    """(n,) log capacities to group by, or None while they are not to be trusted."""
    capacity = estimate.capacity_rps
    complete = np.isfinite(capacity).all() and (capacity > 0).all()
    if complete and median(estimate.deviation) <= SETTLED:
        return np.log(capacity)
    declared = estimate.declared
    if np.isfinite(declared).any() and not np.isfinite(capacity).any():
        filled = np.where(np.isfinite(declared), declared, np.nanmean(declared))
        return np.log(filled)
    return None


def _carried(previous: Grouped, endpoints: tuple[EndpointId, ...], estimate: Estimate) -> Grouped:
    """The same groups for the endpoints of now; a new one joins those that are most like it."""
    old = previous.grouping
    at = dict(zip(old.endpoints, old.index.tolist(), strict=True))
    index = np.array([at.get(e, -1) for e in endpoints], dtype=np.intp)
    stayed = index >= 0
    if not stayed.any():
        index[:] = 0
    elif not stayed.all():
        line = np.nan_to_num(np.log(np.maximum(estimate.capacity_rps, 1e-12)))
        present = np.unique(index[stayed])
        means = np.array([line[index == g].mean() for g in present])
        for i in np.flatnonzero(~stayed):
            index[i] = present[np.abs(means - line[i]).argmin()]
    used, compact = np.unique(index, return_inverse=True)
    names = tuple(old.names[g] for g in used)
    grouping = Grouping(endpoints, names, compact.astype(np.intp))
    return replace(previous, grouping=grouping, wanted=None)


def _reconsidered(
    previous: Grouped,
    endpoints: tuple[EndpointId, ...],
    estimate: Estimate,
    observation: Observation,
    now_s: float,
) -> Grouped:
    """Replace the groups in force when others have been clearly better for long enough."""
    grouping = previous.grouping
    one = _one(observation, previous.one)
    line = None if one else _line(estimate)
    wanted: NDArray[np.intp] | None = None
    if one and len(grouping.names) > 1:
        wanted = np.zeros(len(endpoints), dtype=np.intp)
    elif line is not None and not _still_good(line, grouping):
        wanted = classes(line)
        better = _within(line, wanted) <= CLEARLY * _within(line, grouping.index)
        if not better or (_busy(estimate) and _leaves_one_alone(wanted, grouping)):
            wanted = None
    if wanted is None:
        if previous.wanted is None and one == previous.one:
            return previous
        return replace(previous, wanted=None, wanted_since_s=np.inf, one=one)
    since_s = previous.wanted_since_s
    if previous.wanted is None or not np.array_equal(previous.wanted, wanted):
        since_s = now_s
    # A flood is not waited out: full scan, which sees the queues, leaves them alone at once, and
    # shares go by steps. It is divided again after a rest only.
    at_once = one and _seen(observation) >= FLOODED
    if not at_once and (now_s - since_s < CONFIRM_S or now_s - previous.since_s < REST_S):
        return replace(previous, wanted=wanted, wanted_since_s=since_s, one=one)
    kept = _numbered(endpoints, wanted, grouping, observation.in_flight)
    return Grouped(kept, now_s, one=one)


def _still_good(line: Floats, grouping: Grouping) -> bool:
    """Whether each group is narrow and apart from the others, with some slack."""
    order = np.lexsort((line, grouping.index))
    sizes = grouping.sizes
    last = np.cumsum(sizes) - 1
    first = last - sizes + 1
    ranked = line[order]
    if float((ranked[last] - ranked[first]).max()) > ALIKE * STRETCHED:
        return False
    if len(sizes) == 1:
        return True
    means = np.sort(grouping.total(line) / sizes)
    return float(np.diff(means).min()) > APART / STRETCHED


def _busy(estimate: Estimate) -> bool:
    return bool(estimate.forecast_rps >= BUSY * float(estimate.capacity_rps.sum()))


def _leaves_one_alone(wanted: NDArray[np.intp], grouping: Grouping) -> bool:
    return int(np.bincount(wanted).min()) == 1 and int(grouping.sizes.min()) > 1


def _within(line: Floats, index: NDArray[np.intp]) -> float:
    """The squared deviation inside the groups, with a little for each group."""
    sizes = np.bincount(index)
    means = np.bincount(index, weights=line) / np.maximum(sizes, 1)
    return float(((line - means[index]) ** 2).sum() + len(sizes) * APART**2 / 2.0)


def _numbered(
    endpoints: tuple[EndpointId, ...],
    index: NDArray[np.intp],
    previous: Grouping | None,
    in_flight: Floats | None = None,
) -> Grouping:
    """Groups named c1, c2 and so on; one that keeps most of its endpoints keeps its name.

    Envoy forgets what an endpoint has in flight when it moves to a group of another name, and full
    scan then fills a queue for one that is empty: so those with most in flight stay where they are.
    """
    count = int(index.max()) + 1
    names = [""] * count
    if previous is not None and previous.endpoints == endpoints:
        overlap = np.zeros((count, len(previous.names)))
        there = 0.0 if in_flight is None else np.nan_to_num(in_flight)
        np.add.at(overlap, (index, previous.index), 1.0 + there)
        while overlap.size and overlap.max() > 0:
            new, old = np.unravel_index(int(overlap.argmax()), overlap.shape)
            names[new] = previous.names[old]
            overlap[new, :] = 0.0
            overlap[:, old] = 0.0
    free = (name for i in range(1, 2 * count + 1) if (name := f"c{i}") not in names)
    named = tuple(name or next(free) for name in names)
    return Grouping(endpoints, named, index)
