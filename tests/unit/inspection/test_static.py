"""A snapshot as a static bootstrap, and the search for what Envoy does not take."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from controlplane.inspection.found import TYPE_URLS
from controlplane.inspection.static import Fleet, Part, refused_parts
from controlplane.translate import Translator
from tests.unit.translate.scenes import all_services, declared, even

DOCUMENTS = (
    "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n"
    "spec: {listeners: [{name: http, protocol: HTTP, port: 8080}]}\n",
    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web}\n"
    "spec:\n  parentRefs: [{name: edge}]\n"
    "  rules:\n  - matches: [{path: {value: /a}}, {path: {value: /b}}]\n"
    "    backendRefs: [{name: web}]\n",
    "apiVersion: weir.dev/v1alpha1\nkind: Backend\nmetadata: {name: web}\n"
    "spec: {endpoints: [{ip: {address: 10.0.0.1, port: 80}}]}\n",
)


def fleets() -> dict[str, Fleet]:
    found = declared(*DOCUMENTS)
    services = all_services(found)
    made = {}
    for snapshot in Translator().snapshots(found, services, even(services)):
        named = {kind: snapshot.resources.get(url, {}) for kind, url in TYPE_URLS.items()}
        made[snapshot.fleet] = Fleet.of(named)
    return made


def test_everything_that_comes_over_xds_is_written_out_in_place() -> None:
    fleet = fleets()["default/edge"]
    parts = fleet.parts()
    table = "default/edge/http-8080"
    assert parts == [
        Part("cds", "default/web"),
        Part("eds", "default/web"),
        Part("lds", table),
        Part("rds", table),
        Part("rds", table, "default/web/0/0"),
        Part("rds", table, "default/web/0/1"),
    ]
    base = {"static_resources": {"clusters": [{"name": "weir"}]}}
    made = fleet.bootstrap(base, parts)
    own, web = made["static_resources"]["clusters"]
    assert own == {"name": "weir"}
    assert (web["type"], "eds_cluster_config" in web) == ("STATIC", False)
    (group,) = web["load_assignment"]["endpoints"]
    address = group["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["address"]
    assert address == "10.0.0.1"
    (listener,) = made["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert "rds" not in manager
    filters = {one["name"]: one for one in manager["http_filters"]}
    assert not [name for name, one in filters.items() if "config_discovery" in one]
    assert filters["weir.dev/jwt"]["typed_config"]["@type"].endswith(".JwtAuthentication")
    assert filters["weir.dev/jwt"]["disabled"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert [one["name"] for one in routes] == ["default/web/0/0", "default/web/0/1"]
    assert made["layered_runtime"]["layers"][0]["static_layer"]
    assert base == {"static_resources": {"clusters": [{"name": "weir"}]}}


def test_each_part_can_be_left_out() -> None:
    fleet = fleets()["default/edge"]
    cds, eds, lds, rds, first, _ = fleet.parts()
    made = fleet.bootstrap({}, [cds, lds, rds, first])["static_resources"]
    assert made["clusters"][0]["load_assignment"] == {"cluster_name": "default/web"}
    manager = made["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert len(manager["route_config"]["virtual_hosts"][0]["routes"]) == 1
    made = fleet.bootstrap({}, [eds, lds])["static_resources"]
    assert made["clusters"] == []
    manager = made["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert "virtual_hosts" not in manager["route_config"]


def test_a_fleet_without_clusters_is_its_assignments() -> None:
    fleet = fleets()["overlay"]
    assert {one.type for one in fleet.parts()} == {"eds"}
    made = fleet.bootstrap({}, [Part("eds", "default/web")])["static_resources"]
    (cluster,) = made["clusters"]
    assert (cluster["name"], cluster["type"]) == ("default/web", "STATIC")
    assert cluster["load_assignment"]["endpoints"]


@given(st.integers(0, 40), st.sets(st.integers(0, 39)))
def test_halving_finds_exactly_what_trying_one_by_one_finds(count: int, bad: set[int]) -> None:
    parts = [Part("cds", str(number)) for number in range(count)]
    refused = {Part("cds", str(number)) for number in bad if number < count}
    runs = []

    def verdict(some: Sequence[Part]) -> str:
        runs.append(len(some))
        found = sorted(refused & set(some))
        return f"bad: {found[0]}" if found else ""

    found = list(refused_parts(parts, verdict))
    assert [part for part, _ in found] == [one for one in parts if one in refused]
    assert all(said == f"bad: {part}" for part, said in found)
    if not refused:
        assert len(runs) == min(count, 1)
    assert len(runs) <= 1 + 2 * len(refused) * max(count, 1).bit_length()


def test_a_part_is_tried_with_what_it_needs() -> None:
    needed, needs = Part("lds", "in"), Part("rds", "in")

    def verdict(some: Sequence[Part]) -> str:
        return "alone" if needs in some and needed not in some else ""

    assert not list(refused_parts([needed, needs], verdict))
