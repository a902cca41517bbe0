"""Diff and client status of every type: what comes back from Envoy unchanged is no difference."""

from __future__ import annotations

from pathlib import Path

import pytest
from envoy_data_plane.envoy.config.core import v3 as core_v3
from envoy_data_plane.envoy.config.route import v3 as route_v3
from envoy_data_plane.envoy.extensions.filters.http.on_demand import v3 as on_demand_v3
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm_v3
from envoy_data_plane.google.protobuf import Any

from controlplane._pb.status_pb2 import ConfigStatus
from controlplane.lab.envoy import free_port
from controlplane.xds.kinds import KINDS, SECRET
from tests.envoy import test_types as types
from tests.envoy.plane import NODE, Plane, own_envoy, plane
from tests.envoy.test_status import client_status, differing, of_type
from tests.envoy.test_xds import Resources, backend, eventually, routes

pytestmark = pytest.mark.envoy

Types = dict[str, dict[str, bytes]]


def by_name(resources: Resources) -> Types:
    return {KINDS[url].name: bodies for url, bodies in resources.items()}


def fault_filter(way: str) -> hcm_v3.HttpFilter:
    kind = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
    found = core_v3.ExtensionConfigSource(config_source=types.source(way), type_urls=[kind])
    return hcm_v3.HttpFilter(name="fault", config_discovery=found)


@pytest.mark.parametrize("way", ["ads sotw", "ads delta"])
async def test_a_listener_with_a_certificate_and_a_filter_from_us_is_no_difference(
    tmp_path: Path, way: str
) -> None:
    manager = types.by_rds(way)
    manager.http_filters = [fault_filter(way)]
    secret, _ = types.certificate("first.example")
    wanted: Types = {
        **by_name(types.clusters(9)),
        "lds": {"in": types.listener(free_port(), manager, way)},
        "rds": {"routes": routes("c0")},
        "ecds": {"fault": types.fault(418)},
        "sds": {"certificate": secret},
    }
    delta = way.endswith("delta")
    async with plane(**wanted) as made, own_envoy(made, tmp_path, delta=delta) as envoy:
        await settled(made, "sds", "ecds", "rds")
        done = await differing(made, envoy)
        assert done.status == 0, done.out + done.err
        assert done.out.splitlines() == [
            "not compared: sds certificate: it is, or carries, a secret",
            f"{NODE}: no differences, 6 resources compared",
        ]
        answer = await client_status(made)
        (one,) = of_type(answer.config[0], SECRET).values()
        assert (one.config_status, one.HasField("xds_config")) == (ConfigStatus.SYNCED, False)
        assert b"PRIVATE KEY" not in answer.SerializeToString()
        made.publish(ecds={"fault": types.fault(429)})
        await made.synced()
        assert (await differing(made, envoy)).status == 0


@pytest.mark.parametrize("way", ["ads sotw", "ads delta"])
async def test_scoped_routes_are_no_difference(tmp_path: Path, way: str) -> None:
    extractor = hcm_v3.ScopedRoutesScopeKeyBuilderFragmentBuilderHeaderValueExtractor(
        name="x-scope", element_separator=",", index=0
    )
    fragment = hcm_v3.ScopedRoutesScopeKeyBuilderFragmentBuilder(header_value_extractor=extractor)
    manager = hcm_v3.HttpConnectionManager(
        scoped_routes=hcm_v3.ScopedRoutes(
            name="scopes",
            scope_key_builder=hcm_v3.ScopedRoutesScopeKeyBuilder(fragments=[fragment]),
            rds_config_source=types.source(way),
            scoped_rds=hcm_v3.ScopedRds(scoped_rds_config_source=types.source(way)),
        )
    )
    wanted: Types = {
        **by_name(types.clusters(9)),
        "lds": {"in": types.listener(free_port(), manager)},
        "srds": {
            "first": types.scope("first", "a", "routes-a"),
            "second": types.scope("second", "b", "routes-a"),
        },
        "rds": {"routes-a": types.named("routes-a", "c0")},
    }
    delta = way.endswith("delta")
    async with plane(**wanted) as made, own_envoy(made, tmp_path, delta=delta) as envoy:
        await settled(made, "srds", "rds")
        done = await differing(made, envoy)
        assert (done.status, "7 resources compared" in done.out) == (0, True), done.out + done.err


async def test_virtual_hosts_that_came_on_demand_are_no_difference_of_their_table(
    tmp_path: Path,
) -> None:
    way, port = "ads delta", free_port()
    manager = types.by_rds(way)
    manager.http_filters = [
        hcm_v3.HttpFilter(name="on_demand", typed_config=Any.pack(on_demand_v3.OnDemand()))
    ]
    table = route_v3.RouteConfiguration(
        name="routes", vhds=route_v3.Vhds(config_source=types.source(way))
    )
    shop = "routes/shop"
    async with backend("a") as a:
        wanted: Types = {
            **by_name(types.clusters(a.port)),
            "lds": {"in": types.listener(port, manager)},
            "rds": {"routes": bytes(table)},
            "vhds": {shop: types.virtual_host(shop, "c0", "shop.example")},
        }
        async with plane(**wanted) as made, own_envoy(made, tmp_path, delta=True) as envoy:
            await settled(made, "rds")

            async def answered() -> bool:
                assert (await types.get(port, host="nobody.example"))[0] in (0, 404)
                return await types.get(port, host="shop.example") == (200, "a")

            await eventually(answered, "a virtual host that was asked for")
            await settled(made, "vhds")
            done = await differing(made, envoy)
            assert done.out == f"{NODE}: no differences, 6 resources compared\n"


async def settled(made: Plane, *kinds: str) -> None:
    """Until these types were asked for, and all are synced."""
    await made.until(
        lambda found: (
            found.keys() >= set(kinds) and all(one["state"] == "SYNCED" for one in found.values())
        )
    )
