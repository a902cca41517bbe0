"""Tokens: whose are taken, and that every other is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.errors import StartupError
from controlplane.xds.gate import DeniedError
from controlplane.xds.tokens import MAX_TOKEN, Tokens
from tests.certificates import pem_key, pem_public, put

ISSUER, AUDIENCE = "https://issuer.test", "weir"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
OTHER = ec.generate_private_key(ec.SECP256R1())


def claims(**changed: object) -> dict[str, Any]:
    """Good ones, with some changed, and those left out that are None."""
    now = int(time.time())
    all_of_them = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 600,
        "sub": "envoy-1",
        **changed,
    }
    return {key: value for key, value in all_of_them.items() if value is not None}


def signed(
    key: Any = P256,  # noqa: ANN401
    algorithm: str = "ES256",
    kid: str | None = None,
    **changed: object,
) -> str:
    headers = {"kid": kid} if kid is not None else None
    return jwt.encode(claims(**changed), key, algorithm, headers)


def jwk(key: Any, kid: str, **more: object) -> dict[str, Any]:  # noqa: ANN401
    kinds: dict[type, Any] = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    (how,) = [how for kind, how in kinds.items() if isinstance(key, kind)]
    found: dict[str, Any] = how.to_jwk(key.public_key(), as_dict=True)
    return {**found, "kid": kid, **more}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def tokens(folder: Path, content: bytes) -> Tokens:
    return Tokens(ISSUER, AUDIENCE, put(folder / "key", content))


def refused(by: Tokens, token: str, why: str = "the token is refused: .") -> None:
    with pytest.raises(DeniedError, match=why) as denied:
        by.verify(token)
    assert (denied.value.code, denied.value.reason) == ("UNAUTHENTICATED", "unauthenticated")


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (P256, "ES256"), (ED, "EdDSA")])
def test_a_token_of_the_key_is_taken(tmp_path: Path, key: Any, algorithm: str) -> None:  # noqa: ANN401
    expires = int(time.time()) + 60
    by = tokens(tmp_path, pem_public(key))
    found = by.verify(signed(key, algorithm, exp=expires))
    assert (found.subject, found.expires_at_s) == ("envoy-1", float(expires))
    by.verify(signed(key, algorithm, kid="a key id does no harm"))
    by.verify(signed(key, algorithm, aud=["other", AUDIENCE]))
    by.verify(signed(key, algorithm, iat=int(time.time()) + 2))  # a clock that is a little ahead


@pytest.mark.parametrize("left_out", ["exp", "iat", "aud", "iss", "sub"])
def test_a_token_that_leaves_out_what_it_must_say_is_refused(tmp_path: Path, left_out: str) -> None:
    changed: dict[str, Any] = {left_out: None}
    refused(tokens(tmp_path, pem_public(P256)), signed(**changed), left_out)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"exp": int(time.time()) - 1}, "expired"),
        ({"iat": int(time.time()) + 3600}, "not yet valid"),
        ({"nbf": int(time.time()) + 3600}, "not yet valid"),
        ({"aud": "other"}, "[Aa]udience"),
        ({"aud": []}, "aud"),
        ({"iss": "https://other.test"}, "[Ii]ssuer"),
        ({"iss": ISSUER + "/"}, "[Ii]ssuer"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "[Ss]ubject"),
        ({"exp": "soon"}, "refused"),
        ({"exp": float("inf")}, "refused"),
        ({"exp": {"a": 1}}, "refused"),
        ({"iat": "now"}, "refused"),
    ],
)
def test_a_token_that_says_something_else_is_refused(
    tmp_path: Path, changed: dict[str, Any], why: str
) -> None:
    refused(tokens(tmp_path, pem_public(P256)), signed(**changed), why)


def forged(header: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims()).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def test_a_token_of_another_key_is_refused(tmp_path: Path) -> None:
    refused(tokens(tmp_path, pem_public(P256)), signed(OTHER), "[Ss]ignature")


def test_a_token_without_a_signature_is_refused(tmp_path: Path) -> None:
    by = tokens(tmp_path, pem_public(P256))
    refused(by, forged({"alg": "none", "typ": "JWT"}))
    refused(by, forged({"alg": "ES256", "typ": "JWT"}))
    refused(by, signed().rpartition(".")[0] + ".")


def test_the_algorithm_is_that_of_the_key_whatever_the_token_says(tmp_path: Path) -> None:
    public = pem_public(RSA)
    by = tokens(tmp_path, public)
    unsigned = forged({"alg": "HS256", "typ": "JWT"}).rpartition(".")[0]
    mac = hmac.new(public, unsigned.encode(), hashlib.sha256).digest()
    refused(by, unsigned + "." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode(), "alg")
    refused(by, signed(RSA, "RS512"), "alg")
    refused(by, signed(RSA, "PS256"), "alg")
    refused(by, signed(P256, "ES256"), "alg")


def test_a_long_token_is_refused_before_it_is_read(tmp_path: Path) -> None:
    by = tokens(tmp_path, pem_public(P256))
    refused(by, signed(team="x" * MAX_TOKEN), "longer than")


def test_a_jwks_finds_the_key_by_its_id(tmp_path: Path) -> None:
    by = tokens(tmp_path, jwks(jwk(P256, "one"), jwk(RSA, "two"), jwk(ED, "three")))
    by.verify(signed(P256, "ES256", "one"))
    by.verify(signed(RSA, "RS256", "two"))
    by.verify(signed(ED, "EdDSA", "three"))
    refused(by, signed(P256, "ES256", "two"))
    refused(by, signed(P256, "ES256", "four"), "not in the key file")
    refused(by, signed(P256, "ES256"), "does not name its key")


def test_keys_of_a_jwks_that_are_for_something_else_are_passed_over(tmp_path: Path) -> None:
    big = ec.generate_private_key(ec.SECP521R1())
    content = jwks(
        jwk(RSA, "encrypts", use="enc"),
        jwk(RSA, "pss", alg="PS256"),
        jwk(big, "curve"),
        {"kty": "strange", "kid": "x"},
        jwk(P256, "signs", use="sig", alg="ES256"),
    )
    by = tokens(tmp_path, content)
    by.verify(signed(P256, "ES256", "signs"))
    assert [one.kid for one in by.keys.value] == ["signs"]


SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)
SECRET = {"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 32).decode(), "kid": "s"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "neither a PEM public key nor a JWKS"),
        (b"hello", "neither a PEM public key nor a JWKS"),
        (pem_key(P256), "holds a private key; give the public one"),
        (pem_public(SHORT), "want RSA of 2048 bits"),
        (pem_public(ec.generate_private_key(ec.SECP384R1())), "want RSA of 2048 bits"),
        (b"{", "not a JWKS"),
        (b"{}", "not a JWKS"),
        (b'{"keys": 1}', "not a JWKS"),
        (b'{"keys": []}', "without a key to verify with"),
        (b'{"keys": [1, {}, null]}', "without a key to verify with"),
        (json.dumps({"keys": [{}] * 101}).encode(), "at most 100 keys"),
        (jwks(SECRET), "holds a secret key"),
        (jwks({**jwk(P256, "a"), "d": "AA"}), "holds a secret key"),
        (jwks(jwk(P256, "a"), jwk(RSA, "a")), "same kid"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_refused_at_the_start(
    tmp_path: Path, content: bytes, why: str
) -> None:
    with pytest.raises(StartupError, match=why):
        tokens(tmp_path, content)


def test_a_new_key_file_is_taken_and_a_broken_one_leaves_the_old(tmp_path: Path) -> None:
    by = tokens(tmp_path, pem_public(P256))
    put(tmp_path / "key", b"broken")
    by.keys.look()
    assert "neither" in by.keys.problem
    by.verify(signed())
    put(tmp_path / "key", jwks(jwk(OTHER, "new")))
    by.keys.look()
    assert by.keys.problem == ""
    by.verify(signed(OTHER, kid="new"))
    refused(by, signed())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(max_size=300)
    | st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(
        lambda parts: ".".join(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts)
    )
)
def test_whatever_comes_as_a_token_is_refused_and_nothing_worse(tmp_path: Path, text: str) -> None:
    refused(tokens(tmp_path, pem_public(P256)), text)
