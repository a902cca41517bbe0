"""`weir serve` over mutual TLS: an Envoy is configured, heard, and held to its certificate."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from controlplane._pb.base_pb2 import Node
from controlplane.lab.envoy import free_port, run_envoy
from controlplane.lab.weir import WeirServe, command, documents
from controlplane.translate.bootstrap import ads_bootstrap
from controlplane.translate.client_tls import ClientTls
from tests.certificates import SERVER, Authority, Files
from tests.e2e.scene import until
from tests.envoy.test_xds import backend
from tests.unit.xds.test_security import ALS, LRS, hello

pytestmark = pytest.mark.envoy

RULE = "spiffe://example.org/ns/{namespace}/gateway/{gateway}/{node_id}"
MESSAGES = 'weir_telemetry_messages_total{{service="{}"}}'
REPORTS = ("access_logs", "load_reports")
CA = Authority()
Status = grpc.StatusCode


def options(files: Files) -> list[str]:
    return [
        *("--tls-cert", str(files.certificate), "--tls-key", str(files.key)),
        *("--tls-client-ca", str(files.ca), "--xds-identity", RULE),
        *("--xds-identity", "{node_id}.{gateway}.mesh.example"),
    ]


def client_tls(folder: Path, name: str) -> ClientTls:
    folder.mkdir()
    identity = RULE.format(namespace="default", gateway="edge-01", node_id=name)
    files = Files(folder / "files").put(CA.issue(uris=[identity]), CA.pem)
    tls = ClientTls(
        str(files.certificate), str(files.key), str(files.ca), SERVER, secrets=str(folder)
    )
    for file, content in tls.files().items():
        (folder / file).write_text(yaml.safe_dump(content))
    return tls


async def metric(served: WeirServe, sample: str) -> float:
    _, body = await served.get("/metrics")
    lines = [line for line in body.decode().splitlines() if line.startswith(sample)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def get(port: int) -> int:
    """The status of a request through Envoy; 0 while it does not listen."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    head = await reader.readline()
    writer.close()
    return int(head.split()[1]) if head else 0


def credentials_of(tls: ClientTls) -> grpc.ChannelCredentials:
    ca, key, certificate = (Path(one).read_bytes() for one in (tls.ca, tls.key, tls.certificate))
    return grpc.ssl_channel_credentials(ca, key, certificate)


async def report(port: int, tls: ClientTls, path: str) -> grpc.StatusCode:
    """How a stream ends with which envoy-1 wants to report as envoy-2."""
    credentials = await asyncio.to_thread(credentials_of, tls)
    options = [("grpc.ssl_target_name_override", SERVER)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        method: Any = channel.stream_stream(path)  # type: ignore[call-arg]
        call = method(timeout=20.0)
        await call.write(hello(path, Node(id="envoy-2", cluster="default/edge-01")))
        ended: grpc.StatusCode = await call.code()
        return ended


async def test_an_envoy_is_served_and_heard_over_mutual_tls_and_another_is_not(
    tmp_path: Path,
) -> None:
    port = free_port()
    served = WeirServe(tmp_path, options(Files(tmp_path / "tls").put(CA.server(), CA.pem)))

    def bootstrap(node_id: str, tls: ClientTls) -> dict[str, object]:
        return ads_bootstrap(
            node_id=node_id,
            fleet="default/edge-01",
            xds_port=served.xds_port,
            admin_port=free_port(),
            tls=tls,
        )

    async with backend("a") as a:
        served.declare(documents([port], [a.port], "equal"))
        await served.start()
        try:
            await served.wait_ready()
            own = client_tls(tmp_path / "own", "envoy-1")
            async with run_envoy(bootstrap("envoy-1", own), tmp_path, name="own") as envoy:

                async def heard() -> bool:
                    answered = await get(port)
                    sent = [await metric(served, MESSAGES.format(one)) for one in REPORTS]
                    return answered == 200 and min(sent) >= 2.0

                await until(heard)
                ready = await envoy.stats("cluster_manager.cds.update_success")
                assert ready["cluster_manager.cds.update_success"] >= 1
                assert await metric(served, "weir_xds_streams_refused_total") == 0.0
                assert await metric(served, "weir_xds_certificate_expiry_seconds") > 0.0

                for path in (ALS, LRS):
                    assert await report(served.xds_port, own, path) is Status.PERMISSION_DENIED

                async with run_envoy(
                    bootstrap("envoy-2", own), tmp_path, name="other", wait_s=None
                ):
                    denied = 'weir_telemetry_streams_closed_total{reason="denied"'
                    refused = 'weir_xds_streams_refused_total{code="PERMISSION_DENIED"}'

                    async def held_off() -> bool:
                        both = [await metric(served, one) for one in (denied, refused)]
                        return min(both) >= 1.0

                    await until(held_off)
                    assert await metric(served, "weir_telemetry_proxies") == 1.0
            log = served.log.read_text()
            assert "does not entitle to be node 'envoy-2'" in log
        finally:
            await served.stop()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["--tls-cert", "/none/tls.crt"], "--tls-cert FILE and --tls-key FILE"),
        (["--tls-cert", "/none/a", "--tls-key", "/none/b"], "/none/a: cannot be read"),
        (["--tls-client-ca", "/none/ca"], "with --tls-client-ca give"),
        (["--xds-identity", "spiffe://example.org/{node_id}"], "--tls-client-ca"),
        (["--xds-identity", "envoy"], "binds nothing"),
        (["--xds-jwt-issuer", "x"], "--xds-jwt-audience and --xds-jwt-key"),
        (["--xds-address", "0.0.0.0:0"], "--tls-cert"),
    ],
)
def test_what_is_not_whole_or_not_safe_does_not_start(
    tmp_path: Path, given: list[str], why: str
) -> None:
    config = tmp_path / "config"
    config.mkdir()
    done = subprocess.run(
        [
            *command(),
            *("serve", "--config", str(config), "--xds-address", "127.0.0.1:0"),
            *("--admin-address", "127.0.0.1:0", *given),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert why in done.stderr
    assert "Traceback" not in done.stderr
