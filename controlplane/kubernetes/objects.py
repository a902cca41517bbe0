"""What is there: the objects of every kind that is followed, as documents and for their status."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.kubernetes.documents import Object, document_of, file_of, key_of
from controlplane.kubernetes.resource import Resource
from controlplane.resources.declared import ObjectKey

_WITH_STATUS = frozenset(("gateway.networking.k8s.io", "weir.dev"))


@dataclass(frozen=True, slots=True)
class Held:
    """One object."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    version: str
    generation: int
    file: str
    """What problems call the document."""
    document: bytes
    status: Mapping[str, Any]
    """As it was when it was last seen; empty of kinds that we write none of."""


class Objects:
    """What is there now. Written by reflectors, read by whoever waits for `changed`."""

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._held: dict[ObjectKey, Held] = {}
        self._missing = {one.kind for one in resources}
        self.changed = asyncio.Event()
        """Set when a document came, went or changed."""
        self.status_seen = asyncio.Event()
        """Set when anything of an object changed, its status too."""

    @property
    def missing(self) -> frozenset[str]:
        """The kinds that were not listed yet."""
        return frozenset(self._missing)

    def all(self) -> dict[ObjectKey, Held]:
        """Every object by its key."""
        return dict(self._held)

    def replace(self, resource: Resource, items: Iterable[Object]) -> None:
        """These are all of a kind."""
        now = dict(_held(resource, one) for one in items)
        before = {key: one for key, one in self._held.items() if key.kind == resource.kind}
        for key in before.keys() - now.keys():
            del self._held[key]
        self._held.update(now)
        first = resource.kind in self._missing
        self._missing.discard(resource.kind)
        same = before.keys() == now.keys() and all(
            before[key].document == one.document for key, one in now.items()
        )
        self.status_seen.set()
        if first or not same:
            self.changed.set()

    def put(self, resource: Resource, item: Object) -> None:
        """It came, or changed."""
        key, now = _held(resource, item)
        before = self._held.get(key)
        self._held[key] = now
        self.status_seen.set()
        if before is None or before.document != now.document:
            self.changed.set()

    def answered(self, resource: Resource, version: str, item: Object) -> None:
        """What the server made of our change to this version. An answer may come late: where a
        watch has told of something newer, such as that it is gone, nothing is taken from it."""
        held = self._held.get(key_of(_typed(resource, item)))
        if held is not None and held.version == version:
            self.put(resource, item)

    def delete(self, resource: Resource, item: Object) -> None:
        """It went."""
        gone = self._held.pop(key_of(_typed(resource, item)), None)
        if gone is not None:
            self.changed.set()


def _typed(resource: Resource, item: Object) -> Object:
    """Items of a list do not say of what kind they are."""
    return {**item, "apiVersion": resource.api, "kind": resource.kind}


def _held(resource: Resource, item: Object) -> tuple[ObjectKey, Held]:
    typed, metadata = _typed(resource, item), item["metadata"]
    key = key_of(typed)
    ours = resource.api.partition("/")[0] in _WITH_STATUS
    made = Held(
        resource,
        metadata.get("namespace", ""),
        metadata["name"],
        metadata.get("uid", ""),
        metadata.get("resourceVersion", ""),
        metadata.get("generation", 0),
        file_of(key),
        document_of(typed),
        (item.get("status") or {}) if ours else {},
    )
    return key, made
