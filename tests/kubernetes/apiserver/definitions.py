"""CustomResourceDefinitions: what a definition makes the server serve. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1/
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.kubernetes.apiserver import rules
from tests.kubernetes.apiserver.errors import Cause, Object
from tests.kubernetes.apiserver.kinds import Column, Kind, Scale
from tests.kubernetes.apiserver.schema import INT_OR_STRING, PRESERVE

_AGE = Column("Age", ".metadata.creationTimestamp", "date")


def kinds(definition: Object) -> tuple[Kind, ...]:
    """The kinds of all served versions of a definition that was checked."""
    spec = definition["spec"]
    return tuple(_kind(spec, one) for one in spec["versions"] if one.get("served"))


def _kind(spec: Object, version: Object) -> Kind:
    names = spec["names"]
    parts = version.get("subresources") or {}
    scale = parts.get("scale")
    columns = [
        Column(
            one["name"],
            one["jsonPath"],
            one["type"],
            one.get("priority", 0),
            one.get("description", ""),
            one.get("format", ""),
        )
        for one in version.get("additionalPrinterColumns") or ()
    ]
    return Kind(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        namespaced=spec["scope"] == "Namespaced",
        short=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        status="status" in parts,
        scale=scale
        and Scale(
            scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath")
        ),
        generation=True,
        unconditional=False,
        schema=version["schema"]["openAPIV3Schema"],
        columns=tuple(columns) or (_AGE,),
        custom=True,
        stored=bool(version.get("storage")),
        singular=names.get("singular") or names["kind"].lower(),
        list_kind=names.get("listKind") or f"{names['kind']}List",
        selectable=tuple(
            one["jsonPath"].lstrip(".") for one in version.get("selectableFields") or ()
        ),
    )


def complete(definition: Object) -> None:
    """Names that may be left out, in place."""
    names = definition.get("spec", {}).get("names")
    if isinstance(names, dict) and isinstance(names.get("kind"), str):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")
    definition.get("spec", {}).setdefault("conversion", {"strategy": "None"})


def check(definition: Object) -> list[Cause]:
    """What is wrong with a definition."""
    spec = definition.get("spec") or {}
    names = spec.get("names") or {}
    found = [
        Cause(f"spec.{at}", "Required value", "FieldValueRequired")
        for at, value in (
            ("group", spec.get("group")),
            ("scope", spec.get("scope")),
            ("versions", spec.get("versions")),
            ("names.plural", names.get("plural")),
            ("names.kind", names.get("kind")),
        )
        if not value
    ]
    if found:
        return found
    name = definition["metadata"].get("name")
    wanted = f"{names['plural']}.{spec['group']}"
    if name != wanted:
        found.append(
            Cause(
                "metadata.name",
                f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group',
            )
        )
    if spec["scope"] not in ("Namespaced", "Cluster"):
        found.append(
            Cause("spec.scope", f'Unsupported value: "{spec["scope"]}"', "FieldValueNotSupported")
        )
    if sum(bool(one.get("storage")) for one in spec["versions"]) != 1:
        found.append(
            Cause(
                "spec.versions",
                "Invalid value: must have exactly one version marked as storage version",
            )
        )
    for at, one in enumerate(spec["versions"]):
        schema = (one.get("schema") or {}).get("openAPIV3Schema")
        path = f"spec.versions[{at}].schema.openAPIV3Schema"
        if not isinstance(schema, dict):
            found.append(Cause(path, "Required value: schemas are required", "FieldValueRequired"))
        else:
            found += _structural(schema, path, root=True)
            found += rules.check(schema, path)
    return found


_VALUE_ONLY = ("description", "type", "default", "additionalProperties", "nullable")


_FORBIDDEN = ("$ref", "definitions", "patternProperties", "dependencies", "uniqueItems")


def _structural(schema: Object, path: str, *, root: bool = False) -> list[Cause]:
    """The rules of structural schemas: a type for every field, no `$ref`, no `uniqueItems`."""
    found: list[Cause] = []
    free = schema.get(PRESERVE) or schema.get(INT_OR_STRING)
    if not schema.get("type") and not free:
        words = "Required value: must not be empty for specified object fields"
        found.append(Cause(f"{path}.type", words, "FieldValueRequired"))
    if root and schema.get("type") not in (None, "object"):
        found.append(Cause(f"{path}.type", "Invalid value: must be object at the root"))
    forbidden = [word for word in _FORBIDDEN if schema.get(word)]
    if schema.get("properties") and schema.get("additionalProperties"):
        forbidden.append("additionalProperties")
    if schema.get("type") == "array" and not isinstance(schema.get("items"), dict):
        found.append(
            Cause(f"{path}.items", "Required value: must be specified", "FieldValueRequired")
        )
    found += [
        Cause(f"{path}.{word}", f"Forbidden: {word} is not supported here", "FieldValueForbidden")
        for word in forbidden
    ]
    for word in ("allOf", "anyOf", "oneOf"):
        for at, inner in enumerate(schema.get(word) or ()):
            found += _values_only(inner, f"{path}.{word}[{at}]", schema)
    for step, inner in _within(schema):
        found += _structural(inner, path + step)
    return found


def _within(schema: Object) -> Iterator[tuple[str, Object]]:
    """The schemas one level down, and how they are called in a path."""
    for key, inner in (schema.get("properties") or {}).items():
        yield f".properties[{key}]", inner
    for word in ("additionalProperties", "items"):
        if isinstance(schema.get(word), dict):
            yield f".{word}", schema[word]


def _values_only(schema: Object, path: str, outer: Object) -> list[Cause]:
    """Within allOf, anyOf and oneOf stand only validations, but for int-or-string's own types."""
    if outer.get(INT_OR_STRING):
        return []
    return [
        Cause(f"{path}.{word}", "Forbidden: must be empty to be structural", "FieldValueForbidden")
        for word in _VALUE_ONLY
        if word in schema
    ]


def established(definition: Object, now: str) -> Object:
    """The status of a definition that is served."""
    spec = definition["spec"]
    versions = [one["name"] for one in spec["versions"] if one.get("storage")]
    kept = (definition.get("status") or {}).get("storedVersions") or []
    old = {one["type"]: one for one in (definition.get("status") or {}).get("conditions") or ()}
    conditions = [
        old.get(type_)
        or {
            "type": type_,
            "status": "True",
            "lastTransitionTime": now,
            "reason": reason,
            "message": message,
        }
        for type_, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
    ]
    return {
        "acceptedNames": spec["names"],
        "conditions": conditions,
        "storedVersions": [*kept, *(v for v in versions if v not in kept)],
    }
