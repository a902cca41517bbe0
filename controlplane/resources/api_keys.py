"""API keys, and the hashes of them that are all that Weir keeps and Envoys compare.

SHA-256 without a salt is right for keys that are random: a salt keeps equal passwords from having
equal hashes, and tables of likely passwords from being made beforehand. No two random keys are
equal, and of 2**128 of them no table is made. For the same reason a slow hash would add nothing but
its cost to each request. A key that somebody thought of is weak as it is, and as a hash too.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from collections.abc import Iterator, Sequence

from controlplane.resources.secret import Secret

HASHED = "sha256:"
"""Before the 64 hexadecimal digits of a key's hash."""
PREFIX = "weir_"
"""Of the keys that we make, by which they are known where they should not be."""
ENOUGH_BITS = 128
"""Of chance in a key: from here on nobody finds it by its hash."""
MOST_KEYS = 16
"""Of a client in one Secret."""
_RANDOM_BYTES = 32
_KEY = re.compile(r"[!-~]{8,1024}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ALPHABETS = (
    (10, re.compile(r"[0-9]*")),
    (16, re.compile(r"[0-9a-f]*|[0-9A-F]*")),
    (36, re.compile(r"[0-9a-z]*|[0-9A-Z]*")),
    (62, re.compile(r"[0-9a-zA-Z]*")),
)
_PRINTABLE = 94


def new_key() -> str:
    """A key of 256 bits of chance, as no other is."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest(key: str) -> str:
    """Its SHA-256, in hexadecimal digits.

    >>> digest("abc")
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    """
    return hashlib.sha256(key.encode()).hexdigest()


def hashed(key: str) -> str:
    """As a Secret holds it."""
    return HASHED + digest(key)


def most_bits(key: str) -> float:
    """How much chance there is in a key at most: as if each character were drawn from the smallest
    usual alphabet that has them all.

    >>> round(most_bits("0123456789abcdef")), round(most_bits("key-of-shop"))
    (64, 72)
    """
    size = next((size for size, one in _ALPHABETS if one.fullmatch(key)), _PRINTABLE)
    return len(key) * math.log2(size)


def keys_of(secrets_: Sequence[Secret]) -> list[tuple[str, str]]:
    """Clients with the hashes of their keys, each pair once.

    Raises `ValueError` where there are none or they are not unique; no key is in the message.
    """
    owners: dict[str, str] = {}
    for secret in secrets_:
        for client in secret.entries():
            for one in _hashes(secret, client):
                if owners.setdefault(one, client) != client:
                    raise ValueError(f"clients {owners[one]} and {client} have the same key")
    if not owners:
        raise ValueError("there is no client in the Secrets")
    return [(client, one) for one, client in owners.items()]


def written(secret: Secret, client: str) -> list[str]:
    """The keys of a client as they are written, one a line."""
    lines = (secret.value(client) or b"").decode(errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _hashes(secret: Secret, client: str) -> Iterator[str]:
    found = written(secret, client)
    whose = f"of {client} in Secret {secret.key}"
    if not 1 <= len(found) <= MOST_KEYS:
        raise ValueError(f"want 1 to {MOST_KEYS} keys {whose}, one a line; got {len(found)}")
    for one in found:
        if one.startswith(HASHED):
            if not _DIGEST.fullmatch(one.removeprefix(HASHED)):
                raise ValueError(
                    f"a hash {whose} is not {HASHED} and 64 hexadecimal digits in lower case"
                )
            yield one.removeprefix(HASHED)
        elif _KEY.fullmatch(one):
            yield digest(one)
        else:
            raise ValueError(
                f"the key {whose} is not 8 to 1024 printable characters without spaces"
            )
