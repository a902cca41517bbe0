"""Which CAs are believed: what references to their certificates come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.resources.ca_refs import LocalCaRef
from controlplane.resources.certificates import ca_fault
from controlplane.resources.declared import Declared
from controlplane.resources.kinds import Document, kind_of
from controlplane.resources.secret import CA, ConfigMap, Secret
from controlplane.resources.topology import Unresolved, resolve_object

_INVALID = "InvalidCACertificateRef"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The CAs that are believed in one place."""

    name: str
    """`Kind/namespace/name` of the object that says so: no Secret is called like that."""
    pem: bytes


def resolve_ca(
    declared: Declared, by: Document, ref: LocalCaRef
) -> Secret | ConfigMap | Unresolved:
    """What holds the certificates that are meant."""
    place = (ref.other_namespace, ref.name, _INVALID)
    holder = (
        resolve_object(declared, by, Secret, *place)
        if ref.kind == "Secret"
        else resolve_object(declared, by, ConfigMap, *place)
    )
    if isinstance(holder, Unresolved):
        return holder
    if fault := ca_fault(holder):
        return Unresolved(
            f"{ref.kind} {holder.key} names no CA: {fault}",
            "put CAs into it, in PEM: ca.crt",
            _INVALID,
        )
    return holder


def bundle(declared: Declared, by: Document, refs: Sequence[LocalCaRef]) -> Bundle | None:
    """The CAs of the references that lead somewhere; None where none does."""
    found = (resolve_ca(declared, by, ref) for ref in refs)
    parts = [one.value(CA) or b"" for one in found if not isinstance(one, Unresolved)]
    if not parts:
        return None
    return Bundle(f"{kind_of(type(by))}/{by.key}", b"\n".join(parts))
