from __future__ import annotations

import pytest
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.config.route.v3 import RouteAction, RouteConfiguration

from controlplane.translate import Translator
from controlplane.translate.types import CLUSTER, ROUTE
from tests.unit.resources.documents import GATEWAY
from tests.unit.translate.scenes import all_services, declared, even
from tests.unit.translate.test_routes import BACKENDS, below, names, route, routes, table, to

OVERWRITE = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
APPEND = HeaderValueOptionHeaderAppendAction.APPEND_IF_EXISTS_OR_ADD


def action(rules: str) -> RouteAction:
    (one,) = routes(table(GATEWAY, route(rules)))
    assert one.route is not None
    return one.route


def added(options: list[HeaderValueOption]) -> list[tuple[str, str, object]]:
    return [(one.header.key, one.header.value, one.append_action) for one in options if one.header]


def modifier(how: str) -> str:
    return f"{{type: RequestHeaderModifier, requestHeaderModifier: {{{how}}}}}"


def test_filters_of_a_part_come_after_those_of_the_rule() -> None:
    of_rule = modifier(
        "set: [{name: a, value: '1'}, {name: b, value: '2'}], add: [{name: C, value: '3'}]"
    )
    of_part = modifier("set: [{name: A, value: '4'}], add: [{name: c, value: '5'}], remove: [B]")
    rules = f"[{{filters: [{of_rule}], {to('web', f', filters: [{of_part}]')}}}]"
    (one,) = routes(table(GATEWAY, route(rules)))
    assert added(one.request_headers_to_add) == [
        ("C", "3", APPEND),
        ("A", "4", OVERWRITE),
        ("c", "5", APPEND),
    ]
    assert one.request_headers_to_remove == ["B"]


def test_of_several_parts_each_has_its_own_headers_and_those_of_the_rule() -> None:
    of_rule, of_part = (modifier(f"set: [{{name: {n}, value: x}}]") for n in "ab")
    rules = (
        f"[{{filters: [{of_rule}], backendRefs: [{{name: web}},"
        f" {{name: a, weight: 3, filters: [{of_part}]}}]}}]"
    )
    (one,) = routes(table(GATEWAY, route(rules)))
    assert one.request_headers_to_add == []
    assert one.route is not None
    assert one.route.weighted_clusters is not None
    parts = {
        part.name: [name for name, _, _ in added(part.request_headers_to_add)]
        for part in one.route.weighted_clusters.clusters
    }
    assert parts == {"default/web": ["a"], "default/a": ["a", "b"]}


def test_parts_that_are_more_than_a_cluster_take_their_share_by_chance() -> None:
    move = "filters: [{type: RequestRedirect, requestRedirect: {hostname: x.test}}]"
    rules = (
        f"[{{backendRefs: [{{name: web, weight: 5}}, {{name: a, weight: 0}},"
        f" {{name: b, weight: 2, {move}}}, {{name: a, weight: 3}}]}}]"
    )
    made = routes(table(GATEWAY, route(rules)))
    assert [below(one) for one in made] == [500_000, 700_000, None]
    assert [one.route.cluster if one.route else "" for one in made] == [
        "default/web",
        "",
        "default/a",
    ]
    assert made[1].redirect is not None
    assert made[1].redirect.host_redirect == "x.test"


def test_a_part_too_small_for_a_millionth_has_no_route() -> None:
    rules = (
        "[{backendRefs: [{name: web, weight: 1000000}, {name: a, weight: 1000000}, "
        "{name: b, weight: 1000000}, {name: gone, weight: 1}]}]"
    )
    made = routes(table(GATEWAY, route(rules)))
    assert [below(one) for one in made] == [333_333, 666_666, None]


@pytest.mark.parametrize(
    ("parts", "bounds"),
    [
        (["{name: web, %s}"], [500_000]),
        (["{name: web, %s}", "{name: a}"], [250_000, None]),
        (["{name: a}", "{name: web, %s}"], [None, 750_000]),
    ],
)
def test_what_is_mirrored_of_a_part_is_a_part_of_its_requests(
    parts: list[str], bounds: list[int | None]
) -> None:
    mirror = "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: b}, percent: 50}}]"
    refs = ", ".join(one % mirror if "%" in one else one for one in parts)
    found: list[int | None] = []
    for one in routes(table(GATEWAY, route(f"[{{backendRefs: [{refs}]}}]"))):
        assert one.route is not None
        fractions = [each.runtime_fraction for each in one.route.request_mirror_policies]
        values = [each.default_value for each in fractions if each]
        found.append(values[0].numerator if values and values[0] else None)
    assert found == bounds


def test_a_backend_that_only_gets_copies_is_a_cluster_too() -> None:
    mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: b}}}"
    found = declared(GATEWAY, route(f"[{{filters: [{mirror}], {to('web')}}}]"), *BACKENDS)
    services = all_services(found)
    fleet = Translator().snapshots(found, services, even(services))[0]
    assert set(fleet.resources[CLUSTER]) == {"default/web", "default/b"}
    assert {one.name for one in services if not one.overlay} == {"default/web", "default/b"}


@pytest.mark.parametrize(
    ("prefix", "new", "made"),
    [
        ("/foo", "/xyz", [("/foo", "/xyz")]),
        ("/foo/", "/xyz/", [("/foo", "/xyz")]),
        ("/foo", "", [("/foo", "/"), ("/foo/", "/")]),
        ("/foo/", "/", [("/foo", "/"), ("/foo/", "/")]),
        ("/", "/xyz", [("/", "/xyz/")]),
        ("/", "/", [("/", "")]),
    ],
)
def test_a_prefix_is_replaced_by_whole_segments(
    prefix: str, new: str, made: list[tuple[str, str]]
) -> None:
    path = f"path: {{type: ReplacePrefixMatch, replacePrefixMatch: '{new}'}}"
    rules = (
        f"[{{matches: [{{path: {{value: {prefix}}}}}],"
        f" filters: [{{type: URLRewrite, urlRewrite: {{{path}}}}}], {to('web')}}}]"
    )
    found = []
    for one in routes(table(GATEWAY, route(rules))):
        assert one.match is not None
        assert one.route is not None
        taken = one.match.path or one.match.prefix or one.match.path_separated_prefix
        found.append((taken, one.route.prefix_rewrite))
    assert found == made


@pytest.mark.parametrize(
    ("how", "port", "listener"),
    [
        ("hostname: a.test", 0, 80),
        ("hostname: a.test", 8080, 8080),
        ("scheme: https", 0, 80),
        ("scheme: https", 443, 8080),
        ("scheme: https, hostname: a.test", 0, 8080),
        ("scheme: http, port: 8080", 8080, 80),
        ("port: 80", 0, 80),
        ("port: 80", 80, 8080),
    ],
)
def test_the_port_of_a_redirect_is_said_where_it_has_to_be(
    how: str, port: int, listener: int
) -> None:
    gateway = GATEWAY.replace("port: 8080", f"port: {listener}")
    rules = f"[{{filters: [{{type: RequestRedirect, requestRedirect: {{{how}}}}}]}}]"
    (one,) = routes(table(gateway, route(rules), port=listener))
    assert one.redirect is not None
    assert one.redirect.port_redirect == port


def test_listeners_of_two_ports_redirect_each_to_its_own() -> None:
    gateway = GATEWAY + "    - {name: more, port: 8081, protocol: HTTP}\n"
    found = declared(
        gateway,
        route("[{filters: [{type: RequestRedirect, requestRedirect: {hostname: x.test}}]}]"),
    )
    tables = Translator().snapshots(found, (), {})[0].resources[ROUTE]
    seen = set()
    for wire in tables.values():
        (one,) = routes(RouteConfiguration.parse(wire))
        assert one.redirect is not None
        seen.add(one.redirect.port_redirect)
    assert seen == {8080, 8081}


def test_retries_are_those_of_the_rule_or_those_of_the_host() -> None:
    assert action(f"[{{{to('web')}}}]").retry_policy is None
    never = action(f"[{{retry: {{attempts: 0}}, {to('web')}}}]").retry_policy
    assert never is not None
    assert (never.retry_on, never.num_retries) == ("", 0)
    said = action(f"[{{retry: {{codes: [503], attempts: 3}}, {to('web')}}}]").retry_policy
    assert said is not None
    assert said.retry_on == "connect-failure,refused-stream,retriable-status-codes"
    assert (said.num_retries, said.retriable_status_codes) == (3, [503])
    tried = "timeouts: {backendRequest: 1s}, "
    limited = action(f"[{{{tried}{to('web')}}}]").retry_policy
    assert limited is not None
    assert limited.retry_on == "connect-failure,refused-stream"
    both = action(f"[{{retry: {{}}, {tried}{to('web')}}}]").retry_policy
    assert both is not None
    assert both.retry_on == "connect-failure,refused-stream,reset"
    assert both.per_try_timeout is not None
    assert both.per_try_timeout.total_seconds() == 1


def test_a_route_that_names_the_host_goes_before_one_that_takes_what_the_listener_has() -> None:
    gateway = GATEWAY.replace("port: 8080,", "port: 8080, hostname: a.example.com,")
    one = route(f"[{{{to('web')}}}]", "a")
    two = route(f"[{{{to('a')}}}]", "b", "['*.example.com']")
    three = route(f"[{{{to('b')}}}]", "c", "[a.example.com]")
    made = names(table(gateway, one, two, three), "a.example.com")
    assert made == ["c/0/0", "b/0/0", "a/0/0"]


def test_the_name_of_a_rule_is_in_the_name_of_its_route() -> None:
    assert names(table(GATEWAY, route(f"[{{name: cart, {to('web')}}}]", "r"))) == ["r/0/0/cart"]


def test_a_browser_may_ask_about_a_method_that_the_match_names() -> None:
    cors = "filters: [{type: CORS, cors: {allowOrigins: ['*']}}]"
    rules = f"[{{matches: [{{method: PUT}}, {{method: OPTIONS}}, {{}}], {cors}, {to('web')}}}]"
    made = [
        {one.name: one.string_match.exact for one in each.match.headers if one.string_match}
        for each in routes(table(GATEWAY, route(rules)))
        if each.match
    ]
    assert made == [
        {":method": "PUT"},
        {":method": "OPTIONS", "access-control-request-method": "PUT"},
        {":method": "OPTIONS"},
        {},
    ]


def test_only_routes_that_changed_are_translated_again() -> None:
    translator = Translator()
    documents = [
        GATEWAY,
        *(route(f"[{{matches: [{{path: {{value: /{n}}}}}], {to('web')}}}]", n) for n in "xyz"),
        *BACKENDS,
    ]
    found = declared(*documents)
    services = all_services(found)
    before = translator.snapshots(found, services, even(services))[0].resources[ROUTE]
    known = [one for one in services if one.name != "default/web"]
    without = translator.snapshots(found, known, even(known))[0].resources[ROUTE]
    after = translator.snapshots(found, services, even(services))[0].resources[ROUTE]
    assert without != before
    assert after == before
