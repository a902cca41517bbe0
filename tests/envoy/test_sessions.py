"""Sessions through the real Envoy: who keeps an endpoint, for how long, and what a drain does."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from controlplane.lab.envoy import free_port
from controlplane.observe.in_process import InProcessSource
from controlplane.resources import services
from controlplane.xds.access_logs import AccessLogService
from controlplane.xds.telemetry import TelemetryMetrics
from tests.envoy.echo import Received, call, echoes
from tests.envoy.edge import Edge, edge, gateway, policy, route, to, until
from tests.unit.translate.scenes import all_services, endpoints, grouped

pytestmark = pytest.mark.envoy


def carts(ports: Sequence[int], draining: Sequence[int] = ()) -> str:
    """The Backend `carts`."""
    rows = "".join(
        f"    - {{ip: {{address: 127.0.0.1, port: {port}}}, "
        f"draining: {str(port in draining).lower()}}}\n"
        for port in ports
    )
    return (
        "apiVersion: weir.dev/v1alpha1\nkind: Backend\nmetadata: {name: carts}\n"
        f"spec:\n  endpoints:\n{rows}"
    )


def hashed(how: str) -> str:
    """A policy of the Backend `carts` that balances by a hash."""
    spec = f"  loadBalancer: {{type: ConsistentHash, consistentHash: {{{how}}}}}\n"
    return policy("TrafficPolicy", "hashed", "Backend/carts", spec)


async def origin_of(port: int, headers: Mapping[str, str] | None = None) -> str:
    """The origin that answers."""
    answer = await call(port, headers=headers)
    assert answer.status == 200, answer
    return answer.headers["x-origin"]


async def test_an_endpoint_that_drains_keeps_its_sessions_and_gets_no_other(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with echoes("a", "b", "c") as running:
        ports = {name: one.port for name, one in running.items()}

        def documents(draining: Sequence[str] = (), gone: Sequence[str] = ()) -> list[str]:
            here = [place for name, place in ports.items() if name not in gone]
            return [
                gateway(f"name: http, port: {port}, protocol: HTTP"),
                route("carts", f"[{{{to('carts')}}}]"),
                policy(
                    "TrafficPolicy",
                    "carts",
                    "HTTPRoute/carts",
                    "  sessionPersistence: {type: Header, sessionName: x-cart}\n"
                    "  healthCheck: {active: {type: HTTP, interval: 100ms, http: {path: /}}}\n",
                ),
                carts(here, [ports[name] for name in draining]),
            ]

        async with edge(tmp_path, *documents()) as made:
            await until(lambda: _opens(port))
            sessions = await _sessions(port, {"a", "b", "c"})
            seen: Counter[str] = Counter()
            loading = asyncio.create_task(_load(port, sessions, seen))
            await until(lambda: _seen(seen, {"a", "b", "c"}))
            # More drain than stay: that is no panic.
            await made.apply(*documents(draining=["a", "b"]))
            fresh = Counter([await origin_of(port) for _ in range(30)])
            assert fresh == {"c": 30}
            found = await made.envoy.stats("default/carts.(membership_excluded|lb_healthy_panic)")
            assert sorted(found.values()) == [0, 2]
            for name, cart in sessions.items():
                assert await origin_of(port, {"x-cart": cart}) == name
            await made.apply(*documents(draining=["b"]))
            await until(lambda: _serves(port, "a"))
            await made.apply(*documents(draining=["b"], gone=["a"]))
            moved = (await call(port, headers={"x-cart": sessions["a"]})).headers
            assert moved["x-origin"] == "c"
            assert await origin_of(port, {"x-cart": moved["x-cart"]}) == "c"
            assert await origin_of(port, {"x-cart": sessions["b"]}) == "b"
            # Where all drain, none does.
            await made.apply(*documents(draining=["b", "c"], gone=["a"]))
            for name in ("b", "c"):
                await until(lambda name=name: _serves(port, name))  # type: ignore[misc]
            assert not loading.done(), loading  # none of its requests failed
            loading.cancel()
            await asyncio.wait({loading})


async def _seen(seen: Counter[str], names: set[str]) -> bool:
    return set(seen) == names


async def _opens(port: int) -> bool:
    return (await call(port)).status == 200


async def _serves(port: int, name: str) -> bool:
    return await origin_of(port) == name


async def _sessions(port: int, names: set[str]) -> dict[str, str]:
    """A session at each endpoint: what the client sends back."""
    found: dict[str, str] = {}
    while set(found) != names:
        headers = (await call(port)).headers
        found[headers["x-origin"]] = headers["x-cart"]
    return found


async def _load(port: int, sessions: Mapping[str, str], seen: Counter[str]) -> None:
    """Sessions that go on, each request answered."""
    while True:
        for cart in sessions.values():
            seen[await origin_of(port, {"x-cart": cart})] += 1


async def test_strict_sessions_are_refused_when_their_endpoint_is_gone(tmp_path: Path) -> None:
    port = free_port()
    strict = policy(
        "TrafficPolicy", "strict", "HTTPRoute/carts", "  sessionPersistence: {strict: true}\n"
    )
    own = "sessionPersistence: {type: Header, sessionName: x-cart}"
    async with echoes("a", "b") as running:
        ports = [one.port for one in running.values()]
        plain = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            route("carts", f"[{{{own}, {to('carts')}}}]"),
        ]
        async with edge(tmp_path, *plain, strict, carts(ports)) as made:
            await until(lambda: _opens(port))
            sessions = await _sessions(port, {"a", "b"})
            await made.apply(*plain, strict, carts(ports[1:]))
            assert (await call(port, headers={"x-cart": sessions["a"]})).status == 503
            assert await origin_of(port, {"x-cart": sessions["b"]}) == "b"
            assert await origin_of(port) == "b"
            await made.apply(*plain, carts(ports[1:]))
            assert await origin_of(port, {"x-cart": sessions["a"]}) == "b"


@pytest.mark.parametrize("algorithm", ["Maglev", "RingHash"])
async def test_equal_requests_meet_one_endpoint_within_the_weights(
    tmp_path: Path, algorithm: str
) -> None:
    port = free_port()
    async with echoes("a", "b", "c", "d") as running:
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            route("carts", f"[{{{to('carts')}}}]"),
            carts([one.port for one in running.values()]),
            hashed(f"type: Header, header: {{name: X-User}}, algorithm: {algorithm}"),
        ]
        async with edge(tmp_path, *documents) as made:
            await until(lambda: _opens(port))

            async def places() -> dict[int, str]:
                return {u: await origin_of(port, {"x-user": f"user {u}"}) for u in range(200)}

            first = await places()
            assert await places() == first
            assert all(20 <= count <= 80 for count in Counter(first.values()).values())
            # Group weights of 1 to 4: `a` and `b` share a fifth.
            await _weigh(made, [0, 0, 1, 1], [1, 4])
            second = await places()
            light = sum(origin in "ab" for origin in second.values())
            assert 14 <= light <= 70
            # Who moved, moved to where the weight is.
            moved = [user for user in first if first[user] != second[user]]
            assert len(moved) < 120  # of 150 if keys had not stayed


async def _weigh(made: Edge, groups: Sequence[int], weights: Sequence[int]) -> None:
    """Give the groups of the Backend `carts` these weights."""
    (service,) = services(made.found, endpoints(made.found))
    weighted = {service.name: grouped(service, groups, weights)}
    for snapshot in made.translator.snapshots(made.found, [service], weighted):
        made.cache.publish(snapshot)
    await made.taken()


async def test_the_weights_of_the_others_are_as_if_who_drains_were_not_there(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with echoes("a", "b", "c") as running:
        ports = [one.port for one in running.values()]
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            route("carts", f"[{{{to('carts')}}}]"),
            carts(ports, ports[2:]),
        ]
        async with edge(tmp_path, *documents) as made:
            await until(lambda: _opens(port))
            await _weigh(made, [0, 1], [1, 4])
            answers = Counter([await origin_of(port) for _ in range(100)])
            assert answers == {"a": 20, "b": 80}


async def test_a_cookie_is_given_to_who_has_none_and_an_address_needs_none(tmp_path: Path) -> None:
    port = free_port()
    async with echoes("a", "b", "c") as running:
        plain = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            route("carts", f"[{{{to('carts')}}}]"),
            carts([one.port for one in running.values()]),
        ]
        cookie = hashed("type: Cookie, cookie: {name: cart, ttl: 1h}, tableSize: 1009")
        async with edge(tmp_path, *plain, cookie) as made:
            await until(lambda: _opens(port))
            origins = set[str]()
            for _ in range(12):
                first = (await call(port)).headers
                given, _, rest = first["set-cookie"].partition(";")
                assert given.startswith("cart=")
                assert "Max-Age=3600" in rest
                again = await call(port, headers={"cookie": given})
                assert again.headers["x-origin"] == first["x-origin"]
                assert "set-cookie" not in again.headers
                origins.add(first["x-origin"])
            assert len(origins) > 1
            await made.apply(*plain, hashed("type: SourceIP"))
            assert len({await origin_of(port) for _ in range(20)}) == 1


async def test_a_cookie_lives_as_long_as_it_is_said(tmp_path: Path) -> None:
    port = free_port()
    lasting = (
        "  sessionPersistence: {sessionName: cart, absoluteTimeout: 2h, "
        "cookieConfig: {lifetimeType: Permanent}}\n"
    )
    async with echoes("a", "b") as running:
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            route("carts", f"[{{{to('carts')}}}]"),
            carts([one.port for one in running.values()]),
            policy("TrafficPolicy", "carts", "Gateway/edge", lasting),
        ]
        async with edge(tmp_path, *documents):
            await until(lambda: _opens(port))
            given = (await call(port)).headers["set-cookie"]
            assert given.startswith("cart=")
            assert "Max-Age=7200" in given


async def test_an_envoy_that_drains_answers_all_that_comes(tmp_path: Path) -> None:
    port = free_port()
    async with echoes("a") as running:
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            route("carts", f"[{{{to('carts')}}}]"),
            carts([running["a"].port]),
        ]
        async with edge(tmp_path, *documents) as made:
            await until(lambda: _opens(port))
            under_way = asyncio.create_task(call(port, headers={"x-want-delay": "0.3"}))
            await until(lambda: _under_way(running["a"].received))
            await made.envoy.get("/drain_listeners?graceful&skip_exit", method="POST")
            # A load balancer in front of it may take its time: new connections are answered too.
            assert {await origin_of(port) for _ in range(10)} == {"a"}
            assert (await under_way).status == 200


async def _under_way(received: Sequence[Received]) -> bool:
    return any("x-want-delay" in one.headers for one in received)


@pytest.mark.parametrize("kind", ["Cookie", "Header"])
async def test_the_policies_know_the_share_of_requests_that_a_session_led(
    tmp_path: Path, kind: str
) -> None:
    port = free_port()
    source = InProcessSource(asyncio.get_running_loop().time)
    logs = AccessLogService(source.access_logs, TelemetryMetrics(CollectorRegistry()))
    sent = 0

    async def ask(headers: Mapping[str, str], times: int = 1) -> Mapping[str, str]:
        nonlocal sent
        sent += times
        for _ in range(times):
            answer = await call(port, headers=headers)
            assert answer.status == 200
        return answer.headers

    async with echoes("a", "b") as running:
        session = f"{to('carts')}, sessionPersistence: {{type: {kind}, sessionName: X-Cart}}"
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            route("carts", f"[{{{session}}}]"),
            carts([one.port for one in running.values()]),
        ]
        async with edge(tmp_path, *documents, handlers=[logs.handler()]) as made:
            (service,) = all_services(made.found)
            source.declare([service])
            # None of these is led: they have no session, or one of an endpoint that is not there.
            found = await ask({}, 4)
            nobody = base64.b64encode(b"127.0.0.1:1").decode()
            if kind == "Cookie":
                mine = {"cookie": found["set-cookie"].partition(";")[0]}
                others = {"cookie": f"seen=1; {mine['cookie']}; x=2"}
                await ask({"cookie": f"aX-Cart=1; seen=X-Cart; X-Cart={nobody}"}, 2)
            else:
                mine = others = {"x-cart": found["x-cart"]}
                await ask({"x-cart": nobody, "cookie": "X-Cart=1"}, 2)
            for _ in range(3):
                answered = await ask(mine, 2)
                assert "set-cookie" not in answered
                await ask(others, 2)
            await until(lambda: _is(source.receipts.log_entries == sent))
            (look,) = (await source.observe([service])).values()
            assert look.latency_samples.sum() == sent == 18
            assert look.sticky_share == pytest.approx(12 / 18)


async def _is(condition: bool) -> bool:
    return condition
