"""Every type of resource to the real Envoy: over ADS and over the services of their own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any as Anything

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy_data_plane.envoy.config.core import v3 as core_v3
from envoy_data_plane.envoy.config.listener import v3 as listener_v3
from envoy_data_plane.envoy.config.route import v3 as route_v3
from envoy_data_plane.envoy.extensions.filters.http.fault import v3 as fault_v3
from envoy_data_plane.envoy.extensions.filters.http.on_demand import v3 as on_demand_v3
from envoy_data_plane.envoy.extensions.filters.http.router import v3 as router_v3
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm_v3
from envoy_data_plane.envoy.extensions.transport_sockets.tls import v3 as tls_v3
from envoy_data_plane.envoy.type import v3 as type_v3
from envoy_data_plane.google.protobuf import Any

from controlplane.lab.envoy import Envoy, free_port, run_envoy
from controlplane.translate.bootstrap import ads_bootstrap
from controlplane.xds import SnapshotCache, XdsServer
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
from tests.envoy.test_xds import (
    FLEET,
    Resources,
    assignment,
    backend,
    cluster,
    eventually,
    routes,
)

pytestmark = [pytest.mark.envoy]

WAYS = ("ads sotw", "ads delta", "own sotw", "own delta")
"""One stream for all types, or the service of each type."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def source(way: str) -> core_v3.ConfigSource:
    """Where a resource is to come from."""
    version = core_v3.ApiVersion.V3
    if way.startswith("ads"):
        return core_v3.ConfigSource(
            ads=core_v3.AggregatedConfigSource(), resource_api_version=version
        )
    kinds = core_v3.ApiConfigSourceApiType
    service = core_v3.GrpcService(envoy_grpc=core_v3.GrpcServiceEnvoyGrpc(cluster_name="weir"))
    return core_v3.ConfigSource(
        api_config_source=core_v3.ApiConfigSource(
            api_type=kinds.DELTA_GRPC if way.endswith("delta") else kinds.GRPC,
            transport_api_version=version,
            grpc_services=[service],
            set_node_on_first_message_only=True,
        ),
        resource_api_version=version,
    )


def listener(port: int, manager: hcm_v3.HttpConnectionManager, way: str = "") -> bytes:
    """With `way` it speaks TLS, by a certificate that comes from there."""
    socket = None
    if way:
        secret = tls_v3.SdsSecretConfig(name="certificate", sds_config=source(way))
        common = tls_v3.CommonTlsContext(tls_certificate_sds_secret_configs=[secret])
        socket = core_v3.TransportSocket(
            name="envoy.transport_sockets.tls",
            typed_config=Any.pack(tls_v3.DownstreamTlsContext(common_tls_context=common)),
        )
    manager.stat_prefix = "in"
    manager.http_filters.append(
        hcm_v3.HttpFilter(name="router", typed_config=Any.pack(router_v3.Router()))
    )
    chain = listener_v3.FilterChain(
        filters=[listener_v3.Filter(name="http", typed_config=Any.pack(manager))],
        transport_socket=socket,
    )
    address = core_v3.SocketAddress(address="127.0.0.1", port_value=port)
    return bytes(
        listener_v3.Listener(
            name="in", address=core_v3.Address(socket_address=address), filter_chains=[chain]
        )
    )


def by_rds(way: str) -> hcm_v3.HttpConnectionManager:
    rds = hcm_v3.Rds(config_source=source(way), route_config_name="routes")
    return hcm_v3.HttpConnectionManager(rds=rds)


def clusters(*ports: int) -> Resources:
    names = {f"c{i}": port for i, port in enumerate(ports)}
    return {
        CLUSTER: {name: cluster(name) for name in names},
        ENDPOINT: {name: assignment(name, {port: 1}) for name, port in names.items()},
        RUNTIME: {},
    }


@contextlib.asynccontextmanager
async def serving(
    folder: Path, resources: Resources, way: str
) -> AsyncIterator[tuple[SnapshotCache, XdsServer, Envoy]]:
    cache = SnapshotCache()
    cache.set(FLEET, resources)
    server = XdsServer(cache, address="127.0.0.1:0")
    await server.start()
    bootstrap = ads_bootstrap(
        node_id="envoy-1",
        fleet=FLEET,
        xds_port=server.port,
        admin_port=free_port(),
        delta=way.endswith("delta"),
        load_reports=False,
    )
    try:
        async with run_envoy(bootstrap, folder) as envoy:
            yield cache, server, envoy
    finally:
        await server.stop(0.5)


async def get(port: int, tls: ssl.SSLContext | None = None, **headers: str) -> tuple[int, str]:
    """Status and body; 0 where there was no answer."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    except OSError:
        return 0, ""
    headers = {"host": "a", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    try:
        writer.write(f"GET / HTTP/1.1\r\nconnection: close\r\n{lines}\r\n".encode())
        async with asyncio.timeout(10.0):
            raw = await reader.read()
    except OSError:
        return 0, ""
    finally:
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, body.decode()


async def test_scoped_routes_choose_the_routes_by_a_header(tmp_path: Path, way: str) -> None:
    port = free_port()
    extractor = hcm_v3.ScopedRoutesScopeKeyBuilderFragmentBuilderHeaderValueExtractor(
        name="x-scope", element_separator=",", index=0
    )
    fragment = hcm_v3.ScopedRoutesScopeKeyBuilderFragmentBuilder(header_value_extractor=extractor)
    manager = hcm_v3.HttpConnectionManager(
        scoped_routes=hcm_v3.ScopedRoutes(
            name="scopes",
            scope_key_builder=hcm_v3.ScopedRoutesScopeKeyBuilder(fragments=[fragment]),
            rds_config_source=source(way),
            scoped_rds=hcm_v3.ScopedRds(scoped_rds_config_source=source(way)),
        )
    )
    async with backend("a") as a, backend("b") as b:
        resources = clusters(a.port, b.port)
        resources[LISTENER] = {"in": listener(port, manager)}
        resources[SCOPED_ROUTE] = {"first": scope("first", "a", "routes-a")}
        resources[ROUTE] = {
            "routes-a": named("routes-a", "c0"),
            "routes-b": named("routes-b", "c1"),
        }
        async with serving(tmp_path, resources, way) as (cache, _, _):

            async def first() -> bool:
                return await get(port, x_scope="a") == (200, "a")

            await eventually(first, "the routes of a scope")
            assert (await get(port, x_scope="b"))[0] == 404
            resources[SCOPED_ROUTE] = {
                "first": scope("first", "a", "routes-a"),
                "second": scope("second", "b", "routes-b"),
            }
            cache.set(FLEET, resources)

            async def second() -> bool:
                return await get(port, x_scope="b") == (200, "b")

            await eventually(second, "the routes of a scope that is added")
            assert await first()


def scope(name: str, key: str, to: str) -> bytes:
    fragment = route_v3.ScopedRouteConfigurationKeyFragment(string_key=key)
    return bytes(
        route_v3.ScopedRouteConfiguration(
            name=name,
            route_configuration_name=to,
            key=route_v3.ScopedRouteConfigurationKey(fragments=[fragment]),
        )
    )


def named(name: str, to: str) -> bytes:
    message = route_v3.RouteConfiguration.parse(routes(to))
    message.name = name
    return bytes(message)


async def test_a_filter_configuration_is_taken_and_changed(tmp_path: Path, way: str) -> None:
    port = free_port()
    manager = by_rds(way)
    manager.http_filters = [
        hcm_v3.HttpFilter(
            name="fault",
            config_discovery=core_v3.ExtensionConfigSource(
                config_source=source(way),
                type_urls=["type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"],
            ),
        )
    ]
    async with backend("a") as a:
        resources = clusters(a.port)
        resources[LISTENER] = {"in": listener(port, manager)}
        resources[ROUTE] = {"routes": routes("c0")}
        resources[EXTENSION] = {"fault": fault(418)}
        async with serving(tmp_path, resources, way) as (cache, _, _):
            for status in (418, 429):
                resources[EXTENSION] = {"fault": fault(status)}
                cache.set(FLEET, resources)

                async def refused(status: int = status) -> bool:
                    return (await get(port))[0] == status

                await eventually(refused, f"a fault of {status}")


def fault(status: int) -> bytes:
    always = type_v3.FractionalPercent(
        numerator=100, denominator=type_v3.FractionalPercentDenominatorType.HUNDRED
    )
    abort = fault_v3.FaultAbort(http_status=status, percentage=always)
    config = Any.pack(fault_v3.HttpFault(abort=abort))
    return bytes(core_v3.TypedExtensionConfig(name="fault", typed_config=config))


async def test_a_certificate_is_taken_and_rotated(tmp_path: Path, way: str) -> None:
    port = free_port()
    async with backend("a") as a:
        resources = clusters(a.port)
        resources[LISTENER] = {"in": listener(port, by_rds(way), way)}
        resources[ROUTE] = {"routes": routes("c0")}
        for number, host in enumerate(("first.example", "second.example")):
            secret, trusted = certificate(host)
            resources[SECRET] = {"certificate": secret}
            if number == 0:
                running = serving(tmp_path, resources, way)
                cache, _, _ = await running.__aenter__()
            try:
                cache.set(FLEET, resources)

                async def shown(trusted: ssl.SSLContext = trusted) -> bool:
                    return await get(port, trusted) == (200, "a")

                await eventually(shown, f"the certificate of {host}")
            except BaseException:
                await running.__aexit__(None, None, None)
                raise
        await running.__aexit__(None, None, None)


def certificate(host: str) -> tuple[bytes, ssl.SSLContext]:
    """A throwaway certificate as a Secret, and a client that trusts that one alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    secret = tls_v3.Secret(
        name="certificate",
        tls_certificate=tls_v3.TlsCertificate(
            certificate_chain=core_v3.DataSource(inline_bytes=chain),
            private_key=core_v3.DataSource(inline_bytes=private),
        ),
    )
    trusting = ssl.create_default_context(cadata=chain.decode())
    trusting.check_hostname = False
    return bytes(secret), trusting


def virtual_host(name: str, to: str, *domains: str) -> bytes:
    return bytes(
        route_v3.VirtualHost(
            name=name,
            domains=list(domains),
            routes=[
                route_v3.Route(
                    match=route_v3.RouteMatch(prefix="/"), route=route_v3.RouteAction(cluster=to)
                )
            ],
        )
    )


@pytest.mark.parametrize("way", ["ads delta", "own delta"])
async def test_virtual_hosts_are_fetched_when_they_are_asked_for(tmp_path: Path, way: str) -> None:
    port = free_port()
    manager = by_rds(way)
    manager.http_filters = [
        hcm_v3.HttpFilter(name="on_demand", typed_config=Any.pack(on_demand_v3.OnDemand()))
    ]
    table = route_v3.RouteConfiguration(
        name="routes", vhds=route_v3.Vhds(config_source=source(way))
    )
    async with backend("a") as a, backend("b") as b:
        resources = clusters(a.port, b.port)
        resources[LISTENER] = {"in": listener(port, manager)}
        resources[ROUTE] = {"routes": bytes(table)}
        shop, cart = "routes/shop", "routes/cart"
        hosts = {
            shop: virtual_host(shop, "c0", "shop.example", "*.shop.example"),
            cart: virtual_host(cart, "c1", "cart.example"),
        }
        resources[VIRTUAL_HOST] = hosts
        async with serving(tmp_path, resources, way) as (cache, server, _):

            async def first() -> bool:
                return await get(port, host="shop.example") == (200, "a")

            await eventually(first, "a virtual host that was asked for")
            assert await get(port, host="deep.shop.example") == (200, "a")
            assert await get(port, host="cart.example") == (200, "b")
            assert (await get(port, host="nobody.example"))[0] == 404

            resources[VIRTUAL_HOST] = {**hosts, shop: virtual_host(shop, "c1", "shop.example")}
            cache.set(FLEET, resources)

            async def moved() -> bool:
                return await get(port, host="shop.example") == (200, "b")

            await eventually(moved, "a virtual host that changed")

            resources[VIRTUAL_HOST] = {shop: hosts[shop]}
            cache.set(FLEET, resources)

            async def gone() -> bool:
                return (await get(port, host="cart.example"))[0] == 404

            await eventually(gone, "a virtual host that is gone")
            assert all(one.nack == "" for client in server.clients() for one in client.types)


async def test_all_types_are_acknowledged_and_nothing_is_refused(tmp_path: Path, way: str) -> None:
    """What the tests above use, together: the server's own status says that all of it was taken."""
    port = free_port()
    async with backend("a") as a:
        resources: dict[str, Anything] = dict(clusters(a.port))
        secret, trusted = certificate("all.example")
        resources[LISTENER] = {"in": listener(port, by_rds(way), way)}
        resources[ROUTE] = {"routes": routes("c0")}
        resources[SECRET] = {"certificate": secret}
        async with serving(tmp_path, resources, way) as (cache, server, _):

            async def shown() -> bool:
                return await get(port, trusted) == (200, "a")

            await eventually(shown, "a request goes through")
            taken = {
                one.type_url: one.acked_version
                for client in server.clients()
                for one in client.types
            }
            wanted = (CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET)
            assert {url: taken.get(url) for url in wanted} == {
                url: cache.version(FLEET, url) for url in wanted
            }
            assert all(one.nack == "" for client in server.clients() for one in client.types)
            assert len(server.clients()) == (1 if way.startswith("ads") else 3)
