"""The client status discovery service (CSDS): what each client runs, resource by resource.

Served on the xDS address, to whoever may connect to it. The bodies of secrets, and of resources
that carry some, are never in an answer (`confidential`). An answer is bounded, and so is the number
of streams; while one is put together the event loop is given back after each client.

A client that comes with several streams (one for each type) is one client here, by its node id.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from controlplane._pb import admin_pb2, base_pb2, status_pb2
from controlplane.errors import WeirError
from controlplane.xds.confidential import confidential
from controlplane.xds.connection import Connection, Context, end
from controlplane.xds.envelope import Node
from controlplane.xds.gate import DeniedError, Gate, Peer
from controlplane.xds.matching import BadMatcherError, NodeTest, node_test
from controlplane.xds.report import Report, Stage
from controlplane.xds.services import EOF
from controlplane.xds.status import Client
from controlplane.xds.versions import Resource

SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"

_SYNCED = status_pb2.ConfigStatus.SYNCED
_STALE = status_pb2.ConfigStatus.STALE
_GenericXdsConfig = status_pb2.ClientConfig.GenericXdsConfig

Others = Callable[[bytes, Peer], Awaitable[bytes]]
"""The answer of other processes with clients of their own, to a request and who makes it. May raise
`WeirError`."""


@dataclass(frozen=True, slots=True)
class StatusLimits:
    """What somebody who asks may cost us."""

    answer_bytes: int = 4 * 1024 * 1024
    """What gRPC clients take by default. A larger answer is RESOURCE_EXHAUSTED."""
    streams: int = 64
    """Requests and streams at a time; one more is RESOURCE_EXHAUSTED."""
    idle_s: float = 120.0
    """A stream on which nothing is asked for this long is closed."""


class _Refused(Exception):
    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        super().__init__(words)
        self.code = code


class ClientStatusService:
    """Serves StreamClientStatus and FetchClientStatus from the connections of a server."""

    def __init__(
        self,
        connections: Callable[[], Sequence[Connection]],
        gate: Gate | None = None,
        limits: StatusLimits | None = None,
        others: Others | None = None,
    ) -> None:
        """Who asks is told of the nodes that he may be, by the `gate`."""
        self._connections = connections
        self._gate = gate or Gate()
        self._limits = limits or StatusLimits()
        self._others = others
        self._open = 0

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What a grpc.aio server serves."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
                "FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch),
            },
        )

    async def _fetch(self, raw: bytes, context: Context) -> bytes:
        answer = b""
        async with _refusing(context):
            with self._asking(context) as peer:
                answer = await self._answer(raw, peer)
        return answer

    async def _stream(self, _: object, context: Context) -> None:
        async with _refusing(context):
            with self._asking(context) as peer:
                while (raw := await self._next(context)) is not EOF:
                    await context.write(await self._answer(raw, peer))

    async def _next(self, context: Context) -> Any:  # noqa: ANN401 (bytes, or the end of the stream)
        try:
            async with asyncio.timeout(self._limits.idle_s):
                return await context.read()
        except TimeoutError:
            words = f"nothing was asked for {self._limits.idle_s:.0f} s"
            raise _Refused(grpc.StatusCode.DEADLINE_EXCEEDED, words) from None

    @contextlib.contextmanager
    def _asking(self, context: Context) -> Iterator[Peer]:
        """Somebody whom we know, within the limit of those who ask; who is not known takes
        nobody's place. Raises `_Refused`."""
        try:
            peer = self._gate.peer(context)
        except DeniedError as why:
            raise _Refused(getattr(grpc.StatusCode, why.code), str(why)) from None
        if self._open >= self._limits.streams:
            words = f"{self._limits.streams} are asking for the status of clients already"
            raise _Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, words)
        self._open += 1
        try:
            yield peer
        finally:
            self._open -= 1

    async def _answer(self, raw: bytes, peer: Peer) -> bytes:
        found = await self._found(raw, peer)
        if self._others is None:
            return found
        try:
            found += await self._others(raw, peer)
        except WeirError as error:
            raise _Refused(grpc.StatusCode.UNAVAILABLE, f"other processes: {error}") from None
        if len(found) > self._limits.answer_bytes:
            raise self._too_large()
        return found

    async def statuses(self, raw: bytes, peer: Peer) -> bytes:
        """What is known here, for another process that was asked. Raises `WeirError`."""
        try:
            return await self._found(raw, peer)
        except _Refused as why:
            raise WeirError(str(why)) from None

    async def _found(self, raw: bytes, peer: Peer) -> bytes:
        try:
            request = status_pb2.ClientStatusRequest.FromString(raw)
            wanted = node_test(request.node_matchers)
        except (DecodeError, UnicodeDecodeError) as error:
            words = f"not a ClientStatusRequest: {error}"
            raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, words) from None
        except BadMatcherError as error:
            raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        contents = not request.exclude_resource_contents
        found: list[bytes] = []
        left = self._limits.answer_bytes
        for streams in by_node(self._seen(peer, wanted)):
            config = _client_config(streams, contents, left)
            if config is None:
                raise self._too_large()
            one = status_pb2.ClientStatusResponse(config=[config]).SerializeToString()
            found.append(one)  # messages one after another are one
            left -= len(one)
            await asyncio.sleep(0)
        return b"".join(found)

    def _too_large(self) -> _Refused:
        return _Refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"the answer is larger than {self._limits.answer_bytes} bytes; ask for fewer "
            "clients with node_matchers, or set exclude_resource_contents",
        )

    def _seen(self, peer: Peer, wanted: NodeTest) -> Iterator[Connection]:
        for one in self._connections():
            if wanted(one.node.id) and self._gate.entitles(peer, one.node.id, one.node.cluster):
                yield one


@contextlib.asynccontextmanager
async def _refusing(context: Context) -> AsyncIterator[None]:
    """What is refused ends in a gRPC status."""
    try:
        yield
    except _Refused as why:
        await end(context, why.code.name, str(why))


def by_node(connections: Iterable[Connection]) -> list[list[Connection]]:
    """The streams of each client, in the order of its id and of their age, newest first."""
    found: dict[str, list[Connection]] = {}
    for one in connections:
        found.setdefault(one.node.id, []).append(one)
    ordered = sorted(found.items())
    return [sorted(streams, key=lambda one: -one.since_s) for _, streams in ordered]


def _client_config(
    streams: Sequence[Connection], contents: bool, most_bytes: int
) -> status_pb2.ClientConfig | None:
    """What one client runs; None where that is larger. Of two streams with a type, the newer."""
    made = status_pb2.ClientConfig(node=_node(streams[0].node))
    size = made.ByteSize()
    told: set[str] = set()
    for stream in streams:
        client = stream.client()
        mine = {one.type_url for one in client.types} - told
        told |= mine
        for report in stream.reports():
            if report.type_url not in mine:
                continue
            one = _generic(report, client, contents)
            size += one.ByteSize() + 16
            if size > most_bytes:
                return None
            made.generic_xds_configs.append(one)
    return made


def _node(node: Node) -> base_pb2.Node:
    made = base_pb2.Node(id=node.id, cluster=node.cluster, user_agent_name=node.user_agent)
    if node.region or node.zone:
        made.locality.region, made.locality.zone = node.region, node.zone
    if node.metadata:
        ParseDict(dict(node.metadata), made.metadata)
    return made


def _generic(
    report: Report, client: Client, contents: bool
) -> status_pb2.ClientConfig.GenericXdsConfig:
    times = client.times.get(report.type_url)
    config_status, client_status = _statuses(report)
    made = _GenericXdsConfig(
        type_url=report.type_url,
        name=report.name,
        config_status=config_status,
        client_status=client_status,
    )
    if report.taken is not None:
        made.version_info = report.taken.version
        if times is not None and times.acked_s is not None:
            made.last_updated.CopyFrom(_stamp(times.acked_s))
        if contents and _shown(report.type_url, report.taken):
            made.xds_config.type_url = report.type_url
            made.xds_config.value = report.taken.body
    if report.stage is Stage.REFUSED and report.intended is not None:
        failed = made.error_state
        failed.version_info = report.intended.version
        if times is not None and times.nacked_s is not None:
            failed.details = times.nack
            failed.last_update_attempt.CopyFrom(_stamp(times.nacked_s))
        if contents and _shown(report.type_url, report.intended):
            failed.failed_configuration.type_url = report.type_url
            failed.failed_configuration.value = report.intended.body
    return made


def _statuses(report: Report) -> tuple[status_pb2.ConfigStatus, admin_pb2.ClientResourceStatus]:
    """How it stands for us, and for the client."""
    theirs = admin_pb2.ClientResourceStatus
    has = theirs.ACKED if report.taken is not None else theirs.REQUESTED
    match report.stage:
        case Stage.IN_FORCE:
            return _SYNCED, theirs.ACKED
        case Stage.ABSENT:
            return _SYNCED, theirs.DOES_NOT_EXIST
        case Stage.REFUSED:
            return status_pb2.ConfigStatus.ERROR, theirs.NACKED
        case Stage.AWAITED:
            return _STALE, has
        case Stage.NOT_SENT:
            behind = _STALE if report.taken is not None else status_pb2.ConfigStatus.NOT_SENT
            return behind, has


def _shown(type_url: str, one: Resource) -> bool:
    """Not what a client says that it has, of which we know only the version."""
    return not one.is_claimed and not confidential(type_url, one.body)


def _stamp(monotonic_s: float) -> Timestamp:
    made = Timestamp()
    made.FromNanoseconds(round((time.time() - time.monotonic() + monotonic_s) * 1e9))
    return made
