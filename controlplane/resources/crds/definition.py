"""A model to its CustomResourceDefinition. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel

from controlplane.resources.crds.schema import Schema, structural
from controlplane.resources.declared import MODELS
from controlplane.resources.kinds import WEIR_GROUP, Document, group_of, kind_of, versions_of
from controlplane.resources.target import Policy

KEEP = "helm.sh/resource-policy"
"""Helm leaves what has it in place: with a definition all of its objects would go."""

_CONDITION: Schema = {
    "type": "object",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": {"type": "string", "maxLength": 316, "pattern": "^([A-Za-z0-9./_-]+)$"},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "reason": {
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        },
        "message": {"type": "string", "maxLength": 32768},
    },
}
_CONDITIONS: Schema = {
    "description": "What holds of the object: Accepted, ResolvedRefs, Programmed.",
    "type": "array",
    "maxItems": 8,
    "items": _CONDITION,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}


def _text(most: int) -> Schema:
    return {"type": "string", "maxLength": most}


_ANCESTORS: Schema = {
    "description": "What became of the policy, for each of its targets.",
    "type": "array",
    "maxItems": 16,
    "items": {
        "type": "object",
        "required": ["ancestorRef", "controllerName", "conditions"],
        "properties": {
            "ancestorRef": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "group": _text(253),
                    "kind": _text(63),
                    "namespace": _text(63),
                    "name": _text(253),
                    "sectionName": _text(253),
                    "port": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535},
                },
            },
            "controllerName": _text(253),
            "conditions": _CONDITIONS,
        },
    },
    "x-kubernetes-list-type": "atomic",
}


class Names(NamedTuple):
    """What `kubectl` takes for a kind."""

    plural: str
    short: tuple[str, ...]


_NAMES = {
    "HTTPRouteFilter": Names("httproutefilters", ("wfilter",)),
    "Backend": Names("backends", ("wbe",)),
    "BalancingPolicy": Names("balancingpolicies", ("wbp",)),
    "TrafficPolicy": Names("trafficpolicies", ("wtp",)),
    "SecurityPolicy": Names("securitypolicies", ("wsp",)),
    "ClientPolicy": Names("clientpolicies", ("wcp",)),
    "EnvoyPatch": Names("envoypatches", ("wpatch",)),
}

_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _condition(path: str, kind: str) -> Schema:
    at = f'{path}.conditions[?(@.type=="{kind}")].status'
    return {"name": kind, "type": "string", "jsonPath": at}


_COLUMNS: dict[str, list[Schema]] = {
    "BalancingPolicy": [{"name": "Policy", "type": "string", "jsonPath": ".spec.policy"}],
    "Backend": [
        {"name": "Fallback", "type": "boolean", "jsonPath": ".spec.fallback", "priority": 1}
    ],
    "EnvoyPatch": [{"name": "Gateway", "type": "string", "jsonPath": ".spec.targetRef.name"}],
}
_TARGET: list[Schema] = [
    {"name": "Target kind", "type": "string", "jsonPath": ".spec.targetRefs[0].kind"},
    {"name": "Target", "type": "string", "jsonPath": ".spec.targetRefs[0].name"},
]


def own_models() -> tuple[type[Document], ...]:
    """The kinds that are ours to define."""
    return tuple(one for one in MODELS if group_of(one) == WEIR_GROUP)


def names(kind: str) -> Names:
    """What a kind of ours is called."""
    return _NAMES[kind]


def definitions(group: str | None = None) -> tuple[dict[str, Any], ...]:
    """The definition of every kind of ours, or of those of one API group: ours is the only one."""
    if group not in (None, WEIR_GROUP):
        return ()
    return tuple(definition(one) for one in own_models())


def definition(model: type[Document]) -> dict[str, Any]:
    """The definition of one kind."""
    kind = kind_of(model)
    called = names(kind)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{called.plural}.{WEIR_GROUP}",
            "annotations": {KEEP: "keep"},
            "labels": {"app.kubernetes.io/name": "weir", "app.kubernetes.io/part-of": "weir"},
        },
        "spec": {
            "group": WEIR_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": called.plural,
                "singular": kind.lower(),
                "shortNames": list(called.short),
                "categories": ["weir"],
            },
            # One version is stored, and all are served; a second one comes with a converter.
            "conversion": {"strategy": "None"},
            "versions": [
                _version(model, one.rpartition("/")[2], stored=at == 0)
                for at, one in enumerate(versions_of(model))
            ],
        },
    }


def _version(model: type[Document], version: str, *, stored: bool) -> Schema:
    policy = issubclass(model, Policy)
    columns = [*(_TARGET if policy else ()), *_COLUMNS.get(kind_of(model), ())]
    columns.append(_condition(".status.ancestors[0]" if policy else ".status", "Accepted"))
    status = {"ancestors": _ANCESTORS} if policy else {"conditions": _CONDITIONS}
    return {
        "name": version,
        "served": True,
        "storage": stored,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [*columns, _AGE],
        "schema": {
            "openAPIV3Schema": {
                "description": f"{(model.__doc__ or '').strip()} {model.about}".strip(),
                "type": "object",
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                    "spec": {"description": "What is declared.", **structural(_spec_of(model))},
                    "status": {"type": "object", "properties": status},
                },
            }
        },
    }


def _spec_of(model: type[Document]) -> type[BaseModel]:
    spec = model.model_fields["spec"].annotation
    assert isinstance(spec, type)
    assert issubclass(spec, BaseModel)
    return spec
