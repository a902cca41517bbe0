"""References that lead nowhere, and policies that stand in each other's way.

Envoy takes a route to a cluster that it does not know and answers 503, so a reference is looked at
before it is sent. A part of a rule that leads nowhere is answered 500, as the Gateway API has it,
and said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from controlplane.resources.attachment import (
    exists,
    found,
    of_backends,
    sections,
    target_of,
    winners,
)
from controlplane.resources.backend_protocols import unasked
from controlplane.resources.balancing import BalancingPolicy
from controlplane.resources.declared import (
    BEHIND_BACKENDS,
    KINDS,
    MODELS,
    ROUTES,
    Declared,
    ObjectKey,
)
from controlplane.resources.envoy_patch import EnvoyPatch
from controlplane.resources.filters import Filter
from controlplane.resources.gateway import ROUTE_KINDS, Gateway
from controlplane.resources.kinds import GATEWAY_API_GROUP, kind_of
from controlplane.resources.policy_references import faults_of
from controlplane.resources.problems import Problem, did_you_mean, near_name
from controlplane.resources.route import ParentRef, RequestRoute, Route, Rule
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.security_refs import found_by
from controlplane.resources.stream_route import StreamRoute, UdpRoute
from controlplane.resources.target import Policy, Target
from controlplane.resources.tls_references import tls_references
from controlplane.resources.token_references import untold
from controlplane.resources.topology import (
    Unresolved,
    attachments,
    lets_in,
    listeners_for,
    meant,
    of_others,
    resolve_backend,
    resolve_certificate,
    resolve_filter,
    resolve_gateway,
)
from controlplane.resources.traffic_policy import TrafficPolicy

Fault = tuple[str, Unresolved]
"""A field of an object, and why what it says leads nowhere."""

_Found = tuple[ObjectKey, str, Unresolved]
"""A fault, and whose it is."""

_CONDITIONS = "payload, cel or jwt"
_POLICIES = tuple(one for one in MODELS if issubclass(one, Policy))
_LOOKED_AT = tuple(kind for kind in KINDS if kind not in ("Backend", *BEHIND_BACKENDS))
"""Of Backends it is their names, and what is told apart in `Declared.bonds`."""


def reference_problems(
    declared: Declared, refused: Mapping[str, Problem] | None = None
) -> list[Problem]:
    """Everything that is well written and leads nowhere.

    `refused` are documents that are not in force, by `Kind namespace/name`: who refers to one of
    them is told that, instead of names that are like it.
    """
    looked_at = (declared.bonds, *declared.those(*_LOOKED_AT))
    faults = declared.while_same(looked_at, _faults)
    return [_problem(declared, one, refused or {}) for one in faults]


def _problem(declared: Declared, found: _Found, refused: Mapping[str, Problem]) -> Problem:
    key, field, fault = found
    source, cause = declared.sources[key], refused.get(fault.lacking)
    line = source.lines.get(field, source.line)
    advice = (
        fault.advice if cause is None else f"its document is refused: {cause.file}:{cause.line}"
    )
    return Problem(source.file, line, field, fault.message, advice, str(key))


def _faults(declared: Declared) -> tuple[_Found, ...]:
    late = {id(one.route) for at in attachments(declared).values() for one in at.conflicts}
    return (
        *(
            fault
            for route in declared.every_route
            for fault in _of_route(declared, route, late=id(route) in late)
        ),
        *(one for gateway in declared.gateways.values() for one in _of_gateway(declared, gateway)),
        *(one for model in _POLICIES for one in _of_policies(declared, model)),
        *_of_sessions(declared),
        *tls_references(declared),
        *unasked(declared),
        *untold(declared),
        *(f for one in declared.all(SecurityPolicy).values() for f in _of_security(declared, one)),
        *(f for patch in declared.all(EnvoyPatch).values() for f in _of_patch(declared, patch)),
    )


def _of_route(declared: Declared, route: Route, *, late: bool) -> Iterator[_Found]:
    """`late`: an older route goes before it somewhere."""
    key = ObjectKey(route.kind, route.key)
    for field, fault in declared.once(route, route_faults):
        yield key, field, fault
    for at, ref in enumerate(route.spec.parent_refs if late else ()):
        for fault in conflicts(declared, route, ref):
            yield key, f"spec.parentRefs[{at}]", fault


def route_faults(declared: Declared, route: Route) -> tuple[Fault, ...]:
    """What of a route leads nowhere, whatever other routes there are."""
    return tuple(_route_faults(declared, route))


def _route_faults(declared: Declared, route: Route) -> Iterator[Fault]:
    for at, parent in enumerate(route.spec.parent_refs):
        fault = parent_fault(declared, route, parent)
        if fault:
            yield f"spec.parentRefs[{at}]", fault
    if isinstance(route, RequestRoute):
        for at, rule in enumerate(route.spec.rules):
            yield from _of_rule(declared, route, rule, f"spec.rules[{at}]")
    elif isinstance(route, StreamRoute):
        yield from _of_stream(declared, route)


def _of_rule(declared: Declared, route: RequestRoute, rule: Rule, where: str) -> Iterator[Fault]:
    yield from _of_mirrors(declared, route, rule.filters, where)
    yield from _of_extensions(declared, route, rule, where)
    for which, ref in enumerate(rule.backend_refs):
        field = f"{where}.backendRefs[{which}]"
        backend = resolve_backend(declared, route, ref)
        if isinstance(backend, Unresolved):
            message = f"{backend.message}; its part of the requests is answered {rule.nowhere}"
            yield field, replace(backend, message=message)
        elif ref.filters and len(rule.backend_refs) > 1 and _stands_in(declared, backend):
            message = f"Backend {backend} is a fallback; filters of its backendRef do nothing"
            yield field, Unresolved(message, "put them into the rule")
        yield from _of_mirrors(declared, route, ref.filters, field)
    answers = any(one.type in ("RequestRedirect", "ExtensionRef") for one in rule.filters)
    if not rule.backend_refs and not answers:
        message = f"there are no backendRefs; what matches is answered {rule.nowhere}"
        yield where, Unresolved(message, "give it backendRefs, a redirect or a directResponse")


def _of_extensions(
    declared: Declared, route: RequestRoute, rule: Rule, where: str
) -> Iterator[Fault]:
    """What `ExtensionRef`s of a rule lead nowhere, or stand where they mean nothing."""
    places = [(where, rule.filters, "directResponse")]
    for which, ref in enumerate(rule.backend_refs):
        places.append((f"{where}.backendRefs[{which}]", ref.filters, _CONDITIONS))
    for place, filters, wanted in places:
        for number, one in enumerate(filters):
            if one.extension_ref is None:
                continue
            found = resolve_filter(declared, route, one.extension_ref)
            if not isinstance(found, Unresolved) and (found.spec.condition is None) == (
                wanted != "directResponse"
            ):
                found = Unresolved(
                    f"HTTPRouteFilter {found.key} has no {wanted}",
                    "directResponse is for the filters of a rule, the others are for those of a "
                    "backendRef",
                    "InvalidFilter",
                )
            if isinstance(found, Unresolved):
                message = f"{found.message}; what it is for is answered {rule.nowhere}"
                yield f"{place}.filters[{number}]", replace(found, message=message)


def _of_stream(declared: Declared, route: StreamRoute) -> Iterator[Fault]:
    by_udp = isinstance(route, UdpRoute)
    for at, rule in enumerate(route.spec.rules):
        for which, ref in enumerate(rule.backend_refs):
            field = f"spec.rules[{at}].backendRefs[{which}]"
            backend = resolve_backend(declared, route, ref)
            if isinstance(backend, Unresolved):
                lost = "datagrams is dropped" if by_udp else "connections is closed"
                message = f"{backend.message}; its part of the {lost}"
                yield field, replace(backend, message=message)
            elif len(rule.backend_refs) > 1 and _stands_in(declared, backend):
                message = f"Backend {backend} is a fallback; of connections it gets its weight"
                yield field, Unresolved(message, "fallbacks are for routes of requests")


def _stands_in(declared: Declared, backend: str) -> bool:
    return declared.backends[backend].spec.fallback


def _of_mirrors(
    declared: Declared, route: RequestRoute, filters: tuple[Filter, ...], where: str
) -> Iterator[Fault]:
    for at, one in enumerate(filters):
        if one.request_mirror is not None:
            backend = resolve_backend(declared, route, one.request_mirror.backend_ref)
            if isinstance(backend, Unresolved):
                message = f"{backend.message}; nothing is mirrored to it"
                yield f"{where}.filters[{at}]", replace(backend, message=message)


def conflicts(declared: Declared, route: Route, ref: ParentRef) -> Iterator[Unresolved]:
    """Where the route lets an older one go before it."""
    gateway = resolve_gateway(declared, route, ref)
    if isinstance(gateway, Unresolved):
        return
    for listener, late, winner, hosts in attachments(declared)[gateway.key].conflicts:
        if late is route and listener in meant(gateway, ref):
            which = "" if hosts == ("*",) else f" for {', '.join(hosts)}"
            yield Unresolved(
                f"listener {listener.name} of Gateway {gateway.key} has {winner.kind} {winner.key} "
                f"already{which}, which is in force",
                "give one of the two other hostnames or another listener",
                "Conflicted",
            )


def parent_fault(declared: Declared, route: Route, ref: ParentRef) -> Unresolved | None:
    """Why a route is not let in where it wants to be, whatever other routes there are."""
    gateway = resolve_gateway(declared, route, ref)
    if isinstance(gateway, Unresolved):
        return None if of_others(declared, route, ref) else gateway
    if listeners_for(declared, gateway, route, ref):
        return None
    names = [listener.name for listener in gateway.spec.listeners]
    if ref.section_name is not None and ref.section_name not in names:
        message = f'Gateway {gateway.key} has no listener "{ref.section_name}"'
        return Unresolved(message, did_you_mean(ref.section_name, names), "NoMatchingParent")
    listeners = meant(gateway, ref)
    carrying = [one for one in listeners if route.kind in one.kinds]
    taking = [one for one in carrying if route.kind in one.takes]
    namespace = route.metadata.namespace
    if listeners and not carrying:
        needed = ", ".join(kind for kind, kinds in ROUTE_KINDS.items() if route.kind in kinds)
        return Unresolved(
            f"no listener of Gateway {gateway.key} that is meant can carry a {route.kind}",
            f"it needs a listener of protocol (or TLS mode) {needed}",
            "NotAllowedByListeners",
        )
    if listeners and not taking:
        return Unresolved(
            f"Gateway {gateway.key} lets in no {route.kind}",
            f"name kind {route.kind} in allowedRoutes.kinds of the listener",
            "NotAllowedByListeners",
        )
    if taking and not any(lets_in(declared, gateway, one, namespace) for one in taking):
        return Unresolved(
            f"Gateway {gateway.key} lets in no routes of namespace {namespace}",
            "set allowedRoutes.namespaces.from: All on the listener, or a selector that its "
            "labels meet",
            "NotAllowedByListeners",
        )
    return Unresolved(
        f"no listener of Gateway {gateway.key} has this port and one of the route's hostnames",
        "there are: "
        + ", ".join(f"{one.port} for {one.hostname or '*'}" for one in gateway.spec.listeners),
        reason="NoMatchingListenerHostname" if listeners else "NoMatchingParent",
    )


def _of_gateway(declared: Declared, gateway: Gateway) -> Iterator[_Found]:
    key = ObjectKey("Gateway", gateway.key)
    for at, listener in enumerate(gateway.spec.listeners):
        for which, one in enumerate(listener.allowed_routes.kinds):
            if one.group != GATEWAY_API_GROUP or one.kind not in listener.kinds:
                field = f"spec.listeners[{at}].allowedRoutes.kinds[{which}]"
                message = f"a listener of this protocol cannot carry {one.group}/{one.kind}"
                advice = did_you_mean(one.kind, listener.kinds)
                fault = Unresolved(message, advice, "InvalidRouteKinds")
                yield key, field, fault
        for which, ref in enumerate(listener.tls.certificate_refs if listener.tls else ()):
            secret = resolve_certificate(declared, gateway, ref)
            if isinstance(secret, Unresolved):
                field = f"spec.listeners[{at}].tls.certificateRefs[{which}]"
                message = f"{secret.message}; the listener does without it"
                yield key, field, replace(secret, message=message)


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
        yield ObjectKey("EnvoyPatch", patch.key), "spec.targetRef", fault


def policy_of(declared: Declared) -> Mapping[str, BalancingPolicy]:
    """The balancing policy in force for each Backend that has one; the nearest target wins."""
    of, attached = winners(declared, BalancingPolicy), attachments(declared)
    looked_at = (of, attached, declared.bonds, *declared.those(*ROUTES))
    return declared.while_same(looked_at, _policy_of)


def _policy_of(declared: Declared) -> Mapping[str, BalancingPolicy]:
    of = winners(declared, BalancingPolicy)
    pairs = {key: found.pairs for key, found in attachments(declared).items()}
    return of_backends(declared, of, declared.every_route, pairs)


def _of_security(declared: Declared, policy: SecurityPolicy) -> Iterator[_Found]:
    key = ObjectKey("SecurityPolicy", policy.key)
    for field, fault in found_by(declared, policy).faults:
        message = f"{fault.message}; requests that the policy is for are answered 500"
        yield key, field, replace(fault, message=message)


def _of_policies(declared: Declared, model: type[Policy]) -> Iterator[_Found]:
    of = winners(declared, model)
    for policy in declared.all(model).values():
        key = ObjectKey(kind_of(model), policy.key)
        for at, ref in enumerate(policy.spec.target_refs):
            fault = target_fault(declared, of, policy, target_of(policy, ref))
            if fault is not None:
                field = f"spec.targetRefs[{at}]"
                yield key, field, fault
        for field, fault in faults_of(declared, policy):
            yield key, field, fault


def _of_sessions(declared: Declared) -> Iterator[_Found]:
    """Rules that a policy keeps no sessions for, though it is the policy of their route."""
    routes = {(one.kind, one.key): one for one in declared.request_routes}
    for target, policy in winners(declared, TrafficPolicy).items():
        route = routes.get((target.kind, target.key))
        if route is None or policy.spec.session_persistence is None:
            continue
        key = ObjectKey("TrafficPolicy", policy.key)
        for at, rule in enumerate(route.spec.rules):
            if target.section in (None, rule.name) and not rule.one_backend:
                fault = Unresolved(
                    f"rule {at} of {route.key} has several Backends; it keeps no sessions",
                    "give the rule one Backend with all the endpoints",
                )
                yield key, "spec.sessionPersistence", fault


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
