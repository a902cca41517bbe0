"""examples/08-payload-routing through the real Envoy: a Backend by the fields of JSON, or by an
expression; answers that Envoy gives; and that policies are in force."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from controlplane.lab.envoy import free_port
from tests.envoy.echo import Echo, echoes
from tests.envoy.edge import Edge, backend, edge, policy, route, until
from tests.unit.resources.test_cel import TAKEN

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "08-payload-routing" / "edge.yaml"
ONLY = "filters: [{type: ExtensionRef, extensionRef: {name: cel-0}}]"
NOTHING = "filters: [{type: ExtensionRef, extensionRef: {name: nothing}}]"


@dataclass
class Scene:
    client: httpx.AsyncClient
    url: str
    origins: Mapping[str, Echo]
    made: Edge

    async def post(self, body: bytes | Any, kind: str = "application/json") -> httpx.Response:  # noqa: ANN401
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(
            f"{self.url}/orders", content=content, headers={"content-type": kind}
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    port = free_port()
    async with echoes("gold", "express", "orders") as origins:
        cel = [text for at, one in enumerate(TAKEN) for text in _by_cel(at, one)]
        text = EXAMPLE.read_text().replace("8080", str(port))
        for written, name in (("9001", "gold"), ("9002", "express"), ("9003", "orders")):
            text = text.replace(f"port: {written}}}", f"port: {origins[name].port}}}")
        cors = policy(
            "SecurityPolicy",
            "pages",
            "HTTPRoute/orders/orders",
            "  cors: {allowOrigins: ['https://shop.test']}\n",
        )
        more = [
            route("broken", f"[{{{NOTHING}}}]", hosts="[broken.test]"),
            route("half", f"[{{backendRefs: [{{name: other, {NOTHING}}}]}}]", hosts="[half.test]"),
            backend("other", origins["orders"].port),
            route("only", f"[{{backendRefs: [{{name: other, {ONLY}}}]}}]", hosts="[only.test]"),
            route(
                "both",
                f"[{{backendRefs: [{{name: gold, {ONLY}}}, {{name: orders}}]}}]",
                hosts="[both.test]",
            ),
            policy(
                "TrafficPolicy",
                "both",
                "HTTPRoute/both",
                "  classes: [{name: near, match: {clientCIDRs: [127.0.0.1/32]}}]\n",
            ),
        ]
        folder = tmp_path_factory.mktemp("payload")
        faults = ("there is no HTTPRouteFilter default/nothing; what it is for is answered 500",)
        async with (
            edge(folder, text, cors, *more, *cel, faults=faults) as made,
            made.client() as client,
        ):
            one = Scene(client, f"http://127.0.0.1:{port}", origins, made)
            await until(lambda: _serves(one))
            yield one


def _by_cel(at: int, expression: str) -> tuple[str, str]:
    """A route whose requests go to `gold` where the expression is true, and its filter."""
    quoted = expression.replace("'", "''")
    made = (
        f"apiVersion: weir.dev/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {{name: cel-{at}}}\n"
        f"spec:\n  cel:\n    expression: '{quoted}'\n"
    )
    refers = f"filters: [{{type: ExtensionRef, extensionRef: {{name: cel-{at}}}}}]"
    parts = f"backendRefs: [{{name: gold, {refers}}}, {{name: orders}}]"
    rules = f"[{{matches: [{{path: {{value: /cel/{at}}}}}], {parts}}}]"
    return made, route(f"cel-{at}", rules, hosts="[cel.test]")


async def _serves(scene: Scene) -> bool:
    return (await scene.post({})).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "origin"),
    [
        ({"customer": {"tier": "gold"}}, "application/json", "gold"),
        ({"customer": {"tier": "platinum"}}, "application/json; charset=utf-8", "gold"),
        ({"customer": {"tier": "gold"}}, "application/vnd.shop+json", "gold"),
        ({"customer": {"tier": "golden"}}, "application/json", "orders"),
        ({"customer": "gold"}, "application/json", "orders"),
        ({"tier": "gold"}, "application/json", "orders"),
        ({"express": True, "version": 2}, "application/json", "express"),
        ({"express": True, "version": 3}, "application/json", "orders"),
        ({"express": "true", "version": 2}, "application/json", "orders"),
        ({"customer": {"tier": "gold"}, "express": True, "version": 2}, "application/json", "gold"),
        ({"customer": {"tier": "gold"}}, "text/plain", "orders"),
        ([1, 2], "application/json", "orders"),
        (b"{", "application/json", "orders"),
        (b"", "application/json", "orders"),
    ],
)
async def test_the_fields_of_a_payload_choose_the_backend(
    scene: Scene, body: object, kind: str, origin: str
) -> None:
    got = await scene.post(body, kind)
    assert (got.status_code, got.json()["origin"]) == (200, origin)


async def test_a_body_is_read_up_to_its_limit(scene: Scene) -> None:
    padding = {"customer": {"tier": "gold"}, "padding": "x" * 50_000}
    assert (await scene.post(padding)).json()["origin"] == "gold"
    assert (await scene.post({**padding, "more": "x" * 20_000})).status_code == 413


async def test_the_policies_of_the_rule_are_in_force_whatever_is_chosen(scene: Scene) -> None:
    for body, origin in (({"customer": {"tier": "gold"}}, "gold"), ({}, "orders")):
        got = await scene.client.post(
            f"{scene.url}/orders", json=body, headers={"origin": "https://shop.test"}
        )
        assert got.json()["origin"] == origin
        assert got.headers["access-control-allow-origin"] == "https://shop.test"


async def test_the_expression_of_the_example_chooses(scene: Scene) -> None:
    found = []
    for path, days in (("/", "7"), ("/", "90"), ("/latest", "90"), ("/", "many")):
        url = f"{scene.url}/reports{path}"
        found.append((await scene.client.get(url, headers={"x-days": days})).json()["origin"])
    assert found == ["express", "orders", "express", "orders"]


async def test_an_expression_chooses_the_backend_within_a_class(scene: Scene) -> None:
    name = "route.default/both/near.upstream_rq_completed"
    before = sum((await scene.made.envoy.stats(name)).values())
    for tier, origin in (("gold", "gold"), ("bronze", "orders")):
        got = await scene.client.get(f"{scene.url}/", headers={"host": "both.test", "x-tier": tier})
        assert got.json()["origin"] == origin
    assert sum((await scene.made.envoy.stats(name)).values()) == before + 2


async def test_what_fits_no_backend_is_500(scene: Scene) -> None:
    for tier, status in (("gold", 200), ("bronze", 500)):
        got = await scene.client.get(f"{scene.url}/", headers={"host": "only.test", "x-tier": tier})
        assert got.status_code == status


async def test_envoy_answers_itself(scene: Scene) -> None:
    got = await scene.client.get(f"{scene.url}/legacy/x")
    assert (got.status_code, got.headers["content-type"]) == (410, "application/json")
    assert got.json() == {"error": "moved to /orders"}


async def test_a_filter_that_refers_to_nothing_is_500(scene: Scene) -> None:
    for host in ("broken.test", "half.test"):
        got = await scene.client.get(f"{scene.url}/", headers={"host": host})
        assert got.status_code == 500


@pytest.mark.parametrize(("at", "expression"), list(enumerate(TAKEN)))
async def test_an_expression_chooses_the_backend(scene: Scene, at: int, expression: str) -> None:
    got = await scene.client.get(
        f"{scene.url}/cel/{at}?q=1", headers={"host": "cel.test", "x-tier": "gold", "x-age": "18"}
    )
    assert got.json()["origin"] == ("gold" if TAKEN[expression] else "orders")
