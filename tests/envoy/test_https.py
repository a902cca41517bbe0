"""Listeners that end TLS, through the real Envoy: who is served which certificate and which routes,
what is spoken, and that certificates change without a failed request."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from controlplane.explain import Request, explain_route
from controlplane.lab.envoy import free_port
from tests.certificates import Authority, Issued
from tests.envoy.edge import (
    Edge,
    backend,
    edge,
    gateway,
    policy,
    route,
    secret,
    to,
    trusting,
    until,
)
from tests.envoy.origin import origins

pytestmark = pytest.mark.envoy
REFUSED = (httpx.TransportError, ssl.SSLError)
"""With TLS 1.3 a server may say no only after a client holds the handshake for done: then it is the
first read that fails, and httpx hands that error on as it is."""


def tls_secret(name: str, one: Issued) -> str:
    values = {"tls.crt": one.certificate, "tls.key": one.key}
    return secret(name, values, kind="kubernetes.io/tls")


def https(name: str, port: int, secret_name: str, host: str = "") -> str:
    only = f"hostname: '{host}', " if host else ""
    return (
        f"name: {name}, {only}port: {port}, protocol: HTTPS, "
        f"tls: {{certificateRefs: [{{name: {secret_name}}}]}}"
    )


async def get(client: httpx.AsyncClient, port: int, host: str, path: str = "/") -> httpx.Response:
    """A request whose name (SNI and host) is that of the host."""
    return await client.get(
        f"https://127.0.0.1:{port}{path}",
        headers={"host": host},
        extensions={"sni_hostname": host},
    )


async def shown(port: int, host: str | None, **limits: Any) -> tuple[dict[str, Any], str | None]:  # noqa: ANN401
    """The certificate that is shown to who asks for a host, and what was agreed to speak (ALPN)."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name, value in limits.items():
        setattr(context, name, value)
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=host or ""
    )
    try:
        found = writer.get_extra_info("ssl_object")
        return {"der": found.getpeercert(binary_form=True), "tls": found.version()}, (
            found.selected_alpn_protocol()
        )
    finally:
        writer.close()


async def test_each_host_has_its_certificate_and_its_routes(tmp_path: Path) -> None:
    ca, port = Authority(), free_port()
    async with origins("a", "b", "c") as running:
        backends = [backend(name, one.port) for name, one in running.items()]
        documents = [
            gateway(
                https("a", port, "a", "a.test"),
                https("wild", port, "wild", "*.b.test"),
                https("rest", port, "rest"),
            ),
            tls_secret("a", ca.issue(dns=["a.test"])),
            tls_secret("wild", ca.issue(dns=["*.b.test"])),
            tls_secret("rest", ca.issue(dns=["c.test", "d.test"])),
            *backends,
            route("a", f"[{{{to('a')}}}]", parents="[{name: edge, sectionName: a}]"),
            route("b", f"[{{{to('b')}}}]", parents="[{name: edge, sectionName: wild}]"),
            route("c", f"[{{{to('c')}}}]", parents="[{name: edge, sectionName: rest}]"),
        ]
        async with (
            edge(tmp_path, *documents) as made,
            made.client(verify=trusting(ca.pem), http2=True) as client,
        ):
            await until(lambda: _serves(client, port, "a.test"))
            for host, answer in (("a.test", "a"), ("x.b.test", "b"), ("c.test", "c")):
                async with made.client(verify=trusting(ca.pem), http2=True) as own:
                    got = await get(own, port, host)
                assert (got.status_code, got.text, got.http_version) == (200, answer, "HTTP/2")
            # By the connection of one host nobody gets at the routes of another.
            crossed = await client.get(
                f"https://127.0.0.1:{port}/",
                headers={"host": "x.b.test"},
                extensions={"sni_hostname": "a.test"},
            )
            assert crossed.status_code == 421
            no_host = await client.get(
                f"https://127.0.0.1:{port}/",
                headers={"host": "nobody.test"},  # that of the listener without one
                extensions={"sni_hostname": "a.test"},
            )
            assert no_host.status_code == 421
            asked = Request.of("GET", f"https://a.test:{port}/", ["host: x.b.test"])
            (told,) = explain_route(made.found, asked)
            assert (told.status, "listener wild has the host x.b.test" in told.said) == (421, True)
            # A host that no certificate is for is not believed by the client.
            async with made.client(verify=trusting(ca.pem)) as own:
                with pytest.raises(httpx.ConnectError, match="certificate"):
                    await get(own, port, "strange.test")


async def test_a_host_whose_clients_need_certificates_is_not_reached_by_another_name(
    tmp_path: Path,
) -> None:
    ca, port = Authority(), free_port()
    wanted = "  tls: {clientValidation: {caCertificateRefs: [{name: clients}]}}\n"
    async with origins("a") as running:
        documents = [
            gateway(https("mutual", port, "both", "mutual.test"), https("rest", port, "both")),
            tls_secret("both", ca.issue(dns=["mutual.test", "open.test"])),
            secret("clients", {"ca.crt": Authority("clients").pem}),
            backend("a", running["a"].port),
            # Both listeners take these routes, so both have the host.
            route("named", f"[{{{to('a')}}}]", hosts="[mutual.test, open.test]"),
            route("any", f"[{{matches: [{{path: {{value: /any}}}}], {to('a')}}}]"),
        ]
        mutual = policy("ClientPolicy", "mutual", "Gateway/edge/mutual", wanted)
        async with edge(tmp_path, *documents, mutual) as made:

            async def crossed(host: str, path: str) -> int:
                async with made.client(verify=trusting(ca.pem), http2=True) as client:
                    got = await client.get(
                        f"https://127.0.0.1:{port}{path}",
                        headers={"host": host},
                        extensions={"sni_hostname": "open.test"},
                    )
                return got.status_code

            async def open_() -> bool:
                return await crossed("open.test", "/") == 200

            await until(open_)
            for host in ("mutual.test", "MUTUAL.test", "mutual.test:443", "mutual.test."):
                for path in ("/", "/any"):
                    assert await crossed(host, path) == 421, (host, path)
            async with made.client(verify=trusting(ca.pem)) as stranger:
                with pytest.raises(REFUSED):
                    await get(stranger, port, "mutual.test")
            # Without a CA its listener does not open, and the other does not take its place.
            faults = ["there is no Secret default/clients"]
            gone = [one for one in documents if "name: clients" not in one]
            await made.apply(*gone, mutual, faults=faults)
            assert await crossed("mutual.test", "/") == 421
            assert await crossed("open.test", "/") == 200


async def _serves(client: httpx.AsyncClient, port: int, host: str) -> bool:
    return (await get(client, port, host)).status_code == 200


async def test_versions_are_those_of_the_policy_and_http_1_is_spoken_too(tmp_path: Path) -> None:
    ca, port, modern = Authority(), free_port(), free_port()
    async with origins("a") as running:
        documents = [
            gateway(https("usual", port, "a"), https("modern", modern, "a")),
            tls_secret("a", ca.issue(dns=["a.test"])),
            backend("a", running["a"].port),
            route("a", f"[{{{to('a')}}}]"),
            policy("ClientPolicy", "modern", "Gateway/edge/modern", "  tls: {minVersion: '1.3'}\n"),
        ]
        async with edge(tmp_path, *documents):
            old = {"maximum_version": ssl.TLSVersion.TLSv1_2}
            await until(lambda: _shows(port))
            found, spoken = await shown(port, "a.test", **old)
            assert (found["tls"], spoken) == ("TLSv1.2", "h2")
            found, _ = await shown(modern, "a.test")
            assert found["tls"] == "TLSv1.3"
            with pytest.raises(ssl.SSLError):
                await shown(modern, "a.test", **old)
            async with httpx.AsyncClient(verify=trusting(ca.pem), trust_env=False) as client:
                got = await get(client, port, "a.test")
                assert (got.status_code, got.http_version) == (200, "HTTP/1.1")


async def _shows(port: int) -> bool:
    return bool((await shown(port, "a.test"))[0])


async def test_certificates_change_under_load_and_no_request_fails(tmp_path: Path) -> None:
    ca, port = Authority(), free_port()

    def documents(one: Issued, origin: int) -> list[str]:
        return [
            gateway(https("a", port, "a", "a.test")),
            tls_secret("a", one),
            backend("a", origin),
            route("a", f"[{{{to('a')}}}]"),
        ]

    async with origins("a") as running:
        origin = running["a"].port
        async with edge(tmp_path, *documents(ca.issue(dns=["a.test"]), origin)) as made:
            await until(lambda: _shows(port))
            answers: Counter[int] = Counter()
            over = asyncio.Event()
            loading = asyncio.create_task(_load(ca, port, answers, over))
            seen = set()
            for _ in range(8):
                one = ca.issue(dns=["a.test"])
                await made.apply(*documents(one, origin))
                await until(lambda one=one: _shows_this(port, one))  # type: ignore[misc]
                seen.add((await shown(port, "a.test"))[0]["der"])
                before = answers.total()
                await until(lambda before=before: _more(answers, before))  # type: ignore[misc]
            over.set()
            await loading
            assert len(seen) == 8
            assert set(answers) == {200}


async def _shows_this(port: int, one: Issued) -> bool:
    der = (await shown(port, "a.test"))[0]["der"]
    return bool(ssl.DER_cert_to_PEM_cert(der).strip() == one.certificate.decode().strip())


async def _more(answers: Counter[int], than: int) -> bool:
    return answers.total() > than


async def _load(ca: Authority, port: int, answers: Counter[int], over: asyncio.Event) -> None:
    """Requests on connections of their own, and on one that stays."""
    async with httpx.AsyncClient(verify=trusting(ca.pem), trust_env=False, http2=True) as lasting:
        while not over.is_set():
            answers[(await get(lasting, port, "a.test")).status_code] += 1
            async with httpx.AsyncClient(verify=trusting(ca.pem), trust_env=False) as fresh:
                answers[(await get(fresh, port, "a.test")).status_code] += 1


async def test_a_policy_that_comes_and_goes_changes_no_listener(tmp_path: Path) -> None:
    port = free_port()
    async with origins("a") as running:
        plain = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            backend("a", running["a"].port),
            route("a", f"[{{{to('a')}}}]"),
        ]
        small = policy("TrafficPolicy", "small", "HTTPRoute/a", "  requestBuffer: {limit: 10}\n")
        async with edge(tmp_path, *plain) as made, made.client() as client:
            before = await _listener_updates(made)
            assert await _posts(client, port) == 200
            await made.apply(*plain, small)
            await until(lambda: _is(client, port, 413))
            await made.apply(*plain)
            await until(lambda: _is(client, port, 200))
            assert await _listener_updates(made) == before


async def _posts(client: httpx.AsyncClient, port: int) -> int:
    return (await client.post(f"http://127.0.0.1:{port}/", content=b"x" * 100)).status_code


async def _is(client: httpx.AsyncClient, port: int, status: int) -> bool:
    return await _posts(client, port) == status


async def _listener_updates(made: Edge) -> int:
    """How many listeners were made or changed since the Envoy started."""
    stats = await made.envoy.stats("listener_manager.listener_(added|modified|in_place_updated)")
    return sum(stats.values())
