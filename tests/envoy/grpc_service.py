"""Services of gRPC that Envoys call, run in this process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc


@contextlib.asynccontextmanager
async def serving(methods: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> AsyncIterator[int]:
    """Run these, by `service/Method`; the port that they have."""
    server = grpc.aio.server()
    for path, handler in methods.items():
        service, _, method = path.rpartition("/")
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)
