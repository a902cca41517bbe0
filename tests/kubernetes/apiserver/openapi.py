"""The OpenAPI documents, as far as kubectl and Helm read them. Pure.

They look up which paths take `fieldValidation` and `dryRun`, and `kubectl explain` the schemas.
https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from tests.kubernetes.apiserver import published
from tests.kubernetes.apiserver.errors import Object, no_such_path
from tests.kubernetes.apiserver.kinds import Kind, Kinds

Value: TypeAlias = Any

_INFO = {"title": "Kubernetes", "version": "v1.37.0"}
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
)
_STRATEGIC = "application/strategic-merge-patch+json"


def index(kinds: Kinds) -> Object:
    """Where the document of each group and version is; the hash changes with what is served."""
    made: Object = {}
    for path, found in _documents(kinds):
        text = "".join(sorted(f"{kind.plural}{kind.schema!r}" for kind in found))
        digest = hashlib.sha256(text.encode()).hexdigest().upper()
        made[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": made}


def _documents(kinds: Kinds) -> Iterator[tuple[str, tuple[Kind, ...]]]:
    yield "api/v1", kinds.of("", "v1")
    for group, versions in kinds.groups().items():
        for version in versions:
            yield f"apis/{group}/{version}", kinds.of(group, version)


def document(kinds: Kinds, path: str) -> Object:
    """One group and version, OpenAPI 3."""
    found = dict(_documents(kinds)).get(path)
    if not found:
        raise no_such_path()
    schemas: Object = {}
    paths: Object = {}
    for kind in found:
        name = _name(kind)
        schemas[name] = _component(kind, schemas)
        paths |= _paths(kind, f"#/components/schemas/{name}")
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _name(kind: Kind) -> str:
    """As in the published document; of custom resources the group backwards."""
    own = published.name_of(kind.group, kind.version, kind.kind)
    reversed_group = ".".join(reversed(kind.group.split(".")))
    return own or f"{reversed_group}.{kind.version}.{kind.kind}"


def _gvk(kind: Kind) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _component(kind: Kind, schemas: Object) -> Object:
    word = "x-kubernetes-group-version-kind"
    name = published.name_of(kind.group, kind.version, kind.kind)
    if name is not None:
        _published(name, schemas)
        return {**schemas[name], word: [_gvk(kind)]}
    _published(_META, schemas)
    known = dict((kind.schema or {}).get("properties") or {})
    known["metadata"] = {"allOf": [{"$ref": f"#/components/schemas/{_META}"}]}
    return {**(kind.schema or {"type": "object"}), "properties": known, word: [_gvk(kind)]}


def _published(name: str, schemas: Object) -> None:
    """A published definition and all that it refers to."""
    wanted = [name]
    while wanted:
        at = wanted.pop()
        if at in schemas:
            continue
        made = _plain(published.document()[at], wanted)
        schemas[at] = made


def _plain(one: Value, wanted: list[str]) -> Value:
    """JSON schema to OpenAPI 3: one type, references to components."""
    if isinstance(one, list):
        return [_plain(inner, wanted) for inner in one]
    if not isinstance(one, Mapping):
        return one
    if isinstance(one.get("$ref"), str):
        name = str(one["$ref"]).rpartition("/")[2]
        wanted.append(name)
        ref = {"allOf": [{"$ref": f"#/components/schemas/{name}"}]}
        return {**ref, **{k: v for k, v in one.items() if k != "$ref"}}
    made = {key: _plain(value, wanted) for key, value in one.items()}
    if isinstance(one.get("type"), list):
        made["type"] = next(t for t in one["type"] if t != "null")
    return made


def _paths(kind: Kind, ref: str) -> Object:
    root = f"/api/{kind.version}" if not kind.group else f"/apis/{kind.group}/{kind.version}"
    if kind.namespaced:
        root += "/namespaces/{namespace}"
    body = {"schema": {"$ref": ref}}
    answer = {"200": {"description": "OK", "content": {"application/json": body}}}

    def operation(action: str, *media: str) -> Object:
        made: Object = {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(kind),
            "parameters": [
                {"name": name, "in": "query", "schema": {"type": "string"}}
                for name in ("dryRun", "fieldManager", "fieldValidation")
            ],
            "responses": answer,
        }
        if media:
            made["requestBody"] = {"content": dict.fromkeys(media, body)}
        return made

    patches = _PATCHES if kind.custom else (*_PATCHES, _STRATEGIC)
    return {
        f"{root}/{kind.plural}": {"post": operation("post", "application/json")},
        f"{root}/{kind.plural}/{{name}}": {
            "put": operation("put", "application/json"),
            "patch": operation("patch", *patches),
            "delete": operation("delete"),
        },
    }


def swagger(kinds: Kinds) -> Object:
    """OpenAPI 2: the schemas of custom resources and the names of all kinds."""
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": {},
        "definitions": {
            _name(kind): {
                "type": "object",
                "x-kubernetes-group-version-kind": [_gvk(kind)],
                **(
                    {"properties": (kind.schema or {}).get("properties", {})} if kind.custom else {}
                ),
            }
            for kind in kinds
        },
    }
