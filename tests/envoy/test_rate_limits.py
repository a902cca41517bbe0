"""Rate limits through the real Envoy: local ones, and global ones by our own service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from controlplane.errors import StoreError
from controlplane.lab.envoy import free_port
from controlplane.limits.limiter import Limiter
from controlplane.limits.memory import MemoryCounters
from controlplane.limits.metrics import LimitMetrics
from controlplane.limits.rules import rules
from controlplane.limits.windows import Counters
from controlplane.xds.rate_limits import RateLimitService
from controlplane.xds.telemetry import TelemetryMetrics
from tests.envoy.edge import Edge, backend, edge, gateway, policy, route, to, until
from tests.envoy.identities import Issuer
from tests.envoy.origin import Origin, running

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

ALICE = Issuer("https://alice.test")
HOUR_S = 3600.0
NOON_S = 1_800_000 * HOUR_S


class Switchable:
    """Counters that can be away."""

    def __init__(self, counters: Counters) -> None:
        self.counters, self.away = counters, False

    async def take(self, *given: object) -> list[float]:
        if self.away:
            raise StoreError("away")
        return list(await self.counters.take(*given))  # type: ignore[arg-type]


@dataclass
class Limited:
    """An edge whose rate limits are counted in this process."""

    port: int
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    now_s: float = NOON_S
    made: Edge = field(init=False)
    counters: Switchable = field(default_factory=lambda: Switchable(MemoryCounters()))
    limiter: Limiter = field(init=False)

    def __post_init__(self) -> None:
        metrics = LimitMetrics(self.registry)
        self.limiter = Limiter(self.counters, metrics, lambda: self.now_s)

    async def send(
        self,
        host: str,
        times: int = 1,
        headers: Mapping[str, str] | None = None,
        path: str = "/",
        method: str = "GET",
    ) -> list[int]:
        """The status of each of so many requests, one after the other."""
        return [(await self.answer(host, headers, path, method)).status_code for _ in range(times)]

    async def answer(
        self,
        host: str,
        headers: Mapping[str, str] | None = None,
        path: str = "/",
        method: str = "GET",
    ) -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}{path}"
        given = {"host": f"{host}.example.com", **(headers or {})}
        async with self.made.client() as client:
            return await client.request(method, url, headers=given)

    def counted(self, rule: str, outcome: str) -> float:
        """As on /metrics."""
        labels = {"rule": f"default/{rule}", "outcome": outcome}
        name = "weir_rate_limit_decisions_total"
        return self.registry.get_sample_value(name, labels) or 0.0


LOCAL = {
    "all": "local: {rules: [{limit: {requests: 3, unit: Hour}}]}",
    "each": """local: {rules: [
      {clientSelectors: [{headers: [{name: x-user, type: Distinct}]}],
       limit: {requests: 2, unit: Hour}}]}""",
    "some": """local: {rules: [
      {clientSelectors: [{headers: [{name: x-plan, value: free}], methods: [{value: POST}]}],
       limit: {requests: 1, unit: Hour}},
      {clientSelectors: [{headers: [{name: x-plan, type: RegularExpression, value: 'b.*'}]}],
       limit: {requests: 2, unit: Minute}},
      {limit: {requests: 8, unit: Hour}}]}""",
    "near": """local: {rules: [
      {clientSelectors: [{sourceCIDR: {value: 127.0.0.0/8, type: Distinct}}],
       limit: {requests: 2, unit: Hour}},
      {clientSelectors: [{sourceCIDR: {value: 10.0.0.0/8}}], limit: {requests: 1, unit: Hour}}]}""",
    "dry": """local: {rules: [
      {clientSelectors: [{headers: [{name: x-user, type: Distinct}]}],
       limit: {requests: 1, unit: Hour}, shadowMode: true}]}""",
}

GLOBAL = {
    "fixed": "global: {rules: [{limit: {requests: 3, unit: Hour}}]}",
    "sliding": "global: {rules: [{limit: {requests: 4, unit: Hour, window: Sliding}}]}",
    "user": """global: {rules: [
      {clientSelectors: [{headers: [{name: x-user, type: Distinct}]}],
       limit: {requests: 2, unit: Hour}}]}""",
    "claim": """global: {rules: [
      {clientSelectors: [{headers: [{name: x-subject, type: Distinct}]}],
       limit: {requests: 2, unit: Hour}}]}""",
    "other": """global: {rules: [
      {clientSelectors: [{headers: [{name: x-plan, value: gold, invert: true}]}],
       limit: {requests: 1, unit: Hour}}]}""",
    "source": """global: {rules: [
      {clientSelectors: [{sourceCIDR: {value: 127.0.0.0/8, type: Distinct}}],
       limit: {requests: 2, unit: Hour}},
      {clientSelectors: [{sourceCIDR: {value: 127.0.0.0/8, invert: true}}],
       limit: {requests: 1, unit: Hour}}]}""",
    "cost": """global: {rules: [
      {limit: {requests: 10, unit: Hour}, cost: {request: {from: Number, number: 4}}}]}""",
    "after": """global: {rules: [
      {limit: {requests: 10, unit: Hour},
       cost: {request: {from: Number, number: 0}, response: {from: Number, number: 6}}}]}""",
    "shadow": "global: {rules: [{limit: {requests: 1, unit: Hour}, shadowMode: true}]}",
    "closed": "global: {rules: [{limit: {requests: 100, unit: Hour}, failClosed: true}]}",
    "apart": "global: {rules: [{limit: {requests: 2, unit: Hour}}]}",
    "shared": "global: {rules: [{limit: {requests: 2, unit: Hour}, shared: true}]}",
    "both": """global: {rules: [{limit: {requests: 3, unit: Hour}, failClosed: true}]}
    local: {rules: [{limit: {requests: 2, unit: Hour}}]}""",
}


def documents(port: int, origin: int) -> list[str]:
    made = [gateway(f"name: http, port: {port}, protocol: HTTP"), backend("origin", origin)]
    two = f"[{{matches: [{{path: {{value: /a}}}}], {to('origin')}}}, {{{to('origin')}}}]"
    for name, said in (LOCAL | GLOBAL).items():
        made.append(route(name, two, hosts=f"[{name}.example.com]"))
        limit = f"  rateLimit:\n    {said}\n"
        made.append(policy("TrafficPolicy", name, f"HTTPRoute/{name}", limit))
    jwt = (
        f"  jwt: {{providers: [{{name: alice, issuer: '{ALICE.name}', "
        f"localJWKS: {{type: Inline, inline: '{ALICE.jwks}'}}, "
        "claimToHeaders: [{header: x-subject, claim: sub}]}]}\n"
    )
    made.append(policy("SecurityPolicy", "claim", "HTTPRoute/claim", jwt))
    return made


@contextlib.asynccontextmanager
async def limited(folder: Path) -> AsyncIterator[Limited]:
    origin, it = Origin("origin"), Limited(free_port())
    service = RateLimitService(it.limiter, TelemetryMetrics(it.registry))
    async with running(origin):
        declared = documents(it.port, origin.port)
        async with edge(folder, *declared, handlers=[service.handler()]) as it.made:
            it.limiter.know(rules(it.made.found))
            yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def it(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Limited]:
    async with limited(tmp_path_factory.mktemp("limited")) as made:
        yield made


async def test_local_all_requests_of_a_route_share_one_bucket(it: Limited) -> None:
    assert await it.send("all", 5) == [200, 200, 200, 429, 429]
    assert await it.send("all", 4, path="/a") == [200, 200, 200, 429]
    told = await it.answer("all")
    assert told.headers["x-ratelimit-limit"].startswith("3")
    assert told.headers["x-ratelimit-remaining"] == "0"


async def test_local_each_client_has_a_bucket(it: Limited) -> None:
    for user in ("anna", "berta"):
        assert await it.send("each", 3, {"x-user": user}) == [200, 200, 429]
    assert await it.send("each", 4) == [200] * 4  # without the header there is no limit


async def test_local_rules_act_each_on_its_own(it: Limited) -> None:
    free = {"x-plan": "free"}
    assert await it.send("some", 2, free, method="POST") == [200, 429]
    assert await it.send("some", 2, free) == [200, 200]
    assert await it.send("some", 3, {"x-plan": "basic"}) == [200, 200, 429]


async def test_local_client_addresses(it: Limited) -> None:
    assert await it.send("near", 3) == [200, 200, 429]


async def test_local_shadow_mode_lets_through(it: Limited) -> None:
    assert await it.send("dry", 3, {"x-user": "anna"}) == [200] * 3


async def test_global_fixed_window(it: Limited) -> None:
    first = await it.answer("fixed")
    assert first.headers["x-ratelimit-limit"] == "3, 3;w=3600"
    assert first.headers["x-ratelimit-remaining"] == "2"
    assert first.headers["x-ratelimit-reset"] == "3600"
    assert await it.send("fixed", 3) == [200, 200, 429]
    refused = await it.answer("fixed")
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "3600"
    assert it.counted("fixed/0", "over_limit") == 2
    it.now_s += HOUR_S
    assert await it.send("fixed") == [200]


async def test_global_sliding_window(it: Limited) -> None:
    assert await it.send("sliding", 5) == [200, 200, 200, 200, 429]
    it.now_s += HOUR_S
    assert await it.send("sliding") == [429]  # all of the last window still counts
    it.now_s += HOUR_S / 2
    assert await it.send("sliding", 3) == [200, 200, 429]
    it.now_s += HOUR_S / 2


async def test_global_each_client_has_a_count(it: Limited) -> None:
    for user in ("anna", "x" * 5000):
        assert await it.send("user", 3, {"x-user": user}) == [200, 200, 429]
    assert await it.send("user", 3) == [200] * 3


async def test_global_each_subject_of_a_token_has_a_count(it: Limited) -> None:
    assert await it.send("claim", 2) == [401, 401]
    for subject in ("anna", "berta"):
        token = {"authorization": f"Bearer {ALICE.token(sub=subject)}", "x-subject": "another"}
        assert await it.send("claim", 3, token) == [200, 200, 429]


async def test_a_value_that_is_no_text_is_counted_too(it: Limited) -> None:
    """It must not be a way around the limits."""
    odd = {b"host": b"user.example.com", b"x-user": b"\xff\xfe"}
    async with it.made.client() as client:
        url = f"http://127.0.0.1:{it.port}/"
        codes = [(await client.get(url, headers=odd)).status_code for _ in range(3)]
    assert codes == [200, 200, 429]


async def test_global_selectors_that_are_inverted(it: Limited) -> None:
    assert await it.send("other", 3, {"x-plan": "gold"}) == [200] * 3
    assert await it.send("other", 2, {"x-plan": "tin"}) == [200, 429]


async def test_global_client_addresses(it: Limited) -> None:
    assert await it.send("source", 3) == [200, 200, 429]
    assert it.counted("source/1", "ok") == 0


async def test_global_cost_of_a_request(it: Limited) -> None:
    told = await it.answer("cost")
    assert told.headers["x-ratelimit-remaining"] == "6"
    assert await it.send("cost", 2) == [200, 429]


async def test_global_cost_of_a_response(it: Limited) -> None:
    for times in (1, 2):
        assert await it.send("after") == [200]
        await until(lambda seen=times: _counted(it, "after/0", 2 * seen))  # type: ignore[misc]
    assert await it.send("after") == [429]


async def _counted(it: Limited, rule: str, times: int) -> bool:
    return it.counted(rule, "ok") == times


async def test_global_shadow_mode_counts_and_lets_through(it: Limited) -> None:
    assert await it.send("shadow", 3) == [200] * 3
    assert it.counted("shadow/0", "shadow_over_limit") == 2
    assert "x-ratelimit-limit" not in (await it.answer("shadow")).headers


async def test_global_rules_of_a_route_count_apart_or_together(it: Limited) -> None:
    assert await it.send("apart", 3) + await it.send("apart", 1, path="/a") == [200, 200, 429, 200]
    assert await it.send("shared", 2) + await it.send("shared", 1, path="/a") == [200, 200, 429]


async def test_local_and_global_limits_together(it: Limited) -> None:
    assert await it.send("both", 3) == [200, 200, 429]
    assert it.counted("both/0", "ok") == 2  # what the Envoy refuses is not asked about


async def test_counters_that_are_away_are_answered_by_each_rule(it: Limited) -> None:
    it.counters.away = True
    try:
        assert await it.send("closed") == [429]
        assert await it.send("fixed", 5) == [200] * 5
    finally:
        it.counters.away = False
    assert await it.send("closed") == [200]
    assert it.counted("closed/0", "failed_closed") == 1
    assert it.counted("fixed/0", "failed_open") == 5


async def test_rules_that_nobody_declared_are_answered_by_their_filter(it: Limited) -> None:
    it.limiter.know({})
    it.now_s += 2 * HOUR_S
    it.limiter.know({})  # nobody remembers them
    try:
        assert await it.send("closed") == [429]
        assert await it.send("fixed", 5) == [200] * 5
    finally:
        it.limiter.know(rules(it.made.found))


async def test_a_service_that_is_away_is_answered_by_each_filter(tmp_path: Path) -> None:
    async with limited(tmp_path) as it:
        await it.made.server.stop(grace_s=0.1)
        assert await it.send("closed") == [503]
        assert await it.send("fixed", 5) == [200] * 5
        assert await asyncio.gather(*(it.send("fixed") for _ in range(10))) == [[200]] * 10
