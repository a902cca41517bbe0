"""References that lead nowhere, and policies that stand in each other's way.

Envoy takes a route to a cluster that it does not know and answers 503, so a reference is looked at
before it is sent. A part of a rule that leads nowhere is answered 500, as the Gateway API has it,
and said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from controlplane.resources.attachment import (
    Target,
    exists,
    found,
    of_backends,
    sections,
    target_of,
    winners,
)
from controlplane.resources.balancing import BalancingPolicy
from controlplane.resources.declared import KINDS, MODELS, Declared, ObjectKey
from controlplane.resources.envoy_patch import EnvoyPatch
from controlplane.resources.filters import Filter
from controlplane.resources.gateway import Gateway
from controlplane.resources.kinds import kind_of
from controlplane.resources.policy_references import faults_of
from controlplane.resources.problems import Problem, did_you_mean, near_name
from controlplane.resources.route import HttpRoute, ParentRef
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.security_refs import found_by
from controlplane.resources.target import Policy
from controlplane.resources.tls_references import tls_references
from controlplane.resources.topology import (
    Unresolved,
    attached,
    listeners_for,
    of_others,
    resolve_backend,
    resolve_certificate,
    resolve_gateway,
)
from controlplane.resources.traffic_policy import TrafficPolicy

Fault = tuple[str, Unresolved]
"""A field of an object, and why what it says leads nowhere."""

_Found = tuple[Problem, str]
"""With what is not there, see `Unresolved.lacking`."""

_POLICIES = tuple(one for one in MODELS if issubclass(one, Policy))


def reference_problems(
    declared: Declared, refused: Mapping[str, Problem] | None = None
) -> list[Problem]:
    """Everything that is well written and leads nowhere.

    `refused` are documents that are not in force, by `Kind namespace/name`: who refers to one of
    them is told that, instead of names that are like it.
    """
    found = _reference_problems(declared)
    return [_with_cause(problem, lacking, refused or {}) for problem, lacking in found]


def _with_cause(problem: Problem, lacking: str, refused: Mapping[str, Problem]) -> Problem:
    cause = refused.get(lacking)
    if cause is None:
        return problem
    return replace(problem, advice=f"its document is refused: {cause.file}:{cause.line}")


def _reference_problems(declared: Declared) -> list[_Found]:
    return [
        *(p for route in declared.routes.values() for p in _of_route(declared, route)),
        *(p for gateway in declared.gateways.values() for p in _of_gateway(declared, gateway)),
        *(p for model in _POLICIES for p in _of_policies(declared, model)),
        *_of_sessions(declared),
        *(_problem(declared, key, field, fault) for key, field, fault in tls_references(declared)),
        *(p for one in declared.all(SecurityPolicy).values() for p in _of_security(declared, one)),
        *(p for patch in declared.all(EnvoyPatch).values() for p in _of_patch(declared, patch)),
    ]


def _problem(declared: Declared, key: ObjectKey, field: str, fault: Unresolved) -> _Found:
    source = declared.sources[key]
    line = source.lines.get(field, source.line)
    problem = Problem(source.file, line, field, fault.message, fault.advice, str(key))
    return problem, fault.lacking


def _of_route(declared: Declared, route: HttpRoute) -> Iterator[_Found]:
    key = ObjectKey("HTTPRoute", route.key)
    for field, fault in declared.once(route, route_faults):
        yield _problem(declared, key, field, fault)


def route_faults(declared: Declared, route: HttpRoute) -> tuple[Fault, ...]:
    """What of a route leads nowhere."""
    return tuple(_route_faults(declared, route))


def _route_faults(declared: Declared, route: HttpRoute) -> Iterator[Fault]:
    for at, parent in enumerate(route.spec.parent_refs):
        fault = parent_fault(declared, route, parent)
        if fault:
            yield f"spec.parentRefs[{at}]", fault
    for at, rule in enumerate(route.spec.rules):
        yield from _of_mirrors(declared, route, rule.filters, f"spec.rules[{at}]")
        for which, ref in enumerate(rule.backend_refs):
            field = f"spec.rules[{at}].backendRefs[{which}]"
            backend = resolve_backend(declared, route, ref)
            if isinstance(backend, Unresolved):
                message = f"{backend.message}; its part of the requests is answered 500"
                yield field, replace(backend, message=message)
            elif ref.filters and len(rule.backend_refs) > 1 and _stands_in(declared, backend):
                message = f"Backend {backend} is a fallback; filters of its backendRef do nothing"
                yield field, Unresolved(message, "put them into the rule")
            yield from _of_mirrors(declared, route, ref.filters, field)
        redirects = any(one.type == "RequestRedirect" for one in rule.filters)
        if not rule.backend_refs and not redirects:
            message = "there are no backendRefs; what matches is answered 500"
            yield f"spec.rules[{at}]", Unresolved(message)


def _stands_in(declared: Declared, backend: str) -> bool:
    return declared.backends[backend].spec.fallback


def _of_mirrors(
    declared: Declared, route: HttpRoute, filters: tuple[Filter, ...], where: str
) -> Iterator[Fault]:
    for at, one in enumerate(filters):
        if one.request_mirror is not None:
            backend = resolve_backend(declared, route, one.request_mirror.backend_ref)
            if isinstance(backend, Unresolved):
                message = f"{backend.message}; nothing is mirrored to it"
                yield f"{where}.filters[{at}]", replace(backend, message=message)


def parent_fault(declared: Declared, route: HttpRoute, ref: ParentRef) -> Unresolved | None:
    """Why a route is not attached where it wants to be."""
    gateway = resolve_gateway(declared, route, ref)
    if isinstance(gateway, Unresolved):
        return None if of_others(declared, route, ref) else gateway
    if listeners_for(gateway, route, ref):
        return None
    names = [listener.name for listener in gateway.spec.listeners]
    if ref.section_name is not None and ref.section_name not in names:
        message = f'Gateway {gateway.key} has no listener "{ref.section_name}"'
        return Unresolved(message, did_you_mean(ref.section_name, names), "NoMatchingParent")
    if route.metadata.namespace != gateway.metadata.namespace:
        return Unresolved(
            f"Gateway {gateway.key} lets in no routes of namespace {route.metadata.namespace}",
            "set allowedRoutes.namespaces.from: All on the listener",
            "NotAllowedByListeners",
        )
    named = any(
        ref.section_name in (None, one.name) and ref.port in (None, one.port)
        for one in gateway.spec.listeners
    )
    return Unresolved(
        f"no listener of Gateway {gateway.key} has this port and one of the route's hostnames",
        reason="NoMatchingListenerHostname" if named else "NoMatchingParent",
    )


def _of_gateway(declared: Declared, gateway: Gateway) -> Iterator[_Found]:
    key = ObjectKey("Gateway", gateway.key)
    for at, listener in enumerate(gateway.spec.listeners):
        for which, ref in enumerate(listener.tls.certificate_refs if listener.tls else ()):
            secret = resolve_certificate(declared, gateway, ref)
            if isinstance(secret, Unresolved):
                field = f"spec.listeners[{at}].tls.certificateRefs[{which}]"
                message = f"{secret.message}; the listener does without it"
                yield _problem(declared, key, field, replace(secret, message=message))


def patch_fault(declared: Declared, patch: EnvoyPatch) -> Unresolved | None:
    """Why a patch is for nobody."""
    key, gateways = patch.gateway, declared.gateways
    if key in gateways:
        return None
    message = f"there is no Gateway {key}; the patch does nothing"
    return Unresolved(message, near_name(key, gateways), "TargetNotFound", f"Gateway {key}")


def _of_patch(declared: Declared, patch: EnvoyPatch) -> Iterator[_Found]:
    fault = patch_fault(declared, patch)
    if fault is not None:
        yield _problem(declared, ObjectKey("EnvoyPatch", patch.key), "spec.targetRef", fault)


def policy_of(declared: Declared) -> Mapping[str, BalancingPolicy]:
    """The balancing policy in force for each Backend that has one; the nearest target wins."""
    of = winners(declared, BalancingPolicy)
    return of_backends(declared, of, declared.routes.values(), attached(declared))


def _of_security(declared: Declared, policy: SecurityPolicy) -> Iterator[_Found]:
    key = ObjectKey("SecurityPolicy", policy.key)
    for field, fault in found_by(declared, policy).faults:
        message = f"{fault.message}; requests that the policy is for are answered 500"
        yield _problem(declared, key, field, replace(fault, message=message))


def _of_policies(declared: Declared, model: type[Policy]) -> Iterator[_Found]:
    of = winners(declared, model)
    for policy in declared.all(model).values():
        key = ObjectKey(kind_of(model), policy.key)
        for at, ref in enumerate(policy.spec.target_refs):
            fault = target_fault(declared, of, policy, target_of(policy, ref))
            if fault is not None:
                field = f"spec.targetRefs[{at}]"
                yield _problem(declared, key, field, fault)
        for field, fault in faults_of(declared, policy):
            yield _problem(declared, key, field, fault)


def _of_sessions(declared: Declared) -> Iterator[_Found]:
    """Rules that a policy keeps no sessions for, though it is the policy of their route."""
    for target, policy in winners(declared, TrafficPolicy).items():
        route = declared.routes.get(target.key) if target.kind == "HTTPRoute" else None
        if route is None or policy.spec.session_persistence is None:
            continue
        key = ObjectKey("TrafficPolicy", policy.key)
        for at, rule in enumerate(route.spec.rules):
            if target.section in (None, rule.name) and not rule.one_backend:
                fault = Unresolved(
                    f"rule {at} of {route.key} has several Backends; it keeps no sessions",
                    "give the rule one Backend with all the endpoints",
                )
                yield _problem(declared, key, "spec.sessionPersistence", fault)


def target_fault(
    declared: Declared, of: Mapping[Target, Policy], policy: Policy, target: Target
) -> Unresolved | None:
    """Why a policy is not in force for what it names."""
    if not target.key.startswith(f"{policy.metadata.namespace}/"):
        return Unresolved(
            f"{target} is in another namespace than the policy",
            "declare the policy in the namespace of its target",
            "Invalid",
        )
    document = found(declared, target)
    if document is None:
        return Unresolved(
            f"there is no {target}; the policy does nothing for it",
            near_name(target.key, declared.all(KINDS[target.kind])),
            "TargetNotFound",
            f"{target.kind} {target.key}",
        )
    if not exists(declared, policy, target):
        return Unresolved(
            f"{target.kind} {target.key} has no section {target.section!r}; the policy does "
            "nothing for it",
            did_you_mean(target.section or "", sections(document)),
            "TargetNotFound",
        )
    winner = of[target]
    if winner is not policy:
        return Unresolved(
            f"{target} has the policy {winner.key} already, which is in force",
            "remove one of the two",
            "Conflicted",
        )
    return None
