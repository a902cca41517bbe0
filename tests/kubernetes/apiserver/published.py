"""The published definitions of the built-in kinds: which fields there are and how lists merge.

They are those of Kubernetes' own OpenAPI document, from the package kubernetes-validate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from tests.kubernetes.apiserver.errors import Object
from tests.kubernetes.apiserver.kinds import Kind
from tests.kubernetes.apiserver.schema import INT_OR_STRING, PRESERVE

RELEASE = "1.37.0"
_FREE: Object = {PRESERVE: True}
_KEPT = (
    "description",
    "format",
    "default",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-patch-merge-key",
    "x-kubernetes-patch-strategy",
)
DEFAULTS: Mapping[str, Object] = {
    "core.v1.ServiceSpec": {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilyPolicy": "SingleStack",
    },
    "core.v1.ServicePort": {"protocol": "TCP"},
    "core.v1.ContainerPort": {"protocol": "TCP"},
    "core.v1.EndpointPort": {"protocol": "TCP"},
    "discovery.v1.EndpointPort": {"protocol": "TCP"},
    "core.v1.PodSpec": {
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": 30,
    },
    "core.v1.Secret": {"type": "Opaque"},
    "apps.v1.DeploymentSpec": {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    },
    "apps.v1.StatefulSetSpec": {"replicas": 1, "podManagementPolicy": "OrderedReady"},
    "autoscaling.v2.HorizontalPodAutoscalerSpec": {"minReplicas": 1},
    "admissionregistration.v1.ValidatingWebhook": {
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "timeoutSeconds": 10,
        "namespaceSelector": {},
        "objectSelector": {},
    },
    "admissionregistration.v1.RuleWithOperations": {"scope": "*"},
    "admissionregistration.v1.ServiceReference": {"port": 443},
}
"""What the API server fills in (the document does not say it), as far as our tests may see it."""

_OPAQUE = frozenset(
    {
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps",
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
    }
)
"""Taken as they are: free by design, recursive, or looked at elsewhere."""


@cache
def document() -> Mapping[str, Any]:
    """All definitions, by their names."""
    folder = resources.files("kubernetes_validate") / "kubernetes-json-schema"
    text = (folder / f"v{RELEASE}-local" / "_definitions.json").read_text()
    found: Mapping[str, Any] = json.loads(text)["$defs"]
    return found


@cache
def _names() -> Mapping[tuple[str, str, str], str]:
    made = {}
    for name, one in document().items():
        for gvk in one.get("x-kubernetes-group-version-kind") or ():
            made[gvk["group"], gvk["version"], gvk["kind"]] = name
    return made


def name_of(group: str, version: str, kind: str) -> str | None:
    """What a kind is called in the document."""
    return _names().get((group, version, kind))


@cache
def schema_of(group: str, version: str, kind: str) -> Object | None:
    """The schema of a kind with all references filled in, or None."""
    name = _names().get((group, version, kind))
    return None if name is None else _resolved(name)


@cache
def _resolved(name: str) -> Object:
    made = _structural(document()[name])
    for key, value in DEFAULTS.get(name.removeprefix("io.k8s.api."), {}).items():
        made["properties"][key] = {**made["properties"][key], "default": value}
    return made


def _structural(one: Mapping[str, Any]) -> Object:
    if "$ref" in one:
        name = one["$ref"].rpartition("/")[2]
        made = _FREE if name in _OPAQUE else _resolved(name)
        return {**made, **{word: one[word] for word in _KEPT if word in one}}
    if "oneOf" in one:
        return {INT_OR_STRING: True}
    made = {word: one[word] for word in _KEPT if word in one}
    kind = one.get("type")
    made["type"] = next(t for t in kind if t != "null") if isinstance(kind, list) else kind
    if made["type"] is None:
        return dict(_FREE)
    if one.get("format") in ("int-or-string",):
        return {INT_OR_STRING: True}
    if "properties" in one:
        made["properties"] = {key: _structural(value) for key, value in one["properties"].items()}
    if isinstance(one.get("additionalProperties"), Mapping):
        made["additionalProperties"] = _structural(one["additionalProperties"])
    elif "properties" not in one and made["type"] == "object":
        made[PRESERVE] = True
    if "items" in one:
        made["items"] = _structural(one["items"])
    return made


def described(kind: Kind) -> Kind:
    """A built-in kind with its schema."""
    found = schema_of(kind.group, kind.version, kind.kind)
    return replace(kind, schema=found) if found is not None else kind
