"""TLS with Backends (BackendTLSPolicy), through the real Envoy: one Envoy, a host for each case."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from controlplane.lab.envoy import free_port
from controlplane.translate import TranslateOptions
from tests.certificates import Authority, Files, Issued
from tests.envoy.edge import Edge, backend, edge, gateway, route, secret, to, until
from tests.envoy.origin import Origin, ask
from tests.envoy.test_tls import config_map, pair

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

OURS = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ours}]"
CASES = {
    "good": f"{OURS}, hostname: good.test",
    "secret": "caCertificateRefs: [{kind: Secret, name: ours}], hostname: good.test",
    "wrong-name": f"{OURS}, hostname: other.test",
    "wrong-ca": "caCertificateRefs: [{kind: ConfigMap, name: theirs}], hostname: good.test",
    "spiffe": f"{OURS}, hostname: any.test, "
    "subjectAltNames: [{type: URI, uri: 'spiffe://test/origin'}]",
    "alternative": f"{OURS}, hostname: any.test, "
    "subjectAltNames: [{type: Hostname, hostname: good.test}]",
    "system": "wellKnownCACertificates: System, hostname: good.test",
}


class TlsOrigin(Origin):
    """An origin that ends TLS and remembers what it was asked."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asked: list[str | None] = []
        self.clients: list[str] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        peer = writer.get_extra_info("peercert") or {}
        self.clients += [name for _, name in peer.get("subjectAltName", ())]
        await super().serve(reader, writer)

    def hang_up(self) -> None:
        """Close every connection: a new one is made with what is believed then."""
        while self.writers:
            self.writers.pop().close()


@asynccontextmanager
async def tls_origin(folder: Path, own: Issued, clients: bytes) -> AsyncIterator[TlsOrigin]:
    files = Files(folder).put(own, clients)
    origin = TlsOrigin("tls")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ca))
    context.load_cert_chain(files.certificate, files.key)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.sni_callback = lambda _, name, __: origin.asked.append(name)
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, ssl=context)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()


def backend_tls(name: str, validation: str) -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n"
        f"metadata: {{name: {name}}}\nspec:\n"
        f"  targetRefs: [{{group: weir.dev, kind: Backend, name: {name}}}]\n"
        f"  validation: {{{validation}}}\n"
    )


@dataclass
class Scene:
    edge: Edge
    origin: TlsOrigin
    ca: Authority
    port: int
    documents: list[str] = field(repr=False)

    async def status(self, case: str) -> int:
        ((status, _),) = await ask(self.port, host=f"{case}.case")
        return status

    async def is_ok(self, case: str) -> bool:
        return await self.status(case) == 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder, port, ca = tmp_path_factory.mktemp("edge"), free_port(), Authority("origins")
    clients, theirs = Authority("clients"), Authority("theirs")
    system = folder / "system.crt"
    system.write_bytes(ca.pem)
    own = ca.issue(dns=["good.test"], uris=["spiffe://test/origin"])
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(tls_origin(folder / "own", own, clients.pem))
        edge_gateway = gateway(f"name: http, port: {port}, protocol: HTTP")
        documents = [
            edge_gateway + "  tls: {backend: {clientCertificateRef: {name: mine}}}\n",
            secret("mine", pair(clients.issue(dns=["edge.test"]))),
            secret("ours", {"ca.crt": ca.pem}),
            config_map("theirs", theirs.pem),
        ]
        for case, said in CASES.items():
            documents += [
                backend(case, origin.port),
                backend_tls(case, said),
                route(case, f"[{{{to(case)}}}]", hosts=f"[{case}.case]"),
            ]
        options = TranslateOptions(system_ca=str(system))
        believed = config_map("ours", ca.pem)
        made = await stack.enter_async_context(edge(folder, *documents, believed, options=options))
        found = Scene(made, origin, ca, port, documents)
        await until(lambda: found.is_ok("good"))
        yield found


@pytest.mark.parametrize(
    ("case", "status", "asked"),
    [
        ("good", 200, "good.test"),
        ("secret", 200, "good.test"),
        ("spiffe", 200, "any.test"),
        ("alternative", 200, "any.test"),
        ("system", 200, "good.test"),
        ("wrong-name", 503, "other.test"),
        ("wrong-ca", 503, "good.test"),
    ],
)
async def test_a_backend_is_believed_by_its_ca_and_its_name(
    scene: Scene, case: str, status: int, asked: str
) -> None:
    before = len(scene.origin.asked)
    seen = scene.origin.seen
    assert await scene.status(case) == status
    assert set(scene.origin.asked[before:]) <= {asked}
    assert asked in scene.origin.asked
    assert (scene.origin.seen > seen) == (status == 200)


async def test_backends_are_shown_the_certificate_of_the_gateway(scene: Scene) -> None:
    assert await scene.is_ok("good")
    assert set(scene.origin.clients) == {"edge.test"}


async def test_a_new_ca_is_believed_without_a_new_cluster(scene: Scene) -> None:
    pattern = "cluster_manager.cluster_(added|modified)"
    before = await scene.edge.envoy.stats(pattern)
    await scene.edge.apply(*scene.documents, config_map("ours", Authority("new").pem))

    async def refused() -> bool:
        scene.origin.hang_up()
        return await scene.status("good") == 503

    await until(refused)
    assert await scene.is_ok("secret")
    await scene.edge.apply(*scene.documents, config_map("ours", scene.ca.pem))
    await until(lambda: scene.is_ok("good"))
    assert await scene.edge.envoy.stats(pattern) == before
