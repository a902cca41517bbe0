"""References that lead nowhere, and policies that stand in each other's way.

Envoy takes a route to a cluster that it does not know and answers 503, so a reference is looked at
before it is sent. A part of a rule that leads nowhere is answered 500, as the Gateway API has it,
and said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
from controlplane.resources.filters import Filter
from controlplane.resources.gateway import ROUTE_KINDS, Gateway, Listener
from controlplane.resources.kinds import GATEWAY_API_GROUP, kind_of
from controlplane.resources.problems import Problem, did_you_mean, near_name
from controlplane.resources.route import ParentRef, RequestRoute, Route, Rule
from controlplane.resources.stream_route import StreamRoute
from controlplane.resources.target import Policy
from controlplane.resources.topology import (
    Attached,
    Unresolved,
    attached,
    lets_in,
    listeners_for,
    meant,
    resolve_backend,
    resolve_certificate,
    resolve_filter,
    resolve_gateway,
)

_POLICIES = tuple(one for one in MODELS if issubclass(one, Policy))


def reference_problems(declared: Declared) -> list[Problem]:
    """Everything that is well written and leads nowhere."""
    found = attached(declared)
    routes = (*declared.request_routes, *declared.stream_routes)
    return [
        *(p for route in declared.request_routes for p in _of_rules(declared, route)),
        *(p for route in declared.stream_routes for p in _of_stream(declared, route)),
        *(p for route in routes for p in _of_parents(declared, route, found)),
        *(p for gateway in declared.gateways.values() for p in _of_gateway(declared, gateway)),
        *(p for model in _POLICIES for p in _of_policies(declared, model)),
    ]


def _problem(
    declared: Declared, key: ObjectKey, field: str, message: str, advice: str = ""
) -> Problem:
    source = declared.sources[key]
    line = source.lines.get(field, source.line)
    return Problem(source.file, line, field, message, advice, str(key))


def _of_rules(declared: Declared, route: RequestRoute) -> Iterator[Problem]:
    key = ObjectKey(route.kind, route.key)
    for at, rule in enumerate(route.spec.rules):
        yield from _of_mirrors(declared, route, rule.filters, f"spec.rules[{at}]")
        yield from _of_extensions(declared, route, at, rule)
        for which, ref in enumerate(rule.backend_refs):
            field = f"spec.rules[{at}].backendRefs[{which}]"
            backend = resolve_backend(declared, route, ref)
            if isinstance(backend, Unresolved):
                message = f"{backend.message}; its part of the requests is answered {rule.nowhere}"
                yield _problem(declared, key, field, message, backend.advice)
            yield from _of_mirrors(declared, route, ref.filters, field)
        answers = any(one.type in ("RequestRedirect", "ExtensionRef") for one in rule.filters)
        if not rule.backend_refs and not answers:
            message = f"there are no backendRefs; what matches is answered {rule.nowhere}"
            yield _problem(declared, key, f"spec.rules[{at}]", message)


def _of_extensions(
    declared: Declared, route: RequestRoute, at: int, rule: Rule
) -> Iterator[Problem]:
    """What `ExtensionRef`s of a rule lead nowhere, or stand where they mean nothing."""
    places = [(f"spec.rules[{at}]", rule.filters, "directResponse")]
    for which, ref in enumerate(rule.backend_refs):
        places.append((f"spec.rules[{at}].backendRefs[{which}]", ref.filters, "payload or cel"))
    for where, filters, wanted in places:
        for number, one in enumerate(filters):
            if one.extension_ref is None:
                continue
            found = resolve_filter(declared, route, one.extension_ref)
            if not isinstance(found, Unresolved) and (found.spec.condition is None) == (
                wanted != "directResponse"
            ):
                found = Unresolved(
                    f"HTTPRouteFilter {found.key} has no {wanted}",
                    "directResponse is for the filters of a rule, payload and cel for those of a "
                    "backendRef",
                )
            if isinstance(found, Unresolved):
                message = f"{found.message}; what it is for is answered {rule.nowhere}"
                key = ObjectKey(route.kind, route.key)
                field = f"{where}.filters[{number}]"
                yield _problem(declared, key, field, message, found.advice)


def _of_stream(declared: Declared, route: StreamRoute) -> Iterator[Problem]:
    key = ObjectKey(route.kind, route.key)
    for at, rule in enumerate(route.spec.rules):
        for which, ref in enumerate(rule.backend_refs):
            backend = resolve_backend(declared, route, ref)
            if isinstance(backend, Unresolved):
                message = f"{backend.message}; its part of the connections is closed"
                field = f"spec.rules[{at}].backendRefs[{which}]"
                yield _problem(declared, key, field, message, backend.advice)


def _of_mirrors(
    declared: Declared, route: RequestRoute, filters: tuple[Filter, ...], where: str
) -> Iterator[Problem]:
    for at, one in enumerate(filters):
        if one.request_mirror is not None:
            backend = resolve_backend(declared, route, one.request_mirror.backend_ref)
            if isinstance(backend, Unresolved):
                key = ObjectKey(route.kind, route.key)
                message = f"{backend.message}; nothing is mirrored to it"
                yield _problem(declared, key, f"{where}.filters[{at}]", message, backend.advice)


def _of_parents(
    declared: Declared, route: Route, found: Mapping[str, Attached]
) -> Iterator[Problem]:
    key = ObjectKey(route.kind, route.key)
    for at, ref in enumerate(route.spec.parent_refs):
        gateway = resolve_gateway(declared, route, ref)
        if isinstance(gateway, Unresolved):
            faults = [gateway]
        elif listeners := listeners_for(declared, gateway, route, ref):
            faults = list(_conflicts(found[gateway.key], gateway, route, listeners))
        else:
            faults = [_not_taken(declared, gateway, route, ref)]
        for fault in faults:
            yield _problem(declared, key, f"spec.parentRefs[{at}]", fault.message, fault.advice)


def _conflicts(
    found: Attached, gateway: Gateway, route: Route, listeners: Sequence[Listener]
) -> Iterator[Unresolved]:
    for listener, late, winner, hosts in found.conflicts:
        if late is route and listener in listeners:
            which = "" if hosts == ("*",) else f" for {', '.join(hosts)}"
            yield Unresolved(
                f"listener {listener.name} of Gateway {gateway.key} has {winner.kind} {winner.key} "
                f"already{which}, which is in force",
                "give one of the two other hostnames or another listener",
            )


def _not_taken(declared: Declared, gateway: Gateway, route: Route, ref: ParentRef) -> Unresolved:
    """Why none of the listeners that the reference could mean takes the route."""
    names = [listener.name for listener in gateway.spec.listeners]
    if ref.section_name is not None and ref.section_name not in names:
        message = f'Gateway {gateway.key} has no listener "{ref.section_name}"'
        return Unresolved(message, did_you_mean(ref.section_name, names))
    listeners = meant(gateway, ref)
    carrying = [one for one in listeners if route.kind in one.kinds]
    taking = [one for one in carrying if route.kind in one.takes]
    namespace = route.metadata.namespace
    if listeners and not carrying:
        needed = ", ".join(kind for kind, kinds in ROUTE_KINDS.items() if route.kind in kinds)
        return Unresolved(
            f"no listener of Gateway {gateway.key} that is meant can carry a {route.kind}",
            f"it needs a listener of protocol (or TLS mode) {needed}",
        )
    if listeners and not taking:
        return Unresolved(
            f"Gateway {gateway.key} lets in no {route.kind}",
            f"name kind {route.kind} in allowedRoutes.kinds of the listener",
        )
    if taking and not any(lets_in(declared, gateway, one, namespace) for one in taking):
        return Unresolved(
            f"Gateway {gateway.key} lets in no routes of namespace {namespace}",
            "set allowedRoutes.namespaces.from: All on the listener, or a selector that its "
            "labels meet",
        )
    return Unresolved(
        f"no listener of Gateway {gateway.key} has this port and one of the route's hostnames"
    )


def _of_gateway(declared: Declared, gateway: Gateway) -> Iterator[Problem]:
    key = ObjectKey("Gateway", gateway.key)
    for at, listener in enumerate(gateway.spec.listeners):
        for which, one in enumerate(listener.allowed_routes.kinds):
            if one.group != GATEWAY_API_GROUP or one.kind not in listener.kinds:
                field = f"spec.listeners[{at}].allowedRoutes.kinds[{which}]"
                message = f"a listener of this protocol cannot carry {one.group}/{one.kind}"
                yield _problem(
                    declared, key, field, message, did_you_mean(one.kind, listener.kinds)
                )
        for which, ref in enumerate(listener.tls.certificate_refs if listener.tls else ()):
            secret = resolve_certificate(declared, gateway, ref)
            if isinstance(secret, Unresolved):
                field = f"spec.listeners[{at}].tls.certificateRefs[{which}]"
                message = f"{secret.message}; the listener does without it"
                yield _problem(declared, key, field, message, secret.advice)


def policy_of(declared: Declared) -> Mapping[str, BalancingPolicy]:
    """The balancing policy in force for each Backend that has one; the nearest target wins."""
    of = winners(declared, BalancingPolicy)
    if not of:
        return {}
    routes = (*declared.request_routes, *declared.stream_routes)
    pairs = {key: found.pairs for key, found in attached(declared).items()}
    return of_backends(declared, of, routes, pairs)


def _of_policies(declared: Declared, model: type[Policy]) -> Iterator[Problem]:
    of = winners(declared, model)
    for policy in declared.all(model).values():
        key = ObjectKey(kind_of(model), policy.key)
        for at, ref in enumerate(policy.spec.target_refs):
            fault = _target_fault(declared, of, policy, target_of(policy, ref))
            if fault is not None:
                field = f"spec.targetRefs[{at}]"
                yield _problem(declared, key, field, fault.message, fault.advice)


def _target_fault(
    declared: Declared, of: Mapping[Target, Policy], policy: Policy, target: Target
) -> Unresolved | None:
    """Why a policy is not in force for what it names."""
    if not target.key.startswith(f"{policy.metadata.namespace}/"):
        return Unresolved(
            f"{target} is in another namespace than the policy",
            "declare the policy in the namespace of its target",
        )
    document = found(declared, target)
    if document is None:
        return Unresolved(
            f"there is no {target}; the policy does nothing for it",
            near_name(target.key, declared.all(KINDS[target.kind])),
        )
    if not exists(declared, policy, target):
        return Unresolved(
            f"{target.kind} {target.key} has no section {target.section!r}; the policy does "
            "nothing for it",
            did_you_mean(target.section or "", sections(document)),
        )
    winner = of[target]
    if winner is not policy:
        return Unresolved(
            f"{target} has the policy {winner.key} already, which is in force",
            "remove one of the two",
        )
    return None
