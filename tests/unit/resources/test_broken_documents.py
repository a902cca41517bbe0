from __future__ import annotations

import pytest

from controlplane.resources.read import MAX_DOCUMENTS, MAX_FILE_BYTES
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICY, ROUTE, joined, read

LIMITS = """apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: limits}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: web}]
  rateLimit:
    local: {rules: [{limit: {requests: 3, unit: Hour}}]}
"""
SELECTS = LIMITS.replace("local: {rules: [{", "global: {rules: [{clientSelectors: [SELECTOR], ")
PATCH = """\
apiVersion: weir.dev/v1alpha1
kind: EnvoyPatch
metadata: {name: mine}
spec:
  targetRef: {name: edge}
  jsonPatches:
    - type: type.googleapis.com/envoy.config.listener.v3.Listener
      name: default/edge/http-80
      operation: {op: add, path: /x, value: 1}
"""

# document, line, field, words of the message, words of the advice
GRPC = ROUTE.replace("HTTPRoute", "GRPCRoute")
TCP = """\
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: db}
spec: {parentRefs: [{name: edge}],
  rules: [{backendRefs: [{name: a}]}, {backendRefs: [{name: b}]}]}
"""
FILTER = """\
apiVersion: weir.dev/v1alpha1
kind: HTTPRouteFilter
metadata: {name: a}
spec: {payload: {fields: [{path: [a], value: b}]}}
"""
BROKEN = [
    (BACKEND.replace("address:", "adress:", 1), 6, "spec.endpoints[0].ip.adress", "no such field",
     '"address"'),
    *(
        (BACKEND.replace("10.0.0.1", f"'{one}'"), 6, "spec.endpoints[0].ip.address",
         "want the address or name of a server", "")
        for one in ("169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1")
    ),
    (BACKEND.replace("ip: {address: 10.0.0.1,", "fqdn: {hostname: '0xa9fea9fe',"), 6,
     "spec.endpoints[0].fqdn.hostname", "want the address or name of a server", ""),
    (BACKEND.replace("endpoints:", "endpoint:"), 5, "spec.endpoint", "no such field",
     '"endpoints"'),
    (BACKEND.replace("  endpoints:\n", "").partition("    - ip")[0] + "  {}\n", 4,
     "spec.endpoints", "is missing", ""),
    (BACKEND.replace("port: 8080}", 'port: "8080"}', 1), 6, "spec.endpoints[0].ip.port",
     "want a whole number", "quotes"),
    (BACKEND.replace("port: 8080}", "port: 70000}", 1), 6, "spec.endpoints[0].ip.port", "65535",
     ""),
    (BACKEND.replace("10.0.0.1", "web.example"), 6, "spec.endpoints[0].ip.address", "IP address",
     ""),
    (BACKEND.replace("10.0.0.2", "10.0.0.1"), 5, "spec", "10.0.0.1:8080 is declared twice", ""),
    (BACKEND.replace("- ip: {address: 10.0.0.2, port: 8080}", "- zone: b"), 9,
     "spec.endpoints[1]", "either ip or fqdn", ""),
    (BACKEND.replace("weir.dev/class: fast", "weir.dev/capacity: fast"), 7,
     "spec.endpoints[0].labels", "want a number above 0", ""),
    (BACKEND.replace("weir.dev/class: fast", "weir.dev/capacity: 2"), 7,
     'spec.endpoints[0].labels["weir.dev/capacity"]', "want text", "in quotes"),
    (BACKEND.replace("kind: Backend", "kind: Backnd"), 2, "kind", '"Backnd" is not served',
     '"Backend"'),
    (BACKEND.replace("v1alpha1", "v1"), 1, "apiVersion", "has no Backend", "weir.dev/v1alpha1"),
    (BACKEND.replace("name: web", "name: Web!"), 3, "metadata.name", "lower-case", ""),
    (BACKEND.replace("metadata: {name: web}", "metadata: {}"), 3, "metadata.name", "is missing",
     ""),
    (BACKEND.replace("zone: a", "zone: [a"), 9, "", "not YAML", "indentation"),
    (BACKEND.replace("      zone: a", "      zone: a\n      zone: b"), 9,
     "spec.endpoints[0].zone", "written twice", "keep one"),
    (BACKEND.replace("zone: a", "zone: !!python/name:os.system x"), 8, "spec.endpoints[0].zone",
     "is not taken", "plain value"),
    ("just words\n", 1, "", "a document is a mapping", ""),
    ("- kind: Backend\n", 1, "", "a document is a mapping", ""),
    (POLICY.replace("  policy: model\n", ""), 4, "spec.policy", "is missing", ""),
    (POLICY.replace("policy: model", "policy: modle"), 7, "spec.policy", 'no policy "modle"',
     '"model"'),
    (POLICY + "  interval: 5\n", 8, "spec.interval", "want a duration", ""),
    (POLICY + "  interval: 1ms\n", 8, "spec.interval", "greater than or equal to 0.1", ""),
    (POLICY + "  actuation: group\n", 8, "spec.actuation", '"group" is not taken', '"groups"'),
    (POLICY + "  guard:\n    max_ratio: 2\n", 9, "spec.guard.max_ratio", "no such field",
     '"maxRatio"'),
    (POLICY + "  guard:\n    minRatio: .nan\n", 9, "spec.guard.minRatio", "finite", ""),
    (POLICY + "  guard:\n    frozen: 1\n", 9, "spec.guard.frozen", "want true or false", ""),
    (POLICY + "  guard:\n    decayUntil: 1s\n", 9, "spec.guard", "freezeAfter <= decayUntil", ""),
    (POLICY + "  rollout: {mode: canary, percent: 101}\n", 8, "spec.rollout.percent", "100", ""),
    (POLICY + "  fallback: nothing\n", 8, "spec.fallback", 'no policy "nothing"', "equal"),
    (POLICY.replace("group: weir.dev", "group: gateway.networking.k8s.io"), 6,
     "spec.targetRefs[0]", "the group of kind Backend is weir.dev", ""),
    (POLICY.replace("    - {group: weir.dev, kind: Backend, name: web}\n", "    []\n"), 6,
     "spec.targetRefs", "at least one", ""),
    (POLICY + "  locality: {failover: []}\n", 8, "spec.locality.failover", "at least one", ""),
    (POLICY + "  locality:\n    failover:\n      - places: [{region: eu}]\n"
     "      - places: [{region: eu}]\n", 9, "spec.locality", "'eu' is named twice", ""),
    (POLICY + "  locality: {}\n", 8, "spec.locality", "either failover or zoneAware", ""),
    (POLICY + "  locality:\n    failover: [{places: [{region: eu}]}]\n"
     "    zoneAware: {preferLocal: {}}\n", 9, "spec.locality", "exactly one of them", ""),
    (POLICY + "  locality: {zoneAware: {}}\n", 8, "spec.locality.zoneAware",
     "either preferLocal or leastTime", ""),
    (POLICY + "  locality: {zoneAware: {preferLocal: {force: {minEndpoints: 1}}}}\n", 8,
     "spec.locality.zoneAware.preferLocal.force.minEndpoints", "no such field", ""),
    (POLICY + "  locality: {failover: [{places: [{zone: a}]}]}\n", 8,
     "spec.locality.failover[0].places[0].region", "is missing", ""),
    (POLICY + "  locality: {failover: [{places: [{region: eu, weight: 0}]}]}\n", 8,
     "spec.locality.failover[0].places[0].weight", "greater than or equal to 1", ""),
    (LIMITS.replace("{limit: {requests: 3, unit: Hour}}", ""), 7, "spec.rateLimit.local.rules",
     "at least one", ""),
    (LIMITS.replace("unit: Hour", "unit: Week"), 7, "spec.rateLimit.local.rules[0].limit.unit",
     '"Week" is not taken', "Hour"),
    (LIMITS.replace("requests: 3", "requests: 0"), 7,
     "spec.rateLimit.local.rules[0].limit.requests", "greater than or equal to 1", ""),
    (LIMITS.replace("unit: Hour}}", "unit: Hour}, cost: {}}"), 7,
     "spec.rateLimit.local.rules[0].cost", "no such field", ""),
    (LIMITS.replace("local:", "type: Global\n    local:"), 7, "spec.rateLimit",
     "wants the section global", ""),
    (LIMITS.partition("    local")[0].rstrip() + " {}\n", 6, "spec.rateLimit",
     "give local, global, or both", ""),
    (LIMITS.replace("unit: Hour}}", "unit: Hour}}, {limit: {requests: 4, unit: Day}}"), 7,
     "spec.rateLimit.local", "two rules without clientSelectors", ""),
    (LIMITS.replace("unit: Hour}}", "unit: Hour}, shadowMode: true}"), 7,
     "spec.rateLimit.local.rules[0]", "wants clientSelectors", ""),
    (SELECTS.replace("SELECTOR", "{}"), 7, "spec.rateLimit.global.rules[0].clientSelectors[0]",
     "empty selector", ""),
    (SELECTS.replace("SELECTOR", "{headers: [{name: a, type: Distinct, value: b}]}"), 7,
     "spec.rateLimit.global.rules[0].clientSelectors[0].headers[0]", "Distinct means every", ""),
    (SELECTS.replace("SELECTOR", "{headers: [{name: a}]}"), 7,
     "spec.rateLimit.global.rules[0].clientSelectors[0].headers[0]", "wants a value", ""),
    (SELECTS.replace("SELECTOR", "{headers: [{name: a, value: b}, {name: A, value: c}]}"), 7,
     "spec.rateLimit.global.rules[0].clientSelectors[0].headers", "selected twice", ""),
    (SELECTS.replace("SELECTOR",
                     "{headers: [{name: a, type: RegularExpression, value: '(?=x)'}]}"), 7,
     "spec.rateLimit.global.rules[0].clientSelectors[0].headers[0]", "look-around", ""),
    (SELECTS.replace("SELECTOR", "{sourceCIDR: {value: 10.0.0.1/8}}"), 7,
     "spec.rateLimit.global.rules[0].clientSelectors[0].sourceCIDR.value", "host bits", ""),
    (SELECTS.replace("SELECTOR", "{methods: [{value: GET}]}, {methods: [{value: PUT}]}"), 7,
     "spec.rateLimit.global.rules[0].clientSelectors", "methods is given twice", ""),
    (SELECTS.replace("clientSelectors: [SELECTOR]", "cost: {request: {from: Number}}"), 7,
     "spec.rateLimit.global.rules[0].cost.request", "wants number", ""),
    (SELECTS.replace("clientSelectors: [SELECTOR]",
                     "cost: {response: {from: Metadata, metadata: {namespace: 'a:b', key: c}}}"),
     7, "spec.rateLimit.global.rules[0].cost.response.metadata.namespace", "match pattern", ""),
    (GATEWAY.replace("protocol: HTTP", "protocol: SCTP"), 7, "spec.listeners[0].protocol",
     '"SCTP" is not taken', "HTTP"),
    (GATEWAY.replace("protocol: HTTP", "protocol: HTTPS"), 7, "spec.listeners[0]",
     "needs tls.certificateRefs", ""),
    (GATEWAY.replace("HTTP}", "HTTP, tls: {certificateRefs: [{name: a}]}}"), 7, "spec.listeners[0]",
     "tls is given with protocols HTTPS and TLS", ""),
    (GATEWAY + "    - {name: more, port: 8080, protocol: HTTP}\n", 5, "spec",
     "both want port 8080", ""),
    (GATEWAY + "    - {name: http, port: 8081, protocol: HTTP}\n", 5, "spec", "used twice", ""),
    (GATEWAY.replace("port: 8080,", "port: 8080, hostname: 1.2.3.4,"), 7,
     "spec.listeners[0].hostname", "host name", ""),
    (ROUTE.replace("- backendRefs:", "- matches: [{path: {value: web}}]\n      backendRefs:"), 8,
     "spec.rules[0].matches[0].path", "starts with '/'", ""),
    (ROUTE.replace("name: web}\n", "name: web, weight: -1}\n"), 9,
     "spec.rules[0].backendRefs[0].weight", "greater than or equal to 0", ""),
    (ROUTE.replace("    - backendRefs:", "    - filter: []\n      backendRefs:"), 8,
     "spec.rules[0].filter", "no such field", '"filters"'),
    (GATEWAY.replace("protocol: HTTP", "protocol: TLS"), 7, "spec.listeners[0]",
     "protocol TLS needs tls", ""),
    (GATEWAY.replace("HTTP}", "HTTPS, tls: {mode: Passthrough}}"), 7, "spec.listeners[0]",
     "mode Passthrough needs protocol TLS", ""),
    (GATEWAY.replace("HTTP}", "TLS, tls: {mode: Passthrough, certificateRefs: [{name: a}]}}"), 7,
     "spec.listeners[0].tls", "shows no certificate", ""),
    (GATEWAY.replace("HTTP}", "TLS, tls: {mode: Terminate}}"), 7, "spec.listeners[0].tls",
     "mode Terminate needs certificateRefs", ""),
    (GATEWAY.replace("HTTP}", "TCP, hostname: a.test}"), 7, "spec.listeners[0]",
     "knows no host names", ""),
    (GATEWAY + "    - {name: more, port: 8080, protocol: TCP}\n", 5, "spec",
     "port 8080 is wanted for HTTP and for TCP", ""),
    (GATEWAY.replace("HTTP}", "UDP, hostname: a.test}"), 7, "spec.listeners[0]",
     "protocol UDP knows no host names", ""),
    (GATEWAY.replace("HTTP}", "UDP}") + "    - {name: more, port: 8080, protocol: UDP}\n", 5,
     "spec", "both want port 8080", ""),
    (GATEWAY.replace("HTTP}", "UDP}") + "    - {name: more, port: 8080, protocol: TLS, "
     "tls: {mode: Passthrough}}\n", 5, "spec",
     "port 8080 is wanted for UDP and for TLS, where HTTP/3 may be spoken", ""),
    (TCP.replace("TCPRoute", "UDPRoute"), 5, "spec.rules", "keep one", ""),
    (GATEWAY.replace("HTTP}", "HTTP, allowedRoutes: {namespaces: {from: Selector}}}"), 7,
     "spec.listeners[0].allowedRoutes.namespaces", "selector is given with from: Selector", ""),
    (GATEWAY.replace("HTTP}", "HTTP, allowedRoutes: {namespaces: {from: Selector, selector: "
                     "{matchExpressions: [{key: a, operator: In}]}}}}"), 7,
     "spec.listeners[0].allowedRoutes.namespaces.selector.matchExpressions[0]", "need values", ""),
    (BACKEND.replace("spec:", "spec:\n  appProtocols: [h2c]"), 5, "spec.appProtocols[0]",
     '"h2c" is not taken', "kubernetes.io/h2c"),
    (BACKEND.replace("spec:", "spec:\n  appProtocols: [kubernetes.io/h2c, kubernetes.io/ws]"), 5,
     "spec", "make two Backends of it", ""),
    (GRPC.replace("- backend", "- matches: [{method: {}}]\n      backend"), 8,
     "spec.rules[0].matches[0].method", "want a service, a method, or both", ""),
    (GRPC.replace("- backend", "- matches: [{method: {service: a/b}}]\n      backend"), 8,
     "spec.rules[0].matches[0].method", "a service such as shop.v1.Carts", ""),
    (GRPC.replace("- backend", "- matches: [{method: {type: RegularExpression, method: '('}}]\n"
                  "      backend"), 8,
     "spec.rules[0].matches[0].method", "not a regular expression", ""),
    (GRPC.replace("- backend", "- matches: [{path: {value: /a}}]\n      backend"), 8,
     "spec.rules[0].matches[0].path", "no such field", "headers, method"),
    (GRPC.replace("- backend", "- filters: [{type: RequestRedirect}]\n      backend"), 8,
     "spec.rules[0].filters[0].type", '"RequestRedirect" is not taken', "RequestMirror"),
    (GRPC.replace("- backend", "- filters: [{type: RequestMirror}]\n      backend"), 8,
     "spec.rules[0].filters[0]", "type RequestMirror needs requestMirror", ""),
    (GRPC.replace("- backend", "- sessionPersistence: {}\n      backend").replace(
        "Backend, name: web}\n", "Backend, name: web}\n        - {name: b}\n"), 8,
     "spec.rules[0]", "with one Backend alone", ""),
    (TCP, 5, "spec.rules", "keep one", ""),
    (FILTER.replace("payload:", "directResponse: {}, payload:"), 4, "spec",
     "want directResponse, payload, cel or jwt", ""),
    (FILTER.replace("{payload: {fields: [{path: [a], value: b}]}}", "{jwt: {provider: a}}"), 4,
     "spec.jwt", "want claims or scopes", ""),
    (FILTER.replace("value: b", "type: RegularExpression, value: 1"), 4,
     "spec.payload.fields[0]", "a RegularExpression is text", ""),
    (FILTER.replace("path: [a]", "path: a"), 4, "spec.payload.fields[0].path", "want a list", ""),
    (ROUTE.replace("- backend", "- filters: [{type: ExtensionRef}]\n      backend"), 8,
     "spec.rules[0].filters[0]", "needs extensionRef", ""),
    (ROUTE.replace("- backend", "- filters: [{type: ExtensionRef, extensionRef: {kind: Lua, "
                   "name: a}}]\n      backend"), 8,
     "spec.rules[0].filters[0].extensionRef.kind", '"Lua" is not taken', "HTTPRouteFilter"),
    (TCP.replace("v1alpha2", "v1"), 1, "apiVersion", "has no TCPRoute", "v1alpha2"),
    (TCP.replace("  rules", "  hostnames: [a.test],\n  rules"), 5, "spec.hostnames",
     "no such field", ""),
    (PATCH.replace("op: add", "op: put"), 9, "spec.jsonPatches[0].operation.op",
     '"put" is not taken', "add"),
    (PATCH.replace("path: /x", "path: x"), 9, "spec.jsonPatches[0].operation.path", "pattern", ""),
    (PATCH.replace(", value: 1", ""), 9, "spec.jsonPatches[0].operation",
     "value is given with add", ""),
    (PATCH.replace("Listener", "Secret"), 7, "spec.jsonPatches[0].type", "is not taken",
     "v3.Listener"),
    (PATCH.partition("  jsonPatches")[0], 5, "spec", "want jsonPatches or mergePatches", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "field", "message", "advice"), BROKEN)
def test_a_broken_document_is_refused_with_line_field_and_advice(
    text: str, line: int, field: str, message: str, advice: str
) -> None:
    result = read({"all.yaml": text})
    assert not result.declared.objects()
    fitting = [
        one
        for one in result.problems
        if (one.file, one.line, one.field) == ("all.yaml", line, field)
    ]
    assert fitting, [str(one) for one in result.problems]
    assert any(message in str(one) and advice in one.advice for one in fitting), fitting


def test_lines_are_those_of_the_file_also_in_a_later_document() -> None:
    broken = BACKEND.replace("port: 8080}", "port: 0}", 1)
    text = joined("# a comment\n" + ROUTE, GATEWAY, broken)
    (problem,) = [p for p in read({"all.yml": text}).problems if "port" in p.field]
    assert text.splitlines()[problem.line - 1].strip() == "- ip: {address: 10.0.0.1, port: 0}"


def test_the_documents_beside_a_broken_one_load() -> None:
    result = read({"all.yaml": joined(GATEWAY, "kind: [\n", BACKEND)})
    assert {str(key) for key in result.declared.sources} == {
        "Gateway default/edge",
        "Backend default/web",
    }
    assert [problem.line for problem in result.problems] == [9]


def test_a_few_aliases_cannot_stand_for_billions_of_values() -> None:
    laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for before, now in zip("abcdefgh", "bcdefghi", strict=True):
        laughs += f"{now}: &{now} [{', '.join([f'*{before}'] * 10)}]\n"
    (problem,) = read({"bomb.yaml": laughs}).problems
    assert "more than" in problem.message


@pytest.mark.parametrize("field", ["port: 8080", "name: web", "apiVersion: weir.dev/v1alpha1"])
@pytest.mark.parametrize("number", ["0x" + "f" * 6000, "1" + ":59" * 1_000_000, "9" * 6000])
def test_a_number_that_cannot_be_written_or_read_takes_no_other_document_with_it(
    field: str, number: str
) -> None:
    name = field.partition(":")[0]
    bad = BACKEND.replace(field, f"{name}: {number}", 1)
    assert bad != BACKEND
    result = read({"all.yaml": joined(GATEWAY, bad)})
    assert [str(key) for key in result.declared.sources] == ["Gateway default/edge"]
    (problem,) = result.problems
    assert "a number of more than 64 characters" in problem.message


def test_a_document_that_contains_itself_is_refused() -> None:
    (problem,) = read({"loop.yaml": "a: &a {b: *a}\n"}).problems
    assert "deeper" in problem.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x" * (MAX_FILE_BYTES + 1), "larger than"),
        (b"a: 1\nb: \xff\n", "not UTF-8"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        ("---\na: 1\n" * (MAX_DOCUMENTS + 1), "documents"),
        ("a: " + "[" * 1_000_000 + "]" * 1_000_000, "deeper"),
        ("a: \x00\n", "not YAML"),
    ],
)
def test_what_is_out_of_bounds_is_refused(content: str | bytes | OSError, message: str) -> None:
    problems = read({"odd.yaml": content}).problems
    assert any(message in problem.message for problem in problems)


def test_a_number_in_a_label_is_not_taken_for_text() -> None:
    text = BACKEND.replace("weir.dev/class: fast", "build: 10")
    (problem,) = read({"b.yaml": text}).problems
    assert str(problem) == (
        "b.yaml:7: Backend default/web: spec.endpoints[0].labels.build: want text, got 10 "
        "(put it in quotes)"
    )
