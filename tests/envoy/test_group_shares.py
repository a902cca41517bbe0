"""What becomes of a group's share when one of its endpoints is taken out, in the real Envoy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from controlplane.lab.envoy import free_port
from controlplane.model import Service, ServiceName, Verdict
from tests.envoy.backends import Backend, get, running
from tests.envoy.edge import backend, edge, gateway, policy, route, to, until
from tests.unit.translate.scenes import grouped

pytestmark = pytest.mark.envoy

LONG = "  healthCheck: {passive: {baseEjectionTime: 1h, maxEjectionPercent: 50}}\n"
REQUESTS = 700


async def shares(port: int, backends: Sequence[Backend]) -> list[float]:
    """Which part of so many requests each gets."""
    before = [one.taken for one in backends]
    statuses = await get(port, REQUESTS)
    assert set(statuses) == {200}
    return [(one.taken - was) / REQUESTS for one, was in zip(backends, before, strict=True)]


def three_to_one(services: Sequence[Service]) -> Mapping[ServiceName, Verdict]:
    """Two groups of four."""
    return {one.name: grouped(one, [0] * 4 + [1] * 4, (3, 1)) for one in services}


@pytest.mark.parametrize(
    ("locality", "first"),
    [
        ("", 2.25),
        # Parts have the factor of their policy: three of four are 105 %, so all of the share.
        ("  policy: equal\n  locality: {failover: [{places: [{region: eu}]}]}\n", 3.0),
    ],
    ids=["groups", "groups in a part"],
)
async def test_an_endpoint_that_is_ejected_takes_its_part_of_the_share_along(
    tmp_path: Path, locality: str, first: float
) -> None:
    port = free_port()
    backends = [Backend() for _ in range(8)]
    async with running(*backends):
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            backend("web", *(one.port for one in backends)),
            route("a", f"[{{{to('web')}}}]"),
            policy("TrafficPolicy", "long", "Backend/web", LONG),
        ]
        if locality:
            documents.append(policy("BalancingPolicy", "eu", "Backend/web", locality))
        async with edge(tmp_path, *documents, verdicts=three_to_one) as made:
            got = await shares(port, backends)
            assert sum(got[:4]) == pytest.approx(0.75, abs=0.01)

            async def is_out() -> bool:
                await get(port, 20)
                stats = await made.envoy.stats("outlier_detection.ejections_active")
                return sum(stats.values()) == 1

            backends[0].status = 503
            await until(is_out)
            got = await shares(port, backends)
            assert got[0] == 0.0
            assert sum(got[:4]) == pytest.approx(first / (first + 1.0), abs=0.01)
