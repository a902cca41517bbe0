"""What a ClientPolicy says of connections that are passed on, through the real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.lab.envoy import free_port
from tests.certificates import Authority, Files, Issued
from tests.envoy.edge import backend, edge, gateway, policy, secret, to, until
from tests.envoy.origin import ask, origins
from tests.envoy.test_stream_routes import stream_route, tls_listener
from tests.envoy.test_tls import pair

pytestmark = pytest.mark.envoy

DEADLINE_S = 20.0


@contextlib.asynccontextmanager
async def connected(
    port: int, context: ssl.SSLContext
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="ended.test"
    )
    try:
        yield reader, writer
    finally:
        writer.close()


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the other end closes without a word."""
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(ConnectionError):
            return await reader.read() == b""
    return True


async def test_certificates_idle_times_and_limits_hold_for_connections_too(tmp_path: Path) -> None:
    ca, clients = Authority("servers"), Authority("clients")
    tcp, ended = free_port(), free_port()
    keys = "{certificateRefs: [{name: own}]}"
    async with origins("a") as running:
        documents = [
            gateway(
                f"name: tcp, port: {tcp}, protocol: TCP",
                tls_listener("ended", ended, "ended.test", keys),
            ),
            secret("own", pair(ca.issue(dns=["ended.test"]))),
            secret("clients", {"ca.crt": clients.pem}),
            backend("a", running["a"].port),
            stream_route("TCPRoute", "tcp", to("a"), listener="tcp"),
            stream_route("TCPRoute", "ended", to("a"), listener="ended"),
            policy(
                "ClientPolicy",
                "tcp",
                "Gateway/edge/tcp",
                "  timeout: {tcp: {idleTimeout: 1s}}\n"
                "  connection: {connectionLimit: {value: 1}}\n",
            ),
            policy(
                "ClientPolicy",
                "ended",
                "Gateway/edge/ended",
                "  tls: {clientValidation: {caCertificateRefs: [{name: clients}]}}\n",
            ),
        ]

        async def let_in(own: Issued | None) -> bool:
            context = ssl.create_default_context(cadata=ca.pem.decode())
            if own is not None:
                files = Files(tmp_path / "client").put(own, b"")
                context.load_cert_chain(files.certificate, files.key)
            try:
                async with asyncio.timeout(DEADLINE_S), connected(ended, context) as (got, sent):
                    sent.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                    return (await got.readline()).startswith(b"HTTP/1.1 200")
            except (ssl.SSLError, ConnectionError):
                return False

        async with edge(tmp_path, *documents):
            await until(lambda: let_in(clients.issue(dns=["a.test"])))
            assert not await let_in(None)
            assert not await let_in(Authority("clients").issue(dns=["a.test"]))

            reader, writer = await asyncio.open_connection("127.0.0.1", tcp)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 X\r\n"
            beyond, its_writer = await asyncio.open_connection("127.0.0.1", tcp)
            assert await closed(beyond)
            its_writer.close()
            async with asyncio.timeout(DEADLINE_S):
                await reader.read()  # the rest of the answer, until Envoy finds it idle
            writer.close()
            assert await ask(tcp) == {(200, "a"): 1}


async def test_connections_that_are_passed_on_are_logged_when_they_end(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "connections"
    sink = f"[{{type: File, file: {{path: {log}}}}}]"
    text = "{type: Text, text: 'to %UPSTREAM_CLUSTER% %BYTES_RECEIVED%'}"
    async with origins("a") as running:
        documents = [
            gateway(f"name: tcp, port: {port}, protocol: TCP"),
            backend("a", running["a"].port),
            stream_route("TCPRoute", "tcp", to("a"), listener="tcp"),
            policy(
                "ClientPolicy",
                "tcp",
                "Gateway/edge/tcp",
                f"  telemetry: {{accessLog: {{settings: [{{format: {text}, sinks: {sink}}}]}}}}\n",
            ),
        ]

        async def logged() -> bool:
            return log.exists() and log.read_text() == "to default/a 5\n"

        async with edge(tmp_path, *documents):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            await writer.drain()
            writer.close()
            await until(logged)
