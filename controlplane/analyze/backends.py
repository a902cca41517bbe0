"""How Backends are spoken to, and who stays at an endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from controlplane.analyze.findings import Finding, Scene, Severity
from controlplane.resources.backend import Backend
from controlplane.resources.declared import ObjectKey
from controlplane.resources.topology import backends_of_rule

_HTTPS_PORTS = frozenset({443, 8443})


def in_plain_text(scene: Scene) -> Iterator[Finding]:
    """WEIR0403: endpoints on a port of HTTPS are spoken to without TLS."""
    for key, backend in scene.declared.backends.items():
        found = sorted({port for port in _ports(backend) if port in _HTTPS_PORTS})
        if found:
            ports = " and ".join(str(port) for port in found)
            message = f"endpoints on port {ports} are spoken to in plain text"
            advice = "those that want TLS will answer 400; give their port for HTTP"
            here = ObjectKey("Backend", key)
            yield scene.finding(Severity.WARNING, "WEIR0403", here, message, advice)


def _ports(backend: Backend) -> Iterator[int]:
    for one in backend.spec.endpoints:
        if one.ip is not None:
            yield one.ip.port
        elif one.fqdn is not None:
            yield one.fqdn.port


def sticky(scene: Scene) -> Iterator[Finding]:
    """WEIR0501: rules that lead to a Backend keep clients at an endpoint, so its weights move new
    sessions alone."""
    rules, kept = Counter[str](), Counter[str]()
    for route in scene.declared.routes.values():
        for rule in route.spec.rules:
            for key in set(backends_of_rule(scene.declared, route, rule)):
                rules[key] += 1
                kept[key] += rule.session_persistence is not None
    for key, count in sorted((+kept).items()):
        message = f"{count} of {rules[key]} rules that lead to it are sticky"
        advice = "weights move new sessions alone; an absoluteTimeout bounds how long that takes"
        yield scene.finding(Severity.INFO, "WEIR0501", ObjectKey("Backend", key), message, advice)
