"""Two replicas, an Envoy on each: one version everywhere, one of them is killed, and both are
replaced by new ones while objects are refused."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from controlplane.lab.envoy import run_envoy
from controlplane.lab.ports import free_ports
from controlplane.model import EndpointId, Grouping, LastGood, ServiceName, Weights
from controlplane.store import SqlStateStore
from controlplane.translate.bootstrap import ads_bootstrap
from controlplane.translate.client_tls import ClientTls
from tests.certificates import SERVER, Authority, Files
from tests.envoy.echo import call, echoes
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.scene import DEADLINE_S, Scene, scene
from tests.kubernetes.test_status import in_pod, until
from tests.unit.resources.documents import GATEWAY

pytestmark = pytest.mark.envoy

BACKEND = """\
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {{name: web}}
spec:
  endpoints:
    - {{ip: {{address: 127.0.0.1, port: {a}}}, labels: {{weir.dev/class: fast}}}}
    - {{ip: {{address: 127.0.0.1, port: {b}}}, labels: {{weir.dev/class: slow}}}}
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: edge}}]
  rules:
    - matches: [{{path: {{value: {path}}}}}]
      filters:
        - type: ResponseHeaderModifier
          responseHeaderModifier: {{set: [{{name: x-route, value: {said}}}]}}
      backendRefs: [{{group: weir.dev, kind: Backend, name: web}}]
"""
WEB = ROUTE.format(name="web", path="/", said="web")
MENDED = ROUTE.format(name="web", path="/", said="mended")
EXTRA = ROUTE.format(name="extra", path="/extra", said="extra")
REFUSED = [ROUTE.format(name=name, path="no-slash", said="never") for name in ("web", "extra")]
POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: BalancingPolicy
metadata: {name: web}
spec:
  targetRefs:
    - {group: weir.dev, kind: Backend, name: web}
  policy: capacity
"""
LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/weir-decider"
SERVE = """
from controlplane.cli import main
from controlplane.kubernetes.lease import LeaseTimes
from controlplane.replicas import replicas
replicas.GATHER_S = 0.5
LeaseTimes.__init__.__defaults__ = (15, 10.0, 0.2)
main()
"""
"""With less patience than a cluster wants."""
CA = Authority()
LEARNED = (0.7, 0.3)
"""What one replica has learned, and the other has never heard of."""


@dataclass
class Weir:
    """One `weir serve --kubernetes`, with its Envoy."""

    folder: Path
    xds: int
    admin: int
    replica: int
    envoy_admin: int
    process: subprocess.Popen[str] | None = None

    @property
    def own(self) -> Files:
        """Its certificate: for its Envoy, and for the other replica."""
        folder = self.folder / "tls"
        return Files(folder) if folder.exists() else Files(folder).put(CA.server(), CA.pem)

    def envoys(self) -> ClientTls:
        """The certificate of its Envoy, of the same CA."""
        made = Files(self.folder / "envoy-tls").put(CA.issue(dns=["envoy"]), CA.pem)
        folder = str(made.folder)
        tls = ClientTls(str(made.certificate), str(made.key), str(made.ca), SERVER, secrets=folder)
        for file, content in tls.files().items():
            (made.folder / file).write_text(yaml.safe_dump(content))
        return tls

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def ask(self, path: str) -> Any:  # noqa: ANN401
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.admin}{path}", timeout=5.0)
        except httpx.HTTPError:
            return {}
        return answer.json() if answer.status_code == 200 else {}

    @property
    def role(self) -> str:
        return str(self.ask("/v1/replica").get("role", ""))

    def versions(self, side: str = "acked") -> dict[str, str]:
        """What its Envoy has taken of each type."""
        found = self.ask(f"/v1/proxies/{self.folder.name}").get("types", {})
        return {name: one[side] for name, one in found.items()}

    @property
    def programmed(self) -> str:
        """Why it does not know whether Envoys have taken it; empty where it says that it knows."""
        every: list[dict[str, Any]] = self.ask("/v1/status") or []
        (gateway,) = [one for one in every if one["kind"] == "Gateway"] or [{}]
        return "".join(
            one["message"]
            for one in gateway.get("conditions", ())
            if one["type"] == "Programmed" and one["status"] is None and not one["part"]
        )

    @property
    def refused(self) -> set[str]:
        """The documents that are refused there."""
        problems = self.ask("/v1/problems") or []
        return {one["file"] for one in problems}

    async def renewed(self, cluster: Scene, stack: contextlib.AsyncExitStack) -> None:
        """By one that is new: told to stop, if it is there still, and nothing is left of it."""
        assert self.process is not None
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, DEADLINE_S)
        shutil.rmtree(self.folder / "state")
        stack.enter_context(serving(cluster, self))

    @property
    def looked(self) -> dict[str, Any]:
        """The last look at the service."""
        found: dict[str, Any] = self.ask("/v1/services/default/web/explain")
        return found

    @property
    def shares(self) -> list[float]:
        return [one["share"] for one in self.looked.get("groups", ())]


@contextlib.contextmanager
def serving(cluster: Scene, of: Weir) -> Iterator[None]:
    kubeconfig = cluster.server.write_kubeconfig(of.folder / "kubeconfig")
    options = {
        "kubeconfig": kubeconfig,
        "state-dir": of.folder / "state",
        "xds-address": f"127.0.0.1:{of.xds}",
        "admin-address": f"127.0.0.1:{of.admin}",
        "replica-address": f"127.0.0.1:{of.replica}",
        "replica-identity": SERVER,
        "tls-cert": of.own.certificate,
        "tls-key": of.own.key,
        "tls-client-ca": of.own.ca,
        "log-format": "json",
    }
    command = [sys.executable, "-c", SERVE, "serve", "--kubernetes"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with in_pod(command, of.log) as of.process:
        yield


@contextlib.asynccontextmanager
async def envoy_of(of: Weir) -> AsyncIterator[None]:
    """Envoys of one Gateway share its port: the kernel gives connections to either."""
    bootstrap = ads_bootstrap(
        node_id=of.folder.name,
        fleet="default/edge",
        xds_port=of.xds,
        admin_port=of.envoy_admin,
        tls=of.envoys(),
    )
    (ads,) = bootstrap["dynamic_resources"]["ads_config"]["grpc_services"]
    retry = {"base_interval": "0.1s", "max_interval": "0.5s"}  # with less patience, too
    ads["envoy_grpc"]["retry_policy"]["retry_back_off"] = retry
    async with run_envoy(bootstrap, of.folder, wait_s=60.0):
        yield


async def learned(folder: Path, *ports: int) -> None:
    """As a replica left it that has decided before."""
    endpoints = tuple(EndpointId(f"127.0.0.1:{port}") for port in ports)
    grouping = Grouping(endpoints, ("fast", "slow"), np.array([0, 1]))
    weights = Weights(tuple(round(1_000_000 * share) for share in LEARNED))
    last = LastGood(
        ServiceName("default/web"), grouping, np.array(LEARNED), weights, "capacity", 1.7e9
    )
    store = SqlStateStore.in_folder(folder / "state")
    await store.save([last])
    await store.close()


Answers = Counter[tuple[str, int, str]]
"""By path, status, and the route that answered."""
WELL = {("/", 200, "web"), ("/extra", 200, "extra")}


@contextlib.asynccontextmanager
async def requests(port: int) -> AsyncIterator[Answers]:
    """One after the other, each on a connection of its own, until the end."""
    answers: Answers = Counter()

    async def ask() -> None:
        while True:
            for path in ("/", "/extra"):
                answer = await call(port, path)
                answers[path, answer.status, answer.headers.get("x-route", "")] += 1
            await asyncio.sleep(0.005)

    asking = asyncio.create_task(ask())
    try:
        yield answers
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking


def served(of: Weir) -> tuple[int, int]:
    """How many requests its Envoy answered well, and how many not."""
    text = httpx.get(f"http://127.0.0.1:{of.envoy_admin}/stats?filter=downstream_rq_[1-5]xx").text
    counts = Counter[bool]()
    for line in text.splitlines():
        name, _, count = line.partition(": ")
        if name.startswith("http.") and not name.startswith("http.admin."):
            counts[name.endswith("_2xx")] += int(count)
    return counts[True], counts[False]


async def all_say(gateway: int, said: dict[str, str]) -> None:
    """Whichever Envoy answers, for each path."""
    async with asyncio.timeout(DEADLINE_S):
        right = 0
        while right < 30:
            found = {p: (await call(gateway, p)).headers.get("x-route", "") for p in said}
            right = right + 1 if found == said else 0


def programmed(cluster: Scene) -> str:
    found = (cluster.get("Gateway", "edge").get("status") or {}).get("conditions", ())
    return {one["type"]: f"{one['status']}: {one['message']}" for one in found}.get(
        "Programmed", ""
    )


async def rolled(
    cluster: Scene, stack: contextlib.AsyncExitStack, dead: Weir, leads: Weir, late: Weir
) -> None:
    """While two routes are refused all that knew their last valid versions goes, one replica after
    the other, and the one that decides among them. `late` is an Envoy that begins after that."""
    before, files = leads.versions(), {"HTTPRoute/default/web", "HTTPRoute/default/extra"}
    cluster.put(*REFUSED)
    await until(lambda: leads.refused == files, leads.log)
    await dead.renewed(cluster, stack)
    await until(lambda: dead.role == "follows" and dead.refused == files, dead.log)
    await leads.renewed(cluster, stack)
    await stack.enter_async_context(envoy_of(late))
    await until(lambda: leads.versions() == dead.versions() != {}, leads.log)
    assert (dead.role, leads.role) == ("decides", "follows")
    assert leads.refused == files
    for name in ("lds", "rds"):  # to the byte, in processes that never saw these routes valid
        assert leads.versions()[name] == before[name]


async def test_one_version_everywhere_while_the_leader_is_killed_and_all_are_replaced(
    api_server: ApiServer, tmp_path: Path
) -> None:
    ports = iter(free_ports(10))
    gateway = next(ports)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = (
        Weir(tmp_path / name, next(ports), next(ports), next(ports), next(ports))
        for name in ("one", "two")
    )
    late = Weir(tmp_path / "late", two.xds, 0, 0, next(ports))
    late.folder.mkdir()
    async with contextlib.AsyncExitStack() as stack:
        origins = await stack.enter_async_context(echoes("a", "b"))
        cluster = stack.enter_context(scene(api_server))
        at = {name: origin.port for name, origin in origins.items()}
        await learned(one.folder, *at.values())
        cluster.put(GATEWAY.replace("8080", str(gateway)), WEB, EXTRA, BACKEND.format(**at), POLICY)

        # One decides. Another comes, which knows nothing: both serve the same, to the byte.
        stack.enter_context(serving(cluster, one))
        await until(lambda: one.role == "decides", one.log)
        stack.enter_context(serving(cluster, two))
        await until(lambda: "another replica decides" in two.programmed, two.log)
        await asyncio.gather(
            stack.enter_async_context(envoy_of(one)), stack.enter_async_context(envoy_of(two))
        )
        await until(lambda: two.versions() == one.versions() != {}, two.log)
        assert two.role == "follows"
        assert {"cds", "eds", "lds", "rds", "rtds"} <= two.versions().keys()
        assert two.shares == one.shares == pytest.approx(LEARNED)
        await until(lambda: programmed(cluster).startswith("True: 2 of 2"), one.log)

        # Whoever decides sees the requests of both Envoys; when it moves the other does.
        async with requests(gateway) as answers:
            await until(lambda: one.looked["observation"]["proxies"] == 2, one.log)
            await until(lambda: one.shares != pytest.approx(LEARNED), one.log)
            await until(lambda: two.shares == one.shares != [], two.log)
            await until(lambda: two.versions() == one.versions() != {}, two.log)

            # It is killed. Its Lease ends a second later, and not after fifteen.
            assert one.process is not None
            one.process.kill()
            await until(lambda: two.role == "holds", two.log)  # what was on its way has come
            before, versions = two.shares, two.versions()
            cluster.http.patch(
                LEASE,
                json={"spec": {"leaseDurationSeconds": 1}},
                headers={"content-type": "application/merge-patch+json"},
            ).raise_for_status()
            seen = [before]
            async with asyncio.timeout(DEADLINE_S):
                while two.role != "decides":
                    assert two.versions() == versions
                    seen.append(two.shares)
                    await asyncio.sleep(0.05)
            assert seen == [before] * len(seen)  # nobody decided, and nothing moved
            for _ in range(10):
                seen.append(two.shares)
                await asyncio.sleep(0.1)
            steps = np.abs(np.diff(np.array(seen), axis=0)).max(axis=1)
            assert steps.max() <= 0.1 + 1e-6  # by the guard's steps at most, as numbers say
            await until(lambda: programmed(cluster).startswith("True: 1 of 1"), two.log)
            lease = cluster.http.get(LEASE).json()
            assert lease["spec"]["leaseTransitions"] == 2
            assert (
                lease["metadata"]["annotations"]["weir.dev/address"] == f"127.0.0.1:{two.replica}"
            )

            # It is replaced, and then the other: what is refused stays as it was, at every Envoy.
            await rolled(cluster, stack, one, two, late)
            so_far = answers.total()
            await until(lambda: answers.total() > so_far + 100 and sum(served(late)) > 10, two.log)
            assert answers.keys() == WELL
            assert [served(of)[1] for of in (one, two, late)] == [0, 0, 0]

            # One is mended, the other deleted, and nobody remembers what was.
            cluster.put(MENDED)
            cluster.delete("HTTPRoute", "extra")
            await all_say(gateway, {"/": "mended", "/extra": "mended"})
            assert not one.refused | two.refused
