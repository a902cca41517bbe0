"""Patches on resources, checked by reading the outcome as Envoy's own message.

This needs the complete definitions of Envoy's API, so it is loaded where patches are used alone.
"""

from __future__ import annotations

from controlplane.errors import InspectionError
from controlplane.inspection.canonical import from_bytes, to_bytes
from controlplane.resources.envoy_patch import EnvoyPatch
from controlplane.resources.json_patch import PatchError, merged, operated


def patched(type_url: str, name: str, body: bytes, patch: EnvoyPatch) -> bytes:
    """The resource after what the patch says of it. Raises `InspectionError` in plain words."""
    document = from_bytes(type_url, body)
    try:
        for one in patch.spec.json_patches:
            if (one.type, one.name) == (type_url, name):
                document = operated(document, one.operation)
    except PatchError as error:
        raise InspectionError(str(error)) from None
    for other in patch.spec.merge_patches:
        if (other.type, other.name) == (type_url, name):
            document = merged(document, other.value)
    if not isinstance(document, dict) or document.get("name") != name:
        raise InspectionError("the name of a resource is not changed")
    return to_bytes(type_url, document)
