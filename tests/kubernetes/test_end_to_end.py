"""All of it on one machine: the chart by Helm, the example by kubectl, two replicas of Weir as the
chart starts them, its three Envoys, pods of an application; and what befalls them under load.

What is typed up to the first requests is docs/install.md itself. How pods run without containers is
told in `tests.kubernetes.node`; with KUBECONFIG the same is played in a real cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.certificates import Authority, Files
from tests.kubernetes import cluster as clusters
from tests.kubernetes import strangers, tools
from tests.kubernetes.pages import ROOT, commands
from tests.kubernetes.requests import ask, under_load
from tests.kubernetes.stage import ENVOY, SHOP, SYSTEM, WEIR, Here, Stage, here, there, until

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.skipif(
        os.geteuid() != 0 and clusters.given() is None, reason="networks of pods want root"
    ),
]

INSTALL = commands(ROOT / "docs" / "install.md")
PATH, SERVICE = "/1000", "default/shop:80"
KEY = "x-api-key: weir_0uG0HlQv0q74FyGgoOipn1NGs_2x7NyTSF4HXisz2sI"


async def synced(stage: Stage) -> bool:
    """Whether each Envoy is connected to a replica and runs what it should, which is the same in
    all of them; and the Gateway says so."""
    envoys = set(await stage.pods(ENVOY))
    told = [
        envoy for pod in await stage.pods(WEIR) for envoy in await stage.admin(pod, "/v1/proxies")
    ]
    if {one["node"] for one in told} != envoys:
        return False
    versions = {
        (name, one["acked"] if one["state"] == "SYNCED" else "")
        for envoy in told
        for name, one in envoy["types"].items()
    }
    gateway = await stage.read("get", "gateway", "edge")
    (said,) = (one for one in gateway["status"]["conditions"] if one["type"] == "Programmed")
    every = len({name for name, _ in versions}) == len(versions)  # one version of each type
    return every and said["status"] == "True" and "3 of 3 Envoys" in said["message"]


async def alike(stage: Stage) -> bool:
    """Whether all replicas have the same weights in force."""
    path = f"/v1/services/{SERVICE}/explain"
    told = [await stage.admin(pod, path) for pod in await stage.pods(WEIR)]
    shares = [{one["endpoint"]: one["share"] for one in each["endpoints"]} for each in told]
    return len(shares[0]) == 3 and all(one == shares[0] for one in shares)


async def renewed(stage: Stage) -> None:
    """Another version of Weir, by Helm: one more before one less, and never fewer than two."""
    before = set(await stage.pods(WEIR))
    async with watched(stage) as ready:
        await stage.type(
            f"helm upgrade weir charts/weir -n {SYSTEM} --reuse-values "
            "--set settings.logLevel=debug --wait --timeout=120s"
        )
    assert min(ready) == 2
    after = set(await stage.pods(WEIR))
    assert len(after) == 2
    assert not before & after
    await until(lambda: synced(stage), "Envoys with the new replicas")


@contextlib.asynccontextmanager
async def broken(stage: Stage) -> AsyncIterator[None]:
    """Meanwhile the route of all requests is invalid, and its last valid version is in force. The
    definitions of the Gateway API that a real API server has refuse such a one."""
    where = "/spec/rules/0/matches/0/path/value"

    async def says(value: str, *words: str) -> None:
        patch = json.dumps([{"op": "replace", "path": where, "value": value}])
        await stage.kubectl("patch", "httproute", "shop", "--type=json", "-p", patch)
        await until(lambda: told(*words), f"a status of the route: {words}")

    async def told(status: str, words: str) -> bool:
        route = await stage.read("get", "httproute", "shop")
        (parent,) = route["status"]["parents"]
        accepted = {one["type"]: one for one in parent["conditions"]}["Accepted"]
        now = accepted["observedGeneration"] == route["metadata"]["generation"]
        return now and accepted["status"] == status and words in accepted["message"]

    refused = ("False", "the last valid version is in force")
    await says("no-slash", *refused)
    yield
    await until(lambda: told(*refused), "the same by a replica that is new")
    await says("/partners", "True", "")


@contextlib.asynccontextmanager
async def watched(stage: Stage) -> AsyncIterator[list[int]]:
    """The numbers of replicas of Weir that were ready meanwhile."""
    seen: list[int] = []
    process = await asyncio.create_subprocess_exec(
        *(tools.program("kubectl"), "--kubeconfig", str(stage.cluster.kubeconfig), "-n", SYSTEM),
        *("get", "deployment", "weir", "--watch", "-o", 'jsonpath={.status.readyReplicas}{"\\n"}'),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        seen.append(int(await process.stdout.readline()))
        yield seen
    finally:
        process.terminate()
        rest = await process.stdout.read()
        seen += [int(one or 0) for one in rest.decode().splitlines()]
        await process.wait()


async def killed(stage: Stage) -> tuple[str, int]:
    """kill -9 of the replica that decides; who that was."""
    replicas = await stage.pods(WEIR)

    async def decides() -> bool:
        """Whoever was renewed let it go, and another looks for it every other second."""
        return (await stage.holder())[0].partition("_")[0] in replicas

    await until(decides, "a replica that decides")
    holder, epoch = await stage.holder()
    await stage.kill(holder.partition("_")[0])
    return holder, epoch


async def rolled(stage: Stage) -> None:
    """A new version of the application: one more before one less, and who ends drains."""
    before = set(await stage.pods(SHOP, "default"))
    await stage.kubectl("rollout", "restart", "deployment/shop")
    await stage.kubectl("rollout", "status", "deployment/shop", "--timeout=120s")
    slices = await stage.read("get", "endpointslices", "-l", "kubernetes.io/service-name=shop")
    told = [one["conditions"] for found in slices["items"] for one in found["endpoints"]]
    assert {"ready": False, "serving": True, "terminating": True} in told

    async def gone() -> bool:
        there_are = await stage.kubectl("get", "pods", "-l", SHOP, "-o", "name")
        return not before & {one.removeprefix("pod/") for one in there_are.split()}

    await until(gone, "the pods of the version before gone")


NOBODYS = """
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: metadata}
spec: {endpoints: [{ip: {address: 169.254.169.254, port: 80}}]}
"""


async def refused(stage: Stage) -> None:
    """What is wrong is not stored, and the reason is told: by the schema, and by the webhook."""
    patch = '{"spec":{"interval":"soon"}}'
    words = await stage.refused("patch", "balancingpolicy", "shop", "--type=merge", "-p", patch)
    assert "spec.interval" in words
    found = await stage.read("get", "balancingpolicy", "shop")
    assert found["spec"]["interval"] == "1s"
    words = await asyncio.to_thread(stage.cluster.refused, "apply", "-f", "-", given=NOBODYS)
    assert "denied the request: Backend default/metadata: spec.endpoints[0].ip.address" in words


async def closed_to_strangers(stage: Here, folder: Path) -> None:
    """There is no network policy here that could hold anybody back."""
    authority = Authority("somebody else")
    foreign = Files(folder).put(authority.issue(dns=["envoy"]), authority.pem)
    with_certificate = strangers.believing_all()
    with_certificate.load_cert_chain(foreign.certificate, foreign.key)
    for name in await stage.pods(WEIR):
        await asyncio.to_thread(_replica_is_closed, stage, name, with_certificate)
    for name in await stage.pods(ENVOY):
        await asyncio.to_thread(_envoy_is_closed, stage.pod(name).network.address)


def _replica_is_closed(stage: Here, name: str, foreign: ssl.SSLContext) -> None:
    """It listens where its template says, and nowhere else; of that only probes answer."""
    pod = stage.pod(name)
    (container,) = pod.containers
    assert container.process is not None
    at = pod.network.address
    ports = {one["name"]: one["containerPort"] for one in container.spec["ports"]}
    assert strangers.listens(container.process.pid) == set(ports.values())
    assert not strangers.connects(at, 18001)  # the admin address
    assert set(ports) == {"xds", "replica", "webhook", "probe"}
    for port in (ports["xds"], ports["replica"]):
        assert strangers.heard(at, port) == b""
        assert strangers.heard(at, port, strangers.believing_all()) == b""
        assert strangers.heard(at, port, foreign) == b""
    assert strangers.heard(at, ports["webhook"]) == b""  # API servers ask without a certificate
    asking = strangers.believing_all("http/1.1")
    for path, method in (("/v1/services", "GET"), ("/v1/freeze", "POST"), ("/docs", "GET")):
        assert strangers.page(at, ports["probe"], path, method)[0] == 404
        assert strangers.page(at, ports["webhook"], path, method, asking)[0] == 404
    assert strangers.page(at, ports["probe"], "/readyz")[0] == 200


def _envoy_is_closed(at: str) -> None:
    assert not strangers.connects(at, 9901)
    assert strangers.page(at, 9902, "/ready")[0] == 200
    for path, method in (("/config_dump", "GET"), ("/quitquitquit", "POST")):
        assert strangers.page(at, 9902, path, method)[0] == 404


async def play(stage: Stage, folder: Path) -> None:
    """From the page to the last request."""
    await stage.page(INSTALL)
    assert len(await stage.pods(WEIR)) == 2
    envoys = await stage.pods(ENVOY)
    assert len(envoys) == 3
    assert await stage.restarts() == {}
    async with stage.gates() as gates:
        for gate in gates:
            assert await ask(gate, PATH) == (200, "ok")
            assert (await ask(gate, f"/partners{PATH}"))[0] == 401
            assert await ask(gate, f"/partners{PATH}", [KEY]) == (200, "ok")
        async with under_load(gates, PATH) as load:
            load.during = "Weir renewed"
            refusing = broken(stage) if isinstance(stage, Here) else contextlib.nullcontext()
            async with refusing:
                await renewed(stage)
            load.during = "the replica that decides killed"
            holder, epoch = await killed(stage)
            load.during = "nobody decides, the application renewed"
            await rolled(stage)

            async def taken() -> bool:
                now, later = await stage.holder()
                return now not in ("", holder) and later > epoch

            await until(taken, "another that decides")
            await stage.kubectl(
                "-n", SYSTEM, "rollout", "status", "deployment/weir", "--timeout=120s"
            )
            load.during = "an object refused"
            await refused(stage)
            if isinstance(stage, Here):
                load.during = "strangers"
                await closed_to_strangers(stage, folder)
            await until(lambda: synced(stage), "Envoys that run the same")
            await until(lambda: alike(stage), "replicas with the same weights")
    assert load.failed == []
    assert load.answered > 500
    assert set(await stage.pods(ENVOY)) == set(envoys)
    again = await stage.restarts()
    assert again in ({}, {holder.partition("_")[0]: 1})  # the one that was killed, where it stayed


async def test_installed_by_the_page_it_is_renewed_killed_and_refused_and_no_request_fails(
    tmp_path: Path,
) -> None:
    real = clusters.given()
    async with there(real, tmp_path) if real is not None else here(tmp_path) as stage:
        await play(stage, tmp_path / "foreign")
