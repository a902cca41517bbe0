"""Logs, traces and counters of the path, through the real Envoy, with a collector that runs."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from controlplane.lab.envoy import free_port
from tests.envoy.collector import Collector, attributes, collecting
from tests.envoy.echo import Echo, call, echoes
from tests.envoy.edge import Edge, backend, edge, gateway, policy, route, to, until

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

REQUESTS = 400


@dataclass
class World:
    made: Edge
    all: int
    """The port where every trace is sampled."""
    some: int
    """The port where a quarter is."""
    asked: int
    """The port where clients say which."""
    origin: Echo
    collector: Collector
    log: Path


def tracing(rate: str, tags: str = "", follow: str = "false") -> str:
    return (
        f"    tracing: {{samplingRate: {rate}, followClients: {follow}, "
        "provider: {backendRefs: [{name: collector}], "
        f"serviceName: shop-edge}}, customTags: {{{tags}}}}}\n"
    )


def logs(path: Path) -> str:
    return f"""\
    accessLog:
      settings:
        - format:
            type: JSON
            json: {{code: '%RESPONSE_CODE%', path: '%REQ(:PATH)%', route: '%ROUTE_NAME%'}}
          sinks:
            - {{type: File, file: {{path: {path}.json}}}}
            - {{type: OpenTelemetry, openTelemetry: {{backendRefs: [{{name: collector}}],
                resources: {{fleet: blue}}}}}}
        - format: {{type: Text, text: 'went %REQ(:PATH)%'}}
          samplingRate: 25.0
          sinks: [{{type: File, file: {{path: {path}.text}}}}]
"""


CLASSES = """\
    metrics:
      classes:
        - {name: gold, headers: [{name: x-class, value: gold}]}
        - {name: writes, method: PUT}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    full, some, asked = free_port(), free_port(), free_port()
    folder = tmp_path_factory.mktemp("edge")
    log = folder / "requests"
    tags = "tier: {type: Literal, value: edge}, who: {type: RequestHeader, value: x-who}"
    async with echoes("a") as running, collecting() as collector:
        documents = [
            gateway(
                f"name: all, port: {full}, protocol: HTTP",
                f"name: some, port: {some}, protocol: HTTP",
                f"name: asked, port: {asked}, protocol: HTTP",
            ),
            backend("a", running["a"].port),
            backend("collector", collector.port),
            route("a", f"[{{name: cart, {to('a')}}}]"),
            policy(
                "ClientPolicy", "all", "Gateway/edge/all",
                f"  telemetry:\n{logs(log)}{tracing('100.0', tags)}{CLASSES}",
            ),
            policy("ClientPolicy", "some", "Gateway/edge/some", f"  telemetry:\n{tracing('25.0')}"),
            policy(
                "ClientPolicy", "asked", "Gateway/edge/asked",
                f"  telemetry:\n{tracing('0.0', follow='true')}",
            ),
            policy(
                "TrafficPolicy", "cart", "HTTPRoute/a/cart",
                "  telemetry: {metrics: {routeStatName: cart}}\n",
            ),
        ]  # fmt: skip
        async with edge(folder, *documents) as made:
            yield World(made, full, some, asked, running["a"], collector, log)


def read_lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


async def test_a_trace_of_the_client_goes_on(world: World) -> None:
    trace = f"{random.getrandbits(128):032x}"
    parent = "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace}-{parent}-01", "x-who": "me"}
    answer = await call(world.all, "/traced", headers=headers)
    _, passed, above, flags = answer.sent.headers["traceparent"].split("-")
    assert (passed, flags) == (trace, "01")
    assert above != parent

    async def came() -> bool:
        return any(one.trace_id.hex() == trace for one in world.collector.spans())

    await until(came)
    (span,) = (one for one in world.collector.spans() if one.trace_id.hex() == trace)
    assert (span.parent_span_id.hex(), span.span_id.hex()) == (parent, above)
    said = attributes(span.attributes)
    assert (said["tier"], said["who"]) == ("edge", "me")
    resources = [one.resource for each in world.collector.traces for one in each.resource_spans]
    assert attributes(resources[0].attributes)["service.name"] == "shop-edge"


async def test_a_share_of_traces_is_sampled_and_clients_cannot_ask_for_more(world: World) -> None:
    flags = []
    for at in range(REQUESTS):
        trace = f"{random.getrandbits(128):032x}"
        asked = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"} if at % 2 else {}
        answer = await call(world.some, headers=asked)
        passed = answer.sent.headers["traceparent"].split("-")
        assert passed[1] == trace or not asked
        flags.append(passed[3])
    assert REQUESTS * 0.12 < flags.count("01") < REQUESTS * 0.4
    assert REQUESTS * 0.05 < flags[1::2].count("01") < REQUESTS * 0.2 + 1


@pytest.mark.parametrize("flag", ["00", "01"])
async def test_the_word_of_clients_counts_where_it_is_to(world: World, flag: str) -> None:
    trace = f"{random.getrandbits(128):032x}"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-{flag}"}
    answer = await call(world.asked, headers=headers)
    _, passed, _, said = answer.sent.headers["traceparent"].split("-")
    assert (passed, said) == (trace, flag)
    begun = await call(world.asked)
    assert begun.sent.headers["traceparent"].endswith("-00")


async def test_entries_go_to_files_and_to_the_collector(world: World) -> None:
    for at in range(REQUESTS):
        await call(world.all, f"/log/{at}", headers={"x-request-key": str(at)})

    def entries() -> list[dict[str, object]]:
        lines = read_lines(f"{world.log}.json")
        return [one for one in map(json.loads, lines) if "/log/" in one["path"]]

    def records() -> list[dict[str, str]]:
        found = [attributes(one.attributes) for one in world.collector.records()]
        return [one for one in found if "/log/" in one["path"]]

    async def came() -> bool:
        return len(entries()) == len(records()) == REQUESTS

    await until(came)
    wanted = {"code": 200, "path": "/log/0", "route": "default/a/0/0/cart"}
    assert entries()[0] == wanted
    assert wanted["path"] in {one["path"] for one in records()}
    assert {one["code"] for one in records()} == {"200"}
    resources = [one.resource for each in world.collector.logs for one in each.resource_logs]
    assert attributes(resources[0].attributes)["fleet"] == "blue"

    async def sampled() -> bool:
        lines = read_lines(f"{world.log}.text")
        return all(one.startswith("went /") for one in lines) and len(lines) > REQUESTS * 0.12

    await until(sampled)
    assert len(read_lines(f"{world.log}.text")) < REQUESTS * 0.4 + 50


async def test_routes_and_classes_are_counted_and_nothing_else(world: World) -> None:
    for at in range(3):
        await call(world.all, f"/{at}", headers={"x-class": "gold"})
        await call(world.all, f"/{at}", headers={"x-class": f"made-up-{at}"}, method="PUT")

    async def counted() -> bool:
        stats = await world.made.envoy.stats(r"^vhost\..*upstream_rq_completed$")
        gold = stats.get("vhost.*.vcluster.gold.upstream_rq_completed", 0)
        writes = stats.get("vhost.*.vcluster.writes.upstream_rq_completed", 0)
        return (gold, writes) == (3, 3)

    await until(counted)
    stats = await world.made.envoy.stats(r"^vhost\..*upstream_rq_completed$")
    assert set(stats) == {
        "vhost.*.vcluster.gold.upstream_rq_completed",
        "vhost.*.vcluster.writes.upstream_rq_completed",
        "vhost.*.vcluster.other.upstream_rq_completed",
        "vhost.*.route.cart.upstream_rq_completed",
    }
    assert stats["vhost.*.route.cart.upstream_rq_completed"] >= 6
