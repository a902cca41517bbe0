"""The xDS server against the real Envoy, in both variants of the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from envoy_data_plane.envoy.config.cluster import v3 as cluster_v3
from envoy_data_plane.envoy.config.core import v3 as core_v3
from envoy_data_plane.envoy.config.listener import v3 as listener_v3
from envoy_data_plane.envoy.config.route import v3 as route_v3
from envoy_data_plane.envoy.extensions.filters.http.router import v3 as router_v3
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm_v3
from envoy_data_plane.envoy.service.runtime import v3 as runtime_v3
from envoy_data_plane.google.protobuf import Any, Struct, Value

from controlplane._pb.endpoint_pb2 import ClusterLoadAssignment
from controlplane.lab.envoy import Envoy, free_port, run_envoy
from controlplane.translate.bootstrap import ads_bootstrap
from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.effects import TypeStatus
from controlplane.xds.kinds import CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME

pytestmark = [pytest.mark.envoy]

FLEET = "edge"
# Envoy waits 15 s for a missing assignment; a stall is what would last longer than this.
DEADLINE_S = 10.0

Resources = dict[str, dict[str, bytes]]


@dataclasses.dataclass
class Backend:
    name: str
    port: int
    hits: int = 0
    answers: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Nothing is answered before this is set."""


@contextlib.asynccontextmanager
async def backend(name: str, *, answers: bool = True) -> AsyncIterator[Backend]:
    """Answers every request with its name."""
    seen = Backend(name, 0)
    if answers:
        seen.answers.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                seen.hits += 1
                await seen.answers.wait()
                body = name.encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()


def source() -> core_v3.ConfigSource:
    return core_v3.ConfigSource(
        ads=core_v3.AggregatedConfigSource(), resource_api_version=core_v3.ApiVersion.V3
    )


def cluster(name: str, breakers: cluster_v3.CircuitBreakers | None = None) -> bytes:
    return bytes(
        cluster_v3.Cluster(
            name=name,
            type=cluster_v3.ClusterDiscoveryType.EDS,
            eds_cluster_config=cluster_v3.ClusterEdsClusterConfig(eds_config=source()),
            circuit_breakers=breakers,
        )
    )


def checked(name: str) -> bytes:
    """A cluster that asks its endpoints whether they are well."""
    check = core_v3.HealthCheck(
        timeout=timedelta(seconds=9),
        interval=timedelta(seconds=9),
        healthy_threshold=1,
        unhealthy_threshold=1,
        http_health_check=core_v3.HealthCheckHttpHealthCheck(path="/"),
    )
    return bytes(
        cluster_v3.Cluster(
            name=name,
            type=cluster_v3.ClusterDiscoveryType.EDS,
            eds_cluster_config=cluster_v3.ClusterEdsClusterConfig(eds_config=source()),
            health_checks=[check],
        )
    )


def assignment(name: str, weights: dict[int, int]) -> bytes:
    """Ports on the loopback address, and their weights."""
    message = ClusterLoadAssignment(cluster_name=name)
    locality = message.endpoints.add()
    for port, weight in weights.items():
        endpoint = locality.lb_endpoints.add()
        endpoint.endpoint.address.socket_address.address = "127.0.0.1"
        endpoint.endpoint.address.socket_address.port_value = port
        endpoint.load_balancing_weight.value = weight
    return message.SerializeToString()


def listener(port: int) -> bytes:
    manager = hcm_v3.HttpConnectionManager(
        stat_prefix="in",
        rds=hcm_v3.Rds(config_source=source(), route_config_name="routes"),
        http_filters=[
            hcm_v3.HttpFilter(
                name="envoy.filters.http.router", typed_config=Any.pack(router_v3.Router())
            )
        ],
    )
    return bytes(
        listener_v3.Listener(
            name="in",
            address=core_v3.Address(
                socket_address=core_v3.SocketAddress(address="127.0.0.1", port_value=port)
            ),
            filter_chains=[
                listener_v3.FilterChain(
                    filters=[
                        listener_v3.Filter(
                            name="envoy.filters.network.http_connection_manager",
                            typed_config=Any.pack(manager),
                        )
                    ]
                )
            ],
        )
    )


def routes(to: str) -> bytes:
    return bytes(
        route_v3.RouteConfiguration(
            name="routes",
            virtual_hosts=[
                route_v3.VirtualHost(
                    name="all",
                    domains=["*"],
                    routes=[
                        route_v3.Route(
                            match=route_v3.RouteMatch(prefix="/"),
                            route=route_v3.RouteAction(cluster=to),
                        )
                    ],
                )
            ],
        )
    )


def runtime(**values: float) -> bytes:
    layer = Struct(fields={name: Value(number_value=value) for name, value in values.items()})
    return bytes(runtime_v3.Runtime(name="weir", layer=layer))


@dataclasses.dataclass
class World:
    """One Envoy and the server that configures it."""

    envoy: Envoy
    server: XdsServer
    cache: SnapshotCache
    port: int
    resources: Resources

    def publish(self, **types: dict[str, bytes]) -> None:
        """Replace whole types of the snapshot (cds, eds, lds, rds, rtds)."""
        urls = {"cds": CLUSTER, "eds": ENDPOINT, "lds": LISTENER, "rds": ROUTE, "rtds": RUNTIME}
        for name, bodies in types.items():
            self.resources[urls[name]] = bodies
        self.cache.set(FLEET, self.resources)

    async def get(self) -> tuple[int, str]:
        """Status and body of a request through Envoy; 0 where there was no answer."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return 0, ""
        try:
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            async with asyncio.timeout(DEADLINE_S):
                raw = await reader.read()
        finally:
            writer.close()
        head, _, body = raw.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]) if head else 0, body.decode()

    async def ok(self, body: str) -> bool:
        return await self.get() == (200, body)

    async def weights(self, name: str) -> dict[int, int]:
        """Port -> weight as Envoy has it in force."""
        found = {}
        for line in (await self.envoy.get("/clusters")).splitlines():
            parts = line.split("::")
            if parts[0] == name and len(parts) == 4 and parts[2] == "weight":
                found[int(parts[1].rpartition(":")[2])] = int(parts[3])
        return found


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await condition():  # noqa: ASYNC110 (Envoy's pages are all there is to ask)
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {DEADLINE_S:.0f} s: {what}")


@contextlib.asynccontextmanager
async def world(
    folder: Path, resources: Resources, port: int, *, delta: bool
) -> AsyncIterator[World]:
    cache = SnapshotCache()
    cache.set(FLEET, resources)
    server = XdsServer(cache, address="127.0.0.1:0")
    await server.start()
    bootstrap = ads_bootstrap(
        node_id="envoy-1",
        fleet=FLEET,
        xds_port=server.port,
        admin_port=free_port(),
        delta=delta,
        load_reports=False,
    )
    here = None
    try:
        async with run_envoy(bootstrap, folder) as envoy:
            here = World(envoy, server, cache, port, resources)
            yield here
    finally:
        await (here.server if here is not None else server).stop(0.5)


def one_service(port: int, weights: dict[int, int]) -> Resources:
    return {
        CLUSTER: {"web": cluster("web")},
        ENDPOINT: {"web": assignment("web", weights)},
        LISTENER: {"in": listener(port)},
        ROUTE: {"routes": routes("web")},
        RUNTIME: {},
    }


@pytest.fixture(params=["sotw", "delta"])
def delta(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "delta")


async def test_a_change_of_weights_and_of_runtime_is_in_force_in_envoy(
    tmp_path: Path, delta: bool
) -> None:
    port = free_port()
    async with backend("a") as a, backend("b") as b:
        start = one_service(port, {a.port: 10, b.port: 10})
        async with world(tmp_path, start, port, delta=delta) as here:
            await eventually(lambda: is_ok(here), "a request goes through")
            here.publish(
                eds={"web": assignment("web", {a.port: 1, b.port: 99})},
                rtds={"weir": runtime(some_key=7)},
            )

            async def in_force() -> bool:
                return await here.weights("web") == {a.port: 1, b.port: 99}

            await eventually(in_force, "the new weights")

            async def layer() -> bool:
                return '"7"' in await here.envoy.get("/runtime")

            await eventually(layer, "the runtime layer")
            a.hits = b.hits = 0
            for _ in range(100):
                assert (await here.get())[0] == 200
            assert (a.hits, b.hits) == (1, 99)
            versions = [here.cache.version(FLEET, url) for url in (CLUSTER, ENDPOINT, RUNTIME)]
            (client,) = here.server.clients()
            assert [client.acked(url) for url in (CLUSTER, ENDPOINT, RUNTIME)] == versions


async def is_ok(here: World) -> bool:
    return (await here.get())[0] == 200


async def test_an_envoy_whose_layers_do_not_exist_becomes_ready_at_once(
    tmp_path: Path, delta: bool
) -> None:
    async with world(tmp_path, {CLUSTER: {}, LISTENER: {}}, 0, delta=delta) as here:
        assert (await here.envoy.get("/ready")).startswith("LIVE")
        stats = await here.envoy.stats("runtime|update_rejected")
        assert not [name for name, value in stats.items() if "rejected" in name and value]


async def test_a_changed_cluster_does_not_wait_for_endpoints_that_did_not_change(
    tmp_path: Path, delta: bool
) -> None:
    port = free_port()
    async with (
        backend("a") as a,
        world(tmp_path, one_service(port, {a.port: 1}), port, delta=delta) as here,
    ):
        await eventually(lambda: here.ok("a"), "a request goes through")
        for requests in (17, 18, 19):
            limit = cluster_v3.CircuitBreakersThresholds(max_requests=requests)
            breakers = cluster_v3.CircuitBreakers(thresholds=[limit])
            here.publish(cds={"web": cluster("web", breakers)})

            async def in_force(wanted: int = requests) -> bool:
                page = await here.envoy.get("/clusters")
                return f"web::default_priority::max_requests::{wanted}\n" in page

            await eventually(in_force, f"a limit of {requests} requests")
            assert await here.ok("a")


async def test_traffic_moves_from_a_removed_cluster_to_a_new_one_without_an_error(
    tmp_path: Path, delta: bool
) -> None:
    port = free_port()
    async with (
        backend("a") as a,
        backend("b") as b,
        world(tmp_path, one_service(port, {a.port: 1}), port, delta=delta) as here,
    ):
        await eventually(lambda: here.ok("a"), "a request goes through")
        here.publish(
            cds={"new": cluster("new"), "web": cluster("web")},
            eds={
                "new": assignment("new", {b.port: 1}),
                "web": assignment("web", {a.port: 1}),
            },
        )
        await eventually(lambda: has_cluster(here, "new"), "the new cluster")
        here.publish(
            cds={"new": cluster("new")},
            eds={"new": assignment("new", {b.port: 1})},
            rds={"routes": routes("new")},
        )
        answers = []

        async def gone() -> bool:
            answers.append(await here.get())
            return not await has_cluster(here, "web")

        await eventually(gone, "the old cluster is gone")
        assert {status for status, _ in answers} == {200}
        assert await here.ok("b")


async def test_a_route_to_a_cluster_that_is_not_warm_yet_does_not_fail_a_request(
    tmp_path: Path, delta: bool
) -> None:
    port = free_port()
    async with (
        backend("a") as a,
        backend("b", answers=False) as b,
        world(tmp_path, one_service(port, {a.port: 1}), port, delta=delta) as here,
    ):
        await eventually(lambda: here.ok("a"), "a request goes through")
        # One change adds the cluster and routes to it; Envoy has it warm after its health checks.
        here.publish(
            cds={"new": checked("new"), "web": cluster("web")},
            eds={
                "new": assignment("new", {b.port: 1}),
                "web": assignment("web", {a.port: 1}),
            },
            rds={"routes": routes("new")},
        )

        async def asked() -> bool:
            return b.hits > 0

        await eventually(asked, "the first health check")
        for _ in range(50):
            assert await here.get() == (200, "a")
            await asyncio.sleep(0.01)
        b.answers.set()
        answers = []

        async def moved() -> bool:
            answers.append(await here.get())
            return answers[-1] == (200, "b")

        await eventually(moved, "the new cluster answers")
        assert {status for status, _ in answers} == {200}


async def has_cluster(here: World, name: str) -> bool:
    return f"\n{name}::default" in "\n" + await here.envoy.get("/clusters")


async def test_a_refused_version_leaves_the_last_good_one_and_the_next_one_is_taken(
    tmp_path: Path, delta: bool
) -> None:
    port = free_port()
    async with (
        backend("a") as a,
        world(tmp_path, one_service(port, {a.port: 5}), port, delta=delta) as here,
    ):
        await eventually(lambda: here.ok("a"), "a request goes through")
        here.publish(eds={"web": assignment("web", {a.port: 0})})

        async def refused() -> bool:
            return here.server.counts.of(FLEET, ENDPOINT).nacks == 1

        await eventually(refused, "the NACK of a weight of 0")
        assert "value must be greater than or equal to 1" in endpoint_status(here).nack
        pushes = here.server.counts.of(FLEET, ENDPOINT).pushes
        await asyncio.sleep(0.3)
        assert here.server.counts.of(FLEET, ENDPOINT).pushes == pushes
        assert await here.weights("web") == {a.port: 5}
        here.publish(eds={"web": assignment("web", {a.port: 6})})

        async def in_force() -> bool:
            return await here.weights("web") == {a.port: 6}

        await eventually(in_force, "the corrected weights")

        async def clean() -> bool:
            return endpoint_status(here).nack == ""

        await eventually(clean, "the status is clean again")


def endpoint_status(here: World) -> TypeStatus:
    (client,) = here.server.clients()
    return next(one for one in client.types if one.type_url == ENDPOINT)


async def test_a_restarted_server_with_the_same_content_changes_nothing_in_envoy(
    tmp_path: Path, delta: bool
) -> None:
    port = free_port()
    async with backend("a") as a:
        start = one_service(port, {a.port: 1})
        async with world(tmp_path, start, port, delta=delta) as here:
            await eventually(lambda: here.ok("a"), "a request goes through")
            before = await here.envoy.stats(
                "cds.version|cluster_added|cluster_modified|lds.listener"
            )
            xds_port = here.server.port
            await here.server.stop(0.2)
            assert await here.ok("a")

            cache = SnapshotCache()
            here.server = XdsServer(cache, address=f"127.0.0.1:{xds_port}")
            await here.server.start()

            async def refused() -> bool:
                assert await here.ok("a")
                return here.server.counts.refused.get("UNAVAILABLE", 0) >= 1

            await eventually(refused, "a server that is not ready refuses the stream")
            assert await here.ok("a")
            cache.set(FLEET, start)

            async def back() -> bool:
                found = here.server.clients()
                return bool(found) and len(found[0].types) == 5

            await eventually(back, "Envoy asks again for every type")
            assert await here.ok("a")
            after = await here.envoy.stats(
                "cds.version|cluster_added|cluster_modified|lds.listener"
            )
            assert after == before
            if delta:
                pushed = here.server.counts.group(FLEET).by_type
                assert sum(one.pushes for one in pushed.values()) == 0
            here.cache = cache
            here.publish(eds={"web": assignment("web", {a.port: 3})})

            async def in_force() -> bool:
                return await here.weights("web") == {a.port: 3}

            await eventually(in_force, "what changed after the restart")
