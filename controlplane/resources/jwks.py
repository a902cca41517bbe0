"""Key sets (JWKS, RFC 7517) that people write: those alone that Envoy can use.

Envoy refuses the configuration of every issuer for one set that it cannot read, so a set is checked
before it is sent. A symmetric key is a secret and belongs into no document, so it is refused too.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from functools import lru_cache

MAX_KEYS = 100
_ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "OKP": ("EdDSA",),
}
"""By the kind of a key, or its curve."""


@lru_cache(256)
def check_jwks(text: str) -> str:
    """The set itself. Raises `ValueError` that says what is wrong, and shows nothing of it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the key set is not JSON") from None
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_KEYS:
        raise ValueError(f"a key set has between 1 and {MAX_KEYS} entries in its list keys")
    for at, key in enumerate(keys):
        if not isinstance(key, dict):
            raise ValueError(f"keys[{at}] is not an object")
        if fault := _fault(key):
            raise ValueError(f"keys[{at}] {fault}")
    return text


def _fault(key: Mapping[str, object]) -> str:
    kind = key.get("kty")
    if kind == "oct" or {"d", "k"} & key.keys():
        return "is a secret; a key set here has public keys alone"
    if kind not in ("RSA", "EC", "OKP"):
        return "has no kty RSA, EC or OKP"
    if not all(isinstance(key.get(one, ""), str) for one in ("alg", "kid", "use")):
        return "has an alg, kid or use that is not text"
    algorithms = _ALGORITHMS.get(str(key.get("crv") if kind == "EC" else kind), ())
    if "alg" in key and algorithms and key["alg"] not in algorithms:
        return f"has an alg that is none of {', '.join(algorithms)}"
    try:
        return _unusable(kind, key)
    except (ValueError, binascii.Error):
        return f"is no {kind} key"


# `cryptography` takes a while to load, and a configuration without keys does not need it.


def _unusable(kind: object, key: Mapping[str, object]) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if kind == "RSA":
        size = rsa.RSAPublicNumbers(_number(key, "e"), _number(key, "n")).public_key().key_size
        return "is shorter than 2048 bits" if size < 2048 else ""  # RFC 7518, section 3.3
    if kind == "EC":
        curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
        curve = curves.get(str(key.get("crv")))
        if curve is None:
            return "has no crv P-256, P-384 or P-521"
        ec.EllipticCurvePublicNumbers(_number(key, "x"), _number(key, "y"), curve).public_key()
        return ""
    if key.get("crv") != "Ed25519":
        return "has no crv Ed25519"
    ed25519.Ed25519PublicKey.from_public_bytes(_bytes(key, "x"))
    return ""


def _bytes(key: Mapping[str, object], name: str) -> bytes:
    text = key.get(name)
    if not isinstance(text, str) or not text:
        raise ValueError(f"no {name}")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(key: Mapping[str, object], name: str) -> int:
    return int.from_bytes(_bytes(key, name), "big")
