"""The parts of routes, listeners and clusters that the edge and its telemetry add."""

from __future__ import annotations

from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import Route, RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import LuaPerRoute
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions

from controlplane.resources.client_ports import USUAL
from controlplane.translate import Translator
from controlplane.translate.http_filters import http_filters
from controlplane.translate.types import CLUSTER, LISTENER, ROUTE
from tests.unit.resources.documents import BACKEND, GATEWAY, joined, read
from tests.unit.resources.documents import ROUTE as WEB
from tests.unit.resources.test_edge_policies import CLIENT, TRAFFIC
from tests.unit.translate.scenes import all_services, even

PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def resources(translator: Translator, *documents: str) -> dict[str, dict[str, bytes]]:
    loaded = read({"all.yaml": joined(GATEWAY, WEB, BACKEND, *documents)})
    assert not loaded.problems, loaded.problems
    services = all_services(loaded.declared)
    edge, _ = translator.snapshots(loaded.declared, services, even(services))
    return {type_url: dict(named) for type_url, named in edge.resources.items()}


def backend(name: str) -> str:
    return BACKEND.replace("name: web", f"name: {name}")


def speaks_http_2(wire: bytes) -> bool:
    packed = Cluster.parse(wire).typed_extension_protocol_options[PROTOCOL]
    explicit = HttpProtocolOptions.parse(packed.value).explicit_http_config
    return explicit is not None and explicit.http2_protocol_options is not None


def test_a_service_of_a_policy_has_clusters_until_the_service_is_gone() -> None:
    translator = Translator()
    service = backend("inspector")
    plain = resources(translator, service)
    assert set(plain[CLUSTER]) == {"default/web"}
    policy = f"{TRAFFIC}  extProc: [{{backendRefs: [{{name: inspector}}]}}]\n"
    found = resources(translator, service, policy)
    its = {f"weir.dev/{kind}/default/inspector" for kind in ("h2", "asked/h2")}
    assert set(found[CLUSTER]) == {"default/web", *its}
    assert speaks_http_2(found[CLUSTER]["weir.dev/h2/default/inspector"])
    assert not speaks_http_2(found[CLUSTER]["default/web"])
    assert found[LISTENER] == plain[LISTENER]
    assert set(resources(translator, service)[CLUSTER]) == {"default/web", *its}
    assert set(resources(translator)[CLUSTER]) == {"default/web"}


def test_a_collector_has_one_too() -> None:
    provider = "provider: {backendRefs: [{name: collector}]}"
    policy = f"{CLIENT}  telemetry: {{tracing: {{{provider}}}}}\n"
    found = resources(Translator(), backend("collector"), policy)
    assert speaks_http_2(found[CLUSTER]["weir.dev/h2/default/collector"])
    assert b"weir.dev/h2/default/collector" in found[LISTENER]["default/edge/http-8080"]


def test_a_script_that_changes_changes_the_routes_that_run_it() -> None:
    policy = f"{TRAFFIC}  lua: [{{type: ValueRef, valueRef: {{name: script}}}}]\n"
    translator = Translator()
    for script in ("one = 1", "two = 2"):
        held = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: script}\n"
        held += f"data: {{lua: {script}}}\n"
        (table,) = resources(translator, held, policy)[ROUTE].values()
        (route,) = RouteConfiguration.parse(table).virtual_hosts[0].routes
        assert source(route).endswith(f"end {script}")
        assert "\n" not in source(route)


def source(route: Route) -> str:
    packed = route.typed_per_filter_config["envoy.filters.http.lua"]
    code = LuaPerRoute.parse(packed.value).source_code
    assert code is not None
    assert code.inline_string is not None
    return code.inline_string


def test_code_sees_answers_before_they_are_compressed_and_requests_before_the_cache() -> None:
    names = [
        HttpFilter.parse(one).name.removeprefix("envoy.filters.http.")
        for one in http_filters(USUAL, "table", "control")
    ]
    order = [
        names.index(one) for one in ("cors", "compressor.gzip", "lua", "weir.extensions", "router")
    ]
    assert order == sorted(order)
    assert names[-1] == "router"


def test_what_strangers_say_is_removed_before_headers_that_a_policy_sets_early() -> None:
    detection = "  clientIPDetection: {customHeader: {name: x-client}}\n"
    early = "  headers: {earlyRequestHeaders: {set: [{name: x-a, value: b}]}}\n"
    listeners = resources(Translator(), CLIENT + detection + early)[LISTENER]
    (http,) = (Listener.parse(one).filter_chains[0].filters[-1] for one in listeners.values())
    assert http.typed_config is not None
    config = HttpConnectionManager.parse(http.typed_config.value)
    found = [one.typed_config for one in config.early_header_mutation_extensions]
    strangers, said = (HeaderMutation.parse(one.value).mutations for one in found if one)
    assert strangers[0].remove_on_match is not None
    assert said[0].append is not None
