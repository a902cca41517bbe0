"""The ports of a Gateway: an Envoy listener each, and the route tables that it reads.

On a port of HTTP all listeners share a table: the host of a request says which it belongs to. With
TLS the name that the client asks for (SNI) does, so each listener has a table of its own, and a
request for another listener's host is not let in by the back door. Listeners that carry connections
as they are have no table; they may share a port with listeners of HTTPS.
"""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.resources.declared import Declared
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.secret import Secret
from controlplane.resources.topology import resolve_certificate


@dataclass(frozen=True, slots=True)
class Table:
    """A route table, and the listeners whose hosts are in it."""

    name: str
    listeners: tuple[Listener, ...]
    certificates: tuple[Secret, ...] = ()
    """Of a listener with TLS."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A listener that carries connections as they are."""

    listener: Listener
    certificates: tuple[Secret, ...] = ()
    """Where TLS is ended before."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port that is opened."""

    name: str
    """Of the Envoy listener."""
    number: int
    tls: bool
    listeners: tuple[Listener, ...]
    """All that are declared for it, also those that cannot be opened."""
    tables: tuple[Table, ...]
    passages: tuple[Passage, ...] = ()

    @property
    def certificates(self) -> tuple[Secret, ...]:
        """All that are shown here."""
        of_tables = (one for part in self.tables for one in part.certificates)
        return (*of_tables, *(one for part in self.passages for one in part.certificates))


def ports(declared: Declared, gateway: Gateway) -> list[Port]:
    """The ports that can be opened, in order. A listener with TLS and without any certificate that
    can be used is left out."""
    numbers = sorted({one.port for one in gateway.spec.listeners})
    found = [_port(declared, gateway, number) for number in numbers]
    return [port for port in found if port.tables or port.passages]


def _port(declared: Declared, gateway: Gateway, number: int) -> Port:
    here = tuple(one for one in gateway.spec.listeners if one.port == number)
    if here[0].protocol == "HTTP":
        name = f"{gateway.key}/http-{number}"
        return Port(name, number, False, here, (Table(name, here),))
    if here[0].protocol == "TCP":
        passages = tuple(Passage(one) for one in here)
        return Port(f"{gateway.key}/tcp-{number}", number, False, here, (), passages)
    name = f"{gateway.key}/https-{number}"  # whichever of its listeners come and go
    shown = {one.name: certificates_of(declared, gateway, one) for one in here}
    tables = (
        Table(f"{name}/{one.name}", (one,), shown[one.name])
        for one in here
        if one.protocol == "HTTPS" and shown[one.name]
    )
    passages = tuple(
        Passage(one, shown[one.name])
        for one in here
        if one.protocol == "TLS" and (shown[one.name] or one.passes_through)
    )
    return Port(name, number, True, here, tuple(tables), passages)


def certificates_of(declared: Declared, gateway: Gateway, listener: Listener) -> tuple[Secret, ...]:
    """The certificates of a listener that can be used, each once."""
    refs = listener.tls.certificate_refs if listener.tls else ()
    found = (resolve_certificate(declared, gateway, ref) for ref in refs)
    by_key = {one.key: one for one in found if isinstance(one, Secret)}
    return tuple(by_key.values())
