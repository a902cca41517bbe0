"""An xDS client that asks for one endpoint assignment and keeps every answer, to the byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc

from controlplane._pb import discovery_pb2

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)  # no backoff shared with the try before


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    version: str
    body: bytes


@dataclass(slots=True)
class EdsClient:
    """Connects again and again. `streams` has the answers of each stream that gave any."""

    port: int
    resource: str
    node_cluster: str = "recorder"
    streams: list[list[Answer]] = field(default_factory=list)
    connected: bool = False

    @property
    def newest(self) -> Answer:
        """The last answer there was."""
        return self.streams[-1][-1]

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            target = f"127.0.0.1:{self.port}"
            async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await self._follow(channel)
            self.connected = False
            await asyncio.sleep(0.05)

    async def _follow(self, channel: grpc.aio.Channel) -> None:
        call = channel.stream_stream(  # type: ignore[call-arg]
            _METHOD,
            request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
        )()
        request = discovery_pb2.DiscoveryRequest(type_url=_EDS, resource_names=[self.resource])
        request.node.id, request.node.cluster = "recorder", self.node_cluster
        await call.write(request)
        answers: list[Answer] = []
        async for response in call:
            if not answers:
                self.streams.append(answers)
            (resource,) = response.resources
            answers.append(Answer(response.version_info, resource.value))
            self.connected = True
            request.version_info, request.response_nonce = response.version_info, response.nonce
            await call.write(request)


@contextlib.asynccontextmanager
async def recorded(port: int, resource: str) -> AsyncIterator[EdsClient]:
    """A client that runs until the block ends."""
    client = EdsClient(port, resource)
    running = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        running.cancel()
        await asyncio.wait({running})
