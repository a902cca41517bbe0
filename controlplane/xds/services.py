"""The gRPC methods of Envoy's discovery services, by their paths. Messages stay bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from controlplane.xds.connection import Context
from controlplane.xds.envelope import Decoder
from controlplane.xds.kinds import (
    CLUSTER,
    ENDPOINT,
    EXTENSION,
    LISTENER,
    ROUTE,
    RUNTIME,
    SCOPED_ROUTE,
    SECRET,
    VIRTUAL_HOST,
)
from controlplane.xds.steps import Mode

EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]
"""What `context.read()` gives when the client has closed its side."""

_SERVICES = (
    ("discovery.v3.AggregatedDiscoveryService", "AggregatedResources", ""),
    ("cluster.v3.ClusterDiscoveryService", "Clusters", CLUSTER),
    ("endpoint.v3.EndpointDiscoveryService", "Endpoints", ENDPOINT),
    ("listener.v3.ListenerDiscoveryService", "Listeners", LISTENER),
    ("route.v3.RouteDiscoveryService", "Routes", ROUTE),
    ("route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes", SCOPED_ROUTE),
    ("route.v3.VirtualHostDiscoveryService", "VirtualHosts", VIRTUAL_HOST),
    ("extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs", EXTENSION),
    ("secret.v3.SecretDiscoveryService", "Secrets", SECRET),
    ("runtime.v3.RuntimeDiscoveryService", "Runtime", RUNTIME),
)
DISCOVERY_SERVICES = tuple(f"envoy.service.{service}" for service, _, _ in _SERVICES)
"""By their full names."""

Serve = Callable[[Decoder, Context], Awaitable[None]]


def discovery_handlers(serve: Serve) -> tuple[grpc.GenericRpcHandler[bytes, bytes], ...]:
    """Both variants of every service, each stream served by `serve`."""
    return tuple(
        grpc.method_handlers_generic_handler(
            f"envoy.service.{service}",
            {
                f"Stream{what}": _method(serve, Decoder(Mode.SOTW, type_url)),
                f"Delta{what}": _method(serve, Decoder(Mode.DELTA, type_url)),
            },
        )
        for service, what, type_url in _SERVICES
    )


def _method(serve: Serve, decoder: Decoder) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def stream(_: object, context: Context) -> None:
        await serve(decoder, context)

    return grpc.stream_stream_rpc_method_handler(stream)
