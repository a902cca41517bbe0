"""What a SecurityPolicy refers to, looked up in one place, so that checking and translation agree.

A policy that refers to something that is not there is not in force in part: its requests are
answered 500.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from controlplane.resources.api_key_auth import htpasswd_of
from controlplane.resources.api_keys import keys_of
from controlplane.resources.declared import Declared
from controlplane.resources.jwks import check_jwks
from controlplane.resources.jwt import LocalJwks
from controlplane.resources.oidc import CLIENT_SECRET
from controlplane.resources.problems import near_name
from controlplane.resources.secret import ConfigMap, Secret
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.topology import Unresolved, resolve_backend, resolve_secret

JWKS = "jwks"


@dataclass(frozen=True, slots=True)
class Found:
    """What a policy needs of other objects, or why it cannot have it."""

    ext_auth: str = ""
    """The `namespace/name` of the Backend."""
    keys: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Clients and the hashes of their API keys."""
    users: bytes = field(default=b"", repr=False)
    """In the form of `htpasswd`."""
    client_secret: bytes = field(default=b"", repr=False)
    jwks: tuple[str, ...] = ()
    """Key set of each provider of `jwt`; empty where it is fetched."""
    faults: tuple[tuple[str, Unresolved], ...] = ()
    """By field."""


def found_by(declared: Declared, policy: SecurityPolicy) -> Found:
    """Everything that the policy refers to."""
    looked = _Look(declared, policy)
    return Found(
        looked.ext_auth(),
        looked.keys(),
        looked.users(),
        looked.client_secret(),
        tuple(looked.jwks()),
        tuple(looked.faults),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    declared: Declared
    policy: SecurityPolicy
    faults: list[tuple[str, Unresolved]] = field(default_factory=list)

    def _wrong(self, where: str, message: str, advice: str) -> None:
        self.faults.append((where, Unresolved(message, advice)))

    def ext_auth(self) -> str:
        auth = self.policy.spec.ext_auth
        if auth is None:
            return ""
        backend = resolve_backend(self.declared, self.policy, auth.backend_ref)
        if isinstance(backend, Unresolved):
            kind = "grpc" if auth.grpc else "http"
            self.faults.append((f"spec.extAuth.{kind}.backendRefs[0]", backend))
            return ""
        return backend

    def keys(self) -> tuple[tuple[str, str], ...]:
        auth = self.policy.spec.api_key_auth
        if auth is None:
            return ()
        secrets = []
        for at, ref in enumerate(auth.credential_refs):
            one = resolve_secret(self.declared, self.policy, ref)
            if isinstance(one, Secret):
                secrets.append(one)
            else:
                self.faults.append((f"spec.apiKeyAuth.credentialRefs[{at}]", one))
        try:
            return tuple(keys_of(secrets)) if len(secrets) == len(auth.credential_refs) else ()
        except ValueError as error:
            self._wrong("spec.apiKeyAuth", str(error), "change the Secrets in credentialRefs")
            return ()

    def users(self) -> bytes:
        auth = self.policy.spec.basic_auth
        if auth is None:
            return b""
        secret = resolve_secret(self.declared, self.policy, auth.users)
        if isinstance(secret, Unresolved):
            self.faults.append(("spec.basicAuth.users", secret))
            return b""
        try:
            return htpasswd_of(secret)
        except ValueError as error:
            self._wrong("spec.basicAuth.users", str(error), "make it with: htpasswd -s")
            return b""

    def client_secret(self) -> bytes:
        oidc = self.policy.spec.oidc
        if oidc is None:
            return b""
        secret = resolve_secret(self.declared, self.policy, oidc.client_secret)
        if isinstance(secret, Unresolved):
            self.faults.append(("spec.oidc.clientSecret", secret))
            return b""
        value = (secret.value(CLIENT_SECRET) or b"").strip()
        if not value:
            message = f"Secret {secret.key} has no {CLIENT_SECRET}"
            self._wrong("spec.oidc.clientSecret", message, f"put it there as {CLIENT_SECRET}")
        return value

    def jwks(self) -> Iterator[str]:
        jwt = self.policy.spec.jwt
        for at, one in enumerate(jwt.providers if jwt else ()):
            where = f"spec.jwt.providers[{at}]"
            yield self._local(where, one.local_jwks) if one.local_jwks else ""

    def _local(self, where: str, keys: LocalJwks) -> str:
        if keys.value_ref is None:
            return keys.inline or ""
        key = f"{self.policy.metadata.namespace}/{keys.value_ref.name}"
        maps = self.declared.all(ConfigMap)
        holder = maps.get(key)
        if holder is None:
            advice = near_name(key, maps)
            missing = Unresolved(f"there is no ConfigMap {key}", advice, lacking=f"ConfigMap {key}")
            self.faults.append((where, missing))
            return ""
        entries = sorted({*holder.data, *holder.binary_data})
        entry = entries[0] if len(entries) == 1 else JWKS
        value = holder.value(entry)
        if value is None:
            self._wrong(where, f"ConfigMap {key} has no {JWKS}", "put the key set there")
            return ""
        try:
            return check_jwks(value.decode())
        except ValueError as error:
            self._wrong(where, f"{entry} of ConfigMap {key}: {error}", "put a key set there")
            return ""
