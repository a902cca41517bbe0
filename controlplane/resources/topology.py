"""How the objects hang together: Gateway, listeners, routes, Backends.

One place says what a reference means, so that checking, balancing and translation agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from controlplane.resources.backend import Backend
from controlplane.resources.certificates import pair_fault
from controlplane.resources.declared import Declared
from controlplane.resources.filters import BackendObjectRef, Filter
from controlplane.resources.gateway import Gateway, Listener, SecretRef
from controlplane.resources.grants import granted
from controlplane.resources.kinds import WEIR_GROUP, Document, kind_of
from controlplane.resources.problems import near_name
from controlplane.resources.route import HttpRoute, ParentRef, Rule
from controlplane.resources.secret import Secret

_NOT_FOUND, _BAD_CERTIFICATE = "SecretNotFound", "InvalidCertificateRef"


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why a reference leads nowhere."""

    message: str
    advice: str = ""
    reason: str = ""
    """In the words of the conditions of the Gateway API."""
    lacking: str = ""
    """`Kind namespace/name` of what is not there."""


def resolve_backend(declared: Declared, by: Document, ref: BackendObjectRef) -> str | Unresolved:
    """The `namespace/name` of the Backend that a route or a policy means."""
    if ref.kind not in (None, "Backend") or ref.group not in (None, "", WEIR_GROUP):
        what = f"{ref.group or 'core'}/{ref.kind or 'Service'}"
        return Unresolved(
            f"{what} is not served here",
            "refer to a Backend: group: weir.dev, kind: Backend",
            "InvalidKind",
        )
    key = f"{ref.namespace or by.metadata.namespace}/{ref.name}"
    if not granted(declared, by, Backend, key):
        return _not_granted(by, Backend, key)
    if key not in declared.backends:
        advice = near_name(key, declared.backends)
        return Unresolved(f"there is no Backend {key}", advice, "BackendNotFound", f"Backend {key}")
    return key


def resolve_certificate(
    declared: Declared, gateway: Gateway, ref: SecretRef
) -> Secret | Unresolved:
    """The Secret with the certificate that is meant; its key fits."""
    secret = resolve_secret(declared, gateway, ref)
    if isinstance(secret, Secret):
        fault = pair_fault(secret)
        message = f"Secret {secret.key} is no certificate: {fault}"
        return Unresolved(message, reason=_BAD_CERTIFICATE) if fault else secret
    if secret.reason == _NOT_FOUND:
        return replace(secret, reason=_BAD_CERTIFICATE)
    return secret


def resolve_secret(declared: Declared, by: Document, ref: SecretRef) -> Secret | Unresolved:
    """The Secret that is meant."""
    key = f"{ref.namespace or by.metadata.namespace}/{ref.name}"
    if not granted(declared, by, Secret, key):
        return _not_granted(by, Secret, key)
    secrets = declared.all(Secret)
    secret = secrets.get(key)
    if secret is None:
        advice = near_name(key, secrets)
        return Unresolved(f"there is no Secret {key}", advice, _NOT_FOUND, f"Secret {key}")
    return secret


def _not_granted(by: Document, to: type[Document], key: str) -> Unresolved:
    kind, theirs = kind_of(to), key.partition("/")[0]
    return Unresolved(
        f"{kind} {key} is in another namespace, and no ReferenceGrant there allows it",
        f"declare a ReferenceGrant in namespace {theirs} from {kind_of(type(by))} of namespace "
        f"{by.metadata.namespace} to {kind}",
        "RefNotPermitted",
    )


def resolve_gateway(declared: Declared, route: HttpRoute, ref: ParentRef) -> Gateway | Unresolved:
    """The Gateway that is meant."""
    key = f"{ref.namespace or route.metadata.namespace}/{ref.name}"
    gateway = declared.gateways.get(key)
    if gateway is None:
        advice = near_name(key, declared.gateways)
        return Unresolved(
            f"there is no Gateway {key}", advice, "NoMatchingParent", f"Gateway {key}"
        )
    return gateway


def listeners_for(gateway: Gateway, route: HttpRoute, ref: ParentRef) -> list[Listener]:
    """The listeners of the Gateway that the reference names and that let the route in."""
    same = route.metadata.namespace == gateway.metadata.namespace
    return [
        listener
        for listener in gateway.spec.listeners
        if ref.section_name in (None, listener.name)
        and ref.port in (None, listener.port)
        and (same or listener.allowed_routes.namespaces.from_ == "All")
        and hostnames(listener, route)
    ]


def covers(pattern: str, host: str) -> bool:
    """Whether every host that `host` stands for is also in `pattern`.

    >>> covers("*.example.com", "a.b.example.com"), covers("*.example.com", "example.com")
    (True, False)
    """
    if pattern in ("*", host):
        return True
    return pattern.startswith("*.") and host.removeprefix("*").endswith(pattern[1:])


def hostnames(listener: Listener, route: HttpRoute) -> tuple[str, ...]:
    """Hosts for which the listener gives requests to the route; `*` is every host."""
    mine = listener.hostname or "*"
    if not route.spec.hostnames:
        return (mine,)
    both = []
    for theirs in route.spec.hostnames:
        if covers(mine, theirs):
            both.append(theirs)
        elif covers(theirs, mine):
            both.append(mine)
    return tuple(dict.fromkeys(both))


@lru_cache(2)  # asked for by many, of one `Declared` after the other
def attached(declared: Declared) -> Mapping[str, tuple[tuple[Listener, HttpRoute], ...]]:
    """By Gateway, its listeners with each route that is attached to them."""
    found: dict[str, dict[tuple[str, str], tuple[Listener, HttpRoute]]] = {
        key: {} for key in declared.gateways
    }
    for route in declared.routes.values():
        for key, listener in declared.once(route, _attachments):
            found[key][listener.name, route.key] = (listener, route)
    return {key: tuple(pairs.values()) for key, pairs in found.items()}


def _attachments(declared: Declared, route: HttpRoute) -> tuple[tuple[str, Listener], ...]:
    """The listeners that the route is attached to, with their Gateways."""
    gateways = ((ref, resolve_gateway(declared, route, ref)) for ref in route.spec.parent_refs)
    return tuple(
        (gateway.key, listener)
        for ref, gateway in gateways
        if isinstance(gateway, Gateway)
        for listener in listeners_for(gateway, route, ref)
    )


def references_of(route: HttpRoute) -> Iterator[BackendObjectRef]:
    """Every reference to a Backend, those of mirrors among them."""
    for rule in route.spec.rules:
        yield from _references_of_rule(rule)


def _references_of_rule(rule: Rule) -> Iterator[BackendObjectRef]:
    yield from _mirrors(rule.filters)
    for ref in rule.backend_refs:
        yield ref
        yield from _mirrors(ref.filters)


def _mirrors(filters: tuple[Filter, ...]) -> Iterator[BackendObjectRef]:
    for one in filters:
        if one.request_mirror is not None:
            yield one.request_mirror.backend_ref


def backends_of(declared: Declared, route: HttpRoute) -> tuple[str, ...]:
    """The Backends that the route refers to, as often as it does."""
    return declared.once(route, _backends_of)


def _backends_of(declared: Declared, route: HttpRoute) -> tuple[str, ...]:
    rules = route.spec.rules
    return tuple(key for rule in rules for key in backends_of_rule(declared, route, rule))


def backends_of_rule(declared: Declared, route: HttpRoute, rule: Rule) -> Iterator[str]:
    """Those of one rule."""
    for ref in _references_of_rule(rule):
        key = resolve_backend(declared, route, ref)
        if isinstance(key, str):
            yield key


def backends_under(declared: Declared) -> Mapping[str, frozenset[str]]:
    """By Gateway, the Backends that its routes reach."""
    return {
        key: frozenset(backend for _, route in pairs for backend in backends_of(declared, route))
        for key, pairs in attached(declared).items()
    }
