"""Which Secrets and ConfigMaps are meant by any object: those alone become documents."""

from __future__ import annotations

from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.kinds import Document
from controlplane.resources.mentions import mentions

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
                    found = (meant for _, meant in mentions(one) if meant.kind in HOLDERS)
                    before = (one, frozenset(found))
                known[key] = before
        self._known = known
        return frozenset[ObjectKey]().union(*(keys for _, keys in known.values() if keys))
