"""Objects of the API to the documents that a folder would have. Pure.

One object is one document: one line of JSON with what people write and what is looked at, in a
fixed order. What the server adds for its own use, and what others write into it, is left out, so
that a document changes only where its meaning may.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from controlplane.resources.declared import ObjectKey
from controlplane.resources.service import FRONT_OF, SERVICE_OF

Object = Mapping[str, Any]

_METADATA = ("name", "namespace", "labels", "annotations", "creationTimestamp")
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Holds what is in a Secret, too."""
_OF_NODES = ("weir.dev/", "topology.kubernetes.io/", "node.kubernetes.io/instance-type")


def key_of(item: Object) -> ObjectKey:
    """What it is called; what stands in no namespace is as if in `default`, as in a folder."""
    metadata = item["metadata"]
    return ObjectKey(item["kind"], f"{metadata.get('namespace') or 'default'}/{metadata['name']}")


def file_of(key: ObjectKey) -> str:
    """What problems call the document."""
    return f"{key.kind}/{key.name}"


def document_of(item: Object) -> bytes:
    """The document that an object is."""
    kind = item["kind"]
    made = _PARTS[kind](item) if kind in _PARTS else _whole(item)
    metadata = {name: item["metadata"][name] for name in _METADATA if item["metadata"].get(name)}
    annotations = {k: v for k, v in metadata.pop("annotations", {}).items() if k != _APPLIED}
    if annotations and kind not in _PARTS:
        metadata["annotations"] = annotations
    if kind in _LABELS:
        metadata["labels"] = {
            name: value
            for name, value in metadata.get("labels", {}).items()
            if name.startswith(_LABELS[kind])
        }
    document = {"apiVersion": item["apiVersion"], "kind": kind, "metadata": metadata, **made}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _whole(item: Object) -> dict[str, Any]:
    without = ("apiVersion", "kind", "metadata", "status")
    return {name: value for name, value in item.items() if name not in without}


def _service(item: Object) -> dict[str, Any]:
    spec = item.get("spec") or {}
    names = ("name", "port", "protocol", "appProtocol")
    ports = [_only(one, names) for one in spec.get("ports") or ()]
    made = {"ports": ports, **_only(spec, ("ipFamilies",))}
    if FRONT_OF not in (item["metadata"].get("labels") or {}):
        return {"spec": made}
    made |= _only(spec, ("type", "clusterIPs", "externalIPs"))
    return {"spec": made, "status": _only(item.get("status") or {}, ("loadBalancer",))}


def _slice(item: Object) -> dict[str, Any]:
    names = ("addresses", "conditions", "nodeName", "zone")
    return {
        "addressType": item.get("addressType"),
        "endpoints": [_only(one, names) for one in item.get("endpoints") or ()],
        "ports": [_only(one, ("name", "port", "protocol")) for one in item.get("ports") or ()],
    }


def _only(item: Object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: item[name] for name in names if item.get(name) not in (None, "", [])}


def _nothing(item: Object) -> dict[str, Any]:
    return {}


_PARTS: Mapping[str, Callable[[Object], dict[str, Any]]] = {
    "Service": _service,
    "EndpointSlice": _slice,
    "Node": _nothing,
    "Namespace": _nothing,
}
"""Kinds of which little is looked at, and that Kubernetes writes all the time."""
_LABELS: Mapping[str, tuple[str, ...]] = {
    "Node": _OF_NODES,
    "EndpointSlice": (SERVICE_OF,),
    "Service": (FRONT_OF,),
}
"""Beginnings of the labels that are looked at."""
