"""Each analyzer: what it finds, where, and what it leaves alone."""

from __future__ import annotations

import datetime
import itertools
import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from typer.testing import CliRunner

from controlplane.analyze import Finding, Scene, analyze
from controlplane.analyze.policies import ANALYTIC
from controlplane.cli.root import build
from controlplane.explain import Request, explain_route
from tests.certificates import Authority
from tests.envoy.edge import backend, gateway, policy, route, secret, to
from tests.unit.resources.documents import read

NOW = datetime.datetime.now(datetime.UTC)
HTTP = "name: http, port: 80, protocol: HTTP"
TLS = "name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}"
GOOD = f"[{{{to('a')}}}]"
LIMIT = "  circuitBreaker: {maxConnections: 1}\n"
LEAF = Authority().issue(dns=["a.test", "*.w.test"], ends_h=24 * 90)
CERTIFICATE = secret("cert", {"tls.crt": LEAF.certificate, "tls.key": LEAF.key})
BASE = (gateway(HTTP), backend("a", 1), route("web", GOOD))


def found(*documents: str, now: datetime.datetime = NOW, days: float = 30) -> list[Finding]:
    loaded = read({"all.yaml": "---\n".join(documents)})
    assert not loaded.refusals, loaded.refusals
    return analyze(Scene(loaded.declared, now, days))


def matches(*paths: str) -> str:
    return "[" + ", ".join(f"{{matches: [{{{one}}}], {to('a')}}}" for one in paths) + "]"


def of(web: str, *more: str, listeners: tuple[str, ...] = (HTTP,)) -> tuple[str, ...]:
    return (gateway(*listeners), backend("a", 1), web, *more)


KEYED = (
    policy("SecurityPolicy", "keyed", "HTTPRoute/web",
           "  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}\n"),
)  # fmt: skip
REDIRECT = "[{filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}]"
BY_TOKEN = (
    "[{backendRefs: [{name: a, filters: [{type: ExtensionRef, extensionRef: {name: t}}]}, "
    "{name: a}]}]"
)
TOKEN = (
    "apiVersion: weir.dev/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {name: t}\n"
    "spec: {jwt: {provider: p, scopes: [read]}}\n"
)
EXACT = "path: {type: Exact, value: /x}"

TABLE = [
    (BASE, []),
    (of(route("web", f"[{{{to('a', 'gone')}}}]")), [("WEIR0101", "HTTPRoute default/web")]),
    (of(route("web", GOOD), route("lost", GOOD, parents="[{name: nobody}]")),
     [("WEIR0101", "HTTPRoute default/lost")]),
    (of(route("web", "[{backendRefs: [{name: a}, {name: a, namespace: b}]}]")),
     [("WEIR0102", "HTTPRoute default/web")]),
    ((*BASE, backend("b", 1)), [("WEIR0103", "Backend default/b")]),
    ((*BASE, backend("b", 1), policy("SecurityPolicy", "p", "HTTPRoute/web",
      "  extAuth: {http: {backendRefs: [{name: b}]}}\n")), []),
    ((*BASE, policy("SecurityPolicy", "p", "HTTPRoute/web",
      "  extAuth: {http: {backendRefs: [{name: gone}]}}\n")),
     [("WEIR0101", "SecurityPolicy default/p")]),
    ((gateway(HTTP), backend("a"), route("web", GOOD)), [("WEIR0104", "Backend default/a")]),
    (of(route("web", BY_TOKEN), TOKEN), [("WEIR0107", "HTTPRoute default/web")]),
    ((*BASE, policy("TrafficPolicy", "p", "Gateway/edge",
      "  healthCheck: {active: {type: GRPC}}\n")), [("WEIR0204", "TrafficPolicy default/p")]),
    ((gateway(HTTP),), [("WEIR0105", "Gateway default/edge")]),
    ((gateway(HTTP, "name: more, port: 81, protocol: HTTP"), backend("a", 1),
      route("web", GOOD, parents="[{name: edge, port: 80}]")),
     [("WEIR0106", "Gateway default/edge")]),
    # policies
    ((*BASE, policy("TrafficPolicy", "p", "HTTPRoute/gone", LIMIT)),
     [("WEIR0201", "TrafficPolicy default/p")]),
    ((*BASE, policy("TrafficPolicy", "p", "Gateway/edge", LIMIT),
      policy("TrafficPolicy", "q", "Gateway/edge", LIMIT)),
     [("WEIR0202", "TrafficPolicy default/q")]),
    ((*BASE, policy("TrafficPolicy", "p", "Gateway/edge", LIMIT),
      policy("TrafficPolicy", "q", "HTTPRoute/web", LIMIT)),
     [("WEIR0203", "TrafficPolicy default/p")]),
    ((*BASE, policy("ClientPolicy", "p", "Gateway/edge", "  tls: {minVersion: '1.3'}\n"),
      policy("BalancingPolicy", "b", "Backend/a", "  policy: equal\n")), []),
    *[((*BASE, policy("BalancingPolicy", "b", "Backend/a",
        f"  policy: {name}\n  objective: {{errors: 9}}\n")),
       [("WEIR0205", "BalancingPolicy default/b")]) for name in ANALYTIC],
    ((*BASE, policy("BalancingPolicy", "b", "Backend/a",
      "  policy: learned\n  objective: {errors: 9}\n")), []),
    # matches
    (of(route("web", matches(EXACT, "path: {value: /y}", EXACT))),
     [("WEIR0301", "HTTPRoute default/web")]),
    (of(route("web", matches("path: {value: /y}", "path: {value: /y/}"))),
     [("WEIR0301", "HTTPRoute default/web")]),
    (of(route("web", matches(EXACT, f"{EXACT}, method: GET", "path: {value: /x}"))), []),
    (of(route("web", matches("path: {type: RegularExpression, value: '/.*'}", "path: {value: /x}",
                             EXACT))),
     [("WEIR0301", "HTTPRoute default/web")]),
    (of(route("web", matches(f"{EXACT}, headers: [{{name: A, value: b}}]",
                             f"{EXACT}, headers: [{{name: a, value: b}}]"))),
     [("WEIR0301", "HTTPRoute default/web")]),
    (of(route("a", matches(EXACT)), route("b", matches(EXACT))),
     [("WEIR0301", "HTTPRoute default/b")]),
    (of(route("a", matches(EXACT), hosts="[a.test]"),
        route("b", matches(EXACT), hosts="[a.test, b.test]")), []),
    (of(route("wild", GOOD, parents="[{name: edge, sectionName: wild}]", hosts="[one.w.test]"),
        route("one", GOOD, parents="[{name: edge, sectionName: one}]"),
        listeners=("name: wild, port: 80, protocol: HTTP, hostname: '*.w.test'",
                   "name: one, port: 80, protocol: HTTP, hostname: one.w.test")),
     [("WEIR0302", "HTTPRoute default/wild")]),
    # plain text
    (of(route("web", GOOD), listeners=("name: http, port: 443, protocol: HTTP",)),
     [("WEIR0401", "Gateway default/edge")]),
    (of(route("web", GOOD), CERTIFICATE, listeners=(HTTP, TLS)),
     [("WEIR0402", "HTTPRoute default/web")]),
    (of(route("web", GOOD, parents="[{name: edge, sectionName: tls}]"),
        route("away", REDIRECT, parents="[{name: edge, sectionName: http}]"), CERTIFICATE,
        listeners=(HTTP, TLS)), []),
    (of(route("web", GOOD, hosts="[x.test]", parents="[{name: edge, sectionName: http}]"),
        route("tls", GOOD, parents="[{name: edge, sectionName: tls}]"), CERTIFICATE,
        listeners=(HTTP, f"{TLS}, hostname: a.test")), []),
    ((gateway(HTTP), backend("a", 80, 443), route("web", GOOD)),
     [("WEIR0403", "Backend default/a")]),
    # certificates
    (of(route("web", GOOD), CERTIFICATE, listeners=(f"{TLS}, hostname: x.w.test",)), []),
    (of(route("web", GOOD), CERTIFICATE, listeners=(f"{TLS}, hostname: x.y.w.test",)),
     [("WEIR0406", "Secret default/cert")]),
    # API keys
    ((*BASE, *KEYED, secret("keys", {"ann": b"sha256:" + b"0" * 64})), []),
    ((*BASE, *KEYED, secret("keys", {"ann": b"weir_" + b"aB-0" * 11})),
     [("WEIR0408", "Secret default/keys")]),
    ((*BASE, *KEYED, secret("keys", {"ann": b"0" * 30 + b"f", "ben": b"sha256:" + b"0" * 64})),
     [("WEIR0407", "Secret default/keys"), ("WEIR0408", "Secret default/keys")]),
    ((*BASE, secret("keys", {"ann": b"of-nobody"})), []),
    # sessions
    (of(route("web", f"[{{sessionPersistence: {{}}, {to('a')}}}]")),
     [("WEIR0501", "Backend default/a")]),
]  # fmt: skip


@pytest.mark.parametrize(("documents", "wanted"), TABLE)
def test_it_is_found_and_nothing_else(
    documents: tuple[str, ...], wanted: list[tuple[str, str]]
) -> None:
    assert [(one.code, one.object) for one in found(*documents)] == wanted


def test_every_code_is_in_the_table_and_on_the_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "tools.md").read_text()
    codes = {code for _, wanted in TABLE for code, _ in wanted} | {"WEIR0404", "WEIR0405"}
    package = Path(__file__).parents[3] / "controlplane" / "analyze"
    said = {
        word.strip("\"'`:,.")
        for file in package.glob("*.py")
        for word in file.read_text().split()
        if word.strip("\"'`:,.").startswith("WEIR0")
    }
    assert said == codes
    assert {code for code in codes if code not in page} == set()


@pytest.mark.parametrize(
    ("ahead_days", "days", "wanted"),
    [(0, 30, []), (61, 30, ["WEIR0405"]), (61, 20, []), (91, 30, ["WEIR0404"])],
)
def test_a_certificate_is_reported_before_it_expires(
    ahead_days: float, days: float, wanted: list[str]
) -> None:
    documents = of(route("web", GOOD), CERTIFICATE, listeners=(TLS,))
    now = NOW + datetime.timedelta(days=ahead_days)
    assert [one.code for one in found(*documents, now=now, days=days)] == wanted


def test_it_says_where() -> None:
    (one,) = found(*of(route("web", matches(EXACT, EXACT))))
    assert str(one) == (
        "warning [WEIR0301] HTTPRoute default/web all.yaml:21: match 0 of rule 1 is never reached: "
        "default/web/0/0 takes all of it: its rule stands first in the route "
        "(remove it, or make it more exact)"
    )


def test_it_says_where_an_objective_has_no_effect_and_what_to_do() -> None:
    asked = "  policy: model\n  interval: 2s\n  objective: {errors: 9}\n"
    (one,) = found(*BASE, policy("BalancingPolicy", "b", "Backend/a", asked))
    document = policy("BalancingPolicy", "b", "Backend/a", asked)
    at = "---\n".join((*BASE, document)).splitlines().index("  objective: {errors: 9}") + 1
    assert str(one) == (
        f"warning [WEIR0205] BalancingPolicy default/b all.yaml:{at}: `objective` has no effect "
        "with `policy: model`, an analytic policy (ask for `learned`, or for a policy of your own "
        "that was trained for it, or leave `objective` out)"
    )


def test_all_of_our_policies_but_the_learned_one_are_analytic() -> None:
    ours = {
        one.name
        for one in entry_points(group="controlplane.policies")
        if one.value.startswith("controlplane.")
    }
    assert ours - set(ANALYTIC) == {"learned"}
    assert set(ANALYTIC) <= ours


PATHS = ("Exact, value: /x", "PathPrefix, value: /x", "PathPrefix, value: /",
         "RegularExpression, value: '/.*'", "RegularExpression, value: '/x'")  # fmt: skip
MORE = ("", ", method: GET", ", headers: [{name: h, value: '1'}]",
        ", queryParams: [{name: q, value: '1'}]")  # fmt: skip


def test_what_is_never_reached_is_taken_by_no_request() -> None:
    """Against the explainer: every pair of matches, and requests that reach all there is."""
    every = [f"path: {{type: {path}}}{more}" for path in PATHS for more in MORE]
    requests = [
        Request.of(method, f"http://a.test{path}{query}", headers)
        for method in ("GET", "POST")
        for path in ("/x", "/x/y", "/z", "/")
        for query in ("", "?q=1")
        for headers in ([], ["h: 1"])
    ]
    shadowed = 0
    for first, second in itertools.product(every, every):
        documents = of(route("web", matches(first, second)))
        loaded = read({"all.yaml": "---\n".join(documents)})
        said = [one.message for one in analyze(Scene(loaded.declared, NOW))]
        taken = {
            one.chosen.rule_at
            for request in requests
            for one in explain_route(loaded.declared, request)
            if one.chosen
        }
        for rule in (0, 1):
            if any(f"of rule {rule} is never reached" in message for message in said):
                shadowed += 1
                assert rule not in taken, (first, second)
    assert shadowed >= len(every)


@pytest.mark.parametrize(
    ("more", "status", "codes"),
    [
        ([], 0, ["WEIR0402", "WEIR0103"]),
        (["--failure-threshold", "warning"], 79, ["WEIR0402", "WEIR0103"]),
        (["--failure-threshold", "warning", "-S", "WEIR0402"], 0, ["WEIR0103"]),
        (["-S", "WEIR0103=Backend other/*"], 0, ["WEIR0402", "WEIR0103"]),
        (["--output-threshold", "warning"], 0, ["WEIR0402"]),
    ],
)
def test_the_verb_ends_by_the_worst_that_it_found(
    tmp_path: Path, more: list[str], status: int, codes: list[str]
) -> None:
    documents = of(route("web", GOOD), CERTIFICATE, backend("b", 1), listeners=(HTTP, TLS))
    (tmp_path / "all.yaml").write_text("---\n".join(documents))
    done = CliRunner().invoke(build(), ["analyze", "-f", str(tmp_path), "-o", "json", *more])
    assert done.exit_code == status, done.output
    assert [one["code"] for one in json.loads(done.output)] == codes


def test_a_document_that_is_refused_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text("---\n".join((*BASE, "kind: Gatway\n")))
    done = CliRunner().invoke(build(), ["analyze", "-f", str(tmp_path)])
    assert done.exit_code == 79
    assert "error [WEIR0001]" in done.output
