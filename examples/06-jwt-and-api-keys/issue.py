"""The issuer of this example: prints a token, or with `--keys` its public keys.

Its private key is made from words that everybody can read here, so believe it nowhere else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

WORDS = b"the key of an example, that everybody knows"
KEY = ec.derive_private_key(int.from_bytes(hashlib.sha256(WORDS).digest(), "big"), ec.SECP256R1())


def token(subject: str, team: str) -> str:
    """Good for an hour."""
    claims = {
        **{"iss": "https://issuer.example", "aud": "shop", "sub": subject, "team": team},
        "exp": int(time.time()) + 3600,
    }
    return jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": "example"})


def keys() -> str:
    """The key set, as `keys.yaml` has it."""
    public = jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    return json.dumps({"keys": [{**public, "kid": "example", "alg": "ES256"}]})


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", nargs="?", default="ann")
    parser.add_argument("--team", default="sales")
    parser.add_argument("--keys", action="store_true", help="print the public keys instead")
    asked = parser.parse_args()
    print(keys() if asked.keys else token(asked.subject, asked.team))


if __name__ == "__main__":
    main()
