"""The kinds that are followed, as the API server serves them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.resources.declared import MODELS
from controlplane.resources.kinds import Document, kind_of, versions_of

CLUSTER_WIDE = frozenset(("GatewayClass", "Namespace", "Node"))
"""Stand in no namespace. Who may see one namespace alone does without them."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind in one version."""

    api: str
    """`GROUP/VERSION`, or `v1` of the core."""
    plural: str
    kind: str
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "") -> str:
        """Of its objects, or of one; no namespace: of all namespaces."""
        base = f"/apis/{self.api}" if "/" in self.api else f"/api/{self.api}"
        within = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{base}{within}/{self.plural}" + (f"/{name}" if name else "")


LEASES = Resource("coordination.k8s.io/v1", "leases", "Lease")
EVENTS = Resource("events.k8s.io/v1", "events", "Event")
SECRETS = Resource("v1", "secrets", "Secret")
CONFIGURATIONS = Resource(
    "admissionregistration.k8s.io/v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    namespaced=False,
)


def wanted(namespaced: bool) -> Iterator[type[Document]]:
    """The models to follow; of one namespace alone those that stand in one."""
    for model in MODELS:
        if not namespaced or kind_of(model) not in CLUSTER_WIDE:
            yield model


def served(model: type[Document], lists: Mapping[str, Any]) -> Resource | None:
    """As the server has it, in the first version of ours that it serves; None: it does not.
    `lists` are APIResourceLists by `GROUP/VERSION`."""
    for api in versions_of(model):
        for one in (lists.get(api) or {}).get("resources") or ():
            if one.get("kind") == kind_of(model) and "/" not in one["name"]:
                return Resource(api, one["name"], one["kind"], bool(one["namespaced"]))
    return None
