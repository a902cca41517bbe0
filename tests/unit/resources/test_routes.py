"""Routes of calls, TLS, TCP and UDP: what they match, where they attach, and who comes first."""

from __future__ import annotations

import pytest

from controlplane.resources import Declared, Loaded
from controlplane.resources.grpc_route import GrpcRoute
from controlplane.resources.references import policy_of
from controlplane.resources.topology import Attached, attached, attachments
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICY, ROUTE, joined, read

GRPC = ROUTE.replace("kind: HTTPRoute", "kind: GRPCRoute").replace("name: web}", "name: calls}", 1)


def listening(listener: str) -> str:
    """The Gateway with one listener."""
    return GATEWAY.replace("{name: http, port: 8080, protocol: HTTP}", f"{{name: one, {listener}}}")


def grpc(matches: str) -> GrpcRoute:
    text = GRPC.replace("    - backendRefs", f"    - matches: {matches}\n      backendRefs")
    return read({"a.yaml": joined(GATEWAY, text, BACKEND)}).declared.all(GrpcRoute)["default/calls"]


def stream(kind: str, name: str = "db", *, hosts: str = "", age: str = "") -> str:
    only = f"  hostnames: [{hosts}]\n" if hosts else ""
    return (
        f"apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: {kind}\n"
        f"metadata: {{name: {name}, creationTimestamp: '{age}'}}\n"
        f"spec:\n  parentRefs: [{{name: edge}}]\n{only}"
        "  rules: [{backendRefs: [{name: web}]}]\n"
    )


@pytest.mark.parametrize(
    ("method", "kind", "path"),
    [
        ("{service: a.B}", "PathPrefix", "/a.B"),
        ("{service: a.B, method: C}", "Exact", "/a.B/C"),
        ("{method: C}", "RegularExpression", "/[^/]+/(?:C)"),
        ("{type: RegularExpression, service: 'a|b'}", "RegularExpression", "/(?:a|b)/[^/]+"),
        ("{type: RegularExpression, service: a, method: 'C|D'}", "RegularExpression",
         "/(?:a)/(?:C|D)"),
    ],
)  # fmt: skip
def test_a_call_is_a_request_for_a_path(method: str, kind: str, path: str) -> None:
    (match,) = grpc(f"[{{method: {method}}}]").requests.spec.rules[0].matches
    assert (match.path.type, match.path.value) == (kind, path)


def test_the_longer_service_goes_first_then_the_longer_method_then_more_headers() -> None:
    written = (
        "[{}, {headers: [{name: a, value: b}]}, {method: {method: Get}}, "
        "{method: {service: a.B}}, {method: {service: a.B}, headers: [{name: a, value: b}]}, "
        "{method: {service: a.B, method: G}}, {method: {service: a.B, method: Get}}]"
    )
    matches = grpc(written).requests.spec.rules[0].matches
    ordered = sorted(range(len(matches)), key=lambda at: matches[at].precedence)
    assert ordered == [6, 5, 4, 3, 2, 1, 0]


def test_what_a_grpc_route_becomes_is_made_once() -> None:
    route = grpc("[]")
    assert route.requests is route.requests
    assert route == GrpcRoute.model_validate(route.model_dump(by_alias=True))


def test_a_rule_is_called_otherwise_than_that_of_a_route_of_another_kind() -> None:
    (http,) = read({"a.yaml": ROUTE}).declared.request_routes
    (calls,) = read({"a.yaml": ROUTE.replace("HTTPRoute", "GRPCRoute")}).declared.request_routes
    assert http.key == calls.key
    assert http.name_of_rule(0) != calls.name_of_rule(0)
    assert calls.name_of(0, 0).startswith(calls.name_of_rule(0))


def found(*documents: str) -> Attached:
    return attachments(read({"a.yaml": joined(*documents, BACKEND)}).declared)["default/edge"]


def aged(document: str, age: str) -> str:
    return document.replace("metadata: {", f"metadata: {{creationTimestamp: '{age}', ", 1)


def hosts(document: str, *names: str) -> str:
    return document.replace("  rules:", f"  hostnames: [{', '.join(names)}]\n  rules:")


@pytest.mark.parametrize(
    ("http", "calls", "apart"),
    [
        ((), (), False),
        (("a.test",), (), False),
        (("a.test",), ("b.test",), True),
        (("a.test",), ("a.test", "b.test"), False),
        (("'*.a.test'",), ("x.a.test",), False),
        (("x.y.a.test",), ("'*.a.test'",), False),
        (("'*.b.a.test'",), ("'*.a.test'",), False),
        (("'*.a.test'",), ("a.test",), True),
    ],
)
def test_http_and_grpc_routes_are_apart_by_host_or_the_older_has_it(
    http: tuple[str, ...], calls: tuple[str, ...], apart: bool
) -> None:
    for first in ("HTTPRoute", "GRPCRoute"):
        routes = [
            aged(hosts(one, *names) if names else one, "1" if kind == first else "2")
            for kind, one, names in (("HTTPRoute", ROUTE, http), ("GRPCRoute", GRPC, calls))
        ]
        made = found(GATEWAY, *routes)
        kinds = {route.kind for _, route in made.requests}
        assert kinds == ({"HTTPRoute", "GRPCRoute"} if apart else {first})
        assert len(made.conflicts) == (0 if apart else 1)


def test_another_listener_is_no_conflict() -> None:
    two = GATEWAY + "    - {name: other, port: 8081, protocol: HTTP}\n"
    routes = (
        ROUTE.replace("- name: edge", "- {name: edge, sectionName: http}"),
        GRPC.replace("- name: edge", "- {name: edge, sectionName: other}"),
    )
    assert len(found(two, *routes).requests) == 2


PASS = "port: 443, protocol: TLS, tls: {mode: Passthrough}"
ENDS = "port: 443, protocol: TLS, tls: {certificateRefs: [{name: a}]}"
TCP = "port: 443, protocol: TCP"
UDP = "port: 443, protocol: UDP"
HTTPS = "port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a}]}"


@pytest.mark.parametrize(
    ("listener", "taken"),
    [
        (PASS, {"TLSRoute"}),
        (ENDS, {"TLSRoute", "TCPRoute"}),
        (TCP, {"TCPRoute"}),
        (UDP, {"UDPRoute"}),
        (HTTPS, {"HTTPRoute", "GRPCRoute"}),
        (f"{HTTPS}, allowedRoutes: {{kinds: [{{kind: GRPCRoute}}]}}", {"GRPCRoute"}),
        (f"{HTTPS}, allowedRoutes: {{kinds: [{{kind: TCPRoute}}]}}", set()),
        (f"{HTTPS}, allowedRoutes: {{kinds: [{{group: x.y, kind: HTTPRoute}}]}}", set()),
    ],
)
def test_a_listener_takes_the_kinds_that_its_protocol_carries(
    listener: str, taken: set[str]
) -> None:
    made = found(
        listening(listener),
        hosts(ROUTE, "a.test"),
        hosts(GRPC, "b.test"),
        stream("TCPRoute"),
        stream("UDPRoute"),
        stream("TLSRoute", hosts="a.test"),
    )
    assert {route.kind for _, route in made.pairs} == taken


def test_a_name_is_that_of_the_oldest_route_and_each_route_keeps_what_is_left() -> None:
    made = found(
        listening(PASS),
        stream("TLSRoute", "young", hosts="a.test, b.test", age="2"),
        stream("TLSRoute", "old", hosts="a.test", age="1"),
        stream("TLSRoute", "late", hosts="b.test", age="3"),
    )
    assert {one.route.metadata.name: one.hosts for one in made.streams} == {
        "old": ("a.test",),
        "young": ("b.test",),
    }
    assert {(one.route.metadata.name, one.winner.metadata.name) for one in made.conflicts} == {
        ("young", "old"),
        ("late", "young"),
    }


def problems(*documents: str) -> list[str]:
    loaded: Loaded = read({"a.yaml": joined(*documents, BACKEND)})
    return [str(one) for one in loaded.problems]


@pytest.mark.parametrize(
    ("listener", "route", "message"),
    [
        (TCP, ROUTE, "no listener of Gateway default/edge that is meant can carry a HTTPRoute (it "
         "needs a listener of protocol (or TLS mode) HTTP, HTTPS)"),
        ("port: 1, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}", ROUTE,
         "lets in no HTTPRoute (name kind HTTPRoute in allowedRoutes.kinds of the listener)"),
        ("port: 1, protocol: HTTP, allowedRoutes: {kinds: [{kind: HTTPRuote}, {kind: HTTPRoute}]}",
         ROUTE, 'kinds[0]: a listener of this protocol cannot carry gateway.networking.k8s.io/'
         'HTTPRuote (did you mean "HTTPRoute"?)'),
        (TCP, joined(stream("TCPRoute", "a"), stream("TCPRoute", "b")),
         "TCPRoute default/b: spec.parentRefs[0]: listener one of Gateway default/edge has "
         "TCPRoute default/a already, which is in force (give one of the two other hostnames or "
         "another listener)"),
        (UDP, stream("TCPRoute"), "can carry a TCPRoute (it needs a listener of protocol (or TLS "
         "mode) Terminate, TCP)"),
        (UDP, joined(stream("UDPRoute", "a"), stream("UDPRoute", "b")),
         "UDPRoute default/b: spec.parentRefs[0]: listener one of Gateway default/edge has "
         "UDPRoute default/a already, which is in force"),
        (UDP, stream("UDPRoute").replace("web}]}]", "wbe}]}]"),
         "there is no Backend default/wbe; its part of the datagrams is dropped"),
        (TCP, stream("TCPRoute").replace("web}]}]", "wbe}]}]"),
         "there is no Backend default/wbe; its part of the connections is closed"),
        (TCP, stream("TCPRoute").replace("name: web}", "name: x, kind: Lambda, group: a.example}"),
         "a.example/Lambda is not served here; its part of the connections is closed (refer to a"),
    ],
)  # fmt: skip
def test_what_is_not_taken_is_told(listener: str, route: str, message: str) -> None:
    said = problems(listening(listener), route)
    assert [one for one in said if message in one], said


def namespaced(document: str, namespace: str) -> str:
    return document.replace("metadata: {", f"metadata: {{namespace: {namespace}, ", 1)


def names_of_selected(selector: str, *namespaces: str) -> set[str]:
    allowed = f"allowedRoutes: {{namespaces: {{from: Selector, selector: {selector}}}}}"
    routes = [
        namespaced(ROUTE, name).replace("- name: edge", "- {name: edge, namespace: default}")
        for name in ("shop", "cart", "plain", "default")
    ]
    labels = [
        f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{team: {team}}}}}\n"
        "spec: {finalizers: [kubernetes]}\nstatus: {phase: Active}\n"
        for name, team in (("shop", "a"), ("cart", "b"))
    ]
    gateway = listening(f"port: 1, protocol: HTTP, {allowed}")
    declared: Declared = read({"a.yaml": joined(gateway, *routes, *labels)}).declared
    pairs = attached(declared)["default/edge"]
    return {route.metadata.namespace for _, route in pairs}


@pytest.mark.parametrize(
    ("selector", "namespaces"),
    [
        ("{}", {"shop", "cart", "plain", "default"}),
        ("{matchLabels: {team: a}}", {"shop"}),
        ("{matchLabels: {kubernetes.io/metadata.name: plain}}", {"plain"}),
        ("{matchExpressions: [{key: team, operator: In, values: [a, b]}]}", {"shop", "cart"}),
        ("{matchExpressions: [{key: team, operator: NotIn, values: [a]}]}",
         {"cart", "plain", "default"}),
        ("{matchExpressions: [{key: team, operator: Exists}]}", {"shop", "cart"}),
        ("{matchExpressions: [{key: team, operator: DoesNotExist}]}", {"plain", "default"}),
        ("{matchLabels: {team: a}, matchExpressions: [{key: team, operator: DoesNotExist}]}",
         set()),
    ],
)  # fmt: skip
def test_a_selector_looks_at_the_labels_of_namespaces(selector: str, namespaces: set[str]) -> None:
    assert names_of_selected(selector) == namespaces


GRANT = """\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: let, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: KIND, namespace: default}]
  to: [{group: weir.dev, kind: Backend, name: web}]
"""


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"])
def test_a_grant_is_for_the_kind_that_it_names(kind: str) -> None:
    listener = {"TLSRoute": PASS, "TCPRoute": TCP, "UDPRoute": UDP}.get(kind, HTTPS)
    route = {"HTTPRoute": ROUTE, "GRPCRoute": GRPC}.get(kind) or stream(kind)
    route = route.replace("name: web}]}]", "name: web, namespace: other}]}]").replace(
        "kind: Backend, name: web}", "kind: Backend, name: web, namespace: other}"
    )
    documents = (listening(listener), route, namespaced(BACKEND, "other"))

    def granted(to: str) -> bool:
        said = problems(*documents, GRANT.replace("KIND", to))
        return not any("no ReferenceGrant there allows it" in one for one in said)

    assert granted(kind)
    assert not granted("TCPRoute" if kind != "TCPRoute" else "TLSRoute")


def test_infrastructure_is_taken_and_parameters_are_not() -> None:
    said = "  infrastructure: {labels: {a: b}, annotations: {c: d}}\n"
    assert problems(GATEWAY + said, ROUTE) == []
    (problem,) = problems(GATEWAY + said.replace("{a: b}", "{a: b}, parametersRef: {}"))
    assert "spec.infrastructure.parametersRef: there is no such field" in problem


def test_a_filter_where_it_means_nothing_is_told() -> None:
    made = (
        "apiVersion: weir.dev/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {name: gone}\n"
        "spec: {directResponse: {statusCode: 410}}\n"
    )
    refers = "filters: [{type: ExtensionRef, extensionRef: {name: gone}}]"
    at_rule = ROUTE.replace("- backend", f"- {refers}\n      backend")
    at_part = ROUTE.replace("name: web}\n", f"name: web, {refers}}}\n")
    assert problems(GATEWAY, at_rule, made) == []
    (problem,) = problems(GATEWAY, at_part, made)
    assert (
        "spec.rules[0].backendRefs[0].filters[0]: HTTPRouteFilter default/gone has no payload, cel "
        "or jwt; what it is for is answered 500 (directResponse is for"
    ) in problem
    (problem,) = problems(GATEWAY, at_rule.replace("gone", "gnoe"), made)
    assert (
        "there is no HTTPRouteFilter default/gnoe; what it is for is answered 500 (did" in problem
    )


@pytest.mark.parametrize("kind", ["GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"])
def test_a_policy_for_a_route_is_for_its_backends_and_the_nearest_counts(kind: str) -> None:
    listener = {"GRPCRoute": HTTPS, "TLSRoute": PASS, "TCPRoute": TCP, "UDPRoute": UDP}[kind]
    route = GRPC.replace("calls", "db") if kind == "GRPCRoute" else stream(kind)

    def named(name: str, of: str, target: str) -> str:
        ref = f"{{group: gateway.networking.k8s.io, kind: {of}, name: {target}}}"
        return POLICY.replace("name: web}", f"name: {name}}}", 1).replace(
            "{group: weir.dev, kind: Backend, name: web}", ref
        )

    near, far = named("near", kind, "db"), named("far", "Gateway", "edge")
    documents = (listening(listener), route, BACKEND)
    for policies, winner in (((near, far), "near"), ((far,), "far")):
        declared = read({"a.yaml": joined(*documents, *policies)}).declared
        assert policy_of(declared)["default/web"].metadata.name == winner
    (problem,) = problems(listening(listener), route, named("lost", kind, "db2"))[-1:]
    assert f"there is no {kind} default/db2" in problem
