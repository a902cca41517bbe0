from __future__ import annotations

import pytest

from controlplane.resources.route import HttpRoute
from tests.unit.resources.documents import BACKEND, GATEWAY, ROUTE, joined, read

TO_WEB = "backendRefs: [{name: web}]"


def route(rules: str, spec: str = "parentRefs: [{name: edge}]") -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web}\n"
        f"spec:\n  {spec}\n  rules:\n{rules}"
    )


def rule(fields: str) -> str:
    return route(f"    - {{{fields}, {TO_WEB}}}\n")


def filters(*which: str) -> str:
    return rule(f"filters: [{', '.join(f'{{{one}}}' for one in which)}]")


def headers(how: str) -> str:
    return filters(f"type: RequestHeaderModifier, requestHeaderModifier: {{{how}}}")


def rewrite(how: str) -> str:
    return filters(f"type: URLRewrite, urlRewrite: {{path: {{{how}}}}}")


def redirect(how: str) -> str:
    one = f"{{type: RequestRedirect, requestRedirect: {{{how}}}}}"
    return route(f"    - filters: [{one}]\n")


def mirror(how: str) -> str:
    return filters(f"type: RequestMirror, requestMirror: {{backendRef: {{name: web}}, {how}}}")


def cors(how: str) -> str:
    return filters(f"type: CORS, cors: {{{how}}}")


def match(how: str) -> str:
    return rule(f"matches: [{{{how}}}]")


FULL = "type: ReplaceFullPath, replaceFullPath"
PREFIX = "type: ReplacePrefixMatch, replacePrefixMatch"
A_RULE = "spec.rules[0]"
A_FILTER = f"{A_RULE}.filters[0]"
HEADERS = f"{A_FILTER}.requestHeaderModifier"
REWRITE = f"{A_FILTER}.urlRewrite.path"
REDIRECT = f"{A_FILTER}.requestRedirect"
A_CORS = f"{A_FILTER}.cors"
SESSION = f"{A_RULE}.sessionPersistence"

# document, field, words of the message and advice
BROKEN = [
    (match("path: {value: /a b}"), f"{A_RULE}.matches[0].path", "letters, digits"),
    (match("path: {value: '/a%zz'}"), f"{A_RULE}.matches[0].path", "letters, digits"),
    (match("path: {type: Exact, value: /a//b}"), f"{A_RULE}.matches[0].path", "'//'"),
    (match("path: {type: Exact, value: '/a?b'}"), f"{A_RULE}.matches[0].path", "'?'"),
    (match("path: {type: Exact, value: /a/..}"), f"{A_RULE}.matches[0].path", "end with"),
    (match("path: {type: Prefix}"), f"{A_RULE}.matches[0].path.type", 'mean "PathPrefix"'),
    (match("headers: [{name: a, value: b}, {name: a, value: c}]"),
     f"{A_RULE}.matches[0].headers", "'a' is matched twice"),
    (match("queryParams: [{name: a, value: b}, {name: a, value: c}]"),
     f"{A_RULE}.matches[0].queryParams", "'a' is matched twice"),
    (match(f"queryParams: [{{name: a, value: {'x' * 1025}}}]"),
     f"{A_RULE}.matches[0].queryParams[0].value", "1024"),
    (match("method: CONNECT"), f"{A_RULE}.matches[0].method", '"CONNECT" is not taken'),
    (match("method: get"), f"{A_RULE}.matches[0].method", '"get" is not taken'),
    (filters("type: RequestMirror"), A_FILTER, "type RequestMirror needs requestMirror"),
    (filters("type: RequestMirror, urlRewrite: {}"), A_FILTER, "needs type URLRewrite"),
    (filters("type: URLRewrite, urlRewrite: {}, cors: {}"), A_FILTER, "cors needs type CORS"),
    (filters("type: ExternalAuth"), f"{A_FILTER}.type", '"ExternalAuth" is not taken'),
    (filters("type: URLRewrit, urlRewrite: {}"), f"{A_FILTER}.type", 'mean "URLRewrite"'),
    (filters("type: CORS, cors: {}", "type: CORS, cors: {}"), f"{A_RULE}.filters",
     "CORS stands here 2 times"),
    (filters("type: URLRewrite, urlRewrite: {}", "type: RequestRedirect, requestRedirect: {}"),
     f"{A_RULE}.filters", "exclude each other"),
    (filters(*["type: RequestMirror, requestMirror: {backendRef: {name: web}}"] * 17),
     f"{A_RULE}.filters", "at most 16"),
    (headers("set: [{name: a, value: b}], remove: [A]"), HEADERS, "'a' is named twice"),
    (headers("add: [{name: a, value: b}, {name: a, value: c}]"), HEADERS, "named twice"),
    (headers("set: [{name: Host, value: b}]"), HEADERS, "use URLRewrite.hostname"),
    (headers("set: [{name: a, value: \"b\\nc\"}]"), f"{HEADERS}.set[0].value", "printable"),
    (headers("set: [{name: ':path', value: b}]"), f"{HEADERS}.set[0].name", "name of an HTTP"),
    (headers("remove: ['a b']"), f"{HEADERS}.remove[0]", "name of an HTTP header"),
    (rewrite(f"{FULL}: a"), REWRITE, "starts with '/'"),
    (rewrite(f"{FULL}: '/a?b'"), REWRITE, "'?'"),
    (rewrite("type: ReplaceFullPath"), REWRITE, "needs replaceFullPath"),
    (rewrite(f"{FULL}: /a, replacePrefixMatch: /b"), REWRITE, "needs type ReplacePrefixMatch"),
    (filters(f"type: URLRewrite, urlRewrite: {{path: {{{PREFIX}: /a}}}}")
     .replace("{filters", "{matches: [{path: {type: Exact, value: /a}}], filters"),
     A_RULE, "exactly one match"),
    (filters(f"type: URLRewrite, urlRewrite: {{path: {{{PREFIX}: /a}}}}")
     .replace("{filters", "{matches: [{path: {value: /a}}, {path: {value: /b}}], filters"),
     A_RULE, "exactly one match"),
    (filters("type: URLRewrite, urlRewrite: {hostname: '*.a.test'}"),
     f"{A_FILTER}.urlRewrite.hostname", "no '*'"),
    (redirect("hostname: '1.2.3.4'"), f"{REDIRECT}.hostname", "host name"),
    (redirect("scheme: ftp"), f"{REDIRECT}.scheme", '"ftp" is not taken'),
    (redirect("statusCode: 304"), f"{REDIRECT}.statusCode", '"304" is not taken'),
    (redirect("statusCode: '301'"), f"{REDIRECT}.statusCode", "take the quotes away"),
    (redirect("port: 0"), f"{REDIRECT}.port", "greater than or equal to 1"),
    (filters("type: RequestRedirect, requestRedirect: {}"), A_RULE, "take away the backendRefs"),
    (mirror("percent: 101"), f"{A_FILTER}.requestMirror.percent", "100"),
    (mirror("percent: 1, fraction: {numerator: 1}"), f"{A_FILTER}.requestMirror", "keep one"),
    (mirror("fraction: {numerator: 3, denominator: 2}"), f"{A_FILTER}.requestMirror.fraction",
     "at most denominator"),
    (cors("allowOrigins: [example.com]"), f"{A_CORS}.allowOrigins[0]", "such as https://"),
    (cors("allowOrigins: ['https://a.*.com']"), f"{A_CORS}.allowOrigins[0]", "such as https://"),
    (cors("allowOrigins: ['https://a.com/']"), f"{A_CORS}.allowOrigins[0]", "such as https://"),
    (cors("allowOrigins: ['https://a.com:99999']"), f"{A_CORS}.allowOrigins[0]", "such as"),
    (cors(f"allowOrigins: ['https://*.{'x' * 90}.com']"), f"{A_CORS}.allowOrigins[0]",
     "too large for Envoy"),
    (cors("allowOrigins: ['*', 'https://a.com']"), f"{A_CORS}.allowOrigins", "write it alone"),
    (cors("allowMethods: [GET, GET]"), f"{A_CORS}.allowMethods", "written twice"),
    (cors("allowMethods: [get]"), f"{A_CORS}.allowMethods[0]", '"get" is not taken'),
    (cors("allowHeaders: ['a b']"), f"{A_CORS}.allowHeaders[0]", "name of an HTTP header"),
    (cors("exposeHeaders: ['*'], allowCredentials: true"), A_CORS, "name the headers"),
    (cors("maxAge: 0"), f"{A_CORS}.maxAge", "greater than or equal to 1"),
    (cors("maxAge: 5s"), f"{A_CORS}.maxAge", "want a whole number"),
    (rule("timeouts: {request: 1s, backendRequest: 2s}"), f"{A_RULE}.timeouts", "at most request"),
    (rule("timeouts: {request: 1.5s}"), f"{A_RULE}.timeouts.request", "want a duration"),
    (rule("retry: {codes: [200]}"), f"{A_RULE}.retry.codes[0]", "greater than or equal to 400"),
    (rule("retry: {codes: [503, 503]}"), f"{A_RULE}.retry.codes", "503 is written twice"),
    (rule("retry: {attempts: -1}"), f"{A_RULE}.retry.attempts", "greater than or equal to 0"),
    (rule("retry: {backoff: 0s}"), f"{A_RULE}.retry.backoff", "greater than or equal to 0.001"),
    (rule("sessionPersistence: {idleTimeout: 1m}"), SESSION, "not supported"),
    (rule("sessionPersistence: {absoluteTimeout: 1m}"), SESSION, "Permanent alone"),
    (rule("sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}"), SESSION,
     "needs an absoluteTimeout"),
    (rule("sessionPersistence: {type: Header, cookieConfig: {}}"), SESSION, "needs type Cookie"),
    (rule("sessionPersistence: {sessionName: 'a b'}"), f"{SESSION}.sessionName", "cookie or"),
    (rule("sessionPersistence: {}").replace("[{name: web}]", "[{name: web}, {name: b}]"), A_RULE,
     "one Backend alone"),
    (rule("name: A"), f"{A_RULE}.name", "lower-case"),
    (route(f"    - {{name: a, {TO_WEB}}}\n    - {{name: a, {TO_WEB}}}\n"), "spec.rules",
     "two rules are called 'a'"),
    (route(f"    - {{{TO_WEB}}}\n" * 17), "spec.rules", "at most 16"),
    (route(f"    - {{matches: [{'{},' * 43}], {TO_WEB}}}\n" * 3), "spec.rules",
     "at most 128 matches"),
    (route("    - {}\n", "parentRefs: [{name: edge}, {name: edge, port: 1}]"), "spec.parentRefs",
     "sectionName or port"),
    (route("    - {}\n", "parentRefs: [{name: edge, port: 1}, {name: edge, port: 1}]"),
     "spec.parentRefs", "named twice"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "field", "words"), BROKEN)
def test_what_cannot_be_valid_is_refused_where_it_stands(text: str, field: str, words: str) -> None:
    result = read({"all.yaml": text})
    assert not result.declared.routes
    fitting = [one for one in result.problems if one.field == field]
    assert fitting, [str(one) for one in result.problems]
    assert any(words in f"{one.message} {one.advice}" for one in fitting), fitting
    assert all(one.line >= 6 or "parentRefs" in field for one in fitting)


def declared(text: str) -> HttpRoute:
    result = read({"all.yaml": joined(GATEWAY, text, BACKEND)})
    assert result.problems == ()
    return result.declared.routes["default/web"]


def test_defaults_are_those_of_the_gateway_api() -> None:
    plain = declared(ROUTE).spec.rules[0]
    assert (plain.matches[0].path.type, plain.matches[0].path.value) == ("PathPrefix", "/")
    assert plain.backend_refs[0].weight == 1
    one = declared(redirect("hostname: a.test")).spec.rules[0].filters[0].request_redirect
    assert one is not None
    assert one.status_code == 302
    policy = declared(cors("")).spec.rules[0].filters[0].cors
    assert policy is not None
    assert (policy.max_age, policy.allow_credentials) == (5, False)
    copies = declared(mirror("fraction: {numerator: 1}")).spec.rules[0].filters[0].request_mirror
    assert copies is not None
    assert copies.share == 0.01


def test_the_whole_request_has_at_least_the_time_of_one_try() -> None:
    def whole_s(fields: str) -> float:
        return declared(rule(f"timeouts: {{{fields}}}")).spec.rules[0].timeouts.whole_s()

    assert whole_s("") == 15
    assert whole_s("backendRequest: 1m") == 60
    assert whole_s("backendRequest: 1s") == 15
    assert whole_s("request: 0s, backendRequest: 1m") == 0


def test_several_listeners_of_one_gateway_may_be_named() -> None:
    gateway = GATEWAY + "    - {name: more, port: 8081, protocol: HTTP}\n"
    parents = "parentRefs: [{name: edge, sectionName: http}, {name: edge, port: 8081}]"
    result = read({"a.yaml": joined(gateway, route(f"    - {{{TO_WEB}}}\n", parents), BACKEND)})
    assert result.problems == ()


def test_a_mirror_that_leads_nowhere_is_reported_and_the_rule_stays() -> None:
    text = filters("type: RequestMirror, requestMirror: {backendRef: {name: wbe}}")
    result = read({"a.yaml": joined(GATEWAY, text, BACKEND)})
    (problem,) = result.problems
    assert problem.field == "spec.rules[0].filters[0]"
    assert problem.message == "there is no Backend default/wbe; nothing is mirrored to it"
    assert problem.advice == 'did you mean "web"?'
    assert result.declared.routes
