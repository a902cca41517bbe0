"""The list of analyzers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from controlplane.analyze import api_keys, backends, policies, references, shadows, transport
from controlplane.analyze.findings import Finding, Scene, Severity

ANALYZERS: tuple[Callable[[Scene], Iterator[Finding]], ...] = (
    references.lead_nowhere,
    references.for_nobody,
    references.nobody_refers_to,
    references.without_routes,
    policies.do_nothing,
    policies.not_asked,
    policies.objective_unheard,
    shadows.never_reached,
    transport.in_plain_text,
    backends.in_plain_text,
    transport.certificates,
    api_keys.in_secrets,
    backends.sticky,
)


def analyze(scene: Scene) -> list[Finding]:
    """Everything, the worst first, then by file and line."""
    order = list(Severity)
    found = [finding for analyzer in ANALYZERS for finding in analyzer(scene)]
    return sorted(found, key=lambda one: (order.index(one.severity), one.file, one.line, one.code))
