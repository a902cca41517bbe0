"""References that lead nowhere, those that nobody granted, and what nobody refers to."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.findings import Finding, Scene, Severity
from controlplane.resources.declared import ObjectKey
from controlplane.resources.gateway import Gateway
from controlplane.resources.references import route_faults
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.security_refs import found_by
from controlplane.resources.token_references import untold
from controlplane.resources.topology import (
    Unresolved,
    attachments,
    backends_of,
    resolve_certificate,
)


def lead_nowhere(scene: Scene) -> Iterator[Finding]:
    """WEIR0101: there is no such object. WEIR0102: it is there, and no ReferenceGrant allows it."""
    for route in scene.declared.every_route:
        key = ObjectKey(route.kind, route.key)
        for field, fault in scene.declared.once(route, route_faults):
            yield _of(scene, key, field, fault)
    for gateway in scene.declared.gateways.values():
        yield from _certificates(scene, gateway)
    for policy in scene.declared.all(SecurityPolicy).values():
        key = ObjectKey(policy.kind, policy.key)
        for field, fault in found_by(scene.declared, policy).faults:
            yield _of(scene, key, field, fault)


def _certificates(scene: Scene, gateway: Gateway) -> Iterator[Finding]:
    for at, listener in enumerate(gateway.spec.listeners):
        for which, ref in enumerate(listener.tls.certificate_refs if listener.tls else ()):
            found = resolve_certificate(scene.declared, gateway, ref)
            if isinstance(found, Unresolved):
                field = f"spec.listeners[{at}].tls.certificateRefs[{which}]"
                yield _of(scene, ObjectKey("Gateway", gateway.key), field, found)


def _of(scene: Scene, key: ObjectKey, field: str, fault: Unresolved) -> Finding:
    code = "WEIR0102" if fault.reason == "RefNotPermitted" else "WEIR0101"
    return scene.finding(Severity.ERROR, code, key, fault.message, fault.advice, field)


def for_nobody(scene: Scene) -> Iterator[Finding]:
    """WEIR0107: a backendRef is for tokens that no policy in force looks at."""
    for key, field, fault in untold(scene.declared):
        found = (Severity.WARNING, "WEIR0107", key, fault.message, fault.advice, field)
        yield scene.finding(*found)


def nobody_refers_to(scene: Scene) -> Iterator[Finding]:
    """WEIR0103: a Backend that no route and no policy leads to. WEIR0104: without endpoints."""
    declared = scene.declared
    used = {key for route in declared.every_route for key in backends_of(declared, route)}
    policies = declared.all(SecurityPolicy).values()
    used |= {found_by(declared, policy).ext_auth for policy in policies}
    for key, backend in declared.backends.items():
        here = ObjectKey("Backend", key)
        if key not in used:
            message = "no route leads to it, and no policy"
            advice = "remove it, unless an Envoy with its own configuration asks for it"
            yield scene.finding(Severity.INFO, "WEIR0103", here, message, advice)
        elif not backend.spec.endpoints:
            message = "routes lead to it, and it has no endpoints: answered 503"
            yield scene.finding(Severity.WARNING, "WEIR0104", here, message)


def without_routes(scene: Scene) -> Iterator[Finding]:
    """WEIR0105: a Gateway that no route is attached to. WEIR0106: a listener of another one."""
    for key, found in attachments(scene.declared).items():
        pairs = found.pairs
        gateway, here = scene.declared.gateways[key], ObjectKey("Gateway", key)
        if not pairs:
            message = "no route is attached: every request is answered 404"
            yield scene.finding(Severity.WARNING, "WEIR0105", here, message)
            continue
        served = {listener.name for listener, _ in pairs}
        for at, listener in enumerate(gateway.spec.listeners):
            if listener.name not in served:
                message = f"no route is attached to listener {listener.name}"
                field = f"spec.listeners[{at}]"
                yield scene.finding(Severity.INFO, "WEIR0106", here, message, "", field)
