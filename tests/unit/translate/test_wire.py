from __future__ import annotations

from datetime import timedelta

import pytest
from betterproto2 import Message
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, OutlierDetection
from envoy_data_plane.envoy.config.core.v3 import RuntimeDouble
from envoy_data_plane.envoy.config.route.v3 import RetryPolicy, RouteAction, VirtualHost
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
)
from envoy_data_plane.google.protobuf import Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from controlplane.translate.wire import TRUE, duration, number, wire
from controlplane.translate.wire import Value as WireValue


@given(st.floats(0.0, 1e6), st.integers(0, 2**32 - 1), st.text(max_size=300))
def test_what_is_written_is_what_envoy_data_plane_reads(
    seconds: float, count: int, text: str
) -> None:
    ejections = wire(OutlierDetection, consecutive_5xx=number(count), interval=duration(seconds))
    read = OutlierDetection.parse(ejections)
    assert read.consecutive_5xx == count
    assert read.interval is not None
    assert abs(read.interval - timedelta(seconds=seconds)) <= timedelta(microseconds=1)
    assert VirtualHost.parse(wire(VirtualHost, name=text, domains=[text, "b"])) == VirtualHost(
        name=text, domains=[text, "b"]
    )


@pytest.mark.parametrize(
    ("kind", "fields", "read"),
    [
        (RuntimeDouble, {"default_value": 1.5}, RuntimeDouble(default_value=1.5)),
        (Struct, {"fields": {"a": wire(Value, string_value="b")}},
         Struct(fields={"a": Value(string_value="b")})),
        (HttpConnectionManager, {"use_remote_address": TRUE, "merge_slashes": True},
         HttpConnectionManager(use_remote_address=True, merge_slashes=True)),
        (RetryPolicy, {"host_selection_retry_max_attempts": 300},
         RetryPolicy(host_selection_retry_max_attempts=300)),
    ],
)  # fmt: skip
def test_every_sort_of_field_is_read_back(
    kind: type[Message], fields: dict[str, WireValue], read: Message
) -> None:
    assert kind.parse(wire(kind, **fields)) == read


def test_a_field_that_is_not_there_and_a_value_of_another_type_are_errors() -> None:
    with pytest.raises(TypeError, match="RouteAction has no field 'clutser'"):
        wire(RouteAction, clutser="a")
    with pytest.raises(TypeError, match=r"RouteAction.cluster is a string, not int"):
        wire(RouteAction, cluster=3)
    with pytest.raises(TypeError, match=r"Cluster.connect_timeout is a message, not float"):
        wire(Cluster, connect_timeout=1.0)
