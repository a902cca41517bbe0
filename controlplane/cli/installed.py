"""Weir as it is installed in a cluster: its pods, and which of them decides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.cli.kubectl import ClusterError, Kubectl

SYSTEM = "weir-system"
"""Where it usually is."""
SELECTOR = "app.kubernetes.io/part-of=weir,app.kubernetes.io/component=control-plane"
"""Labels of everything of the control plane that the chart makes."""
NOT_HELM = "type!=helm.sh/release.v1"
"""Releases of Helm are Secrets that hold all that was installed."""
LEASE = "weir-decider"
ADMIN_PORT = 18001
_ADMIN = re.compile(r"--admin-address=.*:([0-9]+)")
_PORT = "xds"
"""Of the container that serves."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One replica."""

    namespace: str
    name: str
    ready: bool
    admin_port: int
    container: str
    document: Mapping[str, Any]

    @property
    def full(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Installation:
    """The pods of one Weir."""

    namespace: str
    pods: tuple[Pod, ...]
    """Those that run, the one that decides first, then those that are ready."""
    decides: str
    """The name of the pod that holds the Lease; empty: none of them."""


def find(kubectl: Kubectl, namespace: str | None) -> Installation:
    """The Weir of a namespace, or the only one of the cluster. Raises `ClusterError` in words."""
    every = running_pods(kubectl, namespace, SELECTOR)
    found = [_pod(one) for one in every if serving(one)]
    homes = sorted({one.namespace for one in found})
    if not found:
        where = f"in the namespace {namespace}" if namespace else "in the cluster"
        raise ClusterError(
            f"no pod of Weir runs {where} (labels {SELECTOR}); install it with `weir install`, or "
            "say where it is with --weir-namespace"
        )
    if len(homes) > 1:
        raise ClusterError(
            f"there is a Weir in each of {', '.join(homes)}; say which with --weir-namespace"
        )
    decides = holder(kubectl, homes[0])
    found.sort(key=lambda one: (one.name != decides, not one.ready, one.name))
    return Installation(homes[0], tuple(found), decides)


def holder(kubectl: Kubectl, namespace: str) -> str:
    """The pod that decides; empty: none, or that may not be asked."""
    try:
        lease = kubectl.get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}")
    except ClusterError:
        return ""
    return pod_of(str((lease.get("spec") or {}).get("holderIdentity") or ""))


def pod_of(identity: str) -> str:
    """The pod that a replica is, which calls itself by it and something of chance.

    >>> pod_of("weir-7d9c-x2x4z_1f00ba42")
    'weir-7d9c-x2x4z'
    """
    return identity.rpartition("_")[0]


def running_pods(kubectl: Kubectl, namespace: str | None, selector: str) -> list[dict[str, Any]]:
    """Those with these labels in a namespace, or in the cluster. Raises `ClusterError`."""
    try:
        where = f"/namespaces/{namespace}" if namespace else ""
        pods = kubectl.objects(f"/api/v1{where}/pods", labelSelector=selector)
    except ClusterError as error:
        if namespace or error.reason != "Forbidden":
            raise
        # Who may not look everywhere may look where it usually is.
        pods = kubectl.objects(f"/api/v1/namespaces/{SYSTEM}/pods", labelSelector=selector)
    return [
        one
        for one in pods
        if (one.get("status") or {}).get("phase") == "Running"
        and not one["metadata"].get("deletionTimestamp")
    ]


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether its probes pass."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def serving(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The container that serves, of a pod or of a template; None: it is another pod with these
    labels, such as a test."""
    for container in (pod.get("spec") or {}).get("containers") or ():
        if any(port.get("name") == _PORT for port in container.get("ports") or ()):
            return dict(container)
    return None


def _pod(document: Mapping[str, Any]) -> Pod:
    container = serving(document) or {}
    ports = [found[1] for one in container.get("args") or () if (found := _ADMIN.match(one))]
    return Pod(
        document["metadata"]["namespace"],
        document["metadata"]["name"],
        is_ready(document),
        int(ports[-1]) if ports else ADMIN_PORT,
        str(container.get("name", "")),
        document,
    )
