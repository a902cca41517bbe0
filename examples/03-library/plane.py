"""A control plane of somebody else's in one file: paths and endpoints from lines of text.

python examples/03-library/plane.py examples/03-library/shop.txt

Weir's xDS server is a library here: it speaks the protocol in both variants, in the right order,
and tells of each Envoy what it runs. What the resources mean is this file's business alone.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

from envoy_data_plane.envoy.config.cluster import v3 as cluster_v3
from envoy_data_plane.envoy.config.core import v3 as core_v3
from envoy_data_plane.envoy.config.endpoint import v3 as endpoint_v3
from envoy_data_plane.envoy.config.listener import v3 as listener_v3
from envoy_data_plane.envoy.config.route import v3 as route_v3
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as http_v3
from envoy_data_plane.google.protobuf import Any
from watchfiles import awatch

from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.kinds import CLUSTER, ENDPOINT, LISTENER, ROUTE
from controlplane.xds.status import Event

FLEET = "shop"
ADS = core_v3.ConfigSource(
    ads=core_v3.AggregatedConfigSource(), resource_api_version=core_v3.ApiVersion.V3
)

Endpoints = Mapping[str, int]
"""`host:port` -> weight."""


def read(text: str) -> dict[str, Endpoints]:
    """Path -> endpoints. Raises `ValueError` that names the line."""
    found: dict[str, Endpoints] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        path, *places = words
        if not path.startswith("/") or not places:
            raise ValueError(f"line {number}: want PATH HOST:PORT[*WEIGHT] ..., got {line!r}")
        pairs = [place.partition("*") for place in places]
        found[path] = {place: int(weight or 1) for place, _, weight in pairs}
    if not found:
        raise ValueError("there is no line with a path")
    return found


def address(place: str) -> core_v3.Address:
    host, _, port = place.rpartition(":")
    return core_v3.Address(socket_address=core_v3.SocketAddress(address=host, port_value=int(port)))


def cluster(name: str) -> bytes:
    eds = cluster_v3.ClusterEdsClusterConfig(eds_config=ADS)
    kind = cluster_v3.ClusterDiscoveryType.EDS
    return bytes(cluster_v3.Cluster(name=name, type=kind, eds_cluster_config=eds))


def assignment(name: str, endpoints: Endpoints) -> bytes:
    members = [
        endpoint_v3.LbEndpoint(
            endpoint=endpoint_v3.Endpoint(address=address(place)), load_balancing_weight=weight
        )
        for place, weight in endpoints.items()
    ]
    group = endpoint_v3.LocalityLbEndpoints(lb_endpoints=members)
    return bytes(endpoint_v3.ClusterLoadAssignment(cluster_name=name, endpoints=[group]))


def routes(paths: Iterator[str]) -> bytes:
    entries = [
        route_v3.Route(
            match=route_v3.RouteMatch(prefix=path), route=route_v3.RouteAction(cluster=path)
        )
        for path in sorted(paths, key=len, reverse=True)
    ]
    host = route_v3.VirtualHost(name="all", domains=["*"], routes=entries)
    return bytes(route_v3.RouteConfiguration(name="shop", virtual_hosts=[host]))


def listener(place: str) -> bytes:
    router = http_v3.HttpFilter(name="router", typed_config=Any.pack(Router()))
    rds = http_v3.Rds(config_source=ADS, route_config_name="shop")
    manager = http_v3.HttpConnectionManager(stat_prefix="in", rds=rds, http_filters=[router])
    chain = listener_v3.FilterChain(
        filters=[listener_v3.Filter(name="http", typed_config=Any.pack(manager))]
    )
    return bytes(listener_v3.Listener(name="in", address=address(place), filter_chains=[chain]))


def snapshot(text: str, listen: str) -> dict[str, dict[str, bytes]]:
    paths = read(text)
    return {
        CLUSTER: {path: cluster(path) for path in paths},
        ENDPOINT: {path: assignment(path, endpoints) for path, endpoints in paths.items()},
        LISTENER: {"in": listener(listen)},
        ROUTE: {"shop": routes(iter(paths))},
    }


def tell(event: Event) -> None:
    """An Envoy refused something, or was refused."""
    print(f"{type(event).__name__}: {event}", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a text file to Envoys.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--address", default="127.0.0.1:18000", help="where to serve xDS")
    parser.add_argument("--listen", default="127.0.0.1:8080", help="where Envoys listen")
    given = parser.parse_args()
    cache = SnapshotCache()
    server = XdsServer(cache, address=given.address, observer=tell)
    await server.start()
    try:
        cache.set(FLEET, snapshot(given.file.read_text(), given.listen))
        print(f"serving on port {server.port}", flush=True)
        async for _ in awatch(given.file.parent, debounce=50):
            try:
                changed = cache.set(FLEET, snapshot(given.file.read_text(), given.listen))
            except (OSError, ValueError) as error:
                print(f"the last good state stays: {error}", flush=True)
                continue
            if changed:
                print(f"changed; connected: {len(server.clients())}", flush=True)
    finally:
        await server.stop(grace_s=1.0)


if __name__ == "__main__":
    asyncio.run(main())
