"""Access control that comes, changes and goes, through the real Envoy: no listener changes, nothing
is open for a moment, and what leads nowhere is refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from controlplane.lab.envoy import free_port
from controlplane.translate import TranslateOptions
from controlplane.xds.status import Nack
from tests.certificates import Authority
from tests.envoy.edge import (
    Edge,
    backend,
    edge,
    gateway,
    policy,
    publish,
    route,
    secret,
    to,
    until,
)
from tests.envoy.identities import Issuer, page, serving
from tests.envoy.origin import ask, origins
from tests.unit.resources.documents import read
from tests.unit.translate.scenes import all_services, even

pytestmark = pytest.mark.envoy

ALICE = Issuer("https://alice.test")


def plain(port: int, origin: int) -> list[str]:
    return [
        gateway(f"name: http, port: {port}, protocol: HTTP"),
        backend("a", origin),
        route("a", f"[{{{to('a')}}}]"),
    ]


def protects(spec: str, name: str = "access", target: str = "HTTPRoute/a") -> str:
    return policy("SecurityPolicy", name, target, spec)


async def listener_updates(made: Edge) -> int:
    stats = await made.envoy.stats("listener_manager.listener_(added|modified|in_place_updated)")
    return sum(stats.values())


async def status(client: httpx.AsyncClient, port: int, **headers: str) -> int:
    return (await client.get(f"http://127.0.0.1:{port}/", headers=headers)).status_code


async def test_policies_come_and_go_without_a_listener_and_nobody_who_may_is_refused(
    tmp_path: Path,
) -> None:
    stop = asyncio.Event()
    async with origins("a") as running, page(ALICE.jwks) as keys:
        port = free_port()
        usual = plain(port, running["a"].port)
        remote = f"remoteJWKS: {{uri: 'http://127.0.0.1:{keys.port}/jwks'}}"
        local = f"localJWKS: {{type: Inline, inline: '{ALICE.jwks}'}}"
        keyed = (
            "  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}\n"
        )
        policies = [
            protects(f"  jwt: {{providers: [{{name: a, issuer: '{ALICE.name}', {local}}}]}}\n"),
            protects(f"  jwt: {{providers: [{{name: b, issuer: '{ALICE.name}', {remote}}}]}}\n"),
            protects(keyed),
            protects("  authorization: {rules: [{action: Allow, principal: "
                     "{headers: [{name: x-key, values: [key-of-ann]}]}}]}\n"),
        ]  # fmt: skip
        held = secret("keys", {"ann": b"key-of-ann"})
        good = {**ALICE.bearer(), "x-key": "key-of-ann"}
        answers: Counter[int] = Counter()

        async def load() -> None:
            async with httpx.AsyncClient(trust_env=False) as lasting:
                while not stop.is_set():
                    answers[await status(lasting, port, **good)] += 1

        async with edge(tmp_path, *usual, held) as made, made.client() as client:
            before = await listener_updates(made)
            loading = asyncio.create_task(load())
            for _ in range(5):
                for one in policies:
                    await made.apply(*usual, held, one)
                    await until(lambda: _is(client, port, (401, 403)))
                    assert await status(client, port, **good) == 200
                await made.apply(*usual, held)
                await until(lambda: _is(client, port, (200,)))
            stop.set()
            await loading
            assert await listener_updates(made) == before
            assert set(answers) == {200}, answers
            assert answers[200] > 20  # it went on through all of the changes


async def _is(client: httpx.AsyncClient, port: int, wanted: Sequence[int]) -> bool:
    return await status(client, port) in wanted


async def test_a_route_goes_on_with_the_tokens_that_it_was_made_for(tmp_path: Path) -> None:
    """Also where Envoy takes the new tokens and refuses the routes that go with them."""
    provider = (
        f"providers: [{{name: a, issuer: '{ALICE.name}', "
        f"localJWKS: {{type: Inline, inline: '{ALICE.jwks}'}}}}]"
    )
    wanted = protects(f"  jwt: {{{provider}}}\n")
    rules = (
        "  authorization: {rules: [{action: Allow, principal: {jwt: {provider: a, scopes: [x]}}}]}"
    )
    relaxed = protects(f"  jwt: {{optional: true, {provider}}}\n{rules}\n")
    broken = policy(
        "TrafficPolicy", "other", "HTTPRoute/other",
        "  lua: [{type: Inline, inline: 'function envoy_on_request(h'}]\n",
    )  # fmt: skip
    async with origins("a") as running:
        port = free_port()
        usual = [
            *plain(port, running["a"].port),
            route("other", f"[{{{to('a')}}}]", hosts="[other.test]"),
        ]
        async with edge(tmp_path, *usual, wanted) as made, made.client() as client:
            await until(lambda: _is(client, port, (401,)))
            publish(made.cache, made.translator, *usual, relaxed, broken)
            await until(lambda: _refuses(made))
            assert await status(client, port) == 401
            assert await status(client, port, **ALICE.bearer()) == 200
            made.events.clear()
            await made.apply(*usual, relaxed)
            await until(lambda: _is(client, port, (403,)))
            assert await status(client, port, **ALICE.bearer(scope="x")) == 200


async def _refuses(made: Edge) -> bool:
    return any(isinstance(one, Nack) for one in made.events)


async def test_keys_are_fetched_from_servers_whose_certificate_is_believed_alone(
    tmp_path: Path,
) -> None:
    ca = Authority()
    believed = tmp_path / "ca.pem"
    believed.write_bytes(ca.pem)
    hosts = {"mine": (ca, "localhost"), "other": (Authority(), "localhost"), "name": (ca, "x.test")}
    async with origins("a") as running, AsyncExitStack() as stack:
        port = free_port()
        documents = plain(port, running["a"].port)
        for name, (authority, host) in hosts.items():
            tls = serving(authority.issue(dns=[host]), tmp_path / name)
            keys = await stack.enter_async_context(page(ALICE.jwks, tls))
            remote = f"remoteJWKS: {{uri: 'https://localhost:{keys.port}/jwks'}}"
            spec = f"  jwt: {{providers: [{{name: a, issuer: '{ALICE.name}', {remote}}}]}}\n"
            documents += [
                route(name, f"[{{{to('a')}}}]", hosts=f"[{name}.test]"),
                protects(spec, name, f"HTTPRoute/{name}"),
            ]
        options = TranslateOptions(system_ca=str(believed))
        async with edge(tmp_path, *documents, options=options):

            async def fetched(name: str) -> bool:
                found = await ask(port, host=f"{name}.test", headers=ALICE.bearer())
                return {status for status, _ in found} == {200}

            await until(lambda: fetched("mine"))
            assert not await fetched("other")
            assert not await fetched("name")


async def test_a_client_changes_its_key_without_a_gap(tmp_path: Path) -> None:
    async with origins("a") as running:
        port = free_port()
        usual = [
            *plain(port, running["a"].port),
            protects("  apiKeyAuth: {credentialRefs: [{name: first}, {name: second}], "
                     "extractFrom: [{headers: [x-key]}]}\n"),
        ]  # fmt: skip

        def held(first: bytes, second: bytes) -> list[str]:
            others = {"other": b"key-of-another"}
            return [
                secret("first", {"ann": first, **others}),
                secret("second", {"ann": second, **others}),
            ]

        old, new = b"the-old-key", b"the-new-key"
        async with edge(tmp_path, *usual, *held(old, old)) as made, made.client() as client:

            async def answers(key: bytes, wanted: int) -> bool:
                return await status(client, port, **{"x-key": key.decode()}) == wanted

            assert await answers(old, 200)
            assert await answers(new, 401)
            await made.apply(*usual, *held(old, new))
            await until(lambda: answers(new, 200))
            assert await answers(old, 200)
            await made.apply(*usual, *held(new, new))
            await until(lambda: answers(old, 401))
            assert await answers(new, 200)


async def test_a_list_acts_on_connections_that_are_open(tmp_path: Path) -> None:
    async with origins("a") as running:
        port = free_port()
        usual = plain(port, running["a"].port)

        def listed(lists: str) -> str:
            return policy(
                "ClientPolicy", "lists", "Gateway/edge", f"  clientAddresses: {{{lists}}}\n"
            )

        async with edge(tmp_path, *usual) as made:
            before = await listener_updates(made)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)

            async def on_the_open_one() -> int:
                writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
                await reader.readexactly(length)
                return int(head.split()[1])

            async def answers(wanted: int) -> bool:
                return await on_the_open_one() == wanted

            for lists, wanted in (
                ("", 200),
                ("deny: [127.0.0.0/8]", 403),
                ("deny: [192.0.2.0/24]", 200),
                ("allow: [192.0.2.0/24]", 403),
                ("allow: [192.0.2.0/24, 127.0.0.1]", 200),
                ("allow: [127.0.0.0/8], deny: [127.0.0.1]", 403),
            ):
                await made.apply(*usual, listed(lists))
                await until(lambda wanted=wanted: answers(wanted))  # type: ignore[misc]
            await made.apply(*usual)
            await until(lambda: answers(200))
            writer.close()
            assert await listener_updates(made) == before


KEYED = "  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}\n"
OIDC = (
    "  oidc:\n    provider: {{issuer: 'http://127.0.0.1:{at}', "
    "authorizationEndpoint: 'http://127.0.0.1:{at}/authorize', "
    "tokenEndpoint: 'http://127.0.0.1:{at}/token'}}\n"
    "    clientID: shop\n    clientSecret: {{name: login}}\n    forwardAccessToken: true\n"
    "    redirectURL: http://127.0.0.1:{port}/oauth2/callback\n"
)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (KEYED, "spec.apiKeyAuth.credentialRefs[0]"),
        ("  basicAuth: {users: {name: users}}\n", "spec.basicAuth.users"),
        (OIDC.format(at=1, port=1), "spec.oidc.clientSecret"),
        ("  extAuth: {http: {backendRefs: [{name: nobody}]}, failOpen: true}\n",
         "spec.extAuth.http.backendRefs[0]"),
        ("  jwt: {optional: true, providers: [{name: a, localJWKS: {type: ValueRef, "
         "valueRef: {name: nothing}}}]}\n", "spec.jwt.providers[0]"),
    ],
)  # fmt: skip
async def test_what_leads_nowhere_is_reported_and_its_requests_are_refused(
    tmp_path: Path, spec: str, field: str
) -> None:
    async with origins("a") as running:
        port = free_port()
        usual = plain(port, running["a"].port)
        async with edge(tmp_path, *usual) as made:
            assert await ask(port) == {(200, "a"): 1}
            loaded = read({"all.yaml": "---\n".join([*usual, protects(spec)])})
            (problem,) = loaded.problems
            assert (problem.field, "answered 500" in problem.message) == (field, True)
            services = all_services(loaded.declared)
            for one in made.translator.snapshots(loaded.declared, services, even(services)):
                made.cache.publish(one)
            await made.taken()
            await until(lambda: _answers(port, 500))
            await made.apply(*usual)
            await until(lambda: _answers(port, 200))


async def _answers(port: int, wanted: int) -> bool:
    return {status for status, _ in await ask(port)} == {wanted}
