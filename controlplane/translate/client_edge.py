"""What a `ClientPolicy` says of every request and answer: parts of the connection manager, which
are the listener's, and of the virtual hosts, which come and go with route tables."""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    HeaderFilter,
    OrFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    RuntimeUInt32,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from controlplane.resources.client_edge import LocalReply
from controlplane.resources.client_http import ClientHeaders
from controlplane.resources.client_policy import ClientPolicy
from controlplane.resources.declared import Declared
from controlplane.resources.filters import BackendObjectRef, HeaderModifier
from controlplane.resources.topology import resolve_backend
from controlplane.translate import telemetry
from controlplane.translate.clusters import over_http_2
from controlplane.translate.early_headers import early
from controlplane.translate.headers import modified
from controlplane.translate.wire import number, wire

_SAFE = "GET|HEAD|OPTIONS"


def of_manager(
    policy: ClientPolicy | None, declared: Declared, known: frozenset[str], name: str
) -> bytes:
    """The part of a connection manager; `name` is that of the Gateway."""
    if policy is None:
        return b""
    spec = policy.spec
    return (
        telemetry.of_manager(spec.telemetry, _service(policy, declared, known), name)
        + _early_headers(spec.headers)
        + _local_replies(spec.local_replies)
    )


def of_connections(
    policy: ClientPolicy | None, declared: Declared, known: frozenset[str]
) -> tuple[bytes, ...]:
    """The logs of a listener that passes connections on."""
    if policy is None:
        return ()
    return tuple(telemetry.logs(policy.spec.telemetry, _service(policy, declared, known)))


def _service(policy: ClientPolicy, declared: Declared, known: frozenset[str]) -> telemetry.Service:
    def found(ref: BackendObjectRef) -> str | None:
        key = resolve_backend(declared, policy, ref)
        return over_http_2(key) if isinstance(key, str) and key in known else None

    return found


def of_host(policy: ClientPolicy | None) -> bytes:
    """The part of a virtual host that stands before its routes."""
    if policy is None:
        return b""
    out = telemetry.of_host(policy.spec.telemetry)
    late = policy.spec.headers.late_response_headers
    if late is not None:
        added, removed = modified([late])
        out += wire(VirtualHost, response_headers_to_add=added, response_headers_to_remove=removed)
    if policy.spec.early_data == "RejectUnsafe":
        out += wire(VirtualHost, routes=[_too_early()])
    return out


def _early_headers(headers: ClientHeaders) -> bytes:
    said = headers.early_request_headers
    return early(_mutations(said)) if said is not None else b""


def _mutations(modifier: HeaderModifier) -> list[bytes]:
    added, removed = modified([modifier])
    return [
        *(wire(HeaderMutation, remove=name) for name in removed),
        *(wire(HeaderMutation, append=one) for one in added),
    ]


def _too_early() -> bytes:
    """425 for what may be replayed (RFC 8470, 5.2)."""
    safe = wire(StringMatcher, safe_regex=wire(RegexMatcher, regex=_SAFE))
    headers = [
        wire(HeaderMatcher, name="early-data", string_match=wire(StringMatcher, exact="1")),
        wire(HeaderMatcher, name=":method", string_match=safe, invert_match=True),
    ]
    body = wire(DataSource, inline_string="too early: send it again once TLS is agreed\n")
    return wire(
        Route,
        name="early-data",
        match=wire(RouteMatch, prefix="/", headers=headers),
        direct_response=wire(DirectResponseAction, status=425, body=body),
    )


def _local_replies(replies: Sequence[LocalReply]) -> bytes:
    if not replies:
        return b""
    mappers = [_mapper(one) for one in replies]
    return wire(HttpConnectionManager, local_reply_config=wire(LocalReplyConfig, mappers=mappers))


def _mapper(one: LocalReply) -> bytes:
    if one.json_ is not None:
        body = telemetry.json_format(one.json_)
    else:
        body = wire(SubstitutionFormatString, text_format=one.body or "")
    if one.content_type is not None:
        body += wire(SubstitutionFormatString, content_type=one.content_type)
    out = wire(ResponseMapper, filter=_filter(one), body_format_override=body)
    if one.status is not None:
        out += wire(ResponseMapper, status_code=number(one.status))
    return out


def _filter(one: LocalReply) -> bytes:
    """Both of its conditions; a condition that is not given is that the status is at least 0."""
    status = [_status(code, ComparisonFilterOp.EQ) for code in one.status_codes]
    both = [_any(status) if status else _status(0, ComparisonFilterOp.GE)]
    if one.accept is not None:
        text = wire(StringMatcher, contains=one.accept, ignore_case=True)
        header = wire(HeaderMatcher, name="accept", string_match=text)
        both.append(wire(AccessLogFilter, header_filter=wire(HeaderFilter, header=header)))
    if len(both) == 1:
        return both[0]
    return wire(AccessLogFilter, and_filter=wire(AndFilter, filters=both))


def _any(filters: Sequence[bytes]) -> bytes:
    if len(filters) == 1:
        return filters[0]
    return wire(AccessLogFilter, or_filter=wire(OrFilter, filters=filters))


def _status(code: int, op: ComparisonFilterOp) -> bytes:
    value = wire(RuntimeUInt32, default_value=code, runtime_key="weir.local_reply")
    compared = wire(ComparisonFilter, op=op, value=value)
    return wire(AccessLogFilter, status_code_filter=wire(StatusCodeFilter, comparison=compared))
