"""The ports of a Gateway: an Envoy listener each, and the route tables that it reads.

On a port of HTTP all listeners share a table: the host of a request says which it belongs to. With
TLS the name that the client asks for (SNI) does, so each listener has a table of its own, and a
request for another listener's host is not let in by the back door: what is asked of clients there
was not asked of this one. Listeners that carry connections as they are have no table; they may
share a port with listeners of HTTPS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

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


class Secured(Protocol):
    """What a listener, or a part of one, shows and believes where it ends TLS."""

    @property
    def certificates(self) -> tuple[Held, ...]:
        """What is shown; none: TLS is not ended here."""

    @property
    def client(self) -> ClientSettings:
        """How clients are spoken with."""

    @property
    def bundle(self) -> Bundle | None:
        """Whose certificates are believed of clients."""


def _held(secured: Secured) -> dict[str, bytes]:
    """All secrets, by name."""
    found = {one.name: one.resource for one in secured.certificates}
    if secured.bundle is not None:
        found[secured.bundle.name] = secrets.believed(secured.bundle)
    return found


@dataclass(frozen=True, slots=True)
class Table:
    """A route table, and the listeners whose hosts are in it."""

    name: str
    listeners: tuple[Listener, ...]
    certificates: tuple[Held, ...] = ()
    client: ClientSettings = USUAL
    bundle: Bundle | None = None
    others: tuple[Listener, ...] = ()
    """Listeners of the port that have their requests by other connections."""
    more: bytes = b""
    """Of the connection manager: what refers to other objects, see `client_edge`."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A listener that carries connections as they are, after TLS where it ends that."""

    listener: Listener
    certificates: tuple[Held, ...] = ()
    client: ClientSettings = USUAL
    bundle: Bundle | None = None
    logs: tuple[bytes, ...] = ()
    """Where its connections are written down, see `client_edge`."""


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
    client: ClientSettings = USUAL
    """What holds for the port as a whole."""

    @property
    def of_udp(self) -> bool:
        """Whether datagrams come in."""
        return self.listeners[0].at[0]

    def held(self) -> dict[str, bytes]:
        """All secrets that are shown or believed here, by name."""
        parts: tuple[Secured, ...] = (*self.tables, *self.passages)
        return {name: one for part in parts for name, one in _held(part).items()}


def ports(declared: Declared, gateway: Gateway, of: Winners[ClientPolicy]) -> list[Port]:
    """The ports that can be opened, in order. A listener with TLS is left out where no certificate
    can be used, or none of the CAs that it should believe is there."""
    places = sorted({one.at for one in gateway.spec.listeners}, key=lambda at: at[::-1])
    found = [_port(declared, gateway, of, at) for at in places]
    return [port for port in found if port.tables or port.passages]


def _port(
    declared: Declared, gateway: Gateway, of: Winners[ClientPolicy], at: tuple[bool, int]
) -> Port:
    here = tuple(one for one in gateway.spec.listeners if one.at == at)
    whole, number = at_port(of, gateway, at), at[1]
    if here[0].protocol == "HTTP":
        name = f"{gateway.key}/http-{number}"
        said = settings(at_listener(of, gateway, here[0]))
        return Port(name, number, False, here, (Table(name, here, client=said),), (), whole)
    if here[0].protocol in ("TCP", "UDP"):
        passages = tuple(
            Passage(one, client=settings(at_listener(of, gateway, one))) for one in here
        )
        name = f"{gateway.key}/{here[0].protocol.lower()}-{number}"
        return Port(name, number, False, here, (), passages, whole)
    name = f"{gateway.key}/https-{number}"  # whichever of its listeners come and go
    ended = [(one, _secured(declared, gateway, one, at_listener(of, gateway, one))) for one in here]
    tables = (
        Table(
            f"{name}/{one.name}",
            (one,),
            *found,
            others=tuple(each for each in here if each is not one),
        )
        for one, found in ended
        if one.protocol == "HTTPS" and found is not None
    )
    through = (
        Passage(one, *found) for one, found in ended if one.protocol == "TLS" and found is not None
    )
    return Port(name, number, True, here, tuple(tables), tuple(through), whole)


def _secured(
    declared: Declared, gateway: Gateway, listener: Listener, policy: ClientPolicy | None
) -> tuple[tuple[Held, ...], ClientSettings, Bundle | None] | None:
    """What a listener shows, how it speaks with clients, and whom it believes; None where it cannot
    be opened."""
    said, cas = settings(policy), None
    if listener.passes_through:
        return (), said, None
    if policy is not None and said.tls.client_validation is not None:
        cas = bundle(declared, policy, said.tls.client_validation.ca_certificate_refs)
        if cas is None:
            return None
    certificates = _certificates(declared, gateway, listener)
    return (certificates, said, cas) if certificates else None


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
