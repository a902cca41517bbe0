"""Our messages against the complete definitions of Envoy's API: every field, and bytes both ways.

A proto file is picked up by being in protos/; a message of it that the table does not name fails.
"""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import betterproto2
import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

PROTOS = Path(__file__).parents[2] / "protos"

_ENVOY = "envoy_data_plane.envoy."
_CORE = _ENVOY + "config.core.v3:"
_CLUSTER = _ENVOY + "config.cluster.v3:"
_ENDPOINT = _ENVOY + "config.endpoint.v3:"
_DISCOVERY = _ENVOY + "service.discovery.v3:"
_LOGS = _ENVOY + "service.accesslog.v3:StreamAccessLogsMessage"
_LOG = _ENVOY + "data.accesslog.v3:"
_LOADS = _ENVOY + "service.load_stats.v3:"
_TYPE = _ENVOY + "type.v3:"
_ADMIN = _ENVOY + "admin.v3:"
_STATUS = _ENVOY + "service.status.v3:"
_LIMIT = _ENVOY + "service.ratelimit.v3:"
_LIMITED = _ENVOY + "extensions.common.ratelimit.v3:RateLimitDescriptor"
_MATCHER = _ENVOY + "type.matcher.v3:"
_ROUTE = _ENVOY + "config.route.v3:"
_LISTENER = _ENVOY + "config.listener.v3:"
_NETWORK = _ENVOY + "extensions.filters.network."
_TCP = _NETWORK + "tcp_proxy.v3:TcpProxy"

# Ours -> module and class of theirs. Nested messages stand under their outer one's name there.
THEIRS = {
    "weir.access_log.AccessLogCommon": _LOG + "AccessLogCommon",
    "weir.access_log.HTTPAccessLogEntry": _LOG + "HttpAccessLogEntry",
    "weir.access_log.HTTPResponseProperties": _LOG + "HttpResponseProperties",
    "weir.access_log.ResponseFlags": _LOG + "ResponseFlags",
    "weir.access_log.StreamAccessLogsMessage": _LOGS,
    "weir.access_log.StreamAccessLogsMessage.HTTPAccessLogEntries": _LOGS + "HttpAccessLogEntries",
    "weir.access_log.StreamAccessLogsMessage.Identifier": _LOGS + "Identifier",
    "weir.admin.ClientResourceStatus": _ADMIN + "ClientResourceStatus",
    "weir.admin.UpdateFailureState": _ADMIN + "UpdateFailureState",
    "weir.base.Address": _CORE + "Address",
    "weir.base.Locality": _CORE + "Locality",
    "weir.base.Node": _CORE + "Node",
    "weir.base.SocketAddress": _CORE + "SocketAddress",
    "weir.base.Status": "envoy_data_plane.google.rpc:Status",
    "weir.cluster.Cluster": _CLUSTER + "Cluster",
    "weir.cluster.EdsClusterConfig": _CLUSTER + "ClusterEdsClusterConfig",
    "weir.discovery.Any": "envoy_data_plane.google.protobuf:Any",
    "weir.discovery.DeltaDiscoveryRequest": _DISCOVERY + "DeltaDiscoveryRequest",
    "weir.discovery.DeltaDiscoveryResponse": _DISCOVERY + "DeltaDiscoveryResponse",
    "weir.discovery.DiscoveryRequest": _DISCOVERY + "DiscoveryRequest",
    "weir.discovery.DiscoveryResponse": _DISCOVERY + "DiscoveryResponse",
    "weir.discovery.Resource": _DISCOVERY + "Resource",
    "weir.endpoint.ClusterLoadAssignment": _ENDPOINT + "ClusterLoadAssignment",
    "weir.endpoint.ClusterLoadAssignment.Policy": _ENDPOINT + "ClusterLoadAssignmentPolicy",
    "weir.endpoint.ClusterLoadAssignment.Policy.DropOverload": _ENDPOINT
    + "ClusterLoadAssignmentPolicyDropOverload",
    "weir.endpoint.Endpoint": _ENDPOINT + "Endpoint",
    "weir.endpoint.FractionalPercent": _TYPE + "FractionalPercent",
    "weir.endpoint.FractionalPercent.DenominatorType": _TYPE + "FractionalPercentDenominatorType",
    "weir.endpoint.HealthStatus": _CORE + "HealthStatus",
    "weir.endpoint.LbEndpoint": _ENDPOINT + "LbEndpoint",
    "weir.endpoint.LocalityLbEndpoints": _ENDPOINT + "LocalityLbEndpoints",
    "weir.load_stats.ClusterStats": _ENDPOINT + "ClusterStats",
    "weir.load_stats.EndpointLoadMetricStats": _ENDPOINT + "EndpointLoadMetricStats",
    "weir.load_stats.LoadStatsRequest": _LOADS + "LoadStatsRequest",
    "weir.load_stats.LoadStatsResponse": _LOADS + "LoadStatsResponse",
    "weir.load_stats.UpstreamEndpointStats": _ENDPOINT + "UpstreamEndpointStats",
    "weir.load_stats.UpstreamLocalityStats": _ENDPOINT + "UpstreamLocalityStats",
    "weir.rate_limit.HeaderValue": _CORE + "HeaderValue",
    "weir.rate_limit.RateLimitDescriptor": _LIMITED,
    "weir.rate_limit.RateLimitDescriptor.Entry": _LIMITED + "Entry",
    "weir.rate_limit.RateLimitRequest": _LIMIT + "RateLimitRequest",
    "weir.rate_limit.RateLimitResponse": _LIMIT + "RateLimitResponse",
    "weir.rate_limit.RateLimitResponse.Code": _LIMIT + "RateLimitResponseCode",
    "weir.rate_limit.RateLimitResponse.DescriptorStatus": _LIMIT
    + "RateLimitResponseDescriptorStatus",
    "weir.rate_limit.RateLimitResponse.RateLimit": _LIMIT + "RateLimitResponseRateLimit",
    "weir.rate_limit.RateLimitResponse.RateLimit.Unit": _LIMIT + "RateLimitResponseRateLimitUnit",
    "weir.route.Filter": _LISTENER + "Filter",
    "weir.route.FilterChain": _LISTENER + "FilterChain",
    "weir.route.HttpConnectionManager": _NETWORK
    + "http_connection_manager.v3:HttpConnectionManager",
    "weir.route.Listener": _LISTENER + "Listener",
    "weir.route.Route": _ROUTE + "Route",
    "weir.route.RouteAction": _ROUTE + "RouteAction",
    "weir.route.RouteAction.RequestMirrorPolicy": _ROUTE + "RouteActionRequestMirrorPolicy",
    "weir.route.RouteConfiguration": _ROUTE + "RouteConfiguration",
    "weir.route.ScopedRouteConfiguration": _ROUTE + "ScopedRouteConfiguration",
    "weir.route.TcpProxy": _TCP,
    "weir.route.TcpProxy.WeightedCluster": _TCP + "WeightedCluster",
    "weir.route.TcpProxy.WeightedCluster.ClusterWeight": _TCP + "WeightedClusterClusterWeight",
    "weir.route.VirtualHost": _ROUTE + "VirtualHost",
    "weir.route.WeightedCluster": _ROUTE + "WeightedCluster",
    "weir.route.WeightedCluster.ClusterWeight": _ROUTE + "WeightedClusterClusterWeight",
    "weir.status.ClientConfig": _STATUS + "ClientConfig",
    "weir.status.ClientConfig.GenericXdsConfig": _STATUS + "ClientConfigGenericXdsConfig",
    "weir.status.ClientStatusRequest": _STATUS + "ClientStatusRequest",
    "weir.status.ClientStatusResponse": _STATUS + "ClientStatusResponse",
    "weir.status.ConfigStatus": _STATUS + "ConfigStatus",
    "weir.status.NodeMatcher": _MATCHER + "NodeMatcher",
    "weir.status.RegexMatcher": _MATCHER + "RegexMatcher",
    "weir.status.StringMatcher": _MATCHER + "StringMatcher",
    "weir.status.StructMatcher": _MATCHER + "StructMatcher",
    "weir.status.StructMatcher.PathSegment": _MATCHER + "StructMatcherPathSegment",
}

# Strings of Envoy that hold what a client sent, which need not be UTF-8: bytes to us.
RAW = {"weir.rate_limit.RateLimitDescriptor.Entry.value"}

_TYPE_NAMES = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_ENUM: "enum",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_MESSAGE: "message",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}


def _files() -> list[Any]:
    names = sorted(path.stem for path in PROTOS.glob("*.proto"))
    return [importlib.import_module(f"controlplane._pb.{name}_pb2").DESCRIPTOR for name in names]


def _messages() -> dict[str, Descriptor]:
    found: dict[str, Descriptor] = {}

    def add(message: Descriptor) -> None:
        if not message.GetOptions().map_entry:
            found[message.full_name] = message
        for nested in message.nested_types:
            add(nested)

    for file in _files():
        for message in file.message_types_by_name.values():
            add(message)
    return found


def _enums() -> dict[str, EnumDescriptor]:
    found = {enum.full_name: enum for file in _files() for enum in file.enum_types_by_name.values()}
    for message in _messages().values():
        found |= {enum.full_name: enum for enum in message.enum_types}
    return found


MESSAGES, ENUMS = _messages(), _enums()


def theirs(full_name: str) -> Any:  # noqa: ANN401
    module, name = THEIRS[full_name].split(":")
    return getattr(importlib.import_module(module), name)


def test_the_table_names_all_of_our_messages_and_nothing_else() -> None:
    assert {*MESSAGES, *ENUMS} == THEIRS.keys()


@pytest.mark.parametrize("full_name", sorted(MESSAGES))
def test_a_field_has_the_name_number_type_and_cardinality_that_envoy_gives_it(
    full_name: str,
) -> None:
    known = {
        one.metadata["betterproto"].number: one for one in dataclasses.fields(theirs(full_name))
    }
    instance = theirs(full_name)()
    for field in MESSAGES[full_name].fields:
        assert field.number in known, f"{field.full_name}: Envoy has no field {field.number}"
        other = known[field.number]
        meta = other.metadata["betterproto"]
        assert field.name == other.name.rstrip("_"), field.full_name
        if meta.proto_type == "map":
            assert field.message_type is not None, field.full_name
            assert _is_map(field), field.full_name
            pairs = zip(field.message_type.fields, meta.map_meta, strict=True)
            for ours, its in pairs:
                assert _TYPE_NAMES[ours.type] == its.proto_type, field.full_name
            continue
        if field.full_name in RAW:
            assert (_TYPE_NAMES[field.type], meta.proto_type) == ("bytes", "string")
        else:
            assert _TYPE_NAMES[field.type] == meta.proto_type, field.full_name
        assert field.is_repeated == meta.repeated, field.full_name
        one_of = field.containing_oneof.name if field.containing_oneof is not None else None
        if one_of is not None or len(_group(known, meta.group)) > 1:
            assert one_of == meta.group, field.full_name
        if field.message_type is not None or field.enum_type is not None:
            _same_kind(field, instance, other, meta)


def _group(known: dict[int, Any], group: str | None) -> list[Any]:
    fields = [one.metadata["betterproto"] for one in known.values()]
    return [one for one in fields if one.group == group] if group is not None else []


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _same_kind(field: FieldDescriptor, instance: Any, other: Any, meta: Any) -> None:  # noqa: ANN401
    """What a field holds is, on their side, the message that ours stands for."""
    holds = field.message_type or field.enum_type
    assert holds is not None
    kind = holds.full_name
    its = (
        meta.unwrap() if meta.unwrap is not None else instance._betterproto.cls_by_field[other.name]
    )
    if kind in THEIRS:
        assert its is theirs(kind), field.full_name
    else:
        assert kind == f"google.protobuf.{its.__name__}" or its.__name__ in {
            "dict",
            "timedelta",
            "datetime",
        }, f"{field.full_name}: {kind} here, {its} there"


@pytest.mark.parametrize("full_name", sorted(ENUMS))
def test_an_enum_has_the_values_that_envoy_gives_it(full_name: str) -> None:
    known = {one.value: one.name for one in theirs(full_name)}
    assert {one.number: one.name for one in ENUMS[full_name].values} == known


# A deprecated field is as good as any other on the wire; old Envoys send it.
@pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize("full_name", sorted(MESSAGES))
def test_bytes_of_ours_mean_the_same_to_envoys_definition_and_back(full_name: str) -> None:
    ours = filled(GetMessageClass(MESSAGES[full_name]), depth=4)
    raw = ours.SerializeToString()
    assert raw
    parsed: betterproto2.Message = theirs(full_name).parse(raw)
    assert not _unknown_fields(parsed), full_name
    back = type(ours).FromString(bytes(parsed))
    assert MessageToDict(back) == MessageToDict(ours)


def _unknown_fields(message: Any) -> bytes:  # noqa: ANN401
    """Bytes that their definition did not know, anywhere in the message."""
    found = bytes(message._unknown_fields)
    for one in dataclasses.fields(message):
        value = getattr(message, one.name)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, betterproto2.Message):
                found += _unknown_fields(inner)
    return found


def filled(kind: type[Message], depth: int) -> Message:
    """A message with something in every field; of a oneof the last one stays."""
    message = kind()
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    for field in fields:
        if _is_map(field):
            getattr(message, field.name)["key"] = "value"
        elif field.message_type is not None:
            if depth == 0 or field.message_type.full_name == "google.protobuf.Struct":
                continue
            inner = filled(GetMessageClass(field.message_type), depth - 1)
            if field.is_repeated:
                getattr(message, field.name).append(inner)
            else:
                getattr(message, field.name).CopyFrom(inner)
        elif field.is_repeated:
            getattr(message, field.name).append(_value(field))
        else:
            setattr(message, field.name, _value(field))
    return message


def _value(field: FieldDescriptor) -> object:
    match _TYPE_NAMES[field.type]:
        case "bool":
            return True
        case "bytes":
            return b"\x0a\x01x"
        case "double" | "float":
            return 1.5
        case "string":
            return f"text of {field.name}"
        case _:
            return 1000 if field.name == "nanos" else 1  # theirs keeps microseconds
