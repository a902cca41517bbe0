"""What an earlier process kept means what it meant, and where a Secret is missing nobody is told
anything made without it."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest

from controlplane.cli.fleets import snapshots
from controlplane.resources import Loaded, ObjectKey, load
from controlplane.resources.kept import Kept, needing, restored, stale
from controlplane.translate.types import ENDPOINT
from tests.certificates import Authority
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICIES, ROUTE, joined
from tests.unit.resources.test_security_policy import API_KEYS, HEAD, OIDC

PLAIN = GATEWAY.replace("name: edge", "name: plain").replace("8080", "8081")
PLAIN_ROUTE = ROUTE.replace("name: web}", "name: plain}", 1).replace("name: edge", "name: plain")
SECURE = GATEWAY.replace(
    "{name: http, port: 8080, protocol: HTTP}",
    "{name: https, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: held}]}}",
)
SHOWN = GATEWAY + "  tls: {backend: {clientCertificateRef: {name: held}}}\n"
TLS_BACKEND = """\
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: web}]
  validation: {hostname: web.example, caCertificateRefs: [{kind: Secret, name: held}]}
"""
CLIENTS = """\
apiVersion: weir.dev/v1alpha1
kind: ClientPolicy
metadata: {name: clients}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  tls: {clientValidation: {caCertificateRefs: [{kind: Secret, name: held}]}}
"""
KEYS = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {shop: the-key-of-it}\n"
CASES = {
    "certificate": (SECURE, ""),
    "API keys of a route": (GATEWAY, f"{HEAD}  {API_KEYS}\n".replace("held", "keys")),
    "OpenID Connect": (GATEWAY, f"{HEAD}  {OIDC.strip()}}}\n"),
    "basic authentication": (GATEWAY, f"{HEAD}  basicAuth: {{users: {{name: held}}}}\n"),
    "a CA of Backends": (GATEWAY, TLS_BACKEND),
    "a CA of clients": (SECURE.replace("held", "other"), CLIENTS),
    "what Backends are shown": (SHOWN, TLS_BACKEND),
}


@pytest.fixture(scope="module")
def secret() -> str:
    """Good for everything."""
    authority = Authority()
    issued = authority.issue(dns=["web.example"])
    values = {
        "tls.crt": issued.certificate,
        "tls.key": issued.key,
        "ca.crt": authority.pem,
        ".htpasswd": b"ann:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=",
        "client-secret": b"the-secret-of-the-shop",
    }
    rows = "".join(f"  {name}: {base64.b64encode(one).decode()}\n" for name, one in values.items())
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: held}}\ndata:\n{rows}"


def sent(loaded: Loaded) -> Mapping[str, Mapping[str, Mapping[str, bytes]]]:
    """By fleet and type."""
    return {one.fleet: one.resources for one in snapshots(loaded.declared)}


@pytest.mark.parametrize("case", CASES)
def test_a_fleet_that_would_be_told_otherwise_without_a_secret_is_left_alone(
    case: str, secret: str
) -> None:
    """The twin: what is sent with and without. Endpoints are known whatever is missing."""
    gateway, policy = CASES[case]
    documents = {
        "Gateway/default/edge": gateway.encode(),
        "Gateway/default/plain": PLAIN.encode(),
        "HTTPRoute/default/web": ROUTE.encode(),
        "HTTPRoute/default/plain": PLAIN_ROUTE.encode(),
        "Backend/default/web": BACKEND.encode(),
        "Secret/default/held": secret.encode(),
        "Secret/default/keys": KEYS.encode(),
        "Secret/default/other": secret.replace("name: held", "name: other").encode(),
    }
    if policy:
        documents["X/default/policy"] = policy.encode()
    kept = Kept("here", documents)
    whole = load(Loaded(), documents, POLICIES)
    assert not whole.problems, case
    without = sent(load(Loaded(), kept.without_secrets().documents, POLICIES))
    told = sent(whole)
    differ = {fleet for fleet in told if told[fleet] != without[fleet]}
    assert "default/edge" in differ

    again = restored(kept.without_secrets(), POLICIES)
    assert differ <= again.declared.left_alone
    if "Backend" not in case:  # that they share: whoever reaches it needs its CA
        assert again.declared.left_alone == {"default/edge"}
    for fleet, resources in sent(again).items():
        if fleet in again.declared.left_alone:
            assert resources == {ENDPOINT: told[fleet][ENDPOINT]}
        else:
            assert resources == told[fleet]
    assert not again.problems
    assert sent(restored(kept, POLICIES)) == told


def test_what_was_refused_is_refused_and_the_last_valid_version_is_in_force() -> None:
    bad = ROUTE.replace(
        "- backendRefs", "- matches: [{path: {value: no-slash}}]\n      backendRefs"
    )
    name = "HTTPRoute/default/web"
    others = {
        "Gateway/default/edge": GATEWAY.encode(),
        "Backend/default/web": BACKEND.encode(),
    }
    good = load(Loaded(), {**others, name: ROUTE.encode()}, POLICIES)
    before = load(good, {**others, name: bad.encode()}, POLICIES)
    after = restored(Kept("here", {**others, name: bad.encode()}, {name: ROUTE.encode()}), POLICIES)
    assert sent(after) == sent(before) == sent(good)
    assert [one.message for one in after.problems] == [one.message for one in before.refusals]


def test_stale_says_so_and_who_is_left_alone() -> None:
    documents = {"Gateway/default/edge": SECURE.encode()}
    loaded = restored(Kept("here", documents, withheld=frozenset({"Secret/default/held"})))
    told = stale(loaded, "no lists within 10 s")
    (problem,) = told.problems
    assert problem.file == "Kubernetes"
    assert "no lists within 10 s" in problem.message
    assert "default/edge are left as they are" in problem.message
    assert told.declared is loaded.declared
    assert told.stale == problem.message


def test_a_route_of_two_gateways_does_not_make_one_need_what_the_other_needs() -> None:
    both = ROUTE.replace("    - name: edge", "    - name: edge\n    - name: plain")
    found = load(Loaded(), {"a.yaml": joined(SECURE, PLAIN, both, BACKEND).encode()}, POLICIES)
    held = ObjectKey("Secret", "default/held")
    assert needing(found.declared, [held]) == {"default/edge"}
