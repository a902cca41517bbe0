"""`Declared` and resolved endpoints to the services that are balanced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controlplane.model import Actuation, Endpoint, Rollout, Service, ServiceName
from controlplane.resources.balancing import BalancingPolicy
from controlplane.resources.declared import Declared
from controlplane.resources.locality import in_parts
from controlplane.resources.policy_references import called
from controlplane.resources.references import policy_of
from controlplane.resources.topology import backends_under


def services(
    declared: Declared, endpoints: Mapping[ServiceName, tuple[Endpoint, ...]]
) -> tuple[Service, ...]:
    """One for each Backend whose endpoints are known, in the order of their names.

    A Backend that is not in `endpoints` (a name not resolved yet) is left out: nothing is sent of
    it, rather than an assignment without endpoints. A Backend without a policy is balanced by the
    policy `equal`. One whose policy tells places apart is a service for each of them. Endpoints
    that drain are not balanced; where all do, none does, as Kubernetes has it with endpoints that
    end.
    """
    return Services().of(declared, endpoints)


class _Made(NamedTuple):
    """The services that a Backend is, and all that they are made from."""

    endpoints: tuple[Endpoint, ...]
    policy: BalancingPolicy | None
    overlay: bool
    parts: tuple[Service, ...]


class Services:
    """`services`, time after time: one for which nothing changed is the very same as before."""

    def __init__(self) -> None:
        self._made: dict[str, _Made] = {}

    def of(
        self, declared: Declared, endpoints: Mapping[ServiceName, tuple[Endpoint, ...]]
    ) -> tuple[Service, ...]:
        """As they are now."""
        policies = policy_of(declared)
        routed = called(declared).union(*backends_under(declared).values())
        before, self._made = self._made, {}
        for key in declared.backends:
            here = endpoints.get(ServiceName(key))
            if here is None:
                continue
            policy, overlay = policies.get(key), key not in routed
            made = before.get(key)
            if (
                made is None
                or made.endpoints is not here
                or made.policy is not policy
                or made.overlay is not overlay
            ):
                locality = policy.spec.locality if policy is not None else None
                parts = in_parts(_service(key, here, policy, overlay=overlay), locality)
                made = _Made(here, policy, overlay, tuple(parts))
            self._made[key] = made
        return tuple(part for made in self._made.values() for part in made.parts)


def _service(
    key: str, endpoints: tuple[Endpoint, ...], policy: BalancingPolicy | None, *, overlay: bool
) -> Service:
    name = ServiceName(key)
    serving = tuple(one for one in endpoints if not one.draining)
    draining = tuple(one for one in endpoints if one.draining) if serving else ()
    if not draining:
        serving = endpoints
    if policy is None:
        return Service(name, serving, overlay=overlay, draining=draining)
    spec = policy.spec
    return Service(
        name,
        serving,
        policy=spec.policy,
        fallback=spec.fallback,
        interval_s=spec.interval,
        actuation=Actuation(spec.actuation),
        overlay=overlay,
        guard=spec.guard.settings(),
        rollout=Rollout(spec.rollout.mode, spec.rollout.percent),
        objective=None if spec.objective is None else spec.objective.objective(),
        exploration=spec.exploration.deviation,
        draining=draining,
    )
