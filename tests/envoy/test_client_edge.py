"""What a ClientPolicy does to every request and answer, through the real Envoy, with
examples/09-edge-functions/client.yaml."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from controlplane.lab.envoy import free_port
from tests.envoy.collector import Collector, attributes, collecting
from tests.envoy.echo import Echo, call, echoes
from tests.envoy.edge import backend, edge, gateway, route, to, until

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "09-edge-functions" / "client.yaml"
World = tuple[int, Echo, Collector]
RULES = f"[{{matches: [{{path: {{value: /a}}}}], {to('a')}}}]"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    port = free_port()
    text, written = EXAMPLE.read_text(), "port: 4317"
    assert written in text
    async with echoes("a") as running, collecting() as collector:
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            backend("a", running["a"].port),
            route("a", RULES),
            text.replace(written, f"port: {collector.port}"),
        ]
        async with edge(tmp_path_factory.mktemp("edge"), *documents):
            yield port, running["a"], collector


async def test_headers_of_every_request_and_answer(world: World) -> None:
    answer = await call(world[0], "/a", headers={"x-debug": "1", "x-edge": "forged"})
    assert answer.status == 200
    assert answer.sent.headers["x-edge"] == "eu-1"
    assert "x-debug" not in answer.sent.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "mark", "status"),
    [
        ("POST", {"early-data": "1"}, 425),
        ("DELETE", {"early-data": "1"}, 425),
        ("GET", {"early-data": "1"}, 200),
        ("POST", {}, 200),
    ],
)
async def test_what_may_be_replayed_is_refused(
    world: World, method: str, mark: dict[str, str], status: int
) -> None:
    before = len(world[1].received)
    assert (await call(world[0], "/a", method=method, headers=mark)).status == status
    assert len(world[1].received) - before == (status == 200)


async def test_envoys_own_answers_are_as_the_client_likes(world: World) -> None:
    json_wanted = await call(world[0], "/none", headers={"accept": "application/json"})
    assert json_wanted.status == 404
    assert json_wanted.headers["content-type"] == "application/json"
    said = json.loads(json_wanted.body)
    assert said["status"] == 404
    assert len(said["request"]) == 36
    page = await call(world[0], "/none", headers={"accept": "text/html"})
    assert (page.status, page.headers["content-type"]) == (404, "text/html")
    assert page.body == "<h1>There is nothing here</h1>"
    assert "x-content-type-options" not in page.headers
    other = await call(world[0], "/a", method="POST", headers={"early-data": "1"})
    assert (other.status, other.body) == (425, "too early: send it again once TLS is agreed\n")


async def test_answers_of_backends_stay_as_they_are(world: World) -> None:
    headers = {"x-want-status": "404", "accept": "application/json"}
    answer = await call(world[0], "/a", headers=headers)
    assert (answer.status, answer.sent.path) == (404, "/a")


async def test_the_collector_is_told_why_envoy_answered(world: World) -> None:
    await call(world[0], "/lost")
    wanted = {"code": "404", "path": "/lost", "why": "route_not_found"}

    async def came() -> bool:
        return wanted in [attributes(one.attributes) for one in world[2].records()]

    await until(came)
