"""UDPRoute through the real Envoy: datagrams of sessions, to servers that say who they are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from controlplane.cli.proxy_tables import rows
from controlplane.inspection.dump import read_dump
from tests.envoy.edge import Edge, backend, edge, gateway, policy, to, until
from tests.envoy.origin import ask, origins
from tests.envoy.test_backend_tls import backend_tls
from tests.envoy.test_stream_routes import stream_route

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

SILENCE_S = 0.3
"""Where no answer is expected. An answer within it fails the test; a slow machine never does."""


class Named(asyncio.DatagramProtocol):
    """Answers every datagram with its name and what was said."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.transport: asyncio.DatagramTransport | None = None
        self.heard = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        self.heard += 1
        self.transport.sendto(f"{self.name}:".encode() + data, addr)


class Client(asyncio.DatagramProtocol):
    """Datagrams of one address and port."""

    def __init__(self, to_: int) -> None:
        self._to = ("127.0.0.1", to_)
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.answers.put_nowait(data)

    async def say(self, text: str = "x", within_s: float = 20.0) -> str | None:
        """Who answers; None where nobody does. Said again while nothing comes back: datagrams may
        be lost."""
        assert self.transport is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    self.transport.sendto(text.encode(), self._to)
                    with contextlib.suppress(TimeoutError):
                        got = await asyncio.wait_for(self.answers.get(), 1.0)
                        name, _, said = got.decode().partition(":")
                        assert said == text
                        return name
        return None


@contextlib.asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    """A session."""
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(
        lambda: Client(port), local_addr=("127.0.0.1", 0)
    )
    try:
        yield made
    finally:
        transport.close()


async def sessions(port: int, count: int) -> Counter[str | None]:
    """Who answers the first datagram of so many sessions, all at a time."""
    async with contextlib.AsyncExitStack() as stack:
        each = [await stack.enter_async_context(client(port)) for _ in range(count)]
        return Counter(await asyncio.gather(*(one.say() for one in each)))


@contextlib.asynccontextmanager
async def answering(*names: str) -> AsyncIterator[dict[str, tuple[Named, int]]]:
    """Run a server for each name, at the port that comes with it."""
    loop, found = asyncio.get_running_loop(), {}
    async with contextlib.AsyncExitStack() as stack:
        for name in names:
            transport, one = await loop.create_datagram_endpoint(
                lambda n=name: Named(n),  # type: ignore[misc]
                local_addr=("127.0.0.1", 0),
            )
            stack.callback(transport.close)
            found[name] = (one, int(transport.get_extra_info("sockname")[1]))
        yield found


def free_udp_ports(count: int) -> list[int]:
    """Ports at which nobody listens now, for UDP and for TCP."""
    with contextlib.ExitStack() as stack:
        return [port for port, _ in zip(_free(stack), range(count), strict=False)]


def _free(stack: contextlib.ExitStack) -> Iterator[int]:
    while True:
        by_udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        by_udp.bind(("127.0.0.1", 0))
        port = int(by_udp.getsockname()[1])
        by_tcp = stack.enter_context(socket.socket())
        with contextlib.suppress(OSError):
            by_tcp.bind(("127.0.0.1", port))
            yield port


@dataclass
class Scene:
    made: Edge
    ports: dict[str, int]
    servers: dict[str, tuple[Named, int]]
    log: Path


LISTENERS = ("dns", "shares", "half", "brief", "weighed", "tied", "secret", "empty")
FAULTS = (
    "there is no Backend default/nobody; its part of the datagrams is dropped",
    "listener dns of Gateway default/edge has UDPRoute default/dns already, which is in force",
    "Backend default/secret is to be spoken to over TLS, which datagrams are not; they are dropped",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder: Path = tmp_path_factory.mktemp("udp")
    ports = dict(zip(LISTENERS, free_udp_ports(len(LISTENERS)), strict=True))
    async with answering("a", "b", "c", "d") as servers, origins("tcp") as by_tcp:
        at = {name: port for name, (_, port) in servers.items()}
        refs = {
            "dns": to("a"),
            "shares": "backendRefs: [{name: a, weight: 6}, {name: b, weight: 3}, "
            "{name: c, weight: 1}, {name: d, weight: 0}]",
            "half": to("a", "nobody"),
            "brief": to("both"),
            "weighed": to("weighed"),
            "tied": to("tied"),
            "secret": to("secret"),
        }
        documents = [
            gateway(
                *(f"name: {name}, port: {port}, protocol: UDP" for name, port in ports.items()),
                f"name: dns-tcp, port: {ports['dns']}, protocol: TCP",
            ),
            *(backend(name, port) for name, port in at.items()),
            backend("tcp", by_tcp["tcp"].port),
            backend("both", at["a"], at["b"]),
            backend("weighed", at["a"], at["b"]),
            backend("tied", at["a"], at["b"], at["c"]),
            backend("secret", at["d"]),
            *(stream_route("UDPRoute", n, r, listener=n) for n, r in refs.items()),
            stream_route("UDPRoute", "late", to("b"), listener="dns"),
            stream_route("TCPRoute", "dns", to("tcp"), listener="dns-tcp"),
            policy("ClientPolicy", "brief", "Gateway/edge/brief", brief(folder / "log")),
            policy("TrafficPolicy", "tied", "UDPRoute/tied", TIED),
            policy("TrafficPolicy", "few", "Backend/a", FEW),
            backend_tls("secret", "wellKnownCACertificates: System, hostname: good.test"),
        ]
        async with edge(folder, *documents, faults=FAULTS) as made:
            await made.weigh("default/weighed", 4, 1)
            yield Scene(made, ports, servers, folder / "log")


def brief(log: Path) -> str:
    """Sessions are soon forgotten, and then logged."""
    text = "{type: Text, text: '%DYNAMIC_METADATA(udp.proxy.session:cluster_name)%'}"
    settings = f"[{{format: {text}, sinks: [{{type: File, file: {{path: {log}}}}}]}}]"
    return (
        "  timeout: {udp: {idleTimeout: 200ms}}\n"
        f"  telemetry: {{accessLog: {{settings: {settings}}}}}\n"
    )


FEW = "  circuitBreaker: {maxConnections: 200}\n"
TIED = "  loadBalancer: {type: ConsistentHash, consistentHash: {type: SourceIP}}\n"


async def test_datagrams_go_there_and_back(scene: Scene) -> None:
    async with client(scene.ports["dns"]) as one:
        assert [await one.say(word) for word in ("one", "two", "three")] == ["a"] * 3


async def test_a_port_of_udp_and_one_of_tcp_may_have_one_number(scene: Scene) -> None:
    assert await ask(scene.ports["dns"]) == {(200, "tcp"): 1}


async def test_a_session_stays_at_its_endpoint(scene: Scene) -> None:
    async with contextlib.AsyncExitStack() as stack:
        port = scene.ports["weighed"]
        each = [await stack.enter_async_context(client(port)) for _ in range(24)]
        first = [await one.say() for one in each]
        assert [await one.say() for one in each] == first
        assert set(first) == {"a", "b"}


async def test_weights_share_the_sessions_and_zero_gets_none(scene: Scene) -> None:
    found = await sessions(scene.ports["shares"], 200)
    assert set(found) == {"a", "b", "c"}
    assert 85 <= found["a"] <= 155
    assert 30 <= found["b"] <= 95
    assert found["c"] <= 50


async def test_weights_within_a_backend_hold(scene: Scene) -> None:
    found = await sessions(scene.ports["weighed"], 100)
    assert 60 <= found["a"] <= 95  # four to one


async def test_sessions_of_one_client_may_be_kept_together(scene: Scene) -> None:
    assert len(await sessions(scene.ports["tied"], 30)) == 1


async def test_what_leads_nowhere_is_dropped_for_its_share(scene: Scene) -> None:
    async with contextlib.AsyncExitStack() as stack:
        port = scene.ports["half"]
        each = [await stack.enter_async_context(client(port)) for _ in range(40)]
        said = await asyncio.gather(*(one.say(within_s=1.5) for one in each))
    found = Counter(said)
    assert set(found) == {"a", None}
    assert 6 <= found["a"] <= 34


async def test_without_a_route_and_without_encryption_datagrams_are_dropped(scene: Scene) -> None:
    for name in ("empty", "secret"):
        async with client(scene.ports[name]) as one:
            assert await one.say(within_s=SILENCE_S) is None
    server, _ = scene.servers["d"]
    assert server.heard == 0


async def test_a_session_that_is_idle_is_forgotten(scene: Scene) -> None:
    async def gone() -> bool:
        found = await scene.made.envoy.stats(f"^udp.udp-{scene.ports['brief']}.downstream_sess")
        return found[f"udp.udp-{scene.ports['brief']}.downstream_sess_active"] == 0

    async def logged() -> bool:
        lines = scene.log.read_text().splitlines() if scene.log.exists() else []
        return len(lines) >= 2 and set(lines) == {"weir.dev/udp/default/both"}

    async with client(scene.ports["brief"]) as one:
        for _ in range(2):
            assert await one.say() in ("a", "b")
            await until(gone)
        found = await scene.made.envoy.stats(f"^udp.udp-{scene.ports['brief']}.downstream_sess_t")
        assert sum(found.values()) >= 2
    await until(logged)


async def test_proxy_config_shows_what_takes_datagrams(scene: Scene) -> None:
    running = read_dump(json.loads(await scene.made.envoy.get("/config_dump"))).types
    shown = {row[1]: row[2] for one in running["lds"] for row in rows("lds", one)}
    proxy = "envoy.filters.udp_listener.udp_proxy"
    assert shown[f"127.0.0.1:{scene.ports['dns']}"] == proxy
    assert shown[f"127.0.0.1:{scene.ports['empty']}"] == "-"


async def test_sessions_have_a_limit(scene: Scene) -> None:
    """Without a policy 8,192 for each Backend; the policy of this one says 200."""
    config = await scene.made.envoy.get("/config_dump?resource=dynamic_active_clusters")
    assert '"max_connections": 200' in config
    assert '"max_connections": 8192' in config
