"""`Declared` and resolved endpoints to the services that are balanced."""

from __future__ import annotations

from collections.abc import Mapping

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
    policies = policy_of(declared)
    routed = called(declared).union(*backends_under(declared).values())
    return tuple(
        part
        for key in declared.backends
        if (name := ServiceName(key)) in endpoints
        for part in in_parts(
            _service(key, endpoints[name], policies.get(key), overlay=key not in routed),
            policies[key].spec.locality if key in policies else None,
        )
    )


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
