"""What a TrafficPolicy says, by requests through one real Envoy: limits, health, tries, faults.

Each host of the table has a route, a Backend and a policy of its own. docs/traffic-policy.md names
the tests.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from controlplane.lab.envoy import free_port
from tests.envoy.echo import Answer, Echo, call, echoes
from tests.envoy.edge import Edge, backend, edge, gateway, policy, route, to, until
from tests.envoy.origin import Origin, ask, origins

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

ECHOES = (
    "parallel", "pending", "single", "each", "slow", "idle", "old", "silent", "budget", "retry",
    "hedge", "fault", "adaptive", "admission", "page", "tcp1", "tcp2",
)  # fmt: skip
ORIGINS = ("up", "down", "bad", "good", "lost1", "lost2", "panic1", "panic2")

PAGE = """\
  responseOverride:
    - match: {statusCodes: [{value: 418}]}
      response: {contentType: application/json, body: {inline: '{"tea": "100%"}'}}
    - match: {statusCodes: [{type: Range, range: {start: 500, end: 599}}]}
      response: {contentType: text/html, body: {inline: <p>later</p>}, statusCode: 200}
"""
TCP_CHECK = """\
  healthCheck:
    active:
      type: TCP
      interval: 100ms
      tcp:
        send: {text: "GET /ping HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n"}
        receive: {text: "x-origin: tcp1"}
"""
ACTIVE = "active: {type: HTTP, interval: 100ms, unhealthyThreshold: 2, http: {path: /healthz}}"

OF_BACKENDS = {
    "parallel": "  circuitBreaker: {maxParallelRequests: 2}\n",
    "pending": "  circuitBreaker: {maxConnections: 1, maxPendingRequests: 1}\n",
    "single": "  circuitBreaker: {maxRequestsPerConnection: 1}\n",
    "each": "  circuitBreaker: {perEndpoint: {maxConnections: 1}}\n",
    "full": "  timeout: {tcp: {connectTimeout: 100ms}}\n",
    "idle": "  timeout: {http: {connectionIdleTimeout: 50ms}}\n",
    "old": "  timeout: {http: {maxConnectionDuration: 50ms}}\n",
    "silent": "  tcpKeepalive: {idleTime: 5s, interval: 5s, probes: 3}\n",
    "checked": f"  healthCheck: {{{ACTIVE}}}\n",
    "tcp": TCP_CHECK,
    "ejected": "  healthCheck: {passive: {consecutive5XxErrors: 2, baseEjectionTime: 1h}}\n",
    "lost": f"  healthCheck: {{panicThreshold: 0, {ACTIVE}}}\n",
    "panic": f"  healthCheck: {{{ACTIVE}}}\n",
    "admission": "  admissionControl: {rpsThreshold: 0}\n",
    "budget": "  circuitBreaker: {maxParallelRetries: 1}\n",
    "astray": "  healthCheck: {passive: {maxEjectionPercent: 0}}\n",
    "lopsided": "  healthCheck: {passive: {maxEjectionPercent: 0}}\n",
}
TOLD = "  headers: {enableEnvoyHeaders: true}\n"
OF_ROUTES = {
    "high": "  priority: High\n",
    "slow": "  timeout: {http: {requestTimeout: 200ms}}\n",
    "retry": "  retry: {numRetries: 2, retryOn: {triggers: [5xx], httpStatusCodes: [418]}}\n",
    "usual": "  retry: {numRetries: 2}\n",
    "impatient": "  retry: {numRetries: 1, perRetry: {timeout: 300ms}}\n",
    "hedge": "  retry: {numRetries: 1, perRetry: {timeout: 300ms}, hedgeOnPerTryTimeout: true}\n",
    "budgeted": "  retry: {numRetries: 1, retryOn: {triggers: [5xx]}}\n",
    "aborted": "  faultInjection: {abort: {httpStatus: 418}}\n",
    "halved": "  faultInjection: {abort: {httpStatus: 418, percentage: 50}}\n",
    "grpc": "  faultInjection: {abort: {grpcStatus: 14}}\n",
    "delayed": "  faultInjection: {delay: {fixedDelay: 300ms}}\n",
    "adaptive": "  adaptiveConcurrency: {concurrencyLimitParams: {minConcurrencyLimit: 2}}\n",
    "page": PAGE,
    "empty": PAGE,
}
LEADS = {
    "high": "parallel", "usual": "retry", "impatient": "hedge", "budgeted": "budget",
    "aborted": "fault", "halved": "fault", "grpc": "fault", "delayed": "fault", "empty": "none",
    "limited": "page",
}  # fmt: skip
"""Hosts whose Backend has another name."""


@dataclass
class World:
    """An Envoy, and what is behind it."""

    made: Edge
    port: int
    echoes: Mapping[str, Echo]
    origins: Mapping[str, Origin]

    async def call(
        self, host: str, path: str = "/", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A request to a host of the table."""
        return await call(self.port, path, host=f"{host}.test", headers=headers)

    async def at_once(self, host: str, count: int, **headers: str) -> Counter[int]:
        """So many requests at a time, by status."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answers = await asyncio.gather(*(self.call(host, headers=sent) for _ in range(count)))
        return Counter(one.status for one in answers)

    async def stat(self, cluster: str, name: str) -> int:
        """A counter of the cluster of a Backend."""
        found = await self.made.envoy.stats(f"^cluster.default/{cluster}.{name}$")
        return sum(found.values())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    port = free_port()
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(echoes(*ECHOES))
        plain = await stack.enter_async_context(origins(*ORIGINS))
        full = stack.enter_context(_full())
        plain["down"].status = plain["bad"].status = 500
        for name in ("lost1", "lost2", "panic1", "panic2"):
            plain[name].status = 500
        places = {name: [one.port] for name, one in running.items()} | {
            "tcp": [running["tcp1"].port, running["tcp2"].port],
            "checked": [plain["up"].port, plain["down"].port],
            "ejected": [plain["good"].port, plain["bad"].port],
            "lost": [plain["lost1"].port, plain["lost2"].port],
            "panic": [plain["panic1"].port, plain["panic2"].port],
            "full": [full],
            "none": [],
            "astray": [running["slow"].port, free_port()],
            "lopsided": [running["slow"].port, free_port()],
        }
        hosts = dict.fromkeys((*OF_BACKENDS, *OF_ROUTES, *LEADS))
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            policy("ClientPolicy", "told", "Gateway/edge", TOLD),
            *(backend(name, *ports) for name, ports in places.items()),
            *(_route(host) for host in hosts),
            *(policy("TrafficPolicy", f"b-{n}", f"Backend/{n}", s) for n, s in OF_BACKENDS.items()),
            *(policy("TrafficPolicy", f"r-{n}", f"HTTPRoute/{n}", s) for n, s in OF_ROUTES.items()),
        ]
        folder: Path = tmp_path_factory.mktemp("traffic")
        made = await stack.enter_async_context(edge(folder, *documents))
        await made.weigh("default/lopsided", 1, 9)
        yield World(made, port, running, plain)


def _route(host: str) -> str:
    """All of a host to its Backend; what its path asks for is said by the route itself."""
    where = to(LEADS.get(host, host))
    rules = f"[{{{where}}}]"
    if host in ("retry", "slow"):
        own = {"retry": "retry: {attempts: 0}", "slow": "timeouts: {request: 5s}"}[host]
        rules = f"[{{{where}}}, {{matches: [{{path: {{value: /own}}}}], {own}, {where}}}]"
    return route(host, rules, hosts=f"[{host}.test]")


@contextmanager
def _full() -> Iterator[int]:
    """A port that is listened on and takes no more connections: who connects gets no answer."""
    with ExitStack() as stack:
        waiting = stack.enter_context(socket.socket())
        waiting.bind(("127.0.0.1", 0))
        waiting.listen(0)
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(waiting.getsockname())
        yield int(waiting.getsockname()[1])


async def test_more_parallel_requests_than_the_limit_are_503_at_once(world: World) -> None:
    slow = asyncio.gather(*(world.call("parallel", headers=_DELAY) for _ in range(2)))
    await until(lambda: _received(world, "parallel", 2))
    refused = await world.call("parallel")
    assert (refused.status, refused.headers["x-envoy-overloaded"]) == (503, "true")
    # Of another priority, so counted apart.
    assert (await world.call("high")).status == 200
    assert [one.status for one in await slow] == [200, 200]
    assert await world.stat("parallel", "upstream_rq_active_overflow") == 1
    assert (await world.call("parallel")).status == 200


_DELAY = {"x-want-delay": "1"}


async def _received(world: World, name: str, count: int) -> bool:
    return len(world.echoes[name].received) >= count


async def test_more_waiting_requests_than_the_limit_are_503(world: World) -> None:
    # While there is no connection yet, the first request waits as well.
    slow = asyncio.create_task(world.call("pending", headers=_DELAY))
    await until(lambda: _received(world, "pending", 1))
    assert await world.at_once("pending", 5) == {200: 1, 503: 4}
    assert (await slow).status == 200
    assert await world.stat("pending", "upstream_rq_pending_overflow") == 4
    assert await world.stat("pending", "upstream_cx_total") == 1


async def test_a_connection_takes_as_many_requests_as_it_may(world: World) -> None:
    for _ in range(3):
        assert (await world.call("single")).status == 200
    assert await world.stat("single", "upstream_cx_total") == 3


async def test_an_endpoint_has_as_many_connections_as_it_may(world: World) -> None:
    assert await world.at_once("each", 3, x_want_delay="0.1") == {200: 3}
    assert await world.stat("each", "upstream_cx_total") == 1


async def test_retries_in_flight_have_a_limit(world: World) -> None:
    answers = await world.at_once("budgeted", 6, x_want_status="503", x_want_delay="0.2")
    assert answers == {503: 6}
    assert await world.stat("budget", "upstream_rq_retry") >= 1
    assert await world.stat("budget", "upstream_rq_retry_overflow") >= 1


async def test_who_takes_no_connection_in_time_is_given_up(world: World) -> None:
    assert (await world.call("full")).status == 503
    assert await world.stat("full", "upstream_cx_connect_timeout") >= 1


async def test_connections_end_when_they_are_idle_or_old(world: World) -> None:
    for name, counter in (("idle", "idle_timeout"), ("old", "max_duration_reached")):
        assert (await world.call(name)).status == 200
        await until(lambda n=name, c=counter: _counted(world, n, f"upstream_cx_{c}"))  # type: ignore[misc]
        assert (await world.call(name)).status == 200
        assert await world.stat(name, "upstream_cx_total") == 2


async def _counted(world: World, name: str, counter: str) -> bool:
    return await world.stat(name, counter) >= 1


async def test_silent_connections_are_probed(world: World) -> None:
    assert (await world.call("silent")).status == 200
    assert _keepalive_timer(world.echoes["silent"].port)
    assert (await world.call("idle")).status == 200
    assert not _keepalive_timer(world.echoes["idle"].port)


def _keepalive_timer(port: int) -> bool:
    """Whether a connection to a port of this machine has its keepalive timer running: 02 in the
    field `tr` of /proc/net/tcp (proc_net_tcp.rst of the kernel)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[2].endswith(f":{port:04X}") and row[5].startswith("02:") for row in rows)


async def test_a_request_takes_no_longer_than_the_policy_unless_the_route_says(
    world: World,
) -> None:
    assert (await world.call("slow", headers=_DELAY)).status == 504
    assert (await world.call("slow", "/own", headers=_DELAY)).status == 200


async def test_an_endpoint_that_fails_its_check_gets_nothing_until_it_passes(world: World) -> None:
    await until(lambda: _is(world, "checked", "membership_healthy", 1))
    answers = Counter([(await world.call("checked")).body for _ in range(20)])
    assert answers == {"up": 20}
    world.origins["down"].status = 200
    await until(lambda: _is(world, "checked", "membership_healthy", 2))
    answers = Counter([(await world.call("checked")).body for _ in range(20)])
    assert answers["down"] > 0


async def _is(world: World, name: str, gauge: str, value: int) -> bool:
    return await world.stat(name, gauge) == value


async def test_an_endpoint_that_answers_other_bytes_gets_nothing(world: World) -> None:
    await until(lambda: _is(world, "tcp", "membership_healthy", 1))
    answers = {(await world.call("tcp")).headers["x-origin"] for _ in range(10)}
    assert answers == {"tcp1"}


async def test_an_endpoint_whose_requests_fail_is_taken_out(world: World) -> None:
    await until(lambda: _ejected(world))
    answers = Counter([(await world.call("ejected")).body for _ in range(20)])
    assert answers == {"good": 20}


async def _ejected(world: World) -> bool:
    """After one more request."""
    await world.call("ejected")
    return await _is(world, "ejected", "outlier_detection.ejections_active", 1)


async def test_health_is_not_believed_when_few_are_healthy_unless_it_is_said(world: World) -> None:
    for name in ("lost", "panic"):
        await until(lambda n=name: _is(world, n, "membership_healthy", 0))  # type: ignore[misc]
    assert (await world.call("panic")).status == 500
    assert (await world.call("lost")).status == 503


async def test_what_the_policy_says_is_tried_again_unless_the_route_says(world: World) -> None:
    async def tries(host: str, path: str, status: int, times: int) -> tuple[int, int]:
        key = f"{host}{path}{status}{times}"
        wanted = {"x-want-status": str(status), "x-want-times": str(times), "x-request-key": key}
        answer = await world.call(host, path, headers=wanted)
        return answer.status, world.echoes["retry"].times[key]

    assert await tries("retry", "/", 503, 2) == (200, 3)
    assert await tries("retry", "/", 418, 2) == (200, 3)
    assert await tries("retry", "/", 404, 2) == (404, 1)
    assert await tries("retry", "/own", 503, 2) == (503, 1)
    assert await tries("usual", "/", 503, 2) == (503, 1)


@pytest.mark.parametrize("name", ["astray", "lopsided"])
async def test_a_retry_goes_to_another_endpoint_whatever_the_weights(
    world: World, name: str
) -> None:
    """One of two endpoints is not there and stays in, with half of the weight or most of it."""
    found = await ask(world.port, host=f"{name}.test", times=200)
    assert ({status for status, _ in found}, found.total()) == ({200}, 200)
    assert await world.stat(name, "upstream_rq_retry_success") >= 60


async def test_a_slow_try_goes_on_beside_the_next_one_where_it_may(world: World) -> None:
    assert (await world.call("impatient", headers=_DELAY)).status == 504
    assert (await world.call("hedge", headers=_DELAY)).status == 200
    assert await world.stat("hedge", "upstream_rq_per_try_timeout") >= 2


async def test_faults_are_those_of_the_policy_and_the_backend_sees_no_aborted_one(
    world: World,
) -> None:
    assert (await world.call("aborted")).status == 418
    answer = await world.call("grpc", headers={"content-type": "application/grpc"})
    assert answer.headers["grpc-status"] == "14"
    assert not world.echoes["fault"].received
    began_s = time.monotonic()
    assert (await world.call("delayed")).status == 200
    assert time.monotonic() - began_s >= 0.25  # timers are coarse
    answers = Counter([(await world.call("halved")).status for _ in range(60)])
    assert set(answers) == {200, 418}


async def test_more_in_flight_than_the_limit_of_latency_are_503(world: World) -> None:
    slow = asyncio.gather(*(world.call("adaptive", headers=_DELAY) for _ in range(2)))
    await until(lambda: _received(world, "adaptive", 2))
    assert (await world.at_once("adaptive", 2)) == {503: 2}
    assert [one.status for one in await slow] == [200, 200]


async def test_a_backend_that_fails_is_sent_less(world: World) -> None:
    for _ in range(10):
        await world.at_once("admission", 10, x_want_status="500")
    assert len(world.echoes["admission"].received) < 100
    rejected = await world.made.envoy.stats("admission_control.rq_rejected")
    assert sum(rejected.values()) == 100 - len(world.echoes["admission"].received)


async def test_answers_are_replaced_whoever_gave_them(world: World) -> None:
    kept = await world.call("page")
    assert (kept.status, kept.headers["x-origin"]) == (200, "page")
    tea = await world.call("page", headers={"x-want-status": "418"})
    assert (tea.status, tea.body) == (418, '{"tea": "100%"}')
    assert tea.headers["content-type"] == "application/json"
    for host in ("page", "empty"):
        later = await world.call(host, headers={"x-want-status": "503"})
        assert (later.status, later.body) == (200, "<p>later</p>")
        assert later.headers["content-type"] == "text/html"
    refused = await world.call("limited", headers={"x-want-status": "503"})
    assert refused.status == 503
