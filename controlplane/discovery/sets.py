"""A Backend and what is known of its names to its set of endpoints. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from controlplane.model import Endpoint, Zone
from controlplane.resources.backend import REGION, ZONE, Backend, BackendEndpoint

Addresses = Callable[[str], Sequence[str]]
"""The addresses of a name, as far as they are known."""


def hostnames(backend: Backend) -> Iterator[str]:
    """The names that have to be resolved."""
    for endpoint in backend.spec.endpoints:
        if endpoint.fqdn is not None:
            yield endpoint.fqdn.hostname


def endpoints_of(backend: Backend, addresses: Addresses) -> tuple[Endpoint, ...]:
    """In the order of the document; an address that comes up twice counts once, the first time."""
    found: dict[tuple[str, int], Endpoint] = {}
    for declared in backend.spec.endpoints:
        for address, port in _places(declared, addresses):
            if (address, port) not in found:
                found[address, port] = Endpoint(
                    address, port, _where(declared), declared.labels, declared.draining
                )
    return tuple(found.values())


def _places(declared: BackendEndpoint, addresses: Addresses) -> Iterator[tuple[str, int]]:
    if declared.ip is not None:
        yield declared.ip.address, declared.ip.port
    elif declared.fqdn is not None:
        for address in addresses(declared.fqdn.hostname):
            yield address, declared.fqdn.port


def _where(declared: BackendEndpoint) -> Zone:
    labels = declared.labels
    return Zone(region=labels.get(REGION, ""), zone=declared.zone or labels.get(ZONE, ""))
