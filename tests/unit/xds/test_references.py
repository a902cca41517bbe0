"""Which clusters routes and listeners name, read from bytes that envoy_data_plane made."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.config.listener import v3 as listener_v3
from envoy_data_plane.envoy.config.route import v3 as route_v3
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm_v3
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy import v3 as tcp_v3
from envoy_data_plane.envoy.extensions.filters.udp.udp_proxy import v3 as udp_v3
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.xds.core import v3 as xds_core_v3
from envoy_data_plane.xds.type.matcher import v3 as matcher_v3

from controlplane.resources.ext_auth import ExtAuth
from controlplane.resources.extensions import ExtProc
from controlplane.translate.brought import in_order
from controlplane.translate.clusters import asked, over_http_2
from controlplane.translate.edge_functions import chained
from controlplane.translate.security.ext_auth import for_route
from controlplane.translate.wire import wire
from controlplane.xds.references import (
    clusters_of_listener,
    clusters_of_routes,
    clusters_of_scope,
    clusters_of_virtual_host,
)


def routes() -> route_v3.RouteConfiguration:
    """Every place in which a cluster can be named."""
    mirror = route_v3.RouteActionRequestMirrorPolicy
    return route_v3.RouteConfiguration(
        name="routes",
        virtual_hosts=[
            route_v3.VirtualHost(
                name="one",
                domains=["*"],
                routes=[
                    route_v3.Route(route=route_v3.RouteAction(cluster="plain")),
                    route_v3.Route(redirect=route_v3.RedirectAction(host_redirect="elsewhere")),
                    route_v3.Route(
                        route=route_v3.RouteAction(
                            weighted_clusters=route_v3.WeightedCluster(
                                clusters=[
                                    route_v3.WeightedClusterClusterWeight(name="left"),
                                    route_v3.WeightedClusterClusterWeight(name="right"),
                                ]
                            ),
                            request_mirror_policies=[mirror(cluster="mirror of a route")],
                        )
                    ),
                ],
                request_mirror_policies=[mirror(cluster="mirror of a host")],
            )
        ],
        request_mirror_policies=[mirror(cluster="mirror of all")],
    )


NAMED = {"plain", "left", "right", "mirror of a route", "mirror of a host", "mirror of all"}


def chain(config: object) -> listener_v3.FilterChain:
    return listener_v3.FilterChain(
        filters=[listener_v3.Filter(name="first", typed_config=Any.pack(config))]  # type: ignore[arg-type]
    )


def test_a_route_configuration_names_its_clusters_and_mirrors() -> None:
    assert clusters_of_routes(bytes(routes())) == NAMED


DOOR, OVER_HTTP_2 = asked("default/door"), asked(over_http_2("default/door"))


@pytest.mark.parametrize(
    ("config", "cluster"),
    [
        (for_route(ExtAuth.model_validate({"http": {"backendRefs": [{"name": "door"}]}}),
                   "default/door"), DOOR),
        (for_route(ExtAuth.model_validate({"grpc": {"backendRefs": [{"name": "door"}]}}),
                   "default/door"), OVER_HTTP_2),
        (in_order([chained(ExtProc.model_validate({"backendRefs": [{"name": "door"}]}),
                           OVER_HTTP_2)]), OVER_HTTP_2),
    ],
)  # fmt: skip
def test_a_route_names_the_services_that_its_filters_ask(config: bytes, cluster: str) -> None:
    plain = bytes(route_v3.Route(route=route_v3.RouteAction(cluster="plain")))
    asking = plain + wire(route_v3.Route, typed_per_filter_config={"asks": config})
    host = wire(route_v3.VirtualHost, name="one", domains=["*"], routes=[plain, asking])
    assert clusters_of_virtual_host(host) == {"plain", cluster}
    table = wire(route_v3.RouteConfiguration, name="routes", virtual_hosts=[host])
    assert clusters_of_routes(table) == {"plain", cluster}


def test_a_scope_names_those_of_the_routes_inside() -> None:
    scope = route_v3.ScopedRouteConfiguration(name="scope", route_configuration=routes())
    assert clusters_of_scope(bytes(scope)) == NAMED
    assert clusters_of_scope(bytes(route_v3.ScopedRouteConfiguration(name="scope"))) == set()


def test_a_listener_names_those_of_its_inline_routes_and_tcp_proxies() -> None:
    weighted = tcp_v3.TcpProxyWeightedCluster(
        clusters=[tcp_v3.TcpProxyWeightedClusterClusterWeight(name="weighted", weight=1)]
    )
    listener = listener_v3.Listener(
        name="in",
        filter_chains=[
            chain(hcm_v3.HttpConnectionManager(stat_prefix="in", route_config=routes())),
            chain(tcp_v3.TcpProxy(stat_prefix="tcp", weighted_clusters=weighted)),
        ],
        default_filter_chain=chain(tcp_v3.TcpProxy(stat_prefix="tcp", cluster="otherwise")),
    )
    assert clusters_of_listener(bytes(listener)) == NAMED | {"weighted", "otherwise"}


def test_a_listener_names_those_that_its_datagrams_go_to() -> None:
    def leads(name: str) -> matcher_v3.MatcherOnMatch:
        config = Any.pack(udp_v3.Route(cluster=name))
        action = xds_core_v3.TypedExtensionConfig(name="route", typed_config=config)
        return matcher_v3.MatcherOnMatch(action=action)

    one = matcher_v3.MatcherMatcherListFieldMatcher(on_match=leads("matched"))
    matcher = matcher_v3.Matcher(
        matcher_list=matcher_v3.MatcherMatcherList(matchers=[one]), on_no_match=leads("otherwise")
    )
    config = Any.pack(udp_v3.UdpProxyConfig(stat_prefix="udp", matcher=matcher))
    listener = listener_v3.Listener(
        name="in",
        listener_filters=[
            listener_v3.ListenerFilter(name="other"),
            listener_v3.ListenerFilter(name="udp", typed_config=config),
        ],
    )
    assert clusters_of_listener(bytes(listener)) == {"matched", "otherwise"}


def test_a_listener_whose_routes_come_by_rds_names_nothing() -> None:
    manager = hcm_v3.HttpConnectionManager(
        stat_prefix="in", rds=hcm_v3.Rds(route_config_name="routes")
    )
    listener = listener_v3.Listener(name="in", filter_chains=[chain(manager)])
    assert clusters_of_listener(bytes(listener)) == set()


def test_what_is_no_message_names_nothing() -> None:
    for read in (clusters_of_routes, clusters_of_scope, clusters_of_listener):
        assert read(b"\xff\xff garbage") == set()
