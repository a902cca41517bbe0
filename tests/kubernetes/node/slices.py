"""The EndpointSlice of a Service, of the pods that it selects.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
ZONE = "here-a"


@dataclass(frozen=True, slots=True)
class Member:
    """A pod, as a Service sees it."""

    name: str
    address: str
    labels: dict[str, str]
    containers: tuple[Object, ...]
    passes: bool
    """Its readiness probe does; that of a pod which ends is still made."""
    ending: bool

    @property
    def ready(self) -> bool:
        """It gets what is new."""
        return self.passes and not self.ending


def selected(service: Object, members: Iterable[Member]) -> list[Member]:
    """Those that the selector means."""
    wanted = (service["spec"].get("selector") or {}).items()
    return [one for one in members if wanted and wanted <= one.labels.items()]


def slice_of(service: Object, members: Iterable[Member]) -> Object:
    """The object, as the controller would write it. All containers of a Service name their ports
    alike: there is one slice.
    """
    metadata, chosen = service["metadata"], selected(service, members)
    everybody = bool(service["spec"].get("publishNotReadyAddresses"))
    ports = [
        {
            "name": one.get("name", ""),
            "port": target_port(one, chosen[0].containers),
            "protocol": one.get("protocol", "TCP"),
        }
        for one in (service["spec"].get("ports") or ())
        if chosen
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{metadata['name']}-here",
            "namespace": metadata["namespace"],
            "labels": {
                "kubernetes.io/service-name": metadata["name"],
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                }
            ],
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [
            {
                "addresses": [one.address],
                "conditions": {
                    "ready": everybody or one.ready,
                    "serving": one.passes,
                    "terminating": one.ending,
                },
                "targetRef": {
                    "kind": "Pod",
                    "name": one.name,
                    "namespace": metadata["namespace"],
                },
                "zone": ZONE,
            }
            for one in sorted(chosen, key=lambda one: one.name)
        ],
    }


def target_port(port: Object, containers: Iterable[Object]) -> int:
    """Where a port of a Service leads in a pod. Raises `LookupError`."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    for container in containers:
        for one in container.get("ports") or ():
            if one.get("name") == target:
                return int(one["containerPort"])
    raise LookupError(f"no container has a port {target}")
