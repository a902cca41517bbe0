"""Backends by what stands in a verified token, through the real Envoy: for requests and for calls,
and that nothing else of a request counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from controlplane.explain import Request, explain_route
from controlplane.lab.envoy import free_port
from tests.envoy.calls import call as call_grpc
from tests.envoy.calls import callees, channel
from tests.envoy.echo import call, echoes
from tests.envoy.edge import Edge, backend, edge, gateway, policy, route, until
from tests.envoy.examples import example
from tests.envoy.identities import Issuer
from tests.envoy.test_access import inline
from tests.envoy.test_access_example import issued
from tests.envoy.test_grpc_routes import grpc_route

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

ALICE, BOB, THIEF = Issuer("https://alice.test"), Issuer("https://bob.test"), Issuer("thief")

FILTERS = {
    "tier": "{provider: alice.test, claims: [{name: plan.tier, values: [gold, platinum]}]}",
    "staff": "{provider: alice.test, claims: "
    "[{name: groups, valueType: StringArray, values: [staff]}], scopes: [orders]}",
    "of-bob": "{provider: bob.test, claims: [{name: sub, values: [ben]}]}",
}
ROUTES = {
    "claims": ("gold:tier", "staff:staff", "staff:of-bob", "rest"),
    "only": ("gold:tier",),
    "mixed": ("staff:json", "gold:tier", "rest"),
    "open": ("gold:tier", "rest"),
    "stranger": ("gold:tier", "rest"),
}
ODD = "\"request.headers['x-odd'] == 'yes'\""
CLOSED = "[{filters: [{type: ExtensionRef, extensionRef: {name: closed}}]}]"
JSON = "{fields: [{path: [vip], value: true}]}"


def condition(name: str, spec: str) -> str:
    """An HTTPRouteFilter."""
    return (
        f"apiVersion: weir.dev/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {{name: {name}}}\n"
        f"spec: {{{spec}}}\n"
    )


def to(*parts: str) -> str:
    """backendRefs, each a Backend and, behind `:`, its condition."""
    refs = []
    for part in parts:
        name, _, only = part.partition(":")
        extension = f"{{type: ExtensionRef, extensionRef: {{name: {only}}}}}"
        refs.append(f"{{name: {name}, filters: [{extension}]}}" if only else f"{{name: {name}}}")
    return f"[{{backendRefs: [{', '.join(refs)}]}}]"


def nobody(route_: str, at: int, why: str) -> str:
    return f"HTTPRoute {route_}: spec.rules[0].backendRefs[{at}].filters[0]: HTTPRouteFilter {why}"


FAULTS = (
    nobody("default/open", 0, "default/tier is for nobody: no SecurityPolicy is in force at"),
    nobody(
        "default/stranger",
        0,
        "default/tier is for nobody: SecurityPolicy default/stranger, which is in force at "
        "listener http of Gateway default/edge, has no provider 'alice.test'",
    ),
    "HTTPRouteFilter default/json has a payload, and calls of gRPC are no JSON; what it is for is "
    "answered 503",
)


@dataclass
class Scene:
    """An Envoy with servers behind it that say who they are."""

    made: Edge
    port: int

    async def origin(
        self, host: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> str | int:
        """Who answered, or the status where nobody did."""
        async with self.made.client() as client:
            got = await client.post(
                f"http://127.0.0.1:{self.port}/",
                headers={"host": f"{host}.test", "content-type": "application/json"}
                | dict(headers or {}),
                content=body,
            )
        return got.headers["x-origin"] if got.status_code == 200 else got.status_code

    def why(self, host: str) -> list[str]:
        """What is said of the parts of a rule."""
        request = Request.of("GET", f"http://{host}.test:{self.port}/", [])
        (one,) = explain_route(self.made.found, request)
        return [fate.why for fate in one.fates]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    port = free_port()
    both = f"  jwt: {{optional: true, providers: [{inline(ALICE)}, {inline(BOB)}]}}\n"
    guarded = ("claims", "only", "mixed")
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(echoes("gold", "staff", "rest"))
        calls = await stack.enter_async_context(callees("old", "new"))
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            *(backend(name, one.port) for name, one in web.items()),
            *(backend(name, one.port) for name, one in calls.items()),
            *(condition(name, f"jwt: {said}") for name, said in FILTERS.items()),
            condition("json", f"payload: {JSON}"),
            condition("odd", f"cel: {{expression: {ODD}}}"),
            condition("closed", "directResponse: {statusCode: 503}"),
            *(route(name, to(*parts), hosts=f"[{name}.test]") for name, parts in ROUTES.items()),
            grpc_route("calls", to("new:tier", "old")),
            grpc_route("json", to("new:json", "old")),
            grpc_route("odd", to("new:odd", "old")),
            grpc_route("closed", CLOSED),
            *(policy("SecurityPolicy", one, f"HTTPRoute/{one}", both) for one in guarded),
            policy("SecurityPolicy", "calls", "GRPCRoute/calls", both),
            policy(
                "SecurityPolicy",
                "stranger",
                "HTTPRoute/stranger",
                f"  jwt: {{providers: [{inline(ALICE)}]}}\n".replace("alice.test,", "other,", 1),
            ),
        ]
        folder = tmp_path_factory.mktemp("claims")
        made = await stack.enter_async_context(edge(folder, *documents, faults=FAULTS))
        one = Scene(made, port)
        await until(lambda: _is(one, "rest"))
        yield one


async def _is(scene: Scene, name: str) -> bool:
    return await scene.origin("claims") == name


GOLD = {"plan": {"tier": "gold"}}


@pytest.mark.parametrize(
    ("claims", "origin"),
    [
        (GOLD, "gold"),
        ({"plan": {"tier": "platinum"}}, "gold"),
        ({"plan": {"tier": "golden"}}, "rest"),
        ({"plan": {"tier": ["gold"]}}, "rest"),
        ({"plan.tier": "gold"}, "rest"),
        ({"plan": "gold", "tier": "gold"}, "rest"),
        ({"groups": ["x", "staff"], "scope": "orders read"}, "staff"),
        ({"groups": ["staff"], "scope": "read"}, "rest"),
        ({"groups": ["x"], "scope": "orders"}, "rest"),
        ({**GOLD, "groups": ["staff"], "scope": "orders"}, "gold"),  # the first that fits
        ({"sub": "ben"}, "rest"),  # says ALICE
        ({}, "rest"),
    ],
)
async def test_the_claims_of_a_token_choose_the_backend(
    scene: Scene, claims: Mapping[str, object], origin: str
) -> None:
    assert await scene.origin("claims", ALICE.bearer(**claims)) == origin
    assert await scene.origin("claims", BOB.bearer(**claims)) == (
        "staff" if claims.get("sub") == "ben" else "rest"
    )


async def test_no_client_can_write_a_claim(scene: Scene) -> None:
    said = {"plan.tier": "gold", "x-plan-tier": "gold", "tier": "gold", "provider": "alice.test"}
    assert await scene.origin("claims", said, b'{"plan": {"tier": "gold"}}') == "rest"
    assert await scene.origin("claims", THIEF.bearer(**GOLD)) == 401
    forged = Issuer(ALICE.name).bearer(**GOLD)  # another key
    assert await scene.origin("claims", forged) == 401
    payload = ALICE.token(**GOLD).split(".")[1]
    unsigned = {"authorization": f"Bearer {payload}"}
    assert await scene.origin("claims", unsigned) == 401


async def test_what_fits_no_claim_is_500_where_every_part_has_one(scene: Scene) -> None:
    assert await scene.origin("only", ALICE.bearer(**GOLD)) == "gold"
    assert await scene.origin("only", ALICE.bearer()) == 500


async def test_claims_and_payloads_are_asked_in_the_order_in_which_they_stand(scene: Scene) -> None:
    vip = b'{"vip": true}'
    assert await scene.origin("mixed", ALICE.bearer(**GOLD), vip) == "staff"
    assert await scene.origin("mixed", ALICE.bearer(**GOLD), b"{}") == "gold"
    assert await scene.origin("mixed", ALICE.bearer(), b"{}") == "rest"


async def test_where_nobody_looks_at_tokens_nobody_fits(scene: Scene) -> None:
    """The validator says so, too: see FAULTS."""
    assert await scene.origin("open", ALICE.bearer(**GOLD)) == "rest"
    assert await scene.origin("stranger", ALICE.bearer(**GOLD)) == "rest"


async def test_the_claims_of_a_token_choose_the_backend_of_a_call(scene: Scene) -> None:
    async with channel(scene.port, "calls.test") as via:
        assert (await call_grpc(via, "/a.S/M", ALICE.bearer(**GOLD))).origin == "new"
        assert (await call_grpc(via, "/a.S/M", ALICE.bearer())).origin == "old"
        assert (await call_grpc(via, "/a.S/M")).origin == "old"


async def test_filters_by_reference_are_for_calls_too(scene: Scene) -> None:
    async with channel(scene.port, "odd.test") as via:
        assert (await call_grpc(via, "/a.S/M", {"x-odd": "yes"})).origin == "new"
        assert (await call_grpc(via, "/a.S/M", {"x-odd": "no"})).origin == "old"
    async with channel(scene.port, "closed.test") as via:
        assert (await call_grpc(via, "/a.S/M")).code == grpc.StatusCode.UNAVAILABLE
    async with channel(scene.port, "json.test") as via:  # half of them lead to what cannot be
        found = {(await call_grpc(via, "/a.S/M")).code for _ in range(40)}
    assert found == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


async def test_it_is_explained_who_looks_at_the_token(scene: Scene) -> None:
    first, staff, *_, last = scene.why("claims")
    assert first == (
        "all requests that HTTPRouteFilter default/tier is for, by a token of alice.test that "
        "SecurityPolicy default/claims found good: plan.tier gold or platinum"
    )
    assert staff.endswith("found good: groups staff, scope orders")
    assert last == ""
    assert scene.why("open")[0].endswith(
        "which are none: no SecurityPolicy in force has a provider 'alice.test'"
    )
    assert scene.why("only")[-1] == "what fits no backendRef"


async def test_the_example_does_what_it_says(tmp_path: Path) -> None:
    port = free_port()
    async with echoes("shop", "stock") as web:
        ports = {8080: port, 9001: web["shop"].port, 9002: web["stock"].port}
        async with edge(tmp_path, *example("13-by-claim", ports)):
            found = []
            for arguments in (["ann"], ["ben", "--team", "stock"]):
                bearer = {"authorization": f"Bearer {issued(*arguments)}"}
                found.append((await call(port, "/stock", headers=bearer)).headers["x-origin"])
            assert found == ["shop", "stock"]
            assert (await call(port, "/stock", headers={"team": "stock"})).status == 401
