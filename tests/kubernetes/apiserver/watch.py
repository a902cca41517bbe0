"""A watch: what happened since a revision, then what happens.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
https://kubernetes.io/docs/reference/using-api/api-concepts/#watch-bookmarks
https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from tests.kubernetes.apiserver.errors import ApiError, Object, bad_request
from tests.kubernetes.apiserver.selectors import Selector
from tests.kubernetes.apiserver.store import Change, Store

HEARTBEAT_S = 1.0
"""How long a watch may take to see that its client has gone."""
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True)
class Wanted:
    """What a watcher asked for."""

    resource: str
    show: Callable[[Object], Object]
    """An object as it is shown in the version that was asked for."""
    api_version: str
    kind: str
    namespace: str
    selects: Selector
    since: int | None
    """None: all there is comes first."""
    bookmarks: bool
    initial_events: bool
    timeout_s: float
    bookmark_every_s: float
    served: Callable[[], bool]
    """Whether there still is such a kind."""


def begin(
    since: str, match: str, send_initial: bool | None, store: Store
) -> tuple[int | None, bool]:
    """The revision to begin after, and whether the end of what there is is to be marked.

    An unset revision and "0" mean: first everything as ADDED, then what happens.
    """
    if match and send_initial is None:
        raise bad_request(
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        )
    if send_initial and match != "NotOlderThan":
        raise bad_request("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    if since and not since.isdigit():
        raise bad_request(
            f'Invalid value: "{since}": strconv.ParseUint: parsing "{since}": invalid syntax'
        )
    if send_initial or (send_initial is None and since in ("", "0")):
        return None, bool(send_initial)
    return (int(since) if since not in ("", "0") else store.revision), False


async def events(store: Store, wanted: Wanted) -> AsyncIterator[Object | None]:
    """Events in order; None where there is nothing to say for now. Ends at its timeout, when the
    kind is gone, or with an ERROR event where the watcher fell behind the log.
    """
    woken = asyncio.Event()
    store.listen(wanted.resource, woken)
    ends = time.monotonic() + wanted.timeout_s
    try:
        at = store.revision if wanted.since is None else wanted.since
        if wanted.since is None:
            for event in _initial(store, at, wanted):
                yield event
        marked = time.monotonic()
        while (left := ends - time.monotonic()) > 0:
            woken.clear()
            head = store.revision  # read with the changes: more may come while they are sent
            try:
                changes = store.since(wanted.resource, at)
            except ApiError as error:
                yield {"type": "ERROR", "object": error.status()}
                return
            for event in (one for change in changes for one in _seen(change, wanted)):
                yield event
            at = head
            if wanted.bookmarks and time.monotonic() - marked >= wanted.bookmark_every_s:
                marked = time.monotonic()
                yield _bookmark(at, wanted)
            if not changes:
                if not wanted.served():
                    return
                yield None
                await _wait(woken, min(left, wanted.bookmark_every_s, HEARTBEAT_S))
        if wanted.bookmarks:
            yield _bookmark(at, wanted)
    finally:
        store.unlisten(wanted.resource, woken)


async def _wait(woken: asyncio.Event, most_s: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(woken.wait(), most_s)


def _initial(store: Store, at: int, wanted: Wanted) -> list[Object]:
    """What there is, taken at one moment."""
    items = store.items(wanted.resource, wanted.namespace)
    made = [_event("ADDED", one, wanted) for _, one in items if wanted.selects(one)]
    if wanted.initial_events:
        made.append(_bookmark(at, wanted, {INITIAL_EVENTS_END: "true"}))
    return made


def _seen(change: Change, wanted: Wanted) -> Iterator[Object]:
    """A change as a watcher with a selector sees it: what leaves the selection is DELETED."""
    if wanted.namespace and change.last["metadata"].get("namespace") != wanted.namespace:
        return
    was = change.before is not None and wanted.selects(change.before)
    fits = change.now is not None and wanted.selects(change.now)
    if fits:
        yield _event("MODIFIED" if was else "ADDED", change.last, wanted)
    elif was and change.now is None:
        yield _event("DELETED", change.last, wanted)
    elif was and change.before is not None:
        left = change.before
        version = {"resourceVersion": str(change.revision)}
        yield _event("DELETED", {**left, "metadata": {**left["metadata"], **version}}, wanted)


def _event(type_: str, one: Object, wanted: Wanted) -> Object:
    return {"type": type_, "object": wanted.show(one)}


def _bookmark(revision: int, wanted: Wanted, annotations: dict[str, str] | None = None) -> Object:
    meta: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
    if annotations:
        meta["annotations"] = annotations
    return {
        "type": "BOOKMARK",
        "object": {"kind": wanted.kind, "apiVersion": wanted.api_version, "metadata": meta},
    }
