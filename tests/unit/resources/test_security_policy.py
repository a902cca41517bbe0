from __future__ import annotations

import hashlib
import json

import pytest

from controlplane.resources.jwks import check_jwks
from tests.unit.resources.documents import BACKEND, GATEWAY, ROUTE, joined, read

HEAD = """\
apiVersion: weir.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
"""
KEY = {
    **{"kty": "EC", "crv": "P-256", "kid": "one"},
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}  # RFC 7515, appendix A.3
KEYS = json.dumps({"keys": [KEY]})
HASH = "sha256:" + hashlib.sha256(b"long-enough-key").hexdigest()
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: held}\nstringData:\n"
GRANT = """\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: lets, namespace: vault}
spec:
  from: [{group: weir.dev, kind: SecurityPolicy, namespace: default}]
  to: [{group: "", kind: Secret}]
"""
OIDC = (
    "  oidc: {provider: {issuer: 'https://a.test', authorizationEndpoint: 'https://a.test/a', "
    "tokenEndpoint: 'https://a.test/t'}, clientID: shop, clientSecret: {name: held}"
)
LOCAL = f"localJWKS: {{type: Inline, inline: '{KEYS}'}}"
API_KEYS = "apiKeyAuth: {credentialRefs: [{name: held}], extractFrom: [{headers: [x-key]}]}"


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ("jwt: {providers: []}", "spec.jwt.providers", "at least one"),
        ("jwt: {providers: [{name: a}]}", "spec.jwt.providers[0]", "either remoteJWKS or local"),
        (f"jwt: {{providers: [{{name: a, {LOCAL}, remoteJWKS: {{uri: 'https://a.test'}}}}]}}",
         "spec.jwt.providers[0]", "either remoteJWKS or localJWKS"),
        (f"jwt: {{providers: [{{name: a, {LOCAL}}}, {{name: a, {LOCAL}}}]}}",
         "spec.jwt.providers", "two providers are called 'a'"),
        ("jwt: {providers: [{name: a, remoteJWKS: {uri: 'ftp://a.test'}}]}",
         "spec.jwt.providers[0].remoteJWKS.uri", "want an address"),
        ("jwt: {providers: [{name: a, remoteJWKS: {uri: 'https://u:p@a.test'}}]}",
         "spec.jwt.providers[0].remoteJWKS.uri", "no user"),
        ("jwt: {providers: [{name: a, remoteJWKS: {uri: 'https://a.test:99999'}}]}",
         "spec.jwt.providers[0].remoteJWKS.uri", "range"),
        ("jwt: {providers: [{name: a, localJWKS: {type: ValueRef, inline: '{}'}}]}",
         "spec.jwt.providers[0].localJWKS.inline", "between 1 and 100"),
        (f"jwt: {{providers: [{{name: a, {LOCAL}, extractFrom: {{}}}}]}}",
         "spec.jwt.providers[0].extractFrom", "want headers, cookies or params"),
        (f"jwt: {{providers: [{{name: a, {LOCAL}, "
         "claimToHeaders: [{header: x, claim: a..b}]}]}", "spec.jwt.providers[0].claimToHeaders[0]"
         ".claim", "want the name of a claim"),
        ("apiKeyAuth: {credentialRefs: [], extractFrom: [{headers: [x]}]}",
         "spec.apiKeyAuth.credentialRefs", "at least one"),
        ("apiKeyAuth: {credentialRefs: [{name: a}], extractFrom: [{}]}",
         "spec.apiKeyAuth.extractFrom[0]", "want headers, params or cookies"),
        ("basicAuth: {users: {name: a, kind: ConfigMap}}", "spec.basicAuth.users.kind",
         "not taken"),
        ("extAuth: {failOpen: true}", "spec.extAuth", "either grpc or http"),
        ("extAuth: {http: {backendRefs: [{name: a}]}, statusOnError: 200}",
         "spec.extAuth.statusOnError", "want the status of an error"),
        ("extAuth: {http: {backendRefs: [{name: a}]}, statusOnError: 599}",
         "spec.extAuth.statusOnError", "want the status of an error"),
        (f"{OIDC.strip()}, redirectURL: 'javascript:alert(1)'}}", "spec.oidc.redirectURL",
         "want an address"),
        (f"{OIDC.strip()}, redirectURL: 'https://a.test/a%20b'}}", "spec.oidc.redirectURL",
         "want an address"),
        (f"{OIDC.strip()}, redirectURL: 'https://a.test/logout'}}", "spec.oidc",
         "logoutPath is not the path"),
        (f"{OIDC.strip()}, passThroughAuthHeader: true}}", "spec", "it needs jwt, not optional"),
        *(
            (f"jwt: {{providers: [{{name: a, remoteJWKS: {{uri: 'http://{one}/'}}}}]}}",
             "spec.jwt.providers[0].remoteJWKS.uri", "want the address of a server")
            for one in ("169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "2852039166",
                        "0xa9.0xfe.0xa9.0xfe")
        ),
        ("cors: {allowOrigins: ['*'], allowCredentials: true}", "spec", "name the origins"),
        ("cors: {allowOrigins: ['https://*:8443'], allowCredentials: true}", "spec",
         "name the origins"),
        ("authorization: {rules: [{action: Allow}]}", "spec.authorization.rules[0]",
         "want principal or operation"),
        ("authorization: {rules: [{action: Allow, principal: {}}]}",
         "spec.authorization.rules[0].principal", "want clientCIDRs, jwt or headers"),
        ("authorization: {rules: [{action: Allow, principal: {clientCIDRs: [10.0.0.1/8]}}]}",
         "spec.authorization.rules[0].principal.clientCIDRs[0]", "no bits set"),
        ("authorization: {rules: [{action: Allow, principal: {jwt: {provider: a, scopes: [b]}}}]}",
         "spec", "jwt has no provider 'a'"),
        ("authorization: {rules: [{action: Allow, operation: {paths: [{value: a}]}}]}",
         "spec.authorization.rules[0].operation.paths[0].value", "starts with '/'"),
        ("authorization: {rules: [{name: a, action: Deny, operation: {methods: [GET]}}, "
         "{name: a, action: Deny, operation: {methods: [PUT]}}]}",
         "spec.authorization.rules", "two rules are called 'a'"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_where_it_stands(
    spec: str, field: str, message: str
) -> None:
    loaded = read({"all.yaml": joined(GATEWAY, ROUTE, BACKEND, f"{HEAD}  {spec}\n")})
    (problem,) = loaded.refusals
    assert (problem.field, message in str(problem)) == (field, True), str(problem)
    assert problem.line > 0


@pytest.mark.parametrize(
    ("entries", "spec", "field", "message"),
    [
        ("  a: long-enough-key\n", API_KEYS, "", ""),
        ("  a: short\n", API_KEYS, "spec.apiKeyAuth", "the key of a in Secret default/held"),
        ("  a: long-enough-key\n  b: long-enough-key\n", API_KEYS, "spec.apiKeyAuth",
         "clients a and b have the same key"),
        (f"  a: long-enough-key\n  b: {HASH}\n", API_KEYS, "spec.apiKeyAuth",
         "clients a and b have the same key"),
        (f"  a: |\n    {HASH}\n    another-long-key\n\n  b: sha256:{'0' * 64}\n", API_KEYS, "", ""),
        ("  a: sha256:abc\n", API_KEYS, "spec.apiKeyAuth", "a hash of a in Secret default/held is"),
        (f"  a: sha256:{'A' * 64}\n", API_KEYS, "spec.apiKeyAuth", "64 hexadecimal digits"),
        ("  a: ''\n", API_KEYS, "spec.apiKeyAuth", "want 1 to 16 keys of a in Secret"),
        ("  {}\n", API_KEYS, "spec.apiKeyAuth", "there is no client"),
        ("  .htpasswd: 'ann:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc='\n",
         "basicAuth: {users: {name: held}}", "", ""),
        ("  .htpasswd: 'ann:$apr1$x$y'\n", "basicAuth: {users: {name: held}}",
         "spec.basicAuth.users", "line 1 of .htpasswd is not"),
        ("  .htpasswd: 'ann:{SHA}c2hvcnQ='\n", "basicAuth: {users: {name: held}}",
         "spec.basicAuth.users", "line 1 of .htpasswd is not"),
        ("  users: ''\n", "basicAuth: {users: {name: held}}", "spec.basicAuth.users",
         "has no .htpasswd"),
        ("  other: x\n", f"{OIDC.strip()}}}", "spec.oidc.clientSecret", "has no client-secret"),
        ("  client-secret: x\n", f"{OIDC.strip()}}}", "", ""),
    ],
)  # fmt: skip
def test_secrets_that_envoy_could_not_use_are_reported_and_not_shown(
    entries: str, spec: str, field: str, message: str
) -> None:
    held = SECRET.replace("stringData:", "stringData: {}" if "{}" in entries else "stringData:")
    text = held + entries.replace("  {}\n", "")
    loaded = read({"all.yaml": joined(GATEWAY, ROUTE, BACKEND, f"{HEAD}  {spec}\n", text)})
    if not field:
        assert not loaded.problems
        return
    (problem,) = loaded.problems
    assert (problem.field, message in str(problem)) == (field, True), str(problem)
    assert "answered 500" in problem.message
    for secret in ("short", "long-enough-key", "apr1", "c2hvcnQ"):
        assert secret not in str(problem)


def test_a_secret_of_another_namespace_needs_a_grant() -> None:
    spec = f"  {API_KEYS}\n".replace("name: held", "name: held, namespace: vault")
    held = SECRET.replace("name: held", "name: held, namespace: vault") + "  a: a-long-key\n"
    documents = [GATEWAY, ROUTE, BACKEND, HEAD + spec, held]
    (problem,) = read({"all.yaml": joined(*documents)}).problems
    assert problem.field == "spec.apiKeyAuth.credentialRefs[0]"
    assert "no ReferenceGrant there allows it" in problem.message
    assert not read({"all.yaml": joined(*documents, GRANT)}).problems


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("no json", "is not JSON"),
        ("[]", "between 1 and 100"),
        ('{"keys": []}', "between 1 and 100"),
        ('{"keys": [1]}', r"keys\[0\] is not an object"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', r"keys\[0\] is a secret"),
        (json.dumps({"keys": [KEY | {"d": "AA"}]}), r"keys\[0\] is a secret"),
        (json.dumps({"keys": [KEY | {"x": "AAAA"}]}), r"keys\[0\] is no EC key"),
        (json.dumps({"keys": [KEY | {"crv": "P-192"}]}), r"has no crv"),
        (json.dumps({"keys": [KEY | {"alg": "RS256"}]}), "has an alg that is none of ES256"),
        (json.dumps({"keys": [KEY | {"kid": 1}]}), "is not text"),
        ('{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}', "no RSA key|shorter"),
        ('{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]}', "no OKP key"),
    ],
)
def test_key_sets_that_envoy_could_not_use_are_refused(keys: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_jwks(keys)


def test_a_key_set_stays_as_it_is() -> None:
    assert check_jwks(KEYS) == KEYS
