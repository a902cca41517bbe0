"""The client status discovery service (CSDS): what each client runs, resource by resource.

Served on the xDS address, to whoever may connect to it. The bodies of secrets, and of resources
that carry some, are never in an answer (`confidential`). An answer is bounded, and all or nothing;
so is the number of those who ask. While one is put together the event loop is given back after each
stream.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from controlplane._pb import status_pb2
from controlplane.errors import WeirError
from controlplane.xds.client_config import Told, by_node, joined, tell
from controlplane.xds.connection import Connection, Context, end
from controlplane.xds.gate import DeniedError, Gate, Held, Peer, expired
from controlplane.xds.matching import BadMatcherError, NodeTest, node_test
from controlplane.xds.services import EOF

SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"


@dataclass(frozen=True, slots=True)
class Found:
    """What one process knows of the clients that somebody asks for."""

    streams: tuple[Told, ...] = ()
    too_large: bool = False
    """It is more than an answer may hold, and left out."""


Others = Callable[[bytes, Peer], Awaitable[Sequence[Found]]]
"""What other processes with clients of their own know, of a request and who makes it. May raise
`WeirError`."""


@dataclass(frozen=True, slots=True)
class StatusLimits:
    """What somebody who asks may cost us."""

    answer_bytes: int = 4 * 1024 * 1024
    """What gRPC clients take by default. A larger answer is RESOURCE_EXHAUSTED."""
    streams: int = 64
    """Requests and streams at a time; one more is RESOURCE_EXHAUSTED."""
    streams_per_identity: int = 16
    """Of these, those of one name, or of one address where nobody proves a name."""
    idle_s: float = 120.0
    """A stream on which nothing is asked for this long is closed."""


class _Refused(Exception):
    def __init__(self, code: str, words: str) -> None:
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
        self._held = Held(self._limits.streams_per_identity)

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
        try:
            with self._asking(context) as peer:
                return await self._answer(raw, peer)
        except (DeniedError, _Refused) as why:
            await end(context, why.code, str(why))
            return b""

    async def _stream(self, _: object, context: Context) -> None:
        try:
            with self._asking(context) as peer:
                await self._serve(context, peer)
        except (DeniedError, _Refused) as why:
            await end(context, why.code, str(why))

    async def _serve(self, context: Context, peer: Peer) -> None:
        try:
            async with asyncio.timeout(self._gate.remaining_s(peer)):
                while (raw := await self._next(context)) is not EOF:
                    await context.write(await self._answer(raw, peer))
        except TimeoutError:
            raise expired() from None

    async def _next(self, context: Context) -> Any:  # noqa: ANN401 (bytes, or the end of the stream)
        try:
            async with asyncio.timeout(self._limits.idle_s):
                return await context.read()
        except TimeoutError:
            words = f"nothing was asked for {self._limits.idle_s:.0f} s"
            raise _Refused("DEADLINE_EXCEEDED", words) from None

    @contextlib.contextmanager
    def _asking(self, context: Context) -> Iterator[Peer]:
        """Somebody whom we know, within the limits of those who ask: who is not known takes
        nobody's place, and nobody takes all.
        """
        peer = self._gate.peer(context)
        with self._held.one_more(peer.key):
            if self._open >= self._limits.streams:
                words = f"{self._limits.streams} are asking for the status of clients already"
                raise _Refused("RESOURCE_EXHAUSTED", words)
            self._open += 1
            try:
                yield peer
            finally:
                self._open -= 1

    async def _answer(self, raw: bytes, peer: Peer) -> bytes:
        found = [await self._found(raw, peer)]
        if self._others is not None and not found[0].too_large:
            try:
                found += await self._others(raw, peer)
            except WeirError as error:
                raise _Refused("UNAVAILABLE", f"other processes: {error}") from None
        if any(one.too_large for one in found):
            raise self._too_large()
        answer = joined((one for each in found for one in each.streams), self._limits.answer_bytes)
        if answer is None:
            raise self._too_large()
        return answer

    async def statuses(self, raw: bytes, peer: Peer) -> Found:
        """What is known here, for another process that was asked. Raises `WeirError`."""
        try:
            return await self._found(raw, peer)
        except _Refused as why:
            raise WeirError(str(why)) from None

    async def _found(self, raw: bytes, peer: Peer) -> Found:
        try:
            request = status_pb2.ClientStatusRequest.FromString(raw)
            wanted = node_test(request.node_matchers)
        except (DecodeError, UnicodeDecodeError) as error:
            words = f"not a ClientStatusRequest: {error}"
            raise _Refused("INVALID_ARGUMENT", words) from None
        except BadMatcherError as error:
            raise _Refused("INVALID_ARGUMENT", str(error)) from None
        contents = not request.exclude_resource_contents
        found: list[Told] = []
        left = self._limits.answer_bytes
        for streams in by_node(self._seen(peer, wanted)):
            newer: set[str] = set()
            for stream in streams:
                one = tell(stream, newer, contents, left)
                if one is None:
                    return Found(too_large=True)
                found.append(one)
                newer.update(one.types)
                left -= one.size
                await asyncio.sleep(0)
        return Found(tuple(found))

    def _too_large(self) -> _Refused:
        return _Refused(
            "RESOURCE_EXHAUSTED",
            f"the answer is larger than {self._limits.answer_bytes} bytes; ask for fewer "
            "clients with node_matchers, or set exclude_resource_contents",
        )

    def _seen(self, peer: Peer, wanted: NodeTest) -> Iterator[Connection]:
        for one in self._connections():
            if wanted(one.node.id) and self._gate.entitles(peer, one.node.id, one.node.cluster):
                yield one
