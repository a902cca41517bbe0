"""Each Envoy prefers its own zone, under `weir serve`, with the documents of examples/14-zones."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane._pb.endpoint_pb2 import ClusterLoadAssignment
from controlplane.lab.envoy import Envoy, free_port, run_envoy
from controlplane.lab.lanes import wait_serving
from controlplane.lab.ports import free_ports
from controlplane.lab.weir import WeirServe
from controlplane.translate.bootstrap import ads_bootstrap
from tests.e2e.scene import until
from tests.envoy.examples import example
from tests.envoy.origin import ask
from tests.envoy.regions import Region

pytestmark = pytest.mark.envoy

ENDPOINTS = {8081: "a-big", 8082: "a-small", 8083: "b-1", 8084: "b-2", 8091: "us"}
"""Of the example: the port that is written there, and what the endpoint answers."""
ZONES = {"a": "eu-a", "b": "eu-b"}

Answers = Counter[tuple[int, str]]


@dataclass
class Zoned:
    """What is running."""

    served: WeirServe
    endpoints: dict[str, Region]
    documents: list[dict[str, Any]]
    listeners: dict[str, int]
    """By zone, `a` and `b`."""
    folder: Path
    delta: bool
    forced: bool
    least_time: bool

    async def ask(self, zone: str, times: int = 40) -> Answers:
        return await ask(self.listeners[zone], times=times)

    async def served_by(self, zone: str, *names: str, times: int = 20) -> bool:
        """Whether all requests of a zone's Envoy are answered well, by all of these alone."""
        return (await self.ask(zone, times)).keys() == {(200, name) for name in names}

    @contextlib.asynccontextmanager
    async def envoy(self, zone: str, name: str = "") -> AsyncIterator[Envoy]:
        bootstrap = ads_bootstrap(
            node_id=f"envoy-{zone}",
            fleet=f"default/{ZONES[zone]}",
            region="eu",
            zone=ZONES[zone],
            xds_port=self.served.xds_port,
            admin_port=free_port(),
            delta=self.delta,
        )
        async with run_envoy(bootstrap, self.folder, name=name or f"envoy-{zone}") as envoy:
            await wait_serving([self.listeners[zone]], [envoy])
            yield envoy

    def declare(self, *without: str) -> None:
        """The example, without these endpoints. Where zones are forced the weights within them stay
        as they begin: by capacity."""
        gone = {self.endpoints[name].ports[0] for name in without}
        told = json.loads(json.dumps(self.documents))
        for one in told:
            if one["kind"] == "Backend":
                every = one["spec"]["endpoints"]
                one["spec"]["endpoints"] = [e for e in every if e["ip"]["port"] not in gone]
            if one["kind"] == "BalancingPolicy":
                one["spec"]["guard"] = {"frozen": self.forced}
                local: dict[str, Any] = {"preferLocal": {"force": {}} if self.forced else {}}
                least: dict[str, Any] = {"leastTime": {}}
                one["spec"]["locality"]["zoneAware"] = least if self.least_time else local
        self.served.declare(told)

    async def intended(self, zone: str) -> dict[str, int]:
        """{zone: priority} in what this zone's Envoy should run, as Weir tells it."""
        status, body = await self.served.get(f"/v1/proxies/envoy-{zone}/intended?only=eds")
        assert status == 200
        (one,) = json.loads(body)["types"]["eds"]["resources"]
        assignment = ClusterLoadAssignment.FromString(base64.b64decode(one["body"]))
        return {each.locality.zone: each.priority for each in assignment.endpoints}

    async def places(self) -> dict[str, dict[str, tuple[int, float]]]:
        """{place of Envoys: {zone: (priority, share)}}, as Weir tells it."""
        told = await self.served.explain("default/shop@eu:eu-a")
        return {
            one["place"]: {z["zone"]: (z["priority"], z["share"]) for z in one["zones"]}
            for one in (told or {"places": []})["places"]
        }


@contextlib.asynccontextmanager
async def zoned(
    folder: Path,
    options: Sequence[str] = (),
    *,
    delta: bool = False,
    forced: bool = True,
    least_time: bool = False,
) -> AsyncIterator[Zoned]:
    """`weir serve` with the example, and its endpoints."""
    async with contextlib.AsyncExitStack() as stack:
        endpoints = {name: Region(name, 1) for name in ENDPOINTS.values()}
        for one in endpoints.values():
            await stack.enter_async_context(one)
        a, b = free_ports(2)
        ports = {port: endpoints[name].ports[0] for port, name in ENDPOINTS.items()}
        text = "---\n".join(example("14-zones", {10080: a, 10081: b, **ports}))
        documents = [one for one in yaml.safe_load_all(text) if one]
        served = WeirServe(folder, options)
        made = Zoned(
            served, endpoints, documents, {"a": a, "b": b}, folder, delta, forced, least_time
        )
        made.declare()
        stack.push_async_callback(served.stop)
        await served.start()
        await served.wait_ready()
        yield made


@pytest.mark.parametrize(
    ("options", "delta"),
    [((), False), (("--workers", "2", "--push-stages", "0.5"), True)],
    ids=["sotw", "delta-workers-stages"],
)
async def test_each_envoy_sends_to_its_zone_spills_where_that_fails_and_comes_back(
    tmp_path: Path, options: Sequence[str], delta: bool
) -> None:
    async with zoned(tmp_path, options, delta=delta) as made, made.envoy("b"):
        async with made.envoy("a"):
            # The weights of the policy hold within the zone: 3 to 1.
            at_a = await made.ask("a", 80)
            assert at_a.keys() == {(200, "a-big"), (200, "a-small")}
            assert abs(at_a[200, "a-big"] - 60) <= 4
            assert await made.served_by("b", "b-1", "b-2")
            # Its endpoints are gone without a word: the other zone of the region serves, and
            # no request fails.
            for name in ("a-big", "a-small"):
                made.endpoints[name].end()
            spilled = await made.ask("a")
            assert spilled.keys() == {(200, "b-1"), (200, "b-2")}
            assert await made.served_by("b", "b-1", "b-2")
            for name in ("a-big", "a-small"):
                await made.endpoints[name].begin()
            await until(lambda: made.served_by("a", "a-big", "a-small"))
            # They answer, but fail.
            made.endpoints["a-big"].status = made.endpoints["a-small"].status = 503
            await until(lambda: made.served_by("a", "b-1", "b-2"))
            made.endpoints["a-big"].status = made.endpoints["a-small"].status = 200
            await until(lambda: made.served_by("a", "a-big", "a-small"))
            # None is declared there any more: the region serves.
            made.declare("a-big", "a-small")
            await until(lambda: made.served_by("a", "b-1", "b-2"))
            made.declare("a-big", "a-small", "b-1", "b-2")
            await until(lambda: made.served_by("a", "us"))
            made.declare()
            await until(lambda: made.served_by("a", "a-big", "a-small"))
            status, body = await made.served.get("/v1/proxies")
            assert status == 200
            places = {one["node"]: one["place"] for one in json.loads(body)}
            assert places == {"envoy-a": "eu:eu-a", "envoy-b": "eu:eu-b"}
            assert await made.intended("a") == {"eu-a": 0, "eu-b": 1, "us-a": 2}
            assert await made.intended("b") == {"eu-b": 0, "eu-a": 1, "us-a": 2}
        # One that comes back is told the same at once.
        async with made.envoy("a", "again"):
            assert await made.served_by("a", "a-big", "a-small")


async def test_zones_are_equally_busy_where_most_requests_come_in_at_one(tmp_path: Path) -> None:
    asked = {"a": 30, "b": 10}
    sent: Counter[str] = Counter()
    answers: dict[str, Answers] = {}

    async with zoned(tmp_path, forced=False) as made, made.envoy("a"), made.envoy("b"):

        async def some() -> None:
            """3 of 4 requests come in at zone a, which has half of the capacity."""
            for zone, times in asked.items():
                found = await made.ask(zone, times)
                answers.setdefault(zone, Counter()).update(found)
                sent[zone] += times
            await asyncio.sleep(0.1)

        async def spread() -> bool:
            await some()
            at_a = (await made.places()).get("eu:eu-a", {})
            priority, share = at_a.get("eu:eu-a", (0, 1.0))
            return priority == 0 and abs(share - 0.5 / 0.75) < 0.06

        await until(spread, every_s=0.0)
        answers.clear()
        for _ in range(20):
            await some()
        assert answers["b"].keys() == {(200, "b-1"), (200, "b-2")}
        by_zone: Counter[str] = Counter()
        for (status, name), count in answers["a"].items():
            assert status == 200
            by_zone[name[0]] += count
        assert by_zone.keys() == {"a", "b"}  # and none goes over the ocean
        assert abs(by_zone["a"] / answers["a"].total() - 0.5 / 0.75) < 0.1
        busy = by_zone["a"] / (by_zone["b"] + answers["b"].total())
        assert 0.75 < busy < 1.33
        told = (await made.places())["eu:eu-b"]
        assert told["eu:eu-b"] == (0, 1.0)


async def test_requests_go_where_they_take_least_time_once_that_is_known(tmp_path: Path) -> None:
    """All zones are on this machine, and near: each serves its own, and a little of all others'."""
    async with (
        zoned(tmp_path, forced=False, least_time=True) as made,
        made.envoy("b"),
        made.envoy("a"),
    ):
        assert await made.served_by("a", "a-big", "a-small")  # as long as nothing is known

        async def measured() -> bool:
            for zone in ("a", "b"):
                assert all(status == 200 for status, _ in await made.ask(zone, 200))
            told = await made.places()
            at_a = told.get("eu:eu-a", {})
            return at_a.keys() >= {"eu:eu-b", "us:us-a"} and all(
                level == 0 for level, _ in at_a.values()
            )

        async def sent() -> bool:  # after it was decided, and saved
            return await made.intended("a") == dict.fromkeys(("eu-a", "eu-b", "us-a"), 0)

        await until(measured)
        await until(sent)
        told = await made.places()
        for place, zones in told.items():
            assert sum(share for _, share in zones.values()) == pytest.approx(1.0, abs=0.01), place
        # Killed, it goes on with that; its numbers are lost, and Envoys have been waiting.
        before = await made.places()
        await made.served.kill()
        assert (await made.ask("a", 20)).keys() <= {(200, name) for name in ENDPOINTS.values()}
        await made.served.start()
        await made.served.wait_ready()
        after = await made.places()
        assert after.keys() == before.keys()
        for place, zones in before.items():
            assert after[place].keys() == zones.keys()
            for zone, (level, share) in zones.items():
                level_now, share_now = after[place][zone]
                # Between the look and the kill a tick may have moved it once more.
                assert level_now == level
                assert share_now == pytest.approx(share, abs=0.1), (place, zone)
