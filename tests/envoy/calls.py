"""gRPC servers that tell what they received, and a client, for tests with the real Envoy."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from tests.certificates import Issued

DEADLINE_S = 20.0


@dataclass
class Callee(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Answers every call with its name, the method and the metadata, once for each message."""

    name: str
    port: int = 0
    received: list[str] = field(default_factory=list)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Every method there is."""
        metadata = {key: str(value) for key, value in details.invocation_metadata}
        method = details.method

        async def answer(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:  # noqa: ANN401
            self.received.append(method)
            await context.send_initial_metadata((("x-origin", self.name), ("x-gone", "origin")))
            async for message in messages:
                said = {"origin": self.name, "method": method, "metadata": metadata}
                yield json.dumps({**said, "message": message.decode()}).encode()

        return grpc.stream_stream_rpc_method_handler(answer)


@contextlib.asynccontextmanager
async def callees(*names: str, own: Issued | None = None) -> AsyncIterator[dict[str, Callee]]:
    """Run one for each name; over TLS with a certificate of their `own`."""
    pairs = [(own.key, own.certificate)] if own is not None else []
    async with contextlib.AsyncExitStack() as stack:
        found = {name: Callee(name) for name in names}
        for one in found.values():
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((one,))
            one.port = (
                server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pairs))
                if pairs
                else server.add_insecure_port("127.0.0.1:0")
            )
            await server.start()
            stack.push_async_callback(server.stop, 0)
        yield found


@dataclass(frozen=True)
class Reply:
    """What came back of a call."""

    code: grpc.StatusCode
    origin: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Initial metadata of the answer."""
    sent: Mapping[str, str] = field(default_factory=dict)
    """Metadata that the server received."""


def channel(port: int, host: str, ca: bytes | None = None) -> grpc.aio.Channel:
    """A channel to a host by an address of this machine; TLS with `ca`."""
    place = f"127.0.0.1:{port}"
    if ca is None:
        return grpc.aio.insecure_channel(place, options=[("grpc.default_authority", host)])
    return grpc.aio.secure_channel(
        place,
        grpc.ssl_channel_credentials(ca),
        options=[("grpc.ssl_target_name_override", host)],
    )


async def call(
    via: grpc.aio.Channel,
    method: str,
    metadata: Mapping[str, str] | None = None,
    message: bytes = b"x",
) -> Reply:
    """One call with one message."""
    pairs = tuple((metadata or {}).items())
    multi = via.unary_unary(method, None, None)  # messages are bytes
    made = multi(message, metadata=pairs, timeout=DEADLINE_S)
    try:
        said = json.loads(await made)
    except grpc.aio.AioRpcError as error:
        return Reply(error.code())
    first = {str(key): str(value) for key, value in await made.initial_metadata()}
    return Reply(grpc.StatusCode.OK, said["origin"], first, said["metadata"])
