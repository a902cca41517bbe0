"""TLS with clients as a ClientPolicy and a listener say it, through the real Envoy: one Envoy, a
host for each case."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa

from controlplane.lab.envoy import free_port, run_envoy
from tests.certificates import Authority, Files, Issued
from tests.envoy.echo import echoes
from tests.envoy.edge import Edge, backend, edge, gateway, policy, route, secret, to, until

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

DEADLINE_S = 20.0
POLICIES = {
    "usual": "",
    "mutual": """\
  tls:
    clientValidation:
      caCertificateRefs: [{kind: ConfigMap, name: clients}, {name: more-clients}]
  headers: {xForwardedClientCert: {mode: SanitizeSet, certDetailsToAdd: [Subject, DNS, URI]}}
""",
    "asked": """\
  tls: {clientValidation: {optional: true, caCertificateRefs: [{kind: ConfigMap, name: clients}]}}
""",
    "named": """\
  tls:
    clientValidation:
      caCertificateRefs: [{kind: ConfigMap, name: clients}]
      subjectAltNames:
        dnsNames: [{type: Suffix, value: .good.test}]
        uris: [{value: 'spiffe://test/good'}]
""",
    "curves": """\
  tls:
    ecdhCurves: [P-384]
    signatureAlgorithms: [ecdsa_secp256r1_sha256]
    alpnProtocols: [http/1.1]
""",
    "both": "",
    "stapled": "",
    "files": "",
    "modern": "  http3: {}\n",
    "guarded": """\
  http3: {}
  tls: {clientValidation: {caCertificateRefs: [{kind: ConfigMap, name: clients}]}}
""",
}


def host(name: str) -> str:
    return f"{name}.test"


def config_map(name: str, ca: bytes) -> str:
    rows = "".join(f"    {line}\n" for line in ca.decode().splitlines())
    return (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  ca.crt: |\n{rows}"
    )


def pair(one: Issued, **more: bytes) -> dict[str, bytes]:
    named = {name.replace("_", "."): value for name, value in more.items()}
    return {"tls.crt": one.certificate, "tls.key": one.key, **named}


@dataclass
class Scene:
    edge: Edge
    ca: Authority
    clients: Authority
    port: int
    slow: int
    """Another port, where nobody is waited for."""
    folder: Path
    documents: tuple[str, ...]
    files: Files

    def context(self, own: Issued | None = None, **said: Any) -> ssl.SSLContext:  # noqa: ANN401
        """TLS of a client; with a certificate of its own where one is given."""
        made = ssl.create_default_context(cadata=self.ca.pem.decode())
        for name, value in said.items():
            setattr(made, name, value)
        if own is not None:
            files = Files(self.folder / "client").put(own, b"")
            made.load_cert_chain(files.certificate, files.key)
        return made

    @asynccontextmanager
    async def connected(
        self, name: str, context: ssl.SSLContext
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=context, server_hostname=host(name)
            )
            try:
                yield reader, writer
            finally:
                writer.close()

    async def answer(
        self, name: str, own: Issued | None = None, headers: Mapping[str, str] | None = None
    ) -> str:
        """The whole answer of a case; raises where the client is not let in."""
        lines = "".join(f"{one}: {value}\r\n" for one, value in (headers or {}).items())
        async with self.connected(name, self.context(own)) as (reader, writer):
            writer.write(
                f"GET / HTTP/1.1\r\nhost: {host(name)}\r\nconnection: close\r\n{lines}\r\n".encode()
            )
            got = (await reader.read()).decode()
            if not got:
                raise ConnectionResetError
            return got

    async def let_in(self, name: str, own: Issued | None = None) -> bool:
        try:
            return (await self.answer(name, own)).startswith("HTTP/1.1 200")
        except (ssl.SSLError, ConnectionError):
            return False

    async def shown(self, name: str, **said: Any) -> bytes:  # noqa: ANN401
        """The certificate that a client is shown."""
        ciphers = said.pop("ciphers", None)
        context = self.context(**said)
        if ciphers:
            context.set_ciphers(ciphers)
        async with self.connected(name, context) as (_, writer):
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return ssl.DER_cert_to_PEM_cert(der).strip().encode()

    async def openssl(self, name: str, *options: str) -> str:
        """What `openssl s_client` tells of a connection."""
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", f"127.0.0.1:{self.port}"),
            *("-servername", host(name), *options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(DEADLINE_S):
            out, _ = await process.communicate()
        return out.decode(errors="replace")


def certificates(name: str) -> str:
    if name == "both":
        return "certificateRefs: [{name: ecdsa}, {name: rsa}]"
    return f"certificateRefs: [{{name: {name}}}]"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder, port, slow = tmp_path_factory.mktemp("edge"), free_port(), free_port()
    ca, clients = Authority("servers"), Authority("clients")
    files = Files(folder / "files").put(ca.issue(dns=[host("files")]), ca.pem)
    listeners = []
    for name in POLICIES:
        tls = certificates(name)
        if name == "files":
            tls = (
                f"options: {{weir.dev/certificate-file: {files.certificate}, "
                f"weir.dev/key-file: {files.key}}}"
            )
        listeners.append(
            f"name: {name}, hostname: {host(name)}, port: {port}, protocol: HTTPS, tls: {{{tls}}}"
        )
    listeners.append(f"name: slow, port: {slow}, protocol: HTTPS, tls: {{{certificates('usual')}}}")
    plain = [name for name in POLICIES if name not in ("both", "stapled", "files")]
    stapled = ca.issue(dns=[host("stapled")])
    big = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    documents = (
        gateway(*listeners),
        route("all", f"[{{{to('a')}}}]"),
        policy(
            "ClientPolicy",
            "slow",
            "Gateway/edge/slow",
            "  timeout: {tcp: {handshakeTimeout: 300ms}}\n",
        ),
        *(secret(one, pair(ca.issue(dns=[host(one)]))) for one in plain),
        secret("ecdsa", pair(ca.issue(dns=[host("both")]))),
        secret("rsa", pair(ca.issue(dns=[host("both")], key=big))),
        secret("stapled", pair(stapled) | {"tls.ocsp-staple": ca.staple(stapled)}),
        secret("more-clients", {"ca.crt": ca.pem}),
        *(
            policy("ClientPolicy", name, f"Gateway/edge/{name}", said)
            for name, said in POLICIES.items()
            if said
        ),
    )
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(echoes("a"))
        documents = (*documents, backend("a", running["a"].port))
        believed = config_map("clients", clients.pem)
        made = await stack.enter_async_context(edge(folder, *documents, believed))
        found = Scene(made, ca, clients, port, slow, folder, documents, files)
        await until(lambda: found.let_in("usual"))
        yield found


async def test_only_clients_with_a_certificate_of_the_cas_are_let_in(scene: Scene) -> None:
    good, more = scene.clients.issue(dns=["a.good.test"]), scene.ca.issue(dns=["b.test"])
    strange = Authority("clients").issue(dns=["a.good.test"])
    late = scene.clients.issue(dns=["a.good.test"], starts_h=-2, ends_h=-1)
    assert await scene.let_in("mutual", good)
    assert await scene.let_in("mutual", more)
    for refused in (None, strange, late):
        assert not await scene.let_in("mutual", refused)


async def test_clients_may_be_asked_for_a_certificate_and_have_none(scene: Scene) -> None:
    assert await scene.let_in("asked")
    assert await scene.let_in("asked", scene.clients.issue(dns=["a.test"]))
    assert not await scene.let_in("asked", Authority().issue(dns=["a.test"]))


async def test_names_of_clients_are_those_of_the_policy(scene: Scene) -> None:
    assert await scene.let_in("named", scene.clients.issue(dns=["a.good.test"]))
    assert await scene.let_in("named", scene.clients.issue(uris=["spiffe://test/good"]))
    assert not await scene.let_in("named", scene.clients.issue(uris=["spiffe://test/bad"]))
    assert not await scene.let_in("named", scene.clients.issue(dns=["good.test.evil.test"]))


async def test_backends_learn_who_the_client_is_and_nobody_else_can_say_so(scene: Scene) -> None:
    own = scene.clients.issue(dns=["a.good.test"], uris=["spiffe://test/a"])
    forged = {"x-forwarded-client-cert": "Hash=00;URI=spiffe://test/root"}
    got = _headers(await scene.answer("mutual", own, forged))["x-forwarded-client-cert"]
    assert "URI=spiffe://test/a" in got
    assert "DNS=a.good.test" in got
    assert 'Subject="CN=leaf"' in got
    assert "root" not in got
    assert "x-forwarded-client-cert" not in _headers(await scene.answer("usual", None, forged))


def _headers(answer: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(answer.partition("\r\n\r\n")[2])["headers"]
    return found


async def test_a_ca_that_is_no_longer_declared_is_no_longer_believed(scene: Scene) -> None:
    old, other = scene.clients.issue(dns=["a.test"]), Authority("others")
    new = other.issue(dns=["a.test"])
    before = await scene.edge.envoy.stats("listener_manager.listener_(added|modified)")
    assert await scene.let_in("asked", old)
    await scene.edge.apply(*scene.documents, config_map("clients", other.pem))
    await until(lambda: scene.let_in("asked", new))
    assert not await scene.let_in("asked", old)
    await scene.edge.apply(*scene.documents, config_map("clients", scene.clients.pem))
    await until(lambda: scene.let_in("asked", old))
    assert await scene.edge.envoy.stats("listener_manager.listener_(added|modified)") == before


async def test_clients_are_shown_the_certificate_that_they_can_check(scene: Scene) -> None:
    old = {"maximum_version": ssl.TLSVersion.TLSv1_2}
    ecdsa = await scene.shown("both", ciphers="ECDHE-ECDSA-AES128-GCM-SHA256", **old)
    rsa_ = await scene.shown("both", ciphers="ECDHE-RSA-AES128-GCM-SHA256", **old)
    assert ecdsa != rsa_
    assert await scene.shown("both") == ecdsa


async def test_curves_signatures_and_protocols_are_those_of_the_policy(scene: Scene) -> None:
    taken = await scene.openssl("curves", "-groups", "P-384", "-alpn", "h2,http/1.1")
    assert "secp384r1" in taken
    assert "ALPN protocol: http/1.1" in taken
    assert "alert handshake failure" in await scene.openssl("curves", "-groups", "P-256")
    assert "secp384r1" not in await scene.openssl("curves", "-sigalgs", "RSA-PSS+SHA256")
    assert "ALPN protocol: h2" in await scene.openssl("usual", "-alpn", "h2,http/1.1")


async def test_ocsp_is_stapled_where_the_secret_has_a_response(scene: Scene) -> None:
    assert "OCSP Response Status: successful" in await scene.openssl("stapled", "-status")
    assert "no response sent" in await scene.openssl("usual", "-status")


async def test_a_certificate_on_the_machine_of_the_envoy_is_followed(scene: Scene) -> None:
    assert await scene.shown("files") == scene.files.certificate.read_bytes().strip()
    renewed = scene.ca.issue(dns=[host("files")])
    scene.files.put(renewed, scene.ca.pem)

    async def shows_it() -> bool:
        return await scene.shown("files") == renewed.certificate.strip()

    await until(shows_it)


async def test_who_does_not_agree_on_tls_in_time_is_let_go(scene: Scene) -> None:
    async with asyncio.timeout(DEADLINE_S):
        for begun in (b"", b"\x16\x03\x01\x02\x00\x01"):
            reader, writer = await asyncio.open_connection("127.0.0.1", scene.slow)
            writer.write(begun)
            with contextlib.suppress(ConnectionResetError):  # with bytes of ours unread
                assert await reader.read() == b""
            writer.close()


async def test_http_3_is_spoken_and_told_of(scene: Scene, tmp_path: Path) -> None:
    told = await scene.answer("modern")
    assert f'alt-svc: h3=":{scene.port}"; ma=86400' in told
    assert "alt-svc" not in await scene.answer("usual")
    assert '"origin": "a"' in await over_quic(scene, tmp_path, "modern")
    stats = await scene.edge.envoy.stats("downstream_rq_http3_total")
    assert max(stats.values()) >= 1


async def test_clients_of_http_3_need_their_certificate_too(scene: Scene, tmp_path: Path) -> None:
    own = Files(tmp_path / "own").put(scene.clients.issue(dns=["a.test"]), scene.ca.pem)
    refused = await over_quic(scene, tmp_path, "guarded")
    assert refused.startswith("HTTP/1.1 503")
    assert '"origin": "a"' in await over_quic(scene, tmp_path, "guarded", own)


async def over_quic(scene: Scene, folder: Path, name: str, own: Files | None = None) -> str:
    """The answer to a request by HTTP/3."""
    ca, listen = folder / "ca.crt", free_port()
    ca.write_bytes(scene.ca.pem)
    async with run_envoy(by_quic(listen, scene.port, name, ca, own), folder):
        return await plain(listen, host(name))


async def plain(port: int, name: str) -> str:
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET / HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n".encode())
            return (await reader.read()).decode()
        finally:
            writer.close()


def by_quic(
    listen: int, port: int, name: str, ca: Path, own: Files | None = None
) -> dict[str, Any]:
    """An Envoy that sends what it gets on by HTTP/3: a client that believes the CA alone."""
    api = "type.googleapis.com/envoy.extensions"

    def address(number: int, protocol: str = "TCP") -> dict[str, Any]:
        return {
            "socket_address": {"protocol": protocol, "address": "127.0.0.1", "port_value": number}
        }

    manager = {
        "@type": f"{api}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "client",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "edge"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{api}.filters.http.router.v3.Router"},
            }
        ],
    }
    common: dict[str, Any] = {"validation_context": {"trusted_ca": {"filename": str(ca)}}}
    if own is not None:
        files = {"certificate_chain": own.certificate, "private_key": own.key}
        common["tls_certificates"] = [
            {part: {"filename": str(file)} for part, file in files.items()}
        ]
    tls = {"sni": host(name), "common_tls_context": common}
    cluster = {
        "name": "edge",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "edge",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port, "UDP")}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{api}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http3_protocol_options": {}},
            }
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.quic",
            "typed_config": {
                "@type": f"{api}.transport_sockets.quic.v3.QuicUpstreamTransport",
                "upstream_tls_context": tls,
            },
        },
    }
    listener = {
        "name": "plain",
        "address": address(listen),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    return {
        "node": {"id": "client", "cluster": "client"},
        "admin": {"address": address(free_port())},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }
