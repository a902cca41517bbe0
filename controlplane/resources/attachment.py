"""Which policy is in force where.

Of two policies for one target the older is in force, then the first by name. The nearest policy of
a kind counts, as a whole: see `target`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, TypeVar, cast

from controlplane.resources.declared import KINDS, ROUTES, Declared
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.grpc_route import GrpcRoute
from controlplane.resources.kinds import Document, kind_of
from controlplane.resources.route import RequestRoute, Route, Rule
from controlplane.resources.service import Service
from controlplane.resources.service_backends import ServiceBackend
from controlplane.resources.target import Policy, Target, TargetRef
from controlplane.resources.topology import backends_of, resolved

P = TypeVar("P", bound=Policy)
T = TypeVar("T")


class Standing(Enum):
    """Of what a policy is for."""

    OPEN = "open"
    SHUT = "shut"


Winners = Mapping[Target, P]
"""The policy in force for each target."""


def target_of(policy: Policy, ref: TargetRef) -> Target:
    """What a reference of a policy means, whether it is there or not."""
    namespace = ref.other_namespace or policy.metadata.namespace
    return Target(ref.kind, f"{namespace}/{ref.name}", ref.section)


def found(declared: Declared, target: Target) -> Document | None:
    """The object that is meant; None where there is none."""
    return declared.all(KINDS[target.kind]).get(target.key)


def sections(target: Document) -> Iterator[str]:
    """The names of the parts that a policy may be for."""
    if isinstance(target, Gateway):
        yield from (one.name for one in target.spec.listeners)
    elif isinstance(target, Service):
        yield from (one.name for one in target.spec.ports if one.name)
    elif isinstance(target, (Route, GrpcRoute)):
        route = target if isinstance(target, Route) else target.requests
        yield from (name for name, _ in route.parts() if name)


def exists(declared: Declared, policy: Policy, target: Target) -> bool:
    """Whether a policy may be for it, and it is there."""
    if not target.key.startswith(f"{policy.metadata.namespace}/"):
        return False
    document = found(declared, target)
    return document is not None and target.section in (None, *sections(document))


def winners(declared: Declared, model: type[P]) -> Winners[P]:
    """The policies of a kind that are in force."""
    looked_at = (
        declared.names.get("Backend"),
        *declared.those(kind_of(model), *ROUTES, "Gateway", "Service"),
    )
    return cast("Winners[P]", declared.while_same(looked_at, _winners, model))


def _winners(declared: Declared, model: type[Policy]) -> Winners[Policy]:
    out: dict[Target, Policy] = {}
    for policy in sorted(declared.all(model).values(), key=lambda one: one.age_order):
        for ref in policy.spec.target_refs:
            target = target_of(policy, ref)
            if exists(declared, policy, target):
                out.setdefault(target, policy)
    return MappingProxyType(_with_ports(declared, out))


def _with_ports(declared: Declared, of: dict[Target, T]) -> dict[Target, T]:
    """The same with the Backends that the ports of Services are: the nearer, a port, first."""
    if any(target.kind == "Service" for target in of):
        for key, backend in declared.backends.items():
            if isinstance(backend, ServiceBackend):
                port = Target("Service", backend.service, backend.section or None)
                found = of.get(port) or of.get(Target("Service", backend.service))
                if found is not None:
                    of.setdefault(Target("Backend", key), found)
    return of


def shut(declared: Declared, model: type[P], of: Winners[P]) -> Mapping[Target, Standing]:
    """Where requests are refused, because a policy of this kind is for them that was never valid,
    and where they are not, because a valid one is; nothing where all are valid."""
    unkept = [one.targets for key, one in declared.unkept.items() if key.kind == kind_of(model)]
    refused = {target: Standing.SHUT for targets in unkept for target in targets}
    refused = _with_ports(declared, refused)
    return {**refused, **dict.fromkeys(of, Standing.OPEN)} if refused else {}


def of_listener(of: Mapping[Target, T], gateway: Gateway, listener: Listener) -> T | None:
    """The policy for what a listener does, or what is said of it."""
    near = of.get(Target("Gateway", gateway.key, listener.name))
    return near or of.get(Target("Gateway", gateway.key))


def of_rule(
    of: Mapping[Target, T], gateway: Gateway, listener: Listener, route: RequestRoute, rule: Rule
) -> T | None:
    """The policy for the requests of a rule that come in by a listener, or what is said of it."""
    kind, key = kind_of(type(route)), route.key
    near = of.get(Target(kind, key, rule.name)) if rule.name else None
    return near or of.get(Target(kind, key)) or of_listener(of, gateway, listener)


def of_backends(
    declared: Declared,
    of: Winners[P],
    routes: Iterable[Route],
    pairs: Mapping[str, Sequence[tuple[Listener, Route]]],
) -> dict[str, P]:
    """The policy for each Backend that has one.

    By Gateway, `pairs` are its listeners with the routes attached to them: Gateways stand for the
    Backends of these, and `routes` for their own, attached or not.
    """
    if not of:
        return {}
    reached = _Reached(declared, {Target(one.kind, one.key): one for one in routes}, pairs)
    out: dict[str, P] = {}
    for kinds, part in _NEAREST:
        level = [
            (policy, target)
            for target, policy in of.items()
            if target.kind in kinds and (target.section is not None) == part
        ]
        near: dict[str, P] = {}
        for policy, target in sorted(level, key=lambda one: (one[0].age_order, one[1])):
            for backend in reached.by(target):
                near.setdefault(backend, policy)
        out = {**near, **out}
    return out


_NEAREST = (
    (("Backend",), False),
    (ROUTES, True),
    (ROUTES, False),
    (("Gateway",), True),
    (("Gateway",), False),
)
"""Kinds of targets, and whether a part of one is meant."""


class _Reached(NamedTuple):
    """Which Backends a target stands for."""

    declared: Declared
    routes: Mapping[Target, Route]
    pairs: Mapping[str, Sequence[tuple[Listener, Route]]]

    def by(self, target: Target) -> Iterator[str]:
        """These Backends, some more than once."""
        if target.kind == "Backend":
            yield target.key
        elif target.kind == "Gateway":
            for listener, route in self.pairs.get(target.key, ()):
                if target.section in (None, listener.name):
                    yield from backends_of(self.declared, route)
        elif (route_ := self.routes.get(target._replace(section=None))) is not None:
            for name, refs in route_.parts():
                if target.section in (None, name):
                    yield from resolved(self.declared, route_, refs)
