"""An xDS client that refuses what it is sent, when it is told to: it asks for listeners alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc

from controlplane._pb import discovery_pb2

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_LISTENERS = "type.googleapis.com/envoy.config.listener.v3.Listener"
_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
WORDS = "the test does not like it"


class Refuser:
    """One stream."""

    def __init__(self, *, refuses: bool) -> None:
        self.refuses = refuses
        """What comes from now on."""
        self.taken = 0

    async def follow(self, port: int, fleet: str) -> None:
        """Until cancelled."""
        target = f"127.0.0.1:{port}"
        async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
            call = channel.stream_stream(  # type: ignore[call-arg]
                _METHOD,
                request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
                response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
            )()
            request = discovery_pb2.DiscoveryRequest(type_url=_LISTENERS)
            request.node.id, request.node.cluster = "envoy-1", fleet
            await call.write(request)
            async for response in call:
                request.response_nonce = response.nonce
                request.ClearField("error_detail")
                if self.refuses:
                    request.error_detail.message = WORDS
                else:
                    request.version_info = response.version_info
                    self.taken += 1
                await call.write(request)


@contextlib.asynccontextmanager
async def connected_envoy(port: int, fleet: str, *, refuses: bool) -> AsyncIterator[Refuser]:
    """A client until the block ends."""
    client = Refuser(refuses=refuses)
    running = asyncio.create_task(client.follow(port, fleet))
    try:
        yield client
    finally:
        running.cancel()
        await asyncio.wait({running})
