"""Label and field selectors.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from tests.kubernetes.apiserver.errors import Object, bad_request

Selector = Callable[[Object], bool]

_SETS = re.compile(r"^(?P<key>\S+)\s+(?P<op>in|notin)\s*\((?P<values>[^)]*)\)$")
_EQUALS = re.compile(r"^(?P<key>[^!=\s]+)\s*(?P<op>==|=|!=)\s*(?P<value>\S*)$")
_HAS = re.compile(r"^(?P<op>!?)\s*(?P<key>[A-Za-z0-9][-A-Za-z0-9_./]*)$")

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "secrets": ("type",),
    "namespaces": ("status.phase",),
    "nodes": ("spec.unschedulable",),
    "services": ("spec.clusterIP", "spec.type"),
}
"""Fields beside name and namespace that a built-in resource can be selected by."""


def everything(_: Object) -> bool:
    return True


def _split(text: str) -> list[str]:
    """At commas that are not within parentheses."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def labels(text: str) -> Selector:
    """`app=a,tier in (x,y),!canary`."""
    return labelled([_label(part) for part in _split(text)])


def labelled(checks: list[Callable[[Mapping[str, str]], bool]]) -> Selector:
    def fits(one: Object) -> bool:
        found = one.get("metadata", {}).get("labels") or {}
        return all(check(found) for check in checks)

    return fits if checks else everything


def _label(part: str) -> Callable[[Mapping[str, str]], bool]:
    if match := _SETS.match(part):
        key, values = match["key"], {v.strip() for v in match["values"].split(",")}
        if match["op"] == "in":
            return lambda found: found.get(key) in values
        return lambda found: found.get(key) not in values
    if match := _EQUALS.match(part):
        key, value = match["key"], match["value"]
        if match["op"] == "!=":
            return lambda found: found.get(key) != value
        return lambda found: found.get(key) == value
    if match := _HAS.match(part):
        key = match["key"]
        return (lambda found: key not in found) if match["op"] else (lambda found: key in found)
    raise bad_request(f"unable to parse requirement: found {part!r}, expected: identifier")


def of_labels(selector: Object | None) -> Selector:
    """A `LabelSelector` as it stands in objects. Nothing in it: everything."""
    checks = [_label(f"{k}={v}") for k, v in ((selector or {}).get("matchLabels") or {}).items()]
    for one in (selector or {}).get("matchExpressions") or ():
        values = ",".join(one.get("values") or ())
        checks.append(
            _label(
                {
                    "In": f"{one['key']} in ({values})",
                    "NotIn": f"{one['key']} notin ({values})",
                    "Exists": one["key"],
                    "DoesNotExist": f"!{one['key']}",
                }[one["operator"]]
            )
        )
    return labelled(checks)


def fields(text: str, resource: str, selectable: tuple[str, ...] = ()) -> Selector:
    """`metadata.name=a,status.phase!=Running`; of custom resources also their selectableFields."""
    known = {"metadata.name", "metadata.namespace", *_FIELDS.get(resource, ()), *selectable}
    checks: list[tuple[tuple[str, ...], str, bool]] = []
    for part in _split(text):
        match = _EQUALS.match(part)
        if match is None:
            raise bad_request(f"invalid selector: {part!r}; can't understand {part!r}")
        if match["key"] not in known:
            raise bad_request(f"field label not supported: {match['key']}")
        checks.append((tuple(match["key"].split(".")), match["value"], match["op"] != "!="))

    def fits(one: Object) -> bool:
        return all((_text(one, path) == value) is wanted for path, value, wanted in checks)

    return fits if checks else everything


def _text(one: Object, path: tuple[str, ...]) -> str:
    at: object = one
    for step in path:
        at = at.get(step) if isinstance(at, dict) else None
    if isinstance(at, dict):
        at = at.get("component")
    if isinstance(at, bool):
        return str(at).lower()
    return "" if at is None else str(at)


def both(one: Selector, other: Selector) -> Selector:
    if one is everything:
        return other
    if other is everything:
        return one
    return lambda found: one(found) and other(found)
