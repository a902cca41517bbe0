"""Every feature of GRPCRoute by calls of a real gRPC client through the real Envoy: one Envoy, one
table of cases. docs/gateway-api.md names the groups (by host) and the tests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio

from controlplane.lab.envoy import free_port
from tests.certificates import Authority
from tests.envoy.calls import Callee, call, callees, channel
from tests.envoy.echo import Echo, echoes
from tests.envoy.echo import call as ask
from tests.envoy.edge import Edge, backend, edge, gateway, policy, route, secret, to, until
from tests.envoy.test_backend_tls import backend_tls
from tests.envoy.test_tls import config_map

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

OK, UNKNOWN, UNIMPLEMENTED = (
    grpc.StatusCode.OK,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNIMPLEMENTED,
)


def grpc_route(name: str, rules: str, host: str = "", age: str = "") -> str:
    dated = f", {age}" if age else ""
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\n"
        f"metadata: {{name: {name}{dated}}}\nspec:\n  parentRefs: [{{name: edge}}]\n"
        f"  hostnames: [{host or f'{name}.test'}]\n  rules: {rules}\n"
    )


def _at(day: int) -> str:
    return f"creationTimestamp: '2024-01-0{day}T00:00:00Z'"


def method(service: str = "", name: str = "", kind: str = "Exact") -> str:
    parts = {"type": kind, "service": service, "method": name}
    return "{method: {" + ", ".join(f"{k}: '{v}'" for k, v in parts.items() if v) + "}}"


METHODS = f"""
  - {{{to("d")}}}
  - {{matches: [{method("shop.v1.Carts")}], {to("a")}}}
  - {{matches: [{method("shop.v1.Carts", "Add")}], {to("b")}}}
  - {{matches: [{method(name="Add")}], {to("c")}}}
  - {{matches: [{method("x[.]v[0-9]+", kind="RegularExpression")}], {to("b")}}}
  - {{matches: [{method("y[.].*", "Get|List", "RegularExpression")}], {to("c")}}}
"""
HEADERS = f"""
  - {{matches: [{{headers: [{{name: x-one, value: '1'}}]}}], {to("a")}}}
  - matches: [{{headers: [{{name: X-One, value: '1'}}, {{name: x-two, value: '2'}}]}}]
    {to("b")}
  - matches: [{{headers: [{{name: x-one, type: RegularExpression, value: '[0-9]+'}}]}}]
    name: numbers
    {to("c")}
"""
FILTERS = """
  - filters:
      - type: RequestHeaderModifier
        requestHeaderModifier: {set: [{name: x-set, value: rule}], remove: [x-gone]}
      - type: ResponseHeaderModifier
        responseHeaderModifier: {add: [{name: x-more, value: rule}], remove: [x-gone]}
      - type: RequestMirror
        requestMirror: {backendRef: {name: b}}
    backendRefs:
      - name: a
        filters: [{type: RequestHeaderModifier,
          requestHeaderModifier: {set: [{name: x-part, value: a}]}}]
"""
WEIGHTS = """
  - backendRefs: [{name: a, weight: 9}, {name: b, weight: 1}, {name: c, weight: 0}]
"""
NOWHERE = f"""
  - {{matches: [{method("gone.S")}], {to("nobody")}}}
  - {{matches: [{method("none.S")}]}}
  - {{matches: [{method("half.S")}], {to("a", "nobody")}}}
  - {{matches: [{method("shop.S")}], {to("a")}}}
"""
SESSIONS = """
  - backendRefs: [{name: both}]
    sessionPersistence: {type: Header, sessionName: x-stay}
"""
FAULTS = (
    "there is no Backend default/nobody; its part of the requests is answered 503",
    "there are no backendRefs; what matches is answered 503",
    "listener http of Gateway default/edge has HTTPRoute default/old already for one.old.test",
    "listener https of Gateway default/edge has HTTPRoute default/old already for one.old.test",
    "listener http of Gateway default/edge has GRPCRoute default/first already for young.test",
    "listener https of Gateway default/edge has GRPCRoute default/first already for young.test",
)
LIMITED = f"[{{name: limited, {to('a')}}}]"


@dataclass
class Scene:
    made: Edge
    port: int
    tls: int
    ca: bytes
    servers: Mapping[str, Callee]
    web: Echo


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    port, tls, ca = free_port(), free_port(), Authority()
    one = ca.issue(dns=["methods.test"])
    async with callees("a", "b", "c", "d") as servers, echoes("web") as web:
        ports = {name: callee.port for name, callee in servers.items()}
        every = f"[{{{to('web')}}}]"
        documents = [
            gateway(
                f"name: http, port: {port}, protocol: HTTP",
                f"name: https, port: {tls}, protocol: HTTPS, "
                "tls: {certificateRefs: [{name: methods}]}",
            ),
            secret("methods", {"tls.crt": one.certificate, "tls.key": one.key}),
            *(backend(name, each) for name, each in ports.items()),
            backend("both", ports["a"], ports["b"]),
            backend("web", web["web"].port),
            backend("h2c", ports["c"]).replace(
                "spec: {", "spec: {appProtocols: [kubernetes.io/h2c], "
            ),
            grpc_route("methods", METHODS),
            grpc_route("headers", HEADERS),
            grpc_route("filters", FILTERS),
            grpc_route("weights", WEIGHTS),
            grpc_route("sessions", SESSIONS),
            grpc_route("limited", LIMITED),
            policy(
                "TrafficPolicy",
                "small",
                "GRPCRoute/limited/limited",
                "  requestBuffer: {limit: 20000}\n",
            ),
            route("methods", every, hosts="[web.test]"),
            route("h2c", f"[{{{to('h2c')}}}]", hosts="[h2c.test]"),
            grpc_route("nowhere", NOWHERE),
            route("old", every, hosts="['*.old.test']").replace("old}", f"old, {_at(1)}}}"),
            grpc_route("late", f"[{{{to('a')}}}]", "one.old.test", _at(2)),
            grpc_route("first", f"[{{{to('d')}}}]", "young.test", _at(1)),
            route("young", every, hosts="[young.test]").replace("young}", f"young, {_at(2)}}}", 1),
        ]
        folder: Path = tmp_path_factory.mktemp("grpc")
        async with edge(folder, *documents, faults=FAULTS) as made:
            await until(lambda: _serves(port, "methods.test"))
            yield Scene(made, port, tls, ca.pem, servers, web["web"])


async def _serves(port: int, host: str) -> bool:
    async with channel(port, host) as via:
        return (await call(via, "/any.S/M")).code == OK


@dataclass(frozen=True)
class Case:
    host: str
    method: str
    origin: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    code: grpc.StatusCode = OK


CASES = [
    Case("methods.test", "/shop.v1.Carts/Add", "b"),
    Case("methods.test", "/shop.v1.Carts/Get", "a"),
    Case("methods.test", "/shop.v1.Others/Add", "c"),
    Case("methods.test", "/shop.v1.Carts2/Get", "d"),
    Case("methods.test", "/shop.v1.carts/Get", "d"),
    Case("methods.test", "/x.v12/Any", "b"),
    Case("methods.test", "/x.v12x/Any", "d"),
    Case("methods.test", "/y.z/List", "c"),
    Case("methods.test", "/y.z/Listed", "d"),
    Case("headers.test", "/a.S/M", "a", {"x-one": "1"}),
    Case("headers.test", "/a.S/M", "b", {"x-one": "1", "x-two": "2"}),
    Case("headers.test", "/a.S/M", "c", {"x-one": "12"}),
    Case("headers.test", "/a.S/M", "", {"x-one": "one"}, UNIMPLEMENTED),
    Case("strange.test", "/a.S/M", "", code=UNIMPLEMENTED),
]


@pytest.mark.parametrize("case", CASES, ids=lambda one: f"{one.host}{one.method}")
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_a_call_meets_what_its_route_says(scene: Scene, case: Case, secure: bool) -> None:
    if secure and case.host != "methods.test":
        case = Case("methods.test", "/shop.v1.Carts/Get", "a")  # the certificate is for this host
    port = scene.tls if secure else scene.port
    async with channel(port, case.host, scene.ca if secure else None) as via:
        reply = await call(via, case.method, case.metadata)
    assert (reply.code, reply.origin) == (case.code, case.origin)


async def test_filters_change_metadata_and_mirror(scene: Scene) -> None:
    scene.servers["b"].received.clear()
    async with channel(scene.port, "filters.test") as via:
        reply = await call(via, "/a.S/M", {"x-set": "mine", "x-gone": "mine"})
    assert reply.origin == "a"
    assert (reply.sent["x-set"], reply.sent["x-part"], "x-gone" in reply.sent) == (
        "rule",
        "a",
        False,
    )
    assert (reply.metadata["x-more"], "x-gone" in reply.metadata) == ("rule", False)
    await until(lambda: _received(scene.servers["b"], ["/a.S/M"]))


async def _received(one: Callee, methods: list[str]) -> bool:
    return one.received == methods


async def _replies(scene: Scene, host: str, method: str, times: int) -> Counter[str]:
    async with channel(scene.port, host) as via:
        replies = [await call(via, method) for _ in range(times)]
    return Counter(one.origin or one.code.name for one in replies)


async def test_a_policy_may_be_for_a_rule(scene: Scene) -> None:
    async with channel(scene.port, "limited.test") as via:
        assert (await call(via, "/a.S/M", message=b"x" * 1_000)).origin == "a"
        assert (await call(via, "/a.S/M", message=b"x" * 100_000)).code == UNKNOWN  # a 413


async def test_weights_share_the_calls(scene: Scene) -> None:
    found = await _replies(scene, "weights.test", "/a.S/M", 300)
    assert set(found) == {"a", "b"}
    assert 0.82 <= found["a"] / 300 <= 0.97


async def test_a_header_leads_back_to_the_same_server(scene: Scene) -> None:
    async with channel(scene.port, "sessions.test") as via:
        first = await call(via, "/a.S/M")
        stay = {"x-stay": first.metadata["x-stay"]}
        again = {(await call(via, "/a.S/M", stay)).origin for _ in range(12)}
        free = {(await call(via, "/a.S/M")).origin for _ in range(12)}
    assert (again, free) == ({first.origin}, {"a", "b"})


async def test_both_sides_of_a_stream_may_speak_by_turns(scene: Scene) -> None:
    async with channel(scene.port, "methods.test") as via:
        stream = via.stream_stream("/shop.v1.Carts/Watch", None, None)(None, timeout=20)
        for word in (b"one", b"two", b"three"):
            await stream.write(word)
            read = await stream.read()
            assert isinstance(read, bytes)
            assert json.loads(read)["message"] == word.decode()
        await stream.done_writing()
        assert await stream.code() == OK


async def test_a_backend_that_says_h2c_is_spoken_to_in_http_2(scene: Scene) -> None:
    async with channel(scene.port, "h2c.test") as via:  # by an HTTPRoute
        assert (await call(via, "/a.S/M")).origin == "c"
    got = await ask(scene.port, "/x", host="web.test")  # and others in HTTP/1.1 as before
    assert got.headers["x-origin"] == "web"
    async with httpx.AsyncClient(http1=False, http2=True, trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{scene.port}/y", headers={"host": "web.test"})
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)


async def test_what_leads_nowhere_is_unavailable_for_its_share(scene: Scene) -> None:
    refused = "UNAVAILABLE"
    assert await _replies(scene, "nowhere.test", "/gone.S/M", 2) == {refused: 2}
    assert await _replies(scene, "nowhere.test", "/none.S/M", 2) == {refused: 2}
    half = await _replies(scene, "nowhere.test", "/half.S/M", 100)
    assert set(half) == {"a", refused}
    assert 25 <= half["a"] <= 75


async def test_of_an_http_route_and_a_grpc_route_for_one_host_the_older_is_in_force(
    scene: Scene,
) -> None:
    old = await ask(scene.port, "/x", host="one.old.test")
    assert old.headers["x-origin"] == "web"  # and the GRPCRoute of the same host does nothing
    async with channel(scene.port, "young.test") as via:
        assert (await call(via, "/a.S/M")).origin == "d"


async def test_a_backend_with_tls_is_called_in_http_2_over_tls(tmp_path: Path) -> None:
    port, ca = free_port(), Authority("origins")
    trusted = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ours}], hostname: good.test"
    async with callees("sealed", own=ca.issue(dns=["good.test"])) as servers:
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            backend("sealed", servers["sealed"].port),
            config_map("ours", ca.pem),
            backend_tls("sealed", trusted),
            grpc_route("sealed", f"[{{{to('sealed')}}}]"),
        ]
        async with edge(tmp_path, *documents):
            await until(lambda: _serves(port, "sealed.test"))
