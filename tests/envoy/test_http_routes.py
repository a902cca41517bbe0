"""Every feature of HTTPRoute by requests through the real Envoy: one Envoy, one table of cases.

docs/gateway-api.md names the groups (by the host that the requests go to) and the tests.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from controlplane.cli.proxy_tables import rows
from controlplane.inspection.canonical import from_bytes
from controlplane.inspection.dump import read_dump
from controlplane.inspection.normal import same
from controlplane.lab.envoy import Envoy, free_port
from controlplane.translate.types import CLUSTER, LISTENER, ROUTE
from tests.envoy.echo import Answer, Echo, call, echoes
from tests.envoy.edge import backend, to
from tests.envoy.test_translate import gateway, own_envoy, plane, rejected
from tests.unit.translate.scenes import even

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]


def route(host: str, rules: str, name: str = "", parents: str = "[{name: edge}]") -> str:
    hosts = f"[{host}]" if host else "[]"
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name or host.partition('.')[0]}}}\n"
        f"spec:\n  parentRefs: {parents}\n  hostnames: {hosts}\n  rules: {rules}\n"
    )


PATHS = f"""
  - {{matches: [{{path: {{type: Exact, value: /exact}}}}], {to("a")}}}
  - {{matches: [{{path: {{value: /foo}}}}], {to("a")}}}
  - {{matches: [{{path: {{value: /foo/longer/}}}}], {to("b")}}}
  - {{matches: [{{path: {{type: Exact, value: /foo/exact}}}}], {to("c")}}}
  - {{matches: [{{path: {{type: RegularExpression, value: '/v[0-9]+/x'}}}}], {to("b")}}}
  - {{matches: [{{path: {{value: /or/one}}}}, {{path: {{value: /or/two}}}}], {to("b")}}}
"""

MATCHES = f"""
  - {{matches: [{{path: {{value: /h}}, headers: [{{name: X-Who, value: me}}]}}], {to("a")}}}
  - matches:
      - {{path: {{value: /h}}, headers: [{{name: X-Who, value: me}}, {{name: x-two, value: '2'}}]}}
    {to("b")}
  - matches:
      - path: {{value: /h}}
        headers: [{{name: x-v, type: RegularExpression, value: 'v[0-9]+'}}]
    {to("c")}
  - {{matches: [{{path: {{value: /h}}, headers: [{{name: x-dup, value: a}},
      {{name: X-Dup, value: b}}]}}], {to("b")}}}
  - {{matches: [{{path: {{value: /q}}, queryParams: [{{name: q, value: '1'}}]}}], {to("a")}}}
  - matches:
      - {{path: {{value: /q}}, queryParams: [{{name: q, value: '1'}}, {{name: r, value: '2'}}]}}
    {to("b")}
  - matches:
      - path: {{value: /q}}
        queryParams: [{{name: q, type: RegularExpression, value: '[a-z]+'}}]
    {to("c")}
  - {{matches: [{{path: {{value: /m}}, method: POST}}], {to("a")}}}
  - {{matches: [{{path: {{value: /m}}, method: DELETE}}], {to("b")}}}
  - {{matches: [{{path: {{value: /m}}, headers: [{{name: x-a, value: b}}]}}], {to("c")}}}
  - {{name: named, matches: [{{path: {{value: /m}}, queryParams: [{{name: q, value: '1'}}]}}],
     {to("b")}}}
"""

HEADERS = f"""
  - matches: [{{path: {{value: /rule}}}}]
    filters:
      - type: RequestHeaderModifier
        requestHeaderModifier:
          set: [{{name: X-Set, value: new}}, {{name: x-percent, value: '100% of %REQ(host)%'}}]
          add: [{{name: x-add, value: more}}]
          remove: [X-Gone]
      - type: ResponseHeaderModifier
        responseHeaderModifier:
          set: [{{name: X-Set, value: new}}]
          add: [{{name: x-add, value: 'more,yet'}}]
          remove: [X-Gone]
    {to("a")}
  - matches: [{{path: {{value: /ref}}}}]
    filters:
      - type: RequestHeaderModifier
        requestHeaderModifier: {{set: [{{name: x-set, value: rule}}, {{name: x-rule, value: r}}]}}
    backendRefs:
      - name: a
        filters:
          - type: RequestHeaderModifier
            requestHeaderModifier:
              set: [{{name: x-set, value: ref}}]
              add: [{{name: x-add, value: z}}]
              remove: [x-rule]
          - type: ResponseHeaderModifier
            responseHeaderModifier: {{set: [{{name: x-set, value: ref}}], remove: [x-gone]}}
  - matches: [{{path: {{value: /two}}}}]
    filters:
      - type: RequestHeaderModifier
        requestHeaderModifier: {{set: [{{name: x-part, value: rule}}, {{name: x-all, value: r}}]}}
    backendRefs:
      - name: a
        filters: [{{type: RequestHeaderModifier,
          requestHeaderModifier: {{set: [{{name: x-part, value: a}}], remove: [x-all]}}}}]
      - name: b
        filters: [{{type: RequestHeaderModifier,
          requestHeaderModifier: {{set: [{{name: x-part, value: b}}]}}}}]
"""


def redirect(path: str, how: str) -> str:
    return (
        f"  - {{matches: [{{path: {{value: {path}}}}}], "
        f"filters: [{{type: RequestRedirect, requestRedirect: {{{how}}}}}]}}\n"
    )


REDIRECTS = "\n" + "".join(
    redirect(path, how)
    for path, how in (
        ("/host", "hostname: other.test"),
        ("/scheme", "scheme: https"),
        ("/both", "scheme: https, hostname: other.test, statusCode: 301"),
        ("/port", "port: 8443, statusCode: 303"),
        ("/http-80", "hostname: other.test, scheme: http, port: 80"),
        ("/https-8443", "hostname: other.test, scheme: https, port: 8443, statusCode: 307"),
        ("/full", "path: {type: ReplaceFullPath, replaceFullPath: /all/100%25}, statusCode: 308"),
        ("/old", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}"),
        ("/away", "path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}"),
        ("/same", "{}"[1:-1]),
    )
)


def rewrite(path: str, how: str, kind: str = "PathPrefix") -> str:
    return (
        f"  - {{matches: [{{path: {{type: {kind}, value: {path}}}}}], "
        f"filters: [{{type: URLRewrite, urlRewrite: {{{how}}}}}], {to('a')}}}\n"
    )


def prefix(new: str) -> str:
    return f"path: {{type: ReplacePrefixMatch, replacePrefixMatch: '{new}'}}"


REWRITES = "\n" + "".join(
    (
        rewrite("/host", "hostname: other.test"),
        rewrite("/full", "path: {type: ReplaceFullPath, replaceFullPath: '/whole/path%20x'}"),
        rewrite("'/[0-9]+/x'", "path: {type: ReplaceFullPath, replaceFullPath: /n}",
                "RegularExpression"),
        rewrite("/foo", prefix("/xyz")),
        rewrite("/slash/", prefix("/xyz/")),
        rewrite("/empty", prefix("")),
        rewrite("/top", prefix("/")),
        rewrite("/both", "hostname: other.test, " + prefix("/b")),
        f"""
  - matches: [{{path: {{value: /parts}}}}]
    filters: [{{type: URLRewrite, urlRewrite: {{{prefix("/of-rule")}, hostname: rule.test}}}}]
    backendRefs:
      - {{name: a, weight: 1, filters: [{{type: URLRewrite, urlRewrite: {{{prefix("/of-a")}}}}}]}}
      - {{name: b, weight: 1, filters: [{{type: URLRewrite, urlRewrite: {{hostname: b.test}}}}]}}
      - {{name: c, weight: 1, filters: [{{type: URLRewrite, urlRewrite: {{{prefix("")}}}}}]}}
""",
    )
)  # fmt: skip

WHOLE = f"""
  - {{matches: [{{path: {{value: /}}}}], filters: [{{type: URLRewrite,
     urlRewrite: {{{prefix("/below")}}}}}], {to("a")}}}
"""

CORS = f"""
  - matches: [{{path: {{value: /named}}}}]
    filters:
      - type: CORS
        cors:
          allowOrigins: ['https://www.foo.com', 'https://*.bar.com', 'http://dev.foo.com:8080']
          allowMethods: [GET, OPTIONS]
          allowHeaders: [x-one, x-two]
          exposeHeaders: [x-three, x-four]
          allowCredentials: true
          maxAge: 3600
    {to("a")}
  - matches: [{{path: {{value: /all}}}}]
    filters:
      - {{type: CORS, cors: {{allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'],
         exposeHeaders: ['*']}}}}
    {to("a")}
  - matches: [{{path: {{value: /any-host}}}}]
    filters:
      - {{type: CORS, cors: {{allowOrigins: ['https://*'], allowMethods: ['*'],
         allowHeaders: ['*'], allowCredentials: true}}}}
    {to("a")}
  - matches: [{{path: {{value: /put}}, method: PUT}}]
    filters: [{{type: CORS, cors: {{allowOrigins: ['https://www.foo.com'], allowMethods: [PUT]}}}}]
    {to("a")}
  - matches: [{{path: {{value: /ref}}}}]
    backendRefs:
      - {{name: a, filters: [{{type: CORS, cors: {{allowOrigins: ['https://www.foo.com']}}}}]}}
"""

WEIGHTS = f"""
  - {{matches: [{{path: {{value: /split}}}}], {to("a, weight: 9", "b, weight: 1", "c, weight: 0")}}}
  - {{matches: [{{path: {{value: /gone}}}}], {to("gone")}}}
  - {{matches: [{{path: {{value: /no-weight}}}}], {to("a, weight: 0")}}}
  - {{matches: [{{path: {{value: /none}}}}]}}
  - {{matches: [{{path: {{value: /service}}}}], {to("a, kind: Service, port: 80")}}}
  - {{matches: [{{path: {{value: /elsewhere}}}}], {to("a, namespace: other")}}}
  - {{matches: [{{path: {{value: /empty}}}}], {to("empty")}}}
  - {{matches: [{{path: {{value: /half}}}}], {to("a, weight: 3", "gone, weight: 1")}}}
  - {{matches: [{{path: {{value: /thirds}}}}], {to("a", "gone", "b")}}}
  - matches: [{{path: {{value: /moved}}}}]
    backendRefs:
      - {{name: a, weight: 1}}
      - {{name: b, weight: 1, filters: [{{type: RequestRedirect,
         requestRedirect: {{hostname: other.test, port: 80}}}}]}}
"""


def mirrors(*which: str) -> str:
    every = ", ".join(f"{{type: RequestMirror, requestMirror: {{{one}}}}}" for one in which)
    return f"filters: [{every}]"


MIRRORS = f"""
  - matches: [{{path: {{value: /all}}}}]
    {mirrors("backendRef: {name: b}")}
    {to("a")}
  - matches: [{{path: {{value: /two}}}}]
    {mirrors("backendRef: {name: b}", "backendRef: {name: c}")}
    {to("a")}
  - matches: [{{path: {{value: /percent}}}}]
    {mirrors("backendRef: {name: b}, percent: 20")}
    {to("a")}
  - matches: [{{path: {{value: /fraction}}}}]
    {mirrors("backendRef: {name: b}, fraction: {numerator: 1, denominator: 2}")}
    {to("a")}
  - matches: [{{path: {{value: /never}}}}]
    {mirrors("backendRef: {name: b}, percent: 0", "backendRef: {name: gone}")}
    {to("a")}
  - matches: [{{path: {{value: /part}}}}]
    backendRefs:
      - {{name: a, weight: 1, {mirrors("backendRef: {name: b}, percent: 50")}}}
      - {{name: c, weight: 1}}
"""

DELIVERY = f"""
  - {{matches: [{{path: {{value: /request}}}}], timeouts: {{request: 300ms}}, {to("a")}}}
  - {{matches: [{{path: {{value: /backend}}}}], timeouts: {{request: 5s, backendRequest: 300ms}},
     {to("a")}}}
  - {{matches: [{{path: {{value: /no-limit}}}}], timeouts: {{request: 0s, backendRequest: 0s}},
     {to("a")}}}
  - {{matches: [{{path: {{value: /codes}}}}], retry: {{codes: [500, 503], attempts: 2,
     backoff: 10ms}}, {to("a")}}}
  - {{matches: [{{path: {{value: /never}}}}], retry: {{codes: [503], attempts: 0}}, {to("a")}}}
  - {{matches: [{{path: {{value: /slow}}}}], retry: {{attempts: 3, backoff: 10ms}},
     timeouts: {{request: 5s, backendRequest: 200ms}}, {to("a")}}}
  - {{matches: [{{path: {{value: /whole}}}}], retry: {{codes: [503], attempts: 50, backoff: 100ms}},
     timeouts: {{request: 400ms}}, {to("a")}}}
  - {{matches: [{{path: {{value: /backoff}}}}], retry: {{codes: [503], attempts: 2,
     backoff: 400ms}}, {to("a")}}}
  - {{matches: [{{path: {{value: /unreached}}}}], {to("half-dead")}}}
  - {{matches: [{{path: {{value: /often}}}}], retry: {{attempts: 5, backoff: 1ms}},
     {to("half-dead")}}}
"""

SESSIONS = f"""
  - matches: [{{path: {{value: /cookie}}}}]
    sessionPersistence: {{sessionName: stay}}
    {to("pair")}
  - matches: [{{path: {{value: /permanent}}}}]
    sessionPersistence: {{absoluteTimeout: 1h, cookieConfig: {{lifetimeType: Permanent}}}}
    {to("pair")}
  - matches: [{{path: {{value: /header}}}}]
    sessionPersistence: {{type: Header, sessionName: x-stay}}
    {to("pair")}
  - {{matches: [{{path: {{value: /free}}}}], {to("pair")}}}
"""

LONG = "/" + "x" * 1022
ODD = f"""
  - matches: [{{path: {{value: "/~!$&'()*+,;=:@%20"}}}}]
    sessionPersistence: {{}}
    {to("a")}
  - matches: [{{path: {{value: {LONG}}}}}]
    filters:
      - {{type: URLRewrite, urlRewrite: {{{prefix("/")}, hostname: {"a." * 126}x}}}}
    {to("a")}
  - matches: [{{path: {{value: /all}}}}]
    filters:
      - type: RequestHeaderModifier
        requestHeaderModifier:
          set: [{{name: "!#$%&'*+-.^`|~", value: '%%\\"{"y" * 4000}'}}]
          add: [{{name: set-cookie, value: a}}, {{name: content-type, value: a/b}}]
          remove: [authorization, content-length, te]
      - type: ResponseHeaderModifier
        responseHeaderModifier: {{set: [{{name: date, value: '%RESPONSE_CODE%'}}]}}
      - {{type: CORS, cors: {{allowOrigins: ['https://*.{"x" * 48}.example.com:65535'],
         maxAge: 2147483647}}}}
    backendRefs:
      - {{name: a, weight: 1000000}}
      - {{name: a, weight: 999999, filters: [{{type: RequestHeaderModifier,
         requestHeaderModifier: {{set: [{{name: x-a, value: b}}]}}}}]}}
      - {{name: gone, weight: 1}}
    retry: {{codes: [{", ".join(str(code) for code in range(400, 600))}], attempts: 100,
      backoff: 1h}}
    timeouts: {{request: 99999h99999h99999h99999h, backendRequest: 99999h}}
  - matches: [{{path: {{value: /}}}}]
    filters:
      - {{type: RequestRedirect, requestRedirect: {{{prefix("/")}, port: 65535, scheme: http}}}}
"""


@dataclass(frozen=True)
class Scene:
    port: int
    second: int
    """The port of the Gateway's other listeners."""
    envoy: Envoy
    origins: Mapping[str, Echo]
    sent: Mapping[str, Mapping[str, bytes]]


def every_document(port: int, second: int, ports: Mapping[str, int]) -> list[str]:
    """What is declared: a Gateway on two ports, every group of routes, Backends at these ports."""
    listeners = (
        f"name: http, port: {port}",
        f"name: wild, port: {second}, hostname: '*.wild.test'",
        f"name: one, port: {second}, hostname: one.wild.test",
        f"name: rest, port: {second}",
    )
    every = f"[{{{to('a')}}}]"
    return [
        gateway(*listeners),
        route("paths.test", PATHS),
        route("matches.test", MATCHES),
        route("headers.test", HEADERS),
        route("redirects.test", REDIRECTS),
        route("rewrites.test", REWRITES),
        route("whole.test", WHOLE),
        route("cors.test", CORS),
        route("weights.test", WEIGHTS),
        route("mirrors.test", MIRRORS),
        route("delivery.test", DELIVERY),
        route("sessions.test", SESSIONS),
        route("odd.test", ODD),
        # hosts: the more exact one first, and routes of one host in order
        route("'*.test'", f"[{{{to('c')}}}]", "hosts-any"),
        route("'*.hosts.test'", f"[{{{to('b')}}}]", "hosts-wild"),
        route("a.hosts.test", f"[{{matches: [{{path: {{value: /a}}}}], {to('a')}}}]", "hosts-a"),
        route("same.test", every, "same-z").replace("same-z}", "same-z, creationTimestamp: '1'}"),
        route("same.test", f"[{{{to('b')}}}]", "same-b").replace(
            "same-b}", "same-b, creationTimestamp: '2'}"
        ),
        route("name.test", f"[{{{to('b')}}}]", "name-b"),
        route("name.test", f"[{{{to('a')}}}]", "name-a"),
        # listeners of the second port, by name and by port
        route("", f"[{{{to('a')}}}]", "by-name", "[{name: edge, sectionName: one}]"),
        route(
            "one.wild.test, two.wild.test, not.here.test",
            f"[{{{to('b')}}}]",
            "by-port",
            f"[{{name: edge, port: {second}}}]",
        ),
        route("'*.wild.test'", f"[{{{to('c')}}}]", "wild", "[{name: edge, sectionName: wild}]"),
        *(backend(name, ports[name]) for name in "abc"),
        backend("pair", ports["p1"], ports["p2"]),
        backend("half-dead", ports["a"], 1),
        backend("empty"),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    port, second = free_port(), free_port()
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(echoes("a", "b", "c", "p1", "p2"))
        documents = every_document(port, second, {name: one.port for name, one in found.items()})
        folder = tmp_path_factory.mktemp("routes")
        made = await stack.enter_async_context(plane(*documents))
        assert len(made.found.routes) == len([one for one in documents if "HTTPRoute" in one])
        envoy = await stack.enter_async_context(own_envoy(made, folder))
        sent = made.translator.snapshots(made.found, made.services, even(made.services))[0]
        yield Scene(port, second, envoy, found, sent.resources)


@dataclass(frozen=True)
class Case:
    """A request, and what must come of it. Values that are None: must not be there."""

    host: str
    path: str
    origin: str = ""
    """The origin that answers; empty: none is asked."""
    status: int = 200
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: Mapping[str, str | None] = field(default_factory=dict)
    """Headers that the origin receives, and `path`."""
    got: Mapping[str, str | None] = field(default_factory=dict)
    """Headers of the answer."""
    second: bool = False


def _location(host: str, path: str, status: int, location: str) -> Case:
    return Case(host, path, status=status, got={"location": location})


def _rewritten(path: str, new: str, host: str = "rewrites.test") -> Case:
    return Case(host, path, "a", sent={"path": new})


def _asked(
    path: str,
    origin: str,
    method: str = "PUT",
    wanted: str = "",
    *,
    got: Mapping[str, str | None],
) -> Case:
    """A preflight: what a browser asks before it sends the request."""
    headers = {"origin": origin, "access-control-request-method": method}
    if wanted:
        headers["access-control-request-headers"] = wanted
    return Case("cors.test", path, method="OPTIONS", headers=headers, got=got)


ALLOWED = "access-control-allow-"
NO_BODY = {"content-length": "0"}
CASES = [
    # path
    Case("paths.test", "/exact", "a"),
    Case("paths.test", "/exact?q=1", "a"),
    Case("paths.test", "/exact/", "c"),
    Case("paths.test", "/exactly", "c"),
    Case("paths.test", "/Exact", "c"),
    Case("paths.test", "/foo", "a"),
    Case("paths.test", "/foo/", "a"),
    Case("paths.test", "/foo/bar?x=y", "a"),
    Case("paths.test", "/foobar", "c"),
    Case("paths.test", "/foo/longer", "b"),
    Case("paths.test", "/foo/longer/x", "b"),
    Case("paths.test", "/foo/longerx", "a"),
    Case("paths.test", "/foo/exact", "c"),
    Case("paths.test", "/v12/x", "b"),
    Case("paths.test", "/v12/xx", "c"),
    Case("paths.test", "/or/one", "b"),
    Case("paths.test", "/or/two", "b"),
    # headers, query parameters, method, and which counts more
    Case("matches.test", "/h", "a", headers={"x-who": "me"}),
    Case("matches.test", "/h", "c", headers={"x-who": "you"}),
    Case("matches.test", "/h", "b", headers={"x-who": "me", "X-TWO": "2"}),
    Case("matches.test", "/h", "c", headers={"x-v": "v12"}),
    Case("matches.test", "/h", "b", headers={"x-dup": "a"}),
    Case("matches.test", "/q?q=1", "a"),
    Case("matches.test", "/q?r=2&q=1", "b"),
    Case("matches.test", "/q?q=abc", "c"),
    Case("matches.test", "/q?q=1&q=2", "a"),
    Case("matches.test", "/m", "a", method="POST", headers=NO_BODY),
    Case("matches.test", "/m", "b", method="DELETE"),
    Case("matches.test", "/m", "a", method="POST", headers={"x-a": "b", **NO_BODY}),
    Case("matches.test", "/m?q=1", "c", headers={"x-a": "b"}),
    Case("matches.test", "/m?q=1", "b"),
    # hosts
    Case("a.hosts.test", "/a", "a"),
    Case("a.hosts.test", "/b", "b"),
    Case("A.Hosts.test:1234", "/a", "a"),
    Case("x.y.hosts.test", "/", "b"),
    Case("hosts.test", "/", "c"),
    Case("test", "/", status=404),
    Case("nobody.example", "/", status=404),
    Case("same.test", "/", "a"),
    Case("name.test", "/", "a"),
    Case("one.wild.test", "/", "b", second=True),  # named in the route goes before not named
    Case("two.wild.test", "/", "b", second=True),
    Case("three.wild.test", "/", "c", second=True),
    Case("wild.test", "/", "c", second=True),
    Case("not.here.test", "/", "b", second=True),
    Case("one.hosts.test", "/", "b", second=True),
    # headers that are changed
    Case("headers.test", "/rule", "a",
         headers={"x-set": "old", "x-add": "old", "x-gone": "old", "x-kept": "k"},
         sent={"x-set": "new", "x-add": "old,more", "x-gone": None, "x-kept": "k",
               "x-percent": "100% of %REQ(host)%", "host": "headers.test"},
         got={"x-set": "new", "x-add": "origin,more,yet", "x-gone": None}),
    Case("headers.test", "/rule", "a", sent={"x-set": "new", "x-add": "more"}),
    Case("headers.test", "/ref", "a", headers={"x-add": "y"},
         sent={"x-set": "ref", "x-rule": None, "x-add": "y,z"},
         got={"x-set": "ref", "x-gone": None}),
    # redirects
    _location("redirects.test", "/host/x?q=1", 302, "http://other.test:PORT/host/x?q=1"),
    _location("redirects.test", "/scheme/x", 302, "https://redirects.test:443/scheme/x"),
    _location("redirects.test:PORT", "/scheme/x", 302, "https://redirects.test:443/scheme/x"),
    _location("redirects.test", "/both", 301, "https://other.test/both"),
    _location("redirects.test:99", "/port", 303, "http://redirects.test:8443/port"),
    _location("redirects.test", "/http-80", 302, "http://other.test/http-80"),
    _location("redirects.test", "/https-8443", 307, "https://other.test:8443/https-8443"),
    _location("redirects.test", "/full/x?q=1", 308,
              "http://redirects.test:PORT/all/100%25?q=1"),
    _location("redirects.test", "/old", 302, "http://redirects.test:PORT/new"),
    _location("redirects.test", "/old/x?q=1", 302, "http://redirects.test:PORT/new/x?q=1"),
    _location("redirects.test", "/away", 302, "http://redirects.test:PORT/"),
    _location("redirects.test", "/away/x", 302, "http://redirects.test:PORT/x"),
    _location("redirects.test:PORT", "/same", 302, "http://redirects.test:PORT/same"),
    # rewrites
    Case("rewrites.test", "/host/x", "a", sent={"path": "/host/x", "host": "other.test"}),
    _rewritten("/full/x?q=1", "/whole/path%20x?q=1"),
    _rewritten("/12/x", "/n"),
    _rewritten("/foo", "/xyz"),
    _rewritten("/foo/", "/xyz/"),
    _rewritten("/foo/bar?q=/foo", "/xyz/bar?q=/foo"),
    _rewritten("/slash/bar", "/xyz/bar"),
    _rewritten("/slash", "/xyz"),
    _rewritten("/empty/bar", "/bar"),
    _rewritten("/empty/", "/"),
    _rewritten("/empty", "/"),
    _rewritten("/empty?q=1", "/?q=1"),
    _rewritten("/top/", "/"),
    _rewritten("/top", "/"),
    _rewritten("/top/a/b", "/a/b"),
    _rewritten("/x/y?q=1", "/below/x/y?q=1", "whole.test"),
    _rewritten("/", "/below/", "whole.test"),
    Case("rewrites.test", "/both/x", "a", sent={"path": "/b/x", "host": "other.test"}),
    Case("rewrites.test", "/foobar", "c", sent={"path": "/foobar"}),
    # CORS
    _asked("/named", "https://www.foo.com", "GET", "x-one",
         got={f"{ALLOWED}origin": "https://www.foo.com", f"{ALLOWED}methods": "GET, OPTIONS",
              f"{ALLOWED}headers": "x-one, x-two", f"{ALLOWED}credentials": "true",
              "access-control-max-age": "3600"}),
    _asked("/named", "https://x.y.bar.com",
         got={f"{ALLOWED}origin": "https://x.y.bar.com"}),
    _asked("/named", "http://dev.foo.com:8080",
         got={f"{ALLOWED}origin": "http://dev.foo.com:8080"}),
    _asked("/named", "https://bar.com", got={f"{ALLOWED}origin": None}),
    _asked("/named", "http://x.bar.com", got={f"{ALLOWED}origin": None}),
    _asked("/named", "https://xbar.com", got={f"{ALLOWED}origin": None}),
    Case("cors.test", "/named", "a", headers={"origin": "https://www.foo.com"},
         got={f"{ALLOWED}origin": "https://www.foo.com", f"{ALLOWED}credentials": "true",
              "access-control-expose-headers": "x-three, x-four"}),
    Case("cors.test", "/named", "a", headers={"origin": "https://evil.com"},
         got={f"{ALLOWED}origin": None, f"{ALLOWED}credentials": None}),
    _asked("/all", "https://x.com:12345", "PUT", "x-any",
         got={f"{ALLOWED}origin": "https://x.com:12345", f"{ALLOWED}methods": "PUT",
              f"{ALLOWED}headers": "x-any", f"{ALLOWED}credentials": None,
              "access-control-max-age": "5"}),
    Case("cors.test", "/all", "a", method="PUT", headers={"origin": "https://x.com", **NO_BODY},
         got={f"{ALLOWED}origin": "https://x.com", "access-control-expose-headers": "*"}),
    _asked("/any-host", "https://x.com", "PATCH", "x-any",
         got={f"{ALLOWED}origin": "https://x.com", f"{ALLOWED}methods": "PATCH",
              f"{ALLOWED}headers": "x-any", f"{ALLOWED}credentials": "true"}),
    _asked("/any-host", "http://x.com", got={f"{ALLOWED}origin": None}),
    _asked("/put", "https://www.foo.com", "PUT",
         got={f"{ALLOWED}origin": "https://www.foo.com", f"{ALLOWED}methods": "PUT"}),
    Case("cors.test", "/put", "a", method="PUT",
         headers={"origin": "https://www.foo.com", **NO_BODY},
         got={f"{ALLOWED}origin": "https://www.foo.com"}),
    _asked("/ref", "https://www.foo.com",
         got={f"{ALLOWED}origin": "https://www.foo.com"}),
    Case("paths.test", "/foo", "a", headers={"origin": "https://x.com"},
         got={f"{ALLOWED}origin": None}),
    # what leads nowhere
    Case("weights.test", "/gone", status=500),
    Case("weights.test", "/no-weight", status=500),
    Case("weights.test", "/none", status=500),
    Case("weights.test", "/service", status=500),
    Case("weights.test", "/elsewhere", status=500),
    Case("weights.test", "/empty", status=503),
    # the most that may be written
    Case("odd.test", "/~!$&'()*+,;=:@%20/x", "a", sent={"path": "/~!$&'()*+,;=:@%20/x"}),
    Case("odd.test", f"{LONG}/y", "a", sent={"path": "/y", "host": "a." * 126 + "x"}),
    Case("odd.test", "/all", "a",
         headers={"authorization": "x"}, got={"date": "%RESPONSE_CODE%"},
         sent={"!#$%&'*+-.^`|~": '%%\\"' + "y" * 4000, "authorization": None}),
    Case("odd.test", "/x", status=302, got={"location": "http://odd.test:65535/x"}),
    # time limits and retries
    Case("delivery.test", "/request", status=504, headers={"x-want-delay": "2"}),
    Case("delivery.test", "/request", "a", headers={"x-want-delay": "0.05"}),
    Case("delivery.test", "/backend", status=504, headers={"x-want-delay": "2"}),
    Case("delivery.test", "/no-limit", "a", headers={"x-want-delay": "0.6"}),
    Case("delivery.test", "/codes", "a",
         headers={"x-want-status": "503", "x-want-times": "2", "x-request-key": "codes"}),
    Case("delivery.test", "/codes", "a", status=503,
         headers={"x-want-status": "503", "x-want-times": "3", "x-request-key": "codes-3"}),
    Case("delivery.test", "/codes", "a", status=502,
         headers={"x-want-status": "502", "x-want-times": "1", "x-request-key": "codes-502"}),
    Case("delivery.test", "/never", "a", status=503,
         headers={"x-want-status": "503", "x-want-times": "1", "x-request-key": "never"}),
    Case("delivery.test", "/whole", status=504,
         headers={"x-want-status": "503", "x-request-key": "whole"}),
]  # fmt: skip


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.method} {case.host}{case.path[:40]}"
)
async def test_a_request_meets_what_its_route_says(scene: Scene, case: Case) -> None:
    port = scene.second if case.second else scene.port
    answer = await call(
        port,
        case.path,
        host=case.host.replace("PORT", str(port)),
        method=case.method,
        headers=case.headers,
    )
    assert answer.status == case.status, answer
    assert answer.headers.get("x-origin", "") == case.origin, answer
    for name, value in case.got.items():
        wanted = value.replace("PORT", str(port)) if value else value
        assert answer.headers.get(name) == wanted, (name, answer)
    if case.sent:
        received = {"path": answer.sent.path, **answer.sent.headers}
        assert {name: received.get(name) for name in case.sent} == case.sent


async def _times(scene: Scene, host: str, path: str, times: int) -> Counter[tuple[int, str]]:
    answers = [await call(scene.port, path, host=host) for _ in range(times)]
    return Counter((one.status, one.headers.get("x-origin", "")) for one in answers)


async def test_weights_share_the_requests_and_zero_gets_none(scene: Scene) -> None:
    split = await _times(scene, "weights.test", "/split", 400)
    assert set(split) == {(200, "a"), (200, "b")}
    assert 0.84 <= split[200, "a"] / 400 <= 0.96


async def test_a_reference_that_leads_nowhere_is_500_for_its_share(scene: Scene) -> None:
    half = await _times(scene, "weights.test", "/half", 400)
    assert set(half) == {(200, "a"), (500, "")}
    assert 0.15 <= half[500, ""] / 400 <= 0.35
    thirds = await _times(scene, "weights.test", "/thirds", 400)
    assert set(thirds) == {(200, "a"), (500, ""), (200, "b")}
    assert all(0.23 <= count / 400 <= 0.44 for count in thirds.values()), thirds


async def test_a_part_may_be_a_redirect(scene: Scene) -> None:
    moved = await _times(scene, "weights.test", "/moved", 100)
    assert set(moved) == {(200, "a"), (302, "")}
    assert 30 <= moved[302, ""] <= 70


async def test_filters_of_a_part_are_for_that_part_alone(scene: Scene) -> None:
    answers = [await call(scene.port, "/two", host="headers.test") for _ in range(40)]
    seen = {
        (one.headers["x-origin"], one.sent.headers["x-part"], one.sent.headers.get("x-all"))
        for one in answers
    }
    assert seen == {("a", "a", None), ("b", "b", "r")}
    answers = [await call(scene.port, "/parts/x", host="rewrites.test") for _ in range(60)]
    paths = {(one.headers["x-origin"], one.sent.path, one.sent.headers["host"]) for one in answers}
    assert paths == {
        ("a", "/of-a/x", "rule.test"),
        ("b", "/of-rule/x", "b.test"),
        ("c", "/x", "rule.test"),
    }


async def _mirrored(scene: Scene, path: str, times: int) -> tuple[Counter[str], Counter[str]]:
    """Who answered, and who received a copy or a request."""
    for origin in scene.origins.values():
        origin.received.clear()
    answers = await _times(scene, "mirrors.test", path, times)
    await asyncio.sleep(0.3)  # copies are not waited for
    seen = Counter({name: len(one.received) for name, one in scene.origins.items()})
    return Counter({name: n for (_, name), n in answers.items()}), +seen


async def test_mirrors_get_copies_and_their_answers_are_ignored(scene: Scene) -> None:
    assert await _mirrored(scene, "/all", 20) == ({"a": 20}, {"a": 20, "b": 20})
    assert scene.origins["b"].received[0].headers["host"] == "mirrors.test"
    assert await _mirrored(scene, "/two", 20) == ({"a": 20}, {"a": 20, "b": 20, "c": 20})
    assert await _mirrored(scene, "/never", 20) == ({"a": 20}, {"a": 20})


async def test_mirrors_get_a_part_where_one_is_said(scene: Scene) -> None:
    _, seen = await _mirrored(scene, "/percent", 300)
    assert 0.12 <= seen["b"] / 300 <= 0.28
    _, seen = await _mirrored(scene, "/fraction", 300)
    assert 0.4 <= seen["b"] / 300 <= 0.6
    answers, seen = await _mirrored(scene, "/part", 300)
    assert set(answers) == {"a", "c"}
    assert 0.35 <= seen["b"] / answers["a"] <= 0.65  # of the part's requests, of no others


async def test_a_try_that_took_too_long_is_tried_again(scene: Scene) -> None:
    headers = {"x-want-delay": "1", "x-request-key": "slow"}
    scene.origins["a"].received.clear()
    assert (await call(scene.port, "/slow", host="delivery.test", headers=headers)).status == 504
    assert len(scene.origins["a"].received) == 4


async def test_between_tries_is_a_wait_that_can_be_said(scene: Scene) -> None:
    loop = asyncio.get_running_loop()
    spans_s = []
    for key in range(4):  # the wait is by chance, up to the base, then up to thrice
        headers = {"x-want-status": "503", "x-request-key": f"backoff-{key}"}
        begin_s = loop.time()
        answer = await call(scene.port, "/backoff", host="delivery.test", headers=headers)
        assert answer.status == 503
        spans_s.append(loop.time() - begin_s)
        assert scene.origins["a"].times[f"backoff-{key}"] == 3
    assert max(spans_s) > 0.2


async def test_what_never_reached_an_endpoint_is_tried_at_another(scene: Scene) -> None:
    assert await _times(scene, "delivery.test", "/unreached", 20) == {(200, "a"): 20}
    assert await _times(scene, "delivery.test", "/often", 20) == {(200, "a"): 20}


def _cookie(answer: Answer) -> tuple[str, str]:
    """The pair, and what is said of it."""
    pair, _, more = answer.headers["set-cookie"].partition(";")
    return pair, more


@pytest.mark.parametrize(("path", "lasting"), [("/cookie", False), ("/permanent", True)])
async def test_a_cookie_leads_back_to_the_same_endpoint(
    scene: Scene, path: str, lasting: bool
) -> None:
    first = await call(scene.port, path, host="sessions.test")
    pair, more = _cookie(first)
    assert pair.startswith("stay=" if path == "/cookie" else "weir-default-sessions-1=")
    assert ("Max-Age=3600" in more) == lasting, more
    assert f"Path={path}" in more
    for _ in range(15):
        again = await call(scene.port, path, host="sessions.test", headers={"cookie": pair})
        assert again.headers["x-origin"] == first.headers["x-origin"]


async def test_a_header_leads_back_to_the_same_endpoint(scene: Scene) -> None:
    first = await call(scene.port, "/header", host="sessions.test")
    for _ in range(15):
        headers = {"x-stay": first.headers["x-stay"]}
        again = await call(scene.port, "/header", host="sessions.test", headers=headers)
        assert again.headers["x-origin"] == first.headers["x-origin"]


async def test_without_a_session_both_endpoints_are_used(scene: Scene) -> None:
    free = await _times(scene, "sessions.test", "/free", 20)
    assert set(free) == {(200, "p1"), (200, "p2")}


async def test_websockets_go_through(scene: Scene) -> None:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        writer.write(
            b"GET /foo HTTP/1.1\r\nhost: paths.test\r\nconnection: upgrade\r\n"
            b"upgrade: websocket\r\n\r\n"
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        writer.close()


async def test_envoy_took_everything(scene: Scene) -> None:
    assert await rejected(scene.envoy) == {}
    running = read_dump(json.loads(await scene.envoy.get("/config_dump"))).types
    for kind, url in (("lds", LISTENER), ("rds", ROUTE), ("cds", CLUSTER)):
        its = {one.name: one.body for one in running[kind]}
        for name, body in scene.sent[url].items():
            found = its[name]
            assert found is not None
            assert same(kind, from_bytes(url, body), found), name


async def test_shares_are_shown_as_they_are(scene: Scene) -> None:
    running = read_dump(json.loads(await scene.envoy.get("/config_dump"))).types
    shown = [row for one in running["rds"] for row in rows("rds", one)]
    half = {row[2:] for row in shown if row[1] == "weights.test" and "/half/* up" in row[2]}
    assert half == {("/half/* up to 75 %", "default/a")}
