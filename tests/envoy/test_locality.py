"""Where requests go when a place has no endpoints left, through the real Envoy, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from controlplane.decide import Places
from controlplane.guard import check_zones
from controlplane.lab.envoy import free_port, run_envoy
from controlplane.lab.lanes import wait_serving
from controlplane.lab.ports import free_ports
from controlplane.model import OVERLAY, Observation
from controlplane.translate import Translator
from controlplane.translate.bootstrap import overlay_bootstrap
from controlplane.xds import SnapshotCache, XdsServer
from tests.envoy.edge import backend, edge, gateway, policy, route, to, until
from tests.envoy.examples import example
from tests.envoy.origin import ask
from tests.envoy.regions import Region
from tests.unit.resources.documents import read
from tests.unit.translate.scenes import all_services, even

pytestmark = pytest.mark.envoy

SOON = "  healthCheck: {passive: {baseEjectionTime: 500ms, interval: 200ms}}\n"
"""Who was taken out is tried again soon: tests do not wait for 15 s."""


def spare(name: str, *ports: int) -> str:
    return backend(name, *ports).replace("spec: {", "spec: {fallback: true, ")


async def test_a_fallback_takes_what_the_others_cannot(tmp_path: Path) -> None:
    port = free_port()

    async def answers(times: int = 40) -> Counter[tuple[int, str]]:
        return await ask(port, times=times)

    async def all_of(name: str) -> bool:
        return await answers(20) == {(200, name): 20}

    async with Region("main") as main, Region("spare") as other:

        def documents(*ports: int) -> list[str]:
            return [
                gateway(f"name: http, port: {port}, protocol: HTTP"),
                backend("main", *ports),
                spare("spare", *other.ports),
                route("a", f"[{{{to('main', 'spare')}}}]"),
                policy("TrafficPolicy", "soon", "Backend/main", SOON),
            ]

        async with edge(tmp_path, *documents(*main.ports)) as made:
            assert await answers() == {(200, "main"): 40}
            # All endpoints are gone without a word: no request fails, not even the first.
            main.end()
            assert await answers() == {(200, "spare"): 40}
            await main.begin()
            await until(lambda: all_of("main"))
            # They answer, but fail: requests fail until it is known of all of them.
            main.status = 503
            failed = await answers()
            assert failed[503, "main"] <= 20
            await until(lambda: all_of("spare"))
            main.status = 200
            await until(lambda: all_of("main"))
            # There are none any more, and then again some.
            await made.apply(*documents())
            assert await answers() == {(200, "spare"): 40}
            await made.apply(*documents(*main.ports))
            await until(lambda: all_of("main"))


async def test_regions_fail_over_in_order_and_back(tmp_path: Path) -> None:
    port = free_port()

    async def answers(times: int = 40) -> Counter[tuple[int, str]]:
        return await ask(port, times=times)

    async def all_of(name: str) -> bool:
        return await answers(20) == {(200, name): 20}

    async with Region("eu") as eu, Region("us") as us, Region("sorry", 1) as sorry:
        written = (8081, 8082, 8091, 8092, 8099)
        ports = dict(zip(written, (*eu.ports, *us.ports, *sorry.ports), strict=True))
        documents = example("10-two-regions", {10080: port, **ports})
        unordered = [one for one in documents if "name: eu-first" not in one]
        async with edge(tmp_path, *documents) as made:
            assert await answers() == {(200, "eu"): 40}
            # A region is gone, and then the other: no request fails, not even the first.
            eu.end()
            assert await answers() == {(200, "us"): 40}
            us.end()
            assert (await answers())[200, "sorry"] >= 39  # two regions away, and one retry
            assert await answers() == {(200, "sorry"): 40}
            await us.begin()
            await until(lambda: all_of("us"))
            await eu.begin()
            await until(lambda: all_of("eu"))
            # It answers, but fails: until that is known of each of its endpoints.
            eu.status = 503
            await until(lambda: all_of("us"))
            eu.status = 200
            await until(lambda: all_of("eu"))
            # Without the policy all endpoints are one set.
            await made.apply(*unordered)
            spread = await answers()
            assert min(spread[200, "eu"], spread[200, "us"]) > 0


def in_regions(*regions: Region) -> str:
    """The Backend `web`; each region has its name as its label."""
    rows = [
        f"    - ip: {{address: 127.0.0.1, port: {port}}}\n"
        f"      labels: {{topology.kubernetes.io/region: {one.name}}}\n"
        for one in regions
        for port in one.ports
    ]
    head = "apiVersion: weir.dev/v1alpha1\nkind: Backend\nmetadata: {name: web}\nspec:\n"
    return f"{head}  endpoints:\n{''.join(rows)}"


def _by_weight(answers: Counter[tuple[int, str]]) -> bool:
    """20 to 60 of 80, but for where Envoy's schedule of weights begins."""
    return answers.keys() == {(200, "a"), (200, "b")} and 18 <= answers[200, "a"] <= 22


async def test_regions_share_by_weight_and_one_without_endpoints_is_passed_over(
    tmp_path: Path,
) -> None:
    port = free_port()
    places = "[{region: a, weight: 1}, {region: b, weight: 3}]"
    wanted = f"  policy: equal\n  locality: {{failover: [{{places: {places}}}]}}\n"

    async with Region("a", 3) as a, Region("b", 1) as b, Region("c", 1) as c:

        def documents(*regions: Region) -> list[str]:
            return [
                gateway(f"name: http, port: {port}, protocol: HTTP"),
                in_regions(*regions),
                route("a", f"[{{{to('web')}}}]"),
                policy("BalancingPolicy", "places", "Backend/web", wanted),
            ]

        async with edge(tmp_path, *documents(a, b, c)) as made:
            # By weight, whatever the number of endpoints; who is not named waits.
            assert _by_weight(await ask(port, times=80))
            await made.apply(*documents(a, c))
            assert await ask(port, times=20) == {(200, "a"): 20}
            await made.apply(*documents(c))
            assert await ask(port, times=20) == {(200, "c"): 20}
            await made.apply(*documents(a, b, c))
            assert _by_weight(await ask(port, times=80))


async def test_envoys_of_one_fleet_each_send_to_their_own_place_first(tmp_path: Path) -> None:
    """They keep their own configuration, so that several of a fleet can run on one machine."""
    near = "  policy: equal\n  locality: {zoneAware: {preferLocal: {}}}\n"
    cache, translator = SnapshotCache(), Translator()
    server = XdsServer(cache, address="127.0.0.1:0", node_group=lambda _: OVERLAY)
    await server.start()
    envoys = {
        "eu-a": ("eu", "eu-a", False),
        "eu-b": ("eu", "eu-b", True),
        "eu-c": ("eu", "eu-c", False),  # there is none: its region
        "asia": ("asia", "x", True),  # nor is its region: all
        "unknown": ("", "", False),
    }
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, grace_s=0.1)
        regions = {
            name: await stack.enter_async_context(Region(name)) for name in ("eu-a", "eu-b", "us-a")
        }
        listeners = dict(zip(envoys, free_ports(len(envoys)), strict=True))

        def declare(*names: str) -> None:
            documents = [
                in_zones(*(regions[name] for name in names)),
                policy("BalancingPolicy", "near", "Backend/web", near),
            ]
            loaded = read({"all.yaml": "---\n".join(documents)}).declared
            found = all_services(loaded)
            places = Places(check_zones)
            places.settle(found, {one.name: Observation.unknown(one.name, ()) for one in found})
            made = translator.snapshots(loaded, found, even(found), orders=places.orders)
            for snapshot in made:
                cache.publish(snapshot)

        async def served(envoy: str) -> set[str]:
            answers = await ask(listeners[envoy], times=20)
            return {name if status == 200 else str(status) for status, name in answers}

        async def all_served(wanted: dict[str, set[str]]) -> bool:
            return {envoy: await served(envoy) for envoy in envoys} == wanted

        declare(*regions)
        for name, (region, zone, delta) in envoys.items():
            bootstrap = overlay_bootstrap(
                node_id=name,
                service="web",
                listen_port=listeners[name],
                region=region,
                zone=zone,
                delta=delta,
                xds_port=server.port,
                admin_port=free_port(),
                access_logs=False,
                load_reports=False,
            )
            await stack.enter_async_context(run_envoy(bootstrap, tmp_path, name=name))
        await wait_serving([*listeners.values()])
        everywhere = set(regions)
        assert await all_served(
            {
                "eu-a": {"eu-a"},
                "eu-b": {"eu-b"},
                "eu-c": {"eu-a", "eu-b"},
                "asia": everywhere,
                "unknown": everywhere,
            }
        )
        # Gone without a word: the others of the region serve, once it is known.
        regions["eu-a"].end()
        await until(lambda: _is(served("eu-a"), {"eu-b"}))
        assert await served("eu-b") == {"eu-b"}
        await regions["eu-a"].begin()
        declare("eu-b", "us-a")
        await until(
            lambda: all_served(
                {
                    "eu-a": {"eu-b"},
                    "eu-b": {"eu-b"},
                    "eu-c": {"eu-b"},
                    "asia": {"eu-b", "us-a"},
                    "unknown": {"eu-b", "us-a"},
                }
            )
        )
        declare("us-a")
        await until(lambda: all_served({envoy: {"us-a"} for envoy in envoys}))
        declare(*regions)
        await until(lambda: _is(served("eu-a"), {"eu-a"}))


async def _is(found: Awaitable[set[str]], wanted: set[str]) -> bool:
    return await found == wanted


def in_zones(*zones: Region) -> str:
    """The Backend `web`; the name of each has its region before the dash."""
    rows = [
        f"    - ip: {{address: 127.0.0.1, port: {port}}}\n      zone: {one.name}\n"
        f"      labels: {{topology.kubernetes.io/region: {one.name.partition('-')[0]}}}\n"
        for one in zones
        for port in one.ports
    ]
    head = "apiVersion: weir.dev/v1alpha1\nkind: Backend\nmetadata: {name: web}\nspec:\n"
    return f"{head}  endpoints:\n{''.join(rows)}"
