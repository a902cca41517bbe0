from __future__ import annotations

import random

import pytest
from envoy_data_plane.envoy.config.route.v3 import Route, RouteConfiguration

from controlplane.model import Service
from controlplane.translate import Translator
from controlplane.translate.clusters import UNRESOLVED
from controlplane.translate.types import CLUSTER, LISTENER, ROUTE
from tests.unit.resources.documents import BACKEND, GATEWAY
from tests.unit.resources.documents import ROUTE as WEB_ROUTE
from tests.unit.translate.scenes import all_services, declared, even

BACKENDS = [BACKEND.replace("{name: web}", f"{{name: {name}}}") for name in ("web", "a", "b")]


def route(rules: str, name: str = "r", hostnames: str = "[]", parent: str = "{name: edge}") -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name}}}\n"
        f"spec:\n  parentRefs: [{parent}]\n  hostnames: {hostnames}\n  rules: {rules}\n"
    )


def table(*documents: str, port: int = 8080, known: str = "*") -> RouteConfiguration:
    """The route table that the real Envoy would get, read back."""
    found = declared(*documents, *BACKENDS)
    services: tuple[Service, ...] = all_services(found)
    if known != "*":
        services = tuple(one for one in services if one.name in known.split())
    fleet = Translator().snapshots(found, services, even(services))[0]
    return RouteConfiguration.parse(fleet.resources[ROUTE][f"default/edge/http-{port}"])


def routes(made: RouteConfiguration, host: str = "*") -> list[Route]:
    (found,) = (one for one in made.virtual_hosts if one.domains == [host])
    return found.routes


def names(made: RouteConfiguration, host: str = "*") -> list[str]:
    return [one.name.removeprefix("default/") for one in routes(made, host)]


def below(one: Route) -> int | None:
    """Of a million random numbers those that the route takes; None: all that are left."""
    assert one.match is not None
    fraction = one.match.runtime_fraction
    assert fraction is None or fraction.default_value is not None
    return fraction.default_value.numerator if fraction and fraction.default_value else None


def to(name: str, more: str = "") -> str:
    return f"backendRefs: [{{group: weir.dev, kind: Backend, name: {name}{more}}}]"


def test_a_path_prefix_takes_whole_segments() -> None:
    rules = f"[{{matches: [{{path: {{value: /a/}}}}, {{path: {{value: /}}}}], {to('web')}}}]"
    prefix, every = (one.match for one in routes(table(GATEWAY, route(rules))))
    assert prefix is not None
    assert prefix.path_separated_prefix == "/a"
    assert every is not None
    assert every.prefix == "/"


def test_precedence_is_that_of_the_gateway_api() -> None:
    matches = [
        "{path: {type: Exact, value: /a}}",
        "{path: {type: RegularExpression, value: /a.*}}",
        "{path: {value: /a/bbb}}",
        "{path: {value: /a/b}, method: GET, headers: [{name: x, value: y}]}",
        "{path: {value: /a/b}, method: GET}",
        "{path: {value: /a/b}, headers: [{name: x, value: y}, {name: z, value: y}]}",
        "{path: {value: /a/b}, headers: [{name: x, value: y}], queryParams: [{name: q, value: v}]}",
        "{path: {value: /a/b}, headers: [{name: x, value: y}]}",
        "{path: {value: /a/b}, queryParams: [{name: q, value: v}]}",
        "{path: {value: /a/b}}",
        "{path: {value: /}}",
    ]
    shuffled = list(enumerate(matches))
    random.Random(7).shuffle(shuffled)
    rules = ", ".join(f"{{name: n{at}, matches: [{one}], {to('web')}}}" for at, one in shuffled)
    made = routes(table(GATEWAY, route(f"[{rules}]")))
    assert [shuffled[int(one.name.split("/")[2])][0] for one in made] == list(range(len(matches)))


def test_of_equal_matches_the_older_route_then_the_first_by_name_goes_first() -> None:
    rules = f"[{{{to('web')}}}, {{{to('a')}}}]"
    dated = route(rules, "z").replace("{name: z}", "{name: z, creationTimestamp: '2023'}")
    younger = route(rules, "a").replace("{name: a}", "{name: a, creationTimestamp: '2024'}")
    same = route(rules, "b").replace("{name: b}", "{name: b, creationTimestamp: '2024'}")
    made = names(table(GATEWAY, younger, dated, same))
    assert made == ["z/0/0", "z/1/0", "a/0/0", "a/1/0", "b/0/0", "b/1/0"]


def test_weights_of_backends_are_kept_and_zero_is_nothing() -> None:
    rules = "[{backendRefs: [{name: web, weight: 7}, {name: a, weight: 0}, {name: b, weight: 3}]}]"
    (one,) = routes(table(GATEWAY, route(rules)))
    assert one.route is not None
    assert one.route.weighted_clusters is not None
    parts = {part.name: part.weight for part in one.route.weighted_clusters.clusters}
    assert parts == {"default/web": 7, "default/b": 3}


def test_a_part_that_leads_nowhere_is_answered_500_for_its_share_and_the_rest_goes_on() -> None:
    rules = "[{backendRefs: [{name: gone, weight: 1}, {name: web, weight: 9}]}]"
    found = declared(GATEWAY, route(rules), *BACKENDS)
    services = all_services(found)
    fleet = Translator().snapshots(found, services, even(services))[0]
    assert set(fleet.resources[CLUSTER]) == {"default/web"}
    share, rest = routes(table(GATEWAY, route(rules)))
    assert share.direct_response is not None
    assert share.direct_response.status == 500
    assert below(share) == 100_000
    assert rest.route is not None
    assert rest.route.cluster == "default/web"
    assert below(rest) is None


def test_a_part_whose_endpoints_are_not_known_yet_is_503_for_its_share() -> None:
    rules = "[{backendRefs: [{name: web, weight: 9}, {name: a, weight: 1}]}]"
    found = declared(GATEWAY, route(rules), *BACKENDS)
    services = tuple(one for one in all_services(found) if one.name == "default/web")
    fleet = Translator().snapshots(found, services, even(services))[0]
    assert set(fleet.resources[CLUSTER]) == {"default/web", UNRESOLVED}
    (one,) = routes(table(GATEWAY, route(rules), known="default/web"))
    assert one.route is not None
    assert one.route.weighted_clusters is not None
    assert {part.name for part in one.route.weighted_clusters.clusters} == set(
        fleet.resources[CLUSTER]
    )


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        ("[{backendRefs: [{name: gone}]}]", 500),
        ("[{backendRefs: [{name: web, weight: 0}]}]", 500),
        ("[{backendRefs: []}]", 500),
    ],
)
def test_a_rule_that_leads_nowhere_is_answered_by_envoy_itself(rules: str, status: int) -> None:
    (one,) = routes(table(GATEWAY, route(rules)))
    assert one.direct_response is not None
    assert one.direct_response.status == status


def test_a_backend_that_is_not_resolved_yet_is_as_if_it_were_not_there() -> None:
    (one,) = routes(table(GATEWAY, WEB_ROUTE, known="default/a"))
    assert one.direct_response is not None
    assert one.direct_response.status == 503


def test_a_timeout_is_envoys_own_default_unless_it_is_said() -> None:
    rules = f"[{{{to('web')}}}, {{timeouts: {{request: 500ms}}, {to('a')}}}]"
    plain, said = (one.route for one in routes(table(GATEWAY, route(rules))))
    assert plain is not None
    assert plain.timeout is not None
    assert plain.timeout.total_seconds() == 15
    assert said is not None
    assert said.timeout is not None
    assert said.timeout.total_seconds() == 0.5


def test_headers_parameters_and_methods_are_compared_as_they_are_written() -> None:
    rules = (
        "[{matches: [{method: PUT, headers: [{name: X-A, value: b}, {name: x-a, value: c}, "
        "{name: y, type: RegularExpression, value: 'v[0-9]'}], "
        "queryParams: [{name: Q, value: z}]}], " + to("web") + "}]"
    )
    (one,) = routes(table(GATEWAY, route(rules)))
    assert one.match is not None
    headers = {
        header.name: header.string_match.exact or header.string_match.safe_regex
        for header in one.match.headers
        if header.string_match
    }
    assert (headers["x-a"], headers[":method"], len(headers)) == ("b", "PUT", 3)
    (query,) = one.match.query_parameters
    assert query.name == "Q"
    assert query.string_match is not None
    assert query.string_match.exact == "z"


def test_a_request_belongs_to_the_listener_that_fits_its_host_best_and_to_no_other() -> None:
    gateway = GATEWAY + "    - {name: shop, port: 8080, protocol: HTTP, hostname: shop.example}\n"
    every = route(f"[{{{to('web')}}}]", "every", parent="{name: edge, sectionName: http}")
    made = table(gateway, every)
    assert names(made) == ["every/0/0"]
    assert names(made, "shop.example") == []
    shop = route(f"[{{{to('a')}}}]", "shop", parent="{name: edge, sectionName: shop}")
    assert names(table(gateway, every, shop), "shop.example") == ["shop/0/0"]


def test_a_more_exact_host_goes_first_and_the_others_stand_behind_it() -> None:
    one = route(f"[{{{to('web')}}}]", "c", "['*.example.com']")
    two = route(f"[{{matches: [{{path: {{value: /x}}}}], {to('a')}}}]", "b", "[a.example.com]")
    three = route(f"[{{{to('b')}}}]", "a")
    made = table(GATEWAY, one, two, three)
    assert names(made, "a.example.com") == ["b/0/0", "c/0/0", "a/0/0"]
    assert names(made, "*.example.com") == ["c/0/0", "a/0/0"]
    assert names(made) == ["a/0/0"]


def test_hosts_that_a_listener_does_not_have_do_not_reach_the_route() -> None:
    gateway = GATEWAY.replace("port: 8080,", "port: 8080, hostname: '*.example.com',")
    made = table(gateway, route(f"[{{{to('web')}}}]", "r", "[a.example.com, b.example.org]"))
    assert {one.name for one in made.virtual_hosts} == {"*.example.com", "a.example.com"}


def test_each_port_has_its_own_listener_and_table() -> None:
    gateway = GATEWAY + "    - {name: more, port: 8081, protocol: HTTP}\n"
    found = declared(gateway, route(f"[{{{to('web')}}}]", parent="{name: edge, port: 8081}"))
    fleet = Translator().snapshots(found, (), {})[0]
    assert set(fleet.resources[LISTENER]) == {"default/edge/http-8080", "default/edge/http-8081"}
    assert set(fleet.resources[ROUTE]) == set(fleet.resources[LISTENER])
    assert (
        names(table(gateway, WEB_ROUTE.replace("- name: edge", "- {name: edge, port: 8081}"))) == []
    )


def test_a_table_is_one_message_that_reads_back_as_it_was_written() -> None:
    made = table(GATEWAY, WEB_ROUTE)
    assert made.name == "default/edge/http-8080"
    assert made.ignore_port_in_host_matching
    assert RouteConfiguration.parse(bytes(made)) == made
