"""Get, list and watch.

https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator

from tests.kubernetes.apiserver import errors, selectors, versions, watch
from tests.kubernetes.apiserver.errors import Object
from tests.kubernetes.apiserver.faults import Faults
from tests.kubernetes.apiserver.kinds import Kind, Kinds
from tests.kubernetes.apiserver.requests import Request
from tests.kubernetes.apiserver.store import Key, Store

WATCH_S = 1800.0
"""How long a watch lasts that does not say it."""


def existing(store: Store, request: Request, kind: Kind) -> Object:
    """The stored object that a path names."""
    one = store.get(kind.resource, (request.namespace, request.name))
    if one is None:
        raise errors.not_found(kind.plural, kind.group, request.name)
    return one


def listed(store: Store, faults: Faults, request: Request, kind: Kind) -> Object:
    """A list or a page of it."""
    selects = selector(request, kind)
    limit, token = request.whole("limit"), request.query.get("continue", "")
    after: Key | None = None
    if token:
        revision, after = read_token(token)
        items = store.kept(kind.resource, revision)
    else:
        revision, items = _now(store, faults, request, kind)
    found = [
        (key, one)
        for key, one in items
        if (after is None or key > after)
        and (not request.namespace or key[0] == request.namespace)
        and selects(one)
    ]
    page = found[:limit] if limit else found
    about: Object = {"resourceVersion": str(revision)}
    if len(page) < len(found):
        store.keep(kind.resource, revision, items)
        about["continue"] = write_token(revision, page[-1][0])
        if selects is selectors.everything:
            about["remainingItemCount"] = len(found) - len(page)
    return {
        "kind": kind.listed,
        "apiVersion": kind.api_version,
        "metadata": about,
        "items": [versions.shown(one, kind) for _, one in page],
    }


def _now(
    store: Store, faults: Faults, request: Request, kind: Kind
) -> tuple[int, list[tuple[Key, Object]]]:
    """The newest list, or an older one where that is the fault and the client allows it."""
    since = request.query.get("resourceVersion", "")
    if since and not since.isdigit():
        raise errors.bad_request(f"resourceVersion: Invalid value: {since!r}")
    if since and int(since) > store.revision:
        raise _from_the_future(int(since), store.revision)
    stale = faults.stale_at
    if stale is not None and since and int(since) <= stale:
        return stale, store.kept(kind.resource, stale)
    return store.revision, store.items(kind.resource, request.namespace)


def _from_the_future(since: int, now: int) -> errors.ApiError:
    words = f"Too large resource version: {since}, current: {now}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return errors.ApiError(
        504, "Timeout", words, details={"causes": [cause], "retryAfterSeconds": 1}
    )


def watched(
    store: Store, kinds: Kinds, request: Request, kind: Kind, bookmark_every_s: float
) -> AsyncIterator[Object | None]:
    """A watch of a collection, or of one object by its name."""
    initial = request.query.get("sendInitialEvents")
    since, marked = watch.begin(
        request.query.get("resourceVersion", ""),
        request.query.get("resourceVersionMatch", ""),
        None if initial in (None, "") else request.flag("sendInitialEvents"),
        store,
    )
    return watch.events(
        store,
        watch.Wanted(
            resource=kind.resource,
            show=lambda one: versions.shown(one, kind),
            api_version=kind.api_version,
            kind=kind.kind,
            namespace=request.namespace,
            selects=selector(request, kind),
            since=since,
            bookmarks=request.flag("allowWatchBookmarks"),
            initial_events=marked,
            timeout_s=request.whole("timeoutSeconds") or WATCH_S,
            bookmark_every_s=bookmark_every_s,
            served=lambda: kinds.serves(kind),
        ),
    )


def selector(request: Request, kind: Kind) -> selectors.Selector:
    by_label = selectors.labels(request.query.get("labelSelector", ""))
    wanted = request.query.get("fieldSelector", "")
    if request.name:
        wanted = ",".join(filter(None, (wanted, f"metadata.name={request.name}")))
    by_field = selectors.fields(wanted, kind.resource, kind.selectable)
    return selectors.both(by_label, by_field)


def write_token(revision: int, last: Key) -> str:
    text = json.dumps({"rv": revision, "start": last})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(token: str) -> tuple[int, Key]:
    try:
        read = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(read["rv"]), (str(read["start"][0]), str(read["start"][1]))
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise errors.bad_request("continue key is not valid") from error
