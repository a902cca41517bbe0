"""The descriptors that are made from `envoy_data_plane`, and the JSON that they write."""

from __future__ import annotations

from datetime import timedelta

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.google.protobuf import Any, Struct, Value
from envoy_data_plane.message_pool import default_message_pool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass

from controlplane._pb.endpoint_pb2 import ClusterLoadAssignment
from controlplane.errors import InspectionError
from controlplane.inspection.canonical import from_bytes, from_json
from controlplane.inspection.found import TYPE_URLS
from controlplane.inspection.schema import PREFIX, Schema, UnknownTypeError
from tests.unit.test_messages import MESSAGES, filled, theirs


def test_every_type_that_is_looked_at_can_be_read() -> None:
    for url in TYPE_URLS.values():
        assert from_bytes(url, b"") == {}


@pytest.mark.parametrize("name", ["cds", "eds", "lds", "rds", "srds", "sds", "rtds"])
def test_all_that_a_type_reaches_is_described(name: str) -> None:
    schema = Schema()
    seen, waiting = set(), [schema.message(TYPE_URLS[name])]
    while waiting:
        message = waiting.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        waiting += [one.message_type for one in message.fields if one.message_type is not None]
    assert len(seen) >= 5


def test_it_says_the_same_as_messages_that_protoc_compiled() -> None:
    """Ours have Envoy's names and numbers (`test_messages`), so the bytes are the same."""
    checked = []
    for full_name, message in MESSAGES.items():
        url = default_message_pool.type_to_url.get(theirs(full_name), "")
        if not url.startswith(f"{PREFIX}envoy.") or "." in url.partition(".v3.")[2]:
            continue  # a nested message cannot be packed, and has no name to ask for
        if full_name.startswith("weir.rate_limit.RateLimit") and "Response" not in full_name:
            continue  # we read values of headers as bytes: they need not be text
        ours = filled(GetMessageClass(message), depth=3)
        if b"text of type_url" in ours.SerializeToString():
            continue  # an `Any` of a type that nobody has
        written = MessageToDict(ours, preserving_proto_field_name=True)
        assert from_bytes(url, ours.SerializeToString()) == written, full_name
        checked.append(full_name)
    assert {"weir.base.Node", "weir.endpoint.ClusterLoadAssignment"} <= set(checked)
    assert len(checked) >= 15


def test_durations_numbers_enums_maps_and_what_is_packed_are_as_envoy_writes_them() -> None:
    context = UpstreamTlsContext(
        common_tls_context=CommonTlsContext(
            tls_params=TlsParameters(tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3)
        ),
        sni="a",
    )
    body = bytes(
        Cluster(
            name="web",
            type=ClusterDiscoveryType.STRICT_DNS,
            connect_timeout=timedelta(seconds=1.5),
            per_connection_buffer_limit_bytes=0,
            transport_socket=TransportSocket(name="tls", typed_config=Any.pack(context)),
            typed_extension_protocol_options={
                "a": Any.pack(Struct(fields={"k": Value(number_value=1.5)}))
            },
        )
    )
    found = from_bytes(TYPE_URLS["cds"], body)
    assert found == {
        "name": "web",
        "type": "STRICT_DNS",
        "connect_timeout": "1.500s",
        "per_connection_buffer_limit_bytes": 0,
        "transport_socket": {
            "name": "tls",
            "typed_config": {
                "@type": f"{PREFIX}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {"tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}},
                "sni": "a",
            },
        },
        "typed_extension_protocol_options": {
            "a": {"@type": f"{PREFIX}google.protobuf.Struct", "value": {"k": 1.5}}
        },
    }
    assert from_json(TYPE_URLS["cds"], {"@type": TYPE_URLS["cds"], **found}) == found


def test_two_spellings_of_one_meaning_become_one() -> None:
    url = TYPE_URLS["cds"]
    one = from_json(url, {"name": "a", "connect_timeout": "0.250s", "lb_policy": "ROUND_ROBIN"})
    other = from_json(url, {"name": "a", "connectTimeout": "0.25s", "lb_policy": 0})
    assert one == other == {"name": "a", "connect_timeout": "0.250s"}


def test_bytes_are_base64_and_keywords_of_python_have_their_own_name_back() -> None:
    source = from_bytes(
        f"{PREFIX}envoy.config.core.v3.DataSource", bytes(DataSource(inline_bytes=b"x"))
    )
    assert source == {"inline_bytes": "eA=="}
    range_url = f"{PREFIX}envoy.type.v3.Int64Range"
    assert from_json(range_url, {"start": "1", "end": 2}) == {"start": "1", "end": "2"}
    filters = from_json(
        f"{PREFIX}envoy.config.accesslog.v3.AccessLogFilter", {"not_health_check_filter": {}}
    )
    assert filters == {"not_health_check_filter": {}}


def test_what_cannot_be_read_says_what_to_do() -> None:
    with pytest.raises(InspectionError, match="not a Cluster"):
        from_bytes(TYPE_URLS["cds"], b"\xff\xff")
    with pytest.raises(InspectionError, match="install a later envoy_data_plane"):
        from_json(TYPE_URLS["cds"], {"name": "a", "of_next_year": 1})
    packed = Any(type_url=f"{PREFIX}envoy.of.next.v9.Year", value=b"x")
    body = bytes(Cluster(name="a", transport_socket=TransportSocket(typed_config=packed)))
    with pytest.raises(InspectionError, match=r"envoy\.of\.next\.v9\.Year is not in"):
        from_bytes(TYPE_URLS["cds"], body)
    with pytest.raises(UnknownTypeError):
        Schema().message(f"{PREFIX}envoy.config.cluster.v3.Nothing")
    with pytest.raises(UnknownTypeError):
        Schema().message(f"{PREFIX}google.protobuf.Nothing")
    assert from_bytes(TYPE_URLS["eds"], ClusterLoadAssignment(cluster_name="a").SerializeToString())
