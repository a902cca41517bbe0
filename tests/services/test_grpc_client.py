"""gRPC's own xDS client, served by us: an implementation of the protocol that is not Envoy's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from envoy_data_plane.envoy.config.cluster import v3 as cluster_v3
from envoy_data_plane.envoy.config.core import v3 as core_v3
from envoy_data_plane.envoy.config.listener import v3 as listener_v3
from envoy_data_plane.envoy.config.route import v3 as route_v3
from envoy_data_plane.envoy.extensions.filters.http.router import v3 as router_v3
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm_v3
from envoy_data_plane.google.protobuf import Any

from controlplane._pb.endpoint_pb2 import ClusterLoadAssignment
from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.kinds import CLUSTER, ENDPOINT, LISTENER, ROUTE

FLEET = "grpc"
SERVICE = "shop"
METHOD = "/shop.Shop/Who"
DEADLINE_S = 30.0

# gRPC reads its bootstrap from the environment once, so the client is a process of its own. It
# calls as often as it is told on a line of stdin, and answers who answered how often.
CLIENT = """
import collections, json, sys, grpc
channel = grpc.insecure_channel(sys.argv[1])
call = channel.unary_unary(sys.argv[2])
for line in sys.stdin:
    found = collections.Counter()
    for _ in range(int(line)):
        try:
            found[call(b"", timeout=20, wait_for_ready=True).decode()] += 1
        except grpc.RpcError as error:
            found[error.code().name] += 1
    print(json.dumps(found), flush=True)
"""


@contextlib.asynccontextmanager
async def backend(name: str) -> AsyncIterator[int]:
    """A gRPC server that answers with its name; its port."""

    async def who(_: bytes, __: object) -> bytes:
        return name.encode()

    service, _, method = METHOD.strip("/").partition("/")
    handler = grpc.method_handlers_generic_handler(
        service, {method: grpc.unary_unary_rpc_method_handler(who)}
    )
    server = grpc.aio.server(handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


class Client:
    """The process that calls."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def who(self, calls: int) -> Counter[str]:
        """Who answered how many of these calls."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{calls}\n".encode())
        async with asyncio.timeout(DEADLINE_S):
            line = await self._process.stdout.readline()
        assert line, "the client ended"
        return Counter(json.loads(line))

    async def until(self, wanted: set[str], calls: int = 20) -> None:
        """Call until just these answer."""
        async with asyncio.timeout(DEADLINE_S):
            while set(found := await self.who(calls)) != wanted:
                assert not {"UNAVAILABLE", "INTERNAL"} & set(found), found


@contextlib.asynccontextmanager
async def client(folder: Path, xds_port: int) -> AsyncIterator[Client]:
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": f"127.0.0.1:{xds_port}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": "client-1", "cluster": FLEET},
    }
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(bootstrap))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CLIENT,
        f"xds:///{SERVICE}",
        METHOD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(file)},
    )
    try:
        yield Client(process)
    finally:
        process.kill()
        await process.wait()


def source() -> core_v3.ConfigSource:
    return core_v3.ConfigSource(
        ads=core_v3.AggregatedConfigSource(), resource_api_version=core_v3.ApiVersion.V3
    )


def listener() -> bytes:
    manager = hcm_v3.HttpConnectionManager(
        rds=hcm_v3.Rds(config_source=source(), route_config_name="routes"),
        http_filters=[hcm_v3.HttpFilter(name="router", typed_config=Any.pack(router_v3.Router()))],
    )
    return bytes(
        listener_v3.Listener(
            name=SERVICE, api_listener=listener_v3.ApiListener(api_listener=Any.pack(manager))
        )
    )


def routes(**weights: int) -> bytes:
    clusters = [
        route_v3.WeightedClusterClusterWeight(name=name, weight=weight)
        for name, weight in weights.items()
    ]
    action = route_v3.RouteAction(weighted_clusters=route_v3.WeightedCluster(clusters=clusters))
    route = route_v3.Route(match=route_v3.RouteMatch(prefix=""), route=action)
    host = route_v3.VirtualHost(name="all", domains=["*"], routes=[route])
    return bytes(route_v3.RouteConfiguration(name="routes", virtual_hosts=[host]))


def cluster(name: str) -> bytes:
    return bytes(
        cluster_v3.Cluster(
            name=name,
            type=cluster_v3.ClusterDiscoveryType.EDS,
            eds_cluster_config=cluster_v3.ClusterEdsClusterConfig(eds_config=source()),
        )
    )


def assignment(name: str, weights: dict[int, int]) -> bytes:
    """Each port in a locality of its own, with this weight."""
    message = ClusterLoadAssignment(cluster_name=name)
    for port, weight in weights.items():
        group = message.endpoints.add()
        group.locality.sub_zone = f"group-{port}"
        group.load_balancing_weight.value = weight
        endpoint = group.lb_endpoints.add()
        endpoint.endpoint.address.socket_address.address = "127.0.0.1"
        endpoint.endpoint.address.socket_address.port_value = port
        endpoint.load_balancing_weight.value = 1
    return message.SerializeToString()


@pytest.mark.parametrize("calls", [400])
async def test_weights_of_localities_and_of_clusters_are_honoured_and_follow_a_change(
    tmp_path: Path, calls: int
) -> None:
    cache = SnapshotCache()
    server = XdsServer(cache, address="127.0.0.1:0")
    async with backend("a") as a, backend("b") as b, backend("c") as c:
        resources = {
            LISTENER: {SERVICE: listener()},
            ROUTE: {"routes": routes(first=100)},
            CLUSTER: {"first": cluster("first")},
            ENDPOINT: {"first": assignment("first", {a: 3, b: 1})},
        }
        cache.set(FLEET, resources)
        await server.start()
        try:
            async with client(tmp_path, server.port) as calling:
                found = await calling.who(calls)
                assert set(found) == {"a", "b"}
                assert 0.65 < found["a"] / calls < 0.85  # 3 of 4, five deviations each way

                resources[ENDPOINT] = {"first": assignment("first", {a: 1, b: 1_000_000})}
                cache.set(FLEET, resources)
                await calling.until({"b"})

                # A second cluster and a route to it in one change: no call may fail.
                resources[CLUSTER] = {"first": cluster("first"), "second": cluster("second")}
                resources[ENDPOINT] = {
                    "first": assignment("first", {a: 1}),
                    "second": assignment("second", {c: 1}),
                }
                resources[ROUTE] = {"routes": routes(first=50, second=50)}
                cache.set(FLEET, resources)
                await calling.until({"a", "c"})
                found = await calling.who(calls)
                assert 0.37 < found["a"] / calls < 0.63

                (stream,) = server.clients()
                for url in (LISTENER, ROUTE, CLUSTER, ENDPOINT):
                    assert stream.acked(url) == cache.version(FLEET, url), url
                assert all(one.nack == "" for one in stream.types)
        finally:
            await server.stop(0.5)
