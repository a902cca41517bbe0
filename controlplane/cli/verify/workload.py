"""The Deployment, its replicas, and the Lease by which one of them decides. Pure but for `find`."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controlplane.cli.installed import LEASE, SELECTOR, pod_of, serving
from controlplane.cli.kubectl import Kubectl
from controlplane.cli.verify.check import Check, fail, ok, some, warn

SKEW_S = 5.0
"""So far may our clock be from the replicas'."""


def find(kubectl: Kubectl, namespace: str) -> list[dict[str, Any]]:
    """The Deployments that serve. Raises `ClusterError`."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    every = kubectl.objects(path, labelSelector=SELECTOR)
    return [one for one in every if serving(one["spec"]["template"])]


def deployment(found: Sequence[Mapping[str, Any]], namespace: str) -> Iterator[Check]:
    """It is there, available, and all of its replicas are of what is wanted now."""
    if not found:
        yield fail("deployment", f"there is none in {namespace}", "weir install")
    for one in found:
        name, status = one["metadata"]["name"], one.get("status") or {}
        look = f"kubectl -n {namespace} describe deployment {name}"
        wanted = one["spec"].get("replicas", 1)
        ready, new = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
        seen = status.get("observedGeneration", 0) >= one["metadata"].get("generation", 0)
        available = any(
            each["type"] == "Available" and each["status"] == "True"
            for each in status.get("conditions") or ()
        )
        if not available:
            yield fail("deployment", f"{name} is not available", look)
        elif not seen or new < wanted:
            yield warn("deployment", f"{name} is being rolled out: {new} of {wanted} are new", look)
        elif ready < wanted:
            yield warn("deployment", f"{name}: {ready} of {wanted} replicas are ready", look)
        elif wanted < 2:
            yield warn(
                "deployment",
                f"{name} has one replica",
                "set replicaCount to 2 or more, so that Envoys find another while one is replaced",
            )
        else:
            yield ok("deployment", f"{name}: {ready} of {wanted} replicas are ready")


def restarts(pods: Sequence[Mapping[str, Any]], namespace: str) -> Iterator[Check]:
    """No container is started again and again."""
    often = {one["metadata"]["name"]: count for one in pods if (count := _restarts(one)) > 0}
    if often:
        told = some(f"{name} ({count} times)" for name, count in often.items())
        look = f"kubectl -n {namespace} logs --previous {next(iter(often))}"
        yield warn("restarts", f"started again: {told}", look)


def _restarts(pod: Mapping[str, Any]) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return sum(int(one.get("restartCount", 0)) for one in statuses)


def lease(
    found: Mapping[str, Any] | None, pods: Sequence[str], now: datetime.datetime, namespace: str
) -> Check:
    """It is held, by a replica that is there, and was renewed in time.

    `found` None: there is none. `now` with a time zone.
    """
    look = f"kubectl -n {namespace} get lease {LEASE} -o yaml"
    if found is None:
        return fail("lease", f"there is no Lease {LEASE}: no replica decides", look)
    spec = found.get("spec") or {}
    holder = str(spec.get("holderIdentity") or "")
    if not holder:
        return fail("lease", "nobody holds it: no replica decides", look)
    renewed = _time(str(spec.get("renewTime") or ""))
    allowed_s = float(spec.get("leaseDurationSeconds") or 15.0) + SKEW_S
    if renewed is None or (now - renewed).total_seconds() > allowed_s:
        since = f" since {spec.get('renewTime')}" if renewed else ""
        return fail("lease", f"{holder} has not renewed it{since}: no replica decides", look)
    if pod_of(holder) not in pods:
        return warn("lease", f"{holder} holds it, which is none of the pods that run", look)
    return ok("lease", f"{pod_of(holder)} decides, epoch {spec.get('leaseTransitions', 0)}")


def _time(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
