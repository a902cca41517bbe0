"""A Gateway, a route and a Service put into the API reach a real Envoy, and its ACK the status."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tarfile
from pathlib import Path

import pytest

from controlplane.lab.envoy import run_envoy
from controlplane.lab.ports import free_ports
from controlplane.translate.bootstrap import ads_bootstrap
from tests.envoy.echo import call, echoes
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


async def test_what_is_put_into_the_api_is_served_and_its_status_says_so(
    api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    xds, admin, gateway_port, envoy_admin = free_ports(4)
    ports = ["--xds-address", f"127.0.0.1:{xds}", "--admin-address", f"127.0.0.1:{admin}"]
    gateway = GATEWAY.replace("8080", str(gateway_port))
    log = tmp_path / "log"
    async with echoes("a", "b") as origins:
        with scene(api_server) as cluster, weir(cluster, tmp_path, *ports):
            first = slice_of("one", at("127.0.0.1", ready=True), port=origins["a"].port)
            cluster.put(gateway, ROUTE, SERVICE, first)
            bootstrap = ads_bootstrap(
                node_id="envoy-1", fleet="default/edge", xds_port=xds, admin_port=envoy_admin
            )
            async with run_envoy(bootstrap, tmp_path, wait_s=60.0):

                def programmed(kind: str, name: str) -> list[str]:
                    """What the condition says, where it is true."""
                    status = cluster.get(kind, name).get("status") or {}
                    return [
                        one["message"]
                        for place in (status, *status.get("parents", ()))
                        for one in place.get("conditions", ())
                        if (one["type"], one["status"]) == ("Programmed", "True")
                    ]

                wanted = ["1 of 1 Envoys have taken it"]
                await until(lambda: programmed("Gateway", "edge") == wanted, log)
                await until(lambda: bool(programmed("HTTPRoute", "web")), log)
                assert await origin(gateway_port) == "a"

                # The endpoint moves: the Service's next pod is ready, its last one is gone.
                cluster.put(slice_of("one", at("127.0.0.1", ready=True), port=origins["b"].port))
                for _ in range(600):
                    if (found := await origin(gateway_port)) == "b":
                        break
                    assert found == "a"  # every request is answered
                    await asyncio.sleep(0.05)
                assert found == "b"
                pod = socket.gethostname()  # what it calls itself in its Lease
                replicas.replica(api_server, cluster.http, pod, admin, home="default")
                monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
                monkeypatch.delenv("WEIR_ADMIN_ADDRESS", raising=False)
                beside = Path(tools.program("kubectl")).parent
                monkeypatch.setenv("PATH", f"{beside}:{os.environ['PATH']}")
                await asyncio.to_thread(_asked_through_the_cluster, tmp_path)


def _asked_through_the_cluster(folder: Path) -> None:
    """kubectl's port-forward to the real admin address: what `kubectl weir` says of it."""
    shown = replicas.weir("proxy-status", "-o", "json", plugin=True)
    assert shown.exit_code == 0, shown.output
    (envoy,) = json.loads(shown.stdout)
    assert (envoy["node"], envoy["fleet"]) == ("envoy-1", "default/edge")
    shown = replicas.weir("proxy-config", "route", "envoy-1", plugin=True)
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
        dump = next(one for one in tar if one.name.endswith("envoys/envoy-1/acked.json"))
        file = tar.extractfile(dump)
        assert file is not None
        listeners = json.loads(file.read())["lds"]
    assert listeners[0]["config"]["address"]["socket_address"]["address"]
