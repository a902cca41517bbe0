"""What `status` says, and what it costs to keep it so."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from controlplane.kubernetes.client import Api
from controlplane.kubernetes.cluster import now
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.events import Happened, Recorder
from controlplane.kubernetes.lease import Lease
from controlplane.kubernetes.objects import Held, Objects
from controlplane.kubernetes.resource import Resource
from controlplane.kubernetes.status import SETTLING_PASSES, Statuses, merged, statuses
from controlplane.kubernetes.writer import TRIES, StatusWriter
from controlplane.lab.envoy import free_port
from controlplane.resources import Loaded
from controlplane.resources.conditions import Programming, conditions
from controlplane.resources.declared import ObjectKey
from controlplane.resources.gateway_class import CONTROLLER
from tests.kubernetes.refusing import WORDS, connected_envoy
from tests.kubernetes.scene import DEADLINE_S, Follower, Scene, connected
from tests.kubernetes.test_lease import Clock, look, replica
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICY, ROUTE, joined, read

BAD_ROUTE = ROUTE.replace(
    "- backendRefs", "- matches: [{path: {value: no-slash}}]\n      backendRefs"
)
FAR = {"default/edge": Programming(2, 2)}
OTHERS = {
    "parentRef": {"name": "theirs"},
    "controllerName": "example.com/other",
    "conditions": [],
}


@pytest.fixture
def cluster(one_scene: Scene) -> Iterator[Scene]:
    yield one_scene
    one_scene.clear()


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


def front(spec: str, status: str = "{}") -> str:
    """A Service before the Envoys of the Gateway, and one that stands before another's."""
    label = "gateway.networking.k8s.io/gateway-name"
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: front, labels: {{{label}: edge}}}}
spec: {{ports: [{{port: 80}}], {spec}}}
status: {status}
---
apiVersion: v1
kind: Service
metadata: {{name: other, labels: {{{label}: other}}}}
spec: {{ports: [{{port: 80}}], externalIPs: [192.0.2.9]}}
"""


BALANCED = "{loadBalancer: {ingress: [{ip: 192.0.2.1}, {hostname: edge.example.com}]}}"


@pytest.mark.parametrize(
    ("gateway", "service", "wanted"),
    [
        (GATEWAY, front("type: LoadBalancer", BALANCED), ["192.0.2.1", "edge.example.com"]),
        (GATEWAY, front("type: LoadBalancer, clusterIPs: [10.96.0.9]"), []),
        (GATEWAY, front("externalIPs: [192.0.2.2], clusterIPs: [10.96.0.9]"), ["192.0.2.2"]),
        (GATEWAY, front("clusterIPs: [10.96.0.9, 'fd00::9']"), ["10.96.0.9", "fd00::9"]),
        (GATEWAY, front("clusterIPs: [None]"), []),
        (GATEWAY + "  addresses: [{value: 10.0.0.9}]\n", front("clusterIPs: [None]"), ["10.0.0.9"]),
        (GATEWAY + "  addresses: [{value: ''}]\n", front("clusterIPs: [None]"), []),
    ],
)
def test_addresses_are_those_of_the_service_before_the_envoys(
    gateway: str, service: str, wanted: list[str]
) -> None:
    loaded = read({"all.yaml": joined(gateway, service)})
    assert not loaded.problems
    key = ObjectKey("Gateway", "default/edge")
    resource = Resource("gateway.networking.k8s.io/v1", "gateways", "Gateway")
    held = {key: Held(resource, "default", "edge", "", "1", 1, "all.yaml", b"{}", {})}
    status = statuses(loaded, conditions(loaded.declared, FAR), held)[key]
    assert [one["value"] for one in status["addresses"]] == wanted
    for one in status["addresses"]:
        assert one["type"] == ("Hostname" if one["value"].endswith(".com") else "IPAddress")


async def test_an_address_that_a_load_balancer_gets_later_is_told(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(GATEWAY, front("type: LoadBalancer"))
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        await follower.next()
        cluster.http.patch(
            cluster.resources["Service"].path("default", "front") + "/status",
            json={"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}},
            headers={"content-type": "application/merge-patch+json"},
        ).raise_for_status()
        loaded = await follower.next()
        found = statuses(loaded, conditions(loaded.declared, FAR), follower.source.seen.held)
    addresses = found[ObjectKey("Gateway", "default/edge")]["addresses"]
    assert addresses == [{"type": "IPAddress", "value": "192.0.2.1"}]


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


CHANGES = 20
PASSES = 50


async def test_a_change_costs_one_call_and_no_change_none(cluster: Scene, tmp_path: Path) -> None:
    """Counted by the server, over many changes and many passes."""
    cluster.put(GATEWAY, ROUTE, BACKEND, POLICY)
    calls = cluster.server.calls
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        writer = StatusWriter(api, lambda: follower.source.objects, now)

        async def passed(loaded: Loaded) -> int:
            held = follower.source.seen.held
            return await writer.write(statuses(loaded, conditions(loaded.declared, FAR), held))

        def asked() -> list[tuple[str, str]]:
            """By Weir since it was cleared; its watches apart."""
            ours = [one for one in calls.recent if one.agent == "weir" and one.verb != "watch"]
            calls.clear()
            return [(one.verb, one.resource) for one in ours]

        loaded = await follower.next()
        asked()
        assert await passed(loaded) == 4
        assert sorted(asked()) == [
            ("patch", "backends.weir.dev/status"),
            ("patch", "balancingpolicies.weir.dev/status"),
            ("patch", "gateways.gateway.networking.k8s.io/status"),
            ("patch", "httproutes.gateway.networking.k8s.io/status"),
        ]
        for number in range(CHANGES):
            cluster.put(BACKEND.replace("10.0.0.1", f"10.0.1.{number}"))
            loaded = await follower.next()
            assert await passed(loaded) == 1
        assert asked() == [("patch", "backends.weir.dev/status")] * CHANGES
        for _ in range(PASSES):
            assert await passed(loaded) == 0
        assert not asked()


async def test_pass_after_pass_what_is_due_is_what_the_object_does_not_have(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND, POLICY)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        source, known = follower.source, Statuses()
        loaded = await follower.next()

        async def due(far: dict[str, Programming], *, settling: bool = False) -> set[str]:
            """By name and kind; it is written afterwards."""
            found, newest = conditions(loaded.declared, far), source.objects.all()
            made = known.due(loaded, found, source.seen.held, newest, now())
            every = statuses(loaded, found, source.seen.held)
            assert settling or made == {  # as without anything kept
                key: one
                for key, one in every.items()
                if merged(newest[key].status, one, now()) != newest[key].status
            }
            await StatusWriter(api, lambda: source.objects, now).write(made)
            return {key.kind for key in made}

        assert await due(FAR) == {"Gateway", "HTTPRoute", "Backend", "BalancingPolicy"}
        assert await due(FAR) == set()
        assert await due({"default/edge": Programming(3, 3)}) == {"Gateway"}  # it alone has counts
        # Something newer is on its way to the Envoys, and arrives: nobody is told.
        assert await due({"default/edge": Programming(3, 2)}, settling=True) == set()
        assert await due({"default/edge": Programming(3, 3)}) == set()
        # It does not arrive.
        for _ in range(SETTLING_PASSES):
            assert await due({"default/edge": Programming(2, 1)}, settling=True) == set()
        assert await due({"default/edge": Programming(2, 1)}) == {"Gateway", "HTTPRoute"}
        # A refusal is told at once.
        assert await due(FAR) == {"Gateway", "HTTPRoute"}
        refused = {"default/edge": Programming(2, 1, refusal="one refuses cds")}
        assert await due(refused) == {"Gateway", "HTTPRoute"}
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


class Delayed:
    """A server at which time passes with each write, and somebody may be faster."""

    def __init__(self, api: Api, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._api = api
        self._meanwhile = meanwhile
        self.writes = 0

    async def get(self, path: str) -> dict[str, Any]:
        return await self._api.get(path)

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.writes += 1
        await self._meanwhile()
        return await self._api.merge(path, body)


def term(lease: Lease) -> int | None:
    return lease.epoch if lease.holds else None


async def test_whose_lease_ends_within_a_pass_writes_no_more(
    cluster: Scene, tmp_path: Path
) -> None:
    """Of two replicas: the first is cut off in the midst of its pass, and the second decides."""
    cluster.put(*(BACKEND.replace("name: web", f"name: web-{n}") for n in range(8)))
    clock = Clock()
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        one, two = replica(api, "one", clock), replica(api, "two", clock)
        await look(one)
        await look(two)
        loaded, begun = await follower.next(), term(one)
        found = statuses(loaded, conditions(loaded.declared, {}), follower.source.seen.held)

        async def cut_off() -> None:
            clock.now_s += 20.0
            await look(two)

        server = Delayed(api, cut_off)
        writer = StatusWriter(server, lambda: follower.source.objects, now)
        await writer.write(found, lambda: term(one) == begun)
        assert server.writes == 1
        assert (term(one), term(two)) == (None, 2)
        # It comes to decide again; what it found out in its first term is of no use any more.
        await look(one)
        clock.now_s += 20.0
        await look(one)
        assert term(one) == 3
        assert await writer.write(found, lambda: term(one) == begun) == 0
        assert server.writes == 1


async def test_a_write_that_arrives_after_that_of_the_next_holder_is_refused(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(BACKEND)
    clock = Clock()
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        one = replica(api, "one", clock)
        await look(one)
        loaded = await follower.next()
        found = statuses(loaded, conditions(loaded.declared, {}), follower.source.seen.held)
        next_says = {"type": "Accepted", "status": "False", "reason": "ByTheNext", "message": ""}
        said = {"conditions": [{**next_says, "lastTransitionTime": now()}]}

        async def overtaken() -> None:
            clock.now_s += 20.0
            path = cluster.resources["Backend"].path("default", "web")
            await api.merge(f"{path}/status", {"status": said})

        server = Delayed(api, overtaken)
        writer = StatusWriter(server, lambda: follower.source.objects, now)
        assert await writer.write(found, lambda: term(one) is not None) == 0
        assert server.writes == 1
        (condition,) = cluster.get("Backend", "web")["status"]["conditions"]
        assert condition["reason"] == "ByTheNext"


async def test_a_server_that_wants_no_more_writes_is_left_in_peace_for_so_long(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(BACKEND)
    clock = Clock()
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        loaded = await follower.next()
        found = statuses(loaded, conditions(loaded.declared, {}), follower.source.seen.held)
        writer = StatusWriter(api, lambda: follower.source.objects, now, clock)
        cluster.server.faults.throttle(retry_after_s=5, verbs=["patch"], times=1)
        cluster.server.calls.clear()
        for passed_s, written, asked in ((0.0, 0, 1), (4.9, 0, 1), (0.2, 1, 2)):
            clock.now_s += passed_s
            assert await writer.write(found) == written
            assert cluster.server.calls.count("patch") == asked


class Gone:
    """A server where everything is deleted meanwhile."""

    def __init__(self) -> None:
        self.asked = 0

    async def get(self, path: str) -> dict[str, Any]:
        raise AssertionError(path)

    async def merge(self, path: str, body: object) -> dict[str, Any]:
        self.asked += 1
        raise ApiError(404, "not found")


class Late:
    """A server whose answer comes when a watch has told already that the object is gone."""

    def __init__(self, api: Api, cluster: Scene, objects: Objects) -> None:
        self._api, self._cluster, self._objects = api, cluster, objects

    async def get(self, path: str) -> dict[str, Any]:
        raise AssertionError(path)

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        item = await self._api.merge(path, body)
        self._cluster.delete("Backend", "web")
        async with asyncio.timeout(DEADLINE_S):
            while WEB in self._objects.all():  # noqa: ASYNC110 (what a watch tells)
                await asyncio.sleep(0.01)
        return item


WEB = ObjectKey("Backend", "default/web")


async def test_an_answer_that_comes_late_brings_nothing_back(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        loaded = await follower.next()
        held: dict[ObjectKey, Held] = dict(follower.source.seen.held)
        found = statuses(loaded, conditions(loaded.declared, {}), held)
        objects = follower.source.objects
        writer = StatusWriter(Late(api, cluster, objects), lambda: objects, now)
        assert await writer.write({WEB: found[WEB]}) == 1
        assert WEB not in objects.all()


async def test_an_object_that_is_gone_is_let_be(cluster: Scene, tmp_path: Path) -> None:
    cluster.put(BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        loaded = await follower.next()
        held: dict[ObjectKey, Held] = dict(follower.source.seen.held)
        found = statuses(loaded, conditions(loaded.declared, {}), held)
        server = Gone()
        assert await StatusWriter(server, lambda: follower.source.objects, now).write(found) == 0
        assert server.asked == 1


class Taking:
    """A server that takes everything."""

    def __init__(self) -> None:
        self.taken: list[Mapping[str, Any]] = []

    async def create(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        self.taken.append(body)
        return body


async def test_an_event_is_one_that_the_api_server_takes_whatever_is_said_of_what(
    cluster: Scene,
) -> None:
    """`NoteLengthLimit` is of bytes, and what is cut off a name leaves a DNS subdomain."""
    name = f"{'a' * 199}-b"
    key, of = ObjectKey("Backend", f"default/{name}"), cluster.resources["Backend"]
    held = Held(of, "default", name, "uid", "1", 1, "", b"", {})
    server = Taking()
    recorder = Recorder(
        server,
        lambda: {key: held},
        "weir",
        clock=lambda: 0.0,
        now=lambda: "",
        unique=lambda: "0a",
    )
    await recorder.write(Happened(key, "Frozen", "結構" * 500))
    (event,) = server.taken
    assert 1000 < len(event["note"].encode()) <= 1024
    part = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    assert re.fullmatch(rf"{part}(\.{part})*", event["metadata"]["name"])


@contextmanager
def in_pod(command: list[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A command with what a pod of the namespace `default` has."""
    environment = {**os.environ, "POD_NAMESPACE": "default"}
    with log.open("w") as file:
        running = subprocess.Popen(command, stdout=file, stderr=file, text=True, env=environment)
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait(DEADLINE_S)


@contextmanager
def weir(cluster: Scene, tmp_path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`weir serve --kubernetes` as a process of its own."""
    command = [sys.executable, "-m", "controlplane.cli", "serve", "--kubernetes"]
    command += ["--kubeconfig", str(cluster.server.write_kubeconfig(tmp_path / "kubeconfig"))]
    command += ["--state-dir", str(tmp_path / "state"), "--log-format", "json", *options]
    with in_pod(command, tmp_path / "log") as running:
        yield running


async def until(holds: Callable[[], bool], log: Path) -> None:
    ends_s = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < ends_s, log.read_text()[-4000:]  # noqa: ASYNC240
        await asyncio.sleep(0.1)


class Told:
    """The events that a server has, each seen once."""

    PATH = "/apis/events.k8s.io/v1/namespaces/default/events"

    def __init__(self, cluster: Scene, log: Path) -> None:
        self._cluster = cluster
        self._log = log

    async def next(self) -> tuple[str, str, str]:
        """Reason, of what, note; no more than one is there."""
        items = partial(self._cluster.http.get, self.PATH)
        await until(lambda: bool(items().json()["items"]), self._log)
        (event,) = items().json()["items"]
        self._cluster.http.delete(f"{self.PATH}/{event['metadata']['name']}")
        regarding = event["regarding"]
        return event["reason"], f"{regarding['kind']} {regarding['name']}", event["note"]


async def test_weir_serve_writes_statuses_holds_the_lease_and_tells_events(
    cluster: Scene, tmp_path: Path
) -> None:
    """Each event by the way that it comes: files of the kill switch, and the NACKs of a client."""
    cluster.put(GATEWAY, ROUTE, BACKEND, POLICY)
    xds, admin = free_port(), free_port()
    options = ["--xds-address", f"127.0.0.1:{xds}", "--admin-address", f"127.0.0.1:{admin}"]
    options += ["--push-stages", "0.5", "--push-bake-s", "0"]
    log, told = tmp_path / "log", Told(cluster, tmp_path / "log")
    with weir(cluster, tmp_path, *options) as running:

        def programmed() -> object:
            conditions = (cluster.get("Gateway", "edge").get("status") or {}).get("conditions", ())
            return {one["type"]: one["reason"] for one in conditions}.get("Programmed")

        await until(lambda: running.poll() is None and programmed() is not None, log)
        assert programmed() == "Pending"  # no Envoy is there to have taken it
        lease = cluster.http.get(
            "/apis/coordination.k8s.io/v1/namespaces/default/leases/weir-decider"
        ).json()["spec"]
        assert lease["leaseTransitions"] == 1

        async with connected_envoy(xds, "default/edge", refuses=True):
            reason, what, note = await told.next()
            assert (reason, what) == ("Refused", "Gateway edge")
            assert note == f"envoy-1 refuses lds: {WORDS}"
            await until(lambda: programmed() == "Invalid", log)
        async with connected_envoy(xds, "default/edge", refuses=False) as client:
            await until(lambda: programmed() == "Programmed", log)
            client.refuses = True
            cluster.put(GATEWAY.replace("8080", "8081"))
            reason, what, note = await told.next()
            assert (reason, what) == ("RolledBack", "Gateway edge")
            assert WORDS in note

        frozen = tmp_path / "state" / "frozen"
        frozen.write_text("the test says so")
        assert await told.next() == ("Frozen", "Gateway edge", "the test says so")
        frozen.unlink()
        assert await told.next() == ("Resumed", "Gateway edge", "weights may move again")

        def route_programmed() -> object:
            (parent,) = cluster.get("HTTPRoute", "web")["status"]["parents"]
            return {one["type"]: one["reason"] for one in parent["conditions"]}.get("Programmed")

        # Each says so when its own `SETTLING_PASSES` are over.
        await until(lambda: (programmed(), route_programmed()) == ("Pending", "Pending"), log)
        cluster.server.calls.clear()
        await asyncio.sleep(2.0)
        patched = [one for one in cluster.server.calls.recent if one.verb == "patch"]
        assert not patched  # nothing changed: nothing is written
    lease = cluster.http.get("/apis/coordination.k8s.io/v1/namespaces/default/leases/weir-decider")
    assert lease.json()["spec"]["holderIdentity"] == ""  # let go at the end
