"""A Gateway, a route and a Service put into the API reach a real Envoy, and its ACK the status; and
while the API is gone a start serves what was declared before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tarfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from controlplane.lab.envoy import Envoy, run_envoy
from controlplane.lab.ports import free_ports
from controlplane.translate.bootstrap import ads_bootstrap
from tests.certificates import Authority
from tests.envoy.echo import call, echoes
from tests.envoy.edge import secret, trusting
from tests.kubernetes import replicas, tools
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.scene import scene
from tests.kubernetes.test_status import until, weir
from tests.unit.resources.documents import GATEWAY
from tests.unit.resources.test_service_backends import ROUTE, SERVICE, at, slice_of

pytestmark = pytest.mark.envoy


async def origin(port: int) -> str:
    """Who answers."""
    answer = await call(port)
    assert answer.status == 200
    return str(json.loads(answer.body)["origin"])


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextlib.asynccontextmanager
async def asked_on(port: int) -> AsyncIterator[list[str]]:
    """Requests one after the other until the block ends; each must be answered."""
    answers: list[str] = []

    async def ask() -> None:
        while True:
            answers.append(await origin(port))
            await asyncio.sleep(0.01)

    asking = asyncio.create_task(ask())
    try:
        yield answers
        before = len(answers)
        while len(answers) < before + 3 and not asking.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    finally:
        asking.cancel()
        await asyncio.wait({asking})
    if not asking.cancelled():
        asking.result()


async def test_what_is_put_into_the_api_is_served_and_without_the_api_what_was_there(
    api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first Gateway needs a Secret, which is not kept; the second needs none."""
    xds, admin, gateway_port, tls_port, envoy_admin, later_port, later_admin = free_ports(7)
    options = ["--xds-address", f"127.0.0.1:{xds}", "--admin-address", f"127.0.0.1:{admin}"]
    options += ["--kubernetes-wait-s", "0.5"]
    authority = Authority()
    issued = authority.issue(ips=["127.0.0.1"])
    values = {"tls.crt": issued.certificate, "tls.key": issued.key}
    held = secret("held", values, kind="kubernetes.io/tls")
    edge = GATEWAY.replace("8080", str(gateway_port)) + (
        f"    - {{name: https, port: {tls_port}, protocol: HTTPS, "
        "tls: {certificateRefs: [{name: held}]}}\n"
    )
    late = GATEWAY.replace("8080", str(later_port)).replace("name: edge", "name: late")
    route = ROUTE.replace("[{name: edge}]", "[{name: edge}, {name: late}]")
    log = tmp_path / "log"

    def envoy(name: str, admin_port: int) -> contextlib.AbstractAsyncContextManager[Envoy]:
        bootstrap = ads_bootstrap(
            node_id=name, fleet=f"default/{name}", xds_port=xds, admin_port=admin_port
        )
        return run_envoy(bootstrap, tmp_path, name=name, wait_s=60.0)

    def first(port: int) -> str:
        return slice_of("one", at("127.0.0.1", ready=True), port=port)

    async with contextlib.AsyncExitStack() as stack:
        origins = await stack.enter_async_context(echoes("a", "b", "c"))
        cluster = stack.enter_context(scene(api_server))
        with weir(cluster, tmp_path, *options):
            cluster.put(held, edge, late, route, SERVICE, first(origins["a"].port))
            await stack.enter_async_context(envoy("edge", envoy_admin))

            def programmed(kind: str, name: str) -> bool:
                """Whether it is, anywhere: of the second Gateway there is no Envoy."""
                status = cluster.get(kind, name).get("status") or {}
                return any(
                    (one["type"], one["status"]) == ("Programmed", "True")
                    for place in (status, *status.get("parents", ()))
                    for one in place.get("conditions", ())
                )

            for kind, name in (("Gateway", "edge"), ("HTTPRoute", "web")):
                await until(partial(programmed, kind, name), log)
            assert await origin(gateway_port) == "a"

            # The endpoint moves: the Service's next pod is ready, its last one is gone.
            cluster.put(first(origins["b"].port))
            async with asked_on(gateway_port) as answers:
                await until(lambda: answers[-1:] == ["b"], log)
                pod = socket.gethostname()  # what it calls itself in its Lease
                replicas.replica(api_server, cluster.http, pod, admin, home="default")
                monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
                monkeypatch.delenv("WEIR_ADMIN_ADDRESS", raising=False)
                beside = Path(tools.program("kubectl")).parent
                monkeypatch.setenv("PATH", f"{beside}:{os.environ['PATH']}")
                await asyncio.to_thread(_asked_through_the_cluster, tmp_path)

        asking = await stack.enter_async_context(contextlib.AsyncExitStack())
        answers = await asking.enter_async_context(asked_on(gateway_port))
        api_server.refuse_connections()
        pages = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{admin}"))

        def page(path: str) -> str:
            """Empty where it does not serve yet."""
            with contextlib.suppress(httpx.TransportError):
                if (answer := pages.get(path)).status_code == 200:
                    return answer.text
            return ""

        with weir(cluster, tmp_path, *options):
            await until(lambda: bool(page("/readyz")), log)
            assert "no complete lists within 0.5 s" in page("/readyz")
            assert "weir_kubernetes_stale 1.0" in page("/metrics")
            (problem,) = json.loads(page("/v1/problems"))
            assert problem["file"] == "Kubernetes"
            assert "Envoys of default/edge are left as they are" in problem["message"]

            def told() -> dict[str, str]:
                """How far the first Envoy is, by type."""
                (found,) = json.loads(page("/v1/proxies")) or [{"types": {}}]
                return {kind: one["state"] for kind, one in found["types"].items()}

            await until(lambda: told().get("eds") == "SYNCED", log)
            assert told()["lds"] == "NOT SENT"  # so it keeps what it has
            async with httpx.AsyncClient(verify=trusting(authority.pem)) as client:
                answer = await client.get(f"https://127.0.0.1:{tls_port}/")
            assert answer.json()["origin"] == "b"
            # An Envoy that comes now gets all of it.
            async with envoy("late", later_admin):
                assert await origin(later_port) == "b"

            # What was changed meanwhile arrives.
            lists = api_server.faults.fail(
                verbs=["list"], resource="endpointslices.discovery.k8s.io", times=1000
            )
            api_server.accept_connections()
            cluster.put(first(origins["c"].port))
            lists.left = 0
            await until(lambda: answers[-1:] == ["c"], log)
            assert "weir_kubernetes_stale 0.0" in page("/metrics")
            await until(partial(programmed, "Gateway", "edge"), log)
            assert set(answers) == {"b", "c"}
            await asking.aclose()

            # A Gateway that is deleted is told to its Envoys.
            cluster.delete("Gateway", "edge")
            await until(lambda: not listens(gateway_port), log)


def _asked_through_the_cluster(folder: Path) -> None:
    """kubectl's port-forward to the real admin address: what `kubectl weir` says of it."""
    shown = replicas.weir("proxy-status", "-o", "json", plugin=True)
    assert shown.exit_code == 0, shown.output
    (envoy,) = json.loads(shown.stdout)
    assert (envoy["node"], envoy["fleet"]) == ("edge", "default/edge")
    shown = replicas.weir("proxy-config", "route", "edge", plugin=True)
    assert "default/edge/http" in shown.stdout, shown.output
    checks = json.loads(replicas.weir("verify-install", "-o", "json").stdout)
    states = {one["name"]: (one["state"], one["message"]) for one in checks}
    assert states["lease"][0] == "OK", states
    assert states["ready"][0] == "OK", states
    assert states["envoys"] == ("OK", "1 connected, of default/edge")
    assert "version" not in states  # it is the same, which is not spoken of
    archive = folder / "report.tar.gz"
    done = replicas.weir("bug-report", "--to", str(archive), plugin=True)
    assert done.exit_code == 0, done.output
    with tarfile.open(archive) as tar:
        dump = next(one for one in tar if one.name.endswith("envoys/edge/acked.json"))
        file = tar.extractfile(dump)
        assert file is not None
        listeners = json.loads(file.read())["lds"]
    assert listeners[0]["config"]["address"]["socket_address"]["address"]
