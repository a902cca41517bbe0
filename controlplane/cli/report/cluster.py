"""What the API server holds of Weir: objects, workload, events and logs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from controlplane.cli.installed import NOT_HELM, SELECTOR, Installation, Pod
from controlplane.cli.kubectl import ClusterError, Kubectl
from controlplane.cli.report import allowed
from controlplane.cli.report.plan import MOST_BYTES, Part, end, place
from controlplane.cli.verify.cluster import resources
from controlplane.kubernetes.resource import Resource

HELD = ("Secret", "ConfigMap")
"""Kinds of which only the names of what they hold are taken."""
_LINE_BYTES = 250
"""A line of a log has about so many."""
_ENVOYS = "weir.dev/envoy=true"
_WORKLOAD = (
    ("/apis/apps/v1", "deployments"),
    ("/apis/apps/v1", "replicasets"),
    ("/api/v1", "pods"),
    ("/api/v1", "services"),
    ("/api/v1", "serviceaccounts"),
    ("/apis/policy/v1", "poddisruptionbudgets"),
    ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    ("/apis/networking.k8s.io/v1", "networkpolicies"),
    ("/apis/rbac.authorization.k8s.io/v1", "roles"),
)
_WIDE = (
    ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    ("/apis/admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"),
)
_PART_OF = "app.kubernetes.io/part-of=weir"


def secrets(kubectl: Kubectl, home: str) -> Sequence[dict[str, Any]]:
    """All that may be read, so that what is in them is known and left out wherever it stands.
    Raises `ClusterError`."""
    return _everywhere(kubectl, "/api/v1", "secrets", home, fieldSelector=NOT_HELM)


def _everywhere(
    kubectl: Kubectl, base: str, plural: str, home: str, **query: str
) -> list[dict[str, Any]]:
    """Of the whole cluster, or of `home` for whom may see no more. Raises `ClusterError`."""
    try:
        return kubectl.objects(f"{base}/{plural}", **query)
    except ClusterError as error:
        if error.reason != "Forbidden":
            raise
    return kubectl.objects(f"{base}/namespaces/{home}/{plural}", **query)


def parts(
    kubectl: Kubectl, home: str, installed: Installation | None, log_bytes: int, since_s: int
) -> Iterator[Part]:
    """Everything. `log_bytes` of each container's log, not older than `since_s`."""
    get = functools.partial
    yield Part("kubernetes/version.json", "of the API server", get(kubectl.get, "/version"))
    try:
        followed = resources(kubectl)
    except ClusterError:
        followed = {}
    for kind, one in sorted(followed.items()):
        name = f"{one.plural}.{one.api.rpartition('/')[0] or 'core'}"
        words = "names of what they hold" if kind in HELD else "without texts that may be secret"
        yield Part(
            place("objects", f"{name}.json"),
            f"every {kind}: {words}",
            get(_objects, kubectl, one),
        )
    for base, plural in _WORKLOAD:
        path = f"{base}/namespaces/{home}/{plural}"
        yield Part(
            place("workload", f"{plural}.json"),
            f"{plural} of Weir in {home}",
            get(_listed, kubectl, path, _PART_OF),
        )
    for base, plural in _WIDE:
        yield Part(
            place("workload", f"{plural}.json"),
            f"{plural} of Weir",
            get(_listed, kubectl, f"{base}/{plural}", _PART_OF),
        )
    yield Part(
        "workload/leases.json",
        f"who decides: leases in {home}",
        get(_listed, kubectl, f"/apis/coordination.k8s.io/v1/namespaces/{home}/leases", ""),
    )
    yield Part("events.json", f"events in {home}, and Weir's own", get(_events, kubectl, home))
    yield from _logs(kubectl, home, installed.pods if installed else (), log_bytes, since_s)


def _objects(kubectl: Kubectl, resource: Resource) -> list[Any]:
    selector = {"fieldSelector": NOT_HELM} if resource.kind == "Secret" else {}
    cut = allowed.secret if resource.kind in HELD else allowed.kubernetes
    return [cut(one) for one in kubectl.objects(resource.path(), **selector)]


def _listed(kubectl: Kubectl, path: str, selector: str) -> list[Any]:
    more = {"labelSelector": selector} if selector else {}
    return [allowed.kubernetes(one) for one in kubectl.objects(path, **more)]


def _events(kubectl: Kubectl, home: str) -> list[Any]:
    every = _everywhere(kubectl, "/apis/events.k8s.io/v1", "events", home)
    return [allowed.kubernetes(one) for one in every if _ours(one, home)]


def _ours(event: dict[str, Any], home: str) -> bool:
    by = str(event.get("reportingController") or "")
    return event["metadata"].get("namespace") == home or "weir" in by


def _logs(
    kubectl: Kubectl, home: str, pods: Sequence[Pod], most: int, since_s: int
) -> Iterator[Part]:
    documents = [dict(one.document) for one in pods]
    try:
        path = f"/api/v1/namespaces/{home}/pods"
        known = {one["metadata"]["name"] for one in documents}
        more = kubectl.objects(path, labelSelector=SELECTOR)
        more += kubectl.objects(path, labelSelector=_ENVOYS)
        documents += [one for one in more if one["metadata"]["name"] not in known]
    except ClusterError:
        pass  # those that are known
    for one in documents:
        name = one["metadata"]["name"]
        statuses = (one.get("status") or {}).get("containerStatuses") or ()
        again = {each["name"] for each in statuses if each.get("restartCount")}
        for container in one["spec"]["containers"]:
            called = container["name"]
            get = functools.partial(_log, kubectl, home, name, called, most, since_s)
            words = f"log of {called} in {name}: the last {most} bytes of {since_s} s"
            yield Part(place("logs", name, f"{called}.log"), words, get)
            if called in again:
                before = functools.partial(get, previous=True)
                words = f"log of {called} in {name} before it was started again"
                yield Part(place("logs", name, f"{called}.previous.log"), words, before)


def _log(
    kubectl: Kubectl,
    namespace: str,
    pod: str,
    container: str,
    most: int,
    since_s: int,
    previous: bool = False,
) -> bytes:
    """The end of it. The server bounds bytes from the front, so lines are bounded there too."""
    found = kubectl.read(
        f"/api/v1/namespaces/{namespace}/pods/{pod}/log",
        container=container,
        timestamps="true",
        sinceSeconds=str(since_s),
        tailLines=str(max(1, most // _LINE_BYTES)),
        limitBytes=str(min(4 * most, 4 * MOST_BYTES)),
        **({"previous": "true"} if previous else {}),
    )
    return end(found, most)
