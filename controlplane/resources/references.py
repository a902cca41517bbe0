"""References that lead nowhere, and policies that stand in each other's way.

Envoy takes a route to a cluster that it does not know and answers 503, so a reference is looked at
before it is sent. A part of a rule that leads nowhere is answered 500, as the Gateway API has it,
and said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controlplane.resources.balancing import BalancingPolicy, TargetRef
from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.filters import Filter
from controlplane.resources.problems import Problem, did_you_mean, near_name
from controlplane.resources.route import HttpRoute, ParentRef
from controlplane.resources.topology import (
    Unresolved,
    backends_of,
    backends_under,
    listeners_for,
    resolve_backend,
    resolve_gateway,
)

_NEAREST = ("Backend", "HTTPRoute", "Gateway")


def reference_problems(declared: Declared) -> list[Problem]:
    """Everything that is well written and leads nowhere."""
    return [
        *(p for route in declared.routes.values() for p in _of_route(declared, route)),
        *_of_policies(declared),
    ]


def _problem(
    declared: Declared, key: ObjectKey, field: str, message: str, advice: str = ""
) -> Problem:
    source = declared.sources[key]
    line = source.lines.get(field, source.line)
    return Problem(source.file, line, field, message, advice, str(key))


def _of_route(declared: Declared, route: HttpRoute) -> Iterator[Problem]:
    key = ObjectKey("HTTPRoute", route.key)
    for at, parent in enumerate(route.spec.parent_refs):
        fault = _parent_fault(declared, route, parent)
        if fault:
            field = f"spec.parentRefs[{at}]"
            yield _problem(declared, key, field, fault.message, fault.advice)
    for at, rule in enumerate(route.spec.rules):
        yield from _of_mirrors(declared, route, rule.filters, f"spec.rules[{at}]")
        for which, ref in enumerate(rule.backend_refs):
            field = f"spec.rules[{at}].backendRefs[{which}]"
            backend = resolve_backend(declared, route, ref)
            if isinstance(backend, Unresolved):
                message = f"{backend.message}; its part of the requests is answered 500"
                yield _problem(declared, key, field, message, backend.advice)
            yield from _of_mirrors(declared, route, ref.filters, field)
        redirects = any(one.type == "RequestRedirect" for one in rule.filters)
        if not rule.backend_refs and not redirects:
            message = "there are no backendRefs; what matches is answered 500"
            yield _problem(declared, key, f"spec.rules[{at}]", message)


def _of_mirrors(
    declared: Declared, route: HttpRoute, filters: tuple[Filter, ...], where: str
) -> Iterator[Problem]:
    for at, one in enumerate(filters):
        if one.request_mirror is not None:
            backend = resolve_backend(declared, route, one.request_mirror.backend_ref)
            if isinstance(backend, Unresolved):
                key = ObjectKey("HTTPRoute", route.key)
                message = f"{backend.message}; nothing is mirrored to it"
                yield _problem(declared, key, f"{where}.filters[{at}]", message, backend.advice)


def _parent_fault(declared: Declared, route: HttpRoute, ref: ParentRef) -> Unresolved | None:
    gateway = resolve_gateway(declared, route, ref)
    if isinstance(gateway, Unresolved):
        return gateway
    if listeners_for(gateway, route, ref):
        return None
    names = [listener.name for listener in gateway.spec.listeners]
    if ref.section_name is not None and ref.section_name not in names:
        message = f'Gateway {gateway.key} has no listener "{ref.section_name}"'
        return Unresolved(message, did_you_mean(ref.section_name, names))
    if route.metadata.namespace != gateway.metadata.namespace:
        return Unresolved(
            f"Gateway {gateway.key} lets in no routes of namespace {route.metadata.namespace}",
            "set allowedRoutes.namespaces.from: All on the listener",
        )
    return Unresolved(
        f"no listener of Gateway {gateway.key} has this port and one of the route's hostnames"
    )


def targets(declared: Declared) -> Mapping[tuple[str, str], BalancingPolicy]:
    """The policy in force for each target: the oldest, then the first by name."""
    winners: dict[tuple[str, str], BalancingPolicy] = {}
    for policy in sorted(declared.policies.values(), key=lambda one: one.age_order):
        for ref in policy.spec.target_refs:
            if _target_exists(declared, policy, ref):
                winners.setdefault((ref.kind, _target_key(policy, ref)), policy)
    return winners


def policy_of(declared: Declared) -> Mapping[str, BalancingPolicy]:
    """The policy in force for each Backend that has one; the nearest target wins."""
    under: dict[str, Mapping[str, frozenset[str]]] = {
        "Backend": {key: frozenset({key}) for key in declared.backends},
        "HTTPRoute": {
            key: frozenset(backends_of(declared, route)) for key, route in declared.routes.items()
        },
        "Gateway": backends_under(declared),
    }
    found: dict[str, BalancingPolicy] = {}
    winners = targets(declared)
    for kind in _NEAREST:
        level: dict[str, BalancingPolicy] = {}
        of_kind = [(key, policy) for (one, key), policy in winners.items() if one == kind]
        for key, policy in sorted(of_kind, key=lambda pair: pair[1].age_order):
            for backend in under[kind].get(key, ()):
                level.setdefault(backend, policy)
        found = {**level, **found}
    return found


def _target_key(policy: BalancingPolicy, ref: TargetRef) -> str:
    return f"{ref.namespace or policy.metadata.namespace}/{ref.name}"


def _held(declared: Declared, kind: str) -> Mapping[str, object]:
    if kind == "Backend":
        return declared.backends
    return declared.routes if kind == "HTTPRoute" else declared.gateways


def _target_exists(declared: Declared, policy: BalancingPolicy, ref: TargetRef) -> bool:
    key = _target_key(policy, ref)
    return key in _held(declared, ref.kind) and key.startswith(f"{policy.metadata.namespace}/")


def _of_policies(declared: Declared) -> Iterator[Problem]:
    winners = targets(declared)
    for policy in declared.policies.values():
        key = ObjectKey("BalancingPolicy", policy.key)
        for at, ref in enumerate(policy.spec.target_refs):
            field = f"spec.targetRefs[{at}]"
            target = _target_key(policy, ref)
            if not _target_exists(declared, policy, ref):
                if not target.startswith(f"{policy.metadata.namespace}/"):
                    message = f"{ref.kind} {target} is in another namespace than the policy"
                    advice = "declare the policy in the namespace of its target"
                else:
                    message = f"there is no {ref.kind} {target}; the policy does nothing for it"
                    advice = near_name(target, _held(declared, ref.kind))
                yield _problem(declared, key, field, message, advice)
                continue
            winner = winners[ref.kind, target]
            if winner is not policy:
                yield _problem(
                    declared,
                    key,
                    field,
                    f"{ref.kind} {target} has the policy {winner.key} already, which is in force",
                    "remove one of the two",
                )
