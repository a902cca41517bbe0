"""Who owns which field, and server-side apply. Pure.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace

from tests.kubernetes.apiserver import errors, fields
from tests.kubernetes.apiserver.errors import Object
from tests.kubernetes.apiserver.fields import MISSING, Paths, Schema, Value
from tests.kubernetes.apiserver.kinds import Kind

NOBODY: Paths = frozenset()


@dataclass(frozen=True)
class Manager:
    """An entry of `managedFields`."""

    name: str
    operation: str
    api_version: str
    part: str
    time: str
    paths: Paths

    @property
    def key(self) -> tuple[str, str, str]:
        return self.name, self.operation, self.part

    def write(self) -> Object:
        made: Object = {
            "manager": self.name,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields.encode(self.paths),
        }
        if self.part:
            made["subresource"] = self.part
        return made


def read(one: Object | None) -> list[Manager]:
    """The entries of an object."""
    found = ((one or {}).get("metadata") or {}).get("managedFields") or ()
    return [
        Manager(
            entry.get("manager", ""),
            entry.get("operation", ""),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
            entry.get("time", ""),
            fields.decode(entry.get("fieldsV1") or {}),
        )
        for entry in found
        if entry
    ]


def write(one: Object, managers: list[Manager]) -> None:
    """Put the entries into an object, in place: those that apply first, then by time and name."""
    kept = [m for m in managers if m.paths]
    kept.sort(key=lambda m: (m.operation != "Apply", m.time, m.name, m.part))
    if kept:
        one["metadata"]["managedFields"] = [m.write() for m in kept]
    else:
        one["metadata"].pop("managedFields", None)


def updated(one: Object, before: Object | None, by: Manager, schema: Schema) -> None:
    """After an update by somebody: what it changed is its own, and nobody else's. In place."""
    managers = [] if _reset(one) else read(before)
    old = fields.owned(before, schema) if before else {}
    new = fields.owned(one, schema)
    changed = _differs(new, old)
    gone = frozenset(old.keys() - new.keys())
    if not changed and not gone:
        write(one, managers)
        return
    made = [replace(m, paths=m.paths - changed - gone) for m in managers if m.key != by.key]
    own = next((m.paths for m in managers if m.key == by.key), NOBODY)
    made.append(replace(by, paths=(own | changed) - gone))
    write(one, made)


def _differs(one: dict[fields.Path, Value], other: dict[fields.Path, Value]) -> Paths:
    """Where one holds something that the other does not hold, or holds otherwise."""
    return frozenset(p for p, value in one.items() if p not in other or other[p] != value)


def _reset(one: Object) -> bool:
    """`managedFields: [{}]` takes all ownership away."""
    return (one.get("metadata") or {}).get("managedFields") == [{}]


def applied(live: Object | None, config: Object, by: Manager, kind: Kind, *, force: bool) -> Object:
    """What an apply makes of an object, ownership included, or 409 with every conflict."""
    schema = kind.schema or fields.ANY
    root = fields.rooted(schema)
    config_holds = fields.owned(config, schema)
    wanted = frozenset(config_holds)
    managers = read(live)
    own = next((m.paths for m in managers if m.key == by.key), NOBODY)
    others = [m for m in managers if m.key != by.key]
    differs = _differs(config_holds, fields.owned(live, schema)) if live is not None else NOBODY
    if not force:
        _refuse(others, differs, config, kind)
    made = _merge(live, config, root) if live is not None else deepcopy(config)
    theirs = frozenset[fields.Path]().union(*(m.paths for m in others))
    _drop(made, root, own - wanted - theirs, wanted | theirs)
    # What an apply overrides by force is no longer owned by those who had it otherwise.
    others = [replace(m, paths=m.paths - differs) for m in others]
    same = next((m for m in managers if m.key == by.key and m.paths == wanted), None)
    write(made, [*others, same or replace(by, paths=wanted)])
    return made


def _refuse(others: list[Manager], differs: Paths, config: Object, kind: Kind) -> None:
    causes: list[Object] = []
    for manager in others:
        who = f'"{manager.name}"'
        if manager.operation == "Update":
            who += f" using {manager.api_version}"
        causes += [
            {
                "reason": "FieldManagerConflict",
                "message": f"conflict with {who}",
                "field": fields.spoken(path),
            }
            for path in sorted(manager.paths & differs)
        ]
    if causes:
        told = "\n- ".join(f"{one['message']}: {one['field']}" for one in causes)
        number = f"{len(causes)} conflict" + ("s" if len(causes) > 1 else "")
        words = f"Apply failed with {number}: {told}"
        details = {"causes": causes, "name": config["metadata"]["name"], "kind": kind.plural}
        raise errors.ApiError(409, "Conflict", words, details=details)


def _merge(live: Value, config: Value, schema: Schema) -> Value:
    how = fields.merges(config, schema)
    if how == "whole" or fields.merges(live, schema) != how:
        return deepcopy(config)
    if how == "map":
        made = dict(live)
        for key, value in config.items():
            made[key] = (
                _merge(live[key], value, fields.inner(schema, key))
                if key in live
                else deepcopy(value)
            )
        return made
    below = schema.get("items") or fields.ANY
    mine = {word: one for word, one, _ in fields.children(config, schema)}
    items = []
    for word, one, _ in fields.children(live, schema):
        items.append(_merge(one, mine.pop(word), below) if word in mine else one)
    return [*items, *(deepcopy(one) for one in mine.values())]


def _drop(one: Value, schema: Schema, paths: Paths, kept: Paths) -> None:
    """Take fields out, in place, and what is empty then; never what somebody still owns."""
    keeps = frozenset(path[:length] for path in kept for length in range(len(path) + 1))
    for path in sorted(paths, key=len):  # an item of a list before its keys
        if path not in keeps:
            _remove(one, schema, path, keeps)


def _remove(root: Value, schema: Schema, path: fields.Path, keeps: Paths) -> None:
    parent = fields.at(root, schema, path[:-1])
    if parent is MISSING:
        return
    word = path[-1]
    if isinstance(parent, dict):
        parent.pop(word.removeprefix("f:"), None)
    elif isinstance(parent, list):
        below = _schema_at(root, schema, path[:-1])
        parent[:] = [one for one in parent if fields.item_word(one, below) != word]
    if not parent and len(path) > 2 and path[:-1] not in keeps:
        _remove(root, schema, path[:-1], keeps)


def _schema_at(value: Value, schema: Schema, path: fields.Path) -> Schema:
    for word in path:
        _, value, schema = next(c for c in fields.children(value, schema) if c[0] == word)
    return schema
