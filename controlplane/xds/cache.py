"""What every group of Envoys should run now, and who must hear of a change."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from controlplane.model import NOWHERE, Snapshot, Zone
from controlplane.xds.kinds import ENDPOINT
from controlplane.xds.staging import Stage, Views
from controlplane.xds.stream import View
from controlplane.xds.versions import ResourceSet

Bodies = Mapping[str, Mapping[str, bytes]]
"""Type URL -> name -> serialised resource."""
ByPlace = Mapping[Zone, Mapping[str, bytes]]
"""Endpoint assignments, by the place of the nodes and by name."""

_NO_PLACES: Mapping[Zone, Any] = MappingProxyType({})


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
        self._views: dict[str, Views] = {}
        self._stages: dict[str, Stage] = {}
        self._generations = itertools.count(1)
        self._listeners: list[Callable[[str], None]] = []

    def set(self, group: str, resources: Bodies, by_place: ByPlace = _NO_PLACES) -> bool:
        """Replace the group's snapshot: type URL -> name -> serialised resource.

        The bytes are not checked. An absent type is unknown, an empty mapping is an empty set;
        a type that was there and is absent now is left alone in every client. Passing the same
        bytes object again says that a resource did not change. Whether anything changed is
        returned; nothing is sent when it did not.

        `by_place` are endpoint assignments, by name, that nodes of a place are shown instead of
        those in `resources`: of the zone in their `node.locality`, or else of its region.

        >>> cache, eu = SnapshotCache(), Zone("eu")
        >>> cache.set("edge", {ENDPOINT: {"web": b"1", "api": b"1"}}, {eu: {"web": b"2"}})
        True
        >>> for where in (Zone("us"), Zone("eu", "eu-a")):
        ...     shown = cache.view("edge", where=where)[ENDPOINT].by_name
        ...     print(shown["web"].body, shown["api"].body)
        b'1' b'1'
        b'2' b'1'
        """
        old = self._views.get(group)
        new = self._replaced(old, resources, by_place)
        if old is not None and _same(old, new):
            return False
        self._views[group] = new
        self._retire(group, old)
        self._tell(group)
        return True

    def stage(
        self, group: str, resources: Bodies, share: float, by_place: ByPlace = _NO_PLACES
    ) -> bool:
        """Show other resources to this share of the group's nodes, in place of any stage before.

        Which nodes those are follows from their ids (`Stage`), alike on every replica. The group
        must have a snapshot. Whether anything changed is returned.

        >>> cache = SnapshotCache()
        >>> url = "type.googleapis.com/my.Type"
        >>> cache.set("edge", {url: {"a": b"1"}})
        True
        >>> cache.stage("edge", {url: {"a": b"2"}}, share=1.0)
        True
        >>> [cache.view("edge", node)[url].by_name["a"].body for node in ("", "envoy-1")]
        [b'1', b'2']
        """
        before = self._stages.get(group)
        old = before.views if before is not None else self._views[group]
        new = self._replaced(old, resources, by_place)
        if before is not None and before.share == share and _same(before.views, new):
            return False
        self._stages[group] = Stage(share, new)
        self._retire(group, before.views if before is not None else None)
        self._tell(group)
        return True

    def end_stage(self, group: str) -> None:
        """All nodes of the group are shown its snapshot again."""
        ended = self._stages.pop(group, None)
        if ended is not None:
            self._retire(group, ended.views)
            self._tell(group)

    def staged(self, group: str) -> Stage | None:
        """The stage that is on."""
        return self._stages.get(group)

    def _replaced(self, old: Views | None, resources: Bodies, by_place: ByPlace) -> Views:
        new: dict[str, ResourceSet] = {}
        for type_url, bodies in resources.items():
            before = old.common.get(type_url) if old is not None else None
            if before is None:
                before = ResourceSet.empty(type_url, next(self._generations))
            new[type_url] = before.replaced(bodies, next(self._generations))
        if not by_place or ENDPOINT not in new:
            return Views(new, _NO_PLACES)
        places: dict[Zone, View] = {}
        for where, bodies in by_place.items():
            shown = old.by_place.get(where, {}).get(ENDPOINT) if old is not None else None
            here = new[ENDPOINT].varied(bodies, shown, next(self._generations))
            places[where] = {**new, ENDPOINT: here}
        return Views(new, places)

    def _retire(self, group: str, old: Views | None) -> None:
        """Forget the answers of sets that nobody is shown any more: a client that never answers
        keeps the set that it was last sent.
        """
        stage = self._stages.get(group)
        shown = [*self._views[group], *(stage.views if stage is not None else ())]
        kept = {id(each) for view in shown for each in view.values()}
        for view in old or ():
            for each in view.values():
                if id(each) not in kept:
                    each.memo.clear()

    def _tell(self, group: str) -> None:
        for listener in self._listeners:
            listener(group)

    def publish(self, snapshot: Snapshot) -> None:
        """`SnapshotSink`: make this what every Envoy of the fleet converges to."""
        self.set(snapshot.fleet, snapshot.resources, snapshot.by_place)

    def view(self, group: str, node_id: str = "", where: Zone = NOWHERE) -> View | None:
        """What this node of the group should run; None when the group was never set.

        Without a node: the group's snapshot, whatever is staged.
        """
        stage = self._stages.get(group)
        if stage is not None and node_id and stage.covers(node_id):
            return stage.views.at(where)
        views = self._views.get(group)
        return views.at(where) if views is not None else None

    def views(self, group: str) -> Views | None:
        """The group's snapshot, for nodes wherever they are."""
        return self._views.get(group)

    def groups(self) -> tuple[str, ...]:
        """The groups that have a snapshot."""
        return tuple(self._views)

    def version(self, group: str, type_url: str) -> str:
        """The version of a type in the group's snapshot; empty when there is none."""
        found = (self.view(group) or {}).get(type_url)
        return found.version if found is not None else ""

    def versions(self, group: str) -> dict[str, str]:
        """The version of each type in the group's snapshot."""
        return {url: one.version for url, one in (self.view(group) or {}).items()}

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call this with the group after each change, in the thread of `set`."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[str], None]) -> None:
        """Stop calling it."""
        self._listeners.remove(listener)


def _same(old: Views, new: Views) -> bool:
    return old.by_place.keys() == new.by_place.keys() and all(
        mine.keys() == theirs.keys() and all(mine[url] is theirs[url] for url in theirs)
        for mine, theirs in (
            (old.common, new.common),
            *((old.by_place[place], view) for place, view in new.by_place.items()),
        )
    )
