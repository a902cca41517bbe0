"""One object in several versions. Pure.

Custom resources have the conversion strategy None: only apiVersion differs. Events are in two
groups and called differently in each.
https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.kubernetes.apiserver.errors import Object
from tests.kubernetes.apiserver.kinds import Kind

_EVENTS = "events.k8s.io"
_CALLED: Mapping[str, str] = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedCount": "count",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "reportingController": "reportingComponent",
}
_CORE: Mapping[str, str] = {there: here for here, there in _CALLED.items()}


def shown(one: Object, kind: Kind) -> Object:
    """A stored object in the version that was asked for."""
    if one["apiVersion"] == kind.api_version:
        return one
    renamed = _renamed(one, _CORE) if kind.group == _EVENTS else one
    return {**renamed, "apiVersion": kind.api_version}


def stored(one: Object, kind: Kind, api_version: str) -> Object:
    """The same in the version that is stored."""
    renamed = _renamed(one, _CALLED) if kind.group == _EVENTS else one
    return {**renamed, "apiVersion": api_version}


def converted(one: Object, kind: Kind, as_kind: Kind) -> Object:
    """An object of one version as another has it."""
    return one if kind == as_kind else shown(stored(one, kind, ""), as_kind)


def _renamed(one: Object, called: Mapping[str, str]) -> Object:
    return {called.get(key, key): value for key, value in one.items()}
