"""Requests by the fields of their JSON: Envoy reads the body into metadata, then routes again."""

from __future__ import annotations

import json
from collections.abc import Sequence

from envoy_data_plane.envoy.config.route.v3 import Route, RouteMatch
from envoy_data_plane.envoy.extensions.filters.http.json_to_metadata.v3 import (
    JsonToMetadata,
    JsonToMetadataKeyValuePair,
    JsonToMetadataMatchRules,
    JsonToMetadataRule,
    JsonToMetadataSelector,
)
from envoy_data_plane.envoy.type.matcher.v3 import (
    DoubleMatcher,
    MetadataMatcher,
    MetadataMatcherPathSegment,
    RegexMatcher,
    StringMatcher,
    ValueMatcher,
)
from envoy_data_plane.google.protobuf import UInt64Value

from controlplane.resources.route_filter import Payload, PayloadField
from controlplane.translate.wire import packed, wire

FILTER = "envoy.filters.http.json_to_metadata"
NAMESPACE = "weir.dev/payload"
"""Of the metadata that bodies are read into."""
_JSON = r"application/(?:[^;]*\+)?json(?: *;.*)?"


def unused() -> bytes:
    """The filter as it stands in listeners, switched off; Envoy wants some rule."""
    return _filter([("unused",)])


def of_route(found: Sequence[Payload]) -> bytes:
    """The part of a Route that has the body read for these."""
    if not found:
        return b""
    paths = sorted({field.path for one in found for field in one.fields_})
    limit = wire(UInt64Value, value=max(one.limit for one in found))
    return wire(
        Route,
        typed_per_filter_config={FILTER: _filter(paths)},
        request_body_buffer_limit=limit,
    )


def of_match(payload: Payload) -> bytes:
    """The part of a RouteMatch: what must be in the metadata."""
    matchers = [
        wire(
            MetadataMatcher,
            filter=NAMESPACE,
            path=[wire(MetadataMatcherPathSegment, key=_name(field.path))],
            value=_value(field),
        )
        for field in payload.fields_
    ]
    return wire(RouteMatch, dynamic_metadata=matchers)


def _name(path: Sequence[str]) -> str:
    """The key of a field in the metadata."""
    return json.dumps(path)


def _value(field: PayloadField) -> bytes:
    value = field.value
    if isinstance(value, bool):
        return wire(ValueMatcher, bool_match=value)
    if isinstance(value, str):
        if field.type == "RegularExpression":
            pattern = wire(StringMatcher, safe_regex=wire(RegexMatcher, regex=value))
            return wire(ValueMatcher, string_match=pattern)
        return wire(ValueMatcher, string_match=wire(StringMatcher, exact=value))
    return wire(ValueMatcher, double_match=wire(DoubleMatcher, exact=float(value)))


def _filter(paths: Sequence[Sequence[str]]) -> bytes:
    rules = [
        wire(
            JsonToMetadataRule,
            selectors=[wire(JsonToMetadataSelector, key=key) for key in path],
            on_present=wire(
                JsonToMetadataKeyValuePair, metadata_namespace=NAMESPACE, key=_name(path)
            ),
        )
        for path in paths
    ]
    match = wire(
        JsonToMetadataMatchRules,
        rules=rules,
        allow_content_types_regex=wire(RegexMatcher, regex=_JSON),
    )
    return packed(JsonToMetadata, wire(JsonToMetadata, request_rules=match))
