"""JSON Web Tokens (RFC 7519) as the identity of a client: keys from a file, one algorithm a key.

The algorithm follows from the key and never from the token alone: RS256 for RSA, ES256 for P-256,
EdDSA for Ed25519. A token must say exp, iat, aud, iss and sub.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from controlplane.errors import ConfigurationError
from controlplane.xds.gate import DeniedError, Token
from controlplane.xds.reloaded import Reloaded

MAX_TOKEN = 16 * 1024
"""Characters of a token."""
MAX_KEYS = 100
"""In one file."""
SKEW_S = 5.0
"""How far the clock of an issuer may be ahead of ours. An expired token is not given this."""

_REQUIRED = ("exp", "iat", "aud", "iss", "sub")
_KINDS = "RSA of 2048 bits or more, P-256 or Ed25519"


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and the one algorithm that it is used with."""

    kid: str | None
    algorithm: str
    public: RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


class Tokens:
    """Judges the tokens of one issuer for one audience."""

    def __init__(self, issuer: str, audience: str, file: Path) -> None:
        """`file` is a PEM public key or a JWKS, followed. Raises `StartupError`."""
        self._issuer = issuer
        self._audience = audience
        self.keys: Reloaded[tuple[Key, ...]] = Reloaded(
            "jwt", [file], lambda content: read_keys(file, content[0])
        )

    def verify(self, token: str) -> Token:
        """Whose token it is, and until when. Raises `DeniedError`, UNAUTHENTICATED."""
        if len(token) > MAX_TOKEN:
            raise _bad(f"longer than {MAX_TOKEN} characters")
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = _chosen(self.keys.value, kid)
            claims = jwt.decode(
                token,
                key.public,
                algorithms=[key.algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=SKEW_S,
                options={"require": list(_REQUIRED)},
            )
            expires_at_s = float(int(claims["exp"]))
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise _bad(str(error)[:200]) from None
        if expires_at_s <= time.time():
            raise _bad("it has expired")
        if not claims["sub"]:
            raise _bad("its subject (sub) is empty")
        return Token(claims["sub"], expires_at_s)


def read_keys(path: Path, content: bytes) -> tuple[Key, ...]:
    """The keys of a file: one PEM public key, or a JWKS (RFC 7517).

    Keys of a JWKS that are for something else are passed over. Raises `ConfigurationError`.
    """
    if content.lstrip()[:1] == b"{":
        return _read_jwks(path, content)
    if b"PRIVATE KEY" in content:
        raise _wrong(path, "holds a private key; give the public one, the issuer keeps this")
    try:
        public = load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _wrong(path, f"neither a PEM public key nor a JWKS ({error})") from error
    key = _key(None, public)
    if key is None:
        raise _wrong(path, f"a kind of key that is not used here; want {_KINDS}")
    return (key,)


def _read_jwks(path: Path, content: bytes) -> tuple[Key, ...]:
    try:
        listed = json.loads(content)["keys"]
    except (ValueError, KeyError, RecursionError) as error:
        raise _wrong(path, f"not a JWKS ({error}); want {{'keys': [...]}}") from error
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise _wrong(path, f"not a JWKS; want a list of at most {MAX_KEYS} keys")
    found: list[Key] = []
    for one in listed:
        if isinstance(one, dict) and ("d" in one or one.get("kty") == "oct"):
            raise _wrong(path, "holds a secret key; give the public ones, the issuer keeps these")
        key = _from_jwk(one)
        if key is not None:
            found.append(key)
    if not found:
        raise _wrong(path, f"a JWKS without a key to verify with; want {_KINDS}")
    kids = [one.kid for one in found]
    if len(set(kids)) < len(kids):
        raise _wrong(path, "two keys have the same kid, or none; give each its own")
    return tuple(found)


def _from_jwk(one: Any) -> Key | None:  # noqa: ANN401 (whatever JSON holds)
    if not isinstance(one, dict) or one.get("use", "sig") != "sig":
        return None
    try:
        public = jwt.PyJWK(one).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        return None
    kid = one.get("kid")
    key = _key(kid if isinstance(kid, str) else None, public)
    return key if key is not None and one.get("alg", key.algorithm) == key.algorithm else None


def _key(kid: str | None, public: object) -> Key | None:
    if isinstance(public, RSAPublicKey) and public.key_size >= 2048:
        return Key(kid, "RS256", public)
    if isinstance(public, EllipticCurvePublicKey) and public.curve.name == "secp256r1":
        return Key(kid, "ES256", public)
    if isinstance(public, Ed25519PublicKey):
        return Key(kid, "EdDSA", public)
    return None


def _chosen(keys: Sequence[Key], kid: object) -> Key:
    for one in keys:
        if one.kid is not None and one.kid == kid:
            return one
    if len(keys) == 1 and (kid is None or keys[0].kid is None):
        return keys[0]
    raise _bad("it is signed with a key that is not in the key file, or does not name its key")


def _bad(why: str) -> DeniedError:
    return DeniedError("UNAUTHENTICATED", "unauthenticated", f"the token is refused: {why}")


def _wrong(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: {what}")
