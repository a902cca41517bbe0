"""Connections of clients, as a `ClientPolicy` says it: how many, how large, how slow."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from controlplane.resources.kinds import Duration, Fields, Flag, Integer
from controlplane.resources.quantity import Size


class ProxyProtocol(Fields):
    """The PROXY protocol, versions 1 and 2: the client's address before its first byte."""

    optional: Flag = Field(
        default=False,
        description="Connections without it are taken too. Then anybody who reaches the port may "
        "say any address.",
    )


class ConnectionLimit(Fields):
    """How many connections one Envoy takes."""

    value: Annotated[Integer, Field(ge=1, le=2**32 - 1)] = Field(
        description="Open at a time; one more is closed."
    )
    close_delay: Duration = Field(
        default=0.0, description="How long what is refused stays open: a brake for who comes again."
    )


def _buffer(size: int) -> int:
    if not 1024 <= size <= 2**31 - 1:
        raise ValueError("want 1Ki to 2 GiB")
    return size


class ClientConnection(Fields):
    """Connections of clients."""

    connection_limit: ConnectionLimit | None = Field(
        default=None, description="Of each listener; not given: as many as Envoy has room for."
    )
    buffer_limit: Annotated[Size, AfterValidator(_buffer)] = Field(
        default=32 * 1024, description="Bytes of a connection that are not passed on yet."
    )


class TcpTimeouts(Fields):
    """Before HTTP begins, and where there is none."""

    handshake_timeout: Annotated[Duration, Field(ge=0.1, le=3600)] = Field(
        default=15.0, description="Until TLS is agreed upon; then the connection is closed."
    )
    idle_timeout: Duration = Field(
        default=3600.0,
        description="A connection of a TCPRoute or TLSRoute on which nothing moves is closed; "
        "`0s`: never.",
    )


class UdpTimeouts(Fields):
    """Of a UDPRoute."""

    idle_timeout: Annotated[Duration, Field(ge=0.1, le=3600)] = Field(
        default=60.0,
        description="A session in which nothing was said is forgotten: what the client says next "
        "begins another, at an endpoint that is chosen anew.",
    )


class HttpTimeouts(Fields):
    """What slow clients are given; `0s`: no limit."""

    request_headers_timeout: Duration = Field(
        default=60.0, description="For the headers of a request; then 408."
    )
    request_received_timeout: Duration = Field(
        default=0.0, description="For a request with its whole body; then 408."
    )
    idle_timeout: Duration = Field(
        default=3600.0, description="A connection without requests is closed."
    )
    stream_idle_timeout: Duration = Field(
        default=300.0, description="A request on which nothing moves is ended."
    )


class ClientTimeouts(Fields):
    """How long clients are waited for."""

    tcp: TcpTimeouts = TcpTimeouts()
    udp: UdpTimeouts = UdpTimeouts()
    http: HttpTimeouts = HttpTimeouts()
