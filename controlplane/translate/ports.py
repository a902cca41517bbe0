"""The ports of a Gateway: an Envoy listener each, and the route tables that it reads.

On a port of HTTP all listeners share a table: the host of a request says which it belongs to. With
TLS the name that the client asks for (SNI) does, so each listener has a table of its own, and a
request for another listener's host is not let in by the back door.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.resources.attachment import Winners
from controlplane.resources.client_policy import ClientPolicy, ClientSettings
from controlplane.resources.client_ports import USUAL, at_listener, at_port, settings
from controlplane.resources.declared import Declared
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.secret import Secret
from controlplane.resources.topology import resolve_certificate
from controlplane.resources.trust import Bundle, bundle
from controlplane.translate import secrets


@dataclass(frozen=True, slots=True)
class Held:
    """A secret that Envoys ask for."""

    name: str
    resource: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Table:
    """A route table, and the listeners whose hosts are in it."""

    name: str
    listeners: tuple[Listener, ...]
    certificates: tuple[Held, ...] = ()
    """Of a listener with TLS."""
    client: ClientSettings = USUAL
    bundle: Bundle | None = None
    """Whose certificates are believed of clients."""
    more: bytes = b""
    """Of the connection manager: what refers to other objects, see `client_edge`."""

    def held(self) -> dict[str, bytes]:
        """All secrets, by name."""
        found = {one.name: one.resource for one in self.certificates}
        if self.bundle is not None:
            found[self.bundle.name] = secrets.believed(self.bundle)
        return found


@dataclass(frozen=True, slots=True)
class Port:
    """A port that is opened."""

    name: str
    """Of the Envoy listener."""
    number: int
    tls: bool
    tables: tuple[Table, ...]
    client: ClientSettings = USUAL
    """What holds for the port as a whole."""


def ports(declared: Declared, gateway: Gateway, of: Winners[ClientPolicy]) -> list[Port]:
    """The ports that can be opened, in order. A listener with TLS is left out where no certificate
    can be used, or none of the CAs that it should believe is there."""
    numbers = sorted({one.port for one in gateway.spec.listeners})
    found = [_port(declared, gateway, of, number) for number in numbers]
    return [port for port in found if port.tables]


def _port(declared: Declared, gateway: Gateway, of: Winners[ClientPolicy], number: int) -> Port:
    here = tuple(one for one in gateway.spec.listeners if one.port == number)
    whole = at_port(of, gateway, number)
    if here[0].protocol == "HTTP":
        name = f"{gateway.key}/http-{number}"
        said = settings(at_listener(of, gateway, here[0]))
        return Port(name, number, False, (Table(name, here, client=said),), whole)
    name = f"{gateway.key}/https-{number}"
    tables = (
        _with_tls(declared, gateway, one, name, at_listener(of, gateway, one)) for one in here
    )
    return Port(name, number, True, tuple(one for one in tables if one is not None), whole)


def _with_tls(
    declared: Declared, gateway: Gateway, listener: Listener, port: str, policy: ClientPolicy | None
) -> Table | None:
    certificates = _certificates(declared, gateway, listener)
    said, cas = settings(policy), None
    if policy is not None and said.tls.client_validation is not None:
        cas = bundle(declared, policy, said.tls.client_validation.ca_certificate_refs)
        if cas is None:
            return None
    if not certificates:
        return None
    return Table(f"{port}/{listener.name}", (listener,), certificates, said, cas)


def _certificates(declared: Declared, gateway: Gateway, listener: Listener) -> tuple[Held, ...]:
    """The certificates of a listener that can be used, each once."""
    if listener.tls is None:
        return ()
    refs = listener.tls.certificate_refs
    found = (resolve_certificate(declared, gateway, ref) for ref in refs)
    by_name = {
        one.key: Held(one.key, secrets.certificate(one)) for one in found if isinstance(one, Secret)
    }
    if listener.tls.files is not None:
        name = f"Gateway/{gateway.key}/{listener.name}"
        by_name[name] = Held(name, secrets.files(name, listener.tls.files))
    return tuple(by_name.values())
