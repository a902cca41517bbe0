"""Create, update, patch and apply.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-operations
https://kubernetes.io/docs/reference/using-api/server-side-apply/
https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.kubernetes.apiserver import (
    admission,
    definitions,
    effects,
    errors,
    objects,
    ownership,
    patches,
    reads,
    rules,
    scaling,
    schema,
    strategic,
    versions,
)
from tests.kubernetes.apiserver.errors import Cause, Object
from tests.kubernetes.apiserver.kinds import Kind
from tests.kubernetes.apiserver.objects import meta
from tests.kubernetes.apiserver.ownership import Manager
from tests.kubernetes.apiserver.requests import Request

if TYPE_CHECKING:
    from tests.kubernetes.apiserver.api import Api

Body: TypeAlias = Any

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
RETRIES = 5
_NO_VERSION = "Invalid value: 0: must be specified for an update"


@dataclass(frozen=True)
class Answer:
    """A code and an object, with warnings for people."""

    body: Object
    code: int = 200
    warnings: tuple[str, ...] = ()


async def create(api: Api, request: Request, kind: Kind, body: Object) -> Answer:
    one = objects.check_type(body, kind)
    objects.place(one, kind, request.namespace)
    return await _create(api, request, kind, one, None)


async def _create(
    api: Api, request: Request, kind: Kind, one: Object, managed: list[Object] | None
) -> Answer:
    _in_living_namespace(api, request, kind)
    objects.begin(one, kind, api.source)
    if kind.status:
        one.pop("status", None)
    effects.prepare(api, one, kind)
    warnings = _shape(one, kind, request)
    effects.begun(one, kind, api.source.stamp())
    meta(one).pop("managedFields", None)
    if managed is None:
        ownership.updated(one, None, manager(api, request, "Update"), kind.schema or {})
    else:
        meta(one)["managedFields"] = managed
    _check(one, kind, None)
    key = (request.namespace, meta(one)["name"])
    _not_yet(api, kind, key[1], key)
    warnings += await admission.ask(api, "CREATE", request, kind, one, None)
    _not_yet(api, kind, key[1], key)
    return Answer(api.write(request, kind, key, one), 201, warnings)


def _not_yet(api: Api, kind: Kind, name: str, key: tuple[str, str]) -> None:
    if api.store.get(kind.resource, key) is not None:
        raise errors.already_exists(kind.plural, kind.group, name)


async def update(api: Api, request: Request, kind: Kind, body: Object) -> Answer:
    before = reads.existing(api.store, request, kind)
    current = versions.shown(before, kind)
    if request.part == "scale":
        return await _scaled(api, request, kind, before, body)
    one = objects.check_type(body, kind)
    objects.place(one, kind, request.namespace, request.name)
    if not meta(one).get("resourceVersion") and not kind.unconditional:
        cause = Cause("metadata.resourceVersion", _NO_VERSION)
        raise errors.invalid(kind.kind, kind.group, request.name, [cause])
    return await _replace(api, request, kind, current, one)


async def _scaled(api: Api, request: Request, kind: Kind, before: Object, scale: Object) -> Answer:
    current = versions.shown(before, kind)
    made = await _replace(api, request, kind, current, scaling.write(current, scale, kind))
    return Answer(scaling.read(made.body, kind), made.code, made.warnings)


async def patch(api: Api, request: Request, kind: Kind, body: Body) -> Answer:
    """Each kind of patch; what others changed meanwhile is tried again with."""
    media = request.media_type
    accepted = _accepted(kind)
    if media not in accepted:
        raise errors.unsupported_media_type(media, accepted)
    if media == APPLY_PATCH:
        return await _apply(api, request, kind, body)
    named = isinstance(body, dict) and (body.get("metadata") or {}).get("resourceVersion")
    for attempt in range(RETRIES):
        before = reads.existing(api.store, request, kind)
        try:
            return await _patched(api, request, kind, before, body)
        except errors.ApiError as error:
            if error.reason != "Conflict" or named or attempt == RETRIES - 1:
                raise
    raise AssertionError("not reached")


def _accepted(kind: Kind) -> tuple[str, ...]:
    """Custom resources have no strategic merge."""
    common = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    return common if kind.custom else (*common, STRATEGIC_PATCH)


async def _patched(api: Api, request: Request, kind: Kind, before: Object, body: Body) -> Answer:
    current = versions.shown(before, kind)
    target = scaling.read(current, kind) if request.part == "scale" else current
    match request.media_type:
        case "application/json-patch+json":
            made = patches.json_patch(target, body)
        case "application/strategic-merge-patch+json":
            made = strategic.patch(target, body, kind.schema or {})
        case _:
            made = patches.merge(target, body)
    if request.part == "scale":
        return await _scaled(api, request, kind, before, made)
    one = objects.check_type(made, kind)
    objects.place(one, kind, request.namespace, request.name)
    return await _replace(api, request, kind, current, deepcopy(one))


async def _apply(api: Api, request: Request, kind: Kind, body: Body) -> Answer:
    config = objects.check_type(body, kind)
    objects.place(config, kind, request.namespace, request.name)
    if not request.query.get("fieldManager"):
        raise errors.bad_request("fieldManager is required for apply patch")
    if meta(config).get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    if request.part == "status":
        config = {key: one for key, one in config.items() if key in (*_TYPE, "status")}
        config["metadata"] = {"name": request.name}
        if kind.namespaced:
            config["metadata"]["namespace"] = request.namespace
    elif kind.status:
        config.pop("status", None)
    warnings = _prune(config, kind, request)
    effects.prepare(api, config, kind)
    by = manager(api, request, "Apply")
    before = api.store.get(kind.resource, (request.namespace, request.name))
    live = None if before is None else versions.shown(before, kind)
    if live is None and request.part:
        raise errors.not_found(kind.plural, kind.group, request.name)
    if live is None and meta(config).get("uid"):
        raise errors.conflict(kind.plural, kind.group, request.name, "uid mismatch")
    made = ownership.applied(live, config, by, kind, force=request.flag("force"))
    managed = meta(made).pop("managedFields", [])
    if live is None:
        answer = await _create(api, request, kind, made, managed)
    else:
        if not meta(config).get("resourceVersion"):
            meta(made)["resourceVersion"] = meta(live)["resourceVersion"]
        answer = await _replace(api, request, kind, live, deepcopy(made), managed)
    return Answer(answer.body, answer.code, warnings + answer.warnings)


_TYPE = ("apiVersion", "kind")


async def _replace(
    api: Api,
    request: Request,
    kind: Kind,
    before: Object,
    one: Object,
    managed: list[Object] | None = None,
) -> Answer:
    """Put a new state in the place of an old one that was read. `managed`: decided already."""
    key = (request.namespace, request.name)
    given = meta(one).get("resourceVersion")
    if given and given != meta(before)["resourceVersion"]:
        raise errors.conflict(kind.plural, kind.group, request.name, errors.STALE)
    objects.carry_on(one, before, kind)
    meta(one)["resourceVersion"] = meta(before)["resourceVersion"]
    one = _part(request.part, kind, before, one)
    effects.prepare(api, one, kind)
    warnings = _shape(one, kind, request)
    if kind.resource == effects.CRDS and request.part != "status":
        definitions.complete(one)
        one["status"] = definitions.established(one, api.source.stamp())
    if managed is None:
        ownership.updated(one, before, manager(api, request, "Update"), kind.schema or {})
    else:
        meta(one)["managedFields"] = managed
    objects.count(one, before, kind)
    _check(one, kind, before)
    warnings += await admission.ask(api, "UPDATE", request, kind, one, before)
    now = api.store.get(kind.resource, key)
    if now is None:
        raise errors.not_found(kind.plural, kind.group, request.name)
    if meta(now)["resourceVersion"] != meta(before)["resourceVersion"]:
        raise errors.conflict(kind.plural, kind.group, request.name, errors.STALE)
    return Answer(api.write(request, kind, key, one), 200, warnings)


def _part(part: str, kind: Kind, before: Object, one: Object) -> Object:
    """What a request may change: status through its own path alone, and nothing else there."""
    if not kind.status:
        return one
    source, kept = (one, deepcopy(before)) if part == "status" else (before, one)
    kept["apiVersion"] = one["apiVersion"]
    kept.pop("status", None)
    if "status" in source:
        kept["status"] = deepcopy(source["status"])
    return kept


def manager(api: Api, request: Request, operation: str) -> Manager:
    """The one who writes."""
    group = f"{request.group}/" if request.group else ""
    return Manager(
        request.manager,
        operation,
        f"{group}{request.version}",
        request.part,
        api.source.stamp(),
        ownership.NOBODY,
    )


def _in_living_namespace(api: Api, request: Request, kind: Kind) -> None:
    if not kind.namespaced:
        return
    found = api.store.get("namespaces", ("", request.namespace))
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


def _shape(one: Object, kind: Kind, request: Request) -> tuple[str, ...]:
    """Prune and default, in place; answers with warnings of what was dropped."""
    warnings = _prune(one, kind, request)
    if kind.schema is not None:
        schema.default(one, kind.schema)
    return warnings


def _prune(one: Object, kind: Kind, request: Request) -> tuple[str, ...]:
    if kind.schema is None:
        return ()
    if not kind.custom:
        schema.drop_nulls(one)
    told = tuple(f'unknown field "{path}"' for path in schema.prune(one, kind.schema, root=True))
    mode = request.query.get("fieldValidation", "Warn")
    if told and mode == "Strict":
        raise errors.bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
            f"strict decoding error: {', '.join(told)}"
        )
    return told if mode == "Warn" else ()


def _check(one: Object, kind: Kind, before: Object | None) -> None:
    found = objects.check(one, kind)
    if before is not None:
        found += objects.check_change(one, before)
    if kind.schema is not None:
        wrong = schema.validate(one, kind.schema)
        found += wrong or rules.broken(one, before, kind.schema)
    if kind.resource == effects.CRDS:
        found += definitions.check(one)
    if found:
        raise errors.invalid(kind.kind, kind.group, meta(one).get("name") or "", found)
