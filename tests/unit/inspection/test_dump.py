"""Envoy's pages as they are, shortened: what is read of them, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.errors import InspectionError
from controlplane.inspection.dump import read_dump
from controlplane.inspection.found import TYPE_URLS, Place

ADMIN = "type.googleapis.com/envoy.admin.v3."


def eds(name: str, service_name: str = "") -> dict[str, Any]:
    asked = {"service_name": service_name} if service_name else {}
    return {"name": name, "type": "EDS", "eds_cluster_config": asked}


def assignment(name: str) -> dict[str, Any]:
    return {"endpoint_config": {"@type": TYPE_URLS["eds"], "cluster_name": name}}


def dump(**sections: dict[str, Any]) -> dict[str, Any]:
    bootstrap = {
        "node": {"id": "envoy-1", "cluster": "edge"},
        "layered_runtime": {
            "layers": [
                {"name": "static", "static_layer": {}},
                {"name": "theirs", "rtds_layer": {"name": "weir"}},
            ]
        },
    }
    configs = [{"@type": f"{ADMIN}BootstrapConfigDump", "bootstrap": bootstrap}]
    return {
        "configs": configs
        + [{"@type": f"{ADMIN}{name}ConfigDump", **section} for name, section in sections.items()]
    }


def test_clusters_and_listeners_are_read_with_where_they_stand() -> None:
    found = read_dump(
        dump(
            Clusters={
                "static_clusters": [{"cluster": {"name": "own"}}],
                "dynamic_active_clusters": [{"version_info": "1", "cluster": eds("web")}],
                "dynamic_warming_clusters": [{"version_info": "2", "cluster": eds("web")}],
            },
            Listeners={
                "dynamic_listeners": [
                    {
                        "name": "in",
                        "active_state": {"version_info": "3", "listener": {"name": "in"}},
                        "draining_state": {"version_info": "2", "listener": {"name": "in"}},
                        "error_state": {"details": "no address"},
                    },
                    {"name": "new", "error_state": {"details": "bad"}},
                ]
            },
        )
    )
    assert (found.node, found.fleet) == ("envoy-1", "edge")
    assert [(one.name, one.version, one.place) for one in found.types["cds"]] == [
        ("own", "", Place.STATIC),
        ("web", "1", Place.ACTIVE),
        ("web", "2", Place.WARMING),
    ]
    assert [(one.name, one.place, one.refused) for one in found.types["lds"]] == [
        ("in", Place.ACTIVE, "no address"),
        ("in", Place.DRAINING, "no address"),
    ]


def test_only_assignments_that_clusters_take_from_eds_came_over_xds() -> None:
    found = read_dump(
        dump(
            Clusters={
                "static_clusters": [{"cluster": eds("mine", service_name="default/web")}],
                "dynamic_active_clusters": [
                    {"cluster": eds("web")},
                    {"cluster": {"name": "fixed", "type": "STATIC"}},
                ],
            },
            Endpoints={
                "static_endpoint_configs": [assignment("default/web")],
                "dynamic_endpoint_configs": [assignment("web"), assignment("fixed")],
            },
        )
    )
    assert [(one.name, one.place) for one in found.types["eds"]] == [
        ("default/web", Place.ACTIVE),
        ("web", Place.ACTIVE),
        ("fixed", Place.STATIC),
    ]


def test_routes_scopes_filters_and_secrets_are_read_and_secrets_without_what_they_hold() -> None:
    secret = {"name": "cert", "version_info": "4", "secret": {"name": "cert", "generic_secret": {}}}
    found = read_dump(
        dump(
            Routes={"dynamic_route_configs": [{"route_config": {"name": "r"}}]},
            ScopedRoutes={
                "dynamic_scoped_route_configs": [
                    {"name": "all", "scoped_route_configs": [{"name": "s"}]}
                ]
            },
            Ecds={"ecds_filters": [{"ecds_filter": {"name": "f"}}]},
            Secrets={"dynamic_active_secrets": [secret]},
        )
    )
    kinds = ("rds", "srds", "ecds", "sds")
    assert [[one.name for one in found.types[kind]] for kind in kinds] == [
        ["r"],
        ["s"],
        ["f"],
        ["cert"],
    ]
    (one,) = found.types["sds"]
    assert (one.body, one.version) == (None, "4")


def test_the_runtime_layer_is_read_by_the_name_of_its_resource() -> None:
    page = {
        "layers": ["static", "theirs"],
        "entries": {
            "a": {"layer_values": ["1", "2"], "final_value": "2"},
            "b": {"layer_values": ["3", ""], "final_value": "3"},
        },
    }
    (one,) = read_dump(dump(), page).types["rtds"]
    assert (one.name, one.body) == ("weir", {"name": "weir", "layer": {"a": "2"}})


def test_what_cannot_be_read_is_told_and_does_not_hide_the_rest() -> None:
    clusters = [{"cluster": {"name": "new", "of_next_year": 1}}, {"cluster": {"name": "web"}}]
    found = read_dump(dump(Clusters={"dynamic_active_clusters": clusters})).types["cds"]
    assert [one.body for one in found] == [None, {"name": "web"}]
    assert "install a later envoy_data_plane" in found[0].why


@pytest.mark.parametrize("page", [{}, {"configs": []}, {"configs": [{}]}, {"configs": 1}])
def test_another_page_is_no_config_dump(page: dict[str, Any]) -> None:
    with pytest.raises(InspectionError, match="is this the address of its admin interface"):
        read_dump(page)
