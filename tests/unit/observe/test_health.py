"""Whether the Envoys of a stage are well, from what they and the others report."""

from __future__ import annotations

import math

import numpy as np
import pytest

from controlplane.model import Health, Proxy, ProxyId, fleet_of
from controlplane.observe.health import CHANCE, FleetHealth, excess
from controlplane.observe.in_process import InProcessSource
from controlplane.observe.proxies import Ended
from tests.unit.observe.messages import (
    Clock,
    cluster_stats,
    endpoint_stats,
    entry,
    logs,
    report,
    service,
)

FLEET = "default/edge"
STAGE = ("a",)


class Fleet:
    """Two Envoys of a fleet, `a` in the stage and `b` not, and one of another."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.since_s = 0.0
        self.source = InProcessSource(self.clock)
        self.source.declare((service(),))
        self.health = FleetHealth(self.source.proxies, self.clock, fleet_of([FLEET]), silent_s=5.0)
        for node in "ab":
            self.hello(node)

    def proxy(self, node: str) -> Proxy:
        return Proxy(ProxyId(node), "edge")  # its bare name

    def hello(self, node: str) -> None:
        self.source.load_reports.on_load_report(self.proxy(node), report(), first=True)

    def reports(self, node: str, good: int, bad: int) -> None:
        stats = cluster_stats(endpoint_stats(succeeded=good, failed=bad))
        self.source.load_reports.on_load_report(self.proxy(node), report(stats), first=False)

    def logs(self, node: str, good: int, bad: int, **of_bad: object) -> None:
        entries = [entry()] * good + [entry(**of_bad)] * bad  # type: ignore[arg-type]
        self.source.access_logs.on_access_logs(self.proxy(node), logs(*entries))

    async def look(self) -> Health:
        self.clock.now_s += 1.0
        for node in "ab":
            self.reports(node, 0, 0)
        return await self.health(FLEET, STAGE, self.since_s)


async def test_more_failures_than_before_and_than_elsewhere_are_bad() -> None:
    fleet = Fleet()
    assert await fleet.look() is Health.GOOD
    fleet.reports("a", 80, 20)
    fleet.reports("b", 100, 0)
    assert await fleet.look() is Health.BAD


async def test_what_fails_outside_of_the_declared_services_is_none_of_the_change() -> None:
    fleet = Fleet()
    await fleet.look()
    stats = cluster_stats(endpoint_stats(succeeded=0, failed=50), name="weir")
    message = report(stats)  # of the Envoy's own streams to us
    fleet.source.load_reports.on_load_report(fleet.proxy("a"), message, first=False)
    assert await fleet.look() is Health.GOOD


async def test_what_fails_for_all_or_failed_before_is_not_the_fault_of_the_change() -> None:
    fleet = Fleet()
    fleet.reports("a", 80, 20)
    assert await fleet.look() is Health.GOOD
    fleet.reports("a", 80, 20)
    assert await fleet.look() is Health.GOOD
    fleet = Fleet()
    await fleet.look()
    fleet.reports("a", 80, 20)
    fleet.reports("b", 82, 18)
    assert await fleet.look() is Health.GOOD


async def test_few_failures_are_no_verdict_and_no_traffic_is_not_bad() -> None:
    fleet = Fleet()
    for _ in range(5):
        assert await fleet.look() is Health.GOOD
    fleet.reports("a", 0, 2)
    assert await fleet.look() is Health.GOOD
    fleet.reports("a", 0, 1)
    assert await fleet.look() is Health.BAD


@pytest.mark.parametrize(
    "of_bad",
    [
        {"code": 503, "cluster": "", "host": "0.0.0.0"},
        {"code": 404, "cluster": "", "flags": {"no_route_found": True}},
        {"code": 200, "flags": {"upstream_remote_reset": True}},
    ],
)
async def test_a_request_that_found_no_route_or_no_endpoint_is_seen_in_the_logs(
    of_bad: dict[str, object],
) -> None:
    fleet = Fleet()
    await fleet.look()
    fleet.logs("a", 80, 20, **of_bad)
    fleet.logs("b", 100, 0)
    assert await fleet.look() is Health.BAD


@pytest.mark.parametrize(
    "of_fine",
    [{"code": 404}, {"code": 0, "flags": {"downstream_connection_termination": True}}],
)
async def test_what_the_client_did_is_no_failure(of_fine: dict[str, object]) -> None:
    fleet = Fleet()
    await fleet.look()
    fleet.logs("a", 80, 20, **of_fine)
    assert await fleet.look() is Health.GOOD


async def test_who_falls_silent_has_no_verdict_and_who_sends_no_load_reports_may() -> None:
    fleet = Fleet()
    assert await fleet.health(FLEET, ("nobody",), 0.0) is Health.UNKNOWN
    assert await fleet.look() is Health.GOOD
    fleet.clock.now_s += 6.0
    fleet.reports("b", 10, 0)
    assert await fleet.health(FLEET, STAGE, 0.0) is Health.UNKNOWN
    quiet = Proxy(ProxyId("c"), FLEET)
    fleet.source.access_logs.on_access_logs(quiet, logs(entry()))
    fleet.clock.now_s += 6.0
    assert await fleet.health(FLEET, ("c",), 0.0) is Health.GOOD


async def test_another_stage_begins_anew() -> None:
    fleet = Fleet()
    await fleet.look()
    fleet.reports("a", 50, 50)
    assert await fleet.look() is Health.BAD
    fleet.since_s = 2.0  # it was taken back, and another change has come
    assert await fleet.look() is Health.GOOD
    fleet.reports("a", 100, 0)
    assert await fleet.look() is Health.GOOD


def test_a_stage_that_is_well_is_hardly_ever_found_bad() -> None:
    rng = np.random.default_rng(1)
    for usual in (0.005, 0.05, 0.3):
        for requests in (10, 100, 1000):
            failed = rng.binomial(requests, usual, 20_000)
            found = sum(excess(Ended(requests, int(k)), usual) for k in failed)
            expected = CHANCE * len(failed)
            assert found <= expected + 4 * math.sqrt(expected) + 1
