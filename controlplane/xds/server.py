"""The xDS server: a thin shell of grpc.aio around the state machine. Bytes in, bytes out.

cache = SnapshotCache()
server = XdsServer(cache, address="127.0.0.1:18000")
await server.start()
cache.set("edge", {CLUSTER: {...}, ENDPOINT: {...}})
await server.stop(grace_s=5.0)
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import structlog

from controlplane.errors import StartupError
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.connection import Connection, Context, end
from controlplane.xds.csds import ClientStatusService, Found, Others
from controlplane.xds.effects import Request
from controlplane.xds.envelope import Decoder, GarbageError, Node
from controlplane.xds.gate import DeniedError, Gate, Held, Peer, expired
from controlplane.xds.health import Health
from controlplane.xds.pace import Pace
from controlplane.xds.reflection import reflection_handler
from controlplane.xds.reloaded import Reloaded, keep_fresh
from controlplane.xds.services import DISCOVERY_SERVICES, EOF, discovery_handlers
from controlplane.xds.status import Client, Connected, Counts, Event, Left, Observer, Refusal
from controlplane.xds.stream import MAX_NAMES, View
from controlplane.xds.tls import Tls, server_credentials

logger = structlog.get_logger(__name__)

_BATCH = 256  # streams served between two looks at the event loop
_MOVE_S = 2.5  # streams of nodes that are of another group are ended within this
_SHOWN = 200  # characters of a group that are shown in words
_LONGER_S = 600.0  # more than `stop` takes beyond its grace, whatever clients do


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what clients can do to the server."""

    names_per_type: int = MAX_NAMES
    """Names of one type on one stream; more is RESOURCE_EXHAUSTED."""
    request_bytes: int = 4 * 1024 * 1024
    streams_per_connection: int = 1000
    streams_per_identity: int = 10_000
    """Streams of all connections of one name, or of one address where nobody proves a name; more
    is RESOURCE_EXHAUSTED."""
    connection_age_s: float | None = None
    """A connection is closed after this, which gRPC varies by 10 % either way; None: never. Its
    client comes back with the certificate that it has by then."""
    connection_grace_s: float = 5.0
    """What is under way on a connection of that age has this long to end by itself."""
    connection_idle_s: float = 5.0
    """A connection without a stream is closed after this (varied likewise): an Envoy that was
    refused, and has another certificate by now, would otherwise come back with the old one."""
    look_s: float = 1.0
    """Files of certificates and keys are looked at this often; certificates at each handshake."""
    handshake_s: float = 10.0
    """A connection that is not set up within this is closed."""
    first_request_s: float = 15.0
    """A stream that says nothing for this long is closed."""
    write_s: float = 60.0
    """A client that takes nothing for this long is closed."""
    warm_s: float = 20.0
    """Routes wait this long for the clusters that they newly name. Envoy itself gives up on the
    endpoints of a new cluster after 15 s."""
    keepalive_s: float = 30.0
    """A silent connection is probed this often."""
    shortest_ping_s: float = 5.0
    """Clients that ping more often than this are cut off."""


class XdsServer:
    """Serves what is in the cache, over ADS and over the service of each type."""

    def __init__(
        self,
        cache: SnapshotCache,
        *,
        address: str = "127.0.0.1:18000",
        node_group: Callable[[Node], str] = lambda node: node.cluster,
        handlers: Sequence[grpc.GenericRpcHandler[bytes, bytes]] = (),
        observer: Observer | None = None,
        insecure: bool = False,
        tls: Tls | None = None,
        gate: Gate | None = None,
        limits: Limits | None = None,
        shared: bool = False,
        others: Others | None = None,
    ) -> None:
        """`node_group` maps a node to its group; `handlers` are served on the same address.

        An address that is not a loopback address is served only with `tls` or `insecure`. `gate`
        says who may be which node; `handlers` that take one should be given the same.

        With `shared` other processes may listen on the same port (SO_REUSEPORT; the kernel gives
        each connection to one of them), and `others` tell of the clients that they have.
        """
        self._cache = cache
        self._address = address
        self._node_group = node_group
        self._handlers = tuple(handlers)
        self._observer = observer
        self._insecure = insecure
        self._tls = tls
        self._gate = gate or Gate()
        self._limits = limits or Limits()
        self._held = Held(self._limits.streams_per_identity)
        self._groups: dict[str, set[Connection]] = {}
        self._changed: set[str] = set()
        self._resting = asyncio.Lock()
        self._wake = asyncio.Event()
        self._server: grpc.aio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._regrouped = False
        self._health = Health(DISCOVERY_SERVICES)
        self._shared = shared
        self._client_status = ClientStatusService(self.connections, self._gate, others=others)
        self.counts = Counts()
        self.port = 0
        """The port that is listened on, once started."""
        self.files: tuple[Reloaded[Any], ...] = ()
        """Files of certificates and keys that are followed, once started."""

    async def start(self) -> None:
        """Listen. Raises `StartupError` when the address is taken or may not be served."""
        private = self._tls is not None or is_loopback(self._address)
        if not self._insecure and not private:
            raise StartupError(
                f"{self._address} is not a loopback address, and xDS is not encrypted: give a TLS "
                "certificate and key (--tls-cert, --tls-key), listen on 127.0.0.1, or allow it "
                "with --insecure where the network itself is trusted"
            )
        mutual = self._tls is not None and self._tls.client_ca is not None
        self._gate.require_usable(mutual=mutual, private=private)
        certificates = self._tls.open() if self._tls is not None else None
        tokens = self._gate.tokens
        found = (certificates, tokens.keys if tokens is not None else None)
        self.files = tuple(one for one in found if one is not None)
        server = grpc.aio.server(
            handlers=self._served(),
            options=_options(self._limits, self._shared),
        )
        try:
            if certificates is None:
                self.port = server.add_insecure_port(self._address)
            else:
                credentials = server_credentials(certificates)
                self.port = server.add_secure_port(self._address, credentials)
        except RuntimeError as error:
            raise StartupError(
                f"cannot listen for xDS on {self._address}: {error}; is it taken?"
            ) from error
        await self._health.start()
        await server.start()
        self._server = server
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._cache.listen(self._on_change)
        if self._cache.groups():
            await self._health.serving()
        self._tasks = [loop.create_task(self._push()), loop.create_task(self._sweep())]
        if self.files:
            fresh = keep_fresh(self.files, self._tell, self._limits.look_s)
            self._tasks.append(loop.create_task(fresh))
        for task in self._tasks:
            task.add_done_callback(_fault)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Refuse new streams, end the present ones one after the other, and close.

        They are spread over at most half of the grace, so that a fleet does not reconnect to the
        other replicas all at once.
        """
        server, self._server = self._server, None
        if server is None:
            return
        self._cache.unlisten(self._on_change)
        await self._health.stopping()
        # Refuses new streams from here on. Its own grace must not end before we cancel it: gRPC
        # then awaits the future that the last stop below needs, and the cancel would end that.
        stopping = asyncio.create_task(server.stop(grace_s + _LONGER_S))
        await _end(self.connections(), "the server is stopping", grace_s / 2)
        for task in self._tasks:
            task.cancel()
        # One stop of gRPC at a time: it crashes when two end together.
        stopping.cancel()
        await asyncio.gather(*self._tasks, stopping, return_exceptions=True)
        await server.stop(None)

    def clients(self, group: str | None = None) -> tuple[Client, ...]:
        """Every connected stream, or those of one group, as of now."""
        return tuple(one.client() for one in self.connections(group))

    def connections(self, group: str | None = None) -> tuple[Connection, ...]:
        """The same, with what each resource's state is; to be read, not steered."""
        groups = self._groups.values() if group is None else [self._groups.get(group, set())]
        return tuple(connection for one in groups for connection in one)

    def _served(self) -> tuple[grpc.GenericRpcHandler[bytes, bytes], ...]:
        """Discovery, what the caller brought, and what tells of the server itself."""
        served: tuple[Any, ...] = (
            *discovery_handlers(self._serve),
            *self._handlers,
            self._client_status.handler(),
            self._health.handler(),
        )
        return (*served, reflection_handler(one.service_name() for one in served))

    def regroup(self) -> None:
        """`node_group` answers otherwise than before: the streams of nodes that are of another
        group now will end, within a second or some more, and come back to what they should run.
        """
        self._regrouped = True

    async def statuses(self, request: bytes, asks: Peer) -> Found:
        """What is known of the clients here, for another process that got this ClientStatusRequest
        from this peer. Raises `WeirError`."""
        return await self._client_status.statuses(request, asks)

    def _on_change(self, group: str) -> None:
        self._loop.call_soon_threadsafe(self._mark, group)

    def _mark(self, group: str) -> None:
        self._changed.add(group)
        self._wake.set()

    async def _push(self) -> None:
        """Bring the streams of changed groups to what the cache holds by then."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._health.serving()
            while self._changed:
                group = self._changed.pop()
                for index, connection in enumerate(tuple(self._groups.get(group, ()))):
                    node = connection.node
                    view = self._cache.view(group, node.id, node.where)
                    if view is not None and not connection.closed:
                        self._bring(connection, view)
                    if index % _BATCH == _BATCH - 1:
                        await asyncio.sleep(0)

    def _bring(self, connection: Connection, view: View) -> None:
        """A fault of ours with one stream is not to keep the news from all others."""
        try:
            connection.on_view(view)
        except Exception:
            logger.exception("a stream is ended by a fault of ours", node=connection.node.id)
            connection.cut()

    async def _sweep(self) -> None:
        """What time brings: clients that do not read are closed, routes that wait go out."""
        limits = self._limits
        while True:
            await asyncio.sleep(min(1.0, limits.write_s / 4, limits.warm_s / 4))
            if self._regrouped:
                self._regrouped = False
                moved = [c for c in self.connections() if self._node_group(c.node) != c.group]
                await _end(moved, "the node is of another group now", _MOVE_S)
            now_s = time.monotonic()
            too_old = now_s - limits.write_s
            closing = []
            for one in self.connections():
                one.on_time(now_s, limits.warm_s)
                if one.writing_since_s is not None and one.writing_since_s < too_old:
                    closing.append(one.close("DEADLINE_EXCEEDED", "the client does not read"))
            await asyncio.gather(*closing)  # each may take seconds

    async def _serve(self, decoder: Decoder, context: Context) -> None:
        """One stream of somebody whom we know, or who need not be known."""
        try:
            peer = self._gate.peer(context)
            with self._held.one_more(peer.key):
                await self._serve_peer(decoder, context, peer)
        except DeniedError as why:
            await self._refuse(context, _RefusedError(why.code, str(why)))

    async def _serve_peer(self, decoder: Decoder, context: Context, peer: Peer) -> None:
        """One stream, from its first request to its end."""
        try:
            first = await self._admit(decoder, context, peer)
        except _RefusedError as why:
            return await self._refuse(context, why)
        if first is None:
            return None
        connection, request = first
        pace = Pace(self._resting)
        peers = self._groups.setdefault(connection.group, set())
        peers.add(connection)
        self._tell(Connected(connection.node, connection.group, decoder.mode, context.peer()))
        try:
            async with asyncio.timeout(self._gate.remaining_s(peer)):
                while True:
                    began_s = time.monotonic()
                    close = connection.on_request(request)
                    if close is not None:
                        return await connection.close(close.code, close.message)
                    await pace.after(time.monotonic() - began_s)
                    raw = await context.read()
                    if raw is EOF:
                        return None
                    request, _ = decoder.request(raw)
        except TimeoutError:
            await connection.close(expired().code, str(expired()))
        except GarbageError as error:
            await connection.close("INVALID_ARGUMENT", str(error))
        finally:
            connection.release()
            peers.discard(connection)
            if not peers and self._groups.get(connection.group) is peers:
                del self._groups[connection.group]
            lasted_s = time.monotonic() - connection.since_s
            self._tell(Left(connection.node, connection.group, lasted_s))

    async def _admit(
        self, decoder: Decoder, context: Context, peer: Peer
    ) -> tuple[Connection, Request] | None:
        """Read the first request, and find what its node should run."""
        try:
            async with asyncio.timeout(self._limits.first_request_s):
                raw = await context.read()
            if raw is EOF:
                return None
            request, node = decoder.request(raw)
        except TimeoutError:
            text = f"no request within {self._limits.first_request_s:g} s"
            raise _RefusedError("DEADLINE_EXCEEDED", text) from None
        except GarbageError as error:
            raise _RefusedError("INVALID_ARGUMENT", str(error)) from None
        if node is None:
            raise _RefusedError("INVALID_ARGUMENT", "the first request must say its node")
        try:
            self._gate.admit(peer, node.id, node.cluster)
        except DeniedError as why:
            raise _RefusedError(why.code, str(why), node) from None
        # The first write would take them along, and gRPC cannot end a stream during that write.
        await context.send_initial_metadata(())
        group = self._node_group(node)
        view = self._cache.view(group, node.id, node.where)
        if view is None:
            text = f"nothing to serve yet for {group[:_SHOWN]!r}"
            raise _RefusedError("UNAVAILABLE", text, node, group)
        self.counts.connects += 1
        names = self._limits.names_per_type
        mode = decoder.mode
        return (
            Connection(context, mode, node, group, view, names, self.counts, self._observer),
            request,
        )

    async def _refuse(self, context: Context, why: _RefusedError) -> None:
        self.counts.refused[why.code] = self.counts.refused.get(why.code, 0) + 1
        self._tell(Refusal(why.node, why.group, why.code, str(why)))
        await end(context, why.code, str(why))

    def _tell(self, event: Event) -> None:
        if self._observer is not None:
            self._observer(event)


def _fault(task: asyncio.Task[None]) -> None:
    """These tasks run until they are cancelled. Nothing is known to end one: then say so loudly."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("a part of the xDS server has ended; restart it", exc_info=error)


async def _end(connections: Sequence[Connection], message: str, over_s: float) -> None:
    """End these streams one after the other, so that a fleet does not reconnect all at once."""
    ending = list(connections)
    random.shuffle(ending)
    pause_s = min(0.02, over_s / max(len(ending), 1))
    slept_s = due_s = 0.0
    async with asyncio.TaskGroup() as closing:
        for connection in ending:
            closing.create_task(connection.close("UNAVAILABLE", message))
            due_s += pause_s
            if due_s - slept_s >= 0.01:
                await asyncio.sleep(due_s - slept_s)
                slept_s = due_s


class _RefusedError(Exception):
    """A stream that is not served at all."""

    def __init__(self, code: str, text: str, node: Node | None = None, group: str = "") -> None:
        super().__init__(text)
        self.code, self.node, self.group = code, node, group


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address.

    >>> is_loopback("127.0.0.1:18000"), is_loopback("[::1]:0"), is_loopback("0.0.0.0:18000")
    (True, True, False)
    """
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _options(limits: Limits, shared: bool) -> list[tuple[str, int]]:
    aged = [
        ("grpc.max_connection_age_ms", int((limits.connection_age_s or 0.0) * 1000)),
        ("grpc.max_connection_age_grace_ms", int(limits.connection_grace_s * 1000)),
    ]
    return [
        *(aged if limits.connection_age_s is not None else ()),
        ("grpc.server_handshake_timeout_ms", int(limits.handshake_s * 1000)),
        ("grpc.max_connection_idle_ms", int(limits.connection_idle_s * 1000)),
        ("grpc.so_reuseport", int(shared)),  # else a port that is taken is an error
        ("grpc.server.max_pending_requests", 1_000_000),  # else a storm of connects loses streams
        ("grpc.server.max_pending_requests_hard_limit", 1_000_000),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        ("grpc.max_receive_message_length", limits.request_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", int(limits.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", int(limits.shortest_ping_s * 1000)),
    ]
