"""What the two telemetry services share: who sends, how much they may send, what is counted.

Bytes go on to a sink of `controlplane.ports` as they came; what they mean is worked out in
`observe`. Streams are read one message at a time, so a sender that is faster than we are is
slowed down by HTTP/2 flow control and nothing piles up here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge

from controlplane._pb import base_pb2
from controlplane.errors import TelemetryError
from controlplane.model import Proxy, ProxyId, Zone
from controlplane.xds.connection import end
from controlplane.xds.envelope import Node
from controlplane.xds.gate import DeniedError, Gate, Held, Peer, expired
from controlplane.xds.status import Observer, Refusal

MAX_ID_LENGTH = 256
MAX_WORKERS = 1024

_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]
Context = Any
"""grpc.aio.ServicerContext, whose stubs leave out `read`."""


@dataclass(frozen=True, slots=True)
class TelemetryLimits:
    """What a sender may cost us."""

    max_streams: int = 10_000
    """Streams of one service at a time; one more is refused RESOURCE_EXHAUSTED."""
    streams_per_identity: int = 10_000
    """Of these, streams of one name, or of one address where nobody proves a name."""
    max_message_bytes: int = 4 * 1024 * 1024
    first_message_s: float = 15.0
    """A stream that says nothing for this long after it was opened is closed."""


class TelemetryMetrics:
    """Counters of the streams, one label for each service; one registry, no globals."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.streams = Gauge(
            "weir_telemetry_streams",
            "Open streams of access logs and of load reports.",
            ["service"],
            registry=registry,
        )
        self.messages = Counter(
            "weir_telemetry_messages_total",
            "Messages taken from these streams.",
            ["service"],
            registry=registry,
        )
        self.closed = Counter(
            "weir_telemetry_streams_closed_total",
            "Streams that we refused or ended, by reason.",
            ["service", "reason"],
            registry=registry,
        )


class _Refused(Exception):
    def __init__(self, status: grpc.StatusCode, reason: str, words: str) -> None:
        super().__init__(words)
        self.status, self.reason, self.words = status, reason, words


@dataclass(slots=True)
class Intake:
    """Reads the streams of one service within their limits."""

    service: str
    """Short name of the service, the label of its metrics."""
    limits: TelemetryLimits
    metrics: TelemetryMetrics
    gate: Gate = field(default_factory=Gate)
    """Who may report as which node: the gate of the address."""
    observer: Observer | None = None
    """Told of who is not let in."""
    _open: int = 0
    _held: Held = field(init=False)

    def __post_init__(self) -> None:
        self._held = Held(self.limits.streams_per_identity)

    async def read(
        self,
        context: Context,
        node_of: Callable[[bytes], base_pb2.Node],
        take: Callable[[Proxy, bytes, bool], None],
        greet: Callable[[base_pb2.Node], bytes] | None = None,
    ) -> None:
        """Read a stream to its end: `take` gets each message, `greet` answers the first."""
        if self._open >= self.limits.max_streams:
            words = f"this server takes {self.limits.max_streams} streams of {self.service}"
            await self._end(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "streams", words)
            return
        self._open += 1
        self.metrics.streams.labels(self.service).inc()
        try:
            peer = self.gate.peer(context)
            with self._held.one_more(peer.key):
                await self._read(context, peer, node_of, take, greet)
        except DeniedError as why:
            await self._deny(context, why, None)
        except _Refused as why:
            await self._end(context, why.status, why.reason, why.words)
        finally:
            self._open -= 1
            self.metrics.streams.labels(self.service).dec()

    async def _read(
        self,
        context: Context,
        peer: Peer,
        node_of: Callable[[bytes], base_pb2.Node],
        take: Callable[[Proxy, bytes, bool], None],
        greet: Callable[[base_pb2.Node], bytes] | None,
    ) -> None:
        try:
            async with asyncio.timeout(self.limits.first_message_s):
                message = await context.read()
        except TimeoutError:
            words = f"no message within {self.limits.first_message_s:.0f} s"
            raise _Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "silent", words) from None
        if message is _EOF:
            return
        self._check_size(message)
        try:
            node = node_of(message)
        except TelemetryError as error:
            raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, "garbage", str(error)) from None
        proxy = proxy_of(node)
        if not proxy.id:
            words = "the first message names no node.id; set node.id in Envoy's bootstrap"
            raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, "node", words)
        try:
            self.gate.admit(peer, node.id, node.cluster)
            async with asyncio.timeout(self.gate.remaining_s(peer)):
                await self._follow(context, message, proxy, node, take, greet)
        except DeniedError as why:
            await self._deny(context, why, node)
        except TimeoutError:
            await self._deny(context, expired(), node)

    async def _follow(
        self,
        context: Context,
        message: Any,  # noqa: ANN401 (bytes, or the end of the stream)
        proxy: Proxy,
        node: base_pb2.Node,
        take: Callable[[Proxy, bytes, bool], None],
        greet: Callable[[base_pb2.Node], bytes] | None,
    ) -> None:
        first = True
        while message is not _EOF:
            self._check_size(message)
            self.metrics.messages.labels(self.service).inc()
            try:
                take(proxy, message, first)
            except TelemetryError as error:
                raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, "garbage", str(error)) from None
            if first and greet is not None:
                await context.write(greet(node))
            first = False
            message = await context.read()

    def _check_size(self, message: bytes) -> None:
        if len(message) > self.limits.max_message_bytes:
            words = f"{len(message)} bytes in a message, at most {self.limits.max_message_bytes}"
            raise _Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "size", words)

    async def _deny(self, context: Context, why: DeniedError, node: base_pb2.Node | None) -> None:
        if self.observer is not None:
            known = Node(node.id, node.cluster) if node is not None else None
            self.observer(Refusal(known, "", why.code, f"{self.service}: {why}"))
        await self._end(context, getattr(grpc.StatusCode, why.code), why.reason, str(why))

    async def _end(
        self, context: Context, status: grpc.StatusCode, reason: str, words: str
    ) -> None:
        self.metrics.closed.labels(self.service, reason).inc()
        await end(context, status.name, words)


def proxy_of(node: base_pb2.Node) -> Proxy:
    """The Envoy behind a node, within bounds whatever the node claims."""
    workers = 1
    if "weir.dev/workers" in node.metadata.fields:
        said = node.metadata.fields["weir.dev/workers"].number_value
        workers = int(said) if 1 <= said <= MAX_WORKERS else 1
    place = node.locality
    return Proxy(
        ProxyId(node.id[:MAX_ID_LENGTH]),
        node.cluster[:MAX_ID_LENGTH],
        workers,
        Zone(place.region[:MAX_ID_LENGTH], place.zone[:MAX_ID_LENGTH]),
    )
