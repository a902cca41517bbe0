"""`weir x explain-route` beside the real Envoy: both say which route takes a request.

The explainer works on documents, Envoy on what Weir translates them to. Envoy tells the name of
the route that it chose in a header that the test adds to every route table.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio
from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration

from controlplane.explain import Explanation, Request, explain_route
from controlplane.inspection.patching import patched
from controlplane.lab.envoy import free_port
from controlplane.model import Snapshot
from controlplane.resources import Declared
from controlplane.translate import TranslateOptions
from controlplane.translate.types import ROUTE
from controlplane.translate.wire import wire
from tests.certificates import Authority
from tests.envoy.echo import Answer, call, echoes
from tests.envoy.edge import backend, edge, secret, to, trusting
from tests.envoy.edge import gateway as edge_gateway
from tests.envoy.test_http_routes import CASES, Case, every_document, route
from tests.envoy.test_https import https
from tests.envoy.test_translate import own_envoy, plane
from tests.unit.translate.scenes import even

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

NAME = "x-route-name"
RANDOM_REQUESTS = 400


@dataclass(frozen=True)
class Scene:
    port: int
    second: int
    declared: Declared


def telling(snapshot: Snapshot) -> Snapshot:
    """The same; every answer tells its route. Messages one after another are one."""
    header = wire(HeaderValueOption, header=wire(HeaderValue, key=NAME, value="%ROUTE_NAME%"))
    more = wire(RouteConfiguration, response_headers_to_add=[header])
    tables = {name: body + more for name, body in snapshot.resources.get(ROUTE, {}).items()}
    return replace(snapshot, resources={**snapshot.resources, ROUTE: tables})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    port, second = free_port(), free_port()
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(echoes("a", "b", "c", "p1", "p2"))
        documents = every_document(port, second, {name: one.port for name, one in found.items()})
        made = await stack.enter_async_context(plane(*documents))
        for snapshot in made.translator.snapshots(made.found, made.services, even(made.services)):
            made.cache.publish(telling(snapshot))
        await stack.enter_async_context(own_envoy(made, tmp_path_factory.mktemp("explain")))
        yield Scene(port, second, made.found)


def explained(scene: Scene, case: Case) -> Explanation:
    port = scene.second if case.second else scene.port
    headers = [f"{name}: {value}" for name, value in case.headers.items()]
    host = case.host.replace("PORT", str(port))
    request = Request.of(
        case.method, f"http://x.test:{port}{case.path}", [*headers, f"host: {host}"]
    )
    (one,) = explain_route(scene.declared, request)
    return one


async def asked(scene: Scene, case: Case) -> Answer:
    port = scene.second if case.second else scene.port
    host = case.host.replace("PORT", str(port))
    return await call(port, case.path, host=host, method=case.method, headers=case.headers)


def agree(one: Explanation, answer: Answer) -> None:
    chosen = one.chosen.name if one.chosen else None
    if one.request.asks_beforehand and not one.fates:
        chosen = None  # answered before any route's headers are added
    assert chosen == answer.headers.get(NAME), (str(one.request), one.said, one.why, answer)
    if one.status is not None:
        assert answer.status == one.status, (one.said, answer)


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.method} {case.host}{case.path[:40]}"
)
async def test_both_choose_the_same_route(scene: Scene, case: Case) -> None:
    agree(explained(scene, case), await asked(scene, case))


def odd(path: str, **more: object) -> Case:
    return replace(Case("paths.test", path), **more)  # type: ignore[arg-type]


ODD = [
    odd("//exact"),
    odd("/./exact"),
    odd("/foo/../exact"),
    odd("/foo/.."),
    odd("/foo/longer/."),
    odd("/foo//longer//x"),
    odd("/foo/%2e%2e/exact"),
    odd("/foo%2flonger"),
    odd("/foo%5Clonger"),
    odd("/%65xact"),
    odd("/foo/{x}%7E%20/"),
    odd("/foo//.."),
    odd("/foo\\\\longer"),
    odd("//"),
    odd("/foo/%zz"),
    odd("/exact?a=/foo"),
    odd("/v1/x?"),
    odd("/foo", headers={"under_score": "x"}),
    odd("/", method="OPTIONS"),
    Case("matches.test", "/h", headers={"x-v": "v\u0661"}),
    Case("matches.test", "/q?q"),
    Case("matches.test", "/q?q=%31"),
    Case("matches.test", "/q?r=2&q=1&q=abc"),
    Case("matches.test", "/q?Q=1"),
    Case("PATHS.TEST:80", "/exact"),
    Case("paths.test.", "/exact"),
    Case("cors.test", "/put", method="OPTIONS", headers={
        "origin": "https://evil.test", "access-control-request-method": "GET"}),
    Case("cors.test", "/put", method="OPTIONS", headers={"access-control-request-method": "PUT"}),
    Case("cors.test", "/put", method="OPTIONS"),
]  # fmt: skip


@pytest.mark.parametrize("case", ODD, ids=lambda case: f"{case.method} {case.host}{case.path}")
async def test_both_choose_the_same_route_for_what_is_odd(scene: Scene, case: Case) -> None:
    agree(explained(scene, case), await asked(scene, case))


HOSTS = ["paths.test", "matches.test", "same.test", "name.test", "a.hosts.test", "b.hosts.test",
         "x.a.hosts.test", "one.wild.test", "two.wild.test", "x.one.wild.test", "wild.test",
         "not.here.test", "other.example", "headers.test"]  # fmt: skip
PARTS = ["", "/exact", "/foo", "/longer", "/v12", "/x", "/h", "/q", "/m", "/rule", "/a", "/or/one"]
QUERIES = ["", "?q=1", "?q=abc", "?r=2&q=1", "?q=1&r=3", "?q=2"]
HEADERS = [("x-who", "me"), ("x-two", "2"), ("x-v", "v12"), ("x-dup", "a"), ("x-a", "b")]


def any_case(chance: random.Random) -> Case:
    headers = dict(chance.sample(HEADERS, chance.randrange(4)))
    method = chance.choice(["GET", "GET", "POST", "DELETE", "OPTIONS"])
    path = "".join(chance.choices(PARTS, k=chance.randint(1, 3))) or "/"
    return Case(
        chance.choice(HOSTS),
        path + chance.choice(QUERIES),
        method=method,
        headers={**headers, "content-length": "0"},
        second=chance.random() < 0.4,
    )


async def test_both_choose_the_same_route_for_whatever_comes(scene: Scene) -> None:
    chance = random.Random(11)
    chosen = set()
    for _ in range(RANDOM_REQUESTS):
        case = any_case(chance)
        one = explained(scene, case)
        agree(one, await asked(scene, case))
        chosen.add(one.chosen.name if one.chosen else None)
    assert len(chosen) >= 15  # they are not all taken by the same few


LEFT, WILD, REST = "a.test", "*.b.test", ""
"""Hosts of three listeners of one port."""
NAMES = ("a.test", "x.b.test", "y.x.b.test", "b.test", "c.test")


def patch_of(tables: list[str]) -> str:
    rows = "".join(
        "    - type: type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n"
        f"      name: {name}\n      value:\n        response_headers_to_add:\n"
        f"          - {{header: {{key: {NAME}, value: '%ROUTE_NAME%'}}}}\n"
        for name in tables
    )
    return (
        "apiVersion: weir.dev/v1alpha1\nkind: EnvoyPatch\nmetadata: {name: names}\n"
        f"spec:\n  targetRef: {{name: edge}}\n  mergePatches:\n{rows}"
    )


async def test_with_tls_the_connection_says_which_listener_is_meant(tmp_path: Path) -> None:
    port, ca = free_port(), Authority()
    leaf = ca.issue(dns=NAMES)
    hosts = {"a": LEFT, "wild": WILD, "rest": REST}
    async with echoes("a") as found:
        listeners = [https(name, port, "cert", host) for name, host in hosts.items()]
        documents = (
            edge_gateway(*listeners),
            secret("cert", {"tls.crt": leaf.certificate, "tls.key": leaf.key}),
            route("", f"[{{{to('a')}}}]", "every"),
            route("a.test, x.b.test", f"[{{{to('a')}}}]", "some"),
            route("'*.b.test'", f"[{{{to('a')}}}]", "wild", "[{name: edge, sectionName: wild}]"),
            backend("a", found["a"].port),
            patch_of([f"default/edge/https-{port}/{name}" for name in hosts]),
        )
        options = TranslateOptions(patcher=patched)
        async with edge(tmp_path, *documents, options=options) as made:
            assert made.translator.patch_faults == {}
            chosen = set()
            for name, host in itertools.product(NAMES, NAMES):
                url = f"https://{name}:{port}/"
                request = Request.of("GET", url, [f"host: {host}"])
                (one,) = explain_route(made.found, request)
                async with made.client(verify=trusting(ca.pem)) as client:
                    answer = await client.get(
                        f"https://127.0.0.1:{port}/",
                        headers={"host": host},
                        extensions={"sni_hostname": name},
                    )
                wanted = one.chosen.name if one.chosen else None
                assert (one.status or 200) == answer.status_code, (name, host, one.said)
                if one.status != 421:
                    assert wanted == answer.headers.get(NAME), (name, host, one.said)
                chosen.add((one.listener.name if one.listener else None, wanted))
            assert len(chosen) >= 6
