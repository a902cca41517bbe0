"""Which clusters the requests of a rule are spread over: of Backends, classes and fallbacks.

One place says it, so that the routes of a Gateway and its clusters agree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from controlplane.resources.declared import Declared
from controlplane.resources.filters import BackendObjectRef
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.route import BackendRef, RequestRoute, Route, Rule
from controlplane.resources.topology import resolve_backend, resolved
from controlplane.translate.actions import Resolve
from controlplane.translate.classes import Kind, kinds
from controlplane.translate.clusters import UNRESOLVED
from controlplane.translate.failover import chain
from controlplane.translate.policies import Policies, RulePolicies

Pair = tuple[Listener, RequestRoute]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What the tables of a Gateway are made from, beside its routes."""

    declared: Declared
    gateway: Gateway
    policies: Policies
    known: Collection[str]
    """The clusters whose endpoints are known."""


def target(scene: Scene, route: Route, ref: BackendObjectRef) -> str | None:
    """The cluster that a reference means; `UNRESOLVED` where its endpoints are not known yet."""
    key = resolve_backend(scene.declared, route, ref)
    if not isinstance(key, str):
        return None
    return key if key in scene.known else UNRESOLVED


def is_fallback(scene: Scene, route: RequestRoute, ref: BackendObjectRef) -> bool:
    """Whether the Backend that is meant stands in for others."""
    key = resolve_backend(scene.declared, route, ref)
    return isinstance(key, str) and scene.declared.backends[key].spec.fallback


def has_places(scene: Scene, route: RequestRoute, ref: BackendObjectRef) -> bool:
    """Whether the endpoints of the Backend that is meant have priorities."""
    return resolve_backend(scene.declared, route, ref) in scene.policies.by_place


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """The Backends of a rule. Where all of them are fallbacks, none is."""

    scene: Scene
    route: RequestRoute
    rule: Rule
    """With the references alone that share the requests."""
    spare: tuple[str, ...] = ()
    """The Backends that get what these cannot take, in order."""

    @property
    def fails_over(self) -> bool:
        """Whether a request that failed may be tried again at another Backend, or another place."""
        return bool(self.spare) or any(
            has_places(self.scene, self.route, ref) for ref in self.rule.backend_refs
        )

    @classmethod
    def of(cls, scene: Scene, route: RequestRoute, rule: Rule) -> Spread:
        """Those of a rule of a route."""
        mine = [ref for ref in rule.backend_refs if ref.weight]
        spare = [ref for ref in mine if is_fallback(scene, route, ref)]
        if not spare or len(spare) == len(mine):
            return cls(scene, route, rule)
        main = tuple(ref for ref in rule.backend_refs if ref not in spare)
        found = (target(scene, route, ref) for ref in spare)
        names = dict.fromkeys(one for one in found if one not in (None, UNRESOLVED))
        return cls(
            scene,
            route,
            rule.model_copy(update={"backend_refs": main}),
            tuple(one for one in names if one is not None),
        )

    def resolve(self, kind: Kind) -> Resolve:
        """The cluster of a reference, for requests of this kind. Copies have no fallback."""

        def found(ref: BackendObjectRef) -> str | None:
            members = self._members(ref, kind)
            return chain(members) if members else None

        return found

    def chains(self, kind: Kind) -> Iterator[tuple[str, ...]]:
        """The clusters that are several, one after another."""
        for ref in self.rule.backend_refs:
            members = self._members(ref, kind)
            if len(members) > 1 and ref.weight:
                yield members

    def _members(self, ref: BackendObjectRef, kind: Kind) -> tuple[str, ...]:
        name = target(self.scene, self.route, ref)
        if name is None:
            return ()
        spare = self.spare if isinstance(ref, BackendRef) else ()
        if name == UNRESOLVED:
            return tuple(map(kind.cluster, spare)) or (UNRESOLVED,)
        return tuple(map(kind.cluster, dict.fromkeys((name, *spare))))


@dataclass(frozen=True, slots=True, eq=False)
class Reached:
    """The clusters that routes need."""

    backends: frozenset[str] = frozenset()
    """Those whose endpoints are known."""
    waiting: bool = False
    """Whether some endpoints are not known yet."""
    classed: frozenset[tuple[str, Kind]] = frozenset()
    """Backends, each with a class that has a cluster of its own."""
    chains: frozenset[tuple[str, ...]] = frozenset()
    """Clusters that stand in for one another."""
    closing: bool = False
    """Whether connections are sent where no endpoint is."""
    datagrams: frozenset[str] = frozenset()
    """Backends that datagrams go to."""

    @classmethod
    def all(cls, parts: Iterable[Reached]) -> Reached:
        """These together."""
        found = list(parts)
        return cls(
            frozenset().union(*(one.backends for one in found)),
            any(one.waiting for one in found),
            frozenset().union(*(one.classed for one in found)),
            frozenset().union(*(one.chains for one in found)),
            any(one.closing for one in found),
            frozenset().union(*(one.datagrams for one in found)),
        )


def reached(scene: Scene, route: RequestRoute, said: Sequence[RulePolicies]) -> Reached:
    """What a route reaches; `said` are the policies of each of its rules."""
    references = (ref for rule in route.spec.rules for ref in rule.references())
    targets = {target(scene, route, ref) for ref in references}
    classed: set[tuple[str, Kind]] = set()
    chains: set[tuple[str, ...]] = set()
    for rule, policies in zip(route.spec.rules, said, strict=True):
        spread = Spread.of(scene, route, rule)
        for kind in kinds(policies.traffic):
            chains.update(spread.chains(kind))
            if kind.apart:
                backends = resolved(scene.declared, route, rule.references())
                classed.update((one, kind) for one in backends if one in scene.known)
    known = frozenset(one for one in targets if one is not None and one != UNRESOLVED)
    return Reached(
        known,
        UNRESOLVED in targets,
        frozenset(classed),
        frozenset(chains),
    )
