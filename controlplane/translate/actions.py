"""What becomes of the requests of a rule: a cluster, weighted ones, a redirect, an answer.

Parts that are clusters are one route with weighted clusters. A part that is more (it leads nowhere,
redirects, changes the path or mirrors) cannot be one of those. Then each part has a route of its
own that takes its share by chance: Envoy holds one random number of a request against the bound of
each route in turn, so the bounds are sums, and the last part takes what is left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from betterproto2 import Message
from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    Route,
    RouteAction,
    RouteActionRequestMirrorPolicy,
    WeightedCluster,
    WeightedClusterClusterWeight,
)

from controlplane.resources.filters import BackendObjectRef, Filter
from controlplane.resources.gateway import Listener
from controlplane.resources.route import BackendRef, Rule
from controlplane.resources.route_filter import Condition
from controlplane.translate.clusters import UNRESOLVED
from controlplane.translate.cors import cors
from controlplane.translate.extensions import (
    condition_of,
    direct_response,
    direct_response_of,
    is_broken,
)
from controlplane.translate.headers import changes
from controlplane.translate.matches import chance
from controlplane.translate.paths import (
    host_change,
    path_change,
    redirect,
    redirect_of,
    rewrite,
    takes_away,
)
from controlplane.translate.wire import number, wire

MILLION = 1_000_000

Resolve = Callable[[BackendObjectRef], str | None]
"""The cluster of a reference: `UNRESOLVED` where its endpoints are not known yet, None where the
reference leads nowhere."""


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """Requests of a rule that are treated alike."""

    wire: bytes
    """The part of a Route that says how."""
    below: int | None = None
    """Those with a random number below this, of a million; None: all that are left."""
    apart: bool = False
    """The prefix of the match is taken away, see `matches`."""
    condition: Condition | None = None
    """Those alone that are so."""


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A backendRef of a weight above 0."""

    ref: BackendRef
    cluster: str | None

    @property
    def needs_a_route(self) -> bool:
        """Whether it is more than one of several weighted clusters can be."""
        return (
            self.cluster is None
            or redirect_of(self.ref.filters) is not None
            or path_change(self.ref.filters) is not None
            or any(one.request_mirror or one.extension_ref for one in self.ref.filters)
        )


def shares(rule: Rule, resolve: Resolve, listener: Listener, action: bytes) -> list[Share]:
    """What becomes of the requests of a rule, in the order in which Envoy has to ask.

    `action` is the part of a RouteAction for those that are sent on.
    """
    made = _Maker(rule, resolve, listener, action)
    by_condition: dict[Condition | None, list[_Part]] = {}
    for ref in rule.backend_refs:
        if ref.weight:
            part = _Part(ref, resolve(ref))
            by_condition.setdefault(condition_of(ref.filters), []).append(part)
    others = by_condition.pop(None, [])  # the last: a route without one takes every request
    chosen = [
        dataclasses.replace(share, condition=condition)
        for condition, parts in by_condition.items()
        for share in _shared(made, parts)
    ]
    return [*chosen, *_shared(made, others)]


def _shared(made: _Maker, parts: Sequence[_Part]) -> list[Share]:
    if any(part.needs_a_route for part in parts) and any(part.cluster for part in parts):
        return list(_by_chance(made, parts))
    return [made.share(parts, 0, MILLION)]


def refused() -> list[Share]:
    """All requests of a rule, where a policy for them cannot be kept."""
    return [Share(_direct(500, "the security policy of this route cannot be kept"))]


def misdirected() -> bytes:
    """The part of a Route for requests that came by the connection of another host."""
    return _direct(421, "this host is not served on this connection")


def _by_chance(made: _Maker, parts: Sequence[_Part]) -> Iterator[Share]:
    total, so_far, low = sum(part.ref.weight for part in parts), 0, 0
    for part in parts:
        so_far += part.ref.weight
        high = round(MILLION * so_far / total)
        if high > low:
            bound = None if high == MILLION else high
            yield dataclasses.replace(made.share([part], low, high), below=bound)
        low = high


@dataclass(frozen=True, slots=True, eq=False)
class _Maker:
    """Makes the shares of one rule."""

    rule: Rule
    resolve: Resolve
    listener: Listener
    action: bytes

    def share(self, parts: Sequence[_Part], low: int, high: int) -> Share:
        """These parts together, which have the requests from `low` to below `high`."""
        path = self.rule.matches[0].path  # where it counts there is one match
        filters = self.rule.filters + (parts[0].ref.filters if len(parts) == 1 else ())
        common = changes(Route, filters) + cors(Route, filters)
        if is_broken(self.rule.filters, filters):
            return Share(common + _direct(self.rule.nowhere))
        if (local := direct_response_of(self.rule.filters)) is not None:
            return Share(common + direct_response(local))
        clusters = {part.cluster for part in parts}
        answer = redirect_of(filters)
        if clusters <= {None} and redirect_of(self.rule.filters) is None:
            return Share(common + _direct(self.rule.nowhere))
        if answer is not None:
            made = redirect(answer, path, self.listener)
            return Share(common + made, apart=takes_away(answer.path, path))
        if clusters == {UNRESOLVED}:
            return Share(common + _direct(503))
        rest = self._mirrors(filters, low, high) + self.action
        modifier = path_change(filters)
        rest += rewrite(modifier, path)
        if len(parts) > 1 and any(part.ref.filters for part in parts):
            action = _clusters(parts, self.rule.filters) + rest
            return Share(wire(Route, route=action), apart=takes_away(modifier, path))
        action = _clusters(parts) + _host(RouteAction, filters) + rest
        return Share(common + wire(Route, route=action), apart=takes_away(modifier, path))

    def _mirrors(self, filters: Sequence[Filter], low: int, high: int) -> bytes:
        """The number that chose the part chooses what is mirrored too: a part of its range."""
        policies = []
        for one in filters:
            mirror = one.request_mirror
            cluster = self.resolve(mirror.backend_ref) if mirror else None
            if mirror is None or cluster in (None, UNRESOLVED) or not mirror.share:
                continue
            policies.append(
                wire(
                    RouteActionRequestMirrorPolicy,
                    cluster=cluster or "",
                    runtime_fraction=chance(low + round(mirror.share * (high - low))),
                    disable_shadow_host_suffix_append=True,
                )
            )
        return wire(RouteAction, request_mirror_policies=policies)


def _host(kind: type[Message], filters: Sequence[Filter]) -> bytes:
    name = host_change(filters)
    return wire(kind, host_rewrite_literal=name) if name else b""


def _clusters(parts: Sequence[_Part], before: tuple[Filter, ...] | None = None) -> bytes:
    """The part of a RouteAction that says where requests go.

    With `before`, the filters of the rule, each cluster does what these and its own filters say:
    Envoy would let those of the route win.
    """
    weights: dict[tuple[str, tuple[Filter, ...]], int] = {}
    for part in parts:
        place = (part.cluster or UNRESOLVED, () if before is None else before + part.ref.filters)
        weights[place] = weights.get(place, 0) + part.ref.weight
    if len(weights) == 1 and before is None:
        return wire(RouteAction, cluster=next(iter(weights))[0])
    weighted = [
        wire(WeightedClusterClusterWeight, name=name, weight=number(weight)) + _of_cluster(filters)
        for (name, filters), weight in weights.items()
    ]
    return wire(RouteAction, weighted_clusters=wire(WeightedCluster, clusters=weighted))


def _of_cluster(filters: Sequence[Filter]) -> bytes:
    kind = WeightedClusterClusterWeight
    return changes(kind, filters) + cors(kind, filters) + _host(kind, filters)


def _direct(status: int, why: str = "no backend of this route can be reached") -> bytes:
    body = wire(DataSource, inline_string=f"{why}\n")
    return wire(Route, direct_response=wire(DirectResponseAction, status=status, body=body))
