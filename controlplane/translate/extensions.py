"""Filters `ExtensionRef`: what they refer to, put into the rules; and answers that Envoy gives."""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.config.route.v3 import DirectResponseAction, Route

from controlplane.resources.declared import Declared
from controlplane.resources.filters import Filter
from controlplane.resources.route import RequestRoute, Rule
from controlplane.resources.route_filter import Condition, DirectResponse, HttpRouteFilterSpec
from controlplane.resources.topology import Unresolved, resolve_filter
from controlplane.translate.wire import wire


class Extended(Filter):
    """A filter with what it refers to; None where that is not there."""

    refers_to: HttpRouteFilterSpec | None


def extended(declared: Declared, route: RequestRoute) -> tuple[Rule, ...]:
    """The rules of a route, each `ExtensionRef` with what it refers to."""
    rules = route.spec.rules
    if not any(one.extension_ref for rule in rules for one in _filters(rule)):
        return rules

    def read(filters: Sequence[Filter]) -> tuple[Filter, ...]:
        return tuple(_extended(declared, route, one) for one in filters)

    return tuple(
        rule.model_copy(
            update={
                "filters": read(rule.filters),
                "backend_refs": tuple(
                    ref.model_copy(update={"filters": read(ref.filters)})
                    for ref in rule.backend_refs
                ),
            }
        )
        for rule in rules
    )


def _filters(rule: Rule) -> tuple[Filter, ...]:
    return (*rule.filters, *(one for ref in rule.backend_refs for one in ref.filters))


def _extended(declared: Declared, route: RequestRoute, one: Filter) -> Filter:
    if one.extension_ref is None:
        return one
    found = resolve_filter(declared, route, one.extension_ref)
    spec = None if isinstance(found, Unresolved) else found.spec
    return Extended.model_construct(**dict(one), refers_to=spec)


def _specs(filters: Sequence[Filter]) -> list[HttpRouteFilterSpec | None]:
    return [one.refers_to for one in filters if isinstance(one, Extended)]


def condition_of(filters: Sequence[Filter]) -> Condition | None:
    """Which requests a backendRef with these filters is for; None: every one."""
    return next((one.condition for one in _specs(filters) if one and one.condition), None)


def direct_response_of(filters: Sequence[Filter]) -> DirectResponse | None:
    """The answer that these filters of a rule give."""
    found = (one.direct_response for one in _specs(filters) if one)
    return next((one for one in found if one), None)


def is_broken(of_rule: Sequence[Filter], every: Sequence[Filter]) -> bool:
    """Whether a filter refers to nothing, or to what means nothing there.

    `every`: those of the rule, and of its part where one is meant.
    """
    of_part = _specs(every)[len(_specs(of_rule)) :]
    return any(one is None or one.direct_response is None for one in _specs(of_rule)) or any(
        one is None or one.condition is None for one in of_part
    )


def direct_response(one: DirectResponse) -> bytes:
    """The part of a Route that answers."""
    action = wire(DirectResponseAction, status=one.status_code)
    if one.body is not None:
        body = wire(DataSource, inline_string=one.body.inline)
        action += wire(DirectResponseAction, body=body)
    route = wire(Route, direct_response=action)
    if one.content_type is None:
        return route
    pair = wire(HeaderValue, key="content-type", value=one.content_type.replace("%", "%%"))
    how = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    return route + wire(
        Route, response_headers_to_add=[wire(HeaderValueOption, header=pair, append_action=how)]
    )
