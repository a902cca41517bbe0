"""Strategic merge patches: lists of the built-in kinds merge by key. Pure.

https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, TypeAlias

from tests.kubernetes.apiserver.errors import bad_request

Value: TypeAlias = Any
Schema: TypeAlias = Mapping[str, Any]

_META: Schema = {
    "properties": {
        "finalizers": {"x-kubernetes-patch-strategy": "merge"},
        "ownerReferences": {
            "x-kubernetes-patch-strategy": "merge",
            "x-kubernetes-patch-merge-key": "uid",
        },
    }
}
_DELETE_PRIMITIVES = "$deleteFromPrimitiveList"
_ORDER = "$setElementOrder"
_RETAIN = "$retainKeys"


def patch(target: Value, change: Value, schema: Schema) -> Value:
    """The object after the patch."""
    known = {**(schema.get("properties") or {}), "metadata": _META}
    return _map(target, change, {**schema, "properties": known})


def _below(schema: Schema, key: str) -> Schema:
    found = (schema.get("properties") or {}).get(key, schema.get("additionalProperties"))
    return found if isinstance(found, Mapping) else {}


def _map(target: Value, change: Value, schema: Schema) -> Value:
    if not isinstance(change, dict):
        raise bad_request("a strategic merge patch is an object")
    directive = change.get("$patch")
    if directive == "replace":
        return {k: deepcopy(v) for k, v in change.items() if k != "$patch"}
    if directive == "delete":
        return {}
    made = dict(target) if isinstance(target, dict) else {}
    if _RETAIN in change:
        made = {k: v for k, v in made.items() if k in change[_RETAIN]}
    for key, value in change.items():
        if key.startswith("$"):
            continue
        if value is None:
            made.pop(key, None)
        else:
            made[key] = _value(made.get(key), value, _below(schema, key))
    for key, value in change.items():
        _direct(made, key, value, schema)
    return made


def _direct(made: dict[str, Value], key: str, value: Value, schema: Schema) -> None:
    """Directives beside a field, in place: what to take out of a list, and its order."""
    directive, _, name = key.partition("/")
    if name not in made:
        return
    if directive == _DELETE_PRIMITIVES:
        made[name] = [one for one in made[name] if one not in value]
    elif directive == _ORDER:
        made[name] = _ordered(made[name], value, _below(schema, name))


def _value(target: Value, change: Value, schema: Schema) -> Value:
    if isinstance(change, dict):
        return _map(target, change, schema)
    if isinstance(change, list) and "merge" in str(schema.get("x-kubernetes-patch-strategy")):
        return _list(target or [], change, schema)
    return deepcopy(change)


def _list(target: list[Value], change: list[Value], schema: Schema) -> list[Value]:
    key = schema.get("x-kubernetes-patch-merge-key")
    if key is None:
        return [*target, *(deepcopy(one) for one in change if one not in target)]
    if any(one.get("$patch") == "replace" for one in change):
        return [deepcopy(one) for one in change if one.get("$patch") != "replace"]
    made = list(target)
    for one in change:
        if key not in one:
            raise bad_request(f"map: {one} does not contain declared merge key: {key}")
        at = next((n for n, old in enumerate(made) if old.get(key) == one[key]), None)
        if one.get("$patch") == "delete":
            made = [old for old in made if old.get(key) != one[key]]
        elif at is None:
            made.append(_map({}, one, schema.get("items") or {}))
        else:
            made[at] = _map(made[at], one, schema.get("items") or {})
    return made


def _ordered(items: list[Value], order: list[Value], schema: Schema) -> list[Value]:
    key = schema.get("x-kubernetes-patch-merge-key")
    places = {str(one[key] if key else one): at for at, one in enumerate(order)}

    def place(one: Value) -> int:
        return places.get(str(one.get(key) if key else one), len(places))

    return sorted(items, key=place)
