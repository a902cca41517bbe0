from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256

import pytest

from controlplane.model import Snapshot
from controlplane.translate import Translator
from controlplane.translate.clusters import asked
from controlplane.translate.types import CLUSTER, EXTENSION, LISTENER, ROUTE, SECRET
from controlplane.xds.confidential import confidential
from tests.unit.resources.documents import BACKEND, GATEWAY
from tests.unit.resources.documents import ROUTE as WEB_ROUTE
from tests.unit.resources.test_security_policy import API_KEYS, HEAD, LOCAL, OIDC
from tests.unit.translate.scenes import all_services, declared, even

HELD = """\
apiVersion: v1
kind: Secret
metadata: {name: held}
stringData:
  .htpasswd: "ann:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc="
  client-secret: the-secret-of-the-shop
"""
KEYS = HELD.partition("stringData")[0] + "stringData: {shop: the-key-of-the-shop}\n"
OTHER_GATEWAY = GATEWAY.replace("name: edge", "name: other").replace("8080", "8081")
JWT = f"jwt: {{providers: [{{name: a, {LOCAL}}}]}}"


def snapshots(translator: Translator, *documents: str) -> dict[str, Snapshot]:
    found = declared(GATEWAY, WEB_ROUTE, BACKEND, *documents)
    services = all_services(found)
    return {one.fleet: one for one in translator.snapshots(found, services, even(services))}


def policy(spec: str) -> str:
    return f"{HEAD}  {spec.strip()}\n"


@pytest.mark.parametrize(
    ("spec", "held", "credential", "in_types"),
    [
        (API_KEYS, KEYS, sha256(b"the-key-of-the-shop").hexdigest().encode(), {EXTENSION}),
        ("basicAuth: {users: {name: held}}", HELD, b"0DPiKuNIrrVmD8IUCuw1hQxNqZc=", {ROUTE}),
        (f"{OIDC}}}", HELD, b"the-secret-of-the-shop", {SECRET}),
    ],
)
def test_credentials_are_withheld_and_go_to_the_gateway_that_needs_them_alone(
    spec: str, held: str, credential: bytes, in_types: set[str]
) -> None:
    made = snapshots(Translator(), policy(spec), held, OTHER_GATEWAY)
    edge = made["default/edge"].resources
    bodies = [(url, body) for url, named in edge.items() for body in named.values()]
    assert {url for url, body in bodies if credential in body} == in_types
    assert all(confidential(url, body) for url, body in bodies if credential in body)
    others = made["default/other"].resources
    assert not any(credential in body for named in others.values() for body in named.values())
    # Nothing else is withheld for it.
    assert {url for url, body in bodies if confidential(url, body)} == in_types


def test_an_api_key_is_in_nothing_that_an_envoy_gets() -> None:
    made = snapshots(Translator(), policy(API_KEYS), KEYS)["default/edge"].resources
    bodies = [body for named in made.values() for body in named.values()]
    assert not any(b"the-key-of-the-shop" in body for body in bodies)


def test_a_new_api_key_changes_no_route() -> None:
    translator = Translator()
    before = snapshots(translator, policy(API_KEYS), KEYS)["default/edge"].resources
    changed = KEYS.replace("the-key-of-the-shop", "another-key-of-the-shop")
    after = snapshots(translator, policy(API_KEYS), changed)["default/edge"].resources
    assert [url for url in before if before[url] != after[url]] == [EXTENSION]


def test_public_keys_are_no_secret() -> None:
    edge = snapshots(Translator(), policy(JWT))["default/edge"].resources
    assert not any(confidential(url, one) for url, named in edge.items() for one in named.values())


def test_policies_change_routes_and_what_these_name_but_no_listener() -> None:
    translator = Translator()
    before = snapshots(translator)["default/edge"].resources
    for spec in (JWT, API_KEYS, "authorization: {}", f"{OIDC}}}"):
        now = snapshots(translator, policy(spec), HELD)["default/edge"].resources
        assert now[LISTENER] == before[LISTENER]
        assert now[ROUTE] != before[ROUTE]


@pytest.mark.parametrize(("spec", "name"), [(JWT, "weir.dev/jwt"), (API_KEYS, "weir.dev/api-keys")])
@pytest.mark.parametrize("then", [(), ("authorization: {}",)])
def test_what_routes_ask_for_stays_until_they_do_not(
    spec: str, name: str, then: tuple[str, ...]
) -> None:
    translator = Translator()
    asks, lets_go, gone = (
        snapshots(translator, *map(policy, specs), KEYS)["default/edge"].resources
        for specs in ((spec,), then, then)
    )
    assert asks[EXTENSION][name] == lets_go[EXTENSION][name]
    assert asks[ROUTE] != lets_go[ROUTE]
    assert b"default/web" not in gone[EXTENSION][name]


def test_of_a_policy_that_asks_for_less_the_rest_stays_for_a_while() -> None:
    translator = Translator()
    both = snapshots(translator, policy(f"{JWT}\n  {API_KEYS}"), KEYS)["default/edge"].resources
    less = snapshots(translator, policy(JWT), KEYS)["default/edge"].resources
    assert less[EXTENSION] == both[EXTENSION]


def test_routes_of_before_meet_no_clients_of_other_secrets() -> None:
    """Envoy may refuse the routes and take the keys."""
    translator, other = Translator(), KEYS.replace("name: held", "name: other")
    first = snapshots(translator, policy(API_KEYS), KEYS)["default/edge"].resources
    others = policy(API_KEYS.replace("name: held", "name: other"))
    then = snapshots(translator, others, other.replace("the-key", "a-key"))["default/edge"]
    name, *more = set(re.findall(rb"default/web#[0-9a-f]+", first[EXTENSION]["weir.dev/api-keys"]))
    assert not more
    found = then.resources[EXTENSION]["weir.dev/api-keys"]
    key = sha256(b"the-key-of-the-shop").hexdigest().encode()
    assert [one[-64:] for one in re.findall(name + b" [0-9a-f]{64}", found)] == [key]
    assert len(re.findall(rb"default/web#[0-9a-f]+ ", found)) == 2


def test_what_did_not_change_is_not_made_again() -> None:
    found = declared(GATEWAY, WEB_ROUTE, BACKEND, policy(f"{OIDC}}}"), HELD)
    translator, services = Translator(), all_services(found)
    (before, _) = translator.snapshots(found, services, even(services))
    (again, _) = translator.snapshots(found, [*services], even(services), 50.0)
    assert again.resources[ROUTE] == before.resources[ROUTE]
    changed = HELD.replace("the-secret-of-the-shop", "another-secret")
    found = declared(GATEWAY, WEB_ROUTE, BACKEND, policy(f"{OIDC}}}"), changed)
    (after, _) = translator.snapshots(found, services, even(services))
    assert after.resources[ROUTE] == before.resources[ROUTE]  # it names the secrets alone
    assert after.resources[SECRET].keys() == before.resources[SECRET].keys()
    assert all(
        one != before.resources[SECRET][name] for name, one in after.resources[SECRET].items()
    )


def test_on_a_port_that_listeners_share_the_lists_of_all_count() -> None:
    shared = GATEWAY + "    - {name: other, port: 8080, protocol: HTTP, hostname: a.test}\n"
    lists = "".join(
        "---\napiVersion: weir.dev/v1alpha1\nkind: ClientPolicy\n"
        f"metadata: {{name: {name}}}\nspec:\n  targetRefs: [{{group: gateway.networking.k8s.io, "
        f"kind: Gateway, name: edge, sectionName: {name}}}]\n"
        f"  clientAddresses: {{deny: [{network}]}}\n"
        for name, network in (("http", "192.0.2.0/24"), ("other", "198.51.100.0/24"))
    )
    found = declared(shared, WEB_ROUTE, BACKEND, lists.removeprefix("---\n"))
    services = all_services(found)
    (edge, _) = Translator().snapshots(found, services, even(services))
    made = edge.resources[EXTENSION]["weir.dev/addresses/default/edge/http-8080"]
    assert b"192.0.2.0" in made
    assert b"198.51.100.0" in made


def test_a_service_whose_endpoints_are_not_known_keeps_everybody_out() -> None:
    spec = policy("extAuth: {http: {backendRefs: [{name: web}]}, failOpen: true}")
    found = declared(GATEWAY, WEB_ROUTE, BACKEND, spec)
    (edge, *_) = Translator().snapshots(found, [], {})
    (table,) = edge.resources[ROUTE].values()
    assert b"security policy of this route cannot be kept" in table
    assert not edge.resources[CLUSTER]


def test_the_cluster_by_which_a_service_is_asked_does_not_change_and_stays() -> None:
    translator = Translator()

    def clusters(*documents: str) -> Mapping[str, bytes]:
        return snapshots(translator, *documents)["default/edge"].resources[CLUSTER]

    asks = policy("extAuth: {http: {backendRefs: [{name: web}]}}")
    first, name = clusters(asks), asked("default/web")
    said = "apiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: web}\nspec:\n"
    said += "  targetRefs: [{group: weir.dev, kind: Backend, name: web}]\n"
    then = clusters(asks, said + "  circuitBreaker: {maxConnections: 5}\n")
    assert then["default/web"] != first["default/web"]
    assert then[name] == first[name] == clusters()[name]
    assert "default/web" in clusters()
    gone = declared(GATEWAY, WEB_ROUTE)
    assert name not in translator.snapshots(gone, [], {})[0].resources[CLUSTER]
