"""`TLSRoute`, `TCPRoute` and `UDPRoute`: what goes to which Backends without a look inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from controlplane.resources.filters import BackendObjectRef
from controlplane.resources.kinds import Fields, Hostname, Name
from controlplane.resources.route import Route, RouteSpec, WeightedRef


class StreamRule(Fields):
    """Where the connections go."""

    name: Name | None = Field(default=None, description="For policies to name.")
    backend_refs: tuple[WeightedRef, ...] = Field(
        min_length=1,
        max_length=16,
        description="A part that leads nowhere has its connections closed, its datagrams dropped.",
    )


def _one(rules: tuple[StreamRule, ...]) -> tuple[StreamRule, ...]:
    if len(rules) > 1:
        raise ValueError(
            "a second rule would never be met: nothing tells its connections apart; keep one"
        )
    return rules


Rules = Annotated[tuple[StreamRule, ...], AfterValidator(_one)]


class StreamSpec(RouteSpec):
    """Where it attaches and where the connections go."""

    rules: Rules = Field(min_length=1, max_length=16, description="Exactly one.")


class StreamRoute(Route):
    """A route of connections."""

    spec: StreamSpec

    def parts(self) -> Iterator[tuple[str | None, tuple[BackendObjectRef, ...]]]:
        """Of the rule its name, if it has one, and every Backend that it refers to."""
        for rule in self.spec.rules:
            yield rule.name, rule.backend_refs


class TcpRoute(StreamRoute):
    """Connections of a port to Backends."""

    about: ClassVar[str] = (
        "For listeners of protocol `TCP`, and of protocol `TLS` that end TLS. Of two on one "
        "listener the older is in force, then the first by name, and the other is reported. What "
        "did not connect is tried once more at another endpoint."
    )
    api_version: Literal["gateway.networking.k8s.io/v1alpha2"]
    kind: Literal["TCPRoute"]


class UdpRoute(StreamRoute):
    """Datagrams of a port to Backends."""

    about: ClassVar[str] = (
        "For listeners of protocol `UDP`. What comes from one address and port is a session, which "
        "stays at its endpoint until it is idle for `timeout.udp.idleTimeout` of a ClientPolicy. "
        "Of two on one listener the older is in force, then the first by name, and the other is "
        "reported. Which of several Backends a session goes to is chosen by the port of the "
        "client, in parts of the weights. A part that leads nowhere has its datagrams dropped."
    )
    api_version: Literal["gateway.networking.k8s.io/v1alpha2"]
    kind: Literal["UDPRoute"]


class TlsRouteSpec(StreamSpec):
    """Where it attaches and where the connections go."""

    hostnames: tuple[Hostname, ...] = Field(
        default=(),
        max_length=16,
        description="Names that clients ask for (SNI); none: those of the listener.",
    )


class TlsRoute(StreamRoute):
    """TLS connections to Backends, by the name that the client asks for (SNI)."""

    about: ClassVar[str] = (
        "For listeners of protocol `TLS`. With mode `Passthrough` the Backend ends TLS and Envoy "
        "sees nothing but the name; with `Terminate` Envoy does. Of two for one name the older is "
        "in force, then the first by name, and the other is reported. A name that no route is for "
        "has its connections closed."
    )
    api_version: Literal[
        "gateway.networking.k8s.io/v1alpha3",
        "gateway.networking.k8s.io/v1alpha2",
        "gateway.networking.k8s.io/v1",
    ]
    kind: Literal["TLSRoute"]
    spec: TlsRouteSpec

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host names that it is for; none: those of the listener."""
        return self.spec.hostnames
