"""The real Envoy over mutual TLS: who is served, who is not, and certificates that change."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

from controlplane._pb.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from controlplane.lab.envoy import Envoy, free_port, run_envoy
from controlplane.observe.in_process import InProcessSource
from controlplane.translate.bootstrap import ads_bootstrap, overlay_bootstrap
from controlplane.translate.client_tls import ClientTls
from controlplane.xds import Binding, Gate, Limits, SnapshotCache, Tls, XdsServer
from controlplane.xds.kinds import ENDPOINT
from controlplane.xds.load_reports import LoadReportService
from controlplane.xds.status import Event, Refusal
from controlplane.xds.telemetry import TelemetryMetrics
from controlplane.xds.tokens import Tokens
from tests.certificates import SERVER, Authority, Files, MountedSecret, pem_public, put
from tests.envoy.test_xds import assignment, backend, eventually, one_service

pytestmark = [pytest.mark.envoy]

FLEET = "default/edge"
RULE = "spiffe://example.org/ns/{namespace}/envoy/{node_id}"
CA = Authority("first")


def identity(name: str) -> str:
    return f"spiffe://example.org/ns/default/envoy/{name}"


def client_tls(folder: Path, files: Files, server_name: str = SERVER) -> ClientTls:
    """The secret files of an Envoy, written into the folder."""
    folder.mkdir(exist_ok=True)
    made = ClientTls(
        certificate=str(files.certificate),
        key=str(files.key),
        ca=str(files.ca),
        server_name=server_name,
        secrets=str(folder),
    )
    for name, content in made.files().items():
        (folder / name).write_text(yaml.safe_dump(content))
    return made


@dataclass
class World:
    """A server, and the folder that Envoys find their files in."""

    folder: Path
    server: XdsServer
    cache: SnapshotCache
    port: int
    events: list[Event]

    @property
    def server_files(self) -> Files:
        return Files(self.folder / "server")

    def files_of(self, name: str) -> Files:
        return Files(self.folder / f"{name}-files")

    @contextlib.asynccontextmanager
    async def envoy(
        self,
        name: str,
        tls: ClientTls | None,
        *,
        delta: bool = False,
        ready: bool = True,
        load_reports: bool = False,
    ) -> AsyncIterator[Envoy]:
        bootstrap = ads_bootstrap(
            node_id=name,
            fleet=FLEET,
            xds_port=self.server.port,
            admin_port=free_port(),
            delta=delta,
            load_reports=load_reports,
            tls=tls,
        )
        wait_s = 20.0 if ready else None
        async with run_envoy(bootstrap, self.folder, name=name, wait_s=wait_s) as envoy:
            yield envoy

    def refused(self, code: str) -> int:
        return self.server.counts.refused.get(code, 0)

    def acked(self, name: str, version: str) -> bool:
        return any(
            client.node.id == name and client.acked(ENDPOINT) == version
            for client in self.server.clients()
        )

    async def takes_what_is_set(self, name: str, weights: dict[int, int]) -> None:
        """A change reaches this Envoy on the stream that it has."""
        start = one_service(self.port, weights)
        self.cache.set(FLEET, start)
        version = self.cache.version(FLEET, ENDPOINT)

        async def acked() -> bool:
            return self.acked(name, version)

        await eventually(acked, f"{name} takes a change")


@contextlib.asynccontextmanager
async def world(folder: Path, backend_port: int, **options: Any) -> AsyncIterator[World]:  # noqa: ANN401
    cache, events = SnapshotCache(), list[Event]()
    port = free_port()
    cache.set(FLEET, one_service(port, {backend_port: 1}))
    files = Files(folder / "server").put(CA.server(), CA.pem)
    options = {"gate": Gate(Binding.parse([RULE])), "observer": events.append, **options}
    server = XdsServer(
        cache,
        address="127.0.0.1:0",
        tls=Tls(files.certificate, files.key, files.ca),
        **options,
    )
    await server.start()
    try:
        yield World(folder, server, cache, port, events)
    finally:
        await server.stop(0.5)


@pytest.fixture(params=["sotw", "delta"])
def delta(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "delta")


async def test_an_envoy_with_its_certificate_is_served_over_mutual_tls(
    tmp_path: Path, delta: bool
) -> None:
    async with backend("a") as a, world(tmp_path, a.port) as here:
        files = here.files_of("envoy-1").put(CA.issue(uris=[identity("envoy-1")]), CA.pem)
        tls = client_tls(tmp_path / "sds", files)
        async with here.envoy("envoy-1", tls, delta=delta) as envoy:
            await here.takes_what_is_set("envoy-1", {a.port: 7})
            stats = await envoy.stats("cluster.weir.ssl")
            assert stats["cluster.weir.ssl.handshake"] >= 1
            assert stats["cluster.weir.ssl.versions.TLSv1.3"] >= 1
            assert here.server.counts.refused == {}


async def test_an_envoy_without_a_certificate_is_not_let_in(tmp_path: Path) -> None:
    async with backend("a") as a, world(tmp_path, a.port) as here:
        files = here.files_of("envoy-1").put(CA.issue(uris=[identity("envoy-1")]), CA.pem)
        tls = client_tls(tmp_path / "sds", files)
        bootstrap = ads_bootstrap(
            node_id="envoy-1",
            fleet=FLEET,
            xds_port=here.server.port,
            admin_port=free_port(),
            load_reports=False,
            tls=tls,
        )
        (weir,) = bootstrap["static_resources"]["clusters"]
        context = weir["transport_socket"]["typed_config"]["common_tls_context"]
        del context["tls_certificate_sds_secret_configs"]
        async with run_envoy(bootstrap, tmp_path, wait_s=None) as envoy:
            await eventually(lambda: cut_off(envoy), "it is cut off")
            assert here.server.counts.connects == 0
        # the same bootstrap with the certificate is served
        async with here.envoy("envoy-1", tls):
            assert here.server.counts.connects >= 1


async def cut_off(envoy: Envoy) -> bool:
    """Whether Envoy has tried a connection to us, and lost it."""
    return await stat(envoy, "cluster.weir.upstream_cx_destroy") >= 1


async def stat(envoy: Envoy, name: str) -> int:
    """One of its numbers; 0 while it does not answer yet."""
    with contextlib.suppress(OSError):
        return (await envoy.stats(name)).get(name, 0)
    return 0


async def test_an_envoy_with_a_certificate_of_another_ca_is_not_let_in(tmp_path: Path) -> None:
    async with backend("a") as a, world(tmp_path, a.port) as here:
        stranger = Authority("stranger").issue(uris=[identity("envoy-1")])
        files = here.files_of("envoy-1").put(stranger, CA.pem)
        tls = client_tls(tmp_path / "sds", files)
        async with here.envoy("envoy-1", tls, ready=False) as envoy:
            await eventually(lambda: cut_off(envoy), "it is cut off")
            assert here.server.counts.connects == 0


async def test_an_envoy_with_the_certificate_of_another_node_is_denied_until_it_has_its_own(
    tmp_path: Path, delta: bool
) -> None:
    limits = Limits(connection_idle_s=0.1)
    async with backend("a") as a, world(tmp_path, a.port, limits=limits) as here:
        files = here.files_of("envoy-2").put(CA.issue(uris=[identity("envoy-1")]), CA.pem)
        tls = client_tls(tmp_path / "sds", files)
        async with here.envoy("envoy-2", tls, delta=delta, ready=False) as envoy:

            async def denied() -> bool:
                return here.refused("PERMISSION_DENIED") >= 1

            await eventually(denied, "it is denied")
            assert here.server.counts.connects == 0
            first = here.events[0]
            assert isinstance(first, Refusal)
            assert first.node is not None
            assert (first.code, first.node.id) == ("PERMISSION_DENIED", "envoy-2")
            files.put(CA.issue(uris=[identity("envoy-2")]), CA.pem)
            await envoy.wait_ready()
            await here.takes_what_is_set("envoy-2", {a.port: 2})


async def test_an_envoy_does_not_take_another_server_for_weir(tmp_path: Path) -> None:
    async with backend("a") as a, world(tmp_path, a.port) as here:
        files = here.files_of("envoy-1").put(CA.issue(uris=[identity("envoy-1")]), CA.pem)
        tls = client_tls(tmp_path / "sds", files, server_name="other.test")
        async with here.envoy("envoy-1", tls, ready=False) as envoy:

            async def failed() -> bool:
                return await stat(envoy, "cluster.weir.ssl.fail_verify_san") >= 1

            await eventually(failed, "Envoy refuses the name")
            assert here.server.counts.connects == 0


async def test_a_new_server_certificate_drops_no_stream_and_a_new_envoy_trusts_it(
    tmp_path: Path, delta: bool
) -> None:
    new = Authority("second")
    async with backend("a") as a, world(tmp_path, a.port) as here:
        files = here.files_of("envoy-1").put(CA.issue(uris=[identity("envoy-1")]), CA.pem)
        async with here.envoy("envoy-1", client_tls(tmp_path / "sds-1", files), delta=delta):
            await here.takes_what_is_set("envoy-1", {a.port: 2})
            here.server_files.put(new.server(), CA.pem + new.pem)
            files = here.files_of("envoy-2").put(new.issue(uris=[identity("envoy-2")]), new.pem)
            tls = client_tls(tmp_path / "sds-2", files)
            async with here.envoy("envoy-2", tls, delta=delta, ready=False):
                await here.takes_what_is_set("envoy-2", {a.port: 3})
                await here.takes_what_is_set("envoy-1", {a.port: 4})
                assert here.server.counts.connects == 2  # one stream each, the first still open


async def test_an_envoy_takes_up_a_swapped_secret_when_its_connection_is_renewed(
    tmp_path: Path,
) -> None:
    """Client certificate, CAs and the server's certificate all change while both run."""
    new = Authority("second")
    limits = Limits(connection_age_s=2.0, connection_grace_s=0.2)
    async with backend("a") as a, world(tmp_path, a.port, limits=limits) as here:
        (tmp_path / "mounted").mkdir()
        secret = MountedSecret(tmp_path / "mounted")
        secret.put(CA.issue(uris=[identity("envoy-1")]), CA.pem)
        tls = client_tls(tmp_path / "sds", secret.files)
        async with here.envoy("envoy-1", tls) as envoy:
            await here.takes_what_is_set("envoy-1", {a.port: 2})
            secret.put(new.issue(uris=[identity("envoy-1")]), new.pem)
            here.server_files.put(new.server(), new.pem)
            before = here.server.counts.connects

            async def again() -> bool:
                return here.server.counts.connects > before

            await eventually(again, "Envoy comes back with its new certificate")
            await here.takes_what_is_set("envoy-1", {a.port: 3})
            assert (await envoy.get("/ready")).startswith("LIVE")


async def test_load_reports_of_an_envoy_come_over_the_same_tls(tmp_path: Path) -> None:
    source = InProcessSource(time.monotonic)
    registry = CollectorRegistry()
    gate = Gate(Binding.parse([RULE]))
    reports = LoadReportService(
        source.load_reports, TelemetryMetrics(registry), interval_s=0.1, gate=gate
    )
    options = {"gate": gate, "handlers": (reports.handler(),)}
    async with backend("a") as a, world(tmp_path, a.port, **options) as here:
        files = here.files_of("envoy-1").put(CA.issue(uris=[identity("envoy-1")]), CA.pem)
        tls = client_tls(tmp_path / "sds", files)
        async with here.envoy("envoy-1", tls, load_reports=True):

            async def heard() -> bool:
                labels = {"service": "load_reports"}
                found = registry.get_sample_value("weir_telemetry_messages_total", labels)
                return (found or 0.0) >= 2.0

            await eventually(heard, "load reports arrive")


async def test_an_overlay_connects_by_mutual_tls_too(tmp_path: Path) -> None:
    async with backend("a") as a, world(tmp_path, a.port) as here:
        here.cache.set(FLEET, {ENDPOINT: {"web": assignment("web", {a.port: 1})}})
        files = here.files_of("envoy-1").put(CA.issue(uris=[identity("envoy-1")]), CA.pem)
        bootstrap = overlay_bootstrap(
            node_id="envoy-1",
            node_cluster=FLEET,
            service="web",
            listen_port=free_port(),
            xds_port=here.server.port,
            admin_port=free_port(),
            access_logs=False,
            load_reports=False,
            tls=client_tls(tmp_path / "sds", files),
        )
        async with run_envoy(bootstrap, tmp_path):
            version = here.cache.version(FLEET, ENDPOINT)

            async def acked() -> bool:
                return here.acked("envoy-1", version)

            await eventually(acked, "the overlay takes its endpoints")


async def test_a_client_with_a_token_is_served_beside_envoys_with_certificates(
    tmp_path: Path,
) -> None:
    """Here the server asks for no certificate; the token alone says who it is."""
    key = ec.generate_private_key(ec.SECP256R1())
    tokens = Tokens("issuer", "weir", put(tmp_path / "jwt.pem", pem_public(key)))
    gate = Gate(Binding.parse(["{node_id}@{namespace}"]), tokens)
    files = Files(tmp_path / "server").put(CA.server(), CA.pem)
    cache = SnapshotCache()
    cache.set(FLEET, {ENDPOINT: {"web": assignment("web", {1: 1})}})
    server = XdsServer(
        cache, address="127.0.0.1:0", tls=Tls(files.certificate, files.key), gate=gate
    )
    await server.start()
    now = int(time.time())
    claims = {"iss": "issuer", "aud": "weir", "iat": now, "exp": now + 60, "sub": "client@default"}
    token = grpc.access_token_call_credentials(jwt.encode(claims, key, "ES256"))
    credentials = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(CA.pem), token)
    path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
    try:
        async with grpc.aio.secure_channel(
            f"127.0.0.1:{server.port}",
            credentials,
            options=[("grpc.ssl_target_name_override", SERVER)],
        ) as channel:
            for name, code in (("client", None), ("other", grpc.StatusCode.PERMISSION_DENIED)):
                method: Any = channel.stream_stream(path)  # type: ignore[call-arg]
                call = method(timeout=20.0)
                asked = DiscoveryRequest(type_url=ENDPOINT, resource_names=["web"])
                asked.node.id, asked.node.cluster = name, FLEET
                await call.write(asked.SerializeToString())
                if code is None:
                    found = DiscoveryResponse.FromString(await call.read())
                    assert len(found.resources) == 1
                    call.cancel()
                else:
                    assert await call.code() is code
    finally:
        await server.stop(0.5)
