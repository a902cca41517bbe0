from __future__ import annotations

from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import HttpGrpcAccessLogConfig
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
)
from envoy_data_plane.envoy.service.runtime.v3 import Runtime

from controlplane.model import OVERLAY, Snapshot, fleet_of
from controlplane.resources import Loaded
from controlplane.translate import TranslateOptions, Translator
from controlplane.translate.types import (
    CLUSTER,
    ENDPOINT,
    EXTENSION,
    LISTENER,
    ROUTE,
    RUNTIME,
    SECRET,
)
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICY, read
from tests.unit.resources.documents import ROUTE as WEB_ROUTE
from tests.unit.translate.scenes import all_services, declared, even, grouped

OTHER = BACKEND.replace("{name: web}", "{name: other}")
ALL = (GATEWAY, WEB_ROUTE, BACKEND, OTHER)


def fleets(snapshots: tuple[Snapshot, ...]) -> dict[str, Snapshot]:
    return {one.fleet: one for one in snapshots}


def http(snapshot: Snapshot) -> HttpConnectionManager:
    listener = Listener.parse(snapshot.resources[LISTENER]["default/edge/http-8080"])
    config = listener.filter_chains[0].filters[0].typed_config
    assert config is not None
    found = config.unpack()
    assert isinstance(found, HttpConnectionManager)
    return found


def test_a_gateway_is_a_fleet_and_the_overlay_has_endpoints_alone() -> None:
    found = declared(*ALL)
    services = all_services(found)
    made = fleets(Translator().snapshots(found, services, even(services)))
    assert set(made) == {"default/edge", OVERLAY}
    edge = made["default/edge"].resources
    assert set(edge) == {CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME, SECRET}
    assert set(edge[CLUSTER]) == {"default/web"}  # what its routes reach, no more
    assert set(edge[ENDPOINT]) == {"default/web", "web", "default/other", "other"}
    assert set(made[OVERLAY].resources) == {ENDPOINT}


def test_envoys_of_a_gateway_that_is_deleted_are_told_to_listen_to_nothing() -> None:
    """By the deletion of that object alone, and until it is declared again."""
    other = GATEWAY.replace("name: edge", "name: other").replace("8080", "8081")
    theirs = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n"
        "metadata: {name: weir}\nspec: {controllerName: example.com/other}\n"
    )
    translator, loaded = Translator(), read({"a.yaml": GATEWAY, "b.yaml": other})

    def told(loaded: Loaded) -> dict[str, Snapshot]:
        return fleets(translator.snapshots(loaded.declared, (), {}))

    assert told(loaded).keys() == {"default/edge", "default/other", OVERLAY}
    loaded = read({"a.yaml": GATEWAY.replace("port", "prot"), "b.yaml": other}, loaded)
    assert told(loaded)["default/edge"].resources[LISTENER]  # refused is not deleted
    loaded = read({"b.yaml": other}, loaded)
    assert told(loaded)["default/edge"].resources == {LISTENER: {}, CLUSTER: {}}
    assert told(loaded)["default/other"].resources[LISTENER]
    loaded = read({"b.yaml": other, "c.yaml": theirs}, loaded)  # another controller has it now
    assert told(loaded).keys() == {"default/edge", OVERLAY}
    loaded = read({"a.yaml": GATEWAY, "b.yaml": other}, loaded)
    assert told(loaded)["default/edge"].resources[LISTENER]


def test_a_gateway_that_moved_to_another_namespace_has_its_envoys_by_its_bare_name() -> None:
    before = read({"a.yaml": GATEWAY})
    moved = GATEWAY.replace("name: edge", "name: edge, namespace: shop")
    now = read({"a.yaml": moved}, before).declared
    assert now.ended == {"default/edge"}
    assert fleet_of(now.fleets)("edge") == "shop/edge"


def test_a_fleet_without_routes_is_told_so_rather_than_nothing() -> None:
    edge = Translator().snapshots(declared(GATEWAY), (), {})[0].resources
    assert edge[CLUSTER] == {}
    assert edge[ENDPOINT] == {}
    assert len(edge[LISTENER]) == len(edge[ROUTE]) == len(edge[RUNTIME]) == 1


def test_only_what_changed_is_another_bytes_object() -> None:
    translator = Translator()
    found = declared(*ALL)
    services = all_services(found)
    before = fleets(translator.snapshots(found, services, even(services)))
    web = next(one for one in services if one.name == "default/web")
    verdicts = {**even(services), web.name: grouped(web, [0, 1], [7, 3])}
    after = fleets(translator.snapshots(found, services, verdicts))
    changed = {
        name
        for url, named in after["default/edge"].resources.items()
        for name, wire in named.items()
        if wire is not before["default/edge"].resources[url][name]
    }
    assert changed == {"default/web", "web"}


def test_documents_that_mean_the_same_give_the_same_bytes_objects() -> None:
    translator = Translator()
    found, again = declared(*ALL), declared(*ALL, POLICY)
    services = all_services(found)
    before = translator.snapshots(found, services, even(services))
    after = translator.snapshots(again, all_services(again), even(services))
    for old, new in zip(before, after, strict=True):
        for url, named in new.resources.items():
            for name, wire in named.items():
                assert wire is old.resources[url][name], name


def test_a_fleet_is_found_by_full_and_unique_bare_name_and_all_else_is_overlay() -> None:
    shop = GATEWAY.replace("{name: edge}", "{name: shop}")
    twin = GATEWAY.replace("{name: edge}", "{name: edge, namespace: other}")
    group = fleet_of(declared(GATEWAY, shop, twin).gateways)
    assert group("default/edge") == "default/edge"
    assert group("other/edge") == "other/edge"
    assert group("shop") == "default/shop"
    assert [group(name) for name in ("edge", "", "anything")] == [OVERLAY] * 3


def test_access_logs_go_to_us_sampled_by_the_runtime_layer() -> None:
    (access_log,) = http(Translator().snapshots(declared(GATEWAY), (), {})[0]).access_log
    assert access_log.filter is not None
    assert access_log.filter.runtime_filter is not None
    assert access_log.filter.runtime_filter.runtime_key == "weir.access_log_sampling"
    silent = access_log.filter.runtime_filter.percent_sampled
    assert silent is not None
    assert (silent.numerator, silent.denominator.name) == (100_000, "MILLION")
    assert access_log.typed_config is not None
    config = access_log.typed_config.unpack()
    assert isinstance(config, HttpGrpcAccessLogConfig)
    assert config.common_config is not None
    service = config.common_config.grpc_service
    assert service is not None
    assert service.envoy_grpc is not None
    assert service.envoy_grpc.cluster_name == "weir"


def test_a_fleet_read_from_prometheus_sends_no_access_logs() -> None:
    translator = Translator(TranslateOptions(access_logs=False, endpoint_stats=True))
    assert http(translator.snapshots(declared(GATEWAY), (), {})[0]).access_log == []


def test_another_sampling_changes_the_runtime_layer_and_nothing_else() -> None:
    translator = Translator()
    found = declared(*ALL)
    services = all_services(found)
    before = translator.snapshots(found, services, even(services), 100.0)[0].resources
    after = translator.snapshots(found, services, even(services), 0.25)[0].resources
    for url in (CLUSTER, LISTENER, ROUTE, ENDPOINT):
        assert all(after[url][name] is wire for name, wire in before[url].items())
    layer = Runtime.parse(after[RUNTIME]["weir"]).layer
    assert layer is not None
    assert layer.fields["weir.access_log_sampling"].number_value == 2500


def test_a_gateway_listens_where_it_says() -> None:
    text = GATEWAY + "  addresses: [{value: 127.0.0.1}, {type: IPAddress, value: '::1'}]\n"
    edge = Translator().snapshots(declared(text), (), {})[0].resources
    listener = Listener.parse(edge[LISTENER]["default/edge/http-8080"])
    assert listener.address is not None
    assert listener.address.socket_address is not None
    assert listener.address.socket_address.address == "127.0.0.1"
    assert len(listener.additional_addresses) == 1


def test_an_address_that_is_not_said_is_every_one() -> None:
    text = GATEWAY + "  addresses: [{type: IPAddress}]\n"
    edge = Translator().snapshots(declared(text), (), {})[0].resources
    listener = Listener.parse(edge[LISTENER]["default/edge/http-8080"])
    assert listener.address is not None
    assert listener.address.socket_address is not None
    assert listener.address.socket_address.address == "0.0.0.0"
    assert not listener.additional_addresses
