"""`Declared` and resolved endpoints to the services that are balanced."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.model import Actuation, Endpoint, Rollout, Service, ServiceName
from controlplane.resources.balancing import BalancingPolicy
from controlplane.resources.declared import Declared
from controlplane.resources.policy_references import called
from controlplane.resources.references import policy_of
from controlplane.resources.topology import backends_under


def services(
    declared: Declared, endpoints: Mapping[ServiceName, tuple[Endpoint, ...]]
) -> tuple[Service, ...]:
    """One for each Backend whose endpoints are known, in the order of their names.

    A Backend that is not in `endpoints` (a name not resolved yet) is left out: nothing is sent of
    it, rather than an assignment without endpoints. A Backend without a policy is balanced by the
    policy `equal`.
    """
    policies = policy_of(declared)
    routed = called(declared).union(*backends_under(declared).values())
    return tuple(
        _service(key, endpoints[name], policies.get(key), overlay=key not in routed)
        for key in declared.backends
        if (name := ServiceName(key)) in endpoints
    )


def _service(
    key: str, endpoints: tuple[Endpoint, ...], policy: BalancingPolicy | None, *, overlay: bool
) -> Service:
    name = ServiceName(key)
    if policy is None:
        return Service(name, endpoints, overlay=overlay)
    spec = policy.spec
    return Service(
        name,
        endpoints,
        policy=spec.policy,
        fallback=spec.fallback,
        interval_s=spec.interval,
        actuation=Actuation(spec.actuation),
        overlay=overlay,
        guard=spec.guard.settings(),
        rollout=Rollout(spec.rollout.mode, spec.rollout.percent),
    )
