"""Plain text where TLS is expected, and certificates that will not do."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from controlplane.analyze.findings import Finding, Scene, Severity
from controlplane.resources.certificates import certificate_of
from controlplane.resources.declared import ObjectKey
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.route import HttpRoute
from controlplane.resources.secret import Secret
from controlplane.resources.topology import attached, covers, hostnames, resolve_certificate

_HTTPS_PORTS = frozenset({443, 8443})


def in_plain_text(scene: Scene) -> Iterator[Finding]:
    """WEIR0401: a listener without TLS on a port of HTTPS. WEIR0402: a route that answers in plain
    text for a host that has TLS next to it."""
    for key, pairs in attached(scene.declared).items():
        gateway, here = scene.declared.gateways[key], ObjectKey("Gateway", key)
        for at, listener in enumerate(gateway.spec.listeners):
            if listener.protocol == "HTTP" and listener.port in _HTTPS_PORTS:
                message = f"listener {listener.name} speaks HTTP without TLS on {listener.port}"
                advice, field = "set protocol: HTTPS and tls", f"spec.listeners[{at}]"
                yield scene.finding(Severity.WARNING, "WEIR0401", here, message, advice, field)
        for listener, route in pairs:
            secure = _beside(gateway, listener, route)
            if listener.protocol == "HTTP" and secure is not None and not _sends_away(route):
                yield scene.finding(
                    Severity.WARNING,
                    "WEIR0402",
                    ObjectKey(route.kind, route.key),
                    f"it answers in plain text on listener {listener.name}, and listener "
                    f"{secure.name} has the same host with TLS",
                    "attach it to that one by sectionName, and redirect the others to https",
                )


def _beside(gateway: Gateway, listener: Listener, route: HttpRoute) -> Listener | None:
    """A listener of HTTPS for a host that the route has by the listener."""
    names = hostnames(listener, route)
    return next(
        (
            one
            for one in gateway.spec.listeners
            if one.protocol == "HTTPS"
            and any(covers(one.hostname or "*", name) or covers(name, one.hostname or "*")
                    for name in names)
        ),
        None,
    )  # fmt: skip


def _sends_away(route: HttpRoute) -> bool:
    """Whether every rule redirects to https."""
    return all(
        any(
            one.request_redirect is not None and one.request_redirect.scheme == "https"
            for one in rule.filters
        )
        for rule in route.spec.rules
    )


def certificates(scene: Scene) -> Iterator[Finding]:
    """WEIR0404: expired. WEIR0405: expires soon. WEIR0406: not for the host of its listener."""
    seen: set[str] = set()
    for gateway in scene.declared.gateways.values():
        for listener in gateway.spec.listeners:
            for ref in listener.tls.certificate_refs if listener.tls else ():
                secret = resolve_certificate(scene.declared, gateway, ref)
                if isinstance(secret, Secret):
                    yield from _host(scene, listener, secret)
                    if secret.key not in seen:
                        yield from _age(scene, secret)
                    seen.add(secret.key)


def _age(scene: Scene, secret: Secret) -> Iterator[Finding]:
    found = certificate_of(secret)
    if found is None:
        return
    key, left = ObjectKey("Secret", secret.key), found.not_after - scene.now
    at = f"{found.not_after:%Y-%m-%d %H:%M} UTC"
    if left <= datetime.timedelta(0):
        message = f"its certificate expired at {at}: clients refuse it"
        yield scene.finding(Severity.ERROR, "WEIR0404", key, message, "renew it")
    elif left <= datetime.timedelta(days=scene.days):
        message = (
            f"its certificate expires in {left / datetime.timedelta(days=1):.1f} days, at {at}"
        )
        yield scene.finding(Severity.WARNING, "WEIR0405", key, message, "renew it")


def _host(scene: Scene, listener: Listener, secret: Secret) -> Iterator[Finding]:
    found, host = certificate_of(secret), listener.hostname
    if found is None or host is None or any(_is_for(name.lower(), host) for name in found.names):
        return
    names = ", ".join(found.names[:5]) or "nobody"
    message = f"its certificate is for {names}, and listener {listener.name} for {host}"
    key = ObjectKey("Secret", secret.key)
    yield scene.finding(Severity.WARNING, "WEIR0406", key, message, "clients will refuse it")


def _is_for(name: str, host: str) -> bool:
    """Whether a name of a certificate is for a host: its '*' stands for one label (RFC 6125)."""
    if name == host:
        return True
    return name.startswith("*.") and host.partition(".")[2] == name[2:] and not host.startswith("*")
