"""The objects of a cluster, loaded as `weir serve --kubernetes` loads them, once and by kubectl."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.cli.installed import NOT_HELM
from controlplane.cli.kubectl import ClusterError, Kubectl
from controlplane.cli.verify.cluster import resources
from controlplane.kubernetes.documents import document_of, file_of, key_of
from controlplane.kubernetes.referred import HOLDERS, Referred
from controlplane.kubernetes.resource import Resource
from controlplane.resources.declared import ObjectKey
from controlplane.resources.load import Loaded, load


def load_cluster(kubectl: Kubectl, namespace: str | None) -> Loaded:
    """What is declared, and every problem. Raises `ClusterError`.

    `namespace`: whoever may not look at all of them may look at this one.
    """
    held: dict[ObjectKey, bytes] = {}
    for resource in resources(kubectl).values():
        for one in _objects(kubectl, resource, namespace):
            typed = {**one, "apiVersion": resource.api, "kind": resource.kind}
            held[key_of(typed)] = document_of(typed)
    # Who refers to Secrets and ConfigMaps is known when the others are read.
    first = load(Loaded(), _files(held, frozenset()))
    meant = frozenset(Referred().by(first.declared))
    return load(Loaded(), _files(held, meant))


def _files(held: Mapping[ObjectKey, bytes], meant: frozenset[ObjectKey]) -> dict[str, bytes]:
    return {
        file_of(key): document
        for key, document in held.items()
        if key.kind not in HOLDERS or key in meant
    }


def _objects(kubectl: Kubectl, resource: Resource, namespace: str | None) -> list[dict[str, Any]]:
    query = {"fieldSelector": NOT_HELM} if resource.kind == "Secret" else {}
    try:
        return kubectl.objects(resource.path(), **query)
    except ClusterError as error:
        if error.reason != "Forbidden" or namespace is None:
            raise
    return kubectl.objects(resource.path(namespace), **query) if resource.namespaced else []
