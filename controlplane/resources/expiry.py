"""When certificates end that are in use. Pure: what time it is comes in as an argument."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from controlplane.resources.backend_tls import BackendTlsPolicy
from controlplane.resources.ca_refs import LocalCaRef
from controlplane.resources.certificates import Certificate, ca_of, certificate_of
from controlplane.resources.client_policy import ClientPolicy
from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.gateway import Gateway, SecretRef
from controlplane.resources.kinds import Document
from controlplane.resources.secret import CA, CERTIFICATE, ConfigMap, Secret
from controlplane.resources.topology import resolve_certificate
from controlplane.resources.trust import resolve_ca

WARN_DAYS = (30, 7, 1, 0)
"""How many days before its end a certificate is spoken of, each time once; 0: it has ended."""


@dataclass(frozen=True, slots=True)
class InUse:
    """A certificate that Envoys show or believe."""

    holder: ObjectKey
    entry: str
    """`tls.crt` or `ca.crt`: a Secret may hold both."""
    certificate: Certificate

    def days(self, now: datetime.datetime) -> float:
        """How many are left; below 0 it has ended."""
        return (self.certificate.not_after - now) / datetime.timedelta(days=1)

    def stage(self, now: datetime.datetime) -> int | None:
        """The last of `WARN_DAYS` that it has come to; None: it has long to go."""
        left = self.days(now)
        return next((one for one in sorted(WARN_DAYS) if left <= one), None)


def in_use(declared: Declared) -> tuple[InUse, ...]:
    """Every entry once that a Gateway or a policy refers to and that can be used. Files on the
    machines of the Envoys are not seen from here."""
    found = dict(_in_use(declared))
    return tuple(InUse(*place, found[place]) for place in sorted(found))


def _in_use(declared: Declared) -> Iterator[tuple[tuple[ObjectKey, str], Certificate]]:
    for gateway in declared.gateways.values():
        for ref in _shown(gateway):
            secret = resolve_certificate(declared, gateway, ref)
            if isinstance(secret, Secret) and (found := certificate_of(secret)) is not None:
                yield (ObjectKey("Secret", secret.key), CERTIFICATE), found
    for by, ca in _believed(declared):
        holder = resolve_ca(declared, by, ca)
        if isinstance(holder, (Secret, ConfigMap)) and (found := ca_of(holder)) is not None:
            yield (ObjectKey(holder.kind, holder.key), CA), found


def _shown(gateway: Gateway) -> Iterator[SecretRef]:
    for listener in gateway.spec.listeners:
        yield from listener.tls.certificate_refs if listener.tls else ()
    if gateway.spec.tls.backend.client_certificate_ref is not None:
        yield gateway.spec.tls.backend.client_certificate_ref


def _believed(declared: Declared) -> Iterator[tuple[Document, LocalCaRef]]:
    for policy in declared.all(ClientPolicy).values():
        validation = policy.spec.tls.client_validation
        yield from _each(policy, validation.ca_certificate_refs if validation else ())
    for backend_policy in declared.all(BackendTlsPolicy).values():
        yield from _each(backend_policy, backend_policy.spec.validation.ca_certificate_refs)


def _each(by: Document, refs: Sequence[LocalCaRef]) -> Iterable[tuple[Document, LocalCaRef]]:
    return ((by, ref) for ref in refs)
