"""Rate limits: which requests a rule is for, and who counts them.

Local limits are token buckets of each Envoy, one for each Route and, with `Distinct`, for each
client; all workers of an Envoy share them. Global limits are asked of Weir's own service. Envoy
knows one answer to a service that is away for each filter, so there are two of them in a listener:
one for rules that let through and one for rules that do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RuntimeFractionalPercent,
)
from envoy_data_plane.envoy.config.ratelimit.v3 import RateLimitServiceConfig
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    RateLimit,
    RateLimitAction,
    RateLimitActionGenericKey,
    RateLimitActionHeaderValueMatch,
    RateLimitActionMaskedRemoteAddress,
    RateLimitActionRemoteAddressMatch,
    RateLimitActionRequestHeaders,
    RateLimitHitsAddend,
    Route,
)
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import (
    LocalRateLimitDescriptor,
    RateLimitDescriptorEntry,
    XRateLimitHeadersRfcVersion,
)
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.extensions.filters.http.ratelimit.v3 import (
    RateLimit as RateLimitFilter,
)
from envoy_data_plane.envoy.extensions.filters.http.ratelimit.v3 import (
    RateLimitPerRoute,
    RateLimitXRateLimitHeadersRfcVersion,
)
from envoy_data_plane.envoy.type.matcher.v3 import AddressMatcher, RegexMatcher, StringMatcher
from envoy_data_plane.envoy.type.v3 import FractionalPercent, HttpStatus, StatusCode, TokenBucket

from controlplane.resources.rate_limit import (
    AFTER,
    CLOSED,
    OPEN,
    ROUTE,
    RULE,
    ClientSelector,
    Cost,
    GlobalRule,
    HeaderSelector,
    LimitValue,
    LocalRule,
    MethodSelector,
    SourceSelector,
    rule_key,
)
from controlplane.resources.rate_limit import RateLimit as Declared
from controlplane.translate.networks import cidr
from controlplane.translate.wire import Value, duration, number, packed, wire

LOCAL = "envoy.filters.http.local_ratelimit"
GLOBAL = {False: "envoy.filters.http.ratelimit", True: "weir.filters.http.ratelimit.closed"}
"""The filter of rules that are open, or closed, while nobody can count."""

TIMEOUT_S = 0.2
"""How long a request waits for the service. It answers within milliseconds; the rest is patience
with a control plane that is busy."""
CLIENTS = 10_000
"""Token buckets of single clients that an Envoy keeps for each route; the one that was used longest
ago makes room."""
_UNLIMITED = 2**32 - 1
_V6_CLIENT = 64
"""Bits of an IPv6 address that name a client: it may choose the others as it likes."""


def local_filter() -> bytes:
    """What stands in every listener."""
    return packed(LocalRateLimit, wire(LocalRateLimit, stat_prefix="rate_limit"))


def global_filter(control_cluster: str, *, closed: bool) -> bytes:
    """What stands in every listener: our service, on the xDS address."""
    service = wire(
        RateLimitServiceConfig,
        grpc_service=wire(
            GrpcService, envoy_grpc=wire(GrpcServiceEnvoyGrpc, cluster_name=control_cluster)
        ),
        transport_api_version=ApiVersion.V3,
    )
    config = wire(
        RateLimitFilter,
        domain=CLOSED if closed else OPEN,
        timeout=duration(TIMEOUT_S),
        failure_mode_deny=closed,
        rate_limit_service=service,
        enable_x_ratelimit_headers=RateLimitXRateLimitHeadersRfcVersion.DRAFT_VERSION_03,
        status_on_error=wire(HttpStatus, code=StatusCode.ServiceUnavailable),
        stat_prefix="closed" if closed else "open",
    )
    return packed(RateLimitFilter, config)


def of_route(policy: str, route: str, declared: Declared) -> bytes:
    """The part of a Route. `policy` is `namespace/name`, `route` names what counts on its own."""
    filters: dict[str, bytes] = {}
    if declared.local is not None:
        filters[LOCAL] = packed(LocalRateLimit, _local(declared.local.rules))
    rules = declared.global_.rules if declared.global_ is not None else ()
    for closed, name in GLOBAL.items():
        limits = [
            limit
            for at, rule in enumerate(rules)
            if rule.fail_closed == closed
            for limit in _global(rule, rule_key(policy, at), route)
        ]
        if limits:
            config = wire(RateLimitPerRoute, rate_limits=limits)
            filters[name] = packed(RateLimitPerRoute, config)
    return wire(Route, typed_per_filter_config=filters)


def _global(rule: GlobalRule, key: str, route: str) -> Iterator[bytes]:
    """What is asked of the service when a request comes, and when it is over."""
    entries = [_named(RULE, key)]
    if not rule.shared:
        entries.append(_named(ROUTE, route))
    entries += _selected(rule.client_selectors)
    limit = wire(RateLimit, actions=[one.action for one in entries])
    cost = rule.cost
    yield limit + (_hits(cost.request) if cost is not None and cost.request is not None else b"")
    if cost is not None and cost.response is not None:
        after = wire(RateLimit, actions=[_named(AFTER, "1").action], apply_on_stream_done=True)
        yield limit + _hits(cost.response) + after


def _hits(cost: Cost) -> bytes:
    if cost.metadata is not None:
        text = f"%DYNAMIC_METADATA({cost.metadata.namespace}:{cost.metadata.key})%"
        return wire(RateLimit, hits_addend=wire(RateLimitHitsAddend, format=text))
    # A UInt64Value is written as a UInt32Value is.
    return wire(RateLimit, hits_addend=wire(RateLimitHitsAddend, number=number(cost.number or 0)))


def _local(rules: Sequence[LocalRule]) -> bytes:
    everybody = next((rule.limit for rule in rules if not rule.client_selectors), None)
    descriptors, limits = [], []
    distinct = False
    for at, rule in enumerate(rules):
        if not rule.client_selectors:
            continue
        entries = [_named(RULE, str(at)), *_selected(rule.client_selectors)]
        distinct = distinct or any(one.distinct for one in rule.client_selectors)
        limits.append(wire(RateLimit, actions=[one.action for one in entries]))
        descriptors.append(
            wire(
                LocalRateLimitDescriptor,
                entries=[
                    wire(RateLimitDescriptorEntry, key=one.key, value=one.value) for one in entries
                ],
                token_bucket=_bucket(rule.limit),
                shadow_mode=rule.shadow_mode,
            )
        )
    always = wire(RuntimeFractionalPercent, default_value=wire(FractionalPercent, numerator=100))
    said: dict[str, Value] = {"max_dynamic_descriptors": number(CLIENTS)} if distinct else {}
    return wire(
        LocalRateLimit,
        stat_prefix="rate_limit",
        token_bucket=_bucket(everybody) if everybody is not None else _no_limit(),
        filter_enabled=always,
        filter_enforced=always,
        descriptors=descriptors,
        rate_limits=limits,
        enable_x_ratelimit_headers=XRateLimitHeadersRfcVersion.DRAFT_VERSION_03,
        **said,
    )


def _bucket(limit: LimitValue) -> bytes:
    return wire(
        TokenBucket,
        max_tokens=limit.requests,
        tokens_per_fill=number(limit.requests),
        fill_interval=duration(limit.unit_s),
    )


def _no_limit() -> bytes:
    """Of all requests, where rules are for some alone: Envoy wants a bucket."""
    return wire(
        TokenBucket,
        max_tokens=_UNLIMITED,
        tokens_per_fill=number(_UNLIMITED),
        fill_interval=duration(1),
    )


class _Entry(NamedTuple):
    """An entry of a descriptor, and how Envoy makes it of a request. Without it there is none."""

    key: str
    value: str
    """Empty: whatever the request has."""
    action: bytes


def _named(key: str, value: str) -> _Entry:
    named = wire(RateLimitActionGenericKey, descriptor_key=key, descriptor_value=value)
    return _Entry(key, value, wire(RateLimitAction, generic_key=named))


def _selected(selectors: Sequence[ClientSelector]) -> Iterator[_Entry]:
    for one in selectors:
        for header in one.headers:
            yield _header(header)
        if one.methods:
            yield _methods(one.methods)
        if one.source_cidr is not None:
            yield from _source(one.source_cidr)


def _header(one: HeaderSelector) -> _Entry:
    name = one.name.lower()
    if one.type == "Distinct":
        action = wire(RateLimitActionRequestHeaders, header_name=name, descriptor_key=name)
        return _Entry(name, "", wire(RateLimitAction, request_headers=action))
    text = one.value or ""
    if one.type == "Exact":
        value = wire(StringMatcher, exact=text)
    else:
        value = wire(StringMatcher, safe_regex=wire(RegexMatcher, regex=text))
    return _matching(name, value, expected=not one.invert)


def _methods(methods: Sequence[MethodSelector]) -> _Entry:
    pattern = "|".join(one.value for one in methods)
    return _matching(":method", wire(StringMatcher, safe_regex=wire(RegexMatcher, regex=pattern)))


def _matching(header: str, value: bytes, *, expected: bool = True) -> _Entry:
    """The value of the entry does not matter: it is there or it is not."""
    action = wire(
        RateLimitActionHeaderValueMatch,
        descriptor_key=header,
        descriptor_value="matched",
        expect_match=_truth(expected),
        headers=[wire(HeaderMatcher, name=header, string_match=value)],
    )
    return _Entry(header, "matched", wire(RateLimitAction, header_value_match=action))


def _truth(value: bool) -> bytes:
    """A truth value that may be absent, and is there."""
    return number(int(value))


def _source(one: SourceSelector) -> Iterator[_Entry]:
    within = wire(
        RateLimitActionRemoteAddressMatch,
        descriptor_key="source",
        descriptor_value="matched",
        address_matcher=wire(AddressMatcher, ranges=[cidr(one.value)], invert_match=one.invert),
    )
    yield _Entry("source", "matched", wire(RateLimitAction, remote_address_match=within))
    if one.type == "Distinct":
        client = wire(
            RateLimitActionMaskedRemoteAddress,
            v4_prefix_mask_len=number(32),
            v6_prefix_mask_len=number(_V6_CLIENT),
        )
        action = wire(RateLimitAction, masked_remote_address=client)
        yield _Entry("masked_remote_address", "", action)
