"""Objects, revisions and the log of changes: what etcd is to a real API server. No I/O.

Stored objects are never changed in place, so lists and snapshots share them.
https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tests.kubernetes.apiserver.errors import Object, gone

LOG_LIMIT = 20_000
"""Changes that are remembered for one resource. Older ones are compacted away."""
SNAPSHOTS = 64
"""Lists that are being read page by page at the same time."""

Key = tuple[str, str]
"""Namespace ("" without one) and name."""


@dataclass(frozen=True)
class Change:
    """One change. `before` and `now` are whole objects; a removal has no `now`."""

    revision: int
    before: Object | None
    now: Object | None
    last: Object
    """What a watcher is shown: of a removal the object as it was, at the removal's revision."""


class Store:
    """All objects, by resource ("deployments.apps")."""

    def __init__(self, log_limit: int = LOG_LIMIT) -> None:
        self.revision = 1
        self._objects: dict[str, dict[Key, Object]] = defaultdict(dict)
        self._log: dict[str, list[Change]] = defaultdict(list)
        self._compacted: dict[str, int] = defaultdict(int)
        self._floor = 0
        self._log_limit = log_limit
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._snapshots: OrderedDict[tuple[str, int], list[tuple[Key, Object]]] = OrderedDict()

    # --- reading ---

    def get(self, resource: str, key: Key) -> Object | None:
        return self._objects[resource].get(key)

    def items(self, resource: str, namespace: str = "") -> list[tuple[Key, Object]]:
        """In the order of a real list: by namespace, then by name."""
        return sorted(
            (
                (key, one)
                for key, one in self._objects[resource].items()
                if not namespace or key[0] == namespace
            ),
            key=lambda item: item[0],
        )

    def resources(self) -> Iterator[str]:
        return iter(tuple(name for name, objects in self._objects.items() if objects))

    def size(self) -> int:
        return sum(map(len, self._objects.values()))

    # --- writing ---

    def put(self, resource: str, key: Key, one: Object) -> Object:
        """Store it under the next revision."""
        before = self._objects[resource].get(key)
        self.revision += 1
        now = _at(one, self.revision)
        self._objects[resource][key] = now
        self._note(resource, Change(self.revision, before, now, now))
        return now

    def remove(self, resource: str, key: Key) -> Object:
        before = self._objects[resource].pop(key)
        self.revision += 1
        last = _at(before, self.revision)
        self._note(resource, Change(self.revision, before, None, last))
        return last

    def _note(self, resource: str, change: Change) -> None:
        log = self._log[resource]
        log.append(change)
        if len(log) > self._log_limit:
            cut = len(log) // 2
            self._compacted[resource] = log[cut - 1].revision
            del log[:cut]
        self.wake(resource)

    # --- watching ---

    def since(self, resource: str, revision: int) -> list[Change]:
        """What happened after that revision, or 410 where it was compacted."""
        if revision < max(self._compacted[resource], self._floor):
            raise gone(f"too old resource version: {revision} ({self.revision})")
        log = self._log[resource]
        return log[bisect_right(log, revision, key=lambda change: change.revision) :]

    def compact(self, revision: int | None = None) -> None:
        """Forget changes up to that revision (all of them) and the lists that are being paged."""
        self._floor = self.revision if revision is None else revision
        for resource, log in self._log.items():
            del log[: bisect_right(log, self._floor, key=lambda change: change.revision)]
            self.wake(resource)
        self._snapshots.clear()

    def tick(self) -> int:
        """A revision that no object has, as writes of others make in a real cluster."""
        self.revision += 1
        return self.revision

    def listen(self, resource: str, event: asyncio.Event) -> None:
        self._watchers[resource].add(event)

    def unlisten(self, resource: str, event: asyncio.Event) -> None:
        self._watchers[resource].discard(event)

    def wake(self, resource: str) -> None:
        for event in self._watchers[resource]:
            event.set()

    def wake_all(self) -> None:
        for resource in tuple(self._watchers):
            self.wake(resource)

    # --- paging ---

    def keep(self, resource: str, revision: int, items: list[tuple[Key, Object]]) -> None:
        """Keep a list for the pages that follow."""
        self._snapshots[resource, revision] = items
        while len(self._snapshots) > SNAPSHOTS:
            self._snapshots.popitem(last=False)

    def keep_all(self) -> int:
        """Keep the lists of all resources as they are; answers with their revision."""
        for resource in self.resources():
            self.keep(resource, self.revision, self.items(resource))
        return self.revision

    def kept(self, resource: str, revision: int) -> list[tuple[Key, Object]]:
        found = self._snapshots.get((resource, revision))
        if found is None:
            raise gone(
                "The provided continue parameter is too old to display a consistent list result. "
                "You must start a new list without the continue parameter."
            )
        return found


def _at(one: Object, revision: int) -> Object:
    return {**one, "metadata": {**one["metadata"], "resourceVersion": str(revision)}}
