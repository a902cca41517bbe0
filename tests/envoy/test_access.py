"""`SecurityPolicy` and lists of client addresses, through the real Envoy."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from controlplane.lab.envoy import free_port
from controlplane.xds.status import Nack
from tests.envoy.echo import Answer, Echo, call, echoes
from tests.envoy.edge import Edge, backend, edge, gateway, policy, route, secret, to, until
from tests.envoy.identities import Issuer, Page, basic, htpasswd, page

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

ALICE, BOB, THIEF = Issuer("https://alice.test"), Issuer("https://bob.test"), Issuer("thief")


def protected(name: str, spec: str) -> list[str]:
    """The host `name`.test with a policy."""
    return [
        route(name, f"[{{{to('origin')}}}]", hosts=f"[{name}.test]"),
        policy("SecurityPolicy", name, f"HTTPRoute/{name}", spec),
    ]


def inline(issuer: Issuer, more: str = "") -> str:
    return (
        f"{{name: {issuer.name.split('/')[-1]}, issuer: '{issuer.name}', "
        f"localJWKS: {{type: Inline, inline: '{issuer.jwks}'}}{more}}}"
    )


def documents(port: int, origin: int, keys: int) -> list[str]:
    """Every feature on a host of its own."""
    claims = ", claimToHeaders: [{header: x-user, claim: sub}, {header: x-team, claim: org.team}]"
    carol = (
        "{name: carol, issuer: 'https://bob.test', audiences: [shop], "
        f"remoteJWKS: {{uri: 'http://127.0.0.1:{keys}/jwks'}}}}"
    )
    mapped = (
        "{name: a, issuer: 'https://alice.test', "
        "localJWKS: {type: ValueRef, valueRef: {name: keys}}, "
        "extractFrom: {headers: [{name: x-token, valuePrefix: 'T '}], cookies: [t], params: [t]}}"
    )
    keyed = (
        "  apiKeyAuth:\n    credentialRefs: [{name: old-keys}, {name: new-keys}]\n"
        "    extractFrom: [{headers: [x-api-key], params: [key], cookies: [key]}]\n"
        "    forwardClientIDHeader: x-client\n    sanitize: true\n"
    )
    rules = (
        f"  jwt: {{optional: true, providers: [{inline(ALICE)}]}}\n"
        "  authorization:\n    defaultAction: Deny\n    rules:\n"
        "      - {name: no-deletes, action: Deny, operation: {methods: [DELETE]}}\n"
        "      - {action: Allow, principal: {jwt: {provider: alice.test, "
        "claims: [{name: org.team, values: [red, blue]}]}}}\n"
        "      - {action: Allow, principal: {jwt: {provider: alice.test, claims: "
        "[{name: groups, valueType: StringArray, values: [admins]}]}}}\n"
        "      - {action: Allow, principal: {jwt: {provider: alice.test, scopes: [read, list]}}}\n"
        "      - {action: Allow, principal: {headers: [{name: X-Key, values: [one, two]}]}}\n"
        "      - {action: Allow, operation: {methods: [GET], paths: [{value: /open}, "
        "{type: Exact, value: /one}]}}\n"
    )
    near = "  authorization: {rules: [{action: Allow, principal: {clientCIDRs: [127.0.0.0/8]}}]}\n"
    far = "  authorization: {rules: [{action: Allow, principal: {clientCIDRs: ['10.0.0.0/8']}}]}\n"
    again = inline(ALICE, ", recomputeRoute: true, claimToHeaders: [{header: x-tier, claim: tier}]")
    return [
        gateway(f"name: http, port: {port}, protocol: HTTP"),
        backend("origin", origin),
        secret("old-keys", {"shop": b"old-key-of-shop", "bank": b"key-of-bank-1"}),
        secret("new-keys", {"shop": b"new-key-of-shop\n"}),
        secret("users", {".htpasswd": htpasswd(ann="secret", ben="other")}),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: keys}\n"
        f"data: {{jwks: '{ALICE.jwks}'}}\n",
        *protected("jwt", f"  jwt: {{providers: [{inline(ALICE, claims)}, {carol}]}}\n"),
        *protected("maybe", f"  jwt: {{optional: true, providers: [{inline(ALICE, claims)}]}}\n"),
        *protected("places", f"  jwt: {{providers: [{mapped}]}}\n"),
        *protected("keys", keyed),
        *protected("basic", "  basicAuth: {users: {name: users}, forwardUsernameHeader: x-name}\n"),
        *protected("rules", rules),
        *protected("near", near),
        *protected(
            "cors",
            f"  cors: {{allowOrigins: ['https://a.test']}}\n"
            f"  jwt: {{providers: [{inline(ALICE)}]}}\n",
        ),
        route(
            "again",
            f"[{{{to('origin')}}}, {{matches: [{{headers: [{{name: x-tier, value: gold}}]}}], "
            f"filters: [{{type: RequestHeaderModifier, requestHeaderModifier: "
            f"{{set: [{{name: x-route, value: gold}}]}}}}], {to('origin')}}}]",
            hosts="[again.test]",
        ),
        policy(
            "SecurityPolicy",
            "again",
            "HTTPRoute/again",
            f"  jwt: {{optional: true, providers: [{again}]}}\n",
        ),
        *protected("far", far),
        *odd(keys),
        route("free", f"[{{{to('origin')}}}]", hosts="[free.test]"),
    ]


def odd(keys: int) -> list[str]:
    """What may be written at most, or hardly anybody writes; Envoy must take it."""
    name, long, strange = "!#$%&'*+-.^_`|~x", "x" * 1024, "'a ö \\ % {} \"'"
    numbers = ", ".join(f"10.{at // 256}.{at % 256}.0/24" for at in range(1023))
    at = f"http://127.0.0.1:{keys}"
    return [
        secret("login", {"client-secret": b" \x00\xff secret"}),
        *protected(
            "odd",
            f"  jwt:\n    providers:\n      - name: {'a' * 253}\n        issuer: {strange}\n"
            f"        audiences: [{long}, {strange}]\n"
            f"        remoteJWKS: {{uri: '{at}/{long}?a=%20b&c', cacheDuration: 99999h}}\n"
            f'        claimToHeaders: [{{header: "{name}", claim: {strange}}}]\n'
            f'        extractFrom: {{headers: [{{name: "{name}", valuePrefix: {strange}}}], '
            f'cookies: ["{name}"], params: [{strange}]}}\n'
            "  apiKeyAuth:\n    credentialRefs: [{name: old-keys}]\n    extractFrom: "
            f'[{{headers: ["{name}", Upper], params: [{strange}], cookies: ["{name}"]}}]\n'
            f'    forwardClientIDHeader: "{name}"\n'
            f'  basicAuth: {{users: {{name: users}}, forwardUsernameHeader: "{name}"}}\n'
            f"  oidc:\n    provider: {{issuer: '{at}', authorizationEndpoint: '{at}/a?b=c%20d', "
            f"tokenEndpoint: 'https://[::1]:1/{long}'}}\n    clientID: 'a%b\"c'\n"
            f"    clientSecret: {{name: login}}\n    scopes: ['a%b', '{long}']\n"
            f"    resources: ['https://a.test/?b=%20']\n    cookieSameSite: Strict\n"
            "    redirectURL: '%REQ(x-forwarded-proto)%://%REQ(:authority)%/a;b=c'\n"
            f'    cookieNames: {{accessToken: "{name}", idToken: "{name}id"}}\n'
            "    cookieDomain: a.test\n    defaultTokenTTL: 99999h\n    refreshToken: false\n"
            "  extAuth:\n    http: {backendRefs: [{name: origin}], path: /a/, "
            f'headersToBackend: ["{name}"]}}\n    headersToExtAuth: ["{name}"]\n'
            "    bodyToExtAuth: {maxRequestBytes: 1048576}\n    timeout: 1ms\n"
            "    statusOnError: 511\n"
            f"  authorization:\n    rules:\n      - name: {'a' * 253}\n        action: Allow\n"
            f"        principal: {{clientCIDRs: [{numbers}, '::/0'], headers: [{{name: \"{name}\", "
            f"values: [{strange}, {long}]}}], jwt: {{provider: {'a' * 253}, scopes: [{strange}], "
            f"claims: [{{name: {strange}, values: [{strange}]}}]}}}}\n"
            "        operation: {methods: [GET, TRACE], paths: [{value: /}, {value: '/a%20b'}, "
            "{type: Exact, value: /}]}\n",
        ),
    ]


@dataclasses.dataclass
class Scene:
    made: Edge
    port: int
    keys: Page
    origin: Echo

    async def get(self, host: str, path: str = "/", **headers: str) -> Answer:
        found = {name.replace("_", "-"): value for name, value in headers.items()}
        method = found.pop("method", "GET")
        return await call(self.port, path, host=f"{host}.test", method=method, headers=found)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with echoes("origin") as running, page(BOB.jwks) as keys:
        port = free_port()
        origin = running["origin"]
        found = documents(port, origin.port, keys.port)
        async with edge(tmp_path_factory.mktemp("access"), *found) as made:
            made_scene = Scene(made, port, keys, origin)
            await until(lambda: _is(made_scene, "free", 200))
            yield made_scene


async def _is(scene: Scene, host: str, status: int, **headers: str) -> bool:
    return (await scene.get(host, **headers)).status == status


async def test_tokens_of_several_issuers_are_believed_and_others_are_not(scene: Scene) -> None:
    assert (await scene.get("jwt")).status == 401
    assert (await scene.get("jwt", **THIEF.bearer(iss=ALICE.name))).status == 401
    for end in (1, None):
        assert (await scene.get("jwt", **ALICE.bearer(exp=end))).status == 401
    got = await scene.get("jwt", x_user="root", **ALICE.bearer(sub="ann", org={"team": "red"}))
    assert (got.status, got.sent.headers["x-user"], got.sent.headers["x-team"]) == (
        *(200, "ann", "red"),
    )
    # Keys that are fetched, and who the token is for.
    await until(lambda: _is(scene, "jwt", 200, **BOB.bearer(aud="shop")))
    assert (await scene.get("jwt", **BOB.bearer(aud="bank"))).status == 403
    assert "/jwks" in scene.keys.seen


async def test_without_a_token_is_enough_where_it_is_optional_but_a_bad_one_is_not(
    scene: Scene,
) -> None:
    got = await scene.get("maybe", x_user="root")
    assert got.status == 200
    assert "x-user" not in got.sent.headers
    assert (await scene.get("maybe", **THIEF.bearer(iss=ALICE.name))).status == 401


async def test_tokens_are_looked_for_where_the_policy_says(scene: Scene) -> None:
    token = ALICE.token()
    assert (await scene.get("places", x_token=f"T {token}")).status == 200
    assert (await scene.get("places", cookie=f"t={token}")).status == 200
    assert (await scene.get("places", f"/?t={token}")).status == 200
    assert (await scene.get("places", **ALICE.bearer())).status == 401


async def test_a_client_has_two_keys_and_the_backend_sees_its_name_alone(scene: Scene) -> None:
    for key, client in (
        ("old-key-of-shop", "shop"),
        ("new-key-of-shop", "shop"),
        ("key-of-bank-1", "bank"),
    ):
        got = await scene.get("keys", x_api_key=key, x_client="root")
        assert (got.status, got.sent.headers["x-client"]) == (200, client)
        assert "x-api-key" not in got.sent.headers
    got = await scene.get("keys", "/a?b=1&key=key-of-bank-1")
    assert (got.status, got.sent.path) == (200, "/a?b=1")
    assert (await scene.get("keys", cookie="key=key-of-bank-1")).status == 200
    for refused in ({}, {"x_api_key": "key-of-bank-2"}, {"x_api_key": ""}):
        assert (await scene.get("keys", **refused)).status == 401


async def test_names_and_passwords(scene: Scene) -> None:
    got = await scene.get("basic", x_name="root", **basic("ann", "secret"))
    assert (got.status, got.sent.headers["x-name"]) == (200, "ann")
    for refused in ({}, basic("ann", "other"), basic("eve", "secret")):
        assert (await scene.get("basic", **refused)).status == 401


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", ALICE.bearer(org={"team": "blue"}), 200),
        ("/", ALICE.bearer(org={"team": "green"}), 403),
        ("/", ALICE.bearer(groups=["users", "admins"]), 200),
        ("/", ALICE.bearer(groups=["users"]), 403),
        ("/", ALICE.bearer(scope="read write list"), 200),
        ("/", ALICE.bearer(scope="read"), 403),
        ("/", {}, 403),
        ("/", {"x-key": "two"}, 200),
        ("/", {"x-key": "three"}, 403),
        ("/", {"x-key": "two", "method": "DELETE"}, 403),
        ("/open", {}, 200),
        ("/open/a?b", {}, 200),
        ("/open?b", {}, 200),
        ("/opened", {}, 403),
        ("/secret?/open", {}, 403),
        ("/one?x", {}, 200),
        ("/one/two", {}, 403),
        ("/open", {"method": "POST"}, 403),
    ],
)
async def test_the_first_rule_that_fits_decides(
    scene: Scene, path: str, headers: dict[str, str], status: int
) -> None:
    assert (await scene.get("rules", path, **headers)).status == status


async def test_rules_by_address(scene: Scene) -> None:
    assert (await scene.get("near")).status == 200
    assert (await scene.get("far")).status == 403
    assert (await scene.get("far", x_forwarded_for="10.0.0.1")).status == 403


async def test_a_preflight_needs_no_token_and_the_call_does(scene: Scene) -> None:
    asked = {"origin": "https://a.test", "access-control-request-method": "GET"}
    got = await scene.get("cors", method="OPTIONS", **asked)
    assert (got.status, got.headers["access-control-allow-origin"]) == (200, "https://a.test")
    got = await scene.get("cors", origin="https://a.test")
    assert (got.status, got.headers["access-control-allow-origin"]) == (401, "https://a.test")
    assert (await scene.get("cors", method="OPTIONS")).status == 401


async def test_a_claim_may_choose_the_route_and_a_header_of_the_client_may_not(
    scene: Scene,
) -> None:
    got = await scene.get("again", **ALICE.bearer(tier="gold"))
    assert (got.status, got.sent.headers.get("x-route")) == (200, "gold")
    for token in (ALICE.bearer(tier="tin"), ALICE.bearer(), {}):
        got = await scene.get("again", x_tier="gold", **token)
        assert (got.status, got.sent.headers.get("x-route")) == (200, None)


async def test_envoy_took_what_may_be_written_at_most_and_refuses_who_has_nothing(
    scene: Scene,
) -> None:
    assert not [one for one in scene.made.events if isinstance(one, Nack)]
    # Its service has a millisecond: whatever it says, the next part wants a key.
    assert (await scene.get("odd")).status in (401, 511)
