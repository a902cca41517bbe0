"""Who may what: Envoy's RBAC, as a list of rules of which the first that fits decides."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from envoy_data_plane.envoy.config.rbac.v3 import Action, RbacAction
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac, RbacPerRoute
from envoy_data_plane.envoy.extensions.matching.common_inputs.network.v3 import (
    DynamicMetadataInput,
    DynamicMetadataInputPathSegment,
    SourceIpInput,
)
from envoy_data_plane.envoy.extensions.matching.input_matchers.ip.v3 import Ip
from envoy_data_plane.envoy.extensions.matching.input_matchers.metadata.v3 import Metadata
from envoy_data_plane.envoy.type.matcher.v3 import HttpRequestHeaderMatchInput
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherList,
    MatcherMatcherListFieldMatcher,
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicateSinglePredicate,
    MatcherOnMatch,
    StringMatcher,
)

from controlplane.resources.authorization import (
    Authorization,
    AuthorizationRule,
    ClientAddresses,
    JwtPrincipal,
    OperationPath,
)
from controlplane.translate import brought
from controlplane.translate.networks import cidr
from controlplane.translate.predicates import all_of, any_of
from controlplane.translate.security import claims
from controlplane.translate.security.jwt import METADATA
from controlplane.translate.types import extension
from controlplane.translate.wire import packed, wire

_ACTIONS = {"Allow": RbacAction.ALLOW, "Deny": RbacAction.DENY}


def for_route(policy: str, rules: Authorization) -> bytes:
    """For a route: these rules."""
    tried = [
        (all_of(list(_conditions(policy, rule))), _decision(rule.name or f"rule-{at}", rule.action))
        for at, rule in enumerate(rules.rules)
    ]
    rbac = wire(Rbac, matcher=_first(tried, _decision("default", rules.default_action)))
    return packed(RbacPerRoute, wire(RbacPerRoute, rbac=rbac))


@functools.lru_cache(maxsize=256)
def for_addresses(lists: tuple[ClientAddresses, ...]) -> bytes:
    """For a listener, an `Any`: clients that none of these lists turns away.

    Where there is no list it is a chain without filters. RBAC without rules lets everybody pass as
    well, but is a filter of every request.
    """
    denied = [one for lists_ in lists for one in lists_.deny]
    tried = [(_from(denied), _decision("deny", "Deny"))] if denied else []
    for allowed in (one.allow for one in lists if one.allow):
        tried.append((_not(_from(allowed)), _decision("allow", "Deny")))
    if not tried:
        return brought.EMPTY
    return packed(Rbac, wire(Rbac, matcher=_first(tried, _decision("others", "Allow"))))


def _decision(name: str, action: str) -> bytes:
    made = packed(Action, wire(Action, name=name, action=_ACTIONS[action]))
    return wire(MatcherOnMatch, action=extension("envoy.filters.rbac.action", made))


def _first(tried: Sequence[tuple[bytes, bytes]], otherwise: bytes) -> bytes:
    if not tried:
        return wire(Matcher, on_no_match=otherwise)
    matchers = [
        wire(MatcherMatcherListFieldMatcher, predicate=predicate, on_match=decision)
        for predicate, decision in tried
    ]
    listed = wire(MatcherMatcherList, matchers=matchers)
    return wire(Matcher, matcher_list=listed, on_no_match=otherwise)


def _conditions(policy: str, rule: AuthorizationRule) -> Iterator[bytes]:
    if rule.operation is not None:
        if rule.operation.methods:
            yield any_of([_header(":method", exact=one) for one in rule.operation.methods])
        if rule.operation.paths:
            yield any_of([each for one in rule.operation.paths for each in _path(one)])
    if rule.principal is not None:
        if rule.principal.client_cidrs:
            yield _from(rule.principal.client_cidrs)
        for header in rule.principal.headers:
            yield any_of([_header(header.name.lower(), exact=one) for one in header.values])
        if rule.principal.jwt is not None:
            yield from _token(policy, rule.principal.jwt)


def _path(path: OperationPath) -> Iterator[bytes]:
    """Envoy's path has the query with it. It has no fragment: such requests are refused."""
    value = path.value if path.type == "Exact" else path.value.rstrip("/")
    if value:
        yield _header(":path", exact=value)
    yield _header(":path", prefix=f"{value}?")
    if path.type == "PathPrefix":
        yield _header(":path", prefix=f"{value}/")


def _header(name: str, **how: str) -> bytes:
    return wire(
        MatcherMatcherListPredicate,
        single_predicate=wire(
            MatcherMatcherListPredicateSinglePredicate,
            input=extension(
                name,
                packed(
                    HttpRequestHeaderMatchInput,
                    wire(HttpRequestHeaderMatchInput, header_name=name),
                ),
            ),
            value_match=wire(StringMatcher, **how),
        ),
    )


def _token(policy: str, principal: JwtPrincipal) -> Iterator[bytes]:
    for path, values, listed in claims.paths(principal, policy):
        yield any_of([_claim(path, claims.value(one, listed=listed)) for one in values])


def _claim(path: Sequence[str], wanted: bytes) -> bytes:
    where = wire(
        DynamicMetadataInput,
        filter=METADATA,
        path=[wire(DynamicMetadataInputPathSegment, key=key) for key in path],
    )
    return _custom(
        extension("claim", packed(DynamicMetadataInput, where)),
        extension(
            "envoy.matching.matchers.metadata_matcher",
            packed(Metadata, wire(Metadata, value=wanted)),
        ),
    )


def _from(cidrs: Sequence[str]) -> bytes:
    ranges = [cidr(one) for one in cidrs]
    return _custom(
        extension("client", packed(SourceIpInput)),
        extension(
            "envoy.matching.matchers.ip",
            packed(Ip, wire(Ip, cidr_ranges=ranges, stat_prefix="clients")),
        ),
    )


def _custom(input_: bytes, matcher: bytes) -> bytes:
    single = wire(MatcherMatcherListPredicateSinglePredicate, input=input_, custom_match=matcher)
    return wire(MatcherMatcherListPredicate, single_predicate=single)


def _not(predicate: bytes) -> bytes:
    return wire(MatcherMatcherListPredicate, not_matcher=predicate)
