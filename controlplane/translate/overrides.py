"""Answers that are replaced: a page in place of an error, whoever gave it.

Envoy calls the filter work in progress, so it is in no listener; a route that wants it brings it.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.extensions.filters.http.custom_response.v3 import CustomResponse
from envoy_data_plane.envoy.extensions.http.custom_response.local_response_policy.v3 import (
    LocalResponsePolicy,
)
from envoy_data_plane.envoy.type.matcher.v3 import HttpResponseStatusCodeMatchInput
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherList,
    MatcherMatcherListFieldMatcher,
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicateSinglePredicate,
    MatcherOnMatch,
    StringMatcher,
)

from controlplane.resources.resilience import OverrideResponse, ResponseOverride
from controlplane.translate.brought import brought
from controlplane.translate.predicates import any_of
from controlplane.translate.types import extension
from controlplane.translate.wire import number, packed, wire

FILTER = "weir.response_override"


def overrides(several: Sequence[ResponseOverride]) -> bytes:
    """The configuration of the filter for a route; the first that fits counts."""
    matchers = [
        wire(
            MatcherMatcherListFieldMatcher,
            predicate=any_of([_is(code) for code in _statuses(one)]),
            on_match=wire(
                MatcherOnMatch,
                action=extension(
                    "envoy.extensions.http.custom_response.local_response_policy",
                    packed(LocalResponsePolicy, _response(one.response)),
                ),
            ),
        )
        for one in several
    ]
    found = wire(Matcher, matcher_list=wire(MatcherMatcherList, matchers=matchers))
    config = packed(CustomResponse, wire(CustomResponse, custom_response_matcher=found))
    return brought("envoy.filters.http.custom_response", config)


def _statuses(one: ResponseOverride) -> list[int]:
    return sorted({code for part in one.match.status_codes for code in part.statuses})


def _is(code: int) -> bytes:
    predicate = wire(
        MatcherMatcherListPredicateSinglePredicate,
        input=extension("status", packed(HttpResponseStatusCodeMatchInput)),
        value_match=wire(StringMatcher, exact=str(code)),
    )
    return wire(MatcherMatcherListPredicate, single_predicate=predicate)


def _response(one: OverrideResponse) -> bytes:
    content_type = wire(
        HeaderValueOption,
        header=wire(HeaderValue, key="content-type", value=one.content_type),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    made = wire(
        LocalResponsePolicy,
        body=wire(DataSource, inline_string=one.body.inline),
        response_headers_to_add=[content_type],
    )
    if one.status_code is not None:
        made += wire(LocalResponsePolicy, status_code=number(one.status_code))
    return made
