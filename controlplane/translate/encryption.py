"""How the Envoys of a Gateway encrypt what they send to Backends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.resources.attachment import Standing, Winners
from controlplane.resources.backend_tls import BackendTlsPolicy
from controlplane.resources.declared import Declared
from controlplane.resources.gateway import Gateway
from controlplane.resources.secret import Secret
from controlplane.resources.target import Target
from controlplane.resources.topology import resolve_certificate
from controlplane.resources.trust import bundle
from controlplane.translate import secrets
from controlplane.translate.upstream_tls import encrypted


@dataclass(slots=True)
class Encryption:
    """Of one Gateway; it gathers the secrets that its clusters come to need."""

    declared: Declared
    gateway: Gateway
    of: Winners[BackendTlsPolicy]
    shut: Mapping[Target, Standing]
    """The Backends of which nobody knows how to encrypt for them."""
    system_ca: str
    secrets: dict[str, bytes] = field(default_factory=dict, repr=False)

    def part(self, backend: str) -> bytes | None:
        """The part of the cluster of a Backend: empty where nothing is to be encrypted, None where
        it must be and nobody there could be believed."""
        target = Target("Backend", backend)
        policy = self.of.get(target)
        if policy is None:
            return None if self.shut.get(target) is Standing.SHUT else b""
        said = policy.spec.validation
        cas = bundle(self.declared, policy, said.ca_certificate_refs)
        if cas is None and said.well_known_ca_certificates is None:
            return None
        if cas is not None:
            self.secrets[cas.name] = secrets.believed(cas)
        return encrypted(said, cas, self.system_ca, self._shown())

    def _shown(self) -> str | None:
        """The certificate that the Gateway shows."""
        ref = self.gateway.spec.tls.backend.client_certificate_ref
        if ref is None:
            return None
        secret = resolve_certificate(self.declared, self.gateway, ref)
        if not isinstance(secret, Secret):
            return None
        self.secrets[secret.key] = secrets.certificate(secret)
        return secret.key
