"""Calls of gRPC as browsers make them (gRPC-Web), by the real Envoy to a real server of gRPC."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from controlplane.lab.envoy import free_port
from tests.envoy.calls import callees
from tests.envoy.edge import Edge, backend, edge, gateway, policy, to, until
from tests.envoy.identities import Issuer
from tests.envoy.test_access import inline
from tests.envoy.test_grpc_routes import grpc_route, method

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

ALICE = Issuer("https://alice.test")
PAGE = "https://shop.test"
BINARY, TEXT = "application/grpc-web+proto", "application/grpc-web-text"
RULES = f"[{{matches: [{method('shop.v1.Carts')}], {to('carts')}}}]"
CORS = (
    f"  cors:\n    allowOrigins: ['{PAGE}']\n    allowMethods: [POST]\n"
    "    allowHeaders: [content-type, x-grpc-web, authorization]\n"
    "    exposeHeaders: [grpc-status, grpc-message]\n"
)
USER = ", claimToHeaders: [{header: x-user, claim: sub}]"
FILTERS = (
    "filters: [{type: RequestHeaderModifier, "
    "requestHeaderModifier: {set: [{name: x-set, value: rule}]}}]"
)
TRAILERS = 0x80
"""The first byte of a frame that holds trailers."""


def frame(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


def frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The first byte and the content of each."""
    while body:
        kind, length = struct.unpack(">BI", body[:5])
        yield kind, body[5 : 5 + length]
        body = body[5 + length :]


@dataclass(frozen=True)
class Called:
    """What a browser reads of an answer."""

    answer: httpx.Response
    messages: list[dict[str, Any]]
    trailers: Mapping[str, str]

    @property
    def status(self) -> str:
        """Of gRPC: in trailers, or in headers where there was no message."""
        return self.trailers.get("grpc-status") or self.answer.headers["grpc-status"]


async def from_browser(
    port: int,
    *messages: bytes,
    host: str = "web.test",
    path: str = "/shop.v1.Carts/Add",
    kind: str = BINARY,
    **headers: str,
) -> Called:
    """A call over HTTP/1.1, from a page."""
    body = b"".join(map(frame, messages))
    if kind == TEXT:
        body = base64.b64encode(body)
    sent = {"host": host, "content-type": kind, "accept": kind, "x-grpc-web": "1", "origin": PAGE}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        url = f"http://127.0.0.1:{port}{path}"
        got = await client.post(url, content=body, headers=sent | headers)
    assert got.http_version == "HTTP/1.1"
    return _read(got, kind)


@dataclass
class Scene:
    made: Edge
    port: int

    async def call(self, *messages: bytes, **how: str) -> Called:
        """A call through the Envoy."""
        return await from_browser(self.port, *messages, **how)


def _read(got: httpx.Response, kind: str) -> Called:
    content = got.content
    if kind == TEXT:  # pieces, each in base64 of its own
        content = b"".join(base64.b64decode(one + b"=") for one in content.split(b"=") if one)
    found = list(frames(content))
    said = [json.loads(part) for first, part in found if first != TRAILERS]
    lines = [part.decode() for first, part in found if first == TRAILERS]
    pairs = (line.partition(":")[::2] for one in lines for line in one.split("\r\n") if line)
    return Called(got, said, {name: value.strip() for name, value in pairs})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    port = free_port()
    async with callees("carts") as servers:
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            backend("carts", servers["carts"].port),
            grpc_route("web", RULES),
            grpc_route("guarded", RULES.replace("matches", f"{FILTERS}, matches")),
            policy("SecurityPolicy", "web", "GRPCRoute/web", CORS),
            policy(
                "SecurityPolicy",
                "guarded",
                "GRPCRoute/guarded",
                f"{CORS}  jwt: {{providers: [{inline(ALICE, USER)}]}}\n",
            ),
            policy(
                "TrafficPolicy",
                "guarded",
                "GRPCRoute/guarded",
                "  requestBuffer: {limit: 20000}\n",
            ),
        ]
        async with edge(tmp_path_factory.mktemp("web"), *documents) as made:
            one = Scene(made, port)
            await until(lambda: _serves(one))
            yield one


async def _serves(scene: Scene) -> bool:
    return (await scene.call(b"x")).answer.status_code == 200


@pytest.mark.parametrize("kind", [BINARY, TEXT])
async def test_a_browser_calls_a_server_of_grpc(scene: Scene, kind: str) -> None:
    got = await scene.call(b"one", b"two", kind=kind)
    assert got.status == "0"
    assert [one["message"] for one in got.messages] == ["one", "two"]
    assert {one["method"] for one in got.messages} == {"/shop.v1.Carts/Add"}
    assert got.answer.headers["content-type"].startswith(kind)
    assert got.answer.headers["access-control-allow-origin"] == PAGE
    assert got.answer.headers["access-control-expose-headers"] == "grpc-status, grpc-message"


async def test_a_browser_may_ask_beforehand_and_other_pages_may_not_call(scene: Scene) -> None:
    for origin, allowed in ((PAGE, PAGE), ("https://evil.test", None)):
        async with httpx.AsyncClient(trust_env=False) as client:
            got = await client.options(
                f"http://127.0.0.1:{scene.port}/shop.v1.Carts/Add",
                headers={
                    "host": "guarded.test",  # a question needs no token
                    "origin": origin,
                    "access-control-request-method": "POST",
                    "access-control-request-headers": "content-type,x-grpc-web",
                },
            )
        assert got.headers.get("access-control-allow-origin") == allowed


async def test_what_is_refused_has_a_status_of_grpc(scene: Scene) -> None:
    refused = await scene.call(b"x", host="guarded.test")
    assert refused.status == "16"  # UNAUTHENTICATED
    let_in = await scene.call(b"x", host="guarded.test", **ALICE.bearer())
    assert (let_in.status, len(let_in.messages)) == ("0", 1)


async def test_methods_that_a_browser_makes_up_are_not_counted(scene: Scene) -> None:
    for at in range(3):
        assert (await scene.call(b"x", path=f"/shop.v1.Carts/M{at}")).status == "0"
    assert await scene.made.envoy.stats("grpc-web") == {}
    assert (await scene.call(b"x", path="/other.Service/M")).answer.status_code == 404


async def test_policies_of_the_rule_hold_for_browsers(scene: Scene) -> None:
    got = await scene.call(b"x" * 30_000, host="guarded.test", **ALICE.bearer())
    assert got.status == "2"  # a 413
    claims = {"sub": "ann"}
    got = await scene.call(b"x", host="guarded.test", **ALICE.bearer(**claims))
    (said,) = got.messages
    assert said["metadata"]["x-user"] == "ann"
    assert said["metadata"]["x-set"] == "rule"
