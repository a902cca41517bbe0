"""Stock lanes differ from Weir's in the balancing alone: read back from the real Envoys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.backends import BackendSpec, run_backends
from controlplane.lab.envoy import Envoy
from controlplane.lab.lanes import run_lane
from controlplane.lab.stock import CLUSTER, FULL_SCAN
from controlplane.lab.weir import run_weir_lane

pytestmark = pytest.mark.envoy

ANOTHER_WAY_TO_THE_SAME = {
    "@type",
    "name",
    "type",
    "eds_cluster_config",
    "load_assignment",
    "lrs_report_endpoint_metrics",
}
"""Where endpoints come from and what is reported; names."""
ADDRESSES = "weir.dev/addresses/"
"""Weir's filter of client addresses: always there, and empty in the demo."""
SPELT_OUT = {
    "http_protocol_options": {},
    "max_request_headers_kb": 60,
    "request_timeout": "0s",
}
"""What Weir says and Envoy takes without it."""
HTTP_OF_A_FLEET = {"@type", "stat_prefix", "rds", "route_config", "access_log"}


async def configuration(envoy: Envoy) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The cluster, the HTTP connection manager and the route table that it runs."""
    parts = json.loads(await envoy.get("/config_dump"))["configs"]
    clusters = [
        one["cluster"]
        for part in parts
        for one in (*part.get("static_clusters", ()), *part.get("dynamic_active_clusters", ()))
    ]
    listeners = [
        one.get("listener") or one["active_state"]["listener"]
        for part in parts
        for one in (*part.get("static_listeners", ()), *part.get("dynamic_listeners", ()))
    ]
    tables = [
        one["route_config"]
        for part in parts
        for one in (*part.get("static_route_configs", ()), *part.get("dynamic_route_configs", ()))
    ]
    (cluster,) = (one for one in clusters if one["name"] == CLUSTER)
    (listener,) = listeners
    (table,) = tables
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    # What no route switches on is not in the path of a request, and no list of addresses is given.
    filters = [
        one
        for one in manager["http_filters"]
        if not one.get("disabled") and not one["name"].startswith(ADDRESSES)
    ]
    common = dict(manager["common_http_protocol_options"])
    assert common.pop("max_headers_count", 100) == 100  # Envoy's own
    said = {name: one for name, one in manager.items() if SPELT_OUT.get(name) != one}
    manager = {**said, "http_filters": filters, "common_http_protocol_options": common}
    return cluster, manager, table


def but(fields: dict[str, Any], without: set[str]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in without}


async def test_cluster_listener_and_route_are_those_of_weir(tmp_path: Path) -> None:
    lanes = ("weir", "full_scan")
    async with (
        run_backends([BackendSpec()] * 3, tmp_path, lanes=lanes) as backends,
        run_lane(FULL_SCAN, backends.ports["full_scan"], tmp_path, envoys=1) as stock,
        run_weir_lane(backends.ports["weir"], tmp_path, envoys=1, policy="equal") as (weir, _),
    ):
        stock_cluster, stock_http, stock_table = await configuration(stock.envoys[0])
        weir_cluster, weir_http, weir_table = await configuration(weir.envoys[0])
    balancing = {"load_balancing_policy", "lb_policy"}
    # Of sessions alone, which no route has here.
    weir_cluster["common_lb_config"].pop("override_host_status")
    ours = but(weir_cluster, ANOTHER_WAY_TO_THE_SAME | balancing)
    assert but(stock_cluster, ANOTHER_WAY_TO_THE_SAME | balancing) == ours
    assert but(stock_http, HTTP_OF_A_FLEET | {"http2_protocol_options"}) == but(
        weir_http, HTTP_OF_A_FLEET | {"http2_protocol_options"}
    )
    (stock_host,), (weir_host,) = stock_table["virtual_hosts"], weir_table["virtual_hosts"]
    assert stock_host["retry_policy"] == weir_host["retry_policy"]
    (stock_route,), (weir_route,) = stock_host["routes"], weir_host["routes"]
    assert stock_route["route"] == weir_route["route"]
    assert stock_route["match"] == weir_route["match"]
