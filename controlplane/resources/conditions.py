"""What became of each Gateway, route and policy, in the words of the Gateway API.

`Accepted`: it is valid and in force. `ResolvedRefs`: what it refers to is there. `Programmed`: the
Envoys have taken it, by their own ACKs. The Gateway API has no `Programmed` for routes; here a
route has that of its Gateway, because it is what people ask next. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.resources.attachment import target_of, winners
from controlplane.resources.declared import MODELS, Declared, ObjectKey
from controlplane.resources.envoy_patch import EnvoyPatch
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.kinds import kind_of
from controlplane.resources.references import (
    conflicts,
    parent_fault,
    patch_fault,
    route_faults,
    target_fault,
)
from controlplane.resources.route import ParentRef, Route
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.security_refs import found_by
from controlplane.resources.target import Policy, Target
from controlplane.resources.topology import (
    Unresolved,
    attachments,
    of_others,
    resolve_certificate,
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that holds of an object, or does not."""

    type: str
    """`Accepted`, `ResolvedRefs` or `Programmed`."""
    status: bool | None
    """None: it is not known yet."""
    reason: str
    """One word of the Gateway API where it has one."""
    message: str = ""
    part: str = ""
    """Of what of the object: `listener http`, `parent default/edge`, a target; empty: all."""


@dataclass(frozen=True, slots=True)
class Programming:
    """How far the Envoys of a Gateway are."""

    envoys: int = 0
    """Those that are connected."""
    taken: int = 0
    """Those that have taken all that they should run."""
    refusal: str = ""
    """Who refuses what, and why; empty where nobody does."""
    waits: str = ""
    """Why not even one can have taken it yet; empty where that is not so."""


def conditions(
    declared: Declared,
    programming: Mapping[str, Programming],
    unused: Mapping[ObjectKey, str] | None = None,
) -> dict[ObjectKey, tuple[Condition, ...]]:
    """By object. `programming` is by Gateway; of one that is not in it nothing is known. `unused`
    are EnvoyPatches that were not used as they are written, and why."""
    gateways = {
        key: _programmed(key, programming.get(key, Programming())) for key in declared.gateways
    }
    found: dict[ObjectKey, tuple[Condition, ...]] = {}
    for key, gateway in declared.gateways.items():
        found[ObjectKey("Gateway", key)] = tuple(_of_gateway(declared, gateway, gateways[key]))
    late = {id(one.route) for at in attachments(declared).values() for one in at.conflicts}
    for route in declared.every_route:
        said = _of_route(declared, route, gateways, late=id(route) in late)
        found[ObjectKey(route.kind, route.key)] = tuple(said)
    for model in MODELS:
        if issubclass(model, Policy):
            found |= _of_policies(declared, model)
    for key, patch in declared.all(EnvoyPatch).items():
        here = ObjectKey("EnvoyPatch", key)
        found[here] = tuple(_of_patch(declared, patch, (unused or {}).get(here), gateways))
    for refused, one in declared.unkept.items():
        each = [Condition("Accepted", False, "Invalid", one.message, str(to)) for to in one.sorted]
        found[refused] = tuple(each) or (Condition("Accepted", False, "Invalid", one.message),)
    for key, policy in declared.all(SecurityPolicy).items():
        found[ObjectKey("SecurityPolicy", key)] += tuple(_refers(declared, policy))
    return found


def _refers(declared: Declared, policy: SecurityPolicy) -> Iterator[Condition]:
    faults = found_by(declared, policy).faults
    if faults:
        message = f"{faults[0][1].message}; requests that the policy is for are answered 500"
        yield Condition("ResolvedRefs", False, faults[0][1].reason or "Invalid", message)


def _programmed(key: str, found: Programming) -> Condition:
    if found.waits:
        return Condition("Programmed", None, "Pending", found.waits)
    if not found.envoys:
        return Condition("Programmed", False, "Pending", f"no Envoy of {key} is connected")
    if found.refusal:
        return Condition("Programmed", False, "Invalid", found.refusal)
    count = f"{found.taken} of {found.envoys} Envoys have taken it"
    if found.taken < found.envoys:
        return Condition("Programmed", False, "Pending", count)
    return Condition("Programmed", True, "Programmed", count)


def _of_gateway(declared: Declared, gateway: Gateway, programmed: Condition) -> Iterator[Condition]:
    listeners = [
        each
        for one in gateway.spec.listeners
        for each in _of_listener(declared, gateway, one, programmed)
    ]
    bad = any(one.status is False and one.type == "ResolvedRefs" for one in listeners)
    yield Condition("Accepted", True, "ListenersNotValid" if bad else "Accepted")
    yield programmed
    yield from listeners


def _of_listener(
    declared: Declared, gateway: Gateway, listener: Listener, programmed: Condition
) -> Iterator[Condition]:
    part = f"listener {listener.name}"
    routes = sum(one is listener for one, _ in attachments(declared)[gateway.key].pairs)
    noun = "route" if routes == 1 else "routes"
    yield Condition("Accepted", True, "Accepted", f"{routes} {noun} attached", part)
    refs = listener.tls.certificate_refs if listener.tls else ()
    found = [resolve_certificate(declared, gateway, ref) for ref in refs]
    faults = [one for one in found if isinstance(one, Unresolved)]
    if faults:
        yield Condition("ResolvedRefs", False, faults[0].reason, faults[0].message, part)
    else:
        yield Condition("ResolvedRefs", True, "ResolvedRefs", "", part)
    if refs and len(faults) == len(refs):
        why = "without a certificate the listener is not opened"
        yield Condition("Programmed", False, "Invalid", why, part)
    else:
        yield Condition("Programmed", programmed.status, programmed.reason, "", part)


class _Parent(NamedTuple):
    """A parent of a route, and what is said of the two whatever other routes there are."""

    ref: ParentRef
    gateway: str
    accepted: Condition
    resolved: Condition


def _parents(declared: Declared, route: Route) -> tuple[_Parent, ...]:
    """Of other controllers' Gateways nothing is said."""
    faults = [
        fault
        for field, fault in declared.once(route, route_faults)
        if fault.reason and not field.startswith("spec.parentRefs")
    ]
    found = []
    for ref in route.spec.parent_refs:
        if of_others(declared, route, ref):
            continue
        part = parent_part(route, ref)
        resolved = Condition("ResolvedRefs", True, "ResolvedRefs", "", part)
        if faults:
            resolved = Condition("ResolvedRefs", False, faults[0].reason, faults[0].message, part)
        accepted = _accepted(parent_fault(declared, route, ref), part)
        gateway = f"{ref.namespace or route.metadata.namespace}/{ref.name}"
        found.append(_Parent(ref, gateway, accepted, resolved))
    return tuple(found)


def _accepted(fault: Unresolved | None, part: str) -> Condition:
    if fault is not None:
        return Condition("Accepted", False, fault.reason, fault.message, part)
    return Condition("Accepted", True, "Accepted", "", part)


def _of_route(
    declared: Declared, route: Route, programmed: Mapping[str, Condition], *, late: bool
) -> Iterator[Condition]:
    """`late`: an older route goes before it somewhere."""
    for ref, gateway, accepted, resolved in declared.once(route, _parents):
        if accepted.status and late and (fault := next(conflicts(declared, route, ref), None)):
            accepted = _accepted(fault, accepted.part)
        yield accepted
        yield resolved
        if accepted.status:
            of = programmed[gateway]
            yield Condition("Programmed", of.status, of.reason, of.message, accepted.part)


def _of_patch(
    declared: Declared, patch: EnvoyPatch, unused: str | None, programmed: Mapping[str, Condition]
) -> Iterator[Condition]:
    fault = patch_fault(declared, patch)
    if fault is not None:
        yield Condition("Accepted", False, fault.reason, fault.message)
    elif unused:
        yield Condition("Accepted", False, "Invalid", unused)
    else:
        yield Condition("Accepted", True, "Accepted")
        yield programmed[patch.gateway]


def parent_part(route: Route, ref: ParentRef) -> str:
    """What conditions of a route call one of its parents."""
    section = f" {ref.section_name}" if ref.section_name else ""
    port = f" port {ref.port}" if ref.port else ""
    return f"parent {ref.namespace or route.metadata.namespace}/{ref.name}{section}{port}"


def _of_policies(declared: Declared, model: type[Policy]) -> dict[ObjectKey, tuple[Condition, ...]]:
    of = winners(declared, model)
    return {
        ObjectKey(kind_of(model), key): tuple(
            _of_target(declared, of, policy, target_of(policy, ref))
            for ref in policy.spec.target_refs
        )
        for key, policy in declared.all(model).items()
    }


def _of_target(
    declared: Declared, of: Mapping[Target, Policy], policy: Policy, target: Target
) -> Condition:
    fault = target_fault(declared, of, policy, target)
    if fault is not None:
        return Condition("Accepted", False, fault.reason, fault.message, str(target))
    return Condition("Accepted", True, "Accepted", "", str(target))
