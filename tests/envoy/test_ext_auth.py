"""`extAuth` of a SecurityPolicy through the real Envoy, with services by HTTP and by gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption
from envoy_data_plane.envoy.service.auth.v3 import (
    CheckRequest,
    CheckResponse,
    DeniedHttpResponse,
    OkHttpResponse,
)
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.rpc import Status

from controlplane.lab.envoy import free_port
from tests.envoy.echo import Answer, call, echoes
from tests.envoy.edge import backend, edge, gateway, policy, route, to, until
from tests.envoy.grpc_service import serving

pytestmark = pytest.mark.envoy


@dataclass
class Doorman:
    """Lets in by gRPC who says `please`, and tells the Backend who that is."""

    port: int = 0
    seen: list[tuple[str, str]] = field(default_factory=list)

    async def check(self, asked: bytes, _: object) -> bytes:
        """Whether a request may pass."""
        attributes = CheckRequest.parse(asked).attributes
        assert attributes is not None
        assert attributes.request is not None
        request = attributes.request.http
        assert request is not None
        self.seen.append((request.path, request.body))
        if request.headers.get("x-word") != "please":
            denied = DeniedHttpResponse(HttpStatus(StatusCode.TooManyRequests), body="say please")
            return bytes(CheckResponse(status=Status(code=7), denied_response=denied))
        told = HeaderValueOption(header=HeaderValue(key="x-user", value="ann"))
        return bytes(CheckResponse(status=Status(), ok_response=OkHttpResponse(headers=[told])))


@asynccontextmanager
async def doorman() -> AsyncIterator[Doorman]:
    """Run one."""
    made = Doorman()
    check = grpc.unary_unary_rpc_method_handler(made.check)
    async with serving({"envoy.service.auth.v3.Authorization/Check": check}) as made.port:
        yield made


def asking(name: str, spec: str) -> list[str]:
    """The host `name`.test, whose requests are shown to a service first."""
    return [
        route(name, f"[{{{to('origin')}}}]", hosts=f"[{name}.test]"),
        policy("SecurityPolicy", name, f"HTTPRoute/{name}", f"  extAuth: {{{spec}}}\n"),
    ]


async def test_a_service_says_who_may(tmp_path: Path) -> None:
    async with echoes("origin", "door") as running, doorman() as door:
        port, nobody = free_port(), free_port()
        told = "[x-set, X-User, x-seen, authorization]"
        http = f"http: {{backendRefs: [{{name: door}}], path: /check, headersToBackend: {told}}}"
        usual = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            *(backend(name, one.port) for name, one in running.items()),
            backend("grpc-door", door.port),
            backend("gone", nobody),
            route("free", f"[{{{to('origin')}}}]", hosts="[free.test]"),
        ]
        documents = [
            *usual,
            *asking("http", f"{http}, headersToExtAuth: [x-want-status, x-seen]"),
            *asking("grpc", "grpc: {backendRefs: [{name: grpc-door}]}, "
                            "bodyToExtAuth: {maxRequestBytes: 10}"),
            route("again", f"[{{{to('gone')}}}, {{matches: [{{headers: [{{name: x-user, "
                           f"value: ann}}]}}], {to('origin')}}}]", hosts="[again.test]"),
            policy("SecurityPolicy", "again", "HTTPRoute/again", "  extAuth: {grpc: "
                   "{backendRefs: [{name: grpc-door}]}, recomputeRoute: true}\n"),
            *asking("shut", "http: {backendRefs: [{name: gone}]}"),
            *asking("told", "grpc: {backendRefs: [{name: gone}]}, statusOnError: 503"),
            *asking("open", "grpc: {backendRefs: [{name: gone}]}, failOpen: true"),
        ]  # fmt: skip

        async def get(host: str, path: str = "/", **options: Any) -> Answer:  # noqa: ANN401
            return await call(port, path, host=f"{host}.test", **options)

        async with edge(tmp_path, *usual) as made:
            await until(lambda: _is(port, "free", 200))
            # Services and policies come together, while requests go through.
            await made.apply(*documents)
            await until(lambda: _is(port, "grpc", 429))

            got = await get("http", "/a?b", headers={"x-set": "client", "x-other": "1"})
            assert (got.status, got.sent.headers["x-set"]) == (200, "origin")
            asked = running["door"].received[-1]
            assert (asked.path, "x-other" in asked.headers) == ("/check/a?b", False)
            # What the service says nothing of, and is not shown, no client says in its place.
            said = {"x-user": "root", "x-seen": "1", "authorization": "Bearer x"}
            got = await get("http", headers=said)
            assert said.keys() & got.sent.headers.keys() == {"x-seen", "authorization"}
            assert (await get("http", headers={"x-want-status": "418"})).status == 418

            got = await get("grpc", "/a", headers={"x-word": "please", "x-user": "root"})
            assert (got.status, got.sent.headers["x-user"]) == (200, "ann")
            got = await get("grpc", headers={"x-word": "no"})
            assert (got.status, got.body) == (429, "say please")
            async with made.client() as client:
                url, headers = (
                    f"http://127.0.0.1:{port}/b",
                    {"host": "grpc.test", "x-word": "please"},
                )
                for body, status in ((b"short", 200), (b"much too long", 413)):
                    sent = await client.post(url, headers=headers, content=body)
                    assert sent.status_code == status
            assert [one for one in door.seen if one[0] == "/b"] == [("/b", "short")]

            got = await get("again", headers={"x-word": "please"})
            assert (got.status, got.sent.headers["x-user"]) == (200, "ann")

            # A service that is not there.
            assert (await get("shut")).status == 403
            assert (await get("told")).status == 503
            assert (await get("open")).status == 200


async def _is(port: int, host: str, status: int) -> bool:
    return (await call(port, host=f"{host}.test")).status == status
