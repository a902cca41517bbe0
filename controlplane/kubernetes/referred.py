"""Which Secrets and ConfigMaps are meant by any object: those alone become documents."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.kinds import Document

HOLDERS = frozenset(("Secret", "ConfigMap"))


_NONE = frozenset(
    ("Backend", "EndpointSlice", "Service", "Node", "Namespace", "GatewayClass", *HOLDERS)
)
"""Kinds that refer to none, and of which there may be many."""


class Referred:
    """What is referred to. It remembers what it looked into: it is asked again and again."""

    def __init__(self) -> None:
        self._known: dict[ObjectKey, tuple[Document, frozenset[ObjectKey]]] = {}

    def by(self, declared: Declared) -> frozenset[ObjectKey]:
        """The Secrets and ConfigMaps that any of these objects refers to."""
        known: dict[ObjectKey, tuple[Document, frozenset[ObjectKey]]] = {}
        for kind, held in declared.by_kind.items():
            for name, one in held.items() if kind not in _NONE else ():
                key = ObjectKey(kind, name)
                before = self._known.get(key)
                if before is None or before[0] is not one:
                    before = (one, frozenset(_within(one, one.metadata.namespace)))
                known[key] = before
        self._known = known
        return frozenset[ObjectKey]().union(*(keys for _, keys in known.values() if keys))


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
