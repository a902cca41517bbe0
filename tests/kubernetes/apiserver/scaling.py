"""The scale subresource. Pure.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#scale-subresource
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tests.kubernetes.apiserver import errors, jsonpath
from tests.kubernetes.apiserver.errors import Object
from tests.kubernetes.apiserver.kinds import Kind, Scale


def _numbers(kind: Kind) -> Scale:
    if kind.scale is None:
        raise errors.no_such_path()
    return kind.scale


def read(one: Object, kind: Kind) -> Object:
    """The Scale of an object."""
    at = _numbers(kind)
    status: Object = {"replicas": _first(one, at.status_replicas, 0)}
    selector = _first(one, at.selector, "") if at.selector else ""
    if isinstance(selector, dict):
        labels = selector.get("matchLabels") or {}
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    if selector:
        status["selector"] = selector
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: one["metadata"][key] for key in kept if key in one["metadata"]},
        "spec": {"replicas": _first(one, at.replicas, 0)},
        "status": status,
    }


def _first(one: Object, path: str, default: Any) -> Any:  # noqa: ANN401
    return next(iter(jsonpath.find(one, path)), default)


def write(one: Object, scale: Object, kind: Kind) -> Object:
    """The object with the replicas of a Scale."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or replicas < 0:
        words = f"Invalid value: {replicas}: must be a whole number of at least 0"
        cause = errors.Cause("spec.replicas", words)
        raise errors.invalid("Scale", "autoscaling", one["metadata"]["name"], [cause])
    made = deepcopy(one)
    *steps, last = _numbers(kind).replicas.lstrip(".").split(".")
    node = made
    for step in steps:
        node = node.setdefault(step, {})
    node[last] = replicas
    version = (scale.get("metadata") or {}).get("resourceVersion")
    if version:
        made["metadata"]["resourceVersion"] = version
    return made
