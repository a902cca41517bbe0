"""What the controllers of a real cluster do, as far as ours and its tools rely on it.

Namespaces are emptied before they go, definitions make kinds and take their objects with them,
what has lost all its owners is collected. Done at once: in a real cluster it takes a moment.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from tests.kubernetes.apiserver import definitions
from tests.kubernetes.apiserver.errors import Object
from tests.kubernetes.apiserver.kinds import Kind
from tests.kubernetes.apiserver.objects import meta

if TYPE_CHECKING:
    from tests.kubernetes.apiserver.api import Api

CRDS = "customresourcedefinitions.apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


def prepare(api: Api, one: Object, kind: Kind) -> None:
    """What is written otherwise than it is stored, in place."""
    if kind.resource == "secrets" and isinstance(one.get("stringData"), dict):
        data = one.setdefault("data", {})
        for key, text in one.pop("stringData").items():
            data[key] = base64.b64encode(str(text).encode()).decode()
    if kind.resource == "services":
        _address(api, one)


def _address(api: Api, service: Object) -> None:
    """A cluster IP, unless one was chosen or none is wanted. Nothing listens there."""
    spec = service.get("spec")
    if not isinstance(spec, dict) or spec.get("type") == "ExternalName" or spec.get("clusterIP"):
        return
    before = api.store.get("services", (meta(service).get("namespace", ""), meta(service)["name"]))
    ip = ((before or {}).get("spec") or {}).get("clusterIP") or api.next_ip()
    spec["clusterIP"], spec["clusterIPs"] = ip, [ip]


def begun(one: Object, kind: Kind, now: str) -> None:
    """What a new object gets, in place."""
    if kind.resource == "namespaces":
        one.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        one["status"] = {"phase": "Active"}
        labels = one["metadata"].setdefault("labels", {})
        labels["kubernetes.io/metadata.name"] = one["metadata"]["name"]
    elif kind.resource == CRDS:
        definitions.complete(one)
        one["status"] = definitions.established(one, now)


def written(api: Api, kind: Kind, one: Object) -> None:
    """After an object was stored."""
    if kind.resource == CRDS and not one["metadata"].get("deletionTimestamp"):
        names = one["spec"]["names"]
        api.kinds.drop(one["spec"]["group"], names["plural"])
        for made in definitions.kinds(one):
            api.kinds.add(made)


def finalized(api: Api, kind: Kind, one: Object) -> bool:
    """Whether what keeps an object that is to go, beside its finalizers, is gone."""
    if kind.resource == "namespaces":
        return _emptied(api, one["metadata"]["name"])
    if kind.resource == CRDS:
        return _undefined(api, one)
    return True


def removed(api: Api, kind: Kind, one: Object, *, orphan: bool) -> None:
    """After an object has gone. `orphan`: what it owns stays."""
    if kind.resource == CRDS:
        api.kinds.drop(one["spec"]["group"], one["spec"]["names"]["plural"])
        api.store.wake(one["metadata"]["name"])  # its name is that of the resource
    if not orphan:
        _collect(api, one["metadata"]["uid"])
    namespace = one["metadata"].get("namespace")
    if namespace:
        api.sweep("namespaces", ("", namespace))
    if kind.custom:
        api.sweep(CRDS, ("", kind.resource))


def _emptied(api: Api, namespace: str) -> bool:
    left = 0
    for kind in tuple(api.kinds.resources()):
        if kind.namespaced and "list" in kind.verbs:
            for key, _ in api.store.items(kind.resource, namespace):
                left += not api.retire(kind, key)
    return left == 0


def _undefined(api: Api, definition: Object) -> bool:
    kind = next(iter(definitions.kinds(definition)), None)
    if kind is None:
        return True
    left = 0
    for key, _ in api.store.items(kind.resource):
        left += not api.retire(kind, key)
    return left == 0


def _collect(api: Api, uid: str) -> None:
    for resource, key in api.owned_by(uid):
        one = api.store.get(resource, key)
        if one is None:
            continue
        owners = [o for o in one["metadata"].get("ownerReferences") or () if o["uid"] != uid]
        kind = api.kind_of(resource)
        if not owners and kind is not None:
            api.retire(kind, key)
