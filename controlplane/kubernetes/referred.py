"""Which Secrets and ConfigMaps are meant by any object: those alone become documents."""

from __future__ import annotations

from collections.abc import Mapping

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
        self._seen: Mapping[str, Mapping[str, Document]] = {}
        self._known: dict[str, dict[str, frozenset[ObjectKey]]] = {}
        """By kind and name, of those that refer to any."""

    def by(self, declared: Declared) -> frozenset[ObjectKey]:
        """The Secrets and ConfigMaps that any of these objects refers to."""
        before, self._seen = self._seen, declared.by_kind
        for kind in (before.keys() | self._seen.keys()) - _NONE:
            was, now = before.get(kind, {}), self._seen.get(kind, {})
            if was is now:
                continue
            known = self._known.setdefault(kind, {})
            for name in was.keys() - now.keys():
                known.pop(name, None)
            for name, one in now.items():
                if was.get(name) is not one:
                    known.pop(name, None)
                    meant = (key for _, key in mentions(one) if key.kind in HOLDERS)
                    if found := frozenset(meant):
                        known[name] = found
        every = (keys for known in self._known.values() for keys in known.values())
        return frozenset[ObjectKey]().union(*every)
