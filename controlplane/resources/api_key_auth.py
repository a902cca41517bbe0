"""`apiKeyAuth` and `basicAuth` of a SecurityPolicy: keys and passwords from Secrets."""

from __future__ import annotations

import base64
import binascii
import re

from pydantic import Field, model_validator

from controlplane.resources.jwt import Word
from controlplane.resources.kinds import Fields, Flag
from controlplane.resources.matches import HeaderName
from controlplane.resources.object_refs import PolicySecretRef
from controlplane.resources.secret import Secret

HTPASSWD = ".htpasswd"
_LINE = re.compile(r"([^:\s]{1,255}):\{SHA\}(.+)")


class KeySource(Fields):
    """Where keys are looked for: headers first, then query parameters, then cookies."""

    headers: tuple[HeaderName, ...] = Field(
        default=(), max_length=16, description="Headers; `Bearer ` before the key is passed over."
    )
    params: tuple[Word, ...] = Field(default=(), max_length=16, description="Query parameters.")
    cookies: tuple[HeaderName, ...] = Field(default=(), max_length=16, description="Cookies.")

    @model_validator(mode="after")
    def _somewhere(self) -> KeySource:
        if not (self.headers or self.params or self.cookies):
            raise ValueError("want headers, params or cookies")
        return self


class ApiKeyAuth(Fields):
    """Requests need a key of a client."""

    credential_refs: tuple[PolicySecretRef, ...] = Field(
        min_length=1,
        max_length=64,
        description="Secrets whose entries are clients with their keys, one a line: `sha256:` and "
        "the SHA-256 of a key in hexadecimal digits, or the key itself. All keys of a client are "
        "good: so keys are changed without a gap.",
    )
    extract_from: tuple[KeySource, ...] = Field(
        min_length=1, max_length=16, description="Where keys are looked for."
    )
    forward_client_id_header: HeaderName | None = Field(
        default=None,
        alias="forwardClientIDHeader",
        description="The Backend is told the client in this header.",
    )
    sanitize: Flag = Field(default=False, description="The Backend does not see the key.")


class BasicAuth(Fields):
    """Requests need a name and a password."""

    users: PolicySecretRef = Field(
        description="A Secret with `.htpasswd`: lines `name:{SHA}...`, as `htpasswd -s` makes them."
    )
    forward_username_header: HeaderName | None = Field(
        default=None, description="The Backend is told the name in this header."
    )


def htpasswd_of(secret: Secret) -> bytes:
    """Its users, one a line. Raises `ValueError` where Envoy would refuse them; nothing that
    somebody may log in with is in the message."""
    text = secret.value(HTPASSWD)
    if text is None:
        raise ValueError(f"Secret {secret.key} has no {HTPASSWD}")
    users: dict[str, str] = {}
    for at, line in enumerate(text.decode(errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None or not _is_sha1(found[2]):
            raise ValueError(f"line {at} of {HTPASSWD} is not name:{{SHA}}hash")
        if users.setdefault(found[1], found[0]) != found[0]:
            raise ValueError(f"line {at} of {HTPASSWD} names a user for the second time")
    if not users:
        raise ValueError(f"there is no user in {HTPASSWD} of Secret {secret.key}")
    return "\n".join(users.values()).encode()


def _is_sha1(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 20
    except (binascii.Error, ValueError):
        return False
