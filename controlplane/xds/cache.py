"""What every group of Envoys should run now, and who must hear of a change."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from controlplane.model import Snapshot
from controlplane.xds.stream import View
from controlplane.xds.versions import ResourceSet


class SnapshotCache:
    """One snapshot per group, replaced as a whole; versions are derived from content.

    >>> cache = SnapshotCache()
    >>> cache.set("edge", {"type.googleapis.com/my.Type": {"a": b"1"}})
    True
    >>> before = cache.version("edge", "type.googleapis.com/my.Type")
    >>> cache.set("edge", {"type.googleapis.com/my.Type": {"a": b"1"}})
    False
    >>> cache.version("edge", "type.googleapis.com/my.Type") == before
    True
    """

    def __init__(self) -> None:
        self._views: dict[str, View] = {}
        self._generations = itertools.count(1)
        self._listeners: list[Callable[[str], None]] = []

    def set(self, group: str, resources: Mapping[str, Mapping[str, bytes]]) -> bool:
        """Replace the group's snapshot: type URL -> name -> serialised resource.

        The bytes are not checked. An absent type is unknown, an empty mapping is an empty set;
        a type that was there and is absent now is left alone in every client. Passing the same
        bytes object again says that a resource did not change. Whether anything changed is
        returned; nothing is sent when it did not.
        """
        old = self._views.get(group)
        new: dict[str, ResourceSet] = {}
        for type_url, bodies in resources.items():
            before = old.get(type_url) if old is not None else None
            if before is None:
                before = ResourceSet.empty(type_url, next(self._generations))
            new[type_url] = before.replaced(bodies, next(self._generations))
        same = old is not None and old.keys() == new.keys()
        if old is not None and same and all(old[url] is new[url] for url in new):
            return False
        self._views[group] = new
        for listener in self._listeners:
            listener(group)
        return True

    def publish(self, snapshot: Snapshot) -> None:
        """`SnapshotSink`: make this what every Envoy of the fleet converges to."""
        self.set(snapshot.fleet, snapshot.resources)

    def view(self, group: str) -> View | None:
        """The group's snapshot; None when it was never set."""
        return self._views.get(group)

    def groups(self) -> tuple[str, ...]:
        """The groups that have a snapshot."""
        return tuple(self._views)

    def version(self, group: str, type_url: str) -> str:
        """The version of a type in the group's snapshot; empty when there is none."""
        found = self._views.get(group, {}).get(type_url)
        return found.version if found is not None else ""

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call this with the group after each change, in the thread of `set`."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[str], None]) -> None:
        """Stop calling it."""
        self._listeners.remove(listener)
