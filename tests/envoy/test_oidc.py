"""`oidc` of a SecurityPolicy through the real Envoy, with a provider on loopback."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from controlplane.lab.envoy import free_port
from tests.certificates import Authority
from tests.envoy.echo import echoes
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
from tests.envoy.identities import Issuer
from tests.envoy.oidc_provider import provider

pytestmark = pytest.mark.envoy

SECRET = "the secret of the shop"


async def test_people_log_in_once_and_log_out_and_listeners_stay(tmp_path: Path) -> None:
    ca = Authority()
    async with echoes("a") as running, provider(SECRET) as login:
        port = free_port()
        shop = ca.issue(dns=["localhost"])
        usual = [
            gateway(
                f"name: https, port: {port}, protocol: HTTPS, "
                "tls: {certificateRefs: [{name: shop}]}"
            ),
            secret("shop", {"tls.crt": shop.certificate, "tls.key": shop.key}, "kubernetes.io/tls"),
            backend("a", running["a"].port),
            route("a", f"[{{{to('a')}}}]"),
        ]
        at = f"http://127.0.0.1:{login.port}"
        oidc = policy(
            "SecurityPolicy",
            "login",
            "HTTPRoute/a",
            f"  oidc:\n    provider: {{issuer: '{at}', authorizationEndpoint: '{at}/authorize', "
            f"tokenEndpoint: '{at}/token'}}\n"
            "    clientID: shop\n    clientSecret: {name: login}\n    forwardAccessToken: true\n",
        )
        held = secret("login", {"client-secret": SECRET.encode()})
        # Cookies are for https alone, as a browser has it.
        page = f"https://localhost:{port}/cart?item=1"
        tls = trusting(ca.pem)
        async with edge(tmp_path, *usual) as made, made.client(verify=tls) as browser:
            await until(lambda: _is_open(browser, page))
            before = await _listener_updates(made)
            await made.apply(*usual, held, oidc)
            await until(lambda: _is_sent_away(browser, page))
            # A cookie of one's own making opens nothing.
            forged = {"cookie": "AccessToken-x=a; OauthHMAC-x=b; OauthExpires-x=9999999999"}
            assert (await browser.get(page, headers=forged)).status_code == 302

            got = await browser.get(page, follow_redirects=True)
            assert (got.status_code, str(got.url), login.refused) == (200, page, [])
            token = got.json()["headers"]["authorization"].removeprefix("Bearer ")
            assert token.count(".") == 2
            assert [one.status_code for one in got.history] == [302, 302, 302]
            # From here on by cookies alone, and these are not the token.
            again = await browser.get(page)
            assert again.status_code == 200
            assert token not in str(browser.cookies)
            async with made.client(cookies=browser.cookies, verify=tls) as copied:
                assert (await copied.get(page)).status_code == 200

            assert (await browser.get(f"https://localhost:{port}/logout")).status_code == 302
            assert (await browser.get(page)).status_code == 302

            # Programs bring a token along, which the policy holds against the provider's keys.
            passes = (
                f"    passThroughAuthHeader: true\n  jwt: {{providers: [{{name: login, issuer: "
                f"'{login.issuer.name}', localJWKS: {{inline: '{login.issuer.jwks}'}}}}]}}\n"
            )
            await made.apply(*usual, held, oidc + passes)
            good, bad = login.issuer.bearer(), Issuer(login.issuer.name).bearer()
            await until(lambda: _gives(browser, page, 200, good))
            assert await _gives(browser, page, 401, bad)
            assert await _gives(browser, page, 302, {})
            assert (await browser.get(page, follow_redirects=True)).status_code == 200
            assert (await browser.get(page)).status_code == 200

            await made.apply(*usual)
            await until(lambda: _is_open(browser, page))
            assert await _listener_updates(made) == before


async def _is_sent_away(browser: httpx.AsyncClient, page: str) -> bool:
    got = await browser.get(page)
    return got.status_code == 302 and "code_challenge" in got.headers["location"]


async def _gives(
    browser: httpx.AsyncClient, page: str, status: int, headers: Mapping[str, str]
) -> bool:
    return (await browser.get(page, headers=dict(headers))).status_code == status


async def _is_open(browser: httpx.AsyncClient, page: str) -> bool:
    return (await browser.get(page)).status_code == 200


async def _listener_updates(made: Edge) -> int:
    stats = await made.envoy.stats("listener_manager.listener_(added|modified|in_place_updated)")
    return sum(stats.values())
