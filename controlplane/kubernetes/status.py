"""What became of each object, as its `status` says it in the words of the Gateway API. Pure.

A Gateway has `addresses`, `conditions` and `listeners`, a route `parents`, a policy `ancestors`,
all others `conditions`. What other controllers wrote there stays. `observedGeneration` is that of
the object which the condition is about.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import is_
from typing import Any, NamedTuple

from controlplane.kubernetes.documents import file_of
from controlplane.kubernetes.objects import Held
from controlplane.resources.attachment import target_of
from controlplane.resources.conditions import Condition, parent_part
from controlplane.resources.declared import KINDS, Declared, ObjectKey
from controlplane.resources.gateway import Gateway
from controlplane.resources.gateway_class import CONTROLLER, GatewayClass
from controlplane.resources.grpc_route import GrpcRoute
from controlplane.resources.kinds import GATEWAY_API_GROUP, WEIR_GROUP, Document, group_of
from controlplane.resources.load import Loaded
from controlplane.resources.problems import Problem
from controlplane.resources.route import ParentRef, Route
from controlplane.resources.service import Service
from controlplane.resources.target import Policy, TargetRef
from controlplane.resources.topology import attachments

Status = dict[str, Any]
Found = Mapping[ObjectKey, tuple[Condition, ...]]
Fronts = Mapping[str, Sequence[tuple[str, str]]]
"""By Gateway, where its clients reach it: types and values of addresses."""

MOST_ANCESTORS = 16
"""As the Gateway API has it."""
MOST_ADDRESSES = 16
"""As the Gateway API has it."""
MOST_CHARACTERS = 1024
"""Of a message."""
SETTLING_PASSES = 3
"""For so many passes what the Envoys had taken stays said while they take what came after it. Else
a pass that falls between a push and its ACKs would write to every route of a Gateway, and the next
one back."""
_WRITTEN = {True: "True", False: "False", None: "Unknown"}
_OUR_KINDS = frozenset(
    kind for kind, one in KINDS.items() if group_of(one) in (GATEWAY_API_GROUP, WEIR_GROUP)
)
_OURS = ("parents", "ancestors")
"""Lists with an entry for each controller."""


def statuses(
    loaded: Loaded, found: Found, held: Mapping[ObjectKey, Held]
) -> dict[ObjectKey, Status]:
    """What is to be said of each object that has a status of ours. Times are left out: see
    `merged`."""
    declared, refused = loaded.declared, _refused(loaded.refusals)
    fronts = declared.while_same(declared.those("Service"), _fronts)
    made: dict[ObjectKey, Status] = {}
    for key, one in held.items():
        if key.kind not in _OUR_KINDS:
            continue
        if key in refused:
            status = _of_refused(declared, key, one, refused[key])
        else:
            status = _of_valid(declared, key, found.get(key, ()), fronts)
        if status is not None:
            made[key] = _observed(status, one.generation)
    return made


class Statuses:
    """The statuses that are due, pass after pass. One that is as it should be costs a look, as long
    as neither the object changes nor what is to be said of it."""

    def __init__(self) -> None:
        self._well: dict[ObjectKey, _Well] = {}
        self._among: tuple[object, ...] = ()
        self._settling: dict[ObjectKey, int] = {}
        """For how many passes the Envoys have been taking what is newer."""

    def due(
        self,
        loaded: Loaded,
        found: Found,
        held: Mapping[ObjectKey, Held],
        newest: Mapping[ObjectKey, Held],
        now: str,
    ) -> dict[ObjectKey, Status]:
        """Those of `statuses` that objects do not have. `held` are the objects that were loaded,
        `newest` as they are now. An object of the same generation as before stays `Programmed` for
        `SETTLING_PASSES` while something newer is on its way to the Envoys."""
        declared, refused = loaded.declared, _refused(loaded.refusals)
        # Which Gateways are ours, and where they are reached.
        among = declared.those("Gateway", "GatewayClass", "Service")
        same = len(among) == len(self._among) and all(map(is_, among, self._among))
        before = self._well if same else {}
        self._well, self._among = {}, among
        unsure: dict[ObjectKey, Held] = {}
        for key, one in held.items():
            if key.kind not in _OUR_KINDS or key not in newest:
                continue
            well = before.get(key)
            if (
                well is not None
                and well.held is one
                and well.newest is newest[key]
                and well.document is declared.get(key)
                and well.said == found.get(key, ())
                and key not in refused
            ):
                self._well[key] = well
            else:
                unsure[key] = one
        wanted, due = statuses(loaded, found, unsure), dict[ObjectKey, Status]()
        settling, self._settling = self._settling, {}
        for key, one in unsure.items():
            status, has = wanted.get(key), newest[key]
            if status is not None and (still := _still_taken(has.status, status)) != status:
                passes = settling.get(key, 0) + 1
                self._settling[key] = passes
                status = still if passes <= SETTLING_PASSES else status
            if status is not None and merged(has.status, status, now) != has.status:
                due[key] = status
            elif key not in self._settling:
                self._well[key] = _Well(one, has, declared.get(key), found.get(key, ()))
        return due


def _still_taken(before: Mapping[str, Any], wanted: Status) -> Status:
    """With `Programmed` as it was where it was true of the same generation and is pending."""
    made: Status = {}
    for name, value in wanted.items():
        held = before.get(name) or []
        if name == "conditions":
            made[name] = [_still(held, one) for one in value]
        elif name in (*_OURS, "listeners"):
            made[name] = [_still_taken(_same(held, one), one) for one in value]
        else:
            made[name] = value
    return made


def _still(held: Sequence[Mapping[str, Any]], one: Status) -> Status:
    if (one["type"], one["status"], one["reason"]) == ("Programmed", "False", "Pending"):
        for each in held:
            was = (each.get("type"), each.get("status"), each.get("observedGeneration"))
            if was == ("Programmed", "True", one["observedGeneration"]):
                return {name: each[name] for name in one if name in each}
    return one


class _Well(NamedTuple):
    """An object whose status is as it should be."""

    held: Held
    newest: Held
    document: Document | None
    said: tuple[Condition, ...]


def _refused(problems: Iterable[Problem]) -> dict[ObjectKey, Problem]:
    """The first that is wrong of each; problems are of files, and a file is an object here."""
    found: dict[ObjectKey, Problem] = {}
    for one in problems:
        kind, _, name = one.file.partition("/")
        found.setdefault(ObjectKey(kind, name), one)
    return {key: one for key, one in found.items() if file_of(key) == one.file}


def _of_valid(
    declared: Declared, key: ObjectKey, found: Sequence[Condition], fronts: Fronts
) -> Status | None:
    document = declared.get(key)
    if isinstance(document, Gateway):
        if key.name not in declared.gateways:
            return None
        return _of_gateway(declared, document, found, fronts)
    if isinstance(document, (Route, GrpcRoute)):
        route = document.requests if isinstance(document, GrpcRoute) else document
        return {"parents": list(_parents(declared, route, found))}
    if isinstance(document, Policy):
        return {"ancestors": list(_ancestors(document, found))[:MOST_ANCESTORS]}
    if isinstance(document, GatewayClass) and not document.ours:
        return None
    if document is None or key.kind == "ReferenceGrant":
        return None
    return {"conditions": [_said(one) for one in found] or [_accepted()]}


def _of_gateway(
    declared: Declared, gateway: Gateway, found: Sequence[Condition], fronts: Fronts
) -> Status:
    pairs = attachments(declared)[gateway.key].pairs
    listeners = [
        {
            "name": one.name,
            "supportedKinds": [{"group": GATEWAY_API_GROUP, "kind": kind} for kind in one.takes],
            "attachedRoutes": sum(listener is one for listener, _ in pairs),
            "conditions": [_said(each) for each in found if each.part == f"listener {one.name}"],
        }
        for one in gateway.spec.listeners
    ]
    listened = [(one.type, one.value) for one in gateway.spec.addresses if one.value]
    addresses = dict.fromkeys(fronts.get(gateway.key) or listened)
    return {
        "addresses": [{"type": kind, "value": value} for kind, value in addresses][:MOST_ADDRESSES],
        "conditions": [_said(one) for one in found if not one.part],
        "listeners": listeners,
    }


def _fronts(declared: Declared) -> Fronts:
    """The addresses of the Services that say to stand before the Envoys of a Gateway."""
    found: dict[str, list[tuple[str, str]]] = {}
    for one in declared.all(Service).values():
        if one.front_of is not None:
            found.setdefault(one.front_of, []).extend(one.addresses)
    return found


def _parents(declared: Declared, route: Route, found: Sequence[Condition]) -> Iterator[Status]:
    """For the Gateways that we serve alone: of others, and of what is not there, we say nothing."""
    for ref in route.spec.parent_refs:
        gateway = declared.gateways.get(f"{ref.namespace or route.metadata.namespace}/{ref.name}")
        part = parent_part(route, ref)
        said = [_said(_without_counts(one)) for one in found if one.part == part]
        if gateway is not None and said:
            yield {"parentRef": _reference(ref), "controllerName": CONTROLLER, "conditions": said}


def _without_counts(one: Condition) -> Condition:
    """How many Envoys have taken it stands at the Gateway: each Envoy that comes or goes would
    change every route."""
    if one.type == "Programmed" and one.reason != "Invalid":
        return replace(one, message="")
    return one


def _ancestors(policy: Policy, found: Sequence[Condition]) -> Iterator[Status]:
    for ref in policy.spec.target_refs:
        part = str(target_of(policy, ref))
        said = [_said(one) for one in found if one.part in ("", part)]
        if said:
            ancestor = {**_reference(ref), "namespace": policy.metadata.namespace}
            yield {"ancestorRef": ancestor, "controllerName": CONTROLLER, "conditions": said}


def _of_refused(declared: Declared, key: ObjectKey, one: Held, problem: Problem) -> Status | None:
    """That it is not in force as it is written; of parents and targets what can be read of them."""
    in_force = declared.get(key) is not None
    still = "; the last valid version is in force" if in_force else ""
    said = [_condition("Accepted", False, "Invalid", f"{problem.words}{still}")]
    spec = json.loads(one.document).get("spec")
    spec = spec if isinstance(spec, dict) else {}
    if key.kind.endswith("Route"):
        ours = declared.gateways
        parents: list[Status] = [
            {"parentRef": ref, "controllerName": CONTROLLER, "conditions": said}
            for ref in _written(spec.get("parentRefs"))
            if f"{ref.get('namespace') or one.namespace}/{ref.get('name')}" in ours
        ]
        return {"parents": parents}
    if issubclass(KINDS[key.kind], Policy):
        ancestors: list[Status] = [
            {
                "ancestorRef": {**ref, "namespace": one.namespace},
                "controllerName": CONTROLLER,
                "conditions": said,
            }
            for ref in _written(spec.get("targetRefs"))
        ]
        return {"ancestors": ancestors[:MOST_ANCESTORS]}
    return {"conditions": said}


def _written(refs: object) -> list[dict[str, Any]]:
    names = ("group", "kind", "namespace", "name", "sectionName", "port")
    return [
        {name: one[name] for name in names if one.get(name) is not None}
        for one in (refs if isinstance(refs, list) else [])
        if isinstance(one, dict) and isinstance(one.get("name"), str)
    ]


def _reference(ref: ParentRef | TargetRef) -> dict[str, Any]:
    return ref.model_dump(by_alias=True, exclude_none=True)


def _accepted() -> Status:
    return _condition("Accepted", True, "Accepted", "")


def _said(one: Condition) -> Status:
    return _condition(one.type, one.status, one.reason, one.message)


def _condition(kind: str, status: bool | None, reason: str, message: str) -> Status:
    text = message[:MOST_CHARACTERS]
    return {"type": kind, "status": _WRITTEN[status], "reason": reason, "message": text}


def _observed(status: Status, generation: int) -> Status:
    """With the generation in every condition."""
    made: Status = {}
    for name, value in status.items():
        if name == "conditions":
            made[name] = [{**one, "observedGeneration": generation} for one in value]
        elif isinstance(value, list):
            made[name] = [
                _observed(one, generation) if isinstance(one, dict) and "conditions" in one else one
                for one in value
            ]
        else:
            made[name] = value
    return made


def merged(before: Mapping[str, Any], wanted: Status, now: str) -> Status:
    """The status to be written: what others said stays, and the time of what did not change."""
    made: Status = dict(before)
    for name, value in wanted.items():
        held = before.get(name) or []
        if name in _OURS:
            ours = [one for one in held if one.get("controllerName") == CONTROLLER]
            others = [one for one in held if one.get("controllerName") != CONTROLLER]
            made[name] = [*others, *(_timed_entry(ours, one, now) for one in value)]
        elif name == "listeners":
            made[name] = [_timed_entry(held, one, now) for one in value]
        elif name == "conditions":
            types = {one["type"] for one in value}
            others = [one for one in held if one.get("type") not in types | _DROPPED]
            made[name] = [*others, *_timed(held, value, now)]
        elif value or name in before:
            made[name] = value
    return made


_DROPPED = frozenset(("Accepted", "ResolvedRefs", "Programmed"))
"""Conditions that are ours: where we say nothing of one any more it goes."""


def _timed_entry(held: Sequence[Mapping[str, Any]], one: Status, now: str) -> Status:
    """An entry with conditions; of the one before that is for the same."""
    before = _same(held, one).get("conditions") or []
    return {**one, "conditions": _timed(before, one["conditions"], now)}


def _same(held: Sequence[Mapping[str, Any]], one: Status) -> Mapping[str, Any]:
    """The entry that is for the same as this one."""
    return next((each for each in held if _names(each) == _names(one)), {})


def _names(entry: Mapping[str, Any]) -> object:
    return entry.get("name") or entry.get("parentRef") or entry.get("ancestorRef")


def _timed(held: Sequence[Mapping[str, Any]], said: Sequence[Status], now: str) -> list[Status]:
    times = {(one.get("type"), one.get("status")): one.get("lastTransitionTime") for one in held}
    return [
        {**one, "lastTransitionTime": times.get((one["type"], one["status"])) or now}
        for one in said
    ]


def document_kinds() -> tuple[type[Document], ...]:
    """The kinds that have a status of ours, for the permissions that are needed."""
    return tuple(KINDS[kind] for kind in KINDS if kind in _OUR_KINDS - {"ReferenceGrant"})
