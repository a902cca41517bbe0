"""Which Secrets and ConfigMaps are meant by any object: those alone become documents. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from controlplane.resources.declared import ObjectKey
from controlplane.resources.kinds import Document
from controlplane.resources.secret import ConfigMap, Secret

HOLDERS = frozenset(("Secret", "ConfigMap"))


def referred(documents: Iterable[Document]) -> frozenset[ObjectKey]:
    """What these refer to."""
    return frozenset(
        key
        for one in documents
        if not isinstance(one, (Secret, ConfigMap))
        for key in _within(one, one.metadata.namespace)
    )


def _within(value: object, namespace: str) -> Iterator[ObjectKey]:
    if isinstance(value, BaseModel):
        kind, name = getattr(value, "kind", None), getattr(value, "name", None)
        if kind in HOLDERS and isinstance(name, str):
            where = getattr(value, "namespace", None) or namespace
            yield ObjectKey(kind, f"{where}/{name}")
        for one in value.__dict__.values():
            yield from _within(one, namespace)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _within(one, namespace)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _within(one, namespace)
