"""What is said of clients and of TLS, is well written, and leads nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from controlplane.resources.attachment import Winners, target_of, winners
from controlplane.resources.backend_tls import BackendTlsPolicy
from controlplane.resources.ca_refs import LocalCaRef
from controlplane.resources.client_policy import ClientPolicy
from controlplane.resources.client_ports import USUAL, at_listener, not_for_one
from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.gateway import Gateway, listener_named
from controlplane.resources.kinds import Document, kind_of
from controlplane.resources.stream_route import UdpRoute
from controlplane.resources.target import Target
from controlplane.resources.topology import Unresolved, resolve_backend, resolve_certificate
from controlplane.resources.trust import resolve_ca

Found = tuple[ObjectKey, str, Unresolved]
"""In which object, in which field, and what it is."""


def tls_references(declared: Declared) -> Iterator[Found]:
    """All of it."""
    of = winners(declared, ClientPolicy)
    for gateway in declared.gateways.values():
        yield from _of_shown(declared, gateway)
    yield from _of_datagrams(declared)
    for policy in declared.all(ClientPolicy).values():
        yield from _of_targets(declared, of, policy)
        yield from _of_plaintext(declared, of, policy)
        validation = policy.spec.tls.client_validation
        if validation is not None:
            field = "spec.tls.clientValidation.caCertificateRefs"
            refs = validation.ca_certificate_refs
            yield from _of_cas(declared, policy, refs, field, "its listeners do not open")
    for backend_policy in declared.all(BackendTlsPolicy).values():
        field = "spec.validation.caCertificateRefs"
        refs_ = backend_policy.spec.validation.ca_certificate_refs
        yield from _of_cas(declared, backend_policy, refs_, field, "requests are answered 503")


def _of_datagrams(declared: Declared) -> Iterator[Found]:
    """Backends that are to be spoken to over TLS."""
    of = winners(declared, BackendTlsPolicy)
    for route in declared.all(UdpRoute).values():
        for at, rule in enumerate(route.spec.rules):
            for which, ref in enumerate(rule.backend_refs):
                key = resolve_backend(declared, route, ref)
                if isinstance(key, str) and Target("Backend", key) in of:
                    field = f"spec.rules[{at}].backendRefs[{which}]"
                    message = (
                        f"Backend {key} is to be spoken to over TLS, which datagrams are not; they "
                        "are dropped"
                    )
                    advice = "declare a Backend without BackendTLSPolicy for them"
                    yield ObjectKey(route.kind, route.key), field, Unresolved(message, advice)


def _of_shown(declared: Declared, gateway: Gateway) -> Iterator[Found]:
    ref = gateway.spec.tls.backend.client_certificate_ref
    secret = resolve_certificate(declared, gateway, ref) if ref is not None else None
    if isinstance(secret, Unresolved):
        message = f"{secret.message}; Backends are shown no certificate"
        fault = replace(secret, message=message)
        yield ObjectKey("Gateway", gateway.key), "spec.tls.backend.clientCertificateRef", fault


def _of_targets(
    declared: Declared, of: Winners[ClientPolicy], policy: ClientPolicy
) -> Iterator[Found]:
    """Policies for some of the listeners of a port that is one for Envoy."""
    for at, ref in enumerate(policy.spec.target_refs):
        target = target_of(policy, ref)
        gateway = declared.gateways.get(target.key)
        if gateway is None or target.section is None or of.get(target) is not policy:
            continue
        message = not_for_one(of, gateway, listener_named(gateway, target.section))
        if message:
            advice = "name all listeners of the port in targetRefs, or the Gateway alone"
            yield _key(policy), f"spec.targetRefs[{at}]", Unresolved(message, advice)


def _of_plaintext(
    declared: Declared, of: Winners[ClientPolicy], policy: ClientPolicy
) -> Iterator[Found]:
    """What is said of TLS where there is none."""
    said = policy.spec
    protocols = {
        listener.protocol
        for gateway in declared.gateways.values()
        for listener in gateway.spec.listeners
        if at_listener(of, gateway, listener) is policy
    }
    without = bool(protocols) and protocols <= {"HTTP", "TCP", "UDP"}
    if not without or (said.tls == USUAL.tls and said.http3 is None):
        return
    field = "spec.tls" if said.tls != USUAL.tls else "spec.http3"
    message = "no listener that the policy is in force for has TLS; this does nothing"
    advice = "name a listener with protocol HTTPS or TLS, or take it away"
    yield _key(policy), field, Unresolved(message, advice)


def _of_cas(
    declared: Declared, by: Document, refs: Sequence[LocalCaRef], field: str, effect: str
) -> Iterator[Found]:
    """References to CAs; `effect` is what comes of it where none of them leads anywhere."""
    faults = [(at, resolve_ca(declared, by, ref)) for at, ref in enumerate(refs)]
    wrong = [(at, one) for at, one in faults if isinstance(one, Unresolved)]
    then = effect if len(wrong) == len(refs) else "it is not believed"
    for at, one in wrong:
        yield _key(by), f"{field}[{at}]", replace(one, message=f"{one.message}; {then}")


def _key(document: Document) -> ObjectKey:
    return ObjectKey(kind_of(type(document)), document.key)
