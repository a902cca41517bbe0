"""What `status` says, and what it costs to keep it so."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.kubernetes.cluster import now
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.objects import Held
from controlplane.kubernetes.status import Statuses, merged, statuses
from controlplane.kubernetes.writer import TRIES, StatusWriter
from controlplane.resources.conditions import Programming, conditions
from controlplane.resources.declared import ObjectKey
from controlplane.resources.gateway_class import CONTROLLER
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.scene import DEADLINE_S, Follower, Scene, connected, scene
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICY, ROUTE

BAD_ROUTE = ROUTE.replace(
    "- backendRefs", "- matches: [{path: {value: no-slash}}]\n      backendRefs"
)
FAR = {"default/edge": Programming(2, 2)}
OTHERS = {
    "parentRef": {"name": "theirs"},
    "controllerName": "example.com/other",
    "conditions": [],
}


@pytest.fixture(scope="module")
def one_cluster() -> Iterator[Scene]:
    with ApiServer() as server, scene(server) as made:
        yield made


@pytest.fixture
def cluster(one_cluster: Scene) -> Iterator[Scene]:
    yield one_cluster
    one_cluster.clear()


def said(status: dict[str, Any]) -> dict[str, tuple[str, str, int]]:
    return {
        one["type"]: (one["status"], one["reason"], one["observedGeneration"])
        for one in status["conditions"]
    }


async def test_each_kind_says_it_where_the_gateway_api_has_it(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND, POLICY)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        loaded = await follower.next()
        found = statuses(loaded, conditions(loaded.declared, FAR), follower.source.seen.held)
        writer = StatusWriter(api, lambda: follower.source.objects, now)
        assert await writer.write(found) == 4
    gateway = cluster.get("Gateway", "edge")["status"]
    assert said(gateway) == {
        "Accepted": ("True", "Accepted", 1),
        "Programmed": ("True", "Programmed", 1),
    }
    (listener,) = gateway["listeners"]
    assert listener["attachedRoutes"] == 1
    assert {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"} in listener["supportedKinds"]
    (parent,) = cluster.get("HTTPRoute", "web")["status"]["parents"]
    assert parent["controllerName"] == CONTROLLER
    assert parent["parentRef"]["name"] == "edge"
    assert said(parent)["ResolvedRefs"] == ("True", "ResolvedRefs", 1)
    (ancestor,) = cluster.get("BalancingPolicy", "web")["status"]["ancestors"]
    assert ancestor["ancestorRef"]["name"] == "web"
    assert said(ancestor) == {"Accepted": ("True", "Accepted", 1)}
    assert said(cluster.get("Backend", "web")["status"]) == {"Accepted": ("True", "Accepted", 1)}


async def test_what_is_refused_says_so_of_the_generation_that_is(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        await follower.next()
        cluster.put(BAD_ROUTE)
        loaded = await follower.until(lambda one: bool(one.refusals))
        found = statuses(loaded, conditions(loaded.declared, FAR), follower.source.seen.held)
    (parent,) = found[ObjectKey("HTTPRoute", "default/web")]["parents"]
    assert said(parent) == {"Accepted": ("False", "Invalid", 2)}
    (condition,) = parent["conditions"]
    assert "a path starts with '/'" in condition["message"]
    assert "the last valid version is in force" in condition["message"]


def test_what_others_said_stays_and_so_does_the_time_of_what_did_not_change() -> None:
    accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""}
    entry = {"parentRef": {"name": "edge"}, "controllerName": CONTROLLER}
    wanted = {"parents": [{**entry, "conditions": [accepted]}]}
    first = merged({"parents": [OTHERS]}, wanted, "2026-01-01T00:00:00Z")
    assert first["parents"][0] == OTHERS
    assert first["parents"][1]["conditions"][0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    assert merged(first, wanted, "2026-01-02T00:00:00Z") == first
    wanted["parents"][0]["conditions"] = [{**accepted, "status": "False"}]
    later = merged(first, wanted, "2026-01-03T00:00:00Z")
    assert later["parents"][1]["conditions"][0]["lastTransitionTime"] == "2026-01-03T00:00:00Z"
    assert merged(later, {"parents": []}, "2026-01-04T00:00:00Z") == {"parents": [OTHERS]}


async def test_a_status_costs_one_call_and_one_that_did_not_change_none(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND, POLICY)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        loaded = await follower.next()
        found = statuses(loaded, conditions(loaded.declared, FAR), follower.source.seen.held)
        writer = StatusWriter(api, lambda: follower.source.objects, now)
        cluster.server.calls.clear()
        await writer.write(found)
        assert cluster.server.calls.count("patch") == 4
        await writer.write(found)
        await writer.write(found)
        assert cluster.server.calls.count("patch") == 4
        assert cluster.server.calls.count("get") == 0


async def test_pass_after_pass_what_is_due_is_what_the_object_does_not_have(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND, POLICY)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        source, known = follower.source, Statuses()
        loaded = await follower.next()

        async def due(far: dict[str, Programming]) -> set[str]:
            """By name and kind; it is written afterwards."""
            found, newest = conditions(loaded.declared, far), source.objects.all()
            made = known.due(loaded, found, source.seen.held, newest, now())
            every = statuses(loaded, found, source.seen.held)
            assert made == {  # as without anything kept
                key: one
                for key, one in every.items()
                if merged(newest[key].status, one, now()) != newest[key].status
            }
            await StatusWriter(api, lambda: source.objects, now).write(made)
            return {key.kind for key in made}

        assert await due(FAR) == {"Gateway", "HTTPRoute", "Backend", "BalancingPolicy"}
        assert await due(FAR) == set()
        assert await due({"default/edge": Programming(3, 3)}) == {"Gateway"}  # it alone has counts
        assert await due({"default/edge": Programming(2, 1)}) == {"Gateway", "HTTPRoute"}
        cluster.http.patch(
            cluster.resources["Backend"].path("default", "web") + "/status",
            json={"status": {"conditions": None}},
            headers={"content-type": "application/merge-patch+json"},
        )
        async with asyncio.timeout(DEADLINE_S):
            while source.objects.all()[ObjectKey("Backend", "default/web")].status:
                source.objects.status_seen.clear()
                await source.objects.status_seen.wait()
        assert await due({"default/edge": Programming(2, 1)}) == {"Backend"}
        cluster.put(BAD_ROUTE)
        loaded = await follower.until(lambda one: bool(one.refusals))
        assert await due({"default/edge": Programming(2, 1)}) == {"HTTPRoute"}
        assert await due({"default/edge": Programming(2, 1)}) == set()


@pytest.mark.parametrize("times", [1, TRIES + 2])
async def test_a_conflict_is_tried_again_so_often_and_no_more(
    cluster: Scene, tmp_path: Path, times: int
) -> None:
    cluster.put(BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        loaded = await follower.next()
        found = statuses(loaded, conditions(loaded.declared, {}), follower.source.seen.held)
        writer = StatusWriter(api, lambda: follower.source.objects, now)
        cluster.server.faults.conflict(resource="backends.weir.dev", times=times)
        cluster.server.calls.clear()
        assert await writer.write(found) == (times == 1)
        tries = min(times + 1, TRIES)
        assert cluster.server.calls.count("patch") == tries
        assert cluster.server.calls.count("get") == min(times, TRIES)


class Gone:
    """A server where everything is deleted meanwhile."""

    def __init__(self) -> None:
        self.asked = 0

    async def get(self, path: str) -> dict[str, Any]:
        raise AssertionError(path)

    async def merge(self, path: str, body: object) -> dict[str, Any]:
        self.asked += 1
        raise ApiError(404, "not found")


async def test_an_object_that_is_gone_is_let_be(cluster: Scene, tmp_path: Path) -> None:
    cluster.put(BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        loaded = await follower.next()
        held: dict[ObjectKey, Held] = dict(follower.source.seen.held)
        found = statuses(loaded, conditions(loaded.declared, {}), held)
        server = Gone()
        assert await StatusWriter(server, lambda: follower.source.objects, now).write(found) == 0
        assert server.asked == 1


@contextmanager
def weir(cluster: Scene, tmp_path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`weir serve --kubernetes` as a process of its own."""
    command = [sys.executable, "-m", "controlplane.cli", "serve", "--kubernetes"]
    command += ["--kubeconfig", str(cluster.server.write_kubeconfig(tmp_path / "kubeconfig"))]
    command += ["--state-dir", str(tmp_path / "state"), "--log-format", "json", *options]
    environment = {**os.environ, "POD_NAMESPACE": "default"}
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment)
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait(DEADLINE_S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def until(holds: Callable[[], bool], log: Path) -> None:
    ends_s = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < ends_s, log.read_text()[-4000:]  # noqa: ASYNC240
        await asyncio.sleep(0.1)


async def test_weir_serve_writes_statuses_holds_the_lease_and_tells_of_a_freeze(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND, POLICY)
    xds, admin = free_port(), free_port()
    ports = ["--xds-address", f"127.0.0.1:{xds}", "--admin-address", f"127.0.0.1:{admin}"]
    log = tmp_path / "log"
    with weir(cluster, tmp_path, *ports) as running:

        def programmed() -> object:
            conditions = (cluster.get("Gateway", "edge").get("status") or {}).get("conditions", ())
            return {one["type"]: one["reason"] for one in conditions}.get("Programmed")

        await until(lambda: running.poll() is None and programmed() is not None, log)
        assert programmed() == "Pending"  # no Envoy is there to have taken it
        lease = cluster.http.get(
            "/apis/coordination.k8s.io/v1/namespaces/default/leases/weir-decider"
        ).json()["spec"]
        assert lease["leaseTransitions"] == 1

        (tmp_path / "state" / "frozen").write_text("the test says so")
        events = "/apis/events.k8s.io/v1/namespaces/default/events"
        await until(lambda: bool(cluster.http.get(events).json()["items"]), log)
        (event,) = cluster.http.get(events).json()["items"]
        assert (event["reason"], event["regarding"]["name"]) == ("Frozen", "edge")
        assert event["note"] == "the test says so"
        cluster.http.delete(f"{events}/{event['metadata']['name']}")

        cluster.server.calls.clear()
        await asyncio.sleep(3.0)
        patched = [one for one in cluster.server.calls.recent if one.verb == "patch"]
        assert not patched  # nothing changed: nothing is written
    lease = cluster.http.get("/apis/coordination.k8s.io/v1/namespaces/default/leases/weir-decider")
    assert lease.json()["spec"]["holderIdentity"] == ""  # let go at the end
