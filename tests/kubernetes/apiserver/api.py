"""The verbs, over the store.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-operations
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator
from copy import deepcopy
from typing import Any

from tests.kubernetes.apiserver import (
    definitions,
    effects,
    errors,
    objects,
    patches,
    schema,
    selectors,
    watch,
)
from tests.kubernetes.apiserver.builtin import BUILTIN, SYSTEM_NAMESPACES
from tests.kubernetes.apiserver.errors import Cause, Object
from tests.kubernetes.apiserver.faults import Calls, Faults
from tests.kubernetes.apiserver.kinds import Kind, Kinds
from tests.kubernetes.apiserver.objects import Source, meta
from tests.kubernetes.apiserver.requests import Request
from tests.kubernetes.apiserver.store import Key, Store

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
RETRIES = 5
BOOKMARK_EVERY_S = 60.0
WATCH_S = 1800.0


class Answer:
    """A code and an object, with warnings for people."""

    def __init__(self, body: Object, code: int = 200, warnings: tuple[str, ...] = ()) -> None:
        self.body = body
        self.code = code
        self.warnings = warnings


class Api:
    """One cluster's API. All of it runs on one event loop."""

    def __init__(self, source: Source, *, faults: Faults | None = None) -> None:
        self.source = source
        self.store = Store()
        self.kinds = Kinds(BUILTIN)
        self.faults = faults or Faults()
        self.calls = Calls()
        self.bookmark_every_s = BOOKMARK_EVERY_S
        self._owned: dict[str, set[tuple[str, Key]]] = {}
        self._settling: set[tuple[str, Key]] = set()
        for name in SYSTEM_NAMESPACES:
            self._begin_namespace(name)

    def _begin_namespace(self, name: str) -> None:
        kind = self.kinds.find("", "v1", "namespaces")
        one: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        objects.begin(one, kind, self.source)
        effects.begun(one, kind, self.source.stamp())
        self.store.put("namespaces", ("", name), one)

    # --- for the controllers within ---

    def kind_of(self, resource: str) -> Kind | None:
        return next((kind for kind in self.kinds.resources() if kind.resource == resource), None)

    def owned_by(self, uid: str) -> tuple[tuple[str, Key], ...]:
        return tuple(sorted(self._owned.pop(uid, ())))

    def retire(self, kind: Kind, key: Key) -> bool:
        """Delete as a client would; whether it is gone already."""
        one = self.store.get(kind.resource, key)
        if one is None:
            return True
        if not meta(one).get("deletionTimestamp"):
            one = self._mark(one, kind, key)
        return self._settle(kind, key, one)

    def sweep(self, resource: str, key: Key) -> None:
        """Look again whether an object that is to go may go now."""
        one = self.store.get(resource, key)
        kind = self.kind_of(resource)
        if one is not None and kind is not None and meta(one).get("deletionTimestamp"):
            self._settle(kind, key, one)

    def _mark(self, one: Object, kind: Kind, key: Key) -> Object:
        marked = deepcopy(one)
        meta(marked)["deletionTimestamp"] = self.source.stamp()
        meta(marked)["deletionGracePeriodSeconds"] = 0
        if "generation" in meta(marked):
            meta(marked)["generation"] += 1
        if kind.resource == "namespaces":
            marked["status"] = {**marked.get("status", {}), "phase": "Terminating"}
        if meta(marked).get("finalizers") or kind.resource in ("namespaces", effects.CRDS):
            return self.store.put(kind.resource, key, marked)
        return marked

    def _settle(self, kind: Kind, key: Key, one: Object) -> bool:
        """Remove an object that is marked, unless something keeps it."""
        if (kind.resource, key) in self._settling:
            return False  # what it holds is being removed further up
        self._settling.add((kind.resource, key))
        try:
            if not effects.finalized(self, kind, one):
                return False
        finally:
            self._settling.discard((kind.resource, key))
        now = self.store.get(kind.resource, key)
        if now is None:
            return True
        if meta(one).get("finalizers"):
            return False
        gone = self.store.remove(kind.resource, key)
        effects.removed(self, kind, gone)
        return True

    # --- reading ---

    def get(self, request: Request, kind: Kind) -> Object:
        return shown(self._existing(request, kind), kind)

    def _existing(self, request: Request, kind: Kind) -> Object:
        one = self.store.get(kind.resource, (request.namespace, request.name))
        if one is None:
            raise errors.not_found(kind.plural, kind.group, request.name)
        return one

    def list(self, request: Request, kind: Kind) -> Object:
        since = request.query.get("resourceVersion", "")
        if since and not since.isdigit():
            raise errors.bad_request(f"resourceVersion: Invalid value: {since!r}")
        if since.isdigit() and int(since) > self.store.revision:
            raise errors.ApiError(
                504,
                "Timeout",
                f"Too large resource version: {since}, current: {self.store.revision}",
                details={
                    "causes": [
                        {
                            "reason": "ResourceVersionTooLarge",
                            "message": "Too large resource version",
                        }
                    ],
                    "retryAfterSeconds": 1,
                },
            )
        selects = self._selector(request, kind)
        limit, token = request.whole("limit"), request.query.get("continue", "")
        after: Key | None = None
        if token:
            revision, after = read_token(token)
            items = self.store.kept(kind.resource, revision)
        else:
            revision = self.store.revision
            items = self.store.items(kind.resource, request.namespace)
        found = [(key, one) for key, one in items if selects(one)]
        if after is not None:
            found = [(key, one) for key, one in found if key > after]
        page = found[:limit] if limit else found
        about: Object = {"resourceVersion": str(revision)}
        if len(page) < len(found):
            if not token:
                self.store.snapshot(kind.resource, items)
            about["continue"] = write_token(revision, page[-1][0])
            about["remainingItemCount"] = len(found) - len(page)
        return {
            "kind": kind.listed,
            "apiVersion": kind.api_version,
            "metadata": about,
            "items": [shown(one, kind) for _, one in page],
        }

    def watch(self, request: Request, kind: Kind) -> AsyncIterator[Object | None]:
        initial = request.query.get("sendInitialEvents")
        since, marked = watch.begin(
            request.query.get("resourceVersion", ""),
            request.query.get("resourceVersionMatch", ""),
            None if initial in (None, "") else request.flag("sendInitialEvents"),
            self.store,
        )
        return watch.events(
            self.store,
            watch.Wanted(
                resource=kind.resource,
                api_version=kind.api_version,
                kind=kind.kind,
                namespace=request.namespace,
                selects=self._selector(request, kind),
                since=since,
                bookmarks=request.flag("allowWatchBookmarks"),
                initial_events=marked,
                timeout_s=request.whole("timeoutSeconds") or WATCH_S,
                bookmark_every_s=self.bookmark_every_s,
            ),
        )

    def _selector(self, request: Request, kind: Kind) -> selectors.Selector:
        by_label = selectors.labels(request.query.get("labelSelector", ""))
        wanted = request.query.get("fieldSelector", "")
        if request.name:
            wanted = ",".join(filter(None, (wanted, f"metadata.name={request.name}")))
        by_field = selectors.fields(wanted, kind.plural if not kind.custom else "", kind.selectable)
        return selectors.both(by_label, by_field)

    # --- writing ---

    async def create(self, request: Request, kind: Kind, body: Object) -> Answer:
        one = objects.check_type(body, kind)
        objects.place(one, kind, request.namespace)
        self._in_living_namespace(request, kind)
        objects.begin(one, kind, self.source)
        warnings = self._shape(one, kind, request)
        if kind.status:
            one.pop("status", None)
        effects.begun(one, kind, self.source.stamp())
        self._check(one, kind, None)
        key = (request.namespace, meta(one)["name"])
        if self.store.get(kind.resource, key) is not None:
            raise errors.already_exists(kind.plural, kind.group, key[1])
        await self.admit("CREATE", request, kind, one, None)
        if self.store.get(kind.resource, key) is not None:
            raise errors.already_exists(kind.plural, kind.group, key[1])
        return Answer(self._write(request, kind, key, one), 201, warnings)

    async def update(self, request: Request, kind: Kind, body: Object) -> Answer:
        before = self._existing(request, kind)
        one = objects.check_type(body, kind)
        objects.place(one, kind, request.namespace, request.name)
        return await self._replace(request, kind, before, one)

    async def patch(self, request: Request, kind: Kind, body: Any) -> Answer:  # noqa: ANN401
        media = request.media_type
        if media not in PATCHES:
            raise errors.unsupported_media_type(media, PATCHES)
        for attempt in range(RETRIES):
            before = self._existing(request, kind)
            current = shown(before, kind)
            if media == JSON_PATCH:
                made = patches.json_patch(current, body)
            else:
                made = patches.merge(current, body)
            one = objects.check_type(made, kind)
            objects.place(one, kind, request.namespace, request.name)
            named = isinstance(body, dict) and (body.get("metadata") or {}).get("resourceVersion")
            try:
                return await self._replace(request, kind, before, deepcopy(one))
            except errors.ApiError as error:
                if error.reason != "Conflict" or named or attempt == RETRIES - 1:
                    raise
        raise AssertionError("not reached")

    async def _replace(self, request: Request, kind: Kind, before: Object, one: Object) -> Answer:
        key = (request.namespace, request.name)
        given = meta(one).get("resourceVersion")
        if given and given != meta(before)["resourceVersion"]:
            raise errors.conflict(kind.plural, kind.group, request.name, errors.STALE)
        if not given and not kind.unconditional and request.verb == "update":
            raise errors.invalid(
                kind.kind,
                kind.group,
                request.name,
                [
                    Cause(
                        "metadata.resourceVersion",
                        "Invalid value: 0: must be specified for an update",
                    )
                ],
            )
        objects.carry_on(one, before, kind)
        meta(one)["resourceVersion"] = meta(before)["resourceVersion"]
        one = _part(request.part, kind, before, one)
        warnings = self._shape(one, kind, request)
        if kind.resource == effects.CRDS:
            definitions.complete(one)
            if request.part != "status":
                one["status"] = definitions.established(one, self.source.stamp())
        objects.count(one, before, kind)
        self._check(one, kind, before)
        await self.admit("UPDATE", request, kind, one, before)
        now = self.store.get(kind.resource, key)
        if now is None:
            raise errors.not_found(kind.plural, kind.group, request.name)
        if meta(now)["resourceVersion"] != meta(before)["resourceVersion"]:
            raise errors.conflict(kind.plural, kind.group, request.name, errors.STALE)
        return Answer(self._write(request, kind, key, one), 200, warnings)

    def _write(self, request: Request, kind: Kind, key: Key, one: Object) -> Object:
        """Store it, unless it is a rehearsal or nothing has changed."""
        before = self.store.get(kind.resource, key)
        stored = one if kind.stored else {**one, "apiVersion": self._stored_as(kind)}
        if request.dry_run:
            return shown(one, kind)
        if before is not None and before == stored:
            return shown(before, kind)
        now = self.store.put(kind.resource, key, stored)
        for owner in meta(now).get("ownerReferences") or ():
            self._owned.setdefault(owner["uid"], set()).add((kind.resource, key))
        effects.written(self, kind, now)
        if meta(now).get("deletionTimestamp") and not meta(now).get("finalizers"):
            self._settle(kind, key, now)
        return shown(now, kind)

    def _stored_as(self, kind: Kind) -> str:
        for one in self.kinds:
            if one.resource == kind.resource and one.stored:
                return one.api_version
        return kind.api_version

    def _in_living_namespace(self, request: Request, kind: Kind) -> None:
        if not kind.namespaced:
            return
        found = self.store.get("namespaces", ("", request.namespace))
        if found is None:
            raise errors.not_found("namespaces", "", request.namespace)
        if meta(found).get("deletionTimestamp"):
            raise errors.forbidden(
                kind.plural,
                kind.group,
                request.name,
                f"unable to create new content in namespace {request.namespace} because it is "
                "being terminated",
            )

    def _shape(self, one: Object, kind: Kind, request: Request) -> tuple[str, ...]:
        """Prune and default, in place; answers with warnings of what was dropped."""
        if kind.schema is None:
            return ()
        unknown = schema.prune(one, kind.schema, root=True) if kind.custom else []
        mode = request.query.get("fieldValidation", "Warn")
        told = tuple(f'unknown field "{path}"' for path in unknown)
        if told and mode == "Strict":
            raise errors.bad_request(
                f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
                f"strict decoding error: {', '.join(told)}"
            )
        if kind.custom:
            schema.default(one, kind.schema)
        return told if mode == "Warn" else ()

    def _check(self, one: Object, kind: Kind, before: Object | None) -> None:
        found = objects.check(one, kind)
        if before is not None:
            found += objects.check_change(one, before)
        if kind.schema is not None:
            found += schema.validate(one, kind.schema)
        if kind.resource == effects.CRDS:
            found += definitions.check(one)
        if found:
            raise errors.invalid(kind.kind, kind.group, meta(one).get("name") or "", found)

    async def admit(
        self,
        operation: str,
        request: Request,
        kind: Kind,
        one: Object | None,
        before: Object | None,
    ) -> None:
        """Ask the webhooks."""

    # --- deleting ---

    async def delete(self, request: Request, kind: Kind, options: Object) -> Answer:
        one = self._existing(request, kind)
        wanted = options.get("preconditions") or {}
        for name in ("uid", "resourceVersion"):
            if wanted.get(name) and wanted[name] != meta(one)[name]:
                raise errors.conflict(
                    kind.plural,
                    kind.group,
                    request.name,
                    f"Precondition failed: {name} in precondition: {wanted[name]}, "
                    f"{name} in object meta: {meta(one)[name]}",
                )
        await self.admit("DELETE", request, kind, None, one)
        dry = request.dry_run or "All" in (options.get("dryRun") or ())
        key = (request.namespace, request.name)
        if not dry and not self.retire(kind, key):
            return Answer(shown(self.store.get(kind.resource, key) or one, kind))
        return Answer(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": {
                    "name": request.name,
                    **({"group": kind.group} if kind.group else {}),
                    "kind": kind.plural,
                    "uid": meta(one)["uid"],
                },
            }
        )

    async def delete_collection(self, request: Request, kind: Kind, options: Object) -> Answer:
        found = self.list(request, kind)
        dry = request.dry_run or "All" in (options.get("dryRun") or ())
        for one in found["items"]:
            await self.admit("DELETE", request, kind, None, one)
            if not dry:
                self.retire(kind, (meta(one).get("namespace", ""), meta(one)["name"]))
        return Answer(found)


def _part(part: str, kind: Kind, before: Object, one: Object) -> Object:
    """What a request may change: status through its own path alone, and nothing else there."""
    if not kind.status:
        return one
    source, kept = (one, deepcopy(before)) if part == "status" else (before, one)
    kept["apiVersion"] = one["apiVersion"]
    kept.pop("status", None)
    if "status" in source:
        kept["status"] = deepcopy(source["status"])
    if part == "status":
        meta(kept).pop("managedFields", None)
        if "managedFields" in meta(one):
            meta(kept)["managedFields"] = meta(one)["managedFields"]
    return kept


def shown(one: Object, kind: Kind) -> Object:
    """A stored object in the version that was asked for."""
    if one["apiVersion"] == kind.api_version:
        return one
    return {**one, "apiVersion": kind.api_version}


def write_token(revision: int, last: Key) -> str:
    text = json.dumps({"rv": revision, "start": last})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(token: str) -> tuple[int, Key]:
    try:
        read = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(read["rv"]), (str(read["start"][0]), str(read["start"][1]))
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise errors.bad_request("continue key is not valid") from error
