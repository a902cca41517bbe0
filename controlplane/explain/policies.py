"""Which policies are in force for a request, and from where."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from controlplane.explain.candidates import Candidate
from controlplane.resources.attachment import of_backends, winners
from controlplane.resources.balancing import BalancingPolicy
from controlplane.resources.declared import MODELS, Declared
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.kinds import kind_of
from controlplane.resources.references import policy_of
from controlplane.resources.target import Policy, Target
from controlplane.resources.topology import attached

POLICIES: tuple[type[Policy], ...] = tuple(one for one in MODELS if issubclass(one, Policy))
"""Every kind of policy."""


@dataclass(frozen=True, slots=True, eq=False)
class InForce:
    """A policy that counts, and those farther away that do not."""

    policy: Policy
    target: str
    """What it is attached to, in words; or the Backend whose connections it is about."""
    outranked: tuple[str, ...] = ()
    """Policies of the same kind that would count without it, with what they are attached to."""


def target_kinds(model: type[Policy]) -> tuple[str, ...]:
    """The kinds that a policy may be for."""
    spec = model.model_fields["spec"].annotation
    (ref, *_) = typing.get_args(spec.model_fields["target_refs"].annotation)  # type: ignore[union-attr]
    return tuple(str(one) for one in typing.get_args(ref.model_fields["kind"].annotation))


def of_listener(declared: Declared, gateway: Gateway, listener: Listener) -> tuple[InForce, ...]:
    """Where no route takes the request."""
    return tuple(_nearest(declared, _listener_places(gateway, listener)))


def of_request(
    declared: Declared, gateway: Gateway, chosen: Candidate, backends: Sequence[str]
) -> tuple[InForce, ...]:
    """Of the request, then of the connections to these Backends."""
    kind, key = kind_of(type(chosen.route)), chosen.route.key
    named = [Target(kind, key, chosen.rule.name)] if chosen.rule.name else []
    places = [*named, Target(kind, key), *_listener_places(gateway, chosen.listener)]
    return (*_nearest(declared, places), *_of_connections(declared, gateway, backends))


def _listener_places(gateway: Gateway, listener: Listener) -> list[Target]:
    return [Target("Gateway", gateway.key, listener.name), Target("Gateway", gateway.key)]


def _nearest(declared: Declared, places: Sequence[Target]) -> Iterator[InForce]:
    for model in POLICIES:
        if model is BalancingPolicy:
            continue  # it is about Backends alone
        of = winners(declared, model)
        found = [(of[place], place) for place in places if place in of]
        if found:
            (policy, place), *rest = found
            others = tuple(f"{one.key} of {where}" for one, where in rest if one is not policy)
            yield InForce(policy, str(place), others)


def _of_connections(
    declared: Declared, gateway: Gateway, backends: Sequence[str]
) -> Iterator[InForce]:
    pairs = {gateway.key: attached(declared)[gateway.key]}
    routes = [route for _, route in pairs[gateway.key]]
    for model in POLICIES:
        if "Backend" not in target_kinds(model):
            continue
        said: Mapping[str, Policy] = {}
        if model is BalancingPolicy:
            said = policy_of(declared)  # it balances for every Gateway alike
        else:
            said = of_backends(declared, winners(declared, model), routes, pairs)
        yield from (InForce(said[key], f"Backend {key}") for key in backends if key in said)
