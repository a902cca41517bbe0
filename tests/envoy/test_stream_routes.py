"""TLSRoute and TCPRoute through the real Envoy: who ends TLS, who gets which connections, and that
listeners of HTTPS and of TLS share a port by the name that the client asks for."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from controlplane.lab.envoy import free_port
from tests.certificates import Authority, Issued
from tests.envoy.edge import (
    Edge,
    backend,
    edge,
    gateway,
    policy,
    route,
    secret,
    to,
    trusting,
    until,
)
from tests.envoy.origin import Origin, listen

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

CLOSED = "closed"


def stream_route(kind: str, name: str, refs: str, *, hosts: str = "", listener: str = "") -> str:
    only = f"\n  hostnames: [{hosts}]" if hosts else ""
    version = "v1alpha3" if kind == "TLSRoute" else "v1alpha2"
    return (
        f"apiVersion: gateway.networking.k8s.io/{version}\nkind: {kind}\n"
        f"metadata: {{name: {name}}}\nspec:\n"
        f"  parentRefs: [{{name: edge, sectionName: {listener}}}]{only}\n"
        f"  rules: [{{{refs}}}]\n"
    )


def tls_listener(name: str, port: int, host: str = "", tls: str = "{mode: Passthrough}") -> str:
    only = f"hostname: '{host}', " if host else ""
    return f"name: {name}, {only}port: {port}, protocol: TLS, tls: {tls}"


@dataclass
class Scene:
    made: Edge
    tls: int
    tcp: int
    ended: int
    ca: bytes
    origins: dict[str, Origin]


async def _serve(stack: AsyncExitStack, folder: Path, name: str, one: Issued | None) -> Origin:
    """An origin, which ends TLS itself where it has a certificate."""
    origin, context = Origin(name), None
    if one is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for ending, content in (("crt", one.certificate), ("key", one.key)):
            (folder / f"{name}.{ending}").write_bytes(content)
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    await listen(stack, origin, context)
    return origin


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    ca, folder = Authority(), tmp_path_factory.mktemp("streams")
    own = ca.issue(dns=["*.own.test", "*.two.own.test", "own.test", "x.web.test"])
    edges = ca.issue(dns=["*.web.test", "ended.test", "mixed.test"])
    tls, tcp, ended = free_port(), free_port(), free_port()
    async with AsyncExitStack() as stack:
        found = {}
        for name in ("a", "b", "p", "q", "r"):
            certificate = own if name in "pqr" else None
            found[name] = await _serve(stack, folder, name, certificate)
        keys = "{certificateRefs: [{name: edges}]}"
        documents = [
            gateway(
                tls_listener("any", tls),
                tls_listener("own", tls, "*.own.test"),
                f"name: web, hostname: '*.web.test', port: {tls}, protocol: HTTPS, tls: {keys}",
                f"name: tcp, port: {tcp}, protocol: TCP",
                tls_listener("ended", ended, "ended.test", keys),
                tls_listener("mixed", tls, "mixed.test", keys),
            ),
            secret("edges", {"tls.crt": edges.certificate, "tls.key": edges.key}),
            *(backend(name, one.port) for name, one in found.items()),
            route("web", f"[{{{to('a')}}}]", parents="[{name: edge, sectionName: web}]"),
            stream_route(
                "TLSRoute",
                "exact",
                to("p"),
                hosts="one.own.test",
                listener="own",
            ),
            stream_route("TLSRoute", "wild", to("q"), hosts="'*.two.own.test'", listener="own"),
            # One name is that of an older route; another belongs to the listener of HTTPS.
            stream_route(
                "TLSRoute",
                "late",
                to("r"),
                hosts="one.own.test, own.test, x.web.test",
                listener="any",
            ).replace("sectionName: any}", f"port: {tls}}}"),
            stream_route(
                "TCPRoute",
                "shares",
                "backendRefs: [{name: a, weight: 6}, {name: b, weight: 2}, "
                "{name: nobody, weight: 2}, {name: p, weight: 0}]",
                listener="tcp",
            ),
            stream_route("TCPRoute", "too-late", to("a"), listener="tcp"),
            stream_route("TCPRoute", "ended", to("b"), listener="ended"),
            stream_route("TLSRoute", "mixed", to("b"), listener="mixed"),
            policy("BalancingPolicy", "equal", "TCPRoute/shares", "  policy: equal\n"),
        ]
        made = await stack.enter_async_context(edge(folder, *documents, faults=FAULTS))
        one = Scene(made, tls, tcp, ended, ca.pem, found)
        await until(lambda: _serves(one))
        yield one


FAULTS = (
    "listener own of Gateway default/edge has TLSRoute default/exact already for one.own.test",
    "there is no Backend default/nobody; its part of the connections is closed",
    "listener tcp of Gateway default/edge has TCPRoute default/shares already, which is in force",
)


async def _serves(scene: Scene) -> bool:
    return await asked(scene, scene.tls, "one.own.test") == "p"


async def asked(scene: Scene, port: int, name: str | None, host: str = "x") -> str:
    """Who answers a connection of its own; `closed` where nobody does. With a name by TLS, and
    a certificate that is not for the name is an error."""
    context = trusting(scene.ca) if name else None
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name
        )
    except ssl.SSLCertVerificationError:
        raise
    except (ConnectionError, ssl.SSLError):
        return CLOSED
    try:
        writer.write(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return (await reader.readexactly(length)).decode()
    except (ConnectionError, asyncio.IncompleteReadError):
        return CLOSED
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("one.own.test", "p"),
        ("x.two.own.test", "q"),
        ("three.own.test", CLOSED),  # a name of the listener that no route is for
        ("own.test", "r"),  # of the listener for every name
        ("strange.test", CLOSED),
    ],
)
async def test_tls_passes_through_by_name(scene: Scene, name: str, origin: str) -> None:
    assert await asked(scene, scene.tls, name) == origin


async def test_https_and_passthrough_share_a_port(scene: Scene) -> None:
    # Both origins could show a certificate for this name; the listener of HTTPS has it.
    assert await asked(scene, scene.tls, "x.web.test", host="x.web.test") == "a"


async def _times(scene: Scene, port: int, times: int) -> Counter[str]:
    found: Sequence[str] = [await asked(scene, port, None) for _ in range(times)]
    return Counter(found)


async def test_tls_is_ended_for_one_name_and_passed_through_for_others_on_one_port(
    scene: Scene,
) -> None:
    assert await asked(scene, scene.tls, "mixed.test") == "b"
    assert await asked(scene, scene.tls, "one.own.test") == "p"


async def test_weights_share_connections_and_what_leads_nowhere_is_closed(scene: Scene) -> None:
    found = await _times(scene, scene.tcp, 300)
    assert set(found) == {"a", "b", CLOSED}
    assert 0.48 <= found["a"] / 300 <= 0.72
    assert 0.11 <= found["b"] / 300 <= 0.29


async def test_tls_may_be_ended_before_a_tcp_route(scene: Scene) -> None:
    assert await asked(scene, scene.ended, "ended.test") == "b"
    context = trusting(scene.ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection(
        "127.0.0.1", scene.ended, ssl=context, server_hostname="ended.test"
    )
    found = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    await writer.wait_closed()
    assert found is None  # Envoy cannot know what the Backend speaks
