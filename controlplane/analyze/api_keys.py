"""API keys that are not as safe as they could be."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.findings import Finding, Scene, Severity
from controlplane.resources.api_keys import ENOUGH_BITS, HASHED, most_bits, written
from controlplane.resources.declared import ObjectKey
from controlplane.resources.secret import Secret
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.topology import resolve_secret

_INSTEAD = "make one with: weir create api-key"


def in_secrets(scene: Scene) -> Iterator[Finding]:
    """WEIR0407: a key that could be found by its hash. WEIR0408: keys that are not hashed."""
    for key, secret in _secrets(scene).items():
        here = ObjectKey("Secret", key)
        plain = {
            client: [one for one in written(secret, client) if not one.startswith(HASHED)]
            for client in secret.entries()
        }
        for client, keys in plain.items():
            if any(most_bits(one) < ENOUGH_BITS for one in keys):
                message = (
                    f"a key of {client} is too short to be safe: even if it is random, it has less "
                    f"than {ENOUGH_BITS} bits of chance"
                )
                yield scene.finding(Severity.WARNING, "WEIR0407", here, message, _INSTEAD)
        clients = [client for client, keys in plain.items() if keys]
        if clients:
            names = ", ".join(clients[:5]) + (", ..." if len(clients) > 5 else "")
            message = f"whoever reads it has the keys of {names}, which stand in it as they are"
            advice = f"write {HASHED} and the SHA-256 of a key, or {_INSTEAD}"
            yield scene.finding(Severity.INFO, "WEIR0408", here, message, advice)


def _secrets(scene: Scene) -> dict[str, Secret]:
    """Those that API keys are read from."""
    found = (
        resolve_secret(scene.declared, policy, ref)
        for policy in scene.declared.all(SecurityPolicy).values()
        if policy.spec.api_key_auth is not None
        for ref in policy.spec.api_key_auth.credential_refs
    )
    return {one.key: one for one in found if isinstance(one, Secret)}
