"""grpc.health.v1.Health of the xDS address: SERVING from the first snapshot until the stop.

The status is one, under the empty name and under that of each discovery service; load balancers
ask for either. Check is refused while stopping, as every new stream is; who watches hears
NOT_SERVING.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

SERVICE = "grpc.health.v1.Health"

_Servicer: Any = health.aio.HealthServicer  # type: ignore[attr-defined]
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVING = health_pb2.HealthCheckResponse.SERVING


class Health:
    """The one status of all services. Belongs to one event loop."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = ("", *services)
        self._servicer = _Servicer()
        self._serving = False

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What a grpc.aio server serves."""
        reads = {"request_deserializer": health_pb2.HealthCheckRequest.FromString}
        writes = {"response_serializer": health_pb2.HealthCheckResponse.SerializeToString}
        servicer = self._servicer
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(servicer.Check, **reads, **writes),
            "Watch": grpc.unary_stream_rpc_method_handler(servicer.Watch, **reads, **writes),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def start(self) -> None:
        """NOT_SERVING, before anybody can ask: of itself the servicer would begin with SERVING."""
        await self._set(_NOT_SERVING)

    async def serving(self) -> None:
        """There is something to serve. Without effect where that is known, or after `stopping`."""
        if not self._serving:
            self._serving = True
            await self._set(_SERVING)

    async def stopping(self) -> None:
        """NOT_SERVING, for good."""
        await self._servicer.enter_graceful_shutdown()

    async def _set(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in self._services:
            await self._servicer.set(service, status)
