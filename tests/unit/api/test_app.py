from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import httpx
import pytest

from controlplane.api.app import create_app, create_probes
from controlplane.errors import WeirError


class ScriptedConsole:
    """A console with one service."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None]] = []
        self.is_ready = True

    def about(self) -> dict[str, Any]:
        return {"version": "1.2.3", "settings": {}}

    def ready(self) -> tuple[bool, str]:
        return self.is_ready, "ready" if self.is_ready else "no complete state yet"

    def services(self) -> list[dict[str, Any]]:
        return [{"service": "default/cart"}]

    async def explain(self, service: str, *, attributed: bool = False) -> dict[str, Any] | None:
        more: dict[str, Any] = {"attributions": {}} if attributed else {}
        return {"service": service, **more} if service == "default/cart" else None

    async def proxies(self) -> list[dict[str, Any]]:
        return [{"node": "a"}, {"node": "b"}]

    async def proxy(self, node: str) -> dict[str, Any] | None:
        return {"node": node} if node in ("a", "team/b", "b/intended") else None

    async def resources(
        self, node: str, side: Literal["intended", "acked"], only: str | None
    ) -> dict[str, Any] | None:
        if node == "large":
            raise WeirError("more than 1 byte of resources; ask for one type")
        return {"node": node, "side": side, "type": only} if await self.proxy(node) else None

    def problems(self) -> list[dict[str, Any]]:
        return []

    def replica(self) -> dict[str, Any] | None:
        return None

    async def status(self) -> list[dict[str, Any]]:
        return [{"kind": "Gateway", "name": "default/edge", "conditions": []}]

    def explain_route(
        self, method: str, url: str, headers: Sequence[str], gateway: str | None
    ) -> list[dict[str, Any]]:
        if not url:
            raise WeirError("'' is no URL")
        return [{"method": method, "url": url, "headers": list(headers), "gateway": gateway}]

    def freeze(self, service: str | None, reason: str, by: str) -> None:
        if service == "default/broken":
            raise WeirError("the state folder is read-only")
        self.calls.append(("freeze", service))

    def resume(self, service: str | None) -> tuple[str, ...]:
        self.calls.append(("resume", service))
        return ("default/web",)


@pytest.fixture
def console() -> ScriptedConsole:
    return ScriptedConsole()


@pytest.fixture
def client(console: ScriptedConsole) -> httpx.AsyncClient:
    async def metrics() -> bytes:
        return b"things_total 3.0\n"

    app = create_app(console, metrics, ["admin.test"])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin.test")


async def test_readiness_says_why_not(client: httpx.AsyncClient, console: ScriptedConsole) -> None:
    assert (await client.get("/readyz")).status_code == 200
    console.is_ready = False
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "no complete state yet\n")
    assert (await client.get("/healthz")).status_code == 200


async def test_the_probe_address_shows_health_and_metrics_and_nothing_else(
    console: ScriptedConsole,
) -> None:
    async def metrics() -> bytes:
        return b"things_total 3.0\n"

    transport = httpx.ASGITransport(create_probes(console, metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://10.1.2.3:9") as client:
        for page in ("/healthz", "/readyz", "/metrics"):
            assert (await client.get(page)).status_code == 200
        for page in ("/v1/services", "/v1/proxies", "/v1/status", "/openapi.json"):
            assert (await client.get(page)).status_code == 404
        assert (await client.post("/v1/freeze", json={})).status_code == 404
        assert (await client.post("/metrics", json={})).status_code == 405
    assert console.calls == []


async def test_it_says_which_weir_it_is(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/about")).json()["version"] == "1.2.3"


async def test_metrics_are_in_the_exposition_format(client: httpx.AsyncClient) -> None:
    assert "things_total 3.0" in (await client.get("/metrics")).text


async def test_an_unknown_service_is_answered_with_the_known_ones(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/v1/services/default/card/explain")
    assert answer.status_code == 404
    assert "default/cart" in answer.json()["detail"]


async def test_attributions_are_worked_out_for_who_asks(client: httpx.AsyncClient) -> None:
    path = "/v1/services/default/cart/explain"
    assert "attributions" not in (await client.get(path)).json()
    assert "attributions" in (await client.get(f"{path}?attributions=true")).json()


async def test_lists_are_bounded(client: httpx.AsyncClient) -> None:
    assert len((await client.get("/v1/proxies?limit=1")).json()) == 1
    assert (await client.get("/v1/proxies?limit=1000000")).status_code == 422


async def test_one_envoy_is_told_of_by_its_id_whatever_that_holds(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/v1/proxies/a")).json() == {"node": "a"}
    assert (await client.get("/v1/proxies/team%2Fb")).json() == {"node": "team/b"}
    found = (await client.get("/v1/proxies/team%2Fb/intended?type=eds")).json()
    assert found == {"node": "team/b", "side": "intended", "type": "eds"}
    found = (await client.get("/v1/proxies/a/acked")).json()
    assert found == {"node": "a", "side": "acked", "type": None}


async def test_an_envoy_that_is_not_connected_is_answered_with_those_that_are(
    client: httpx.AsyncClient,
) -> None:
    for path in ("c", "c/intended", "c/acked"):
        answer = await client.get(f"/v1/proxies/{path}")
        assert answer.status_code == 404
        assert "no Envoy 'c' is connected; connected are: a, b" in answer.json()["detail"]
    answer = await client.get("/v1/proxies/large/intended")
    assert (answer.status_code, "ask for one type" in answer.text) == (413, True)


async def test_the_switch_takes_one_service_or_all(
    client: httpx.AsyncClient, console: ScriptedConsole
) -> None:
    await client.post("/v1/freeze", json={"service": "default/cart", "reason": "look"})
    answer = await client.post("/v1/resume", json={})
    assert answer.json() == {"resumed": "all", "still_frozen": ["default/web"]}
    assert console.calls == [("freeze", "default/cart"), ("resume", None)]


async def test_a_switch_that_cannot_be_set_says_so(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/freeze", json={"service": "default/broken"})
    assert (answer.status_code, answer.json()["detail"]) == (409, "the state folder is read-only")


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"service=x", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b"{", "application/json", 422),
        (b'{"servce": "x"}', "application/json", 422),
        (b'{"reason": "' + b"x" * 70_000 + b'"}', "application/json", 413),
    ],
)
async def test_what_is_not_a_proper_body_changes_nothing(
    client: httpx.AsyncClient, console: ScriptedConsole, content: bytes, kind: str, status: int
) -> None:
    answer = await client.post("/v1/freeze", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert console.calls == []


async def test_a_name_that_was_rebound_to_us_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/services", headers={"host": "evil.example"})
    assert answer.status_code == 400


async def test_objects_have_their_status(client: httpx.AsyncClient) -> None:
    (one,) = (await client.get("/v1/status")).json()
    assert one["name"] == "default/edge"


async def test_a_request_is_explained_or_refused_in_words(client: httpx.AsyncClient) -> None:
    query = {"method": "GET", "url": "http://a/b", "header": ["x: 1", "y: 2"]}
    (one,) = (await client.get("/v1/explain-route", params=query)).json()
    assert one == {"method": "GET", "url": "http://a/b", "headers": ["x: 1", "y: 2"],
                   "gateway": None}  # fmt: skip
    answer = await client.get("/v1/explain-route", params={"method": "GET", "url": ""})
    assert (answer.status_code, answer.json()["detail"]) == (422, "'' is no URL")
